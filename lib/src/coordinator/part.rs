//! One agent's part of a turn: what it was asked, and what came of it.

use std::time::Duration;

use super::Progress;
use super::attempts::Attempts;
use super::figures::SPARED;
use crate::context;
use crate::domain::conversation::{AgentCall, Exchange, Last, asks};
use crate::domain::failure::Failure;
use crate::domain::hook::HookCall;
use crate::domain::ids::AgentId;
use crate::domain::message::Message;
use crate::domain::plan::Assignment;
use crate::domain::usage::{Step as Use, Tally};
use crate::orchestrate::Report;
use crate::store::Session;

/// What an agent does in this turn. It grows while the agent is at work, so that it holds what there is when the turn is
/// cut off.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
pub(super) struct Part {
    /// The plan's name for it; empty where it is the only one.
    pub name: String,
    pub assignment: Assignment,
    /// The agent at work, or the one that answered: another one than was assigned where it stands in.
    pub agent: Option<AgentId>,
    /// What it was told beside the user's words.
    pub told: Option<String>,
    pub report: Report,
    /// The sessions in which agents were asked, in order, and whether this turn made them. The report's own comes after.
    pub reached: Vec<(AgentId, String, bool)>,
    /// The agent's own text is the answer: nobody writes another one.
    pub passed: bool,
    /// That text is shown once it is checked, and has not been yet.
    pub held: bool,
    /// The agent's answer is complete.
    pub reported: bool,
    /// Every agent that was asked, in order, and what came of it.
    pub calls: Vec<AgentCall>,
    /// Every hook that was asked of it.
    pub hooks: Vec<HookCall>,
    /// Why there is no answer.
    pub failure: Option<Failure>,
    pub tally: Tally,
    /// What the report used is in the tally.
    pub counted: bool,
    /// Enough others had answered before it.
    pub spared: bool,
    /// The agent provably got nothing.
    pub untouched: bool,
    /// How long agents were at work.
    pub time: Option<Duration>,
    /// A history was cut.
    pub pruned: bool,
    /// What checks made of its answers.
    pub attempts: Attempts,
}

impl Part {
    pub fn new(name: &str, assignment: Assignment) -> Self {
        Self {
            name: name.to_owned(),
            assignment,
            agent: None,
            told: None,
            report: Report::default(),
            reached: Vec::new(),
            passed: false,
            held: false,
            reported: false,
            calls: Vec::new(),
            hooks: Vec::new(),
            failure: None,
            tally: Tally::default(),
            counted: false,
            spared: false,
            untouched: false,
            time: None,
            pruned: false,
            attempts: Attempts::default(),
        }
    }

    /// What the agent at work used goes into the account, once.
    pub fn count(&mut self) {
        if let (false, Some(agent)) = (self.counted, &self.agent) {
            self.tally.add_agent(Use::Agent, agent, &self.report.used);
            self.counted = true;
        }
    }

    /// An agent is asked, perhaps in a session that it has. What the one before it left is kept.
    pub fn begin(&mut self, agent: &AgentId, session: Option<&String>) {
        self.count();
        let left = self.report.session.take();
        // Asked once more, it goes on where it was.
        let again = left.clone().filter(|_| self.attempts.is_second());
        let before = self.agent.take().zip(left);
        (self.reached).extend(before.map(|(agent, (id, made))| (agent, id, made)));
        (self.reached).extend(session.map(|id| (agent.clone(), id.clone(), false)));
        self.agent = Some(agent.clone());
        self.report = Report::in_session(again);
        self.counted = false;
    }

    /// Every session in which an agent was asked, in order.
    fn sessions(&self) -> impl Iterator<Item = Session<'_>> {
        let left = self.agent.as_ref().zip(self.report.session.as_ref());
        let left = left.map(|(agent, (id, made))| (agent, id, *made));
        let reached = self.reached.iter();
        let reached = reached.map(|(agent, id, made)| (agent, id, *made));
        reached
            .chain(left)
            .map(|(agent, id, created)| Session { agent, id, created })
    }

    /// What the agent was asked and said, once its answer is complete. `asked` is what the turn is about.
    pub fn exchange(&self, asked: &Message) -> Option<Exchange> {
        let agent = self.agent.clone().filter(|_| self.reported)?;
        Some(Self::exchange_of(
            agent,
            self.told.as_deref(),
            &self.report,
            asked,
        ))
    }

    /// One answer as its agent's history has it.
    pub fn exchange_of(
        agent: AgentId,
        told: Option<&str>,
        report: &Report,
        asked: &Message,
    ) -> Exchange {
        Exchange {
            agent,
            request: asked.text.clone(),
            instructions: told.map(str::to_owned),
            request_attachments: context::by_address(&asked.attachments),
            answer: report.text.clone(),
            attachments: context::by_address(&report.attachments),
            state: report.state.clone(),
        }
    }

    /// Enough others have answered: its agent, if it was at work, is not waited for.
    pub fn spare(&mut self, after: Duration) {
        self.spared = true;
        self.count();
        if let Some(agent) = self.agent.clone() {
            self.time = Some(after);
            self.calls.push(AgentCall {
                agent,
                outcome: SPARED.into(),
                duration_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
                checked: None,
            });
        }
    }

    /// There is nothing left to do of it.
    pub fn is_settled(&self) -> bool {
        self.reported || self.spared
    }

    /// The agent waits for the user's reply.
    pub fn asks(&self) -> bool {
        self.report.form || self.report.asks || asks(&self.report.text)
    }

    fn last(&self) -> Option<Last> {
        Some(Last {
            agent: Some(self.agent.clone().filter(|_| self.reported)?),
            asks: self.asks(),
        })
    }
}

/// What was reported by the agents that answered.
pub(super) fn reports(parts: &[Part]) -> impl Iterator<Item = (&AgentId, &str)> {
    (parts.iter())
        .filter(|part| part.reported)
        .filter_map(|part| Some((part.agent.as_ref()?, part.report.text.as_str())))
}

impl Progress {
    /// Every call of the turn; those that were begun on a guess and dropped come first.
    pub(super) fn calls(&self) -> Vec<AgentCall> {
        let made = self.parts.iter().flat_map(|part| &part.calls);
        self.dropped.iter().chain(made).cloned().collect()
    }

    /// Every session in which an agent was asked.
    pub(super) fn sessions(&self) -> impl Iterator<Item = Session<'_>> {
        self.parts.iter().flat_map(Part::sessions)
    }

    /// The agents at work, or those that answered.
    pub(super) fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.parts.iter().filter_map(|part| part.agent.as_ref())
    }

    /// What the parts used goes into the turn's account, once.
    pub(super) fn gather(&mut self) {
        for part in &mut self.parts {
            part.count();
            self.hooks.append(&mut part.hooks);
            self.tally.merge(&std::mem::take(&mut part.tally));
            if std::mem::take(&mut part.pruned) {
                self.marks.pruned.push(Use::Agent);
            }
        }
    }

    /// How the parts end: of several agents the one whose form is shown gets the reply, else one that asks.
    pub(super) fn last_part(&self) -> Option<Last> {
        let reported = || self.parts.iter().filter(|part| part.reported);
        (reported().find(|part| part.report.form))
            .or_else(|| reported().rfind(|part| part.asks()))
            .or_else(|| reported().next_back())
            .and_then(Part::last)
    }
}
