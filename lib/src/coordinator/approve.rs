//! A request that waits for its owner's consent, and the answer to it.

use super::memory::Known;
use super::{Coordinator, Progress, prefer, what_if};
use crate::context;
use crate::domain::conversation::Outcome;
use crate::domain::event::StageStatus;
use crate::domain::failure::{Code, Failure};
use crate::domain::message::{Attachment, Message, Role};
use crate::domain::phrase::Phrase;
use crate::domain::plan::{Assignment, DecisionSource, Plan, RoutingDecision, Step};
use crate::domain::proposal::Proposal;
use crate::domain::rulebook::Demands;
use crate::domain::turn::{ChatTurn, Given};
use crate::domain::usage::Tally;
use crate::policy::{Consent, Reply, needs_approval};
use crate::route::Verdict;
use crate::store::Proposals;
use crate::stream::{AnswerSink, FinishReason, labels};

/// What a consent leads to.
enum Consented {
    /// Whom the stored request goes to, in place of the consent.
    To(Box<RoutingDecision>),
    /// What is asked in place of what was proposed.
    Instead(Message),
}

impl Coordinator {
    /// Whether the user must approve a request before its agent gets it.
    pub(super) fn needs_approval(
        &self,
        turn: &ChatTurn,
        assignment: &Assignment,
        demands: &Demands,
    ) -> bool {
        let request = turn.messages.last().map_or("", |last| last.text.as_str());
        demands.wants_approval(&assignment.agent)
            || (self.registry.get(assignment.agent.as_str()))
                .is_some_and(|card| needs_approval(card, assignment, request))
    }

    /// Of a plan of several, the steps that may be done now, and those that wait for the user's approval, or for one that
    /// does. What nobody may do is not proposed.
    pub(super) fn split(
        &self,
        turn: &ChatTurn,
        steps: Vec<Step>,
        progress: &Progress,
    ) -> (Vec<Step>, Vec<Step>) {
        let (demands, wanted) = (&progress.demands, progress.wanted());
        let (mut now, mut later) = (Vec::new(), Vec::<Step>::new());
        for step in steps {
            let agent = &step.assignment.agent;
            let barred = demands.forbids(agent).is_some() || wanted.blocks(agent);
            // It was asked before: to approve it now would be to ask it once more.
            let begun = progress.was_begun(&step.name);
            let waits = later.iter().any(|other| step.after.contains(&other.name));
            if !barred && !begun && (waits || self.waits(turn, &step.assignment, demands)) {
                later.push(step);
            } else {
                now.push(step);
            }
        }
        (now, later)
    }

    /// Proposes the steps that wait, after the others are done, with the results that they need.
    pub(super) async fn propose_rest(
        &self,
        turn: &ChatTurn,
        steps: Vec<Step>,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, Failure> {
        let needed = |name: &str| {
            steps
                .iter()
                .any(|step| step.after.iter().any(|one| one == name))
        };
        let given: Vec<Given> = (progress.parts.iter())
            .filter(|part| part.reported && needed(&part.name))
            .filter_map(|part| {
                let agent = part.agent.as_ref()?;
                Some(self.given(&part.name, agent, &part.report.text))
            })
            .collect();
        let there = |name: &String| {
            given.iter().any(|given| given.name == *name)
                || steps.iter().any(|step| step.name == *name)
        };
        let lacking = (steps.iter().flat_map(|step| &step.after)).find(|name| !there(name));
        // What one of them needs is not to be had: all that waits is left, and said to be.
        if let Some(lacking) = lacking {
            for step in &steps {
                let why = labels::step_needs(labels::quoted(lacking));
                let missing = labels::missing(&step.assignment.agent, why);
                progress.say(sink, &missing.told(sink.language()));
            }
            return Ok(FinishReason::Stop);
        }
        let proposal = proposal(turn, progress, steps, given)?;
        if !progress.shown.trim().is_empty() {
            progress.say(sink, "\n\n");
        }
        self.ask(turn, &proposal, sink, progress).await?;
        Ok(FinishReason::Stop)
    }

    /// Stores what an agent would be asked and asks the user. Nothing is sent to the agent.
    pub(super) async fn propose(
        &self,
        turn: &ChatTurn,
        assignment: Assignment,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, Failure> {
        let alone = Step {
            name: String::new(),
            assignment,
            after: Vec::new(),
        };
        let proposal = proposal(turn, progress, vec![alone], Vec::new())?;
        self.ask(turn, &proposal, sink, progress).await?;
        progress.outcome = Some(proposed(turn));
        Ok(FinishReason::Stop)
    }

    /// Stores a proposal and shows it.
    async fn ask(
        &self,
        turn: &ChatTurn,
        proposal: &Proposal,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        if turn.what_if {
            what_if::tell(proposal, sink, progress);
            return Ok(());
        }
        let Some(recalled) = &progress.recalled else {
            return Err(Failure::internal(&turn.id.reference()));
        };
        let stored = Proposals::of(&self.table, recalled.owner())
            .put(proposal, self.guard.now().seconds(), self.times.approval)
            .await;
        let digest = match stored {
            Ok(digest) => digest,
            Err(error) => {
                let reference = turn.id.reference();
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a proposal cannot be stored"
                );
                return Err(Failure::new(
                    Code::AgentUnavailable,
                    format!("the proposal cannot be stored, reference {reference}"),
                    labels::no_proposal(&proposal.agent, &reference),
                ));
            }
        };
        let language = sink.language();
        let name = labels::approval_stage(&proposal.agent).told(language);
        let stage = sink.open_stage(Some(&name), None);
        stage.text(&labels::proposal(proposal, language));
        stage.close(StageStatus::Completed);
        let text = labels::ask_for_approval(proposal, &digest, self.times.approval, language);
        progress.say(sink, &text);
        sink.form(&labels::approval_form(proposal, &digest, language));
        Ok(())
    }

    /// Who answers a message that is consent, and whether the user has approved that. An inner error is a sentence for the
    /// user: nothing is done.
    pub(super) async fn by_consent(
        &self,
        turn: &ChatTurn,
        known: &Known,
        consent: &Consent,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<Result<(Verdict, bool), Phrase>, Failure> {
        self.recall(turn, known, progress).await?;
        prefer::speak(&progress.wanted(), sink);
        // It was taken by a turn that was cut off.
        if let Some(decided) = self.going_on(turn, known, &Tally::default(), progress) {
            return Ok(Ok(decided));
        }
        let consented = match self.consented(turn, consent, progress).await {
            Ok(consented) => consented,
            Err(words) => return Ok(Err(words)),
        };
        let decided = match consented {
            Consented::To(decision) => {
                let verdict = Verdict::of(*decision);
                (self.still_ruled(turn, known, verdict, progress), true)
            }
            Consented::Instead(message) => {
                let edited = turn.asking(message.clone());
                let decide = self.decide(&edited, known, false, progress);
                let mut verdict = Box::pin(decide).await?;
                verdict.decision.request.get_or_insert(message);
                (verdict, false)
            }
        };
        Ok(Ok(decided))
    }

    /// What a consent leads to. An error is a sentence for the user: nothing is done.
    async fn consented(
        &self,
        turn: &ChatTurn,
        consent: &Consent,
        progress: &mut Progress,
    ) -> Result<Consented, Phrase> {
        if turn.what_if {
            return Err(labels::what_if_consent());
        }
        let Some(recalled) = &progress.recalled else {
            return Err(labels::approval_unread());
        };
        // It answers the question that was asked last: what was said since may have changed what the request means.
        let asked = (turn.messages.iter()).rfind(|message| message.role == Role::Assistant);
        // Of a client that keeps nothing, an empty text is the proposal itself.
        let other =
            |asked: &Message| !asked.text.is_empty() && !asked.text.contains(&consent.digest);
        if asked.is_some_and(other) {
            return Err(labels::approval_over());
        }
        let taken = Proposals::of(&self.table, recalled.owner())
            .take(
                &consent.digest,
                &recalled.memory.conversation,
                turn.id,
                self.guard.now().seconds(),
            )
            .await;
        let proposal = match taken {
            Ok(Some(proposal)) => proposal,
            Ok(None) => {
                tracing::info!(security = "approval_refused", "no such proposal");
                return Err(labels::approval_over());
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a proposal cannot be taken"
                );
                return Err(labels::approval_unread());
            }
        };
        let Proposal {
            agent,
            request,
            attachments,
            instructions,
            steps,
            given,
            ..
        } = proposal;
        let message = |text: &str| Message {
            attachments,
            ..Message::user(text)
        };
        match &consent.reply {
            Reply::Approve => {}
            Reply::Reject => return Err(labels::rejected()),
            Reply::Edit(words) => return Ok(Consented::Instead(message(words))),
        }
        progress.given = given;
        let plan = if steps.is_empty() {
            Plan::Single(Assignment {
                instructions,
                ..Assignment::plain(&agent)
            })
        } else {
            Plan::Steps(steps)
        };
        Ok(Consented::To(Box::new(RoutingDecision {
            plan,
            source: DecisionSource::Approval,
            confidence: None,
            rationale: "the user approved it".into(),
            request: Some(message(&request)),
            kept: None,
        })))
    }
}

/// How a turn ends that leaves something to be approved. What only asks has its answer.
pub(super) fn proposed(turn: &ChatTurn) -> Outcome {
    if turn.what_if {
        Outcome::Answered
    } else {
        Outcome::Proposed
    }
}

/// All that agents will get when it is approved. A step without a name is the whole request.
fn proposal(
    turn: &ChatTurn,
    progress: &Progress,
    mut steps: Vec<Step>,
    given: Vec<Given>,
) -> Result<Proposal, Failure> {
    let (Some(last), Some(recalled), Some(first)) =
        (turn.messages.last(), &progress.recalled, steps.first())
    else {
        return Err(Failure::internal(&turn.id.reference()));
    };
    let agent = first.assignment.agent.clone();
    let alone = first.name.is_empty();
    let instructions = first.assignment.note().filter(|_| alone);
    if alone {
        steps.clear();
    }
    Ok(Proposal {
        turn: turn.id,
        agent,
        request: last.text.clone(),
        attachments: context::by_address(&last.attachments),
        instructions,
        conversation: recalled.memory.conversation.clone(),
        steps,
        given,
        left_out: (last.attachments.iter())
            .filter(|file| file.url.is_none())
            .map(Attachment::manifest)
            .collect(),
    })
}
