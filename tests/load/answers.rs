//! What the upstreams say: a decision, an agent's report, and the synthesised answer.

use bytes::Bytes;
use serde_json::{Value, json};

/// The text that the synthesised answer begins with. Nothing else in a turn says it.
pub const FIRST_WORD: &[u8] = b"word 0 of";
/// Events of a report beside its pieces of text.
pub const REPORT_FRAME: usize = 15;
/// Pieces of text of the synthesised answer.
const ANSWER_PIECES: usize = 20;

/// The text that the model writes as the synthesised answer.
pub fn answer_text() -> String {
    (0..ANSWER_PIECES).map(answer_piece).collect()
}

fn answer_piece(at: usize) -> String {
    format!("word {at} of the whole answer, ")
}

/// The decision for this agent.
pub fn routing(agent: &str) -> Bytes {
    let decision = json!({"agent_name": agent, "additional_instructions": null, "confidence": 0.9,
        "reason": "Weather is a general question."});
    let message = json!({"role": "assistant", "content": decision.to_string()});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 400, "completion_tokens": 30, "total_tokens": 430});
    json!({"id": "r-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o",
        "choices": [choice], "usage": usage})
    .to_string()
    .into()
}

pub fn answer() -> Vec<Bytes> {
    let mut events = vec![event(&json!({"role": "assistant", "content": ""}), None)];
    events.extend((0..ANSWER_PIECES).map(|at| event(&json!({"content": answer_piece(at)}), None)));
    events.push(event(&json!({}), Some("stop")));
    let usage = json!({"prompt_tokens": 500, "completion_tokens": 120, "total_tokens": 620});
    let last = json!({"id": "s-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "gpt-4o",
        "choices": [], "usage": usage});
    events.push(format!("data: {last}\n\n").into());
    events.push("data: [DONE]\n\n".into());
    events
}

/// Two tools at work, an attachment, so many pieces of text, a state of 2 KB.
pub fn report(pieces: usize) -> Vec<Bytes> {
    let custom = |custom: Value| event(&json!({"custom_content": custom}), None);
    let mut events = vec![event(&json!({"role": "assistant"}), None)];
    for (index, name) in ["web_search", "execute_code"].iter().enumerate() {
        events.extend(
            [
                json!({"index": index, "name": name, "status": null}),
                json!({"index": index, "content": "## Request arguments: \n", "status": null}),
                json!({"index": index, "content": "```json\n{\"query\": \"weather in Kyiv\"}\n```\n", "status": null}),
                json!({"index": index, "content": "## Response: \nmild, 14 degrees\n", "status": null}),
                json!({"index": index, "status": "completed"}),
            ]
            .map(|stage| custom(json!({"stages": [stage]}))),
        );
    }
    let file =
        json!({"index": 0, "type": "text/csv", "title": "out.csv", "url": "files/bucket/out.csv"});
    events.push(custom(json!({"attachments": [file]})));
    events.extend((0..pieces).map(|at| {
        event(
            &json!({"content": format!("part {at} of the report, ")}),
            None,
        )
    }));
    let history = json!([{"role": "tool", "tool_call_id": "call_a", "content": "x".repeat(2000)}]);
    events.push(custom(json!({"state": {"tool_call_history": history}})));
    events.push(event(&json!({}), Some("stop")));
    events.push("data: [DONE]\n\n".into());
    events
}

/// The same with what was used, which is told right before the end, as models do.
pub fn report_with_usage(pieces: usize, prompt_tokens: u64, completion_tokens: u64) -> Vec<Bytes> {
    let mut events = report(pieces);
    let total_tokens = prompt_tokens + completion_tokens;
    let usage = json!({"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
        "total_tokens": total_tokens});
    let told = json!({"id": "a-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "choices": [],
        "usage": usage});
    let last = events.len().saturating_sub(1);
    events.insert(last, format!("data: {told}\n\n").into());
    events
}

fn event(delta: &Value, finish_reason: Option<&str>) -> Bytes {
    let choice = json!({"index": 0, "finish_reason": finish_reason, "delta": delta});
    let chunk = json!({"choices": [choice], "usage": null, "id": "a-1", "created": 1_700_000_000,
        "object": "chat.completion.chunk"});
    format!("data: {chunk}\n\n").into()
}
