//! The document's parts `checks`: what answers are checked for, for all agents and for each.

use std::sync::Arc;

use serde::Deserialize;

use super::place::{At, Problem};
use super::written::OneOrMore;
use crate::domain::agent::AgentCard;
use crate::domain::check::{Check, Checks};
use crate::domain::shape::Shape;

/// What the answers of all agents are checked for, where an agent's own entry says nothing else.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// Whether an agent that answered nothing is asked once more.
    empty: Option<bool>,
    /// Whether it is looked for answers that decline the request.
    refusal: Option<bool>,
    /// Whether it is looked for answers that speak of a file that is not there.
    attachment: Option<bool>,
    /// Whether it is looked for answers in another language, where they are read as they are.
    language: Option<bool>,
    /// The model that judges answers. It is asked only where the agent may be asked once more.
    judge: Option<At<String>>,
    /// Whether an answer is shown when it has been checked, and not as it comes.
    hold: Option<bool>,
}

/// What an agent's answers are checked for.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    /// Whether it is asked once more where it answered nothing.
    empty: Option<bool>,
    /// Whether it is looked for answers that decline the request.
    refusal: Option<bool>,
    /// Whether it is looked for answers that speak of a file that is not there; or MIME patterns of files, one of which each
    /// answer has.
    attachment: Option<At<Attachment>>,
    /// Whether it is looked for answers in another language, where they are read as they are.
    language: Option<bool>,
    /// The JSON Schema of its answers, of the keywords named here.
    schema: Option<Shape>,
    /// Whether its answers are judged by the model that the document's `checks` name.
    judge: Option<At<bool>>,
    /// Whether its answer is shown when it has been checked, and not as it comes.
    hold: Option<bool>,
}

/// Whether claims of files are checked, or which files each answer has.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(untagged))]
pub enum Attachment {
    Claimed(bool),
    Wanted(OneOrMore),
}

impl Defaults {
    /// What they come to, with variables put into the model's name.
    pub fn read(&self, fill: &dyn Fn(&str) -> Result<String, String>) -> Result<Checks, Problem> {
        let mut checks = Checks::default();
        switch(&mut checks, Check::Empty, self.empty);
        switch(&mut checks, Check::Refusal, self.refusal);
        switch(&mut checks, Check::Attachment, self.attachment);
        switch(&mut checks, Check::Language, self.language);
        checks.hold = self.hold.unwrap_or_default();
        if let Some(judge) = &self.judge {
            let model = fill(judge.value.trim()).map_err(|problem| judge.place.problem(problem))?;
            checks.judge = Some(model).filter(|model| !model.is_empty()).map(Arc::from);
        }
        Ok(checks)
    }

    /// No model judges what it wrote itself.
    pub fn authors(&self, cards: &[AgentCard], problems: &mut Vec<Problem>) {
        for card in cards {
            let Some(model) = card
                .checks
                .judge
                .as_ref()
                .filter(|model| card.is_model(model))
            else {
                continue;
            };
            let problem = format!(
                "agent {} is itself the model {model}, which judges: expected another model, or judge: false at the agent",
                card.id
            );
            let place = self
                .judge
                .as_ref()
                .map(|judge| judge.place)
                .unwrap_or_default();
            problems.push(place.problem(problem));
        }
    }
}

impl Own {
    /// What they come to over those of all agents. Without these nobody knows whether a model is named.
    pub fn read(self, agent: &str, defaults: Option<&Checks>) -> Result<Checks, Problem> {
        let mut checks = defaults.cloned().unwrap_or_default();
        switch(&mut checks, Check::Empty, self.empty);
        switch(&mut checks, Check::Refusal, self.refusal);
        switch(&mut checks, Check::Language, self.language);
        match self
            .attachment
            .map(|written| (written.value, written.place))
        {
            None => {}
            Some((Attachment::Claimed(on), _)) => switch(&mut checks, Check::Attachment, Some(on)),
            Some((Attachment::Wanted(OneOrMore(patterns)), place)) => {
                let wrong = |pattern: &&String| pattern.split_once('/').is_none();
                if let Some(pattern) = patterns.iter().find(wrong) {
                    let problem = format!(
                        "agent {agent}: {pattern:?} is no type of file, expected true, false, or one such as image/*"
                    );
                    return Err(place.problem(problem));
                }
                checks.attached = patterns;
            }
        }
        checks.schema = self.schema.map(Arc::new);
        checks.hold = self.hold.unwrap_or(checks.hold);
        match self.judge {
            Some(At { value: false, .. }) => checks.judge = None,
            Some(At { value: true, place }) if defaults.is_some() && checks.judge.is_none() => {
                let problem = format!(
                    "agent {agent}: nobody judges, expected checks: {{judge: MODEL}} of the document"
                );
                return Err(place.problem(problem));
            }
            _ => {}
        }
        Ok(checks)
    }
}

fn switch(checks: &mut Checks, check: Check, on: Option<bool>) {
    match on {
        Some(true) => {
            checks.on.insert(check);
        }
        Some(false) => {
            checks.on.remove(&check);
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Env, document};
    use super::*;

    fn read(checks: &str, own: &str) -> Result<Checks, String> {
        let text = format!(
            "checks: {{{checks}}}\nagents:\n- {{name: A, endpoint: general, checks: {{{own}}}}}\n"
        );
        let roster = document::parse(&text, &Env::from([("JUDGE", "small")]));
        let roster = roster.map_err(|problems| problems.to_string())?;
        Ok(roster.registry.default_agent().checks.clone())
    }

    #[test]
    fn an_agents_own_checks_stand_over_those_of_all() {
        let plain = read("", "").unwrap();
        assert_eq!(plain, Checks::default());
        let all = read("refusal: false, hold: true, judge: '${JUDGE}'", "").unwrap();
        assert_eq!(
            (
                all.on.contains(&Check::Refusal),
                all.hold,
                all.judge.as_deref()
            ),
            (false, true, Some("small"))
        );
        let own = read(
            "refusal: false, hold: true, judge: small",
            "refusal: true, language: false, hold: false, judge: false, attachment: [image/*, application/pdf], schema: {type: object}",
        );
        let own = own.unwrap();
        assert_eq!((own.hold, &own.judge), (false, &None));
        assert_eq!(
            own.on,
            [Check::Empty, Check::Refusal, Check::Attachment].into()
        );
        assert_eq!(own.attached, ["image/*", "application/pdf"]);
        assert!(own.schema.unwrap().fits("{}").is_ok());
        assert!(
            !read("", "attachment: false")
                .unwrap()
                .on
                .contains(&Check::Attachment)
        );
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let check = |checks: &str, own: &str, part: &str| {
            let problem = read(checks, own).unwrap_err();
            assert!(problem.contains(part), "{checks} {own}: {problem}");
        };
        check(
            "judge: general",
            "",
            "line 1, column 17: agent A is itself the model general",
        );
        check(
            "",
            "judge: true",
            "line 3, column 48: agent A: nobody judges",
        );
        check(
            "",
            "attachment: images",
            "line 3, column 53: agent A: \"images\" is no type of file",
        );
        check("", "schema: {type: object, oneOf: []}", "line 3, column");
        check("", "schema: {type: object, oneOf: []}", "oneOf");
        check("", "schema: {type: text}", "expected a type");
        check("empty: sometimes", "", "line 1");
        check("schema: {}", "", "schema");
        check("judge: '${NONE}'", "", "NONE is not set");
        assert!(read("judge: general", "judge: false").is_ok());
    }
}
