//! In what pattern do agents work? The plan says; the first is the simplest.

mod compare;
mod form;
mod single;
mod speculate;

pub use compare::{Comparer, Said, may_conflict};
pub use single::{Agents, Error, Out, Report};
pub use speculate::{Chance, Guess, Likely};
