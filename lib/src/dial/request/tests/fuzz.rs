//! Any body is a request that holds what it promises, or a failure that repeats nobody's words.

use std::time::Duration;

use bolero::TypeGenerator;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::*;

const MAX_MESSAGES: usize = 2000;

/// Stands wherever a person's words may stand.
const WORDS: &str = "MARKER-OF-A-PERSON";

/// What somebody does to a good request.
#[derive(Clone, Debug, TypeGenerator)]
struct Edit {
    /// Which value of the tree, in the order of the text.
    place: u16,
    change: Change,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Change {
    Replace(Odd),
    Remove,
    Rename(u8),
    Twice,
    Wrap,
}

#[derive(Clone, Debug, TypeGenerator)]
enum Odd {
    Null,
    Flag(bool),
    Number(i64),
    Fraction(f64),
    Words,
    Empty,
    Key(u8),
    List,
    Object,
    Deep,
    /// More messages than are read, in one of sixteen.
    Many(u8),
}

const KEYS: [&str; 24] = [
    "messages",
    "role",
    "content",
    "custom_content",
    "attachments",
    "state",
    "form_value",
    "type",
    "text",
    "refusal",
    "image_url",
    "url",
    "input_audio",
    "data",
    "format",
    "file",
    "file_data",
    "filename",
    "stream",
    "n",
    "model",
    "title",
    "user",
    "assistant",
];

impl Odd {
    fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Flag(flag) => json!(flag),
            Self::Number(number) => json!(number),
            Self::Fraction(number) => json!(number),
            Self::Words => json!(WORDS),
            Self::Empty => json!(""),
            Self::Key(key) => json!(KEYS[usize::from(*key) % KEYS.len()]),
            Self::List => json!([WORDS, 1, null]),
            Self::Object => json!({"text": WORDS, "url": 1}),
            Self::Deep => (0..200).fold(Value::Null, |inner, _| json!([inner])),
            Self::Many(16..) => json!([]),
            Self::Many(_) => json!(vec![
                json!({"role": "user", "content": WORDS});
                MAX_MESSAGES + 1
            ]),
        }
    }
}

/// Everything a request may hold.
fn sample() -> Value {
    json!({
        "messages": [
            {"role": "system", "content": WORDS},
            {"role": "user", "content": [
                {"type": "text", "text": WORDS},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.JPG?x#y"}},
                {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "wav"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,CCCC", "filename": WORDS}},
            ]},
            {"role": "assistant", "content": null, "custom_content": {
                "attachments": [{"type": "text/plain", "title": WORDS, "data": WORDS}, {"url": "files/a", "reference_url": "r"}],
                "state": {"v": 1, "x": [WORDS]},
                "stages": [{"index": 0, "name": WORDS}],
            }},
            {"role": "tool", "content": WORDS, "tool_call_id": WORDS},
            {"role": "user", "content": "", "custom_content": {"form_value": {"answer": WORDS}}},
            {"role": "user", "content": WORDS},
        ],
        "stream": true,
        "n": 1,
        "model": "mas",
        "temperature": 0.5,
    })
}

/// Where the values of a tree are, in the order of the text.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                found.push(format!("{at}/{index}"));
                places(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                found.push(format!("{at}/{key}"));
                places(field, &format!("{at}/{key}"), found);
            }
        }
        _ => {}
    }
}

fn edit(request: &mut Value, Edit { place, change }: &Edit) {
    let mut found = Vec::new();
    places(request, "", &mut found);
    let Some(place) = found.get(usize::from(*place) % found.len().max(1)) else {
        return;
    };
    let (parent, key) = place.rsplit_once('/').unwrap();
    match (request.pointer_mut(parent).unwrap(), change) {
        (Value::Array(items), Change::Remove) => drop(items.remove(key.parse().unwrap())),
        (Value::Array(items), Change::Twice) => items.push(items[0].clone()),
        (Value::Object(fields), Change::Remove) => drop(fields.shift_remove(key)),
        (Value::Object(fields), Change::Rename(to)) => {
            let value = fields.shift_remove(key).unwrap();
            fields.insert(KEYS[usize::from(*to) % KEYS.len()].into(), value);
        }
        (parent, Change::Replace(odd)) => set(parent, key, |_| odd.value()),
        (parent, Change::Wrap) => set(parent, key, |old| json!([old])),
        (_, Change::Rename(_) | Change::Twice | Change::Remove) => {}
    }
}

fn set(parent: &mut Value, key: &str, change: impl FnOnce(Value) -> Value) {
    if let Some(value) = parent.pointer_mut(&format!("/{key}")) {
        *value = change(value.take());
    }
}

fn check(body: &[u8]) {
    match ChatRequest::read(body, MAX_MESSAGES) {
        Ok(request) => {
            let last = request.messages.last().unwrap();
            assert_eq!(last.role, Role::User);
            assert!(!last.text.trim().is_empty() || !last.attachments.is_empty());
            assert!(request.messages.len() <= MAX_MESSAGES);
            for message in &request.messages {
                for file in &message.attachments {
                    assert_ne!(file.data.is_some(), file.url.is_some(), "{file:?}");
                }
                // Whole, but not looked into: it may be nested deeper than any reader goes.
                if let Some(state) = &message.state {
                    assert!(state.get().starts_with('{'));
                    assert!(serde_json::from_str::<IgnoredAny>(state.get()).is_ok());
                }
            }
        }
        Err(failure) => {
            let expected = [
                Code::InvalidRequest,
                Code::UnsupportedParameter,
                Code::RequestTooLarge,
            ];
            assert!(expected.contains(&failure.code), "{failure:?}");
            assert!(
                !failure.message.is_empty() && failure.message.len() < 500,
                "{failure:?}"
            );
            // The type of a part is named when it is not known: a word of the protocol, not of the person.
            let told = format!("{failure:?}").replace(&format!("part of type {WORDS} "), "");
            assert!(!told.contains(WORDS), "{told}");
        }
    }
}

#[test]
fn any_edit_of_a_good_request_is_read_or_refused() {
    bolero::check!()
        .with_type::<(Vec<Edit>, Vec<(u16, u8)>, bool)>()
        .with_iterations(2000)
        .with_test_time(Duration::from_secs(1))
        .for_each(|(edits, bytes, broken)| {
            let mut request = sample();
            for change in edits.iter().take(4) {
                edit(&mut request, change);
            }
            let mut body = request.to_string().into_bytes();
            for (at, byte) in bytes.iter().filter(|_| *broken) {
                let at = usize::from(*at) % body.len();
                body[at] = *byte;
            }
            check(&body);
        });
}

#[test]
fn any_bytes_are_read_or_refused() {
    bolero::check!()
        .with_iterations(3000)
        .with_test_time(Duration::from_secs(1))
        .for_each(|body: &[u8]| check(body));
}

#[test]
fn a_good_request_is_good_before_anybody_edits_it() {
    let request = ChatRequest::read(sample().to_string().as_bytes(), MAX_MESSAGES).unwrap();
    assert_eq!(request.messages.len(), 6);
}
