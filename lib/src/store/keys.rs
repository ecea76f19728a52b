//! Every key of the table, in one place.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | conversation: sessions, last change | `T#tenant#O#owner` | `CONV#conversation#~HEAD` |
//! | turn: one record, in parts where it is large | `T#tenant#O#owner` | `CONV#conversation#TURN#turn#part` |
//! | session: an agent's id belongs to this owner | `T#tenant#O#owner` | `SESSION#agent#session` |
//! | proposal: a request that waits for consent | `T#tenant#O#owner` | `PROPOSAL#digest` |
//! | account: what the owner uses now | `T#tenant#O#owner` | `ACCOUNT` |
//! | breaker: what all instances know of a peer | `BREAKERS` | peer |
//! | readiness probe: never written | `HEALTH` | `HEALTH` |
//!
//! Every part is percent-encoded, so that no part can reach into its neighbour. Turn ids are time-ordered, so a
//! query of a conversation gives its turns in order, and read backwards the head first. One query of a partition is everything about a person.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::domain::ids::{AgentId, ConversationId, Owner, TurnId};

/// Partition and sort key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub pk: String,
    pub sk: String,
}

pub fn conversation(owner: &Owner, conversation: &ConversationId) -> Key {
    Key {
        pk: partition(owner),
        sk: format!("{}~HEAD", prefix(conversation)),
    }
}

pub fn turn(owner: &Owner, conversation: &ConversationId, turn: TurnId, part: usize) -> Key {
    Key {
        pk: partition(owner),
        sk: format!("{}TURN#{turn}#{part:02}", prefix(conversation)),
    }
}

pub fn session(owner: &Owner, agent: &AgentId, session: &str) -> Key {
    Key {
        pk: partition(owner),
        sk: format!("SESSION#{}#{}", part(agent.as_str()), part(session)),
    }
}

pub fn account(owner: &Owner) -> Key {
    Key {
        pk: partition(owner),
        sk: "ACCOUNT".into(),
    }
}

pub fn proposal(owner: &Owner, digest: &str) -> Key {
    Key {
        pk: partition(owner),
        sk: format!("PROPOSAL#{}", part(digest)),
    }
}

pub fn breaker(peer: &str) -> Key {
    Key {
        pk: breakers(),
        sk: part(peer).to_string(),
    }
}

/// Where all breakers are: one query shows them.
pub fn breakers() -> String {
    "BREAKERS".into()
}

/// The peer of a breaker's sort key.
pub fn peer(sk: &str) -> String {
    percent_decode_str(sk).decode_utf8_lossy().into_owned()
}

pub fn health() -> Key {
    Key {
        pk: "HEALTH".into(),
        sk: "HEALTH".into(),
    }
}

/// Where everything of an owner is.
pub fn partition(owner: &Owner) -> String {
    format!("T#{}#O#{}", part(owner.tenant()), part(owner.id()))
}

/// What the sort keys of a conversation begin with.
pub fn prefix(conversation: &ConversationId) -> String {
    format!("CONV#{}#", part(conversation.as_str()))
}

fn part(value: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(value, NON_ALPHANUMERIC)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn keys_look_as_documented() {
        let owner = Owner::new("acme", "user#1");
        let id = ConversationId::new("c1");
        let turn_id = TurnId::from_uuid(Uuid::nil());
        let sk = |key: Key| key.sk;
        assert_eq!(partition(&owner), "T#acme#O#user%231");
        assert_eq!(sk(conversation(&owner, &id)), "CONV#c1#~HEAD");
        assert_eq!(
            sk(turn(&owner, &id, turn_id, 3)),
            "CONV#c1#TURN#00000000-0000-0000-0000-000000000000#03"
        );
        assert_eq!(
            sk(session(&owner, &AgentId::new("UMS"), "a-b")),
            "SESSION#UMS#a%2Db"
        );
        assert_eq!(sk(breaker("model:gpt-4o")), "model%3Agpt%2D4o");
        assert_eq!(peer("model%3Agpt%2D4o"), "model:gpt-4o");
    }

    proptest! {
        #[test]
        fn different_owners_and_conversations_never_share_a_key(
            a in ("[a#%]{0,4}", "[a#%]{0,4}", "[a#%]{0,4}"),
            b in ("[a#%]{0,4}", "[a#%]{0,4}", "[a#%]{0,4}"),
        ) {
            let key = |(tenant, owner, id): &(String, String, String)| {
                conversation(&Owner::new(tenant, owner), &ConversationId::new(id))
            };
            prop_assert_eq!(key(&a) == key(&b), a == b);
            // Nor is one conversation's prefix the beginning of another's.
            if a.2 != b.2 {
                prop_assert!(!prefix(&ConversationId::new(&a.2)).starts_with(&prefix(&ConversationId::new(&b.2))));
            }
        }
    }
}
