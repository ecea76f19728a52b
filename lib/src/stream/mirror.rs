//! One agent's stages shown as children of its own stage, whatever indexes the agent uses.

use std::collections::HashMap;

use super::sink::{AnswerSink, Stage};
use crate::domain::event::{StageChange, StageStatus};
use crate::domain::ids::AgentId;

/// How agents' stages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// As children, by `parent_stage_index`.
    Nested,
    /// Side by side with the agent's name before theirs, for chat clients that know no nesting.
    Flat,
}

/// Mirrors one agent's stages. Several mirrors may write into one answer, interleaved.
#[derive(Debug)]
pub struct Mirror {
    sink: AnswerSink,
    agent: AgentId,
    /// The agent's own stage in our answer.
    under: u32,
    nesting: Nesting,
    /// By the agent's index.
    stages: HashMap<u32, Stage>,
    /// The agent's indexes in the order they were opened.
    order: Vec<u32>,
}

impl Mirror {
    pub fn new(sink: &AnswerSink, agent: &AgentId, under: &Stage, nesting: Nesting) -> Self {
        Self {
            sink: sink.clone(),
            agent: agent.clone(),
            under: under.index(),
            nesting,
            stages: HashMap::new(),
            order: Vec::new(),
        }
    }

    /// Applies every field of a change: the first one for an index opens the stage, a status closes it.
    pub fn apply(&mut self, index: u32, change: &StageChange) {
        let fresh = !self.stages.contains_key(&index);
        if fresh {
            self.open(index, change);
        }
        let Some(stage) = self.stages.get(&index) else {
            return;
        };
        if let (false, Some(more)) = (fresh, &change.name) {
            stage.name(more);
        }
        if let Some(more) = &change.content {
            stage.text(more);
        }
        for attachment in &change.attachments {
            stage.attach(attachment);
        }
        if let Some(status) = change.status {
            stage.close(status);
        }
    }

    /// Closes what the agent left open, children before their parents.
    pub fn close(&mut self, status: StageStatus) {
        for index in self.order.iter().rev() {
            if let Some(stage) = self.stages.get(index) {
                stage.close(status);
            }
        }
    }

    fn open(&mut self, index: u32, change: &StageChange) {
        let stage = match self.nesting {
            Nesting::Nested => {
                // A parent the agent never announced counts as none: the stage hangs below the agent's own.
                let parent = change
                    .parent
                    .and_then(|parent| self.stages.get(&parent))
                    .map_or(self.under, Stage::index);
                self.sink.open_stage(change.name.as_deref(), Some(parent))
            }
            Nesting::Flat => {
                let name = change.name.as_deref().unwrap_or_default();
                self.sink
                    .open_stage(Some(&format!("[{}] {name}", self.agent)), None)
            }
        };
        self.stages.insert(index, stage);
        self.order.push(index);
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.close(StageStatus::Failed);
    }
}

#[cfg(test)]
mod tests;
