//! A request that waits for its owner's consent, and the answer to it.

use super::{Coordinator, Progress};
use crate::context;
use crate::domain::conversation::Outcome;
use crate::domain::event::StageStatus;
use crate::domain::failure::{Code, Failure};
use crate::domain::message::{Attachment, Message, Role};
use crate::domain::plan::{Assignment, DecisionSource, Plan, RoutingDecision};
use crate::domain::proposal::Proposal;
use crate::domain::turn::ChatTurn;
use crate::policy::Consent;
use crate::store::Proposals;
use crate::stream::{AnswerSink, FinishReason, labels};

impl Coordinator {
    /// Stores what an agent would be asked and asks the user. Nothing is sent to the agent.
    pub(super) async fn propose(
        &self,
        turn: &ChatTurn,
        assignment: Assignment,
        sink: &AnswerSink,
        progress: &mut Progress,
    ) -> Result<FinishReason, Failure> {
        let (Some(last), Some(recalled)) = (turn.messages.last(), &progress.recalled) else {
            return Err(Failure::internal(&turn.id.reference()));
        };
        let proposal = Proposal {
            turn: turn.id,
            agent: assignment.agent,
            request: last.text.clone(),
            attachments: context::by_address(&last.attachments),
            instructions: assignment.instructions,
            conversation: recalled.memory.conversation.clone(),
            left_out: (last.attachments.iter())
                .filter(|file| file.url.is_none())
                .map(Attachment::manifest)
                .collect(),
        };
        let stored = Proposals::of(&self.table, recalled.owner())
            .put(&proposal, self.guard.now().seconds(), self.times.approval)
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
        let stage = sink.open_stage(Some(&labels::approval_stage(&proposal.agent)), None);
        stage.text(&labels::proposal(&proposal));
        stage.close(StageStatus::Completed);
        let text = labels::ask_for_approval(&proposal, &digest, self.times.approval);
        progress.say(sink, &text);
        sink.form(&labels::approval_form(&digest));
        progress.outcome = Some(Outcome::Proposed);
        Ok(FinishReason::Stop)
    }

    /// What a consent leads to: whom the stored request goes to, in place of the consent. An error is a sentence for the
    /// user: nothing is done.
    pub(super) async fn consented(
        &self,
        turn: &ChatTurn,
        consent: &Consent,
        progress: &Progress,
    ) -> Result<RoutingDecision, &'static str> {
        let Some(recalled) = &progress.recalled else {
            return Err(labels::APPROVAL_UNREAD);
        };
        // It answers the question that was asked last: what was said since may have changed what the request means.
        let asked = (turn.messages.iter()).rfind(|message| message.role == Role::Assistant);
        // Of a client that keeps nothing, an empty text is the proposal itself.
        let other =
            |asked: &Message| !asked.text.is_empty() && !asked.text.contains(&consent.digest);
        if asked.is_some_and(other) {
            return Err(labels::APPROVAL_OVER);
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
                return Err(labels::APPROVAL_OVER);
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a proposal cannot be taken"
                );
                return Err(labels::APPROVAL_UNREAD);
            }
        };
        if !consent.given {
            return Err(labels::REJECTED);
        }
        Ok(RoutingDecision {
            plan: Plan::Single(Assignment {
                agent: proposal.agent,
                instructions: proposal.instructions,
            }),
            source: DecisionSource::Approval,
            confidence: None,
            rationale: "the user approved it".into(),
            request: Some(Message {
                attachments: proposal.attachments,
                ..Message::user(&proposal.request)
            }),
            kept: None,
        })
    }
}
