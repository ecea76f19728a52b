//! Calls to models, agents and DIAL Core: one HTTP client, its limits, its readers.

mod call;
mod client;

pub use call::{Call, Limits, api_version, segment};
pub use client::{Client, Error, Events, probe};
