//! What may happen: what one owner may use, how deep calls may nest, what needs consent, and what an answer must be.

mod account;
mod approval;
mod bucket;
mod claim;
mod effects;
mod prose;
mod refusal;
mod report;
mod spoken;

pub use account::{Account, Entry, PlanEnd, Refusal, Used};
pub use approval::{Consent, Reply};
pub use effects::{judged, needs_approval};
pub use report::{Answer, Fault, Wanted, faults};
