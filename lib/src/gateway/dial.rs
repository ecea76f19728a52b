//! A DIAL application as an agent: its own history, state and attachments in, every delta out.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;
use url::Url;

use super::reading::Reading;
use super::{Door, Error, EventStream, Gateway, Reach};
use crate::dial::request::{OutCustom, OutMessage, Outgoing};
use crate::domain::agent::{AgentCard, Endpoint};
use crate::domain::turn::{AgentTask, Caller, with_note};
use crate::resilience::retry::Repeat;
use crate::upstream::{self, Call, Trust};

/// An agent that speaks DIAL chat completions.
#[derive(Debug)]
pub struct DialGateway {
    name: String,
    endpoint: Endpoint,
    /// For a full address; DIAL Core has the caller's own key.
    door: Option<Door>,
    repeat: Repeat,
    reach: Reach,
}

impl DialGateway {
    pub fn new(card: &AgentCard, endpoint: &Endpoint, reach: Reach) -> Self {
        Self {
            name: card.id.to_string(),
            endpoint: endpoint.clone(),
            door: match endpoint {
                Endpoint::Url(url) => Some(Door::of_dial(card, url, &reach)),
                Endpoint::Deployment(_) => None,
            },
            repeat: super::repeat(card),
            reach,
        }
    }

    fn request(&self, task: &AgentTask) -> Call {
        let limits = self.reach.limits(task.deadline);
        let body = |model| serde_json::to_vec(&outgoing(model, task)).unwrap_or_default();
        let call = match &self.endpoint {
            Endpoint::Deployment(name) => Call::deployment(
                self.reach.core.as_deref().unwrap_or_default(),
                name,
                &task.caller,
                body(name),
                limits,
            ),
            Endpoint::Url(url) => {
                let address = direct(url, &self.name, &task.caller);
                let call = Call::post(address, body(&self.name), limits)
                    .guarded()
                    .traced(&task.caller);
                match &self.door {
                    Some(door) => door.open(call, Some(task)),
                    None => call,
                }
            }
        };
        call.header("x-conversation-id", &task.conversation)
            .repeated(self.repeat)
    }
}

#[async_trait]
impl Gateway for DialGateway {
    fn call(&self, task: AgentTask) -> EventStream {
        let call = self.request(&task);
        let (client, name) = (self.reach.client.clone(), self.name.clone());
        stream::once(async move {
            let reading = Reading::new(client.events(call).await?, &name);
            Ok::<_, Error>(stream::try_unfold(reading, async |mut reading| {
                Ok::<_, Error>(reading.next().await?.map(|event| (event, reading)))
            }))
        })
        .try_flatten()
        .boxed()
    }

    async fn check(&self, within: Duration) -> Result<(), Error> {
        let (trust, origin) = match &self.endpoint {
            Endpoint::Deployment(_) => (
                Trust::Configured,
                self.reach.core.clone().unwrap_or_default(),
            ),
            Endpoint::Url(url) => (Trust::Guarded, url.origin().ascii_serialization()),
        };
        upstream::probe(
            &self.reach.client,
            trust,
            format!("{origin}/health"),
            Instant::now() + within,
        )
        .await?;
        Ok(())
    }
}

/// The address of an application that is called directly: a bare origin gets the usual path, and the API version
/// comes with it unless the address has a query of its own, since the GPA passes it on.
fn direct(url: &Url, name: &str, caller: &Caller) -> String {
    let mut address = url.to_string();
    if matches!(url.path(), "" | "/") {
        let origin = url.origin().ascii_serialization();
        address = format!(
            "{origin}/openai/deployments/{}/chat/completions",
            upstream::segment(name)
        );
    }
    if url.query().is_none() {
        address.push_str("?api-version=");
        address.push_str(&upstream::api_version(caller));
    }
    address
}

/// The request as SDK 0.27 takes it, which is the strictest: content as plain strings, `custom_content` on every
/// assistant message (the GPA drops those without), attachments without indexes, nothing it does not know.
fn outgoing<'a>(model: &'a str, task: &'a AgentTask) -> Outgoing<'a> {
    let mut messages = Vec::with_capacity(task.history.len() * 2 + 1);
    for exchange in &task.history {
        messages.push(OutMessage {
            role: "user",
            content: with_note(&exchange.request, exchange.instructions.as_deref(), &[]).into(),
            custom_content: attachments(&exchange.request_attachments),
        });
        messages.push(OutMessage {
            role: "assistant",
            content: Cow::Borrowed(&exchange.answer),
            custom_content: Some(OutCustom {
                attachments: &exchange.attachments,
                state: exchange.state.as_ref(),
            }),
        });
    }
    messages.push(OutMessage {
        role: "user",
        content: task.message().into(),
        custom_content: attachments(&task.attachments),
    });
    Outgoing {
        model,
        messages,
        stream: true,
        stream_options: None,
        response_format: None,
    }
}

fn attachments(list: &[crate::domain::message::Attachment]) -> Option<OutCustom<'_>> {
    (!list.is_empty()).then_some(OutCustom {
        attachments: list,
        state: None,
    })
}
