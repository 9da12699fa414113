//! The API's document says what the API does: each path, parameter, status and field, no more and no less.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http_body_util::Full;
use litework::{Mode, State};
use serde_json::{Map, Value, json};

use crate::api::{ask, office};
use crate::desk::{Reply, Shop, request};
use crate::tasks::{export, leak, linger, refuse};

fn document(shop: &Shop) -> Value {
    let reply = ask(shop, "GET", "root", "/tasks/api/openapi.json");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// What a reference leads to.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(place) => document.pointer(place.trim_start_matches('#')).expect(place),
        None => value,
    }
}

/// What in a value is not as its schema says. Fields that the schema does not name are faults too: a document that is
/// silent of them is not whole. Patterns and formats are left to schemathesis.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let schema = resolved(document, schema);
    let mut found = Vec::new();
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = |choice: &&Value| faults(document, choice, value, at).is_empty();
        if choices.iter().filter(fits).count() != 1 {
            found.push(format!("{at} is none of its choices: {value}"));
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let own = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.is_empty() && !types.contains(&own) {
        found.push(format!("{at} is {value}, not {types:?}"));
    }
    let unlisted = |name: &str| schema[name].as_array().is_some_and(|all| !all.contains(value));
    if unlisted("enum") || schema.get("const").is_some_and(|only| only != value) {
        found.push(format!("{at} is {value}"));
    }
    if let Some(number) = value.as_i64() {
        let beyond = |name: &str, way: i64| {
            schema[name].as_i64().is_some_and(|bound| way * number > way * bound)
        };
        if beyond("maximum", 1) || beyond("minimum", -1) {
            found.push(format!("{at} is out of range: {number}"));
        }
    }
    if let Some(items) = value.as_array() {
        for (n, item) in items.iter().enumerate() {
            found.extend(faults(document, &schema["items"], item, &format!("{at}[{n}]")));
        }
    }
    if let (Some(fields), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
        found.extend(field_faults(document, schema, (fields, known), at));
    }
    found
}

fn field_faults(
    document: &Value,
    schema: &Value,
    (fields, known): (&Map<String, Value>, &Map<String, Value>),
    at: &str,
) -> Vec<String> {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let missing = required.filter(|name| !fields.contains_key(*name));
    let mut found: Vec<String> = missing.map(|name| format!("{at} lacks {name}")).collect();
    for (name, value) in fields {
        let at = format!("{at}.{name}");
        match known.get(name) {
            Some(schema) => found.extend(faults(document, schema, value, &at)),
            None => found.push(format!("{at} is not in the document")),
        }
    }
    found
}

/// A document, and which of its answers have been given.
struct Told<'a> {
    shop: &'a Shop,
    document: Value,
    given: BTreeSet<(String, String, String)>,
}

impl Told<'_> {
    /// Sends a request and holds the answer to what the document says of it.
    fn send(
        &mut self,
        method: &str,
        (template, path): (&str, &str),
        user: &str,
        body: &str,
    ) -> Reply {
        let content_type = if body == "text" { "text/plain" } else { "application/json" };
        let request = request(method, user, &format!("/tasks{path}"))
            .header("content-type", content_type)
            .header("sec-fetch-site", "same-origin");
        let reply = self.shop.send(request.body(Full::from(Bytes::from(body.to_owned()))).unwrap());
        self.check(method, template, &reply);
        reply
    }

    fn check(&mut self, method: &str, template: &str, reply: &Reply) {
        let at = format!("{method} {template} {}", reply.status);
        let operation = &self.document["paths"][template][method.to_lowercase()];
        let answer = operation["responses"].get(reply.status.to_string());
        let answer =
            answer.unwrap_or_else(|| panic!("{at} is not in the document: {}", reply.text));
        let answer = resolved(&self.document, answer);
        for (name, header) in answer["headers"].as_object().into_iter().flatten() {
            let is_there = reply.headers.contains_key(name.as_str());
            assert!(is_there || header["required"] != true, "{at} lacks {name}");
        }
        match answer["content"].as_object() {
            None => assert_eq!(reply.text, "", "{at}"),
            Some(content) => {
                let media_type = reply.header("content-type");
                let kind = content.get(media_type).or_else(|| content.get("*/*"));
                let kind = kind.unwrap_or_else(|| panic!("{at}: {media_type}"));
                if media_type.ends_with("json") && !content.contains_key("*/*") {
                    let found = faults(&self.document, &kind["schema"], &reply.json(), "$");
                    assert!(found.is_empty(), "{at}: {found:#?}");
                }
            }
        }
        let key = (method.to_owned(), template.to_owned(), reply.status.to_string());
        self.given.insert(key);
    }
}

const TASKS: &str = "/api/tasks";
const TASK: &str = "/api/tasks/{id}";

/// Answers that only come of faults, floods and other names: they are as all problems are.
const SELDOM: [&str; 5] = ["408", "413", "421", "500", "503"];

#[test]
fn each_answer_that_the_document_has_is_given_and_is_as_it_says() {
    let shop = office(Mode::Inline);
    let tasks = &shop.tasks;
    let done = tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let failed = tasks.enqueue(refuse::with("full", Some("Full.")).owner("ada")).unwrap().id();
    let leaked = tasks.enqueue(leak::with(json!({ "a": 1 }), true)).unwrap().id();
    let later = std::time::Duration::from_secs(60);
    let waiting = tasks.enqueue(export::with("Bob", 1).owner("ada").run_after(later)).unwrap().id();
    let open = tasks.enqueue(export::with("Cyd", 1).owner("ada").run_after(later)).unwrap().id();
    let mut told = Told { document: document(&shop), shop: &shop, given: BTreeSet::new() };

    for user in ["root", "ada", "eve"] {
        told.send("GET", (TASKS, TASKS), user, "");
        for id in [done, failed, waiting] {
            told.send("GET", (TASK, &format!("/api/tasks/{id}")), user, "");
        }
    }
    told.send("GET", (TASK, &format!("/api/tasks/{leaked}")), "root", "");
    told.send("GET", (TASKS, "/api/tasks?owner=bob"), "ada", "");
    let of = |path: &str, id: litework::TaskId| path.replace("{id}", &id.to_string());
    for word in ["cancel", "retry", "dismiss"] {
        let template = format!("/api/tasks/{{id}}/{word}");
        told.send("POST", (&template, &of(&template, done)), "eve", "{}");
        told.send("POST", (&template, &of(&template, waiting)), "root", "{}");
        told.send("POST", (&template, &of(&template, failed)), "ada", "{}");
        if word != "cancel" {
            told.send("POST", (&template, &of(&template, open)), "ada", "{}");
        }
    }
    let artifacts = "/api/tasks/{id}/artifacts";
    told.send("GET", (artifacts, &of(artifacts, done)), "ada", "");
    let artifact = "/api/tasks/{id}/artifacts/{number}";
    for number in ["1", "2", "3", "4", "5"] {
        told.send("GET", (artifact, &of(artifact, done).replace("{number}", number)), "ada", "");
    }
    told.send("GET", ("/api/openapi.json", "/api/openapi.json"), "ada", "");
    let new = r#"{"kind":"note","arguments":{"text":"a"},"key":"k"}"#;
    for (user, body) in [
        ("clerk", new),
        ("clerk", new),
        ("root", new),
        ("ada", new),
        ("clerk", "{}"),
        ("clerk", "text"),
        ("root", r#"{"kind":"note","arguments":{"text":"b"},"key":"k"}"#),
    ] {
        told.send("POST", (TASKS, TASKS), user, body);
    }
    told.send("DELETE", (TASK, &format!("/api/tasks/{done}")), "eve", "");
    told.send("DELETE", (TASK, &format!("/api/tasks/{done}")), "ada", "");

    every_operation_in_every_way(&mut told, &failed.to_string());
    let (busy, _say) = Shop::working();
    let running = busy.tasks.enqueue(linger::with().owner("ada")).unwrap().id();
    let watcher = busy.tasks.watch(running).unwrap();
    while watcher.recv().unwrap().task.state != State::Running {}
    told.shop = &busy;
    told.send("DELETE", (TASK, &of(TASK, running)), "ada", "");
    let said = said_answers(&told.document);
    let without: Vec<_> = said.difference(&told.given).collect();
    assert!(without.is_empty(), "the document says what is never answered: {without:#?}");
}

/// What can happen to each operation: nobody asks, too much is asked, it is known already, its body is packed.
fn every_operation_in_every_way(told: &mut Told<'_>, id: &str) {
    let paths = told.document["paths"].as_object().unwrap().clone();
    for (template, item) in &paths {
        let path = template.replace("{id}", id).replace("{number}", "1");
        for method in ["get", "post", "delete"].into_iter().filter(|m| item.get(*m).is_some()) {
            let method = method.to_uppercase();
            let is_safe = method == "GET";
            told.send(&method, (template, &path), "-", "");
            told.send(&method, (template, &format!("{path}?nope=1")), "root", "{}");
            if template.contains("{id}") {
                let strange = template.replace("{id}", "7-x").replace("{number}", "1");
                told.send(&method, (template, &strange), "root", "{}");
            }
            let whole = format!("/tasks{path}");
            if is_safe {
                let known = request(&method, "root", &whole).header("if-none-match", "*");
                let reply = told.shop.send(known.body(Full::default()).unwrap());
                if reply.status != 404 {
                    told.check(&method, template, &reply);
                }
                continue;
            }
            let elsewhere =
                request(&method, "root", &whole).header("origin", "http://evil.example");
            let reply = told.shop.send(elsewhere.body(Full::default()).unwrap());
            told.check(&method, template, &reply);
            let packed = request(&method, "root", &whole).header("content-encoding", "gzip");
            let reply = told.shop.send(packed.body(Full::default()).unwrap());
            told.check(&method, template, &reply);
        }
    }
}

/// Method, path and status of each answer in the document, without those that seldom come.
fn said_answers(document: &Value) -> BTreeSet<(String, String, String)> {
    let mut said = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in
            item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            for status in operation["responses"].as_object().unwrap().keys() {
                if !SELDOM.contains(&status.as_str()) {
                    said.insert((method.to_uppercase(), path.clone(), status.clone()));
                }
            }
        }
    }
    said
}

#[test]
fn the_document_has_each_method_and_each_parameter_that_is_taken() {
    let shop = office(Mode::Hold);
    let document = document(&shop);
    for (path, item) in document["paths"].as_object().unwrap() {
        let asked = format!("/tasks{path}").replace("{id}", "7-x").replace("{number}", "1");
        let options = ask(&shop, "OPTIONS", "-", &asked);
        let allowed = options.header("allow").split(", ").filter(|method| *method != "HEAD");
        let said = item.as_object().unwrap().keys().filter(|name| *name != "parameters");
        let said: BTreeSet<String> = said.map(|name| name.to_uppercase()).collect();
        assert_eq!(allowed.map(str::to_owned).collect::<BTreeSet<_>>(), said, "{path}");
    }
    let parameters = document["paths"]["/api/tasks"]["get"]["parameters"].as_array().unwrap();
    let said: Vec<&str> = parameters
        .iter()
        .map(|parameter| resolved(&document, parameter)["name"].as_str().unwrap())
        .collect();
    let refused = ask(&shop, "GET", "root", "/tasks/api/tasks?nope=1").json();
    let taken = refused["detail"].as_str().unwrap().split("one of ").nth(1).unwrap().to_owned();
    assert_eq!(said.join(", "), taken);
    let fields = document["components"]["schemas"]["NewTask"]["properties"].as_object().unwrap();
    let nope =
        request("POST", "root", "/tasks/api/tasks").header("content-type", "application/json");
    let nope =
        shop.send(nope.body(Full::from(Bytes::from(r#"{"kind":"note","nope":1}"#))).unwrap());
    let taken = nope.json()["detail"].as_str().unwrap().to_owned();
    let taken: BTreeSet<&str> = taken.split('`').skip(3).step_by(2).collect();
    assert_eq!(taken, fields.keys().map(String::as_str).collect());
}

#[test]
fn a_parameter_takes_as_many_values_as_the_document_says() {
    let shop = office(Mode::Hold);
    let document = document(&shop);
    let id = shop.tasks.enqueue(export::with("Ada", 1)).unwrap().id().to_string();
    let parameters = document["components"]["parameters"].as_object().unwrap();
    for (name, parameter) in parameters {
        let value = match name.as_str() {
            "state" => "ready",
            "id" => &id,
            "arg" => "to=Ada",
            _ => "a",
        };
        let Some(most) = parameter["schema"]["maxItems"].as_u64() else { continue };
        for (count, status) in [(most, 200), (most + 1, 400)] {
            let pairs = vec![format!("{name}={value}"); usize::try_from(count).unwrap()];
            let path = format!("/tasks/api/tasks?{}", pairs.join("&"));
            assert_eq!(ask(&shop, "GET", "root", &path).status, status, "{count} of {name}");
        }
    }
}

#[test]
fn the_document_says_where_the_api_is_and_what_may_be_enqueued() {
    let shop = office(Mode::Hold);
    let document = document(&shop);
    assert_eq!(document["servers"][0]["url"], "/tasks");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        document["components"]["schemas"]["NewTask"]["properties"]["kind"]["enum"],
        json!(["note"])
    );
    let closed = self::document(&Shop::holding());
    assert!(closed["paths"]["/api/tasks"].get("post").is_none(), "nothing may be enqueued");
    let root = Shop::with(Mode::Hold, |web| web);
    let document = ask(&root, "GET", "root", "/api/openapi.json").json();
    assert!(document.get("servers").is_none());
}

#[test]
fn every_part_of_the_document_is_used() {
    let document = document(&office(Mode::Hold));
    let text = document.to_string();
    let mut unused = BTreeMap::new();
    for (kind, parts) in document["components"].as_object().unwrap() {
        for name in parts.as_object().unwrap().keys() {
            if !text.contains(&format!("\"#/components/{kind}/{name}\"")) {
                unused.insert(name, kind);
            }
        }
    }
    assert!(unused.is_empty(), "{unused:?}");
}

/// The control: what is not as the document says is seen.
#[test]
fn an_answer_that_the_document_does_not_say_is_seen() {
    let document = json!({ "a": { "type": "object", "required": ["n"], "properties": {
        "n": { "type": "integer", "minimum": 1 },
        "s": { "type": ["string", "null"], "enum": ["x", null] },
        "o": { "oneOf": [{ "$ref": "#/a" }, { "type": "null" }] },
        "l": { "type": "array", "items": { "type": "string" } },
    } } });
    let found = |value: Value| faults(&document, &json!({ "$ref": "#/a" }), &value, "$").len();
    assert_eq!(found(json!({ "n": 1, "s": "x", "o": { "n": 2, "o": null }, "l": ["a"] })), 0);
    for wrong in [
        json!({}),
        json!([]),
        json!({ "n": 0 }),
        json!({ "n": "1" }),
        json!({ "n": 1, "s": "y" }),
        json!({ "n": 1, "o": { "n": 0 } }),
        json!({ "n": 1, "l": ["a", 1] }),
        json!({ "n": 1, "more": 1 }),
    ] {
        assert_eq!(found(wrong.clone()), 1, "{wrong}");
    }
}
