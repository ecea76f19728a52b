//! The numbers that bound a turn, with the defaults that settings start from.

use std::time::Duration;

use serde::Deserialize;

/// How long anything may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The whole turn (`MAS_TURN_TIMEOUT`).
    pub turn: Duration,
    /// What is kept of the function's own time for ending well (`MAS_TURN_RESERVE`).
    pub turn_reserve: Duration,
    /// How long saving may hold the end of an answer back (`MAS_SAVE_TIMEOUT`).
    pub save: Duration,
    /// One attempt of the table to answer; four times as long with its repeats (`MAS_STORE_TIMEOUT`).
    pub store: Duration,
    /// An attempt that would have less time than this is not made (`MAS_RETRY_RESERVE`).
    pub retry_reserve: Duration,
    /// How long an unused connection is kept (`MAS_POOL_IDLE`).
    pub pool_idle: Duration,
    /// One connection attempt (`MAS_CONNECT_TIMEOUT`).
    pub connect: Duration,
    /// An agent's first byte (`MAS_AGENT_FIRST_BYTE`).
    pub agent_first_byte: Duration,
    /// A model's first byte (`MAS_MODEL_FIRST_BYTE`).
    pub model_first_byte: Duration,
    /// Silence between two bytes of a stream (`MAS_STREAM_IDLE`).
    pub stream_idle: Duration,
    /// Our longest silence; `None` sends no comments (`MAS_HEARTBEAT`).
    pub heartbeat: Option<Duration>,
    /// How long an agent's spare endpoint is kept to before the first one is tried again (`MAS_FAILOVER_DWELL`).
    pub failover_dwell: Duration,
    /// How long a proposal waits for its user's consent (`MAS_APPROVAL_TTL`).
    pub approval: Duration,
    /// The longest wait that a caller is asked for (`MAS_RETRY_AFTER`).
    pub retry_after: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            turn: Duration::from_mins(2),
            turn_reserve: Duration::from_secs(3),
            save: Duration::from_secs(1),
            store: Duration::from_millis(500),
            retry_reserve: Duration::from_secs(2),
            pool_idle: Duration::from_secs(4),
            connect: Duration::from_secs(2),
            agent_first_byte: Duration::from_secs(30),
            model_first_byte: Duration::from_secs(15),
            stream_idle: Duration::from_mins(1),
            heartbeat: Some(Duration::from_secs(15)),
            failover_dwell: Duration::from_mins(1),
            approval: Duration::from_mins(15),
            retry_after: Duration::from_mins(1),
        }
    }
}

/// When a peer is left alone, and how it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// So many failures in a row open the breaker.
    pub failures: u32,
    /// A share of successes below this, in percent, opens it too …
    pub ratio: u32,
    /// … once there were so many calls …
    pub calls: u32,
    /// … in this time. A run of failures is forgotten after as long a pause.
    pub window: Duration,
    /// How long it stays open at first; twice as long after each failed probe, up to the cap.
    pub open: Duration,
    pub open_cap: Duration,
    /// A peer's own `Retry-After` may lengthen that up to here.
    pub retry_after: Duration,
    /// How old the view of what other instances found may be.
    pub fresh: Duration,
    /// How long a probe may take before another instance may make one.
    pub lease: Duration,
    /// A turn that ends before a peer used up this share of its first-byte time, in percent, says nothing about it.
    pub silence: u32,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self {
            failures: 5,
            ratio: 50,
            calls: 20,
            window: Duration::from_secs(30),
            open: Duration::from_secs(30),
            open_cap: Duration::from_mins(5),
            retry_after: Duration::from_mins(1),
            fresh: Duration::from_secs(2),
            lease: Duration::from_secs(15),
            silence: 50,
        }
    }
}

const KB: usize = 1024;
const MB: usize = 1024 * KB;

/// How much of anything is taken, in bytes where nothing else is said.
///
/// At the defaults no request takes more than 64 MB: `docs/decisions/0006-caps-and-addresses.md` has the sum. What is cut
/// says so in the answer: stages, texts and attachments over a cap are left out with a note, and the agent is read on to
/// its end. What cannot be cut fails that one call: a line, an event, an answer, the headers of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// A request's body, and its messages (a count).
    pub body: usize,
    pub messages: usize,
    /// One line of a peer's stream, one event, one whole answer; an answer that is no stream may take two events.
    pub line: usize,
    pub event: usize,
    pub answer: usize,
    /// A peer's error answer, and the headers of any answer.
    pub error: usize,
    pub headers: usize,
    /// An agent's text; its stages (a count) and the name and text of each; its attachments (a count, those of stages
    /// included) and all that is written of each.
    pub text: usize,
    pub stages: usize,
    pub stage_text: usize,
    pub attachments: usize,
    pub attachment: usize,
    /// What a router may add to a request.
    pub instructions: usize,
    /// Calls to agents in one turn, for each part of it (a count), and such parts (a count).
    pub calls: usize,
    pub steps: usize,
    /// What of a step's result the next one is told.
    pub given: usize,
    /// What is written and not yet read by the client.
    pub buffer: usize,
    /// The state that a client keeps; what is read back of a conversation.
    pub state: usize,
    pub stored: usize,
    /// What of a conversation the routing model, an agent and the synthesis are shown; what is oldest is left out.
    pub routing_history: usize,
    pub agent_history: usize,
    pub synthesis_history: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            body: 4 * MB,
            messages: 2000,
            line: MB,
            event: MB,
            answer: 16 * MB,
            error: 64 * KB,
            headers: 64 * KB,
            text: 4 * MB,
            stages: 200,
            stage_text: 256 * KB,
            attachments: 100,
            attachment: MB,
            instructions: 4 * KB,
            calls: 8,
            steps: 5,
            given: 32 * KB,
            buffer: 256 * KB,
            state: 16 * KB,
            stored: 8 * MB,
            routing_history: 16 * KB,
            agent_history: 256 * KB,
            synthesis_history: 64 * KB,
        }
    }
}

/// How it is decided who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Below this certainty of the model, in percent, the user is asked which agent is meant. `None` never asks.
    pub floor: Option<u32>,
    /// An agent that asked something gets the next message of at most so many words. `None` asks the model.
    pub sticky: Option<u32>,
    /// How long the model's decisions are used again. `None` keeps none.
    pub cache: Option<Duration>,
    /// Of the decisions used again, this share, in percent, is compared with what the model says now. `None` is none.
    pub check: Option<u32>,
    /// An agent that only reads is begun on a guess while the model decides, where at least this share of guesses is
    /// right, in percent. `None` guesses nothing.
    pub guess: Option<u32>,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            floor: Some(50),
            sticky: Some(12),
            cache: Some(Duration::from_hours(1)),
            check: Some(2),
            guess: Some(80),
        }
    }
}

/// When a second model writes the answer from what the agent reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synthesis {
    #[default]
    Always,
    /// Unless the agent's own answer is made for people.
    Auto,
    /// The agent's own text is the answer.
    Never,
}

impl Synthesis {
    pub const ALL: [Self; 3] = [Self::Always, Self::Auto, Self::Never];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Auto => "auto",
            Self::Never => "never",
        }
    }
}

/// What one owner may use. `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Requests a minute; as many at once after a quiet minute.
    pub requests: Option<u32>,
    /// Turns at the same time.
    pub concurrent: Option<u32>,
    /// Tokens a day (UTC), of all models and agents that say what they used.
    pub tokens: Option<u64>,
    /// Money a day, in millionths of a dollar.
    pub spend: Option<u64>,
    /// Money of one turn, in millionths of a dollar.
    pub turn: Option<u64>,
    /// The same request again within this time, while the first still runs, is a mistake.
    pub duplicate: Duration,
    /// How deep agents may call the coordinator again.
    pub depth: u32,
    /// Turns of one trace.
    pub trace: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            requests: Some(30),
            concurrent: Some(4),
            tokens: None,
            spend: None,
            turn: None,
            duplicate: Duration::from_secs(30),
            depth: 3,
            trace: 20,
        }
    }
}
