//! Whether a configuration document is in order: every mistake with its line, and its own tests run.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Args;
use coordinator::settings::document::{self, SCHEMA};
use coordinator::settings::{Env, Place, Problem, Problems, Roster};
use serde_json::json;

use crate::compose::Failed;
use crate::console::harmless;
use crate::operator::print;

#[derive(Args)]
#[group(skip)]
pub struct Options {
    /// The document; without it, the one that MAS_AGENTS names, or the one built in
    file: Option<String>,
    /// As it is read in S3, in SSM or in the table, where it reaches less of the environment and of secrets
    #[arg(long)]
    elsewhere: bool,
    /// Print what is found as JSON
    #[arg(long)]
    json: bool,
}

/// Reads a document as a start would, without any secret and without calling anybody.
pub fn run(options: &Options) -> Result<ExitCode, Failed> {
    let mut env = Env::process();
    let place = match &options.file {
        Some(file) => Place::File(file.clone()),
        None => Place::read(&env)?,
    };
    if place.is_far() {
        return Err(format!("{place} is elsewhere: expected a file").into());
    }
    let text = place.text()?;
    // Secrets are fetched at the start; here it is enough that something is there.
    for key in document::references(&text) {
        env.set(&key, "not fetched");
    }
    let parsed = if options.elsewhere {
        document::parse_elsewhere(&text, &env)
    } else {
        document::parse(&text, &env)
    };
    let ended = if parsed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    print(&if options.json {
        format!("{:#}", as_json(&place, &parsed))
    } else {
        let colour = std::io::stdout().is_terminal() && env.get("NO_COLOR").is_none();
        shown(&place, &parsed, colour).trim_end().to_owned()
    })?;
    Ok(ended)
}

/// Prints the schema that editors complete documents with.
pub fn schema() -> Result<ExitCode, Failed> {
    print(SCHEMA.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn shown(place: &Place, parsed: &Result<Roster, Problems>, colour: bool) -> String {
    let painted = |text: &str, style: &str| {
        if colour {
            format!("\u{1b}[{style}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    };
    let name = harmless(&place.to_string());
    match parsed {
        Ok(document) => {
            let experiments = match document.experiments.len() {
                0 => String::new(),
                number => format!("{}, ", count(number, "experiment")),
            };
            format!(
                "{name} {}: {}, {}, {experiments}{}",
                painted("is in order", "32"),
                count(document.registry.iter().count(), "agent"),
                count(document.rulebook.rules.len(), "rule"),
                count(document.tests, "passed test"),
            )
        }
        Err(Problems(problems)) => {
            let mut out = String::new();
            for Problem {
                line,
                column,
                problem,
            } in problems
            {
                let place = match line {
                    0 => format!("{name}:"),
                    _ => format!("{name}:{line}:{column}:"),
                };
                let _ = writeln!(out, "{} {}", painted(&place, "31"), harmless(problem));
            }
            out
        }
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn as_json(place: &Place, parsed: &Result<Roster, Problems>) -> serde_json::Value {
    let (document, problems) = match parsed {
        Ok(document) => (Some(document), &[][..]),
        Err(Problems(problems)) => (None, &problems[..]),
    };
    json!({
        "document": place.to_string(),
        "ok": document.is_some(),
        "agents": document.map(|document| document.registry.iter().count()),
        "rules": document.map(|document| document.rulebook.rules.len()),
        "experiments": document.map(|document| document.experiments.len()),
        "tests": document.map(|document| document.tests),
        "problems": problems,
    })
}
