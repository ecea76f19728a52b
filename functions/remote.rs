//! A running coordinator, as commands reach it.

use std::time::Duration;

use clap::Args;
use coordinator::domain::ids::Secret;
use coordinator::upstream::{Bounds, Call, Client, Error, Limits};
use tokio::time::Instant;

use crate::compose::Failed;

#[derive(Args)]
#[group(skip)]
pub struct Remote {
    /// The coordinator's address
    #[arg(long, default_value = "http://localhost:8055")]
    url: String,
    /// The Api-Key to send
    #[arg(long, default_value = "terminal")]
    key: String,
}

impl Remote {
    /// A client for it, if address and key can be used.
    pub fn client(&self) -> Result<Client, Failed> {
        let web = self.url.starts_with("http://") || self.url.starts_with("https://");
        if !web {
            return Err(format!(
                "--url is {:?}, expected an address such as http://localhost:8055",
                self.url
            )
            .into());
        }
        if self.key.is_empty() || !self.key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("--key cannot be sent, expected plain ASCII without blanks".into());
        }
        Ok(Client::new(&Bounds {
            connect: Duration::from_secs(5),
            ..Bounds::default()
        })?)
    }

    /// A request to one of its paths, with all the time that a person has.
    pub fn post(&self, path: &str, body: &serde_json::Value) -> Result<Call, Failed> {
        let patience = Duration::from_mins(15);
        let limits = Limits {
            first_byte: patience,
            idle: patience,
            until: Instant::now() + patience,
        };
        let origin = self.url.trim_end_matches('/');
        let call = Call::post(format!("{origin}{path}"), serde_json::to_vec(body)?, limits);
        Ok(call.secret("api-key", "", &Secret::new(&self.key)))
    }

    /// What went wrong, for a person.
    pub fn failed(&self, error: Error) -> Failed {
        match error {
            Error::Connect(_) => format!(
                "nothing answers at {}; `cargo run` starts the coordinator there",
                self.url.trim_end_matches('/')
            )
            .into(),
            Error::Status { status, error, .. } => format!(
                "refused with status {status}: {}",
                error.message.unwrap_or_default()
            )
            .into(),
            other => other.into(),
        }
    }
}
