//! What is wrong with an agent's finished answer, and what the agent is told of it.

use super::claim::claims_a_file;
use super::refusal::declines;
use super::spoken::is_in_another_language;
use crate::domain::agent::{AgentCard, Effect, fits};
use crate::domain::check::Check;
use crate::domain::message::Attachment;
use crate::domain::tongue::Tongue;

/// A longer schema is not repeated to the agent, in bytes.
const SCHEMA: usize = 2000;

/// An answer, and what it is an answer to.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub request: &'a str,
    pub text: &'a str,
    pub attachments: &'a [Attachment],
    /// Files that are in the conversation already.
    pub files: bool,
    /// It asks the user something.
    pub asks: bool,
    /// It asks with a form, or says that it asks: nothing else is expected of it.
    pub form: bool,
    pub wanted: Wanted,
}

/// What language an answer is to be in.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// Any: what its user reads is written from it.
    Any,
    OfRequest,
    /// What its user always wants.
    Always(Tongue),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub check: Check,
    /// What its agent is told, where it is asked once more.
    pub told: String,
}

/// Everything that is wrong with an answer, the worst first.
pub fn faults(card: &AgentCard, answer: &Answer<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut add = |check: Check, told: String| faults.push(Fault { check, told });
    if answer.form {
        return faults;
    }
    let on = |check: Check| card.checks.on.contains(&check);
    if on(Check::Refusal) && answer.attachments.is_empty() && declines(answer.request, answer.text)
    {
        add(
            Check::Refusal,
            "It declined the request. Do what you can of it; of what you must not or cannot do, say exactly what and why.".into(),
        );
    }
    if let (Some(schema), false) = (&card.checks.schema, answer.asks)
        && let Err(problem) = schema.fits(answer.text)
    {
        let mut told =
            format!("It is not of the form that was agreed ({problem}). Answer with JSON alone");
        let schema = serde_json::to_string(&**schema).unwrap_or_default();
        if schema.len() <= SCHEMA {
            told = format!("{told} that fits this schema: {schema}");
        }
        add(Check::Schema, told);
    }
    if let Some(told) = lacks_a_file(card, answer) {
        add(Check::Attachment, told);
    }
    let wanted = match answer.wanted {
        Wanted::Always(tongue) => Some(tongue),
        Wanted::Any | Wanted::OfRequest => None,
    };
    let any = matches!(answer.wanted, Wanted::Any) || !on(Check::Language);
    if !any && is_in_another_language(answer.request, wanted, answer.text) {
        let language = wanted.map_or("the language of the request", Tongue::english);
        add(
            Check::Language,
            format!("It is in another language. Answer in {language}."),
        );
    }
    faults
}

fn lacks_a_file(card: &AgentCard, answer: &Answer<'_>) -> Option<String> {
    let wanted = &card.checks.attached;
    let there = |file: &Attachment| fits(wanted, file.kind());
    if !wanted.is_empty() && !answer.asks && !answer.attachments.iter().any(there) {
        let types = wanted.join(" or ");
        return Some(format!(
            "It has no attachment of the type {types}, which it must have."
        ));
    }
    let reads = card.effect == Effect::None;
    let claimed = || claims_a_file(answer.request, answer.text, answer.files, reads);
    (card.checks.on.contains(&Check::Attachment) && answer.attachments.is_empty() && claimed()).then(|| {
        "It speaks of a file, and none came with it. Attach the file or give a link to it, or do not speak of it.".into()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::domain::agent::{Endpoint, Protocol};

    fn card() -> AgentCard {
        AgentCard {
            effect: Effect::None,
            ..AgentCard::new("GPA", Protocol::Dial, Endpoint::Deployment("g".into()))
        }
    }

    fn answer(text: &str) -> Answer<'_> {
        Answer {
            request: "Show the sales",
            text,
            attachments: &[],
            files: false,
            asks: false,
            form: false,
            wanted: Wanted::OfRequest,
        }
    }

    fn found(card: &AgentCard, answer: &Answer<'_>) -> Vec<Check> {
        faults(card, answer)
            .into_iter()
            .map(|fault| fault.check)
            .collect()
    }

    #[test]
    fn each_check_is_made_where_it_is_on() {
        let foreign = "Продажі зросли у травні, а потім знову впали. Ніхто не знає, чому так сталося цього року.";
        let cases = [
            ("I can't help with that.", Check::Refusal),
            ("I have attached the chart.", Check::Attachment),
            (foreign, Check::Language),
        ];
        for (text, check) in cases {
            assert_eq!(found(&card(), &answer(text)), [check], "{text}");
            let mut off = card();
            off.checks.on.remove(&check);
            assert_eq!(found(&off, &answer(text)), [], "{text}");
        }
        assert_eq!(found(&card(), &answer("Sales rose.")), []);
        let synthesized = Answer {
            wanted: Wanted::Any,
            ..answer(foreign)
        };
        assert_eq!(found(&card(), &synthesized), []);
        let form = Answer {
            form: true,
            ..answer("I can't help with that.")
        };
        assert_eq!(found(&card(), &form), []);
    }

    #[test]
    fn a_schema_and_a_type_of_file_are_demanded_of_answers_and_not_of_questions() {
        let mut strict = card();
        strict.checks.schema = Some(Arc::new(
            serde_json::from_value(json!({"type": "object"})).unwrap(),
        ));
        strict.checks.attached = vec!["image/*".into()];
        let wrong = faults(&strict, &answer("Sales rose."));
        assert_eq!(wrong.len(), 2);
        assert!(
            wrong[0]
                .told
                .ends_with(r#"that fits this schema: {"type":"object"}"#),
            "{wrong:?}"
        );
        assert!(wrong[1].told.contains("image/*"));
        let asking = Answer {
            asks: true,
            ..answer("Which year?")
        };
        assert_eq!(found(&strict, &asking), []);
        let image = [Attachment {
            media_type: Some("image/png".into()),
            ..Attachment::default()
        }];
        let whole = Answer {
            attachments: &image,
            ..answer("{}")
        };
        assert_eq!(found(&strict, &whole), []);
    }
}
