//! All functions on one TCP port.

use std::io::IsTerminal as _;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use axum::serve::Listener;
use clap::Args;
use coordinator::domain::access::Way;
use coordinator::domain::agent::Endpoint;
use coordinator::settings::{Env, Settings};
use coordinator::telemetry::{self, Style};
use tokio::net::TcpListener;

use crate::collector;
use crate::compose::{self, Failed};
use crate::console::say;
use crate::local::{self, Local};
use crate::workers::Workers;

#[derive(Args)]
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    local: local::Options,
    /// Port to listen on, instead of MAS_PORT or 8055; 0 takes a free one
    #[arg(long)]
    port: Option<u16>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Threads that serve, by default one for each core
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

/// Serves until Ctrl-C or SIGTERM.
pub async fn run(options: Options) -> Result<ExitCode, Failed> {
    let mut env = Env::process();
    let local = local::start(&mut env, &options.local).await?;
    let settings = compose::settings(env.clone()).await?;
    local::create_table(&settings).await?;
    let exporter = collector::exporter(&settings)?;
    let style = Style {
        colour: std::io::stderr().is_terminal(),
        share: settings.log_sample,
        ..Style::new(&settings.log, settings.log_json)
    };
    telemetry::start(style, exporter.as_ref())?;
    let threads = match options.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?,
    };
    let mut workers = Workers::start(threads.get(), &settings).await?;
    let port = options.port.unwrap_or(settings.port);
    let listener = TcpListener::bind((options.host.as_str(), port))
        .await
        .map_err(|error| format!("cannot listen on {}:{port}: {error}", options.host))?;
    let address = listener.local_addr()?;
    say_hello(&settings, &local, address.port());
    let patience = settings.times.turn;
    accept(listener, &mut workers, patience, stopped()).await;
    tokio::select! {
        () = workers.stop() => {}
        () = stopped_again(patience) => {}
    }
    if let Some(exporter) = exporter {
        exporter.shutdown();
    }
    drop(local);
    Ok(ExitCode::SUCCESS)
}

/// Hands connections to the workers until it is time to stop.
async fn accept(
    mut listener: TcpListener,
    workers: &mut Workers,
    patience: Duration,
    stopped: impl Future<Output = ()>,
) {
    let mut stopped = std::pin::pin!(stopped);
    let mut reloads = Reloads::new();
    loop {
        let (connection, from) = tokio::select! {
            // It waits where there are no more handles for connections, and goes on when there are.
            accepted = Listener::accept(&mut listener) => accepted,
            () = &mut stopped => return,
            () = reloads.next() => {
                workers.stir();
                continue;
            }
        };
        // Otherwise each first chunk of a kept-alive connection waits 40 ms for the peer's delayed acknowledgement.
        let _ = connection.set_nodelay(true);
        // A peer that takes nothing for a whole turn is given up: its turn waits for it to read.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&connection).set_tcp_user_timeout(Some(patience));
        workers.take(connection, from);
    }
}

/// SIGHUP: the agents are to be looked at now.
struct Reloads {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Reloads {
    #[cfg(unix)]
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self {
            signal: signal(SignalKind::hangup()).ok(),
        }
    }

    #[cfg(not(unix))]
    fn new() -> Self {
        Self {}
    }

    /// The next one; where there is none, never.
    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// The end of patience with turns that still run: another signal, or a whole turn's time.
async fn stopped_again(patience: Duration) {
    tokio::select! {
        () = stopped() => {}
        () = tokio::time::sleep(patience) => {}
    }
}

async fn stopped() {
    #[cfg(unix)]
    if let Ok(mut terminate) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// What runs where, and a line to try.
fn say_hello(settings: &Settings, local: &Local, port: u16) {
    say(&format!(
        "MAS Coordinator {}: http://localhost:{port}",
        env!("CARGO_PKG_VERSION")
    ));
    let models = settings
        .openai_base_url
        .as_deref()
        .or(settings.dial_url.as_deref());
    say(&format!(
        "  models  {} ({}, {})",
        models.unwrap_or_default(),
        settings.routing_model,
        settings.synthesis_model
    ));
    for card in settings.roster.registry.iter() {
        for endpoint in &card.endpoints {
            match endpoint {
                Endpoint::Deployment(name) => {
                    say(&format!(
                        "  {:<7} deployment {name} of {}",
                        card.id.as_str(),
                        settings.dial_url.as_deref().unwrap_or_default()
                    ));
                }
                Endpoint::Url(url) => say(&format!("  {:<7} {url}", card.id.as_str())),
            }
        }
    }
    match &local.table {
        Some(place) => say(&format!("  table   {} (embedded, {place})", settings.table)),
        None => say(&format!(
            "  table   {} at {}",
            settings.table,
            settings.dynamodb_endpoint.as_deref().unwrap_or("AWS")
        )),
    }
    if local.sandbox.is_some() {
        say(
            "  sandbox: models and agents are stand-ins; DIAL_URL or OPENAI_BASE_URL connects real ones",
        );
    }
    if settings.callers.ways.contains(&Way::None) {
        say(
            "  callers are not verified (MAS_AUTH=none): everybody is trusted and shares one memory",
        );
    }
    if local.made_key {
        say(
            "  MAS_STATE_KEYS was not set: a key was made here; set it where several processes share conversations",
        );
    }
    say("\nTry it:\n  cargo run -- chat \"Create user Alice, then show all users\"");
    say(&format!(
        "  curl -N http://localhost:{port}/openai/deployments/mas-coordinator/chat/completions \\\n    \
         -H 'Content-Type: application/json' -H 'Api-Key: try-it' \\\n    \
         -d '{{\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Calculate sin(5000)\"}}]}}'\n"
    ));
}
