//! A chunk as models and agents send it, read tolerantly: odd fields are passed over, broken JSON is not.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::domain::event::{AgentEvent, StageChange, StageStatus};
use crate::domain::message::{Attachment, OpaqueState};
use crate::domain::usage::{ModelUsage, Usage};

/// One `chat.completion.chunk`, or a whole `chat.completion`: a block answer's `message` is read as one delta.
#[derive(Debug, Default, Deserialize)]
pub struct Chunk<'a> {
    #[serde(borrow, default, deserialize_with = "items")]
    choices: Vec<Choice<'a>>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Usage>,
    #[serde(default, deserialize_with = "lenient")]
    statistics: Option<Statistics>,
    #[serde(default, deserialize_with = "any_error")]
    error: Option<WireError>,
}

#[derive(Debug, Deserialize)]
struct Choice<'a> {
    #[serde(default, deserialize_with = "lenient")]
    index: Option<u32>,
    #[serde(borrow, default, deserialize_with = "lenient_borrowed")]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default, deserialize_with = "lenient_borrowed")]
    message: Option<Delta<'a>>,
    #[serde(default, deserialize_with = "lenient")]
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default, deserialize_with = "lenient_borrowed")]
    content: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "lenient_borrowed")]
    custom_content: Option<CustomContent<'a>>,
}

#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Debug, Default, Deserialize)]
struct CustomContent<'a> {
    #[serde(default, deserialize_with = "items")]
    stages: Vec<Stage>,
    #[serde(default, deserialize_with = "items")]
    attachments: Vec<Attachment>,
    #[serde(borrow, default)]
    state: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Stage {
    /// Absent in block answers; an index that cannot be one makes the item unreadable.
    #[serde(default)]
    index: Option<u32>,
    #[serde(default, deserialize_with = "lenient")]
    name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    content: Option<String>,
    #[serde(default, deserialize_with = "items")]
    attachments: Vec<Attachment>,
    #[serde(default, deserialize_with = "lenient")]
    status: Option<Status>,
    #[serde(default, deserialize_with = "lenient")]
    parent_stage_index: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Completed,
    Failed,
}

#[derive(Debug, Default, Deserialize)]
struct Statistics {
    #[serde(default, deserialize_with = "items")]
    usage_per_model: Vec<ModelUsage>,
}

/// The error object of an error event or of an error body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct WireError {
    #[serde(default, deserialize_with = "lenient")]
    pub message: Option<String>,
    /// A string by the protocol; DIAL Core and adapters send numbers too.
    #[serde(default, deserialize_with = "text_or_number")]
    pub code: Option<String>,
    /// The only field meant for people.
    #[serde(default, deserialize_with = "lenient")]
    pub display_message: Option<String>,
}

impl WireError {
    /// The error in a body, whatever its shape: JSON of the protocol, `{"detail": …}`, or plain text.
    pub fn of_body(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default, deserialize_with = "lenient")]
            error: Option<WireError>,
            #[serde(default, deserialize_with = "lenient")]
            detail: Option<String>,
        }
        let text = String::from_utf8_lossy(body);
        match serde_json::from_str::<Body>(&text) {
            Ok(Body {
                error: Some(error), ..
            }) => error,
            Ok(Body { detail, .. }) => Self {
                message: detail,
                ..Self::default()
            },
            Err(_) => Self {
                message: Some(text.chars().take(500).collect()),
                ..Self::default()
            },
        }
    }
}

/// The data of an event was not what the protocol allows.
#[derive(Debug, thiserror::Error)]
#[error("an event of the stream is not a JSON object")]
pub struct Malformed(#[source] Option<serde_json::Error>);

impl<'a> Chunk<'a> {
    /// Reads one chunk; `text` must be a JSON object.
    pub fn read(text: &'a str) -> Result<Self, Malformed> {
        // A derived reader would take a list for the object's fields in order.
        if !text.trim_start().starts_with('{') {
            return Err(Malformed(None));
        }
        serde_json::from_str(text).map_err(|error| Malformed(Some(error)))
    }

    /// The error this event announces. An agent that sent one has failed, whatever it sent before.
    pub fn error(&self) -> Option<&WireError> {
        self.error.as_ref()
    }

    /// Why the first choice ended, once it has.
    pub fn finish_reason(&self) -> Option<&str> {
        self.first()?.finish_reason.as_deref()
    }

    /// Text of the first choice.
    pub fn text(&self) -> Option<&str> {
        let text = &self.first()?.delta()?.content.as_ref()?.0;
        (!text.is_empty()).then_some(text)
    }

    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// The usage split by model; empty where the sender does not split it.
    pub fn take_usage_per_model(&mut self) -> Vec<ModelUsage> {
        self.statistics
            .take()
            .map(|statistics| statistics.usage_per_model)
            .unwrap_or_default()
    }

    /// What the chunk says of the answer, as events, in the order text, stages, attachments, state.
    pub fn into_events(self, mut emit: impl FnMut(AgentEvent)) {
        let first = self.choices.into_iter().find(Choice::is_first);
        if let Some(delta) = first.and_then(|choice| choice.delta.or(choice.message)) {
            delta.into_events(&mut emit);
        }
    }

    fn first(&self) -> Option<&Choice<'a>> {
        self.choices.iter().find(|choice| choice.is_first())
    }
}

impl<'a> Choice<'a> {
    /// Everything but another choice: senders leave the index out, or write it oddly.
    fn is_first(&self) -> bool {
        self.index.unwrap_or(0) == 0
    }

    fn delta(&self) -> Option<&Delta<'a>> {
        self.delta.as_ref().or(self.message.as_ref())
    }
}

impl Delta<'_> {
    fn into_events(self, emit: &mut impl FnMut(AgentEvent)) {
        if let Some(Text(text)) = self.content
            && !text.is_empty()
        {
            emit(AgentEvent::Text(text.into_owned()));
        }
        let Some(custom) = self.custom_content else {
            return;
        };
        for (position, stage) in (0..).zip(custom.stages) {
            emit(AgentEvent::Stage {
                index: stage.index.unwrap_or(position),
                change: StageChange {
                    name: stage.name,
                    content: stage.content,
                    attachments: tidied(stage.attachments).collect(),
                    status: stage.status.map(|status| match status {
                        Status::Completed => StageStatus::Completed,
                        Status::Failed => StageStatus::Failed,
                    }),
                    parent: stage.parent_stage_index,
                },
            });
        }
        for attachment in tidied(custom.attachments) {
            emit(AgentEvent::Attachment(attachment));
        }
        if let Some(state) = custom.state.and_then(OpaqueState::new) {
            emit(AgentEvent::State(state));
        }
    }
}

fn tidied(attachments: Vec<Attachment>) -> impl Iterator<Item = Attachment> {
    attachments.into_iter().filter_map(Attachment::tidied)
}

/// An error of any shape is one; only null is none.
fn any_error<'de, D: Deserializer<'de>>(from: D) -> Result<Option<WireError>, D::Error> {
    let raw = <&RawValue>::deserialize(from)?;
    Ok(match raw.get() {
        "null" => None,
        object if object.starts_with('{') => serde_json::from_str(object)
            .ok()
            .or_else(|| Some(WireError::default())),
        other => Some(WireError {
            message: serde_json::from_str(other).ok(),
            ..WireError::default()
        }),
    })
}

/// A field of the wrong type counts as absent.
fn lenient<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let raw = <&RawValue>::deserialize(from)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// As [`lenient`], for fields that borrow from the input.
fn lenient_borrowed<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let raw = <&'de RawValue>::deserialize(from)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// The readable items of a list; anything that is not a list is empty.
fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let raw = <&'de RawValue>::deserialize(from)?;
    let list: Vec<&'de RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    Ok(list
        .into_iter()
        // A derived reader would take a list for an object's fields in order.
        .filter(|item| item.get().starts_with('{'))
        .filter_map(|item| serde_json::from_str(item.get()).ok())
        .collect())
}

fn text_or_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let raw = <&RawValue>::deserialize(from)?;
    Ok(match serde_json::from_str(raw.get()) {
        Ok(serde_json::Value::String(code)) => Some(code),
        Ok(serde_json::Value::Number(code)) => Some(code.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        Chunk::read(text)
            .unwrap()
            .into_events(|event| events.push(event));
        events
    }

    #[test]
    fn every_field_of_a_first_delta_is_read() {
        let chunk = r#"{"choices":[{"index":0,"delta":{"content":"t\u2600","custom_content":{
            "stages":[{"index":3,"name":"n","content":"c","status":"failed","parent_stage_index":1,
                       "attachments":[{"index":0,"title":"a","data":"d"}]}],
            "attachments":[{"index":0,"type":"text/csv","url":"files/x","reference_url":"r","reference_type":"rt"}],
            "state":{"k": 1}}}}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
        let attachment = Attachment {
            title: Some("a".into()),
            data: Some("d".into()),
            ..Attachment::default()
        };
        assert_eq!(
            events(chunk),
            vec![
                AgentEvent::Text("t\u{2600}".into()),
                AgentEvent::Stage {
                    index: 3,
                    change: StageChange {
                        name: Some("n".into()),
                        content: Some("c".into()),
                        attachments: vec![attachment],
                        status: Some(StageStatus::Failed),
                        parent: Some(1),
                    }
                },
                AgentEvent::Attachment(Attachment {
                    media_type: Some("text/csv".into()),
                    url: Some("files/x".into()),
                    reference_url: Some("r".into()),
                    reference_type: Some("rt".into()),
                    ..Attachment::default()
                }),
                AgentEvent::State(
                    OpaqueState::new(&serde_json::from_str::<Box<RawValue>>("{\"k\": 1}").unwrap())
                        .unwrap()
                ),
            ]
        );
    }

    #[test]
    fn odd_shapes_are_passed_over() {
        for odd in [
            "{}",
            r#"{"choices":null,"usage":"many"}"#,
            r#"{"choices":[]}"#,
            r#"{"choices":[1,{"index":1,"delta":{"content":"other choice"}}]}"#,
            r#"{"choices":[{"delta":{"content":null,"custom_content":null}}]}"#,
            r#"{"choices":[{"delta":{"content":5,"custom_content":{"stages":null,"attachments":{},"state":[1]}}}]}"#,
            r#"{"choices":[{"delta":{"custom_content":{"attachments":[{"title":"neither"},{"data":7}],"state":null}}}]}"#,
            r#"{"conversation_id": "19b1346a"}"#,
        ] {
            assert_eq!(events(odd), vec![], "{odd}");
        }
    }

    #[test]
    fn slightly_odd_deltas_lose_nothing() {
        for odd in [
            r#"{"choices":[{"index":null,"delta":{"content":"A"}}]}"#,
            r#"{"choices":[{"index":0.0,"delta":{"content":"A"},"message":null}]}"#,
            r#"{"choices":[{"delta":null,"message":{"content":"A"}}]}"#,
        ] {
            assert_eq!(events(odd), vec![AgentEvent::Text("A".into())], "{odd}");
        }
        let stages = r#"{"choices":[{"delta":{"custom_content":{"stages":[{"index":-1,"name":"x"},{"index":"a","name":"y"}]}}}]}"#;
        assert_eq!(
            events(stages),
            vec![],
            "stages without a readable index are not thrown together"
        );
    }

    #[test]
    fn an_error_of_any_shape_is_an_error() {
        for shape in [r#""boom""#, "5", "true", "[]", "{}", r#"{"message":5}"#] {
            let text = format!(r#"{{"error":{shape}}}"#);
            assert!(Chunk::read(&text).unwrap().error().is_some(), "{shape}");
        }
        assert!(Chunk::read(r#"{"error":null}"#).unwrap().error().is_none());
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for broken in ["", "hello", "{\"choices\":", "[1]", "null"] {
            assert!(Chunk::read(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn errors_are_read_in_every_shape() {
        let named = |message: &str| WireError {
            message: Some(message.into()),
            ..WireError::default()
        };
        assert_eq!(WireError::of_body(b"No route"), named("No route"));
        assert_eq!(
            WireError::of_body(b"{\"detail\":\"Not Found\"}"),
            named("Not Found")
        );
        assert_eq!(
            WireError::of_body(br#"{"error":{"code":429,"message":"m","display_message":"d"}}"#),
            WireError {
                message: Some("m".into()),
                code: Some("429".into()),
                display_message: Some("d".into())
            }
        );
        let event = Chunk::read(r#"{"error":{"message":"x","code":"500"}}"#).unwrap();
        assert_eq!(
            event.error().and_then(|error| error.code.as_deref()),
            Some("500")
        );
    }
}
