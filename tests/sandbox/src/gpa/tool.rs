//! One finished tool call, as its stage and the state show it.

use serde::Serialize;
use serde_json::{Value, json};

pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) arguments: Value,
    /// What the stage shows under "Request arguments".
    pub(super) request: String,
    /// What the stage shows under "Response".
    pub(super) response: String,
    /// What the agent's model is told.
    pub(super) content: String,
    pub(super) stage_attachments: Vec<Value>,
    pub(super) choice_attachments: Vec<Value>,
    pub(super) failed: bool,
}

impl Tool {
    pub(super) fn new(name: &'static str, arguments: Value, result: &Value) -> Self {
        Self {
            name,
            request: fence("json", &pretty(&arguments)),
            arguments,
            response: fence("json", &pretty(result)),
            content: result.to_string(),
            stage_attachments: Vec::new(),
            choice_attachments: Vec::new(),
            failed: false,
        }
    }

    /// The call as the state's tool call history has it.
    pub(super) fn call(&self, index: usize) -> Value {
        let function = json!({"name": self.name, "arguments": self.arguments.to_string()});
        json!({"index": index, "id": Self::id(index), "type": "function", "function": function})
    }

    pub(super) fn message(&self, index: usize) -> Value {
        json!({"role": "tool", "content": self.content, "name": self.name, "tool_call_id": Self::id(index)})
    }

    fn id(index: usize) -> String {
        format!("call_{}", index + 1)
    }
}

/// A fenced block with the line ends that the real agent uses.
pub(super) fn fence(language: &str, text: &str) -> String {
    format!("```{language}\n\r{text}\n\r```\n\r")
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
