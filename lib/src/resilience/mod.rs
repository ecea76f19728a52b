//! Machinery for failure: values and steps without clocks or tasks, and the one retry loop.

pub mod breaker;
pub mod deadline;
pub mod failover;
pub mod health;
pub mod retry;
