//! What the user sees while the turn runs.

pub mod about;
mod body;
pub mod checks;
pub mod labels;
mod mirror;
pub mod preferences;
mod sentences;
mod sink;

pub use crate::dial::chunk::FinishReason;
pub use body::TurnBody;
pub use mirror::{Mirror, Nesting};
pub use sink::{AnswerSink, Stage};
