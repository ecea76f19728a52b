//! A request that waits for a person's consent.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ids::{AgentId, ConversationId, Owner, TurnId};
use super::message::Attachment;
use super::plan::Step;
use super::turn::Given;

/// A request that an agent will get when its owner approves it: all that it will get, so that nothing can change on the
/// way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    pub turn: TurnId,
    pub agent: AgentId,
    /// The user's words.
    pub request: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Where it was proposed: what "her" or "it" means there means nothing elsewhere.
    pub conversation: ConversationId,
    /// The parts of it that wait, where it is for several agents; `agent` is the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Results of parts that are done, which they are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Given>,
    /// A line for each file that came inline and is not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

impl Proposal {
    /// What the owner is asked to approve, in one number: it is shown, stored, and compared before anything is done.
    pub fn digest(&self, owner: &Owner) -> String {
        let mut digest = Sha256::new();
        let json = serde_json::to_string(self).unwrap_or_default();
        for part in [owner.tenant(), owner.id(), &json] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        let bytes = digest.finalize();
        let start = bytes.first_chunk::<8>().copied().unwrap_or_default();
        format!("{:016x}", u64::from_be_bytes(start))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn whatever_changes_is_another_proposal() {
        let proposal = Proposal {
            turn: TurnId::from_uuid(Uuid::nil()),
            agent: AgentId::new("UMS"),
            request: "Delete user Bob".into(),
            attachments: Vec::new(),
            instructions: None,
            conversation: ConversationId::new("c"),
            steps: Vec::new(),
            given: Vec::new(),
            left_out: Vec::new(),
        };
        let owner = Owner::new("t", "alice");
        let digest = proposal.digest(&owner);
        assert_eq!(digest.len(), 16);
        let others = [
            Proposal {
                agent: AgentId::new("HR"),
                ..proposal.clone()
            },
            Proposal {
                request: "Delete user Bobby".into(),
                ..proposal.clone()
            },
            Proposal {
                instructions: Some("all of them".into()),
                ..proposal.clone()
            },
            Proposal {
                attachments: vec![Attachment::default()],
                ..proposal.clone()
            },
        ];
        for other in others {
            assert_ne!(other.digest(&owner), digest, "{other:?}");
        }
        assert_ne!(proposal.digest(&Owner::new("t", "bob")), digest);
    }
}
