//! What the model decided before for the same words in the same place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use super::{Error, Opinion, RouteQuery, Router};
use crate::domain::agent::{Effect, Registry};
use crate::domain::ids::{AgentId, Clock, Millis};
use crate::domain::message::Role;
use crate::domain::plan::{DecisionSource, Kept, NOT_LOOKED_UP, RoutingDecision};
use crate::domain::rules::Routing;
use crate::domain::usage::Tally;
use crate::store::{self, Decision, Decisions};

/// As many decisions are kept in this process; when there are more, those that are looked up again come from the table.
const KEPT: usize = 4096;
/// For how long this process does not ask the table again: by then it has heard of what another one took back.
const FRESH: Duration = Duration::from_mins(1);
/// The certainty that is enough where no floor is set, in percent.
const LEAST: u32 = 50;
/// A longer message is hardly ever said twice.
const LONGEST: usize = 500;

/// Decisions that may be used again: in the table, with a front in this process.
#[derive(Debug)]
pub struct DecisionCache {
    table: Decisions,
    clock: Clock,
    ttl: Duration,
    /// How long the table may take: a model takes longer, and can always be asked.
    within: Duration,
    /// What the model was less certain of is not kept.
    floor: f64,
    agents: Vec<AgentId>,
    /// Of prompt, schema, model and rules: what was decided by others is not used.
    version: String,
    front: Arc<Front>,
}

/// What this process knows, by name: names hold the version, so that what is not in force is not found.
type Front = Mutex<HashMap<String, (Decision, Millis)>>;

impl DecisionCache {
    /// `version` is everything that a decision depends on beside the request.
    pub fn new(
        table: Decisions,
        clock: Clock,
        routing: &Routing,
        within: Duration,
        registry: &Registry,
        version: &str,
    ) -> Self {
        Self {
            version: table.name(&[version]),
            table,
            clock,
            ttl: routing.cache.unwrap_or_default(),
            within,
            floor: f64::from(routing.floor.unwrap_or(LEAST)) / 100.0,
            agents: registry.iter().map(|card| card.id.clone()).collect(),
            front: Arc::default(),
        }
    }

    /// The same for other agents: what is kept for those that are as they were is found again.
    #[must_use]
    pub fn renewed(&self, registry: &Registry, version: &str) -> Self {
        Self {
            table: self.table.clone(),
            clock: self.clock.clone(),
            agents: registry.iter().map(|card| card.id.clone()).collect(),
            version: self.table.name(&[version]),
            front: Arc::clone(&self.front),
            ..*self
        }
    }

    /// The name of what is asked; `None` for what is not worth keeping.
    fn name(&self, query: &RouteQuery<'_>) -> Option<String> {
        let (last, earlier) = query.messages.split_last()?;
        // What was decided for one person's taste is nobody else's.
        if query.preferences.steer() {
            return None;
        }
        // What the model is shown beside these words must be in the name, or not be there: another conversation would
        // find what was decided for this one.
        let alone = !query
            .messages
            .iter()
            .any(|message| message.role == Role::System)
            && (earlier.is_empty() || query.last.is_some());
        if last.text.len() > LONGEST || !alone {
            return None;
        }
        let words: Vec<&str> = last.text.split_whitespace().collect();
        let text = words.join(" ").to_lowercase();
        let text = text.trim_end_matches(['.', '!', '?', '\u{2026}', ' ']);
        let mut kinds: Vec<&str> = (last.attachments.iter())
            .map(|file| file.media_type.as_deref().unwrap_or("text/markdown"))
            .collect();
        kinds.sort_unstable();
        // Without the agent before, most follow-ups would find another conversation's.
        let (before, asks) = query.last.map_or(("", false), |last| {
            (last.agent.as_ref().map_or("-", AgentId::as_str), last.asks)
        });
        let parts = [
            query.tenant,
            &self.version,
            text,
            before,
            if asks { "asks" } else { "" },
            &kinds.join(","),
            query.placed.map_or("", |placed| placed.routing.as_str()),
        ];
        (!text.is_empty() || !kinds.is_empty()).then(|| self.table.name(&parts))
    }

    /// What was decided before under this name, and where that was found.
    async fn find(
        &self,
        tenant: &str,
        name: String,
    ) -> Result<Option<(Decision, Kept)>, store::Error> {
        let now = self.clock.now();
        let known = self.lock().get(&name).cloned();
        if let Some((decision, seen)) = known
            && now.since(seen) < FRESH
            && decision.until > now
        {
            let age = now.since(decision.at);
            return Ok(Some((decision, Kept { near: true, age })));
        }
        let found = timeout(self.within, self.table.find(tenant, &name, now)).await;
        let found = found.unwrap_or(Err(store::Error::Slow))?;
        let Some(decision) = found.filter(|found| self.agents.contains(&found.agent)) else {
            self.lock().remove(&name);
            return Ok(None);
        };
        self.remember(name, decision.clone(), now);
        let age = now.since(decision.at);
        Ok(Some((decision, Kept { near: false, age })))
    }

    /// Keeps what the model decided. Only a decision that says nothing but the agent can be used again.
    pub async fn keep(
        &self,
        query: &RouteQuery<'_>,
        decision: &RoutingDecision,
    ) -> Result<(), store::Error> {
        let assignment = decision.assignment();
        let Some(agent) = assignment
            .filter(|assignment| assignment.is_plain())
            // What would do harm is judged anew each time.
            .filter(|assignment| {
                assignment
                    .effect
                    .is_none_or(|effect| effect == Effect::None)
            })
            .filter(|_| decision.source == DecisionSource::Model)
            // Nobody shares a doubt, and an agent does not decide for people.
            .filter(|_| decision.confidence.is_some_and(|sure| sure >= self.floor))
            .filter(|_| query.caller.depth == 0)
            .map(|assignment| assignment.agent.clone())
        else {
            return Ok(());
        };
        let (Some(name), now) = (self.name(query), self.clock.now()) else {
            return Ok(());
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and 1"
        )]
        let percent = |confidence: f64| (confidence * 100.0).round() as u64;
        let kept = Decision {
            agent,
            percent: decision.confidence.map(percent),
            at: now,
            until: now.plus(self.ttl),
        };
        self.remember(name.clone(), kept.clone(), now);
        self.table.put(query.tenant, &name, &kept).await
    }

    /// Takes a decision back that turned out badly.
    pub async fn forget(&self, query: &RouteQuery<'_>) -> Result<(), store::Error> {
        let Some(name) = self.name(query) else {
            return Ok(());
        };
        self.lock().remove(&name);
        self.table.remove(query.tenant, &name).await
    }

    fn remember(&self, name: String, decision: Decision, now: Millis) {
        let mut front = self.lock();
        if front.len() >= KEPT && !front.contains_key(&name) {
            front.retain(|_, (_, seen)| now.since(*seen) < FRESH);
            if front.len() >= KEPT {
                front.clear();
            }
        }
        front.insert(name, (decision, now));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Decision, Millis)>> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rung that remembers.
#[derive(Clone, Debug)]
pub struct CacheRouter(pub Arc<DecisionCache>);

#[async_trait]
impl Router for CacheRouter {
    fn name(&self) -> &'static str {
        "cache"
    }

    async fn route(&self, query: &RouteQuery<'_>, _: &mut Tally) -> Result<Opinion, Error> {
        let Some(name) = self.0.name(query) else {
            return Ok(Opinion::abstained(NOT_LOOKED_UP));
        };
        let Some((decision, kept)) = self.0.find(query.tenant, name).await? else {
            return Ok(Opinion::abstained("not decided before"));
        };
        let mut known = RoutingDecision::plain(
            &decision.agent,
            DecisionSource::Cache,
            "the model decided so for the same words before",
        );
        known.confidence = decision
            .percent
            .and_then(|percent| Some(f64::from(u32::try_from(percent).ok()?) / 100.0));
        known.kept = Some(kept);
        Ok(Opinion::Decided(known))
    }
}
