//! One agent's stages shown as children of its own stage, whatever indexes the agent uses and however many.

use std::collections::HashMap;

use super::labels;
use super::sink::{AnswerSink, Stage};
use crate::domain::event::{StageChange, StageStatus};
use crate::domain::ids::AgentId;
use crate::domain::message::Attachment;
use crate::domain::phrase::Phrase;
use crate::domain::rules::Caps;

/// How agents' stages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// As children, by `parent_stage_index`.
    Nested,
    /// Side by side with the agent's name before theirs, for chat clients that know no nesting.
    Flat,
}

/// Mirrors one agent's stages, within the caps: what is over them is left out, and a note says so, once. Several mirrors
/// may write into one answer, interleaved.
#[derive(Debug)]
pub struct Mirror {
    sink: AnswerSink,
    agent: AgentId,
    /// The agent's own stage in our answer.
    under: u32,
    nesting: Nesting,
    caps: Caps,
    /// By the agent's index.
    stages: HashMap<u32, Shown>,
    /// The agent's indexes in the order they were opened.
    order: Vec<u32>,
    /// All of the agent's attachments so far, those of its answer too.
    attachments: usize,
    /// A stage was left out, and the note says so.
    left_out: bool,
}

/// A stage and how much of its cap is used: its name counts as well, since names grow like text.
#[derive(Debug)]
struct Shown {
    stage: Stage,
    written: usize,
    cut: bool,
}

impl Mirror {
    pub fn new(
        sink: &AnswerSink,
        agent: &AgentId,
        under: &Stage,
        nesting: Nesting,
        caps: Caps,
    ) -> Self {
        Self {
            sink: sink.clone(),
            agent: agent.clone(),
            under: under.index(),
            nesting,
            caps,
            stages: HashMap::new(),
            order: Vec::new(),
            attachments: 0,
            left_out: false,
        }
    }

    /// Applies every field of a change: the first one for an index opens the stage, a status closes it.
    pub fn apply(&mut self, index: u32, change: &StageChange) {
        let fresh = !self.stages.contains_key(&index);
        if fresh && self.stages.len() >= self.caps.stages {
            self.leave_out();
            return;
        }
        if fresh {
            self.open(index, change);
        }
        let cap = self.caps.stage_text;
        let Some(shown) = self.stages.get_mut(&index) else {
            return;
        };
        if let (false, Some(more)) = (fresh, &change.name) {
            let more = shown.fitting(more, cap);
            shown.stage.name(more);
        }
        if let Some(more) = &change.content {
            let fitting = shown.fitting(more, cap);
            shown.stage.text(fitting);
            if fitting.len() < more.len() && !std::mem::replace(&mut shown.cut, true) {
                shown.stage.say(labels::stage_cut(cap));
            }
        }
        for attachment in &change.attachments {
            let taken = self.take(attachment);
            let Some(Shown { stage, .. }) = self.stages.get(&index) else {
                continue;
            };
            match taken {
                Ok(()) => stage.attach(attachment),
                Err(note) => stage.text(&note),
            }
        }
        if let (Some(status), Some(shown)) = (change.status, self.stages.get(&index)) {
            shown.stage.close(status);
        }
    }

    /// Counts one more attachment of the agent. One that is over a cap is not taken; the note says which and why, or is
    /// empty once it has been said.
    pub fn take(&mut self, attachment: &Attachment) -> Result<(), String> {
        self.attachments = self.attachments.saturating_add(1);
        let Caps {
            attachments: count,
            attachment: size,
            ..
        } = self.caps;
        if self.attachments > count {
            let first = self.attachments == count + 1;
            let note = first.then(|| self.told(&labels::attachments_left_out(attachment, count)));
            return Err(note.unwrap_or_default());
        }
        if attachment.size() > size {
            return Err(self.told(&labels::attachment_left_out(attachment, size)));
        }
        Ok(())
    }

    fn told(&self, note: &Phrase) -> String {
        note.told(self.sink.language())
    }

    /// Closes what the agent left open, children before their parents.
    pub fn close(&mut self, status: StageStatus) {
        for index in self.order.iter().rev() {
            if let Some(shown) = self.stages.get(index) {
                shown.stage.close(status);
            }
        }
    }

    fn open(&mut self, index: u32, change: &StageChange) {
        let cap = self.caps.stage_text;
        let name = change.name.as_deref().map(|name| beginning(name, cap));
        let stage = match self.nesting {
            Nesting::Nested => {
                // A parent the agent never announced counts as none: the stage hangs below the agent's own.
                let parent = change
                    .parent
                    .and_then(|parent| self.stages.get(&parent))
                    .map_or(self.under, |shown| shown.stage.index());
                self.sink.open_stage(name, Some(parent))
            }
            Nesting::Flat => {
                let name = name.unwrap_or_default();
                self.sink
                    .open_stage(Some(&format!("[{}] {name}", self.agent)), None)
            }
        };
        let shown = Shown {
            stage,
            written: name.map_or(0, str::len),
            cut: false,
        };
        self.stages.insert(index, shown);
        self.order.push(index);
    }

    /// Says in a stage of its own that there are more stages than are shown.
    fn leave_out(&mut self) {
        if !std::mem::replace(&mut self.left_out, true) {
            let parent = (self.nesting == Nesting::Nested).then_some(self.under);
            let name = labels::more_stages().told(self.sink.language());
            let note = self.sink.open_stage(Some(&name), parent);
            note.say(labels::stages_left_out(&self.agent, self.caps.stages));
            note.close(StageStatus::Completed);
        }
    }
}

impl Shown {
    /// As much of a text as still fits into the stage; nothing more does once something did not.
    fn fitting<'a>(&mut self, more: &'a str, cap: usize) -> &'a str {
        let fitting = beginning(more, cap.saturating_sub(self.written));
        self.written = if fitting.len() < more.len() {
            cap
        } else {
            self.written + fitting.len()
        };
        fitting
    }
}

/// At most so many bytes of a text, cut between characters.
fn beginning(text: &str, cap: usize) -> &str {
    text.get(..text.floor_char_boundary(cap)).unwrap_or(text)
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.close(StageStatus::Failed);
    }
}

#[cfg(test)]
mod tests;
