//! The pieces of a message or of an artifact: text, a file, structured data.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Version;
use crate::domain::message::Attachment;

/// One piece.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Text(String),
    File(Attachment),
}

/// A piece as it is written, by either version.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WirePart {
    #[serde(default)]
    text: Option<String>,
    /// A file of version 0.3.
    #[serde(default)]
    file: Option<WireFile>,
    /// A file of version 1.0.
    #[serde(default)]
    raw: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    filename: Option<String>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireFile {
    #[serde(default)]
    bytes: Option<String>,
    #[serde(default)]
    uri: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    mime_type: Option<String>,
}

impl WirePart {
    /// `None` for a piece of nothing, or of a kind that did not exist when this was written.
    pub fn read(self) -> Option<Part> {
        if let Some(text) = self.text {
            return Some(Part::Text(text));
        }
        if let Some(data) = self.data {
            // Whoever writes an answer from it, a model or a person, reads it as text.
            return Some(Part::Text(format!("```json\n{}\n```\n", data.get())));
        }
        let (bytes, url, name, media_type) = match self.file {
            Some(file) => (file.bytes, file.uri, file.name, file.mime_type),
            None => (self.raw, self.url, self.filename, self.media_type),
        };
        let (data, media_type) = match bytes.filter(|_| url.is_none()) {
            Some(bytes) => {
                let (data, media_type) = unpacked(bytes, media_type);
                (Some(data), media_type)
            }
            None => (None, media_type),
        };
        let file = Attachment {
            media_type,
            title: name,
            data,
            url,
            ..Attachment::default()
        };
        file.tidied().map(Part::File)
    }
}

/// Bytes as attachments hold them: text as it is, everything else in base64.
fn unpacked(bytes: String, media_type: Option<String>) -> (String, Option<String>) {
    let is_text = (media_type.as_deref()).is_some_and(|it| it.starts_with("text/"));
    if !is_text {
        let media_type = media_type.unwrap_or_else(|| "application/octet-stream".into());
        return (bytes, Some(media_type));
    }
    let text = (STANDARD.decode(&bytes).ok()).and_then(|bytes| String::from_utf8(bytes).ok());
    match text {
        Some(text) => (text, media_type),
        None => (bytes, Some("application/octet-stream".into())),
    }
}

/// A piece of text to send.
pub fn text(version: Version, text: &str) -> Value {
    match version {
        Version::V03 => json!({"kind": "text", "text": text}),
        Version::V10 => json!({"text": text}),
    }
}

/// A file to send; `None` for one at an address that nobody else can use.
pub fn file(version: Version, file: &Attachment) -> Option<Value> {
    let media_type = file.media_type.as_deref();
    let (bytes, uri) = match (&file.url, &file.data) {
        (Some(url), _) => {
            let open = url.starts_with("https://") || url.starts_with("http://");
            (None, Some(open.then_some(url)?))
        }
        (None, Some(data)) if media_type.is_none_or(|it| it.starts_with("text/")) => {
            (Some(STANDARD.encode(data)), None)
        }
        (None, Some(data)) => (Some(data.clone()), None),
        (None, None) => return None,
    };
    let media_type = media_type.unwrap_or("text/markdown");
    let mut written = match version {
        Version::V03 => json!({"mimeType": media_type}),
        Version::V10 => json!({"mediaType": media_type}),
    };
    let (bytes_field, uri_field, name_field) = match version {
        Version::V03 => ("bytes", "uri", "name"),
        Version::V10 => ("raw", "url", "filename"),
    };
    if let Value::Object(fields) = &mut written {
        fields.extend(bytes.map(|bytes| (bytes_field.to_owned(), Value::String(bytes))));
        fields.extend(uri.map(|uri| (uri_field.to_owned(), Value::from(uri.as_str()))));
        let name = file.title.as_deref();
        fields.extend(name.map(|name| (name_field.to_owned(), Value::from(name))));
    }
    Some(match version {
        Version::V03 => json!({"kind": "file", "file": written}),
        Version::V10 => written,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(part: &Value) -> Option<Part> {
        serde_json::from_str::<WirePart>(&part.to_string())
            .unwrap()
            .read()
    }

    fn attached(media_type: &str, data: Option<&str>, url: Option<&str>) -> Attachment {
        Attachment {
            media_type: Some(media_type.into()),
            title: Some("t".into()),
            data: data.map(str::to_owned),
            url: url.map(str::to_owned),
            ..Attachment::default()
        }
    }

    #[test]
    fn what_is_sent_is_read_as_it_was_in_both_versions() {
        for version in Version::ALL {
            assert_eq!(
                read(&text(version, "a\u{2600}")),
                Some(Part::Text("a\u{2600}".into()))
            );
            for sent in [
                attached("text/csv", Some("a,b\n"), None),
                attached("image/png", Some("iVBO"), None),
                attached("image/png", None, Some("https://a/x.png")),
            ] {
                let written = file(version, &sent).unwrap();
                assert_eq!(read(&written), Some(Part::File(sent)), "{written}");
            }
        }
    }

    #[test]
    fn a_file_that_only_dial_can_read_is_not_sent() {
        let stored = attached("image/png", None, Some("files/bucket/x.png"));
        assert_eq!(file(Version::V10, &stored), None);
    }

    #[test]
    fn data_is_read_as_text_and_unknown_pieces_are_passed_over() {
        let data = json!({"kind": "data", "data": {"rows": [1, 2]}});
        assert_eq!(
            read(&data),
            Some(Part::Text("```json\n{\"rows\":[1,2]}\n```\n".into()))
        );
        assert_eq!(read(&json!({"kind": "hologram", "beams": 3})), None);
        let odd = json!({"raw": "//8=", "mediaType": "text/plain"});
        let Some(Part::File(file)) = read(&odd) else {
            panic!("a file")
        };
        assert_eq!(file.media_type.as_deref(), Some("application/octet-stream"));
    }
}
