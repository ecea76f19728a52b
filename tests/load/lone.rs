//! Turns one by one, each beside the three calls that it makes, made directly.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::Failed;
use crate::answers::FIRST_WORD;
use crate::client::{Answer, Connection, post};
use crate::process::Mas;
use crate::scene::Scene;
use crate::section::Section;
use crate::spread::{MEDIAN, P90, P99, P999, Spread, heading};
use crate::turn::{Question, Turns};
use crate::upstreams::{AGENT_PATH, MODEL_PATH};

const JSON: (&str, &str) = ("content-type", "application/json");
const PERCENTILES: [(&str, usize); 4] = [MEDIAN, P90, P99, P999];

/// Turns one after another.
#[derive(Default)]
pub struct Lone {
    direct: Spread,
    turn: Spread,
    /// Turn less direct calls, pair by pair.
    added: Spread,
    first_byte: Spread,
    /// From the request to the first of the synthesised answer.
    first_word: Spread,
    /// The same less routing and agent, whole, and the synthesis call's own first word, pair by pair.
    first_word_added: Spread,
    /// A write to the table made directly: part of what is added.
    table_write: Spread,
    /// Seconds of the program's processor time.
    cpu: f64,
    /// Connections that the program made to the upstreams in all these turns.
    connections: usize,
    errors: Vec<String>,
}

/// The three calls made directly.
#[derive(Clone, Copy, Default)]
struct Direct {
    whole: Duration,
    /// Until the synthesised answer begins.
    first_word: Duration,
}

/// Turns that are checked and not measured. The first one must succeed.
pub async fn warm_up(mas: &Mas, turns: &Turns, count: usize) -> Result<Vec<String>, Failed> {
    let mut connection = None;
    let mut errors = Vec::new();
    let first = turns.number();
    turns
        .take(first, Question::Plain, mas.port, &mut connection)
        .await?;
    for _ in 0..count {
        let number = turns.number();
        let taken = turns.take(number, Question::Plain, mas.port, &mut connection);
        errors.extend(taken.await.err());
    }
    Ok(errors)
}

/// So many turns. Who comes first of the two in a pair changes from pair to pair.
pub async fn measure(
    scene: &Scene,
    mas: &Mas,
    turns: &Turns,
    count: usize,
) -> Result<Lone, Failed> {
    let calls = calls(scene)?;
    let mut upstream = Connection::open(scene.upstreams.port).await?;
    let mut table = Connection::open(scene.table.port).await?;
    let mut connection = None;
    let mut lone = Lone::default();
    let connected = &scene.upstreams.desk.connections;
    let before = connected.load(Ordering::Relaxed);
    let cpu = mas.cpu()?;
    for at in 0..count {
        let mut direct = Direct::default();
        if at % 2 == 0 {
            direct = straight(&mut upstream, &calls).await?;
        }
        let number = turns.number();
        let taken = turns
            .take(number, Question::Plain, mas.port, &mut connection)
            .await;
        if at % 2 == 1 {
            direct = straight(&mut upstream, &calls).await?;
        }
        let written = table.ask(&table_write(at), b"{").await?;
        if written.status != 200 {
            return Err(String::from_utf8_lossy(&written.body).into());
        }
        match taken {
            Ok(answer) => lone.add(&answer, direct, written.whole),
            Err(error) => lone.errors.push(error),
        }
    }
    lone.connections = connected.load(Ordering::Relaxed) - before;
    lone.cpu = mas.cpu()? - cpu;
    Ok(lone)
}

impl Lone {
    fn add(&mut self, answer: &Answer, direct: Direct, written: Duration) {
        self.direct.add(direct.whole);
        self.turn.add(answer.whole);
        self.added.add_difference(answer.whole, direct.whole);
        self.first_byte.add(answer.first_byte);
        if let Some(first_word) = answer.first_word {
            self.first_word.add(first_word);
            self.first_word_added
                .add_difference(first_word, direct.first_word);
        }
        self.table_write.add(written);
    }

    fn rows(&self) -> [(&'static str, &'static str, &Spread); 7] {
        [
            (
                "direct_calls_us",
                "three upstream calls, direct",
                &self.direct,
            ),
            ("turn_us", "the turn", &self.turn),
            ("added_us", "added by the turn", &self.added),
            (
                "table_write_us",
                "  of which one table write, direct",
                &self.table_write,
            ),
            ("first_byte_us", "first byte of the turn", &self.first_byte),
            (
                "first_answer_token_us",
                "first answer token",
                &self.first_word,
            ),
            (
                "first_answer_token_added_us",
                "added up to the first answer token",
                &self.first_word_added,
            ),
        ]
    }

    pub fn section(self, profile: &str) -> Section {
        let mut section = Section::default();
        let count = self.turn.count();
        let cpu = self.cpu / f64::from(count);
        section.say(&format!("{count} turns, one by one (microseconds)\n"));
        section.text += &heading(&PERCENTILES);
        let mut json = serde_json::Map::new();
        for (key, label, spread) in self.rows() {
            section.text += &spread.row(label, &PERCENTILES);
            json.insert(key.into(), spread.json(&PERCENTILES));
        }
        section.say(&format!(
            "  processor time a turn: {:.2} ms; upstream connections made: {}\n",
            cpu * 1e3,
            self.connections
        ));
        json.insert("turns".into(), count.into());
        json.insert("program_us_per_turn".into(), (cpu * 1e6).round().into());
        json.insert("connections".into(), self.connections.into());
        section.put("one_by_one", Value::Object(json));
        let direct = self.direct.at(MEDIAN);
        section.figure(
            format!("{profile}.added_to_direct_calls"),
            self.added.at(MEDIAN) / direct,
        );
        section.figure(
            format!("{profile}.first_token_added_to_direct_calls"),
            self.first_word_added.at(MEDIAN) / direct,
        );
        section.errors = self.errors;
        section
    }
}

/// The three calls as the program made them in its first turn.
fn calls(scene: &Scene) -> Result<[Vec<u8>; 3], Failed> {
    let asked = &scene.upstreams.desk.asked;
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

/// The calls in sequence, each read to its end.
async fn straight(upstream: &mut Connection, calls: &[Vec<u8>]) -> Result<Direct, Failed> {
    let mut direct = Direct::default();
    for call in calls {
        let answer = upstream.ask(call, FIRST_WORD).await?;
        if answer.status != 200 {
            return Err(format!("an upstream answered {}", answer.status).into());
        }
        if let Some(first_word) = answer.first_word {
            direct.first_word = direct.whole + first_word;
        }
        direct.whole += answer.whole;
    }
    Ok(direct)
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
