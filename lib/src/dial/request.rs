//! The chat request: read from our callers, and written to models and agents.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::configuration::Configuration;
use super::explain::{explain, invalid, malformed};
use super::{objects, surrogate};
use crate::domain::failure::{Code, Failure};
use crate::domain::message::{Attachment, Message, OpaqueState, Role};
use crate::domain::sentences;

/// A chat request, validated.
#[derive(Debug, PartialEq)]
pub struct ChatRequest {
    /// Never empty; the last one is the user's.
    pub messages: Vec<Message>,
    pub stream: bool,
    pub model: Option<String>,
    pub configuration: Configuration,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    messages: Vec<Object<WireMessage<'a>>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    n: Option<u64>,
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    custom_fields: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    role: WireRole,
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(borrow, default)]
    custom_content: Option<Object<WireCustom<'a>>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireRole {
    System,
    Developer,
    User,
    Assistant,
    Function,
    Tool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    #[serde(borrow)]
    Parts(Vec<Object<Part<'a>>>),
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
    #[serde(default)]
    image_url: Option<ImageUrl>,
    #[serde(default)]
    input_audio: Option<InputAudio>,
    #[serde(default)]
    file: Option<FilePart>,
}

#[derive(Deserialize)]
struct ImageUrl {
    url: String,
}

#[derive(Deserialize)]
struct InputAudio {
    data: String,
    format: String,
}

#[derive(Deserialize)]
struct FilePart {
    #[serde(default)]
    file_data: Option<String>,
    #[serde(default)]
    filename: Option<String>,
}

#[derive(Deserialize)]
struct WireCustom<'a> {
    #[serde(default)]
    attachments: Option<Vec<Attachment>>,
    #[serde(borrow, default)]
    state: Option<&'a RawValue>,
    #[serde(borrow, default)]
    form_value: Option<&'a RawValue>,
}

/// A JSON object: a derived reader alone would also take a list, for the fields in order.
pub(super) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;
            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields))
            }
        }
        from.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

impl ChatRequest {
    /// Reads and checks a body of at most so many messages. Unknown fields are accepted; what is wrong is named with its
    /// path.
    pub fn read(body: &[u8], most: usize) -> Result<Self, Failure> {
        let text = std::str::from_utf8(body).map_err(|error| {
            malformed(&format!(
                "it is not UTF-8 from byte {} on",
                error.valid_up_to()
            ))
        })?;
        let text = surrogate::mended(text);
        if objects::are_too_many(&text) {
            return Err(Failure::new(
                Code::RequestTooLarge,
                format!("the request has more than {} parts", objects::MOST),
                sentences::too_many_parts(),
            ));
        }
        let Ok(Object(parsed)) = serde_json::from_str::<Object<Body>>(&text) else {
            return Err(explain::<Object<Body>>(&text));
        };
        if parsed.messages.len() > most {
            return Err(Failure::new(
                Code::RequestTooLarge,
                format!(
                    "{} messages were sent, {most} are the most that is accepted",
                    parsed.messages.len()
                ),
                sentences::too_long(),
            )
            .at("messages"));
        }
        if parsed.n.is_some_and(|n| n > 1) {
            return Err(Failure::new(
                Code::UnsupportedParameter,
                "n > 1 is not supported: this application gives one answer",
                sentences::one_answer(),
            )
            .at("n"));
        }
        let messages = parsed
            .messages
            .into_iter()
            .enumerate()
            .map(|(at, Object(message))| message.into_domain(at))
            .collect::<Result<Vec<_>, _>>()?;
        check_last(&messages)?;
        Ok(Self {
            messages,
            stream: parsed.stream.unwrap_or(false),
            model: parsed.model.map(Cow::into_owned),
            configuration: Configuration::read(parsed.custom_fields)?,
        })
    }
}

fn check_last(messages: &[Message]) -> Result<(), Failure> {
    let Some(last) = messages.last() else {
        return Err(invalid("messages must not be empty", "messages"));
    };
    if !messages.iter().any(|message| message.role == Role::User) {
        return Err(invalid("there is no message of the user", "messages"));
    }
    let param = format!("messages.{}", messages.len() - 1);
    if last.role != Role::User {
        return Err(invalid("the last message must be the user's", param));
    }
    if last.text.trim().is_empty() && last.attachments.is_empty() {
        return Err(invalid("the last message is empty", param));
    }
    Ok(())
}

impl WireMessage<'_> {
    fn into_domain(self, at: usize) -> Result<Message, Failure> {
        let mut text = String::new();
        let mut attachments = Vec::new();
        match self.content {
            None => {}
            Some(Content::Text(whole)) => text = whole.into_owned(),
            Some(Content::Parts(parts)) => {
                for (part_at, Object(part)) in parts.into_iter().enumerate() {
                    part.take(&mut text, &mut attachments).map_err(|message| {
                        Failure::new(
                            Code::UnsupportedParameter,
                            message,
                            sentences::unreadable_part(),
                        )
                        .at(format!("messages.{at}.content.{part_at}"))
                    })?;
                }
            }
        }
        let custom = self.custom_content;
        let (mut state, mut pressed) = (None, false);
        if let Some(Object(custom)) = custom {
            attachments.extend(
                custom
                    .attachments
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(Attachment::tidied),
            );
            state = custom.state.and_then(OpaqueState::new);
            // A pressed button comes as a form value, sometimes without any text.
            if text.is_empty()
                && let Some(form) = custom.form_value.filter(|form| form.get() != "null")
            {
                form.get().clone_into(&mut text);
                pressed = true;
            }
        }
        Ok(Message {
            role: match self.role {
                WireRole::System | WireRole::Developer => Role::System,
                WireRole::User => Role::User,
                WireRole::Assistant => Role::Assistant,
                WireRole::Function | WireRole::Tool => Role::Tool,
            },
            text,
            attachments,
            state,
            form: pressed,
        })
    }
}

impl Part<'_> {
    /// Text is joined, files become attachments, the rest is refused with a sentence.
    fn take(self, text: &mut String, attachments: &mut Vec<Attachment>) -> Result<(), String> {
        let file = match (&*self.kind, self.text.or(self.refusal)) {
            ("text" | "refusal", Some(more)) => {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(&more);
                return Ok(());
            }
            ("image_url", _) => self
                .image_url
                .map(|image| file(&image.url, "image/*", None)),
            ("input_audio", _) => self.input_audio.map(|audio| Attachment {
                media_type: Some(format!("audio/{}", audio.format)),
                title: Some("audio".into()),
                data: Some(audio.data),
                ..Attachment::default()
            }),
            ("file", _) => self.file.and_then(|part| {
                part.file_data
                    .map(|data| file(&data, "application/octet-stream", part.filename))
            }),
            _ => None,
        };
        let file = file.and_then(Attachment::tidied).ok_or_else(|| {
            let known = ["text", "refusal", "image_url", "input_audio", "file"];
            match known.iter().find(|kind| **kind == self.kind) {
                Some(kind) => format!("a content part of type {kind} without readable content"),
                // What else stands there may be anything.
                None => format!("a content part of another type than {}", known.join(", ")),
            }
        })?;
        attachments.push(file);
        Ok(())
    }
}

/// An attachment from an address or a `data:` URL.
fn file(url: &str, media_type: &str, title: Option<String>) -> Attachment {
    let title = Some(title.unwrap_or_else(|| "file".into()));
    match url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"))
    {
        Some((media_type, data)) => Attachment {
            media_type: Some(media_type.to_owned()),
            title,
            data: Some(data.to_owned()),
            ..Attachment::default()
        },
        None => Attachment {
            media_type: Some(media_type.replace('*', picture(url))),
            title,
            url: Some(url.to_owned()),
            ..Attachment::default()
        },
    }
}

/// The kind of picture at an address, by its ending; most are PNG.
fn picture(url: &str) -> &'static str {
    let path = url
        .split(['?', '#'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match path.rsplit('.').next() {
        Some("jpg" | "jpeg") => "jpeg",
        Some("gif") => "gif",
        Some("webp") => "webp",
        Some("svg") => "svg+xml",
        _ => "png",
    }
}

/// A request to a model or to an agent. Only fields that every peer accepts.
#[derive(Debug, Serialize)]
pub struct Outgoing<'a> {
    pub model: &'a str,
    pub messages: Vec<OutMessage<'a>>,
    pub stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<&'a RawValue>,
}

/// Asks a model for its usage at the end of the stream.
#[derive(Debug, Serialize)]
pub struct StreamOptions {
    pub include_usage: bool,
}

/// One message to a peer. `custom_content` is for DIAL applications alone.
#[derive(Debug, Serialize)]
pub struct OutMessage<'a> {
    pub role: &'static str,
    pub content: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_content: Option<OutCustom<'a>>,
}

/// Custom content as SDK 0.27 takes it: no `index`, no `stages`, no nulls, and `{}` where there is nothing.
#[derive(Debug, Default, Serialize)]
pub struct OutCustom<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub attachments: &'a [Attachment],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'a OpaqueState>,
}

impl<'a> OutMessage<'a> {
    pub fn plain(role: &'static str, content: impl Into<Cow<'a, str>>) -> Self {
        Self {
            role,
            content: content.into(),
            custom_content: None,
        }
    }
}

#[cfg(test)]
#[path = "request/tests/fuzz.rs"]
mod fuzz_tests;
#[cfg(test)]
mod tests;
