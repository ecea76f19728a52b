//! The document's part `experiments`: what is compared with what, checked.

use serde::Deserialize;

use super::arms::{self, Around, named};
use super::place::{At, Problem};
use super::rulebook;
use crate::domain::agent::AgentCard;
use crate::domain::day::Day;
use crate::domain::experiment::{ARMS, Arm, By, Experiment, SLOTS, Variant, slots};

/// More than these at once nobody can tell apart any more.
const MOST: usize = 20;

/// A comparison of what is done now with something else.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Experiment"))]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// Names it in records, metrics and reports; who is in which arm depends on it.
    name: At<String>,
    /// Whether a user has the same arm in all conversations.
    #[serde(default)]
    by: WrittenBy,
    /// The requests that it is about, as in a rule.
    #[serde(default)]
    r#if: Option<At<String>>,
    /// The first day, in UTC, such as 2026-11-20.
    #[serde(default)]
    start: Option<At<String>>,
    /// The last day.
    #[serde(default)]
    end: Option<At<String>>,
    /// One to four. The rest of the users or conversations is the control.
    arms: At<Vec<arms::Written>>,
}

/// What stays together.
#[derive(Clone, Copy, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "By"))]
#[serde(rename_all = "lowercase")]
enum WrittenBy {
    #[default]
    User,
    Conversation,
}

/// The experiments in their order, and of each that is wrong the first thing.
pub fn read(
    written: &[Written],
    around: Around<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Experiment> {
    let mut all: Vec<Experiment> = Vec::new();
    for one in written {
        let read = experiment(one, around, problems).and_then(|experiment| {
            let place = one.name.place;
            if all.len() == MOST {
                return Err(place.problem(format!("there are more than {MOST} experiments")));
            }
            match all.iter().find_map(|other| clash(&experiment, other)) {
                Some(problem) => Err(place.problem(problem)),
                None => Ok(experiment),
            }
        });
        match read {
            Ok(experiment) => all.push(experiment),
            Err(problem) => problems.push(problem),
        }
    }
    all
}

fn experiment(
    written: &Written,
    around: Around<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Experiment, Problem> {
    let name = named(&written.name, "experiment")?;
    let condition = (written.r#if.as_ref())
        .map(|text| rulebook::condition(text, around.document))
        .transpose()?;
    let (start, end) = (day(written.start.as_ref())?, day(written.end.as_ref())?);
    if let (Some(start), Some(end), Some(at)) = (start, end, &written.end)
        && end < start
    {
        return Err(at.place.problem("the last day is before the first"));
    }
    let At { value: list, place } = &written.arms;
    if !(1..=ARMS).contains(&list.len()) {
        let problem = format!("expected 1 to {ARMS} arms beside the control");
        return Err(place.problem(problem));
    }
    let mut read: Vec<Arm> = Vec::new();
    for one in list {
        let own = arms::read(one, around, problems)?;
        if read.iter().any(|other| other.name == own.name) {
            let problem = format!("arm {} is listed twice", own.name);
            return Err(one.name.place.problem(problem));
        }
        read.push(own);
    }
    let shares: Vec<u16> = read.iter().map(|arm| arm.share).collect();
    if shares.iter().map(|share| u32::from(*share)).sum::<u32>() > u32::from(SLOTS) {
        return Err(place.problem("the shares of the arms are more than 100% together"));
    }
    Ok(Experiment {
        name,
        by: match written.by {
            WrittenBy::User => By::User,
            WrittenBy::Conversation => By::Conversation,
        },
        condition,
        start,
        end,
        arms: read,
        slots: slots(&shares),
    })
}

fn day(written: Option<&At<String>>) -> Result<Option<Day>, Problem> {
    let read = |written: &At<String>| {
        let day = written.value.trim().parse::<Day>();
        day.map_err(|problem| {
            written
                .place
                .problem(format!("{:?}: {problem}", written.value))
        })
    };
    written.map(read).transpose()
}

/// What two experiments both change on the same day: of what happens then, nobody could say to which it belongs.
fn clash(one: &Experiment, other: &Experiment) -> Option<String> {
    if one.name == other.name {
        return Some(format!("experiment {} is listed twice", one.name));
    }
    let before = |first: &Experiment, second: &Experiment| {
        first
            .end
            .zip(second.start)
            .is_some_and(|(end, start)| end < start)
    };
    if before(one, other) || before(other, one) {
        return None;
    }
    let others = changes(other);
    let both = changes(one)
        .into_iter()
        .find(|what| others.contains(what))?;
    let (one, other) = (&one.name, &other.name);
    Some(format!(
        "the experiments {other} and {one} both change {both}, expected them on different days"
    ))
}

/// What an experiment changes, in words.
fn changes(experiment: &Experiment) -> Vec<String> {
    let mut all = Vec::new();
    for Variant {
        agents,
        rules,
        routing,
        synthesis,
    } in experiment.arms.iter().map(|arm| &arm.variant)
    {
        let agents = agents.iter().flat_map(|(of, by)| [of, by]);
        all.extend(agents.map(|agent| format!("who is asked for {agent}")));
        let parts = [
            (rules.is_some(), "the rules"),
            (routing.model.is_some(), "the routing model"),
            (routing.prompt.is_some(), "the routing prompt"),
            (synthesis.model.is_some(), "the synthesis model"),
            (synthesis.prompt.is_some(), "the synthesis prompt"),
        ];
        let changed = parts.iter().filter(|(is, _)| *is);
        all.extend(changed.map(|(_, what)| (*what).to_owned()));
    }
    all
}

/// Where an agent is asked in another's place and cannot answer, and names nobody else, the other one answers after all: an
/// experiment costs nobody an answer.
pub fn stands_in(card: &mut AgentCard, all: &[Experiment]) {
    let arms = all.iter().flat_map(|experiment| &experiment.arms);
    let mut agents = arms.flat_map(|arm| &arm.variant.agents);
    let of = agents.find(|(_, by)| **by == card.id).map(|(of, _)| of);
    card.fallback = card.fallback.take().or_else(|| of.cloned());
}

/// The arm that a case of the document names.
pub fn arm_of<'a>(
    written: &At<String>,
    all: &'a [Experiment],
) -> Result<(&'a Experiment, &'a Arm), Problem> {
    let found = written.value.split_once('/').and_then(|(name, arm)| {
        let experiment = all.iter().find(|experiment| *experiment.name == *name)?;
        let arm = experiment.arms.iter().find(|known| *known.name == *arm)?;
        Some((experiment, arm))
    });
    found.ok_or_else(|| {
        let known: Vec<String> = (all.iter())
            .flat_map(|experiment| {
                let arms = experiment.arms.iter();
                arms.map(|arm| experiment.id(Some(arm)).to_string())
            })
            .collect();
        let problem = format!(
            "there is no arm {:?}, expected one of {}",
            written.value,
            known.join(", ")
        );
        written.place.problem(problem)
    })
}

#[cfg(test)]
mod tests;
