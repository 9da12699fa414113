//! The colours of the style sheet, in both themes: what is read stands out from what it is read on, and a bar from what
//! it runs in (WCAG 2.2, 1.4.3 and 1.4.11).

use std::collections::BTreeMap;

const CSS: &str = include_str!("../../src/web/assets/litework.css");

/// The custom properties that have a colour for each theme.
fn tokens() -> BTreeMap<String, [String; 2]> {
    let all = CSS.lines().filter_map(|line| {
        let (name, value) = line.trim().strip_prefix("--lw-")?.split_once(": light-dark(")?;
        let (light, dark) = value.strip_suffix(");")?.split_once(", ")?;
        Some((name.to_owned(), [light.to_owned(), dark.to_owned()]))
    });
    all.collect()
}

/// Relative luminance of `#rrggbb`.
fn luminance(colour: &str) -> f64 {
    let part = |at: usize| {
        let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
}

fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn text_and_bars_stand_out_in_both_themes() {
    assert!((contrast("#ffffff", "#000000") - 21.0).abs() < 1e-9);
    let tokens = tokens();
    let grounds = ["ground", "surface", "sunken"];
    let mut pairs: Vec<(&str, &str, f64)> = Vec::new();
    for text in ["text", "muted", "accent"] {
        pairs.extend(grounds.map(|ground| (text, ground, 4.5)));
    }
    for state in ["good", "bad", "warn", "busy", "idle"] {
        let own: &str = Box::leak(format!("{state}-ground").into_boxed_str());
        pairs.push((state, own, 4.5));
        pairs.push(("text", own, 4.5));
        pairs.push((state, "surface", 4.5));
    }
    pairs.push(("on-accent", "accent", 4.5));
    // What runs, and how it has ended.
    pairs.extend(["accent", "good", "bad", "idle"].map(|bar| (bar, "idle-ground", 3.0)));
    pairs.extend(["edge"].map(|line| (line, "surface", 3.0)));
    pairs.extend(
        ["chart-good", "chart-bad", "chart-warn", "chart-busy"].map(|bar| (bar, "surface", 3.0)),
    );
    for (one, other, least) in pairs {
        for (at, theme) in ["light", "dark"].into_iter().enumerate() {
            let found = contrast(&tokens[one][at], &tokens[other][at]);
            assert!(found >= least, "{one} on {other} in the {theme} theme: {found:.2} of {least}");
        }
    }
}

/// A bar says by its colour what its badge says in words.
#[test]
fn a_bar_that_has_ended_has_the_colour_of_its_end() {
    for (state, token) in
        [("succeeded", "good"), ("failed", "bad"), ("cancelled", "idle"), ("skipped", "idle")]
    {
        let rule = CSS.split('}').find(|rule| {
            let selector = rule.split('{').next().unwrap_or_default();
            selector.contains(&format!("[data-task-state=\"{state}\"]"))
                && selector.contains("progress")
        });
        let rule = rule.unwrap_or_else(|| panic!("no bar of what has {state}"));
        assert!(rule.contains(&format!("--lw-accent: var(--lw-{token});")), "{rule}");
    }
}
