//! A model reads the conversation and the agents' cards, and answers under a strict schema.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::prompt::{self, SELF};
use super::{AboutRouter, Error, Opinion, RouteQuery, Router, Shortlist};
use crate::domain::agent::{Effect, Registry};
use crate::domain::fact::Fact;
use crate::domain::ids::AgentId;
use crate::domain::message::Role;
use crate::domain::plan::{
    Assignment, DecisionSource, Plan, RoutingDecision, Step as PlanStep, YOUR_PART,
};
use crate::domain::preference::Preferences;
use crate::domain::rules::Caps;
use crate::domain::usage::{Step, Tally};
use crate::llm::{Completion, Models, Prompt, PromptMessage};

/// So many bytes of what the user said choose the agents that the model is told of.
const SAID: usize = 4000;
/// Where it is not told of all agents, it is told so many examples of each capability: the others have helped to find it.
const EXAMPLES: usize = 3;

/// The rung that asks a model.
#[derive(Debug)]
pub struct ModelRouter {
    models: Models,
    model: Arc<str>,
    /// Best priority first.
    agents: Vec<AgentId>,
    told: Told,
    /// Where there are too many to tell of all: which of them, for each request.
    many: Option<(Shortlist, Registry)>,
    /// Longer instructions are cut, in bytes.
    instructions_cap: usize,
    /// The most steps of a plan.
    steps: usize,
    /// What of the conversation is shown, in bytes.
    history: usize,
    /// The model may name the coordinator itself.
    knows_self: bool,
    /// Below this the user is asked.
    floor: Option<f64>,
}

/// What the model is told of agents.
#[derive(Clone, Debug)]
struct Told {
    agents: Vec<AgentId>,
    system: String,
    response_format: Arc<RawValue>,
    /// Facts pass between these agents.
    shares: bool,
}

impl Told {
    fn of(registry: &Registry, steps: usize, examples: usize) -> Self {
        Self {
            agents: registry.iter().map(|card| card.id.clone()).collect(),
            system: prompt::system(registry, steps, examples),
            response_format: prompt::response_format(registry),
            shares: prompt::shares(registry),
        }
    }
}

/// What a model answered.
#[derive(Debug, PartialEq)]
struct Answered {
    decision: RoutingDecision,
    /// The agent that fits next best.
    second: Option<AgentId>,
}

/// A longer name of a step is cut, in bytes.
const STEP_NAME: usize = 40;

/// One step as a model writes it.
#[derive(Deserialize)]
struct AnsweredStep {
    name: String,
    agent_name: String,
    task: String,
    #[serde(default)]
    after: Vec<String>,
    #[serde(default)]
    effect: Option<Effect>,
}

impl ModelRouter {
    /// Prompt and schema are made once, from the registry: an unknown agent is no legal answer.
    ///
    /// Where the model is less certain than `floor`, in percent, the user is asked.
    pub fn new(
        models: Models,
        model: &str,
        registry: &Registry,
        caps: Caps,
        floor: Option<u32>,
    ) -> Self {
        let mut cards: Vec<_> = registry.iter().collect();
        cards.sort_by_key(|card| card.priority);
        Self {
            models,
            model: model.into(),
            agents: cards.iter().map(|card| card.id.clone()).collect(),
            told: Told::of(registry, caps.steps, usize::MAX),
            many: Shortlist::of(registry).map(|shortlist| (shortlist, registry.clone())),
            instructions_cap: caps.instructions,
            steps: caps.steps,
            history: caps.routing_history,
            knows_self: prompt::knows_self(registry),
            floor: floor.map(|percent| f64::from(percent) / 100.0),
        }
    }

    /// Everything that its decisions depend on beside the request.
    pub fn version(&self) -> String {
        let Told {
            system,
            response_format,
            ..
        } = &self.told;
        format!("{}\n{response_format}\n{system}", self.model)
    }

    /// Of all agents, or of those that may be meant.
    fn told(&self, query: &RouteQuery<'_>) -> Told {
        match (&self.many, self.meant(query)) {
            (Some((_, registry)), Some(meant)) => {
                Told::of(&registry.only(&meant), self.steps, EXAMPLES)
            }
            _ => self.told.clone(),
        }
    }

    /// Where there are too many agents to tell of, those that may be meant, the likeliest first: the last two things that
    /// the user said tell.
    fn meant(&self, query: &RouteQuery<'_>) -> Option<Vec<AgentId>> {
        let (shortlist, _) = self.many.as_ref()?;
        let said = (query.messages.iter().rev()).filter(|message| message.role == Role::User);
        let said: Vec<&str> = said.take(2).map(|message| message.text.as_str()).collect();
        let before = query.last.and_then(|last| last.agent.as_ref());
        let also: Vec<&AgentId> = query.choice.into_iter().chain(before).collect();
        let said = said.join("\n");
        Some(shortlist.agents(cut(&said, SAID), &also, query.preferences))
    }

    fn prompt(&self, query: &RouteQuery<'_>) -> Prompt {
        let told = self.told(query);
        let wishes = prompt::wishes(query.preferences, &told.agents);
        let response_format = self.format(&told, query.preferences);
        let other = query.placed.map(|placed| &placed.variant.routing);
        let more = other.and_then(|other| other.prompt.as_deref());
        let more = more.map_or_else(String::new, |more| format!("\n{more}\n"));
        let mut messages = vec![PromptMessage::system(told.system + &more + &wishes)];
        let (last, earlier) = match query.messages.split_last() {
            Some((last, earlier)) => (Some(last), earlier),
            None => (None, query.messages),
        };
        messages.extend(earlier.iter().filter_map(prompt::shown));
        messages.extend(prompt::facts(query.facts));
        messages.extend(last.and_then(prompt::shown));
        let mut prompt = Prompt {
            model: Arc::clone(
                other
                    .and_then(|other| other.model.as_ref())
                    .unwrap_or(&self.model),
            ),
            messages,
            response_format: Some(response_format),
            caller: Arc::clone(query.caller),
            deadline: query.deadline,
        };
        prompt.fit(self.history);
        prompt
    }

    /// The schema of the answer: agents that the user blocked are no legal answers.
    fn format(&self, told: &Told, preferences: &Preferences) -> Arc<RawValue> {
        let left = (told.agents.iter()).filter(|agent| !preferences.blocks(agent));
        let left: Vec<&str> = left.map(AgentId::as_str).collect();
        if left.is_empty() || left.len() == told.agents.len() {
            return Arc::clone(&told.response_format);
        }
        prompt::format_of(&left, self.knows_self, told.shares)
    }

    /// Asks once, or once more with half of the conversation if all of it is too long.
    async fn ask(&self, prompt: &mut Prompt, tally: &mut Tally) -> Result<String, Error> {
        let Completion { text, usage } = match self.models.complete(prompt).await {
            Err(error) if error.is_too_long() && prompt.fit(self.history / 2) => {
                self.models.complete(prompt).await?
            }
            answered => answered?,
        };
        tally.add(Step::Route, &prompt.model, usage);
        Ok(text)
    }

    /// The decision in a model's answer, or what is wrong with it.
    fn read(&self, answer: &str, facts: &[Fact]) -> Result<Answered, String> {
        #[derive(Deserialize)]
        struct Answer {
            agent_name: String,
            #[serde(default)]
            additional_instructions: Option<String>,
            #[serde(default)]
            confidence: Option<f64>,
            #[serde(default)]
            alternative: Option<String>,
            #[serde(default)]
            reason: Option<String>,
            #[serde(default)]
            steps: Vec<AnsweredStep>,
            #[serde(default)]
            facts: Vec<String>,
            #[serde(default)]
            effect: Option<Effect>,
        }
        let answer: Answer = serde_json::from_str(unfenced(answer))
            .map_err(|error| cut(&error.to_string(), 200).to_owned())?;
        let reason = answer.reason.as_deref().map_or("", |text| cut(text, 500));
        if self.knows_self && answer.agent_name == SELF {
            let mut decision = AboutRouter::decision(None, reason);
            decision.source = DecisionSource::Model;
            return Ok(Answered {
                decision,
                second: None,
            });
        }
        let named = |name: &str| self.agents.iter().find(|agent| agent.as_str() == name);
        let agent = named(&answer.agent_name)
            .ok_or_else(|| format!("there is no agent {:?}", cut(&answer.agent_name, 80)))?;
        let instructions = answer
            .additional_instructions
            .map(|text| cut(text.trim(), self.instructions_cap).to_owned())
            .filter(|text| !text.is_empty());
        let mut decision = RoutingDecision::plain(agent, DecisionSource::Model, reason);
        decision.confidence = answer.confidence.map(|value| value.clamp(0.0, 1.0));
        let facts = chosen(facts, &answer.facts);
        decision.plan = if answer.steps.is_empty() {
            Plan::Single(Assignment {
                agent: agent.clone(),
                instructions,
                facts,
                effect: answer.effect,
            })
        } else {
            self.plan(answer.steps, &facts)?
        };
        let second = answer.alternative.as_deref().and_then(named);
        Ok(Answered {
            second: second.filter(|second| *second != agent).cloned(),
            decision,
        })
    }

    /// A plan of the steps that a model names.
    fn plan(&self, steps: Vec<AnsweredStep>, facts: &[Fact]) -> Result<Plan, String> {
        let step = |step: AnsweredStep| {
            let named = self
                .agents
                .iter()
                .find(|agent| agent.as_str() == step.agent_name);
            let agent = named
                .cloned()
                .ok_or_else(|| format!("there is no agent {:?}", cut(&step.agent_name, 80)))?;
            let task = cut(step.task.trim(), self.instructions_cap);
            let name = |name: &str| cut(name.trim(), STEP_NAME).to_owned();
            Ok(PlanStep {
                name: name(&step.name),
                assignment: Assignment {
                    agent,
                    instructions: (!task.is_empty()).then(|| format!("{YOUR_PART}{task}")),
                    // Each agent is told those that it takes.
                    facts: facts.to_vec(),
                    effect: step.effect,
                },
                after: step.after.iter().map(|after| name(after)).collect(),
            })
        };
        let steps = steps.into_iter().map(step).collect::<Result<_, String>>()?;
        Plan::steps(steps, self.steps)
    }

    /// The decision, or the question which of two agents is meant, where the model does not know. It is asked once: whoever
    /// answers something else is taken at the model's best guess.
    fn settle(&self, answered: Answered, query: &RouteQuery<'_>) -> RoutingDecision {
        let Answered {
            mut decision,
            second,
        } = answered;
        let asked = (query.last).is_some_and(|last| last.agent.is_none() && last.asks);
        let doubtful = self
            .floor
            .zip(decision.confidence)
            .is_some_and(|(floor, sure)| sure < floor);
        let Some(first) = decision.assignment().map(|first| first.agent.clone()) else {
            return decision;
        };
        let second = second.or_else(|| {
            let wanted = |agent: &AgentId| *agent != first && !query.preferences.blocks(agent);
            let others = self.meant(query).unwrap_or_else(|| self.agents.clone());
            others.into_iter().find(wanted)
        });
        if let Some(second) = second.filter(|_| doubtful && !asked && query.caller.depth == 0) {
            decision.plan = match query.preferences.preferred_of([&first, &second]) {
                // What the user prefers breaks the tie; what was to be added was for the first.
                Some(preferred) if *preferred != first => {
                    Plan::Single(Assignment::plain(preferred))
                }
                Some(_) => return decision,
                None => Plan::Clarify([first, second]),
            };
        }
        decision
    }
}

#[async_trait]
impl Router for ModelRouter {
    fn name(&self) -> &'static str {
        "model"
    }

    async fn route(&self, query: &RouteQuery<'_>, tally: &mut Tally) -> Result<Opinion, Error> {
        let decided = |answered| Opinion::Decided(self.settle(answered, query));
        let mut prompt = self.prompt(query);
        let first = self.ask(&mut prompt, tally).await?;
        let problem = match self.read(&first, query.facts) {
            Ok(answered) => return Ok(decided(answered)),
            Err(problem) => problem,
        };
        // What was asked has used what there was.
        if (query.allowance).is_some_and(|allowance| allowance.is_used_up(tally)) {
            return Err(Error::NoDecision);
        }
        // One repair, then the next rung: a model that errs twice will not get better by being asked again.
        prompt
            .messages
            .push(PromptMessage::assistant(cut(&first, 2000)));
        prompt.messages.push(PromptMessage::user(format!(
            "That is not a decision ({problem}). Answer again with nothing but the JSON object of the schema."
        )));
        let second = self.ask(&mut prompt, tally).await?;
        self.read(&second, query.facts)
            .map(decided)
            .map_err(|_| Error::NoDecision)
    }
}

/// The facts that a model names, as they are listed in its prompt.
fn chosen(facts: &[Fact], names: &[String]) -> Vec<Fact> {
    let named = |at: usize| {
        let name = format!("f{}", at + 1);
        names.iter().any(|chosen| chosen.trim() == name)
    };
    let facts = facts.iter().enumerate().filter(|(at, _)| named(*at));
    facts.map(|(_, fact)| fact.clone()).collect()
}

/// The text without a Markdown fence around it, which models like to add.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text
        .strip_prefix("```")
        .and_then(|rest| rest.strip_suffix("```"))
    else {
        return text;
    };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

/// At most `cap` bytes of a text, cut between characters.
fn cut(text: &str, cap: usize) -> &str {
    text.get(..text.floor_char_boundary(cap)).unwrap_or(text)
}

#[cfg(test)]
#[path = "model/tests/fuzz.rs"]
mod fuzz_tests;
#[cfg(test)]
mod tests;
