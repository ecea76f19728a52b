//! A block answer out of the same chunks that a stream would have carried.

use serde_json::{Map, Value};

/// What the chunks add up to.
#[derive(Debug, PartialEq)]
pub enum Folded {
    /// A `chat.completion`.
    Answer(Value),
    /// The stream ended in an error event; its `error` object.
    Error(Value),
    /// This is no whole stream of ours.
    Broken,
}

/// Folds a whole stream of ours.
pub fn fold(stream: &[u8]) -> Folded {
    let mut fold = Fold::default();
    fold.push(stream);
    fold.end()
}

/// A stream being folded: strings concatenate, lists of indexed items merge by index, the state is left as it is.
#[derive(Debug, Default)]
pub struct Fold {
    answer: Value,
    /// The error event's `error`.
    error: Option<Value>,
    /// The beginning of an event that is not complete.
    rest: Vec<u8>,
    done: bool,
    broken: bool,
}

impl Fold {
    /// Takes more of the stream. Only what it adds up to is kept.
    pub fn push(&mut self, bytes: &[u8]) {
        // Our own events are one line each; the reader of foreign streams has its caps.
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut left = rest.as_slice();
        while let Some(end) = left.windows(2).position(|pair| pair == b"\n\n") {
            let (event, after) = left.split_at(end);
            self.event(event);
            left = after.get(2..).unwrap_or_default();
        }
        self.rest = left.to_vec();
    }

    fn event(&mut self, event: &[u8]) {
        let Some(data) = event.strip_prefix(b"data: ") else {
            return; // a comment
        };
        if self.done {
            self.broken = true;
        } else if data == b"[DONE]" {
            self.done = true;
        } else {
            match serde_json::from_slice::<Value>(data) {
                Ok(mut chunk) => match chunk.get_mut("error") {
                    Some(error) => self.error = Some(error.take()),
                    None => merge(&mut self.answer, chunk),
                },
                Err(_) => self.broken = true,
            }
        }
    }

    /// What the chunks add up to.
    pub fn end(mut self) -> Folded {
        if self.broken || !self.done || !self.rest.is_empty() {
            return Folded::Broken;
        }
        if let Some(error) = self.error {
            return Folded::Error(error);
        }
        if self.answer.is_null() {
            return Folded::Broken;
        }
        if let Some(top) = self.answer.as_object_mut() {
            top.insert("object".into(), "chat.completion".into());
            let choices = top.get_mut("choices").and_then(Value::as_array_mut);
            for choice in choices.into_iter().flatten() {
                if let Some(choice) = choice.as_object_mut()
                    && let Some(mut delta) = choice.shift_remove("delta")
                {
                    drop_indexes(&mut delta);
                    choice.insert("message".into(), delta);
                }
            }
        }
        Folded::Answer(self.answer)
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(from)) => merge_objects(into, from),
        (Value::Array(into), Value::Array(from)) => {
            for item in from {
                merge_item(into, item);
            }
        }
        (into @ Value::Null, Value::Array(from)) => {
            let mut list = Vec::with_capacity(from.len());
            for item in from {
                merge_item(&mut list, item);
            }
            *into = Value::Array(list);
        }
        (into, from) => *into = from,
    }
}

/// Keys whose strings are replaced: the envelope, which every chunk repeats, and what is sent once.
const ATOMIC: [&str; 9] = [
    "id",
    "object",
    "model",
    "role",
    "status",
    "finish_reason",
    "state",
    "form_schema",
    "usage",
];

fn merge_objects(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match into.get_mut(&key) {
            None => {
                // Through merge, so that a list of several indexed items is put in order as well.
                let mut fresh = Value::Null;
                if ATOMIC.contains(&key.as_str()) {
                    fresh = value;
                } else {
                    merge(&mut fresh, value);
                }
                into.insert(key, fresh);
            }
            Some(_) if value.is_null() => {}
            Some(old) if ATOMIC.contains(&key.as_str()) => *old = value,
            Some(Value::String(old)) => match value {
                Value::String(more) => old.push_str(&more),
                other => {
                    into.insert(key, other);
                }
            },
            Some(old) => merge(old, value),
        }
    }
}

fn index_of(item: &Value) -> Option<u64> {
    item.get("index")?.as_u64()
}

fn merge_item(list: &mut Vec<Value>, item: Value) {
    let Some(index) = index_of(&item) else {
        list.push(item);
        return;
    };
    // Items come in order, so the place is where the index says; only foreign lists need a search.
    let place = usize::try_from(index)
        .ok()
        .filter(|at| list.get(*at).and_then(index_of) == Some(index))
        .or_else(|| {
            let behind = list
                .last()
                .and_then(index_of)
                .is_some_and(|last| last < index);
            if behind {
                None
            } else {
                list.iter().position(|old| index_of(old) == Some(index))
            }
        });
    match place.and_then(|at| list.get_mut(at)) {
        Some(old) => merge(old, item),
        None => {
            let mut fresh = Value::Object(Map::new());
            merge(&mut fresh, item);
            list.push(fresh);
        }
    }
}

/// Puts indexed lists in order and takes the indexes out, except below the state and the form.
fn drop_indexes(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                if key != "state" && key != "form_schema" {
                    drop_indexes(field);
                }
            }
        }
        Value::Array(items) => {
            items.sort_by_key(|item| index_of(item).unwrap_or(u64::MAX));
            for item in items.iter_mut() {
                if let Some(fields) = item.as_object_mut() {
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

    fn stream(chunks: &[Value]) -> Vec<u8> {
        let mut lines: Vec<String> = chunks.iter().map(Value::to_string).collect();
        lines.push("[DONE]".into());
        format!("data: {}\n\n", lines.join("\n\ndata: ")).into_bytes()
    }

    fn delta(delta: &Value) -> Value {
        json!({"choices":[{"index":0,"finish_reason":null,"delta":delta}],"usage":null,"id":"x","created":1,
               "object":"chat.completion.chunk","model":"m"})
    }

    #[test]
    fn the_state_is_left_as_it_is() {
        let state = json!({"calls":[{"index":1,"id":"b"},{"id":"a"}],"list":[{"index":5}]});
        let folded = fold(&stream(&[
            delta(&json!({"role":"assistant"})),
            delta(&json!({"custom_content":{"state":state}})),
        ]));
        assert_eq!(
            folded,
            Folded::Answer(
                json!({"choices":[{"index":0,"finish_reason":null,"message":{"role":"assistant",
                "custom_content":{"state":state}}}],"usage":null,"id":"x","created":1,
                "object":"chat.completion","model":"m"})
            )
        );
    }

    #[test]
    fn a_stream_that_is_not_whole_is_no_answer() {
        let whole = stream(&[delta(&json!({"role":"assistant"}))]);
        assert_eq!(fold(&whole[..whole.len() - 1]), Folded::Broken);
        assert_eq!(fold(b"data: {\n\ndata: [DONE]\n\n"), Folded::Broken);
    }

    #[test]
    fn an_event_of_any_size_is_folded() {
        let text = "\u{421}".repeat(1_000_000);
        let Folded::Answer(answer) = fold(&stream(&[delta(&json!({"content": text}))])) else {
            panic!("no answer")
        };
        assert_eq!(answer["choices"][0]["message"]["content"], text);
    }

    #[test]
    fn an_error_event_is_the_answer() {
        let folded = fold(&stream(&[
            delta(&json!({"content":"partial"})),
            json!({"error":{"message":"m","code":"c"}}),
        ]));
        assert_eq!(folded, Folded::Error(json!({"message":"m","code":"c"})));
    }

    #[test]
    fn stages_merge_by_index_in_any_order() {
        let stage = |item: Value| delta(&json!({"custom_content":{"stages":[item]}}));
        let folded = fold(&stream(&[
            stage(json!({"index":0,"name":"A","status":null})),
            stage(json!({"index":1,"name":"B","status":null,"parent_stage_index":0})),
            stage(json!({"index":0,"content":"x","status":null})),
            stage(json!({"index":1,"attachments":[{"index":0,"data":"d"}],"status":null})),
            stage(json!({"index":0,"content":"y","status":null})),
            stage(json!({"index":1,"status":"failed"})),
            stage(json!({"index":0,"status":"completed"})),
        ]));
        let Folded::Answer(answer) = folded else {
            panic!("{folded:?}")
        };
        assert_eq!(
            answer["choices"][0]["message"]["custom_content"]["stages"],
            json!([{"name":"A","status":"completed","content":"xy"},
                   {"name":"B","status":"failed","parent_stage_index":0,"attachments":[{"data":"d"}]}])
        );
    }
    #[test]
    fn a_null_takes_nothing_away() {
        let mut last = delta(&json!({"content":null}));
        last["choices"][0]["finish_reason"] = "stop".into();
        let mut after = delta(&json!({}));
        after["model"] = Value::Null;
        let folded = fold(&stream(&[delta(&json!({"content":"x"})), last, after]));
        let Folded::Answer(answer) = folded else {
            panic!("{folded:?}")
        };
        assert_eq!(
            answer["choices"][0],
            json!({"index":0,"finish_reason":"stop","message":{"content":"x"}})
        );
        assert_eq!(answer["model"], "m");
    }

    #[test]
    fn indexes_may_have_gaps_and_begin_anywhere() {
        let stage = |item: Value| delta(&json!({"custom_content":{"stages":[item]}}));
        let merged = |indexes: &[u32]| {
            let chunks: Vec<Value> = indexes
                .iter()
                .map(|index| stage(json!({"index": index, "name": index.to_string()})))
                .collect();
            let Folded::Answer(mut answer) = fold(&stream(&chunks)) else {
                panic!("no answer")
            };
            answer["choices"][0]["message"]["custom_content"]["stages"].take()
        };
        assert_eq!(merged(&[1, 1]), json!([{"name":"11"}]));
        assert_eq!(merged(&[1, 0]), json!([{"name":"0"},{"name":"1"}]));
        assert_eq!(merged(&[1, 3, 1]), json!([{"name":"11"},{"name":"3"}]));
    }
}
