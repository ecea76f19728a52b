//! The entry for DIAL Core's configuration.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use coordinator::domain::access::Way;
use coordinator::domain::agent::Endpoint;
use coordinator::settings::{Env, Settings};
use serde_json::json;

use crate::compose::Failed;

#[derive(Args)]
#[group(skip)]
pub struct Options {
    /// Where DIAL Core reaches the coordinator: the chat function's URL, or this machine's address
    #[arg(long, default_value = "http://host.docker.internal:8055")]
    url: String,
    /// The deployment id to register
    #[arg(long, default_value = "mas-coordinator")]
    name: String,
}

/// Prints JSON that can be merged into `applications` of DIAL Core's configuration.
pub fn run(options: &Options) -> Result<ExitCode, Failed> {
    let mut env = Env::process();
    // The entry depends on the agents alone.
    env.or("DIAL_URL", "http://localhost:8080");
    let settings = Settings::read(&env)?;
    let dependencies: Vec<&str> = settings
        .roster
        .registry
        .iter()
        .flat_map(|card| &card.endpoints)
        .filter_map(|endpoint| match endpoint {
            Endpoint::Deployment(name) => Some(name.as_str()),
            Endpoint::Url(_) => None,
        })
        .collect();
    let origin = options.url.trim_end_matches('/');
    let entry = json!({"applications": {&options.name: {
        "displayName": "MAS Coordinator",
        "description": "One assistant in front of all agents: it finds the right one and shows its work.",
        "endpoint": format!("{origin}/openai/deployments/{}/chat/completions", options.name),
        "inputAttachmentTypes": ["image/png", "image/jpeg", "application/pdf", "text/html", "text/plain", "text/csv"],
        "maxInputAttachments": 10,
        "forwardAuthToken": settings.callers.ways.contains(&Way::Jwt),
        "dependencies": dependencies,
        "features": {
            "configurationEndpoint": format!("{origin}/openai/deployments/{}/configuration", options.name),
            "systemPromptSupported": false,
            "toolsSupported": false,
            "assistantAttachmentsInRequestSupported": true
        }
    }}});
    writeln!(
        std::io::stdout(),
        "{}",
        serde_json::to_string_pretty(&entry)?
    )?;
    Ok(ExitCode::SUCCESS)
}
