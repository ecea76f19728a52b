//! The memory: one `DynamoDB` table for the server's half, sealed message state for the client's.
//!
//! Each call to the table is boxed: it takes 7 KB while it lasts, which every future that may come to make one would hold.

mod accounts;
mod attributes;
mod audit;
pub mod aws;
mod breakers;
mod cells;
pub mod chain;
pub mod check;
mod client;
mod conversations;
mod decisions;
mod entries;
pub mod envelope;
mod inspect;
pub mod keyring;
mod keys;
mod person;
mod preferences;
mod proposals;
mod requests;
mod runs;
mod save;
pub mod secrets;
mod trials;

pub use accounts::{Accounts, Known, Leave};
pub use audit::Audit;
pub use breakers::Breakers;
pub use cells::Versioned;
pub use client::{Table, Wire, connect, connect_by, create, is_local};
pub use conversations::Conversations;
pub use decisions::{Decision, Decisions};
pub use entries::{Change, Changing, Entries, Entry, Kept, Put, Target};
pub use inspect::Shown;
pub use person::{Person, Record};
pub use preferences::{Changed, Seen, Wishes};
pub use save::{Saved, Session, Write, Written};

pub use proposals::Proposals;
pub use runs::Runs;
pub use trials::Trials;

use aws_sdk_dynamodb::error::SdkError;

/// Why the table gave or took nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the table did not answer")]
    Call(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("an item of the table cannot be read")]
    Unreadable(#[source] Option<serde_json::Error>),
    #[error("the table did not answer in time")]
    Slow,
    #[error("too many wrote the same item at once")]
    Contended,
}

impl<E, R> From<SdkError<E, R>> for Error
where
    E: std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    fn from(error: SdkError<E, R>) -> Self {
        Self::Call(Box::new(error))
    }
}
