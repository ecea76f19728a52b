//! The scripted model: an OpenAI-compatible chat completions service that answers by rules.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::chat::Chat;
use crate::{clock, routing, synthesis, text, wire};

const MODEL: &str = "sandbox-model";

pub(crate) fn router(pace: Duration) -> Router {
    let router = Router::new()
        .route("/openai/v1/models", get(models))
        .route("/openai/v1/chat/completions", post(complete))
        .route(
            "/openai/deployments/{name}/chat/completions",
            post(complete_as),
        )
        .with_state(pace);
    wire::like_fastapi(router)
}

async fn models() -> Response {
    let model =
        json!({"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "sandbox"});
    wire::json(StatusCode::OK, &json!({"object": "list", "data": [model]}))
}

async fn complete(State(pace): State<Duration>, body: Bytes) -> Response {
    respond(&body, MODEL, pace)
}

async fn complete_as(
    State(pace): State<Duration>,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    respond(&body, &name, pace)
}

fn respond(body: &[u8], name: &str, pace: Duration) -> Response {
    let chat = match Chat::read(body) {
        Ok(chat) => chat,
        Err(message) => {
            let error = json!({"message": message, "type": "invalid_request_error", "param": "messages", "code": null});
            return wire::json(StatusCode::BAD_REQUEST, &json!({"error": error}));
        }
    };
    let content = match &chat.schema {
        Some(schema) => routing::answer(schema, &chat.turns).to_string(),
        None => synthesis::answer(chat.last_user_text()),
    };
    let answer = Answer {
        id: format!("chatcmpl-{}", clock::fresh_id().simple()),
        created: clock::now().as_secs(),
        model: chat.model.clone().unwrap_or_else(|| name.to_owned()),
        usage: usage(chat.tokens(), text::tokens(&content)),
        content,
    };
    if chat.stream {
        wire::sse(wire::paced(answer.events(chat.include_usage), pace))
    } else {
        wire::json(StatusCode::OK, &answer.whole())
    }
}

struct Answer {
    id: String,
    created: u64,
    model: String,
    content: String,
    usage: Value,
}

impl Answer {
    fn whole(&self) -> Value {
        let message = json!({"role": "assistant", "content": self.content, "refusal": null});
        let choice =
            json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
        let mut whole = self.envelope("chat.completion", &json!([choice]));
        put(&mut whole, "usage", self.usage.clone());
        whole
    }

    fn events(&self, include_usage: bool) -> Vec<String> {
        let mut chunks = vec![self.chunk(&json!({"role": "assistant", "content": ""}), None)];
        for piece in text::pieces(&self.content) {
            chunks.push(self.chunk(&json!({"content": piece}), None));
        }
        chunks.push(self.chunk(&json!({}), Some("stop")));
        if include_usage {
            for chunk in &mut chunks {
                put(chunk, "usage", Value::Null);
            }
            let mut last = self.envelope("chat.completion.chunk", &json!([]));
            put(&mut last, "usage", self.usage.clone());
            chunks.push(last);
        }
        let events = chunks.iter().map(wire::event);
        events.chain([wire::DONE.to_owned()]).collect()
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Value {
        let choice =
            json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        self.envelope("chat.completion.chunk", &json!([choice]))
    }

    fn envelope(&self, object: &str, choices: &Value) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices})
    }
}

fn usage(prompt: usize, completion: usize) -> Value {
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests;
