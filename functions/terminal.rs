//! A conversation from the terminal: the answer to standard output, everything else to standard error.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Args;
use coordinator::dial::delta::Chunk;
use coordinator::domain::event::{AgentEvent, StageChange, StageStatus};
use coordinator::domain::message::OpaqueState;
use coordinator::settings::Env;
use coordinator::upstream::Client;
use serde_json::{Value, json};

use crate::compose::Failed;
use crate::console::{harmless, say};
use crate::remote::Remote;

#[derive(Args)]
#[group(skip)]
pub struct Options {
    /// What to say; several texts are several turns, none reads turns from standard input line by line
    text: Vec<String>,
    #[command(flatten)]
    remote: Remote,
    /// Print every event of the stream as a line of JSON, and nothing else
    #[arg(long)]
    json: bool,
}

/// Holds the conversation as DIAL Chat would: text and state go back, stages do not.
struct Conversation {
    client: Client,
    options: Options,
    id: String,
    messages: Vec<Value>,
}

/// Talks until the texts are used up or standard input ends.
pub async fn run(mut options: Options) -> Result<ExitCode, Failed> {
    let texts = std::mem::take(&mut options.text);
    let mut conversation = Conversation {
        client: options.remote.client()?,
        id: format!("terminal-{}", coordinator::domain::ids::TurnId::now()),
        options,
        messages: Vec::new(),
    };
    let mut well = true;
    if texts.is_empty() {
        let prompt = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        loop {
            if prompt {
                let _ = write!(std::io::stderr(), "\nyou> ");
            }
            let mut line = Vec::new();
            if std::io::stdin().lock().read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let line = String::from_utf8_lossy(&line);
            if !line.trim().is_empty() {
                // A refused line is no reason to forget what was said before it.
                well &= conversation
                    .turn(line.trim())
                    .await
                    .unwrap_or_else(|error| {
                        say(&error.to_string());
                        false
                    });
            }
        }
    }
    for text in &texts {
        well &= conversation.turn(text).await?;
    }
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Conversation {
    /// One turn; false when it ended in an error event.
    async fn turn(&mut self, text: &str) -> Result<bool, Failed> {
        let mut messages = self.messages.clone();
        messages.push(json!({"role": "user", "content": text}));
        let body = json!({"messages": messages, "stream": true});
        let path = "/openai/deployments/mas-coordinator/chat/completions";
        let call = (self.options.remote.post(path, &body)?).header("x-conversation-id", &self.id);
        let events = self.client.events(call).await;
        let mut events = events.map_err(|error| self.options.remote.failed(error))?;
        let mut screen = Screen::new(self.options.json);
        let mut failed = false;
        while let Some(event) = events.next().await? {
            if self.options.json {
                writeln!(std::io::stdout(), "{event}")?;
            }
            let chunk = Chunk::read(&event)?;
            if let Some(error) = chunk.error() {
                failed = true;
                let said = error.display_message.as_ref().or(error.message.as_ref());
                screen.error(said.map_or("the turn failed", String::as_str));
                continue;
            }
            let mut happened = Vec::new();
            chunk.into_events(|event| happened.push(event));
            for event in happened {
                screen.show(event)?;
            }
        }
        let (answer, state) = screen.end()?;
        if !failed {
            self.messages = messages;
            let state: Option<Value> =
                state.and_then(|state| serde_json::from_str(state.get()).ok());
            self.messages
                .push(json!({"role": "assistant", "content": answer, "custom_content": {"state": state.unwrap_or(json!({}))}}));
        }
        Ok(!failed)
    }
}

/// What is seen of one answer.
struct Screen {
    quiet: bool,
    colour: bool,
    stages: BTreeMap<u32, Shown>,
    answer: String,
    state: Option<OpaqueState>,
}

/// A stage on the screen.
#[derive(Default)]
struct Shown {
    name: String,
    depth: usize,
    /// Text after the last line end.
    line: String,
    announced: bool,
}

impl Screen {
    fn new(quiet: bool) -> Self {
        Self {
            quiet,
            colour: std::io::stderr().is_terminal() && Env::process().get("NO_COLOR").is_none(),
            stages: BTreeMap::new(),
            answer: String::new(),
            state: None,
        }
    }

    fn show(&mut self, event: AgentEvent) -> Result<(), Failed> {
        match event {
            AgentEvent::Text(text) => {
                if !self.quiet {
                    let mut out = std::io::stdout().lock();
                    if self.answer.is_empty() {
                        say("");
                    }
                    out.write_all(harmless(&text).as_bytes())?;
                    out.flush()?;
                }
                self.answer.push_str(&text);
            }
            AgentEvent::Stage { index, change } => self.stage(index, &change),
            AgentEvent::Attachment(file) => {
                let place = file.url.as_deref().unwrap_or("inline");
                self.line(0, "2", &format!("+ {} [{place}]", file.manifest()));
            }
            AgentEvent::State(state) => self.state = Some(state),
            AgentEvent::Form(form) => self.buttons(&form),
            // The coordinator's own stream has most of these never.
            AgentEvent::Usage(_)
            | AgentEvent::Anew(_)
            | AgentEvent::Asks
            | AgentEvent::Cut
            | AgentEvent::Session { .. }
            | AgentEvent::Finished => {}
        }
        Ok(())
    }

    /// What the buttons of a form say: a person without buttons writes it.
    fn buttons(&self, form: &OpaqueState) {
        let form: Value = serde_json::from_str(form.get()).unwrap_or_default();
        let fields = form.get("properties").and_then(Value::as_object);
        let fields = fields.into_iter().flatten();
        let buttons = fields.flat_map(|(_, field)| field["oneOf"].as_array().into_iter().flatten());
        for button in buttons {
            let says = button
                .pointer("/dial:widgetOptions/populateText")
                .and_then(Value::as_str);
            let title = button["title"].as_str().unwrap_or_default();
            let says = says.or(button["const"].as_str()).unwrap_or_default();
            self.line(0, "2", &format!("[{title}] {says}"));
        }
    }

    fn stage(&mut self, index: u32, change: &StageChange) {
        let depth = change
            .parent
            .and_then(|parent| self.stages.get(&parent))
            .map_or(0, |parent| parent.depth + 1);
        if let Some(parent) = change.parent {
            self.announce(parent);
        }
        let stage = self.stages.entry(index).or_insert_with(|| Shown {
            depth,
            ..Shown::default()
        });
        stage
            .name
            .push_str(change.name.as_deref().unwrap_or_default());
        stage
            .line
            .push_str(change.content.as_deref().unwrap_or_default());
        // A name may grow until the first text: it is announced with that, or with a child, or at the end.
        if !stage.line.is_empty() || change.status.is_some() || !change.attachments.is_empty() {
            self.announce(index);
        }
        let Some(mut stage) = self.stages.remove(&index) else {
            return;
        };
        while let Some((line, rest)) = stage.line.split_once('\n') {
            self.line(stage.depth + 1, "2", line);
            stage.line = rest.into();
        }
        for file in &change.attachments {
            self.line(stage.depth + 1, "2", &format!("+ {}", file.manifest()));
        }
        if let Some(status) = change.status {
            if !stage.line.is_empty() {
                self.line(stage.depth + 1, "2", &std::mem::take(&mut stage.line));
            }
            if status == StageStatus::Failed {
                self.line(stage.depth, "1;31", &format!("x {} failed", stage.name));
            }
        }
        self.stages.insert(index, stage);
    }

    fn announce(&mut self, index: u32) {
        if let Some(stage) = self.stages.get_mut(&index)
            && !std::mem::replace(&mut stage.announced, true)
        {
            let (depth, name) = (stage.depth, format!("> {}", stage.name));
            self.line(depth, "1;36", &name);
        }
    }

    fn error(&self, text: &str) {
        if !self.quiet {
            say("");
        }
        self.line(0, "1;31", &format!("x {text}"));
    }

    fn line(&self, depth: usize, style: &str, text: &str) {
        if self.quiet {
            return;
        }
        let (indent, text) = ("  ".repeat(depth), harmless(text));
        if self.colour {
            say(&format!("{indent}\u{1b}[{style}m{text}\u{1b}[0m"));
        } else {
            say(&format!("{indent}{text}"));
        }
    }

    fn end(self) -> Result<(String, Option<OpaqueState>), Failed> {
        if !self.quiet && !self.answer.is_empty() {
            writeln!(std::io::stdout())?;
        }
        Ok((self.answer, self.state))
    }
}
