//! The rules of the agents file: the first whose condition holds decides.

use async_trait::async_trait;

use super::{Error, Opinion, RouteQuery, Router};
use crate::domain::condition::Rule;
use crate::domain::plan::{DecisionSource, RoutingDecision};
use crate::domain::usage::Tally;

/// The rung that an administrator wrote.
#[derive(Clone, Debug)]
pub struct RuleRouter {
    rules: Vec<Rule>,
}

impl RuleRouter {
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }
}

#[async_trait]
impl Router for RuleRouter {
    fn name(&self) -> &'static str {
        "rule"
    }

    async fn route(&self, query: &RouteQuery<'_>, _: &mut Tally) -> Result<Opinion, Error> {
        let text = query.text();
        let fired = (self.rules.iter().enumerate()).find(|(_, rule)| rule.condition.holds(text));
        Ok(match fired {
            Some((at, rule)) => Opinion::Decided(RoutingDecision::plain(
                &rule.agent,
                DecisionSource::Rule,
                format!("rule {}: {}", at + 1, rule.written),
            )),
            None => Opinion::abstained("no rule applies"),
        })
    }
}
