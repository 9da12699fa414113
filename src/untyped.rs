//! Define: what a call leaves behind when its type is no longer at hand: a way to encode its arguments, and what
//! these tell people of it.

use crate::json::{self, JsonError, JsonLimits};
use crate::key::KEY_BYTES_MAX;
use crate::task::{Call, CallOptions, Signature};
use crate::ties::Extra;

/// Encodes arguments whose type is no longer known.
type Encode = Box<dyn FnOnce(JsonLimits) -> Result<String, JsonError> + Send>;

/// A call of any task.
pub(crate) struct AnyCall {
    pub(crate) kind: &'static str,
    pub(crate) with: CallOptions,
    pub(crate) encode: Encode,
    pub(crate) caption: Caption,
}

impl std::fmt::Debug for AnyCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnyCall").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<T: Signature> From<Call<T>> for AnyCall {
    fn from(call: Call<T>) -> Self {
        let Call { args, with } = call;
        let caption = Caption::of(&args);
        let encode = Box::new(move |limits| json::encode(&args, limits));
        Self { kind: T::NAME, with, encode, caption }
    }
}

/// What the arguments of a call tell of it to people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Caption {
    /// A name that can be stored.
    pub(crate) name: Option<String>,
    pub(crate) steps: Option<u64>,
}

/// Tells it from encoded arguments.
pub(crate) type ReadCaption = fn(&str) -> Caption;

impl Caption {
    pub(crate) fn of<T: Signature>(args: &T) -> Self {
        Self { name: args.called().and_then(|name| nameable(&name)), steps: args.steps() }
    }

    /// Arguments that do not fit tell nothing; they are refused elsewhere.
    pub(crate) fn read<T: Signature>(arguments: &str) -> Self {
        json::decode::<T>(arguments).map(|args| Self::of(&args)).unwrap_or_default()
    }

    /// Adds what is told to what is to be stored. A name that the call gives itself goes before.
    pub(crate) fn add_to(self, extra: &mut Option<Box<Extra>>) {
        if let Some(name) = self.name {
            extra.get_or_insert_default().name.get_or_insert(name);
        }
        if let Some(steps) = self.steps {
            extra.get_or_insert_default().ties.steps = Some(steps);
        }
    }
}

/// The text as the name of a task: arguments may hold what no name may, and the call is not to be refused for
/// that. Control characters become blanks, and what is longer than 200 bytes is cut.
pub(crate) fn nameable(text: &str) -> Option<String> {
    const MARK: char = '…';
    let text: String =
        text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.len() <= KEY_BYTES_MAX {
        return (!text.is_empty()).then_some(text);
    }
    let most = KEY_BYTES_MAX - MARK.len_utf8();
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Some(format!("{}{MARK}", text[..end].trim_end()))
}

/// What `#[task(steps = …)]` takes for a number of steps.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no number of steps",
    label = "`u64`, `u32` or `usize`, as in `steps = pages.len()`"
)]
pub trait Steps {
    fn count(&self) -> u64;
}

impl Steps for u64 {
    fn count(&self) -> u64 {
        *self
    }
}

impl Steps for u32 {
    fn count(&self) -> u64 {
        u64::from(*self)
    }
}

/// A bare number such as `12` is one; less than none is none.
impl Steps for i32 {
    fn count(&self) -> u64 {
        u64::try_from(*self).unwrap_or(0)
    }
}

impl Steps for usize {
    fn count(&self) -> u64 {
        u64::try_from(*self).unwrap_or(u64::MAX)
    }
}

impl<T: Steps> Steps for &T {
    fn count(&self) -> u64 {
        T::count(self)
    }
}
