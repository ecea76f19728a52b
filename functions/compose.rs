//! Settings into an application: the one place where adapters meet.

use std::sync::Arc;

use coordinator::context::facts;
use coordinator::coordinator::{Coordinator, Experience};
use coordinator::domain::access::Way;
use coordinator::domain::budget::Budget;
use coordinator::domain::ids::{Clock, TurnId};
use coordinator::domain::money::Money;
use coordinator::domain::rules::Quotas;
use coordinator::facts::Extractor;
use coordinator::gateway::assertion::Signer;
use coordinator::gateway::{Gateways, Reach};
use coordinator::guard::Guard;
use coordinator::hooks::Hooks;
use coordinator::http::auth::Auth;
use coordinator::http::error::Statuses;
use coordinator::http::{self, App};
use coordinator::llm::{Models, Provider};
use coordinator::metrics::Metrics;
use coordinator::orchestrate::{Agents, Comparer, Likely};
use coordinator::privacy::Privacy;
use coordinator::route::{
    AboutRouter, CacheRouter, Chain, DecisionCache, ExplicitRouter, ModelRouter, PreferenceRouter,
    Router, RuleRouter, StickyRouter,
};
use coordinator::settings::document::{self, Source};
use coordinator::settings::{Env, Settings};
use coordinator::store::envelope::Seal;
use coordinator::store::secrets::{self, Reference};
use coordinator::store::{
    self, Accounts, Audit, Breakers, Decisions, Known, Seen, Table, Wire, Wishes,
};
use coordinator::stream::Nesting;
use coordinator::synthesize::Synthesizer;
use coordinator::upstream::{Bounds, Certificates, Client};

pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The settings of this process, with every secret that a variable only points to.
pub async fn settings(mut env: Env) -> Result<Settings, Failed> {
    let variables = env
        .iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Reference::parse(value)?)))
        .collect();
    fetch(&mut env, variables).await?;
    // A document that cannot be found is told of where it is read.
    let text = Source::find(&env).map_or_else(|_| String::new(), |source| source.text);
    keys(&mut env, &text).await?;
    Ok(Settings::read(&env)?)
}

/// Fetches the credentials that a document refers to, for whoever reads it with this environment.
pub async fn keys(env: &mut Env, document: &str) -> Result<(), Failed> {
    let keys = document::references(document).into_iter().map(|key| {
        let reference = Reference::parse(&key).ok_or_else(|| {
            format!("{key} is no reference to a secret, expected one of AWS Secrets Manager")
        });
        reference.map(|reference| (key, reference))
    });
    let keys = keys.collect::<Result<_, _>>()?;
    fetch(env, keys).await
}

/// Puts secrets into the environment, each under its name.
async fn fetch(env: &mut Env, references: Vec<(String, Reference)>) -> Result<(), Failed> {
    if references.is_empty() {
        return Ok(());
    }
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
    Ok(())
}

/// Builds everything a request needs. Nothing is called yet, so a start never depends on an agent.
pub async fn app(settings: &Settings, metrics: Metrics) -> Result<Arc<App>, Failed> {
    beside(settings, Shared::new(metrics)).await
}

/// What the applications of one process share.
#[derive(Clone)]
pub struct Shared {
    metrics: Arc<Metrics>,
    accounts: Known,
    wishes: Seen,
}

impl Shared {
    pub fn new(metrics: Metrics) -> Self {
        Self {
            metrics: Arc::new(metrics),
            accounts: Known::default(),
            wishes: Seen::default(),
        }
    }
}

/// Builds an application beside others of the same process.
pub async fn beside(settings: &Settings, shared: Shared) -> Result<Arc<App>, Failed> {
    let caps = settings.caps;
    let seal = seal(settings)?;
    let certificates = certificates(settings)?;
    let table = table(settings, certificates.as_ref()).await;
    let client = client(settings, certificates.unwrap_or_default())?;
    let guard = Arc::new(Guard::new(
        settings.breaker,
        Breakers::of(&table),
        Clock::new(http::clock),
        TurnId::now().random(),
    ));
    let models = models(settings, &client, &guard);
    let auth = Auth::new(
        &settings.callers,
        &client,
        settings.dial_url.as_deref(),
        &settings.deployments,
    );
    warn(settings);
    let (chain, cache) = ladder(settings, &models, &table, &seal);
    let coordinator = Coordinator {
        chain,
        cache,
        likely: settings.routing.guess.map(Likely::new),
        routing: settings.routing,
        synthesis: settings.synthesis,
        metrics: shared.metrics,
        agents: agents(settings, &client, &guard)?,
        extractor: extractor(settings, &models),
        comparer: Comparer::new(models.clone(), &settings.routing_model),
        hooks: Hooks::connect(&settings.hooks, &client, &guard),
        synthesizer: Synthesizer::new(models, &settings.synthesis_model),
        accounts: Accounts::of(
            &table,
            quotas(settings),
            settings.state_ttl,
            shared.accounts,
        ),
        wishes: Wishes::of(&table, shared.wishes),
        audit: audit(settings, &table, &seal),
        prices: settings.prices.clone(),
        budget: Budget {
            dollars: settings.quotas.turn.map(Money),
            ..Budget::default()
        },
        experience: Experience::default(),
        // Where everybody is trusted and nobody limited, there is nobody to keep from it.
        account_first: settings.openai_base_url.is_some()
            && (settings.callers.ways != [Way::None] || settings.quotas != Quotas::default()),
        table,
        guard,
        seal,
        times: settings.times,
        retention: settings.state_ttl,
        trust_legacy_sessions: settings.legacy_sessions,
        caps,
        log_content: settings.log_content,
        registry: settings.registry.clone(),
    };
    let privacy = privacy(&coordinator);
    Ok(App::new(
        coordinator,
        privacy,
        auth,
        settings.times,
        caps,
        settings.quotas.depth,
        Statuses::new(
            settings.rate_limit_status,
            settings.failed_agent_status,
            settings.times.retry_after,
        ),
    ))
}

/// What looks for facts, where some agent may be told any.
fn extractor(settings: &Settings, models: &Models) -> Option<Extractor> {
    let kinds = facts::kinds(&settings.registry);
    let times = settings.facts.filter(|_| !kinds.is_empty())?;
    let model = &settings.routing_model;
    Some(Extractor::new(models.clone(), model, kinds, times))
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

/// How agents are called.
fn agents(settings: &Settings, client: &Client, guard: &Arc<Guard>) -> Result<Agents, Failed> {
    let reach = Reach {
        client: client.clone(),
        core: settings.dial_url.clone(),
        first_byte: settings.times.agent_first_byte,
        idle: settings.times.stream_idle,
        guard: Arc::clone(guard),
        dwell: settings.times.failover_dwell,
        signer: signer(settings)?,
    };
    Ok(Agents {
        gateways: Gateways::connect(&settings.registry, &reach)?,
        nesting: if settings.nested_stages {
            Nesting::Nested
        } else {
            Nesting::Flat
        },
        caps: settings.caps,
    })
}

/// Who says to agents who calls.
fn signer(settings: &Settings) -> Result<Option<Arc<Signer>>, Failed> {
    let Some(keys) = &settings.assertion_keys else {
        return Ok(None);
    };
    let signer = Signer::parse(
        keys.expose(),
        &settings.assertion_issuer,
        TurnId::now().random(),
        Clock::new(http::clock),
    );
    let signer = signer.map_err(|problem| format!("MAS_ASSERTION_KEYS: {problem}"))?;
    Ok(Some(Arc::new(signer)))
}

/// The routing ladder, from the settings: what costs nothing is asked first.
fn ladder(
    settings: &Settings,
    models: &Models,
    table: &Table,
    seal: &Seal,
) -> (Chain, Option<Arc<DecisionCache>>) {
    let (registry, routing) = (&settings.registry, settings.routing);
    let model = ModelRouter::new(
        models.clone(),
        &settings.routing_model,
        registry,
        settings.caps,
        routing.floor,
    );
    let cache = routing.cache.map(|_| {
        let decisions = Decisions::of(table, seal.keyring("decisions"));
        let clock = Clock::new(http::clock);
        let version = format!("{}\n{:?}", model.version(), settings.rulebook);
        Arc::new(DecisionCache::new(
            decisions,
            clock,
            &routing,
            settings.times.store / 4,
            registry,
            &version,
        ))
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
    let chain = Chain::new(
        settings.rulebook.clone(),
        quick,
        vec![Box::new(model)],
        registry,
    );
    (chain, cache)
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
