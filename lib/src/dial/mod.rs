//! The DIAL and OpenAI wire, both directions.

pub mod chunk;
pub mod configuration;
pub mod delta;
pub mod explain;
pub mod fold;
mod lenient;
pub mod objects;
pub mod request;
pub mod sse;
pub mod surrogate;
