//! A plan that survives its turn: what of it is done is kept, and the same request goes on with the rest.

use tokio::sync::SetOnce;
use tokio::time::timeout;

use super::memory::{Known, Recollection};
use super::part::Part;
use super::{Coordinator, Progress};
use crate::domain::agent::{AgentCard, Effect};
use crate::domain::event::StageStatus;
use crate::domain::message::Message;
use crate::domain::plan::{Plan, RoutingDecision, Step};
use crate::domain::preference::Stages;
use crate::domain::run::{Done, Kept, Mark, Run};
use crate::domain::turn::ChatTurn;
use crate::domain::usage::Tally;
use crate::orchestrate::Report;
use crate::policy::{PlanEnd, judged};
use crate::route::Verdict;
use crate::store::{self, Runs};
use crate::stream::{AnswerSink, labels};

/// The plan of one turn as it is kept.
pub(super) struct Journal<'a> {
    coordinator: &'a Coordinator,
    turn: &'a ChatTurn,
    /// `None` where the request cannot be known again: nothing is kept then.
    runs: Option<Runs<'a>>,
    kept: Option<&'a Kept>,
    /// Whether the plan is kept by now. `Some(false)`: another turn of the same request has one there.
    begun: SetOnce<Option<bool>>,
}

/// What of a step is to be done.
pub(super) enum Due {
    /// All of it.
    All,
    /// Nothing: this came of it.
    Nothing(Box<Done>),
    /// Nothing: its agent was asked before, and what came of it is not known.
    Unknown,
}

impl Coordinator {
    /// Notes what is about to be done, unless it goes on with what an earlier turn began.
    pub(super) fn plan_run(
        turn: &ChatTurn,
        steps: &[Step],
        approved: bool,
        progress: &mut Progress,
    ) {
        let new = progress.run.is_none() && !turn.what_if;
        let Some(decision) = progress.decision.as_ref().filter(|_| new) else {
            return;
        };
        let asked = progress.asked.as_ref();
        let run = Run {
            turn: turn.id,
            source: decision.source,
            approved,
            request: asked.map(|message| message.text.clone()),
            attachments: asked.map_or_else(Vec::new, |message| message.attachments.clone()),
            steps: steps.to_vec(),
            given: progress.given.clone(),
        };
        progress.run = Some(Kept {
            marks: vec![None; run.steps.len()],
            run,
        });
    }

    /// What an earlier turn of the same request began and did not finish, by the rules of now, and whether the user has
    /// approved it. What deciding anew has used counts all the same.
    pub(super) fn going_on(
        &self,
        turn: &ChatTurn,
        known: &Known,
        used: &Tally,
        progress: &mut Progress,
    ) -> Option<(Verdict, bool)> {
        let unfinished = progress.recalled.as_mut()?.unfinished.take()?;
        let run = unfinished.run.clone();
        let decision = RoutingDecision {
            plan: Plan::Steps(run.steps),
            source: run.source,
            confidence: None,
            rationale: format!("goes on with what turn {} began", run.turn),
            request: run.request.map(|text| Message {
                attachments: run.attachments,
                ..Message::user(&text)
            }),
            kept: None,
        };
        progress.tally.merge(used);
        progress.given = run.given;
        progress.run = Some(unfinished);
        let verdict = self.still_ruled(turn, known, Verdict::of(decision), progress);
        Some((verdict, run.approved))
    }

    /// The record of a turn's plan, while it is carried out.
    pub(super) fn journal<'a>(
        &'a self,
        turn: &'a ChatTurn,
        recalled: &'a Recollection,
        kept: Option<&'a Kept>,
    ) -> Journal<'a> {
        let request = turn.request.as_deref();
        Journal {
            coordinator: self,
            turn,
            runs: request.map(|request| Runs::of(&self.table, recalled.owner(), request)),
            kept,
            begun: SetOnce::new(),
        }
    }
}

impl Journal<'_> {
    /// Keeps the plan. Only steps that may change something wait for it.
    pub async fn begin(&self) {
        let kept = match (&self.runs, self.kept) {
            (Some(_), Some(kept)) if kept.run.turn != self.turn.id => Some(true),
            (Some(runs), Some(kept)) => {
                let now = self.coordinator.guard.now().seconds();
                self.written(runs.begin(&kept.run, now)).await
            }
            _ => None,
        };
        // A plan is begun once.
        let _ = self.begun.set(kept);
    }

    /// What of a step is left to do. What may change something is noted before its agent is asked.
    pub async fn due(&self, step: &Step) -> Due {
        let Some((at, mark)) = self.place(step) else {
            return Due::All;
        };
        match mark {
            Some(Mark::Done(done)) => return Due::Nothing(done.clone()),
            Some(Mark::Begun(_)) => return Due::Unknown,
            None if !self.changes(step) => return Due::All,
            None => {}
        }
        let Some(runs) = self.runs.as_ref().filter(|_| self.kept.is_some()) else {
            return Due::All;
        };
        match self.begun.wait().await {
            Some(true) => {}
            Some(false) => return Due::Unknown,
            None => return Due::All,
        }
        match self.written(runs.start(at, self.turn.id)).await {
            // The same request was sent again, and the other turn was quicker.
            Some(false) => Due::Unknown,
            // A table that is down keeps nobody from working.
            Some(true) | None => Due::All,
        }
    }

    /// Keeps what a step gave; or that its agent was not asked after all.
    pub async fn end(&self, step: &Step, part: &Part, asked: &Message) {
        let (Some(runs), Some((at, None))) = (&self.runs, self.place(step)) else {
            return;
        };
        if *self.begun.wait().await != Some(true) {
            return;
        }
        let changes = self.changes(step);
        if let (Some(agent), Some((session, true))) = (&part.agent, &part.report.session) {
            let now = self.coordinator.guard.now().seconds();
            let until = now.plus(self.coordinator.retention);
            let own = runs.own(agent, session, self.turn.id, until);
            self.written(own).await;
        }
        if part.report.form && !changes {
            // It is asked again: a form is not kept.
            return;
        }
        if let Some(exchange) = part.exchange(asked) {
            let done = Done {
                exchange,
                attachments: part.report.attachments.clone(),
                session: part.report.session.clone(),
                asks: part.asks(),
            };
            let of = self.kept.map_or(1, |kept| kept.run.steps.len());
            self.written(runs.finish(at, done, of, changes)).await;
        } else if changes && part.untouched {
            self.written(runs.withdraw(at)).await;
        }
    }

    fn place(&self, step: &Step) -> Option<(usize, Option<&Mark>)> {
        self.kept?.mark(&step.name)
    }

    /// Whether another turn's plan is kept of the same request.
    pub fn is_others(&self) -> bool {
        self.begun.get() == Some(&Some(false))
    }

    /// Whether the step may change something, by the cards of all who may be asked for it and what the router says of it.
    fn changes(&self, step: &Step) -> bool {
        let request = self.turn.messages.last();
        let request = request.map_or("", |message| message.text.as_str());
        let changes = |card: &AgentCard| {
            let mut assignment = step.assignment.clone();
            assignment.effect.get_or_insert(card.effect);
            judged(card, &assignment, request) != Effect::None
        };
        self.coordinator.line(&step.assignment.agent).any(changes)
    }

    async fn written<T>(
        &self,
        writing: impl Future<Output = Result<T, store::Error>>,
    ) -> Option<T> {
        let within = self.coordinator.times.save;
        let written = timeout(within, writing).await;
        let written = written.unwrap_or(Err(store::Error::Slow));
        written
            .inspect_err(|error| {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "how far a plan is cannot be kept"
                );
            })
            .ok()
    }
}

impl Part {
    /// What came of the step in an earlier turn, as if it had just been done.
    pub(super) fn restore(&mut self, done: Done, stages: Stages, sink: &AnswerSink) {
        let exchange = done.exchange;
        let stage = match stages {
            Stages::None => sink.hidden_stage(),
            Stages::Summary | Stages::Full => {
                sink.open_stage(Some(&labels::agent_stage(&exchange.agent)), None)
            }
        };
        stage.say(labels::done_before());
        if stages == Stages::Full {
            stage.text(&exchange.answer);
        }
        stage.close(StageStatus::Completed);
        let mut report = Report::default();
        report.text = exchange.answer;
        report.state = exchange.state;
        report.session = done.session;
        report.asks = done.asks;
        report.attachments = if done.attachments.is_empty() {
            exchange.attachments
        } else {
            done.attachments
        };
        for attachment in &report.attachments {
            sink.attach(attachment);
        }
        self.agent = Some(exchange.agent);
        self.told = exchange.instructions;
        self.report = report;
        self.counted = true;
        self.reported = true;
    }
}

impl Progress {
    /// Whether an earlier turn of the same request has begun or done the step: nobody is asked for it now.
    pub(super) fn was_begun(&self, name: &str) -> bool {
        let kept = self.run.as_ref();
        let of_step = kept.and_then(|kept| kept.mark(name));
        of_step.is_some_and(|(_, mark)| mark.is_some())
    }

    /// How far the turn's plan was carried out.
    pub(super) fn plan_end(&self, turn: &ChatTurn) -> Option<PlanEnd> {
        self.run.as_ref()?;
        Some(match self.carried_out(turn) {
            Some(_) => PlanEnd::Done,
            None => PlanEnd::Left,
        })
    }

    /// The request whose plan is carried out: nothing of it need be kept.
    pub(super) fn carried_out<'a>(&self, turn: &'a ChatTurn) -> Option<&'a str> {
        let whole = self.reported && self.parts.iter().all(Part::is_settled);
        let request = turn.request.as_deref();
        request.filter(|_| self.run.is_some() && whole && !self.other_run)
    }
}
