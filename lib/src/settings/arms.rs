//! The arms of an experiment as they are written: their shares, what they do otherwise, their guards.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::parse::{DURATION, parse_duration};
use super::place::{At, Problem};
use super::rulebook::{self, Names};
use super::written::{Amount, Rule};
use crate::domain::agent::AgentCard;
use crate::domain::experiment::{Arm, CONTROL, Guard, Limits, SLOTS, Told, Variant};
use crate::domain::ids::AgentId;
use crate::domain::rulebook::Rulebook;

/// A longer text is a prompt of its own, in bytes.
const PROMPT: usize = 4000;
const LEAST: u64 = 50;

/// What a share of the users or conversations gets.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Arm"))]
#[serde(deny_unknown_fields)]
pub struct Written {
    pub name: At<String>,
    /// In percent, such as 10%.
    share: At<Amount>,
    /// Agents that are asked in place of others: `{GPA: GPA-next}`.
    #[serde(default)]
    agents: BTreeMap<String, At<String>>,
    /// Other models.
    #[serde(default)]
    model: Models,
    /// What the models are told beside the rest.
    #[serde(default)]
    prompt: Prompts,
    /// Rules in place of the document's. What those forbid or want approved holds here, too.
    #[serde(default)]
    rules: Option<Vec<Rule>>,
    /// When the arm is stopped.
    #[serde(default)]
    guard: Option<WrittenGuard>,
}

/// The models of this arm.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
struct Models {
    /// Decides who answers.
    routing: Option<At<String>>,
    /// Writes the answer.
    synthesis: Option<At<String>>,
}

/// What models are told beside the rest in this arm.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
struct Prompts {
    routing: Option<At<String>>,
    synthesis: Option<At<String>>,
}

/// An arm that is surely worse than one of these is stopped.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Guard"))]
#[serde(deny_unknown_fields)]
struct WrittenGuard {
    /// Nothing is judged before so many turns; 50 where nothing is said.
    #[serde(default)]
    least: Option<At<u64>>,
    /// The share of turns of which a part failed, such as 5%.
    #[serde(default)]
    failures: Option<At<Amount>>,
    /// The mean time of a turn, such as 20s.
    #[serde(default)]
    time: Option<At<Amount>>,
    /// The mean cost of a turn, in dollars.
    #[serde(default)]
    spend: Option<At<Amount>>,
    /// So much worse than the control.
    #[serde(default)]
    over_control: WrittenLimits,
}

/// How much worse than the control an arm may be.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Limits"))]
#[serde(deny_unknown_fields, default)]
struct WrittenLimits {
    /// In percentage points, such as 2%.
    failures: Option<At<Amount>>,
    time: Option<At<Amount>>,
    spend: Option<At<Amount>>,
}

/// What an experiment may need of the rest of the document.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    pub document: &'a str,
    pub rules: &'a Rulebook,
    pub names: Names<'a>,
}

/// One arm, or what is wrong with it.
pub fn read(
    written: &Written,
    around: Around<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Arm, Problem> {
    let name = named(&written.name, "arm")?;
    if *name == *CONTROL {
        let problem = format!("{CONTROL} is the name of those who are in no other arm");
        return Err(written.name.place.problem(problem));
    }
    let told = |model: &Option<At<String>>, prompt: &Option<At<String>>| {
        Ok::<_, Problem>(Told {
            model: model.as_ref().map(self::model).transpose()?,
            prompt: prompt.as_ref().map(self::prompt).transpose()?,
        })
    };
    let variant = Variant {
        agents: agents(&written.agents, around.names)?,
        rules: written.rules.as_ref().map(|rules| {
            let read = rulebook::read(rules, around.document, around.names, problems);
            let rules = read.rules.into_iter().chain(around.rules.bounds());
            Arc::new(Rulebook {
                rules: rules.collect(),
            })
        }),
        routing: told(&written.model.routing, &written.prompt.routing)?,
        synthesis: told(&written.model.synthesis, &written.prompt.synthesis)?,
    };
    if variant == Variant::default() {
        let problem = "the arm changes nothing, expected agents, model, prompt or rules";
        return Err(written.name.place.problem(problem));
    }
    Ok(Arm {
        name,
        share: hundredths(&written.share)?,
        variant,
        guard: written.guard.as_ref().map(guard).transpose()?,
    })
}

/// A name that can stand in paths, labels and logs.
pub fn named(name: &At<String>, what: &str) -> Result<Arc<str>, Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let text = name.value.as_str();
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        return Err(name.place.problem(format!(
            "{what} {text:?}: a name has 1 to 64 of the letters a to z, digits, dots, dashes or underscores"
        )));
    }
    Ok(text.into())
}

/// Who is asked in whose place. Nobody gets there who says of itself that it changes less: it would be asked, and repeated,
/// as harmless.
fn agents(
    written: &BTreeMap<String, At<String>>,
    names: Names<'_>,
) -> Result<BTreeMap<AgentId, AgentId>, Problem> {
    let card = |agent: &AgentId| names.0.iter().find(|card| card.id == *agent);
    let effect = |agent: &AgentId| card(agent).map(|card: &AgentCard| card.effect);
    let mut agents = BTreeMap::new();
    for (of, by) in written {
        let of = names
            .find(of)
            .map_err(|problem| by.place.problem(problem))?;
        let other = names.at(by)?;
        if of == other {
            return Err(by
                .place
                .problem(format!("{of} cannot stand in its own place")));
        }
        if effect(&other) < effect(&of) {
            return Err(by.place.problem(format!(
                "{other} says that it changes less than {of}, expected an effect that is no weaker in its place"
            )));
        }
        agents.insert(of, other);
    }
    Ok(agents)
}

fn model(written: &At<String>) -> Result<Arc<str>, Problem> {
    let text = written.value.trim();
    if text.is_empty() || text.len() > 200 || text.chars().any(char::is_whitespace) {
        return Err(written.place.problem(format!("{text:?} is no model")));
    }
    Ok(text.into())
}

fn prompt(written: &At<String>) -> Result<Arc<str>, Problem> {
    let text = written.value.trim();
    if text.is_empty() || text.len() > PROMPT {
        let problem = format!("expected a text of 1 to {PROMPT} bytes");
        return Err(written.place.problem(problem));
    }
    Ok(text.into())
}

/// Percent with at most two digits after the point, as so many of ten thousand.
fn hundredths(written: &At<Amount>) -> Result<u16, Problem> {
    let text = written.value.0.trim();
    let read = || {
        let number = text.strip_suffix('%')?.trim_end();
        let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || rest.len() > 2 || !digits(whole) || !digits(rest) {
            return None;
        }
        let number = format!("{whole}{rest:0<2}").parse().ok()?;
        Some(number).filter(|number| *number <= SLOTS)
    };
    read().ok_or_else(|| {
        let problem = format!("{text:?} is no share, expected 0% to 100%, such as 10% or 0.25%");
        written.place.problem(problem)
    })
}

fn guard(written: &WrittenGuard) -> Result<Guard, Problem> {
    let least = match &written.least {
        None => LEAST,
        Some(least) if (10..=1_000_000).contains(&least.value) => least.value,
        Some(least) => return Err(least.place.problem("expected 10 to 1000000 turns")),
    };
    let over = &written.over_control;
    Ok(Guard {
        least,
        limits: limits(
            written.failures.as_ref(),
            written.time.as_ref(),
            written.spend.as_ref(),
        )?,
        over_control: limits(
            over.failures.as_ref(),
            over.time.as_ref(),
            over.spend.as_ref(),
        )?,
    })
}

fn limits(
    failures: Option<&At<Amount>>,
    time: Option<&At<Amount>>,
    spend: Option<&At<Amount>>,
) -> Result<Limits, Problem> {
    let seconds = |written: &At<Amount>| {
        let text = written.value.0.trim();
        let read = parse_duration(text).map(|time| time.as_secs_f64());
        read.ok_or_else(|| (written.place).problem(format!("{text:?}, expected {DURATION}")))
    };
    let dollars = |written: &At<Amount>| {
        let text = written.value.0.trim();
        let read = text.parse::<f64>().ok();
        let read = read.filter(|dollars| (1e-6..=1e6).contains(dollars));
        let problem = || format!("{text:?} is no amount of dollars, such as 0.05");
        read.ok_or_else(|| written.place.problem(problem()))
    };
    let rate =
        |written: &At<Amount>| hundredths(written).map(|share| f64::from(share) / f64::from(SLOTS));
    Ok(Limits {
        failures: failures.map(rate).transpose()?,
        time: time.map(seconds).transpose()?,
        spend: spend.map(dollars).transpose()?,
    })
}
