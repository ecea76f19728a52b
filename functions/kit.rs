//! What coordinators are made from: the first one, and those that follow it when the agents change.

use std::sync::Arc;

use coordinator::context::facts;
use coordinator::coordinator::Coordinator;
use coordinator::domain::access::Way;
use coordinator::domain::budget::Budget;
use coordinator::domain::ids::Clock;
use coordinator::domain::money::Money;
use coordinator::domain::rules::Quotas;
use coordinator::experiments::Experiments;
use coordinator::facts::Extractor;
use coordinator::gateway::assertion::Signer;
use coordinator::gateway::{Gateways, Reach};
use coordinator::guard::Guard;
use coordinator::hooks::Hooks;
use coordinator::http;
use coordinator::llm::Models;
use coordinator::orchestrate::{Agents, Comparer, Judge, Likely};
use coordinator::route::{
    AboutRouter, CacheRouter, Chain, DecisionCache, ExplicitRouter, ModelRouter, PreferenceRouter,
    Router, RuleRouter, StickyRouter,
};
use coordinator::settings::{Roster, Settings};
use coordinator::store::envelope::Seal;
use coordinator::store::{Accounts, Decisions, Table, Trials, Wishes};
use coordinator::stream::Nesting;
use coordinator::synthesize::Synthesizer;
use coordinator::upstream::Client;

use super::{Shared, audit, quotas};

/// What coordinators are made from, the first one and those that follow it when the agents change.
pub struct Kit {
    pub settings: Settings,
    pub client: Client,
    pub guard: Arc<Guard>,
    pub models: Models,
    /// Says to agents who calls.
    pub signer: Option<Arc<Signer>>,
    pub table: Table,
    pub seal: Seal,
}

impl Kit {
    pub fn coordinator(&self, roster: Roster, shared: &Shared) -> Result<Coordinator, String> {
        let settings = &self.settings;
        let (chain, cache) = self.ladder(&roster, None);
        let known = shared.accounts.clone();
        let accounts = Accounts::of(&self.table, quotas(settings), settings.state_ttl, known);
        Ok(Coordinator {
            chain,
            cache,
            likely: settings.routing.guess.map(Likely::new).map(Arc::new),
            routing: settings.routing,
            synthesis: settings.synthesis,
            metrics: Arc::clone(&shared.metrics),
            agents: self.agents(&roster, None)?,
            experiments: Experiments::new(
                roster.experiments.clone(),
                Trials::of(&self.table),
                Clock::new(http::clock),
                settings.times.store,
            ),
            hooks: self.hooks(&roster),
            extractor: self.extractor(&roster),
            comparer: Comparer::new(self.models.clone(), &settings.routing_model),
            judge: Judge::new(self.models.clone()),
            synthesizer: Synthesizer::new(self.models.clone(), &settings.synthesis_model),
            wishes: Wishes::of(&self.table, &accounts, shared.wishes.clone()),
            accounts,
            audit: audit(settings, &self.table, &self.seal),
            prices: settings.prices.clone(),
            budget: Budget {
                dollars: settings.quotas.turn.map(Money),
                ..Budget::default()
            },
            experience: Arc::default(),
            // Where everybody is trusted and nobody limited, there is nobody to keep from it.
            account_first: settings.openai_base_url.is_some()
                && (settings.callers.ways != [Way::None] || settings.quotas != Quotas::default()),
            table: self.table.clone(),
            guard: Arc::clone(&self.guard),
            seal: self.seal.clone(),
            times: settings.times,
            retention: settings.state_ttl,
            trust_legacy_sessions: settings.legacy_sessions,
            caps: settings.caps,
            log_content: settings.log_content,
            registry: roster.registry,
        })
    }

    /// The coordinator of other agents. All that counts, learns or remembers is the old one's.
    pub fn renewed(&self, old: &Coordinator, roster: Roster) -> Result<Coordinator, String> {
        let (chain, cache) = self.ladder(&roster, old.cache.as_deref());
        Ok(Coordinator {
            chain,
            cache,
            agents: self.agents(&roster, Some(&old.agents.gateways))?,
            experiments: old.experiments.renewed(roster.experiments.clone()),
            hooks: self.hooks(&roster),
            extractor: self.extractor(&roster),
            registry: roster.registry,
            ..old.clone()
        })
    }

    /// Who looks on.
    fn hooks(&self, roster: &Roster) -> Arc<Hooks> {
        Arc::new(Hooks::connect(&roster.hooks, &self.client, &self.guard))
    }

    /// What looks for facts, where some agent may be told any.
    fn extractor(&self, roster: &Roster) -> Option<Extractor> {
        let kinds = facts::kinds(&roster.registry);
        let times = self.settings.facts.filter(|_| !kinds.is_empty())?;
        let model = &self.settings.routing_model;
        Some(Extractor::new(self.models.clone(), model, kinds, times))
    }

    /// How agents are called: those that are as they were, by what was known of them.
    fn agents(&self, roster: &Roster, old: Option<&Gateways>) -> Result<Agents, String> {
        let settings = &self.settings;
        let reach = Reach {
            client: self.client.clone(),
            core: settings.dial_url.clone(),
            first_byte: settings.times.agent_first_byte,
            idle: settings.times.stream_idle,
            guard: Arc::clone(&self.guard),
            dwell: settings.times.failover_dwell,
            signer: self.signer.clone(),
        };
        Ok(Agents {
            gateways: Gateways::connect(&roster.registry, &reach, old)?,
            nesting: if settings.nested_stages {
                Nesting::Nested
            } else {
                Nesting::Flat
            },
            caps: settings.caps,
        })
    }

    /// The routing ladder, from the settings: what costs nothing is asked first. What is kept of earlier decisions goes on.
    fn ladder(
        &self,
        roster: &Roster,
        kept: Option<&DecisionCache>,
    ) -> (Chain, Option<Arc<DecisionCache>>) {
        let (registry, settings) = (&roster.registry, &self.settings);
        let routing = settings.routing;
        let listed = registry.listed();
        let model = ModelRouter::new(
            self.models.clone(),
            &settings.routing_model,
            &listed,
            settings.caps,
            routing.floor,
        );
        let cache = routing.cache.map(|_| {
            let registered = registry.version();
            let version = format!("{}\n{:?}\n{registered}", model.version(), roster.rulebook);
            Arc::new(match kept {
                Some(kept) => kept.renewed(registry, &version),
                None => DecisionCache::new(
                    Decisions::of(&self.table, self.seal.keyring("decisions")),
                    Clock::new(http::clock),
                    &routing,
                    settings.times.store / 4,
                    registry,
                    &version,
                ),
            })
        });
        let mut quick: Vec<Box<dyn Router>> = vec![
            Box::new(PreferenceRouter::new(registry)),
            Box::new(ExplicitRouter::new(registry)),
            Box::new(RuleRouter),
            Box::new(AboutRouter),
        ];
        if let Some(words) = routing.sticky {
            quick.push(Box::new(StickyRouter::new(registry, words)));
        }
        if let Some(cache) = &cache {
            quick.push(Box::new(CacheRouter(Arc::clone(cache))));
        }
        let rulebook = roster.rulebook.clone();
        let chain = Chain::new(rulebook, quick, vec![Box::new(model)], &listed);
        (chain, cache)
    }
}
