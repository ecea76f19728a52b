//! What an agent says while it works: a closed list that every gateway speaks.

use super::message::{Attachment, OpaqueState};
use super::usage::ModelUsage;

/// How a stage ended. There is no wire value for a running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageStatus {
    Completed,
    Failed,
}

impl StageStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// One delta of one of the agent's stages. Every field that is set is applied, from the first delta on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageChange {
    pub name: Option<String>,
    pub content: Option<String>,
    pub attachments: Vec<Attachment>,
    pub status: Option<StageStatus>,
    /// Only the opening delta carries it.
    pub parent: Option<u32>,
}

/// One event of an agent's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentEvent {
    Text(String),
    /// All of its text up to here, since what it said before is not what it says now.
    Anew(String),
    /// `index` is the agent's own numbering.
    Stage {
        index: u32,
        change: StageChange,
    },
    Attachment(Attachment),
    State(OpaqueState),
    /// Buttons or fields for the user, by a JSON schema that is passed on as it is.
    Form(OpaqueState),
    Usage(Vec<ModelUsage>),
    /// The agent keeps this conversation under this id of its own.
    Session {
        id: String,
        created: bool,
    },
    /// The answer is a question to the user: the reply is this agent's.
    Asks,
    /// It said as much as it may say at once: the text ends before what it wanted to say.
    Cut,
    /// The answer is complete. Nothing follows.
    Finished,
}
