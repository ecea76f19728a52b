//! What a machine without AWS and DIAL needs: an embedded table, and stand-ins for the model and the agents.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use coordinator::settings::{Env, Settings};
use coordinator::store;
use coordinator::store::envelope::Seal;
use coordinator::store::keyring::fresh_key;
use dynoxide::Database;
use sandbox::Sandbox;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::compose::Failed;
use crate::console::say;

#[derive(Args)]
#[group(skip)]
pub struct Options {
    /// Forget everything at the end instead of keeping it in a file
    #[arg(long)]
    pub memory: bool,
    /// Where the table and the state key are kept
    #[arg(long, value_name = "FOLDER", default_value = ".mas")]
    pub data: PathBuf,
    /// How long the stand-ins wait between two pieces of an answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 15)]
    pub pace: u64,
}

/// What is running beside the coordinator. Dropping it stops it.
pub struct Local {
    pub sandbox: Option<Sandbox>,
    /// Where the table is: a folder, or none for memory.
    pub table: Option<String>,
    /// True when a state key was made here.
    pub made_key: bool,
    server: Option<JoinHandle<()>>,
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

/// Starts what the environment leaves open, and puts its addresses into the environment.
pub async fn start(env: &mut Env, options: &Options) -> Result<Local, Failed> {
    let folder = (!options.memory).then_some(options.data.as_path());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let mut local = Local {
        sandbox: None,
        table: None,
        made_key: false,
        server: None,
    };
    // On this machine, agents may be on this machine.
    env.or("MAS_PRIVATE_NETWORKS", "loopback");
    if env.wants_sandbox() {
        let sandbox = Sandbox::start_with(sandbox::Options {
            pace: Duration::from_millis(options.pace),
            ..sandbox::Options::default()
        })
        .await?;
        env.or("OPENAI_BASE_URL", &sandbox.model_url());
        env.or("GPA_AGENT_ENDPOINT", &sandbox.gpa_url());
        env.or("GPA_API_KEY", "sandbox");
        env.or("UMS_AGENT_ENDPOINT", &sandbox.ums_url());
        env.or("MAS_AUTH", "none");
        local.sandbox = Some(sandbox);
    }
    if env.get("AWS_ENDPOINT_URL_DYNAMODB").is_none() {
        let (endpoint, server) = table(folder).await?;
        env.or("AWS_ENDPOINT_URL_DYNAMODB", &endpoint);
        local.server = Some(server);
        local.table = Some(folder.map_or_else(
            || "in memory".into(),
            |folder| format!("in {}", folder.display()),
        ));
    }
    if env.get("MAS_STATE_KEYS").is_none() {
        env.or("MAS_STATE_KEYS", &state_key(folder)?);
        local.made_key = true;
    }
    Ok(local)
}

/// Creates the table where it lives on this machine: an emulator starts empty.
pub async fn create_table(settings: &Settings) -> Result<(), Failed> {
    if let Some(endpoint) = settings
        .dynamodb_endpoint
        .as_deref()
        .filter(|endpoint| store::is_local(endpoint))
    {
        store::create(&store::connect(&settings.table, Some(endpoint)).await).await?;
    }
    Ok(())
}

/// The embedded `DynamoDB`, on a free loopback port.
#[expect(
    clippy::disallowed_methods,
    reason = "the emulator is a server of its own; it ends with Local"
)]
async fn table(folder: Option<&Path>) -> Result<(String, JoinHandle<()>), Failed> {
    let database = match folder {
        Some(folder) => {
            let file = folder.join("table.db");
            Database::new(&file.to_string_lossy())
                .map_err(|error| format!("{}: {error}", file.display()))?
        }
        None => Database::memory().map_err(|error| error.to_string())?,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let server = tokio::spawn(async move {
        let _ =
            dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()).await;
    });
    Ok((endpoint, server))
}

/// A key for message states: kept beside the table, so that conversations go on after a restart.
fn state_key(folder: Option<&Path>) -> Result<String, Failed> {
    let Some(folder) = folder else {
        return Ok(fresh_key("local")?);
    };
    let file = folder.join("state.key");
    match std::fs::read_to_string(&file) {
        Ok(key) => {
            let key = key.trim();
            return match Seal::parse(key) {
                Ok(_) => Ok(key.to_owned()),
                Err(problem) => Err(format!(
                    "{}: {problem}; without the file a new key is made",
                    file.display()
                )
                .into()),
            };
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{}: {error}", file.display()).into()),
    }
    let key = fresh_key("local")?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = options
        .open(&file)
        .map_err(|error| format!("{}: {error}", file.display()))?;
    writeln!(out, "{key}")?;
    Ok(key)
}

/// The command: stand-ins and table for functions that run elsewhere, such as under `cargo lambda watch`.
pub async fn run(options: Options) -> Result<ExitCode, Failed> {
    let mut env = Env::default();
    let local = start(&mut env, &options).await?;
    create_table(&Settings::read(&env)?).await?;
    let mut out = std::io::stdout().lock();
    for name in coordinator::settings::VARIABLES {
        match env.get(name) {
            // The parser of `cargo lambda watch --env-file` takes no bare `=` in a value, and base 64 ends with one.
            Some(value) if value.contains('=') => writeln!(out, "{name}='{value}'")?,
            Some(value) => writeln!(out, "{name}={value}")?,
            None => {}
        }
    }
    out.flush()?;
    drop(out);
    say("The sandbox runs until Ctrl-C. The lines above are the environment that points to it.");
    tokio::signal::ctrl_c().await?;
    drop(local);
    Ok(ExitCode::SUCCESS)
}
