//! What a document of agents says, with other entries over it.

use super::agents;
use super::document::{Roster, parse_under};
use super::place::{self, Problem};
use super::written::Agent;
use super::{Env, Error, Place};
use crate::domain::agent::AgentCard;
use crate::domain::check::Checks;

/// What stands over an agent of the document, or beside them: another entry, or none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    pub name: String,
    /// The JSON of an entry as the document has them.
    pub written: Option<String>,
}

/// What entries that were made through the API may refer to: whoever may change agents does not get our own secrets.
pub const REACH: &str = "AGENT_";

/// Reads what can be read without asking anybody: the file that `MAS_AGENTS` names, the text that it is, or what is built
/// in.
pub fn read(place: &Place, env: &Env) -> Result<Roster, Error> {
    roster(&place.to_string(), &place.text()?, &[], env)
}

/// What a document says, with other entries over it, and the default agent that the environment sets. Fails with a sentence
/// that says what is wrong.
pub fn roster(name: &str, text: &str, over: &[Over], env: &Env) -> Result<Roster, Error> {
    let mut roster = parse_under(text, over, env).map_err(|problems| Error::Agents {
        file: name.to_owned(),
        problem: problems.to_string(),
    })?;
    if let Some(default) = env.get("MAS_DEFAULT_AGENT") {
        let changed = roster.registry.with_default(default);
        roster.registry = changed.map_err(|problem| Error::Refused {
            name: "MAS_DEFAULT_AGENT",
            problem,
        })?;
    }
    Ok(roster)
}

/// An agent's entry that stands for itself, checked; what it refers to has to be reachable for the API.
pub fn entry(written: &str, env: &Env) -> Result<AgentCard, String> {
    card(written, env, None)
}

fn card(written: &str, env: &Env, checks: Option<&Checks>) -> Result<AgentCard, String> {
    let agent: Agent = serde_saphyr::from_str(written)
        .map_err(|error: serde_saphyr::Error| Problem::from(&error).problem)?;
    agents::card(agent, &env.only(REACH), checks).map_err(|problem| problem.problem)
}

/// Puts entries over those of a document: in the place of one, behind them all, or for one that goes.
pub(super) fn put(
    cards: &mut Vec<AgentCard>,
    over: &[Over],
    env: &Env,
    checks: &Checks,
    problems: &mut Vec<Problem>,
) {
    for Over { name, written } in over {
        let read = |written| card(written, env, Some(checks));
        let card = match written.as_deref().map(read) {
            Some(Err(problem)) => {
                let problem = format!("the entry of agent {name}: {problem}");
                problems.push(place::Place::default().problem(problem));
                continue;
            }
            Some(Ok(card)) if card.id.as_str() != name => {
                let problem = format!("the entry of agent {name} names {}", card.id);
                problems.push(place::Place::default().problem(problem));
                continue;
            }
            Some(Ok(card)) => Some(card),
            None => None,
        };
        let at = cards.iter().position(|card| card.id.as_str() == name);
        match (card, at.and_then(|at| cards.get_mut(at))) {
            (Some(card), Some(place)) => *place = card,
            (Some(card), None) => cards.push(card),
            (None, _) => cards.retain(|card| card.id.as_str() != name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "agents:\n- {name: A, endpoint: a}\n- {name: B, endpoint: b}\nrouting:\n  rules:\n  - {if: 'contains(query, \"x\")', then: B}\n";

    fn over(name: &str, written: Option<&str>) -> Over {
        Over {
            name: name.into(),
            written: written.map(str::to_owned),
        }
    }

    #[test]
    fn entries_stand_over_the_document_in_their_places() {
        let over = [
            over(
                "A",
                Some(
                    r#"{"name": "A", "endpoint": "other", "description": "\u00e9\"x\"", "fallback": "C"}"#,
                ),
            ),
            over("C", Some(r#"{"name": "C", "endpoint": ["c1", "c2"]}"#)),
        ];
        let roster = roster("x", TWO, &over, &Env::default()).unwrap();
        let places: Vec<String> = (roster.registry.iter())
            .map(|card| format!("{} {}", card.id, card.endpoints[0].place()))
            .collect();
        assert_eq!(places, ["A other", "B b", "C c1"]);
        assert_eq!(roster.registry.get("A").unwrap().description, "\u{e9}\"x\"");
    }

    #[test]
    fn what_others_need_cannot_be_removed() {
        let check = |over: Over, part: &str| {
            let problem = roster("x", TWO, &[over], &Env::default()).unwrap_err();
            assert!(problem.to_string().contains(part), "{problem}");
        };
        check(
            over("B", None),
            "line 6, column 40: there is no agent B, expected one of A",
        );
        check(
            over("A", Some(r#"{"name": "B", "endpoint": "x"}"#)),
            "the entry of agent A names B",
        );
        check(
            over(
                "A",
                Some(r#"{"name": "A", "endpoint": "x", "fallback": "Z"}"#),
            ),
            "its fallback Z",
        );
        let roster = roster("x", TWO, &[over("A", None)], &Env::default()).unwrap();
        assert!(roster.registry.get("A").is_none());
    }

    #[test]
    fn an_entry_does_not_reach_our_own_secrets() {
        let env = Env::from([
            ("MAS_STATE_KEYS", "k"),
            ("AGENT_HR_KEY", "hr-key"),
            ("secretsmanager:mas/state", "k"),
        ]);
        let entry = |key: &str| {
            let written = format!(r#"{{"name": "A", "endpoint": "a", "key": "{key}"}}"#);
            entry(&written, &env)
        };
        assert!(entry("${MAS_STATE_KEYS}").unwrap_err().contains("not set"));
        assert!(
            entry("secretsmanager:mas/state")
                .unwrap_err()
                .contains("was not fetched")
        );
        let key = entry("${AGENT_HR_KEY}").unwrap().key.unwrap();
        assert_eq!(key.expose(), "hr-key");
        assert!(
            super::entry(
                r#"{"name": "A", "endpoint": "a"}, {"name": "B", "endpoint": "b"}"#,
                &env
            )
            .is_err()
        );
    }
}
