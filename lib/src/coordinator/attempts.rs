//! The answers of one part where the first failed a check: which is used, and what is kept of the other.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::Progress;
use super::consult::Job;
use super::part::Part;
use crate::domain::agent::AgentCard;
use crate::domain::check::{Again, Check, Checked, Judged};
use crate::domain::conversation::{AgentCall, Exchange};
use crate::domain::ids::AgentId;
use crate::domain::message::{Attachment, Message};
use crate::domain::usage::Step as Use;
use crate::orchestrate::Report;
use crate::stream::{AnswerSink, checks};

/// The agents that a turn has asked once more: each at most once, however many steps it has.
#[derive(Debug, Default)]
pub(super) struct AskedAgain(Mutex<BTreeSet<AgentId>>);

impl AskedAgain {
    pub fn has(&self, agent: &AgentId) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(agent)
    }

    pub fn note(&self, agent: &AgentId) {
        let mut agents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        agents.insert(agent.clone());
    }
}

/// An answer that failed a check.
#[derive(Debug)]
struct First {
    report: Report,
    told: Option<String>,
    failed: Vec<Check>,
}

/// What checks made of the answers of one part.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// The answer that is kept while its agent is asked once more.
    first: Option<First>,
    /// Why it is asked once more; empty where it is not.
    because: Vec<Check>,
    /// The answers that are not the one used: before it, or after it.
    before: Option<Exchange>,
    after: Option<Exchange>,
    /// What is wrong with the answer that is used, and why its agent is not asked once more.
    wrong: Option<(Vec<Check>, Again)>,
    /// A second model is being asked.
    pub judging: bool,
    /// What the agent still does under this session is read by nobody.
    unread: Option<(AgentId, String)>,
}

impl Attempts {
    /// The agent is asked once more, because of these.
    pub fn begin_second(&mut self, because: Vec<Check>) {
        self.because = because;
    }

    /// The answer is used with what is wrong with it.
    pub fn leave(&mut self, failed: Vec<Check>, again: Again) {
        self.wrong = Some((failed, again));
    }

    /// The agent is at its second answer, or has given it.
    pub fn is_second(&self) -> bool {
        !self.because.is_empty()
    }

    /// Why the agent is asked once more.
    pub fn because(&self) -> Option<&[Check]> {
        self.is_second().then_some(self.because.as_slice())
    }

    /// Another agent is asked now.
    pub fn begin_anew(&mut self) {
        self.because.clear();
    }

    /// What of the agent's files is in the answer already.
    pub fn attached(&self) -> &[Attachment] {
        (self.first.as_ref()).map_or(&[], |first| first.report.attachments.as_slice())
    }
}

impl Part {
    /// What the checks of the last call came to.
    pub(super) fn note(
        &mut self,
        card: &AgentCard,
        failed: &[Check],
        again: Option<Again>,
        judged: Option<Judged>,
    ) {
        if failed.is_empty() && judged.is_none() {
            return;
        }
        if !failed.is_empty() {
            let words: Vec<&str> = failed.iter().map(|check| check.as_str()).collect();
            tracing::info!(
                agent.id = %card.id, check.failed = words.join(","), check.again = again.map(Again::as_str),
                "an answer failed a check"
            );
        }
        if let Some(call) = self.calls.last_mut() {
            call.checked = Some(Checked {
                failed: failed.to_vec(),
                again,
                judged,
            });
        }
    }

    /// The answer is kept while its agent is asked once more, in the same session.
    pub(super) fn set_aside(&mut self, failed: Vec<Check>) {
        let session = self.report.session.clone();
        self.attempts.first = Some(First {
            report: std::mem::replace(&mut self.report, Report::in_session(session)),
            told: self.told.take(),
            failed,
        });
    }

    /// The first answer as its agent's history has it.
    pub(super) fn first_exchange(&self, job: Job<'_>) -> Option<Exchange> {
        let (first, asked) = (self.attempts.first.as_ref()?, job.turn.messages.last()?);
        Some(Self::exchange_of(
            self.agent.clone()?,
            first.told.as_deref(),
            &first.report,
            asked,
        ))
    }

    /// Of two answers, the one that fails less is used; of two that are as bad, the second, which knew of the first.
    pub(super) fn choose(&mut self, failed: Vec<Check>, job: Job<'_>) {
        let before = self.first_exchange(job);
        let Some(first) = self.attempts.first.take() else {
            self.attempts.wrong = (!failed.is_empty()).then_some((failed, Again::Twice));
            return;
        };
        let badness = |failed: &[Check]| {
            failed
                .iter()
                .min()
                .map(|worst| (std::cmp::Reverse(*worst), failed.len()))
        };
        if badness(&failed) <= badness(&first.failed) {
            self.attempts.before = before;
            self.attempts.wrong = (!failed.is_empty()).then_some((failed, Again::Twice));
            return;
        }
        let asked = job.turn.messages.last();
        self.attempts.after = asked.and_then(|asked| self.exchange(asked));
        self.use_first(first);
    }

    /// The second answer did not come: the first one is used. False where there is none.
    pub(super) fn go_back(&mut self) -> bool {
        let Some(first) = self.attempts.first.take() else {
            return false;
        };
        self.count();
        let now = std::mem::replace(&mut self.report.session, first.report.session.clone());
        let kept = first.report.session.as_ref().map(|(id, _)| id);
        let other = now.filter(|(now, _)| Some(now) != kept);
        if let Some((agent, (id, made))) = self.agent.clone().zip(other) {
            self.attempts.unread = Some((agent.clone(), id.clone()));
            self.reached.push((agent, id, made));
        }
        self.use_first(first);
        true
    }

    fn use_first(&mut self, first: First) {
        let session = self.report.session.take();
        self.report = first.report;
        self.report.session = session.or(self.report.session.take());
        self.told = first.told;
        self.attempts.wrong = Some((first.failed, Again::Twice));
        self.counted = true;
        self.reported = true;
    }

    /// Whatever this part was in the middle of is cut off.
    pub(super) fn cut_off(&mut self) {
        if std::mem::take(&mut self.attempts.judging) {
            self.tally.add_unknown(Use::Judge);
        }
        self.go_back();
    }

    /// Every answer of the part, in order.
    pub(super) fn exchanges(&self, asked: &Message) -> Vec<Exchange> {
        let Attempts { before, after, .. } = &self.attempts;
        let own = self.exchange(asked);
        before
            .iter()
            .cloned()
            .chain(own)
            .chain(after.iter().cloned())
            .collect()
    }

    /// The session under which its agent still does something that nobody reads to its end.
    pub(super) fn unread(&self) -> Option<(&AgentId, &str)> {
        if self.reported {
            let (agent, session) = self.attempts.unread.as_ref()?;
            return Some((agent, session));
        }
        let (session, _) = self.report.session.as_ref()?;
        Some((self.agent.as_ref()?, session))
    }

    /// It was asked once more: what it took tells nothing of what one answer takes.
    pub(super) fn is_reworked(&self) -> bool {
        self.attempts.is_second()
    }
}

impl Progress {
    /// An answer failed a check, whatever became of that.
    pub(super) fn is_faulty(&self) -> bool {
        let mut calls = self.parts.iter().flat_map(|part| &part.calls);
        calls.any(AgentCall::is_faulty)
    }

    /// What is wrong with the answers that are used, below what they say; not what everybody has read.
    pub(super) fn say_faults(&mut self, sink: &AnswerSink) {
        let notes: Vec<String> = (self.parts.iter().filter(|part| part.reported))
            .filter_map(|part| {
                let (failed, again) = part.attempts.wrong.as_ref()?;
                let seen = |check: &&Check| *again == Again::Shown && check.is_plain_to_see();
                let failed: Vec<Check> = failed
                    .iter()
                    .filter(|check| !seen(check))
                    .copied()
                    .collect();
                let note = checks::note(part.agent.as_ref()?, &failed, *again);
                (!failed.is_empty()).then(|| note.told(sink.language()))
            })
            .collect();
        for note in notes {
            self.say(sink, &note);
        }
    }
}
