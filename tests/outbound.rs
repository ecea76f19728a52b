//! Calls out: agents only where agents may be, checked when the connection is made.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use coordinator::domain::agent::{AgentCard, Effect, Endpoint, Protocol, Registry};
use coordinator::domain::ids::{AgentId, Clock, Millis};
use coordinator::domain::network::{Networks, Refused};
use coordinator::gateway::{self, Gateway, Gateways, Reach};
use coordinator::resilience::retry::Repeat;
use coordinator::settings::{Env, Settings};
use coordinator::store::{self, Wire};
use coordinator::upstream::{Bounds, Call, Certificates, Client, Error, Limits, Lookup, Trust};
use futures_util::StreamExt;
use sandbox::stub::{Reply, Stub};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::compose;
use crate::gateway_contract::{protocols, task};
use crate::world::{KEYS, delta, echoed, finish, guard, plan, user};

fn networks(entries: &str) -> Networks {
    Networks::parse(entries.split(',').filter(|entry| !entry.is_empty())).unwrap()
}

/// A client whose names resolve to these addresses, one list for each time that it asks; the last one is repeated.
fn client(entries: &str, answers: &'static [&'static [&'static str]]) -> Client {
    let asked = AtomicUsize::new(0);
    let lookup = Lookup::new(move |_| {
        let at = asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let found: Vec<IpAddr> = (answers[at].iter())
            .map(|address| address.parse().unwrap())
            .collect();
        Box::pin(std::future::ready(Ok(found)))
    });
    Client::new(&Bounds {
        networks: networks(entries),
        lookup,
        ..Bounds::default()
    })
    .unwrap()
}

/// A call to an agent that may change something, so that each has a connection of its own.
fn call(url: &str) -> Call {
    let limits = Limits {
        first_byte: Duration::from_secs(5),
        idle: Duration::from_secs(5),
        until: Instant::now() + Duration::from_secs(5),
    };
    Call::post(url.to_owned(), b"{}".to_vec(), limits).guarded()
}

async fn refused(client: &Client, url: &str) -> Refused {
    match client.body(call(url)).await {
        Err(Error::Refused(refused)) => refused,
        other => panic!("{url}: {other:?}"),
    }
}

async fn stub() -> (Stub, String) {
    let stub = Stub::start(|_| Reply::json(200, json!({}))).await.unwrap();
    let named = stub.url().replace("127.0.0.1", "agent.test");
    (stub, named)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_changes_its_address_between_two_calls_gains_nothing() {
    let (stub, named) = stub().await;
    for second in [
        &["169.254.169.254"] as &'static [&'static str],
        &["10.0.0.1"],
        &["::ffff:10.0.0.1"],
        &["127.0.0.2"],
    ] {
        let answers: &'static [&'static [&'static str]] =
            Box::leak(Box::new([&["127.0.0.1"] as &[&str], second]));
        let client = client("127.0.0.1/32", answers);
        let before = stub.seen().len();
        client.body(call(&named)).await.unwrap();
        refused(&client, &named).await;
        assert_eq!(stub.seen().len(), before + 1, "{second:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_addresses_only_the_good_ones_are_called() {
    let (stub, named) = stub().await;
    let both = client("loopback", &[&["10.0.0.1", "127.0.0.1", "169.254.169.254"]]);
    both.body(call(&named)).await.unwrap();
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_place_of_a_name_is_checked_as_well() {
    let (stub, _) = stub().await;
    let port = stub.url().rsplit(':').next().unwrap().to_owned();
    let nothing_listed = client("", &[&["8.8.8.8"]]);
    for host in [
        "127.0.0.1",
        "0x7f.1",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ] {
        let url = format!("http://{host}:{port}/");
        assert!(
            matches!(refused(&nothing_listed, &url).await, Refused::Private(_)),
            "{host}"
        );
    }
    let metadata = client("loopback,private", &[&["8.8.8.8"]]);
    for host in [
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[::ffff:a9fe:a9fe]",
        "0.0.0.0",
    ] {
        let url = format!("https://{host}/latest/meta-data/");
        assert!(
            matches!(refused(&metadata, &url).await, Refused::Never(..)),
            "{host}"
        );
    }
    for url in ["ftp://x/", "https://user@x/", "https://:pw@x/", "nonsense"] {
        assert_eq!(refused(&metadata, url).await, Refused::Malformed, "{url}");
    }
    assert_eq!(stub.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_spoken_only_where_it_is_listed() {
    let (stub, named) = stub().await;
    let public = client("10.0.0.0/8", &[&["93.184.216.34"]]);
    assert!(matches!(
        refused(&public, "http://agent.test/").await,
        Refused::Plain(_)
    ));
    let by_name = client("agent.test", &[&["127.0.0.1"]]);
    by_name.body(call(&named)).await.unwrap();
    let below = client(".test", &[&["127.0.0.1"]]);
    below.body(call(&named)).await.unwrap();
    assert_eq!(stub.seen().len(), 2);
}

async fn gateways(protocol: Protocol, endpoint: &str, client: Client) -> Gateways {
    let card = AgentCard {
        effect: Effect::None,
        model: Some("m".into()),
        ..AgentCard::new("A", protocol, Endpoint::Url(endpoint.parse().unwrap()))
    };
    let reach = Reach {
        client,
        core: None,
        first_byte: Duration::from_secs(5),
        idle: Duration::from_secs(5),
        guard: guard().await,
        dwell: Duration::from_secs(60),
        signer: None,
    };
    Gateways::connect(&Registry::new(vec![card], None).unwrap(), &reach, None).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_protocol_calls_and_checks_its_agent_under_the_rule() {
    for protocol in protocols() {
        let (stub, named) = stub().await;
        for endpoint in [stub.url(), named] {
            let before = stub.seen().len();
            let connected = async |entries: &str| {
                gateways(protocol, &endpoint, client(entries, &[&["127.0.0.1"]]))
                    .await
                    .get(&AgentId::new("A"))
                    .unwrap()
                    .clone()
            };
            let strict: Arc<dyn Gateway> = connected("").await;
            let is_refused = |error: &gateway::Error| {
                matches!(error, gateway::Error::Unasked(Error::Refused(_))) && error.is_unasked()
            };
            let checked = strict.check(Duration::from_secs(5)).await;
            assert!(is_refused(&checked.unwrap_err()), "{protocol:?} {endpoint}");
            let first = strict.call(task()).next().await;
            assert!(
                is_refused(&first.unwrap().unwrap_err()),
                "{protocol:?} {endpoint}"
            );
            assert_eq!(stub.seen().len(), before, "{protocol:?} {endpoint}");
            let open = connected("loopback").await;
            open.check(Duration::from_secs(5)).await.unwrap();
        }
        assert_eq!(stub.seen().len(), 2, "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_agent_fails_kindly_and_its_address_is_not_shown() {
    for agent in ["GPA", "UMS"] {
        let world = plan(agent)
            .set("MAS_PRIVATE_NETWORKS", "10.0.0.0/8")
            .start()
            .await;
        let answer = world.ask(&[user("Rename user Bob")]).await;
        assert_eq!(answer.error_code(), "agent_unavailable");
        // What is configured is trusted: the model on the same machine has answered.
        assert_eq!(answer.stage("Coordination Request")["status"], "completed");
        let raw = String::from_utf8_lossy(&answer.raw);
        assert!(raw.contains("Please try again."), "nothing was done: {raw}");
        assert!(
            !raw.contains("127.0.0.1") && !raw.contains("MAS_PRIVATE"),
            "{raw}"
        );
        assert_eq!(world.gpa.seen().len() + world.ums.seen().len(), 0);
    }
}

/// A server that keeps connections and counts them; `drops` breaks a connection at its second request, before any answer.
struct Keeper {
    url: String,
    connections: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn keeper(drops: bool) -> Keeper {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (connections, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (counted, broken) = (Arc::clone(&connections), Arc::clone(&dropped));
    let server = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let broken = Arc::clone(&broken);
            tokio::spawn(async move {
                let (mut request, mut answered) = ([0; 4096], 0);
                while socket.read(&mut request).await.unwrap_or(0) > 0 {
                    if drops && answered == 1 {
                        broken.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    answered += 1;
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                    socket.write_all(answer).await.unwrap();
                }
            });
        }
    });
    Keeper {
        url,
        connections,
        dropped,
        server,
    }
}

fn reads(url: &str) -> Call {
    let mut call = call(url);
    call.repeat = Repeat::Freely;
    call
}

/// Calls until a connection was used again: it goes back to the others shortly after its answer.
async fn reuses(client: &Client, keeper: &Keeper) -> usize {
    for _ in 0..100 {
        let before = keeper.connections.load(Ordering::SeqCst);
        client.body(reads(&keeper.url)).await.unwrap();
        if before > 0 && keeper.connections.load(Ordering::SeqCst) == before {
            return before;
        }
        tokio::task::yield_now().await;
    }
    panic!("no connection was used twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_dropped_after_a_gap_that_only_the_wall_clock_has_seen() {
    let keeper = keeper(false).await;
    let seconds = Arc::new(AtomicU64::new(1000));
    let now = Arc::clone(&seconds);
    let clock = Clock::new(move || Millis(now.load(Ordering::SeqCst) * 1000));
    let client = Client::new(&Bounds {
        networks: networks("loopback"),
        pool_idle: Duration::from_secs(60),
        clock,
        ..Bounds::default()
    })
    .unwrap();
    for gap in [61, 0] {
        let kept = reuses(&client, &keeper).await;
        // Frozen for a minute, or set back by one.
        if gap > 0 {
            seconds.fetch_add(gap, Ordering::SeqCst);
        } else {
            seconds.store(900, Ordering::SeqCst);
        }
        client.body(reads(&keeper.url)).await.unwrap();
        assert_eq!(keeper.connections.load(Ordering::SeqCst), kept + 1, "{gap}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_turns_out_dead_costs_a_reading_call_nothing() {
    let keeper = keeper(true).await;
    let client = client("loopback", &[]);
    for _ in 0..100 {
        client.body(reads(&keeper.url)).await.unwrap();
        if keeper.dropped.load(Ordering::SeqCst) > 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("no connection was used twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_may_change_something_never_uses_a_kept_connection() {
    let keeper = keeper(true).await;
    let client = client("loopback", &[]);
    for _ in 0..5 {
        client.body(call(&keeper.url)).await.unwrap();
    }
    assert_eq!(keeper.connections.load(Ordering::SeqCst), 5);
}

/// A server of its own certificate that answers every request with `{}`; the certificate is the file's only content.
async fn tls_server(name: &str) -> (String, String, JoinHandle<()>) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = format!("{}/{name}.pem", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&file, cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let server = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut socket) = acceptor.accept(socket).await else {
                    return;
                };
                let mut request = [0; 4096];
                while socket.read(&mut request).await.unwrap_or(0) > 0 {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                    socket.write_all(answer).await.unwrap();
                }
            });
        }
    });
    (url, file, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_once_its_certificate_is_in_the_file() {
    let (url, file, server) = tls_server("agent").await;
    let client = |certificates| {
        Client::new(&Bounds {
            networks: networks("loopback"),
            certificates,
            ..Bounds::default()
        })
        .unwrap()
    };
    let stranger = client(Certificates::default()).body(call(&url)).await;
    assert!(matches!(stranger, Err(Error::Connect(_))), "{stranger:?}");
    let certificates = Certificates::read(&file).unwrap();
    let trusting = client(certificates.clone());
    trusting.body(call(&url)).await.unwrap();
    let mut configured = call(&url);
    configured.trust = Trust::Configured;
    trusting.body(configured).await.unwrap();
    // The table's client is another one.
    let table = store::connect_by(
        "mas",
        Wire {
            endpoint: Some(&url),
            pem: Some(certificates.pem()),
            attempt: Duration::from_secs(5),
            idle: Duration::MAX,
            clock: Clock::default(),
        },
    )
    .await;
    table.check().await.unwrap();
    assert!(
        store::connect("mas", Some(&url))
            .await
            .check()
            .await
            .is_err()
    );
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_of_certificates_stops_the_start_with_a_sentence() {
    let file = |name: &str, text: &str| {
        let path = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&path, text).unwrap();
        path
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for path in [
        "/nowhere/ca.pem".to_owned(),
        file("empty.pem", ""),
        file("text.pem", "certificates"),
        file("broken.pem", broken),
    ] {
        let env = Env::from([
            ("OPENAI_BASE_URL", "http://127.0.0.1:9"),
            ("UMS_AGENT_ENDPOINT", "http://127.0.0.1:9"),
            ("GPA_AGENT_ENDPOINT", "http://127.0.0.1:9"),
            ("MAS_AUTH", "none"),
            ("MAS_STATE_KEYS", KEYS),
            ("SSL_CERT_FILE", &path),
        ]);
        let settings = Settings::read(&env).unwrap();
        let problem = compose::app(&settings, coordinator::metrics::Metrics::Off)
            .await
            .unwrap_err()
            .to_string();
        let sentence = format!("SSL_CERT_FILE is {path:?}, expected a file of certificates (PEM)");
        assert!(problem.starts_with(&sentence), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_in_messages_and_answers_are_never_fetched() {
    let bait = Stub::start(|_| Reply::text(200, "fetched")).await.unwrap();
    let url = bait.url();
    let file = |name: &str| {
        json!({"title": "t", "type": "image/png", "url": format!("{url}/{name}"),
                                   "reference_url": format!("{url}/{name}-reference")})
    };
    let stage = json!({"index": 0, "name": format!("{url}/name"), "content": format!("![i]({url}/stage)"),
                       "attachments": [file("stage-file")], "status": "completed"});
    let links =
        format!("see ![image]({url}/image), [link]({url}/link), <{url}/bare> and {url}/plain");
    let reply = Reply::sse()
        .data(delta(json!({"content": links})))
        .data(delta(
            json!({"custom_content": {"stages": [stage], "attachments": [file("answer-file")]}}),
        ))
        .data(finish())
        .done();
    let asks = json!({"role": "user", "content": [
        {"type": "text", "text": links},
        {"type": "image_url", "image_url": {"url": format!("{url}/part")}}
    ], "custom_content": {"attachments": [file("request-file")]}});
    for agent in ["GPA", "UMS"] {
        let reply = reply.clone();
        let world = plan(agent).gpa(move |_| reply.clone()).start().await;
        let answer = world.well(std::slice::from_ref(&asks)).await;
        let again = [asks.clone(), echoed(&answer), asks.clone()];
        world.well(&again).await;
    }
    assert_eq!(bait.seen().len(), 0, "{:?}", bait.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_kept_connections_that_are_both_dead_neither_costs_a_reading_call_anything() {
    let keeper = keeper(true).await;
    let client = client("loopback", &[]);
    while keeper.connections.load(Ordering::SeqCst) < 2 {
        let (one, two) = futures_util::join!(
            client.body(reads(&keeper.url)),
            client.body(reads(&keeper.url))
        );
        one.unwrap();
        two.unwrap();
    }
    // Both connections go back to the others shortly after their answers.
    tokio::time::sleep(Duration::from_millis(200)).await;
    client.body(reads(&keeper.url)).await.unwrap();
    assert_eq!(keeper.dropped.load(Ordering::SeqCst), 1);
}
