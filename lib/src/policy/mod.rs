//! What may happen: what one owner may use, and how deep calls may nest.

mod account;
mod bucket;

pub use account::{Account, Entry, Refusal, Used};
