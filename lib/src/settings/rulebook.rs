//! The rules as they are written into the rules that are tested.

use super::place::{At, Place, Problem};
use super::written::{
    self, Actions, Approve as WrittenApprove, Rule as WrittenRule, Synthesis, Then as WrittenThen,
};
use crate::domain::agent::AgentCard;
use crate::domain::condition::Condition;
use crate::domain::ids::AgentId;
use crate::domain::plan::{Assignment, Plan, Step};
use crate::domain::preference::Stages;
use crate::domain::rulebook::{Approve, Forbidden, Rule, Rulebook, Then};
use crate::domain::rules::{self, Caps};

/// The agents that a document names, for those who look for one.
#[derive(Clone, Copy)]
pub struct Names<'a>(pub &'a [AgentCard]);

impl Names<'_> {
    /// The agent of this name, or a sentence that says which there are.
    pub fn find(&self, name: &str) -> Result<AgentId, String> {
        let found = self.0.iter().find(|card| card.id.as_str() == name);
        found.map(|card| card.id.clone()).ok_or_else(|| {
            let names: Vec<&str> = self.0.iter().map(|card| card.id.as_str()).collect();
            format!(
                "there is no agent {name}, expected one of {}",
                names.join(", ")
            )
        })
    }

    pub fn at(&self, name: &At<String>) -> Result<AgentId, Problem> {
        let found = self.find(&name.value);
        found.map_err(|problem| name.place.problem(problem))
    }

    pub fn all(&self, names: &[String], place: Place) -> Result<Vec<AgentId>, Problem> {
        let found: Result<_, _> = names.iter().map(|name| self.find(name)).collect();
        found.map_err(|problem| place.problem(problem))
    }
}

/// Reads every rule; of each that is wrong, the first thing.
pub fn read(
    written: &[WrittenRule],
    document: &str,
    names: Names<'_>,
    problems: &mut Vec<Problem>,
) -> Rulebook {
    let mut rules = Vec::new();
    for rule in written {
        let place = rule.r#if.place;
        let condition = condition(&rule.r#if, document);
        let then = read_then(&rule.then, names);
        match (condition, then) {
            (Ok(condition), Ok(then)) => rules.push(Rule {
                condition,
                line: place.line,
                then,
            }),
            (condition, then) => problems.extend(condition.err().into_iter().chain(then.err())),
        }
    }
    Rulebook { rules }
}

/// A condition, or what is wrong with it, and where.
pub fn condition(written: &At<String>, document: &str) -> Result<Condition, Problem> {
    Condition::parse(&written.value).map_err(|mistake| {
        let problem = format!(
            "the condition {:?}: {}",
            written.value.trim(),
            mistake.problem
        );
        let place = written.place.within(document, &mistake);
        place.problem(problem)
    })
}

fn read_then(written: &At<WrittenThen>, names: Names<'_>) -> Result<Then, Problem> {
    match &written.value {
        WrittenThen::Agent(name) => {
            let agent = names
                .find(name)
                .map_err(|problem| written.place.problem(problem))?;
            Ok(Then {
                choice: Some(Plan::Single(Assignment::plain(&agent))),
                ..Then::default()
            })
        }
        WrittenThen::Actions(actions) => read_actions(actions, written.place, names),
    }
}

fn read_actions(actions: &Actions, place: Place, names: Names<'_>) -> Result<Then, Problem> {
    let choice = read_choice(actions, names)?;
    let forbid = match &actions.forbid {
        Some(agents) => names.all(&agents.value.0, agents.place)?,
        None => Vec::new(),
    };
    if let (true, Some(say)) = (forbid.is_empty(), &actions.say) {
        let problem = "say is for the user where forbid forbids an agent, which none is";
        return Err(say.place.problem(problem));
    }
    let chosen = || choice.iter().flat_map(Plan::agents);
    if let Some(agent) = chosen().find(|agent| forbid.contains(agent)) {
        let problem = format!("{agent} is chosen and forbidden at once");
        return Err(place.problem(problem));
    }
    let say = actions.say.as_ref().map(|say| say.value.trim().to_owned());
    let approve = match &actions.approve {
        Some(approve) => read_approve(approve, names)?,
        None => None,
    };
    let set = actions.set.as_ref().map(|set| &set.value);
    let then = Then {
        forbid: (forbid.into_iter())
            .map(|agent| Forbidden {
                agent,
                say: say.clone().filter(|say| !say.is_empty()),
            })
            .collect(),
        choice,
        approve,
        quorum: read_quorum(actions)?,
        synthesis: set.and_then(|set| set.synthesis).map(Into::into),
        stages: set.and_then(|set| set.stages).map(Into::into),
        share: actions.share.clone(),
    };
    if then == Then::default() {
        let problem =
            "the rule does nothing, expected route, fan_out, forbid, approve, share or set";
        return Err(place.problem(problem));
    }
    Ok(then)
}

/// As many answers are enough: at least one, and fewer than are asked for.
fn read_quorum(actions: &Actions) -> Result<Option<usize>, Problem> {
    let Some(quorum) = &actions.quorum else {
        return Ok(None);
    };
    let asked = (actions.fan_out.as_ref()).map_or(0, |several| several.value.len());
    if (1..asked).contains(&quorum.value) {
        return Ok(Some(quorum.value));
    }
    let problem = match asked {
        0 => "quorum is for the agents of fan_out, which are not named".to_owned(),
        _ => format!(
            "quorum is {}, expected 1 to {}: fewer than fan_out asks",
            quorum.value,
            asked.saturating_sub(1)
        ),
    };
    Err(quorum.place.problem(problem))
}

/// The agent, or the agents, that answer.
fn read_choice(actions: &Actions, names: Names<'_>) -> Result<Option<Plan>, Problem> {
    let told = actions.instructions.as_ref();
    let instructions = told.map(|text| text.value.trim().to_owned());
    match (&actions.route, &actions.fan_out) {
        (Some(_), Some(several)) => {
            let problem = "route chooses one agent and fan_out several, expected one of both";
            Err(several.place.problem(problem))
        }
        (Some(name), None) => Ok(Some(Plan::Single(Assignment {
            agent: names.at(name)?,
            instructions,
            facts: Vec::new(),
            effect: None,
        }))),
        (None, Some(several)) => {
            let agents = names.all(&several.value, several.place)?;
            let step = |agent: AgentId| Step {
                name: agent.as_str().to_owned(),
                assignment: Assignment {
                    agent,
                    instructions: instructions.clone(),
                    facts: Vec::new(),
                    effect: None,
                },
                after: Vec::new(),
            };
            let steps: Vec<Step> = agents.into_iter().map(step).collect();
            let plan = Plan::steps(steps, Caps::default().steps);
            plan.map(Some)
                .map_err(|problem| several.place.problem(format!("fan_out: {problem}")))
        }
        (None, None) => match told {
            Some(told) => {
                let problem =
                    "instructions are for the agent of route or fan_out, which is not named";
                Err(told.place.problem(problem))
            }
            None => Ok(None),
        },
    }
}

/// `None` where nobody's approval is needed.
pub fn read_approve(
    written: &At<WrittenApprove>,
    names: Names<'_>,
) -> Result<Option<Approve>, Problem> {
    Ok(match &written.value {
        WrittenApprove::Whoever(true) => Some(Approve::Anybody),
        WrittenApprove::Whoever(false) => None,
        WrittenApprove::These(agents) => Some(Approve::These(names.all(&agents.0, written.place)?)),
    })
}

impl From<written::Stages> for Stages {
    fn from(written: written::Stages) -> Self {
        match written {
            written::Stages::None => Self::None,
            written::Stages::Summary => Self::Summary,
            written::Stages::Full => Self::Full,
        }
    }
}

impl From<Synthesis> for rules::Synthesis {
    fn from(written: Synthesis) -> Self {
        match written {
            Synthesis::Always => Self::Always,
            Synthesis::Auto => Self::Auto,
            Synthesis::Never => Self::Never,
        }
    }
}
