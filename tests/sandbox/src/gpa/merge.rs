//! Merging streamed deltas into one message, as aidial-sdk does.

use serde_json::map::Entry;
use serde_json::{Map, Value};

/// Merges the deltas in order, then drops the positions that only streams need.
pub(super) fn message(deltas: &[Value]) -> Value {
    let mut message = Value::Null;
    for delta in deltas {
        merge(&mut message, delta);
    }
    drop_indexes(&mut message);
    message
}

/// Null changes nothing, texts are joined, lists grow or merge by `index`, anything else is replaced.
fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (_, Value::Null) => {}
        (Value::String(text), Value::String(more)) => text.push_str(more),
        (Value::Object(fields), Value::Object(more)) => merge_fields(fields, more),
        (Value::Array(items), Value::Array(more)) => {
            for item in more {
                let at = item.get("index").filter(|at| at.is_u64());
                let same = items
                    .iter_mut()
                    .find(|known| at.is_some() && known.get("index") == at);
                match same {
                    Some(known) => merge(known, item),
                    None => items.push(item.clone()),
                }
            }
        }
        (into, more) => *into = more.clone(),
    }
}

fn merge_fields(fields: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (name, value) in more {
        match fields.entry(name) {
            Entry::Occupied(mut known) => merge(known.get_mut(), value),
            Entry::Vacant(free) => {
                free.insert(value.clone());
            }
        }
    }
}

fn drop_indexes(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(drop_indexes),
        Value::Array(items) => {
            items.sort_by_key(|item| item.get("index").and_then(Value::as_u64));
            for item in items {
                if let Value::Object(fields) = item {
                    fields.shift_remove("index");
                }
                drop_indexes(item);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deltas_become_a_message() {
        let deltas = [
            json!({"role": "assistant"}),
            json!({"custom_content": {"stages": [{"index": 0, "name": "a", "status": null}]}}),
            json!({"custom_content": {"stages": [{"index": 1, "name": "b", "status": null}]}}),
            json!({"custom_content": {"stages": [{"index": 1, "status": "failed"}]}}),
            json!({"content": "one "}),
            json!({"custom_content": {"stages": [{"index": 0, "content": "x", "status": "completed"}]}}),
            json!({"content": "two"}),
        ];
        assert_eq!(
            message(&deltas),
            json!({
                "role": "assistant",
                "custom_content": {"stages": [
                    {"name": "a", "status": "completed", "content": "x"},
                    {"name": "b", "status": "failed"},
                ]},
                "content": "one two",
            })
        );
    }
}
