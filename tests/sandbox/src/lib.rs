//! Stand-ins over real HTTP: a scripted model, a GPA-like DIAL application, a UMS-like service, each on its own loopback port.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that meets something unexpected should stop right there"
    )
)]

use std::io;
use std::time::Duration;

pub mod a2a;
pub mod faults;
pub mod runtime_api;
mod server;
pub mod stub;

mod model;

mod chat;
mod routing;
mod synthesis;

mod gpa;

mod calc;

mod ums;

mod clock;
mod text;
mod wire;

#[cfg(test)]
mod probe;

use server::Server;

/// The three stand-ins, running. Dropping it stops them: the ports close and open connections break off.
#[derive(Debug)]
pub struct Sandbox {
    model: Server,
    gpa: Server,
    ums: Server,
}

/// How to run the stand-ins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub ports: Ports,
    /// The wait before each streamed event. None by default; a few milliseconds make a demonstration look live.
    pub pace: Duration,
}

/// The loopback ports to listen on; 0 takes any free one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    pub model: u16,
    pub gpa: u16,
    pub ums: u16,
}

impl Sandbox {
    /// Starts on any free ports, answering at once.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> io::Result<Self> {
        let Options { ports, pace } = options;
        Ok(Self {
            model: Server::start(ports.model, model::router(pace)).await?,
            gpa: Server::start(ports.gpa, gpa::router(pace)).await?,
            ums: Server::start(ports.ums, ums::router(pace)).await?,
        })
    }

    /// The base of the OpenAI-compatible API: `{base}/chat/completions`, `{base}/models`.
    pub fn model_url(&self) -> String {
        format!("{}/openai/v1", self.model.url())
    }

    /// The chat completions address of the general purpose agent.
    pub fn gpa_url(&self) -> String {
        format!(
            "{}/openai/deployments/general-purpose-agent/chat/completions",
            self.gpa.url()
        )
    }

    /// The root of the user management service.
    pub fn ums_url(&self) -> String {
        self.ums.url()
    }
}
