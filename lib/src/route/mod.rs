//! Who answers? A chain of routers: the first opinion wins.

mod fallback;
mod model;

pub use fallback::DefaultRouter;
pub use model::ModelRouter;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::domain::agent::Registry;
use crate::domain::message::Message;
use crate::domain::plan::RoutingDecision;
use crate::domain::turn::Caller;
use crate::domain::usage::Tally;
use crate::telemetry;

/// What a router may look at.
#[derive(Debug)]
pub struct RouteQuery<'a> {
    pub messages: &'a [Message],
    pub caller: &'a Arc<Caller>,
    pub deadline: Instant,
}

/// One rung of the ladder.
#[async_trait]
pub trait Router: Send + Sync {
    /// The rung's name in logs and stages.
    fn name(&self) -> &'static str;

    /// `None` is "no opinion": the next rung is asked. What the rung used is added to `tally`, also when it fails.
    async fn route(
        &self,
        query: &RouteQuery<'_>,
        tally: &mut Tally,
    ) -> Result<Option<RoutingDecision>, Error>;
}

/// Why a rung could not say.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the routing model did not answer")]
    Model(#[from] crate::llm::Error),
    #[error("the routing model answered twice with something that is no decision")]
    NoDecision,
}

/// What the ladder came to.
#[derive(Debug)]
pub struct Verdict {
    pub decision: RoutingDecision,
    /// The rungs that failed before one decided: name and cause.
    pub troubles: Vec<(&'static str, Error)>,
    pub tally: Tally,
}

impl Verdict {
    /// A decision that took no rung.
    pub fn of(decision: RoutingDecision) -> Self {
        Self {
            decision,
            troubles: Vec::new(),
            tally: Tally::default(),
        }
    }
}

/// The routers in the order they are asked; below them all, the default agent.
pub struct Chain {
    rungs: Vec<Box<dyn Router>>,
    floor: DefaultRouter,
}

impl Chain {
    pub fn new(rungs: Vec<Box<dyn Router>>, registry: &Registry) -> Self {
        Self {
            rungs,
            floor: DefaultRouter::new(registry),
        }
    }

    /// Asks rung by rung. There is always a decision.
    pub async fn decide(&self, query: &RouteQuery<'_>) -> Verdict {
        let mut tally = Tally::default();
        let mut troubles = Vec::new();
        for rung in &self.rungs {
            let asked = rung.route(query, &mut tally);
            match telemetry::within(telemetry::rung(rung.name()), asked).await {
                Ok(Some(decision)) => {
                    return Verdict {
                        decision,
                        troubles,
                        tally,
                    };
                }
                Ok(None) => {}
                Err(error) => troubles.push((rung.name(), error)),
            }
        }
        Verdict {
            decision: self.floor.decision(),
            troubles,
            tally,
        }
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.rungs.iter().map(|rung| rung.name()))
            .finish()
    }
}
