//! Our own stream of chunks, told as A2A: stages as the task's state, the answer and its files as artifacts.

use serde_json::{Map, Value, json};

use super::event::State;
use super::{Version, part};
use crate::dial::delta::{Chunk, WireError};
use crate::dial::sse::Decoder;
use crate::domain::conversation::asks;
use crate::domain::event::{AgentEvent, StageChange};
use crate::domain::message::{Attachment, OpaqueState};

/// The artifact that the answer's text is.
const ANSWER: &str = "answer";

/// One answer being told.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
pub struct Teller {
    version: Version,
    id: Value,
    task: String,
    context: String,
    decoder: Decoder,
    /// The answer so far, or its end where that is enough.
    text: String,
    /// Only the end is there.
    shortened: bool,
    files: Vec<Value>,
    begun: bool,
    form: Option<OpaqueState>,
    failure: Option<WireError>,
    withheld: bool,
    ended: bool,
}

/// Of a long text that is streamed its end is kept: whether it asks something.
const TAIL: usize = 4096;

impl Teller {
    pub fn new(version: Version, id: Value, task: String, context: String) -> Self {
        Self {
            version,
            id,
            task,
            context,
            // Our own stream keeps to every cap.
            decoder: Decoder::new(usize::MAX, usize::MAX),
            text: String::new(),
            shortened: false,
            files: Vec::new(),
            begun: false,
            form: None,
            failure: None,
            withheld: false,
            ended: false,
        }
    }

    /// The task as it begins.
    pub fn begin(&self) -> Value {
        let task = json!({"id": self.task, "contextId": self.context, "status": self.status(State::Working, &[])});
        self.answer(&self.wrapped("task", "task", task))
    }

    /// Takes more of our stream, and gives what that is in A2A.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Value> {
        self.decoder.push(bytes);
        let mut told = Vec::new();
        while let Ok(Some(data)) = self.decoder.next_event() {
            if data.trim_ascii() == b"[DONE]" {
                told.extend(self.end());
                continue;
            }
            let text = String::from_utf8_lossy(&data);
            let Ok(chunk) = Chunk::read(&text) else {
                continue;
            };
            self.failure = chunk.error().cloned().or(self.failure.take());
            self.withheld |= chunk.finish_reason() == Some("content_filter");
            let mut events = Vec::new();
            chunk.into_events(|event| events.push(event));
            told.extend(events.into_iter().filter_map(|event| self.event(event)));
        }
        told
    }

    /// The end, once: after our own, or where our stream has broken off.
    pub fn end(&mut self) -> Option<Value> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        let (state, parts) = self.outcome();
        let status = self.status(state, &parts);
        Some(self.update(
            "statusUpdate",
            "status-update",
            json!({"status": status, "final": true}),
        ))
    }

    /// The whole answer at once, instead of events.
    pub fn whole(&mut self) -> Value {
        let (state, parts) = self.outcome();
        let mut artifacts = Vec::new();
        if !self.text.is_empty() {
            let text = part::text(self.version, &self.text);
            artifacts.push(json!({"artifactId": ANSWER, "parts": [text]}));
        }
        for (at, file) in (1..).zip(std::mem::take(&mut self.files)) {
            artifacts.push(json!({"artifactId": format!("file-{at}"), "parts": [file]}));
        }
        let status = self.status(state, &parts);
        let task = json!({"id": self.task, "contextId": self.context, "status": status, "artifacts": artifacts});
        self.answer(&self.wrapped("task", "task", task))
    }

    /// How the task ends, and what is said to that.
    fn outcome(&mut self) -> (State, Vec<Value>) {
        if let Some(failure) = &self.failure {
            let said = failure
                .display_message
                .as_ref()
                .or(failure.message.as_ref());
            let text = said.map_or("", String::as_str);
            return (State::Failed, vec![part::text(self.version, text)]);
        }
        if self.withheld {
            let text = part::text(self.version, "The answer was withheld by a content filter.");
            return (State::Rejected, vec![text]);
        }
        if let Some(form) = self.form.take() {
            let schema: Value = serde_json::from_str(form.get()).unwrap_or_default();
            let parts = self.question().chain([self.data(&schema)]);
            return (State::InputRequired, parts.collect());
        }
        if asks(&self.text) {
            return (State::InputRequired, self.question().collect());
        }
        (State::Completed, Vec::new())
    }

    /// What is asked; of a long text, clients have all of it already.
    fn question(&self) -> impl Iterator<Item = Value> {
        let whole = (!self.shortened).then(|| part::text(self.version, &self.text));
        whole.into_iter()
    }

    fn event(&mut self, event: AgentEvent) -> Option<Value> {
        match event {
            AgentEvent::Text(text) => Some(self.words(&text)),
            AgentEvent::Stage { index, change } => self.stage(index, &change),
            AgentEvent::Attachment(file) => Some(self.file(&file)),
            AgentEvent::Form(form) => {
                self.form = Some(form);
                None
            }
            _ => None,
        }
    }

    fn words(&mut self, text: &str) -> Value {
        self.text.push_str(text);
        let append = std::mem::replace(&mut self.begun, true);
        let artifact = json!({"artifactId": ANSWER, "parts": [part::text(self.version, text)]});
        let update = json!({"artifact": artifact, "append": append});
        self.update("artifactUpdate", "artifact-update", update)
    }

    fn file(&mut self, file: &Attachment) -> Value {
        // The address of a file that DIAL Core keeps is still worth being told.
        let part = part::file(self.version, file).unwrap_or_else(|| {
            let place = file.url.as_deref().unwrap_or_default();
            part::text(self.version, &format!("{}: {place}", file.manifest()))
        });
        self.files.push(part.clone());
        let artifact = json!({"artifactId": format!("file-{}", self.files.len()), "parts": [part]});
        let update = json!({"artifact": artifact, "lastChunk": true});
        self.update("artifactUpdate", "artifact-update", update)
    }

    /// A piece of a stage. Which stage it is, and where it hangs, stands beside it.
    fn stage(&self, index: u32, change: &StageChange) -> Option<Value> {
        let mut about = Map::from_iter([("stage".to_owned(), Value::from(index))]);
        let name = change.name.as_deref();
        about.extend(name.map(|name| ("name".to_owned(), Value::from(name))));
        about.extend(
            change
                .parent
                .map(|parent| ("parent".to_owned(), Value::from(parent))),
        );
        let ended = change
            .status
            .map(|status| ("status".to_owned(), Value::from(status.as_str())));
        about.extend(ended);
        let text = change.content.as_deref().or(name);
        if text.is_none() && change.status.is_none() {
            return None;
        }
        let parts = text.map(|text| part::text(self.version, text));
        let status = self.status(State::Working, parts.as_slice());
        let update = json!({"status": status, "final": false, "metadata": about});
        Some(self.update("statusUpdate", "status-update", update))
    }

    fn status(&self, state: State, parts: &[Value]) -> Value {
        let name = match self.version {
            Version::V03 => state.as_str().to_owned(),
            Version::V10 => {
                let name = state.as_str().to_ascii_uppercase().replace('-', "_");
                format!("TASK_STATE_{name}")
            }
        };
        if parts.is_empty() {
            return json!({"state": name});
        }
        let mut message = json!({
            "messageId": format!("{}-status", self.task), "contextId": self.context, "taskId": self.task,
            "parts": parts,
        });
        if let Some(fields) = message.as_object_mut() {
            let role = match self.version {
                Version::V03 => {
                    fields.insert("kind".into(), "message".into());
                    "agent"
                }
                Version::V10 => "ROLE_AGENT",
            };
            fields.insert("role".into(), role.into());
        }
        json!({"state": name, "message": message})
    }

    fn data(&self, data: &Value) -> Value {
        match self.version {
            Version::V03 => json!({"kind": "data", "data": data}),
            Version::V10 => json!({"data": data, "mediaType": super::JSON}),
        }
    }

    fn update(&self, new: &str, old: &str, mut update: Value) -> Value {
        if let Some(fields) = update.as_object_mut() {
            fields.insert("taskId".into(), self.task.as_str().into());
            fields.insert("contextId".into(), self.context.as_str().into());
            if self.version == Version::V10 {
                fields.remove("final");
            }
        }
        self.answer(&self.wrapped(new, old, update))
    }

    fn wrapped(&self, new: &str, old: &str, mut what: Value) -> Value {
        if self.version == Version::V10 {
            return json!({ new: what });
        }
        if let Some(fields) = what.as_object_mut() {
            fields.insert("kind".into(), old.into());
        }
        what
    }

    fn answer(&self, result: &Value) -> Value {
        json!({"jsonrpc": "2.0", "id": self.id, "result": result})
    }

    /// Lets go of what has been told: who streams needs no more.
    pub fn shorten(&mut self) {
        if self.text.len() > 2 * TAIL {
            let from = self.text.ceil_char_boundary(self.text.len() - TAIL);
            self.text.drain(..from);
            self.shortened = true;
        }
    }
}
