//! One turn from request to record: who answers, the agent at work, the answer, the memory.

mod answer;
mod approve;
mod attempts;
mod budget;
mod check;
mod consult;
mod decide;
mod experiment;
mod figures;
mod hook;
mod learn;
mod memory;
mod part;
mod prefer;
mod progress;
mod readiness;
mod record;
mod resume;
mod run;
mod share;
mod together;
mod what_if;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::join;
use tokio::time::{Instant, timeout_at};

use crate::domain::access::Identity;
use crate::domain::agent::Registry;
use crate::domain::budget::Budget;
use crate::domain::conversation::Outcome;
use crate::domain::failure::Failure;
use crate::domain::hook::Point;
use crate::domain::plan::Plan;
use crate::domain::rules::{Caps, Routing, Synthesis, Times};
use crate::domain::turn::ChatTurn;
use crate::domain::usage::Prices;
use crate::experiments::Experiments;
use crate::facts::Extractor;
use crate::guard::Guard;
use crate::hooks::Hooks;
use crate::metrics::Metrics;
use crate::orchestrate::{Agents, Comparer, Judge, Likely};
use crate::policy::Consent;
use crate::route::{Chain, DecisionCache};
use crate::store::envelope::Seal;
use crate::store::{Accounts, Audit, Table, Wishes};
use crate::stream::{AnswerSink, FinishReason, labels};
use crate::synthesize::Synthesizer;
use crate::telemetry;
pub use budget::Experience;
use consult::out_of_time;
use figures::{log, log_content};
use memory::memory_trouble;
use progress::Progress;

/// Who calls, as soon as it is verified. Awaited before anything is asked or looked up.
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
    /// What is compared with what is done now.
    pub experiments: Experiments,
    /// Whom the administrator lets look on, and refuse.
    pub hooks: Arc<Hooks>,
    pub synthesizer: Synthesizer,
    /// Finds what several agents say differently.
    pub comparer: Comparer,
    /// Looks at answers of agents whose cards name a model for that.
    pub judge: Judge,
    /// Takes facts out of reports, where some agent may be told any.
    pub extractor: Option<Extractor>,
    pub synthesis: Synthesis,
    pub metrics: Arc<Metrics>,
    pub table: Table,
    /// What each owner uses.
    pub accounts: Accounts,
    /// What each owner wants.
    pub wishes: Wishes,
    pub prices: Prices,
    /// What any turn may use.
    pub budget: Budget,
    /// What steps took of late.
    pub experience: Arc<Experience>,
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

impl Coordinator {
    /// Answers one turn into the sink, whatever happens: the stream always ends with its end mark.
    pub async fn answer(&self, turn: ChatTurn, verification: Verification, sink: AnswerSink) {
        let begun = Instant::now();
        let mut progress = Progress::default();
        let turn = self.hooks.redacted(&turn, &mut progress.hooks);
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
        if let (Err(refusal), Some(_)) = (&end, progress.refused_by()) {
            end = Ok(progress.withhold(&sink, &refusal.display.clone()));
        } else if end.is_err() && progress.reported {
            // What is missing is only the synthesis: the agent's own text is the answer.
            end = Ok(answer::fall_back(&sink, &mut progress));
        }
        progress.outcome = progress
            .outcome
            .filter(|_| end.is_ok())
            .or(Some(Outcome::Failed));
        progress.error = end.as_ref().err().map(|failure| failure.code);
        if !progress.stated {
            self.send_state(&turn, &sink, &progress);
        }
        if turn.what_if && end.is_ok() {
            what_if::note(&sink, &mut progress);
        }
        let saving = Instant::now();
        let (anchor, stopped, (), told, ()) = join!(
            self.save(&turn, &sink, &progress, begun),
            self.count(&progress, begun),
            self.learn(&turn, &progress),
            self.tell_hooks(&turn, &progress, begun),
            self.clear_up(&turn, &progress),
        );
        progress.hooks.extend(told);
        progress.marks.store = saving.elapsed();
        log(&progress, self.registry.version(), anchor.as_ref(), begun);
        progress.trace();
        self.measure(&sink, &progress, &stopped, begun);
        if !turn.what_if {
            self.learn_costs(&progress);
        }
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
        let known = Arc::new(self.identify(turn, verification).await?);
        progress.arms = known.placed.arms(None);
        progress.known = Some(Arc::clone(&known));
        let consent = turn
            .messages
            .last()
            .and_then(|last| Consent::read(&last.text))
            // Who comes through an agent is no person, whatever it says.
            .filter(|_| turn.caller.depth == 0);
        let (mut verdict, approved) = match consent {
            Some(consent) => {
                match Box::pin(self.by_consent(turn, &known, &consent, sink, progress)).await? {
                    Ok(decided) => decided,
                    Err(words) => {
                        return Ok(answer::refuse(&stage, &consent, &words, sink, progress));
                    }
                }
            }
            None => {
                let decide = self.decide(turn, &known, true, progress);
                let verdict = Box::pin(telemetry::within(telemetry::route(), decide)).await?;
                prefer::speak(&progress.wanted(), sink);
                match self.going_on(turn, &known, &verdict.tally, progress) {
                    Some(decided) => decided,
                    None => {
                        let fulfil = self.fulfil(turn, &known, verdict, sink, progress);
                        (Box::pin(fulfil).await?, false)
                    }
                }
            }
        };
        progress.show_as_ruled(&verdict.decision.plan);
        if !turn.what_if {
            self.learn_likely(progress, &verdict);
        }
        self.vary(turn, &mut verdict, progress);
        progress.checking = self.is_checked(turn, &verdict.decision, progress);
        answer::show(&stage, &verdict, progress, sink.language());
        drop(stage);
        progress.marks.route = begun.elapsed();
        if !progress
            .recalled
            .as_ref()
            .is_some_and(|recalled| recalled.read)
        {
            memory_trouble(sink, labels::memory_unread());
        }
        progress.tally.merge(&verdict.tally);
        progress.rungs = std::mem::take(&mut verdict.rungs);
        progress.asked = verdict.decision.request.take();
        let asking = progress.asked.clone().map(|request| turn.asking(request));
        progress.decision = Some(verdict.decision);
        let (checking, before) = (progress.checking, progress.before.clone());
        let wanted = progress.wanted();

        let acted = Box::pin(self.act(asking.as_ref().unwrap_or(turn), approved, sink, progress));
        if !checking {
            return acted.await;
        }
        let second = Box::pin(self.second_opinion(turn, &known, before, &wanted));
        let (reason, second) = learn::beside(acted, second).await;
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
        let plan = self.gated(turn, progress);
        self.hook(Point::AfterRoute, turn, progress).await?;
        let mut waiting = Vec::new();
        let withheld = match plan {
            Some(Plan::Single(assignment)) => {
                // Whatever decided, approval included.
                if progress.wanted().blocks(&assignment.agent) {
                    let agent = Some(&assignment.agent);
                    return Ok(Self::tell_preferences(agent, sink, progress));
                }
                Self::keep_own_limit(turn, progress)?;
                self.keep_budget(turn, &assignment.agent, progress)?;
                if !approved && self.waits(turn, &assignment, &progress.demands) {
                    return self.propose(turn, assignment, sink, progress).await;
                }
                self.alone(turn, assignment, sink, progress).await?
            }
            Some(Plan::Steps(steps)) => {
                Self::keep_own_limit(turn, progress)?;
                Self::plan_run(turn, &steps, approved, progress);
                if let Some(first) = steps.first() {
                    self.keep_budget(turn, &first.assignment.agent, progress)?;
                }
                let (now, later) = if approved {
                    (steps, Vec::new())
                } else {
                    self.split(turn, steps, progress)
                };
                if now.is_empty() {
                    let ended = self.propose_rest(turn, later, sink, progress).await;
                    progress.outcome = Some(approve::proposed(turn));
                    return ended;
                }
                waiting = later;
                self.together(turn, &now, sink, progress).await?
            }
            Some(Plan::About(language)) => {
                return Ok(self.tell_about(language, sink, progress));
            }
            Some(Plan::Preferences(_)) => return Ok(Self::tell_preferences(None, sink, progress)),
            Some(Plan::Blocked(agent)) => {
                return Ok(Self::tell_preferences(Some(&agent), sink, progress));
            }
            Some(Plan::Clarify(agents)) => return Ok(self.clarify(&agents, turn, sink, progress)),
            Some(Plan::Refused(refusal)) => return Ok(answer::forbidden(&refusal, sink, progress)),
            None => return Err(Failure::internal(&turn.id.reference())),
        };
        if let Some(reason) = withheld {
            progress.filtered = true;
            progress.outcome = Some(Outcome::Answered);
            return Ok(reason);
        }
        if !progress.parts.iter().all(|part| part.passed) {
            self.hook(Point::BeforeSynthesis, turn, progress).await?;
        }
        progress.reported = true;
        self.send_state(turn, sink, progress);
        progress.stated = true;
        let telling = self.telling(turn, progress);
        let (ended, found) = join!(
            self.write(turn, sink, progress),
            self.extract(turn, telling)
        );
        progress.learn_facts(found);
        if !waiting.is_empty()
            && ended.is_ok()
            && let Err(failure) = self.propose_rest(turn, waiting, sink, progress).await
        {
            // The rest has been answered.
            let words = failure.display.told(sink.language());
            progress.say(sink, &words);
        }
        ended
    }
}
