//! A reader of pages that finds what a browser or a screen reader would trip over.

use std::collections::BTreeSet;

/// An element's opening tag.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Tag {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Elements that have no end.
const VOID: [&str; 5] = ["meta", "link", "input", "line", "path"];
/// In these is no markup.
const RAW: [&str; 1] = ["textarea"];

/// The opening tags of a page, which is closed as it was opened.
pub(crate) fn tags(page: &str) -> Vec<Tag> {
    let (mut tags, mut open, mut rest) = (Vec::new(), Vec::new(), page);
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if rest.starts_with('!') {
            continue;
        }
        let end = end_of_tag(rest);
        let (inner, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if let Some(name) = inner.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed as it was opened\n{page}");
            continue;
        }
        let tag = tag(inner.trim_end_matches('/'));
        if RAW.contains(&tag.name.as_str()) {
            let close = format!("</{}>", tag.name);
            rest = &rest[rest.find(&close).expect("it is closed") + close.len()..];
        } else if !VOID.contains(&tag.name.as_str()) && !inner.ends_with('/') {
            open.push(tag.name.clone());
        }
        tags.push(tag);
    }
    assert!(open.is_empty(), "left open: {open:?}\n{page}");
    tags
}

/// The place of the `>` that ends a tag, outside of its quotes.
fn end_of_tag(text: &str) -> usize {
    let mut quoted = false;
    let end = text.find(|letter| {
        quoted ^= letter == '"';
        letter == '>' && !quoted
    });
    end.expect("a tag ends")
}

fn tag(inner: &str) -> Tag {
    let (name, mut rest) = inner.split_once(char::is_whitespace).unwrap_or((inner, ""));
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Tag { name: name.to_owned(), attributes };
        }
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (attribute, after) = rest.split_at(end);
        let Some(value) = after.strip_prefix("=\"") else {
            assert!(!after.starts_with('='), "a value without quotes: {inner}");
            attributes.push((attribute.to_owned(), String::new()));
            rest = after;
            continue;
        };
        let (value, after) = value.split_once('"').expect("a value is closed");
        attributes.push((attribute.to_owned(), value.to_owned()));
        rest = after;
    }
}

/// What is read of a page: its text outside of tags and of fields.
pub(crate) fn visible(page: &str) -> String {
    let without = page.split("<textarea").enumerate().map(|(at, part)| {
        if at == 0 { part } else { part.split_once("</textarea>").map_or("", |(_, after)| after) }
    });
    let (mut text, without) = (String::new(), without.collect::<String>());
    let mut rest = without.as_str();
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        let tag = &rest[start + 1..];
        rest = &tag[end_of_tag(tag) + 1..];
    }
    text + rest
}

/// That an operator's page can be used by all: by keyboard, by ear, without scripts and under a strict policy.
pub(crate) fn check(name: &str, page: &str) {
    check_with(name, page, &["main", "h1", "title", "header", "nav"]);
}

/// The same of a person's page, which has no header that leads to others.
pub(crate) fn check_alone(name: &str, page: &str) {
    check_with(name, page, &["main", "h1", "title"]);
}

fn check_with(name: &str, page: &str, needed: &[&str]) {
    let tags = tags(page);
    let all = |wanted: &str| tags.iter().filter(move |tag| tag.name == wanted).collect::<Vec<_>>();
    for once in needed {
        let count = all(once)
            .iter()
            .filter(|tag| tag.get("id").is_none_or(|id| !id.ends_with("-t")))
            .count();
        let most = if ["nav", "title"].contains(once) { 100 } else { 1 };
        assert!(count >= 1 && count <= most, "{name}: {count} {once}");
    }
    assert!(
        tags.iter()
            .any(|tag| tag.get("class") == Some("lw-skip") && tag.get("href") == Some("#lw-main"))
    );
    let ids: Vec<&str> = tags.iter().filter_map(|tag| tag.get("id")).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "{name}: an id twice: {ids:?}");
    let labelled: BTreeSet<&str> = all("label").iter().filter_map(|tag| tag.get("for")).collect();
    for tag in &tags {
        let says = format!("{name}: {tag:?}");
        let named = |attribute: &str| tag.get(attribute).is_some_and(|value| !value.is_empty());
        for (attribute, value) in &tag.attributes {
            assert!(attribute != "style" && !attribute.starts_with("on"), "{says}");
            if ["aria-labelledby", "aria-describedby", "list"].contains(&attribute.as_str()) {
                assert!(value.split(' ').all(|id| unique.contains(id)), "{says}");
            }
        }
        match tag.name.as_str() {
            "input" if tag.get("type") == Some("hidden") => assert!(named("name"), "{says}"),
            "input" | "select" | "textarea" | "progress" => {
                let label = tag.get("id").is_some_and(|id| labelled.contains(id));
                assert!(label || named("aria-label"), "{says}");
            }
            "th" => assert!(matches!(tag.get("scope"), Some("col" | "row")), "{says}"),
            "nav" => assert!(named("aria-label"), "{says}"),
            "svg" => assert!(named("aria-labelledby") && tag.get("role") == Some("img"), "{says}"),
            "form" => assert!(named("method") && named("action"), "{says}"),
            "script" => assert!(named("src"), "{says}"),
            "style" | "iframe" | "object" | "base" => panic!("{says}"),
            _ => {}
        }
    }
    let levels = tags.iter().filter_map(|tag| tag.name.strip_prefix('h')?.parse::<u32>().ok());
    levels.fold(0, |before, level| {
        assert!(level <= before + 1, "{name}: h{level} after h{before}");
        level
    });
}

#[test]
fn a_page_that_trips_somebody_is_found() {
    let page = |body: &str| {
        format!(
            "<html><head><title>x</title></head><body><a class=\"lw-skip\" href=\"#lw-main\">s</a>\
             <header><nav aria-label=\"x\"></nav></header><main id=\"lw-main\"><h1>x</h1>{body}</main></body></html>"
        )
    };
    check("good", &page("<h2>y</h2><label for=\"a\">A</label><input id=\"a\" name=\"a\">"));
    for bad in [
        "<input id=\"a\" name=\"a\">",
        "<p style=\"color:red\">x</p>",
        "<p onclick=\"x()\">x</p>",
        "<h3>y</h3>",
        "<p id=\"lw-main\">y</p>",
        "<table><tr><th>y</th></tr></table>",
        "<p>left open",
        "<script>x</script>",
        "<main></main>",
        "<section aria-labelledby=\"nowhere\"></section>",
    ] {
        let caught = std::panic::catch_unwind(|| check("bad", &page(bad)));
        assert!(caught.is_err(), "{bad}");
    }
}
