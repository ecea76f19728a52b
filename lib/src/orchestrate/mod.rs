//! In what pattern do agents work? The plan says; the first is the simplest.

mod compare;
mod form;
mod judge;
mod single;
mod speculate;

pub use compare::{Comparer, Said, may_conflict};
pub use judge::{Judge, Judgement, Judging, Trouble};
pub use single::{Agents, Asked, Error, Out, Report};
pub use speculate::{Chance, Guess, Likely};
