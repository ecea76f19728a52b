//! Stories of credentials that live elsewhere.

use coordinator::settings::Env;
use sandbox::stub::{Reply, Seen, Stub};
use serde_json::json;

use crate::compose;
use crate::world::{plan, user};

/// A Secrets Manager with one secret.
pub fn manager(seen: &Seen) -> Reply {
    assert_eq!(
        seen.header("x-amz-target"),
        Some("secretsmanager.GetSecretValue")
    );
    if seen.json()["SecretId"] == "mas/agents" {
        let fields = json!({"gpa": "hunter2"}).to_string();
        return Reply::json(200, json!({"Name": "mas/agents", "SecretString": fields}));
    }
    Reply::json(
        400,
        json!({"__type": "ResourceNotFoundException", "Message": "no"}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_key_may_be_kept_in_secrets_manager() {
    let secrets = Stub::start(manager).await.unwrap();
    let world = plan("GPA")
        .set("AWS_ENDPOINT_URL_SECRETS_MANAGER", &secrets.url())
        .set("GPA_API_KEY", "secretsmanager:mas/agents#gpa")
        .start()
        .await;
    world.well(&[user("hi")]).await;
    assert_eq!(world.gpa.seen()[0].header("api-key"), Some("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_itself_may_say_where_a_key_is() {
    let secrets = Stub::start(manager).await.unwrap();
    let agents =
        "agents:\n- {name: GPA, endpoint: '{gpa}/gpa', key: 'secretsmanager:mas/agents#gpa'}\n";
    let world = plan("GPA")
        .set("AWS_ENDPOINT_URL_SECRETS_MANAGER", &secrets.url())
        .set("MAS_AGENTS", agents)
        .start()
        .await;
    world.well(&[user("hi")]).await;
    assert_eq!(world.gpa.seen()[0].header("api-key"), Some("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_had_stops_the_start_with_its_name() {
    let secrets = Stub::start(manager).await.unwrap();
    for (reference, said) in [
        (
            "mas/other",
            "GPA_API_KEY: the secret mas/other cannot be read: ResourceNotFoundException",
        ),
        ("mas/agents#hr", "mas/agents has no text field hr"),
    ] {
        let env = Env::from([
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets.url().as_str()),
            ("GPA_API_KEY", &format!("secretsmanager:{reference}")),
        ]);
        let problem = compose::settings(env).await.unwrap_err().to_string();
        assert!(
            problem.contains(said) && !problem.contains("hunter2"),
            "{problem}"
        );
    }
}
