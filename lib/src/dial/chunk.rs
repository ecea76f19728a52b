//! Chunks as we send them: compact, ASCII-only JSON in the key order of the DIAL SDK, one event each.

use std::io;

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use crate::domain::failure::Failure;
use crate::domain::language::Language;
use crate::domain::message::Attachment;
use crate::domain::usage::{ModelUsage, Usage};

/// Writes one answer's chunks. The envelope is made once and copied into every chunk.
#[derive(Debug)]
pub struct ChunkWriter {
    /// `,"id":…,"created":…,"object":…,"model":…}` and the blank line.
    tail: Vec<u8>,
}

/// What one chunk changes in the choice.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Delta<'a, S = ()> {
    Role(&'a str),
    Content(&'a str),
    CustomContent(CustomContent<'a, S>),
}

/// A chunk's custom content: one thing at a time.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomContent<'a, S = ()> {
    Stages([StageDelta<'a>; 1]),
    Attachments([IndexedAttachment<'a>; 1]),
    State(&'a S),
    /// Buttons for the user's next message.
    FormSchema(&'a S),
}

/// One change of a stage. `name` is doubly optional because an unnamed stage opens with an explicit null.
#[derive(Debug, Default, Serialize)]
pub struct StageDelta<'a> {
    pub index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachments: Option<[IndexedAttachment<'a>; 1]>,
    pub status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_stage_index: Option<u32>,
}

/// An attachment with its place among its siblings.
#[derive(Debug, Serialize)]
pub struct IndexedAttachment<'a> {
    pub index: u32,
    #[serde(flatten)]
    pub attachment: &'a Attachment,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    Length,
    ContentFilter,
}

impl FinishReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
        }
    }
}

impl ChunkWriter {
    /// `created` is in seconds since 1970.
    pub fn new(id: &str, created: u64, model: &str) -> Self {
        let mut tail = Vec::with_capacity(160);
        tail.extend_from_slice(b",\"id\":");
        write_json(&mut tail, id);
        tail.extend_from_slice(format!(",\"created\":{created}").as_bytes());
        tail.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"model\":");
        write_json(&mut tail, model);
        tail.extend_from_slice(b"}\n\n");
        Self { tail }
    }

    pub fn delta<S: Serialize>(&self, out: &mut BytesMut, delta: &Delta<'_, S>) {
        out.extend_from_slice(
            b"data: {\"choices\":[{\"index\":0,\"finish_reason\":null,\"delta\":",
        );
        write_json(&mut out.writer(), delta);
        out.extend_from_slice(b"}],\"usage\":null");
        out.extend_from_slice(&self.tail);
    }

    /// The last chunk: finish reason, and usage merged into it.
    pub fn finish(
        &self,
        out: &mut BytesMut,
        reason: FinishReason,
        usage: Option<Usage>,
        per_model: &[ModelUsage],
    ) {
        #[derive(Serialize)]
        struct Line<'a> {
            index: usize,
            #[serde(flatten)]
            line: &'a ModelUsage,
        }
        out.extend_from_slice(b"data: {\"choices\":[{\"index\":0,\"finish_reason\":\"");
        out.extend_from_slice(reason.as_str().as_bytes());
        out.extend_from_slice(b"\",\"delta\":{}}],\"usage\":");
        write_json(&mut out.writer(), &usage);
        if !per_model.is_empty() {
            let lines: Vec<Line> = per_model
                .iter()
                .enumerate()
                .map(|(index, line)| Line { index, line })
                .collect();
            out.extend_from_slice(b",\"statistics\":{\"usage_per_model\":");
            write_json(&mut out.writer(), &lines);
            out.extend_from_slice(b"}");
        }
        out.extend_from_slice(&self.tail);
    }

    /// The error event: at most one, last before [`ChunkWriter::done`].
    pub fn error(out: &mut BytesMut, failure: &Failure, language: Language) {
        out.extend_from_slice(b"data: ");
        write_json(&mut out.writer(), &ErrorBody::of(failure, language));
        out.extend_from_slice(b"\n\n");
    }

    pub fn done(out: &mut BytesMut) {
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

/// The comment that keeps a silent stream open.
pub const HEARTBEAT: &[u8] = b": heartbeat\n\n";

/// The JSON error of the protocol: the body of an error answer, and the data of an error event.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    error: ErrorObject<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorObject<'a> {
    message: &'a str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a str>,
    code: &'static str,
    display_message: String,
    /// Whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<String>,
}

impl<'a> ErrorBody<'a> {
    /// The error as it is told in a language.
    pub fn of(failure: &'a Failure, language: Language) -> Self {
        Self {
            error: ErrorObject {
                message: &failure.message,
                r#type: failure.code.kind(),
                param: failure.param.as_deref(),
                code: failure.code.as_str(),
                display_message: failure.display.told(language),
                retry_after: failure
                    .retry_after
                    .map(|wait| wait.as_secs_f64().ceil().to_string()),
            },
        }
    }
}

fn write_json<W: io::Write, T: Serialize + ?Sized>(out: &mut W, value: &T) {
    // Writing to memory cannot fail, and none of the types written has a map with keys that are not strings.
    let _ = value.serialize(&mut serde_json::Serializer::with_formatter(out, Ascii));
}

/// Escapes everything beyond ASCII, as the DIAL SDK does in streams: no reader can split a character.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.bytes().position(|byte| !byte.is_ascii()) {
            let (plain, from) = rest.split_at(at);
            out.write_all(plain.as_bytes())?;
            let mut letters = from.chars();
            for unit in letters.next().into_iter().flat_map(units) {
                out.write_all(&escaped(unit))?;
            }
            rest = letters.as_str();
        }
        out.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        CompactFormatter.write_char_escape(out, escape)
    }
}

/// The UTF-16 code units of a letter.
fn units(letter: char) -> impl Iterator<Item = u16> {
    let mut buffer = [0; 2];
    let count = letter.encode_utf16(&mut buffer).len();
    buffer.into_iter().take(count)
}

/// `\\uXXXX`.
fn escaped(unit: u16) -> [u8; 6] {
    let digit = |shift: u16| match (unit >> shift & 15) as u8 {
        value @ 0..=9 => b'0' + value,
        value => b'a' + value - 10,
    };
    [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&ChunkWriter, &mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&ChunkWriter::new("x-1", 1_700_000_000, "m"), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_chunk_is_compact_ascii_in_the_sdks_order() {
        let text = written(|writer, out| {
            writer.delta::<()>(out, &Delta::Content("Hello, \u{421}\u{1f600}\"\n"));
        });
        assert_eq!(
            text,
            "data: {\"choices\":[{\"index\":0,\"finish_reason\":null,\"delta\":{\"content\":\
             \"Hello, \\u0421\\ud83d\\ude00\\\"\\n\"}}],\"usage\":null,\"id\":\"x-1\",\"created\":1700000000,\
             \"object\":\"chat.completion.chunk\",\"model\":\"m\"}\n\n"
        );
    }

    #[test]
    fn a_stage_opens_with_a_null_status() {
        let open = StageDelta {
            index: 2,
            name: Some(Some("Child")),
            parent_stage_index: Some(1),
            ..StageDelta::default()
        };
        let text = written(|writer, out| {
            writer.delta::<()>(out, &Delta::CustomContent(CustomContent::Stages([open])));
        });
        assert!(text.contains(
            r#""delta":{"custom_content":{"stages":[{"index":2,"name":"Child","status":null,"parent_stage_index":1}]}}"#
        ), "{text}");
    }

    #[test]
    fn usage_is_merged_into_the_last_chunk() {
        let usage = Usage {
            prompt_tokens: 1,
            completion_tokens: 2,
            total_tokens: 3,
        };
        let line = ModelUsage {
            model: "gpt-4o".into(),
            usage,
        };
        let text =
            written(|writer, out| writer.finish(out, FinishReason::Stop, Some(usage), &[line]));
        assert!(text.starts_with(
            "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"delta\":{}}],\"usage\":{\"prompt_tokens\":1,\
             \"completion_tokens\":2,\"total_tokens\":3},\"statistics\":{\"usage_per_model\":[{\"index\":0,\
             \"model\":\"gpt-4o\",\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}]},\"id\""
        ), "{text}");
    }
    #[test]
    fn the_end_of_a_failed_answer_is_an_error_event_and_the_end_mark() {
        let failure = Failure::new(crate::domain::failure::Code::InvalidRequest, "m", "d").at("n");
        let text = written(|_, out| {
            ChunkWriter::error(out, &failure, Language::English);
            ChunkWriter::done(out);
        });
        assert_eq!(
            text,
            "data: {\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\",\"param\":\"n\",\
             \"code\":\"invalid_request\",\"display_message\":\"d\"}}\n\ndata: [DONE]\n\n"
        );
    }
}
