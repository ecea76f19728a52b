//! The rules of the configuration document: the first that holds and chooses an agent decides.

use std::borrow::Cow;

use async_trait::async_trait;

use super::{Error, Opinion, RouteQuery, Router};
use crate::domain::ids::AgentId;
use crate::domain::plan::{DecisionSource, RoutingDecision};
use crate::domain::rulebook::{Judgement, Rulebook};
use crate::domain::situation::{Asked, Files, Situation};
use crate::domain::usage::Tally;

/// The rung that an administrator wrote. The rules are tested before any rung is asked, since what they demand holds
/// whoever decides; here is what they choose.
#[derive(Clone, Copy, Debug)]
pub struct RuleRouter;

impl RuleRouter {
    pub(super) const NAME: &'static str = "rule";
}

/// Tests the rules on a request.
pub(super) fn judge(rulebook: &Rulebook, query: &RouteQuery<'_>) -> Judgement {
    let last = query.messages.last();
    let previous = query.last.and_then(|last| last.agent.as_ref());
    let judgement = rulebook.judge(&Situation::new(Asked {
        text: query.text(),
        files: Files::Sent(last.map_or(&[], |last| &last.attachments)),
        tenant: query.tenant,
        roles: query.roles,
        previous: previous.map(AgentId::as_str),
        depth: query.caller.depth,
        at: query.at,
        language: None,
    }));
    for (number, why) in judgement.failed() {
        tracing::warn!(route.rule = number, why, "a rule cannot be tested");
    }
    judgement
}

#[async_trait]
impl Router for RuleRouter {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    async fn route(&self, query: &RouteQuery<'_>, _: &mut Tally) -> Result<Opinion, Error> {
        let Some((rulebook, judgement)) = query.judged else {
            return Ok(Opinion::abstained("there are no rules"));
        };
        let Some((number, plan)) = &judgement.choice else {
            return Ok(Opinion::Abstained(abstention(judgement)));
        };
        let rule = number.checked_sub(1).and_then(|at| rulebook.rules.get(at));
        let written = rule.map_or("", |rule| rule.condition.written());
        Ok(Opinion::Decided(RoutingDecision {
            plan: plan.clone(),
            source: DecisionSource::Rule,
            confidence: None,
            rationale: format!("rule {number}: {written}"),
            request: None,
            kept: None,
        }))
    }
}

/// Why no rule chooses, and which of them could not be tested.
fn abstention(judgement: &Judgement) -> Cow<'static, str> {
    let failed: Vec<String> = (judgement.failed())
        .map(|(number, why)| format!("; rule {number} cannot be tested: {why}"))
        .collect();
    if failed.is_empty() {
        return Cow::Borrowed("no rule applies");
    }
    Cow::Owned(format!("no rule applies{}", failed.concat()))
}
