//! Stories of the audit log: every turn has its line, and whatever is done to a line afterwards is found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use coordinator::domain::audit::{By, Entry};
use coordinator::domain::conversation::TurnRecord;
use coordinator::domain::day::Day;
use coordinator::domain::ids::{AgentId, Clock, ConversationId, Millis, Owner, Timestamp, TurnId};
use coordinator::http;
use coordinator::store::check::{Report, What};
use coordinator::store::envelope::Seal;
use coordinator::store::{self, Audit, Conversations, Saved, Session, Write, Written};
use futures_util::future::join_all;
use sandbox::stub::{Reply, Stub};
use serde_json::{Value, json};

use crate::world::{KEYS, World, items, plan, raw, table, user};

const YEAR: Duration = Duration::from_hours(365 * 24);

/// The log of another process on the same table.
pub async fn log_of(endpoint: &str, clock: Clock) -> Audit {
    let table = store::connect("mas", Some(endpoint)).await;
    let keys = Seal::parse(KEYS).unwrap().keyring("audit");
    Audit::new(&table, keys, YEAR, clock, TurnId::now())
}

pub fn tenant() -> &'static str {
    "default"
}

fn today() -> Day {
    Day::of(http::clock())
}

/// What a check of today finds.
async fn verify(endpoint: &str) -> Report {
    let log = log_of(endpoint, Clock::new(http::clock)).await;
    let mut days = 0;
    let (tenant, range) = (tenant(), today()..=today());
    let report = log.verify(tenant, range, &[], |_, _| days += 1);
    let report = report.await.unwrap();
    assert_eq!(days, 1);
    report
}

/// The entries of today.
pub async fn entries(endpoint: &str) -> Vec<Value> {
    let log = log_of(endpoint, Clock::new(http::clock)).await;
    let mut entries = Vec::new();
    let tenant = tenant();
    let report = log.show(tenant, today(), |shown| {
        assert!(shown.good);
        entries.push(serde_json::from_str(shown.entry.unwrap().get()).unwrap());
    });
    assert!(report.await.unwrap().is_fine());
    entries
}

fn read(n: u64) -> Entry {
    Entry::Read {
        at: Millis(n),
        by: By::Command,
        what: format!("{n}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_turn_leaves_one_line_with_its_decision_and_its_calls_and_nothing_that_was_said() {
    let world = plan("GPA").start().await;
    world.well(&[user("my secret question")]).await;
    world.well(&[user("another")]).await;
    let entries = entries(&world.table).await;
    assert_eq!(entries.len(), 2);
    let first = &entries[0];
    assert_eq!(first["kind"], "turn");
    assert_eq!(
        (&first["source"], &first["confidence"]),
        (&json!("model"), &json!(0.9))
    );
    assert_eq!(first["outcome"], "answered");
    assert_eq!(first["calls"][0]["agent"], "GPA");
    assert_eq!(first["calls"][0]["outcome"], "answered");
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(first["who"], entries[1]["who"], "one person, one pseudonym");
    assert_eq!(first["shown"], entries[1]["shown"], "the same words");
    assert_ne!(first["request"], entries[1]["request"]);
    let log = items(&world.table).await.into_iter();
    let log: Vec<_> = log
        .filter(|item| item["pk"]["S"].as_str().unwrap().starts_with("AUDIT"))
        .collect();
    let text = serde_json::to_string(&log).unwrap();
    for said in ["secret", "Final", "all good", "development"] {
        assert!(!text.contains(said), "{said} is in the log");
    }
    let report = verify(&world.table).await;
    assert!(report.is_fine(), "{report:?}");
    assert_eq!(
        (report.lines, report.lanes),
        (2, 1),
        "one lane is used again and again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_failed_says_why() {
    let world = plan("GPA")
        .gpa(|_| Reply::json(500, json!({})))
        .start()
        .await;
    world.ask(&[user("hi")]).await;
    let entries = entries(&world.table).await;
    assert_eq!(entries[0]["outcome"], "failed");
    assert_eq!(entries[0]["error"], "agent_unavailable");
    assert_eq!(entries[0]["calls"][0]["outcome"], "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_at_once_never_break_a_chain() {
    let (endpoint, _server) = table().await;
    let logs = join_all((0..8).map(|_| log_of(&endpoint, Clock::new(http::clock)))).await;
    let written = logs
        .iter()
        .flat_map(|log| (0..20).map(async |n| log.append(tenant(), &read(n), None).await.unwrap()));
    let anchors = join_all(written).await;
    let log = &logs[0];
    let days = today()..=today();
    let report = log
        .verify(tenant(), days, &anchors, |_, _| {})
        .await
        .unwrap();
    assert!(report.is_fine(), "{report:?}");
    assert_eq!(report.lines, 160);
    assert!((8..=160).contains(&report.lanes), "{}", report.lanes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_written_once_and_never_over_another() {
    let (endpoint, _server) = table().await;
    // Two processes that take themselves for the same one: the second finds its lane taken and its lines in the way.
    let me = TurnId::now();
    let keys = Seal::parse(KEYS).unwrap().keyring("audit");
    let store = store::connect("mas", Some(&endpoint)).await;
    let [one, other] =
        [0, 1].map(|_| Audit::new(&store, keys.clone(), YEAR, Clock::new(http::clock), me));
    one.append(tenant(), &read(1), None).await.unwrap();
    assert!(other.append(tenant(), &read(2), None).await.is_err());
    one.append(tenant(), &read(3), None).await.unwrap();
    let report = verify(&endpoint).await;
    assert!(report.is_fine(), "{report:?}");
    assert_eq!(report.lines, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_the_table_is_found() {
    let world = plan("GPA").start().await;
    for n in 0..4 {
        world.well(&[user(&format!("{n}"))]).await;
    }
    let of_log = |item: &Value, word: &str| {
        item["pk"]["S"]
            .as_str()
            .unwrap()
            .starts_with("AUDIT#default#")
            && item["sk"]["S"].as_str().unwrap().starts_with(word)
            && !item["sk"]["S"].as_str().unwrap().contains("ROLL")
    };
    let all = items(&world.table).await;
    let lines: Vec<&Value> = all.iter().filter(|item| of_log(item, "LINE#")).collect();
    let head = all.iter().find(|item| of_log(item, "HEAD#")).unwrap();
    assert_eq!(lines.len(), 4);
    let put = async |item: &Value| {
        raw(
            &world.table,
            "PutItem",
            json!({"TableName": "mas", "Item": item}),
        )
        .await;
    };
    let delete = async |item: &Value| {
        let key = json!({"pk": item["pk"], "sk": item["sk"]});
        raw(
            &world.table,
            "DeleteItem",
            json!({"TableName": "mas", "Key": key}),
        )
        .await;
    };
    let found = async || {
        let report = verify(&world.table).await;
        let what = report
            .problems
            .iter()
            .map(|problem| (problem.what, problem.seq));
        what.collect::<Vec<_>>()
    };
    assert_eq!(found().await, []);
    // An agent's name changed in the second line.
    let mut edited = lines[1].clone();
    let body = edited["body"]["S"].as_str().unwrap().replace("GPA", "UMS");
    edited["body"]["S"] = body.into();
    put(&edited).await;
    assert_eq!(found().await, [(What::Edited, Some(2))]);
    put(lines[1]).await;
    // The last one gone.
    delete(lines[3]).await;
    assert_eq!(found().await, [(What::Missing, Some(4))]);
    put(lines[3]).await;
    // The lane gone.
    delete(head).await;
    for line in &lines {
        delete(line).await;
    }
    assert_eq!(found().await, [(What::LaneMissing, None)]);
    // The day gone.
    for item in all.iter().filter(|item| item["pk"]["S"] == head["pk"]["S"]) {
        delete(item).await;
    }
    assert_eq!(found().await, [(What::DayMissing, None)]);
    // The roll of days gone, with all there was restored.
    for item in all.iter().filter(|item| item["pk"]["S"] == head["pk"]["S"]) {
        put(item).await;
    }
    assert_eq!(found().await, []);
    for item in all.iter().filter(|item| item["pk"]["S"] == "AUDIT#default") {
        delete(item).await;
    }
    assert_eq!(found().await, [(What::DayUnlisted, None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_midnight_a_new_day_begins_and_what_has_expired_is_not_missed() {
    static NOW: AtomicU64 = AtomicU64::new(1_000_000_000);
    let clock = Clock::new(|| Millis(NOW.load(Ordering::SeqCst)));
    let (endpoint, _server) = table().await;
    let log = log_of(&endpoint, clock.clone()).await;
    let first = Day::of(clock.now());
    for n in 0..3 {
        log.append(tenant(), &read(n), None).await.unwrap();
        NOW.fetch_add(86_400_000, Ordering::SeqCst);
    }
    let last = Day::of(clock.now());
    let check = async || {
        let report = log.verify(tenant(), first..=last, &[], |_, _| {}).await;
        report.unwrap()
    };
    let report = check().await;
    assert!(report.is_fine(), "{report:?}");
    assert_eq!((report.lines, report.lanes), (3, 3));
    // The first day's lines expire, whether the table has deleted them or not.
    NOW.fetch_add(86_400_000 * 363, Ordering::SeqCst);
    let report = check().await;
    assert!(report.is_fine(), "{report:?}");
    assert_eq!(report.lines, 2);
    for item in items(&endpoint).await {
        let expires: u64 = item["expires_at"]["N"].as_str().unwrap().parse().unwrap();
        if Timestamp(expires) <= clock.now().seconds() {
            let key = json!({"pk": item["pk"], "sk": item["sk"]});
            raw(
                &endpoint,
                "DeleteItem",
                json!({"TableName": "mas", "Key": key}),
            )
            .await;
        }
    }
    let report = check().await;
    assert!(report.is_fine(), "{report:?}");
    assert_eq!(report.lines, 2);
    // Years later it begins anew.
    NOW.fetch_add(86_400_000 * 1000, Ordering::SeqCst);
    log.append(tenant(), &read(9), None).await.unwrap();
    let now = Day::of(clock.now());
    let report = log
        .verify(tenant(), first..=now, &[], |_, _| {})
        .await
        .unwrap();
    assert!(report.is_fine(), "{report:?}");
    assert_eq!(report.lines, 1);
}

fn record() -> TurnRecord {
    serde_json::from_value(json!({
        "id": TurnId::now(), "at": http::clock().seconds(), "outcome": "answered", "source": "model", "rationale": "",
        "shown": "x", "duration_ms": 1
    }))
    .unwrap()
}

fn of_alice(table: &store::Table) -> Conversations {
    Conversations::of(
        table,
        Owner::new("default", "alice"),
        Duration::from_hours(1),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_turns_at_once_nothing_is_lost() {
    let (endpoint, _server) = table().await;
    let log = log_of(&endpoint, Clock::new(http::clock)).await;
    let conversations = of_alice(&store::connect("mas", Some(&endpoint)).await);
    let (id, ums) = (ConversationId::new("c"), AgentId::new("UMS"));
    let save = async |session: Option<&str>| {
        let record = record();
        let entry = read(record.at.0);
        let session = session.map(|session| Session {
            agent: &ums,
            id: session,
            created: true,
        });
        let written = conversations.save(Write {
            ends: None,
            account: None,
            conversation: &id,
            record: &record,
            kept: true,
            sessions: session.as_slice(),
            audit: Some((&log, &entry)),
        });
        written.await.unwrap()
    };
    let load = async || {
        conversations
            .load(&id, http::clock().seconds())
            .await
            .unwrap()
    };
    save(None).await;
    let names: Vec<String> = (0..6).map(|n| format!("s{n}")).collect();
    let written = join_all(names.iter().map(|name| save(Some(name)))).await;
    assert!(
        written
            .iter()
            .all(|Written { saved, anchor, .. }| *saved == Saved::Whole && anchor.is_some())
    );
    let stored = load().await;
    assert_eq!(stored.turns.len(), 7);
    assert!(names.contains(&stored.sessions[&ums].id));
    for name in &names {
        let owned = conversations.owns_session(&ums, name, http::clock().seconds());
        assert!(
            owned.await.unwrap(),
            "{name} is still known to be the owner's"
        );
    }
    assert!(verify(&endpoint).await.is_fine());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_expired_does_not_come_back_with_its_conversation() {
    let (endpoint, _server) = table().await;
    let conversations = of_alice(&store::connect("mas", Some(&endpoint)).await);
    let (id, ums) = (ConversationId::new("c"), AgentId::new("UMS"));
    let save = async |at: u64, session: Option<&str>| {
        let record = TurnRecord {
            at: Timestamp(at),
            ..record()
        };
        let session = session.map(|id| Session {
            agent: &ums,
            id,
            created: true,
        });
        let written = conversations.save(Write {
            ends: None,
            account: None,
            conversation: &id,
            record: &record,
            kept: true,
            sessions: session.as_slice(),
            audit: None,
        });
        written.await.unwrap();
    };
    save(1_000, Some("old")).await;
    save(5_000, None).await;
    let stored = conversations.load(&id, Timestamp(5_001)).await.unwrap();
    assert_eq!((stored.turns.len(), stored.sessions.len()), (1, 0));
    save(5_002, Some("new")).await;
    let stored = conversations.load(&id, Timestamp(5_003)).await.unwrap();
    assert_eq!(stored.sessions[&ums].id, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_loses_against_another_transaction_is_tried_again() {
    let saves = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&saves);
    let stub = Stub::start(move |seen| {
        let target = seen.header("x-amz-target").unwrap_or_default().to_owned();
        let media = "application/x-amz-json-1.0";
        if !target.ends_with("TransactWriteItems") || counted.fetch_add(1, Ordering::SeqCst) >= 2 {
            return Reply::raw(200, media, "{}");
        }
        let asked = seen.json();
        let reasons = asked["TransactItems"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                let code = if item["Update"].is_object() {
                    "TransactionConflict"
                } else {
                    "None"
                };
                json!({"Code": code})
            });
        let reasons: Vec<Value> = reasons.collect();
        let body = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": "Transaction cancelled", "CancellationReasons": reasons
        });
        Reply::raw(400, media, body.to_string())
    });
    let stub = stub.await.unwrap();
    let conversations = of_alice(&store::connect("mas", Some(&stub.url())).await);
    let (record, id) = (record(), ConversationId::new("c"));
    let written = conversations.save(Write {
        ends: None,
        account: None,
        conversation: &id,
        record: &record,
        kept: true,
        sessions: &[],
        audit: None,
    });
    assert_eq!(written.await.unwrap().saved, Saved::Whole);
    assert_eq!(saves.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_table_the_answer_comes_without_a_line() {
    let world: World = plan("GPA")
        .set("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
        .start()
        .await;
    world.well(&[user("hi")]).await;
}
