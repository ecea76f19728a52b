//! Turns as callers make them: many owners, a trace for each turn, and a check of every answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::answers::{FIRST_WORD, answer_text};
use crate::client::{Answer, Connection, post};
use crate::upstreams::HELD;

/// Without its query.
pub const ROUTE: &str = "/openai/deployments/mas-coordinator/chat/completions";
pub const PATH: &str =
    "/openai/deployments/mas-coordinator/chat/completions?api-version=2025-01-01-preview";

/// What owners prove themselves with; none where the program trusts everybody.
pub fn secrets(owners: usize) -> Vec<String> {
    let known = if owners > 1 { owners } else { 0 };
    (0..known)
        .map(|owner| format!("owner-{owner:03}-of-the-load-measurement"))
        .collect()
}

/// The requests, and what answers must hold. Copies share the numbering.
#[derive(Clone)]
pub struct Turns {
    shared: Arc<Shared>,
}

struct Shared {
    secrets: Vec<String>,
    plain: String,
    held: String,
    answer: String,
    taken: AtomicU64,
}

/// Which question is asked.
#[derive(Clone, Copy)]
pub enum Question {
    Plain,
    /// The agent waits at the gate.
    Held,
}

impl Turns {
    pub fn of(owners: usize) -> Self {
        let question = "What is the weather in Kyiv?";
        let shared = Arc::new(Shared {
            secrets: secrets(owners),
            plain: body(question),
            held: body(&format!("{question} {HELD}")),
            answer: answer_text(),
            // A trace must not be all zeros.
            taken: AtomicU64::new(1),
        });
        Self { shared }
    }

    /// A turn's number, which nobody else gets.
    pub fn number(&self) -> u64 {
        self.shared.taken.fetch_add(1, Ordering::Relaxed)
    }

    /// The turn of this number, on this connection, which is opened anew after a failure.
    pub async fn take(
        &self,
        number: u64,
        question: Question,
        port: u16,
        connection: &mut Option<Connection>,
    ) -> Result<Answer, String> {
        let request = self.request(number, question);
        let mut open = match connection.take() {
            Some(open) => open,
            None => Connection::open(port)
                .await
                .map_err(|error| error.to_string())?,
        };
        let asked = open.ask(&request, FIRST_WORD).await;
        let answer = asked.map_err(|error| error.to_string())?;
        *connection = Some(open);
        check(&answer, &self.shared.answer)?;
        Ok(answer)
    }

    fn request(&self, number: u64, question: Question) -> Vec<u8> {
        let headers = self.headers(number);
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        post(PATH, &headers, self.body(question).as_bytes())
    }

    /// What the request of this turn says beside its body.
    pub fn headers(&self, number: u64) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("api-key", "load".to_owned()),
            ("traceparent", format!("00-{number:032x}-{number:016x}-01")),
        ];
        let secrets = &self.shared.secrets;
        let owners = u64::try_from(secrets.len()).unwrap_or(u64::MAX);
        let owner = number.checked_rem(owners).unwrap_or_default();
        if let Some(secret) = usize::try_from(owner)
            .ok()
            .and_then(|owner| secrets.get(owner))
        {
            headers.push(("x-mas-secret", secret.clone()));
        }
        headers
    }

    pub fn body(&self, question: Question) -> &str {
        match question {
            Question::Plain => &self.shared.plain,
            Question::Held => &self.shared.held,
        }
    }
}

fn body(question: &str) -> String {
    let messages = json!([
        {"role": "user", "content": "Hello, who are you?"},
        {"role": "assistant", "content": "I can search, calculate and draw. What do you need?"},
        {"role": "user", "content": question},
    ]);
    json!({"stream": true, "messages": messages}).to_string()
}

/// A turn must end well and hold the whole text that the model wrote.
fn check(answer: &Answer, expected: &str) -> Result<(), String> {
    let body = String::from_utf8_lossy(&answer.body);
    let said: String = body
        .split("\"delta\":{\"content\":\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let well = answer.status == 200
        && body.ends_with("data: [DONE]\n\n")
        && body.contains("\"finish_reason\":\"stop\"")
        && said == expected;
    if well {
        Ok(())
    } else {
        let end: String = body.chars().rev().take(400).collect();
        let end: String = end.chars().rev().collect();
        Err(format!("status {}, …{end}", answer.status))
    }
}
