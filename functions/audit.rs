//! The commands that read the audit log: what it says, and whether anybody touched it.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use coordinator::domain::audit::{By, Entry};
use coordinator::domain::day::Day;
use coordinator::domain::ids::Millis;
use coordinator::http;
use coordinator::store::chain::Anchor;
use coordinator::store::check::Report;
use coordinator::store::{self, Audit};
use serde_json::{Value, json};

use crate::compose::{self, Failed};
use crate::console::{harmless, say};
use crate::operator::{self, Open, Place, print};

#[derive(Subcommand)]
pub enum Command {
    /// Find whatever was edited, removed, moved or added; ends with 0 when all is well, 1 when not, 2 when it cannot be told
    Verify(Verify),
    /// Print the lines of a day
    Show(Show),
}

#[derive(Args)]
#[group(skip)]
pub struct Verify {
    /// One day, such as 2026-11-20; without any, all days that are kept
    #[arg(long, conflicts_with_all = ["from", "to"])]
    day: Option<Day>,
    #[arg(long, value_name = "DAY")]
    from: Option<Day>,
    #[arg(long, value_name = "DAY")]
    to: Option<Day>,
    /// The service's log: each `audit.anchor` in it must be found, so that an older table put back is noticed
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
#[group(skip)]
pub struct Show {
    /// The day, such as 2026-11-20, instead of today
    #[arg(long)]
    day: Option<Day>,
    /// Print the lines as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub async fn run(command: Command) -> Result<ExitCode, Failed> {
    match command {
        Command::Show(options) => show(options).await,
        Command::Verify(options) => match verify(options).await {
            Ok(code) => Ok(code),
            Err(error) => {
                crate::complain(error.as_ref());
                Ok(ExitCode::from(2))
            }
        },
    }
}

async fn verify(options: Verify) -> Result<ExitCode, Failed> {
    let anchors = match &options.anchors {
        Some(file) => anchors(
            &std::fs::read_to_string(file)
                .map_err(|error| format!("{}: {error}", file.display()))?,
        ),
        None => Vec::new(),
    };
    let open = operator::open(options.place).await?;
    let days = match options.day {
        Some(day) => day..=day,
        None => options.from.unwrap_or_else(|| first(&open))..=options.to.unwrap_or_else(today),
    };
    let audit = audit(&open).await?;
    let mut said_at = Instant::now();
    let report = audit.verify(&open.tenant, days.clone(), &anchors, |day, report| {
        if said_at.elapsed() > Duration::from_secs(1) {
            said_at = Instant::now();
            say(&format!("{day}: {} lines so far", report.lines));
        }
    });
    let report = report.await?;
    if let Err(error) = note(&audit, &open, &days).await {
        say(&format!(
            "the log itself could not be told of this: {error}"
        ));
    }
    if options.json {
        print(&json!({"from": days.start(), "to": days.end(), "report": report}).to_string())?;
    } else {
        tell(&report, &days)?;
    }
    Ok(
        match (report.problems.is_empty(), report.unknown_keys.is_empty()) {
            (true, true) => ExitCode::SUCCESS,
            (false, _) => ExitCode::from(1),
            (true, false) => ExitCode::from(2),
        },
    )
}

fn tell(report: &Report, days: &RangeInclusive<Day>) -> Result<(), Failed> {
    for problem in &report.problems {
        print(&harmless(&problem.to_string()))?;
    }
    for (kid, count) in &report.unknown_keys {
        print(&harmless(&format!(
            "{count} lines and heads are signed with the key {kid:?}, which MAS_STATE_KEYS does not have"
        )))?;
    }
    let (from, to) = (days.start(), days.end());
    let several = |count: u64, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let found = match report.problems.len() {
        0 => "nothing was changed".to_owned(),
        problems => several(problems as u64, "problem"),
    };
    let (lines, lanes) = (several(report.lines, "line"), several(report.lanes, "lane"));
    print(&format!("{from} to {to}: {lines} in {lanes}, {found}"))?;
    Ok(())
}

async fn show(options: Show) -> Result<ExitCode, Failed> {
    let open = operator::open(options.place).await?;
    let day = options.day.unwrap_or_else(today);
    let audit = audit(&open).await?;
    // Whoever looks is seen.
    note(&audit, &open, &(day..=day)).await?;
    let mut printed = Ok(());
    let shown = audit.show(&open.tenant, day, |line| {
        let text = if options.json {
            serde_json::to_string(&line).unwrap_or_default()
        } else {
            let entry = line.entry.as_ref().map_or("", |entry| entry.get());
            let mark = if line.good { ' ' } else { '!' };
            format!("{mark} {} {:>4} {entry}", line.writer, line.seq)
        };
        if printed.is_ok() {
            printed = print(&harmless(&text));
        }
    });
    let report = shown.await?;
    printed?;
    if !report.problems.is_empty() {
        say("not all of this is as it was written; `mas audit verify` says more");
    }
    Ok(ExitCode::SUCCESS)
}

async fn audit(open: &Open) -> Result<Audit, Failed> {
    let (settings, seal) = (&open.settings, compose::seal(&open.settings)?);
    let certificates = compose::certificates(settings)?;
    let table = compose::table(settings, certificates.as_ref()).await;
    Ok(compose::audit(settings, &table, &seal))
}

/// Tells the log that it was looked at.
async fn note(audit: &Audit, open: &Open, days: &RangeInclusive<Day>) -> Result<(), store::Error> {
    let entry = Entry::Read {
        at: http::clock(),
        by: By::Command,
        what: format!("{} to {}", days.start(), days.end()),
    };
    audit.append(&open.tenant, &entry, None).await?;
    Ok(())
}

fn today() -> Day {
    Day::of(http::clock())
}

/// The first day that may still be kept.
fn first(open: &Open) -> Day {
    let kept = u64::try_from(open.settings.audit_ttl.as_millis()).unwrap_or(u64::MAX);
    Day::of(Millis(http::clock().0.saturating_sub(kept)))
}

/// The anchors of a log, whether its lines are JSON or text.
fn anchors(log: &str) -> Vec<Anchor> {
    const NAME: &str = "audit.anchor";
    let of_line = |line: &str| {
        let json: Option<Value> = serde_json::from_str(line).ok();
        let known = json.as_ref().and_then(|json| json.get(NAME)?.as_str());
        if let Some(anchor) = known {
            return Anchor::parse(anchor);
        }
        let (_, rest) = line.split_once(NAME)?;
        let rest = rest.trim_start_matches(['"', '\\', ':', '=', ' ']);
        Anchor::parse(rest.split(['"', '\\', ' ']).next()?)
    };
    log.lines().filter_map(of_line).collect()
}
