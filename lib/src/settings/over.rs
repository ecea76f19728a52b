//! What a document of agents says, with other entries over it.

use super::agents;
use super::document::{self, Roster, parse_under};
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

/// What the names of variables begin with that are agents' own.
const OF_AGENTS: &str = "AGENT_";
/// Those of the agents that are built in, whose names are older.
const BUILT_IN: [&str; 3] = ["GPA_AGENT_ENDPOINT", "GPA_API_KEY", "UMS_AGENT_ENDPOINT"];
/// The part that the names of agents' own secrets have, such as `mas/agents/hr`.
const PART: &str = "agents";

/// Whether a variable or a reference is for agents. Nothing else is known to entries that were made through the API and to
/// documents from elsewhere: whoever may change those does not get our own secrets.
pub fn is_within_reach(name: &str) -> bool {
    if agents::is_reference(name) {
        let place = name.split('#').next().unwrap_or_default();
        return place.split(['/', ':']).any(|part| part == PART);
    }
    name.starts_with(OF_AGENTS) || BUILT_IN.contains(&name)
}

/// The secrets that a document from a place and entries over it refer to and may have. Whoever fetches them puts each into
/// the environment under its own reference.
pub fn references(place: &Place, text: &str, over: &[Over]) -> Vec<String> {
    let mut found = document::references(text);
    found.retain(|key| !place.is_far() || is_within_reach(key));
    let written = over.iter().filter_map(|over| over.written.as_deref());
    let keys = written.filter_map(|written| {
        let entry: serde_json::Value = serde_json::from_str(written).ok()?;
        let key = entry.get("key")?.as_str()?.trim();
        (agents::is_reference(key) && is_within_reach(key)).then(|| key.to_owned())
    });
    found.extend(keys);
    found.sort_unstable();
    found.dedup();
    found
}

/// Reads what can be read without asking anybody: the file that `MAS_AGENTS` names, the text that it is, or what is built
/// in.
pub fn read(place: &Place, env: &Env) -> Result<Roster, Error> {
    roster(place, &place.text()?, &[], env)
}

/// What a document from a place says, with other entries over it, and the default agent that the environment sets. Fails
/// with a sentence that says what is wrong.
pub fn roster(place: &Place, text: &str, over: &[Over], env: &Env) -> Result<Roster, Error> {
    let parsed = parse_under(text, place.is_far(), over, env);
    let mut roster = parsed.map_err(|problems| Error::Agents {
        file: place.to_string(),
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
    let env = env.only(is_within_reach);
    agents::card(agent, &env, checks).map_err(|problem| problem.problem)
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
        let roster = roster(&Place::BuiltIn, TWO, &over, &Env::default()).unwrap();
        let places: Vec<String> = (roster.registry.iter())
            .map(|card| format!("{} {}", card.id, card.endpoints[0].place()))
            .collect();
        assert_eq!(places, ["A other", "B b", "C c1"]);
        assert_eq!(roster.registry.get("A").unwrap().description, "\u{e9}\"x\"");
    }

    #[test]
    fn what_others_need_cannot_be_removed() {
        let check = |over: Over, part: &str| {
            let problem = roster(&Place::BuiltIn, TWO, &[over], &Env::default()).unwrap_err();
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
        let roster = roster(&Place::BuiltIn, TWO, &[over("A", None)], &Env::default()).unwrap();
        assert!(roster.registry.get("A").is_none());
    }

    #[test]
    fn a_document_from_elsewhere_reaches_what_is_for_agents_alone() {
        let env = Env::from([
            ("MAS_STATE_KEYS", "our-own"),
            (
                "MAS_HOOK_KEY",
                "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            ),
            ("AGENT_KEY", "an-agents"),
            ("GPA_API_KEY", "gpas"),
            ("ssm:/mas/agents/hr", "an-agents"),
            ("ssm:/mas/state", "our-own"),
            ("secretsmanager:mas/agents#hr", "an-agents"),
        ]);
        let far = Place::Ssm("/mas/document".into());
        let check = |field: &str, near: bool, elsewhere: Option<&str>| {
            let text = format!("agents:\n- {{name: A, endpoint: a, {field}}}\n");
            let read = |place| roster(place, &text, &[], &env).map_err(|error| error.to_string());
            assert_eq!(read(&Place::BuiltIn).is_ok(), near, "{field}");
            match elsewhere {
                None => assert!(read(&far).is_ok(), "{field} {:?}", read(&far)),
                Some(part) => {
                    let problem = read(&far).unwrap_err();
                    assert!(
                        problem.contains(part) && !problem.contains("our-own"),
                        "{problem}"
                    );
                }
            }
        };
        check("key: '${AGENT_KEY}'", true, None);
        check("key: '${GPA_API_KEY}'", true, None);
        check("key: '${AGENT_NONE}'", false, Some("AGENT_NONE is not set"));
        check("key: '${MAS_STATE_KEYS}'", true, Some("begin with AGENT_"));
        check(
            "description: '${MAS_STATE_KEYS}'",
            true,
            Some("begin with AGENT_"),
        );
        check("key: 'ssm:/mas/agents/hr'", true, None);
        check("key: 'secretsmanager:mas/agents#hr'", true, None);
        check("key: 'ssm:/mas/state'", true, Some("a part \"agents\""));
        let text = "agents:\n- {name: A, endpoint: a, key: 'ssm:/mas/state'}\n\
                    - {name: B, endpoint: b, key: 'ssm:/mas/agents/hr'}\n";
        let entry = over(
            "C",
            Some(r#"{"endpoint": "c", "key": "secretsmanager:mas/agents#hr"}"#),
        );
        let wrong = over(
            "D",
            Some(r#"{"endpoint": "d", "key": "secretsmanager:mas/state"}"#),
        );
        let found = references(&far, text, &[entry, wrong]);
        assert_eq!(
            found,
            ["secretsmanager:mas/agents#hr", "ssm:/mas/agents/hr"]
        );
        // A hook signs with its key, which it never sends.
        let hooks = "agents:\n- {name: A, endpoint: a}\nhooks:\n- {name: h, at: after_turn, url: 'https://h.example'}\n";
        roster(&far, hooks, &[], &env).unwrap();
        let url = hooks.replace("h.example", "h.example/${MAS_STATE_KEYS}");
        assert!(roster(&far, &url, &[], &env).is_err());
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
