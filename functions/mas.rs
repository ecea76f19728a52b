//! All functions in one local process, and the commands of the people who run it.

mod compose;
mod dial_config;
mod local;
mod serve;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Print the entry for DIAL Core's configuration
    DialConfig(dial_config::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match arguments.command {
        None => serve::run(arguments.serve).await,
        Some(Command::Serve(options)) => serve::run(options).await,
        Some(Command::Sandbox(options)) => local::run(options).await,
        Some(Command::Chat(options)) => terminal::run(options).await,
        Some(Command::DialConfig(options)) => dial_config::run(&options),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mas: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
