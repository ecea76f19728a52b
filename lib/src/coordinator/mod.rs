//! One turn from request to record: who answers, the agent at work, the answer, the memory.

mod approve;
mod consult;
mod memory;
mod readiness;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{join, try_join};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::domain::access::Identity;
use crate::domain::agent::{Approval, Registry};
use crate::domain::conversation::{AgentCall, Outcome};
use crate::domain::event::StageStatus;
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::AgentId;
use crate::domain::message::Message;
use crate::domain::plan::{Plan, RoutingDecision};
use crate::domain::rules::{Caps, Times};
use crate::domain::turn::ChatTurn;
use crate::domain::usage::{Prices, Tally};
use crate::guard::Guard;
use crate::orchestrate::{Agents, Report};
use crate::policy::Consent;
use crate::route::{Chain, RouteQuery, Verdict};
use crate::store::chain::Anchor;
use crate::store::envelope::Seal;
use crate::store::{Accounts, Audit, Table};
use crate::stream::{AnswerSink, FinishReason, Stage, labels};
use crate::synthesize::{self, Synthesizer};
use crate::telemetry;
use consult::out_of_time;
use memory::{Entered, Recollection, memory_trouble};

/// Who calls, as soon as it is verified. Polled beside the routing call, awaited before any agent is called.
pub type Verification = BoxFuture<'static, Result<Identity, Failure>>;

/// Everything a turn needs.
#[derive(Debug)]
pub struct Coordinator {
    pub registry: Registry,
    pub chain: Chain,
    pub agents: Agents,
    pub synthesizer: Synthesizer,
    pub table: Table,
    /// What each owner uses.
    pub accounts: Accounts,
    pub prices: Prices,
    /// Models are paid by us and not by the caller's key: nobody unverified, and nobody over a limit, gets one.
    pub verify_first: bool,
    /// Who may be called.
    pub guard: Arc<Guard>,
    pub seal: Seal,
    pub audit: Audit,
    pub times: Times,
    /// How long conversations are remembered.
    pub retention: Duration,
    /// Takes a bare UMS conversation id of the reference coordinator as it comes.
    pub trust_legacy_sessions: bool,
    pub caps: Caps,
    /// Also logs what people and agents say.
    pub log_content: bool,
}

/// How far a turn has come. It outlives the turn's own future, so that a turn cut off by its deadline still leaves
/// its state and its record.
#[derive(Default)]
struct Progress {
    /// In whose account the turn is: it must leave it, also when it ends before anything else is known.
    entered: Entered,
    recalled: Option<Recollection>,
    decision: Option<RoutingDecision>,
    /// The agent at work, or the one that answered.
    agent: Option<AgentId>,
    /// What the agent was asked in place of the turn's own message, which approved it.
    asked: Option<Message>,
    /// Every agent that was asked, in order, and what came of it.
    calls: Vec<AgentCall>,
    report: Report,
    /// What the report used is in the tally.
    counted: bool,
    /// The agent's answer is complete.
    reported: bool,
    /// The text the user was shown.
    shown: String,
    outcome: Option<Outcome>,
    /// Why the turn failed.
    error: Option<Code>,
    tally: Tally,
}

impl Progress {
    /// Says in the turn's span how it ended.
    fn trace(&self) {
        let outcome = self.outcome.unwrap_or(Outcome::Failed);
        let source = self.decision.as_ref().map(|decision| decision.source);
        telemetry::ended(outcome, self.error, self.agent.as_ref(), source);
    }
}

impl Coordinator {
    /// Answers one turn into the sink, whatever happens: the stream always ends with its end mark.
    pub async fn answer(&self, turn: ChatTurn, verification: Verification, sink: AnswerSink) {
        let begun = Instant::now();
        let mut progress = Progress::default();
        sink.begin();
        let work = timeout_at(
            turn.deadline,
            self.work(&turn, verification, &sink, &mut progress),
        );
        let ended = tokio::select! {
            biased;
            ended = work => Some(ended),
            () = sink.left() => None,
        };
        let mut end = match ended {
            Some(Ok(end)) => end,
            Some(Err(_)) => Err(out_of_time(&turn, self.effect(&progress))),
            None => {
                progress.outcome = Some(Outcome::Left);
                Ok(FinishReason::Stop)
            }
        };
        // A call that was cut off has used something, too.
        if !std::mem::replace(&mut progress.counted, true) {
            progress.tally.merge(&progress.report.tally);
        }
        if end.is_err() && progress.reported {
            // What is missing is only the synthesis: the agent's own text is the answer.
            end = Ok(fall_back(&sink, &mut progress));
        }
        progress.outcome = progress
            .outcome
            .filter(|_| end.is_ok())
            .or(Some(Outcome::Failed));
        progress.error = end.as_ref().err().map(|failure| failure.code);
        if !progress.reported {
            self.send_state(&turn, &sink, &progress);
        }
        let (anchor, ()) = join!(
            self.save(&turn, &sink, &progress, begun),
            self.leave(&turn, &progress)
        );
        log(&progress, anchor.as_ref(), begun);
        progress.trace();
        if self.log_content {
            log_content(&turn, &progress);
        }
        match end {
            Ok(reason) => sink.finish(reason, &progress.tally),
            Err(failure) => sink.fail(&failure),
        }
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
            // An answer that trickles in must leave time for the agent.
            deadline: turn
                .deadline
                .min(Instant::now() + self.times.model_first_byte * 2),
        };
        let decide = async {
            Ok(self
                .chain
                .decide(&query)
                .instrument(telemetry::route())
                .await)
        };
        let (slot, entered) = (&mut progress.recalled, &progress.entered);
        // Kept as soon as it is there: a turn cut off during the routing still leaves its state.
        let recall = Box::pin(async {
            let recall = self.recall(turn, verification, entered);
            let (recalled, ()) = join!(recall, self.guard.refresh());
            *slot = Some(recalled?);
            Ok(())
        });
        let consent = turn
            .messages
            .last()
            .and_then(|last| Consent::read(&last.text))
            // Who comes through an agent is no person, whatever it says.
            .filter(|_| turn.caller.depth == 0);
        let mut approved = None;
        let verdict = if let Some(consent) = consent {
            recall.await?;
            match self.consented(turn, &consent, progress).await {
                Ok((turn, decision)) => {
                    progress.asked = turn.messages.last().cloned();
                    approved = Some(turn);
                    Verdict::of(decision)
                }
                Err(text) => {
                    routing.close(StageStatus::Completed);
                    progress.outcome = Some(if consent.given {
                        Outcome::Answered
                    } else {
                        Outcome::Rejected
                    });
                    say(sink, &mut progress.shown, text);
                    return Ok(FinishReason::Stop);
                }
            }
        } else if self.verify_first {
            recall.await?;
            decide.await?
        } else {
            let ((), verdict) = try_join!(recall, decide)?;
            verdict
        };

        let Plan::Single(assignment) = show(&routing, &verdict);
        if !progress
            .recalled
            .as_ref()
            .is_some_and(|recalled| recalled.read)
        {
            memory_trouble(sink, labels::MEMORY_UNREAD);
        }
        progress.tally = verdict.tally;
        progress.decision = Some(verdict.decision);

        let needs_consent = (self.registry.get(assignment.agent.as_str()))
            .is_some_and(|card| card.approval == Approval::Always);
        if needs_consent && approved.is_none() {
            return self.propose(turn, assignment, sink, progress).await;
        }
        let turn = approved.as_ref().unwrap_or(turn);
        if let Some(reason) = self.consult(turn, assignment, sink, progress).await? {
            progress.outcome = Some(Outcome::Answered);
            return Ok(reason);
        }
        progress.reported = true;
        self.send_state(turn, sink, progress);

        self.synthesize(turn, sink, progress).await
    }

    /// The answer, as the model writes it; what it loses of the agent's links and images is appended.
    async fn synthesize(
        &self,
        turn: &ChatTurn,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, Failure> {
        let Some(agent) = progress.agent.clone() else {
            return Err(Failure::internal(&turn.id.reference()));
        };
        let written = telemetry::within(
            telemetry::synthesis(),
            self.write(turn, &agent, sink, progress),
        )
        .await;
        let reason = match written {
            Err(synthesize::Error::Filtered) => {
                progress.outcome = Some(Outcome::Answered);
                return Ok(FinishReason::ContentFilter);
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the synthesis failed"
                );
                return Ok(fall_back(sink, progress));
            }
            Ok(_) if progress.shown.trim().is_empty() => return Ok(fall_back(sink, progress)),
            Ok(reason) => reason,
        };
        if let Some(lost) = synthesize::lost(&progress.report.text, &progress.shown) {
            say(sink, &mut progress.shown, &lost);
        }
        progress.outcome = Some(Outcome::Answered);
        Ok(reason)
    }

    async fn write(
        &self,
        turn: &ChatTurn,
        agent: &AgentId,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, synthesize::Error> {
        let mut text = self
            .synthesizer
            .answer(turn, agent, &progress.report.text)
            .await?;
        let end = loop {
            sink.ready().await;
            match text.next().await {
                Ok(Some(piece)) => say(sink, &mut progress.shown, &piece),
                Ok(None) if text.is_cut() => break Ok(FinishReason::Length),
                Ok(None) => break Ok(FinishReason::Stop),
                Err(error) => break Err(error),
            }
        };
        if let Some(usage) = text.usage() {
            progress.tally.add(self.synthesizer.model(), usage);
        }
        end
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

fn say(sink: &AnswerSink, shown: &mut String, text: &str) {
    sink.text(text);
    shown.push_str(text);
}

/// The agent's own text is the answer, after what there is of a synthesis.
fn fall_back(sink: &AnswerSink, progress: &mut Progress) -> FinishReason {
    if !progress.shown.trim().is_empty() {
        say(sink, &mut progress.shown, labels::SYNTHESIS_BROKE_OFF);
    }
    let text = std::mem::take(&mut progress.report.text);
    say(sink, &mut progress.shown, &text);
    progress.report.text = text;
    progress.outcome = Some(Outcome::AnsweredRaw);
    FinishReason::Stop
}

/// One line per turn: ids, words and times, never content.
fn log(progress: &Progress, anchor: Option<&Anchor>, begun: Instant) {
    tracing::event!(
        target: telemetry::ENDED,
        tracing::Level::INFO,
        route.agent = progress.agent.as_ref().map(AgentId::as_str),
        route.source = progress.decision.as_ref().map(|decision| decision.source.as_str()),
        turn.outcome = ?progress.outcome.unwrap_or(Outcome::Failed),
        error.code = progress.error.map(Code::as_str),
        // Names the turn's line of the audit log where nobody who can change the table can change it.
        audit.anchor = anchor.map(tracing::field::display),
        duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "turn ended"
    );
}

/// What was said, for debugging: the one place from which text gets into the log, and only where `MAS_LOG_CONTENT` says so.
fn log_content(turn: &ChatTurn, progress: &Progress) {
    tracing::debug!(
        request = turn.messages.last().map(|message| message.text.as_str()),
        report = progress.report.text,
        answer = progress.shown,
        "what was said"
    );
}
