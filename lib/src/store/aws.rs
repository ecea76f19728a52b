//! Requests to services of AWS that are asked for one thing alone: signed here, sent by whoever calls others.
//!
//! A client crate of S3 or of Systems Manager would be larger than all of the coordinator. What is needed of them is one
//! request each; the signature and the credentials are those of the table's client.

use std::time::{Duration, UNIX_EPOCH};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

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

/// One service of AWS, there or at another address.
#[derive(Clone, Debug)]
pub struct Service {
    config: SdkConfig,
    endpoint: Option<String>,
}

impl Service {
    /// Nothing is sent yet.
    pub async fn reach(endpoint: Option<&str>, pem: Option<&str>) -> Self {
        Self {
            config: loader(endpoint, pem).load().await,
            endpoint: endpoint.map(str::to_owned),
        }
    }

    /// What gets an object of S3.
    pub async fn object(&self, bucket: &str, key: &str, now: Millis) -> Result<Signed, String> {
        let key = utf8_percent_encode(key, PATH);
        let host = self.host("s3")?;
        let url = match (&self.endpoint, host.strip_prefix("https://")) {
            // A certificate is good for one name below the service's.
            (None, Some(host)) if !bucket.contains('.') => format!("https://{bucket}.{host}/{key}"),
            _ => format!("{host}/{bucket}/{key}"),
        };
        let request = Signed {
            url,
            headers: Vec::new(),
            body: None,
        };
        self.sign(request, "s3", now).await
    }

    /// What gets a parameter of Systems Manager.
    pub async fn parameter(&self, name: &str, now: Millis) -> Result<Signed, String> {
        let body = serde_json::json!({"Name": name, "WithDecryption": true});
        let header = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
        let request = Signed {
            url: format!("{}/", self.host("ssm")?),
            headers: vec![
                header("content-type", "application/x-amz-json-1.1"),
                header("x-amz-target", "AmazonSSM.GetParameter"),
            ],
            body: Some(body.to_string().into_bytes()),
        };
        self.sign(request, "ssm", now).await
    }

    fn region(&self) -> Result<&str, String> {
        let region = self.config.region();
        (region.map(AsRef::as_ref)).ok_or_else(|| "AWS_REGION is not set".to_owned())
    }

    fn host(&self, service: &str) -> Result<String, String> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        let region = self.region()?;
        let domain = if region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        Ok(format!("https://{service}.{region}.{domain}"))
    }

    async fn sign(
        &self,
        mut request: Signed,
        service: &str,
        now: Millis,
    ) -> Result<Signed, String> {
        let provider = (self.config.credentials_provider()).ok_or("there are no credentials")?;
        let credentials = provider.provide_credentials().await;
        let identity = credentials.map_err(|error| error.to_string())?.into();
        let mut settings = SigningSettings::default();
        if service == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let params = SigningParams::builder()
            .identity(&identity)
            .region(self.region()?)
            .name(service)
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

    fn service(endpoint: Option<&str>) -> Service {
        let credentials = Credentials::new("AKID", "secret", Some("session".into()), None, "test");
        Service {
            config: SdkConfig::builder()
                .region(Region::new("eu-west-1"))
                .credentials_provider(SharedCredentialsProvider::new(credentials))
                .build(),
            endpoint: endpoint.map(str::to_owned),
        }
    }

    fn value<'a>(signed: &'a Signed, name: &str) -> &'a str {
        let found = signed.headers.iter().find(|(header, _)| header == name);
        found.map_or("", |(_, value)| value.expose())
    }

    #[tokio::test]
    async fn an_object_is_asked_for_at_its_bucket() {
        let now = Millis(1_700_000_000_000);
        let aws = service(None).object("b", "a b/c.yaml", now).await.unwrap();
        assert_eq!(aws.url, "https://b.s3.eu-west-1.amazonaws.com/a%20b/c.yaml");
        assert_eq!(value(&aws, "x-amz-date"), "20231114T221320Z");
        assert_eq!(value(&aws, "x-amz-security-token"), "session");
        assert!(value(&aws, "authorization").contains("/20231114/eu-west-1/s3/aws4_request"));
        let dotted = service(None).object("b.c", "k", now).await.unwrap();
        assert_eq!(dotted.url, "https://s3.eu-west-1.amazonaws.com/b.c/k");
        let local = service(Some("http://localhost:1"))
            .object("b", "k", now)
            .await;
        assert_eq!(local.unwrap().url, "http://localhost:1/b/k");
    }

    #[tokio::test]
    async fn a_parameter_is_asked_for_by_its_name() {
        let asked = service(None)
            .parameter("/mas/agents", Millis(1))
            .await
            .unwrap();
        assert_eq!(asked.url, "https://ssm.eu-west-1.amazonaws.com/");
        assert_eq!(value(&asked, "x-amz-target"), "AmazonSSM.GetParameter");
        let body = String::from_utf8(asked.body.clone().unwrap()).unwrap();
        assert_eq!(body, r#"{"Name":"/mas/agents","WithDecryption":true}"#);
        assert!(value(&asked, "authorization").contains("content-type;host;x-amz-date"));
    }
}
