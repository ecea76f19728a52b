//! Calls to models, agents and DIAL Core: one HTTP client, its limits, its readers.

mod answer;
mod call;
mod certificates;
mod client;
mod connections;
mod error;
mod pool;
mod resolver;

pub use answer::Events;
pub use call::{Call, Limits, api_version, segment};
pub use certificates::Certificates;
pub use client::{Bounds, Client, Fetched, probe};
pub use connections::Trust;
pub use error::Error;
pub use resolver::Lookup;
