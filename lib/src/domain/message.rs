//! A message of the conversation as the caller sent it, reduced to what the coordinator uses.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    /// Results of client-side tools; carried by the protocol, not used here.
    Tool,
}

/// A DIAL attachment: a file or a piece of text beside a message, a stage or a choice.
///
/// Exactly one of `data` and `url` is set; [`Attachment::tidied`] makes sure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_type: Option<String>,
}

impl Attachment {
    /// The same attachment as the protocol allows it: empty strings are absent, `url` wins over `data`.
    /// `None` when neither is there, since such an attachment is invalid everywhere.
    #[must_use]
    pub fn tidied(mut self) -> Option<Self> {
        for field in [
            &mut self.media_type,
            &mut self.title,
            &mut self.data,
            &mut self.url,
            &mut self.reference_url,
            &mut self.reference_type,
        ] {
            if field.as_deref() == Some("") {
                *field = None;
            }
        }
        if self.url.is_some() {
            self.data = None;
        }
        (self.url.is_some() || self.data.is_some()).then_some(self)
    }

    /// What it takes, in bytes, all fields together: data can also stand in an address.
    pub fn size(&self) -> usize {
        let fields = [
            &self.media_type,
            &self.title,
            &self.data,
            &self.url,
            &self.reference_url,
            &self.reference_type,
        ];
        fields.into_iter().flatten().map(String::len).sum()
    }

    /// One line for a model or an agent that cannot see the file: title, type and, where known, size in bytes.
    pub fn manifest(&self) -> String {
        let title = self
            .title
            .as_deref()
            .or(self.url.as_deref())
            .unwrap_or("untitled");
        let title = one_line(title);
        let media_type = one_line(self.kind());
        match self.bytes() {
            Some(bytes) => format!("{title} ({media_type}, {bytes} bytes)"),
            None => format!("{title} ({media_type}, size unknown)"),
        }
    }

    /// Its media type; DIAL's own default where none is given.
    pub fn kind(&self) -> &str {
        self.media_type.as_deref().unwrap_or("text/markdown")
    }

    /// The size of what is in it; `None` where it is somewhere else.
    pub fn bytes(&self) -> Option<usize> {
        let data = self.data.as_ref()?;
        // Text stands as it is, everything else in base64.
        let text = self.kind().starts_with("text/");
        Some(if text { data.len() } else { data.len() / 4 * 3 })
    }
}

/// Somebody else's state: a JSON object that is kept and given back byte for byte, never looked into.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpaqueState(Box<RawValue>);

impl OpaqueState {
    /// `None` unless the value is a JSON object: no other state exists in the protocol.
    pub fn new(raw: &RawValue) -> Option<Self> {
        raw.get()
            .trim_start()
            .starts_with('{')
            .then(|| Self(raw.to_owned()))
    }

    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for OpaqueState {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

/// One message: text parts joined, other parts turned into attachments, the echoed state untouched.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub role: Role,
    pub text: String,
    pub attachments: Vec<Attachment>,
    pub state: Option<OpaqueState>,
    /// The text is what a form gave: a button was pressed, or fields were filled in.
    pub form: bool,
}

impl Message {
    pub fn user(text: &str) -> Self {
        Self::plain(Role::User, text)
    }

    pub fn assistant(text: &str) -> Self {
        Self::plain(Role::Assistant, text)
    }

    fn plain(role: Role, text: &str) -> Self {
        Self {
            role,
            text: text.to_owned(),
            attachments: Vec::new(),
            state: None,
            form: false,
        }
    }
}

/// A name from outside without what would begin a line or turn one around.
fn one_line(name: &str) -> String {
    let steers = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    name.chars()
        .take(300)
        .map(|letter| if steers(letter) { ' ' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_with_both_data_and_url_keeps_the_url() {
        let both = Attachment {
            data: Some("x".into()),
            url: Some("files/b/x".into()),
            title: Some(String::new()),
            ..Attachment::default()
        };
        assert_eq!(
            both.tidied(),
            Some(Attachment {
                url: Some("files/b/x".into()),
                ..Attachment::default()
            })
        );
        assert_eq!(Attachment::default().tidied(), None);
    }

    #[test]
    fn only_an_object_is_a_state() {
        let list: Box<RawValue> = serde_json::from_str("[1]").unwrap();
        let object: Box<RawValue> = serde_json::from_str(" {\"k\": 1}").unwrap();
        assert_eq!(OpaqueState::new(&list), None);
        assert_eq!(OpaqueState::new(&object).unwrap().get(), "{\"k\": 1}");
    }
}
