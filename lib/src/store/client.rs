//! The table itself: a client with short time limits, and the schema for local runs and tests.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TimeToLiveSpecification,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use url::{Host, Url};

use super::{Error, keys};

/// One table, reached through one client.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) client: Client,
    pub(super) name: String,
}

impl Table {
    /// Asks the table for an item that does not exist: cheap, and it needs no permission beyond reading.
    pub async fn check(&self) -> Result<(), Error> {
        let key = keys::health();
        self.client
            .get_item()
            .table_name(&self.name)
            .key("pk", super::attributes::text(key.pk))
            .key("sk", super::attributes::text(key.sk))
            .send()
            .await?;
        Ok(())
    }
}

/// Connects to a table: at `endpoint`, or at AWS, with the function's own role. An emulator on this machine is satisfied
/// by any credentials. Nothing is sent yet.
pub async fn connect(name: &str, endpoint: Option<&str>) -> Table {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let mut config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .http_client(http)
        // The answer must not wait for a store that does not answer: one retry, then go on without.
        .retry_config(RetryConfig::standard().with_max_attempts(2))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_millis(500))
                .operation_attempt_timeout(Duration::from_secs(1))
                .operation_timeout(Duration::from_secs(2))
                .build(),
        );
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    if endpoint.is_some_and(is_local) {
        config = config
            .region(Region::new("local"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"));
    }
    Table {
        client: Client::new(&config.load().await),
        name: name.to_owned(),
    }
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
        .client
        .describe_table()
        .table_name(&table.name)
        .send()
        .await;
    if there.is_ok() {
        return Ok(());
    }
    let mut create = table
        .client
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
    create.send().await?;
    let ttl = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name("expires_at")
        .build()
        .map_err(|error| Error::Call(Box::new(error)))?;
    table
        .client
        .update_time_to_live()
        .table_name(&table.name)
        .time_to_live_specification(ttl)
        .send()
        .await?;
    Ok(())
}
