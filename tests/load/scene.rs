//! What a measurement runs in: the upstreams, the table, the programs that are pointed to them, and their processor time.

use std::ops::Sub;
use std::path::PathBuf;

use clap::Args;
use coordinator::store::keyring::fresh_key;
use serde_json::{Value, json};

use crate::Failed;
use crate::process::{Mas, own_cpu};
use crate::table::Table;
use crate::turn::secrets;
use crate::upstreams::{AGENT, AGENT_PATH, Upstreams};

/// What all measurements can be told.
#[derive(Args, Clone)]
#[group(skip)]
pub struct Options {
    /// The folder of the programs to measure; by default the one of this program
    #[arg(long, value_name = "FOLDER")]
    pub programs: Option<PathBuf>,
    /// Owners whom the turns belong to; 1 makes `mas` trust everybody, and all turns queue for one account
    #[arg(long, default_value_t = 64)]
    pub owners: usize,
    /// Models and the agent by full URLs instead of as deployments of DIAL Core
    #[arg(long)]
    pub without_core: bool,
    /// Worker threads of the program; by default one for each core
    #[arg(long)]
    pub threads: Option<usize>,
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
    /// Compare with the figures of this file, and fail where one is worse than it allows
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write what was measured into the file instead
    #[arg(long, requires = "baseline")]
    pub write_baseline: bool,
}

impl Options {
    /// Where a program lies.
    pub fn program(&self, name: &str) -> Result<PathBuf, Failed> {
        Ok(match &self.programs {
            Some(folder) => folder.join(name),
            None => std::env::current_exe()?.with_file_name(name),
        })
    }

    /// What an agents file calls a deployment of the upstreams by.
    pub fn endpoint(&self, deployment: &str, port: u16) -> String {
        if self.without_core {
            format!("http://127.0.0.1:{port}/openai/deployments/{deployment}/chat/completions")
        } else {
            deployment.to_owned()
        }
    }

    /// How the programs were built: the name of their folder.
    pub fn profile(&self) -> Result<String, Failed> {
        let program = self.program("mas")?;
        let folder = std::path::absolute(program)?;
        let name = folder.parent().and_then(|folder| folder.file_name());
        Ok(name.unwrap_or_default().to_string_lossy().into_owned())
    }
}

/// Everything around the program, running.
pub struct Scene {
    pub upstreams: Upstreams,
    pub table: Table,
    options: Options,
    state_key: String,
}

/// Seconds of processor time so far, or between two moments.
#[derive(Clone, Copy, Default)]
pub struct Cpu {
    pub program: f64,
    /// The emulated table's, which runs in this process.
    pub table: f64,
    /// The generator's and the upstreams'.
    pub rest: f64,
}

impl Scene {
    pub async fn start(options: &Options) -> Result<Self, Failed> {
        Ok(Self {
            upstreams: Upstreams::start().await?,
            table: Table::start().await?,
            options: options.clone(),
            state_key: fresh_key("load")?,
        })
    }

    pub fn mas(&self) -> Result<Mas, Failed> {
        self.mas_with(Vec::new())
    }

    /// With these variables beside the others, or instead of them.
    pub fn mas_with(&self, more: Vec<(&'static str, String)>) -> Result<Mas, Failed> {
        let mut environment = self.environment();
        environment.extend(more);
        Mas::start(
            &self.options.program("mas")?,
            &environment,
            self.options.threads,
        )
    }

    /// The environment that points to all this.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let origin = format!("http://127.0.0.1:{}", self.upstreams.port);
        let mut environment = vec![
            ("AWS_ENDPOINT_URL_DYNAMODB", self.table.endpoint()),
            ("MAS_PRIVATE_NETWORKS", "loopback".into()),
            ("MAS_STATE_KEYS", self.state_key.clone()),
            ("MAS_LOG", "warn".into()),
            // Every turn makes its three calls: nothing is known from the turn before it, and nothing is guessed.
            ("MAS_ROUTING", "cache=off,guess=off".into()),
        ];
        if self.options.without_core {
            environment.push(("OPENAI_BASE_URL", format!("{origin}/openai/v1")));
            environment.push(("GPA_AGENT_ENDPOINT", format!("{origin}{AGENT_PATH}")));
        } else {
            environment.push(("DIAL_URL", origin));
            environment.push(("GPA_AGENT_ENDPOINT", AGENT.into()));
        }
        let secrets = secrets(self.options.owners);
        if secrets.is_empty() {
            environment.push(("MAS_AUTH", "none".into()));
        } else {
            let named = secrets.iter().enumerate();
            let named: Vec<String> = named
                .map(|(at, secret)| format!("o{at}:{secret}"))
                .collect();
            environment.push(("MAS_AUTH", "secret".into()));
            environment.push(("MAS_AUTH_SECRETS", named.join(",")));
            // Counted as always, and far away.
            let limits = "requests=1000000,concurrent=100000";
            environment.push(("MAS_LIMITS", limits.into()));
        }
        environment
    }
}

impl Cpu {
    pub fn now(mas: &Mas) -> Result<Self, Failed> {
        let table = Table::cpu()?;
        Ok(Self {
            program: mas.cpu()?,
            table,
            rest: own_cpu()? - table,
        })
    }

    /// A sentence about so many turns.
    pub fn text(&self, turns: u32) -> String {
        let each = |seconds: f64| seconds * 1e3 / f64::from(turns);
        format!(
            "  processor time a turn: {:.2} ms, so {:.0} turns a second and core; the table {:.2} ms, generator and upstreams {:.2} ms\n",
            each(self.program),
            f64::from(turns) / self.program,
            each(self.table),
            each(self.rest),
        )
    }

    pub fn json(&self, turns: u32) -> Value {
        let each = |seconds: f64| (seconds * 1e6 / f64::from(turns)).round();
        json!({
            "turns_per_cpu_second": (f64::from(turns) / self.program).round(),
            "program_us_per_turn": each(self.program),
            "table_us_per_turn": each(self.table),
            "generator_and_upstreams_us_per_turn": each(self.rest),
        })
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            program: self.program - earlier.program,
            table: self.table - earlier.table,
            rest: self.rest - earlier.rest,
        }
    }
}
