//! What an A2A client asks of us: one JSON-RPC call, read and checked.

use serde::Deserialize;
use serde_json::Value;

use super::event::RpcError;
use super::part::{Part, WirePart};
use super::{
    INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Method, PARSE_ERROR, TASK_NOT_FOUND,
    UNSUPPORTED_OPERATION, Version,
};
use crate::dial::objects;
use crate::domain::message::{Attachment, Message};

/// Longer ids are not ours, and no client needs them.
const ID_CAP: usize = 256;

/// A message to answer.
#[derive(Debug, PartialEq)]
pub struct Incoming {
    /// As the answer has to repeat it.
    pub id: Value,
    pub version: Version,
    /// The answer is wanted event by event.
    pub streamed: bool,
    pub context: Option<String>,
    /// The task that had waited for this message.
    pub task: Option<String>,
    pub message: Message,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    jsonrpc: Option<String>,
    #[serde(default)]
    id: Value,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    #[serde(default)]
    message: Option<Wire>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    context_id: Option<String>,
    #[serde(default)]
    task_id: Option<String>,
    #[serde(default)]
    parts: Option<Vec<WirePart>>,
}

impl Incoming {
    /// Reads a call. What is wrong comes with the id of the call, where that could be read.
    pub fn read(body: &[u8]) -> Result<Self, (Value, RpcError)> {
        let text = std::str::from_utf8(body).unwrap_or_default();
        if objects::are_too_many(text) {
            return Err((
                Value::Null,
                wrong(INVALID_REQUEST, "there are too many parts"),
            ));
        }
        let call: Call = match serde_json::from_str(text) {
            Ok(call) if text.trim_start().starts_with('{') => call,
            _ => return Err((Value::Null, not_a_call(text))),
        };
        let id = match call.id {
            id @ (Value::String(_) | Value::Number(_)) => id,
            _ => Value::Null,
        };
        match taken(call.jsonrpc.as_deref(), call.method.as_deref(), call.params) {
            Ok((method, version, wire)) => {
                let streamed = method == Method::Stream;
                match wire.read() {
                    Ok((context, task, message)) => Ok(Self {
                        id,
                        version,
                        streamed,
                        context,
                        task,
                        message,
                    }),
                    Err(error) => Err((id, error)),
                }
            }
            Err(error) => Err((id, error)),
        }
    }
}

/// The method, and the message that it brings. Tasks are not kept once they are answered, so there is none to ask for.
fn taken(
    jsonrpc: Option<&str>,
    method: Option<&str>,
    params: Option<Params>,
) -> Result<(Method, Version, Wire), RpcError> {
    if jsonrpc != Some("2.0") {
        return Err(wrong(INVALID_REQUEST, "jsonrpc must be \"2.0\""));
    }
    let name = method.ok_or_else(|| wrong(INVALID_REQUEST, "a method is needed"))?;
    match Method::parse(name) {
        Some((Method::Get | Method::Cancel, _)) => Err(wrong(
            TASK_NOT_FOUND,
            "there is no such task: tasks are not kept once they are answered",
        )),
        Some((method, version)) => {
            let message = params.and_then(|params| params.message);
            let message =
                message.ok_or_else(|| wrong(INVALID_PARAMS, "params.message is needed"))?;
            Ok((method, version, message))
        }
        None if is_known(name) => Err(wrong(
            UNSUPPORTED_OPERATION,
            "this agent keeps no tasks and sends no notifications",
        )),
        None => Err(wrong(METHOD_NOT_FOUND, "there is no such method")),
    }
}

impl Wire {
    fn read(self) -> Result<(Option<String>, Option<String>, Message), RpcError> {
        let (context, task) = (named(self.context_id)?, named(self.task_id)?);
        if task.is_some() && context.is_none() {
            return Err(wrong(
                TASK_NOT_FOUND,
                "a message into a task needs the contextId that came with it",
            ));
        }
        let mut text = String::new();
        let mut attachments: Vec<Attachment> = Vec::new();
        for part in self.parts.unwrap_or_default() {
            match part.read() {
                Some(Part::Text(more)) => {
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    text.push_str(&more);
                }
                Some(Part::File(file)) => attachments.push(file),
                None => {
                    return Err(wrong(
                        INVALID_PARAMS,
                        "a part of the message cannot be read",
                    ));
                }
            }
        }
        if text.trim().is_empty() && attachments.is_empty() {
            return Err(wrong(INVALID_PARAMS, "the message is empty"));
        }
        let message = Message {
            attachments,
            ..Message::user(&text)
        };
        Ok((context, task, message))
    }
}

fn named(id: Option<String>) -> Result<Option<String>, RpcError> {
    match id.filter(|id| !id.is_empty()) {
        Some(id) if id.len() > ID_CAP || id.contains(char::is_control) => {
            Err(wrong(INVALID_PARAMS, "an id is too long, or none"))
        }
        id => Ok(id),
    }
}

/// Methods of the protocol's that are about kept tasks, in either version.
fn is_known(name: &str) -> bool {
    name.starts_with("tasks/")
        || name.starts_with("agent/")
        || matches!(
            name,
            "SubscribeToTask" | "ListTasks" | "GetExtendedAgentCard"
        )
        || name.ends_with("TaskPushNotificationConfig")
        || name.ends_with("TaskPushNotificationConfigs")
}

fn not_a_call(text: &str) -> RpcError {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        wrong(INVALID_REQUEST, "this is no single JSON-RPC call")
    } else {
        wrong(PARSE_ERROR, "this is no JSON")
    }
}

pub fn wrong(code: i64, message: &str) -> RpcError {
    RpcError {
        code,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_versions_are_read_alike() {
        let read = |method: &str, part: Value| {
            let call = json!({"jsonrpc": "2.0", "id": "7", "method": method, "params": {"message": {
                "messageId": "m", "contextId": "c", "taskId": "t", "parts": [part]}}});
            Incoming::read(call.to_string().as_bytes()).unwrap()
        };
        let new = read("SendStreamingMessage", json!({"text": "hi"}));
        let old = read("message/stream", json!({"kind": "text", "text": "hi"}));
        assert_eq!((new.version, old.version), (Version::V10, Version::V03));
        for one in [new, old] {
            assert_eq!(one.id, "7");
            assert!(one.streamed);
            assert_eq!(
                (one.context.as_deref(), one.task.as_deref()),
                (Some("c"), Some("t"))
            );
            assert_eq!(one.message, Message::user("hi"));
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_code() {
        let check = |body: &str, code: i64| {
            let (_, error) = Incoming::read(body.as_bytes()).unwrap_err();
            assert_eq!(error.code, code, "{body}: {error:?}");
        };
        let call = |method: &str, params: Value| {
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
        };
        let message = |parts: Value| json!({"message": {"parts": parts}});
        check("{", PARSE_ERROR);
        check("[]", INVALID_REQUEST);
        check("{}", INVALID_REQUEST);
        check(r#"{"jsonrpc":"2.0"}"#, INVALID_REQUEST);
        check(&call("dance", json!({})), METHOD_NOT_FOUND);
        check(&call("SendMessage", json!({})), INVALID_PARAMS);
        check(&call("SendMessage", message(json!([]))), INVALID_PARAMS);
        check(
            &call("SendMessage", message(json!([{"text": " "}]))),
            INVALID_PARAMS,
        );
        check(
            &call("SendMessage", message(json!([{"beam": 1}]))),
            INVALID_PARAMS,
        );
        check(&call("GetTask", json!({"id": "t"})), TASK_NOT_FOUND);
        check(&call("tasks/cancel", json!({"id": "t"})), TASK_NOT_FOUND);
        check(
            &call("tasks/resubscribe", json!({"id": "t"})),
            UNSUPPORTED_OPERATION,
        );
        check(
            &call(
                "SendMessage",
                json!({"message": {"taskId": "t", "parts": [{"text": "x"}]}}),
            ),
            TASK_NOT_FOUND,
        );
    }
}
