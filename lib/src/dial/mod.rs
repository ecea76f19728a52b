//! The DIAL and OpenAI wire, both directions.

mod call;
pub mod chunk;
pub mod client;
pub mod delta;
pub mod fold;
mod lenient;
pub mod request;
pub mod sse;
mod surrogate;
