//! One turn from request to record: who answers, the agent at work, the answer, the memory.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use futures_util::try_join;
use tokio::time::{Instant, timeout, timeout_at};

use crate::context;
use crate::domain::agent::Registry;
use crate::domain::conversation::{
    Envelope, Exchange, Memory, Outcome, Sessions, Stored, TurnRecord,
};
use crate::domain::event::StageStatus;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::{AgentId, Owner};
use crate::domain::message::Role;
use crate::domain::plan::{Assignment, Plan, RoutingDecision};
use crate::domain::turn::ChatTurn;
use crate::domain::usage::Tally;
use crate::gateway::Gateways;
use crate::orchestrate::{self, Report};
use crate::resilience::health::{Checked, Part};
use crate::route::{Chain, RouteQuery, Verdict};
use crate::store::envelope::Seal;
use crate::store::{self, Conversations, Table};
use crate::stream::{AnswerSink, FinishReason, Nesting, Stage, labels};
use crate::synthesize::{self, Synthesizer};

/// Saving may hold the end of an answer back for no longer than this.
const SAVE_WITHIN: Duration = Duration::from_secs(1);

/// Who calls, as soon as it is verified. Polled beside the routing call, awaited before any agent is called.
pub type Verification = BoxFuture<'static, Result<Owner, Failure>>;

/// Everything a turn needs.
#[derive(Debug)]
pub struct Coordinator {
    pub registry: Registry,
    pub chain: Chain,
    pub gateways: Gateways,
    pub synthesizer: Synthesizer,
    pub table: Table,
    pub seal: Seal,
    pub nesting: Nesting,
    /// How long conversations are remembered.
    pub retention: Duration,
    /// Takes a bare UMS conversation id of the reference coordinator as it comes.
    pub trust_legacy_sessions: bool,
}

/// How far a turn has come. It outlives the turn's own future, so that a turn cut off by its deadline still leaves
/// its state and its record.
#[derive(Default)]
struct Progress {
    recalled: Option<Recollection>,
    decision: Option<RoutingDecision>,
    agent: Option<AgentId>,
    report: Report,
    /// The agent's answer is complete.
    reported: bool,
    /// The text the user was shown.
    shown: String,
    outcome: Option<Outcome>,
    tally: Tally,
}

struct Recollection {
    owner: Owner,
    conversations: Conversations,
    memory: Memory,
    /// False when the store could not be read.
    read: bool,
}

impl Coordinator {
    /// Answers one turn into the sink, whatever happens: the stream always ends with its end mark.
    pub async fn answer(&self, turn: ChatTurn, verification: Verification, sink: AnswerSink) {
        let begun = Instant::now();
        let mut progress = Progress::default();
        sink.begin();
        let work = self.work(&turn, verification, &sink, &mut progress);
        let mut end = match timeout_at(turn.deadline, work).await {
            Ok(end) => end,
            Err(_) => Err(out_of_time(&turn)),
        };
        if end.is_err() && progress.reported {
            // What is missing is only the synthesis: the agent's own text is the answer.
            end = Ok(fall_back(&sink, &mut progress));
        }
        progress.outcome = progress
            .outcome
            .filter(|_| end.is_ok())
            .or(Some(Outcome::Failed));
        self.send_state(&turn, &sink, &progress);
        self.save(&turn, &sink, &progress, begun).await;
        log(&turn, &progress, &end, begun);
        match end {
            Ok(reason) => sink.finish(reason, &progress.tally),
            Err(failure) => sink.fail(&failure),
        }
    }

    /// Asks everything a turn depends on, at once.
    pub async fn check(&self, within: Duration) -> Vec<Checked> {
        let agents = self.registry.iter().filter_map(|card| {
            let gateway = self.gateways.get(&card.id)?;
            Some(
                checked(
                    card.id.to_string(),
                    Part::Agent,
                    within,
                    gateway.check(within),
                )
                .boxed(),
            )
        });
        let table = checked("table".into(), Part::Helper, within, self.table.check());
        let models = checked(
            "models".into(),
            Part::Helper,
            within,
            self.synthesizer.check(within),
        );
        join_all([table.boxed(), models.boxed()].into_iter().chain(agents)).await
    }

    /// The story of a turn.
    async fn work(
        &self,
        turn: &ChatTurn,
        verification: Verification,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, Failure> {
        let routing = sink.open_stage(Some(labels::ROUTING), None);
        sink.flush().await;

        let query = RouteQuery {
            messages: &turn.messages,
            caller: &turn.caller,
            deadline: turn.deadline,
        };
        let decide = async { Ok(self.chain.decide(&query).await) };
        let (verdict, recalled) = try_join!(decide, self.recall(turn, verification))?;

        let Plan::Single(assignment) = show(&routing, &verdict);
        if !recalled.read {
            memory_trouble(sink, labels::MEMORY_UNREAD);
        }
        progress.tally = verdict.tally;
        progress.decision = Some(verdict.decision);
        let recalled = progress.recalled.insert(recalled);

        progress.agent = Some(assignment.agent.clone());
        let called = self
            .call(
                turn,
                &recalled.memory,
                &assignment,
                sink,
                &mut progress.report,
            )
            .await;
        progress.tally.merge(&progress.report.tally);
        called?;
        progress.reported = true;
        self.send_state(turn, sink, progress);

        self.synthesize(turn, &assignment.agent, sink, progress)
            .await
    }

    /// The caller verified, and what the conversation was so far.
    async fn recall(
        &self,
        turn: &ChatTurn,
        verification: Verification,
    ) -> Result<Recollection, Failure> {
        let owner = verification.await?;
        let recalled: Vec<_> = (turn.messages.iter())
            .filter(|message| message.role == Role::Assistant)
            .map(|message| self.seal.open(&owner, message.state.as_ref()))
            .collect();
        let conversation = context::conversation_id(&recalled, turn);
        let conversations = Conversations::of(&self.table, owner.clone(), self.retention);
        let loaded = conversations.load(&conversation, turn.received_at).await;
        let read = loaded.is_ok();
        let stored = loaded.unwrap_or_else(|error| {
            tracing::warn!(turn.id = %turn.id, error = &error as &dyn std::error::Error, "the memory cannot be read");
            Stored::default()
        });
        let mut memory = context::recollect(conversation, &turn.messages, &recalled, &stored);
        if let Some((agent, session)) = context::legacy_session(&recalled)
            && !memory.sessions.contains_key(&agent)
        {
            let owned = conversations
                .owns_session(&agent, session, turn.received_at)
                .await;
            if self.trust_legacy_sessions || owned.unwrap_or(false) {
                memory.sessions.insert(agent, session.to_owned());
            }
        }
        Ok(Recollection {
            owner,
            conversations,
            memory,
            read,
        })
    }

    /// The agent at work.
    async fn call(
        &self,
        turn: &ChatTurn,
        memory: &Memory,
        assignment: &Assignment,
        sink: &AnswerSink,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let agent = &assignment.agent;
        let (Some(card), Some(gateway)) =
            (self.registry.get(agent.as_str()), self.gateways.get(agent))
        else {
            return Err(Failure::internal(&turn.id.reference()));
        };
        let task = context::view(turn, memory, card, assignment);
        let called =
            orchestrate::call(gateway.as_ref(), agent, task, sink, self.nesting, report).await;
        if called.is_ok() && report.text.trim().is_empty() && report.attachments.is_empty() {
            return Err(agent_failed(
                turn,
                agent,
                "gave an empty answer",
                None,
                false,
            ));
        }
        called.map_err(|error| {
            tracing::warn!(
                turn.id = %turn.id, agent.id = %agent, error = &error as &dyn std::error::Error,
                error.reference = turn.id.reference(), "the agent failed"
            );
            agent_failed(
                turn,
                agent,
                "failed",
                error.display_message(),
                error.is_timeout(),
            )
        })
    }

    /// The answer, as the model writes it; what it loses of the agent's links and images is appended.
    async fn synthesize(
        &self,
        turn: &ChatTurn,
        agent: &AgentId,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, Failure> {
        let written = self.write(turn, agent, sink, progress).await;
        match written {
            Err(synthesize::Error::Filtered) => {
                progress.outcome = Some(Outcome::Answered);
                return Ok(FinishReason::ContentFilter);
            }
            Err(error) => {
                tracing::warn!(
                    turn.id = %turn.id, error = &error as &dyn std::error::Error, "the synthesis failed"
                );
                return Ok(fall_back(sink, progress));
            }
            Ok(()) if progress.shown.trim().is_empty() => return Ok(fall_back(sink, progress)),
            Ok(()) => {}
        }
        if let Some(lost) = synthesize::lost(&progress.report.text, &progress.shown) {
            say(sink, &mut progress.shown, &lost);
        }
        progress.outcome = Some(Outcome::Answered);
        Ok(FinishReason::Stop)
    }

    async fn write(
        &self,
        turn: &ChatTurn,
        agent: &AgentId,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<(), synthesize::Error> {
        let mut text = self
            .synthesizer
            .answer(turn, agent, &progress.report.text)
            .await?;
        let end = loop {
            sink.ready().await;
            match text.next().await {
                Ok(Some(piece)) => say(sink, &mut progress.shown, &piece),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Some(usage) = text.usage() {
            progress.tally.add(self.synthesizer.model(), usage);
        }
        end
    }

    /// The client's half of the memory. It leaves before the synthesis, so that a user who stops reading there keeps
    /// the conversation.
    fn send_state(&self, turn: &ChatTurn, sink: &AnswerSink, progress: &Progress) {
        let Some(recalled) = &progress.recalled else {
            return;
        };
        sink.state(&self.seal.seal(
            &recalled.owner,
            Envelope {
                conversation: recalled.memory.conversation.clone(),
                turn: turn.id,
                sessions: sessions(recalled, progress),
                exchange: exchange(turn, progress),
                stored: false,
            },
        ));
    }

    /// The server's half: one write, bounded, never fatal to the answer.
    async fn save(&self, turn: &ChatTurn, sink: &AnswerSink, progress: &Progress, begun: Instant) {
        let (Some(recalled), Some(decision)) = (&progress.recalled, &progress.decision) else {
            return;
        };
        let record = TurnRecord {
            id: turn.id,
            at: turn.received_at,
            outcome: progress.outcome.unwrap_or(Outcome::Failed),
            source: decision.source.as_str().into(),
            confidence: decision.confidence,
            rationale: decision.rationale.clone(),
            exchange: exchange(turn, progress),
            shown: context::digest(&progress.shown),
            usage: progress.tally.per_model().to_vec(),
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let created: Vec<_> = match (&progress.agent, &progress.report.session) {
            (Some(agent), Some((id, true))) => vec![(agent.clone(), id.clone())],
            _ => Vec::new(),
        };
        let sessions = sessions(recalled, progress);
        let conversation = &recalled.memory.conversation;
        let save = recalled
            .conversations
            .save(conversation, &record, &sessions, &created);
        let saved = timeout(SAVE_WITHIN, save)
            .await
            .unwrap_or(Err(store::Error::Slow));
        if let Err(error) = saved {
            tracing::warn!(turn.id = %turn.id, error = &error as &dyn std::error::Error, "the turn cannot be saved");
            if recalled.read {
                memory_trouble(sink, labels::MEMORY_UNSAVED);
            }
        }
    }
}

/// Shows the decision: the agent in the stage's name, the rest in its text. A rung that failed makes it a failed stage.
fn show(stage: &Stage, verdict: &Verdict) -> Plan {
    let Plan::Single(assignment) = &verdict.decision.plan;
    stage.name(&labels::routed_to(&assignment.agent));
    stage.text(&labels::decision(&verdict.decision));
    for (rung, error) in &verdict.troubles {
        tracing::warn!(
            route.rung = rung,
            error = error as &dyn std::error::Error,
            "a routing rung failed"
        );
        stage.text(&labels::rung_failed(rung, &assignment.agent));
    }
    stage.close(if verdict.troubles.is_empty() {
        StageStatus::Completed
    } else {
        StageStatus::Failed
    });
    verdict.decision.plan.clone()
}

async fn checked<E: std::error::Error>(
    name: String,
    part: Part,
    within: Duration,
    work: impl Future<Output = Result<(), E>>,
) -> Checked {
    let begun = Instant::now();
    let problem = match timeout(within, work).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no answer in time".into()),
    };
    Checked {
        name,
        part,
        up: problem.is_none(),
        latency: begun.elapsed(),
        problem,
    }
}

fn memory_trouble(sink: &AnswerSink, text: &str) {
    let stage = sink.open_stage(Some(labels::MEMORY), None);
    stage.text(text);
    stage.close(StageStatus::Failed);
}

fn say(sink: &AnswerSink, shown: &mut String, text: &str) {
    sink.text(text);
    shown.push_str(text);
}

/// The agent's own text is the answer, after what there is of a synthesis.
fn fall_back(sink: &AnswerSink, progress: &mut Progress) -> FinishReason {
    if !progress.shown.is_empty() {
        say(sink, &mut progress.shown, labels::SYNTHESIS_BROKE_OFF);
    }
    let text = std::mem::take(&mut progress.report.text);
    say(sink, &mut progress.shown, &text);
    progress.report.text = text;
    progress.outcome = Some(Outcome::AnsweredRaw);
    FinishReason::Stop
}

/// The sessions of all agents, this turn's included.
fn sessions(recalled: &Recollection, progress: &Progress) -> Sessions {
    let mut sessions = recalled.memory.sessions.clone();
    if let (Some(agent), Some((id, _))) = (&progress.agent, &progress.report.session) {
        sessions.insert(agent.clone(), id.clone());
    }
    sessions
}

/// What the agent was asked and said, once its answer is complete.
fn exchange(turn: &ChatTurn, progress: &Progress) -> Option<Exchange> {
    let (Some(agent), Some(decision), true) =
        (&progress.agent, &progress.decision, progress.reported)
    else {
        return None;
    };
    let last = turn.messages.last()?;
    let Plan::Single(assignment) = &decision.plan;
    Some(Exchange {
        agent: agent.clone(),
        request: last.text.clone(),
        instructions: assignment.instructions.clone(),
        request_attachments: context::by_address(&last.attachments),
        answer: progress.report.text.clone(),
        attachments: context::by_address(&progress.report.attachments),
        state: progress.report.state.clone(),
    })
}

fn agent_failed(
    turn: &ChatTurn,
    agent: &AgentId,
    how: &str,
    said: Option<String>,
    silent: bool,
) -> Failure {
    let reference = turn.id.reference();
    if silent {
        return Failure::new(
            Code::AgentTimeout,
            format!("agent {agent} did not answer in time, reference {reference}"),
            labels::agent_timeout(agent, &reference),
        );
    }
    Failure::new(
        Code::AgentUnavailable,
        format!("agent {agent} {how}, reference {reference}"),
        said.map_or_else(
            || labels::agent_unavailable(agent, &reference),
            |said| labels::agent_said(agent, &said, &reference),
        ),
    )
}

fn out_of_time(turn: &ChatTurn) -> Failure {
    let reference = turn.id.reference();
    Failure::new(
        Code::DeadlineExceeded,
        format!("the turn's time was used up, reference {reference}"),
        labels::deadline(&reference),
    )
}

/// One line per turn: ids, words and times, never content.
fn log(turn: &ChatTurn, progress: &Progress, end: &Result<FinishReason, Failure>, begun: Instant) {
    tracing::info!(
        turn.id = %turn.id,
        route.agent = progress.agent.as_ref().map(AgentId::as_str),
        route.source = progress.decision.as_ref().map(|decision| decision.source.as_str()),
        turn.outcome = ?progress.outcome.unwrap_or(Outcome::Failed),
        error.code = end.as_ref().err().map(|failure| failure.code.as_str()),
        duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "turn ended"
    );
}
