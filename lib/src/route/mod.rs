//! Who answers? A ladder of routers, cheapest first: the first opinion wins.

mod about;
mod cache;
mod explicit;
mod fallback;
mod model;
mod preference;
mod prompt;
mod rules;
mod shortlist;
mod sticky;

pub use about::AboutRouter;
pub use cache::{CacheRouter, DecisionCache};
pub use explicit::ExplicitRouter;
pub use fallback::DefaultRouter;
pub use model::ModelRouter;
pub use preference::PreferenceRouter;
pub use rules::RuleRouter;
pub use shortlist::Shortlist;
pub use sticky::StickyRouter;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::domain::access::Role;
use crate::domain::agent::Registry;
use crate::domain::budget::Allowance;
use crate::domain::conversation::Last;
use crate::domain::experiment::Placed;
use crate::domain::fact::Fact;
use crate::domain::ids::{AgentId, Timestamp};
use crate::domain::message::Message;
use crate::domain::plan::{Assignment, DecisionSource, Plan, RoutingDecision, Rung, RungVerdict};
use crate::domain::preference::Preferences;
use crate::domain::rulebook::{Demands, Judgement, Rulebook};
use crate::domain::turn::Caller;
use crate::domain::usage::Tally;
use crate::telemetry;

/// What a router may look at.
#[derive(Clone, Copy, Debug)]
pub struct RouteQuery<'a> {
    /// Never empty; the last one is the user's.
    pub messages: &'a [Message],
    pub caller: &'a Arc<Caller>,
    pub deadline: Instant,
    /// Whose decisions may be used again.
    pub tenant: &'a str,
    /// What the caller may do.
    pub roles: &'a [Role],
    /// When the request came in.
    pub at: Timestamp,
    /// The agent that the request's configuration names.
    pub choice: Option<&'a AgentId>,
    /// How the turn before this one ended; `None` where there was none.
    pub last: Option<&'a Last>,
    /// What agents found out in this conversation, for others that may be told.
    pub facts: &'a [Fact],
    /// The rules and what they come to; the ladder sees to it.
    pub judged: Option<(&'a Rulebook, &'a Judgement)>,
    /// What the user wants of every turn.
    pub preferences: &'a Preferences,
    /// What may be used; `None` is no limit.
    pub allowance: Option<Allowance<'a>>,
    /// Where the turn is in experiments; `None` where it is in none.
    pub placed: Option<&'a Placed>,
}

impl<'a> RouteQuery<'a> {
    /// The user's own last words.
    pub fn text(&self) -> &'a str {
        self.messages.last().map_or("", |last| last.text.as_str())
    }
}

/// What a router says.
#[derive(Debug, PartialEq)]
pub enum Opinion {
    Decided(RoutingDecision),
    /// No opinion, and why: the next rung is asked.
    Abstained(Cow<'static, str>),
}

impl Opinion {
    fn abstained(reason: &'static str) -> Self {
        Self::Abstained(Cow::Borrowed(reason))
    }
}

/// One rung of the ladder.
#[async_trait]
pub trait Router: Send + Sync {
    /// The rung's name in logs and stages.
    fn name(&self) -> &'static str;

    /// What the rung used is added to `tally`, also when it fails.
    async fn route(&self, query: &RouteQuery<'_>, tally: &mut Tally) -> Result<Opinion, Error>;
}

/// Why a rung could not say.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the routing model did not answer")]
    Model(#[from] crate::llm::Error),
    #[error("the routing model answered twice with something that is no decision")]
    NoDecision,
    #[error("earlier decisions cannot be looked up")]
    Cache(#[from] crate::store::Error),
}

/// How far up the ladder it has gone.
#[derive(Debug, Default)]
pub struct Climb {
    decision: Option<RoutingDecision>,
    rungs: Vec<Rung>,
    troubles: Vec<(&'static str, Error)>,
    tally: Tally,
    judgement: Judgement,
    /// How long the rules took, in microseconds.
    judging: u64,
}

impl Climb {
    /// What the rules demand, whoever decides.
    pub fn demands(&self) -> &Demands {
        &self.judgement.demands
    }

    /// True once a rung has decided.
    pub fn is_over(&self) -> bool {
        self.decision.is_some()
    }
}

/// What the ladder came to.
#[derive(Debug)]
pub struct Verdict {
    pub decision: RoutingDecision,
    /// What every rung said that was asked.
    pub rungs: Vec<Rung>,
    /// The rungs that failed before one decided: name and cause.
    pub troubles: Vec<(&'static str, Error)>,
    pub tally: Tally,
    /// What the rules came to.
    pub judgement: Judgement,
}

impl Verdict {
    /// A decision that took no rung.
    pub fn of(decision: RoutingDecision) -> Self {
        Self {
            decision,
            rungs: Vec::new(),
            troubles: Vec::new(),
            tally: Tally::default(),
            judgement: Judgement::default(),
        }
    }
}

/// The routers in the order they are asked; below them all, the default agent.
#[derive(Clone)]
pub struct Chain {
    rulebook: Rulebook,
    /// Those that know without asking a model.
    quick: Arc<[Box<dyn Router>]>,
    slow: Arc<[Box<dyn Router>]>,
    floor: DefaultRouter,
}

impl Chain {
    pub fn new(
        rulebook: Rulebook,
        quick: Vec<Box<dyn Router>>,
        slow: Vec<Box<dyn Router>>,
        registry: &Registry,
    ) -> Self {
        Self {
            rulebook,
            quick: quick.into(),
            slow: slow.into(),
            floor: DefaultRouter::new(registry),
        }
    }

    /// The rules that are tested on a request that is there in experiments.
    pub fn rulebook<'a>(&'a self, placed: Option<&'a Placed>) -> &'a Rulebook {
        let own = placed.and_then(|placed| placed.variant.rules.as_deref());
        own.unwrap_or(&self.rulebook)
    }

    /// What the rules come to for a request.
    pub fn judge(&self, query: &RouteQuery<'_>) -> Judgement {
        rules::judge(self.rulebook(query.placed), query)
    }

    /// Tests the rules, and asks the rungs that need no model.
    pub async fn begin(&self, query: &RouteQuery<'_>) -> Climb {
        let begun = Instant::now();
        let judgement = self.judge(query);
        let query = RouteQuery {
            judged: Some((self.rulebook(query.placed), &judgement)),
            ..*query
        };
        let so_far = Climb {
            judgement: judgement.clone(),
            judging: micros(begun),
            ..Climb::default()
        };
        climb(&self.quick, &query, so_far).await
    }

    /// Asks the rest. There is always a decision.
    pub async fn finish(&self, query: &RouteQuery<'_>, begun: Climb) -> Verdict {
        let begun = if begun.is_over() {
            begun
        } else {
            climb(&self.slow, query, begun).await
        };
        let mut rungs = begun.rungs;
        let decision = begun.decision.unwrap_or_else(|| {
            rungs.push(Rung {
                name: Cow::Borrowed("default"),
                verdict: RungVerdict::Decided,
                reason: Cow::Borrowed("nothing else decided"),
                micros: 0,
            });
            begun
                .judgement
                .allowed(self.floor.decision(query.preferences))
        });
        Verdict {
            decision,
            rungs,
            troubles: begun.troubles,
            tally: begun.tally,
            judgement: begun.judgement,
        }
    }

    /// Asks the model alone, whatever the rungs before it would say: to compare with what they said.
    pub async fn second_opinion(&self, query: &RouteQuery<'_>) -> Verdict {
        self.finish(query, Climb::default()).await
    }

    /// Asks rung by rung. There is always a decision.
    pub async fn decide(&self, query: &RouteQuery<'_>) -> Verdict {
        let begun = self.begin(query).await;
        self.finish(query, begun).await
    }
}

/// Why a decision does not count.
const NOT_WANTED: &str = "the user does not want that agent";

/// A decision, as far as the user's preferences let it be. Whoever names an agent that they blocked is told so; all other
/// rungs go on to the next.
fn wanted(mut decision: RoutingDecision, preferences: &Preferences) -> Option<RoutingDecision> {
    match &decision.plan {
        Plan::Single(Assignment { agent, .. }) if preferences.blocks(agent) => {
            if decision.source != DecisionSource::Explicit {
                return None;
            }
            decision.plan = Plan::Blocked(agent.clone());
        }
        // Of several agents, the others go on.
        Plan::Steps(_)
            if decision
                .plan
                .agents()
                .all(|agent| preferences.blocks(agent)) =>
        {
            return None;
        }
        Plan::Clarify(agents) => {
            let mut left = agents.iter().filter(|agent| !preferences.blocks(agent));
            match (left.next(), left.next()) {
                (None, _) => return None,
                (Some(only), None) => decision.plan = Plan::Single(Assignment::plain(only)),
                _ => {}
            }
        }
        _ => {}
    }
    Some(decision)
}

async fn climb(rungs: &[Box<dyn Router>], query: &RouteQuery<'_>, mut so_far: Climb) -> Climb {
    for rung in rungs {
        let begun = Instant::now();
        let asked = rung.route(query, &mut so_far.tally);
        let said = telemetry::within(telemetry::rung(rung.name()), asked).await;
        let (verdict, reason) = match said {
            Ok(Opinion::Decided(decision)) => match wanted(decision, query.preferences) {
                Some(decision) => {
                    so_far.decision = Some(so_far.judgement.allowed(decision));
                    (RungVerdict::Decided, Cow::Borrowed(""))
                }
                None => (RungVerdict::Abstained, Cow::Borrowed(NOT_WANTED)),
            },
            Ok(Opinion::Abstained(reason)) => (RungVerdict::Abstained, reason),
            Err(error) => {
                let reason = error.to_string();
                so_far.troubles.push((rung.name(), error));
                (RungVerdict::Failed, Cow::Owned(reason))
            }
        };
        so_far.rungs.push(Rung {
            name: Cow::Borrowed(rung.name()),
            verdict,
            reason,
            micros: if rung.name() == RuleRouter::NAME {
                micros(begun).saturating_add(so_far.judging)
            } else {
                micros(begun)
            },
        });
        if so_far.is_over() {
            break;
        }
    }
    so_far
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rungs = self.quick.iter().chain(&*self.slow);
        f.debug_list()
            .entries(rungs.map(|rung| rung.name()))
            .finish()
    }
}
