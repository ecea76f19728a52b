//! A chat completion request, as far as the scripted model reads it.

use serde_json::Value;

use crate::text;

pub(crate) struct Chat {
    pub(crate) model: Option<String>,
    pub(crate) turns: Vec<Turn>,
    /// The JSON schema that the answer must follow, if one is asked for.
    pub(crate) schema: Option<Value>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn {
    pub(crate) role: String,
    pub(crate) text: String,
}

impl Chat {
    /// Reads a request, or says what is wrong with it.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        let request: Value = serde_json::from_slice(body).map_err(|error| {
            format!("We could not parse the JSON body of your request: {error}")
        })?;
        let messages = request.get("messages").and_then(Value::as_array);
        let messages = messages.ok_or("Missing required parameter: 'messages'.")?;
        if messages.is_empty() {
            return Err("Invalid 'messages': empty array.".to_owned());
        }
        let turns = messages.iter().enumerate().map(|(at, message)| {
            Turn::read(message).ok_or_else(|| format!("Invalid 'messages[{at}].role'."))
        });
        let is_true = |pointer: &str| request.pointer(pointer) == Some(&Value::Bool(true));
        let wants_schema = request.pointer("/response_format/type") == Some(&"json_schema".into());
        let schema = request.pointer("/response_format/json_schema/schema");
        Ok(Self {
            model: request
                .get("model")
                .and_then(Value::as_str)
                .map(str::to_owned),
            turns: turns.collect::<Result<_, _>>()?,
            schema: schema.filter(|_| wants_schema).cloned(),
            stream: is_true("/stream"),
            include_usage: is_true("/stream_options/include_usage"),
        })
    }

    pub(crate) fn last_user_text(&self) -> &str {
        let last = self.turns.iter().rev().find(|turn| turn.role == "user");
        last.map_or("", |turn| turn.text.as_str())
    }

    pub(crate) fn tokens(&self) -> usize {
        self.turns.iter().map(|turn| text::tokens(&turn.text)).sum()
    }
}

impl Turn {
    fn read(message: &Value) -> Option<Self> {
        Some(Self {
            role: message.get("role")?.as_str()?.to_owned(),
            text: text::of_content(message.get("content").unwrap_or(&Value::Null)),
        })
    }
}
