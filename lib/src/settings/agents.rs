//! The agents file: YAML with variables, into the registry.

use serde::Deserialize;
use url::Url;

use super::{Env, Error};
use crate::domain::agent::{AgentCard, Effect, Endpoint, Protocol, Registry};
use crate::domain::ids::{AgentId, Secret};

const BUILT_IN: &str = include_str!("../../../infra/agents.yaml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    default: Option<String>,
    agents: Vec<Agent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Agent {
    name: String,
    #[serde(default = "dial")]
    protocol: Protocol,
    endpoint: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default = "one")]
    priority: u8,
    #[serde(default = "irreversible")]
    effect: Effect,
    #[serde(default = "everything")]
    accepts: Vec<String>,
}

fn dial() -> Protocol {
    Protocol::Dial
}

fn one() -> u8 {
    1
}

/// What is not declared harmless is treated as harmful.
fn irreversible() -> Effect {
    Effect::Irreversible
}

fn everything() -> Vec<String> {
    vec!["*/*".into()]
}

/// Reads the file that `MAS_AGENTS` names, or the one built in.
pub fn read(env: &Env) -> Result<Registry, Error> {
    let file = env.get("MAS_AGENTS");
    let name = file.unwrap_or("infra/agents.yaml (built in)");
    let registry = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| error.to_string()),
        None => Ok(BUILT_IN.to_owned()),
    }
    .and_then(|text| parse(&text, env));
    registry.map_err(|problem| Error::Agents {
        file: name.to_owned(),
        problem,
    })
}

fn parse(text: &str, env: &Env) -> Result<Registry, String> {
    let text = substitute(text, env)?;
    let file: File = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    let agents = file
        .agents
        .into_iter()
        .map(card)
        .collect::<Result<Vec<_>, _>>()?;
    Registry::new(
        agents,
        env.get("MAS_DEFAULT_AGENT").or(file.default.as_deref()),
    )
}

/// Puts variables in. Comment lines are left alone.
fn substitute(text: &str, env: &Env) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for (number, line) in (1..).zip(text.lines()) {
        let mut rest = line;
        while let Some((before, from)) = rest
            .split_once("${")
            .filter(|_| !line.trim_start().starts_with('#'))
        {
            let (inside, after) = from
                .split_once('}')
                .ok_or_else(|| format!("line {number}: ${{ without its }}"))?;
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            let value = env
                .get(name)
                .or(default)
                .ok_or_else(|| format!("line {number}: the variable {name} is not set"))?;
            out.push_str(before);
            out.push_str(value);
            rest = after;
        }
        out.push_str(rest);
        out.push('\n');
    }
    Ok(out)
}

fn card(agent: Agent) -> Result<AgentCard, String> {
    let name = agent.name;
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.' | ' ');
    if name.trim().is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(format!(
            "agent {name:?}: a name has 1 to 64 letters, digits, spaces, dots, dashes or underscores"
        ));
    }
    let endpoint = if agent.endpoint.contains("://") {
        Url::parse(&agent.endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.username().is_empty())
            .map(Endpoint::Url)
            .ok_or_else(|| {
                format!(
                    "agent {name}: {:?} is no address; expected a deployment id or a URL such as https://agent.example.com",
                    agent.endpoint
                )
            })?
    } else if agent.endpoint.trim().is_empty() {
        return Err(format!("agent {name}: the endpoint is empty"));
    } else {
        Endpoint::Deployment(agent.endpoint)
    };
    Ok(AgentCard {
        id: AgentId::new(&name),
        protocol: agent.protocol,
        endpoint,
        key: agent
            .key
            .filter(|key| !key.is_empty())
            .map(|key| Secret::new(&key)),
        description: agent.description,
        capabilities: agent.capabilities,
        priority: agent.priority,
        effect: agent.effect,
        accepts: agent.accepts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_file_names_gpa_and_ums() {
        let registry = read(&Env::from([("UMS_AGENT_ENDPOINT", "http://ums:8000")])).unwrap();
        let names: Vec<_> = registry.iter().map(|card| card.id.as_str()).collect();
        assert_eq!(names, ["GPA", "UMS"]);
        assert_eq!(registry.default_agent().id.as_str(), "GPA");
        let ums = registry.get("UMS").unwrap();
        assert_eq!(ums.protocol, Protocol::Conversation);
        assert_eq!(
            ums.endpoint,
            Endpoint::Url(Url::parse("http://ums:8000").unwrap())
        );
        assert_eq!(ums.effect, Effect::Irreversible);
        let gpa = registry.get("GPA").unwrap();
        assert_eq!(
            gpa.endpoint,
            Endpoint::Deployment("general-purpose-agent".into())
        );
        assert_eq!(gpa.key, None);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, part: &str| {
            let problem = parse(text, &Env::default()).unwrap_err();
            assert!(problem.contains(part), "{text:?}: {problem}");
        };
        check("agents: []", "no agents");
        check("agents:\n- name: A\n", "endpoint");
        check("agents:\n- {name: A, endpoint: x, colour: red}\n", "colour");
        check("agents:\n- {name: A, endpoint: 'ftp://x'}\n", "agent A");
        check("agents:\n- {name: 'A#', endpoint: x}\n", "agent \"A#\"");
        check("agents:\n- {name: A, endpoint: x, effect: bad}\n", "bad");
        check(
            "default: B\nagents:\n- {name: A, endpoint: x}\n",
            "default agent B",
        );
        check(
            "agents:\n- {name: A, endpoint: '${NOWHERE}'}\n",
            "line 2: the variable NOWHERE",
        );
        check("agents:\n- {name: A, endpoint: '${X'}\n", "line 2");
        check("agents: [", "");
    }

    #[test]
    fn another_default_can_be_set_and_an_undeclared_effect_is_the_worst() {
        let env = Env::from([("MAS_DEFAULT_AGENT", "B")]);
        let registry = parse(
            "agents:\n- {name: A, endpoint: a}\n- {name: B, endpoint: b}\n",
            &env,
        )
        .unwrap();
        assert_eq!(registry.default_agent().id.as_str(), "B");
        assert_eq!(registry.default_agent().effect, Effect::Irreversible);
    }
}
