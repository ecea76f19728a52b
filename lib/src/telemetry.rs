//! The log: text on a terminal, JSON lines on Lambda, always to standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// Starts logging. Called once, first thing; a second call changes nothing. Fails with a sentence on a wrong filter.
pub fn start(filter: &str, json: bool, colour: bool) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| format!("MAS_LOG is {filter:?}, expected a level or a filter: {error}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_timer(SystemTime);
    let started = if json {
        log.json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init()
    } else {
        log.with_ansi(colour).with_target(false).try_init()
    };
    drop(started);
    Ok(())
}
