//! Stories of credentials that live elsewhere.

use coordinator::settings::Env;
use std::sync::{Arc, Mutex};

use sandbox::stub::{Reply, Seen, Stub};
use serde_json::{Value, json};

use crate::compose;
use crate::registry::{ALICE, BOSS, call, health, turn_of};
use crate::world::{KEYS, Plan, plan, user};

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
            "GPA_API_KEY: the secret mas/other cannot be read: the answer was status 400 (code ResourceNotFoundException)",
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

/// A Systems Manager with a parameter of an agent, and one of ours.
fn parameters(seen: &Seen) -> Reply {
    assert_eq!(seen.header("x-amz-target"), Some("AmazonSSM.GetParameter"));
    assert!(
        seen.header("authorization")
            .unwrap()
            .contains("/ssm/aws4_request")
    );
    let asked = seen.json();
    assert_eq!(asked["WithDecryption"], true);
    let value = match asked["Name"].as_str().unwrap() {
        "/mas/agents/hr" => "hr-secret",
        "/mas/agents/all" => r#"{"gpa": "hunter2"}"#,
        "/mas/state" => KEYS,
        _ => return Reply::json(400, json!({"__type": "ParameterNotFound"})),
    };
    Reply::json(200, json!({"Parameter": {"Value": value, "Version": 1}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_key_may_be_a_parameter_of_systems_manager() {
    let here = "agents:\n- {name: GPA, endpoint: '{gpa}/gpa', key: 'ssm:/mas/agents/all#gpa'}\n";
    for (name, value) in [
        ("GPA_API_KEY", "ssm:/mas/agents/all#gpa"),
        ("MAS_AGENTS", here),
    ] {
        let stub = Stub::start(parameters).await.unwrap();
        let plan = plan("GPA").set("AWS_ENDPOINT_URL_SSM", &stub.url());
        let world = plan.set(name, value).start().await;
        world.well(&[user("hi")]).await;
        assert_eq!(world.gpa.seen()[0].header("api-key"), Some("hunter2"));
    }
}

/// Who may change agents, by secrets.
fn staff(plan: Plan) -> Plan {
    plan.set("MAS_AUTH", "secret").set(
        "MAS_AUTH_SECRETS",
        &format!("alice:{ALICE},boss/admin:{BOSS}"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_from_elsewhere_gets_the_secrets_of_agents_and_none_of_ours() {
    let document = |key: &str| {
        format!(
            "agents:\n- {{name: GPA, endpoint: '${{GPA_AGENT_ENDPOINT}}', key: '{key}', effect: none}}\n"
        )
    };
    let text = Arc::new(Mutex::new(document("ssm:/mas/agents/hr")));
    let there = Arc::clone(&text);
    let stub = Stub::start(move |seen| match seen.method.as_str() {
        "GET" => Reply::raw(200, "application/yaml", there.lock().unwrap().clone()),
        _ => parameters(seen),
    });
    let stub = stub.await.unwrap();
    let world = plan("GPA")
        .set("MAS_AGENTS", "s3://bucket/agents.yaml")
        .set("AWS_ENDPOINT_URL_S3", &stub.url())
        .set("AWS_ENDPOINT_URL_SSM", &stub.url())
        .start()
        .await;
    world.well(&[user("hi")]).await;
    assert_eq!(world.gpa.seen()[0].header("api-key"), Some("hr-secret"));
    for (key, said) in [
        ("ssm:/mas/state", "was not fetched here"),
        ("${MAS_STATE_KEYS}", "MAS_STATE_KEYS is not set here"),
        (
            "ssm:/mas/agents/none",
            "the secret ssm:/mas/agents/none was not fetched",
        ),
    ] {
        *text.lock().unwrap() = document(key);
        world.app.live.refresh(true).await;
        let problem = health(&world).await["registry"]["problem"].to_string();
        assert!(
            problem.contains(said) && !problem.contains("AAECAwQFBg"),
            "{problem}"
        );
    }
    // It was not even asked for.
    let asked = |seen: &Seen| seen.method == "POST" && seen.json()["Name"] == "/mas/state";
    assert!(!stub.seen().iter().any(asked));
    // What is new is fetched anew.
    *text.lock().unwrap() = document("ssm:/mas/agents/all#gpa");
    world.app.live.refresh(true).await;
    assert_eq!(health(&world).await["registry"]["problem"], Value::Null);
    world.well(&[user("hi")]).await;
    assert_eq!(world.gpa.seen()[1].header("api-key"), Some("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_added_by_the_api_may_have_its_key_there_too() {
    let stub = Stub::start(parameters).await.unwrap();
    let plan = || staff(plan("HR")).set("AWS_ENDPOINT_URL_SSM", &stub.url());
    let world = plan().start().await;
    let put = async |key: &str| {
        let entry =
            json!({"endpoint": format!("{}/hr", world.gpa.url()), "key": key, "effect": "none"});
        let (status, _, said) = call(&world, BOSS, "PUT", "/HR", None, Some(&entry)).await;
        (status, said.to_string())
    };
    for (key, said) in [
        ("ssm:/mas/state", "a credential is not kept here"),
        ("ssm:/mas/agents/none", "was not fetched"),
    ] {
        let (status, problem) = put(key).await;
        assert!(status == 400 && problem.contains(said), "{problem}");
    }
    let (status, told) = put("ssm:/mas/agents/hr").await;
    assert!(status == 200 && !told.contains("hr-secret"), "{told}");
    turn_of(&world, "my leave").await;
    assert_eq!(world.gpa.seen()[0].header("api-key"), Some("hr-secret"));
    // Whoever starts later has it, too.
    let later = plan()
        .set("AWS_ENDPOINT_URL_DYNAMODB", &world.table)
        .start()
        .await;
    let coordinator = later.app.coordinator();
    let key = coordinator.registry.get("HR").unwrap().key.clone();
    assert_eq!(key.unwrap().expose(), "hr-secret");
}
