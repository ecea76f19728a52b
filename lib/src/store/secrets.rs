//! References to secrets: what is written in their place, and how each is asked for.

use serde_json::Value;

use super::aws::{Aws, Signed};
use crate::domain::ids::{Millis, Secret};

/// A secret that is kept elsewhere: by whom, its name or ARN, and the field of it where it is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    keeper: Keeper,
    id: String,
    field: Option<String>,
}

/// Who keeps secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    /// AWS Secrets Manager.
    Secrets,
    /// Parameters of AWS Systems Manager, decrypted.
    Parameters,
}

/// What a reference begins with, and what the address of such a secret has in it.
const KEEPERS: [(&str, &str, Keeper); 2] = [
    ("secretsmanager:", ":secretsmanager:", Keeper::Secrets),
    ("ssm:", ":ssm:", Keeper::Parameters),
];

impl Reference {
    /// Reads `secretsmanager:NAME`, `ssm:/NAME`, either with `#FIELD`, or the ARN alone; `None` for a value that is no
    /// reference.
    pub fn parse(value: &str) -> Option<Self> {
        let (keeper, place) = KEEPERS.into_iter().find_map(|(scheme, within, keeper)| {
            let arn = value.starts_with("arn:") && value.contains(within);
            let place = value.strip_prefix(scheme).or(arn.then_some(value))?;
            Some((keeper, place))
        })?;
        let (id, field) = match place.rsplit_once('#') {
            Some((id, field)) => (id, Some(field.to_owned())),
            None => (place, None),
        };
        Some(Self {
            keeper,
            id: id.trim().to_owned(),
            field,
        })
    }

    /// What asks for it.
    pub async fn request(&self, aws: &Aws, now: Millis) -> Result<Signed, String> {
        match self.keeper {
            Keeper::Secrets => aws.secret(&self.id, now).await,
            Keeper::Parameters => aws.parameter(&self.id, now).await,
        }
    }

    /// The secret in what was answered. Fails with a sentence that names the secret and never holds it.
    pub fn read(&self, body: &[u8]) -> Result<Secret, String> {
        let Self { keeper, id, field } = self;
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = match keeper {
            Keeper::Secrets => answer.get("SecretString"),
            Keeper::Parameters => answer.pointer("/Parameter/Value"),
        };
        let text = text.and_then(Value::as_str);
        let text = text.ok_or_else(|| format!("the secret {id} holds no text"))?;
        let Some(field) = field else {
            return Ok(Secret::new(text.trim()));
        };
        let fields: Value =
            serde_json::from_str(text).map_err(|_| format!("the secret {id} is no JSON object"))?;
        let value = fields.get(field).and_then(Value::as_str);
        value
            .map(Secret::new)
            .ok_or_else(|| format!("the secret {id} has no text field {field}"))
    }
}

/// Its name: for what is said of it.
impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_references_are_references() {
        let check = |value, expected: Option<(Keeper, &str, Option<&str>)>| {
            let expected = expected.map(|(keeper, id, field)| Reference {
                keeper,
                id: id.into(),
                field: field.map(str::to_owned),
            });
            assert_eq!(Reference::parse(value), expected, "{value}");
        };
        let (secret, parameter) = (Keeper::Secrets, Keeper::Parameters);
        check("hunter2", None);
        check("secretsmanager:mas/hr", Some((secret, "mas/hr", None)));
        check(
            "secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:hr-AbCdEf#key",
            Some((
                secret,
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:hr-AbCdEf",
                Some("key"),
            )),
        );
        check(
            "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:hr-AbCdEf",
            Some((
                secret,
                "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:hr-AbCdEf",
                None,
            )),
        );
        check(
            "ssm:/mas/agents/hr",
            Some((parameter, "/mas/agents/hr", None)),
        );
        let arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/hr";
        let field = format!("{arn}#key");
        check(&field, Some((parameter, arn, Some("key"))));
        check("arn:aws:iam::123456789012:role/hr", None);
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_told_without_it() {
        let check = |reference: &str, body: &str, expected: Result<&str, &str>| {
            let read = Reference::parse(reference).unwrap().read(body.as_bytes());
            let read = read.as_ref().map(Secret::expose).map_err(String::as_str);
            assert_eq!(read, expected, "{reference} {body}");
        };
        let fields = r#"{"SecretString": "{\"key\": \"hunter2\"}"}"#;
        check(
            "secretsmanager:a",
            r#"{"SecretString": " hunter2\n"}"#,
            Ok("hunter2"),
        );
        check("secretsmanager:a#key", fields, Ok("hunter2"));
        check(
            "secretsmanager:a#other",
            fields,
            Err("the secret a has no text field other"),
        );
        check(
            "secretsmanager:a#key",
            r#"{"SecretString": "hunter2"}"#,
            Err("the secret a is no JSON object"),
        );
        check(
            "ssm:/a",
            r#"{"Parameter": {"Value": "hunter2"}}"#,
            Ok("hunter2"),
        );
        check(
            "ssm:/a",
            r#"{"SecretString": "hunter2"}"#,
            Err("the secret /a holds no text"),
        );
        check("ssm:/a", "hunter2", Err("the secret /a holds no text"));
    }
}
