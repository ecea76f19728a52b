//! The configuration document: YAML into the registry and the rules, with everything that is wrong with it.

use serde::Deserialize;

use super::place::{Place, Problem, Problems};
use super::rulebook::Names;
use super::written::Written;
use super::{Env, Over, agents, arms, cases, experiments, hooks, over, rulebook};
use crate::domain::agent::Registry;
use crate::domain::experiment::Experiment;
use crate::domain::hook::HookCard;
use crate::domain::rulebook::Rulebook;

/// The version of the language that is understood.
const VERSION: u64 = 1;
/// What is published for editors.
pub const SCHEMA: &str = include_str!("../../../infra/agents.schema.json");

/// What a document without mistakes says, whose own tests have passed.
#[derive(Clone, Debug)]
pub struct Roster {
    pub registry: Registry,
    pub rulebook: Rulebook,
    pub hooks: Vec<HookCard>,
    pub experiments: Vec<Experiment>,
    /// How many tests it has.
    pub tests: usize,
}

/// The secrets that a document refers to, where it can be read at all. Whoever fetches them puts each into the environment
/// under its own reference, for [`parse`] to find.
pub fn references(text: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Keyed {
        #[serde(default)]
        agents: Vec<Key>,
    }
    #[derive(Deserialize)]
    struct Key {
        #[serde(default)]
        key: Option<String>,
    }
    let keyed = serde_saphyr::from_str::<Keyed>(text);
    let mut found: Vec<String> = (keyed.into_iter().flat_map(|keyed| keyed.agents))
        .filter_map(|agent| agent.key)
        .map(|key| key.trim().to_owned())
        .filter(|key| agents::is_reference(key))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Reads a document, wherever its text is from, and runs its tests: one that fails its own tests is not taken. Variables,
/// and the secrets that it refers to, are looked up in `env`.
pub fn parse(text: &str, env: &Env) -> Result<Roster, Problems> {
    parse_under(text, false, &[], env)
}

/// The same for a document that is not on this machine, and reaches less.
pub fn parse_elsewhere(text: &str, env: &Env) -> Result<Roster, Problems> {
    parse_under(text, true, &[], env)
}

/// The same with other entries over those of the document: rules, hooks and tests are about the agents that there are then.
/// One that is `far`, not on this machine, reaches only what is for agents.
pub fn parse_under(text: &str, far: bool, over: &[Over], env: &Env) -> Result<Roster, Problems> {
    let one = |problem: Problem| Problems(vec![problem]);
    version(text).map_err(one)?;
    let written: Written =
        serde_saphyr::from_str(text).map_err(|error| one(Problem::from(&error)))?;
    let mut problems = Vec::new();
    let narrowed = far.then(|| env.only(over::is_within_reach));
    let own = narrowed.as_ref().unwrap_or(env);
    let fill = |text: &str| agents::substitute(text, own);
    let checks = written.checks.read(&fill).map_err(one)?;
    let mut cards = agents::cards(written.agents, over, own, &checks, &mut problems);
    over::put(&mut cards, over, env, &checks, &mut problems);
    written.checks.authors(&cards, &mut problems);
    if cards.is_empty() && problems.is_empty() {
        problems.push(Place::default().problem("no agents are listed"));
    }
    // Whoever is named but was not read is no mistake of its own.
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let names = Names(&cards);
    let default = written.default.or(written.routing.default);
    if let Some(name) = &default
        && names.find(&name.value).is_err()
    {
        let problem = format!("the default agent {} is not in the list", name.value);
        problems.push(name.place.problem(problem));
    }
    let rulebook = rulebook::read(&written.routing.rules, text, names, &mut problems);
    // What signs is never sent.
    let key = |text: &str| agents::substitute(text, env);
    let hooks = hooks::read(&written.hooks, names.0, [&fill, &key], &mut problems);
    let around = arms::Around {
        document: text,
        rules: &rulebook,
        names,
    };
    let experiments = experiments::read(&written.experiments, around, &mut problems);
    if problems.is_empty() {
        let tried = cases::Tried {
            rules: &rulebook,
            experiments: &experiments,
            names,
        };
        cases::run(&written.tests, tried, &mut problems);
    }
    let default = default.as_ref().map(|name| name.value.as_str());
    match Registry::new(cards, default) {
        Ok(registry) if problems.is_empty() => Ok(Roster {
            registry: registry.altered(|card| experiments::stands_in(card, &experiments)),
            rulebook,
            hooks,
            experiments,
            tests: written.tests.len(),
        }),
        Err(problem) if problems.is_empty() => Err(one(Place::default().problem(problem))),
        _ => {
            problems.sort_by_key(|problem| (problem.line, problem.column));
            Err(Problems(problems))
        }
    }
}

/// A document of another version may be another one altogether, so this is looked at first.
fn version(text: &str) -> Result<(), Problem> {
    #[derive(Deserialize)]
    struct Versioned {
        #[serde(default)]
        version: Option<super::place::At<u64>>,
    }
    let Ok(Versioned {
        version: Some(version),
    }) = serde_saphyr::from_str(text)
    else {
        return Ok(());
    };
    if version.value == VERSION {
        return Ok(());
    }
    let problem = format!(
        "the version {} is not known, expected {VERSION}",
        version.value
    );
    Err(version.place.problem(problem))
}

#[cfg(test)]
mod tests;
