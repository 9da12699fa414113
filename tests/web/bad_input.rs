//! Whatever comes over the wire: each bad input is answered by a status, a code and a text that name the value, the place
//! and what is allowed, and does no harm.
//!
//! One row an entry of the catalogue of bad inputs, by its number; `tests/bad_input.rs` has those before. After each
//! row a good request succeeds, and no task has changed. A number without a row fails the last test.

use std::collections::BTreeSet;
use std::fmt::{Debug, Write as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use litework::{Client, Filter, Mode, State};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};

use crate::api::{ask, office};
use crate::desk::{Reply, Shop, block, request};
use crate::tasks::{export, leak, stash};

/// Entries of the catalogue that this part of the library answers for.
const ENTRIES: std::ops::RangeInclusive<u8> = 68..=80;

/// What is tried, and the exact text that must come of it; `<id>` stands for the id of the task that is there.
struct Is(fn(&Lab) -> String, &'static str);

struct Row(u8, &'static str, Is);

/// A shop with one task of Ada's, which waits.
struct Lab {
    shop: Shop,
    id: String,
}

impl Lab {
    fn new() -> Self {
        let shop = office(Mode::Hold);
        let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id().to_string();
        Self { shop, id }
    }

    /// Asks for each path as Ada, and tells the answers, those that are the same once.
    fn ask_each(&self, method: &str, paths: &[&str]) -> String {
        told_once(
            paths
                .iter()
                .map(|path| told(&ask(&self.shop, method, "ada", &path.replace("<id>", &self.id)))),
        )
    }

    /// The same of the API, as an operator.
    fn list_each(&self, queries: &[&str]) -> String {
        told_once(queries.iter().map(|query| {
            told(&ask(&self.shop, "GET", "root", &format!("/tasks/api/tasks?{query}")))
        }))
    }

    /// Asks to cancel the task, with these headers and this body.
    fn cancel(&self, headers: &[(&str, &str)], body: &str) -> String {
        let mut request = request("POST", "ada", &format!("/tasks/t/{}/cancel", self.id));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::from(Bytes::from(body.to_owned()));
        told(&self.shop.send(request.header("accept", "application/json").body(body).unwrap()))
    }

    fn create(&self, body: &str) -> String {
        let request = request("POST", "clerk", "/tasks/api/tasks");
        let body = Full::from(Bytes::from(body.to_owned()));
        told(
            &self.shop.send(request.header("content-type", "application/json").body(body).unwrap()),
        )
    }

    /// What the task page of another task says, which has left what it was told to.
    fn page_of(name: &str, artifact: &str, text: &str) -> (Shop, String, Reply) {
        let shop = office(Mode::Inline);
        let id = shop.tasks.enqueue(stash::with(name, artifact, text).owner("ada")).unwrap().id();
        let page = shop.page("ada", &format!("/tasks/t/{id}"));
        (shop, id.to_string(), page)
    }
}

/// Status and code of a problem, or its detail where that says more; else the status.
fn told(reply: &Reply) -> String {
    if reply.header("content-type") != "application/problem+json" {
        return reply.status.to_string();
    }
    let problem = reply.json();
    let (code, detail) = (problem["code"].as_str().unwrap(), problem["detail"].as_str().unwrap());
    assert_eq!(
        (problem["status"].as_u64(), &problem["type"]),
        (Some(reply.status.into()), &json!("about:blank"))
    );
    if reply.status != 400 {
        return format!("{} {code}", reply.status);
    }
    let detail = detail.strip_prefix(&format!("{code}: ")).unwrap_or(detail);
    format!("400 {code}: {detail}")
}

fn told_once(answers: impl Iterator<Item = String>) -> String {
    let mut lines: Vec<String> = Vec::new();
    for answer in answers {
        if lines.last() != Some(&answer) {
            lines.push(answer);
        }
    }
    lines.join("\n")
}

const ROWS: &[Row] = &[
    Row(
        68,
        "paths that are not exact, programs",
        Is(
            |lab| {
                let long = format!("/tasks/t/{}", "x".repeat(3_000));
                lab.ask_each(
                    "GET",
                    &[
                        "/tasks/api",
                        "/tasks/api/",
                        "/tasks/api/nope",
                        "/tasks/api/tasks/",
                        "/tasks/api//tasks",
                        "/tasks/api/Tasks",
                        "/tasks/api/tasks/<id>/",
                        "/tasks/api/tasks/<id>/nope",
                        "/tasks/api/tasks/%2e%2e%2ftasks",
                        "/tasks/api/tasks/..",
                        "/tasks/api/tasks/%00",
                        "/tasks/api/tasks/%c0%af",
                        "/tasks/api/tasks/7-3k2j1h4g5f6d7",
                        "/tasks/api/tasks/<id>/artifacts/../1",
                        &long.replace("/t/", "/api/tasks/"),
                    ],
                )
            },
            "404 not_found",
        ),
    ),
    Row(
        68,
        "paths that are not exact, people",
        Is(
            |lab| {
                let paths = [
                    "/tasks/t",
                    "/tasks/t/",
                    "/tasks//",
                    "/tasks/t/<id>/",
                    "/tasks/T/<id>",
                    "/tasks/t/<id>/explode",
                    "/tasks/t/%2e%2e/t/<id>",
                    "/tasks/t/%00",
                    "/nope",
                ];
                told_once(
                    paths
                        .iter()
                        .flat_map(|path| {
                            let path = path.replace("<id>", &lab.id);
                            let page = lab.shop.page("ada", &path);
                            assert!(
                                page.text.contains("<h1>Not Found</h1>"),
                                "{path}: {}",
                                page.text
                            );
                            [told(&lab.shop.json("ada", &path)), page.status.to_string()]
                        })
                        .collect::<BTreeSet<_>>()
                        .into_iter(),
                )
            },
            "404\n404 not_found",
        ),
    ),
    Row(
        68,
        "methods that nothing answers",
        Is(
            |lab| {
                let api = lab.ask_each(
                    "PATCH",
                    &["/tasks/api/tasks", "/tasks/api/tasks/<id>", "/tasks/api/tasks/<id>/cancel"],
                );
                let trace = lab.ask_each("TRACE", &["/tasks/api/tasks"]);
                let form =
                    ask(&lab.shop, "GET", "ada", &format!("/tasks/api/tasks/{}/cancel", lab.id));
                format!("{api}\n{trace}\n{} Allow: {}", told(&form), form.header("allow"))
            },
            "405 wrong_method\n405 wrong_method\n405 wrong_method Allow: POST",
        ),
    ),
    Row(
        69,
        "sizes of pages",
        Is(
            |lab| {
                lab.list_each(&[
                    "size=0",
                    "size=-1",
                    "size=1000000000",
                    "size=",
                    "size=%2B5",
                    "size=1e1",
                    "size=5&size=6",
                ])
            },
            "400 out_of_range: size is \"0\"; 1 to 100\n\
             400 out_of_range: size is \"-1\"; 1 to 100\n\
             400 out_of_range: size is \"1000000000\"; 1 to 100\n\
             400 out_of_range: size is \"\"; 1 to 100\n\
             400 out_of_range: size is \"+5\"; 1 to 100\n\
             400 out_of_range: size is \"1e1\"; 1 to 100\n\
             400 given_twice: size is 5; one value",
        ),
    ),
    Row(
        69,
        "cursors that are forged, or of another filter",
        Is(
            |lab| {
                lab.shop.tasks.enqueue(export::with("Bob", 1).owner("bob")).unwrap();
                let list = ask(&lab.shop, "GET", "root", "/tasks/api/tasks?size=1").json();
                let next = list["next"].as_str().unwrap();
                assert_eq!(lab.list_each(&[&format!("from={next}")]), "200");
                let other = lab.list_each(&[&format!("from={next}&kind=export")]);
                assert_eq!(
                    other,
                    format!(
                        "400 bad_cursor: from is {next:?}; what `next` said on the page before, with the same filter"
                    )
                );
                lab.shop.tasks.delete(list["items"][0]["id"].as_str().unwrap()).unwrap();
                lab.list_each(&["from=r1", "from=r1-0000000000000000", "from=", "from=%27"])
            },
            "400 bad_cursor: from is \"r1\"; what `next` said on the page before, with the same filter\n\
             400 bad_cursor: from is \"r1-0000000000000000\"; what `next` said on the page before, with the same filter\n\
             400 bad_cursor: from is \"\"; what `next` said on the page before, with the same filter\n\
             400 bad_cursor: from is \"'\"; what `next` said on the page before, with the same filter",
        ),
    ),
    Row(
        69,
        "an order, and other words that nothing takes",
        Is(
            |lab| {
                let lists = lab.list_each(&["sort=age", "limit=5"]);
                format!(
                    "{lists}\n{}",
                    lab.ask_each(
                        "GET",
                        &["/tasks/api/tasks/<id>?verbose", "/tasks/api/openapi.json?a=b"]
                    )
                )
            },
            "400 unknown_parameter: parameter is \"sort\"; one of state, kind, queue, owner, tag, batch, id, dismissed, error, arg, created_after, created_before, finished_after, finished_before, size, from\n\
             400 unknown_parameter: parameter is \"limit\"; one of state, kind, queue, owner, tag, batch, id, dismissed, error, arg, created_after, created_before, finished_after, finished_before, size, from\n\
             400 unknown_parameter: parameter is \"verbose\"; none is taken here\n\
             400 unknown_parameter: parameter is \"a\"; none is taken here",
        ),
    ),
    Row(
        69,
        "a wait without end",
        Is(
            |lab| {
                let path = format!("/tasks/t/{}?wait=", lab.id);
                told_once(
                    ["25001", "-1", "1s"]
                        .iter()
                        .map(|wait| told(&lab.shop.json("ada", &format!("{path}{wait}")))),
                )
            },
            "400 bad_wait: wait is \"25001\"; 0 to 25000 milliseconds\n\
             400 bad_wait: wait is \"-1\"; 0 to 25000 milliseconds\n\
             400 bad_wait: wait is \"1s\"; 0 to 25000 milliseconds",
        ),
    ),
    Row(
        70,
        "texts with a meaning elsewhere are searched for as they stand",
        Is(
            |_| {
                let shop = office(Mode::Inline);
                let needles = ["' OR 1=1 --", "%", "_", "*", "\"", "\\", "?", "AND NOT", "\u{0}"];
                for needle in needles {
                    let told = json!({ "plain": format!("x{needle}y ") });
                    shop.tasks.enqueue(leak::with(told, true)).unwrap();
                }
                let found = |needle: &str| {
                    let text: String = form_urlencoded(&format!("x{needle}y"));
                    let list = ask(&shop, "GET", "root", &format!("/tasks/api/tasks?error={text}"));
                    list.json()["items"].as_array().unwrap().len()
                };
                format!("{:?} {}", needles.map(found), found("."))
            },
            "[1, 1, 1, 1, 1, 1, 1, 1, 1] 0",
        ),
    ),
    Row(
        70,
        "texts that are too long, and words that name nothing",
        Is(
            |lab| {
                let long = format!("error={}", "x".repeat(10 * 1024));
                let shortened = lab.list_each(&[&long]);
                assert!(shortened.len() < 200, "{shortened}");
                lab.list_each(&[
                    "error=",
                    "state=done",
                    "kind=%25",
                    "owner=%27+OR+1%3D1+--",
                    "tag=%25",
                    "id=1",
                    "dismissed=2",
                    "created_after=yesterday",
                    "error=%ff",
                    "error=%c0%af",
                ])
            },
            "400 bad_text: error is \"\"; 1 to 400 characters\n\
             400 bad_state: state is \"done\"; one of scheduled, waiting, ready, running, succeeded, failed, cancelled, skipped; give several as state=A&state=B\n\
             400 bad_kind: kind is \"%\"; it has a character at byte 0 that is not allowed; 1–64 of A–Z a–z 0–9 . _ -\n\
             200\n\
             400 bad_id: id is \"1\"; the id of a task, as in 7-3k2j1h4g5f6d7\n\
             400 bad_flag: dismissed is \"2\"; true or false\n\
             400 bad_time: created_after is \"yesterday\"; a moment with its zone in RFC 3339, as in 2026-01-31T12:00:00Z\n\
             400 bad_query: the query is \"error=%ff\"; UTF-8, percent-encoded\n\
             400 bad_query: the query is \"error=%c0%af\"; UTF-8, percent-encoded",
        ),
    ),
    Row(
        71,
        "no reader makes a page look again sooner",
        Is(
            |lab| {
                told_once(
                    ["", "?refresh=0", "?refresh=1ms", "?refresh=x", "?refresh=-1", "?refresh=off"]
                        .iter()
                        .map(|query| {
                            let page = lab.shop.page("ada", &format!("/tasks/t/{}{query}", lab.id));
                            let refresh =
                                page.text.split("http-equiv=\"refresh\" content=\"").nth(1);
                            let seconds = refresh.and_then(|rest| rest.split('"').next());
                            format!("{seconds:?}")
                        }),
                )
            },
            "Some(\"2\")\nNone",
        ),
    ),
    Row(
        72,
        "what another site sends, or a form without its token; one line of the log each",
        Is(
            |lab| {
                let lines = Lines::default();
                let answers = tracing::subscriber::with_default(lines.clone(), || {
                    let form = ("content-type", "application/x-www-form-urlencoded");
                    told_once(
                        [
                            lab.cancel(&[form], ""),
                            lab.cancel(&[form], "_token=00000000000000000000000000000000"),
                            lab.cancel(&[form], "_token="),
                            lab.cancel(&[("content-type", "text/plain")], "{}"),
                            lab.cancel(&[], ""),
                            lab.cancel(&[("origin", "http://evil.example")], ""),
                            lab.cancel(&[("origin", "http://localhost:81")], ""),
                            lab.cancel(&[("origin", "null")], ""),
                            lab.cancel(
                                &[
                                    ("sec-fetch-site", "cross-site"),
                                    ("content-type", "application/json"),
                                ],
                                "{}",
                            ),
                            lab.cancel(&[("sec-fetch-site", "none")], ""),
                        ]
                        .into_iter(),
                    )
                });
                let lines = lines.0.lock().unwrap();
                assert!(lines.iter().all(|line| line.contains("was refused")), "{lines:?}");
                format!("{answers}, {} lines", lines.len())
            },
            "403 other_site, 10 lines",
        ),
    ),
    Row(
        73,
        "a host that is none, or that is not the program's",
        Is(
            |lab| {
                let shop =
                    Shop::with(Mode::Hold, |web| web.base("/tasks").hosts(["localhost", "[::1]"]));
                let asked = |shop: &Shop, hosts: &[&str], path: &str| {
                    let mut request = http::Request::builder().uri(path).header("x-user", "ada");
                    for host in hosts {
                        request = request.header("host", *host);
                    }
                    let request = request.header("accept", "application/json");
                    told(&shop.send(request.body(Full::default()).unwrap()))
                };
                let path = "/tasks/api/tasks";
                assert_eq!(asked(&shop, &["localhost:8080"], path), "200");
                assert_eq!(asked(&shop, &["[::1]:8080"], path), "200");
                assert_eq!(asked(&lab.shop, &["shop.example"], path), "200", "where any is ours");
                let strange = [
                    "evil.example",
                    "ada@localhost",
                    "",
                    "[::2]",
                    "localhost.evil.example",
                    "localhost:1:2",
                    "127.0.0.1",
                ];
                let paths = [path, "/tasks/", "/tasks/nope", "/tasks/assets/x/litework.js"];
                told_once(
                    strange
                        .iter()
                        .flat_map(|host| paths.map(|path| asked(&shop, &[host], path)))
                        .chain([
                            asked(&shop, &[], path),
                            asked(&shop, &["localhost", "localhost"], path),
                        ]),
                )
            },
            "421 wrong_host",
        ),
    ),
    Row(
        74,
        "bodies that are too long, broken off, of another type, or packed",
        Is(
            |lab| {
                let send = |headers: &[(&str, &str)], body: String| {
                    let mut request = request("POST", "clerk", "/tasks/api/tasks");
                    for (name, value) in headers {
                        request = request.header(*name, *value);
                    }
                    told(&lab.shop.send(request.body(Full::from(Bytes::from(body))).unwrap()))
                };
                let json = ("content-type", "application/json");
                let from_here = ("sec-fetch-site", "same-origin");
                let bomb = [json, ("content-encoding", "gzip")];
                let answers = [
                    send(
                        &[json],
                        format!("{{\"kind\":\"note\",\"x\":\"{}\"}}", "x".repeat(64 * 1024)),
                    ),
                    endless(lab),
                    broken(lab),
                    send(&[from_here, ("content-type", "text/plain")], "{}".into()),
                    send(&[from_here], "{}".into()),
                    send(&bomb, "\u{1f}".into()),
                    send(&[json, ("content-encoding", "br")], "{}".into()),
                ];
                told_once(answers.into_iter())
            },
            "413 body_too_large\n400 broken_body: The body broke off.\n415 wrong_media_type\n415 wrong_encoding",
        ),
    ),
    Row(
        74,
        "bodies that are no JSON, or not what is asked for",
        Is(
            |lab| {
                told_once(
                    [
                        "",
                        "{",
                        "[]",
                        "{\"kind\":\"note\"} x",
                        "\u{feff}{}",
                        r#"{"kind":"note","kind":"export"}"#,
                        r#"{"kind":"note","size":1}"#,
                        r#"{"kind":null}"#,
                        r#"{"kind":"note","priority":1.5}"#,
                        r#"{"kind":"note","arguments":{"text":1e999}}"#,
                        r#"{"kind":"note","arguments":[]}"#,
                    ]
                    .iter()
                    .map(|body| lab.create(body)),
                )
            },
            "400 bad_json: $ at byte 0: empty; expected a value\n\
             400 bad_json: $ at byte 1: expected a key, found the end\n\
             400 bad_json: $ is an array; an object by parameter name\n\
             400 bad_json: $ at byte 16: expected the end, found 'x'\n\
             400 bad_json: $ at byte 0: byte order mark; expected UTF-8 without one\n\
             400 duplicate_key: $ at byte 15: \"kind\" is there twice; at most once\n\
             400 bad_json: $.size at byte 21: unknown field `size`, expected one of `kind`, `arguments`, `queue`, `priority`, `run_at`, `key`, `owner`, `tags`\n\
             400 bad_json: $.kind at byte 12: invalid type: null, expected a string\n\
             400 bad_json: $ at byte 30: invalid value: floating point `1.5`, expected a whole number, -100 to 100\n\
             400 number_out_of_range: $.arguments.text at byte 35: 1e999 is beyond the largest float; send it as a string\n\
             400 bad_json: $ is an array; an object by parameter name",
        ),
    ),
    Row(
        75,
        "names and messages that would be tags, commands or another direction",
        Is(
            |_| {
                let hostile = "<script>alert(1)</script>\"'&\u{202e}\u{1b}[2J";
                let (shop, id, page) = Lab::page_of(hostile, "a", hostile);
                assert!(
                    !page.text.contains("<script>") && !page.text.contains('\u{1b}'),
                    "{}",
                    page.text
                );
                assert!(page.text.contains("&#60;script&#62;alert(1)"), "{}", page.text);
                let json = ask(&shop, "GET", "root", &format!("/tasks/api/tasks/{id}"));
                assert!(
                    !json.text.contains('\u{1b}') && json.text.contains("alert(1)"),
                    "{}",
                    json.text
                );
                json.header("content-type").to_owned()
            },
            "application/json",
        ),
    ),
    Row(
        75,
        "a line of a mebibyte",
        Is(
            |_| {
                let long = "x".repeat(1024 * 1024 - 1_200);
                let (shop, id, page) = Lab::page_of(&long[..1_000], "a", &long);
                let json = ask(&shop, "GET", "root", &format!("/tasks/api/tasks/{id}"));
                let text = json.json()["arguments"]["text"].as_str().unwrap().to_owned();
                assert!(
                    text.ends_with("… (cut, 1047376 characters)"),
                    "{}",
                    &text[text.len() - 60..]
                );
                format!("{} {}", page.text.len() < 16_000, json.text.len() < 16_000)
            },
            "true true",
        ),
    ),
    Row(
        76,
        "artifacts by names that lead out: none is kept, and none is asked for by its name",
        Is(
            |_| {
                let names = ["../../x", "/etc/passwd", "C:\\x", "..", "a\r\nset-cookie: b=c"];
                told_once(names.iter().map(|name| {
                    let (shop, id, _) = Lab::page_of("n", name, "<b>");
                    let paths =
                        ["1", "0", "-1", "..", "..%2f..%2fx", "0x1", "1/../../x", "4294967297"];
                    told_once(
                        paths.iter().map(|path| {
                            told(&shop.json("ada", &format!("/tasks/t/{id}/a/{path}")))
                        }),
                    )
                }))
            },
            "404 not_found",
        ),
    ),
    Row(
        76,
        "artifacts of types that a browser would run, and of odd names",
        Is(
            |_| {
                let names = ["con", "nul.txt", "..a", "x.html", "Ü ➜'.svg", "%2e%2e%2f"];
                told_once(names.iter().map(|name| {
                    let (shop, id, _) = Lab::page_of("n", name, "<script>alert(1)</script>");
                    let served = shop.json("ada", &format!("/tasks/t/{id}/a/1"));
                    let file = served.header("content-disposition").to_owned();
                    let plain = file.split('"').nth(1).unwrap();
                    assert!(
                        plain
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || b"._- ".contains(&byte))
                    );
                    let kept = [
                        served.header("content-type"),
                        served.header("x-content-type-options"),
                        served.header("content-security-policy"),
                        &file[..22],
                    ];
                    kept.join(", ")
                }))
            },
            "text/html, nosniff, sandbox; default-src 'none', attachment; filename=\"",
        ),
    ),
    Row(
        77,
        "line breaks in paths, headers and names",
        Is(
            |lab| {
                let lines = Lines::default();
                tracing::subscriber::with_default(lines.clone(), || {
                    let path = "/tasks/t/x%0d%0a2026-01-01+ERROR+all+is+lost/cancel";
                    let origin = "http://evil.example/\tERROR";
                    let request = request("POST", "ada", path).header("origin", origin);
                    lab.shop.send(request.body(Full::default()).unwrap())
                });
                let lines = lines.0.lock().unwrap();
                assert!(lines.len() == 1 && !lines[0].contains(char::is_control), "{lines:?}");
                let (shop, id, page) = Lab::page_of("a\r\nset-cookie: b=c", "a", "a\r\n\r\nb");
                let json = shop.json("ada", &format!("/tasks/t/{id}"));
                for reply in [&page, &json] {
                    assert!(reply.headers.get("set-cookie").is_none(), "{reply:?}");
                }
                let login = lab.shop.page("-", "/tasks/t/%0d%0aset-cookie:%20a=b?x=%0d%0a");
                format!("{} {}", json.json()["name"], login.header("location"))
            },
            "\"a  set-cookie: b=c\" /login?next=%2Ftasks%2Ft%2F%250d%250aset-cookie%3A%2520a%3Db%3Fx%3D%250d%250a",
        ),
    ),
    Row(
        78,
        "streams that nobody reads",
        Is(
            |lab| {
                let shop = Shop::with(Mode::Hold, |web| web.base("/tasks").streams(20));
                let open = |user: &str| {
                    let asked = request("GET", user, "/tasks/events?mine")
                        .header("accept", "application/json");
                    block(shop.web.answer(asked.body(Full::<Bytes>::default()).unwrap()))
                };
                let mut opened = Vec::new();
                let mut fill = |user: &str| loop {
                    let answer = open(user);
                    if answer.status() != 200 {
                        assert_eq!(answer.headers()["retry-after"], "2");
                        return opened.len();
                    }
                    opened.push(answer);
                };
                let of_ada = fill("ada");
                assert!((1..20).contains(&of_ada), "one viewer leaves places for others: {of_ada}");
                let all = (0..20).map(|n| fill(&format!("user{n}"))).last();
                assert_eq!(all, Some(20));
                let refused = block(crate::desk::read(open("cyd")));
                format!("{} {}", told(&refused), told(&lab.shop.json("ada", "/tasks/events?ids=")))
            },
            "503 busy 400 bad_ids: 0 ids; ids=ID,ID,… with 1 to 100 ids, mine, or group=NAME",
        ),
    ),
    Row(
        79,
        "a deed done to many whose number nobody has said, or has grown since",
        Is(
            |_| {
                let (path, shop) = ("/tasks/admin/tasks/actions", office(Mode::Hold));
                let store = |count: u32| {
                    shop.tasks.enqueue_many((0..count).map(|n| export::with(format!("{n}"), 1)))
                };
                store(5).unwrap();
                let send = |expected: Option<i64>| {
                    let mut asked = json!({ "action": "cancel", "filter": { "state": "ready" } });
                    if let Some(count) = expected {
                        asked["expect_count"] = json!(count);
                    }
                    shop.send_json("root", path, &asked)
                };
                let refused =
                    told_once([None, Some(-1)].map(|count| told(&send(count))).into_iter());
                store(50).unwrap();
                let begun = crate::many::ended(&shop, send(Some(5)).header("location"));
                let left = shop.tasks.count(&Filter::new().state(State::Ready)).unwrap();
                format!(
                    "{refused}\n{} {} of {left}: {}",
                    begun["standing"], begun["done"], begun["error"]
                )
            },
            "400 bad_action: expect_count is needed: ask with dry_run first\n\
             400 bad_action: invalid value: integer `-1`, expected u64 at line 1 column 36\n\
             \"failed\" 0 of 55: \"changed: number of tasks that pass the filter is 16; at most 15, as 5 were \
             counted before; count them again\"",
        ),
    ),
    Row(
        80,
        "HEAD, OPTIONS, Range and If-None-Match, however odd",
        Is(
            |lab| {
                let path = format!("/tasks/api/tasks/{}", lab.id);
                let with = |method: &str, path: &str, name: &str, value: &str| {
                    let request = request(method, "ada", path)
                        .header(name, value)
                        .header("accept", "application/json");
                    lab.shop.send(request.body(Full::default()).unwrap())
                };
                let (get, head) = (with("GET", &path, "x", ""), with("HEAD", &path, "x", ""));
                assert_eq!(
                    (head.status, head.text.as_str(), head.header("content-length")),
                    (200, "", get.text.len().to_string().as_str())
                );
                assert_eq!(with("HEAD", "/tasks/nope", "x", "").text, "");
                let options = with("OPTIONS", &path, "origin", "http://evil.example");
                assert!(options.headers.get("access-control-allow-origin").is_none());
                let ranged = with("GET", &path, "range", "bytes=0-1,5-,-1");
                assert_eq!((ranged.status, ranged.text.len()), (200, get.text.len()));
                let tag = get.header("etag").to_owned();
                let matched = [
                    tag.as_str(),
                    "*",
                    &format!("W/{tag}"),
                    &format!("\"x\", {tag}"),
                    "\"x\"",
                    "x",
                    "",
                    ",,",
                    &tag[1..],
                ]
                .map(|known| with("GET", &path, "if-none-match", known).status);
                format!(
                    "{} {} {matched:?} {}",
                    options.status,
                    options.header("allow"),
                    with("HEAD", &format!("{path}/cancel"), "x", "").status
                )
            },
            "204 GET, HEAD, DELETE [304, 304, 304, 304, 200, 200, 200, 200, 200] 405",
        ),
    ),
];

/// A body that comes in pieces, and says nothing of its length.
struct Pieces<I>(I);

impl<I: Iterator<Item = std::io::Result<Bytes>> + Unpin> http_body::Body for Pieces<I> {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<http_body::Frame<Bytes>>>> {
        Poll::Ready(self.0.next().map(|piece| piece.map(http_body::Frame::data)))
    }
}

/// A body without an end.
fn endless(lab: &Lab) -> String {
    send_body(lab, Pieces(std::iter::repeat_with(|| Ok(Bytes::from_static(b"{\"a\":")))))
}

/// A body that breaks off.
fn broken(lab: &Lab) -> String {
    let pieces = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))];
    send_body(lab, Pieces(pieces.into_iter()))
}

fn send_body<B>(lab: &Lab, body: B) -> String
where
    B: http_body::Body<Data = Bytes, Error = std::io::Error> + Send + 'static,
{
    let request =
        request("POST", "clerk", "/tasks/api/tasks").header("content-type", "application/json");
    let answer = lab.shop.web.answer(request.body(body).unwrap());
    told(&block(async { crate::desk::read(answer.await).await }))
}

fn form_urlencoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        write!(encoded, "%{byte:02X}").unwrap();
        encoded
    })
}

/// What the library logs on this thread, a line each.
#[derive(Clone, Default)]
pub(crate) struct Lines(pub(crate) Arc<Mutex<Vec<String>>>);

impl Visit for Lines {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut lines = self.0.lock().unwrap();
        let line = lines.last_mut().unwrap();
        write!(line, "{}={value:?} ", field.name()).unwrap();
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("litework")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.0.lock().unwrap().push(String::new());
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Ids and states of all tasks.
fn state_of(tasks: &Client) -> Vec<(String, State)> {
    let all = tasks.list(&Filter::new(), None, 100).unwrap().tasks;
    all.into_iter().map(|task| (task.id.to_string(), task.state)).collect()
}

#[test]
fn each_bad_input_over_the_wire_is_answered_clearly_and_does_no_harm() {
    let mut wrong = String::new();
    for Row(number, input, answer) in ROWS {
        let Is(try_it, expected) = answer;
        let lab = Lab::new();
        let before = state_of(&lab.shop.tasks);
        let found = try_it(&lab).replace(&lab.id, "<id>");
        if found != *expected {
            writeln!(wrong, "entry {number}, {input}:\n  {}", found.replace('\n', "\n  ")).unwrap();
            writeln!(wrong, "expected:\n  {}", expected.replace('\n', "\n  ")).unwrap();
        }
        if state_of(&lab.shop.tasks) != before {
            writeln!(wrong, "entry {number}, {input}: a task has changed").unwrap();
        }
        let good = lab.shop.page("ada", &format!("/tasks/t/{}", lab.id));
        if good.status != 200 {
            writeln!(wrong, "entry {number}, {input}: then a good request: {good:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_entry_of_the_web_has_a_row() {
    let numbers: BTreeSet<u8> = ROWS.iter().map(|row| row.0).collect();
    let missing: Vec<u8> = ENTRIES.filter(|number| !numbers.contains(number)).collect();
    assert!(missing.is_empty(), "entries without a row: {missing:?}");
    assert!(ROWS.is_sorted_by_key(|row| row.0), "the rows stand in the order of the catalogue");
}
