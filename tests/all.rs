//! The tests that cross rooms, in one binary: stories over real HTTP, samples, contracts, laws.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that goes wrong should stop right there, and its servers are tasks of the test"
)]

#[path = "../functions/compose.rs"]
mod compose;

#[path = "../functions/collector.rs"]
mod collector;

mod checker;
mod link;
mod spans;
mod world;

mod a2a;
mod a2a_face;
mod ambiguity;
mod approvals;
mod assertion;
mod audit;
mod auth;
mod branches;
mod budget;
mod caps;
mod chat;
mod checks;
mod clockwork;
mod configuration;
mod crash;
mod discovery;
mod experiments;
mod facts;
mod failures;
mod faults;
mod figures;
mod fuzz_mirror;
mod gateway_contract;
mod goes_on;
mod golden;
mod health;
mod hooks;
mod input;
mod ladder;
mod limits;
mod logs;
mod memory;
mod metrics;
mod models;
mod openai;
mod outbound;
mod panics;
mod person;
mod preferences;
mod registry;
mod requirements;
mod samples;
mod secrets;
mod several;
mod simulation;
mod snapshots;
mod speculation;
mod standins;
mod tokens;
mod traces;

mod architecture;
mod template;
