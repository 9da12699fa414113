//! The `#[task]` attribute of litework. Use it as `litework::task`; this crate is only there because
//! an attribute needs a crate of its own, and promises nothing by itself.
//!
//! The attribute is read by `options`, the function by `function`, `signature` and `types`; `expand`
//! and `arguments` write the result. Every mistake is reported where it was made, with what to write
//! instead.

mod arguments;
mod errors;
mod expand;
mod function;
mod options;
mod signature;
mod types;
mod values;

use proc_macro::TokenStream;

/// Makes a task of a function: its arguments can be stored, and its body runs later, in a worker.
///
/// ```ignore
/// use litework::{Context, Result, task};
///
/// /// Shrinks one picture and returns where it was put.
/// #[task(queue = "images", attempts = 4, timeout = "20s")]
/// pub fn shrink(ctx: &Context, path: &Path, width: u32) -> Result<String> {
///     // …
/// }
///
/// builder.register(shrink); // make it known, once
/// let call = shrink::with("a.png", 640); // a call that can be started, now or later
/// let put = shrink(&ctx, Path::new("a.png"), 640)?; // the plain function, as in a unit test
/// ```
///
/// # Options
///
/// All are optional. A time is a whole number and a unit, `ms`, `s`, `m`, `h` or `d`, bare or as a
/// text: `20s` or `"20s"`.
///
/// | Option | Value | Without it |
/// |---|---|---|
/// | `name` | the name under which it is stored: 1 to 64 of `A-Z a-z 0-9 . _ -` | the function's name |
/// | `aliases` | `["old.name", …]`: names that it was stored under before | none |
/// | `description` | one line for people | the first paragraph of the documentation |
/// | `called` | what people call a task with these arguments, as `format!` takes it: `"Export of {course}"`; or an expression of the parameters, which stand there as references | its kind |
/// | `steps` | how many steps it has: an expression of the parameters such as `pages.len()` | not known |
/// | `client` | the client of a set that stores its calls, named like a task | as the set routes it |
/// | `queue` | the queue it waits in, named like a task | `default` |
/// | `priority` | -100 to 100; higher runs first | 0 |
/// | `attempts` | 1 to 1000, the first one included | 5 |
/// | `retry` | `[5s, 30s, 1m]`, at most 64, the last repeats; or `exponential("1s", "1h")`, first and longest | `exponential("2s", "1h")` |
/// | `timeout` | after this long, 1ms to 365d, an attempt is asked to stop, which its body sees at `ctx.check()`; a pool gives it up 10 s later; a value that comes before that counts as a success | no limit |
/// | `expires_after` | how long after its due time it may still be started, 1ms to 36500d | for ever |
/// | `keep_for` | how long it is kept once it has ended, 0s to 36500d | what the client says |
/// | `finish_sync` | a flag, or `= true`, `= false`: whether each end is committed at once instead of together with others | false |
/// | `durability` | `"full"` survives a power loss, `"normal"` a killed process | what the client says |
/// | `on_commit` | a flag, or `= true`, `= false`: inside a transaction, whether it is stored with it | true |
/// | `at_most_once` | a flag, or `= true`, `= false`: whether a failure or a crash ends it instead of a new start | false |
/// | `unique` | a flag: at most one with the same arguments; or `= "key/{parameter}"`, or an expression of type `Unique` | any number |
/// | `exclusive` | the lock that it holds while it runs, `"lock/{parameter}"`, or an expression of type `Exclusive` | none |
/// | `limit` | an expression of type `Limit`: how many of a key run at once | any number |
/// | `rate` | an expression of type `Rate`: how many of its kind start in a period | any number |
/// | `max_running` | how many of its kind run at once in all processes, 1 to 1,000,000 | any number |
///
/// `rate_per_key`, `follow` and `needs` are said in code, where the task is registered:
/// `.register(Definition::from(shrink).with(|options| options.needs(…)))`; the first two also on a call.
///
/// # Parameters
///
/// The context comes first, as `&Context` under any name, or not at all. The others are stored as
/// one JSON object by parameter name, so renaming a parameter changes what is stored;
/// `#[serde(default)]`, `#[serde(alias = "old")]` and the like may stand on them. A name that is stored
/// and that the task does not have is passed over, so that a parameter may be removed.
///
/// | Parameter | is stored as | `with` takes |
/// |---|---|---|
/// | `&str` | `String` | `impl Into<String>` |
/// | `&Path` | `PathBuf` | `impl Into<PathBuf>` |
/// | `&[T]` | `Vec<T>` | `impl Into<Vec<T>>` |
/// | `Option<&str>` | `Option<String>` | `Option<&str>` |
/// | `String`, `PathBuf` | itself | `impl Into<…>` |
/// | any other owned type with serde's traits | itself | itself |
///
/// # Return type
///
/// Where its name is `Result`, the task can fail, and its first argument is the stored value:
/// `Result<T>`, `io::Result<T>`, `Result<T, E>`. The error is `litework::Failure` or anything that
/// turns into a boxed error. Another type is stored as it is, and none is `()`.
///
/// # What it becomes
///
/// A unit struct with the function's name and visibility, which can be called like the function.
/// It takes that name among types, too. Types in the signature must be as visible as the task. As
/// with any unit struct, no variable or parameter in its scope can have its name
/// (`let shrink = …`); the task's own body is excepted.
///
/// An `async fn` needs litework's feature `tokio`; called plainly it returns a boxed future, which
/// is `Send`.
#[proc_macro_attribute]
pub fn task(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(attr.into(), &item.into()).into()
}
