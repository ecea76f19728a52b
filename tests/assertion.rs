//! Stories of agents that want to know who calls them, and for whom.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coordinator::metrics::Metrics;
use coordinator::settings::Env;
use ring::signature::{ED25519, UnparsedPublicKey};
use sandbox::stub::Seen;
use serde_json::{Value, json};

use crate::compose;
use crate::world::{KEYS, Plan, World, plan, says, user};

const SIGNING: &str = "k2:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=,k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const AGENTS: &str = "agents:\n\
    - {name: GPA, endpoint: '{gpa}/gpa', key: '${GPA_API_KEY}', effect: none, assertion: true}\n\
    - {name: UMS, protocol: conversation, endpoint: '{ums}', assertion: true, audience: ums.example.com}\n";

fn agents(agent: &str, agents: &str) -> Plan {
    plan(agent)
        .gpa(|_| says("Done."))
        .set("MAS_AGENTS", agents)
        .set("MAS_ASSERTION_KEYS", SIGNING)
        .set("MAS_ASSERTION_ISSUER", "https://mas.example.com")
}

async fn published(world: &World) -> Value {
    let response = world.get("/.well-known/jwks.json").send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

/// What a token says, if one of these keys has signed it.
fn verified(token: &str, keys: &Value) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (head, claims) = signed.split_once('.')?;
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let head: Value = serde_json::from_slice(&decoded(head)).unwrap();
    assert_eq!(head["alg"], "EdDSA");
    let key = (keys["keys"].as_array()?.iter()).find(|key| key["kid"] == head["kid"])?;
    assert_eq!(
        (&key["kty"], &key["crv"]),
        (&json!("OKP"), &json!("Ed25519"))
    );
    let public = decoded(key["x"].as_str()?);
    UnparsedPublicKey::new(&ED25519, public)
        .verify(signed.as_bytes(), &decoded(signature))
        .ok()?;
    serde_json::from_slice(&decoded(claims)).ok()
}

fn bearer(seen: &Seen) -> &str {
    let bearer = seen.header("authorization").unwrap();
    bearer.strip_prefix("Bearer ").unwrap()
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_can_verify_who_calls_it_and_for_whom() {
    let world = agents("UMS", AGENTS).start().await;
    world.well(&[user("list users")]).await;
    let keys = published(&world).await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    let mut ids = HashSet::new();
    let mut turns = HashSet::new();
    let calls = world.ums.seen();
    assert_eq!(calls.len(), 2, "the conversation, and the message");
    for seen in &calls {
        let claims = verified(bearer(seen), &keys).expect("a good signature");
        assert_eq!(claims["iss"], "https://mas.example.com");
        assert_eq!(claims["aud"], "ums.example.com");
        assert_eq!(claims["tenant"], "default");
        let (issued, expires) = (
            claims["iat"].as_u64().unwrap(),
            claims["exp"].as_u64().unwrap(),
        );
        assert!(issued.abs_diff(now()) < 60, "{claims}");
        assert_eq!(expires, issued + 60);
        let subject = claims["sub"].as_str().unwrap();
        assert!(subject.len() == 43 && !subject.contains("development"));
        assert!(ids.insert(claims["jti"].as_str().unwrap().to_owned()));
        turns.insert(claims["turn"].as_str().unwrap().to_owned());
    }
    assert_eq!(turns.len(), 1);
    // What was signed for one call does not sign another.
    let (signed, _) = bearer(&calls[0]).rsplit_once('.').unwrap();
    let (_, other) = bearer(&calls[1]).rsplit_once('.').unwrap();
    assert_eq!(verified(&format!("{signed}.{other}"), &keys), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_agents_own_key_the_assertion_has_a_header_of_its_own() {
    let world = agents("GPA", AGENTS).start().await;
    world.well(&[user("hi")]).await;
    let seen = &world.gpa.seen()[0];
    assert_eq!(seen.header("api-key"), Some("gpa-key"));
    assert_eq!(seen.header("authorization"), None);
    let keys = published(&world).await;
    let claims = verified(seen.header("x-mas-assertion").unwrap(), &keys).unwrap();
    assert_eq!(
        claims["aud"],
        world.gpa.url(),
        "its place, where no audience is set"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_know_the_same_person_by_two_names() {
    let other = AGENTS.replace(
        "assertion: true, audience: ums.example.com",
        "assertion: true",
    );
    let mut names = HashSet::new();
    for (agent, text) in [("UMS", AGENTS), ("UMS", &other)] {
        let world = agents(agent, text).start().await;
        for _ in 0..2 {
            world.well(&[user("list users")]).await;
        }
        let keys = published(&world).await;
        let seen = world.ums.seen();
        let of = |seen: &Seen| verified(bearer(seen), &keys).unwrap()["sub"].to_string();
        let here: HashSet<String> = seen.iter().map(of).collect();
        assert_eq!(here.len(), 1, "it stays the same for one agent");
        names.extend(here);
    }
    assert_eq!(names.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_did_not_ask_for_it_is_told_who_calls() {
    let plain = AGENTS.replace(", assertion: true", "");
    let world = agents("UMS", &plain).start().await;
    world.well(&[user("list users")]).await;
    for seen in world.ums.seen() {
        assert_eq!(seen.header("authorization"), None);
        assert_eq!(seen.header("x-mas-assertion"), None);
    }
    let unsigned = plan("UMS").start().await;
    assert_eq!(published(&unsigned).await, json!({"keys": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_that_cannot_be_made_is_a_mistake_of_the_settings() {
    let check = async |agents: &str, keys: Option<&str>, part: &str| {
        let mut env = Env::from([
            ("MAS_AGENTS", agents),
            ("DIAL_URL", "https://core.example.com"),
            ("MAS_STATE_KEYS", KEYS),
        ]);
        if let Some(keys) = keys {
            env.or("MAS_ASSERTION_KEYS", keys);
        }
        let settings = compose::settings(env).await.unwrap();
        let problem = compose::app(&settings, Metrics::kept()).await.unwrap_err();
        assert!(problem.to_string().contains(part), "{problem}");
    };
    let url = "agents:\n- {name: A, endpoint: 'https://a.example.com', assertion: true}\n";
    check(url, None, "agent A wants an assertion").await;
    check(
        url,
        Some("k1:AAEC"),
        "MAS_ASSERTION_KEYS: key k1 has 3 bytes",
    )
    .await;
    let deployment = "agents:\n- {name: A, endpoint: a, assertion: true}\n";
    check(deployment, Some(SIGNING), "says itself who calls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_asked_what_it_can_can_verify_who_asks() {
    let discovering = AGENTS.replace("assertion: true", "assertion: true, discover: capabilities");
    let world = agents("UMS", &discovering).start().await;
    world.app.discover_all().await;
    let keys = published(&world).await;
    let asked = |seen: &[Seen]| {
        let mut asked = seen.iter().filter(|seen| seen.path == "/capabilities");
        asked.next().unwrap().clone()
    };
    let claims = verified(bearer(&asked(&world.ums.seen())), &keys).unwrap();
    assert_eq!(claims["aud"], "ums.example.com");
    // Nobody in particular asks.
    assert_eq!(
        (&claims["sub"], &claims["turn"]),
        (&Value::Null, &Value::Null)
    );
    let seen = asked(&world.gpa.seen());
    assert_eq!(seen.header("api-key"), Some("gpa-key"));
    let claims = verified(seen.header("x-mas-assertion").unwrap(), &keys).unwrap();
    assert_eq!(claims["aud"], world.gpa.url());
}
