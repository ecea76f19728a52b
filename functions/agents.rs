//! The commands that show and change the registry in the table: running coordinators see it when they look again.

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use coordinator::domain::agent::Endpoint;
use coordinator::domain::audit::By;
use coordinator::http::{self, App};
use coordinator::metrics::Metrics;
use coordinator::registry::{Edit, difference};
use coordinator::store::Target;
use serde_json::{Value, json};

use crate::ask;
use crate::compose::{self, Failed};
use crate::console::harmless;
use crate::operator::{self, Open, Place, print};

#[derive(Subcommand)]
pub enum Command {
    /// Every agent as it is now: the document with what the table has over it
    List(List),
    /// One agent's entry as the table has it
    Get(Named),
    /// Add or change an agent by the JSON of its entry
    Put(Put),
    /// Add a request that is for an agent to the examples of one of its capabilities, so that it is found for others like it
    Example(Example),
    /// Remove an agent, also one of the document
    Remove(Changed),
    /// Who changed an agent when, and what
    History(Named),
    /// Ask an agent alone, without routing and summary, and tell whether it keeps to its protocol
    Ask(ask::Options),
    /// Put a whole document into the table, for MAS_AGENTS=table:
    Publish(Publish),
}

#[derive(Args)]
#[group(skip)]
pub struct List {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
#[group(skip)]
pub struct Named {
    name: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
#[group(skip)]
pub struct Changed {
    name: String,
    /// Only if the table has this version of it; 0 where it has none
    #[arg(long, value_name = "VERSION")]
    seen: Option<u64>,
    /// Print the new version as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
#[group(skip)]
pub struct Put {
    #[command(flatten)]
    changed: Changed,
    /// A file of JSON; `-` reads standard input
    #[arg(long, default_value = "-")]
    file: String,
}

#[derive(Args)]
#[group(skip)]
pub struct Example {
    name: String,
    capability: String,
    /// The request, in people's own words but without anything of a person
    text: String,
    /// Print the new version as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
#[group(skip)]
pub struct Publish {
    /// A file of YAML; `-` reads standard input
    file: String,
    /// Print the new version as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub async fn run(command: Command) -> Result<ExitCode, Failed> {
    match command {
        Command::List(options) => list(options).await?,
        Command::Get(options) => get(options).await?,
        Command::Put(Put { changed, file }) => {
            let written = Edit::entry(&changed.name, read(&file)?.as_bytes())?;
            change(
                changed.place,
                Target::Agent(&changed.name),
                Some(written),
                changed.seen,
                changed.json,
            )
            .await?;
        }
        Command::Remove(changed) => {
            change(
                changed.place,
                Target::Agent(&changed.name),
                None,
                changed.seen,
                changed.json,
            )
            .await?;
        }
        Command::Example(options) => example(options).await?,
        Command::History(options) => history(options).await?,
        Command::Ask(options) => return ask::run(options).await,
        Command::Publish(options) => {
            change(
                options.place,
                Target::Document,
                Some(read(&options.file)?),
                None,
                options.json,
            )
            .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn app(place: Place) -> Result<(Open, Arc<App>), Failed> {
    let open = operator::open(place).await?;
    let app = Box::pin(compose::app(&open.settings, Metrics::Off)).await?;
    Ok((open, app))
}

async fn list(options: List) -> Result<(), Failed> {
    let (_open, app) = app(options.place).await?;
    let (coordinator, entries) = (app.coordinator(), app.live.directory().entries());
    let entries = entries.all().await?;
    let registry = &coordinator.registry;
    let mut agents = Vec::new();
    for card in registry.iter() {
        let entry = entries.iter().find(|entry| entry.name == card.id.as_str());
        let places: Vec<String> = card.endpoints.iter().map(Endpoint::place).collect();
        agents.push(json!({
            "name": card.id, "protocol": card.protocol, "endpoints": places, "effect": card.effect,
            "source": if entry.is_some() { "table" } else { "document" },
            "version": entry.map_or(0, |entry| entry.version),
        }));
    }
    if options.json {
        return Ok(print(
            &json!({"version": registry.version(), "agents": agents}).to_string(),
        )?);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for (agent, card) in agents.iter().zip(registry.iter()) {
        let places: Vec<String> = card.endpoints.iter().map(Endpoint::place).collect();
        print(&harmless(&format!(
            "{:<20} {:<9} {:<13} {}",
            card.id.as_str(),
            text(&agent["source"]),
            text(&agent["protocol"]),
            places.join(", ")
        )))?;
    }
    Ok(print(&format!("version {}", registry.version()))?)
}

/// The version and the text of an agent's entry in the table.
async fn entry(app: &App, name: &str) -> Result<(u64, String), Failed> {
    let entry = app.live.directory().entries().get(name).await?;
    let entry = entry.and_then(|entry| Some((entry.version, entry.written?)));
    Ok(entry.ok_or_else(|| format!("the table has no entry of {name}"))?)
}

async fn get(options: Named) -> Result<(), Failed> {
    let (_open, app) = app(options.place).await?;
    let (entry, written) = entry(&app, &options.name).await?;
    let value: Value = serde_json::from_str(&written)?;
    Ok(print(&if options.json {
        json!({"version": entry, "entry": value}).to_string()
    } else {
        harmless(&format!("{value:#}"))
    })?)
}

async fn history(options: Named) -> Result<(), Failed> {
    let (_open, app) = app(options.place).await?;
    let (entries, now) = (app.live.directory().entries(), http::clock().seconds());
    let all = entries.history(&options.name, None, usize::MAX, now);
    for change in all.await?.0 {
        let diff = difference(change.before.as_deref(), change.after.as_deref());
        print(&if options.json {
            json!({"version": change.version, "at": change.at, "by": change.by, "diff": diff})
                .to_string()
        } else {
            harmless(&format!("{} by {}: {diff}", change.version, change.by))
        })?;
    }
    Ok(())
}

async fn example(options: Example) -> Result<(), Failed> {
    let opened = app(options.place).await?;
    let (seen, written) = entry(&opened.1, &options.name).await?;
    let written = Edit::with_example(&written, &options.capability, &options.text)?;
    let what = Target::Agent(&options.name);
    write(opened, what, Some(written), Some(seen), options.json).await
}

async fn change(
    place: Place,
    what: Target<'_>,
    written: Option<String>,
    seen: Option<u64>,
    json: bool,
) -> Result<(), Failed> {
    write(app(place).await?, what, written, seen, json).await
}

async fn write(
    (open, app): (Open, Arc<App>),
    what: Target<'_>,
    written: Option<String>,
    seen: Option<u64>,
    json: bool,
) -> Result<(), Failed> {
    let edit = Edit {
        what,
        written,
        seen,
        at: http::clock(),
        by: By::Command,
        tenant: &open.tenant,
        owner: None,
    };
    let log = app.privacy().audit;
    let version = Box::pin(app.live.edit(edit, &log)).await?;
    Ok(print(&if json {
        json!({ "version": version }).to_string()
    } else {
        format!("version {version}")
    })?)
}

fn read(file: &str) -> Result<String, Failed> {
    if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}").into())
}
