//! Watch: the description of the API in the words of `OpenAPI` 3.1, as this program serves it.

use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("openapi.json");

/// The document, with where the API is, and with the kinds that may be enqueued; where none may, without that.
pub(crate) fn document(base: &str, enqueueable: &[String]) -> Value {
    let mut document: Value =
        serde_json::from_str(DOCUMENT).expect("a test reads it, and it is part of the program");
    document["info"]["version"] = json!(env!("CARGO_PKG_VERSION"));
    if !base.is_empty() {
        document["servers"] = json!([{ "url": base }]);
    }
    if enqueueable.is_empty() {
        if let Some(tasks) = document["paths"]["/api/tasks"].as_object_mut() {
            tasks.remove("post");
        }
    } else {
        document["components"]["schemas"]["NewTask"]["properties"]["kind"]["enum"] =
            json!(enqueueable);
    }
    document
}
