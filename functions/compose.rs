//! Settings into an application: the one place where adapters meet.

use std::sync::Arc;

use coordinator::coordinator::Coordinator;
use coordinator::domain::access::Way;
use coordinator::domain::ids::{Clock, TurnId};
use coordinator::domain::rules::Quotas;
use coordinator::gateway::{Gateways, Reach};
use coordinator::guard::Guard;
use coordinator::http::auth::Auth;
use coordinator::http::error::Statuses;
use coordinator::http::{self, App, Live};
use coordinator::llm::{Models, Provider};
use coordinator::metrics::Metrics;
use coordinator::orchestrate::{Agents, Likely};
use coordinator::privacy::Privacy;
use coordinator::registry::{Directory, Patience, Source};
use coordinator::route::{
    AboutRouter, CacheRouter, Chain, DecisionCache, ExplicitRouter, ModelRouter, Router,
    RuleRouter, StickyRouter,
};
use coordinator::settings::{Env, Place, Roster, Settings};
use coordinator::store::aws::Service;
use coordinator::store::envelope::Seal;
use coordinator::store::secrets::{self, Reference};
use coordinator::store::{self, Accounts, Audit, Breakers, Decisions, Entries, Known, Table, Wire};
use coordinator::stream::Nesting;
use coordinator::synthesize::Synthesizer;
use coordinator::upstream::{Bounds, Certificates, Client};
use tokio::sync::watch;

pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The settings of this process, with every secret that a variable only points to.
pub async fn settings(mut env: Env) -> Result<Settings, Failed> {
    let references: Vec<(String, Reference)> = env
        .iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Reference::parse(value)?)))
        .collect();
    if !references.is_empty() {
        let certificates = env
            .get("SSL_CERT_FILE")
            .map(Certificates::read)
            .transpose()?;
        let secrets = secrets::fetch(
            &references,
            env.get("AWS_ENDPOINT_URL_SECRETS_MANAGER"),
            certificates.as_ref().map(Certificates::pem),
        )
        .await?;
        for ((name, _), secret) in references.iter().zip(secrets) {
            env.set(name, secret.expose());
        }
    }
    Ok(Settings::read(&env)?)
}

/// Builds everything a request needs. Nothing is called yet, so a start never depends on an agent.
pub async fn app(settings: &Settings, metrics: Metrics) -> Result<Arc<App>, Failed> {
    beside(settings, Shared::new(metrics, watch::Sender::default())).await
}

/// What the applications of one process share.
#[derive(Clone)]
pub struct Shared {
    metrics: Arc<Metrics>,
    accounts: Known,
    /// Wakes those who keep their agents fresh: one of the process has changed them, or somebody asked for it.
    stirred: watch::Sender<()>,
}

impl Shared {
    /// `stirred` wakes all of them, to look for changed agents.
    pub fn new(metrics: Metrics, stirred: watch::Sender<()>) -> Self {
        Self {
            metrics: Arc::new(metrics),
            accounts: Known::default(),
            stirred,
        }
    }
}

/// Builds an application beside others of the same process.
pub async fn beside(settings: &Settings, shared: Shared) -> Result<Arc<App>, Failed> {
    let seal = seal(settings)?;
    let certificates = certificates(settings)?;
    let pem = certificates.as_ref().map(Certificates::pem);
    let service = service(settings, pem).await;
    let table = table(settings, certificates.as_ref()).await;
    let client = client(settings, certificates.unwrap_or_default())?;
    let guard = Arc::new(Guard::new(
        settings.breaker,
        Breakers::of(&table),
        Clock::new(http::clock),
        TurnId::now().random(),
    ));
    let auth = Auth::new(
        &settings.callers,
        &client,
        settings.dial_url.as_deref(),
        &settings.deployments,
    );
    warn(settings);
    let source = Source {
        place: settings.place.clone(),
        service,
        client: client.clone(),
        core: settings.dial_url.clone(),
        clock: Clock::new(http::clock),
    };
    let kit = Kit {
        models: models(settings, &client, &guard),
        settings: settings.clone(),
        client,
        guard,
        table,
        seal,
    };
    let opening = Directory::open(
        source,
        Entries::of(&kit.table),
        settings.env.clone(),
        settings.refresh,
        Patience(settings.times.store * 4),
        |roster| kit.coordinator(roster, &shared),
    );
    let (directory, coordinator) = Box::pin(opening).await?;
    let privacy = privacy(&coordinator);
    let stirred = shared.stirred;
    let renew = Box::new(move |old: &Coordinator, roster| kit.renewed(old, roster));
    Ok(App::new(
        Live::new(coordinator, directory, renew, stirred),
        privacy,
        auth,
        settings.times,
        settings.caps,
        settings.quotas.depth,
        Statuses::new(
            settings.rate_limit_status,
            settings.failed_agent_status,
            settings.times.retry_after,
        ),
    ))
}

/// What coordinators are made from, the first one and those that follow it when the agents change.
struct Kit {
    settings: Settings,
    client: Client,
    guard: Arc<Guard>,
    models: Models,
    table: Table,
    seal: Seal,
}

impl Kit {
    fn coordinator(&self, roster: Roster, shared: &Shared) -> Result<Coordinator, String> {
        let settings = &self.settings;
        let (chain, cache) = self.ladder(&roster, None);
        Ok(Coordinator {
            chain,
            cache,
            likely: settings.routing.guess.map(Likely::new).map(Arc::new),
            routing: settings.routing,
            synthesis: settings.synthesis,
            metrics: Arc::clone(&shared.metrics),
            agents: self.agents(&roster)?,
            synthesizer: Synthesizer::new(self.models.clone(), &settings.synthesis_model),
            accounts: Accounts::of(
                &self.table,
                quotas(settings),
                settings.state_ttl,
                shared.accounts.clone(),
            ),
            audit: audit(settings, &self.table, &self.seal),
            prices: settings.prices.clone(),
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
    fn renewed(&self, old: &Coordinator, roster: Roster) -> Result<Coordinator, String> {
        let (chain, cache) = self.ladder(&roster, old.cache.as_deref());
        Ok(Coordinator {
            chain,
            cache,
            agents: self.agents(&roster)?,
            registry: roster.registry,
            ..old.clone()
        })
    }

    /// How agents are called.
    fn agents(&self, roster: &Roster) -> Result<Agents, String> {
        let settings = &self.settings;
        let reach = Reach {
            client: self.client.clone(),
            core: settings.dial_url.clone(),
            first_byte: settings.times.agent_first_byte,
            idle: settings.times.stream_idle,
            guard: Arc::clone(&self.guard),
            dwell: settings.times.failover_dwell,
        };
        Ok(Agents {
            gateways: Gateways::connect(&roster.registry, &reach)?,
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
        let model = ModelRouter::new(
            self.models.clone(),
            &settings.routing_model,
            registry,
            settings.caps,
            routing.floor,
        );
        let cache = routing.cache.map(|_| {
            let registered = registry.version();
            let version = format!("{}\n{:?}\n{registered}", model.version(), roster.rules);
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
            Box::new(ExplicitRouter::new(registry)),
            Box::new(RuleRouter::new(roster.rules.clone())),
            Box::new(AboutRouter),
        ];
        if let Some(words) = routing.sticky {
            quick.push(Box::new(StickyRouter::new(registry, words)));
        }
        if let Some(cache) = &cache {
            quick.push(Box::new(CacheRouter(Arc::clone(cache))));
        }
        (Chain::new(quick, vec![Box::new(model)], registry), cache)
    }
}

/// The service of AWS that has the document of agents, if one has.
async fn service(settings: &Settings, pem: Option<&str>) -> Option<Service> {
    let endpoint = match &settings.place {
        Place::S3 { .. } => &settings.s3_endpoint,
        Place::Ssm(_) => &settings.ssm_endpoint,
        _ => return None,
    };
    Some(Service::reach(endpoint.as_deref(), pem).await)
}

/// How models are called.
fn models(settings: &Settings, client: &Client, guard: &Arc<Guard>) -> Models {
    Models {
        client: client.clone(),
        provider: provider(settings),
        first_byte: settings.times.model_first_byte,
        idle: settings.times.stream_idle,
        guard: Arc::clone(guard),
    }
}

/// Whom to trust beside the built-in roots.
pub fn certificates(settings: &Settings) -> Result<Option<Certificates>, Failed> {
    let file = settings.certificates.as_deref();
    Ok(file.map(Certificates::read).transpose()?)
}

/// The table, with the limits of the settings.
pub async fn table(settings: &Settings, certificates: Option<&Certificates>) -> Table {
    let wire = Wire {
        endpoint: settings.dynamodb_endpoint.as_deref(),
        pem: certificates.map(Certificates::pem),
        attempt: settings.times.store,
        idle: settings.times.pool_idle,
        clock: Clock::new(http::clock),
    };
    store::connect_by(&settings.table, wire).await
}

/// What calls models, agents and DIAL Core.
fn client(settings: &Settings, certificates: Certificates) -> Result<Client, Failed> {
    Ok(Client::new(&Bounds {
        connect: settings.times.connect,
        pool_idle: settings.times.pool_idle,
        retry_reserve: settings.times.retry_reserve,
        caps: settings.caps,
        networks: settings.private_networks.clone(),
        clock: Clock::new(http::clock),
        certificates,
        ..Bounds::default()
    })?)
}

/// Where models come from.
fn provider(settings: &Settings) -> Provider {
    match (&settings.openai_base_url, &settings.dial_url) {
        (Some(base), _) => Provider::OpenAi {
            base: base.clone(),
            key: settings.openai_api_key.clone(),
        },
        (None, core) => Provider::Core {
            url: core.clone().unwrap_or_default(),
        },
    }
}

/// What is for development only says so at each start.
fn warn(settings: &Settings) {
    if settings.log_content {
        tracing::warn!(
            "MAS_LOG_CONTENT=on: what people and agents say is logged at level debug; never where real people talk"
        );
    }
    if settings.callers.ways.contains(&Way::None) {
        tracing::warn!(
            "MAS_AUTH=none: every caller is trusted and all share one memory; for development only"
        );
    }
}

/// The keys of the message states; other keys are derived from them.
pub fn seal(settings: &Settings) -> Result<Seal, Failed> {
    let Some(keys) = &settings.state_keys else {
        return Err(
            "MAS_STATE_KEYS is not set, expected kid:base64 pairs of at least 32 bytes; \
                    `openssl rand -base64 32` makes one"
                .into(),
        );
    };
    let seal =
        Seal::parse(keys.expose()).map_err(|problem| format!("MAS_STATE_KEYS: {problem}"))?;
    Ok(seal.capped(settings.caps.state))
}

/// What a turn writes to, for those who export and erase it.
fn privacy(coordinator: &Coordinator) -> Privacy {
    Privacy {
        table: coordinator.table.clone(),
        accounts: coordinator.accounts.clone(),
        audit: coordinator.audit.clone(),
        gateways: coordinator.agents.gateways.clone(),
        keys: coordinator.seal.keyring("export"),
        retention: coordinator.retention,
        clock: Clock::new(http::clock),
    }
}

/// The audit log of a table.
pub fn audit(settings: &Settings, table: &Table, seal: &Seal) -> Audit {
    let keys = seal.keyring("audit");
    Audit::new(
        table,
        keys,
        settings.audit_ttl,
        Clock::new(http::clock),
        TurnId::now(),
    )
}

/// Where everybody is the same person, the limits of one person are no use.
fn quotas(settings: &Settings) -> Quotas {
    if settings.callers.ways == [Way::None] && settings.quotas == Quotas::default() {
        return Quotas {
            requests: None,
            concurrent: None,
            ..Quotas::default()
        };
    }
    settings.quotas
}
