//! Pure machinery for failure: values and steps, no clocks, no tasks.

pub mod deadline;
pub mod health;
