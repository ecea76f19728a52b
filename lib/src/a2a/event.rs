//! What an agent says of a task: messages, states, artifacts, in one JSON-RPC answer each.

use serde::Deserialize;

use super::part::{Part, WirePart};
use crate::dial::objects;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Working,
    Completed,
    /// It waits for the user.
    InputRequired,
    /// It waits for credentials that the coordinator does not have.
    AuthRequired,
    Failed,
    Rejected,
    Canceled,
}

/// A state, and what the agent says to it.
#[derive(Debug, PartialEq)]
pub struct Status {
    pub state: State,
    pub parts: Vec<Part>,
}

/// A result of the task's, or a piece of one.
#[derive(Debug, PartialEq)]
pub struct Artifact {
    pub id: String,
    pub parts: Vec<Part>,
}

/// One thing said.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// The whole answer, without any task.
    Message(Vec<Part>),
    /// The task as it stands.
    Task(Vec<Artifact>, Status),
    Status(Status),
    Artifact {
        artifact: Artifact,
        /// It continues what was said of this artifact; else it takes its place.
        append: bool,
        last: bool,
    },
}

/// One thing said, and what it belongs to.
#[derive(Debug, PartialEq)]
pub struct Event {
    pub context: Option<String>,
    pub task: Option<String>,
    pub said: Said,
}

/// A JSON-RPC error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RpcError {
    #[serde(default)]
    pub code: i64,
    #[serde(default)]
    pub message: String,
}

/// What came is nothing that the protocol allows. What it was is not repeated.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is not one of A2A")]
pub struct Unreadable;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Option<Wire>,
    #[serde(default)]
    error: Option<RpcError>,
}

/// All shapes of a result in one: version 1.0 wraps it in a field that says what it is, version 0.3 says it by `kind`,
/// and the task that was asked for comes bare.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    task: Option<Box<Wire>>,
    #[serde(default)]
    message: Option<Box<Wire>>,
    #[serde(default)]
    status_update: Option<Box<Wire>>,
    #[serde(default)]
    artifact_update: Option<Box<Wire>>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    task_id: Option<String>,
    #[serde(default)]
    context_id: Option<String>,
    #[serde(default)]
    parts: Option<Vec<WirePart>>,
    #[serde(default)]
    status: Option<WireStatus>,
    #[serde(default)]
    artifacts: Option<Vec<WireArtifact>>,
    #[serde(default)]
    artifact: Option<WireArtifact>,
    #[serde(default)]
    append: Option<bool>,
    #[serde(default)]
    last_chunk: Option<bool>,
}

#[derive(Deserialize)]
struct WireStatus {
    #[serde(default)]
    state: String,
    #[serde(default)]
    message: Option<WireWords>,
}

#[derive(Deserialize)]
struct WireWords {
    #[serde(default)]
    parts: Option<Vec<WirePart>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireArtifact {
    #[serde(default)]
    artifact_id: String,
    #[serde(default)]
    parts: Option<Vec<WirePart>>,
}

impl Event {
    /// Reads one answer; the inner error is the agent's own.
    pub fn read(text: &str) -> Result<Result<Self, RpcError>, Unreadable> {
        // What is made of an empty object takes a hundred times its place.
        if objects::are_too_many(text) {
            return Err(Unreadable);
        }
        // A derived reader would take a list for the object's fields in order.
        if !text.trim_start().starts_with('{') {
            return Err(Unreadable);
        }
        match serde_json::from_str(text).map_err(|_| Unreadable)? {
            Answer {
                error: Some(error), ..
            } => Ok(Err(error)),
            Answer {
                result: Some(result),
                ..
            } => result.read().map(Ok),
            Answer { .. } => Err(Unreadable),
        }
    }
}

impl Wire {
    fn read(self) -> Result<Event, Unreadable> {
        match self {
            Self {
                task: Some(task), ..
            } => task.task(),
            Self {
                message: Some(message),
                ..
            } => Ok(message.message()),
            Self {
                status_update: Some(update),
                ..
            } => update.status(),
            Self {
                artifact_update: Some(update),
                ..
            } => update.artifact(),
            bare => match bare.kind.as_deref() {
                Some("message") => Ok(bare.message()),
                Some("status-update") => bare.status(),
                Some("artifact-update") => bare.artifact(),
                Some("task") | None => bare.task(),
                Some(_) => Err(Unreadable),
            },
        }
    }

    fn task(self) -> Result<Event, Unreadable> {
        let status = self.status.ok_or(Unreadable)?.read();
        let artifacts = self.artifacts.unwrap_or_default();
        let artifacts = artifacts.into_iter().map(WireArtifact::read).collect();
        Ok(Event {
            context: self.context_id,
            task: Some(self.id.ok_or(Unreadable)?),
            said: Said::Task(artifacts, status),
        })
    }

    fn message(self) -> Event {
        Event {
            context: self.context_id,
            task: self.task_id,
            said: Said::Message(parts(self.parts)),
        }
    }

    fn status(self) -> Result<Event, Unreadable> {
        Ok(Event {
            context: self.context_id,
            task: self.task_id,
            said: Said::Status(self.status.ok_or(Unreadable)?.read()),
        })
    }

    fn artifact(self) -> Result<Event, Unreadable> {
        Ok(Event {
            context: self.context_id,
            task: self.task_id,
            said: Said::Artifact {
                artifact: self.artifact.ok_or(Unreadable)?.read(),
                append: self.append.unwrap_or(false),
                last: self.last_chunk.unwrap_or(false),
            },
        })
    }
}

impl WireStatus {
    fn read(self) -> Status {
        Status {
            state: State::parse(&self.state),
            parts: parts(self.message.and_then(|message| message.parts)),
        }
    }
}

impl WireArtifact {
    fn read(self) -> Artifact {
        Artifact {
            id: self.artifact_id,
            parts: parts(self.parts),
        }
    }
}

impl State {
    /// A state of either version; one that is not known is none in which anything ends.
    fn parse(name: &str) -> Self {
        let name = name.strip_prefix("TASK_STATE_").unwrap_or(name);
        match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "completed" => Self::Completed,
            "input-required" => Self::InputRequired,
            "auth-required" => Self::AuthRequired,
            "failed" => Self::Failed,
            "rejected" => Self::Rejected,
            "canceled" | "cancelled" => Self::Canceled,
            _ => Self::Working,
        }
    }

    /// The name that version 0.3 has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Completed => "completed",
            Self::InputRequired => "input-required",
            Self::AuthRequired => "auth-required",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Canceled => "canceled",
        }
    }
}

fn parts(wire: Option<Vec<WirePart>>) -> Vec<Part> {
    let wire = wire.unwrap_or_default();
    wire.into_iter().filter_map(WirePart::read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(result: &Value) -> Event {
        let answer = json!({"jsonrpc": "2.0", "id": 1, "result": result});
        Event::read(&answer.to_string()).unwrap().unwrap()
    }

    #[test]
    fn both_versions_say_the_same() {
        let status = |state: &str| json!({"state": state, "message": {"parts": [{"text": "w"}]}});
        let ids = json!({"taskId": "t", "contextId": "c"});
        let with = |fields: Value| {
            let mut all = ids.clone();
            let fields = fields.as_object().unwrap().clone();
            all.as_object_mut().unwrap().extend(fields);
            all
        };
        let artifact = json!({"artifactId": "a", "parts": [{"text": "x"}]});
        let task = |state: &str| json!({"id": "t", "contextId": "c", "status": status(state), "artifacts": [artifact]});
        let mut named = task("working");
        named["kind"] = "task".into();
        for (new, old) in [
            (json!({"task": task("TASK_STATE_WORKING")}), named),
            (
                json!({"statusUpdate": with(json!({"status": status("TASK_STATE_INPUT_REQUIRED")}))}),
                with(
                    json!({"kind": "status-update", "status": status("input-required"), "final": true}),
                ),
            ),
            (
                json!({"artifactUpdate": with(json!({"artifact": artifact, "append": true}))}),
                with(json!({"kind": "artifact-update", "artifact": artifact, "append": true})),
            ),
            (
                json!({"message": with(json!({"parts": [{"text": "hi"}], "role": "ROLE_AGENT"}))}),
                with(
                    json!({"kind": "message", "parts": [{"kind": "text", "text": "hi"}], "role": "agent"}),
                ),
            ),
        ] {
            let event = read(&new);
            assert_eq!(event.context.as_deref(), Some("c"));
            assert_eq!(event.task.as_deref(), Some("t"));
            assert_eq!(event, read(&old));
        }
        // What was asked for comes bare.
        assert_eq!(
            read(&task("TASK_STATE_WORKING")),
            read(&json!({"task": task("working")}))
        );
    }

    #[test]
    fn an_error_is_the_agents_own_and_nonsense_is_nobodys() {
        let error =
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Task not found"}}"#;
        assert_eq!(Event::read(error).unwrap().unwrap_err().code, -32001);
        for text in [
            "hello",
            "[]",
            "{}",
            r#"{"result":{}}"#,
            r#"{"result":{"kind":"x"}}"#,
        ] {
            assert!(Event::read(text).is_err(), "{text}");
        }
    }
}
