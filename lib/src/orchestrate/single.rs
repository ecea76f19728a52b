//! One agent, called once, its events mirrored below its own stage.

use std::time::Duration;

use futures_util::StreamExt;

use crate::domain::agent::AgentCard;
use crate::domain::event::{AgentEvent, StageStatus};
use crate::domain::ids::AgentId;
use crate::domain::message::{Attachment, OpaqueState};
use crate::domain::rules::Caps;
use crate::domain::turn::AgentTask;
use crate::domain::usage::Tally;
pub use crate::gateway::Error;
use crate::gateway::{EventStream, Gateways};
use crate::stream::{AnswerSink, Mirror, Nesting, Stage, labels};

/// What an agent gave, complete or not.
#[derive(Debug, Default)]
pub struct Report {
    pub text: String,
    pub attachments: Vec<Attachment>,
    pub state: Option<OpaqueState>,
    /// The session the agent now keeps, and whether it was made in this call.
    pub session: Option<(String, bool)>,
    pub tally: Tally,
    /// The text is over its cap, and says so.
    cut: bool,
}

impl Report {
    /// Takes text up to the cap, and returns what it took. Over it the text is cut and says so, but reading goes on to the
    /// agent's end: its attachments and its state are worth as much as ever. An agent that goes on for longer than a
    /// whole answer may be fails there.
    fn add(&mut self, text: &str, cap: usize) -> &str {
        let before = self.text.len();
        if !self.cut {
            let room = cap.saturating_sub(before);
            let fitting = text.get(..text.floor_char_boundary(room)).unwrap_or(text);
            self.text.push_str(fitting);
            if fitting.len() < text.len() {
                self.text.push_str(&labels::text_cut(cap));
                self.cut = true;
            }
        }
        self.text.get(before..).unwrap_or_default()
    }
}

/// The agents at work: their gateways, and how their stages are shown.
#[derive(Debug)]
pub struct Agents {
    pub gateways: Gateways,
    pub nesting: Nesting,
    pub caps: Caps,
}

impl Agents {
    /// Calls an agent, perhaps instead of another one, and shows what it does while it does it. The report grows as events
    /// come, so that it holds what there is when the call fails or is given up.
    pub async fn call(
        &self,
        card: &AgentCard,
        task: AgentTask,
        instead_of: Option<&AgentId>,
        sink: &AnswerSink,
        report: &mut Report,
    ) -> Result<(), Error> {
        let agent = &card.id;
        let gateway = self.gateways.get(agent).ok_or(Error::Unknown)?;
        let stage = sink.open_stage(Some(&labels::agent_stage(agent)), None);
        if let Some(other) = instead_of {
            stage.text(&labels::stands_in(other, agent));
        }
        self.work(gateway.call(task), agent, &stage, sink, report)
            .await
    }

    /// Has an agent forget one of its conversations.
    pub async fn forget(
        &self,
        agent: &AgentId,
        session: &str,
        within: Duration,
    ) -> Result<(), Error> {
        let gateway = self.gateways.get(agent).ok_or(Error::Unknown)?;
        gateway.forget(session, within).await
    }

    /// Whether an agent can be reached.
    pub async fn check(&self, agent: &AgentId, within: Duration) -> Result<(), Error> {
        let gateway = self.gateways.get(agent).ok_or(Error::Unknown)?;
        gateway.check(within).await
    }

    /// Mirrors an agent's events to their end.
    async fn work(
        &self,
        mut events: EventStream,
        agent: &AgentId,
        stage: &Stage,
        sink: &AnswerSink,
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut mirror = Mirror::new(sink, agent, stage, self.nesting, self.caps);
        loop {
            // The last place to wait for a slow reader: what is not read is not asked for.
            sink.ready().await;
            match events.next().await {
                Some(Ok(AgentEvent::Text(text))) => {
                    stage.stream(report.add(&text, self.caps.text)).await;
                }
                Some(Ok(AgentEvent::Stage { index, change })) => mirror.apply(index, &change),
                Some(Ok(AgentEvent::Attachment(attachment))) => match mirror.take(&attachment) {
                    Ok(()) => {
                        sink.attach(&attachment);
                        report.attachments.push(attachment);
                    }
                    // It is a part of the answer that is missing, so the answer says so.
                    Err(note) => stage.stream(report.add(&note, self.caps.text)).await,
                },
                Some(Ok(AgentEvent::State(state))) => report.state = Some(state),
                Some(Ok(AgentEvent::Usage(lines))) => {
                    for line in lines {
                        report.tally.add(&line.model, line.usage);
                    }
                }
                Some(Ok(AgentEvent::Session { id, created })) => {
                    if created {
                        stage.text(&labels::session_created(agent, &id));
                    }
                    report.session = Some((id, created));
                }
                // A complete answer of nothing helps nobody: it is never a success.
                Some(Ok(AgentEvent::Finished))
                    if report.text.trim().is_empty() && report.attachments.is_empty() =>
                {
                    return Err(Error::Empty);
                }
                Some(Ok(AgentEvent::Finished)) => {
                    mirror.close(StageStatus::Completed);
                    stage.close(StageStatus::Completed);
                    return Ok(());
                }
                Some(Err(error)) => {
                    if !report.text.is_empty() {
                        stage.text(labels::PARTIAL);
                    }
                    return Err(error);
                }
                // Every gateway ends with Finished or an error; an end without either is no success.
                None => return Err(Error::Unfinished),
            }
        }
    }
}
