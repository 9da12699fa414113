//! Tests of programs: the assertions as they are written.

/// Asserts that a task was enqueued, and gives those that match as a `Vec` of
/// [`TaskRecord`](crate::TaskRecord)s, oldest first.
///
/// First the client, then the task: the name of a `#[task]` function or a type. Its arguments may follow as
/// in a pattern: with `..` at the end others may be anything, also inside of objects; without it they are
/// these and no others. A value is whatever serde can write, such as a text, a number, a struct or
/// `serde_json::json!(..)`. Then come options, which are the methods of
/// [`testing::Expected`](crate::testing::Expected): `queue`, `priority`, `key`, `owner`, `tag`, `due_at`,
/// `run_after`, `state` (default: not ended), `count` (default: at least one).
///
/// ```
/// use litework::{Client, assert_enqueued, refute_enqueued, task};
///
/// #[task(queue = "images")]
/// fn shrink(path: &str, width: u32) {}
///
/// let tasks = Client::dummy().register(shrink).open()?;
/// tasks.enqueue(shrink::with("cat", 640).priority(3))?;
/// tasks.enqueue(shrink::with("cat", 320))?;
/// assert_enqueued!(tasks, shrink);
/// assert_enqueued!(tasks, shrink { path: "cat", width: 640 }, queue = "images", priority = 3);
/// assert_enqueued!(tasks, shrink { path: "cat", .. }, count = 2);
/// refute_enqueued!(tasks, shrink { path: "dog", .. });
/// # Ok::<(), litework::Error>(())
/// ```
///
/// # Panics
/// Where there is none, or another number than `count`. The text lists at most 10 tasks of the kind, the
/// nearest first, with what differs: `path: "dog" instead of "cat"`.
#[macro_export]
macro_rules! assert_enqueued {
    ($client:expr, $($expected:tt)+) => {
        $crate::testing::assert_enqueued(&$client, &$crate::__expected!($($expected)+))
    };
}

/// Asserts that no such task was enqueued; written as [`assert_enqueued!`](crate::assert_enqueued), without
/// `count`.
///
/// ```
/// use litework::{Client, refute_enqueued, task};
///
/// #[task]
/// fn mail(to: &str) {}
///
/// let tasks = Client::dummy().register(mail).open()?;
/// tasks.enqueue(mail::with("ada"))?;
/// refute_enqueued!(tasks, mail { to: "grace" });
/// # Ok::<(), litework::Error>(())
/// ```
///
/// # Panics
/// Where there is one; the text lists them, at most 10.
#[macro_export]
macro_rules! refute_enqueued {
    ($client:expr, $($expected:tt)+) => {
        $crate::testing::refute_enqueued(&$client, &$crate::__expected!($($expected)+))
    };
}

/// Asserts that every task of the client has ended, and that none has failed with an error that was not
/// declared as [`expected`](crate::Failure::expected). [`testing::no_leftovers`](crate::testing::no_leftovers)
/// does so at the end of a test.
///
/// ```
/// use litework::{Client, assert_no_leftovers, task};
///
/// #[task]
/// fn mail(to: &str) {}
///
/// let tasks = Client::immediate().register(mail).open()?;
/// tasks.enqueue(mail::with("ada"))?;
/// assert_no_leftovers!(tasks);
/// # Ok::<(), litework::Error>(())
/// ```
///
/// # Panics
/// Where something is left; the text lists it, at most 10 tasks.
#[macro_export]
macro_rules! assert_no_leftovers {
    ($client:expr $(,)?) => {
        $crate::testing::assert_no_leftovers(&$client)
    };
}

/// A task, its arguments and options, as an `Expected`.
#[doc(hidden)]
#[macro_export]
macro_rules! __expected {
    ($task:ty { $($arguments:tt)* } $(, $option:ident = $value:expr)* $(,)?) => {
        $crate::__expected_arguments!(
            ($crate::testing::Expected::of::<$task>()) $($arguments)*
        )$(.$option($value))*
    };
    ($task:ty $(, $option:ident = $value:expr)* $(,)?) => {
        $crate::testing::Expected::of::<$task>()$(.$option($value))*
    };
}

/// Arguments as in a pattern of a struct.
#[doc(hidden)]
#[macro_export]
macro_rules! __expected_arguments {
    (($expected:expr) ..) => {
        $expected
    };
    (($expected:expr) $($name:ident : $value:expr),+ , ..) => {
        $expected$(.argument($crate::testing::plain_name(stringify!($name)), $value))+
    };
    (($expected:expr) $($name:ident : $value:expr),* $(,)?) => {
        $expected$(.argument($crate::testing::plain_name(stringify!($name)), $value))*.exact()
    };
}
