//! What passes from one agent to another: facts that a rule lets through, and nothing else.

use std::collections::HashSet;

use crate::domain::agent::{AgentCard, Registry};
use crate::domain::conversation::Memory;
use crate::domain::fact::Fact;
use crate::domain::ids::{AgentId, Timestamp};
use crate::domain::message::{Message, Role};

/// Of a conversation, so many of the newest facts are kept.
const KEPT: usize = 16;

/// Words that say nothing by themselves, so that two texts may share them.
const EMPTY: &str = "a about all also an and any are as at be but by can continues do does earlier for from has have he her his \
    how i if in into is it its me my no not of on one only or our please request s she so than that the their \
    them then there these they this those to up user was we were what when where which who will with you your";

/// The kinds of facts that some agent takes: no others are looked for.
pub fn kinds(registry: &Registry) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for kind in registry.iter().flat_map(|card| &card.facts.takes) {
        if !kinds.contains(kind) {
            kinds.push(kind.clone());
        }
    }
    kinds
}

/// Whether facts of this agent's answers are any use to another one.
pub fn are_wanted_from(registry: &Registry, source: &AgentId) -> bool {
    let gives = |card: &AgentCard| card.facts.gives;
    registry.get(source.as_str()).is_some_and(gives)
        && (registry.iter()).any(|card| card.id != *source && !card.facts.takes.is_empty())
}

/// Of these facts, those that may be told to an agent: another agent's, of a kind that it takes, not too old.
pub fn allowed(facts: &[Fact], card: &AgentCard, registry: &Registry, now: Timestamp) -> Vec<Fact> {
    let may = |fact: &&Fact| {
        fact.source != card.id
            && card.facts.takes.contains(&fact.kind)
            && (registry.get(fact.source.as_str())).is_some_and(|source| source.facts.gives)
            && fact.until > now
    };
    facts.iter().filter(may).cloned().collect()
}

/// The newest fact of each of these kinds.
pub fn of_kinds(facts: &[Fact], kinds: &[String]) -> Vec<Fact> {
    (kinds.iter())
        .filter_map(|kind| facts.iter().rfind(|fact| fact.kind == *kind))
        .cloned()
        .collect()
}

/// What is known after a turn: the old facts that still hold, then the new ones.
pub fn known(old: &[Fact], new: Vec<Fact>, now: Timestamp) -> Vec<Fact> {
    let mut all: Vec<Fact> = (old.iter())
        .filter(|fact| fact.until > now)
        .cloned()
        .collect();
    for fact in new {
        all.retain(|known| (&known.kind, &known.value) != (&fact.kind, &fact.value));
        all.push(fact);
    }
    let over = all.len().saturating_sub(KEPT);
    all.drain(..over);
    all
}

/// Whether a router's own words to an agent hold any of what another agent said: a word that stands in another agent's
/// answer and that this agent cannot know. The user's words are everybody's; an agent's own answers are its own.
pub fn leaks(
    words: &str,
    target: &AgentId,
    messages: &[Message],
    memory: &Memory,
    registry: &Registry,
) -> bool {
    let own = |agent: &AgentId| agent == target;
    let mut others: HashSet<String> = HashSet::new();
    let mut known: HashSet<String> = EMPTY.split(' ').map(str::to_owned).collect();
    for exchange in &memory.exchanges {
        if own(&exchange.agent) {
            add(&mut known, &exchange.answer);
        } else {
            add(&mut others, &exchange.answer);
        }
    }
    // What the user was shown may be anybody's, in other words.
    let foreign = memory
        .exchanges
        .iter()
        .any(|exchange| !own(&exchange.agent));
    for message in messages {
        match message.role {
            Role::Assistant if foreign => add(&mut others, &message.text),
            Role::Assistant => {}
            Role::User | Role::System | Role::Tool => add(&mut known, &message.text),
        }
    }
    for card in registry.iter() {
        add(&mut known, card.id.as_str());
        add(&mut known, &card.description);
    }
    tokens(words).any(|word| others.contains(&word) && !known.contains(&word))
}

fn add(words: &mut HashSet<String>, text: &str) {
    words.extend(tokens(text));
}

fn tokens(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::agent::{Endpoint, Protocol};
    use crate::domain::capability::FactRules;
    use crate::domain::conversation::Exchange;
    use crate::domain::fact::Sensitivity;
    use crate::domain::ids::ConversationId;

    fn card(name: &str, takes: &[&str], gives: bool) -> AgentCard {
        AgentCard {
            facts: FactRules {
                takes: takes.iter().map(|kind| (*kind).to_owned()).collect(),
                gives,
            },
            ..AgentCard::new(name, Protocol::Dial, Endpoint::Deployment(name.into()))
        }
    }

    fn fact(kind: &str, value: &str, source: &str, until: u64) -> Fact {
        Fact {
            kind: kind.into(),
            entity: String::new(),
            value: value.into(),
            source: AgentId::new(source),
            sensitivity: Sensitivity::Public,
            until: Timestamp(until),
        }
    }

    #[test]
    fn an_agent_is_told_what_it_takes_of_those_that_give_while_it_holds() {
        let cards = vec![
            card("GPA", &[], true),
            card("HR", &["place"], false),
            card("UMS", &["place"], true),
        ];
        let registry = Registry::new(cards, None).unwrap();
        let told = |fact: Fact| {
            let ums = registry.get("UMS").unwrap();
            !allowed(&[fact], ums, &registry, Timestamp(100)).is_empty()
        };
        assert!(told(fact("place", "Paris", "GPA", 101)));
        assert!(
            !told(fact("place", "Paris", "GPA", 100)),
            "its time is over"
        );
        assert!(!told(fact("email", "a@b.c", "GPA", 101)), "another kind");
        assert!(!told(fact("place", "Paris", "HR", 101)), "HR gives nothing");
        assert!(!told(fact("place", "Paris", "UMS", 101)), "its own");
        assert!(
            !told(fact("place", "Paris", "GONE", 101)),
            "no agent any more"
        );
        assert_eq!(kinds(&registry), ["place"]);
        let wanted = |name| are_wanted_from(&registry, &AgentId::new(name));
        assert!(wanted("GPA") && !wanted("HR") && wanted("UMS"));
    }

    #[test]
    fn the_newest_facts_are_known_once_each_while_they_hold() {
        let old: Vec<Fact> = (0..20)
            .map(|n| fact("n", &n.to_string(), "GPA", 100 + n))
            .collect();
        let new = vec![fact("n", "7", "HR", 500), fact("n", "x", "GPA", 500)];
        let known = known(&old, new, Timestamp(102));
        let values: Vec<&str> = known.iter().map(|fact| fact.value.as_str()).collect();
        assert_eq!(values.len(), 16);
        assert_eq!(values[..2], ["5", "6"]);
        assert_eq!(values[14..], ["7", "x"]);
    }

    #[test]
    fn a_word_of_another_agents_answer_is_a_leak_unless_it_is_known() {
        let exchange = |agent: &str, answer: &str| Exchange {
            agent: AgentId::new(agent),
            request: "Where?".into(),
            instructions: None,
            request_attachments: Vec::new(),
            answer: answer.into(),
            attachments: Vec::new(),
            state: None,
        };
        let memory = Memory {
            after: None,
            conversation: ConversationId::new("c"),
            sessions: std::collections::BTreeMap::new(),
            exchanges: vec![
                exchange("GPA", "The Code is 4711 in Lyon."),
                exchange("UMS", "Bob lives in Lyon."),
            ],
            last: None,
            facts: Vec::new(),
        };
        let registry = Registry::new(vec![card("GPA", &[], true), card("UMS", &[], true)], None);
        let registry = registry.unwrap();
        let messages = [
            Message::user("Where is Alice?"),
            Message::assistant("It says CODE-9."),
            Message::user("Create her"),
        ];
        let check = |words: &str, expected: bool| {
            let found = leaks(words, &AgentId::new("UMS"), &messages, &memory, &registry);
            assert_eq!(found, expected, "{words}");
        };
        check("Create Alice, please", false);
        check("Create Alice in Lyon", false);
        check("The code is needed", true);
        check("Use 4711.", true);
        check("Use CODE-9", true);
        check("Ask GPA for nothing new", false);
    }
}
