//! Stories of people's rights: everything that is kept of a person is handed out, and nothing of it outlives an erasure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use coordinator::domain::audit::By;
use coordinator::domain::conversation::TurnRecord;
use coordinator::domain::ids::{AgentId, Clock, ConversationId, Owner, TurnId};
use coordinator::domain::proposal::Proposal;
use coordinator::http;
use coordinator::policy::Entry;
use coordinator::privacy::{self, Refused};
use coordinator::store::envelope::Seal;
use coordinator::store::keyring::Keyring;
use coordinator::store::{self, Breakers, Conversations, Proposals, Saved, Session, Write};
use proptest::prelude::*;
use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};

use crate::audit::log_of;
use crate::world::{Answer, KEYS, Plan, World, echoed, items, plan, raw, ums, user};

const ALICE: &str = "alice-0123456789abcdef0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef0123456789abcdef01";
const ADMIN: &str = "admin-0123456789abcdef0123456789abcdef";
const AUDITOR: &str = "audit-0123456789abcdef0123456789abcdef";

fn with_people(agent: &str) -> Plan {
    let secrets = format!("alice:{ALICE},bob:{BOB},root/admin:{ADMIN},eve/auditor:{AUDITOR}");
    (plan(agent).set("MAS_AUTH", "secret")).set("MAS_AUTH_SECRETS", &secrets)
}

fn keys() -> Keyring {
    Seal::parse(KEYS).unwrap().keyring("export")
}

async fn turn(world: &World, secret: &str, messages: &[Value]) -> Answer {
    let body = json!({"messages": messages, "stream": true});
    World::answer(world.post(&body).header("x-mas-secret", secret)).await
}

async fn call(world: &World, method: &str, path: &str, secret: &str) -> (u16, String) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let request = world
        .client()
        .request(method, format!("{}{path}", world.url));
    let response = request.header("x-mas-secret", secret).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn export(world: &World, secret: &str) -> Vec<Value> {
    let (status, text) = call(world, "GET", "/v1/person/export", secret).await;
    assert_eq!(status, 200, "{text}");
    privacy::verify(&keys(), &text).unwrap();
    text.lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn erase(world: &World, secret: &str) -> Value {
    let (status, text) = call(world, "DELETE", "/v1/person", secret).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The sort keys of what there is of a person.
async fn left(world: &World, owner: &str) -> Vec<String> {
    let pk = format!("T#default#O#{}", owner.replace(':', "%3A"));
    let all = items(&world.table).await;
    let own = all.iter().filter(|item| item["pk"]["S"] == pk.as_str());
    own.map(|item| item["sk"]["S"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_handed_everything_of_their_own_and_nothing_of_anothers() {
    let world = with_people("UMS").start().await;
    let first = turn(&world, ALICE, &[user("alice's first words")]).await;
    turn(
        &world,
        ALICE,
        &[
            user("alice's first words"),
            echoed(&first),
            user("and her second"),
        ],
    )
    .await;
    turn(&world, BOB, &[user("bob's words")]).await;
    let records = export(&world, ALICE).await;
    let of = |kind: &str| {
        records
            .iter()
            .filter(|record| record["kind"] == kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("conversation").len(), 1);
    assert_eq!(of("session").len(), 1);
    assert!(of("account")[0]["account"]["pseudonym"].is_string());
    let turns: BTreeSet<_> = (of("turn").iter())
        .map(|turn| turn["record"]["exchange"]["request"].as_str().unwrap())
        .collect();
    assert_eq!(
        turns,
        BTreeSet::from(["alice's first words", "and her second"])
    );
    let lines: BTreeSet<_> = of("audit")
        .iter()
        .map(|line| line["entry"]["turn"].to_string())
        .collect();
    let ids: BTreeSet<_> = of("turn")
        .iter()
        .map(|turn| turn["turn"].to_string())
        .collect();
    assert_eq!(lines, ids, "the log's lines about her, and no other");
    assert!(!serde_json::to_string(&records).unwrap().contains("bob"));
    // The export itself is in the log, and in the next export.
    let again = export(&world, ALICE).await;
    let exports = again
        .iter()
        .filter(|record| record["entry"]["kind"] == "export");
    assert_eq!(
        exports
            .map(|record| &record["entry"]["by"])
            .collect::<Vec<_>>(),
        ["themselves"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_was_changed_is_refused() {
    let world = with_people("GPA").start().await;
    turn(&world, ALICE, &[user("my words")]).await;
    let (_, text) = call(&world, "GET", "/v1/person/export", ALICE).await;
    let keys = keys();
    let manifest = privacy::verify(&keys, &text).unwrap();
    assert_eq!(
        (manifest.tenant.as_str(), manifest.owner.as_str()),
        ("default", "service:alice")
    );
    assert_eq!(manifest.counts["turn"], 1);
    let refused = |text: &str| privacy::verify(&keys, text).unwrap_err();
    assert_eq!(
        refused(&text.replace("my words", "others'")),
        Refused::Records
    );
    assert_eq!(
        refused(&text.replace("service:alice", "service:bob")),
        Refused::Manifest
    );
    assert_eq!(refused(text.trim_end()), Refused::Records);
    assert_eq!(
        refused(&text.lines().skip(1).collect::<String>()),
        Refused::NoManifest
    );
    assert_eq!(
        refused(&text.replacen("\"format\":1", "\"format\":2", 1)),
        Refused::Format(2)
    );
    let other = Seal::parse("k1:Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=").unwrap();
    assert_eq!(
        privacy::verify(&other.keyring("export"), &text),
        Err(Refused::Manifest)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_person_is_left_but_the_mark_and_lines_nobody_can_map() {
    let world = with_people("UMS").start().await;
    let first = turn(&world, ALICE, &[user("alice's words")]).await;
    turn(
        &world,
        ALICE,
        &[user("alice's words"), echoed(&first), user("and more")],
    )
    .await;
    turn(&world, BOB, &[user("bob's words")]).await;
    let of_bob = left(&world, "service:bob").await;
    let records = export(&world, ALICE).await;
    let account = records
        .iter()
        .find(|record| record["kind"] == "account")
        .unwrap();
    let pseudonym = account["account"]["pseudonym"].as_str().unwrap();

    let erased = erase(&world, ALICE).await;
    assert_eq!(
        erased,
        json!({"counts": {"conversations": 1, "references": 3, "sessions": 1, "turns": 2}, "sessions_left": 0})
    );
    assert_eq!(left(&world, "service:alice").await, ["ACCOUNT", "ERASED"]);
    assert_eq!(left(&world, "service:bob").await, of_bob);
    let deleted: Vec<String> = (world.ums.seen().into_iter())
        .filter(|seen| seen.method == "DELETE")
        .map(|seen| seen.path)
        .collect();
    assert_eq!(
        deleted,
        ["/conversations/19b1346a-acca-4abf-b81b-b1f21c51dc70"]
    );
    // The table as a whole: no words, and the pseudonym in the log alone.
    for item in items(&world.table).await {
        let text = item.to_string();
        assert!(!text.contains("alice's words"), "{text}");
        let is_log = item["pk"]["S"].as_str().unwrap().starts_with("AUDIT#");
        assert!(is_log || !text.contains(pseudonym), "{text}");
    }
    let after = export(&world, ALICE).await;
    let kinds: Vec<_> = after
        .iter()
        .map(|record| record["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["account", "erased"]);
    let log = crate::audit::entries(&world.table).await;
    assert_eq!(
        log.iter()
            .filter(|entry| entry["kind"] == "erasure")
            .count(),
        1
    );
    // Again, as often as one likes.
    let again = erase(&world, ALICE).await;
    assert_eq!(
        again["counts"],
        json!({"conversations": 0, "references": 0, "sessions": 0, "turns": 0})
    );
    // And the person may come back, as somebody new.
    turn(&world, ALICE, &[user("here I am")]).await;
    let records = export(&world, ALICE).await;
    let account = records
        .iter()
        .find(|record| record["kind"] == "account")
        .unwrap();
    assert_ne!(account["account"]["pseudonym"], pseudonym);
    assert!(records.iter().any(|record| record["kind"] == "turn"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_cannot_delete_is_counted_and_tried_again() {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let world = with_people("UMS")
        .ums(move |seen| match seen.method.as_str() {
            "DELETE" if is_broken.load(Ordering::SeqCst) => Reply::json(500, json!({})),
            "DELETE" => Reply::json(200, json!({})),
            _ => ums(seen),
        })
        .start()
        .await;
    turn(&world, ALICE, &[user("words")]).await;
    let erased = erase(&world, ALICE).await;
    assert_eq!(
        (&erased["sessions_left"], &erased["counts"]["sessions"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(
        left(&world, "service:alice").await.len(),
        3,
        "the session is still known"
    );
    broken.store(false, Ordering::SeqCst);
    let erased = erase(&world, ALICE).await;
    assert_eq!(
        (&erased["sessions_left"], &erased["counts"]["sessions"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(left(&world, "service:alice").await, ["ACCOUNT", "ERASED"]);
}

/// A turn of an agent that takes long enough for an erasure meanwhile.
async fn with_slow_ums() -> World {
    let plan = with_people("UMS").ums(|seen: &Seen| match seen.path.ends_with("/chat") {
        true => ums(seen).delay(Duration::from_millis(1500)),
        false => ums(seen),
    });
    plan.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_runs_during_an_erasure_brings_nothing_back() {
    let world = with_slow_ums().await;
    let asked = [user("alice's words")];
    let running = turn(&world, ALICE, &asked);
    let erasing = async {
        while !world
            .ums
            .seen()
            .iter()
            .any(|seen| seen.path.ends_with("/chat"))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        erase(&world, ALICE).await
    };
    let (answer, erased) = tokio::join!(running, erasing);
    assert_eq!(erased["counts"]["turns"], 0, "there was nothing yet");
    assert_eq!(answer.checked.error, None, "the answer is not held back");
    assert!(
        answer
            .stages()
            .iter()
            .all(|stage| stage["name"] != "Conversation memory")
    );
    assert_eq!(left(&world, "service:alice").await, ["ACCOUNT", "ERASED"]);
    let deleted = world
        .ums
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "DELETE");
    assert_eq!(
        deleted.count(),
        1,
        "the conversation that the turn made at the agent"
    );
    let log = crate::audit::entries(&world.table).await;
    let kinds: Vec<_> = log
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "turn").count(),
        1,
        "it did happen: {kinds:?}"
    );
    // Its state counts for nothing either.
    let next = turn(
        &world,
        ALICE,
        &[user("alice's words"), echoed(&answer), user("go on")],
    )
    .await;
    assert!(
        next.stage("Call UMS")["content"]
            .as_str()
            .unwrap()
            .contains("Created new")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_from_before_an_erasure_brings_nothing_back_after_a_later_one() {
    let world = with_slow_ums().await;
    let asked = [user("alice's words")];
    let running = turn(&world, ALICE, &asked);
    let later = async {
        while world.ums.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        erase(&world, ALICE).await;
        // This process now knows the account as it is after the erasure.
        turn(&world, ALICE, &[user("@GPA said afterwards")]).await;
    };
    let _ = tokio::join!(running, later);
    let kept = items(&world.table).await;
    let records: Vec<&str> = kept
        .iter()
        .filter_map(|item| item["record"]["S"].as_str())
        .collect();
    assert_eq!(records.len(), 1, "{records:?}");
    assert!(records[0].contains("said afterwards"), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_made_before_the_erasure_counts_as_nothing() {
    let world = with_people("GPA").start().await;
    let first = turn(&world, ALICE, &[user("one")]).await;
    erase(&world, ALICE).await;
    let second = turn(&world, ALICE, &[user("one"), echoed(&first), user("two")]).await;
    let told = |at: usize| {
        let asked = World::asked(&world.gpa)[at]["messages"].clone();
        asked.as_array().unwrap().len()
    };
    assert_eq!(told(1), 1, "the agent is told nothing of before");
    let third = [
        user("one"),
        echoed(&first),
        user("two"),
        echoed(&second),
        user("three"),
    ];
    turn(&world, ALICE, &third).await;
    assert_eq!(told(2), 3, "what came after counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_door_opens_for_its_role_alone() {
    let world = with_people("GPA").start().await;
    turn(&world, ALICE, &[user("words")]).await;
    let today = coordinator::domain::day::Day::of(http::clock()).to_string();
    let day = format!("/v1/audit/{today}");
    let check = format!("{day}/verify");
    for (method, path, alice, admin, auditor) in [
        ("GET", "/v1/person/export", 200, 200, 200),
        ("GET", "/v1/persons/service:alice/export", 403, 200, 403),
        ("DELETE", "/v1/persons/service%3Aalice", 403, 200, 403),
        ("DELETE", "/v1/person", 200, 200, 200),
        ("GET", &day, 403, 403, 200),
        ("GET", &check, 403, 403, 200),
        ("GET", "/v1/audit/yesterday", 403, 403, 400),
        ("POST", "/v1/person", 405, 405, 405),
        ("DELETE", "/v1/person/export", 405, 405, 405),
        ("GET", "/v1/elsewhere", 404, 404, 404),
    ] {
        for (who, secret, expected) in [
            ("alice", ALICE, alice),
            ("admin", ADMIN, admin),
            ("auditor", AUDITOR, auditor),
        ] {
            let (status, text) = call(&world, method, path, secret).await;
            assert_eq!(status, expected, "{who}: {method} {path}: {text}");
            if status >= 400 {
                let error: Value = serde_json::from_str(&text).unwrap();
                assert!(error["error"]["display_message"].is_string());
            }
        }
        if alice < 404 {
            let (status, _) = call(&world, method, path, "made-up").await;
            assert_eq!(status, 401, "{method} {path}");
        }
    }
    let (_, text) = call(&world, "GET", &check, AUDITOR).await;
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&report["fine"], &report["report"]["problems"]),
        (&json!(true), &json!([]))
    );
    let (_, text) = call(&world, "GET", &day, AUDITOR).await;
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.iter().all(|line| line["good"] == true));
    let kinds: BTreeSet<_> = lines
        .iter()
        .map(|line| line["entry"]["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        BTreeSet::from(["turn", "export", "erasure", "read"]),
        "whoever looks is seen"
    );
    assert!(!text.contains("alice") && !text.contains("words"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_table_nothing_is_handed_out_or_said_to_be_erased() {
    let world = with_people("GPA")
        .set("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
        .start()
        .await;
    for (method, path) in [("GET", "/v1/person/export"), ("DELETE", "/v1/person")] {
        let (status, text) = call(&world, method, path, ALICE).await;
        assert_eq!(status, 503, "{text}");
    }
}

/// Everything that the table holds after some use, of every kind.
async fn used() -> World {
    let world = with_people("UMS")
        .set("MAS_ROUTING", "guess=off,check=off")
        .start()
        .await;
    turn(&world, ALICE, &[user("words")]).await;
    turn(&world, BOB, &[user("words")]).await;
    erase(&world, BOB).await;
    let coordinator = world.app.coordinator();
    let guard = &coordinator.guard;
    let permit = guard
        .permit(
            &"agent:X@x".into(),
            Default::default(),
            Duration::from_secs(1),
            tokio::time::Instant::now() + Duration::from_secs(60),
        )
        .await;
    permit
        .unwrap()
        .settle(coordinator::resilience::breaker::Outcome::Failure { after: None })
        .await;
    let proposal = Proposal {
        steps: Vec::new(),
        given: Vec::new(),
        turn: TurnId::now(),
        agent: AgentId::new("UMS"),
        request: "words".into(),
        attachments: Vec::new(),
        instructions: None,
        conversation: ConversationId::new("c"),
        left_out: Vec::new(),
    };
    let alice = Owner::new("default", "alice");
    let table = &coordinator.table;
    let proposals = Proposals::of(table, &alice);
    let hour = Duration::from_secs(3600);
    proposals
        .put(&proposal, http::clock().seconds(), hour)
        .await
        .unwrap();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn every_item_expires_and_what_has_expired_is_gone_for_every_reader() {
    let world = used().await;
    let all = items(&world.table).await;
    let word = |item: &Value| {
        let sk = item["sk"]["S"].as_str().unwrap();
        let pk = item["pk"]["S"].as_str().unwrap().split('#').next().unwrap();
        let kind = sk.split('#').next().unwrap();
        match (pk, kind, sk.contains("~HEAD"), sk.contains("ROLL")) {
            ("T", "CONV", true, _) => "conversation".to_owned(),
            ("T", "CONV", false, _) => "turn".to_owned(),
            (_, kind, _, true) => format!("roll {kind}"),
            ("BREAKERS", ..) => "breaker".to_owned(),
            ("DECISIONS", ..) => "decision".to_owned(),
            (_, kind, ..) => kind.to_owned(),
        }
    };
    let kinds: BTreeSet<String> = all.iter().map(word).collect();
    let expected = [
        "ACCOUNT",
        "AUDIT",
        "ERASED",
        "HEAD",
        "LINE",
        "PROPOSAL",
        "SESSION",
        "breaker",
        "conversation",
        "decision",
        "roll HEAD",
        "roll LINE",
        "turn",
    ];
    assert_eq!(
        kinds,
        expected.map(String::from).into(),
        "a new kind belongs here, too"
    );
    let now = http::clock();
    for item in &all {
        let expires: u64 = item["expires_at"]["N"].as_str().unwrap().parse().unwrap();
        assert!(expires > now.seconds().0, "{item}");
        let mut expired = item.clone();
        expired["expires_at"]["N"] = now.seconds().0.to_string().into();
        raw(
            &world.table,
            "PutItem",
            json!({"TableName": "mas", "Item": expired}),
        )
        .await;
    }
    let table = store::connect("mas", Some(&world.table)).await;
    let alice = Owner::new("default", "service:alice");
    let conversations = Conversations::of(&table, alice.clone(), Duration::from_secs(100));
    let conversation = all
        .iter()
        .find(|item| word(item) == "conversation")
        .unwrap();
    let id = conversation["sk"]["S"]
        .as_str()
        .unwrap()
        .split('#')
        .nth(1)
        .unwrap();
    let seconds = now.seconds();
    let stored = conversations
        .load(&ConversationId::new(id), seconds)
        .await
        .unwrap();
    assert_eq!(stored, Default::default());
    let ums = AgentId::new("UMS");
    let session = "19b1346a-acca-4abf-b81b-b1f21c51dc70";
    assert!(
        !conversations
            .owns_session(&ums, session, seconds)
            .await
            .unwrap()
    );
    let records = store::Person::of(&table, &alice)
        .records(seconds)
        .await
        .unwrap();
    assert!(records.is_empty(), "{records:?}");
    let breakers = Breakers::of(&table).all(now).await.unwrap();
    assert!(
        breakers
            .iter()
            .all(|(_, breaker)| breaker.value == Default::default())
    );
    let privacy = &world.app.privacy();
    let account = store::Accounts::of(
        &table,
        Default::default(),
        Duration::from_secs(100),
        Default::default(),
    );
    assert_eq!(account.find(&alice, now).await.unwrap(), Default::default());
    let log = log_of(&world.table, Clock::new(http::clock)).await;
    let today = coordinator::domain::day::Day::of(now);
    let report = log
        .verify("default", today..=today, &[], |_, _| {})
        .await
        .unwrap();
    assert_eq!((report.lines, report.problems), (0, vec![]));
    // And what is written anew is not hindered by what was.
    privacy
        .erase(&alice, TurnId::now(), By::Command)
        .await
        .unwrap();
    turn(&world, ALICE, &[user("words")]).await;
    assert!(left(&world, "service:alice").await.len() > 3);
}

/// What two people do, and when one of them is erased.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A turn in one of two conversations, with an agent's state of so many bytes, perhaps with a new session.
    Save {
        alice: bool,
        conversation: u8,
        state: usize,
        session: bool,
    },
    /// A turn that begins now and is saved at the end.
    Begin {
        alice: bool,
    },
    Erase,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let save = (
        any::<bool>(),
        0_u8..2,
        prop_oneof![Just(10_usize), Just(500_000)],
        any::<bool>(),
    );
    let step = prop_oneof![
        5 => save.prop_map(|(alice, conversation, state, session)| Step::Save { alice, conversation, state, session }),
        2 => any::<bool>().prop_map(|alice| Step::Begin { alice }),
        1 => Just(Step::Erase),
    ];
    proptest::collection::vec(step, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn after_an_erasure_nothing_of_the_person_is_found_and_all_of_the_other(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(follow(&steps))?;
    }
}

async fn follow(steps: &[Step]) -> Result<(), TestCaseError> {
    static SESSIONS: AtomicU32 = AtomicU32::new(0);
    let world = plan("UMS")
        .ums(|_| Reply::json(200, json!({})))
        .start()
        .await;
    let (privacy, ums) = (&world.app.privacy(), AgentId::new("UMS"));
    let owner = |alice: bool| Owner::new("default", if alice { "alice" } else { "bob" });
    let save = async |alice: bool, id: TurnId, conversation: u8, state: usize, session: bool| {
        let name = if alice {
            "word-of-alice"
        } else {
            "word-of-bob"
        };
        let record: TurnRecord = serde_json::from_value(json!({
            "id": id, "at": http::clock().seconds(), "outcome": "answered", "source": "model", "rationale": name,
            "shown": "x", "duration_ms": 1, "exchange": {"agent": "GPA", "request": "r", "answer": "a", "state": {"s": "y".repeat(state)}}
        })).unwrap();
        let entry = coordinator::domain::audit::Entry::Read {
            at: http::clock(),
            by: By::Command,
            what: String::new(),
        };
        let made = format!("s{}", SESSIONS.fetch_add(1, Ordering::SeqCst));
        let conversations =
            Conversations::of(&privacy.table, owner(alice), Duration::from_secs(1000));
        let written = conversations
            .save(Write {
                ends: None,
                account: None,
                conversation: &ConversationId::new(&format!("c{conversation}")),
                record: &record,
                kept: true,
                sessions: session
                    .then_some(Session {
                        agent: &ums,
                        id: &made,
                        created: true,
                    })
                    .as_slice(),
                audit: Some((&privacy.audit, &entry)),
            })
            .await
            .unwrap();
        assert!(written.anchor.is_some());
        written.saved
    };
    let enter = async |alice: bool, turn: TurnId| {
        let now = http::clock();
        let entry = Entry {
            turn,
            now,
            until: now.plus(Duration::from_secs(60)),
            request: None,
            trace: None,
            conversation: None,
        };
        let _ = privacy.accounts.enter(&owner(alice), &entry).await;
    };
    let (mut begun, mut turns) = (Vec::new(), [0_u64, 0]);
    let mut erased = None;
    for step in steps {
        match *step {
            Step::Save {
                alice,
                conversation,
                state,
                session,
            } => {
                let id = TurnId::now();
                enter(alice, id).await;
                let saved = save(alice, id, conversation, state, session).await;
                prop_assert_eq!(saved, Saved::Whole);
                turns[usize::from(alice)] += 1;
            }
            Step::Begin { alice } => {
                let id = TurnId::now();
                enter(alice, id).await;
                begun.push((alice, id));
            }
            Step::Erase => {
                let id = TurnId::now();
                let done = privacy.erase(&owner(true), id, By::Command).await.unwrap();
                prop_assert_eq!(done.counts["turns"], turns[1]);
                (erased, turns[1]) = (Some(id), 0);
            }
        }
    }
    for (alice, id) in begun {
        let saved = save(alice, id, 0, 10, true).await;
        let late = alice && erased.is_some_and(|erased| id < erased);
        prop_assert_eq!(saved == Saved::Erased, late);
        turns[usize::from(alice)] += u64::from(!late);
    }
    for (at, alice) in [(0, false), (1, true)] {
        let bundle = privacy.export(&owner(alice), By::Command).await.unwrap();
        let manifest = privacy::verify(&keys(), &bundle).unwrap();
        prop_assert_eq!(
            manifest.counts.get("turn").copied().unwrap_or_default(),
            turns[at]
        );
        let other = if alice {
            "word-of-bob"
        } else {
            "word-of-alice"
        };
        prop_assert!(!bundle.contains(other));
    }
    // Nothing is left of alice but the mark, and nothing is lost of bob.
    privacy
        .erase(&owner(true), TurnId::now(), By::Command)
        .await
        .unwrap();
    prop_assert_eq!(left(&world, "alice").await, ["ACCOUNT", "ERASED"]);
    let all = serde_json::to_string(&items(&world.table).await).unwrap();
    prop_assert!(!all.contains("word-of-alice"));
    let bundle = privacy.export(&owner(false), By::Command).await.unwrap();
    let manifest = privacy::verify(&keys(), &bundle).unwrap();
    prop_assert_eq!(
        manifest.counts.get("turn").copied().unwrap_or_default(),
        turns[0]
    );
    Ok(())
}
