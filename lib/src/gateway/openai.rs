//! A plain OpenAI-compatible server as an agent: text and pictures in, text and usage out, nothing of DIAL's own.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use tokio::time::Instant;
use url::Url;

use super::{Door, Error, EventStream, Gateway, Reach, reading};
use crate::dial::request::StreamOptions;
use crate::domain::agent::AgentCard;
use crate::domain::event::AgentEvent;
use crate::domain::message::Attachment;
use crate::domain::turn::{AgentTask, with_note};
use crate::resilience::retry::Repeat;
use crate::upstream::{self, Call, Trust};

/// What an address ends with that is the place itself and not the base of several.
const PLACE: &str = "/chat/completions";

/// An agent that speaks chat completions as OpenAI made them.
#[derive(Debug)]
pub struct OpenAiGateway {
    name: String,
    model: String,
    /// Up to the place, without a trailing slash.
    base: String,
    /// With its question mark, or empty.
    query: String,
    door: Door,
    repeat: Repeat,
    reach: Reach,
}

#[derive(Serialize)]
struct Outgoing<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    stream_options: StreamOptions,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Content<'a>,
}

/// Plain text where there is nothing else: not every server takes a list.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(String),
    Borrowed(&'a str),
    Parts(Vec<Part>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    Text { text: String },
    ImageUrl { image_url: Image },
}

#[derive(Serialize)]
struct Image {
    url: String,
}

impl OpenAiGateway {
    pub fn new(card: &AgentCard, model: &str, url: &Url, reach: Reach) -> Self {
        let path = url.path().trim_end_matches('/');
        let base = path.strip_suffix(PLACE).unwrap_or(path);
        Self {
            name: card.id.to_string(),
            model: model.to_owned(),
            base: format!("{}{base}", url.origin().ascii_serialization()),
            query: url
                .query()
                .map(|query| format!("?{query}"))
                .unwrap_or_default(),
            door: Door::of(card, url, &reach),
            repeat: super::repeat(card),
            reach,
        }
    }

    fn request(&self, task: &AgentTask) -> Call {
        let body = Outgoing {
            model: &self.model,
            messages: messages(task),
            stream: true,
            stream_options: StreamOptions {
                include_usage: true,
            },
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let url = format!("{}{PLACE}{}", self.base, self.query);
        let call = Call::post(url, body, self.reach.limits(task.deadline))
            .guarded()
            .traced(&task.caller)
            .repeated(self.repeat);
        self.door.open(call, Some(task))
    }
}

#[async_trait]
impl Gateway for OpenAiGateway {
    fn call(&self, task: AgentTask) -> EventStream {
        let call = self.request(&task);
        reading::events(self.reach.client.clone(), call, self.name.clone())
            // What only DIAL applications say means nothing here, and is nobody's state.
            .try_filter(|event| std::future::ready(is_plain(event)))
            .boxed()
    }

    async fn check(&self, within: Duration) -> Result<(), Error> {
        let url = format!("{}/models{}", self.base, self.query);
        let until = Instant::now() + within;
        upstream::probe(&self.reach.client, Trust::Guarded, url, until).await?;
        Ok(())
    }
}

fn is_plain(event: &AgentEvent) -> bool {
    matches!(
        event,
        AgentEvent::Text(_) | AgentEvent::Usage(_) | AgentEvent::Cut | AgentEvent::Finished
    )
}

/// The agent's own turns and the new message; a plain server remembers nothing.
fn messages(task: &AgentTask) -> Vec<Message<'_>> {
    let mut messages = Vec::with_capacity(task.history.len() * 2 + 1);
    for exchange in &task.history {
        let (pictures, manifest) = sorted(&exchange.request_attachments);
        let text = with_note(
            &exchange.request,
            exchange.instructions.as_deref(),
            &manifest,
        );
        messages.push(Message {
            role: "user",
            content: content(text, pictures),
        });
        messages.push(Message {
            role: "assistant",
            content: Content::Borrowed(&exchange.answer),
        });
    }
    let (pictures, mut manifest) = sorted(&task.attachments);
    manifest.splice(..0, task.manifest.iter().cloned());
    let text = task.message_naming(&manifest);
    messages.push(Message {
        role: "user",
        content: content(text, pictures),
    });
    messages
}

fn content<'a>(text: String, pictures: Vec<String>) -> Content<'a> {
    if pictures.is_empty() {
        return Content::Text(text);
    }
    let pictures = pictures.into_iter().map(|url| Part::ImageUrl {
        image_url: Image { url },
    });
    Content::Parts([Part::Text { text }].into_iter().chain(pictures).collect())
}

/// The addresses of pictures that the server can see, and a line for everything else.
fn sorted(files: &[Attachment]) -> (Vec<String>, Vec<String>) {
    let (mut pictures, mut manifest) = (Vec::new(), Vec::new());
    for file in files {
        match picture(file) {
            Some(url) => pictures.push(url),
            None => manifest.push(file.manifest()),
        }
    }
    (pictures, manifest)
}

/// A file of DIAL Core's storage has no address that others could use.
fn picture(file: &Attachment) -> Option<String> {
    let media_type = (file.media_type.as_deref()).filter(|it| it.starts_with("image/"))?;
    match (&file.url, &file.data) {
        (Some(url), _) => {
            let open = ["https://", "http://", "data:"];
            let open = open.iter().any(|scheme| url.starts_with(scheme));
            open.then(|| url.clone())
        }
        (None, Some(data)) => Some(format!("data:{media_type};base64,{data}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::domain::ids::{AgentId, TurnId};
    use crate::domain::turn::Given;

    fn file(media_type: &str, url: Option<&str>, data: Option<&str>) -> Attachment {
        Attachment {
            media_type: Some(media_type.into()),
            title: Some("f".into()),
            url: url.map(str::to_owned),
            data: data.map(str::to_owned),
            ..Attachment::default()
        }
    }

    #[test]
    fn only_a_picture_that_the_server_can_see_is_a_picture() {
        let check = |file: Attachment, expected: Option<&str>| {
            assert_eq!(picture(&file).as_deref(), expected, "{file:?}");
        };
        check(
            file("image/png", None, Some("iVBO")),
            Some("data:image/png;base64,iVBO"),
        );
        check(
            file("image/png", Some("https://a/x.png"), None),
            Some("https://a/x.png"),
        );
        check(file("image/png", Some("files/bucket/x.png"), None), None);
        check(file("text/csv", None, Some("a,b")), None);
    }

    #[test]
    fn the_results_of_other_steps_are_told() {
        let task = AgentTask {
            turn: TurnId::now(),
            caller: Arc::default(),
            conversation: "c".into(),
            deadline: Instant::now(),
            history: Vec::new(),
            pruned: false,
            text: "Summarise it".into(),
            instructions: None,
            given: vec![Given {
                name: "weather".into(),
                agent: AgentId::new("GPA"),
                text: "sunny".into(),
            }],
            attachments: Vec::new(),
            manifest: Vec::new(),
            session: None,
        };
        let sent = serde_json::to_string(&messages(&task)).unwrap();
        assert!(
            sent.contains("Summarise it") && sent.contains("sunny"),
            "{sent}"
        );
    }

    #[test]
    fn a_message_without_pictures_is_plain_text() {
        let shown = |content| serde_json::to_value(content).unwrap();
        assert_eq!(shown(content("hi".into(), Vec::new())), json!("hi"));
        assert_eq!(
            shown(content("hi".into(), vec!["https://a/x.png".into()])),
            json!([{"type": "text", "text": "hi"},
                   {"type": "image_url", "image_url": {"url": "https://a/x.png"}}])
        );
    }
}
