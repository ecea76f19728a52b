//! Stories of who calls: the configured ways are tried, and nothing else that a client says decides.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use coordinator::settings::{Env, Settings};
use reqwest::header::{HeaderName, HeaderValue};
use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::compose;
use crate::world::{Answer, Plan, World, echoed, model, plan, says, ums, user};

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
        // Models that are not behind Core.
        ("/chat/completions", _) => model(seen, agent),
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
        let (block_status, block) = with_key(&world, key, &[user("Rename user Bob")], false).await;
        assert_eq!(block_status, status, "{key:?}: {block}");
        let block: Value = serde_json::from_str(&block).unwrap();
        assert_eq!(block["error"]["code"], code);
        assert!(block["error"]["display_message"].is_string());
        let (stream_status, stream) = with_key(&world, key, &[user("Rename user Bob")], true).await;
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
        Answer::of(response.bytes().await.unwrap().to_vec())
    };
    let alice = send("key-alice-1", &[user("Do we have user John?")]).await;
    let messages = [
        user("Do we have user John?"),
        echoed(&alice),
        user("Rename him"),
    ];
    let made_anew = |answer: &Answer| {
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

const OLD: &str = "old-0123456789abcdef0123456789abcdef";
const NEW: &str = "new-0123456789abcdef0123456789abcdef";

/// A request with these headers as its only credentials.
fn with<'a, V: AsRef<[u8]> + 'a>(
    world: &World,
    headers: impl IntoIterator<Item = (&'static str, V)>,
    messages: &[Value],
    stream: bool,
) -> reqwest::Request {
    let mut request = world.post(&body(messages, stream)).build().unwrap();
    request.headers_mut().remove("api-key");
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        let name = HeaderName::from_static(name);
        request.headers_mut().append(name, value);
    }
    request
}

/// Status and error code of a block answer.
async fn refusal(world: &World, request: reqwest::Request) -> (u16, String) {
    let response = world.client().execute(request).await.unwrap();
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    let code = body["error"]["code"].as_str().unwrap_or_default();
    (status, code.to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn streamed(world: &World, request: reqwest::Request) -> Answer {
    let response = world.client().execute(request).await.unwrap();
    assert_eq!(response.status(), 200);
    Answer::of(response.bytes().await.unwrap().to_vec())
}

/// Whether the UMS was asked for a new conversation, as it is for somebody whom we do not know yet.
fn began_anew(answer: &Answer) -> bool {
    assert_eq!(answer.checked.error, None);
    let stage = answer.stage("Call UMS");
    stage["content"].as_str().unwrap().contains("Created new")
}

/// What somebody says next who was told `answer`.
fn next(answer: &Answer) -> [Value; 3] {
    [
        user("Do we have user John?"),
        echoed(answer),
        user("Rename him"),
    ]
}

/// Core verifies people, a secret proves the service `core`, and models and agents are elsewhere.
fn with_people_and_secrets(agent: &'static str, ways: &str) -> Plan {
    behind_core(agent)
        .set("OPENAI_BASE_URL", "{model}")
        .set("GPA_AGENT_ENDPOINT", "{gpa}/gpa")
        .set("MAS_AUTH", ways)
        .set("MAS_AUTH_SECRETS", &format!("core:{OLD}"))
}

fn with_secrets(agent: &'static str) -> Plan {
    plan(agent).set("MAS_AUTH", "secret").set(
        "MAS_AUTH_SECRETS",
        &format!("core:{OLD}, core:{NEW}, jobs:{}", OLD.replace("old", "job")),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn two_secrets_are_valid_while_one_is_rotated() {
    let world = with_secrets("UMS").start().await;
    let ask = async |secret: &str, messages: &[Value]| {
        let request = with(&world, [("x-mas-secret", secret)], messages, true);
        streamed(&world, request).await
    };
    let first = ask(OLD, &[user("Do we have user John?")]).await;
    assert!(began_anew(&first));
    assert!(
        !began_anew(&ask(NEW, &next(&first)).await),
        "the same service with its new secret"
    );
    let other = OLD.replace("old", "job");
    assert!(
        began_anew(&ask(&other, &next(&first)).await),
        "another service"
    );
    for seen in [world.model.seen(), world.ums.seen()].concat() {
        assert_eq!(seen.header("x-mas-secret"), None, "{}", seen.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_wrong_credentials_get_the_same_answer() {
    let world = with_secrets("GPA").start().await;
    let wrong: [&[&[u8]]; 7] = [
        &[b"wrong"],
        &[b""],
        &[b"   "],
        &[OLD.as_bytes(), OLD.as_bytes()],
        &[OLD.as_bytes(), b"x"],
        &["секрет-0123456789abcdef0123456789abcdef".as_bytes()],
        &[&[b'x'; 20_000]],
    ];
    let mut answers = Vec::new();
    for values in wrong {
        for stream in [false, true] {
            let headers = values.iter().map(|value| ("x-mas-secret", value));
            let request = with(&world, headers, &[user("hi")], stream);
            let response = world.client().execute(request).await.unwrap();
            assert_eq!(response.status(), 401);
            let mut error: Value = response.json().await.unwrap();
            let message = error["error"]["message"].as_str().unwrap();
            let (message, _) = message.rsplit_once(", reference ").unwrap();
            error["error"]["message"] = message.into();
            answers.push(error);
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    assert_eq!(answers[0]["error"]["code"], "invalid_credentials");
    let nothing = with(&world, [("x-other", OLD)], &[user("hi")], false);
    assert_eq!(refusal(&world, nothing).await, refused(401, "unauthorized"));
    assert_eq!(world.model.seen().len() + world.gpa.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_in_the_query_are_no_credentials() {
    let world = with_people_and_secrets("GPA", "dial,secret").start().await;
    let query = format!(
        "api-key=key-alice-1&Api-Key=key-alice-1&x-mas-secret={OLD}&X-MAS-Secret={OLD}&access_token=x&api-version=1"
    );
    let none: [(&str, &str); 0] = [];
    let mut request = with(&world, none, &[user("hi")], false);
    request.url_mut().set_query(Some(&query));
    assert_eq!(refusal(&world, request).await, refused(401, "unauthorized"));
    assert_eq!(world.model.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_way_that_verifies_says_who_it_is() {
    for (ways, alice_first) in [("dial,secret", true), ("secret,dial", false)] {
        let world = with_people_and_secrets("UMS", ways).start().await;
        let ask = async |headers: &[(&'static str, &str)], messages: &[Value]| {
            let request = with(&world, headers.iter().copied(), messages, true);
            streamed(&world, request).await
        };
        let (alice, core) = (("api-key", "key-alice-1"), ("x-mas-secret", OLD));
        let first = ask(&[alice], &[user("Do we have user John?")]).await;
        assert!(began_anew(&first), "a way without credentials is skipped");
        let both = ask(&[alice, core], &next(&first)).await;
        assert_eq!(began_anew(&both), !alice_first, "{ways}");
        let wrong_key = ask(&[("api-key", "made-up"), core], &next(&first)).await;
        // The service is not alice; where it has spoken before, it goes on.
        assert_eq!(began_anew(&wrong_key), alice_first, "{ways}");
        let wrong_secret = ask(&[alice, ("x-mas-secret", "wrong")], &next(&first)).await;
        assert!(!began_anew(&wrong_secret), "alice is alice");
        let neither = [("api-key", "made-up"), ("x-mas-secret", "wrong")];
        let neither = with(&world, neither, &[user("hi")], false);
        assert_eq!(
            refusal(&world, neither).await,
            refused(401, "invalid_credentials")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_becomes_somebody_else_while_core_is_out_of_order() {
    let world = with_people_and_secrets("GPA", "dial,secret").start().await;
    let both = [("api-key", "key-down-1"), ("x-mas-secret", OLD)];
    let request = with(&world, both, &[user("hi")], false);
    assert_eq!(
        refusal(&world, request).await,
        refused(503, "service_unavailable")
    );
    let service = with(&world, [("x-mas-secret", OLD)], &[user("hi")], false);
    assert_eq!(refusal(&world, service).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_name_somebody_change_nothing() {
    let world = behind_core("UMS").start().await;
    let claims = |person: &'static str| {
        [
            ("x-tenant", "other"),
            ("x-tenant-id", "other"),
            ("x-user-id", person),
            ("x-owner", person),
            ("x-forwarded-user", person),
            ("x-dial-user", person),
            ("x-mas-owner", person),
            ("authorization", "Bearer alice"),
        ]
    };
    let ask = async |key: &'static str, person: &'static str, messages: &[Value]| {
        let headers = claims(person).into_iter().chain([("api-key", key)]);
        streamed(&world, with(&world, headers, messages, true)).await
    };
    let first = ask("key-alice-1", "bob", &[user("Do we have user John?")]).await;
    assert!(!began_anew(
        &ask("key-alice-2", "carol", &next(&first)).await
    ));
    assert!(began_anew(&ask("key-bob-1", "alice", &next(&first)).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_chat_path_wants_credentials() {
    let world = with_secrets("GPA").start().await;
    for path in [
        "/openai/v1/chat/completions",
        "/openai/deployments/mas-coordinator/chat/completions",
        "/openai/deployments/health/chat/completions",
    ] {
        for (secret, status) in [(None, 401), (Some(OLD), 200)] {
            let headers = secret.map(|secret| ("x-mas-secret", secret));
            let mut request = with(&world, headers, &[user("hi")], true);
            request.url_mut().set_path(path);
            let response = world.client().execute(request).await.unwrap();
            assert_eq!(response.status(), status, "{path}");
            response.bytes().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn core_is_asked_whether_it_is_ready_only_where_it_verifies() {
    for (ways, status, state) in [
        ("dial", 503, Some("down")),
        ("dial,secret", 200, Some("down")),
        ("secret", 200, None),
    ] {
        let world = plan("GPA")
            .model(|_| Reply::text(500, "no"))
            .set("DIAL_URL", "{model}")
            .set("GPA_AGENT_ENDPOINT", "{gpa}/gpa")
            .set("MAS_AUTH", ways)
            .set("MAS_AUTH_SECRETS", &format!("core:{OLD}"))
            .start()
            .await;
        let response = world.get("/health/ready").send().await.unwrap();
        assert_eq!(response.status(), status, "{ways}");
        let body: Value = response.json().await.unwrap();
        let checks = body["checks"].as_array().unwrap();
        let core = checks.iter().find(|check| check["name"] == "dial-core");
        assert_eq!(
            core.map(|check| check["state"].as_str().unwrap()),
            state,
            "{ways}"
        );
    }
}

#[test]
fn without_a_way_to_verify_callers_there_is_no_start() {
    for (auth, named) in [
        (None, "MAS_AUTH"),
        (Some(","), "MAS_AUTH"),
        (Some("dial"), "MAS_AUTH"),
        (Some("secret"), "MAS_AUTH_SECRETS"),
        (Some("jwt"), "MAS_JWT"),
        (Some("secret,none"), "MAS_AUTH"),
        (Some("anybody"), "MAS_AUTH"),
    ] {
        let mut env = Env::from([("OPENAI_BASE_URL", "http://models.example/v1")]);
        if let Some(auth) = auth {
            env.set("MAS_AUTH", auth);
        }
        let problem = Settings::read(&env).unwrap_err().to_string();
        assert!(problem.contains(named), "{auth:?}: {problem}");
    }
}

/// Hears what is logged on this thread.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<(Level, String)>>>);

impl Ear {
    fn lines(&self) -> Vec<(Level, String)> {
        self.0.lock().unwrap().clone()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("coordinator") || metadata.target().contains("compose")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let level = *event.metadata().level();
        self.0.lock().unwrap().push((level, line.0));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_start_that_trusts_everybody_warns_each_time() {
    crate::logs::not_alone();
    for (auth, warned) in [("none", true), ("secret", false)] {
        let env = Env::from([
            ("OPENAI_BASE_URL", "http://models.example/v1"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9"),
            ("MAS_AUTH", auth),
            ("MAS_AUTH_SECRETS", "core:0123456789abcdef0123456789abcdef"),
            ("MAS_STATE_KEYS", crate::world::KEYS),
            ("GPA_AGENT_ENDPOINT", "http://127.0.0.1:9/gpa"),
        ]);
        let settings = Settings::read(&env).unwrap();
        for _ in 0..2 {
            let ear = Ear::default();
            let listening = tracing::subscriber::set_default(ear.clone());
            compose::app(&settings, coordinator::metrics::Metrics::Off)
                .await
                .unwrap();
            drop(listening);
            let heard = ear.lines().iter().any(|(level, line)| {
                *level == Level::WARN && line.contains("every caller is trusted")
            });
            assert_eq!(heard, warned, "{auth}");
        }
    }
}

#[tokio::test]
async fn the_log_says_why_a_caller_was_refused_and_never_what_was_sent() {
    let world = with_people_and_secrets("GPA", "dial,secret").start().await;
    crate::logs::not_alone();
    let ear = Ear::default();
    let _listening = tracing::subscriber::set_default(ear.clone());
    let sent = [
        ("api-key", "key-elsewhere-1"),
        ("x-mas-secret", "guessed-secret"),
    ];
    let request = with(&world, sent, &[user("hi")], false);
    assert_eq!(refusal(&world, request).await.0, 401);
    let lines: String = ear.lines().into_iter().map(|(_, line)| line).collect();
    assert!(lines.contains("caller_refused"), "{lines}");
    assert!(lines.contains("MAS_DEPLOYMENT names ours"), "{lines}");
    assert!(lines.contains("no such secret"), "{lines}");
    for (_, value) in sent {
        assert!(!lines.contains(value), "{lines}");
    }
    while world.running() > 0 {
        tokio::task::yield_now().await;
    }
}
