//! The prelude of a streamed answer: status, headers and cookies as JSON, then eight NUL bytes.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Map, Value};

const END: [u8; 8] = [0; 8];
/// Lambda looks no further for the end of the prelude.
const CAP: usize = 16 * 1024;

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prelude {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub cookies: Vec<String>,
}

impl Prelude {
    /// The first header of this name, which must be given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn read(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            status_code: u16,
            #[serde(default)]
            headers: Map<String, Value>,
            #[serde(default)]
            cookies: Vec<String>,
        }
        let head: Head = serde_json::from_slice(json)
            .map_err(|error| format!("the prelude cannot be read: {error}"))?;
        let mut headers = Vec::new();
        for (name, value) in head.headers {
            let values = match value {
                Value::Array(values) => values,
                one => vec![one],
            };
            let values = values.into_iter().map(|value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            });
            headers.extend(values.map(|value| (name.to_lowercase(), value)));
        }
        Ok(Self {
            status: head.status_code,
            headers,
            cookies: head.cookies,
        })
    }
}

/// Finds the prelude in the pieces of a body.
#[derive(Default)]
pub(super) struct Reading {
    head: BytesMut,
    done: bool,
}

impl Reading {
    /// Gives the prelude when this piece ends it, and what of the piece belongs to the body.
    pub(super) fn take(&mut self, piece: Bytes) -> Result<(Option<Prelude>, Bytes), String> {
        if self.done {
            return Ok((None, piece));
        }
        self.head.extend_from_slice(&piece);
        let Some(at) = self.head.windows(END.len()).position(|bytes| bytes == END) else {
            return if self.head.len() > CAP {
                Err("the prelude has no end".to_owned())
            } else {
                Ok((None, Bytes::new()))
            };
        };
        self.done = true;
        let json = self.head.split_to(at);
        let rest = self.head.split().freeze();
        let prelude = Prelude::read(&json)?;
        Ok((Some(prelude), rest.slice(END.len()..)))
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }
}
