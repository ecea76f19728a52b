//! An answer on the wire of aidial-sdk 0.27: streamed chunk by chunk, or whole.

use serde_json::{Value, json};

use super::merge;
use super::request::Said;
use super::tool::Tool;
use super::tricks::Performance;
use crate::{clock, text, wire};

pub(super) struct Answer {
    id: String,
    created: u64,
    performance: Performance,
    usage: Value,
}

/// What the SDK says about any exception.
pub(super) fn failure() -> Value {
    json!({"error": {"message": "Error during processing the request", "type": "runtime_error", "code": "500"}})
}

impl Answer {
    pub(super) fn new(performance: Performance, said: &[Said]) -> Self {
        let prompt: usize = said.iter().map(|said| text::tokens(&said.text)).sum();
        let completion = text::tokens(&performance.text);
        let usage = json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        });
        Self {
            id: clock::fresh_id().to_string(),
            created: clock::now().as_secs(),
            performance,
            usage,
        }
    }

    pub(super) fn uses_tools(&self) -> bool {
        !self.performance.tools.is_empty()
    }

    pub(super) fn events(&self) -> Vec<String> {
        let deltas = self.deltas();
        let mut events: Vec<_> = deltas.iter().map(|delta| self.chunk(delta)).collect();
        let choice = json!({"index": 0, "finish_reason": "stop", "delta": {}});
        let last = json!({
            "usage": self.usage,
            "choices": [choice],
            "id": self.id,
            "created": self.created,
            "object": "chat.completion.chunk",
        });
        events.push(wire::event(last));
        events.push(wire::DONE.to_owned());
        events
    }

    /// SDK 0.27 closes the choice before it tells of an exception.
    pub(super) fn broken_events(&self) -> Vec<String> {
        let stop = json!({"index": 0, "finish_reason": "stop", "delta": {}});
        vec![
            self.chunk(&json!({"role": "assistant"})),
            self.event_of(&stop),
            wire::event(failure()),
            wire::DONE.to_owned(),
        ]
    }

    pub(super) fn whole(&self) -> Value {
        let message = merge::message(&self.deltas());
        let choice = json!({"index": 0, "finish_reason": "stop", "message": message});
        json!({
            "choices": [choice],
            "usage": self.usage,
            "id": self.id,
            "created": self.created,
            "object": "chat.completion",
        })
    }

    fn chunk(&self, delta: &Value) -> String {
        self.event_of(&json!({"index": 0, "finish_reason": null, "delta": delta}))
    }

    fn event_of(&self, choice: &Value) -> String {
        let chunk = json!({
            "choices": [choice],
            "usage": null,
            "id": self.id,
            "created": self.created,
            "object": "chat.completion.chunk",
        });
        wire::event(wire::ascii(&chunk.to_string()))
    }

    /// All stages open before the first closes, as with tools that run at the same time.
    fn deltas(&self) -> Vec<Value> {
        let Performance { tools, text } = &self.performance;
        let mut deltas = vec![json!({"role": "assistant"})];
        for (index, tool) in tools.iter().enumerate() {
            deltas.extend(opening(index, tool));
        }
        let mut attached = 0;
        for (index, tool) in tools.iter().enumerate() {
            deltas.extend(closing(index, tool, &mut attached));
        }
        deltas.extend(
            text::pieces(text)
                .iter()
                .map(|piece| json!({"content": piece})),
        );
        deltas.push(custom(
            "state",
            &json!({"tool_call_history": history(tools)}),
        ));
        deltas
    }
}

fn opening(index: usize, tool: &Tool) -> [Value; 3] {
    [
        stage(&json!({"index": index, "name": tool.name, "status": null})),
        stage(&json!({"index": index, "content": "## Request arguments: \n", "status": null})),
        stage(&json!({"index": index, "content": tool.request, "status": null})),
    ]
}

fn closing(index: usize, tool: &Tool, attached: &mut usize) -> Vec<Value> {
    let mut deltas = vec![stage(
        &json!({"index": index, "content": "## Response: \n", "status": null}),
    )];
    for (at, attachment) in tool.stage_attachments.iter().enumerate() {
        let attachments = [placed(attachment, at)];
        deltas.push(stage(
            &json!({"index": index, "attachments": attachments, "status": null}),
        ));
    }
    for attachment in &tool.choice_attachments {
        deltas.push(custom(
            "attachments",
            &json!([placed(attachment, *attached)]),
        ));
        *attached += 1;
    }
    if !tool.response.is_empty() {
        deltas.push(stage(
            &json!({"index": index, "content": tool.response, "status": null}),
        ));
    }
    let status = if tool.failed { "failed" } else { "completed" };
    deltas.push(stage(&json!({"index": index, "status": status})));
    deltas
}

fn stage(item: &Value) -> Value {
    custom("stages", &json!([item]))
}

fn custom(name: &str, value: &Value) -> Value {
    json!({"custom_content": {name: value}})
}

/// The attachment with its position, which comes first.
fn placed(attachment: &Value, index: usize) -> Value {
    let mut placed = json!({"index": index});
    if let (Value::Object(placed), Value::Object(fields)) = (&mut placed, attachment) {
        placed.extend(fields.clone());
    }
    placed
}

fn history(tools: &[Tool]) -> Vec<Value> {
    if tools.is_empty() {
        return Vec::new();
    }
    let calls = tools.iter().enumerate().map(|(at, tool)| tool.call(at));
    let asked =
        json!({"role": "assistant", "content": "", "tool_calls": calls.collect::<Vec<_>>()});
    let told = tools.iter().enumerate().map(|(at, tool)| tool.message(at));
    [asked].into_iter().chain(told).collect()
}
