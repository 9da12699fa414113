//! The `#[task]` attribute: what it accepts, what it refuses and with which words, and what a plain
//! call of a task does.
#![cfg(feature = "macros")]

use std::path::{Path, PathBuf};

use litework::{Call, Definition, Result, Task, task};
use serde::{Serialize, de::DeserializeOwned};

/// Joins a folder and a name.
#[task(name = "paths.join", aliases = ["paths.old_join"])]
fn join(folder: &Path, name: &str, parts: &[u32], note: Option<&str>) -> Result<PathBuf> {
    if parts.is_empty() {
        return Err("no parts".into());
    }
    Ok(folder.join(format!("{name}{parts:?}{}", note.unwrap_or("-"))))
}

#[task]
fn repeat(
    mut text: String,
    #[serde(default = "twice", rename = "times")] count: usize,
    #[serde(default)] r#type: Option<char>,
) -> String {
    text = text.repeat(count);
    text.extend(r#type);
    text
}

fn twice() -> usize {
    2
}

#[task]
fn r#loop() {}

fn name_of<T: Task>(_: &Call<T>) -> &'static str {
    <T as Task>::NAME
}

fn read<T: Task + DeserializeOwned>(_: &Call<T>, json: &str) -> serde_json::Result<T> {
    serde_json::from_str(json)
}

fn write<T: Task + Serialize>(args: &T) -> String {
    serde_json::to_string(args).expect("plain values are JSON")
}

#[test]
fn a_plain_call_runs_the_body() {
    let joined = join(Path::new("a"), "b", &[1, 2], None).expect("parts are given");
    assert_eq!(joined, Path::new("a/b[1, 2]-"));
    assert!(join(Path::new("a"), "b", &[], Some("c")).is_err());
    assert_eq!(repeat("ab".to_owned(), 3, Some('!')), "ababab!");
    let () = r#loop();
}

#[test]
fn the_name_is_given_or_the_functions() {
    assert_eq!(join::NAME, "paths.join");
    assert_eq!(repeat::NAME, "repeat");
    assert_eq!(r#loop::NAME, "loop");
    assert_eq!(name_of(&join::with("a", "b", [1], None)), "paths.join");
}

#[test]
fn arguments_are_one_object_by_parameter_name() {
    let call = join::with(Path::new("a"), String::from("b"), vec![1], Some("c"));
    let json = r#"{"folder":"a","name":"b","parts":[1],"note":"c"}"#;
    assert_eq!(write(&read(&call, json).expect("the fields are named so")), json);
    let call = r#loop::with();
    assert_eq!(write(&read(&call, "{}").expect("no arguments are an empty object")), "{}");
}

#[test]
fn serde_attributes_belong_to_the_stored_argument() {
    let call = repeat::with("a", 1, None);
    let args = read(&call, r#"{"text":"a"}"#).expect("the others have defaults");
    assert_eq!(write(&args), r#"{"text":"a","times":2,"type":null}"#);
    assert!(read(&call, "{}").is_err(), "`text` has no default");
}

#[test]
fn a_call_can_be_copied_and_shown_where_its_arguments_can() {
    let call = join::with("a", "b", [1], None);
    let copy = call.clone();
    assert_eq!(format!("{copy:?}"), format!("{call:?}"));
    assert!(format!("{call:?}").contains(r#"folder: "a", name: "b", parts: [1], note: None"#));
}

#[test]
fn a_task_is_its_definition() {
    let _: Definition = join.into();
    let _: Definition = Definition::from(r#loop);
    assert_eq!(format!("{join:?}"), "join");
}

#[test]
fn a_name_in_the_body_is_not_taken() {
    #[task]
    fn local(local: u32) -> u32 {
        let inner = |local: u32| local + 1;
        let local = inner(local);
        local * 2
    }
    assert_eq!(local(1), 4);
    assert_eq!(local::NAME, "local");
}

#[cfg(feature = "tokio")]
#[test]
fn an_async_body_is_called_plainly_too() {
    #[task]
    async fn length(text: &str, _parts: &[u8]) -> Result<usize> {
        std::future::ready(()).await;
        Ok(text.len())
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert_eq!(runtime.block_on(length("abc", &[])).expect("it cannot fail"), 3);
}
