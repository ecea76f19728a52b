//! Plain data: the words every other room speaks in.

pub mod access;
pub mod agent;
pub mod audit;
pub mod capability;
pub mod condition;
pub mod conversation;
pub mod day;
pub mod event;
pub mod failure;
pub mod ids;
pub mod language;
pub mod markdown;
pub mod message;
pub mod network;
pub mod plan;
pub mod proposal;
pub mod rules;
pub mod trace;
pub mod turn;
pub mod usage;
