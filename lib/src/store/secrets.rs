//! Secrets by reference: fetched once, at the start, from AWS Secrets Manager.

use aws_config::retry::RetryConfig;
use aws_sdk_secretsmanager::Client;

use super::client::loader;
use crate::domain::ids::Secret;

/// What a value begins with that is not a secret itself but says where it is.
const SCHEME: &str = "secretsmanager:";
/// What the address of such a secret has in it.
const ARN: &str = ":secretsmanager:";

/// Where a secret is: its name or ARN, and the field of it where it is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    id: String,
    field: Option<String>,
}

impl Reference {
    /// Reads `secretsmanager:NAME`, `secretsmanager:ARN#FIELD` or the ARN alone; `None` for a value that is no reference.
    pub fn parse(value: &str) -> Option<Self> {
        let arn = value.starts_with("arn:") && value.contains(ARN);
        let place = value.strip_prefix(SCHEME).or(arn.then_some(value))?;
        let (id, field) = match place.rsplit_once('#') {
            Some((id, field)) => (id, Some(field.to_owned())),
            None => (place, None),
        };
        Some(Self {
            id: id.trim().to_owned(),
            field,
        })
    }
}

/// The references among the credentials of a document, each with its own name.
pub fn named(keys: Vec<String>) -> Result<Vec<(String, Reference)>, String> {
    let named = keys.into_iter().map(|key| {
        let reference = Reference::parse(&key).ok_or_else(|| {
            format!("{key} is no reference to a secret, expected one of AWS Secrets Manager")
        });
        reference.map(|reference| (key, reference))
    });
    named.collect()
}

/// Where secrets are: at `endpoint` or at AWS, with the function's own role.
#[derive(Clone, Debug, Default)]
pub struct Vault {
    pub endpoint: Option<String>,
    /// Whom to trust beside the built-in roots.
    pub pem: Option<String>,
}

/// Fetches the secrets that variables refer to. Fails with a sentence that names the variable and the secret, and never
/// holds its value.
pub async fn fetch(
    references: &[(String, Reference)],
    vault: &Vault,
) -> Result<Vec<Secret>, String> {
    let config = loader(vault.endpoint.as_deref(), vault.pem.as_deref());
    let config = config.retry_config(RetryConfig::standard().with_max_attempts(3));
    let client = Client::new(&config.load().await);
    let mut secrets = Vec::new();
    for (name, reference) in references {
        let secret = one(&client, reference).await;
        secrets.push(secret.map_err(|problem| format!("{name}: {problem}"))?);
    }
    Ok(secrets)
}

async fn one(client: &Client, reference: &Reference) -> Result<Secret, String> {
    let Reference { id, field } = reference;
    let found = client
        .get_secret_value()
        .secret_id(id)
        .send()
        .await
        .map_err(|error| {
            let error = error.into_service_error();
            format!(
                "the secret {id} cannot be read: {}",
                error.meta().code().unwrap_or("no answer")
            )
        })?;
    let text = found
        .secret_string()
        .ok_or_else(|| format!("the secret {id} holds no text"))?;
    let Some(field) = field else {
        return Ok(Secret::new(text.trim()));
    };
    let fields: serde_json::Value =
        serde_json::from_str(text).map_err(|_| format!("the secret {id} is no JSON object"))?;
    let value = fields.get(field).and_then(serde_json::Value::as_str);
    value
        .map(Secret::new)
        .ok_or_else(|| format!("the secret {id} has no text field {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_references_are_references() {
        let check = |value, expected: Option<(&str, Option<&str>)>| {
            let expected = expected.map(|(id, field)| Reference {
                id: id.into(),
                field: field.map(str::to_owned),
            });
            assert_eq!(Reference::parse(value), expected, "{value}");
        };
        check("hunter2", None);
        check("secretsmanager:mas/hr", Some(("mas/hr", None)));
        check(
            "secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:hr-AbCdEf#key",
            Some((
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:hr-AbCdEf",
                Some("key"),
            )),
        );
        check(
            "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:hr-AbCdEf",
            Some((
                "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:hr-AbCdEf",
                None,
            )),
        );
        check("arn:aws:ssm:eu-west-1:123456789012:parameter/hr", None);
    }
}
