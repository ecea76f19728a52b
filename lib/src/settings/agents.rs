//! Agents as they are written into cards, with the environment's variables put in.

use url::Url;

use super::Env;
use super::over::{Over, is_within_reach};
use super::parse::{DURATION, parse_duration, parse_size};
use super::place::{At, Problem};
use super::written::{Agent, Answers, Capability as Skill, History};
use crate::domain::agent::{AgentCard, Effect, Endpoint, Protocol};
use crate::domain::capability::{Capability, FactRules, HistoryRules};
use crate::domain::check::Checks;
use crate::domain::ids::{AgentId, Secret};

/// What a reference to a secret begins with.
const REFERENCES: [&str; 3] = ["secretsmanager:", "ssm:", "arn:"];

/// Whether a value says where a secret is, and is none itself.
pub fn is_reference(value: &str) -> bool {
    REFERENCES.iter().any(|start| value.starts_with(start))
}

/// Every card, and everything that is wrong with them: of each agent the first thing. One that stands over them may be a
/// fallback, too.
pub fn cards(
    agents: Vec<Agent>,
    over: &[Over],
    env: &Env,
    checks: &Checks,
    problems: &mut Vec<Problem>,
) -> Vec<AgentCard> {
    let mut cards: Vec<AgentCard> = Vec::new();
    let mut fallbacks: Vec<At<String>> = Vec::new();
    let mut previews: Vec<At<String>> = Vec::new();
    for agent in agents {
        let name = agent.name.clone();
        if cards.iter().any(|card| card.id.as_str() == name.value) {
            let problem = format!("agent {} is listed twice", name.value);
            problems.push(name.place.problem(problem));
            continue;
        }
        let (fallback, preview) = (agent.fallback.clone(), agent.preview.clone());
        match card(agent, env, Some(checks)) {
            Ok(card) => {
                fallbacks.extend(fallback);
                previews.extend(preview);
                cards.push(card);
            }
            Err(problem) => problems.push(problem),
        }
    }
    for fallback in fallbacks {
        let own = |card: &AgentCard| card.fallback.as_ref() == Some(&card.id);
        let known = (cards.iter()).any(|card| card.id.as_str() == fallback.value && !own(card))
            || over.iter().any(|over| over.name == fallback.value);
        if !known && problems.is_empty() {
            let problem = format!(
                "the fallback {} is not another agent of the list",
                fallback.value
            );
            problems.push(fallback.place.problem(problem));
        }
    }
    for preview in previews {
        let name = AgentId::new(&preview.value);
        let known = cards.iter().any(|card| card.previews(&name))
            || over.iter().any(|over| over.name == preview.value);
        if !known && problems.is_empty() {
            let problem =
                format!("the preview {name} is not an agent of the list that changes nothing");
            problems.push(preview.place.problem(problem));
        }
    }
    cards
}

/// Puts variables into one value. What they hold is taken as it is: it never becomes YAML.
pub fn substitute(value: &str, env: &Env) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, from)) = rest.split_once("${") {
        let (inside, after) = from
            .split_once('}')
            .ok_or_else(|| format!("${{ without its }} in {value:?}"))?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let set = env.get(name).or(default).ok_or_else(|| {
            let here = if env.is_narrowed() && !is_within_reach(name) {
                " here: what is written elsewhere may refer to variables that begin with AGENT_"
            } else {
                ""
            };
            format!("the variable {name} is not set{here}")
        })?;
        out.push_str(before);
        out.push_str(set);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// One card, with the checks of all agents below its own. Whether there is its fallback is for those who know the others.
pub fn card(agent: Agent, env: &Env, checks: Option<&Checks>) -> Result<AgentCard, Problem> {
    let name = agent.name.value.as_str();
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.' | ' ');
    if name.trim().is_empty() || name.len() > 64 || !name.chars().all(plain) {
        let problem = format!(
            "agent {name:?}: a name has 1 to 64 letters, digits, spaces, dots, dashes or underscores"
        );
        return Err(agent.name.place.problem(problem));
    }
    let key = agent.key.as_ref().map(|written| {
        key(name, &written.value, env).map_err(|problem| written.place.problem(problem))
    });
    let endpoints = endpoints(name, agent.protocol, &agent.endpoint.value.0, env)
        .map_err(|problem| agent.endpoint.place.problem(problem))?;
    let description = substitute(&agent.description.value, env)
        .map_err(|problem| agent.description.place.problem(problem))?;
    let effect = effect(&agent)?;
    let model = match &agent.model {
        Some(model) => substitute(&model.value, env)
            .map(|model| Some(model).filter(|model| !model.is_empty()))
            .map_err(|problem| model.place.problem(problem))?,
        None => None,
    };
    let audience = match &agent.audience {
        Some(audience) => Some(
            substitute(&audience.value, env).map_err(|problem| audience.place.problem(problem))?,
        ),
        None => None,
    };
    let deadline = agent.deadline.as_ref().map(|written| {
        let text = &written.value.0;
        parse_duration(text).ok_or_else(|| {
            let problem = format!("agent {name}: its deadline is {text:?}, expected {DURATION}");
            written.place.problem(problem)
        })
    });
    Ok(AgentCard {
        id: AgentId::new(name),
        endpoints,
        key: key.transpose()?.flatten(),
        description,
        effect,
        deadline: deadline.transpose()?,
        history: history(name, &agent.history)?,
        checks: agent.checks.read(name, checks)?,
        protocol: agent.protocol,
        model,
        assertion: agent.assertion,
        audience,
        capabilities: agent.capabilities.into_iter().map(Into::into).collect(),
        priority: agent.priority,
        approval: agent.approval,
        ready: match agent.answers {
            Some(answers) => matches!(answers, Answers::Ready),
            None => agent.protocol.is_for_people(),
        },
        fallback: agent.fallback.map(|name| AgentId::new(&name.value)),
        preview: agent.preview.map(|name| AgentId::new(&name.value)),
        accepts: agent.accepts,
        discover: agent.discover,
        listed: agent.listed,
        facts: FactRules {
            takes: agent.facts.takes,
            gives: agent.facts.gives,
        },
    })
}

/// What is not declared harmless is treated as harmful; no capability may change more than its agent.
fn effect(agent: &Agent) -> Result<Effect, Problem> {
    let effect = agent.effect.unwrap_or(Effect::Irreversible);
    for skill in &agent.capabilities {
        let Skill::Described(described) = skill else {
            continue;
        };
        let more = described.effect.as_ref().filter(|own| own.value > effect);
        if let Some(more) = more {
            let (name, skill) = (&agent.name.value, &described.name);
            let problem = format!(
                "agent {name}: its capability {skill} may change more than the agent itself, expected the agent's effect \
                 to be the worst of its capabilities'"
            );
            return Err(more.place.problem(problem));
        }
    }
    Ok(effect)
}

/// A credential is never in the document: it is a variable's value, or fetched from where a reference says.
fn key(agent: &str, written: &str, env: &Env) -> Result<Option<Secret>, String> {
    let written = written.trim();
    let variable = written
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .filter(|inside| !inside.contains('}'))
        .filter(|inside| {
            inside
                .split_once(":-")
                .is_none_or(|(_, default)| default.is_empty())
        });
    let key = if is_reference(written) {
        let fetched = env.get(written).map(str::to_owned);
        fetched.ok_or_else(|| {
            let here = if env.is_narrowed() && !is_within_reach(written) {
                " here: what is written elsewhere may refer to secrets with a part \"agents\" in their names"
            } else {
                ""
            };
            format!("agent {agent}: the secret {written} was not fetched{here}")
        })?
    } else if written.is_empty() || variable.is_some() {
        substitute(written, env)?
    } else {
        return Err(format!(
            "agent {agent}: its key stands in the document, expected a variable such as ${{HR_KEY}} or a reference such as \
             secretsmanager:mas/hr, so that no secret is kept where everybody reads"
        ));
    };
    Ok(Some(key)
        .filter(|key| !key.is_empty())
        .map(|key| Secret::new(&key)))
}

fn history(agent: &str, written: &History) -> Result<HistoryRules, Problem> {
    let bytes = written.bytes.as_ref().map(|bytes| {
        parse_size(&bytes.value.0).ok_or_else(|| {
            let text = &bytes.value.0;
            let problem = format!(
                "agent {agent}: its history has {text:?} bytes, expected a number above zero, or one with KB or MB"
            );
            bytes.place.problem(problem)
        })
    });
    Ok(HistoryRules {
        turns: written.turns,
        bytes: bytes.transpose()?,
    })
}

impl From<Skill> for Capability {
    fn from(skill: Skill) -> Self {
        match skill {
            Skill::Name(name) => Self::named(&name),
            Skill::Described(described) => Self {
                name: described.name,
                description: described.description,
                tags: described.tags,
                examples: described.examples,
                effect: described.effect.map(|effect| effect.value),
            },
        }
    }
}

/// Deployment ids or addresses; what is wrong is told with the value as the file has it, variable and all.
fn endpoints(
    agent: &str,
    protocol: Protocol,
    written: &[String],
    env: &Env,
) -> Result<Vec<Endpoint>, String> {
    let mut endpoints = Vec::new();
    for text in written {
        for value in substitute(text, env)?.split(',') {
            endpoints.push(endpoint(agent, protocol, text, value.trim())?);
        }
    }
    if endpoints.is_empty() {
        return Err(format!("agent {agent} has no endpoint"));
    }
    Ok(endpoints)
}

fn endpoint(
    agent: &str,
    protocol: Protocol,
    written: &str,
    value: &str,
) -> Result<Endpoint, String> {
    let wrong = |expected: &str| {
        let value = super::parse::shown(value);
        Err(format!(
            "agent {agent}: its endpoint {written} is {value:?}, expected {expected}"
        ))
    };
    if protocol == Protocol::Conversation && value.contains('?') {
        return wrong("a full URL without a query, since paths are appended to it");
    }
    if value.contains("://") {
        return match Url::parse(value) {
            Ok(url)
                if matches!(url.scheme(), "http" | "https")
                    && url.username().is_empty()
                    && url.password().is_none() =>
            {
                Ok(Endpoint::Url(url))
            }
            _ => wrong("a deployment id or a URL such as https://agent.example.com"),
        };
    }
    if protocol != Protocol::Dial {
        return wrong("a full URL such as https://ums.example.com");
    }
    if value.trim().is_empty() {
        return wrong("a deployment id or a URL such as https://agent.example.com");
    }
    Ok(Endpoint::Deployment(value.to_owned()))
}
