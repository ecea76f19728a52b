//! The configuration document as people write it. `infra/agents.schema.json` is made from these types.

use serde::Deserialize;

use super::place::{At, Place};
use super::{checks, experiments, hooks};
use crate::domain::agent::{Approval, Discover, Effect, Protocol};

/// Who answers whom: the agents, the rules that choose among them, and the tests of those rules.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// The version of this language, 1.
    #[serde(default, rename = "version")]
    pub _version: Option<u64>,
    /// The agent that answers where nothing else decides.
    #[serde(default)]
    pub default: Option<At<String>>,
    /// The agents that may be asked.
    pub agents: Vec<Agent>,
    /// What answers are checked for.
    #[serde(default)]
    pub checks: checks::Defaults,
    #[serde(default)]
    pub routing: Routing,
    /// Who looks on at turns, and may refuse them.
    #[serde(default)]
    pub hooks: Vec<At<hooks::Written>>,
    /// What is compared with what is done now, for a share of the users or conversations.
    #[serde(default)]
    pub experiments: Vec<experiments::Written>,
    /// Cases that the rules are tested with whenever the document is read.
    #[serde(default)]
    pub tests: Vec<Case>,
}

/// What decides before a model is asked.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Routing {
    /// Tested in order; the first that chooses an agent decides.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// The agent that answers where nothing else decides.
    #[serde(default)]
    pub default: Option<At<String>>,
}

/// Where the condition holds, this is done.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A condition in the Common Expression Language, such as `contains(query, "user")`. It sees query, words, language,
    /// attachments, tenant, role, roles, previous, depth and now.
    pub r#if: At<String>,
    /// The agent that answers, or what else is done.
    pub then: At<Then>,
}

/// What a rule does.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(untagged))]
pub enum Then {
    /// The agent that answers.
    Agent(String),
    Actions(Box<Actions>),
}

/// At least one of these.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Actions {
    /// The agent that answers.
    pub route: Option<At<String>>,
    /// The agents that answer side by side, each the whole request.
    pub fan_out: Option<At<Vec<String>>>,
    /// As many of their answers are enough: nobody waits for the others, unless they change something.
    pub quorum: Option<At<usize>>,
    /// What they are told beside the request.
    pub instructions: Option<At<String>>,
    /// Agents that nobody may ask for this request.
    pub forbid: Option<At<OneOrMore>>,
    /// What the user is told where one of them was chosen.
    pub say: Option<At<String>>,
    /// The user must approve the request first: whoever is asked, or these agents.
    pub approve: Option<At<Approve>>,
    /// Kinds of facts that the agents asked are told, of those that they take.
    pub share: Vec<String>,
    /// How this turn is answered.
    pub set: Option<At<Modes>>,
}

/// How a turn is answered: at least one of these.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Modes {
    /// When a second model writes the answer.
    pub synthesis: Option<Synthesis>,
    /// How much of the agents' work is shown, whatever the user prefers.
    pub stages: Option<Stages>,
}

/// How much of the agents' work is shown.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Stages {
    None,
    /// Their names, and how they ended.
    Summary,
    Full,
}

/// When a second model writes the answer.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Synthesis {
    Always,
    /// Unless the agent's own answer is made for people.
    Auto,
    Never,
}

/// Whose requests the user must approve.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(untagged))]
pub enum Approve {
    /// Everybody's, or nobody's.
    Whoever(bool),
    These(OneOrMore),
}

/// Whether an agent's answers are made for people.
#[derive(Clone, Copy, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Answers {
    /// They may be shown as they are.
    Ready,
    /// A model writes them anew.
    Raw,
}

/// An agent that may be asked.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// How rules, stages and people call it.
    pub name: At<String>,
    /// How it is spoken to.
    #[serde(default = "dial")]
    pub protocol: Protocol,
    /// Where it answers: deployments of DIAL Core or full addresses, tried in order.
    pub endpoint: At<OneOrMore>,
    /// The model that a plain OpenAI-compatible server is asked for; the agent's name where nothing is said.
    #[serde(default)]
    pub model: Option<At<String>>,
    /// Each call says, signed, who calls and for whom (`MAS_ASSERTION_KEYS`).
    #[serde(default)]
    pub assertion: bool,
    /// For whom that is signed; without it the agent's origin.
    #[serde(default)]
    pub audience: Option<At<String>>,
    /// Its credential: a variable, `${NAME}`, or a reference such as `secretsmanager:NAME` or `ssm:/NAME`. Never the secret itself.
    #[serde(default)]
    pub key: Option<At<String>>,
    /// One or two sentences for people and for the routing model: what to send here.
    #[serde(default)]
    pub description: At<String>,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// 1 is asked first where two fit equally.
    #[serde(default = "one")]
    pub priority: u8,
    /// What a call may change. What is not said to be harmless is irreversible.
    #[serde(default)]
    pub effect: Option<Effect>,
    /// Whether the user approves each request first.
    #[serde(default)]
    pub approval: Approval,
    /// Whether its answers are made for people: `ready` is the default of dial, `raw` that of services.
    #[serde(default)]
    pub answers: Option<Answers>,
    /// The agent that is asked instead where this one cannot be, and nothing was done.
    #[serde(default)]
    pub fallback: Option<At<String>>,
    /// The agent, with the effect `none`, that tells what this one would do, before the user approves a request.
    #[serde(default)]
    pub preview: Option<At<String>>,
    /// MIME patterns of the attachments that it takes.
    #[serde(default = "everything")]
    pub accepts: Vec<String>,
    /// Where it is looked up what else it can do.
    #[serde(default)]
    pub discover: Option<Discover>,
    /// Where it is `false`, neither the routing model nor people are told of it: it is asked by a rule, by name, in another's
    /// place, or in an experiment.
    #[serde(default = "yes")]
    pub listed: bool,
    /// How long a call may take, where that is less than what is left of the turn.
    #[serde(default)]
    pub deadline: Option<At<Amount>>,
    #[serde(default)]
    pub history: History,
    #[serde(default)]
    pub facts: Facts,
    /// What its answers are checked for, over what all agents' are.
    #[serde(default)]
    pub checks: checks::Own,
}

/// A capability: its name alone, or what is known of it.
#[derive(Debug)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(untagged))]
pub enum Capability {
    Name(String),
    Described(Box<Described>),
}

/// What is known of a capability.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Described {
    pub name: String,
    /// A sentence for people and for the routing model.
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub tags: Vec<String>,
    /// Requests that it is for, in people's own words.
    #[serde(default)]
    pub examples: Vec<String>,
    /// What it may change, where that is less than what the agent may.
    #[serde(default)]
    pub effect: Option<At<Effect>>,
}

/// How much of its own earlier turns an agent is told.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// So many of the newest turns.
    pub turns: Option<usize>,
    /// So many bytes, such as 64KB.
    pub bytes: Option<At<Amount>>,
}

/// What an agent is told of other agents' findings, and gives of its own.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Facts {
    /// Kinds of facts that it may be told.
    pub takes: Vec<String>,
    /// Whether facts may be taken from its answers.
    pub gives: bool,
}

/// A request, and what the rules must come to for it.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The user's message.
    pub say: String,
    #[serde(default)]
    pub attachments: Vec<File>,
    #[serde(default)]
    pub tenant: Option<String>,
    /// The caller's roles: user, operator, auditor, admin.
    #[serde(default)]
    pub role: Option<At<OneOrMore>>,
    /// The agent that answered before.
    #[serde(default)]
    pub previous: Option<At<String>>,
    /// The message's language, where it is not to be guessed.
    #[serde(default)]
    pub language: Option<String>,
    /// When it is said, in UTC, such as 2026-11-20T22:15; Monday, 2026-01-05T12:00 where nothing is said.
    #[serde(default)]
    pub now: Option<At<String>>,
    /// How many coordinators have passed it on.
    #[serde(default)]
    pub depth: u32,
    /// The arm of an experiment that it is said in, such as `next/new`.
    #[serde(default)]
    pub arm: Option<At<String>>,
    /// The agent that the rules choose, or `none`, or what else they come to.
    pub expect: At<Expect>,
}

/// A file of a test case.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct File {
    pub r#type: String,
    #[serde(default)]
    pub name: String,
    /// In bytes.
    #[serde(default)]
    pub size: u64,
}

/// What the rules come to.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(untagged))]
pub enum Expect {
    /// The agent that they choose, or `none`.
    Agent(String),
    /// The agents that answer side by side.
    Several(Vec<String>),
    All(Box<Expected>),
}

/// Each that is said is compared.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// The agent that they choose, or `none`; or the agents that answer side by side.
    pub route: Option<At<OneOrMore>>,
    /// The agents that they forbid, all of them; an empty list where none is.
    pub forbidden: Option<At<OneOrMore>>,
    /// Whether approval is needed of the agent that they choose; or the agents of which it is.
    pub approve: Option<At<Approve>>,
    /// What they set the synthesis to.
    pub synthesis: Option<Synthesis>,
    /// What they set the stages to.
    pub stages: Option<Stages>,
    /// What the chosen agent is told beside the request.
    pub instructions: Option<String>,
}

/// A name, or a list of them.
#[derive(Clone, Debug, Default)]
pub struct OneOrMore(pub Vec<String>);

/// A number, or a number with a unit, such as `20s` or `64KB`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Amount(pub String);

fn dial() -> Protocol {
    Protocol::Dial
}

fn one() -> u8 {
    1
}

fn yes() -> bool {
    true
}

fn everything() -> Vec<String> {
    vec!["*/*".into()]
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            takes: Vec::new(),
            gives: true,
        }
    }
}

impl<T: Default> Default for At<T> {
    fn default() -> Self {
        Self {
            value: T::default(),
            place: Place::default(),
        }
    }
}

#[cfg(test)]
mod tests;
