//! The measurements of whole programs: what `mas` adds to a turn, what it carries, and how soon it and the functions start.
//!
//! `cargo build --release -p functions --bin mas --bin chat -p tests --bin load && target/release/load all`
//!
//! `docs/performance.md` says what each figure means. The model, the agent and the table run in this process, so that the
//! time and the memory of what is measured are its own.

#[path = "load/answers.rs"]
mod answers;
#[path = "load/baseline.rs"]
mod baseline;
#[path = "load/client.rs"]
mod client;
#[path = "load/coldstart.rs"]
mod coldstart;
#[path = "load/guesses.rs"]
mod guesses;
#[path = "load/law.rs"]
mod law;
#[path = "load/ledger.rs"]
mod ledger;
#[path = "load/lone.rs"]
mod lone;
#[path = "load/loops.rs"]
mod loops;
#[path = "load/mean.rs"]
mod mean;
#[path = "load/open.rs"]
mod open;
#[path = "load/process.rs"]
mod process;
#[path = "load/repeats.rs"]
mod repeats;
#[path = "load/round.rs"]
mod round;
#[path = "load/routing.rs"]
mod routing;
#[path = "load/scene.rs"]
mod scene;
#[path = "load/script.rs"]
mod script;
#[path = "load/section.rs"]
mod section;
#[path = "load/sizes.rs"]
mod sizes;
#[path = "load/spread.rs"]
mod spread;
#[path = "load/starts.rs"]
mod starts;
#[path = "load/table.rs"]
mod table;
#[path = "load/turn.rs"]
mod turn;
#[path = "load/turns.rs"]
mod turns;
#[path = "load/upstreams.rs"]
mod upstreams;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use tokio::time::timeout;

use baseline::Baseline;
use section::{Section, joined};

/// No run takes longer.
const LONGEST: Duration = Duration::from_mins(15);
/// Starts that are enough for their memory.
const A_FEW: usize = 3;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Measures what the coordinator adds to a turn, how many turns a core carries, how much memory it takes, how soon it starts.
#[derive(Parser)]
#[command(name = "load", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    turns: With<turns::How>,
}

#[derive(Subcommand)]
enum Command {
    /// Turns one by one, closed loops, memory (what happens without a command); upstreams answer at once
    Turns(With<turns::How>),
    /// Turns at given rates against upstreams that take their time
    Open(With<open::How>),
    /// What decisions used again and agents begun on a guess bring
    Routing(With<routing::How>),
    /// How soon `mas` is ready
    Starts(With<Starts>),
    /// How soon the chat function asks for its first event, and its first turns
    Coldstart(With<Starts>),
    /// Sizes, and memory after a start: cheap enough for every change
    Check(With<Check>),
    /// Everything
    All(Box<With<All>>),
}

/// What one measurement is told beside what all are.
#[derive(Args)]
#[group(skip)]
struct With<T: Args> {
    #[command(flatten)]
    scene: scene::Options,
    #[command(flatten)]
    how: T,
}

#[derive(Args)]
#[group(skip)]
struct Starts {
    /// How often each program is started
    #[arg(long, default_value_t = 30)]
    starts: usize,
}

#[derive(Args)]
#[group(skip)]
struct Check {
    /// Beginnings of the names of the figures to look at; those of the baseline must then be there
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

#[derive(Args)]
#[group(skip)]
struct All {
    #[command(flatten)]
    turns: turns::How,
    #[command(flatten)]
    open: open::How,
    #[command(flatten)]
    starts: Starts,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let command = arguments.command;
    let command = command.unwrap_or(Command::Turns(arguments.turns));
    let measured = timeout(LONGEST, run(&command)).await;
    let measured = measured.unwrap_or_else(|_| Err(format!("not done after {LONGEST:?}").into()));
    match measured.and_then(|section| tell(section, &command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: &Command) -> Result<Section, Failed> {
    match command {
        Command::Turns(with) => turns::run(&with.scene, &with.how).await,
        Command::Open(with) => open::run(&with.scene, &with.how).await,
        Command::Routing(with) => routing::run(&with.scene, &with.how).await,
        Command::Starts(with) => starts::run(&with.scene, with.how.starts).await,
        Command::Coldstart(with) => coldstart::run(&with.scene, with.how.starts).await,
        Command::Check(with) => check(&with.scene, &with.how).await,
        Command::All(with) => {
            let (scene, how) = (&with.scene, &with.how);
            Ok(joined(vec![
                starts::run(scene, how.starts.starts).await?,
                coldstart::run(scene, how.starts.starts).await?,
                turns::run(scene, &how.turns).await?,
                open::run(scene, &how.open).await?,
                sizes::measure(scene, |_| true)?,
            ]))
        }
    }
}

/// Starts of the programs that were built, and the sizes of all that was.
async fn check(options: &scene::Options, how: &Check) -> Result<Section, Failed> {
    let wanted =
        |name: &str| how.only.is_empty() || how.only.iter().any(|part| name.starts_with(part));
    let mut whole = joined(vec![
        sizes::measure(options, wanted)?,
        starts::run(options, A_FEW).await?,
        coldstart::run(options, A_FEW).await?,
    ]);
    whole.figures.retain(|name, _| wanted(name));
    Ok(whole)
}

/// Prints everything, compared with the baseline if there is one. False if anything went wrong or became worse.
fn tell(section: Section, command: &Command) -> Result<bool, Failed> {
    let options = command.scene();
    let mut section = section.closed();
    let mut is_well = section.errors.is_empty();
    if let Some(file) = &options.baseline {
        let text = std::fs::read_to_string(file).unwrap_or_else(|_| "{}".into());
        let mut baseline = Baseline::read(&text)?;
        if options.write_baseline {
            baseline.renew(&section.figures);
            std::fs::write(file, baseline.text())?;
        } else {
            let verdict = baseline.compare(&section.figures, command.required());
            is_well &= verdict.worse.is_empty();
            section.text += &verdict.text();
            section.put("worse_than_the_baseline", verdict.worse.into());
        }
    }
    let text = if options.json {
        format!("{:#}\n", Value::Object(section.json))
    } else {
        section.text
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(is_well)
}

impl Command {
    fn scene(&self) -> &scene::Options {
        match self {
            Self::Turns(with) => &with.scene,
            Self::Open(with) => &with.scene,
            Self::Routing(with) => &with.scene,
            Self::Starts(with) | Self::Coldstart(with) => &with.scene,
            Self::Check(with) => &with.scene,
            Self::All(with) => &with.scene,
        }
    }

    /// Beginnings of the names of figures that must have been measured.
    fn required(&self) -> &[String] {
        match self {
            Self::Check(with) => &with.how.only,
            _ => &[],
        }
    }
}
