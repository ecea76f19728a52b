//! Hooks as data: where in a turn the administrator looks on, with what, and what came of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::Zeroizing;

use super::ids::AgentId;

/// A moment of a turn at which hooks are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    BeforeRoute,
    AfterRoute,
    /// Before each single call to an agent.
    BeforeAgent,
    /// After each call that was answered.
    AfterAgent,
    BeforeSynthesis,
    /// Beside the saving: nothing can be refused any more.
    AfterTurn,
}

impl Point {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeRoute => "before_route",
            Self::AfterRoute => "after_route",
            Self::BeforeAgent => "before_agent",
            Self::AfterAgent => "after_agent",
            Self::BeforeSynthesis => "before_synthesis",
            Self::AfterTurn => "after_turn",
        }
    }
}

/// What it means that a hook does not answer as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Fail {
    /// The turn goes on.
    Open,
    /// The turn is refused.
    Closed,
}

/// One hook of the configuration.
#[derive(Clone, Debug)]
pub struct HookCard {
    pub name: Arc<str>,
    /// Where it is asked.
    pub at: Vec<Point>,
    pub kind: HookKind,
}

/// What a hook does.
#[derive(Clone, Debug)]
pub enum HookKind {
    /// Asks somebody else by HTTP.
    Webhook(WebhookCard),
    /// Refuses what one of the patterns is found in, with a sentence for the user.
    Refuse { patterns: Vec<Pattern>, say: String },
    /// Puts a label in place of what a pattern is found in, before anything else sees the request.
    Redact(Vec<(String, Pattern)>),
}

/// Where a webhook is, and what it may see and say.
#[derive(Clone, Debug)]
pub struct WebhookCard {
    pub url: Url,
    /// Every one of them signs, so that the receiver can change over.
    pub keys: Vec<HookKey>,
    pub timeout: Duration,
    pub fail: Fail,
    /// It gets what people and agents say, too.
    pub content: bool,
    /// The agents that it may choose.
    pub agents: Vec<AgentId>,
}

/// A key that events are signed with: `whsec_` and 24 to 64 bytes in base64, as the Standard Webhooks have it.
#[derive(Clone)]
pub struct HookKey(Zeroizing<Vec<u8>>);

impl HookKey {
    pub fn parse(text: &str) -> Option<Self> {
        let key = Zeroizing::new(STANDARD.decode(text.strip_prefix("whsec_")?).ok()?);
        (24..=64).contains(&key.len()).then_some(Self(key))
    }

    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for HookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A regular expression. It is searched for in a time that grows with the text alone, whatever it is.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// A larger one is a mistake, or would take too much memory.
    const SIZE: usize = 256 * 1024;

    /// Fails with a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(text).size_limit(Self::SIZE).build();
        let pattern = built.map_err(|error| format!("the pattern {text:?} is wrong: {error}"))?;
        if pattern.is_match("") {
            return Err(format!(
                "the pattern {text:?} is found in every text, even where there is none"
            ));
        }
        Ok(Self(pattern))
    }

    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The text with `label` in place of everything that the pattern is found in; `None` where it is found nowhere.
    pub fn replaced(&self, text: &str, label: &str) -> Option<String> {
        // The label is no expression of its own.
        let replaced = self.0.replace_all(text, regex::NoExpand(label));
        match replaced {
            std::borrow::Cow::Borrowed(_) => None,
            std::borrow::Cow::Owned(text) => Some(text),
        }
    }
}

/// What came of asking a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// The turn goes on.
    On,
    /// It chose the agent.
    Chose,
    Refused,
    /// It took something out of the request.
    Redacted,
    /// It did not answer as it should, and the turn goes on.
    Failed,
    /// It did not answer as it should, and so the turn is refused.
    Closed,
}

impl Said {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Chose => "chose",
            Self::Refused => "refused",
            Self::Redacted => "redacted",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }

    /// True when the turn ends here.
    pub fn refuses(self) -> bool {
        matches!(self, Self::Refused | Self::Closed)
    }
}

/// One hook asked once, as the record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCall {
    pub hook: Arc<str>,
    pub at: Point,
    pub said: Said,
    /// The hook's own words for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How long it took, in microseconds.
    pub micros: u64,
}

impl HookCall {
    /// True for what is worth keeping: it did something, or said something.
    pub fn is_remarkable(&self) -> bool {
        self.said != Said::On || self.note.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_the_standard_form_and_does_not_print() {
        let key = HookKey::parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        assert_eq!(key.expose().len(), 24);
        assert_eq!(format!("{key:?}"), "[redacted]");
        for wrong in [
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "whsec_",
            "whsec_short",
            "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(HookKey::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_a_pattern_is_found_in_is_replaced_by_its_label_as_it_is() {
        let mail = Pattern::parse(r"[\w.+-]+@[\w-]+\.\w+").unwrap();
        assert_eq!(
            mail.replaced("ann@example.com, Öllö@example.org", "[$0]"),
            Some("[$0], [$0]".into())
        );
        assert_eq!(mail.replaced("nobody", "[email]"), None);
        assert!(Pattern::parse(r"(?i)привіт").unwrap().is_in("ПРИВІТ!"));
    }

    #[test]
    fn a_pattern_that_is_wrong_too_large_or_found_everywhere_is_refused() {
        for wrong in ["(", "a*", r"\w{5000}"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
