//! One round of the measurement of routing: a program of its own with an empty table, asked given questions by several
//! callers, and what it counted meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::Failed;
use crate::client::{Answer, Connection, get, post};
use crate::process::Mas;
use crate::scene::{Options, Scene};
use crate::script::{AGENTS, Call, Script, question};
use crate::turn::{PATH, Turns};

/// How long the last turn may still be counted after its answer has ended.
const COUNTING: Duration = Duration::from_millis(200);

/// A running program.
pub struct Round {
    // Ends before what it calls.
    mas: Mas,
    _scene: Scene,
    turns: Turns,
    script: Arc<Script>,
}

/// A turn that went well.
#[derive(Clone)]
pub struct Taken {
    /// From the request until the answer held the word.
    pub until_word: Duration,
    pub calls: Vec<Arc<Call>>,
}

/// What the program counted, by the metric's name and labels.
pub struct Counts(HashMap<String, f64>);

impl Round {
    pub async fn start(options: &Options, routing: &str, script: Script) -> Result<Self, Failed> {
        let scene = Scene::start(options).await?;
        let script = Arc::new(script);
        scene.upstreams.desk.follow(Arc::clone(&script));
        let mas = scene.mas_with(vec![
            ("MAS_ROUTING", routing.to_owned()),
            ("MAS_AGENTS", agents(options, scene.upstreams.port)),
            // The agents' answers are the turns'.
            ("MAS_SYNTHESIS", "auto".to_owned()),
        ])?;
        Ok(Self {
            mas,
            _scene: scene,
            turns: Turns::of(options.owners),
            script,
        })
    }

    /// Each question as the first message of a conversation, by so many callers. Turns are numbered on from `first`, so
    /// that they have the same delays in every round. What comes back is in the questions' order.
    pub async fn ask(
        &self,
        questions: &[u64],
        first: u64,
        callers: usize,
        word: &'static [u8],
    ) -> Vec<Result<Taken, String>> {
        let tickets = Arc::new(AtomicUsize::new(0));
        let asked: Arc<[(u64, u64)]> = (first..).zip(questions.iter().copied()).collect();
        let mut all = JoinSet::new();
        for _ in 0..callers {
            let (turns, port) = (self.turns.clone(), self.mas.port);
            let (tickets, asked) = (Arc::clone(&tickets), Arc::clone(&asked));
            all.spawn(async move {
                let mut connection = None;
                let mut taken = Vec::new();
                while let Some((number, question)) =
                    asked.get(tickets.fetch_add(1, Ordering::Relaxed))
                {
                    let request = request(&turns, *number, *question);
                    let answer = one(&request, port, word, &mut connection).await;
                    taken.push((*number, answer));
                }
                taken
            });
        }
        let mut taken: Vec<_> = all.join_all().await.into_iter().flatten().collect();
        taken.sort_by_key(|(number, _)| *number);
        let ended = taken.into_iter().map(|(number, until_word)| {
            let calls = self.script.take(number);
            until_word.map(|until_word| Taken { until_word, calls })
        });
        ended.collect()
    }

    /// All of it, as it is served.
    pub async fn counts(&self) -> Result<Counts, Failed> {
        tokio::time::sleep(COUNTING).await;
        let mut connection = Connection::open(self.mas.port).await?;
        let answer = connection.ask(&get("/metrics"), b"mas_").await?;
        let text = String::from_utf8_lossy(&answer.body);
        let lines = text.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Counts(lines.collect()))
    }

    pub fn said(&self) -> Vec<String> {
        self.mas.said()
    }
}

impl Counts {
    pub fn since(&self, earlier: &Self, name: &str) -> f64 {
        let at = |counts: &Self| counts.0.get(name).copied().unwrap_or_default();
        at(self) - at(earlier)
    }

    /// The mean of a histogram in milliseconds.
    pub fn mean_ms(&self, earlier: &Self, name: &str, labels: &str) -> f64 {
        let part = |part| self.since(earlier, &format!("{name}_{part}{labels}"));
        part("sum") / part("count") * 1e3
    }
}

/// The agents file. Only the first agent may be begun on a guess.
fn agents(options: &Options, port: u16) -> String {
    let cards = AGENTS.iter().enumerate().map(|(at, name)| {
        let endpoint = options.endpoint(name, port);
        let effect = if at == 0 { "none" } else { "reversible" };
        format!(
            "  - {{name: {name}, protocol: dial, endpoint: '{endpoint}', effect: {effect}, \
             description: 'Knows the matters of {name}.'}}\n"
        )
    });
    ["default: GPA\nagents:\n".to_owned()]
        .into_iter()
        .chain(cards)
        .collect()
}

fn request(turns: &Turns, number: u64, asked: u64) -> Vec<u8> {
    let message = json!({"role": "user", "content": question(asked)});
    let body = json!({"stream": true, "messages": [message]}).to_string();
    let headers = turns.headers(number);
    let headers: Vec<(&str, &str)> = (headers.iter())
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    post(PATH, &headers, body.as_bytes())
}

/// One turn on this connection, which is opened anew after a failure.
async fn one(
    request: &[u8],
    port: u16,
    word: &[u8],
    connection: &mut Option<Connection>,
) -> Result<Duration, String> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(port)
            .await
            .map_err(|error| error.to_string())?,
    };
    let answer = open.ask(request, word).await;
    let answer = answer.map_err(|error| error.to_string())?;
    *connection = Some(open);
    until_word(&answer)
}

/// A turn must end well and hold the agent's text.
fn until_word(answer: &Answer) -> Result<Duration, String> {
    let body = String::from_utf8_lossy(&answer.body);
    let well = answer.status == 200
        && body.ends_with("data: [DONE]\n\n")
        && body.contains("\"finish_reason\":\"stop\"")
        && body.contains("part 3 of the report");
    let until_word = answer.first_word.filter(|_| well);
    until_word.ok_or_else(|| {
        let from = body.char_indices().rev().nth(600).map_or(0, |(at, _)| at);
        let end = body.get(from..).unwrap_or_default();
        format!("status {}, …{end}", answer.status)
    })
}
