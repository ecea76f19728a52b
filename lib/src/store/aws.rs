//! Requests to services of AWS that are asked for one thing alone: signed here, sent by whoever calls others.
//!
//! What is needed of each is one request, for which no client crate has to be in a function's zip; the signature and the
//! credentials are those of the table's client.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::client::loader;
use crate::domain::ids::{Millis, Secret};

/// What stays as it is in the path of an object.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// A request that is ready to be sent.
#[derive(Clone, Debug)]
pub struct Signed {
    pub url: String,
    pub headers: Vec<(String, Secret)>,
    /// `None` for a GET.
    pub body: Option<Vec<u8>>,
}

/// The services that are asked.
#[derive(Clone, Debug)]
pub struct Aws {
    s3: Service,
    ssm: Service,
    secrets: Service,
}

/// Where services are, where that is not at AWS.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    pub s3: Option<String>,
    pub ssm: Option<String>,
    pub secretsmanager: Option<String>,
}

/// One service of AWS, there or at another address.
#[derive(Clone, Debug)]
struct Service {
    name: &'static str,
    endpoint: Option<String>,
    /// Whom to trust beside the built-in roots.
    pem: Option<Arc<str>>,
    /// Region and credentials, looked for when they are needed first.
    config: Arc<OnceCell<SdkConfig>>,
}

impl Aws {
    /// Nothing is looked for or sent yet.
    pub fn new(addresses: Addresses, pem: Option<&str>) -> Self {
        let pem: Option<Arc<str>> = pem.map(Arc::from);
        let service = |name, endpoint| Service {
            name,
            endpoint,
            pem: pem.clone(),
            config: Arc::default(),
        };
        Self {
            s3: service("s3", addresses.s3),
            ssm: service("ssm", addresses.ssm),
            secrets: service("secretsmanager", addresses.secretsmanager),
        }
    }

    /// What gets an object of S3.
    pub async fn object(&self, bucket: &str, key: &str, now: Millis) -> Result<Signed, String> {
        let key = utf8_percent_encode(key, PATH);
        let host = self.s3.host().await?;
        let url = match (&self.s3.endpoint, host.strip_prefix("https://")) {
            // A certificate is good for one name below the service's.
            (None, Some(host)) if !bucket.contains('.') => format!("https://{bucket}.{host}/{key}"),
            _ => format!("{host}/{bucket}/{key}"),
        };
        let request = Signed {
            url,
            headers: Vec::new(),
            body: None,
        };
        self.s3.sign(request, now).await
    }

    /// What gets a parameter of Systems Manager.
    pub async fn parameter(&self, name: &str, now: Millis) -> Result<Signed, String> {
        let body = json!({"Name": name, "WithDecryption": true});
        self.ssm.json("AmazonSSM.GetParameter", &body, now).await
    }

    /// What gets a secret of Secrets Manager.
    pub async fn secret(&self, id: &str, now: Millis) -> Result<Signed, String> {
        let body = json!({"SecretId": id});
        let target = "secretsmanager.GetSecretValue";
        self.secrets.json(target, &body, now).await
    }
}

impl Service {
    async fn config(&self) -> &SdkConfig {
        let load = || Box::pin(loader(self.endpoint.as_deref(), self.pem.as_deref()).load());
        self.config.get_or_init(load).await
    }

    async fn region(&self) -> Result<&str, String> {
        let region = self.config().await.region();
        (region.map(AsRef::as_ref)).ok_or_else(|| "AWS_REGION is not set".to_owned())
    }

    async fn host(&self) -> Result<String, String> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        let (region, service) = (self.region().await?, self.name);
        let domain = if region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        Ok(format!("https://{service}.{region}.{domain}"))
    }

    /// A request of the protocol that most services speak.
    async fn json(&self, target: &str, body: &Value, now: Millis) -> Result<Signed, String> {
        let header = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
        let request = Signed {
            url: format!("{}/", self.host().await?),
            headers: vec![
                header("content-type", "application/x-amz-json-1.1"),
                header("x-amz-target", target),
            ],
            body: Some(body.to_string().into_bytes()),
        };
        self.sign(request, now).await
    }

    async fn sign(&self, mut request: Signed, now: Millis) -> Result<Signed, String> {
        let config = self.config().await;
        let provider = (config.credentials_provider()).ok_or("there are no credentials")?;
        let credentials = provider.provide_credentials().await;
        let identity = credentials.map_err(|error| error.to_string())?.into();
        let mut settings = SigningSettings::default();
        if self.name == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let params = SigningParams::builder()
            .identity(&identity)
            .region(self.region().await?)
            .name(self.name)
            .time(UNIX_EPOCH + Duration::from_millis(now.0))
            .settings(settings)
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let body = request.body.as_deref().unwrap_or_default();
        let method = if request.body.is_some() {
            "POST"
        } else {
            "GET"
        };
        let headers = request.headers.iter();
        let signable = SignableRequest::new(
            method,
            request.url.as_str(),
            headers.map(|(name, value)| (name.as_str(), value.expose())),
            SignableBody::Bytes(body),
        );
        let signed = signable.and_then(|signable| sign(signable, &params));
        let (added, _) = signed.map_err(|error| error.to_string())?.into_parts();
        let added = added.headers();
        let added = added.map(|(name, value)| (name.to_owned(), Secret::new(value)));
        request.headers.extend(added);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::config::{Credentials, Region, SharedCredentialsProvider};

    use super::*;

    fn aws(s3: Option<&str>) -> Aws {
        let credentials = Credentials::new("AKID", "secret", Some("session".into()), None, "test");
        let config = SdkConfig::builder()
            .region(Region::new("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let addresses = Addresses {
            s3: s3.map(str::to_owned),
            ..Addresses::default()
        };
        let aws = Aws::new(addresses, None);
        for service in [&aws.s3, &aws.ssm, &aws.secrets] {
            service.config.set(config.clone()).unwrap();
        }
        aws
    }

    fn value<'a>(signed: &'a Signed, name: &str) -> &'a str {
        let found = signed.headers.iter().find(|(header, _)| header == name);
        found.map_or("", |(_, value)| value.expose())
    }

    #[tokio::test]
    async fn an_object_is_asked_for_at_its_bucket() {
        let now = Millis(1_700_000_000_000);
        let asked = aws(None).object("b", "a b/c.yaml", now).await.unwrap();
        assert_eq!(
            asked.url,
            "https://b.s3.eu-west-1.amazonaws.com/a%20b/c.yaml"
        );
        assert_eq!(value(&asked, "x-amz-date"), "20231114T221320Z");
        assert_eq!(value(&asked, "x-amz-security-token"), "session");
        assert!(value(&asked, "authorization").contains("/20231114/eu-west-1/s3/aws4_request"));
        let dotted = aws(None).object("b.c", "k", now).await.unwrap();
        assert_eq!(dotted.url, "https://s3.eu-west-1.amazonaws.com/b.c/k");
        let local = aws(Some("http://localhost:1"));
        let local = local.object("b", "k", now).await;
        assert_eq!(local.unwrap().url, "http://localhost:1/b/k");
    }

    #[tokio::test]
    async fn a_parameter_is_asked_for_by_its_name() {
        let asked = aws(None).parameter("/mas/agents", Millis(1)).await;
        let asked = asked.unwrap();
        assert_eq!(asked.url, "https://ssm.eu-west-1.amazonaws.com/");
        assert_eq!(value(&asked, "x-amz-target"), "AmazonSSM.GetParameter");
        let body = String::from_utf8(asked.body.clone().unwrap()).unwrap();
        assert_eq!(body, r#"{"Name":"/mas/agents","WithDecryption":true}"#);
        assert!(value(&asked, "authorization").contains("content-type;host;x-amz-date"));
    }

    #[tokio::test]
    async fn a_secret_is_asked_for_by_its_name() {
        let asked = aws(None).secret("mas/hr", Millis(1)).await.unwrap();
        assert_eq!(asked.url, "https://secretsmanager.eu-west-1.amazonaws.com/");
        assert_eq!(
            value(&asked, "x-amz-target"),
            "secretsmanager.GetSecretValue"
        );
        let body = String::from_utf8(asked.body.clone().unwrap()).unwrap();
        assert_eq!(body, r#"{"SecretId":"mas/hr"}"#);
        assert!(value(&asked, "authorization").contains("/secretsmanager/aws4_request"));
    }
}
