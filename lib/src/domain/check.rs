//! What an agent's answer is checked for, and what its checks come to.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::shape::Shape;

/// What can be wrong with an answer, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// There is nothing in it.
    Empty,
    /// The agent declines to do what was asked.
    Refusal,
    /// It is not in the form that its card says.
    Schema,
    /// It speaks of a file that is not there, or lacks one that its card says must be.
    Attachment,
    /// It is in another language than it should be.
    Language,
    /// A second model asks for another one.
    Judge,
}

impl Check {
    /// Those that can be switched off and on; the others are there where their schema or their model is named.
    pub const SWITCHED: [Self; 4] = [Self::Empty, Self::Refusal, Self::Attachment, Self::Language];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Refusal => "refusal",
            Self::Schema => "schema",
            Self::Attachment => "attachment",
            Self::Language => "language",
            Self::Judge => "judge",
        }
    }

    /// Whether everybody who reads the answer sees it anyway.
    pub fn is_plain_to_see(self) -> bool {
        matches!(self, Self::Refusal | Self::Language)
    }
}

/// Whether the agent of an answer that failed a check is asked once more, or why it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Again {
    Asked,
    /// It was asked once more already.
    Twice,
    /// It may change something.
    Changes,
    /// Its user would have to approve that anew.
    Approval,
    /// The answer was read while it came.
    Shown,
    /// The turn has no time for it.
    Time,
    /// The turn's budget, or the most calls that a turn may make, has no room for it.
    Budget,
}

impl Again {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Twice => "twice",
            Self::Changes => "changes",
            Self::Approval => "approval",
            Self::Shown => "shown",
            Self::Time => "time",
            Self::Budget => "budget",
        }
    }
}

/// What a second model said of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judged {
    Accepted,
    Rework,
    /// It said nothing that can be used, so the answer counts as accepted.
    Failed,
}

impl Judged {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rework => "rework",
            Self::Failed => "failed",
        }
    }
}

/// What the checks of one answer came to, as its call keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// What it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Check>,
    /// What came of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judged>,
}

/// What an agent's answers are checked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Those of [`Check::SWITCHED`] that are on.
    pub on: BTreeSet<Check>,
    /// The form of its answers.
    pub schema: Option<Arc<Shape>>,
    /// MIME patterns: each answer has an attachment that fits one of them.
    pub attached: Vec<String>,
    /// The model that judges its answers.
    pub judge: Option<Arc<str>>,
    /// Its answer is shown when it has been checked, and not as it comes.
    pub hold: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            on: Check::SWITCHED.into(),
            schema: None,
            attached: Vec::new(),
            judge: None,
            hold: false,
        }
    }
}

/// Whether a text has nothing in it that anybody could read.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|letter| {
        letter.is_whitespace()
            || letter.is_control()
            || matches!(
                letter,
                '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_read_is_blank() {
        for blank in ["", "  \n\t", "\u{200b}\u{feff} \u{a0}\r\n"] {
            assert!(is_blank(blank), "{blank:?}");
        }
        for said in ["0", "\u{1f44d}", "-", "\u{200b}."] {
            assert!(!is_blank(said), "{said:?}");
        }
    }

    #[test]
    fn what_went_well_takes_no_room_in_a_record() {
        let json = |checked: &Checked| serde_json::to_string(checked).unwrap();
        assert_eq!(json(&Checked::default()), "{}");
        let failed = Checked {
            failed: vec![Check::Refusal],
            again: Some(Again::Asked),
            judged: None,
        };
        assert_eq!(json(&failed), r#"{"failed":["refusal"],"again":"asked"}"#);
        let read: Checked = serde_json::from_str(&json(&failed)).unwrap();
        assert_eq!(read, failed);
    }
}
