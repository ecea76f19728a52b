//! What may happen: what one owner may use, how deep calls may nest, and what needs consent.

mod account;
mod approval;
mod bucket;

pub use account::{Account, Entry, Refusal, Used};
pub use approval::Consent;
