//! What the conditions of rules see of a request, each part made when it is first asked for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use cel::Value;
use cel::common::types::{CelInt, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;

use super::access::Role;
use super::day::Day;
use super::ids::{Millis, Timestamp};
use super::language::Language;
use super::message::Attachment;

/// The names that a condition may use.
pub const VARIABLES: [&str; 10] = [
    "query",
    "words",
    "language",
    "attachments",
    "tenant",
    "role",
    "roles",
    "previous",
    "depth",
    "now",
];
/// The query in small letters, under a name that nobody can write down.
pub const QUERY_FOLDED: &str = "@query";
/// So many attachments are seen, and no list of a request is longer.
pub const MOST: usize = 20;
/// Of a longer message, as many bytes of its head and of its tail: who is to answer is told by its beginning or its end.
const SEEN: usize = 16 * 1024;
/// Nobody counts further.
const WORDS: usize = 10_000;
const DAYS: [&str; 7] = [
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
];

/// The files of a request.
#[derive(Clone, Copy, Debug)]
pub enum Files<'a> {
    Sent(&'a [Attachment]),
    Named(&'a [File]),
}

/// A file as rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub kind: String,
    pub name: String,
    /// In bytes; 0 where the file is somewhere else.
    pub size: u64,
}

/// A request, as far as rules care.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The user's own last words.
    pub text: &'a str,
    pub files: Files<'a>,
    pub tenant: &'a str,
    pub roles: &'a [Role],
    /// The agent that answered before.
    pub previous: Option<&'a str>,
    /// How many coordinators have passed the request on.
    pub depth: u32,
    pub at: Timestamp,
    /// What the text is in, where it is not to be guessed.
    pub language: Option<&'a str>,
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Self {
            text: "",
            files: Files::Sent(&[]),
            tenant: "default",
            roles: &[Role::User],
            previous: None,
            depth: 0,
            at: Timestamp(0),
            language: None,
        }
    }
}

/// The values of all variables.
#[derive(Debug)]
pub struct Situation<'a> {
    asked: Asked<'a>,
    query: Cow<'a, str>,
    folded: OnceLock<String>,
    words: OnceLock<i64>,
    files: OnceLock<Option<Box<dyn Val>>>,
    roles: OnceLock<Option<Box<dyn Val>>>,
    now: OnceLock<Option<Box<dyn Val>>>,
}

impl From<&Attachment> for File {
    fn from(sent: &Attachment) -> Self {
        let address = sent.url.as_deref().unwrap_or_default();
        let last = address.trim_end_matches('/').rsplit('/').next();
        Self {
            kind: sent.kind().to_owned(),
            name: (sent.title.as_deref().or(last))
                .unwrap_or_default()
                .to_owned(),
            size: sent.bytes().unwrap_or(0) as u64,
        }
    }
}

impl<'a> Situation<'a> {
    pub fn new(asked: Asked<'a>) -> Self {
        Self {
            query: seen(asked.text),
            asked,
            folded: OnceLock::new(),
            words: OnceLock::new(),
            files: OnceLock::new(),
            roles: OnceLock::new(),
            now: OnceLock::new(),
        }
    }

    /// A request that has something of everything, to try conditions on.
    pub(super) fn sample() -> Self {
        static FILES: OnceLock<[File; 1]> = OnceLock::new();
        let files = FILES.get_or_init(|| {
            [File {
                kind: "text/plain".into(),
                name: "a.txt".into(),
                size: 1,
            }]
        });
        Self::new(Asked {
            text: "a sample",
            files: Files::Named(files),
            previous: Some("A"),
            ..Asked::default()
        })
    }

    fn files(&self) -> Option<Box<dyn Val>> {
        let file = |file: File| {
            Value::from(HashMap::from([
                ("type", Value::from(file.kind)),
                ("name", Value::from(file.name)),
                (
                    "size",
                    Value::Int(i64::try_from(file.size).unwrap_or(i64::MAX)),
                ),
            ]))
        };
        let files: Vec<Value> = match self.asked.files {
            Files::Sent(files) => (files.iter().take(MOST))
                .map(|sent| file(sent.into()))
                .collect(),
            Files::Named(files) => files.iter().take(MOST).cloned().map(file).collect(),
        };
        Value::from(files).try_into().ok()
    }

    fn roles(&self) -> Option<Box<dyn Val>> {
        let roles = (self.asked.roles.iter().take(MOST)).map(|role| Value::from(role.as_str()));
        Value::from(roles.collect::<Vec<_>>()).try_into().ok()
    }

    fn now(&self) -> Option<Box<dyn Val>> {
        let seconds = self.asked.at.0;
        let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let day = usize::try_from(seconds / 86_400 % 7).unwrap_or_default();
        let now = HashMap::from([
            ("hour", number(seconds / 3600 % 24)),
            ("minute", number(seconds / 60 % 60)),
            (
                "weekday",
                Value::from(DAYS.get(day).copied().unwrap_or_default()),
            ),
            (
                "date",
                Value::from(Day::of(Millis(seconds.saturating_mul(1000))).to_string()),
            ),
            ("timestamp", number(seconds)),
        ]);
        Value::from(now).try_into().ok()
    }
}

impl VariableResolver for Situation<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let text = |text: &'b str| Some(CowVal::owned(CelString::from(text)));
        let asked = &self.asked;
        match variable {
            "query" => text(&self.query),
            QUERY_FOLDED => text(self.folded.get_or_init(|| self.query.to_lowercase())),
            "words" => {
                let count = || self.asked.text.split_whitespace().take(WORDS).count();
                let words = (self.words).get_or_init(|| i64::try_from(count()).unwrap_or(i64::MAX));
                Some(CowVal::owned(CelInt::from(*words)))
            }
            "language" => {
                let guessed = || Language::of(&self.query).code();
                text(asked.language.unwrap_or_else(guessed))
            }
            "tenant" => text(asked.tenant),
            "role" => {
                let role = Role::ALL
                    .into_iter()
                    .rfind(|role| asked.roles.contains(role));
                text(role.map_or("", Role::as_str))
            }
            "previous" => text(asked.previous.unwrap_or_default()),
            "depth" => Some(CowVal::owned(CelInt::from(i64::from(asked.depth)))),
            "attachments" => self
                .files
                .get_or_init(|| self.files())
                .as_deref()
                .map(CowVal::Borrowed),
            "roles" => self
                .roles
                .get_or_init(|| self.roles())
                .as_deref()
                .map(CowVal::Borrowed),
            "now" => self
                .now
                .get_or_init(|| self.now())
                .as_deref()
                .map(CowVal::Borrowed),
            _ => None,
        }
    }
}

/// The head and the tail of a text; all of it, if it is not long.
fn seen(text: &str) -> Cow<'_, str> {
    if text.len() <= 2 * SEEN {
        return Cow::Borrowed(text);
    }
    let head = text
        .get(..text.floor_char_boundary(SEEN))
        .unwrap_or_default();
    let tail = text
        .get(text.ceil_char_boundary(text.len() - SEEN)..)
        .unwrap_or_default();
    Cow::Owned(format!("{head}\n{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::condition::Condition;

    #[test]
    fn of_a_long_message_the_beginning_and_the_end_are_seen() {
        let text = format!("Translate {} into Polish", "ї".repeat(100_000));
        let situation = Situation::new(Asked {
            text: &text,
            ..Asked::default()
        });
        let both = Condition::parse("startsWith(query, 'translate') && endsWith(query, 'polish')");
        assert_eq!(both.unwrap().holds(&situation), Ok(true));
        assert!(situation.query.len() <= 2 * SEEN + 1);
    }

    #[test]
    fn days_have_their_names() {
        let day = |at: u64, expected: &str| {
            let situation = Situation::new(Asked {
                at: Timestamp(at),
                ..Asked::default()
            });
            let condition = Condition::parse(&format!("now.weekday == '{expected}'")).unwrap();
            assert_eq!(condition.holds(&situation), Ok(true), "{at} is {expected}");
        };
        day(0, "thursday");
        day(1_795_132_800, "friday");
        day(1_795_132_799, "thursday");
        day(1_795_132_800 + 3 * 86_400, "monday");
    }
}
