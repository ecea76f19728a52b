//! The coordinator library, room by room, in reading order.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that goes wrong should stop right there"
    )
)]

pub mod a2a;
pub mod context;
pub mod coordinator;
pub mod dial;
pub mod domain;
pub mod experiments;
pub mod facts;
pub mod gateway;
pub mod guard;
pub mod hooks;
pub mod http;
pub mod llm;
pub mod metrics;
pub mod orchestrate;
pub mod policy;
pub mod privacy;
pub mod registry;
pub mod resilience;
pub mod route;
pub mod settings;
pub mod store;
pub mod stream;
pub mod synthesize;
pub mod telemetry;
pub mod upstream;
