//! An agent that speaks A2A: a task in, followed to its end by stream or by asking, and given up when nobody waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::task::{Session, Work};
use super::{Door, Error, EventStream, Gateway, Reach};
use crate::a2a::card::Offer;
use crate::a2a::{CARD, Method, OLD_CARD, VERSION_HEADER, part};
use crate::domain::agent::AgentCard;
use crate::domain::event::AgentEvent;
use crate::domain::turn::AgentTask;
use crate::resilience::retry::Repeat;
use crate::upstream::{self, Call, Limits, Trust};

/// How long a card is believed. An agent that cannot show it again goes on being spoken to as before.
const CARD_FRESH: Duration = Duration::from_mins(10);

/// One agent at one address. Clones share what is known of it.
#[derive(Clone, Debug)]
pub struct A2aGateway {
    pub(super) name: Arc<str>,
    /// Where its card is: without a trailing slash.
    base: Arc<str>,
    door: Door,
    repeat: Repeat,
    pub(super) reach: Reach,
    known: Arc<Mutex<Option<Known>>>,
}

#[derive(Debug)]
struct Known {
    at: Instant,
    offer: Arc<Offer>,
}

impl A2aGateway {
    pub fn new(card: &AgentCard, base: &Url, reach: Reach) -> Self {
        Self {
            name: card.id.as_str().into(),
            base: base.as_str().trim_end_matches('/').into(),
            door: Door::of(card, base, &reach),
            repeat: super::repeat(card),
            reach,
            known: Arc::default(),
        }
    }

    /// How the agent is spoken to: from its card, which is fetched when it is needed.
    pub(super) async fn offer(&self, limits: Limits) -> Result<Arc<Offer>, Error> {
        let known = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            (known.as_ref())
                .map(|known| (known.at.elapsed() < CARD_FRESH, Arc::clone(&known.offer)))
        };
        if let Some((true, offer)) = known {
            return Ok(offer);
        }
        match (self.fetch(limits).await, known) {
            (Ok(offer), _) => {
                let offer = Arc::new(offer);
                self.keep(Some(Known {
                    at: Instant::now(),
                    offer: Arc::clone(&offer),
                }));
                Ok(offer)
            }
            (Err(_), Some((_, stale))) => Ok(stale),
            (Err(error), None) => Err(Error::Unasked(error)),
        }
    }

    /// What is known of the agent turned out to be wrong: its card is fetched again next time.
    pub(super) fn unlearn(&self) {
        self.keep(None);
    }

    fn keep(&self, known: Option<Known>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    async fn fetch(&self, limits: Limits) -> Result<Offer, upstream::Error> {
        let get = |path: &str| {
            let call = Call::get(format!("{}{path}", self.base), limits).guarded();
            self.reach.client.body(self.door.open(call, None))
        };
        let card = match get(CARD).await {
            Err(upstream::Error::Status { status: 404, .. }) => get(OLD_CARD).await?,
            card => card?,
        };
        let mut offer = Offer::read(&card).ok_or_else(|| {
            upstream::Error::Unreadable(
                "the agent's card offers no JSON-RPC that is spoken here".into(),
            )
        })?;
        // The operator trusts the configured place with the agent's key; what a card says cannot send it elsewhere.
        if let Ok(mut home) = Url::parse(&self.base) {
            home.set_path(offer.url.path());
            home.set_query(offer.url.query());
            offer.url = home;
        }
        Ok(offer)
    }

    /// One JSON-RPC call.
    pub(super) fn rpc(
        &self,
        offer: &Offer,
        method: Method,
        mut params: Value,
        limits: Limits,
        task: Option<&AgentTask>,
    ) -> Call {
        if let (Some(tenant), Some(fields)) = (&offer.tenant, params.as_object_mut()) {
            fields.insert("tenant".into(), tenant.as_str().into());
        }
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": method.name(offer.version), "params": params,
        });
        let call = Call::post(offer.url.to_string(), body.to_string().into_bytes(), limits)
            .guarded()
            .header(VERSION_HEADER, offer.version.as_str())
            .header("accept", "text/event-stream, application/json")
            .repeated(match method {
                Method::Get | Method::Cancel => Repeat::Freely,
                Method::Send | Method::Stream => self.repeat,
            });
        let call = match task {
            Some(task) => call.traced(&task.caller),
            None => call,
        };
        self.door.open(call, task)
    }

    /// The call that sends the user's message, into the task that waits for it if there is one.
    pub(super) fn message(
        &self,
        offer: &Offer,
        task: &AgentTask,
        session: &Session,
    ) -> (Method, Call) {
        let method = if offer.streaming {
            Method::Stream
        } else {
            Method::Send
        };
        let params = params(offer, task, session);
        let limits = self.reach.limits(task.deadline);
        let call = self.rpc(offer, method, params, limits, Some(task));
        (method, call)
    }

    /// Tells the agent that nobody waits any more for one of its tasks.
    pub(super) async fn cancel(
        &self,
        id: &str,
        task: Option<&AgentTask>,
        within: Duration,
    ) -> Result<(), Error> {
        let until = Instant::now() + within;
        let limits = Limits {
            first_byte: within,
            idle: within,
            until,
        };
        let offer = self.offer(limits).await?;
        let call = self.rpc(&offer, Method::Cancel, json!({"id": id}), limits, task);
        self.reach.client.body(call).await?;
        Ok(())
    }
}

#[async_trait]
impl Gateway for A2aGateway {
    fn call(&self, task: AgentTask) -> EventStream {
        enum Step {
            Begin(Box<AgentTask>),
            Go(Box<Work>),
        }
        let gateway = self.clone();
        stream::try_unfold(Step::Begin(Box::new(task)), move |step| {
            let gateway = gateway.clone();
            async move {
                let mut work = match step {
                    Step::Begin(task) => Box::new(Work::begin(gateway, *task).await?),
                    Step::Go(work) => work,
                };
                let event: Option<AgentEvent> = work.next().await?;
                Ok::<_, Error>(event.map(|event| (event, Step::Go(work))))
            }
        })
        .boxed()
    }

    /// Nothing can be deleted by this protocol; a task that waits for the user is told that nobody will answer.
    async fn forget(&self, session: &str, within: Duration) -> Result<(), Error> {
        match Session::read(session).open {
            Some(task) => gone(self.cancel(&task, None, within).await),
            None => Ok(()),
        }
    }

    async fn abandon(&self, session: &str, within: Duration) -> Result<(), Error> {
        match Session::read(session).running {
            Some(task) => gone(self.cancel(&task, None, within).await),
            None => Ok(()),
        }
    }

    async fn check(&self, within: Duration) -> Result<(), Error> {
        let url = format!("{}{CARD}", self.base);
        let until = Instant::now() + within;
        upstream::probe(&self.reach.client, Trust::Guarded, url, until).await?;
        Ok(())
    }
}

/// A task that is not there any more needs no end.
fn gone(ended: Result<(), Error>) -> Result<(), Error> {
    match ended {
        Err(Error::Call(upstream::Error::Status { status: 404, .. })) => Ok(()),
        other => other,
    }
}

/// The parameters of a message. Nothing is kept waiting for the whole answer of an agent that does not stream: it is asked
/// how far it is.
fn params(offer: &Offer, task: &AgentTask, session: &Session) -> Value {
    let version = offer.version;
    let mut files = Vec::new();
    let mut manifest = task.manifest.clone();
    for file in &task.attachments {
        match part::file(version, file) {
            Some(part) => files.push(part),
            None => manifest.push(file.manifest()),
        }
    }
    let mut text = task.message_naming(&manifest);
    if session.context.is_none() {
        text.push_str(&task.recap());
    }
    let parts: VecDeque<Value> = [part::text(version, &text)]
        .into_iter()
        .chain(files)
        .collect();
    let (role, configuration) = match version {
        crate::a2a::Version::V03 => ("user", json!({"blocking": false})),
        crate::a2a::Version::V10 => ("ROLE_USER", json!({"returnImmediately": true})),
    };
    let mut message = json!({
        "messageId": format!("{}-{}", task.turn, u8::from(session.open.is_some())),
        "role": role,
        "parts": parts,
    });
    if let Some(fields) = message.as_object_mut() {
        if version == crate::a2a::Version::V03 {
            fields.insert("kind".into(), "message".into());
        }
        let ids = [("contextId", &session.context), ("taskId", &session.open)];
        for (name, id) in ids {
            fields.extend(id.as_deref().map(|id| (name.to_owned(), Value::from(id))));
        }
    }
    json!({"message": message, "configuration": configuration})
}
