//! A stand-in for an agent that speaks A2A: it books rooms, asks back, fails, and can be made to wait for ever.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value has null wherever it has nothing"
)]

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::stub::{Reply, Seen};

/// What it is asked decides what it does: see [`A2aAgent::answer`].
#[derive(Debug)]
pub struct A2aAgent {
    /// `1.0` or `0.3`.
    new: bool,
    streaming: bool,
    tasks: Mutex<HashMap<String, Task>>,
}

#[derive(Clone, Debug)]
struct Task {
    context: String,
    state: &'static str,
    asked: usize,
}

impl A2aAgent {
    pub fn new(version: &str, streaming: bool) -> Self {
        Self {
            new: version == "1.0",
            streaming,
            tasks: Mutex::default(),
        }
    }

    /// The states of its tasks, by their ids in order.
    pub fn states(&self) -> Vec<&'static str> {
        let tasks = self.tasks();
        let mut states: Vec<_> = tasks.iter().collect();
        states.sort_by_key(|(id, _)| (*id).clone());
        states.into_iter().map(|(_, task)| task.state).collect()
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, HashMap<String, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request: the card, or a call.
    pub fn answer(&self, seen: &Seen) -> Reply {
        if seen.method == "GET" {
            return match seen.path.as_str() {
                "/.well-known/agent-card.json" => Reply::json(200, self.card()),
                _ => Reply::text(404, "no such page"),
            };
        }
        let body = seen.json();
        let id = body["params"]["id"].as_str().unwrap_or_default();
        match body["method"].as_str().unwrap_or_default() {
            "SendMessage" | "SendStreamingMessage" if self.new => self.message(&body),
            "message/send" | "message/stream" if !self.new => self.message(&body),
            "GetTask" | "tasks/get" => self.progress(id),
            "CancelTask" | "tasks/cancel" => self.end(id),
            _ => failure(-32601, "Method not found"),
        }
    }

    fn card(&self) -> Value {
        let capabilities = json!({"streaming": self.streaming});
        if self.new {
            let interface = json!({"url": "http://localhost/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"});
            json!({"name": "Booker", "capabilities": capabilities, "supportedInterfaces": [interface]})
        } else {
            json!({"name": "Booker", "capabilities": capabilities, "url": "http://localhost/rpc",
                   "protocolVersion": "0.3.0"})
        }
    }

    /// `room` asks for a city, which a message into the task answers; `wait` never ends; `fail`, `reject` and `login` end
    /// badly; `versions` sends its answer twice, the second in place of the first; anything else is answered at once.
    fn message(&self, body: &Value) -> Reply {
        let message = &body["params"]["message"];
        let text = message["parts"][0]["text"].as_str().unwrap_or_default();
        let text = text.split("\n\n---\n").next().unwrap_or_default();
        if let Some(id) = message["taskId"].as_str() {
            return match self.tasks().get_mut(id) {
                Some(task) if task.state == "input-required" => {
                    task.state = "completed";
                    let ids = (id, task.context.clone());
                    self.say(
                        &ids,
                        &[
                            self.piece("A room ", false),
                            self.piece(&format!("in {text} is yours."), true),
                            self.file(),
                            self.status("completed", ""),
                        ],
                    )
                }
                Some(_) => failure(-32602, "Task is in a terminal state"),
                None => failure(-32001, "Task not found"),
            };
        }
        let id = format!("task-{}", self.tasks().len() + 1);
        let context = message["contextId"].as_str().map_or("ctx-1", |it| it);
        let ids = (id.as_str(), context.to_owned());
        let (state, said) = match text {
            "room" => (
                "input-required",
                vec![self.status("input-required", "Tell me the city.")],
            ),
            "wait" => (
                "working",
                vec![self.piece("Half", false), self.piece(" of it", true)],
            ),
            "fail" => ("failed", vec![self.status("failed", "No rooms today.")]),
            "reject" => (
                "rejected",
                vec![self.status("rejected", "I book rooms only.")],
            ),
            "login" => (
                "auth-required",
                vec![self.status("auth-required", "Sign in first.")],
            ),
            "versions" => (
                "completed",
                vec![
                    self.piece("A draft", false),
                    self.piece("The final text.", false),
                    self.status("completed", "All done."),
                ],
            ),
            _ => (
                "completed",
                vec![self.status("completed", &format!("You said: {text}"))],
            ),
        };
        let task = Task {
            context: context.to_owned(),
            state,
            asked: 0,
        };
        self.tasks().insert(id.clone(), task);
        let begun = self.status("working", "Looking for rooms");
        let said: Vec<Value> = [begun].into_iter().chain(said).collect();
        self.say(&ids, &said)
    }

    /// What is said at once where it streams; else the task as it begins.
    fn say(&self, (id, context): &(&str, String), said: &[Value]) -> Reply {
        if !self.streaming {
            let task = json!({"id": id, "contextId": context, "status": self.state("working", "")});
            return Reply::json(200, answer(&self.wrapped("task", task)));
        }
        let mut reply = Reply::sse();
        for one in said {
            let mut one = one.clone();
            one["taskId"] = (*id).into();
            one["contextId"] = context.as_str().into();
            let kind = if one["artifact"].is_object() {
                "artifactUpdate"
            } else {
                "statusUpdate"
            };
            reply = reply.data(answer(&self.wrapped(kind, one)));
        }
        let waits = said.last().is_some_and(|one| one["artifact"].is_object());
        if waits { reply.hang() } else { reply }
    }

    /// The task when it is asked for: at work once, then as it ended.
    fn progress(&self, id: &str) -> Reply {
        let mut tasks = self.tasks();
        let Some(task) = tasks.get_mut(id) else {
            return failure(-32001, "Task not found");
        };
        task.asked += 1;
        let state = if task.asked > 1 {
            task.state
        } else {
            "working"
        };
        let words = match state {
            "input-required" => "Tell me the city.",
            "failed" => "No rooms today.",
            "working" => "Looking for rooms",
            _ => "",
        };
        let mut whole =
            json!({"id": id, "contextId": task.context, "status": self.state(state, words)});
        if state == "completed" {
            let parts = [self.text("A room "), self.text("is yours.")];
            whole["artifacts"] = json!([{"artifactId": "a", "parts": parts}]);
        }
        Reply::json(200, answer(&whole))
    }

    fn end(&self, id: &str) -> Reply {
        let mut tasks = self.tasks();
        let Some(task) = tasks.get_mut(id) else {
            return failure(-32001, "Task not found");
        };
        task.state = "canceled";
        let whole =
            json!({"id": id, "contextId": task.context, "status": self.state("canceled", "")});
        Reply::json(200, answer(&whole))
    }

    fn wrapped(&self, kind: &str, mut what: Value) -> Value {
        if self.new {
            return json!({ kind: what });
        }
        what["kind"] = match kind {
            "artifactUpdate" => "artifact-update",
            "statusUpdate" => "status-update",
            other => other,
        }
        .into();
        what
    }

    fn status(&self, state: &str, text: &str) -> Value {
        json!({"status": self.state(state, text)})
    }

    fn state(&self, state: &str, text: &str) -> Value {
        let name = if self.new {
            format!("TASK_STATE_{}", state.to_uppercase().replace('-', "_"))
        } else {
            state.to_owned()
        };
        if text.is_empty() {
            return json!({"state": name});
        }
        json!({"state": name, "message": {"messageId": "m", "role": "agent", "parts": [self.text(text)]}})
    }

    fn piece(&self, text: &str, append: bool) -> Value {
        json!({"append": append, "artifact": {"artifactId": "a", "parts": [self.text(text)]}})
    }

    fn file(&self) -> Value {
        let part = if self.new {
            json!({"raw": "aVZCTw==", "mediaType": "image/png", "filename": "room.png"})
        } else {
            json!({"kind": "file", "file": {"bytes": "aVZCTw==", "mimeType": "image/png", "name": "room.png"}})
        };
        json!({"lastChunk": true, "artifact": {"artifactId": "b", "parts": [part]}})
    }

    fn text(&self, text: &str) -> Value {
        if self.new {
            json!({"text": text})
        } else {
            json!({"kind": "text", "text": text})
        }
    }
}

fn answer(result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "result": result})
}

fn failure(code: i64, message: &str) -> Reply {
    Reply::json(
        200,
        json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}),
    )
}
