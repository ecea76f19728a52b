//! Every key of the table, in one place.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | conversation: sessions, last change | `T#tenant#O#owner` | `CONV#conversation#~HEAD` |
//! | turn: one record, in parts where it is large | `T#tenant#O#owner` | `CONV#conversation#TURN#turn#part` |
//! | session: an agent's id belongs to this owner | `T#tenant#O#owner` | `SESSION#agent#session` |
//! | proposal: a request that waits for consent | `T#tenant#O#owner` | `PROPOSAL#digest` |
//! | run: a plan under way, and what its steps came to | `T#tenant#O#owner` | `RUN#request` |
//! | account: what the owner uses now | `T#tenant#O#owner` | `ACCOUNT` |
//! | preferences: what the owner wants of every turn | `T#tenant#O#owner` | `PREFERENCES` |
//! | erased: the owner's data up to a turn is gone, and stays so | `T#tenant#O#owner` | `ERASED` |
//! | reference: a line of the audit log is about this owner | `T#tenant#O#owner` | `AUDIT#day#chain#line` |
//! | audit, the roll of days: its head, its lines | `AUDIT#tenant` | `HEAD#ROLL`, `LINE#ROLL#line` |
//! | audit, a day: heads of its chains, their lines | `AUDIT#tenant#day` | `HEAD#chain`, `LINE#chain#line` |
//! | breaker: what all instances know of a peer | `BREAKERS` | peer |
//! | trial: what was counted of an arm of an experiment | `EXPERIMENTS` | `experiment#arm` |
//! | decision: who answers what was asked, by a keyed hash | `DECISIONS#tenant` | hash |
//! | registry: its version | `REGISTRY` | `HEAD` |
//! | registry: an agent as it was changed here, or its end | `REGISTRY` | `AGENT#agent` |
//! | registry: one change, with what was there before | `REGISTRY` | `CHANGE#version` |
//! | registry: what an agent said of itself | `REGISTRY` | `FOUND#agent` |
//! | registry: a document kept here; the last good copy of one from elsewhere | `REGISTRY` | `DOCUMENT`, `COPY` |
//! | readiness probe: never written | `HEALTH` | `HEALTH` |
//!
//! Every part is percent-encoded, so that no part can reach into its neighbour. Turn ids are time-ordered, so a
//! query of a conversation gives its turns in order, and read backwards the head first. One query of a partition is everything about a person.
//! Audit lines begin with a word of their own, so that a role can be kept from changing them.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::chain::Scope;
use crate::domain::day::Day;
use crate::domain::experiment::ArmId;
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
        sk: format!("{SESSIONS}{}#{}", part(agent.as_str()), part(session)),
    }
}

pub fn account(owner: &Owner) -> Key {
    Key {
        pk: partition(owner),
        sk: "ACCOUNT".into(),
    }
}

pub fn preferences(owner: &Owner) -> Key {
    Key {
        pk: partition(owner),
        sk: "PREFERENCES".into(),
    }
}

pub fn proposal(owner: &Owner, digest: &str) -> Key {
    Key {
        pk: partition(owner),
        sk: format!("PROPOSAL#{}", part(digest)),
    }
}

/// By what is the same for the same request.
pub fn run(owner: &Owner, request: &str) -> Key {
    Key {
        pk: partition(owner),
        sk: format!("RUN#{}", part(request)),
    }
}

pub fn erased(owner: &Owner) -> Key {
    Key {
        pk: partition(owner),
        sk: "ERASED".into(),
    }
}

/// Chains have names of ours, which need no encoding.
pub fn reference(owner: &Owner, day: Day, chain: &str, seq: u64) -> Key {
    Key {
        pk: partition(owner),
        sk: format!("AUDIT#{day}#{chain}#{seq:012}"),
    }
}

/// Where the chains of a scope are.
pub fn chains(scope: &Scope) -> String {
    let tenant = part(&scope.tenant);
    match scope.day {
        Some(day) => format!("AUDIT#{tenant}#{day}"),
        None => format!("AUDIT#{tenant}"),
    }
}

pub fn head(scope: &Scope, chain: &str) -> Key {
    Key {
        pk: chains(scope),
        sk: format!("{HEADS}{chain}"),
    }
}

pub fn line(scope: &Scope, chain: &str, seq: u64) -> Key {
    Key {
        pk: chains(scope),
        sk: format!("{LINES}{chain}#{seq:012}"),
    }
}

/// What the sort keys of heads and of lines begin with.
pub const HEADS: &str = "HEAD#";
pub const LINES: &str = "LINE#";

/// What the sort keys of sessions begin with.
pub const SESSIONS: &str = "SESSION#";

/// Chain and number of a line's sort key.
pub fn place(sk: &str) -> Option<(&str, u64)> {
    let (chain, seq) = sk.strip_prefix(LINES)?.rsplit_once('#')?;
    Some((chain, seq.parse().ok()?))
}

/// What an item of an owner's partition is, by its sort key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Conversation(ConversationId),
    Turn(ConversationId, TurnId),
    Session(AgentId, String),
    /// By its digest.
    Proposal(String),
    /// By its request.
    Run(String),
    Account,
    Preferences,
    Erased,
    /// Day, chain and number of a line of the audit log.
    Reference(Day, String, u64),
    /// Nothing of this version.
    Unknown,
}

impl Kind {
    pub fn of(sk: &str) -> Self {
        Self::read(sk).unwrap_or(Self::Unknown)
    }

    fn read(sk: &str) -> Option<Self> {
        let text = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let mut parts = sk.split('#');
        let kind = match parts.next()? {
            "ACCOUNT" => Self::Account,
            "PREFERENCES" => Self::Preferences,
            "ERASED" => Self::Erased,
            "PROPOSAL" => Self::Proposal(text(parts.next()?)),
            "RUN" => Self::Run(text(parts.next()?)),
            "CONV" => {
                let conversation = ConversationId::new(&text(parts.next()?));
                match parts.next()? {
                    "~HEAD" => Self::Conversation(conversation),
                    "TURN" => {
                        let turn = TurnId::from_uuid(parts.next()?.parse().ok()?);
                        // The part.
                        parts.next()?;
                        Self::Turn(conversation, turn)
                    }
                    _ => return None,
                }
            }
            "SESSION" => Self::Session(AgentId::new(&text(parts.next()?)), text(parts.next()?)),
            "AUDIT" => {
                let (day, chain) = (parts.next()?.parse().ok()?, parts.next()?.to_owned());
                Self::Reference(day, chain, parts.next()?.parse().ok()?)
            }
            _ => return None,
        };
        parts.next().is_none().then_some(kind)
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

pub fn trial(arm: &ArmId) -> Key {
    Key {
        pk: trials(),
        sk: format!("{}#{}", part(&arm.experiment), part(&arm.arm)),
    }
}

/// Where all arms are: one query shows them. No person's data is in them.
pub fn trials() -> String {
    "EXPERIMENTS".into()
}

/// The arm of a trial's sort key.
pub fn arm(sk: &str) -> Option<ArmId> {
    let (experiment, arm) = sk.split_once('#')?;
    let text = |part: &str| percent_decode_str(part).decode_utf8_lossy().into();
    Some(ArmId {
        experiment: text(experiment),
        arm: text(arm),
    })
}

/// Hashes of ours need no encoding.
pub fn decision(tenant: &str, name: &str) -> Key {
    Key {
        pk: format!("DECISIONS#{}", part(tenant)),
        sk: name.to_owned(),
    }
}

/// The peer of a breaker's sort key.
pub fn peer(sk: &str) -> String {
    percent_decode_str(sk).decode_utf8_lossy().into_owned()
}

/// What the sort keys of agents, of changes and of what agents said begin with.
pub const AGENTS: &str = "AGENT#";
const CHANGES: &str = "CHANGE#";
pub const FOUND: &str = "FOUND#";

/// Every version of the registry is below this: so many digits are in the keys of changes.
pub const VERSIONS: u64 = 1_000_000_000_000;

/// Where the registry is. It is nobody's: no person's data is in it.
pub fn registry() -> String {
    "REGISTRY".into()
}

fn of_registry(sk: String) -> Key {
    Key { pk: registry(), sk }
}

pub fn registry_head() -> Key {
    of_registry("HEAD".into())
}

pub fn agent(name: &str) -> Key {
    of_registry(format!("{AGENTS}{}", part(name)))
}

pub fn found(agent: &str) -> Key {
    of_registry(format!("{FOUND}{}", part(agent)))
}

pub fn change(version: u64) -> Key {
    of_registry(format!("{CHANGES}{version:012}"))
}

pub fn document() -> Key {
    of_registry("DOCUMENT".into())
}

pub fn copy() -> Key {
    of_registry("COPY".into())
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
        let day: Day = "2026-11-20".parse().unwrap();
        assert_eq!(sk(account(&owner)), "ACCOUNT");
        assert_eq!(sk(preferences(&owner)), "PREFERENCES");
        assert_eq!(sk(erased(&owner)), "ERASED");
        assert_eq!(
            sk(reference(&owner, day, "w-1", 7)),
            "AUDIT#2026-11-20#w-1#000000000007"
        );
        let scope = Scope::of_day("ac#me", day);
        assert_eq!(chains(&Scope::of_tenant(&scope.tenant)), "AUDIT#ac%23me");
        assert_eq!(chains(&scope), "AUDIT#ac%23me#2026-11-20");
        assert_eq!(sk(head(&scope, "w-1")), "HEAD#w-1");
        assert_eq!(sk(line(&scope, "w-1", 7)), "LINE#w-1#000000000007");
        assert_eq!(place("LINE#w-1#000000000007"), Some(("w-1", 7)));
        assert_eq!(decision("ac#me", "h").pk, "DECISIONS#ac%23me");
        assert_eq!(sk(breaker("model:gpt-4o")), "model%3Agpt%2D4o");
        assert_eq!(peer("model%3Agpt%2D4o"), "model:gpt-4o");
        let of_arm = ArmId {
            experiment: "a-b#".into(),
            arm: "c".into(),
        };
        assert_eq!(sk(trial(&of_arm)), "a%2Db%23#c");
        assert_eq!(arm("a%2Db%23#c"), Some(of_arm));
        assert_eq!(sk(agent("H R#")), "AGENT#H%20R%23");
        assert_eq!(sk(found("HR")), "FOUND#HR");
        assert_eq!(sk(change(7)), "CHANGE#000000000007");
    }

    #[test]
    fn every_kind_of_an_owners_items_is_recognised_by_its_key() {
        let owner = Owner::new("acme", "user#1");
        let (id, agent) = (ConversationId::new("c#1"), AgentId::new("U-MS"));
        let turn_id = TurnId::from_uuid(Uuid::from_u128(5));
        let day: Day = "2026-11-20".parse().unwrap();
        for (key, kind) in [
            (conversation(&owner, &id), Kind::Conversation(id.clone())),
            (turn(&owner, &id, turn_id, 3), Kind::Turn(id, turn_id)),
            (
                session(&owner, &agent, "a#b"),
                Kind::Session(agent, "a#b".into()),
            ),
            (account(&owner), Kind::Account),
            (preferences(&owner), Kind::Preferences),
            (proposal(&owner, "a#b"), Kind::Proposal("a#b".into())),
            (run(&owner, "a#b"), Kind::Run("a#b".into())),
            (erased(&owner), Kind::Erased),
            (
                reference(&owner, day, "w-1", 7),
                Kind::Reference(day, "w-1".into(), 7),
            ),
        ] {
            assert_eq!(Kind::of(&key.sk), kind, "{}", key.sk);
            assert_eq!(Kind::of(&format!("{}#x", key.sk)), Kind::Unknown);
        }
        assert_eq!(Kind::of("SOMETHING"), Kind::Unknown);
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
