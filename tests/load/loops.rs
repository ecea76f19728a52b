//! Closed loops, in which each caller asks again as soon as it is answered, and turns held in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::Failed;
use crate::process::Mas;
use crate::scene::{Cpu, Scene};
use crate::section::{Section, mib};
use crate::spread::{MEDIAN, P90, P99, P999, Spread, heading};
use crate::turn::{Question, Turns};

const PERCENTILES: [(&str, usize); 4] = [MEDIAN, P90, P99, P999];
/// How long all held turns may take to reach the agent.
const GATHERING: Duration = Duration::from_secs(15);
/// Rounds of held turns: memory shows its plateau in the later ones.
const ROUNDS: usize = 3;

/// Turns of several callers at once.
#[derive(Default)]
pub struct Loop {
    concurrency: usize,
    turn: Spread,
    first_byte: Spread,
    wall: Duration,
    cpu: Cpu,
    connections: usize,
    errors: Vec<String>,
}

/// Turns that wait for their agents.
#[derive(Default)]
pub struct Held {
    turns: usize,
    most: usize,
    rss_kib: u64,
    errors: Vec<String>,
}

/// So many turns by so many callers.
pub async fn closed(
    scene: &Scene,
    mas: &Mas,
    turns: &Turns,
    concurrency: usize,
    count: usize,
) -> Result<Loop, Failed> {
    let tickets = Arc::new(AtomicUsize::new(0));
    let connected = &scene.upstreams.desk.connections;
    let before = connected.load(Ordering::Relaxed);
    let (cpu, begun) = (Cpu::now(mas)?, Instant::now());
    let mut callers = JoinSet::new();
    for _ in 0..concurrency {
        let (turns, tickets, port) = (turns.clone(), Arc::clone(&tickets), mas.port);
        callers.spawn(async move {
            let mut connection = None;
            let mut taken = Vec::new();
            while tickets.fetch_add(1, Ordering::Relaxed) < count {
                let number = turns.number();
                let answer = turns
                    .take(number, Question::Plain, port, &mut connection)
                    .await;
                taken.push(answer.map(|answer| (answer.whole, answer.first_byte)));
            }
            taken
        });
    }
    let taken = callers.join_all().await;
    let mut closed = Loop {
        concurrency,
        wall: begun.elapsed(),
        cpu: Cpu::now(mas)? - cpu,
        connections: connected.load(Ordering::Relaxed) - before,
        ..Loop::default()
    };
    for answer in taken.into_iter().flatten() {
        match answer {
            Ok((whole, first_byte)) => {
                closed.turn.add(whole);
                closed.first_byte.add(first_byte);
            }
            Err(error) => closed.errors.push(error),
        }
    }
    Ok(closed)
}

/// Memory while so many turns wait for their agent. Each has a connection of its own, and all are there before one may go
/// on; so many at most are on their way to the agent, and to their end, at a time.
pub async fn held(
    scene: &Scene,
    mas: &Mas,
    turns: &Turns,
    count: usize,
    on_the_way: usize,
) -> Result<Held, Failed> {
    let desk = &scene.upstreams.desk;
    let mut held = Held {
        turns: count,
        ..Held::default()
    };
    for _ in 0..ROUNDS {
        desk.shut_gate();
        let mut callers = JoinSet::new();
        let begun = Instant::now();
        let mut most = 0;
        while most < count && begun.elapsed() < GATHERING {
            while callers.len() < count.min(most + on_the_way) {
                let (turns, port) = (turns.clone(), mas.port);
                callers.spawn(async move {
                    let number = turns.number();
                    turns.take(number, Question::Held, port, &mut None).await
                });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            most = desk.waiting.load(Ordering::SeqCst);
        }
        held.most = held.most.max(most);
        held.rss_kib = held.rss_kib.max(mas.memory_kib("VmRSS")?);
        let mut let_through = 0;
        while !callers.is_empty() {
            let ended = count.saturating_sub(callers.len());
            let more = count.min(ended + on_the_way).saturating_sub(let_through);
            desk.let_through(more);
            let_through += more;
            let taken = callers.join_next().await;
            held.errors
                .extend(taken.and_then(|taken| taken.ok()?.err()));
        }
    }
    if held.most < count {
        let problem = format!("only {} of {count} turns were in flight", held.most);
        held.errors.push(problem);
    }
    Ok(held)
}

/// Closed loops as one part of the report.
pub fn section(loops: Vec<Loop>) -> Section {
    let mut section = Section::default();
    let mut json = Vec::new();
    for closed in loops {
        let count = closed.turn.count();
        let per_second = f64::from(count) / closed.wall.as_secs_f64();
        section.say(&format!(
            "{count} turns, {} at once: {per_second:.0} a second (microseconds)\n{}{}{}{}",
            closed.concurrency,
            heading(&PERCENTILES),
            closed.turn.row("the turn", &PERCENTILES),
            closed
                .first_byte
                .row("first byte of the turn", &PERCENTILES),
            closed.cpu.text(count),
        ));
        section.say(&format!(
            "  upstream connections made: {}\n",
            closed.connections
        ));
        json.push(json!({
            "concurrency": closed.concurrency,
            "turns": count,
            "turns_per_second": per_second.round(),
            "turn_us": closed.turn.json(&PERCENTILES),
            "first_byte_us": closed.first_byte.json(&PERCENTILES),
            "cpu": closed.cpu.json(count),
            "wall_seconds": closed.wall.as_secs_f64(),
            "connections": closed.connections,
        }));
        section.errors.extend(closed.errors);
    }
    section.put("closed_loops", json.into());
    section
}

/// Memory at rest, held, and at most.
pub fn memory(profile: &str, at_rest_kib: u64, held: Vec<Held>, peak_kib: u64) -> Section {
    let mut section = Section::default();
    let mut json = json!({"at_rest": at_rest_kib, "peak": peak_kib});
    section.say(&format!("memory: {:.1} MiB after start", mib(at_rest_kib)));
    for held in held {
        let (kib, turns) = (held.rss_kib, held.turns);
        section.say(&format!(
            ", {:.1} MiB with {} turns in flight",
            mib(kib),
            held.most
        ));
        section.figure(
            format!("{profile}.mas_rss_kib_at_{turns}"),
            mib(kib) * 1024.0,
        );
        if let Some(json) = json.as_object_mut() {
            json.insert(format!("held_{turns}"), kib.into());
        }
        section.errors.extend(held.errors);
    }
    section.say(&format!(", {:.1} MiB at most\n", mib(peak_kib)));
    section.put("memory_kib", json);
    section
}
