//! A service with its own conversations as an agent: created once, reused, created again when lost or another branch's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

use super::reading::Reading;
use super::{Door, Error, EventStream, Gateway, Reach};
use crate::domain::agent::AgentCard;
use crate::domain::event::AgentEvent;
use crate::domain::turn::AgentTask;
use crate::upstream::{self, Call, Events, Limits, Trust, segment};

/// An agent that speaks the conversation API (`POST /conversations`, `POST /conversations/{id}/chat`).
#[derive(Clone, Debug)]
pub struct ConversationGateway {
    name: String,
    /// Without a trailing slash.
    base: String,
    door: Door,
    reach: Reach,
}

/// Where a call stands between two events.
enum Step {
    /// Nothing is sent yet.
    Begin,
    /// The conversation is there, the message is not sent.
    Send {
        session: String,
        lost: bool,
    },
    Read(Box<Reading>),
}

impl ConversationGateway {
    pub fn new(card: &AgentCard, base: &Url, reach: Reach) -> Self {
        Self {
            name: card.id.to_string(),
            base: base.as_str().trim_end_matches('/').to_owned(),
            door: Door::of(card, base, &reach),
            reach,
        }
    }

    /// Goes on to the next event.
    async fn advance(
        &self,
        task: &AgentTask,
        mut step: Step,
    ) -> Result<Option<(AgentEvent, Step)>, Error> {
        loop {
            step = match step {
                Step::Begin => match task.session.clone().filter(|id| is_id(id)) {
                    Some(session) => Step::Send {
                        session,
                        lost: false,
                    },
                    None => return self.create(task, false).await.map(Some),
                },
                Step::Send { session, lost } => match self.send(task, &session).await {
                    Ok(events) => Step::Read(Box::new(Reading::new(events, &self.name))),
                    Err(error) if !lost && self.is_lost(task, &session, &error).await => {
                        tracing::info!(agent.id = self.name, "the agent lost its conversation");
                        return self.create(task, true).await.map(Some);
                    }
                    Err(error) => return Err(error.into()),
                },
                Step::Read(mut reading) => {
                    let event = reading.next().await?;
                    return Ok(event.map(|event| (event, Step::Read(reading))));
                }
            }
        }
    }

    async fn create(&self, task: &AgentTask, lost: bool) -> Result<(AgentEvent, Step), Error> {
        #[derive(Deserialize)]
        struct Created {
            id: String,
        }
        // A JSON body with a title is mandatory.
        let body = format!("{{\"title\":\"MAS {}\"}}", task.turn.reference());
        let call = self.call(task, "/conversations", Some(body.into_bytes()));
        let answer = self.reach.client.body(call).await.map_err(Error::Unasked)?;
        let session = serde_json::from_slice::<Created>(&answer)
            // The reader's own error would repeat what it read.
            .map_err(|_| {
                Error::Unasked(upstream::Error::Unreadable("there is no id in it".into()))
            })?
            .id;
        if !is_id(&session) {
            return Err(Error::BadSession);
        }
        let event = AgentEvent::Session {
            id: session.clone(),
            created: true,
        };
        Ok((event, Step::Send { session, lost }))
    }

    async fn send(&self, task: &AgentTask, session: &str) -> Result<Events, upstream::Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            message: Message<'a>,
            stream: bool,
        }
        #[derive(Serialize)]
        struct Message<'a> {
            role: &'a str,
            content: &'a str,
        }
        let mut content = task.message();
        if task.session.as_deref() != Some(session) {
            content.push_str(&task.recap());
        }
        let body = Body {
            message: Message {
                role: "user",
                content: &content,
            },
            stream: true,
        };
        let path = format!("/conversations/{}/chat", segment(session));
        let body = serde_json::to_vec(&body).unwrap_or_default();
        self.reach
            .client
            .events(self.call(task, &path, Some(body)))
            .await
    }

    /// 404 says it; 500 says it only together with a 404 of the conversation itself. Nothing else may be repeated.
    async fn is_lost(&self, task: &AgentTask, session: &str, error: &upstream::Error) -> bool {
        match error {
            upstream::Error::Status { status: 404, .. } => true,
            upstream::Error::Status { status: 500, .. } => {
                let path = format!("/conversations/{}", segment(session));
                let asked = self.reach.client.body(self.call(task, &path, None)).await;
                matches!(asked, Err(upstream::Error::Status { status: 404, .. }))
            }
            _ => false,
        }
    }

    fn call(&self, task: &AgentTask, path: &str, body: Option<Vec<u8>>) -> Call {
        let url = format!("{}{path}", self.base);
        let limits = self.reach.limits(task.deadline);
        let call = match body {
            Some(body) => Call::post(url, body, limits),
            None => Call::get(url, limits),
        }
        .guarded()
        .traced(&task.caller);
        self.door.open(call, Some(task))
    }
}

#[async_trait]
impl Gateway for ConversationGateway {
    fn call(&self, task: AgentTask) -> EventStream {
        let shared = Arc::new((self.clone(), task));
        stream::try_unfold(Step::Begin, move |step| {
            let shared = Arc::clone(&shared);
            async move { shared.0.advance(&shared.1, step).await }
        })
        .boxed()
    }

    async fn forget(&self, session: &str, within: Duration) -> Result<(), Error> {
        if !is_id(session) {
            // No agent was ever asked under such a name.
            return Ok(());
        }
        let url = format!("{}/conversations/{}", self.base, segment(session));
        let limits = Limits {
            first_byte: within,
            idle: within,
            until: Instant::now() + within,
        };
        let call = self.door.open(Call::delete(url, limits).guarded(), None);
        match self.reach.client.body(call).await {
            Ok(_) | Err(upstream::Error::Status { status: 404, .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn check(&self, within: Duration) -> Result<(), Error> {
        let until = Instant::now() + within;
        let url = format!("{}/health", self.base);
        upstream::probe(&self.reach.client, Trust::Guarded, url, until).await?;
        Ok(())
    }
}

/// Ids go into paths, so only plain ones are taken, whoever made them.
fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
