//! Stories of signed tokens: only what the identity provider signed for us and for now says who it is.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use reqwest::header::HeaderValue;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair,
};
use sandbox::stub::{Reply, Stub};
use serde_json::{Value, json};

use crate::world::{Answer, Plan, World, echoed, plan, user};

const ISSUER: &str = "https://login.example.com";
/// Public halves and signatures of two keys that exist no more; both signed [`RSA_CLAIMS`].
const RSA_CLAIMS: &str =
    r#"{"iss":"https://login.example.com","aud":"mas","sub":"alice","exp":4102444800}"#;
const RSA_2048: [&str; 2] = [
    "uookxPAYi7XiEOdZG-TB2gQALB60EEiJBYziT2lmhhU3d0mCrQHtpcIdGEL0aZfQN1KLZ6LJieW-3dSxqR1v0IdSSlsQ7rqmND5sEQnGbEHhYAomb9hioBAEeyn4Kj9soRirM4azxMvHC8u4qmVMlTFkakNZXr7cEbCzyI__n2r9Gws9zAj51pdGI2bOL_cgxB3MuUx4M0DeAgSn9IyhafY3cUt6xldgYFUUqNfODXTLXt8DZW4to2OzMWUfRxegLQB1o4vuqBTuuydpHXwCQtqhFIRnxG05m0l1F79nZt5ZWhw8fhvLziimpnL1mbWnMc7g7TvU_Emh7wGDEr44WQ",
    "LL9pKVh3yod8d_HhePVlwEVbrl8ADhfYuD6dmFYWuXDaFSAfILwcULVNow-jclb_ZxXTZnHbGxIJJHKgLWJC5PlqEy0ZCFxyFq3QVv3TNWPd_uFeppxpY1BIJcVVQrh61JVd5OrvXb8DNFwrU-g8N_cqIa_BemzlCweTACI045juH0uaGKxgOIV_lg5h0_P7-sdWpVvZ3i63KKvpAFtsyGhxD8ZuagQWRr8y-f3ulT3ayrOF3Odnuw84Tbt2Hda9Fe0pT_Fgy6I2YI9mkozi7Mg_6vV758ET8SnlXL-R-iLboNCETEMCzgTyuhVgd0RDWTP8UBq9qd9Y44FzBnQR7A",
];
const RSA_1024: [&str; 2] = [
    "sj3mOOdvqLpFhAEPpgXPLkKHZJpVJrWV_-LM81ja4rBUtDhY2YqNLY4x9kUGcGMnVDKJinJZuy0v5U8N79i7LQC4N94fBo-NcH4fD6V97zuwj7mckGoHldV0cXeiujdasgQtSXkoYGZ-Mc3Nao54yw7Xm7xwiOeYsdf7ymDeErE",
    "CHY-y6aroTPtEzx1dlRWuj2lRUfcjMBs1_arXIKF8mg5tbvLGcxnu7RwfMw1DJaFsXKi6s2rc48TSikh6ldLHBfNAz4m1rMbfEcsom9taThV_xxnTEJyqpQCnmZA273UQttfbdmChdda8HEJrY0CfjbN9pJaRAj0H_m-dSQmrnw",
];

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Somebody who can sign.
enum Signer {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    fn p256() -> Self {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let pair = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(kind, pair.as_ref(), &random).unwrap())
    }

    fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap())
    }

    fn public(&self) -> &[u8] {
        match self {
            Self::P256(pair) => pair.public_key().as_ref(),
            Self::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        let public = self.public();
        match self {
            Self::P256(_) => {
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256",
                       "x": encoded(&public[1..33]), "y": encoded(&public[33..])})
            }
            Self::Ed25519(_) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encoded(public)})
            }
        }
    }

    fn sign(&self, message: &str) -> Vec<u8> {
        match self {
            Self::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message.as_bytes());
                signature.unwrap().as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        }
    }

    /// A token with this head and these claims.
    fn token_with(&self, head: &Value, claims: &Value) -> String {
        let signed = parts(head, claims);
        let signature = encoded(self.sign(&signed));
        format!("{signed}.{signature}")
    }

    fn token(&self, kid: &str, claims: &Value) -> String {
        let head = json!({"alg": self.algorithm(), "kid": kid, "typ": "JWT"});
        self.token_with(&head, claims)
    }
}

fn parts(head: &Value, claims: &Value) -> String {
    let (head, claims) = (head.to_string(), claims.to_string());
    format!("{}.{}", encoded(head), encoded(claims))
}

/// Good claims, changed by these; null takes a claim away.
fn claims(changes: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": "mas", "sub": "alice", "exp": now() + 300});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
    }
    claims
}

fn rsa_key(kid: &str, [modulus, _]: [&str; 2]) -> Value {
    json!({"kty": "RSA", "kid": kid, "n": modulus, "e": "AQAB"})
}

fn rsa_token(kid: &str, [_, signature]: [&str; 2]) -> String {
    let head = format!(r#"{{"alg":"RS256","kid":"{kid}","typ":"JWT"}}"#);
    format!("{}.{}.{signature}", encoded(head), encoded(RSA_CLAIMS))
}

/// An identity provider: it publishes what it is told to.
struct Provider {
    stub: Stub,
    published: Arc<Mutex<Reply>>,
}

impl Provider {
    async fn start(keys: &[Value]) -> Self {
        let published = Arc::new(Mutex::new(Reply::json(200, json!({ "keys": keys }))));
        let answer = Arc::clone(&published);
        let stub = Stub::start(move |_| answer.lock().unwrap().clone());
        Self {
            stub: stub.await.unwrap(),
            published,
        }
    }

    fn publish(&self, keys: &[Value]) {
        self.answer(Reply::json(200, json!({ "keys": keys })));
    }

    fn answer(&self, reply: Reply) {
        *self.published.lock().unwrap() = reply;
    }

    /// How often it was asked for its keys.
    fn asked(&self) -> usize {
        self.stub.seen().len()
    }

    fn plan(&self, agent: &str) -> Plan {
        self.plan_with(agent, "")
    }

    fn plan_with(&self, agent: &str, more: &str) -> Plan {
        let rules = format!("{}{more}", self.rules());
        plan(agent).set("MAS_AUTH", "jwt").set("MAS_JWT", &rules)
    }

    fn rules(&self) -> String {
        let url = self.stub.url();
        format!("issuer={ISSUER},audience=mas,jwks={url}/keys,algorithms=RS256+ES256+EdDSA")
    }
}

/// A request whose only credentials are these values of `Authorization`.
fn with<V: AsRef<[u8]>>(
    world: &World,
    values: &[V],
    messages: &[Value],
    stream: bool,
) -> reqwest::Request {
    let body = json!({"messages": messages, "stream": stream});
    let mut request = world.post(&body).build().unwrap();
    request.headers_mut().remove("api-key");
    for value in values {
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        request.headers_mut().append("authorization", value);
    }
    request
}

/// Status and error code of a block answer to these values of `Authorization`.
async fn sent<V: AsRef<[u8]>>(world: &World, values: &[V]) -> (u16, String) {
    let request = with(world, values, &[user("hi")], false);
    let response = world.client().execute(request).await.unwrap();
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    let code = body["error"]["code"].as_str().unwrap_or_default();
    (status, code.to_owned())
}

async fn status(world: &World, token: &str) -> u16 {
    sent(world, &[format!("Bearer {token}")]).await.0
}

async fn said(world: &World, token: &str, messages: &[Value]) -> Answer {
    let request = with(world, &[format!("Bearer {token}")], messages, true);
    let response = world.client().execute(request).await.unwrap();
    assert_eq!(response.status(), 200);
    Answer::of(response.bytes().await.unwrap().to_vec())
}

/// Jumps ahead. For tests on one thread, whose servers live on the same clock.
async fn later(wait: Duration) {
    tokio::time::pause();
    tokio::time::advance(wait).await;
    tokio::time::resume();
}

/// Lets servers on this very thread notice that everything has ended.
async fn settled(world: &World) {
    while world.running() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn good_tokens_of_every_algorithm_are_taken() {
    let (ec, ed) = (Signer::p256(), Signer::ed25519());
    let keys = [ec.jwk("ec"), ed.jwk("ed"), rsa_key("rsa-2048", RSA_2048)];
    let provider = Provider::start(&keys).await;
    let world = provider.plan("GPA").start().await;
    let plain = ec.token("ec", &claims(json!({})));
    let rich_head = json!({"alg": "ES256", "kid": "ec", "typ": "at+jwt", "cty": "x", "x": [1]});
    for (name, header) in [
        ("ES256", format!("Bearer {plain}")),
        ("lower case", format!("bearer {plain}")),
        ("upper case", format!("BEARER   {plain} ")),
        (
            "EdDSA",
            format!("Bearer {}", ed.token("ed", &claims(json!({})))),
        ),
        (
            "RS256",
            format!("Bearer {}", rsa_token("rsa-2048", RSA_2048)),
        ),
        (
            "several audiences",
            format!(
                "Bearer {}",
                ec.token("ec", &claims(json!({"aud": ["x", "mas"]})))
            ),
        ),
        (
            "within the leeway",
            format!(
                "Bearer {}",
                ec.token("ec", &claims(json!({"exp": now() - 30, "nbf": now() + 30})))
            ),
        ),
        (
            "more in the head",
            format!("Bearer {}", ec.token_with(&rich_head, &claims(json!({})))),
        ),
    ] {
        assert_eq!(
            sent(&world, &[header]).await,
            (200, String::new()),
            "{name}"
        );
    }
    assert_eq!(provider.asked(), 1, "the keys are kept");
    for seen in [world.model.seen(), world.gpa.seen()].concat() {
        let leaked = seen.headers.iter().any(|(_, value)| value.contains(&plain));
        assert!(!leaked, "the token goes nowhere: {}", seen.path);
    }
}

/// Every refusal of R-51, a row each: what is wrong, and the values of `Authorization`.
fn bad(ec: &Signer, ed: &Signer, attacker: &str) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let thief = Signer::p256();
    let good = claims(json!({}));
    let token = ec.token("ec", &good);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (head, _) = signed.split_once('.').unwrap();
    let of = |changes: Value| ec.token("ec", &claims(changes));
    let headed = |signer: &Signer, head: Value| signer.token_with(&head, &good);
    let unsigned = |alg: &str| format!("{}.", parts(&json!({"alg": alg, "kid": "ec"}), &good));
    let hashed = |key: &[u8], kid: &str| {
        let signed = parts(&json!({"alg": "HS256", "kid": kid}), &good);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
        let tag = ring::hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", encoded(tag))
    };
    let asn1 = {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
        let pair = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(kind, pair.as_ref(), &random).unwrap();
        encoded(pair.sign(&random, signed.as_bytes()).unwrap())
    };
    let modulus = URL_SAFE_NO_PAD.decode(RSA_2048[0]).unwrap();
    let addressed = |name: &str| {
        let mut head = json!({"alg": "ES256", "kid": "attacker"});
        head[name] = attacker.into();
        headed(&thief, head)
    };
    let addressed_known = |name: &str| {
        let mut head = json!({"alg": "ES256", "kid": "ec"});
        head[name] = attacker.into();
        headed(&thief, head)
    };
    let mut rows = vec![
        ("alg none", unsigned("none")),
        ("alg None", unsigned("None")),
        (
            "alg none with a signature",
            headed(ec, json!({"alg": "none", "kid": "ec"})),
        ),
        ("no alg", headed(ec, json!({"kid": "ec"}))),
        (
            "alg of another type",
            headed(ec, json!({"alg": ["ES256"], "kid": "ec"})),
        ),
        ("HS256 with the public point", hashed(ec.public(), "ec")),
        (
            "HS256 with the published key",
            hashed(ec.jwk("ec").to_string().as_bytes(), "ec"),
        ),
        ("HS256 with the modulus", hashed(&modulus, "rsa-2048")),
        (
            "HS256 with its text",
            hashed(RSA_2048[0].as_bytes(), "rsa-2048"),
        ),
        ("HS256 with nothing", hashed(b"", "ec")),
        (
            "alg of another key type",
            headed(ec, json!({"alg": "EdDSA", "kid": "ec"})),
        ),
        (
            "RS256 on a curve",
            headed(ec, json!({"alg": "RS256", "kid": "ec"})),
        ),
        (
            "ES256 on another curve",
            headed(ed, json!({"alg": "ES256", "kid": "ed"})),
        ),
        ("ES384", headed(ec, json!({"alg": "ES384", "kid": "ec"}))),
        (
            "another issuer",
            of(json!({"iss": "https://login.example.com.attacker.example"})),
        ),
        (
            "issuer with a slash",
            of(json!({"iss": format!("{ISSUER}/")})),
        ),
        ("no issuer", of(json!({"iss": null}))),
        ("another audience", of(json!({"aud": "other"}))),
        (
            "only other audiences",
            of(json!({"aud": ["other", "mas2"]})),
        ),
        ("no audience", of(json!({"aud": null}))),
        ("expired", of(json!({"exp": now() - 61}))),
        ("not valid yet", of(json!({"nbf": now() + 90}))),
        ("issued in the future", of(json!({"iat": now() + 90}))),
        ("no expiry", of(json!({"exp": null}))),
        (
            "expiry as text",
            of(json!({"exp": (now() + 300).to_string()})),
        ),
        ("expiry as list", of(json!({"exp": [now() + 300]}))),
        ("no owner", of(json!({"sub": null}))),
        ("empty owner", of(json!({"sub": ""}))),
        ("owner as number", of(json!({"sub": 5}))),
        ("owner without end", of(json!({"sub": "x".repeat(2000)}))),
        ("unknown key", ec.token("other", &good)),
        ("address as key id", thief.token(attacker, &good)),
        ("path as key id", ec.token("../../keys", &good)),
        ("no key id", headed(ec, json!({"alg": "ES256"}))),
        (
            "key id of another type",
            headed(ec, json!({"alg": "ES256", "kid": 1})),
        ),
        ("jku", addressed("jku")),
        ("jku beside a known key", addressed_known("jku")),
        ("x5u", addressed("x5u")),
        ("x5u beside a known key", addressed_known("x5u")),
        (
            "own key in jwk",
            headed(
                &thief,
                json!({"alg": "ES256", "kid": "attacker", "jwk": thief.jwk("attacker")}),
            ),
        ),
        (
            "own key in jwk under a known id",
            headed(
                &thief,
                json!({"alg": "ES256", "kid": "ec", "jwk": thief.jwk("ec")}),
            ),
        ),
        (
            "own certificate",
            headed(
                &thief,
                json!({"alg": "ES256", "kid": "ec", "x5c": ["MIIB"]}),
            ),
        ),
        ("another key", thief.token("ec", &good)),
        ("short RSA key", rsa_token("rsa-1024", RSA_1024)),
        ("truncated signature", token[..token.len() - 4].to_owned()),
        ("empty signature", format!("{signed}.")),
        ("zero signature", format!("{signed}.{}", encoded([0; 64]))),
        ("signature in another form", format!("{signed}.{asn1}")),
        (
            "padded signature",
            format!(
                "{signed}.{}",
                URL_SAFE.encode(URL_SAFE_NO_PAD.decode(signature).unwrap())
            ),
        ),
        (
            "other claims under the signature",
            format!(
                "{head}.{}.{signature}",
                encoded(claims(json!({"sub": "bob"})).to_string())
            ),
        ),
        (
            "critical extension",
            headed(
                ec,
                json!({"alg": "ES256", "kid": "ec", "crit": ["b64"], "b64": true}),
            ),
        ),
        ("two parts", signed.to_owned()),
        ("four parts", format!("{token}.x")),
        ("five parts", format!("{token}.x.y")),
        ("a space within", token.replacen('.', ". ", 1)),
        (
            "no JSON",
            format!("{}.{}.{signature}", encoded("x"), encoded("y")),
        ),
        ("no base64", format!("!{token}")),
        ("oversized", of(json!({"more": "x".repeat(16 * 1024)}))),
    ];
    rows.push(("nothing", String::new()));
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(name, token)| (name, vec![format!("Bearer {token}").into_bytes()]))
        .collect();
    let bearer = format!("Bearer {token}").into_bytes();
    rows.extend([
        ("two headers", vec![bearer.clone(), bearer.clone()]),
        (
            "a bad one first",
            vec![b"Bearer x".to_vec(), bearer.clone()],
        ),
        (
            "a bad one second",
            vec![bearer.clone(), b"Bearer x".to_vec()],
        ),
        (
            "two in one",
            vec![[&bearer[..], b", ", &bearer[..]].concat()],
        ),
        ("no scheme", vec![token.clone().into_bytes()]),
        ("another scheme", vec![b"Basic YTpi".to_vec()]),
        ("an empty header", vec![Vec::new()]),
        ("not ASCII", vec![[&bearer[..], "ключ".as_bytes()].concat()]),
        (
            "bytes",
            vec![[b"Bearer \xff\xfe".as_slice(), token.as_bytes()].concat()],
        ),
    ]);
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_token_is_refused_in_the_same_words() {
    let (ec, ed) = (Signer::p256(), Signer::ed25519());
    let keys = [
        ec.jwk("ec"),
        ed.jwk("ed"),
        rsa_key("rsa-2048", RSA_2048),
        rsa_key("rsa-1024", RSA_1024),
    ];
    let provider = Provider::start(&keys).await;
    let attacker = Provider::start(&[ec.jwk("attacker")]).await;
    let world = provider.plan("GPA").start().await;
    let address = format!("{}/keys", attacker.stub.url());
    for (name, values) in bad(&ec, &ed, &address) {
        let refused = (401, "invalid_credentials".to_owned());
        assert_eq!(sent(&world, &values).await, refused, "{name}");
    }
    let none: [&str; 0] = [];
    assert_eq!(sent(&world, &none).await.1, "unauthorized");
    assert_eq!(attacker.asked(), 0, "nobody asks the attacker");
    assert!(provider.asked() <= 2, "{} requests", provider.asked());
    assert!(provider.stub.seen().iter().all(|seen| seen.path == "/keys"));
    assert_eq!(world.gpa.seen().len(), 0, "no agent was called");
    let good = ec.token("ec", &claims(json!({})));
    assert_eq!(status(&world, &good).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_configured_algorithms_are_taken() {
    let (ec, ed) = (Signer::p256(), Signer::ed25519());
    let provider = Provider::start(&[ec.jwk("ec"), ed.jwk("ed")]).await;
    let world = provider.plan_with("GPA", ",algorithms=EdDSA").start().await;
    let good = claims(json!({}));
    assert_eq!(status(&world, &ec.token("ec", &good)).await, 401);
    assert_eq!(status(&world, &ed.token("ed", &good)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_fetched_once_and_unknown_ones_never_cause_a_storm() {
    let (first, second) = (Signer::p256(), Signer::ed25519());
    let provider = Provider::start(&[first.jwk("1")]).await;
    let world = provider.plan("GPA").start().await;
    let good = claims(json!({}));
    let (old, new) = (first.token("1", &good), second.token("2", &good));
    assert_eq!(status(&world, &old).await, 200);
    assert_eq!(status(&world, &old).await, 200);
    assert_eq!(provider.asked(), 1);
    provider.publish(&[second.jwk("2")]);
    assert_eq!(status(&world, &new).await, 200);
    assert_eq!(status(&world, &old).await, 401, "its key was withdrawn");
    for kid in ["3", "4", "5"] {
        assert_eq!(status(&world, &first.token(kid, &good)).await, 401);
    }
    assert_eq!(status(&world, &new).await, 200);
    assert_eq!(provider.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_come_together_share_one_fetch() {
    let ec = Signer::p256();
    let provider = Provider::start(&[]).await;
    provider.answer(
        Reply::json(200, json!({"keys": [ec.jwk("ec")]})).delay(Duration::from_millis(300)),
    );
    let world = provider
        .plan("GPA")
        .set("MAS_LIMITS", "concurrent=off")
        .start()
        .await;
    let token = ec.token("ec", &claims(json!({})));
    let answers = join_all((0..8).map(async |n| {
        let words = [user(&format!("request {n}"))];
        let bearer = [format!("Bearer {token}")];
        let request = with(&world, &bearer, &words, false);
        world
            .client()
            .execute(request)
            .await
            .unwrap()
            .status()
            .as_u16()
    }))
    .await;
    assert_eq!(answers, [200; 8]);
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn while_the_provider_is_down_its_last_keys_go_on() {
    let ec = Signer::p256();
    let provider = Provider::start(&[ec.jwk("ec")]).await;
    let world = provider.plan("GPA").start().await;
    let token = ec.token("ec", &claims(json!({"exp": now() + 3600})));
    assert_eq!(status(&world, &token).await, 200);
    for nonsense in [
        Reply::text(500, "no"),
        Reply::text(200, "<html>"),
        Reply::json(200, json!({"error": "x"})),
        Reply::json(302, json!({})).header("location", "http://127.0.0.1:9/keys"),
    ] {
        provider.answer(nonsense);
        later(Duration::from_secs(601)).await;
        let before = provider.asked();
        assert_eq!(status(&world, &token).await, 200);
        assert_eq!(status(&world, &token).await, 200);
        let stranger = ec.token("other", &claims(json!({})));
        assert_eq!(status(&world, &stranger).await, 401);
        assert_eq!(
            provider.asked(),
            before + 1,
            "it is not asked at once again"
        );
    }
    // Its keys have changed meanwhile.
    provider.publish(&[]);
    later(Duration::from_secs(61)).await;
    assert_eq!(status(&world, &token).await, 401);
    settled(&world).await;
}

#[tokio::test]
async fn without_any_keys_nobody_can_be_verified() {
    let ec = Signer::p256();
    let provider = Provider::start(&[]).await;
    provider.answer(Reply::text(500, "no"));
    let world = provider.plan("UMS").start().await;
    let token = ec.token("ec", &claims(json!({})));
    let bearer = [format!("Bearer {token}")];
    for _ in 0..3 {
        let unavailable = (503, "service_unavailable".to_owned());
        assert_eq!(sent(&world, &bearer).await, unavailable);
    }
    later(Duration::from_secs(2)).await;
    let answer = said(&world, &token, &[user("Rename user Bob")]).await;
    assert_eq!(answer.error_code(), "service_unavailable");
    assert_eq!(world.ums.seen().len(), 0, "no agent was called");
    provider.publish(&[ec.jwk("ec")]);
    later(Duration::from_secs(2)).await;
    assert_eq!(status(&world, &token).await, 200);
    settled(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_conversation_of_two_people_or_tenants_is_two() {
    let ec = Signer::p256();
    let provider = Provider::start(&[ec.jwk("ec")]).await;
    let world = provider.plan_with("UMS", ",tenant=org").start().await;
    let token = |org: &str, sub: &str| ec.token("ec", &claims(json!({"org": org, "sub": sub})));
    let first = said(
        &world,
        &token("a", "alice"),
        &[user("Do we have user John?")],
    )
    .await;
    let next = [
        user("Do we have user John?"),
        echoed(&first),
        user("Rename him"),
    ];
    for (org, sub, anew) in [
        ("a", "alice", false),
        ("a", "bob", true),
        ("b", "alice", true),
        ("a#O#jwt:alice", "alice", true),
        ("a", "alice#", true),
        ("A", "alice", true),
    ] {
        // The conversation's id and alice's own state, in everybody's hands.
        let answer = said(&world, &token(org, sub), &next).await;
        assert_eq!(answer.checked.error, None);
        let stage = answer.stage("Call UMS");
        let begun = stage["content"].as_str().unwrap().contains("Created new");
        assert_eq!(begun, anew, "{sub} of {org}");
    }
    let homeless = ec.token("ec", &claims(json!({})));
    assert_eq!(status(&world, &homeless).await, 401, "no tenant is named");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_counts_for_readiness_as_much_as_it_matters() {
    for (ways, code) in [("jwt", 503), ("jwt,secret", 200)] {
        let provider = Provider::start(&[]).await;
        provider.answer(Reply::text(500, "no"));
        let world = plan("GPA")
            .set("MAS_AUTH", ways)
            .set("MAS_JWT", &provider.rules())
            .set("MAS_AUTH_SECRETS", "ops:0123456789abcdef0123456789abcdef")
            .start()
            .await;
        let response = world.get("/health/ready").send().await.unwrap();
        assert_eq!(response.status(), code, "{ways}");
        let body: Value = response.json().await.unwrap();
        let checks = body["checks"].as_array().unwrap();
        let check = checks.iter().find(|it| it["name"] == "identity-provider");
        assert_eq!(check.unwrap()["state"], "down");
    }
}
