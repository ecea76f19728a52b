//! Environment and files into [`Settings`], once; the only reader of the environment.

mod agents;
mod arms;
mod callers;
mod cases;
mod checks;
pub mod document;
mod env;
mod experiments;
mod forms;
mod hooks;
mod over;
mod parse;
mod place;
mod rulebook;
mod rules;
mod telemetry;
mod whence;
mod written;

use std::time::Duration;

use crate::domain::access::{Callers, Way};
use crate::domain::fact::FactTimes;
use crate::domain::ids::Secret;
use crate::domain::network::Networks;
use crate::domain::rules::{BreakerRules, Caps, Quotas, Routing, Synthesis, Times};
use crate::domain::trace::Collector;
use crate::domain::usage::Prices;
pub use document::Roster;
pub use env::Env;
pub use over::{Over, entry, is_within_reach, references, roster};
use parse::{duration, list, origin, parsed, switch, table_name};
pub use place::{Problem, Problems};
pub use whence::Place;

/// A variable or a file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{name} is {value:?}, expected {expected}")]
    Variable {
        name: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("{name}: {problem}")]
    Refused { name: &'static str, problem: String },
    #[error("MAS_AGENTS: the agents file {file} cannot be used: {problem}")]
    Agents { file: String, problem: String },
}

/// Every setting, checked.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Debug)]
pub struct Settings {
    /// `MAS_PORT`: where `mas` listens; 0 takes a free port.
    pub port: u16,
    /// `DIAL_URL`: origin of DIAL Core, for models and DIAL agents.
    pub dial_url: Option<String>,
    /// `OPENAI_BASE_URL`: an OpenAI-compatible server for the models, up to `/chat/completions`.
    pub openai_base_url: Option<String>,
    /// `OPENAI_API_KEY`: its key.
    pub openai_api_key: Option<Secret>,
    /// `MAS_ROUTING_MODEL`: decides who answers.
    pub routing_model: String,
    /// `MAS_SYNTHESIS_MODEL`: writes the answer.
    pub synthesis_model: String,
    /// `MAS_AGENTS`: where the document of agents is; by default the one built in.
    pub place: Place,
    /// What it says of agents, rules and hooks, as far as nobody has to be asked for it. `MAS_DEFAULT_AGENT` overrides its
    /// default, `MAS_HOOK_KEY` signs where its hooks name no other key.
    pub roster: Roster,
    /// What documents refer to.
    pub env: Env,
    /// `MAS_AGENTS_REFRESH`: how often it is looked whether agents have changed.
    pub refresh: Duration,
    /// `MAS_DISCOVERY`: how often `mas` asks agents what they can.
    pub discovery: Option<Duration>,
    /// `MAS_ROUTING`: how it is decided who answers.
    pub routing: Routing,
    /// How long facts are kept for other agents (`MAS_FACTS`); `None` where none are looked for.
    pub facts: Option<FactTimes>,
    /// `MAS_SYNTHESIS`: when a second model writes the answer.
    pub synthesis: Synthesis,
    /// `MAS_TABLE`: name of the `DynamoDB` table.
    pub table: String,
    /// `AWS_ENDPOINT_URL_DYNAMODB`: a local emulator instead of AWS.
    pub dynamodb_endpoint: Option<String>,
    /// `MAS_STATE_KEYS`: `kid:base64` pairs; the first signs, all verify.
    pub state_keys: Option<Secret>,
    /// `MAS_LEGACY_SESSIONS`: take bare UMS conversation ids of the reference coordinator.
    pub legacy_sessions: bool,
    /// `MAS_ASSERTION_KEYS`: `kid:base64` pairs; the first signs who calls an agent, all are published.
    pub assertion_keys: Option<Secret>,
    /// `MAS_ASSERTION_ISSUER`: who says so, such as the address of the published keys.
    pub assertion_issuer: String,
    /// `MAS_STATE_TTL`: how long conversations are remembered.
    pub state_ttl: Duration,
    /// `MAS_AUTH`, `MAS_TENANT`, `MAS_AUTH_SECRETS`, `MAS_JWT`: how callers are verified.
    pub callers: Callers,
    /// `MAS_DEPLOYMENT`: our deployment ids in DIAL Core; keys issued for others are refused.
    pub deployments: Vec<String>,
    /// `MAS_TURN_TIMEOUT` and the others that end in a time.
    pub times: Times,
    /// `MAS_NESTED_STAGES`: agents' stages as children, or side by side for older chat clients.
    pub nested_stages: bool,
    /// `MAS_BREAKER`: when peers are left alone.
    pub breaker: BreakerRules,
    /// `MAS_CAPS`: how much of anything is taken.
    pub caps: Caps,
    /// `MAS_LIMITS`: what one owner may use.
    pub quotas: Quotas,
    /// `MAS_PRICES`: what models cost.
    pub prices: Prices,
    /// `MAS_RATE_LIMIT_STATUS`: 403, or 429 for callers that are not DIAL Core.
    pub rate_limit_status: u16,
    /// `MAS_FAILED_AGENT_STATUS`: 424, or 500, of a block answer that an agent failed to give.
    pub failed_agent_status: u16,
    /// `MAS_PRIVATE_NETWORKS`: where agents may be beside public addresses.
    pub private_networks: Networks,
    /// `SSL_CERT_FILE`: certificates to trust beside the built-in ones.
    pub certificates: Option<String>,
    /// `MAS_AUDIT_TTL`: how long the audit log is kept.
    pub audit_ttl: Duration,
    /// `MAS_LOG_CONTENT`: also log what people and agents say, for debugging.
    pub log_content: bool,
    /// `MAS_LOG`: filter of the log, such as `info` or `coordinator=debug`.
    pub log: String,
    /// `MAS_LOG_SAMPLE`: the share of the turns without any trouble that the log has a line of.
    pub log_sample: f64,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` and its relatives: where spans are sent.
    pub collector: Option<Collector>,
    /// `AWS_LAMBDA_LOG_FORMAT`: JSON lines instead of text; Lambda sets it.
    pub log_json: bool,
}

/// Every variable that is read, for the template's and the README's tests.
pub const VARIABLES: [&str; 65] = [
    "MAS_PORT",
    "DIAL_URL",
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "MAS_ROUTING_MODEL",
    "MAS_SYNTHESIS_MODEL",
    "MAS_AGENTS",
    "MAS_AGENTS_REFRESH",
    "MAS_DISCOVERY",
    "GPA_AGENT_ENDPOINT",
    "GPA_API_KEY",
    "UMS_AGENT_ENDPOINT",
    "MAS_DEFAULT_AGENT",
    "MAS_FACTS",
    "MAS_HOOK_KEY",
    "MAS_ROUTING",
    "MAS_SYNTHESIS",
    "MAS_TABLE",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_SSM",
    "MAS_STATE_KEYS",
    "MAS_ASSERTION_KEYS",
    "MAS_ASSERTION_ISSUER",
    "MAS_LEGACY_SESSIONS",
    "MAS_STATE_TTL",
    "MAS_AUTH",
    "MAS_TENANT",
    "MAS_AUTH_SECRETS",
    "MAS_JWT",
    "MAS_DEPLOYMENT",
    "MAS_TURN_TIMEOUT",
    "MAS_TURN_RESERVE",
    "MAS_SAVE_TIMEOUT",
    "MAS_STORE_TIMEOUT",
    "MAS_RETRY_RESERVE",
    "MAS_POOL_IDLE",
    "MAS_CONNECT_TIMEOUT",
    "MAS_AGENT_FIRST_BYTE",
    "MAS_MODEL_FIRST_BYTE",
    "MAS_STREAM_IDLE",
    "MAS_HEARTBEAT",
    "MAS_NESTED_STAGES",
    "MAS_BREAKER",
    "MAS_FAILOVER_DWELL",
    "MAS_CAPS",
    "MAS_LIMITS",
    "MAS_PRICES",
    "MAS_RATE_LIMIT_STATUS",
    "MAS_RETRY_AFTER",
    "MAS_APPROVAL_TTL",
    "MAS_FAILED_AGENT_STATUS",
    "MAS_PRIVATE_NETWORKS",
    "SSL_CERT_FILE",
    "MAS_AUDIT_TTL",
    "MAS_LOG_CONTENT",
    "MAS_LOG",
    "MAS_LOG_SAMPLE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER_ARG",
];

/// Where S3, Systems Manager and Secrets Manager are, where that is not at AWS: `AWS_ENDPOINT_URL_S3` and its relatives.
pub fn addresses(env: &Env) -> Result<[Option<String>; 3], Error> {
    Ok([
        origin(env, "AWS_ENDPOINT_URL_S3")?,
        origin(env, "AWS_ENDPOINT_URL_SSM")?,
        origin(env, "AWS_ENDPOINT_URL_SECRETS_MANAGER")?,
    ])
}

impl Settings {
    /// Reads and checks everything; the first mistake is named with its variable and with what was expected.
    pub fn read(env: &Env) -> Result<Self, Error> {
        let text = |name, default: &str| env.get(name).unwrap_or(default).to_owned();
        let place = Place::read(env)?;
        let settings = Self {
            port: parsed(env, "MAS_PORT", 8055, "a port from 0 to 65535", |value| {
                value.parse().ok()
            })?,
            dial_url: origin(env, "DIAL_URL")?,
            openai_base_url: origin(env, "OPENAI_BASE_URL")?,
            openai_api_key: env.get("OPENAI_API_KEY").map(Secret::new),
            routing_model: text("MAS_ROUTING_MODEL", "gpt-4o"),
            synthesis_model: text("MAS_SYNTHESIS_MODEL", "gpt-4o"),
            roster: over::read(&place, env)?,
            place,
            env: env.clone(),
            discovery: rules::discovery(env)?,
            refresh: duration(env, "MAS_AGENTS_REFRESH", Duration::from_secs(30))?,
            routing: rules::routing(env)?,
            facts: rules::facts(env)?,
            synthesis: rules::synthesis(env)?,
            table: parsed(
                env,
                "MAS_TABLE",
                "mas".into(),
                "a table name: 3 to 255 letters, digits, dots, dashes or underscores",
                table_name,
            )?,
            dynamodb_endpoint: origin(env, "AWS_ENDPOINT_URL_DYNAMODB")?,
            state_keys: env.get("MAS_STATE_KEYS").map(Secret::new),
            assertion_keys: env.get("MAS_ASSERTION_KEYS").map(Secret::new),
            assertion_issuer: text("MAS_ASSERTION_ISSUER", "mas-coordinator"),
            legacy_sessions: switch(env, "MAS_LEGACY_SESSIONS", false)?,
            state_ttl: duration(env, "MAS_STATE_TTL", Duration::from_hours(30 * 24))?,
            callers: callers::read(env)?,
            deployments: (list(env.get("MAS_DEPLOYMENT").unwrap_or("mas-coordinator")))
                .map(str::to_owned)
                .collect(),
            times: rules::times(env)?,
            nested_stages: switch(env, "MAS_NESTED_STAGES", true)?,
            breaker: rules::breaker(env)?,
            caps: rules::caps(env)?,
            quotas: rules::quotas(env)?,
            prices: rules::prices(env)?,
            rate_limit_status: rules::status(
                env,
                "MAS_RATE_LIMIT_STATUS",
                [403, 429],
                "403 or 429",
            )?,
            failed_agent_status: rules::status(
                env,
                "MAS_FAILED_AGENT_STATUS",
                [424, 500],
                "424 or 500",
            )?,
            private_networks: rules::networks(env)?,
            certificates: env.get("SSL_CERT_FILE").map(str::to_owned),
            audit_ttl: duration(env, "MAS_AUDIT_TTL", Duration::from_hours(365 * 24))?,
            log_content: switch(env, "MAS_LOG_CONTENT", false)?,
            log: text("MAS_LOG", "info"),
            log_sample: telemetry::share(env, "MAS_LOG_SAMPLE")?,
            collector: telemetry::collector(env)?,
            log_json: env
                .get("AWS_LAMBDA_LOG_FORMAT")
                .is_some_and(|format| format.eq_ignore_ascii_case("json")),
        };
        settings.checked()
    }

    /// What is wrong only in combination.
    fn checked(self) -> Result<Self, Error> {
        let refused = |name, problem: &str| {
            Err(Error::Refused {
                name,
                problem: problem.into(),
            })
        };
        if self.callers.ways.contains(&Way::Dial) && self.dial_url.is_none() {
            return refused(
                "MAS_AUTH",
                "dial asks DIAL Core about callers, so DIAL_URL must be set; MAS_AUTH=none trusts everybody and is \
                 for development",
            );
        }
        if self.dial_url.is_none() && self.openai_base_url.is_none() {
            return refused(
                "DIAL_URL",
                "set it, or OPENAI_BASE_URL, so that there are models",
            );
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
