//! The shop of `examples/webapp` in a real browser: the program itself on a port of its own, chromedriver, Chromium.
//! Nothing here waits for time to pass, only for what a person would wait for.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod child;

#[path = "browser/desk.rs"]
mod desk;
#[path = "browser/forms.rs"]
mod forms;
#[path = "browser/heard.rs"]
mod heard;
#[path = "browser/hostile.rs"]
mod hostile;
#[path = "browser/module.rs"]
mod module;
#[path = "browser/pace.rs"]
mod pace;
#[path = "browser/pictures.rs"]
mod pictures;
#[path = "browser/server.rs"]
mod server;
#[path = "browser/tabs.rs"]
mod tabs;
#[path = "browser/told.rs"]
mod told;
#[path = "browser/ways.rs"]
mod ways;
