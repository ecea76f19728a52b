//! In what pattern do agents work? The plan says; the first is the simplest.

mod single;

pub use single::{Agents, Error, Report};
