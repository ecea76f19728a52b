//! Talking to a model: a prompt in, text and usage out.

mod chat;

pub use chat::{Models, Provider, TextStream};

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::domain::turn::Caller;
use crate::domain::usage::Usage;
use crate::guard::Resting;
use crate::resilience::breaker::Outcome;
use crate::upstream;

/// What a model is asked.
#[derive(Clone, Debug)]
pub struct Prompt {
    pub model: Arc<str>,
    pub messages: Vec<PromptMessage>,
    /// A strict `response_format`, for an answer that is data.
    pub response_format: Option<Arc<RawValue>>,
    pub caller: Arc<Caller>,
    pub deadline: Instant,
}

impl Prompt {
    /// Leaves out the oldest of the conversation until the rest has at most so many bytes. The rules, which come first, and
    /// the last message stay; the client's own instructions stay while they take no more than half. True if anything was
    /// left out.
    pub fn fit(&mut self, bytes: usize) -> bool {
        let last = self.messages.len().saturating_sub(1);
        let is_rule =
            |at: usize, message: &PromptMessage| at == 0 && message.role == PromptRole::System;
        let instructions: usize = (self.messages.iter().enumerate())
            .filter(|(at, message)| message.role == PromptRole::System && !is_rule(*at, message))
            .map(|(_, message)| message.text.len())
            .sum();
        let instructed = instructions <= bytes / 2;
        let (mut room, mut full) = (bytes, false);
        if instructed {
            room -= instructions;
        }
        // From the newest on: what stands behind a gap is not shown without what it refers to.
        let keeps: Vec<bool> = (self.messages.iter().enumerate().rev())
            .map(|(at, message)| {
                if message.role == PromptRole::System {
                    return is_rule(at, message) || instructed;
                }
                full |= message.text.len() > room;
                room = room.saturating_sub(message.text.len());
                !full || at == last
            })
            .collect();
        let mut keeps = keeps.into_iter().rev();
        let before = self.messages.len();
        self.messages.retain(|_| keeps.next().unwrap_or(true));
        self.messages.len() < before
    }
}

/// One message of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptMessage {
    pub role: PromptRole,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptRole {
    System,
    User,
    Assistant,
}

impl PromptRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

impl PromptMessage {
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(PromptRole::System, text)
    }

    pub fn user(text: impl Into<String>) -> Self {
        Self::new(PromptRole::User, text)
    }

    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(PromptRole::Assistant, text)
    }

    fn new(role: PromptRole, text: impl Into<String>) -> Self {
        Self {
            role,
            text: text.into(),
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    pub text: String,
    /// `None` when the model did not say.
    pub usage: Option<Usage>,
}

/// Why a model gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the model call failed")]
    Call(#[source] upstream::Error),
    #[error("the model's answer cannot be read")]
    Malformed(#[from] crate::dial::delta::Malformed),
    #[error("the model's answer was withheld by a content filter")]
    Filtered,
    /// Its breaker is open.
    #[error("the model is left alone")]
    Resting(#[from] Resting),
}

impl Error {
    /// True when the model cannot take a prompt of this length.
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_too_long())
    }

    /// What this says about the model's health; `out_of_time` is what it says that the turn ended during the call.
    fn outcome(&self, out_of_time: Outcome) -> Outcome {
        match self {
            Self::Call(error) => error.outcome(out_of_time),
            Self::Malformed(_) => Outcome::Failure { after: None },
            Self::Filtered | Self::Resting(_) => Outcome::Ignored,
        }
    }
}

impl From<upstream::Error> for Error {
    fn from(error: upstream::Error) -> Self {
        if error.is_filtered() {
            Self::Filtered
        } else {
            Self::Call(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_of_a_conversation_is_left_out_and_never_the_request() {
        let all = [
            PromptMessage::system("rules"),
            PromptMessage::user("aaaa"),
            PromptMessage::assistant("bb"),
            PromptMessage::user("cc"),
        ];
        let fitted = |bytes| {
            let mut prompt = Prompt {
                model: "m".into(),
                messages: all.to_vec(),
                response_format: None,
                caller: Arc::default(),
                deadline: Instant::now() + Duration::from_secs(1),
            };
            let cut = prompt.fit(bytes);
            let texts: Vec<String> = prompt.messages.into_iter().map(|one| one.text).collect();
            (cut, texts.join(" "))
        };
        assert_eq!(fitted(8), (false, "rules aaaa bb cc".into()));
        assert_eq!(fitted(7), (true, "rules bb cc".into()));
        assert_eq!(fitted(3), (true, "rules cc".into()));
        assert_eq!(fitted(0), (true, "rules cc".into()));
        let mut prompt = Prompt {
            model: "m".into(),
            messages: vec![
                PromptMessage::system("rules"),
                PromptMessage::system("be kind"),
                PromptMessage::user("aaaa"),
            ],
            response_format: None,
            caller: Arc::default(),
            deadline: Instant::now() + Duration::from_secs(1),
        };
        assert!(
            !prompt.fit(14) && prompt.fit(13),
            "instructions of the client have half"
        );
    }
}
