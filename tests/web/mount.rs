//! Where the pages are mounted, and what is refused there.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use litework::web::{Access, Web};
use tower::ServiceExt as _;

use crate::desk::{Shop, block, request};
use crate::tasks::export;

#[test]
fn links_lead_back_wherever_the_pages_are_mounted() {
    for (base, public) in [
        ("", ""),
        ("/", ""),
        ("/tasks", "/tasks"),
        ("/tasks/", "/tasks"),
        ("/a/b/tasks", "/a/b/tasks"),
    ] {
        let shop = Shop::with(litework::Mode::Hold, |web| web.base(base));
        let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
        for asked in [format!("{public}/t/{id}"), format!("/t/{id}")] {
            let page = shop.page("ada", &asked);
            assert_eq!(page.status, 200, "{base} {asked}");
            for link in links(&page.text) {
                assert!(link.starts_with(&format!("{public}/")), "{base}: {link}");
                assert!(
                    shop.page("ada", link).status != 404 || link.ends_with("/cancel"),
                    "{base}: {link}"
                );
            }
        }
    }
}

/// One request to a router, whichever axum made it.
type App = Box<dyn Fn(Request<Full<Bytes>>) -> (u16, String)>;

async fn read<B>(answer: Response<B>) -> (u16, String)
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

fn home() -> &'static str {
    "a shop"
}

/// The ways in which a program mounts the pages, by the versions of axum; its own pages stay what they are.
fn mounted(web: &Web, base: &str) -> Vec<(&'static str, App)> {
    let old = {
        use axum07::body::Body;
        let home = || axum07::routing::get(|| async { home() });
        let routed = axum07::Router::new().route("/", home()).nest_service(base, web.clone());
        move |request: Request<Full<Bytes>>| {
            let routed = routed.clone();
            block(async { read(routed.oneshot(request.map(Body::new)).await.unwrap()).await })
        }
    };
    let new = |router: axum::Router| -> App {
        Box::new(move |request: Request<Full<Bytes>>| {
            let router = router.clone();
            let request = request.map(axum::body::Body::new);
            block(async { read(router.oneshot(request).await.unwrap()).await })
        })
    };
    let home = || axum::routing::get(|| async { home() });
    let nested = axum::Router::new().route("/", home()).nest_service(base, web.clone());
    let mut ways: Vec<(&'static str, App)> =
        vec![("axum 0.7, nested", Box::new(old)), ("axum 0.8, nested", new(nested))];
    #[cfg(feature = "axum")]
    ways.push((
        "axum 0.8, merged",
        new(axum::Router::new().route("/", home()).merge(web.router())),
    ));
    ways
}

/// Asks a mounted part for a page, as Ada.
fn page(app: &App, path: &str) -> (u16, String) {
    let asked = request("GET", "ada", path).header("accept", "text/html");
    app(asked.body(Full::default()).unwrap())
}

#[test]
fn all_links_and_assets_are_found_however_a_router_mounts_the_pages() {
    for base in ["/tasks", "/a/b/tasks"] {
        let shop = Shop::with(litework::Mode::Inline, |web| web.base(base));
        let call = export::with("Ada", 1).owner("ada");
        let id = shop.tasks.enqueue(call).unwrap().id();
        for (way, app) in mounted(&shop.web, base) {
            assert_eq!(page(&app, "/"), (200, "a shop".to_owned()), "{way}");
            assert_eq!(page(&app, "/nothing").0, 404, "{way}: the router's own");
            let mut found = Vec::new();
            for asked in [base.to_owned(), format!("{base}/"), format!("{base}/t/{id}")] {
                let (status, text) = page(&app, &asked);
                assert!(status == 200 && text.contains("Export of Ada"), "{way} {asked}: {text}");
                found.extend(links(&text).into_iter().map(str::to_owned));
            }
            let assets = found.iter().filter(|link| link.contains("/assets/")).count();
            assert_eq!(assets, 6, "{way}: {found:?}");
            for link in found {
                assert!(link.starts_with(&format!("{base}/")), "{way}: {link}");
                // Links of artifacts lead on; forms answer to another method.
                let status = page(&app, &link).0;
                assert!([200, 303, 405].contains(&status), "{way} {link}: {status}");
            }
        }
    }
}

/// What a page leads to.
fn links(page: &str) -> Vec<&str> {
    let parts =
        ["href=\"", "src=\"", "action=\""].into_iter().flat_map(|name| page.split(name).skip(1));
    let links =
        parts.filter_map(|rest| rest.split('"').next()).filter(|link| !link.starts_with('#'));
    links.collect()
}

#[test]
fn a_proxy_may_put_something_before_the_base() {
    let shop =
        Shop::with(litework::Mode::Hold, |web| web.base("/tasks").public_base("/shop/tasks"));
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let page = shop.page("ada", &format!("/tasks/t/{id}"));
    assert!(links(&page.text).iter().all(|link| link.starts_with("/shop/tasks/")), "{}", page.text);
}

/// A proxy that takes something from the path says so; links then begin with it, on all answers.
#[test]
fn a_proxy_that_is_believed_says_what_it_has_taken_from_the_path() {
    let behind = |believed: bool| {
        Shop::with(litework::Mode::Inline, |web| web.base("/tasks").forwarded_prefix(believed))
    };
    let shop = behind(true);
    let id = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let asked = |shop: &Shop, prefix: &str, path: &str, accept: &str| {
        let asked = request("GET", "ada", path).header("accept", accept);
        shop.send(asked.header("x-forwarded-prefix", prefix).body(Full::default()).unwrap())
    };
    let html = "text/html";
    for (prefix, public) in [("/shop", "/shop/tasks"), ("/a/b/", "/a/b/tasks"), ("/", "/tasks")] {
        for path in [format!("/tasks/t/{id}"), "/tasks/".to_owned(), "/tasks/nothing".to_owned()] {
            let page = asked(&shop, prefix, &path, html).text;
            for link in links(&page) {
                assert!(link.starts_with(&format!("{public}/")), "{prefix} {path}: {link}");
            }
        }
        let task = asked(&shop, prefix, &format!("/tasks/t/{id}"), "application/json").json();
        assert_eq!(task["links"]["self"], format!("{public}/t/{id}"));
        let document = asked(&shop, prefix, "/tasks/api/openapi.json", "*/*").json();
        assert_eq!(document["servers"][0]["url"], public);
        let head = crate::desk::head("ada", &[("x-forwarded-prefix", prefix)]);
        assert!(shop.web.head_for(&head).contains(&format!("\"{public}/assets/")));
        let block = block(shop.web.block(&head, id)).unwrap();
        assert!(links(&block).iter().all(|link| link.starts_with(&format!("{public}/"))));
    }
    let plain = shop.page("ada", &format!("/tasks/t/{id}")).text;
    // What would lead elsewhere, or is none, is passed over; and so is all of it where it is not believed.
    for odd in ["//evil.example", "https://evil.example", "shop", "/a b", "/..", "/\"><b>"] {
        assert_eq!(asked(&shop, odd, &format!("/tasks/t/{id}"), html).text, plain, "{odd}");
    }
    let closed = behind(false);
    let page = asked(&closed, "/shop", "/tasks/", html).text;
    assert!(!page.contains("/shop"), "{page}");
}

#[test]
fn a_base_that_is_no_path_is_refused() {
    let tasks = litework::Client::in_memory().open().unwrap();
    for base in ["tasks", "//", "/a//b", "/a/../b", "/a b", "/ä", "/a?b", "/{x}"] {
        let refused =
            Web::builder(&tasks, |_: &http::request::Parts| Access::denied()).base(base).build();
        assert_eq!(refused.unwrap_err().code(), "bad_base", "{base}");
    }
}

#[test]
fn a_page_stands_in_the_frame_of_the_program() {
    let shop = Shop::with(litework::Mode::Hold, |web| {
        web.base("/tasks").extra_css("/shop.css").frame(|frame| {
            format!(
                "<html><head><title>Shop: {}</title>{}</head><body><nav></nav>{}</body></html>",
                frame.title.len(),
                frame.head,
                frame.body
            )
        })
    });
    let page = shop.page("ada", "/tasks/").text;
    assert!(page.starts_with("<html><head><title>Shop: 8</title>"), "{page}");
    assert!(page.contains("/shop.css") && page.contains("<main id=\"lw-main\""), "{page}");
}
