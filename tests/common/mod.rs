//! What the contract suite and the stories share: a lab with a clock that is moved by hand, a file
//! in a temporary folder, a log that bodies write to, and a gate at which they can be held.
#![allow(dead_code, reason = "each test crate uses its part of the lab")]

mod events;
mod lab;
mod props;

#[allow(unused_imports, reason = "each test crate uses its part of the lab")]
pub(crate) use events::{Events, Said};
#[allow(unused_imports, reason = "each test crate uses its part of the lab")]
pub(crate) use lab::{Keeps, LONG, Lab, Place, Runs};
#[allow(unused_imports, reason = "each test crate uses its part of the lab")]
pub(crate) use props::{Gate, Log, block_on, eventually};
