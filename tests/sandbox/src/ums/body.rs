//! Request bodies, refused in `FastAPI`'s words when they are wrong.

use serde_json::{Value, json};

pub(super) struct Chat {
    pub(super) content: String,
    pub(super) stream: bool,
}

/// The title that a new conversation is to have. A body is needed, if only `{}`.
pub(super) fn title(body: &[u8]) -> Result<Option<String>, Value> {
    let body = object(body)?;
    match body.get("title") {
        None => Ok(None),
        Some(Value::String(title)) => Ok(Some(title.clone())),
        Some(other) => Err(not_a_string(&["body", "title"], other)),
    }
}

impl Chat {
    pub(super) fn read(body: &[u8]) -> Result<Self, Value> {
        let body = object(body)?;
        let message = body
            .get("message")
            .ok_or_else(|| missing(&["body", "message"], &body))?;
        if !message.is_object() {
            return Err(no_object(&["body", "message"], message));
        }
        let at = ["body", "message", "role"];
        let role = message.get("role").ok_or_else(|| missing(&at, message))?;
        let roles = ["system", "user", "assistant", "tool"];
        if !role.as_str().is_some_and(|role| roles.contains(&role)) {
            let expected = "'system', 'user', 'assistant' or 'tool'";
            return Err(
                json!({"type": "enum", "loc": at, "msg": format!("Input should be {expected}"), "input": role, "ctx": {"expected": expected}}),
            );
        }
        let at = ["body", "message", "content"];
        let content = message
            .get("content")
            .ok_or_else(|| missing(&at, message))?;
        let text = content.as_str().ok_or_else(|| not_a_string(&at, content))?;
        let stream = body.get("stream").unwrap_or(&Value::Bool(true));
        let stream = stream.as_bool().ok_or_else(|| {
            json!({"type": "bool_type", "loc": ["body", "stream"], "msg": "Input should be a valid boolean", "input": stream})
        })?;
        Ok(Self {
            content: text.to_owned(),
            stream,
        })
    }
}

fn object(body: &[u8]) -> Result<Value, Value> {
    if body.is_empty() {
        return Err(missing(&["body"], &Value::Null));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        json!({"type": "json_invalid", "loc": ["body", error.column()], "msg": "JSON decode error", "input": {}, "ctx": {"error": error.to_string()}})
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(no_object(&["body"], &value))
    }
}

fn missing(at: &[&str], input: &Value) -> Value {
    json!({"type": "missing", "loc": at, "msg": "Field required", "input": input})
}

fn not_a_string(at: &[&str], input: &Value) -> Value {
    json!({"type": "string_type", "loc": at, "msg": "Input should be a valid string", "input": input})
}

fn no_object(at: &[&str], input: &Value) -> Value {
    json!({"type": "model_attributes_type", "loc": at, "msg": "Input should be a valid dictionary or object to extract fields from", "input": input})
}
