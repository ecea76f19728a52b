//! The load measurement: whole turns through a release `mas`, against upstreams that answer at once.
//!
//! `cargo build --release -p functions --bin mas -p tests --bin load && target/release/load`
//!
//! The model, the agent and the table run in this process, so that the time and the memory of `mas` are its own.

#[path = "load/client.rs"]
mod client;
#[path = "load/measure.rs"]
mod measure;
#[path = "load/process.rs"]
mod process;
#[path = "load/report.rs"]
mod report;
#[path = "load/upstreams.rs"]
mod upstreams;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::time::timeout;

use measure::Generator;
use process::Mas;
use report::Report;
use upstreams::Upstreams;

/// No run takes longer.
const LONGEST: Duration = Duration::from_mins(10);

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Measures what the coordinator adds to a turn, how many turns a core carries, and how much memory it takes.
#[derive(Parser)]
#[command(name = "load")]
struct Options {
    /// The program to measure; by default the one beside this one
    #[arg(long)]
    mas: Option<PathBuf>,
    /// Turns measured one after another
    #[arg(long, default_value_t = 2000)]
    turns: usize,
    /// Turns before anything is measured
    #[arg(long, default_value_t = 200)]
    warm_up: usize,
    /// Turns measured at each concurrency
    #[arg(long, default_value_t = 5000)]
    loop_turns: usize,
    /// Concurrencies of the closed loops
    #[arg(long, value_delimiter = ',', default_value = "8,32")]
    concurrency: Vec<usize>,
    /// Turns held in flight while the memory is read
    #[arg(long, default_value_t = 200)]
    held: usize,
    /// Worker threads of the program; by default one for each core
    #[arg(long)]
    threads: Option<usize>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let report = match timeout(LONGEST, run(&options)).await {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => {
            eprintln!("load: {error}");
            return ExitCode::FAILURE;
        }
        Err(_) => {
            eprintln!("load: not done after {LONGEST:?}");
            return ExitCode::FAILURE;
        }
    };
    let text = if options.json {
        format!("{:#}\n", report.json())
    } else {
        report.table()
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    if written.is_ok() && report.errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn run(options: &Options) -> Result<Report, Failed> {
    let program = match &options.mas {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("mas"),
    };
    let upstreams = Upstreams::start().await?;
    let mas = Mas::start(&program, &upstreams.environment()?, options.threads)?;
    let mut generator = Generator::new(&upstreams, &mas);
    let mut report = Report {
        at_rest_kib: mas.memory_kib("VmRSS")?,
        ..Report::default()
    };
    generator.warm_up(options.warm_up).await?;
    report.lone = generator.one_by_one(options.turns).await?;
    for concurrency in &options.concurrency {
        let closed = generator
            .closed_loop(*concurrency, options.loop_turns)
            .await?;
        report.loops.push(closed);
    }
    report.held = generator.held(options.held).await?;
    report.peak_kib = mas.memory_kib("VmHWM")?;
    report.errors = generator.errors;
    report.said = mas.said();
    Ok(report)
}
