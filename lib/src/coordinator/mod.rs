//! One turn from request to record: who answers, the agent at work, the answer, the memory.

mod answer;
mod approve;
mod consult;
mod decide;
mod figures;
mod memory;
mod readiness;
mod record;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::join;
use tokio::time::{Instant, timeout_at};

use crate::domain::access::Identity;
use crate::domain::agent::{Approval, Registry};
use crate::domain::conversation::{AgentCall, Last, Outcome, asks};
use crate::domain::failure::{Code, Failure};
use crate::domain::ids::AgentId;
use crate::domain::message::Message;
use crate::domain::plan::{Plan, RoutingDecision, Rung};
use crate::domain::rules::{Caps, Routing, Synthesis, Times};
use crate::domain::turn::ChatTurn;
use crate::domain::usage::{Prices, Step, Tally};
use crate::guard::Guard;
use crate::metrics::Metrics;
use crate::orchestrate::{Agents, Guess, Likely, Report};
use crate::policy::Consent;
use crate::route::{Chain, DecisionCache, Verdict};
use crate::store::chain::Anchor;
use crate::store::envelope::Seal;
use crate::store::{Accounts, Audit, Table};
use crate::stream::{AnswerSink, FinishReason, labels};
use crate::synthesize::Synthesizer;
use crate::telemetry;
use consult::out_of_time;
use figures::Marks;
use memory::{Entered, Recollection, memory_trouble};

/// Who calls, as soon as it is verified. Polled beside the routing call, awaited before any agent is called.
pub type Verification = BoxFuture<'static, Result<Identity, Failure>>;

/// Everything a turn needs. A copy shares what is counted and learned.
#[derive(Clone, Debug)]
pub struct Coordinator {
    pub registry: Registry,
    pub chain: Chain,
    /// What the model decided before; the chain asks it, the turn's end teaches it.
    pub cache: Option<Arc<DecisionCache>>,
    /// Whom to begin with while the model decides.
    pub likely: Option<Arc<Likely>>,
    pub routing: Routing,
    pub agents: Agents,
    pub synthesizer: Synthesizer,
    pub synthesis: Synthesis,
    pub metrics: Arc<Metrics>,
    pub table: Table,
    /// What each owner uses.
    pub accounts: Accounts,
    pub prices: Prices,
    /// Models are paid by us and not by the caller's key: who is over a limit gets none, so the account comes first.
    pub account_first: bool,
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
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Default)]
struct Progress {
    /// In whose account the turn is: it must leave it, also when it ends before anything else is known.
    entered: Arc<Entered>,
    recalled: Option<Recollection>,
    /// How the turn before this one ended, as the routing saw it.
    before: Option<Last>,
    decision: Option<RoutingDecision>,
    /// What each rung of the ladder said.
    rungs: Vec<Rung>,
    /// The step in which a model of ours is being asked, and has not said yet what it used.
    asking: Option<Step>,
    /// The routing model is being asked whether it still decides as before.
    checking: bool,
    /// The agent begun on a guess, until it is dropped or becomes the turn's own call.
    guess: Option<Guess>,
    /// The agent at work, or the one that answered.
    agent: Option<AgentId>,
    /// What the agent was asked in place of the turn's own message, which only said whom to ask, or approved it.
    asked: Option<Message>,
    /// Every agent that was asked, in order, and what came of it.
    calls: Vec<AgentCall>,
    report: Report,
    /// What the report used is in the tally.
    counted: bool,
    /// The agent's own text is the answer: nobody writes another one.
    passed: bool,
    /// The answer was withheld.
    filtered: bool,
    /// The agent's answer is complete.
    reported: bool,
    /// The text the user was shown.
    shown: String,
    outcome: Option<Outcome>,
    /// Why the turn failed.
    error: Option<Code>,
    tally: Tally,
    marks: Marks,
}

impl Progress {
    /// Says in the turn's span how it ended.
    fn trace(&self) {
        let outcome = self.outcome.unwrap_or(Outcome::Failed);
        let source = self.decision.as_ref().map(|decision| decision.source);
        telemetry::ended(outcome, self.error, self.agent.as_ref(), source);
    }

    /// What the agent at work used goes into the turn's account, once.
    fn count(&mut self) {
        if let (false, Some(agent)) = (self.counted, &self.agent) {
            self.tally.add_agent(Step::Agent, agent, &self.report.used);
        }
        self.counted = true;
    }

    /// What was cut off has used something, too, and what of it was shown is known.
    fn cut_off(&mut self) {
        if let Some(guess) = self.guess.take() {
            self.dropped(guess);
        }
        if self.agent.is_some() {
            self.count();
        }
        if let Some(step) = self.asking.take() {
            self.tally.add_unknown(step);
        }
        if std::mem::take(&mut self.checking) {
            self.tally.add_unknown(Step::Route);
        }
        if self.passed && self.shown.is_empty() {
            self.shown.clone_from(&self.report.text);
        }
    }

    /// How this turn ends, as the next one's routing will see it.
    fn last(&self) -> Option<Last> {
        let plan = self.decision.as_ref().map(|decision| &decision.plan);
        match (plan, &self.agent) {
            (Some(Plan::Clarify(_)), _) => Some(Last {
                agent: None,
                asks: true,
            }),
            (Some(Plan::Single(_)), Some(agent)) if self.reported => Some(Last {
                agent: Some(agent.clone()),
                asks: self.report.form || asks(&self.report.text),
            }),
            // A question about the system changes nothing for the agent that had asked before.
            (Some(Plan::About(_)), _) => self.before.clone(),
            _ => None,
        }
    }
}

impl Coordinator {
    /// Answers one turn into the sink, whatever happens: the stream always ends with its end mark.
    pub async fn answer(&self, turn: ChatTurn, verification: Verification, sink: AnswerSink) {
        let begun = Instant::now();
        let mut progress = Progress::default();
        let _flight = self.metrics.flight();
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
        progress.cut_off();
        if end.is_err() && progress.reported {
            // What is missing is only the synthesis: the agent's own text is the answer.
            end = Ok(answer::fall_back(&sink, &mut progress));
        }
        progress.outcome = progress
            .outcome
            .filter(|_| end.is_ok())
            .or(Some(Outcome::Failed));
        progress.error = end.as_ref().err().map(|failure| failure.code);
        if !progress.reported {
            self.send_state(&turn, &sink, &progress);
        }
        let saving = Instant::now();
        let (anchor, ()) = join!(
            self.save(&turn, &sink, &progress, begun),
            self.learn(&turn, &progress),
        );
        progress.marks.store = saving.elapsed();
        log(&progress, self.registry.version(), anchor.as_ref(), begun);
        progress.trace();
        self.measure(&sink, &progress, begun);
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
        let begun = Instant::now();
        let stage = sink.open_stage(Some(labels::ROUTING), None);
        sink.flush().await;
        progress.marks.first_byte = Some(begun.elapsed());
        let known = self.identify(turn, verification).await?;
        let consent = turn
            .messages
            .last()
            .and_then(|last| Consent::read(&last.text))
            // Who comes through an agent is no person, whatever it says.
            .filter(|_| turn.caller.depth == 0);
        let approved = consent.is_some();
        let mut verdict = match consent {
            Some(consent) => {
                self.recall(turn, &known, progress).await?;
                match self.consented(turn, &consent, progress).await {
                    Ok(decision) => Verdict::of(decision),
                    Err(text) => return Ok(answer::refuse(&stage, &consent, text, sink, progress)),
                }
            }
            None => {
                let decide = self.decide(turn, &known, true, progress);
                Box::pin(telemetry::within(telemetry::route(), decide)).await?
            }
        };
        self.learn_likely(progress, &verdict);
        answer::show(&stage, &verdict);
        drop(stage);
        progress.marks.route = begun.elapsed();
        if !progress
            .recalled
            .as_ref()
            .is_some_and(|recalled| recalled.read)
        {
            memory_trouble(sink, labels::MEMORY_UNREAD);
        }
        progress.tally.merge(&verdict.tally);
        progress.rungs = std::mem::take(&mut verdict.rungs);
        progress.asked = verdict.decision.request.take();
        let asking = progress.asked.clone().map(|request| turn.asking(request));
        progress.checking = self.is_checked(turn, &verdict.decision);
        progress.decision = Some(verdict.decision);
        let (checking, before) = (progress.checking, progress.before.clone());

        let acted = self.act(asking.as_ref().unwrap_or(turn), approved, sink, progress);
        if !checking {
            return acted.await;
        }
        let (reason, second) = decide::beside(
            Box::pin(acted),
            Box::pin(self.second_opinion(turn, &known, before)),
        )
        .await;
        if let Some(second) = second {
            Self::compare(&second, progress);
        }
        reason
    }

    /// What the decision leads to.
    async fn act(
        &self,
        turn: &ChatTurn,
        approved: bool,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, Failure> {
        let plan = progress
            .decision
            .as_ref()
            .map(|decision| decision.plan.clone());
        let assignment = match plan {
            Some(Plan::Single(assignment)) => assignment,
            Some(Plan::About(language)) => {
                return Ok(self.tell_about(turn, language, sink, progress));
            }
            Some(Plan::Clarify(agents)) => return Ok(self.clarify(turn, &agents, sink, progress)),
            None => return Err(Failure::internal(&turn.id.reference())),
        };
        let needs_consent = (self.registry.get(assignment.agent.as_str()))
            .is_some_and(|card| card.approval == Approval::Always);
        if needs_consent && !approved {
            return self.propose(turn, assignment, sink, progress).await;
        }
        if let Some(reason) = self.consult(turn, assignment, sink, progress).await? {
            progress.filtered = true;
            progress.outcome = Some(Outcome::Answered);
            return Ok(reason);
        }
        progress.reported = true;
        self.send_state(turn, sink, progress);
        if !progress.passed {
            return self.synthesize(turn, sink, progress).await;
        }
        // The agent itself has answered.
        progress.outcome = Some(Outcome::Answered);
        Ok(FinishReason::Stop)
    }
}

/// One line per turn: ids, words and times, never content.
fn log(progress: &Progress, registry: &str, anchor: Option<&Anchor>, begun: Instant) {
    tracing::event!(
        target: telemetry::ENDED,
        tracing::Level::INFO,
        route.agent = progress.agent.as_ref().map(AgentId::as_str),
        route.source = progress.decision.as_ref().map(|decision| decision.source.as_str()),
        registry.version = registry,
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
