//! The scripted model's structured answers: which agent should take the chat's last message.

use serde_json::{Map, Value, json};

use crate::calc;
use crate::chat::Turn;
use crate::text::{has_any, has_phrase, is_capitalised, lower_words, without_note};

const PEOPLE: &[&str] = &[
    "user",
    "users",
    "account",
    "accounts",
    "employee",
    "employees",
    "staff",
];
const GENERAL: &[&str] = &[
    "weather",
    "forecast",
    "temperature",
    "search",
    "google",
    "calculate",
    "compute",
    "sin",
    "sinus",
    "cos",
    "cosinus",
    "tan",
    "sqrt",
    "arithmetic",
    "image",
    "images",
    "picture",
    "pictures",
    "photo",
    "draw",
    "paint",
    "sketch",
    "csv",
    "file",
    "files",
    "document",
    "pdf",
    "analyse",
    "analyze",
    "code",
    "python",
    "script",
];
const EDITS: &[&str] = &[
    "add", "create", "register", "delete", "remove", "update", "change", "rename",
];
const PRONOUNS: &[&str] = &["him", "her", "them", "his", "their"];

/// A short message without a topic of its own is a follow-up up to this many words.
const FOLLOW_UP_WORDS: usize = 4;

#[derive(Debug, PartialEq)]
struct Decision {
    agent: String,
    instructions: Option<String>,
    confidence: f64,
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Topic {
    People,
    General,
}

/// An answer that follows the schema: a routing decision if it asks for an `agent_name`, else the plainest value.
pub(crate) fn answer(schema: &Value, turns: &[Turn]) -> Value {
    let mut answer = plainest(schema);
    let agents = agents(schema);
    let (Value::Object(fields), false) = (&mut answer, agents.is_empty()) else {
        return answer;
    };
    let decision = decide(&agents, turns);
    let known = schema.get("properties").and_then(Value::as_object);
    for (name, value) in [
        ("agent_name", json!(decision.agent)),
        ("additional_instructions", json!(decision.instructions)),
        ("confidence", json!(decision.confidence)),
        ("reason", json!(decision.reason)),
        ("steps", steps(&agents, turns)),
    ] {
        if known.is_some_and(|known| known.contains_key(name)) {
            fields.insert(name.to_owned(), value);
        }
    }
    answer
}

/// The parts of a message that are about different things: "weather in Paris and list users". A part that speaks of "that"
/// or "there" needs the one before it.
fn steps(agents: &[String], turns: &[Turn]) -> Value {
    let last = turns.iter().rev().find(|turn| turn.role == "user");
    let text = last.map_or("", |last| without_note(&last.text));
    let clauses: Vec<&str> = text
        .split(", then ")
        .flat_map(|part| part.split(" and "))
        .collect();
    let parts: Option<Vec<_>> = (clauses.iter())
        .map(|clause| Some((*clause, agent_for(topic(clause)?, agents)?)))
        .collect();
    let parts = parts.unwrap_or_default();
    if parts
        .iter()
        .all(|(_, agent)| parts.first().is_some_and(|first| first.1 == *agent))
    {
        return json!([]);
    }
    let step = |(at, (clause, agent)): (usize, &(&str, &String))| {
        let needs = at > 0 && has_any(&lower_words(clause), &["that", "there"]);
        json!({"name": format!("part{}", at + 1), "agent_name": agent, "task": clause.trim(),
               "after": if needs { vec![format!("part{at}")] } else { Vec::new() }})
    };
    parts.iter().enumerate().map(step).collect()
}

fn agents(schema: &Value) -> Vec<String> {
    let names = schema.pointer("/properties/agent_name/enum");
    let names = names.and_then(Value::as_array).into_iter().flatten();
    names
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

fn decide(agents: &[String], turns: &[Turn]) -> Decision {
    let mut asked = turns.iter().enumerate().rev();
    let mut asked = asked.by_ref().filter(|(_, turn)| turn.role == "user");
    let (at, last) = asked
        .next()
        .map_or((0, ""), |(at, turn)| (at, turn.text.as_str()));
    let named = |topic| agent_for(topic, agents);
    if let Some((topic, agent)) = topic(last).and_then(|topic| Some((topic, named(topic)?))) {
        return Decision::new(agent, 0.9, topic.reason());
    }
    if lower_words(without_note(last)).len() <= FOLLOW_UP_WORDS {
        let earlier = asked.find_map(|(_, turn)| Some((turn, named(topic(&turn.text)?)?)));
        if let Some((turn, agent)) = earlier {
            let answers_a_question = at
                .checked_sub(1)
                .and_then(|before| turns.get(before))
                .is_some_and(|turn| {
                    turn.role == "assistant" && turn.text.trim_end().ends_with('?')
                });
            let confidence = if answers_a_question { 0.9 } else { 0.6 };
            let note = format!(
                "This continues the user's earlier request: \"{}\"",
                without_note(&turn.text)
            );
            return Decision {
                instructions: Some(note),
                ..Decision::new(
                    agent,
                    confidence,
                    "A short follow-up stays with the agent of the topic.",
                )
            };
        }
    }
    let otherwise = named(Topic::General).or_else(|| agents.first());
    let agent = otherwise.map_or("", String::as_str);
    Decision::new(
        agent,
        0.6,
        "No rule matched, so the general agent takes it.",
    )
}

impl Decision {
    fn new(agent: &str, confidence: f64, reason: &str) -> Self {
        Self {
            agent: agent.to_owned(),
            instructions: None,
            confidence,
            reason: reason.to_owned(),
        }
    }
}

impl Topic {
    fn reason(self) -> &'static str {
        match self {
            Self::People => "The request is about users of the system.",
            Self::General => "The request needs a general tool.",
        }
    }
}

fn agent_for(topic: Topic, agents: &[String]) -> Option<&String> {
    let name = match topic {
        Topic::People => "UMS",
        Topic::General => "GPA",
    };
    agents.iter().find(|agent| agent.eq_ignore_ascii_case(name))
}

fn topic(text: &str) -> Option<Topic> {
    let own = without_note(text);
    let words = lower_words(own);
    let phrases = ["our system", "the system", "do we have"];
    if has_any(&words, PEOPLE) || phrases.iter().any(|phrase| has_phrase(&words, phrase)) {
        Some(Topic::People)
    } else if has_any(&words, GENERAL) || calc::find(own).is_some() {
        Some(Topic::General)
    } else if edits_a_person(own) {
        Some(Topic::People)
    } else {
        None
    }
}

/// "Delete John", "change her email", "find Ann Lee": a verb, soon followed by a name, an address or a pronoun.
fn edits_a_person(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).any(|pair| {
        let [verb, next] = pair else { return false };
        let verb = verb.to_lowercase();
        let edits = EDITS.contains(&verb.as_str());
        let named = is_capitalised(next) || next.contains('@');
        let meant = PRONOUNS.contains(&next.to_lowercase().as_str());
        (edits || verb == "find") && named || edits && meant
    })
}

/// The plainest value that follows a schema, as a model that has nothing to say would give.
fn plainest(schema: &Value) -> Value {
    if let Some(first) = schema.pointer("/enum/0").or_else(|| schema.get("const")) {
        return first.clone();
    }
    let kind = schema.get("type").map(|kind| kind.get(0).unwrap_or(kind));
    match kind.and_then(Value::as_str) {
        Some("object") => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let fields = properties.into_iter().flatten();
            let fields = fields.map(|(name, schema)| (name.clone(), plainest(schema)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Some("array") => json!([]),
        Some("boolean") => json!(true),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("string") => json!(""),
        _ => schema.pointer("/anyOf/0").map_or(Value::Null, plainest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(texts: &[&str]) -> Vec<Turn> {
        let roles = ["user", "assistant"].into_iter().cycle();
        let turn = |(role, text): (&str, &&str)| Turn {
            role: role.to_owned(),
            text: (*text).to_owned(),
        };
        roles.zip(texts).map(turn).collect()
    }

    fn check(texts: &[&str], agent: &str, confidence: f64) {
        let agents = ["GPA".to_owned(), "UMS".to_owned()];
        let decision = decide(&agents, &turns(texts));
        assert_eq!(
            (decision.agent.as_str(), decision.confidence),
            (agent, confidence),
            "{texts:?}"
        );
    }

    #[test]
    fn users_of_the_system_go_to_ums() {
        check(&["Do we have John Doe in our system?"], "UMS", 0.9);
        check(&["create user Andrej Popov with email a@b.c"], "UMS", 0.9);
        check(&["Delete Mary Major"], "UMS", 0.9);
        check(&["please change her email to mary@example.com"], "UMS", 0.9);
        check(&["LIST ALL USERS"], "UMS", 0.9);
    }

    #[test]
    fn general_requests_go_to_gpa() {
        check(&["What is the weather in Kyiv?"], "GPA", 0.9);
        check(&["what is 2 + 2 * 3"], "GPA", 0.9);
        check(&["calculate sin(5000)"], "GPA", 0.9);
        check(&["Find Paris weather"], "GPA", 0.9);
        check(&["Draw a cat, please"], "GPA", 0.9);
        check(&["Tell me a long story about the sea"], "GPA", 0.6);
    }

    #[test]
    fn a_short_follow_up_stays_with_the_topic() {
        check(
            &["What's the weather?", "Which location?", "In Paris"],
            "GPA",
            0.9,
        );
        check(&["Show all users", "| table |", "and John?"], "UMS", 0.6);
        check(
            &[
                "Show all users",
                "| table |",
                "thanks",
                "Welcome!",
                "more please",
            ],
            "UMS",
            0.6,
        );
        check(&["Show all users", "| table |", "Draw a cat"], "GPA", 0.9);
    }

    #[test]
    fn a_follow_up_tells_the_agent_what_it_continues() {
        let turns = turns(&["What's the weather?", "Which location?", "In Paris"]);
        let decision = decide(&["GPA".to_owned()], &turns);
        assert_eq!(
            decision.instructions.as_deref(),
            Some("This continues the user's earlier request: \"What's the weather?\"")
        );
    }

    #[test]
    fn a_message_about_several_things_has_several_parts() {
        let agents = ["GPA".to_owned(), "UMS".to_owned()];
        let steps = |text| steps(&agents, &turns(&[text]));
        assert_eq!(steps("list users"), json!([]));
        assert_eq!(steps("show users and employees"), json!([]));
        assert_eq!(
            steps("Weather in Paris and list users"),
            json!([
                {"name": "part1", "agent_name": "GPA", "task": "Weather in Paris", "after": []},
                {"name": "part2", "agent_name": "UMS", "task": "list users", "after": []},
            ])
        );
        let then = steps("Weather in Paris, then create user Bob in that city");
        assert_eq!(then[1]["after"], json!(["part1"]));
    }

    #[test]
    fn only_agents_of_the_enum_are_named() {
        let decision = decide(&["SEARCH".to_owned()], &turns(&["list users"]));
        assert_eq!(
            (decision.agent.as_str(), decision.confidence),
            ("SEARCH", 0.6)
        );
    }

    #[test]
    fn an_answer_holds_what_the_schema_declares() {
        let schema = json!({"type": "object", "properties": {
            "agent_name": {"type": "string", "enum": ["GPA", "UMS"]},
            "additional_instructions": {"type": ["string", "null"]},
            "confidence": {"type": "number"},
        }});
        assert_eq!(
            answer(&schema, &turns(&["list users"])),
            json!({"agent_name": "UMS", "additional_instructions": null, "confidence": 0.9})
        );
        let other = json!({"type": "object", "properties": {"supported": {"type": "boolean"}}});
        assert_eq!(answer(&other, &turns(&["x"])), json!({"supported": true}));
    }
}
