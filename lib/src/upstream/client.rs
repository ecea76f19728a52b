//! The one HTTP client: calls to models, agents and DIAL Core, made as often as they may be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use tokio::time::Instant;

use super::answer::{Answer, Events, within};
use super::call::{Call, Limits};
use super::certificates::Certificates;
use super::connections::{Connections, Trust};
use super::error::Error;
use super::resolver::Lookup;
use crate::domain::ids::Clock;
use crate::domain::network::{Networks, Refused};
use crate::domain::rules::{Caps, Times};
use crate::resilience::retry::{Repeat, Retry};

/// A document as it was fetched.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub body: Bytes,
    /// Names this version of it, where its sender does.
    pub tag: Option<String>,
}

/// What bounds every call of the process.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// One connection attempt.
    pub connect: Duration,
    /// How long an unused connection is kept.
    pub pool_idle: Duration,
    /// An attempt that would have less time than this is not made.
    pub retry_reserve: Duration,
    pub caps: Caps,
    /// Where agents may be beside public addresses.
    pub networks: Networks,
    pub lookup: Lookup,
    pub clock: Clock,
    pub certificates: Certificates,
}

impl Default for Bounds {
    fn default() -> Self {
        let times = Times::default();
        Self {
            connect: times.connect,
            pool_idle: times.pool_idle,
            retry_reserve: times.retry_reserve,
            caps: Caps::default(),
            networks: Networks::default(),
            lookup: Lookup::default(),
            clock: Clock::default(),
            certificates: Certificates::default(),
        }
    }
}

/// The one HTTP client of the process. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    connections: Arc<Connections>,
    retry: Arc<Retry>,
    caps: Caps,
}

impl Client {
    /// Redirects are never followed and nothing is decompressed.
    pub fn new(bounds: &Bounds) -> Result<Self, Error> {
        Ok(Self {
            connections: Arc::new(Connections::new(bounds)?),
            retry: Arc::new(Retry::new(Instant::now(), bounds.retry_reserve)),
            caps: bounds.caps,
        })
    }

    /// Makes the call and reads the whole body.
    pub async fn body(&self, call: Call) -> Result<Bytes, Error> {
        self.answer(call).await?.block().await
    }

    /// Makes the call and reads the whole body, unless the peer says that the version of this tag is still it.
    pub async fn fetch(&self, call: Call, tag: Option<&str>) -> Result<Option<Fetched>, Error> {
        let call = match tag {
            Some(tag) => call.header("if-none-match", tag),
            None => call,
        };
        match self.answer(call).await {
            Ok(answer) => {
                let tag = answer.tag();
                let body = answer.block().await?;
                Ok(Some(Fetched { body, tag }))
            }
            Err(Error::Status { status: 304, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the call and reads its events. A plain JSON answer counts as one event and its end mark.
    pub async fn events(&self, call: Call) -> Result<Events, Error> {
        Ok(self.answer(call).await?.events())
    }

    /// The head of an answer, after as many attempts as the call allows. What follows is never asked for again.
    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        let (repeat, until) = (call.repeat, call.limits.until);
        let mut first = true;
        self.retry
            .run(repeat, until, Error::verdict, || {
                let mut call = call.clone();
                // The kept connections may all have died together: a repeat takes a new one.
                if !std::mem::take(&mut first) {
                    call.repeat = Repeat::Unsent;
                }
                self.send(call).boxed()
            })
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
            trust,
        } = call;
        // Nearly everything is; what is not says so.
        let json = !headers.contains_key(CONTENT_TYPE);
        let lease = self.connections.of(trust, &url, repeat)?;
        let mut request = lease
            .client
            .request(method, url)
            .headers(headers)
            .header(ACCEPT_ENCODING, "identity");
        if let Some(body) = body {
            if json {
                request = request.header(CONTENT_TYPE, "application/json");
            }
            request = request.body(body);
        }
        let first_byte = Instant::now() + limits.first_byte;
        let response = within(first_byte, limits.first_byte, limits.until, request.send())
            .await?
            .map_err(|error| {
                let error = error.without_url();
                if let Some(refused) = cause::<Refused>(&error) {
                    Error::Refused(refused.clone())
                } else if error.is_connect() {
                    Error::Connect(error)
                } else if error.is_builder() {
                    Error::Request(error)
                } else if cause(&error).is_some_and(hyper::Error::is_parse) {
                    // Something came that is no HTTP: unlike a connection that broke, that is no accident.
                    Error::Unreadable(Box::new(error))
                } else {
                    Error::Reset(error)
                }
            })?;
        Answer::new(response, lease, limits, self.caps, first_byte)
            .good()
            .await
    }
}

/// The first cause of this kind.
fn cause<E: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Asks whether anything answers at an address: any status but a server error will do.
pub async fn probe(
    client: &Client,
    trust: Trust,
    url: String,
    until: Instant,
) -> Result<(), Error> {
    let limits = Limits {
        first_byte: until.saturating_duration_since(Instant::now()),
        idle: until.saturating_duration_since(Instant::now()),
        until,
    };
    let mut call = Call::get(url, limits).repeated(Repeat::Never);
    call.trust = trust;
    match client.body(call).await {
        Err(Error::Status { status, .. }) if status < 500 => Ok(()),
        other => other.map(drop),
    }
}
