//! All functions in one local process, and the commands of the people who run it.

mod agents;
mod ask;
mod audit;
mod collector;
mod compose;
mod console;
mod dial_config;
mod experiments;
mod local;
mod operator;
mod person;
mod preferences;
mod remote;
mod route;
mod serve;
mod terminal;
mod validate;
mod workers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use console::say;

/// One DIAL application in front of many agents.
#[derive(Parser)]
#[command(name = "mas", version, about, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Serve all functions on one port (what happens without a command)
    Serve(serve::Options),
    /// Start the stand-ins and the embedded table alone, and print the environment that points to them
    Sandbox(local::Options),
    /// Talk to a running coordinator from the terminal
    Chat(terminal::Options),
    /// Show who would answer a message and why, without asking any agent
    Route(route::Options),
    /// Check a configuration document and run its tests
    Validate(validate::Options),
    /// Print the JSON Schema of configuration documents, for editors
    Schema,
    /// Show, set or forget the own preferences
    Preferences(preferences::Options),
    /// Print the entry for DIAL Core's configuration
    DialConfig(dial_config::Options),
    /// Show and change the registry of agents
    #[command(subcommand)]
    Agents(agents::Command),
    /// Show what experiments have shown so far, or begin one anew
    Experiments(experiments::Options),
    /// Read and check the audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// Hand out everything that is kept of a person as one signed bundle, or check such a bundle
    Export(person::Export),
    /// Erase everything that is kept of a person, here and at the agents
    Erase(person::Erase),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match arguments.command {
        None => serve::run(arguments.serve).await,
        Some(Command::Serve(options)) => serve::run(options).await,
        Some(Command::Sandbox(options)) => local::run(options).await,
        Some(Command::Chat(options)) => terminal::run(options).await,
        Some(Command::Route(options)) => route::run(options).await,
        Some(Command::Validate(options)) => validate::run(&options),
        Some(Command::Schema) => validate::schema(),
        Some(Command::Preferences(options)) => preferences::run(options).await,
        Some(Command::DialConfig(options)) => dial_config::run(&options),
        Some(Command::Agents(command)) => Box::pin(agents::run(command)).await,
        Some(Command::Experiments(options)) => Box::pin(experiments::run(options)).await,
        Some(Command::Audit(command)) => audit::run(command).await,
        Some(Command::Export(options)) => person::export(options).await,
        Some(Command::Erase(options)) => person::erase(options).await,
    };
    match ended {
        Ok(code) => code,
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

/// Says what went wrong, down to its cause.
fn complain(error: &(dyn std::error::Error + 'static)) {
    say(&format!("mas: {error}"));
    let mut cause = error.source();
    while let Some(error) = cause {
        say(&format!("  because {error}"));
        cause = error.source();
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
