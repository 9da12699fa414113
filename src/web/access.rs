//! Watch: what whoever sends a request may see and do.
//!
//! The program's own gate says it of each request; nothing here knows of sessions or passwords.

use http::request::Parts;

use crate::audit::ACTOR_BYTES_MAX;
use crate::record::TaskRecord;

/// Who acts, where nobody has said it.
const NOBODY: &str = "somebody";

/// What can be done to tasks, queues and schedules over the web.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Cancel a task.
    Cancel,
    /// Run an ended task again.
    Retry,
    /// Take an ended task off one's own list.
    Dismiss,
    /// Forget a task.
    Delete,
    /// Store a new task.
    Enqueue,
    /// Move a task to another moment, or store an edited copy of it.
    Edit,
    /// Pause and resume queues and kinds, set limits and threads.
    Pause,
    /// Run, enable, disable and edit schedules.
    Schedule,
    /// Remove what ended long ago.
    Prune,
}

impl Action {
    /// Every action, in the order of their words.
    pub const ALL: &'static [Self] = &[
        Self::Cancel,
        Self::Retry,
        Self::Dismiss,
        Self::Delete,
        Self::Enqueue,
        Self::Edit,
        Self::Pause,
        Self::Schedule,
        Self::Prune,
    ];

    /// What a person may do to a task of their own.
    const OWN: &'static [Self] = &[Self::Cancel, Self::Retry, Self::Dismiss, Self::Delete];

    /// The word that stands in paths and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Dismiss => "dismiss",
            Self::Delete => "delete",
            Self::Enqueue => "enqueue",
            Self::Edit => "edit",
            Self::Pause => "pause",
            Self::Schedule => "schedule",
            Self::Prune => "prune",
        }
    }

    /// The action of a word in a path.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == word)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Which tasks are seen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sees {
    Nothing { login: Option<String>, asks_basic: bool },
    Own(String),
    Known,
    All,
}

/// What whoever sends a request may see and do; a [`Gate`] says it of each request.
///
/// ```
/// use litework::web::{Access, Action};
///
/// let ada = Access::owner("ada"); // her own tasks, which she may cancel, retry, dismiss and delete
/// let guest = Access::owner("guest").only(&[]); // sees them, and may do nothing to them
/// let support = Access::viewer().named("sam").with(&[Action::Retry]);
/// let admin = Access::admin().named("root");
/// let stranger = Access::denied().login("/login");
/// # let _ = (ada, guest, support, admin, stranger);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    sees: Sees,
    may: u16,
    name: Option<String>,
}

impl Access {
    /// Nothing: the answer is 401, or a way to [`login`](Access::login).
    pub fn denied() -> Self {
        Self { sees: Sees::Nothing { login: None, asks_basic: false }, may: 0, name: None }
    }

    /// Where somebody who is denied may sign in: a path of the program, such as `/login`. Pages then lead there,
    /// with what was asked for as `next`.
    #[must_use]
    pub fn login(mut self, path: impl Into<String>) -> Self {
        if let Sees::Nothing { login, .. } = &mut self.sees {
            *login = Some(path.into());
        }
        self
    }

    /// Nothing, until the browser has asked its person for a name and a password.
    pub(crate) fn asking_basic() -> Self {
        Self { sees: Sees::Nothing { login: None, asks_basic: true }, may: 0, name: None }
    }

    /// The tasks of this owner ([`Call::owner`](crate::Call::owner)), with what people do to their own.
    pub fn owner(owner: impl Into<String>) -> Self {
        let owner = owner.into();
        Self { name: Some(owner.clone()), sees: Sees::Own(owner), may: bits(Action::OWN) }
    }

    /// Tasks without an owner, to whoever knows their id, which nobody can guess: for programs without
    /// accounts. They may be seen and cancelled; they are not listed.
    pub fn link() -> Self {
        Self { sees: Sees::Known, may: bits(&[Action::Cancel, Action::Retry]), name: None }
    }

    /// All tasks and the operator's pages, without doing anything.
    pub fn viewer() -> Self {
        Self { sees: Sees::All, may: 0, name: None }
    }

    /// All tasks, the operator's pages, and all that can be done there.
    pub fn admin() -> Self {
        Self { sees: Sees::All, may: bits(Action::ALL), name: None }
    }

    /// The name under which what is done is noted in the audit.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// May also do these.
    #[must_use]
    pub fn with(mut self, actions: &[Action]) -> Self {
        self.may |= bits(actions);
        self
    }

    /// May do these and nothing else.
    #[must_use]
    pub fn only(mut self, actions: &[Action]) -> Self {
        self.may = bits(actions);
        self
    }

    /// Whether it is nobody.
    pub fn is_denied(&self) -> bool {
        matches!(self.sees, Sees::Nothing { .. })
    }

    /// Whether all tasks are seen, and with them the operator's pages.
    pub fn is_operator(&self) -> bool {
        self.sees == Sees::All
    }

    /// Whether this may be done to what is seen.
    pub fn may(&self, action: Action) -> bool {
        self.may & action.bit() != 0
    }

    /// Whether a task is seen.
    pub fn sees(&self, task: &TaskRecord) -> bool {
        match &self.sees {
            Sees::Nothing { .. } => false,
            Sees::Own(owner) => task.owner.as_ref() == Some(owner),
            Sees::Known => task.owner.is_none(),
            Sees::All => true,
        }
    }

    /// Whose tasks are seen, where that is one owner.
    pub(crate) fn own(&self) -> Option<&str> {
        match &self.sees {
            Sees::Own(owner) => Some(owner),
            _ => None,
        }
    }

    pub(crate) fn sign_in(&self) -> Option<&str> {
        match &self.sees {
            Sees::Nothing { login, .. } => login.as_deref(),
            _ => None,
        }
    }

    /// What `WWW-Authenticate` says.
    pub(crate) fn challenge(&self) -> &'static str {
        match self.sees {
            Sees::Nothing { asks_basic: true, .. } => "Basic realm=\"tasks\", charset=\"UTF-8\"",
            _ => "Bearer",
        }
    }

    /// Who acts, for the audit.
    pub(crate) fn actor(&self) -> &str {
        self.name.as_deref().unwrap_or(NOBODY)
    }

    /// The same as it can be stored: on one line, 200 bytes at most.
    pub(crate) fn signature(&self) -> String {
        let plain: String =
            self.actor().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let end =
            (0..=ACTOR_BYTES_MAX.min(plain.len())).rev().find(|at| plain.is_char_boundary(*at));
        let cut = plain[..end.unwrap_or(0)].trim();
        if cut.is_empty() { NOBODY.to_owned() } else { cut.to_owned() }
    }

    /// What tells this viewer from another who sees other things: part of the `ETag`.
    pub(crate) fn mark(&self) -> String {
        format!("{:?}|{}|{}", self.sees, self.may, self.actor())
    }
}

fn bits(actions: &[Action]) -> u16 {
    actions.iter().fold(0, |bits, action| bits | action.bit())
}

/// Says of each request what its sender may see and do: a closure, or one of the ready ones.
///
/// It is called on the thread of the server, so it should look at the request only: at what a layer of the
/// program has put into its extensions, say.
pub trait Gate: Send + Sync + 'static {
    /// What the sender of this request may see and do.
    fn access(&self, request: &Parts) -> Access;
}

impl<F: Fn(&Parts) -> Access + Send + Sync + 'static> Gate for F {
    fn access(&self, request: &Parts) -> Access {
        self(request)
    }
}

/// A gate that asks what a layer of the program has put into the request's extensions, such as the user of a
/// session; a request without it is denied.
///
/// ```
/// use litework::web::{Access, from_extension};
///
/// #[derive(Clone)]
/// struct User {
///     name: String,
///     is_staff: bool,
/// }
///
/// let gate = from_extension(|user: &User| {
///     if user.is_staff { Access::admin().named(&user.name) } else { Access::owner(&user.name) }
/// });
/// # let _ = gate;
/// ```
pub fn from_extension<T: Clone + Send + Sync + 'static>(
    access: impl Fn(&T) -> Access + Send + Sync + 'static,
) -> impl Gate {
    move |request: &Parts| request.extensions.get::<T>().map_or_else(Access::denied, &access)
}

/// A gate for programs that ask with `Authorization: Bearer …`: who brings this secret has this access, all others
/// are denied. The secret should have 128 bits that nobody can guess; it is compared in constant time.
///
/// ```
/// # use litework::web::{Access, bearer};
/// let gate = bearer("4f9c…", Access::viewer().named("prometheus"));
/// # let _ = gate;
/// ```
pub fn bearer(secret: impl Into<String>, access: Access) -> impl Gate {
    let secret = secret.into();
    move |request: &Parts| match credentials(request, "bearer") {
        Some(given) if is_same(given, &secret) => access.clone(),
        _ => Access::denied(),
    }
}

/// What `Authorization` brings in this scheme.
pub(crate) fn credentials<'a>(request: &'a Parts, scheme: &str) -> Option<&'a str> {
    let given = request.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (said, given) = given.split_once(' ')?;
    said.eq_ignore_ascii_case(scheme).then(|| given.trim())
}

/// Compares without telling by the time it takes where two texts differ.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let bytes = one.bytes().zip(other.bytes());
    let differs = bytes.fold(0, |differs, (one, other)| differs | (one ^ other));
    one.len() == other.len() && !other.is_empty() && std::hint::black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(header: &str) -> Parts {
        let request = http::Request::builder().header("authorization", header).body(());
        request.expect("a request").into_parts().0
    }

    #[test]
    fn a_bearer_of_the_secret_is_let_in_and_nobody_else() {
        let gate = bearer("0123456789abcdef", Access::viewer());
        for right in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef"] {
            assert!(gate.access(&request(right)).is_operator(), "{right}");
        }
        for wrong in ["Bearer", "Bearer ", "Bearer 0123456789abcde", "Basic 0123456789abcdef", ""] {
            assert!(gate.access(&request(wrong)).is_denied(), "{wrong}");
        }
        assert!(bearer("", Access::admin()).access(&request("Bearer ")).is_denied());
    }

    #[test]
    fn what_is_granted_is_what_may_be_done() {
        let guest = Access::owner("ada").only(&[]);
        assert!(Action::ALL.iter().all(|action| !guest.may(*action)));
        let support = Access::viewer().with(&[Action::Retry]);
        assert!(support.may(Action::Retry) && !support.may(Action::Delete));
        assert_ne!(Access::owner("ada").mark(), Access::owner("bob").mark());
    }

    #[test]
    fn each_action_has_a_word_of_its_own() {
        for action in Action::ALL {
            assert_eq!(Action::from_word(action.as_str()), Some(*action));
        }
        assert_eq!(Action::from_word("explode"), None);
    }
}
