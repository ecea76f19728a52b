//! Who answers? A ladder of routers, cheapest first: the first opinion wins.

mod about;
mod cache;
mod explicit;
mod fallback;
mod model;
mod prompt;
mod rules;
mod shortlist;
mod sticky;

pub use about::AboutRouter;
pub use cache::{CacheRouter, DecisionCache};
pub use explicit::ExplicitRouter;
pub use fallback::DefaultRouter;
pub use model::ModelRouter;
pub use rules::RuleRouter;
pub use shortlist::Shortlist;
pub use sticky::StickyRouter;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::domain::agent::Registry;
use crate::domain::conversation::Last;
use crate::domain::ids::AgentId;
use crate::domain::message::Message;
use crate::domain::plan::{RoutingDecision, Rung, RungVerdict};
use crate::domain::turn::Caller;
use crate::domain::usage::Tally;
use crate::telemetry;

/// What a router may look at.
#[derive(Debug)]
pub struct RouteQuery<'a> {
    /// Never empty; the last one is the user's.
    pub messages: &'a [Message],
    pub caller: &'a Arc<Caller>,
    pub deadline: Instant,
    /// Whose decisions may be used again.
    pub tenant: &'a str,
    /// The agent that the request's configuration names.
    pub choice: Option<&'a AgentId>,
    /// How the turn before this one ended; `None` where there was none.
    pub last: Option<&'a Last>,
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
}

impl Climb {
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
}

impl Verdict {
    /// A decision that took no rung.
    pub fn of(decision: RoutingDecision) -> Self {
        Self {
            decision,
            rungs: Vec::new(),
            troubles: Vec::new(),
            tally: Tally::default(),
        }
    }
}

/// The routers in the order they are asked; below them all, the default agent.
#[derive(Clone)]
pub struct Chain {
    /// Those that know without asking a model.
    quick: Arc<[Box<dyn Router>]>,
    slow: Arc<[Box<dyn Router>]>,
    floor: DefaultRouter,
}

impl Chain {
    pub fn new(
        quick: Vec<Box<dyn Router>>,
        slow: Vec<Box<dyn Router>>,
        registry: &Registry,
    ) -> Self {
        Self {
            quick: quick.into(),
            slow: slow.into(),
            floor: DefaultRouter::new(registry),
        }
    }

    /// Asks the rungs that need no model.
    pub async fn begin(&self, query: &RouteQuery<'_>) -> Climb {
        climb(&self.quick, query, Climb::default()).await
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
            self.floor.decision()
        });
        Verdict {
            decision,
            rungs,
            troubles: begun.troubles,
            tally: begun.tally,
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

async fn climb(rungs: &[Box<dyn Router>], query: &RouteQuery<'_>, mut so_far: Climb) -> Climb {
    for rung in rungs {
        let begun = Instant::now();
        let asked = rung.route(query, &mut so_far.tally);
        let said = telemetry::within(telemetry::rung(rung.name()), asked).await;
        let (verdict, reason) = match said {
            Ok(Opinion::Decided(decision)) => {
                so_far.decision = Some(decision);
                (RungVerdict::Decided, Cow::Borrowed(""))
            }
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
            micros: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        });
        if so_far.is_over() {
            break;
        }
    }
    so_far
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rungs = self.quick.iter().chain(&*self.slow);
        f.debug_list()
            .entries(rungs.map(|rung| rung.name()))
            .finish()
    }
}
