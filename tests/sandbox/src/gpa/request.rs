//! What aidial-sdk 0.27 accepts as a request, and the messages in it.

use serde_json::Value;

use crate::text;

/// A message as the agent reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) by_user: bool,
    pub(super) text: String,
    pub(super) attachments: Vec<Value>,
}

/// The shape of a JSON object; fields not named are refused.
struct Shape {
    fields: &'static [(&'static str, Kind)],
    required: &'static [&'static str],
    /// Whether `data` and `url` exclude each other.
    data_or_url: bool,
}

enum Kind {
    Any,
    Text,
    Flag,
    OneOf(&'static [&'static str]),
    One(&'static Shape),
    Many(&'static Shape),
    /// A text, or a list of content parts.
    Content,
}

use Kind::{Any, Content, Flag, Many, One, OneOf, Text};

static REQUEST: Shape = Shape {
    fields: &[
        ("messages", Many(&MESSAGE)),
        ("model", Text),
        ("stream", Flag),
        ("stream_options", One(&STREAM_OPTIONS)),
        ("user", Text),
        ("custom_fields", One(&CUSTOM_FIELDS)),
        ("functions", Any),
        ("function_call", Any),
        ("tools", Any),
        ("tool_choice", Any),
        ("parallel_tool_calls", Any),
        ("temperature", Any),
        ("top_p", Any),
        ("n", Any),
        ("stop", Any),
        ("max_tokens", Any),
        ("max_completion_tokens", Any),
        ("max_prompt_tokens", Any),
        ("presence_penalty", Any),
        ("frequency_penalty", Any),
        ("logit_bias", Any),
        ("seed", Any),
        ("logprobs", Any),
        ("top_logprobs", Any),
        ("response_format", Any),
        ("addons", Any),
    ],
    required: &["messages"],
    data_or_url: false,
};

static MESSAGE: Shape = Shape {
    fields: &[
        (
            "role",
            OneOf(&[
                "system",
                "developer",
                "user",
                "assistant",
                "function",
                "tool",
            ]),
        ),
        ("content", Content),
        ("custom_content", One(&CUSTOM_CONTENT)),
        ("custom_fields", Any),
        ("name", Text),
        ("tool_calls", Many(&TOOL_CALL)),
        ("tool_call_id", Text),
        ("function_call", One(&FUNCTION_CALL)),
        ("refusal", Text),
    ],
    required: &["role"],
    data_or_url: false,
};

static CUSTOM_CONTENT: Shape = Shape {
    fields: &[
        ("stages", Many(&STAGE)),
        ("attachments", Many(&ATTACHMENT)),
        ("state", Any),
        ("form_value", Any),
        ("form_schema", Any),
    ],
    required: &[],
    data_or_url: false,
};

static STAGE: Shape = Shape {
    fields: &[
        ("name", Text),
        ("status", OneOf(&["completed", "failed"])),
        ("content", Text),
        ("attachments", Many(&ATTACHMENT)),
    ],
    required: &["name", "status"],
    data_or_url: false,
};

static ATTACHMENT: Shape = Shape {
    fields: &[
        ("type", Text),
        ("title", Text),
        ("data", Text),
        ("url", Text),
        ("reference_type", Text),
        ("reference_url", Text),
    ],
    required: &[],
    data_or_url: true,
};

static TOOL_CALL: Shape = Shape {
    fields: &[
        ("index", Any),
        ("id", Text),
        ("type", OneOf(&["function"])),
        ("function", One(&FUNCTION_CALL)),
    ],
    required: &["id", "type", "function"],
    data_or_url: false,
};

static FUNCTION_CALL: Shape = Shape {
    fields: &[("name", Text), ("arguments", Text)],
    required: &["name", "arguments"],
    data_or_url: false,
};

static STREAM_OPTIONS: Shape = Shape {
    fields: &[("include_usage", Any)],
    required: &[],
    data_or_url: false,
};

static CUSTOM_FIELDS: Shape = Shape {
    fields: &[("configuration", Any)],
    required: &[],
    data_or_url: false,
};

/// Says where and why the SDK would refuse a request.
pub(super) fn validate(request: &Value) -> Result<(), String> {
    REQUEST.validate(request, "")
}

impl Said {
    /// Assistant messages without `custom_content` are skipped, as the real agent skips them.
    pub(super) fn all(request: &Value) -> Vec<Self> {
        let messages = request.get("messages").and_then(Value::as_array);
        messages
            .into_iter()
            .flatten()
            .filter_map(Self::read)
            .collect()
    }

    fn read(message: &Value) -> Option<Self> {
        let role = message.get("role")?.as_str()?;
        let custom = message
            .get("custom_content")
            .filter(|custom| custom.is_object());
        if role != "user" && (role != "assistant" || custom.is_none()) {
            return None;
        }
        let attachments = custom.and_then(|custom| custom.get("attachments")?.as_array());
        Some(Self {
            by_user: role == "user",
            text: text::of_content(message.get("content").unwrap_or(&Value::Null)),
            attachments: attachments.cloned().unwrap_or_default(),
        })
    }
}

impl Shape {
    fn validate(&self, value: &Value, path: &str) -> Result<(), String> {
        let Value::Object(fields) = value else {
            return Err(format!("{path}. value is not a valid dict"));
        };
        if self.data_or_url {
            data_or_url(value).map_err(|wrong| format!("{}. {wrong}", join(path, "__root__")))?;
        }
        if let Some(missing) = self
            .required
            .iter()
            .find(|name| !fields.contains_key(**name))
        {
            return Err(format!("{}. field required", join(path, missing)));
        }
        for (name, value) in fields {
            let path = join(path, name);
            let known = self.fields.iter().find(|(known, _)| known == name);
            let (_, kind) = known.ok_or_else(|| format!("{path}. extra fields not permitted"))?;
            if !value.is_null() {
                kind.validate(value, &path)?;
            } else if self.required.contains(&name.as_str()) {
                return Err(format!("{path}. none is not an allowed value"));
            }
        }
        Ok(())
    }
}

impl Kind {
    fn validate(&self, value: &Value, path: &str) -> Result<(), String> {
        let wrong = match self {
            Self::One(shape) => return shape.validate(value, path),
            Self::Many(shape) => match value {
                Value::Array(items) => {
                    let mut items = items.iter().enumerate();
                    return items.try_for_each(|(at, item)| {
                        shape.validate(item, &join(path, &at.to_string()))
                    });
                }
                _ => "value is not a valid list".to_owned(),
            },
            Self::Text if !value.is_string() => "str type expected".to_owned(),
            Self::Content if !value.is_string() && !value.is_array() => {
                "str type expected".to_owned()
            }
            Self::Flag if !value.is_boolean() => {
                "value could not be parsed to a boolean".to_owned()
            }
            Self::OneOf(allowed)
                if !value.as_str().is_some_and(|value| allowed.contains(&value)) =>
            {
                let allowed: Vec<_> = allowed.iter().map(|value| format!("'{value}'")).collect();
                let allowed = allowed.join(", ");
                format!("value is not a valid enumeration member; permitted: {allowed}")
            }
            _ => return Ok(()),
        };
        Err(format!("{path}. {wrong}"))
    }
}

fn data_or_url(attachment: &Value) -> Result<(), &'static str> {
    let has = |name| attachment.get(name).is_some_and(|value| !value.is_null());
    match (has("data"), has("url")) {
        (true, true) => Err("Attachment must have either 'data' or 'url', but it has both"),
        (false, false) => Err("Attachment must have either 'data' or 'url', but it's missing both"),
        _ => Ok(()),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(message: &Value, expected: Result<(), &str>) {
        let result = validate(&json!({"messages": [message]}));
        assert_eq!(result, expected.map_err(str::to_owned), "{message}");
    }

    #[test]
    fn clean_history_is_accepted() {
        check(
            &json!({"role": "user", "content": "hi", "custom_content": null}),
            Ok(()),
        );
        let state = json!({"tool_call_history": [{"index": 0, "anything": 1}]});
        let stages = json!([{"name": "n", "status": "completed", "content": "c"}]);
        let custom = json!({"state": state, "stages": stages, "attachments": [{"url": "files/x"}]});
        check(
            &json!({"role": "assistant", "content": "", "custom_content": custom}),
            Ok(()),
        );
    }

    #[test]
    fn what_streams_carry_is_refused_in_history() {
        let with = |custom| json!({"role": "assistant", "content": "x", "custom_content": custom});
        check(
            &with(json!({"stages": [{"index": 0, "name": "n", "status": "completed"}]})),
            Err("messages.0.custom_content.stages.0.index. extra fields not permitted"),
        );
        check(
            &with(json!({"attachments": [{"index": 0, "url": "files/x"}]})),
            Err("messages.0.custom_content.attachments.0.index. extra fields not permitted"),
        );
        check(
            &with(json!({"stages": [{"name": "n", "status": null}]})),
            Err("messages.0.custom_content.stages.0.status. none is not an allowed value"),
        );
        check(
            &with(json!({"stages": [{"status": "failed"}]})),
            Err("messages.0.custom_content.stages.0.name. field required"),
        );
    }

    #[test]
    fn attachments_have_either_data_or_url() {
        let with =
            |attachment| json!({"role": "user", "custom_content": {"attachments": [attachment]}});
        check(
            &with(json!({"data": "x", "url": "y"})),
            Err(
                "messages.0.custom_content.attachments.0.__root__. Attachment must have either 'data' or 'url', but it has both",
            ),
        );
        check(
            &with(json!({"title": "t", "url": null})),
            Err(
                "messages.0.custom_content.attachments.0.__root__. Attachment must have either 'data' or 'url', but it's missing both",
            ),
        );
    }

    #[test]
    fn unknown_fields_and_roles_are_refused() {
        check(
            &json!({"role": "user", "extra_field": 1}),
            Err("messages.0.extra_field. extra fields not permitted"),
        );
        check(
            &json!({"role": "robot"}),
            Err(
                "messages.0.role. value is not a valid enumeration member; permitted: 'system', 'developer', 'user', 'assistant', 'function', 'tool'",
            ),
        );
        assert_eq!(
            validate(&json!({"messages": [], "foo": 1})),
            Err("foo. extra fields not permitted".to_owned())
        );
        assert_eq!(
            validate(&json!({})),
            Err("messages. field required".to_owned())
        );
    }
}
