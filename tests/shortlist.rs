//! How well the shortlist of agents finds the right one, on files of agents and requests:
//! `cargo run --release -p tests --bin shortlist -- AGENTS.jsonl REQUESTS.jsonl [EXAMPLES.jsonl COUNT]`
//!
//! A line of agents is `{"agent", "description"}`, one of requests or examples `{"text", "agent"}`. With examples, each agent
//! is configured with COUNT of them.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Instant;

use coordinator::domain::agent::{AgentCard, Endpoint, Protocol, Registry};
use coordinator::domain::capability::Capability;
use coordinator::route::Shortlist;
use serde_json::Value;

const DEPTHS: [usize; 5] = [1, 8, 12, 16, 32];

fn lines(file: &str) -> Result<Vec<(String, String)>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let field = |line: &Value, names: [&str; 2]| {
        let mut found = names.iter().filter_map(|name| line[*name].as_str());
        found.next().unwrap_or_default().to_owned()
    };
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
            Ok((
                field(&line, ["agent", ""]),
                field(&line, ["text", "description"]),
            ))
        })
        .collect()
}

fn card(name: &str, description: &str, examples: &[String]) -> AgentCard {
    let capability = Capability {
        examples: examples.to_vec(),
        ..Capability::default()
    };
    AgentCard {
        description: description.to_owned(),
        capabilities: vec![capability],
        ..AgentCard::new(name, Protocol::Dial, Endpoint::Deployment("x".into()))
    }
}

fn measure(arguments: &[String]) -> Result<String, String> {
    let [agents, requests, rest @ ..] = arguments else {
        return Err("expected AGENTS.jsonl REQUESTS.jsonl [EXAMPLES.jsonl COUNT]".into());
    };
    let mut examples: HashMap<String, Vec<String>> = HashMap::new();
    if let [file, count] = rest {
        let count: usize = count.parse().map_err(|_| "COUNT is no number")?;
        for (agent, text) in lines(file)? {
            let known = examples.entry(agent).or_default();
            if known.len() < count {
                known.push(text);
            }
        }
    }
    let cards = lines(agents)?.into_iter().map(|(agent, description)| {
        let examples = examples.get(&agent).map_or(&[][..], Vec::as_slice);
        card(&agent, &description, examples)
    });
    let registry = Registry::new(cards.collect(), None)?;
    let shortlist = Shortlist::of(&registry).ok_or("so few agents need no shortlist")?;
    let requests = lines(requests)?;
    let mut found = [0_u32; DEPTHS.len()];
    let begun = Instant::now();
    for (agent, text) in &requests {
        let ranked = shortlist.ranked(text);
        let place = ranked.iter().position(|known| known.as_str() == agent);
        for (count, depth) in found.iter_mut().zip(DEPTHS) {
            *count += u32::from(place.is_some_and(|place| place < depth));
        }
    }
    let micros = begun.elapsed().as_secs_f64() * 1e6;
    let all = f64::from(u32::try_from(requests.len()).unwrap_or(u32::MAX));
    let shares: Vec<String> = (found.iter().zip(DEPTHS))
        .map(|(count, depth)| {
            format!(
                "{:.1} % among the first {depth}",
                100.0 * f64::from(*count) / all
            )
        })
        .collect();
    Ok(format!(
        "{all} requests: {}; {:.0} us each",
        shares.join(", "),
        micros / all
    ))
}

#[expect(clippy::print_stdout, reason = "it is what was asked for")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match measure(&arguments) {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            println!("{problem}");
            ExitCode::FAILURE
        }
    }
}
