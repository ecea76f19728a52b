//! The own preferences at a running coordinator: shown, set, forgotten.

use std::process::ExitCode;

use axum::http::Method;
use clap::Args;
use serde_json::Value;

use crate::compose::Failed;
use crate::console::harmless;
use crate::operator::print;
use crate::remote::Remote;

#[derive(Args)]
#[group(skip)]
pub struct Options {
    /// Set all of them, such as '{"language": "de", "stages": "summary"}'; what is left out is as the service has it
    #[arg(long, value_name = "JSON", conflicts_with = "forget")]
    set: Option<String>,
    /// Forget all of them
    #[arg(long)]
    forget: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Prints them as they are then.
pub async fn run(options: Options) -> Result<ExitCode, Failed> {
    let client = options.remote.client()?;
    let (method, body) = match (&options.set, options.forget) {
        (Some(json), _) => (Method::PUT, serde_json::from_str(json)?),
        (None, true) => (Method::DELETE, Value::Null),
        (None, false) => (Method::GET, Value::Null),
    };
    let mut call = options.remote.post("/v1/preferences", &body)?;
    if method != Method::PUT {
        call.body = None;
    }
    call.method = method;
    let answer = client.body(call).await;
    let answer = answer.map_err(|error| options.remote.failed(error))?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let preferences = answer.get("preferences").unwrap_or(&Value::Null);
    print(&harmless(&format!("{preferences:#}")))?;
    Ok(ExitCode::SUCCESS)
}
