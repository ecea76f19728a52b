//! What may happen: what one owner may use, how deep calls may nest, and what needs consent.

mod account;
mod approval;
mod bucket;
mod effects;

pub use account::{Account, Entry, Refusal, Used};
pub use approval::{Consent, Reply};
pub use effects::{judged, needs_approval};
