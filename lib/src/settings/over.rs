//! What a document of agents says, with other entries over it.

use super::agents::{Agents, parse};
use super::{Env, Error, Place};
use crate::domain::agent::{AgentCard, Registry};
use crate::domain::condition::Rule;

/// What a document says, with everything that stands over it.
#[derive(Clone, Debug)]
pub struct Roster {
    pub registry: Registry,
    pub rules: Vec<Rule>,
}

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
    let text = place.near().map_err(|problem| Error::Agents {
        file: place.to_string(),
        problem,
    })?;
    roster(&place.to_string(), &text, &[], env)
}

/// What a document says, with other entries over it. Fails with a sentence that says what is wrong.
pub fn roster(name: &str, text: &str, over: &[Over], env: &Env) -> Result<Roster, Error> {
    let agents = parse(text, env).and_then(|agents| agents.under(over, env));
    let agents = agents.map_err(|problem| Error::Agents {
        file: name.to_owned(),
        problem,
    })?;
    agents.roster(env.get("MAS_DEFAULT_AGENT"))
}

/// An agent's entry that stands for itself, checked; what it refers to has to be reachable for the API.
pub fn entry(written: &str, env: &Env) -> Result<AgentCard, String> {
    let document = format!("{{\"agents\": [{written}]}}");
    let agents = parse(&document, &env.only(REACH))?;
    let mut cards = agents.cards.into_iter();
    match (cards.next(), cards.next()) {
        (Some(card), None) => Ok(card),
        _ => Err("this is not one agent".into()),
    }
}

impl Agents {
    /// With other entries over these: in the place of one, behind them all, or for one that goes.
    fn under(mut self, over: &[Over], env: &Env) -> Result<Self, String> {
        for Over { name, written } in over {
            let at = (self.cards.iter()).position(|card| card.id.as_str() == name);
            let card = written.as_deref().map(|written| entry(written, env));
            let card = card.transpose()?;
            if let Some(card) = card.as_ref().filter(|card| card.id.as_str() != name) {
                return Err(format!("the entry of agent {name} names {}", card.id));
            }
            match (card, at.and_then(|at| self.cards.get_mut(at))) {
                (Some(card), Some(place)) => *place = card,
                (Some(card), None) => self.cards.push(card),
                (None, _) => self.cards.retain(|card| card.id.as_str() != name),
            }
        }
        for (at, rule) in self.rules.iter().enumerate() {
            if !self.cards.iter().any(|card| card.id == rule.agent) {
                let (at, agent) = (at + 1, &rule.agent);
                return Err(format!("rule {at} sends to {agent}, which is removed"));
            }
        }
        Ok(self)
    }

    pub(super) fn roster(self, default: Option<&str>) -> Result<Roster, Error> {
        let names: Vec<&str> = self.cards.iter().map(|card| card.id.as_str()).collect();
        if let Some(name) = default.filter(|name| !names.contains(name)) {
            return Err(Error::Refused {
                name: "MAS_DEFAULT_AGENT",
                problem: format!(
                    "there is no agent {name}, expected one of {}",
                    names.join(", ")
                ),
            });
        }
        let default = default.map(str::to_owned).or(self.default);
        let rules = self.rules;
        let registry = Registry::new(self.cards, default.as_deref());
        let registry = registry.map_err(|problem| Error::Refused {
            name: "MAS_AGENTS",
            problem,
        })?;
        Ok(Roster { registry, rules })
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
                Some(r#"{"name": "A", "endpoint": "other", "description": "\u00e9\"x\""}"#),
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
        check(over("B", None), "rule 1 sends to B");
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
        let env = Env::from([("MAS_STATE_KEYS", "k"), ("AGENT_HR_KEY", "hr-key")]);
        let entry = |key: &str| {
            let written = format!(r#"{{"name": "A", "endpoint": "a", "key": "{key}"}}"#);
            entry(&written, &env)
        };
        assert!(entry("${MAS_STATE_KEYS}").unwrap_err().contains("not set"));
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
