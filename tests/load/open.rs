//! The open loop: turns come at given times, whatever has become of the earlier ones, and upstreams take their time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinError, JoinSet};

use crate::Failed;
use crate::client::Connection;
use crate::law::{Law, arrivals};
use crate::ledger::waited;
use crate::lone::warm_up;
use crate::process::{Mas, most_files};
use crate::scene::{Cpu, Options, Scene};
use crate::section::{Section, mib};
use crate::spread::{MEDIAN, P95, P99, P999, Spread, heading};
use crate::turn::{Question, Turns};

const PERCENTILES: [(&str, usize); 4] = [MEDIAN, P95, P99, P999];
/// How often the program's memory is read.
const GLANCES: Duration = Duration::from_millis(200);
/// Files that are open beside those of turns: pools, logs, the table.
const OTHER_FILES: usize = 500;

#[derive(Args)]
#[group(skip)]
pub struct How {
    /// Turns a second; 167 are 10,000 a minute
    #[arg(long, value_delimiter = ',', default_value = "100,167")]
    rate: Vec<f64>,
    /// How long turns come and are measured
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// How long turns come before that
    #[arg(long, default_value_t = 5)]
    warm_up_seconds: u64,
    /// What every delay of the law is multiplied by; 0 makes the upstreams answer as fast as they can
    #[arg(long, default_value_t = 1.0)]
    delay_scale: f64,
    /// Turns come evenly instead of at random
    #[arg(long)]
    even: bool,
    /// What the random times depend on
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// One rate.
#[derive(Default)]
struct Run {
    rate: f64,
    /// All from the time a turn was to be sent; one that failed or was never sent counts as endless.
    turn: Spread,
    added: Spread,
    first_byte: Spread,
    /// What the turn's own calls took, by the upstreams' word.
    upstream: Spread,
    /// From the time a turn was to be sent until it was: the generator's own delay, which is in all of the above.
    late: Spread,
    /// Of all turns, from the first to the end of the last.
    all: u32,
    cpu: Cpu,
    most: usize,
    rss_kib: u64,
    errors: Vec<String>,
    said: Vec<String>,
}

/// What became of a turn.
struct Flown {
    is_measured: bool,
    result: Result<Times, String>,
}

struct Times {
    late: Duration,
    whole: Duration,
    first_byte: Duration,
    upstream: Duration,
}

/// All rates, each with a program of its own.
pub async fn run(options: &Options, how: &How) -> Result<Section, Failed> {
    let mut section = Section::default();
    let mut json = Vec::new();
    for rate in &how.rate {
        let scene = Scene::start(options).await?;
        let mas = scene.mas()?;
        let turns = Turns::of(options.owners);
        let unwell = warm_up(&mas, &turns, 100).await?;
        section.errors.extend(unwell);
        let law = Law {
            scale: how.delay_scale,
        };
        scene.upstreams.desk.obey(Some(law));
        let run = one(&scene, &mas, &turns, how, *rate).await?;
        section.text += &run.text();
        json.push(run.json());
        section.errors.extend(run.errors);
        section.said.extend(run.said);
    }
    section.put("open_loops", json.into());
    Ok(section)
}

async fn one(scene: &Scene, mas: &Mas, turns: &Turns, how: &How, rate: f64) -> Result<Run, Failed> {
    let measured_from = Duration::from_secs(how.warm_up_seconds);
    let long = measured_from + Duration::from_secs(how.seconds);
    let times = arrivals(rate, long, how.seed, how.even);
    // Both ends of the callers' connections and of the agents' are this process's files.
    let room = most_files().saturating_sub(OTHER_FILES) / 2;
    let mut run = Run {
        rate,
        ..Run::default()
    };
    let cpu = Cpu::now(mas)?;
    let begun_at = Instant::now();
    let mut due = metronome(begun_at, times);
    let mut glances = tokio::time::interval(GLANCES);
    let idle = Arc::new(Mutex::new(Vec::new()));
    let mut flying = JoinSet::new();
    loop {
        tokio::select! {
            intended_at = due.recv() => {
                let Some(intended_at) = intended_at else { break };
                let is_measured = intended_at >= begun_at + measured_from;
                if flying.len() >= room {
                    let result = Err("no more files for another turn".to_owned());
                    run.note(Flown { is_measured, result });
                    continue;
                }
                // Here, so that turns have the same numbers, and so the same delays, in every run.
                let number = turns.number();
                let turn = fly(turns.clone(), number, mas.port, Arc::clone(&idle), intended_at);
                let desk = Arc::clone(&scene.upstreams.desk);
                flying.spawn(async move {
                    let result = turn.await.and_then(|mut times| {
                        let spans = desk.ledger.take(number);
                        if spans.len() < 3 {
                            return Err(format!("only {} calls are known", spans.len()));
                        }
                        times.upstream = waited(spans);
                        Ok(times)
                    });
                    Flown { is_measured, result }
                });
                run.most = run.most.max(flying.len());
            }
            Some(flown) = flying.join_next() => run.landed(flown),
            _ = glances.tick() => run.rss_kib = run.rss_kib.max(mas.memory_kib("VmRSS")?),
        }
    }
    while let Some(flown) = flying.join_next().await {
        run.landed(flown);
    }
    run.cpu = Cpu::now(mas)? - cpu;
    run.said = mas.said();
    Ok(run)
}

/// Tells each time when it has come, more exactly than timers of tasks do.
fn metronome(begun_at: Instant, times: Vec<Duration>) -> UnboundedReceiver<Instant> {
    let (tell, told) = unbounded_channel();
    std::thread::spawn(move || {
        for time in times {
            let intended_at = begun_at + time;
            std::thread::sleep(intended_at.saturating_duration_since(Instant::now()));
            if tell.send(intended_at).is_err() {
                break;
            }
        }
    });
    told
}

/// One turn on a connection that nobody uses, or on a new one.
async fn fly(
    turns: Turns,
    number: u64,
    port: u16,
    idle: Arc<Mutex<Vec<Connection>>>,
    intended_at: Instant,
) -> Result<Times, String> {
    let lock = || idle.lock().unwrap_or_else(PoisonError::into_inner);
    let mut connection = lock().pop();
    let answer = turns
        .take(number, Question::Plain, port, &mut connection)
        .await?;
    lock().extend(connection);
    let late = answer.sent_at.saturating_duration_since(intended_at);
    Ok(Times {
        late,
        whole: late + answer.whole,
        first_byte: late + answer.first_byte,
        upstream: Duration::ZERO,
    })
}

impl Run {
    fn landed(&mut self, flown: Result<Flown, JoinError>) {
        match flown {
            Ok(flown) => self.note(flown),
            Err(error) => self.errors.push(error.to_string()),
        }
    }

    fn note(&mut self, flown: Flown) {
        self.all += 1;
        match flown.result {
            Ok(times) if flown.is_measured => {
                self.turn.add(times.whole);
                self.added.add_difference(times.whole, times.upstream);
                self.first_byte.add(times.first_byte);
                self.upstream.add(times.upstream);
                self.late.add(times.late);
            }
            Ok(_) => {}
            Err(error) => {
                self.errors.push(error);
                if flown.is_measured {
                    self.turn.add_miss();
                    self.added.add_miss();
                    self.first_byte.add_miss();
                }
            }
        }
    }

    fn rows(&self) -> [(&'static str, &'static str, &Spread); 5] {
        [
            ("upstream_us", "its own upstream calls", &self.upstream),
            ("turn_us", "the turn", &self.turn),
            ("added_us", "added by the turn", &self.added),
            ("first_byte_us", "first byte of the turn", &self.first_byte),
            (
                "late_us",
                "  of all these, the generator's delay",
                &self.late,
            ),
        ]
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} turns at {} a second, {} of them missed, up to {} at once (microseconds)\n{}",
            self.turn.count(),
            self.rate,
            self.turn.count() - self.upstream.count(),
            self.most,
            heading(&PERCENTILES),
        );
        for (_, label, spread) in self.rows() {
            text += &spread.row(label, &PERCENTILES);
        }
        text + &self.cpu.text(self.all)
            + &format!("  memory: {:.1} MiB at most\n", mib(self.rss_kib))
    }

    fn json(&self) -> Value {
        let mut json = json!({
            "rate": self.rate,
            "turns": self.turn.count(),
            "misses": self.turn.count() - self.upstream.count(),
            "most_at_once": self.most,
            "cpu": self.cpu.json(self.all),
            "rss_kib": self.rss_kib,
        });
        for (key, _, spread) in self.rows() {
            if let Some(json) = json.as_object_mut() {
                json.insert(key.into(), spread.json(&PERCENTILES));
            }
        }
        json
    }
}
