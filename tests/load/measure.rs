//! The measurements: turns one by one beside the bare calls, turns in closed loops, turns held in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Failed;
use crate::client::{Answer, Connection, post};
use crate::process::{Mas, own_cpu};
use crate::report::{Held, Lone, Loop};
use crate::upstreams::{AGENT_PATH, Desk, MODEL_PATH, SLOWLY, Upstreams, answer_text};

const JSON: (&str, &str) = ("content-type", "application/json");
const PATH: &str =
    "/openai/deployments/mas-coordinator/chat/completions?api-version=2025-01-01-preview";
/// How long all held turns may take to reach the agent.
const GATHERING: Duration = Duration::from_secs(5);
/// Rounds of held turns: memory shows its plateau in the later ones.
const ROUNDS: usize = 3;

/// Sends the turns and checks every answer.
pub struct Generator<'a> {
    mas: &'a Mas,
    desk: &'a Desk,
    port: u16,
    table_port: u16,
    turn: Arc<Turn>,
    pub errors: Vec<String>,
}

/// One turn's request, and the text of its answer.
struct Turn {
    request: Vec<u8>,
    expected: String,
}

impl Turn {
    fn new(question: &str) -> Self {
        let messages = json!([
            {"role": "user", "content": "Hello, who are you?"},
            {"role": "assistant", "content": "I can search, calculate and draw. What do you need?"},
            {"role": "user", "content": question},
        ]);
        let body = json!({"stream": true, "messages": messages}).to_string();
        Self {
            request: post(PATH, &[JSON, ("api-key", "load")], body.as_bytes()),
            expected: answer_text(),
        }
    }

    /// One turn on this connection, which is opened anew after a failure.
    async fn take(&self, port: u16, connection: &mut Option<Connection>) -> Result<Answer, String> {
        let mut open = match connection.take() {
            Some(open) => open,
            None => Connection::open(port)
                .await
                .map_err(|error| error.to_string())?,
        };
        let asked = open.ask(&self.request).await;
        let answer = asked.map_err(|error| error.to_string())?;
        *connection = Some(open);
        check(&answer, &self.expected)?;
        Ok(answer)
    }
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

impl<'a> Generator<'a> {
    pub fn new(upstreams: &'a Upstreams, mas: &'a Mas) -> Self {
        Self {
            mas,
            desk: &upstreams.desk,
            port: upstreams.port,
            table_port: upstreams.table_port,
            turn: Arc::new(Turn::new("What is the weather in Kyiv?")),
            errors: Vec::new(),
        }
    }

    /// Turns that are checked and not measured. The first one must succeed.
    pub async fn warm_up(&mut self, turns: usize) -> Result<(), Failed> {
        let mut connection = None;
        self.turn.take(self.mas.port, &mut connection).await?;
        for _ in 0..turns {
            let taken = self.turn.take(self.mas.port, &mut connection).await;
            self.noted(taken);
        }
        Ok(())
    }

    /// Each turn beside the same three calls made directly, and beside a write to the table such as the turn's own.
    pub async fn one_by_one(&mut self, turns: usize) -> Result<Lone, Failed> {
        let calls = self.calls()?;
        let mut upstream = Connection::open(self.port).await?;
        let mut table = Connection::open(self.table_port).await?;
        let mut connection = None;
        let mut lone = Lone::default();
        let connected = self.desk.connections.load(Ordering::Relaxed);
        for at in 0..turns {
            let before = at % 2 == 0;
            let mut direct = Duration::ZERO;
            if before {
                direct = straight(&mut upstream, &calls).await?;
            }
            let taken = self.turn.take(self.mas.port, &mut connection).await;
            if !before {
                direct = straight(&mut upstream, &calls).await?;
            }
            let written = table.ask(&table_write(at)).await?;
            if written.status != 200 {
                return Err(String::from_utf8_lossy(&written.body).into());
            }
            if let Some(answer) = self.noted(taken) {
                lone.direct.add(direct);
                lone.turn.add(answer.whole);
                lone.added.add_difference(answer.whole, direct);
                lone.first_byte.add(answer.first_byte);
                lone.table_write.add(written.whole);
            }
        }
        lone.connections = self.desk.connections.load(Ordering::Relaxed) - connected;
        Ok(lone)
    }

    /// So many callers at once, each asking again as soon as it is answered.
    pub async fn closed_loop(&mut self, concurrency: usize, turns: usize) -> Result<Loop, Failed> {
        let tickets = Arc::new(AtomicUsize::new(0));
        let connected = self.desk.connections.load(Ordering::Relaxed);
        let (cpu, own, begun) = (self.mas.cpu()?, own_cpu()?, Instant::now());
        let mut callers = JoinSet::new();
        for _ in 0..concurrency {
            let (turn, tickets, port) =
                (Arc::clone(&self.turn), Arc::clone(&tickets), self.mas.port);
            callers.spawn(async move {
                let mut connection = None;
                let mut taken = Vec::new();
                while tickets.fetch_add(1, Ordering::Relaxed) < turns {
                    taken.push(
                        turn.take(port, &mut connection)
                            .await
                            .map(|answer| answer.whole),
                    );
                }
                taken
            });
        }
        let taken = callers.join_all().await;
        let wall = begun.elapsed().as_secs_f64();
        let mut closed = Loop {
            concurrency,
            wall,
            cpu: self.mas.cpu()? - cpu,
            own_cpu: own_cpu()? - own,
            connections: self.desk.connections.load(Ordering::Relaxed) - connected,
            ..Loop::default()
        };
        for whole in taken.into_iter().flatten() {
            if let Some(whole) = self.noted(whole) {
                closed.turn.add(whole);
            }
        }
        Ok(closed)
    }

    /// Memory while so many turns wait for their agent.
    pub async fn held(&mut self, turns: usize) -> Result<Held, Failed> {
        let turn = Arc::new(Turn::new(&format!("What is the weather in Kyiv? {SLOWLY}")));
        let mut held = Held::default();
        for _ in 0..ROUNDS {
            let mut callers = JoinSet::new();
            for _ in 0..turns {
                let (turn, port) = (Arc::clone(&turn), self.mas.port);
                callers.spawn(async move { turn.take(port, &mut None).await });
            }
            let begun = Instant::now();
            let mut most = 0;
            // Stops when the number of waiting agents has passed its peak, which is all turns unless they come slowly.
            while begun.elapsed() < GATHERING && !callers.is_empty() {
                let waiting = self.desk.waiting.load(Ordering::SeqCst);
                if waiting < most {
                    break;
                }
                if waiting > most {
                    most = waiting;
                    held.rss_kib = held.rss_kib.max(self.mas.memory_kib("VmRSS")?);
                }
                if most == turns {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            held.most = held.most.max(most);
            for taken in callers.join_all().await {
                self.noted(taken);
            }
        }
        Ok(held)
    }

    /// The three calls as the program made them in its first turn.
    fn calls(&self) -> Result<[Vec<u8>; 3], Failed> {
        let asked = &self.desk.asked;
        let call = |path, body: Option<&Bytes>| {
            let body = body.ok_or("the program made no call of this kind")?;
            Ok::<_, Failed>(post(path, &[JSON], body))
        };
        Ok([
            call(MODEL_PATH, asked.routing.get())?,
            call(AGENT_PATH, asked.agent.get())?,
            call(MODEL_PATH, asked.synthesis.get())?,
        ])
    }

    fn noted<T>(&mut self, taken: Result<T, String>) -> Option<T> {
        taken.map_err(|error| self.errors.push(error)).ok()
    }
}

/// The calls in sequence, each read to its end.
async fn straight(upstream: &mut Connection, calls: &[Vec<u8>]) -> Result<Duration, Failed> {
    let begun = Instant::now();
    for call in calls {
        let answer = upstream.ask(call).await?;
        if answer.status != 200 {
            return Err(format!("an upstream answered {}", answer.status).into());
        }
    }
    Ok(begun.elapsed())
}

/// A transaction of the same shape and about the same size as a turn's.
fn table_write(at: usize) -> Vec<u8> {
    let text = |value: &str| json!({"S": value});
    let record = text(&"x".repeat(3000));
    let put = json!({"TableName": "mas", "Item": {"pk": text("load"), "sk": text(&format!("turn {at}")),
        "expires_at": {"N": "9999999999"}, "record": record}});
    let update = json!({"TableName": "mas", "Key": {"pk": text("load"), "sk": text(&format!("head {at}"))},
        "UpdateExpression": "SET sessions = :sessions, updated_at = :at, expires_at = :at, \
            created_at = if_not_exists(created_at, :at) ADD turns :one",
        "ExpressionAttributeValues": {":sessions": {"M": {}}, ":at": {"N": "9999999999"}, ":one": {"N": "1"}}});
    let body = json!({"TransactItems": [{"Put": put}, {"Update": update}]}).to_string();
    let headers = [
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-target", "DynamoDB_20120810.TransactWriteItems"),
        ("x-amz-date", "20260101T000000Z"),
        // The emulator wants one and verifies none.
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=local/20260101/local/dynamodb/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-target, Signature=0",
        ),
    ];
    post("/", &headers, body.as_bytes())
}
