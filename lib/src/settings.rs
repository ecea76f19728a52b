//! Environment and files into [`Settings`], once; the only reader of the environment.

mod agents;

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;

use url::Url;

use crate::domain::agent::Registry;
use crate::domain::ids::Secret;

/// The variables of a process. An empty value counts as absent.
#[derive(Clone, Debug, Default)]
pub struct Env(HashMap<String, String>);

impl Env {
    /// This process's environment.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn process() -> Self {
        // Names and values that are no text cannot be ours.
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// Sets a variable unless it is there.
    pub fn or(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// True when no address of models or of DIAL Core is set: there is nothing real to talk to.
    pub fn wants_sandbox(&self) -> bool {
        self.get("DIAL_URL").is_none() && self.get("OPENAI_BASE_URL").is_none()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Env {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(
            pairs
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        )
    }
}

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

/// How callers are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// By asking DIAL Core about the per-request key.
    Dial,
    /// Not at all: development only.
    None,
}

/// Every setting, checked.
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
    /// `MAS_AGENTS`: path of the agents file, or its text; by default the one built in. `MAS_DEFAULT_AGENT` overrides its default.
    pub registry: Registry,
    /// `MAS_TABLE`: name of the `DynamoDB` table.
    pub table: String,
    /// `AWS_ENDPOINT_URL_DYNAMODB`: a local emulator instead of AWS.
    pub dynamodb_endpoint: Option<String>,
    /// `MAS_STATE_KEYS`: `kid:base64` pairs; the first signs, all verify.
    pub state_keys: Option<Secret>,
    /// `MAS_LEGACY_SESSIONS`: take bare UMS conversation ids of the reference coordinator.
    pub legacy_sessions: bool,
    /// `MAS_STATE_TTL`: how long conversations are remembered.
    pub state_ttl: Duration,
    /// `MAS_AUTH`: how callers are verified.
    pub auth: AuthMode,
    /// `MAS_DEPLOYMENT`: our deployment ids in DIAL Core; keys issued for others are refused.
    pub deployments: Vec<String>,
    /// `MAS_TURN_TIMEOUT`: the whole turn.
    pub turn_timeout: Duration,
    /// `MAS_CONNECT_TIMEOUT`: one connection attempt.
    pub connect_timeout: Duration,
    /// `MAS_AGENT_FIRST_BYTE`: an agent's first byte.
    pub agent_first_byte: Duration,
    /// `MAS_MODEL_FIRST_BYTE`: a model's first byte.
    pub model_first_byte: Duration,
    /// `MAS_STREAM_IDLE`: silence between two bytes of a stream.
    pub stream_idle: Duration,
    /// `MAS_HEARTBEAT`: our longest silence; `None` sends no comments.
    pub heartbeat: Option<Duration>,
    /// `MAS_NESTED_STAGES`: agents' stages as children, or side by side for older chat clients.
    pub nested_stages: bool,
    /// `MAS_LOG`: filter of the log, such as `info` or `coordinator=debug`.
    pub log: String,
    /// `AWS_LAMBDA_LOG_FORMAT`: JSON lines instead of text; Lambda sets it.
    pub log_json: bool,
}

/// Every variable that is read, for the template's and the README's tests.
pub const VARIABLES: [&str; 26] = [
    "MAS_PORT",
    "DIAL_URL",
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "MAS_ROUTING_MODEL",
    "MAS_SYNTHESIS_MODEL",
    "MAS_AGENTS",
    "GPA_AGENT_ENDPOINT",
    "GPA_API_KEY",
    "UMS_AGENT_ENDPOINT",
    "MAS_DEFAULT_AGENT",
    "MAS_TABLE",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "MAS_STATE_KEYS",
    "MAS_LEGACY_SESSIONS",
    "MAS_STATE_TTL",
    "MAS_AUTH",
    "MAS_DEPLOYMENT",
    "MAS_TURN_TIMEOUT",
    "MAS_CONNECT_TIMEOUT",
    "MAS_AGENT_FIRST_BYTE",
    "MAS_MODEL_FIRST_BYTE",
    "MAS_STREAM_IDLE",
    "MAS_HEARTBEAT",
    "MAS_NESTED_STAGES",
    "MAS_LOG",
];

impl Settings {
    /// Reads and checks everything; the first mistake is named with its variable and with what was expected.
    pub fn read(env: &Env) -> Result<Self, Error> {
        let text = |name, default: &str| env.get(name).unwrap_or(default).to_owned();
        let settings = Self {
            port: parsed(env, "MAS_PORT", 8055, "a port from 0 to 65535", |value| {
                value.parse().ok()
            })?,
            dial_url: origin(env, "DIAL_URL")?,
            openai_base_url: origin(env, "OPENAI_BASE_URL")?,
            openai_api_key: env.get("OPENAI_API_KEY").map(Secret::new),
            routing_model: text("MAS_ROUTING_MODEL", "gpt-4o"),
            synthesis_model: text("MAS_SYNTHESIS_MODEL", "gpt-4o"),
            registry: agents::read(env)?,
            table: parsed(
                env,
                "MAS_TABLE",
                "mas".into(),
                "a table name: 3 to 255 letters, digits, dots, dashes or underscores",
                table_name,
            )?,
            dynamodb_endpoint: origin(env, "AWS_ENDPOINT_URL_DYNAMODB")?,
            state_keys: env.get("MAS_STATE_KEYS").map(Secret::new),
            legacy_sessions: switch(env, "MAS_LEGACY_SESSIONS", false)?,
            state_ttl: duration(env, "MAS_STATE_TTL", Duration::from_hours(30 * 24))?,
            auth: parsed(
                env,
                "MAS_AUTH",
                AuthMode::Dial,
                "dial or none",
                |value| match value {
                    "dial" => Some(AuthMode::Dial),
                    "none" => Some(AuthMode::None),
                    _ => None,
                },
            )?,
            deployments: (text("MAS_DEPLOYMENT", "mas-coordinator").split(','))
                .map(|id| id.trim().to_owned())
                .filter(|id| !id.is_empty())
                .collect(),
            turn_timeout: duration(env, "MAS_TURN_TIMEOUT", Duration::from_mins(2))?,
            connect_timeout: duration(env, "MAS_CONNECT_TIMEOUT", Duration::from_secs(2))?,
            agent_first_byte: duration(env, "MAS_AGENT_FIRST_BYTE", Duration::from_secs(30))?,
            model_first_byte: duration(env, "MAS_MODEL_FIRST_BYTE", Duration::from_secs(15))?,
            stream_idle: duration(env, "MAS_STREAM_IDLE", Duration::from_mins(1))?,
            heartbeat: match env.get("MAS_HEARTBEAT") {
                Some("off" | "0") => None,
                _ => Some(duration(env, "MAS_HEARTBEAT", Duration::from_secs(15))?),
            },
            nested_stages: switch(env, "MAS_NESTED_STAGES", true)?,
            log: text("MAS_LOG", "info"),
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
        if self.auth == AuthMode::Dial && self.dial_url.is_none() {
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

fn parsed<T>(
    env: &Env,
    name: &'static str,
    default: T,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Error> {
    let Some(value) = env.get(name) else {
        return Ok(default);
    };
    parse(value).ok_or_else(|| Error::Variable {
        name,
        value: shown(value),
        expected,
    })
}

/// A wrong value as it may be shown: never the credentials of an address.
fn shown(value: &str) -> String {
    match value.rsplit_once('@') {
        Some((_, rest)) => format!("[hidden]@{rest}"),
        None => value.to_owned(),
    }
}

fn table_name(name: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    ((3..=255).contains(&name.len()) && name.bytes().all(plain)).then(|| name.to_owned())
}

fn switch(env: &Env, name: &'static str, default: bool) -> Result<bool, Error> {
    parsed(env, name, default, "on or off", |value| {
        match value.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" => Some(true),
            "off" | "false" | "no" | "0" => Some(false),
            _ => None,
        }
    })
}

fn duration(env: &Env, name: &'static str, default: Duration) -> Result<Duration, Error> {
    let expected =
        "a duration above zero: seconds, or a number with a unit such as 500ms, 30s, 2m, 1h, 30d";
    parsed(env, name, default, expected, parse_duration)
}

/// `2`, `0.5`, `500ms`, `2m`, …; the unit is seconds where none is given.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| letter != '.' && !letter.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let duration = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
    // A year is beyond any use here, and keeps every sum of times in range.
    (Duration::from_millis(1)..=Duration::from_hours(366 * 24))
        .contains(&duration)
        .then_some(duration)
}

/// An http(s) address without its trailing slash.
fn origin(env: &Env, name: &'static str) -> Result<Option<String>, Error> {
    parsed(
        env,
        name,
        None,
        "an address such as https://dial.example.com",
        |value| {
            let url = Url::parse(value).ok()?;
            let plain = matches!(url.scheme(), "http" | "https")
                && url.host().is_some()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none();
            plain.then(|| Some(value.trim_end_matches('/').to_owned()))
        },
    )
}

#[cfg(test)]
mod tests;
