//! The commands for people's data: handed out, checked, erased.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use coordinator::domain::audit::By;
use coordinator::domain::ids::{Owner, TurnId};
use coordinator::metrics::Metrics;
use coordinator::privacy::{self, Refused};

use crate::compose::{self, Failed};
use crate::console::{harmless, say};
use crate::operator::{self, Place, print};

#[derive(Args)]
#[group(skip)]
pub struct Export {
    /// The person's id, as the callers' credentials have it
    #[arg(long, required_unless_present = "verify")]
    owner: Option<String>,
    /// Check a bundle instead: ends with 0 when it is as it was exported, 1 when not, 2 when it cannot be told
    #[arg(long, value_name = "FILE", conflicts_with = "owner")]
    verify: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
#[group(skip)]
pub struct Erase {
    /// The person's id, as the callers' credentials have it
    #[arg(long)]
    owner: String,
    /// Print what was erased as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Prints the bundle, or checks one.
pub async fn export(options: Export) -> Result<ExitCode, Failed> {
    let open = operator::open(options.place).await?;
    if let Some(file) = options.verify {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let keys = compose::seal(&open.settings)?.keyring("export");
        return Ok(match privacy::verify(&keys, &text) {
            Ok(manifest) => {
                let counts = serde_json::to_string(&manifest.counts)?;
                let (owner, tenant) = (&manifest.owner, &manifest.tenant);
                print(&harmless(&format!(
                    "as exported: {owner} of {tenant}, {counts}"
                )))?;
                ExitCode::SUCCESS
            }
            Err(refused) => {
                say(&harmless(&format!("{}: {refused}", file.display())));
                ExitCode::from(if matches!(refused, Refused::UnknownKey(_)) {
                    2
                } else {
                    1
                })
            }
        });
    }
    let owner = Owner::new(&open.tenant, &options.owner.unwrap_or_default());
    let app = compose::app(&open.settings, Metrics::Off).await?;
    let bundle = app.privacy().export(&owner, By::Command).await?;
    // The last line has its end already.
    print(bundle.trim_end_matches('\n'))?;
    Ok(ExitCode::SUCCESS)
}

/// Erases, and says what.
pub async fn erase(options: Erase) -> Result<ExitCode, Failed> {
    let open = operator::open(options.place).await?;
    let owner = Owner::new(&open.tenant, &options.owner);
    let app = compose::app(&open.settings, Metrics::Off).await?;
    let erased = app
        .privacy()
        .erase(&owner, TurnId::now(), By::Command)
        .await?;
    if options.json {
        print(&serde_json::to_string(&erased)?)?;
    } else {
        for (kind, count) in &erased.counts {
            print(&format!("{kind}: {count}"))?;
        }
    }
    if erased.sessions_left == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let left = erased.sessions_left;
    say(&format!(
        "{left} conversations are still with their agents; erasing again tries them again"
    ));
    Ok(ExitCode::FAILURE)
}
