//! The one HTTP client: calls to models, agents and DIAL Core, made as often as they may be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use tokio::time::Instant;

use super::answer::{Answer, Events, within};
use super::call::{Call, Limits};
use super::error::Error;
use crate::domain::rules::{Caps, Times};
use crate::resilience::retry::{Repeat, Retry};

/// What bounds every call of the process.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// One connection attempt.
    pub connect: Duration,
    pub caps: Caps,
}

impl Default for Bounds {
    fn default() -> Self {
        let times = Times::default();
        Self {
            connect: times.connect,
            caps: Caps::default(),
        }
    }
}

/// The one HTTP client of the process. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    pooled: reqwest::Client,
    /// A new connection for every call: one that was idle may be dead, and what was sent on it cannot be sent again.
    fresh: reqwest::Client,
    retry: Arc<Retry>,
    caps: Caps,
}

impl Client {
    /// Redirects are never followed and nothing is decompressed.
    pub fn new(bounds: &Bounds) -> Result<Self, Error> {
        let roots = webpki_roots::TLS_SERVER_ROOTS
            .iter()
            .cloned()
            .collect::<rustls::RootCertStore>();
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Unreadable(Box::new(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
        let build = |idle_connections| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .connect_timeout(bounds.connect)
                .pool_max_idle_per_host(idle_connections)
                // Below the 5 s after which uvicorn, which serves most agents, closes an idle connection.
                .pool_idle_timeout(Duration::from_secs(4))
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .tcp_nodelay(true)
                .no_proxy()
                .build()
                .map_err(Error::Request)
        };
        Ok(Self {
            pooled: build(usize::MAX)?,
            fresh: build(0)?,
            retry: Arc::new(Retry::new(Instant::now())),
            caps: bounds.caps,
        })
    }

    /// Makes the call and reads the whole body.
    pub async fn body(&self, call: Call) -> Result<Bytes, Error> {
        self.answer(call).await?.block().await
    }

    /// Makes the call and reads its events. A plain JSON answer counts as one event and its end mark.
    pub async fn events(&self, call: Call) -> Result<Events, Error> {
        Ok(self.answer(call).await?.events())
    }

    /// The head of an answer, after as many attempts as the call allows. What follows is never asked for again.
    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        let (repeat, until) = (call.repeat, call.limits.until);
        self.retry
            .run(repeat, until, Error::verdict, || self.send(call.clone()))
            .await
    }

    async fn send(&self, call: Call) -> Result<Answer, Error> {
        let Call {
            method,
            url,
            headers,
            body,
            limits,
            repeat,
        } = call;
        let http = match repeat {
            Repeat::Unsent => &self.fresh,
            Repeat::Never | Repeat::Freely => &self.pooled,
        };
        let mut request = http
            .request(method, url)
            .headers(headers)
            .header(ACCEPT_ENCODING, "identity");
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let first_byte = Instant::now() + limits.first_byte;
        let response = within(first_byte, limits.first_byte, limits.until, request.send())
            .await?
            .map_err(|error| {
                let error = error.without_url();
                if error.is_connect() {
                    Error::Connect(error)
                } else if error.is_builder() {
                    Error::Request(error)
                } else {
                    Error::Reset(error)
                }
            })?;
        Answer::new(response, limits, self.caps, first_byte)
            .good()
            .await
    }
}

/// Asks whether anything answers at an address: any status but a server error will do.
pub async fn probe(client: &Client, url: String, until: Instant) -> Result<(), Error> {
    let limits = Limits {
        first_byte: until.saturating_duration_since(Instant::now()),
        idle: until.saturating_duration_since(Instant::now()),
        until,
    };
    match client
        .body(Call::get(url, limits).repeated(Repeat::Never))
        .await
    {
        Err(Error::Status { status, .. }) if status < 500 => Ok(()),
        other => other.map(drop),
    }
}
