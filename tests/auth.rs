//! Stories of who calls: DIAL Core is asked, and nothing the client says decides.

use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};

use crate::world::{Plan, World, echoed, model, plan, says, ums, user};

/// DIAL Core as the upstream of everything: `key-<person>-…` is a per-request key of a person.
fn core(seen: &Seen, agent: &str) -> Reply {
    let key = seen.header("api-key").unwrap_or_default().to_owned();
    let known = key
        .strip_prefix("key-")
        .and_then(|rest| rest.split('-').next())
        .map(str::to_owned);
    match (seen.path.split('?').next().unwrap(), known) {
        ("/health", _) => Reply::json(200, json!({"status": "UP"})),
        ("/v1/bucket", Some(person)) if person == "project" => {
            Reply::json(200, json!({"bucket": "b"}))
        }
        ("/v1/bucket", Some(person)) if person == "elsewhere" => Reply::json(
            200,
            json!({"bucket": "b", "appdata": "alice/appdata/other-app"}),
        ),
        ("/v1/bucket", Some(person)) if person == "down" => Reply::text(500, "no"),
        ("/v1/bucket", Some(person)) if person == "busy" => Reply::text(429, "slow down"),
        ("/v1/bucket", Some(person)) if person == "astray" => Reply::text(200, "<html>"),
        ("/v1/bucket", Some(person)) => Reply::json(
            200,
            json!({"bucket": "b", "appdata": format!("{person}/appdata/mas-coordinator")}),
        ),
        (_, None) => Reply::json(401, json!({"error": {"message": "Unknown api key"}})),
        ("/openai/deployments/gpt-4o/chat/completions", _) => model(seen, agent),
        ("/openai/deployments/general-purpose-agent/chat/completions", _) => says("from GPA"),
        _ => Reply::text(404, "No route"),
    }
}

fn behind_core(agent: &'static str) -> Plan {
    plan(agent)
        .model(move |seen| core(seen, agent))
        .set("DIAL_URL", "{model}")
}

fn body(messages: &[Value], stream: bool) -> Value {
    json!({"messages": messages, "stream": stream})
}

#[tokio::test(flavor = "multi_thread")]
async fn models_and_agents_are_called_through_core_with_the_callers_key() {
    let world = behind_core("GPA").start().await;
    let request = world
        .post(&body(&[user("hi")], true))
        .header("authorization", "Bearer jwt");
    let mut request = request.build().unwrap();
    request
        .headers_mut()
        .insert("api-key", "key-alice-1".parse().unwrap());
    let answer = world.client().execute(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("from GPA"));
    for seen in world.model.seen() {
        assert_eq!(seen.header("api-key"), Some("key-alice-1"), "{}", seen.path);
        assert_eq!(seen.header("authorization"), None, "{}", seen.path);
    }
}

async fn with_key(
    world: &World,
    key: Option<&str>,
    messages: &[Value],
    stream: bool,
) -> (u16, String) {
    let mut request = world.post(&body(messages, stream)).build().unwrap();
    request.headers_mut().remove("api-key");
    if let Some(key) = key {
        request
            .headers_mut()
            .insert("api-key", key.parse().unwrap());
    }
    let response = world.client().execute(request).await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_before_any_agent_is_called() {
    let world = behind_core("UMS").start().await;
    for (key, status, code) in [
        (None, 401, "unauthorized"),
        (Some("made-up"), 401, "invalid_credentials"),
        (Some("key-project-1"), 401, "invalid_credentials"),
        (Some("key-elsewhere-1"), 401, "invalid_credentials"),
        (Some("key-down-1"), 503, "service_unavailable"),
        // One person's limit at Core must not look like an outage to who balances the load.
        (Some("key-busy-1"), 500, "internal_error"),
        // What is no JSON is not Core's answer, whatever its status.
        (Some("key-astray-1"), 503, "service_unavailable"),
    ] {
        let (block_status, block) = with_key(&world, key, &[user("Delete user Bob")], false).await;
        assert_eq!(block_status, status, "{key:?}: {block}");
        let block: Value = serde_json::from_str(&block).unwrap();
        assert_eq!(block["error"]["code"], code);
        assert!(block["error"]["display_message"].is_string());
        let (stream_status, stream) = with_key(&world, key, &[user("Delete user Bob")], true).await;
        // With a key there is a stream already when Core's answer comes.
        assert_eq!(stream_status, if key.is_none() { 401 } else { 200 });
        assert!(stream.contains(code), "{stream}");
    }
    assert_eq!(world.ums.seen().len(), 0, "no agent was called");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_registered_deployment_id_may_be_ours() {
    let world = behind_core("GPA")
        .set("MAS_DEPLOYMENT", "other, mas-coordinator")
        .start()
        .await;
    let (status, _) = with_key(&world, Some("key-alice-1"), &[user("hi")], false).await;
    assert_eq!(status, 200);
    let strict = behind_core("GPA")
        .set("MAS_DEPLOYMENT", "other")
        .start()
        .await;
    let (status, _) = with_key(&strict, Some("key-alice-1"), &[user("hi")], false).await;
    assert_eq!(status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_anothers_conversation_by_state_or_by_id() {
    let world = behind_core("UMS").ums(ums).start().await;
    let request = |key: &str, messages: &[Value]| {
        let mut request = world.post(&body(messages, true)).build().unwrap();
        request
            .headers_mut()
            .insert("api-key", key.parse().unwrap());
        request
    };
    let send = async |key: &str, messages: &[Value]| {
        let response = world
            .client()
            .execute(request(key, messages))
            .await
            .unwrap();
        crate::world::Answer::of(response.bytes().await.unwrap().to_vec())
    };
    let alice = send("key-alice-1", &[user("Do we have user John?")]).await;
    let messages = [
        user("Do we have user John?"),
        echoed(&alice),
        user("Delete him"),
    ];
    let made_anew = |answer: &crate::world::Answer| {
        answer.stage("Call UMS")["content"]
            .as_str()
            .unwrap()
            .contains("Created new")
    };
    assert!(made_anew(&alice));
    assert!(
        !made_anew(&send("key-alice-2", &messages).await),
        "a new key of the same person goes on"
    );
    // The same X-CONVERSATION-ID and alice's own state, in bob's hands.
    assert!(made_anew(&send("key-bob-1", &messages).await));
}
