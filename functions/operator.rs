//! Where the operator's commands find the table: what the environment names, or the folder of a local run.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use coordinator::settings::{Env, Settings};

use crate::compose::{self, Failed};
use crate::local::{self, Local};

#[derive(Args)]
#[group(skip)]
pub struct Place {
    /// Whose data, instead of MAS_TENANT
    #[arg(long)]
    tenant: Option<String>,
    /// Where `mas` keeps its table and key; not used when MAS_TABLE or AWS_ENDPOINT_URL_DYNAMODB names a table
    #[arg(long, value_name = "FOLDER", default_value = ".mas")]
    data: PathBuf,
}

/// The settings, and what must run as long as they are used.
pub struct Open {
    pub settings: Settings,
    pub tenant: String,
    _local: Option<Local>,
}

/// Finds the table. One that is not there is not made.
pub async fn open(place: Place) -> Result<Open, Failed> {
    let mut env = Env::process();
    let named = ["MAS_TABLE", "AWS_ENDPOINT_URL_DYNAMODB"];
    let local = if named.iter().any(|name| env.get(name).is_some()) {
        if env.wants_sandbox() {
            // The models are not asked anything.
            env.or("DIAL_URL", "http://localhost:8080");
        }
        None
    } else {
        let file = place.data.join("table.db");
        if !file.exists() {
            let (file, [table, endpoint]) = (file.display(), named);
            return Err(
                format!("there is no {file}; {table} or {endpoint} names another table").into(),
            );
        }
        let options = local::Options {
            memory: false,
            data: place.data,
            pace: 15,
        };
        Some(local::start(&mut env, &options).await?)
    };
    let settings = compose::settings(env.clone()).await?;
    let tenant = (place.tenant).unwrap_or_else(|| settings.callers.tenant.to_string());
    Ok(Open {
        settings,
        tenant,
        _local: local,
    })
}

/// Writes a line of what was asked for.
pub fn print(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
