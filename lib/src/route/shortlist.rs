//! Which agents a model is told of, where there are too many for one prompt: those whose cards have the words of the request.
//!
//! BM25 over each agent's name, description, capabilities, tags and examples. Nothing is learned and nothing is kept: the
//! words of a request are gone when it is ranked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::agent::{AgentCard, Registry};
use crate::domain::ids::AgentId;
use crate::domain::preference::Preferences;

/// Up to so many agents a model is told of all of them.
pub(super) const ALL: usize = 12;
/// Of more, it is told of so many, and of those who must be among them.
const SHOWN: usize = 32;
/// The usual saturation and length normalisation of BM25. These and the two below were chosen on data: docs/registry.md.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// What stands in a name counts as often as this.
const NAME: usize = 2;
/// Pieces of longer words count this much: they find what is inflected, compounded or mistyped.
const PIECE: f64 = 0.6;
const PIECE_LENGTH: usize = 3;

/// The words of all agents' cards.
#[derive(Clone, Debug)]
pub struct Shortlist {
    agents: Vec<AgentId>,
    default: AgentId,
    /// For each term the agents that have it, and how much it says of each.
    terms: HashMap<String, Vec<(usize, f64)>>,
}

impl Shortlist {
    /// `None` where a model can be told of all of them.
    pub fn of(registry: &Registry) -> Option<Self> {
        let cards: Vec<&AgentCard> = registry.iter().collect();
        if cards.len() <= ALL {
            return None;
        }
        // In one order, so that cards that are alike come to the very same sums.
        let counted: Vec<BTreeMap<String, f64>> = cards.iter().map(|card| counts(card)).collect();
        let lengths: Vec<f64> = counted.iter().map(|counts| counts.values().sum()).collect();
        #[expect(clippy::cast_precision_loss, reason = "there are some hundred agents")]
        let number = |count: usize| count as f64;
        let all = number(cards.len());
        let average = lengths.iter().sum::<f64>() / all;
        let mut had: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        for (at, counts) in counted.into_iter().enumerate() {
            for (term, count) in counts {
                had.entry(term).or_default().push((at, count));
            }
        }
        for agents in had.values_mut() {
            let rarity =
                (1.0 + (all - number(agents.len()) + 0.5) / (number(agents.len()) + 0.5)).ln();
            for (at, weight) in agents {
                let length = lengths.get(*at).copied().unwrap_or(average);
                let damped = *weight + K1 * (1.0 - B + B * length / average.max(1.0));
                *weight = rarity * *weight * (K1 + 1.0) / damped;
            }
        }
        Some(Self {
            agents: cards.iter().map(|card| card.id.clone()).collect(),
            default: registry.default_agent().id.clone(),
            terms: had,
        })
    }

    /// The agents to be told of, those that fit best first. Those of `also` and those that the user prefers are always among
    /// them; those that the user blocked take nobody's place. The default is among them whoever wants it.
    pub fn agents(&self, text: &str, also: &[&AgentId], wanted: &Preferences) -> Vec<AgentId> {
        let mut best = self.ranked(text);
        best.retain(|agent| !wanted.blocks(agent));
        best.truncate(SHOWN);
        let also = also.iter().copied().chain(&wanted.preferred_agents);
        let also = also.filter(|agent| !wanted.blocks(agent));
        for agent in also.chain([&self.default]) {
            if self.agents.contains(agent) && !best.contains(agent) {
                best.push(agent.clone());
            }
        }
        best
    }

    /// All agents, those that fit best first; those that fit alike in their order.
    pub fn ranked(&self, text: &str) -> Vec<AgentId> {
        let mut scores = vec![0.0; self.agents.len()];
        for (term, weight) in weighed(text) {
            for (at, score) in self.terms.get(&term).into_iter().flatten() {
                if let Some(sum) = scores.get_mut(*at) {
                    *sum += weight * score;
                }
            }
        }
        let mut ranked: Vec<(&AgentId, f64)> = self.agents.iter().zip(scores).collect();
        ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        ranked.into_iter().map(|(agent, _)| agent.clone()).collect()
    }
}

/// How often a card says what.
fn counts(card: &AgentCard) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    let mut add = |text: &str, times: usize| {
        for _ in 0..times {
            for (term, weight) in weighed_often(text) {
                *counts.entry(term).or_insert(0.0) += weight;
            }
        }
    };
    add(card.id.as_str(), NAME);
    add(&card.description, 1);
    for capability in &card.capabilities {
        add(&capability.name, NAME);
        add(&capability.description, 1);
        for text in capability.tags.iter().chain(&capability.examples) {
            add(text, 1);
        }
    }
    counts
}

/// The terms of a request, each once.
fn weighed(text: &str) -> Vec<(String, f64)> {
    let mut seen = BTreeSet::new();
    let mut terms = weighed_often(text);
    terms.retain(|(term, _)| seen.insert(term.clone()));
    terms
}

/// Words and pieces of words, with how much each counts.
fn weighed_often(text: &str) -> Vec<(String, f64)> {
    let mut terms = Vec::new();
    for word in words(text) {
        let letters: Vec<char> = word.chars().collect();
        if letters.len() > PIECE_LENGTH {
            let pieces = letters.windows(PIECE_LENGTH);
            // A mark that no word has tells pieces from words.
            terms.extend(pieces.map(|piece| (format!("~{}", String::from_iter(piece)), PIECE)));
        }
        terms.push((word, 1.0));
    }
    terms
}

/// Words in small letters, of any script. `camelCase`, `snake_case` and letters beside digits are several words; scripts
/// without blanks become pairs of letters.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before: Option<char> = None;
    for letter in text.chars() {
        if !letter.is_alphanumeric() {
            before = None;
            continue;
        }
        let joins = before.is_some_and(|before| {
            before.is_numeric() == letter.is_numeric()
                && !(before.is_lowercase() && letter.is_uppercase())
                && !(is_unspaced(before) || is_unspaced(letter))
        });
        match words.last_mut().filter(|_| joins) {
            Some(word) => word.extend(letter.to_lowercase()),
            None => {
                if let Some(pair) =
                    before.filter(|before| is_unspaced(*before) && is_unspaced(letter))
                {
                    words.push(String::from_iter([pair, letter]));
                }
                words.push(letter.to_lowercase().collect());
            }
        }
        before = Some(letter);
    }
    words
}

/// Letters of Chinese, Japanese, Thai and others that put no blanks between words.
fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::agent::{Endpoint, Protocol};
    use crate::domain::capability::Capability;
    use crate::domain::preference::Wish;

    fn card(name: &str, description: &str) -> AgentCard {
        AgentCard {
            description: description.into(),
            ..AgentCard::new(name, Protocol::Dial, Endpoint::Deployment("x".into()))
        }
    }

    fn many(mut cards: Vec<AgentCard>) -> Registry {
        for n in 0..100 {
            cards.push(card(
                &format!("Other{n}"),
                "Does something else for everybody.",
            ));
        }
        Registry::new(cards, Some("Other77")).unwrap()
    }

    #[test]
    fn few_agents_need_no_shortlist() {
        let cards = (0..ALL).map(|n| card(&format!("A{n}"), "")).collect();
        assert!(Shortlist::of(&Registry::new(cards, None).unwrap()).is_none());
    }

    #[test]
    fn what_a_card_says_finds_its_agent_in_any_language() {
        let examples = AgentCard {
            capabilities: vec![Capability {
                tags: vec!["Gehaltsabrechnung".into()],
                examples: vec!["Скільки днів відпустки в мене залишилось?".into()],
                ..Capability::named("payroll_and_leave")
            }],
            ..card("HR", "")
        };
        let registry = many(vec![
            examples,
            card("Weather", "Tells the weather and forecasts of any city."),
            card("天気予報", "東京の天気を教えます。"),
            card("flightBooking", "Books flights."),
        ]);
        let shortlist = Shortlist::of(&registry).unwrap();
        let check = |text: &str, agent: &str| {
            assert_eq!(shortlist.ranked(text)[0].as_str(), agent, "{text}");
        };
        check("What will the weather be like in Paris?", "Weather");
        check("wetther forcast", "Weather");
        check("відпустка", "HR");
        check("Wo ist meine Abrechnung?", "HR");
        check("my payroll", "HR");
        check("明日の天気は?", "天気予報");
        check("book a flight to Rome", "flightBooking");
    }

    #[test]
    fn who_must_be_among_them_is() {
        let registry = many(vec![card("Weather", "Tells the weather.")]);
        let shortlist = Shortlist::of(&registry).unwrap();
        let (sticky, unknown) = (AgentId::new("Other99"), AgentId::new("Nobody"));
        let nothing = Preferences::default();
        let agents = shortlist.agents("the weather", &[&sticky, &unknown], &nothing);
        assert_eq!(agents[0].as_str(), "Weather");
        assert_eq!(agents.len(), SHOWN + 2);
        assert!(agents.contains(&sticky) && agents.contains(&AgentId::new("Other77")));
        assert!(!agents.contains(&unknown));
        // Where nothing fits, there are still some.
        assert_eq!(shortlist.agents("", &[], &nothing).len(), SHOWN + 1);
    }

    #[test]
    fn who_is_preferred_is_among_them_and_who_is_blocked_takes_no_place() {
        let registry = many(vec![card("Weather", "Tells the weather.")]);
        let shortlist = Shortlist::of(&registry).unwrap();
        let id = AgentId::new;
        let wanted = Preferences {
            preferred_agents: vec![id("Other98"), id("Weather"), id("Gone")],
            blocked_agents: (0..20).map(|n| id(&format!("Other{n}"))).collect(),
            ..Preferences::default()
        };
        // Without its own words, the preferred one would not be found.
        let agents = shortlist.agents("something else", &[&id("Other3")], &wanted);
        assert!(agents.contains(&id("Other98")) && agents.contains(&id("Weather")));
        assert!(
            !(agents.iter()).any(|agent| wanted.blocks(agent)),
            "{agents:?}"
        );
        // The two that are preferred, and the default.
        assert_eq!(agents.len(), SHOWN + 3);
        // Somebody has to answer where nobody else does.
        let wanted = wanted.with(&Wish::Block(id("Other77")));
        assert!(shortlist.agents("", &[], &wanted).contains(&id("Other77")));
    }

    #[test]
    fn words_are_told_apart() {
        let check = |text: &str, expected: &[&str]| assert_eq!(words(text), expected, "{text}");
        check(
            "user_management v2Beta",
            &["user", "management", "v", "2", "beta"],
        );
        check("Straße, ÜBER", &["straße", "über"]);
        check("天気a", &["天", "天気", "気", "a"]);
        check("", &[]);
    }
}
