//! Whatever a model answers: a decision for an agent of the registry within the caps, or a reason to ask again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bolero::TypeGenerator;
use serde_json::{Value, json};

use super::tests::router;
use super::*;

const INSTRUCTIONS_CAP: usize = 4096;

/// What may stand where a value should.
#[derive(Clone, Debug, TypeGenerator)]
enum Odd {
    Null,
    Flag(bool),
    Number(i64),
    Fraction(f64),
    Agent(bool),
    Text(String),
    /// So many repetitions of a letter of several bytes, with space around.
    Long(u16),
    List,
    Object,
}

impl Odd {
    fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Flag(flag) => json!(flag),
            Self::Number(number) => json!(number),
            Self::Fraction(number) => json!(number),
            Self::Agent(gpa) => json!(if *gpa { "GPA" } else { "UMS" }),
            Self::Text(text) => json!(text),
            Self::Long(count) => json!(format!(
                " {} ",
                "\u{2600}".repeat(usize::from(*count) % 3000)
            )),
            Self::List => json!(["GPA"]),
            Self::Object => json!({"agent_name": "GPA"}),
        }
    }
}

/// An answer, field by field.
#[derive(Clone, Debug, TypeGenerator)]
struct Answer {
    agent: Odd,
    /// Most answers name an agent: otherwise nothing else is looked at.
    good: Option<bool>,
    instructions: Option<Odd>,
    confidence: Option<Odd>,
    reason: Option<Odd>,
    fence: u8,
    edits: Vec<(u16, char)>,
    edit: bool,
}

impl Answer {
    fn text(&self) -> String {
        let agent = self
            .good
            .map_or_else(|| self.agent.value(), |gpa| Odd::Agent(gpa).value());
        let mut fields = serde_json::Map::from_iter([("agent_name".to_owned(), agent)]);
        for (name, value) in [
            ("additional_instructions", &self.instructions),
            ("confidence", &self.confidence),
            ("reason", &self.reason),
        ] {
            fields.extend(value.as_ref().map(|value| (name.to_owned(), value.value())));
        }
        let json = Value::Object(fields).to_string();
        let text = match self.fence % 6 {
            0 => format!("```json\n{json}\n```"),
            1 => format!("```{json}```"),
            2 => format!("Sure: {json}"),
            3 => format!("[{json}]"),
            _ => json,
        };
        let mut letters: Vec<char> = text.chars().collect();
        for (at, letter) in self.edits.iter().filter(|_| self.edit).take(3) {
            let at = usize::from(*at) % letters.len();
            letters[at] = *letter;
        }
        letters.into_iter().collect()
    }
}

fn check(answer: &str) -> bool {
    let Ok(Answered { decision, second }) = router().read(answer, &[]) else {
        return false;
    };
    let Some(assignment) = decision.assignment() else {
        assert_eq!(decision.plan, Plan::About(None));
        return true;
    };
    assert!(second.is_none_or(|second| second != assignment.agent));
    assert!(["GPA", "UMS"].contains(&assignment.agent.as_str()));
    if let Some(instructions) = &assignment.instructions {
        assert!(instructions.len() <= INSTRUCTIONS_CAP && !instructions.trim().is_empty());
    }
    assert!(decision.rationale.len() <= 500);
    assert!(
        decision
            .confidence
            .is_none_or(|value| (0.0..=1.0).contains(&value))
    );
    assert_eq!(decision.source, DecisionSource::Model);
    true
}

#[test]
fn any_fields_make_a_decision_within_the_caps_or_none() {
    let decisions = AtomicU32::new(0);
    bolero::check!()
        .with_type::<Answer>()
        .with_iterations(2000)
        .with_test_time(Duration::from_secs(1))
        .for_each(|answer| {
            decisions.fetch_add(u32::from(check(&answer.text())), Ordering::Relaxed);
        });
    assert!(decisions.into_inner() > 0, "no answer was a decision");
}

#[test]
fn any_text_is_a_decision_or_none() {
    bolero::check!()
        .with_iterations(2000)
        .with_test_time(Duration::from_secs(1))
        .for_each(|answer: &[u8]| {
            check(&String::from_utf8_lossy(answer));
        });
}
