//! Pages and JSON as those who wait see them: requests to the service, no server between.
#![allow(clippy::unwrap_used)]

#[path = "web/access.rs"]
mod access;
#[path = "web/api.rs"]
mod api;
#[path = "web/bad_input.rs"]
mod bad_input;
#[path = "web/colours.rs"]
mod colours;
#[path = "web/desk.rs"]
mod desk;
#[path = "web/document.rs"]
mod document;
#[path = "web/feed.rs"]
mod feed;
#[path = "web/machine.rs"]
mod machine;
#[path = "web/mount.rs"]
mod mount;
#[path = "web/hostile.rs"]
mod hostile;
#[path = "web/many.rs"]
mod many;
#[path = "web/markup.rs"]
mod markup;
#[path = "web/operator.rs"]
mod operator;
#[path = "web/pages.rs"]
mod pages;
#[path = "web/pieces.rs"]
mod pieces;
#[path = "web/planned.rs"]
mod planned;
#[path = "web/respond.rs"]
mod respond;
#[cfg(feature = "axum")]
#[path = "web/socket.rs"]
mod socket;
#[path = "web/tasks.rs"]
mod tasks;
#[cfg(feature = "axum")]
#[path = "web/wild.rs"]
mod wild;
#[path = "web/words.rs"]
mod words;
