//! The agents file: YAML with variables, into the registry.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::Env;
use super::parse::{DURATION, parse_duration, parse_size};
use crate::domain::agent::{AgentCard, Approval, Discover, Effect, Endpoint, Protocol};
use crate::domain::capability::{Capability, FactRules, HistoryRules};
use crate::domain::condition::{Condition, Rule};
use crate::domain::ids::{AgentId, Secret};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    default: Option<String>,
    agents: Vec<Agent>,
    #[serde(default)]
    routing: Routing,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Routing {
    #[serde(default)]
    rules: Vec<WrittenRule>,
    #[serde(default)]
    default: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    r#if: String,
    then: String,
}

/// Whether an agent's answers are made for people.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answers {
    Ready,
    Raw,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Agent {
    name: String,
    #[serde(default = "dial")]
    protocol: Protocol,
    endpoint: OneOrMore,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    capabilities: Vec<Skill>,
    #[serde(default = "one")]
    priority: u8,
    #[serde(default = "irreversible")]
    effect: Effect,
    #[serde(default)]
    approval: Approval,
    #[serde(default)]
    answers: Option<Answers>,
    #[serde(default)]
    fallback: Option<String>,
    #[serde(default = "everything")]
    accepts: Vec<String>,
    #[serde(default)]
    discover: Option<Discover>,
    #[serde(default)]
    deadline: Option<String>,
    #[serde(default)]
    history: History,
    #[serde(default)]
    facts: Facts,
}

/// A capability: its name alone, or what is known of it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Skill {
    Name(String),
    Described(Described),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    effect: Option<Effect>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    #[serde(default)]
    turns: Option<usize>,
    #[serde(default)]
    bytes: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Facts {
    takes: Vec<String>,
    gives: bool,
}

impl Default for Facts {
    fn default() -> Self {
        let FactRules { takes, gives } = FactRules::default();
        Self { takes, gives }
    }
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
                effect: described.effect,
            },
        }
    }
}

/// A value, a list of them, or several with commas between them, as a variable can hold.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
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

/// The file's content, checked.
#[derive(Debug)]
pub struct Agents {
    pub cards: Vec<AgentCard>,
    pub default: Option<String>,
    pub rules: Vec<Rule>,
}

/// Reads a document.
pub fn parse(text: &str, env: &Env) -> Result<Agents, String> {
    let file: File =
        serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
    let cards = file
        .agents
        .into_iter()
        .map(|agent| card(agent, env))
        .collect::<Result<Vec<_>, _>>()?;
    let rules = (file.routing.rules.iter().enumerate())
        .map(|(at, rule)| {
            read_rule(rule, &cards).map_err(|problem| format!("rule {}: {problem}", at + 1))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Agents {
        cards,
        default: file.default.or(file.routing.default),
        rules,
    })
}

fn read_rule(rule: &WrittenRule, cards: &[AgentCard]) -> Result<Rule, String> {
    let condition = Condition::parse(&rule.r#if)?;
    let Some(card) = cards.iter().find(|card| card.id.as_str() == rule.then) else {
        let names: Vec<&str> = cards.iter().map(|card| card.id.as_str()).collect();
        let (then, names) = (&rule.then, names.join(", "));
        return Err(format!("there is no agent {then}, expected one of {names}"));
    };
    Ok(Rule {
        condition,
        written: rule.r#if.trim().to_owned(),
        agent: card.id.clone(),
    })
}

/// Puts variables into one value. What they hold is taken as it is: it never becomes YAML.
fn substitute(value: &str, env: &Env) -> Result<String, String> {
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
        let set = env
            .get(name)
            .or(default)
            .ok_or_else(|| format!("the variable {name} is not set"))?;
        out.push_str(before);
        out.push_str(set);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn card(agent: Agent, env: &Env) -> Result<AgentCard, String> {
    let name = agent.name;
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.' | ' ');
    if name.trim().is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(format!(
            "agent {name:?}: a name has 1 to 64 letters, digits, spaces, dots, dashes or underscores"
        ));
    }
    let key = agent.key.map(|key| substitute(&key, env)).transpose()?;
    Ok(AgentCard {
        endpoints: endpoints(&name, agent.protocol, &agent.endpoint, env)?,
        id: AgentId::new(&name),
        protocol: agent.protocol,
        key: key
            .filter(|key| !key.is_empty())
            .map(|key| Secret::new(&key)),
        description: substitute(&agent.description, env)?,
        capabilities: agent.capabilities.into_iter().map(Into::into).collect(),
        priority: agent.priority,
        effect: agent.effect,
        approval: agent.approval,
        ready: match agent.answers {
            Some(answers) => matches!(answers, Answers::Ready),
            None => agent.protocol.is_for_people(),
        },
        fallback: agent.fallback.as_deref().map(AgentId::new),
        accepts: agent.accepts,
        discover: agent.discover,
        deadline: agent
            .deadline
            .map(|text| deadline(&name, &text))
            .transpose()?,
        history: history(&name, &agent.history)?,
        facts: FactRules {
            takes: agent.facts.takes,
            gives: agent.facts.gives,
        },
    })
}

fn deadline(agent: &str, text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .ok_or_else(|| format!("agent {agent}: its deadline is {text:?}, expected {DURATION}"))
}

fn history(agent: &str, written: &History) -> Result<HistoryRules, String> {
    let bytes = written.bytes.as_deref().map(|text| {
        parse_size(text).ok_or_else(|| {
            format!("agent {agent}: its history has {text:?} bytes, expected a number, or one with KB or MB")
        })
    });
    Ok(HistoryRules {
        turns: written.turns,
        bytes: bytes.transpose()?,
    })
}

/// Deployment ids or addresses; what is wrong is told with the value as the file has it, variable and all.
fn endpoints(
    agent: &str,
    protocol: Protocol,
    written: &OneOrMore,
    env: &Env,
) -> Result<Vec<Endpoint>, String> {
    let written: Vec<&str> = match written {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more.iter().map(String::as_str).collect(),
    };
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
    if protocol == Protocol::Conversation {
        return wrong("a full URL such as https://ums.example.com");
    }
    if value.trim().is_empty() {
        return wrong("a deployment id or a URL such as https://agent.example.com");
    }
    Ok(Endpoint::Deployment(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::over::read;
    use crate::settings::{Error, Place, Roster};

    #[test]
    fn the_built_in_file_names_gpa_and_ums() {
        let env = Env::from([("UMS_AGENT_ENDPOINT", "http://ums:8000")]);
        let Roster { registry, .. } = read(&Place::BuiltIn, &env).unwrap();
        let names: Vec<_> = registry.iter().map(|card| card.id.as_str()).collect();
        assert_eq!(names, ["GPA", "UMS"]);
        assert_eq!(registry.default_agent().id.as_str(), "GPA");
        let ums = registry.get("UMS").unwrap();
        assert_eq!(ums.protocol, Protocol::Conversation);
        assert_eq!(
            ums.endpoints,
            [Endpoint::Url(Url::parse("http://ums:8000").unwrap())]
        );
        assert_eq!(ums.effect, Effect::Irreversible);
        let gpa = registry.get("GPA").unwrap();
        assert_eq!(
            gpa.endpoints,
            [Endpoint::Deployment("general-purpose-agent".into())]
        );
        assert_eq!(gpa.key, None);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, part: &str| {
            let problem = parse(text, &Env::default())
                .map_err(|problem| Error::Agents {
                    file: "x".into(),
                    problem,
                })
                .and_then(|agents| agents.roster(None))
                .unwrap_err()
                .to_string();
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
            "the variable NOWHERE is not set",
        );
        check("agents:\n- {name: A, endpoint: '${X'}\n", "without its }");
        check("agents: [", "");
    }

    #[test]
    fn another_default_can_be_set_and_an_undeclared_effect_is_the_worst() {
        let env = Env::from([("MAS_DEFAULT_AGENT", "B")]);
        let agents = parse(
            "agents:\n- {name: A, endpoint: a}\n- {name: B, endpoint: b}\n",
            &env,
        );
        let Roster { registry, .. } = agents.unwrap().roster(Some("B")).unwrap();
        assert_eq!(registry.default_agent().id.as_str(), "B");
        assert_eq!(registry.default_agent().effect, Effect::Irreversible);
    }

    #[test]
    fn what_a_variable_holds_never_becomes_yaml() {
        for key in [
            "abc #def", "null", "*x", "@x", "{x", "a: b", "- x", "%x", "\"q",
        ] {
            let env = Env::from([("GPA_API_KEY", key)]);
            let Roster { registry, .. } = read(&Place::BuiltIn, &env).unwrap();
            let secret = registry.get("GPA").unwrap().key.as_ref().unwrap();
            assert_eq!(secret.expose(), key);
        }
    }

    #[test]
    fn an_agent_may_have_several_endpoints_and_a_fallback() {
        let env = Env::from([("HR", "hr-1, https://hr.example.com/chat")]);
        let text =
            "agents:\n- {name: A, endpoint: '${HR}', fallback: B}\n- {name: B, endpoint: [b, c]}\n";
        let Roster { registry, .. } = parse(text, &env).unwrap().roster(None).unwrap();
        let places = |name| -> Vec<String> {
            let card = registry.get(name).unwrap();
            card.endpoints.iter().map(Endpoint::place).collect()
        };
        assert_eq!(places("A"), ["hr-1", "hr.example.com/chat"]);
        assert_eq!(places("B"), ["b", "c"]);
        assert_eq!(registry.get("A").unwrap().fallback, Some(AgentId::new("B")));
    }

    #[test]
    fn an_agent_says_what_it_is_good_at_and_what_it_is_told() {
        let text = "agents:\n- name: A\n  endpoint: a\n  deadline: 20s\n  history: {turns: 3, bytes: 64KB}\n  \
                    facts: {takes: [place], gives: false}\n  capabilities:\n  - rag\n  - name: users\n    \
                    tags: [people]\n    examples: [List all users]\n    effect: none\n- {name: B, endpoint: b, deadline: 5}\n";
        let cards = parse(text, &Env::default()).unwrap().cards;
        let users = Capability {
            tags: vec!["people".into()],
            examples: vec!["List all users".into()],
            effect: Some(Effect::None),
            ..Capability::named("users")
        };
        assert_eq!(cards[0].capabilities, [Capability::named("rag"), users]);
        assert_eq!(cards[0].deadline, Some(Duration::from_secs(20)));
        let (turns, bytes) = (Some(3), Some(64 * 1024));
        assert_eq!(cards[0].history, HistoryRules { turns, bytes });
        assert_eq!(cards[0].facts.takes, ["place"]);
        assert!(!cards[0].facts.gives && cards[1].facts == FactRules::default());
        assert_eq!(cards[1].deadline, Some(Duration::from_secs(5)));
    }

    #[test]
    fn the_variable_may_hold_the_agents_themselves() {
        let env = Env::from([("MAS_AGENTS", "agents:\n- {name: HR, endpoint: hr}\n")]);
        let place = Place::read(&env).unwrap();
        let Roster { registry, .. } = read(&place, &env).unwrap();
        assert_eq!(registry.default_agent().id.as_str(), "HR");
    }
}
