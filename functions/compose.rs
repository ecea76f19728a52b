//! Settings into an application: the one place where adapters meet.

use std::sync::Arc;

use coordinator::coordinator::Coordinator;
use coordinator::domain::access::Way;
use coordinator::domain::ids::{Clock, TurnId};
use coordinator::domain::rules::Quotas;
use coordinator::gateway::assertion::Signer;
use coordinator::guard::Guard;
use coordinator::http::auth::Auth;
use coordinator::http::error::Statuses;
use coordinator::http::{self, App, Live};
use coordinator::llm::{Models, Provider};
use coordinator::metrics::Metrics;
use coordinator::privacy::Privacy;
use coordinator::registry::{Directory, Patience, Remote, Source};
use coordinator::settings::document;
use coordinator::settings::{Env, Place, Settings};
use coordinator::store::aws::{Addresses, Aws};
use coordinator::store::envelope::Seal;
use coordinator::store::secrets::Reference;
use coordinator::store::{self, Audit, Breakers, Entries, Known, Seen, Table, Wire};
use coordinator::upstream::{Bounds, Certificates, Client};
use tokio::sync::watch;

#[path = "kit.rs"]
mod kit;

use kit::Kit;

pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The settings of this process, with every secret that a variable only points to.
pub async fn settings(mut env: Env) -> Result<Settings, Failed> {
    let variables = env
        .iter()
        // A parameter may be the document itself.
        .filter(|(name, _)| *name != "MAS_AGENTS")
        .filter_map(|(name, value)| Some((name.to_owned(), Reference::parse(value)?)))
        .collect();
    fetch(&mut env, variables).await?;
    // A document that cannot be found is told of where it is read.
    let text =
        Place::read(&env).map_or_else(|_| String::new(), |place| place.near().unwrap_or_default());
    let keys = document::references(&text).into_iter().map(|key| {
        let reference = Reference::parse(&key);
        let reference = reference.ok_or_else(|| format!("{key} is no reference to a secret"));
        reference.map(|reference| (key, reference))
    });
    let keys = keys.collect::<Result<_, String>>()?;
    fetch(&mut env, keys).await?;
    Ok(Settings::read(&env)?)
}

/// Puts secrets into the environment, each under its name.
async fn fetch(env: &mut Env, references: Vec<(String, Reference)>) -> Result<(), Failed> {
    if references.is_empty() {
        return Ok(());
    }
    // The settings are not known yet: what is usual will do.
    let certificates = (env.get("SSL_CERT_FILE"))
        .map(Certificates::read)
        .transpose()?;
    let aws = aws(env, certificates.as_ref())?;
    let remote = Remote {
        aws,
        client: Client::new(&Bounds {
            certificates: certificates.unwrap_or_default(),
            ..Bounds::default()
        })?,
        clock: Clock::new(http::clock),
    };
    for (name, secret) in remote.secrets(references).await {
        let secret = secret.map_err(|problem| format!("{name}: {problem}"))?;
        env.set(&name, secret.expose());
    }
    Ok(())
}

/// The services of AWS beside the table.
fn aws(env: &Env, certificates: Option<&Certificates>) -> Result<Aws, Failed> {
    let [s3, ssm, secretsmanager] = coordinator::settings::addresses(env)?;
    let addresses = Addresses {
        s3,
        ssm,
        secretsmanager,
    };
    Ok(Aws::new(addresses, certificates.map(Certificates::pem)))
}

/// Builds everything a request needs. No agent and no model is called yet; the agents' document and what was changed over it
/// are looked for, and done without where they do not come in time. On Lambda that makes the connection to the table while
/// a function has all of its processor.
pub async fn app(settings: &Settings, metrics: Metrics) -> Result<Arc<App>, Failed> {
    beside(settings, Shared::new(metrics, watch::Sender::default())).await
}

/// What the applications of one process share.
#[derive(Clone)]
pub struct Shared {
    metrics: Arc<Metrics>,
    accounts: Known,
    wishes: Seen,
    /// Wakes those who keep their agents fresh: one of the process has changed them, or somebody asked for it.
    stirred: watch::Sender<()>,
}

impl Shared {
    /// `stirred` wakes all of them, to look for changed agents.
    pub fn new(metrics: Metrics, stirred: watch::Sender<()>) -> Self {
        Self {
            metrics: Arc::new(metrics),
            accounts: Known::default(),
            wishes: Seen::default(),
            stirred,
        }
    }
}

/// Builds an application beside others of the same process.
pub async fn beside(settings: &Settings, shared: Shared) -> Result<Arc<App>, Failed> {
    let seal = seal(settings)?;
    let certificates = certificates(settings)?;
    let aws = aws(&settings.env, certificates.as_ref())?;
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
        remote: Remote {
            aws,
            client: client.clone(),
            clock: Clock::new(http::clock),
        },
        core: settings.dial_url.clone(),
        signer: signer(settings)?,
    };
    let kit = Kit {
        models: models(settings, &client, &guard),
        signer: source.signer.clone(),
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
