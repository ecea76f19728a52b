//! One agent, called once, its events mirrored below its own stage.

use std::time::Duration;

use futures_util::StreamExt;

use crate::domain::agent::AgentCard;
use crate::domain::event::{AgentEvent, StageStatus};
use crate::domain::ids::AgentId;
use crate::domain::message::{Attachment, OpaqueState};
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
}

/// The agents at work: their gateways, and how their stages are shown.
#[derive(Debug)]
pub struct Agents {
    pub gateways: Gateways,
    pub nesting: Nesting,
}

impl Agents {
    /// Calls an agent, perhaps instead of another one, and shows what it does while it does it. The report grows as events come, so that it holds what
    /// there is when the call fails or is given up.
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
        work(
            gateway.call(task),
            agent,
            &stage,
            sink,
            self.nesting,
            report,
        )
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
}

/// Mirrors an agent's events to their end.
async fn work(
    mut events: EventStream,
    agent: &AgentId,
    stage: &Stage,
    sink: &AnswerSink,
    nesting: Nesting,
    report: &mut Report,
) -> Result<(), Error> {
    let mut mirror = Mirror::new(sink, agent, stage, nesting);
    loop {
        // The last place to wait for a slow reader: what is not read is not asked for.
        sink.ready().await;
        match events.next().await {
            Some(Ok(AgentEvent::Text(text))) => {
                stage.text(&text);
                report.text.push_str(&text);
            }
            Some(Ok(AgentEvent::Stage { index, change })) => mirror.apply(index, &change),
            Some(Ok(AgentEvent::Attachment(attachment))) => {
                sink.attach(&attachment);
                report.attachments.push(attachment);
            }
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
