//! One agent asked alone, as a turn would ask it: whether it can be reached, and whether it keeps to its protocol.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use coordinator::domain::agent::{AgentCard, Effect};
use coordinator::domain::event::AgentEvent;
use coordinator::domain::ids::{Secret, TurnId};
use coordinator::domain::turn::{AgentTask, Caller};
use coordinator::gateway::Gateway;
use coordinator::metrics::Metrics;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::compose::{self, Failed};
use crate::console::harmless;
use crate::operator::{self, Place, print};

/// How long looking for it may take.
const WITHIN: Duration = Duration::from_secs(5);

#[derive(Args)]
#[group(skip)]
pub struct Options {
    name: String,
    /// What it is asked
    #[arg(default_value = "Hello! Who are you?")]
    text: String,
    /// Ask it also if its card says that it may change something: it does what it is asked
    #[arg(long)]
    anyway: bool,
    /// The Api-Key to send, for a deployment of DIAL Core
    #[arg(long)]
    key: Option<String>,
    /// How long it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    within: u64,
    /// Print what is found as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What came of it.
#[derive(Debug, Default)]
struct Found {
    agent: String,
    /// Its answer came whole, as its protocol says.
    ok: bool,
    /// Why its address could not be reached.
    unreachable: Option<String>,
    /// How its answer failed.
    problem: Option<String>,
    first_event_ms: Option<u64>,
    total_ms: u64,
    text: String,
    stages: usize,
    attachments: usize,
    /// It keeps something of the conversation, here or at itself.
    keeps: bool,
    /// It wants an answer.
    asks: bool,
    tokens: Option<u64>,
}

/// Asks it; 0 if its answer is a good one.
pub async fn run(options: Options) -> Result<ExitCode, Failed> {
    let open = operator::open(options.place).await?;
    let app = Box::pin(compose::app(&open.settings, Metrics::Off)).await?;
    let coordinator = app.coordinator();
    let card = coordinator.registry.get(&options.name);
    let card = card.ok_or_else(|| format!("there is no agent {}", options.name))?;
    if card.effect != Effect::None && !options.anyway {
        let name = &card.id;
        return Err(format!(
            "{name} may change something: --anyway asks it all the same, and what it is asked is done"
        )
        .into());
    }
    let gateway = coordinator.agents.gateways.get(&card.id);
    let gateway = gateway.ok_or("the agent has no gateway")?;
    let until = Instant::now() + Duration::from_secs(options.within);
    let key = options.key.as_deref().map(Secret::new);
    let found = ask(&**gateway, card, task(options.text, key, until)).await;
    print(&if options.json {
        as_json(&found).to_string()
    } else {
        harmless(&shown(&found))
    })?;
    Ok(if found.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The first message of a conversation of its own.
fn task(text: String, key: Option<Secret>, until: Instant) -> AgentTask {
    let turn = TurnId::now();
    AgentTask {
        turn,
        caller: Arc::new(Caller {
            key,
            ..Caller::default()
        }),
        conversation: turn.to_string(),
        deadline: until,
        history: Vec::new(),
        pruned: false,
        text,
        instructions: None,
        given: Vec::new(),
        attachments: Vec::new(),
        manifest: Vec::new(),
        session: None,
    }
}

async fn ask(gateway: &dyn Gateway, card: &AgentCard, task: AgentTask) -> Found {
    let mut found = Found {
        agent: card.id.to_string(),
        ..Found::default()
    };
    if let Err(error) = gateway.check(WITHIN).await {
        found.unreachable = Some(told(&error));
    }
    let begun = Instant::now();
    let mut events = gateway.call(task);
    let mut session = None;
    while let Some(event) = events.next().await {
        found.first_event_ms.get_or_insert(millis(begun));
        match event {
            Ok(AgentEvent::Session { id, .. }) => session = Some(id),
            Ok(event) => found.hear(event),
            Err(error) => found.problem = Some(told(&error)),
        }
    }
    found.total_ms = millis(begun);
    // Nobody goes on with this conversation.
    if let Some(session) = session {
        found.keeps = true;
        let _ = gateway.forget(&session, WITHIN).await;
    }
    found
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Found {
    fn hear(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Text(text) => self.text.push_str(&text),
            AgentEvent::Anew(text) => self.text = text,
            AgentEvent::Stage { index, .. } => {
                let number = usize::try_from(index).unwrap_or_default() + 1;
                self.stages = self.stages.max(number);
            }
            AgentEvent::Attachment(_) => self.attachments += 1,
            AgentEvent::State(_) => self.keeps = true,
            AgentEvent::Form(_) | AgentEvent::Asks => self.asks = true,
            AgentEvent::Usage(models) => {
                let tokens = models.iter().map(|model| model.usage.total_tokens);
                self.tokens = Some(tokens.fold(0, u64::saturating_add));
            }
            AgentEvent::Finished => self.ok = true,
            AgentEvent::Session { .. } | AgentEvent::Cut => {}
        }
    }
}

/// What went wrong, down to its cause.
fn told(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push_str(": ");
        told.push_str(&error.to_string());
        cause = error.source();
    }
    told
}

fn as_json(found: &Found) -> Value {
    json!({
        "agent": found.agent,
        "ok": found.ok,
        "unreachable": found.unreachable,
        "problem": found.problem,
        "first_event_ms": found.first_event_ms,
        "total_ms": found.total_ms,
        "text": found.text,
        "stages": found.stages,
        "attachments": found.attachments,
        "keeps": found.keeps,
        "asks": found.asks,
        "tokens": found.tokens,
    })
}

fn shown(found: &Found) -> String {
    let mut lines = Vec::new();
    if let Some(problem) = &found.unreachable {
        lines.push(format!("cannot be reached: {problem}"));
    }
    if let Some(problem) = &found.problem {
        lines.push(format!("failed: {problem}"));
    }
    if !found.text.is_empty() {
        lines.push(found.text.clone());
    }
    let first = found.first_event_ms.unwrap_or(found.total_ms);
    let tokens = found
        .tokens
        .map_or("unknown".into(), |tokens| tokens.to_string());
    let word = |is| if is { "yes" } else { "no" };
    lines.push(format!(
        "{}: {}, first event after {first} ms, {} ms in all; stages {}, attachments {}, keeps the conversation {}, asks \
         back {}, tokens {tokens}",
        found.agent,
        if found.ok { "a whole answer" } else { "no whole answer" },
        found.total_ms,
        found.stages,
        found.attachments,
        word(found.keeps),
        word(found.asks),
    ));
    lines.join("\n")
}
