//! What an agent said of itself: read with care, kept, and missed when it is not said any more.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::agent::{AgentCard, Discover};
use crate::domain::capability::Capability;

/// More of anything is left out: it all goes into prompts.
const CAPABILITIES: usize = 40;
const WORDS: usize = 10;
const LONGEST: usize = 300;

/// What an agent said last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// What it said before and does not say now. It is still routed by: nobody has said that it is gone for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Capability>,
    /// Names the version of what it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// What came of asking an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The version that the table has of what it said before; 0 for nothing.
    pub seen: u64,
    pub before: Found,
    pub after: Found,
}

impl Discovered {
    /// Names of what was said before, and is not any more.
    pub fn dropped(&self) -> Vec<&str> {
        let known = |missing: &&Capability| {
            let before = &self.before.missing;
            !before.iter().any(|before| before.name == missing.name)
        };
        let dropped = self.after.missing.iter().filter(known);
        dropped.map(|capability| capability.name.as_str()).collect()
    }

    /// Names of what was not said before.
    pub fn added(&self) -> Vec<&str> {
        let known = |new: &&Capability| {
            let mut before = self.before.all();
            !before.any(|before| before.name == new.name)
        };
        let added = self.after.capabilities.iter().filter(known);
        added.map(|capability| capability.name.as_str()).collect()
    }

    pub fn changed(&self) -> bool {
        let said = |found: &Found| Found {
            tag: None,
            ..found.clone()
        };
        said(&self.before) != said(&self.after)
    }
}

impl Found {
    /// What the table has; what cannot be read was never said.
    pub fn read(written: Option<&str>) -> Self {
        let found = written.and_then(|written| serde_json::from_str(written).ok());
        found.unwrap_or_default()
    }

    /// Puts what was said into a card, where the card itself says nothing.
    pub fn enrich(&self, card: &mut AgentCard) {
        if card.description.trim().is_empty() {
            card.description.clone_from(&self.description);
        }
        for said in self.all() {
            let known = (card.capabilities.iter_mut()).find(|known| known.name == said.name);
            match known {
                None => card.capabilities.push(said.clone()),
                Some(known) => {
                    if known.description.is_empty() {
                        known.description.clone_from(&said.description);
                    }
                    if known.tags.is_empty() {
                        known.tags.clone_from(&said.tags);
                    }
                    if known.examples.is_empty() {
                        known.examples.clone_from(&said.examples);
                    }
                }
            }
        }
    }

    /// What it says now after it said `self`. With `accepting`, what it does not say is gone for good.
    pub(super) fn followed(&self, now: Self, accepting: bool) -> Self {
        let gone = self.all().filter(|old| {
            let mut still = now.capabilities.iter();
            !accepting && !still.any(|new| new.name == old.name)
        });
        // However often an agent renames what it can, what it says stays of one size.
        let missing = gone.take(CAPABILITIES).cloned().collect();
        Self { missing, ..now }
    }

    fn all(&self) -> impl Iterator<Item = &Capability> {
        self.capabilities.iter().chain(&self.missing)
    }
}

/// What a document says, whatever its shape.
pub(super) fn read(way: Discover, told: &Value) -> Result<Found, String> {
    let several = |name: &str| told.get(name).and_then(Value::as_array).cloned();
    let said = match way {
        Discover::Card => several("skills").ok_or("the card has no skills")?,
        // Another coordinator says what its agents can.
        Discover::Capabilities => match several("capabilities") {
            Some(said) => said,
            None => (several("agents").ok_or("it names no capabilities")?.iter())
                .filter_map(|agent| agent.get("capabilities")?.as_array().cloned())
                .flatten()
                .collect(),
        },
        Discover::Core => several("description_keywords").unwrap_or_default(),
    };
    let mut capabilities: Vec<Capability> = Vec::new();
    for capability in said.iter().filter_map(capability) {
        let new = !(capabilities.iter()).any(|known| known.name == capability.name);
        if new && capabilities.len() < CAPABILITIES {
            capabilities.push(capability);
        }
    }
    Ok(Found {
        description: line(told.get("description")),
        capabilities,
        missing: Vec::new(),
        tag: None,
    })
}

/// One capability: a word, or an object with more.
fn capability(said: &Value) -> Option<Capability> {
    let words = |name| {
        let words = said.get(name).and_then(Value::as_array);
        let words = words.into_iter().flatten().map(|word| line(Some(word)));
        words.filter(|word| !word.is_empty()).take(WORDS).collect()
    };
    let name = [Some(said), said.get("name"), said.get("id")];
    let name = (name.into_iter().map(line)).find(|name| !name.is_empty())?;
    Some(Capability {
        name,
        description: line(said.get("description")),
        tags: words("tags"),
        examples: words("examples"),
        effect: None,
    })
}

/// A text as one line of a prompt: what an agent says of itself may not look like more than that.
fn line(said: Option<&Value>) -> String {
    let text = said.and_then(Value::as_str).unwrap_or_default();
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let text: String = text.chars().map(plain).take(LONGEST).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::agent::{Endpoint, Protocol};

    fn found(names: &[&str], missing: &[&str]) -> Found {
        let named = |names: &[&str]| names.iter().map(|name| Capability::named(name)).collect();
        Found {
            capabilities: named(names),
            missing: named(missing),
            ..Found::default()
        }
    }

    #[test]
    fn every_shape_is_read() {
        let card = json!({"name": "Recipes", "description": "Cooks.", "skills": [
            {"id": "s1", "name": "find\nrecipes", "description": "Finds them.", "tags": ["food"], "examples": ["What can I cook?"]},
            {"id": "plan"}, {}]});
        let read_card = read(Discover::Card, &card).unwrap();
        let names = |found: &Found| -> Vec<String> {
            found
                .all()
                .map(|capability| capability.name.clone())
                .collect()
        };
        assert_eq!(read_card.description, "Cooks.");
        assert_eq!(names(&read_card), ["find recipes", "plan"]);
        assert_eq!(read_card.capabilities[0].examples, ["What can I cook?"]);
        let own = json!({"capabilities": ["leave", {"name": "pay", "tags": ["money"]}, "leave"]});
        assert_eq!(
            names(&read(Discover::Capabilities, &own).unwrap()),
            ["leave", "pay"]
        );
        let ours = json!({"agents": [{"name": "A", "capabilities": ["x"]}, {"name": "B"}]});
        assert_eq!(names(&read(Discover::Capabilities, &ours).unwrap()), ["x"]);
        let core = json!({"id": "hr", "description": "HR", "description_keywords": ["leave"]});
        assert_eq!(names(&read(Discover::Core, &core).unwrap()), ["leave"]);
        assert!(read(Discover::Card, &json!({})).is_err());
        let many: Vec<String> = (0..500).map(|n| format!("c{n}")).collect();
        let capped = read(Discover::Capabilities, &json!({"capabilities": many})).unwrap();
        assert_eq!(capped.capabilities.len(), CAPABILITIES);
    }

    #[test]
    fn what_is_not_said_any_more_is_missed_until_it_is_accepted() {
        let before = found(&["a", "b"], &["c"]);
        let after = before.followed(found(&["b", "d"], &[]), false);
        assert_eq!(after, found(&["b", "d"], &["a", "c"]));
        let discovered = Discovered {
            seen: 1,
            before: before.clone(),
            after,
        };
        assert_eq!(discovered.dropped(), ["a"]);
        assert_eq!(discovered.added(), ["d"]);
        assert!(discovered.changed());
        let accepted = before.followed(found(&["b"], &[]), true);
        assert_eq!(accepted, found(&["b"], &[]));
        let back = found(&["b"], &["a"]).followed(found(&["a", "b"], &[]), false);
        assert_eq!(back, found(&["a", "b"], &[]));
        // Who names itself anew each time is not told of more and more.
        let mut flighty = Found::default();
        for round in 0..5 {
            let names: Vec<String> = (0..CAPABILITIES).map(|n| format!("{round}-{n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            flighty = flighty.followed(found(&names, &[]), false);
        }
        assert_eq!(flighty.all().count(), 2 * CAPABILITIES);
    }

    #[test]
    fn what_is_configured_stands_before_what_is_said() {
        let mut card = AgentCard::new("A", Protocol::Dial, Endpoint::Deployment("a".into()));
        card.description = "Mine".into();
        card.capabilities = vec![Capability::named("a")];
        let mut said = found(&["a", "b"], &["c"]);
        said.description = "Its own".into();
        said.capabilities[0].description = "More".into();
        said.enrich(&mut card);
        let names: Vec<&str> = card
            .capabilities
            .iter()
            .map(|known| known.name.as_str())
            .collect();
        assert_eq!(
            (card.description.as_str(), names),
            ("Mine", vec!["a", "b", "c"])
        );
        assert_eq!(card.capabilities[0].description, "More");
    }
}
