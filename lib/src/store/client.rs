//! The table itself: a client with short time limits, and the schema for local runs and tests.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader};
use aws_sdk_dynamodb::config::{Credentials, Region, SharedHttpClient};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TimeToLiveSpecification,
};
use aws_sdk_dynamodb::{Client, Config};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use url::{Host, Url};

use super::{Error, keys};
use crate::domain::ids::{Clock, Millis};

/// One table, reached through one client.
#[derive(Clone, Debug)]
pub struct Table {
    shared: Arc<Shared>,
    pub(super) name: String,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    pem: Option<String>,
    /// How long an unused connection is kept.
    idle: Duration,
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    client: Client,
    used_at: Millis,
}

impl Table {
    /// The client, with its connections as they are, or with new ones after a gap in which the old ones may have died: a
    /// frozen function does not notice.
    pub(super) fn client(&self) -> Client {
        let shared = &self.shared;
        let now = shared.clock.now();
        let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if now < kept.used_at || now.since(kept.used_at) > shared.idle {
            let fresh = shared.config.to_builder();
            let fresh = fresh.http_client(http(shared.pem.as_deref()));
            kept.client = Client::from_conf(fresh.build());
        }
        kept.used_at = now;
        kept.client.clone()
    }

    /// Asks the table for an item that does not exist: cheap, and it needs no permission beyond reading.
    pub async fn check(&self) -> Result<(), Error> {
        self.item(keys::health()).await?;
        Ok(())
    }
}

/// How a table is reached.
#[derive(Clone, Debug)]
pub struct Wire<'a> {
    /// `None` is AWS.
    pub endpoint: Option<&'a str>,
    /// Certificates to trust beside the built-in ones (PEM).
    pub pem: Option<&'a str>,
    /// One attempt to answer; all of them together have four times as long.
    pub attempt: Duration,
    /// How long an unused connection is kept, by this clock.
    pub idle: Duration,
    pub clock: Clock,
}

/// Connects to a table, with patience: for tools and tests. Nothing is sent yet.
pub async fn connect(name: &str, endpoint: Option<&str>) -> Table {
    let attempt = Duration::from_secs(5);
    let wire = Wire {
        endpoint,
        pem: None,
        attempt,
        idle: Duration::MAX,
        clock: Clock::default(),
    };
    connect_by(name, wire).await
}

/// Connects to a table. Nothing is sent yet.
pub async fn connect_by(name: &str, wire: Wire<'_>) -> Table {
    let Wire {
        endpoint,
        pem,
        attempt,
        idle,
        clock,
    } = wire;
    let config = loader(endpoint, pem)
        // The answer must not wait for a store that does not answer: two quick retries, then it goes on without.
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(3)
                .with_initial_backoff(Duration::from_millis(50))
                .with_max_backoff(Duration::from_millis(300)),
        )
        // Every attempt has a short limit of its own: nobody has to watch how fast an answer trickles in.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(attempt)
                .operation_attempt_timeout(attempt)
                .operation_timeout(attempt.saturating_mul(4))
                .build(),
        );
    let config = Config::from(&Box::pin(config.load()).await);
    let kept = Kept {
        client: Client::from_conf(config.clone()),
        used_at: clock.now(),
    };
    Table {
        shared: Arc::new(Shared {
            config,
            pem: pem.map(str::to_owned),
            idle,
            clock,
            kept: Mutex::new(kept),
        }),
        name: name.to_owned(),
    }
}

/// How a service of AWS is reached: there, with the function's own role, or at `endpoint`. An emulator on this machine is
/// satisfied by any credentials.
pub(super) fn loader(endpoint: Option<&str>, pem: Option<&str>) -> ConfigLoader {
    let mut config = aws_config::defaults(BehaviorVersion::latest()).http_client(http(pem));
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    if endpoint.is_some_and(is_local) {
        config = config
            .region(Region::new("local"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"));
    }
    config
}

/// How AWS is spoken to.
fn http(pem: Option<&str>) -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls(pem))
        .build_https()
}

/// Whom the table's client trusts: what the system trusts, or what `pem` holds beside the built-in roots. The system's own
/// reader takes `SSL_CERT_FILE` for all there is, and AWS would not be trusted any more.
fn tls(pem: Option<&str>) -> TlsContext {
    let trusted = match pem {
        None => TrustStore::default(),
        Some(pem) => {
            let mut trusted = TrustStore::empty().with_pem_certificate(pem);
            for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
                let root = STANDARD.encode(root);
                trusted.add_pem_certificate(format!(
                    "-----BEGIN CERTIFICATE-----\n{root}\n-----END CERTIFICATE-----\n"
                ));
            }
            trusted
        }
    };
    // Nothing in it can fail.
    TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .unwrap_or_default()
}

/// True for an address on this machine.
pub fn is_local(endpoint: &str) -> bool {
    match Url::parse(endpoint).ok().as_ref().and_then(Url::host) {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Creates the table of the template in a local emulator, unless it is there.
pub async fn create(table: &Table) -> Result<(), Error> {
    let there = table
        .client()
        .describe_table()
        .table_name(&table.name)
        .send()
        .boxed()
        .await;
    if there.is_ok() {
        return Ok(());
    }
    let mut create = table
        .client()
        .create_table()
        .table_name(&table.name)
        .billing_mode(BillingMode::PayPerRequest);
    for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        let attribute = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .map_err(|error| Error::Call(Box::new(error)))?;
        let key = KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .map_err(|error| Error::Call(Box::new(error)))?;
        create = create.attribute_definitions(attribute).key_schema(key);
    }
    create.send().boxed().await?;
    let ttl = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name("expires_at")
        .build()
        .map_err(|error| Error::Call(Box::new(error)))?;
    table
        .client()
        .update_time_to_live()
        .table_name(&table.name)
        .time_to_live_specification(ttl)
        .send()
        .boxed()
        .await?;
    Ok(())
}
