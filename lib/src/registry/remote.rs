//! What is fetched from services of AWS: documents, and the secrets that documents and variables refer to.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::domain::ids::{Clock, Secret};
use crate::resilience::retry::Repeat;
use crate::store::aws::{Aws, Signed};
use crate::store::secrets::Reference;
use crate::upstream::{Call, Client, Fetched, Limits};

/// How long a service of AWS may take, for one thing or for many.
const WITHIN: Duration = Duration::from_secs(3);
/// So many secrets are asked for at a time.
const AT_ONCE: usize = 8;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Remote {
    pub aws: Aws,
    pub client: Client,
    pub clock: Clock,
}

/// A parameter of Systems Manager.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Parameter {
    pub value: String,
    pub version: u64,
}

impl Remote {
    /// An object of S3, unless the version of this tag is still it.
    pub(super) async fn object(
        &self,
        bucket: &str,
        object: &str,
        tag: Option<&str>,
    ) -> Result<Option<Fetched>, String> {
        let request = self.aws.object(bucket, object, self.clock.now()).await?;
        let fetched = self.client.fetch(call(request), tag).await;
        fetched.map_err(|error| said(&error))
    }

    pub(super) async fn parameter(&self, name: &str) -> Result<Parameter, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            parameter: Parameter,
        }
        let request = self.aws.parameter(name, self.clock.now()).await?;
        let body = self.client.body(call(request)).await;
        let body = body.map_err(|error| said(&error))?;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| "the answer holds no parameter".to_owned())?;
        Ok(answer.parameter)
    }

    /// The secrets that are referred to, each under the name that was given. What cannot be had in time fails, with a
    /// sentence that names the secret; the others are had.
    pub async fn secrets(
        &self,
        named: Vec<(String, Reference)>,
    ) -> Vec<(String, Result<Secret, String>)> {
        let until = Instant::now() + WITHIN;
        let fetched = named.into_iter().map(|(name, reference)| async move {
            let secret = timeout_at(until, self.secret(&reference)).await;
            let slow = || Err(format!("the secret {reference} did not come in time"));
            (name, secret.unwrap_or_else(|_| slow()))
        });
        stream::iter(fetched).buffered(AT_ONCE).collect().await
    }

    async fn secret(&self, reference: &Reference) -> Result<Secret, String> {
        let unreadable = |problem| format!("the secret {reference} cannot be read: {problem}");
        let request = reference.request(&self.aws, self.clock.now()).await;
        let body = self.client.body(call(request.map_err(unreadable)?)).await;
        reference.read(&body.map_err(|error| unreadable(said(&error)))?)
    }
}

/// A read, whatever its method: it may be made again.
fn call(request: Signed) -> Call {
    let limits = Limits {
        first_byte: WITHIN,
        idle: WITHIN,
        until: Instant::now() + WITHIN,
    };
    let call = match request.body {
        Some(body) => Call::post(request.url, body, limits),
        None => Call::get(request.url, limits),
    };
    call.signed(&request.headers).repeated(Repeat::Freely)
}

/// An error with its causes, in one sentence.
pub fn said(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push_str(": ");
        said.push_str(&error.to_string());
        cause = error.source();
    }
    said
}
