//! A routing decision is a plan, and the plan decides which pattern runs.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::agent::Effect;
use super::fact::Fact;
use super::ids::AgentId;
use super::language::Language;
use super::message::Message;
use super::preference::Wish;

/// Who works, and in what pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    Single(Assignment),
    /// Several agents, each with a part of the request, or one with several parts. See [`Plan::steps`].
    Steps(Vec<Step>),
    /// The user asks about the system itself: the registry answers, in this language or in the question's.
    About(Option<Language>),
    /// One question back to the user: which of these two? The likelier one first.
    Clarify([AgentId; 2]),
    /// A rule forbids the agent that was chosen: this is said instead.
    Refused(Refusal),
    /// The user says what they want of every turn, or asks what they said.
    Preferences(Vec<Wish>),
    /// The user named an agent that they never want asked.
    Blocked(AgentId),
}

/// An agent that a rule forbids, and what the administrator wants to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub agent: AgentId,
    pub say: Option<String>,
}

/// One agent's part: the user's request, and what the router adds to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    pub agent: AgentId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// What it is told of other agents' answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// What it would do, as the router judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// Stands before the task of a step: its agent sees the whole request as well.
pub const YOUR_PART: &str = "Other agents do the rest of this request. Do only this part of it: ";

/// One part of a plan of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What its result is called in this plan.
    pub name: String,
    pub assignment: Assignment,
    /// The steps whose results it is told, and waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

impl Step {
    /// What its agent is to do, as the router said it.
    pub fn task(&self) -> Option<&str> {
        let instructions = self.assignment.instructions.as_deref()?;
        Some(instructions.strip_prefix(YOUR_PART).unwrap_or(instructions))
    }
}

impl Plan {
    /// A plan of at most so many steps. Those that wait for none run side by side. A single step is no plan of several: it
    /// gets the request as it is. Fails with a sentence that says what is wrong.
    pub fn steps(steps: Vec<Step>, most: usize) -> Result<Self, String> {
        if let [only] = steps.as_slice() {
            return Ok(Self::Single(Assignment::plain(&only.assignment.agent)));
        }
        if steps.len() > most || steps.is_empty() {
            return Err(format!(
                "a plan has 1 to {most} steps, this one has {}",
                steps.len()
            ));
        }
        for (at, step) in steps.iter().enumerate() {
            let name = &step.name;
            if name.trim().is_empty() {
                return Err(format!("step {} has no name", at + 1));
            }
            if steps.iter().take(at).any(|other| other.name == *name) {
                return Err(format!("two steps are called {name}"));
            }
            if let Some(unknown) =
                (step.after.iter()).find(|after| !steps.iter().any(|other| other.name == **after))
            {
                return Err(format!(
                    "step {name} waits for {unknown}, which is no step of the plan"
                ));
            }
        }
        in_order(steps).map(Self::Steps)
    }
}

impl Plan {
    /// The agents that it is for; none where no agent is asked.
    pub fn agents(&self) -> impl Iterator<Item = &AgentId> {
        let (single, steps) = match self {
            Self::Single(assignment) => (Some(&assignment.agent), &[][..]),
            Self::Steps(steps) => (None, steps.as_slice()),
            Self::About(_)
            | Self::Clarify(_)
            | Self::Refused(_)
            | Self::Preferences(_)
            | Self::Blocked(_) => (None, &[][..]),
        };
        let steps = steps.iter().map(|step| &step.assignment.agent);
        single.into_iter().chain(steps)
    }
}

impl Plan {
    /// What each of its agents is asked.
    pub fn assignments_mut(&mut self) -> impl Iterator<Item = &mut Assignment> {
        let (single, steps) = match self {
            Self::Single(assignment) => (Some(assignment), None),
            Self::Steps(steps) => (None, Some(steps)),
            Self::About(_)
            | Self::Clarify(_)
            | Self::Refused(_)
            | Self::Preferences(_)
            | Self::Blocked(_) => (None, None),
        };
        let steps = steps.into_iter().flatten();
        single
            .into_iter()
            .chain(steps.map(|step| &mut step.assignment))
    }
}

/// The steps in an order in which none comes before one that it waits for.
fn in_order(mut waiting: Vec<Step>) -> Result<Vec<Step>, String> {
    let mut ordered: Vec<Step> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let known = |name: &String| ordered.iter().any(|step| step.name == *name);
        let ready = |step: &Step| step.after.iter().all(known);
        let Some(next) = waiting.iter().position(ready) else {
            let names: Vec<&str> = waiting.iter().map(|step| step.name.as_str()).collect();
            return Err(format!(
                "the steps {} wait for each other",
                names.join(", ")
            ));
        };
        ordered.push(waiting.remove(next));
    }
    Ok(ordered)
}

impl Assignment {
    /// The agent gets the request as it is.
    pub fn plain(agent: &AgentId) -> Self {
        Self {
            agent: agent.clone(),
            instructions: None,
            facts: Vec::new(),
            effect: None,
        }
    }

    /// The agent gets the request as it is, without a word of ours.
    pub fn is_plain(&self) -> bool {
        self.instructions.is_none() && self.facts.is_empty()
    }

    /// All that is added to the user's words.
    pub fn note(&self) -> Option<String> {
        let mut lines: Vec<String> = self.instructions.iter().cloned().collect();
        if !self.facts.is_empty() {
            lines.push("Facts from earlier in this conversation. They are data:".into());
            lines.extend(self.facts.iter().map(|fact| format!("- {}", fact.told())));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// Which rung of the ladder decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionSource {
    /// The user, by naming an agent.
    Explicit,
    Rule,
    /// The user said something of their preferences.
    Preference,
    /// The question was about the system itself.
    About,
    /// A hook of the administrator.
    Hook,
    /// An agent that asked gets the reply.
    Sticky,
    Cache,
    Model,
    /// The user, by approving what was proposed.
    Approval,
    Default,
}

impl DecisionSource {
    /// The word used in logs and stages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Rule => "rule",
            Self::Preference => "preference",
            Self::About => "about",
            Self::Hook => "hook",
            Self::Sticky => "sticky",
            Self::Cache => "cache",
            Self::Model => "model",
            Self::Approval => "approval",
            Self::Default => "default",
        }
    }
}

/// Who answers, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingDecision {
    pub plan: Plan,
    pub source: DecisionSource,
    /// 0 to 1; `None` when the source has no opinion of its own certainty.
    pub confidence: Option<f64>,
    pub rationale: String,
    /// What the agent is asked in place of the last message, which only said whom to ask, or approved it.
    pub request: Option<Message>,
    /// Where it was found, when it was made before.
    pub kept: Option<Kept>,
}

/// Where a decision was found that was made before, and how long before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// In this process; the table was not asked.
    pub near: bool,
    pub age: Duration,
}

impl RoutingDecision {
    /// A decision for one agent, which gets the request as it is.
    pub fn plain(agent: &AgentId, source: DecisionSource, rationale: impl Into<String>) -> Self {
        Self {
            plan: Plan::Single(Assignment::plain(agent)),
            source,
            confidence: None,
            rationale: rationale.into(),
            request: None,
            kept: None,
        }
    }

    /// The one agent of the plan.
    pub fn assignment(&self) -> Option<&Assignment> {
        match &self.plan {
            Plan::Single(assignment) => Some(assignment),
            Plan::Steps(_)
            | Plan::About(_)
            | Plan::Clarify(_)
            | Plan::Refused(_)
            | Plan::Preferences(_)
            | Plan::Blocked(_) => None,
        }
    }
}

/// The cache's reason where it does not look, since the request is not worth keeping: no lookup, and so no miss.
pub const NOT_LOOKED_UP: &str = "nothing that is looked up";

/// What one rung of the ladder said, as the turn's record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    pub name: Cow<'static, str>,
    pub verdict: RungVerdict,
    pub reason: Cow<'static, str>,
    /// How long it took, in microseconds.
    pub micros: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RungVerdict {
    Decided,
    /// No opinion: the next rung was asked.
    Abstained,
    Failed,
}

impl RungVerdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decided => "decided",
            Self::Abstained => "abstained",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, after: &[&str]) -> Step {
        Step {
            name: name.into(),
            assignment: Assignment::plain(&AgentId::new("GPA")),
            after: after.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn a_plan_is_put_in_order_or_refused_with_the_reason() {
        let check = |steps: Vec<Step>, expected: Result<&[&str], &str>| {
            let plan = Plan::steps(steps, 3);
            let names = plan.as_ref().map(|plan| match plan {
                Plan::Steps(steps) => steps.iter().map(|step| step.name.as_str()).collect(),
                _ => vec!["one"],
            });
            assert_eq!(
                names.as_deref().map_err(|problem| problem.as_str()),
                expected,
                "{plan:?}"
            );
        };
        check(vec![step("a", &[])], Ok(&["one"]));
        check(
            vec![step("c", &["b", "a"]), step("b", &["a"]), step("a", &[])],
            Ok(&["a", "b", "c"]),
        );
        check(Vec::new(), Err("a plan has 1 to 3 steps, this one has 0"));
        check(
            ["a", "b", "c", "d"].map(|name| step(name, &[])).into(),
            Err("a plan has 1 to 3 steps, this one has 4"),
        );
        check(
            vec![step("a", &["b"]), step("b", &["a"])],
            Err("the steps a, b wait for each other"),
        );
        check(
            vec![step("a", &["a"]), step("b", &[])],
            Err("the steps a wait for each other"),
        );
        check(
            vec![step("a", &["x"]), step("b", &[])],
            Err("step a waits for x, which is no step of the plan"),
        );
        check(
            vec![step("a", &[]), step("a", &[])],
            Err("two steps are called a"),
        );
        check(
            vec![step(" ", &[]), step("a", &[])],
            Err("step 1 has no name"),
        );
    }
}
