//! Machinery for failure: values and steps without clocks or tasks, and the one retry loop.

pub mod deadline;
pub mod health;
pub mod retry;
