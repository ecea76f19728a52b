//! A chunk as models and agents send it, read tolerantly: odd fields are passed over, broken JSON is not.

use std::borrow::Cow;

use serde::de::MapAccess;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::lenient::{self, Lenient};
use crate::domain::event::{AgentEvent, StageChange, StageStatus};
use crate::domain::message::{Attachment, OpaqueState};
use crate::domain::usage::{ModelUsage, Usage};

/// One `chat.completion.chunk`, or a whole `chat.completion`: a block answer's `message` is read as one delta.
#[derive(Debug, Default, Deserialize)]
pub struct Chunk<'a> {
    #[serde(borrow, default, deserialize_with = "lenient::or_default")]
    /// The first one alone is kept.
    choices: Vec<Choice<'a>>,
    #[serde(default, deserialize_with = "lenient::read")]
    usage: Option<WireUsage>,
    #[serde(default, deserialize_with = "lenient::read")]
    statistics: Option<Statistics>,
    #[serde(default, deserialize_with = "any_error")]
    error: Option<WireError>,
}

#[derive(Debug, Deserialize)]
struct Choice<'a> {
    #[serde(default, deserialize_with = "lenient::read")]
    index: Option<u32>,
    #[serde(borrow, default, deserialize_with = "lenient::read")]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default, deserialize_with = "lenient::read")]
    message: Option<Delta<'a>>,
    #[serde(default, deserialize_with = "lenient::read")]
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default, deserialize_with = "lenient::read")]
    content: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "lenient::read")]
    custom_content: Option<CustomContent<'a>>,
}

#[derive(Debug, Default, Deserialize)]
struct CustomContent<'a> {
    #[serde(default, deserialize_with = "lenient::or_default")]
    stages: Vec<Stage>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    attachments: Vec<WireAttachment>,
    #[serde(borrow, default)]
    state: Option<&'a RawValue>,
    #[serde(borrow, default)]
    form_schema: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Stage {
    /// Absent in block answers.
    #[serde(default, deserialize_with = "stage_index")]
    index: StageIndex,
    #[serde(default, deserialize_with = "lenient::read")]
    name: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    content: Option<String>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    attachments: Vec<WireAttachment>,
    #[serde(default, deserialize_with = "lenient::read")]
    status: Option<StageStatus>,
    #[serde(default, deserialize_with = "lenient::read")]
    parent_stage_index: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
enum StageIndex {
    #[default]
    Absent,
    At(u32),
    /// Stages of which nobody knows which they are must not be thrown together.
    Unreadable,
}

#[derive(Debug, Default, Deserialize)]
struct WireAttachment {
    #[serde(rename = "type", default, deserialize_with = "lenient::read")]
    media_type: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    title: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    data: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    url: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    reference_url: Option<String>,
    #[serde(default, deserialize_with = "lenient::read")]
    reference_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Statistics {
    #[serde(default, deserialize_with = "lenient::or_default")]
    usage_per_model: Vec<WireUsage>,
}

/// Tokens, of one model where it is named.
#[derive(Debug, Deserialize)]
struct WireUsage {
    #[serde(default, deserialize_with = "lenient::or_default")]
    model: String,
    #[serde(default, deserialize_with = "lenient::or_default")]
    prompt_tokens: u64,
    #[serde(default, deserialize_with = "lenient::or_default")]
    completion_tokens: u64,
    #[serde(default, deserialize_with = "lenient::or_default")]
    total_tokens: u64,
}

/// The error object of an error event or of an error body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct WireError {
    #[serde(default, deserialize_with = "lenient::read")]
    pub message: Option<String>,
    /// A string by the protocol; DIAL Core and adapters send numbers too.
    #[serde(default, deserialize_with = "text_or_number")]
    pub code: Option<String>,
    /// What kind of error it is, such as `invalid_request_error`.
    #[serde(rename = "type", default, deserialize_with = "lenient::read")]
    pub kind: Option<String>,
    /// The only field meant for people.
    #[serde(default, deserialize_with = "lenient::read")]
    pub display_message: Option<String>,
}

/// Structs whose fields are lenient themselves.
macro_rules! made_of_fields {
    ($($name:ty),*) => { $(
        impl<'de> Lenient<'de> for $name {
            fn of_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
                lenient::of_fields(map)
            }
        }
    )* };
}

made_of_fields!(Delta<'de>, CustomContent<'de>, Stage, WireUsage, Statistics);

impl<'de> Lenient<'de> for Choice<'de> {
    fn of_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        lenient::of_fields(map)
    }

    /// Nothing is asked of another choice.
    fn is_kept(&self, before: usize) -> bool {
        before == 0 && self.is_first()
    }
}

impl<'de> Lenient<'de> for WireAttachment {
    fn of_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        lenient::of_fields(map)
    }

    fn is_kept(&self, _before: usize) -> bool {
        self.url.is_some() || self.data.is_some()
    }
}

impl<'de> Lenient<'de> for StageStatus {
    fn of_text(text: Cow<'de, str>) -> Option<Self> {
        match &*text {
            "completed" => Some(Self::Completed),
            "failed" => Some(Self::Failed),
            _ => None,
        }
    }
}

impl From<&WireUsage> for Usage {
    fn from(wire: &WireUsage) -> Self {
        Self {
            prompt_tokens: wire.prompt_tokens,
            completion_tokens: wire.completion_tokens,
            total_tokens: wire.total_tokens,
        }
    }
}

impl From<WireAttachment> for Attachment {
    fn from(wire: WireAttachment) -> Self {
        Self {
            media_type: wire.media_type,
            title: wire.title,
            data: wire.data,
            url: wire.url,
            reference_url: wire.reference_url,
            reference_type: wire.reference_type,
        }
    }
}

impl WireError {
    /// The error in a body, whatever its shape: JSON of the protocol, `{"detail": …}`, what services of AWS say, or plain
    /// text.
    pub fn of_body(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default, deserialize_with = "any_error")]
            error: Option<WireError>,
            #[serde(default, deserialize_with = "lenient::read")]
            detail: Option<String>,
            #[serde(rename = "__type", default, deserialize_with = "lenient::read")]
            code: Option<String>,
        }
        let text = String::from_utf8_lossy(body);
        match serde_json::from_str::<Body>(&text) {
            Ok(Body {
                error: Some(error), ..
            }) => error,
            Ok(Body { detail, code, .. }) => Self {
                message: detail,
                code,
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
        let text = self.first()?.delta()?.content.as_deref()?;
        (!text.is_empty()).then_some(text)
    }

    pub fn usage(&self) -> Option<Usage> {
        self.usage.as_ref().map(Usage::from)
    }

    /// The usage split by model; empty where the sender does not split it.
    pub fn take_usage_per_model(&mut self) -> Vec<ModelUsage> {
        self.statistics
            .take()
            .map(|statistics| statistics.usage_per_model)
            .unwrap_or_default()
            .into_iter()
            .filter(|line| !line.model.is_empty())
            .map(|line| ModelUsage {
                usage: Usage::from(&line),
                model: line.model,
            })
            .collect()
    }

    /// What the chunk says of the answer, as events, in the order text, stages, attachments, state, form.
    pub fn into_events(self, mut emit: impl FnMut(AgentEvent)) {
        let first = self.choices.into_iter().next();
        if let Some(delta) = first.and_then(|choice| choice.delta.or(choice.message)) {
            delta.into_events(&mut emit);
        }
    }

    fn first(&self) -> Option<&Choice<'a>> {
        self.choices.first()
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
        if let Some(text) = self.content.filter(|text| !text.is_empty()) {
            emit(AgentEvent::Text(text.into_owned()));
        }
        let Some(custom) = self.custom_content else {
            return;
        };
        for (position, stage) in (0..).zip(custom.stages) {
            let index = match stage.index {
                StageIndex::Absent => position,
                StageIndex::At(index) => index,
                StageIndex::Unreadable => continue,
            };
            let change = StageChange {
                name: stage.name,
                content: stage.content,
                attachments: tidied(stage.attachments).collect(),
                status: stage.status,
                parent: stage.parent_stage_index,
            };
            emit(AgentEvent::Stage { index, change });
        }
        for attachment in tidied(custom.attachments) {
            emit(AgentEvent::Attachment(attachment));
        }
        if let Some(state) = custom.state.and_then(OpaqueState::new) {
            emit(AgentEvent::State(state));
        }
        if let Some(form) = custom.form_schema.and_then(OpaqueState::new) {
            emit(AgentEvent::Form(form));
        }
    }
}

fn tidied(attachments: Vec<WireAttachment>) -> impl Iterator<Item = Attachment> {
    attachments
        .into_iter()
        .filter_map(|wire| Attachment::from(wire).tidied())
}

fn stage_index<'de, D: Deserializer<'de>>(from: D) -> Result<StageIndex, D::Error> {
    Ok(lenient::read(from)?.map_or(StageIndex::Unreadable, StageIndex::At))
}

/// An error of any shape is one; only null is none.
fn any_error<'de, D: Deserializer<'de>>(from: D) -> Result<Option<WireError>, D::Error> {
    let raw = <&RawValue>::deserialize(from)?;
    Ok(match raw.get() {
        "null" => None,
        object if object.starts_with('{') => Some(serde_json::from_str(object).unwrap_or_default()),
        other => Some(WireError {
            message: serde_json::from_str(other).ok(),
            ..WireError::default()
        }),
    })
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
    fn what_is_said_beside_the_events_is_read() {
        let mut chunk = Chunk::read(
            r#"{"choices":[{"index":1,"finish_reason":"length","delta":{"content":"other"}},
                {"index":0,"finish_reason":"stop","delta":{"content":"A"}}],
                "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},
                "statistics":{"usage_per_model":[{"model":"m","prompt_tokens":4},{"total_tokens":9}]}}"#,
        )
        .unwrap();
        assert_eq!(chunk.finish_reason(), Some("stop"));
        assert_eq!(chunk.text(), Some("A"));
        let usage = |prompt_tokens, completion_tokens, total_tokens| Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens,
        };
        assert_eq!(chunk.usage(), Some(usage(1, 2, 3)));
        assert_eq!(
            chunk.take_usage_per_model(),
            vec![ModelUsage {
                model: "m".into(),
                usage: usage(4, 0, 0)
            }],
            "usage of no model is left out"
        );
    }

    #[test]
    fn what_is_not_said_is_not_there() {
        let mut chunk = Chunk::read(r#"{"choices":[{"delta":{"content":""}}]}"#).unwrap();
        assert_eq!(chunk.finish_reason(), None);
        assert_eq!(chunk.text(), None, "an empty text is none");
        assert_eq!(chunk.usage(), None);
        assert_eq!(chunk.take_usage_per_model(), vec![]);
    }

    #[test]
    fn a_block_answer_is_read_like_a_delta() {
        let chunk = Chunk::read(r#"{"choices":[{"message":{"content":"A"}}]}"#).unwrap();
        assert_eq!(chunk.text(), Some("A"));
    }

    #[test]
    fn a_stages_end_is_read_in_the_two_words_there_are() {
        for (word, expected) in [
            ("completed", Some(StageStatus::Completed)),
            ("failed", Some(StageStatus::Failed)),
            ("running", None),
        ] {
            let chunk = format!(
                r#"{{"choices":[{{"delta":{{"custom_content":{{"stages":[{{"index":0,"status":"{word}"}}]}}}}}}]}}"#
            );
            let change = StageChange {
                status: expected,
                ..StageChange::default()
            };
            assert_eq!(events(&chunk), vec![AgentEvent::Stage { index: 0, change }]);
        }
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
            r#"{"choices":[{"delta":{"content":{"text":["x",{"y":null}]},"custom_content":[{"state":{}},[1]]}}]}"#,
            r#"{"conversation_id": "19b1346a"}"#,
        ] {
            assert_eq!(events(odd), vec![], "{odd}");
        }
    }

    #[test]
    fn a_long_list_is_read_to_its_cap_and_what_says_nothing_is_not_kept() {
        let of = |item: &str, count: usize| vec![item; count].join(",");
        let stages = |items: &str| {
            format!(r#"{{"choices":[{{"delta":{{"custom_content":{{"stages":[{items}]}}}}}}]}}"#)
        };
        assert_eq!(events(&stages(&of(r#"{"index":0}"#, 3000))).len(), 1000);
        let empty = stages(&format!(
            r#"{{"index":0,"attachments":[{}]}}"#,
            of("{}", 3000)
        ));
        let chunk = Chunk::read(&empty).unwrap();
        let custom = chunk.choices[0]
            .delta
            .as_ref()
            .unwrap()
            .custom_content
            .as_ref()
            .unwrap();
        assert_eq!(custom.stages[0].attachments.capacity(), 0);
        let many = format!(r#"{{"choices":[{}]}}"#, of("{}", 3000));
        assert_eq!(Chunk::read(&many).unwrap().choices.len(), 1);
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
        let text = Chunk::read(r#"{"error":"boom"}"#).unwrap();
        let message = text.error().and_then(|error| error.message.as_deref());
        assert_eq!(message, Some("boom"));
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
            WireError::of_body(
                br#"{"error":{"code":429,"type":"t","message":"m","display_message":"d"}}"#
            ),
            WireError {
                message: Some("m".into()),
                code: Some("429".into()),
                kind: Some("t".into()),
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
