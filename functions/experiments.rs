//! What experiments have shown so far, for a person or a program.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Args;
use coordinator::domain::audit::{By, Entry};
use coordinator::domain::day::Day;
use coordinator::experiments::statistics::Interval;
use coordinator::experiments::{ArmReport, Difference, Report};
use coordinator::http;
use coordinator::metrics::Metrics;
use coordinator::settings::Env;
use serde_json::json;

use crate::compose::{self, Failed};
use crate::console::harmless;
use crate::operator::{self, Place, print};

#[derive(Args)]
#[group(skip)]
pub struct Options {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// Forget what was counted of this experiment, so that it begins anew
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    reset: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Reads the table itself: no coordinator need be running.
pub async fn run(options: Options) -> Result<ExitCode, Failed> {
    let open = operator::open(options.place).await?;
    let app = Box::pin(compose::app(&open.settings, Metrics::Off)).await?;
    let experiments = app.coordinator().experiments.clone();
    if let Some(name) = options.reset {
        if !experiments.has(&name) {
            return Err(format!("there is no experiment {name}").into());
        }
        let entry = Entry::Experiment {
            at: http::clock(),
            by: By::Command,
            name: name.clone(),
        };
        let audit = app.privacy().audit;
        audit.append(&open.tenant, &entry, None).await?;
        experiments.reset(&name).await?;
        print(&format!("{name} begins anew"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let reports = experiments.report().await?;
    if options.json {
        print(&format!("{:#}", json!({"experiments": reports})))?;
        return Ok(ExitCode::SUCCESS);
    }
    let colour = std::io::stdout().is_terminal() && Env::process().get("NO_COLOR").is_none();
    let told: Vec<String> = reports.iter().map(|report| told(report, colour)).collect();
    let told = told.join("\n");
    print(match told.trim_end() {
        "" => "there are no experiments",
        told => told,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// One experiment: a line for itself, and some for each arm.
fn told(report: &Report, colour: bool) -> String {
    let Report {
        name, by, state, ..
    } = report;
    let day =
        |word: &str, day: Option<Day>| day.map_or_else(String::new, |day| format!(" {word} {day}"));
    let days = day("from", report.start) + &day("to", report.end);
    let mut out = format!("{}, by {by}, {state}{days}\n", painted(name, "1", colour));
    for arm in &report.arms {
        let state = match &arm.stopped_for {
            Some(why) => painted(&format!("stopped: {}", harmless(why)), "31", colour),
            None => String::new(),
        };
        let head = format!(
            "  {:<16} {:>6.2} %  {:>7} turns  {state}",
            arm.name, arm.share, arm.turns
        );
        let _ = writeln!(out, "{}", head.trim_end());
        if arm.turns > 0 {
            figures(arm, colour, &mut out);
        }
    }
    out
}

fn figures(arm: &ArmReport, colour: bool, out: &mut String) {
    let over = arm.over_control.as_ref();
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    let seconds = |seconds: f64| format!("{seconds:.2} s");
    let dollars = |dollars: f64| format!("${dollars:.5}");
    let mut line = |what: &str,
                    own: Option<Interval>,
                    over: Option<&Difference>,
                    shown: &dyn Fn(f64) -> String| {
        let between = |at: &Interval| {
            format!(
                "{} ({} to {})",
                shown(at.value),
                shown(at.low),
                shown(at.high)
            )
        };
        let own = own
            .as_ref()
            .map_or_else(|| "too few turns to say".into(), between);
        let _ = write!(out, "    {what:<10} {own:<36}");
        if let Some(Difference { interval, says }) = over {
            let style = match *says {
                "more than the control" => "33",
                "less than the control" => "32",
                _ => "2",
            };
            let _ = write!(
                out,
                "  {} {}",
                between(interval),
                painted(says, style, colour)
            );
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    };
    line(
        "failures",
        arm.failures,
        over.and_then(|over| over.failures.as_ref()),
        &percent,
    );
    line(
        "time",
        arm.seconds,
        over.and_then(|over| over.seconds.as_ref()),
        &seconds,
    );
    if arm.dollars.is_some() {
        line(
            "spend",
            arm.dollars,
            over.and_then(|over| over.dollars.as_ref()),
            &dollars,
        );
    }
    let (asked, default) = (arm.clarified, arm.defaulted);
    let _ = writeln!(out, "    asked back {asked}, default agent {default}");
}

fn painted(text: &str, style: &str, colour: bool) -> String {
    if colour {
        format!("\u{1b}[{style}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}
