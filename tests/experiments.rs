//! Stories of experiments: who gets what, what stops an arm, and what is told of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coordinator::domain::experiment::CONTROL;
use coordinator::domain::ids::Owner;
use coordinator::settings::{Env, document};
use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};

use crate::audit::entries;
use crate::world::{
    Answer, Plan, World, delta, echoed, finish, items, model, plan, routes, says, table, user,
};

/// The GPA, and one that may become it.
const AGENTS: &str = "agents:\n\
    - {name: GPA, endpoint: '{gpa}/old', effect: none}\n\
    - {name: GPA-next, endpoint: '{gpa}/next', effect: none, listed: false, description: a better one}\n\
    - {name: UMS, protocol: conversation, endpoint: '{ums}'}\n\
    default: GPA\n";
/// Half of the conversations get it.
const NEXT: &str = "experiments:\n- name: next\n  by: conversation\n  arms:\n  \
    - {name: new, share: 50%, agents: {GPA: GPA-next}}\n";

fn with(rest: &str) -> String {
    format!("{AGENTS}{rest}")
}

fn next(guard: &str) -> String {
    with(&NEXT.replace("GPA-next}}", &format!("GPA-next}}, {guard}}}")))
}

/// The old agent and the new one say who they are.
fn both(seen: &Seen) -> Reply {
    says(if seen.path.starts_with("/next") {
        "The new one."
    } else {
        "The old one."
    })
}

fn world_of(document: &str) -> Plan {
    plan("GPA")
        .gpa(both)
        .set("MAS_AGENTS", document)
        .set("MAS_SYNTHESIS", "auto")
}

/// So many conversations that are in this arm of the first experiment.
fn conversations(document: &str, arm: &str, count: usize) -> Vec<String> {
    let document = (document.replace("{gpa}", "http://gpa")).replace("{ums}", "http://ums");
    let env = Env::from([("GPA_AGENT_ENDPOINT", "gpa"), ("UMS_AGENT_ENDPOINT", "ums")]);
    let roster = document::parse(&document, &env).unwrap();
    let experiment = &roster.experiments[0];
    let owner = Owner::new("default", "development");
    let all = (0..).map(|number| format!("c-{number}"));
    let found = all.filter(|id| *experiment.id(experiment.arm(&owner, Some(id))).arm == *arm);
    found.take(count).collect()
}

async fn said(world: &World, conversation: &str, messages: &[Value]) -> Answer {
    let body = json!({"messages": messages, "stream": true});
    let answer = World::answer(world.post_in(conversation, &body)).await;
    assert_eq!(answer.checked.error, None);
    answer
}

async fn asked(world: &World, conversation: &str) -> String {
    let answer = said(world, conversation, &[user("Hello")]).await;
    answer.text().to_owned()
}

/// How often each of the two was asked.
fn calls(world: &World) -> (usize, usize) {
    let seen = world.gpa.seen();
    let new = seen.iter().filter(|seen| seen.path.starts_with("/next"));
    let new = new.count();
    (seen.len() - new, new)
}

async fn report(world: &World) -> Value {
    let request = world.get("/v1/experiments").header("api-key", "key-1");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json::<Value>().await.unwrap()["experiments"][0].clone()
}

/// The records of all turns, in the order in which they began.
async fn records(world: &World) -> Vec<Value> {
    let items = items(&world.table).await;
    let records = items.iter().filter_map(|item| item["record"]["S"].as_str());
    let mut records: Vec<Value> = records
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    records.sort_by_key(|record| record["id"].as_str().unwrap().to_owned());
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arms_agent_answers_for_its_share_and_the_control_for_the_rest_also_after_a_restart() {
    let (endpoint, _server) = table().await;
    let document = with(NEXT);
    let mut all = conversations(&document, "new", 3);
    all.extend(conversations(&document, CONTROL, 3));
    let mut answers = Vec::new();
    for _ in 0..2 {
        let world = world_of(&document)
            .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
            .start()
            .await;
        for (at, id) in all.iter().enumerate() {
            let expected = if at < 3 {
                "The new one."
            } else {
                "The old one."
            };
            assert_eq!(asked(&world, id).await, expected, "{id}");
        }
        answers.push(calls(&world));
        if answers.len() == 2 {
            let report = report(&world).await;
            let arms = report["arms"].as_array().unwrap();
            let turns: Vec<_> = arms.iter().map(|arm| &arm["turns"]).collect();
            assert_eq!(turns, [6, 6], "{report:#}");
            assert_eq!(report["state"], "running");
            let metrics = world.metrics().await;
            let counted =
                r#"mas_experiment_turns_total{experiment="next",arm="new",result="well"} 3"#;
            assert!(metrics.contains(counted), "{metrics}");
        }
    }
    assert_eq!(answers, [(3, 3), (3, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn record_and_audit_line_have_the_arm_and_others_have_no_word_of_arms() {
    let document = with(NEXT);
    let world = world_of(&document).start().await;
    let new = &conversations(&document, "new", 1)[0];
    let control = &conversations(&document, CONTROL, 1)[0];
    asked(&world, new).await;
    asked(&world, control).await;
    // Whoever is not decided for one of its agents is in no arm of it.
    said(&world, new, &[user("@UMS hello")]).await;
    // Nor is who names the agent: that one is asked.
    let answer = said(&world, new, &[user("@GPA hello")]).await;
    assert_eq!(answer.text(), "The old one.");
    let arms =
        |all: Vec<Value>| -> Vec<Value> { all.iter().map(|one| one["arms"].clone()).collect() };
    let expected = [
        json!(["next/new"]),
        json!(["next/control"]),
        Value::Null,
        Value::Null,
    ];
    assert_eq!(arms(records(&world).await), expected);
    let turns: Vec<Value> = (entries(&world.table).await.into_iter())
        .filter(|entry| entry["kind"] == "turn")
        .collect();
    assert_eq!(arms(turns), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_the_same_arm_in_every_conversation() {
    let users: Vec<String> = (0..12).map(|number| format!("user{number}")).collect();
    let secret = |name: &str| format!("{name}-0123456789abcdef0123456789abcdef");
    let secrets: Vec<String> = (users.iter())
        .map(|name| format!("{name}:{}", secret(name)))
        .collect();
    let world = world_of(&with(&NEXT.replace("by: conversation", "by: user")))
        .set("MAS_AUTH", "secret")
        .set("MAS_AUTH_SECRETS", &secrets.join(","))
        .start()
        .await;
    let mut all = Vec::new();
    for name in &users {
        let mut answers = Vec::new();
        for conversation in ["a", "b"] {
            let body = json!({"messages": [user("Hello")], "stream": true});
            let request = world.post_in(conversation, &body);
            let answer = World::answer(request.header("x-mas-secret", secret(name))).await;
            answers.push(answer.text().to_owned());
        }
        assert_eq!(answers[0], answers[1], "{name}");
        all.push(answers[0].clone());
    }
    // That all of twelve have the same arm is one in two thousand, and it is the same ones each time.
    assert!(all.contains(&"The new one.".to_owned()) && all.contains(&"The old one.".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_arm_is_stopped_and_no_user_loses_an_answer() {
    let (endpoint, _server) = table().await;
    let document = next("guard: {least: 10, failures: 20%}");
    let failing = |seen: &Seen| match seen.path.starts_with("/next") {
        true => Reply::json(500, json!({"error": {"message": "broken"}})),
        false => says("The old one."),
    };
    // The breaker is to have no part in it.
    let start = async || {
        world_of(&document)
            .gpa(failing)
            .set("MAS_BREAKER", "failures=1000,window=1000")
            .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
            .start()
            .await
    };
    let world = start().await;
    let all = conversations(&document, "new", 12);
    for id in &all[..10] {
        assert_eq!(asked(&world, id).await, "The old one.");
    }
    let (_, new) = calls(&world);
    assert!(new >= 10, "each of the ten was tried: {new}");
    let stopped = report(&world).await["arms"][1].clone();
    let why = "failures: 100.0 %, surely more than 20.0 %";
    assert_eq!(stopped["stopped_for"], why, "{stopped:#}");
    assert_eq!(stopped["failures"]["value"], 1.0);
    // From the next turn on everybody has the control, and is counted for nobody.
    for id in &all {
        assert_eq!(asked(&world, id).await, "The old one.");
    }
    assert_eq!(calls(&world).1, new);
    assert_eq!(report(&world).await["arms"][1]["turns"], 10);
    let metrics = world.metrics().await;
    for counted in [
        r#"mas_experiment_arms_stopped_total{experiment="next",arm="new"} 1"#,
        r#"mas_experiment_turns_total{experiment="next",arm="new",result="failed"} 10"#,
    ] {
        assert!(metrics.contains(counted), "{metrics}");
    }
    // It stays stopped for every other instance, until somebody begins anew.
    let other = start().await;
    assert_eq!(asked(&other, &all[0]).await, "The old one.");
    assert_eq!(calls(&other), (1, 0));
    let reset = other
        .client()
        .delete(format!("{}/v1/experiments/next", other.url));
    let reset = reset.header("api-key", "key-1").send().await.unwrap();
    assert_eq!(reset.status(), 200);
    assert_eq!(report(&other).await["arms"][1]["turns"], 0);
    asked(&other, &all[0]).await;
    assert_eq!(report(&other).await["arms"][1]["turns"], 1);
    assert!(calls(&other).1 > 0);
    let last = entries(&other.table).await;
    let reset = last.iter().find(|entry| entry["kind"] == "experiment");
    assert_eq!(reset.unwrap()["name"], "next");
    // No word of anybody is in what is counted.
    let counted = items(&endpoint).await;
    let counted = counted
        .iter()
        .filter(|item| item["pk"]["S"] == "EXPERIMENTS");
    let counted: Vec<String> = counted.map(ToString::to_string).collect();
    assert_eq!(counted.len(), 2);
    assert!(!counted.concat().contains("development"), "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_arm_is_stopped_for_its_time_and_a_quick_one_is_not() {
    let document = next("guard: {least: 10, over_control: {time: 300ms}}");
    let world = world_of(&document)
        .gpa(|seen| {
            let slow = seen.path.starts_with("/next");
            let wait = if slow { 1500 } else { 0 };
            both(seen).delay(std::time::Duration::from_millis(wait))
        })
        .start()
        .await;
    let (new, control) = (
        conversations(&document, "new", 11),
        conversations(&document, CONTROL, 10),
    );
    let turns = control.iter().map(|id| asked(&world, id));
    futures_util::future::join_all(turns).await;
    let turns = new.iter().take(9).map(|id| asked(&world, id));
    futures_util::future::join_all(turns).await;
    assert_eq!(report(&world).await["arms"][1]["stopped_for"], Value::Null);
    assert_eq!(asked(&world, &new[9]).await, "The new one.");
    let report = report(&world).await;
    let why = report["arms"][1]["stopped_for"].as_str().unwrap();
    assert!(why.starts_with("mean time over the control's"), "{why}");
    let seconds = &report["arms"][1]["over_control"]["seconds"];
    assert_eq!(seconds["says"], "more than the control", "{report:#}");
    assert_eq!(asked(&world, &new[10]).await, "The old one.");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_forbid_is_forbidden_in_every_arm() {
    let ruled = |then: &str| {
        let rules =
            format!("routing:\n  rules:\n  - if: contains(query, \"secret\")\n    then: {then}\n");
        with(&(rules + NEXT))
    };
    // The one that would stand in may not: whoever it would stand in for answers.
    let document = ruled("{forbid: GPA-next}");
    let new = &conversations(&document, "new", 1)[0];
    let world = world_of(&document).start().await;
    assert_eq!(
        said(&world, new, &[user("A secret")]).await.text(),
        "The old one."
    );
    assert_eq!(asked(&world, new).await, "The new one.");
    drop(world);
    // The other one may not: nobody answers in its place, whoever decided for whom.
    let world = world_of(&ruled("{forbid: GPA, say: Not today.}"))
        .start()
        .await;
    assert_eq!(
        said(&world, new, &[user("Hello")]).await.text(),
        "The new one."
    );
    for words in ["A secret", "@GPA-next a secret"] {
        let answer = said(&world, new, &[user(words)]).await;
        let named = words.starts_with('@');
        let expected = if named { "The new one." } else { "Not today." };
        assert_eq!(answer.text(), expected, "{words}");
    }
    drop(world);
    // What is to be approved of the one is to be of the other.
    let world = world_of(&ruled("{approve: GPA}")).start().await;
    let asked = said(&world, new, &[user("A secret")]).await;
    assert_eq!(calls(&world), (0, 0));
    let words = asked.message["custom_content"]["form_schema"]["properties"]["approval"]["oneOf"]
        [0]["const"]
        .as_str()
        .unwrap()
        .to_owned();
    let done = said(
        &world,
        new,
        &[user("A secret"), echoed(&asked), user(&words)],
    )
    .await;
    assert_eq!(done.text(), "The new one.");
    assert_eq!(calls(&world), (0, 1));
    assert_eq!(report(&world).await["arms"][1]["turns"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_own_need_of_approval_holds_for_whoever_stands_in_for_it() {
    let document = with(NEXT).replace("effect: none}", "effect: irreversible, approval: always}");
    let document = document.replace(
        "effect: none, listed: false",
        "effect: irreversible, approval: never, listed: false",
    );
    let new = &conversations(&document, "new", 1)[0];
    let world = world_of(&document).start().await;
    let answer = said(&world, new, &[user("Hello")]).await;
    assert!(answer.text().contains("approve"), "{}", answer.text());
    assert_eq!(calls(&world), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_goes_to_the_agent_that_asked_until_its_arm_is_stopped() {
    let document = next("guard: {least: 10, failures: 20%}");
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = Arc::clone(&broken);
    let world = world_of(&document)
        .gpa(move |seen| match seen.path.starts_with("/next") {
            true if breaks.load(Ordering::SeqCst) => {
                Reply::json(500, json!({"error": {"message": "broken"}}))
            }
            true => says("Which city?"),
            false => says("The old one."),
        })
        .set("MAS_BREAKER", "failures=1000,window=1000")
        .start()
        .await;
    let all = conversations(&document, "new", 14);
    let asked_back = said(&world, &all[0], &[user("Weather?")]).await;
    assert_eq!(asked_back.text(), "Which city?");
    let reply = [user("Weather?"), echoed(&asked_back), user("Paris")];
    assert_eq!(said(&world, &all[0], &reply).await.text(), "Which city?");
    broken.store(true, Ordering::SeqCst);
    for id in &all[1..] {
        assert_eq!(asked(&world, id).await, "The old one.");
    }
    broken.store(false, Ordering::SeqCst);
    assert_ne!(report(&world).await["arms"][1]["stopped_for"], Value::Null);
    assert_eq!(said(&world, &all[0], &reply).await.text(), "The old one.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_on_with_the_agent_that_knows_it() {
    let (endpoint, _server) = table().await;
    let new = &conversations(&with(NEXT), "new", 1)[0];
    let start = async |document: &str| {
        world_of(document)
            .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
            .start()
            .await
    };
    let world = start(&with("")).await;
    let first = said(&world, new, &[user("Hello")]).await;
    assert_eq!(first.text(), "The old one.");
    let world = start(&with(NEXT)).await;
    let messages = [user("Hello"), echoed(&first), user("And what then?")];
    assert_eq!(said(&world, new, &messages).await.text(), "The old one.");
    assert_eq!(asked(&world, new).await, "The new one.", "it begins anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_may_be_other_models_and_other_words_for_them() {
    let document = with(
        "experiments:\n- name: models\n  by: conversation\n  arms:\n  - name: new\n    share: 50%\n    \
         model: {routing: small, synthesis: large}\n    \
         prompt: {routing: Prefer the UMS., synthesis: Write in verse.}\n",
    );
    let world = plan("GPA")
        .gpa(both)
        .model(|seen| {
            let prefers = seen.json()["messages"][0]["content"]
                .as_str()
                .is_some_and(|prompt| prompt.contains("Prefer the UMS."));
            model(seen, if prefers { "UMS" } else { "GPA" })
        })
        .set("MAS_AGENTS", &document)
        .set("MAS_SYNTHESIS", "always")
        // What one arm has decided is not used in the other.
        .set("MAS_ROUTING", "cache=1h,guess=off,check=1")
        .start()
        .await;
    let (new, control) = (
        conversations(&document, "new", 2),
        conversations(&document, CONTROL, 2),
    );
    for id in [&control[0], &new[0], &control[1], &new[1]] {
        asked(&world, id).await;
    }
    let agents: Vec<Value> = (records(&world).await.iter())
        .map(|record| {
            json!([
                record["source"],
                record["calls"][0]["agent"],
                record["arms"][0]
            ])
        })
        .collect();
    let expected = [
        json!(["model", "GPA", "models/control"]),
        json!(["model", "UMS", "models/new"]),
        json!(["cache", "GPA", "models/control"]),
        json!(["cache", "UMS", "models/new"]),
    ];
    assert_eq!(agents, expected);
    let bodies = World::asked(&world.model);
    let told = |routing: bool, model: &str, words: &str| {
        let of = |body: &&Value| {
            let prompt = body["messages"][0]["content"].as_str().unwrap();
            body["response_format"].is_object() == routing
                && body["model"] == model
                && prompt.contains(words)
        };
        bodies.iter().filter(of).count()
    };
    assert_eq!(told(true, "small", "Prefer the UMS."), 1);
    assert_eq!(told(false, "large", "Write in verse."), 2);
    assert_eq!(
        (told(true, "gpt-4o", ""), told(false, "gpt-4o", "")),
        (1, 2)
    );
    let usage = records(&world).await[1]["usage"].to_string();
    assert!(
        usage.contains("small") && usage.contains("large"),
        "{usage}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_stand_in_use_the_decisions_that_all_share() {
    let document = with(NEXT);
    let world = world_of(&document)
        .set("MAS_ROUTING", "cache=1h,guess=off,check=100")
        .start()
        .await;
    let new = conversations(&document, "new", 2);
    let control = conversations(&document, CONTROL, 2);
    let mut answers = Vec::new();
    for id in [&new[0], &control[0], &new[1], &control[1]] {
        answers.push(asked(&world, id).await);
    }
    let expected = [
        "The new one.",
        "The old one.",
        "The new one.",
        "The old one.",
    ];
    assert_eq!(answers, expected);
    let sources: Vec<Value> = (records(&world).await.iter())
        .map(|record| record["source"].clone())
        .collect();
    assert_eq!(sources, ["model", "cache", "cache", "cache"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_may_be_other_rules_that_allow_no_more_than_the_documents() {
    let document = with(
        "routing:\n  rules:\n  - if: contains(query, \"users\")\n    then: UMS\n  \
         - if: contains(query, \"salary\")\n    then: {forbid: UMS, say: Not here.}\n\
         experiments:\n- name: rules\n  by: conversation\n  arms:\n  - name: new\n    share: 50%\n    rules:\n    \
         - if: contains(query, \"people\")\n      then: UMS\n\
         tests:\n- {say: all users, expect: UMS}\n- {say: all people, expect: none}\n\
         - {say: all people, arm: rules/new, expect: UMS}\n- {say: all users, arm: rules/new, expect: none}\n\
         - {say: salary of people, arm: rules/new, expect: {forbidden: UMS}}\n",
    );
    let world = world_of(&document).start().await;
    let new = &conversations(&document, "new", 1)[0];
    let control = &conversations(&document, CONTROL, 1)[0];
    let source = async |id: &str, words: &str| {
        said(&world, id, &[user(words)]).await;
        records(&world).await.pop().unwrap()["source"].clone()
    };
    assert_eq!(source(new, "all people").await, "rule");
    assert_eq!(source(control, "all people").await, "model");
    assert_eq!(source(new, "all users").await, "model");
    assert_eq!(source(control, "all users").await, "rule");
    let refused = said(&world, new, &[user("the salary of all people")]).await;
    assert_eq!(refused.text(), "Not here.");
    // Of rules, every turn is counted.
    let report = report(&world).await;
    let turns: Vec<_> = (report["arms"].as_array().unwrap().iter())
        .map(|arm| &arm["turns"])
        .collect();
    assert_eq!(turns, [2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_whom_an_experiment_is_about_are_in_it() {
    let all = NEXT.replace("50%", "100%");
    let about = |more: &str| with(&all.replace("  by:", &format!("  {more}\n  by:")));
    for (more, expected) in [
        ("if: contains(query, \"hello\")", "The new one."),
        ("if: words > 5", "The old one."),
        ("if: int(query) > 5", "The old one."),
        ("start: 2026-01-01", "The new one."),
        ("end: 2026-01-01", "The old one."),
        ("start: 9000-01-01", "The old one."),
    ] {
        let world = world_of(&about(more)).start().await;
        assert_eq!(asked(&world, "c").await, expected, "{more}");
    }
    let world = world_of(&with(&all)).start().await;
    let body = json!({"messages": [user("Hello")], "stream": true});
    let answer = World::answer(world.post(&body).header("x-mas-depth", "1")).await;
    assert_eq!(
        answer.text(),
        "The old one.",
        "an agent is in no experiment"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_in_as_many_experiments_as_there_are() {
    let two = with(
        "experiments:\n\
         - {name: agents, arms: [{name: new, share: 100%, agents: {GPA: GPA-next}}]}\n\
         - {name: words, arms: [{name: verse, share: 100%, prompt: {synthesis: Write in verse.}}]}\n",
    );
    let world = plan("GPA")
        .gpa(both)
        .set("MAS_AGENTS", &two)
        .set("MAS_SYNTHESIS", "always")
        .start()
        .await;
    world.well(&[user("Hello")]).await;
    assert_eq!(calls(&world), (0, 1));
    let bodies = World::asked(&world.model);
    assert!(bodies[1].to_string().contains("Write in verse."));
    let arms = records(&world).await[0]["arms"].clone();
    assert_eq!(arms, json!(["agents/new", "words/verse"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_see_whether_an_arm_was_stopped_has_the_control() {
    let document = with(NEXT);
    let new = &conversations(&document, "new", 1)[0];
    let world = world_of(&document)
        .set("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
        .set("MAS_STORE_TIMEOUT", "300ms")
        .set("MAS_SAVE_TIMEOUT", "1s")
        .start()
        .await;
    let answer = said(&world, new, &[user("Hello")]).await;
    assert_eq!(answer.text(), "The old one.");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_experiments_nothing_is_written_for_them() {
    let world = world_of(&with("")).start().await;
    world.well(&[user("Hello")]).await;
    let items = items(&world.table).await;
    assert!(!items.iter().any(|item| item["pk"]["S"] == "EXPERIMENTS"));
    assert!(!items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_of_an_agent_that_is_not_listed() {
    let world = plan("GPA")
        .gpa(|seen| match seen.path.starts_with("/next") {
            true => (Reply::sse().data(delta(json!({"content": "The new one."}))))
                .data(finish())
                .done(),
            false => says("The old one."),
        })
        .model(|seen| match seen.json()["response_format"].to_string() {
            // It is no legal answer, and so the default agent's turn.
            schema if schema.contains("GPA-next") => routes("UMS", Value::Null),
            schema if schema.contains("GPA") => routes("GPA-next", Value::Null),
            _ => model(seen, "GPA"),
        })
        .set("MAS_AGENTS", &with(""))
        .start()
        .await;
    let answer = world.well(&[user("Hello")]).await;
    assert_eq!(calls(&world), (1, 0), "{}", answer.text());
    let routing = World::asked(&world.model)[0].to_string();
    assert!(!routing.contains("a better one"), "{routing}");
    let about = world.well(&[user("What can you do?")]).await;
    assert!(!about.text().contains("GPA-next"), "{}", about.text());
    world.well(&[user("@GPA-next hello")]).await;
    assert_eq!(calls(&world), (1, 1), "by name it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_routing_would_do_shows_the_arm_and_counts_nothing() {
    let document = with(&NEXT.replace("50%", "100%"));
    let world = world_of(&document).start().await;
    let request = world.client().post(format!("{}/v1/route", world.url));
    let request = (request.header("api-key", "key-1")).header("content-type", "application/json");
    let body = json!({"messages": [user("Hello")]}).to_string();
    let shown: Value = request
        .body(body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&shown["agent"], &shown["arms"]),
        (&json!("GPA-next"), &json!(["next/new"])),
        "{shown:#}"
    );
    assert_eq!(report(&world).await["arms"][1]["turns"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_door_to_experiments_opens_for_its_role_alone() {
    let secret = |name: &str| format!("{name}-0123456789abcdef0123456789abcdef");
    let secrets = format!(
        "alice:{},ops/operator:{},root/admin:{}",
        secret("alice"),
        secret("ops"),
        secret("root")
    );
    let world = world_of(&with(NEXT))
        .set("MAS_AUTH", "secret")
        .set("MAS_AUTH_SECRETS", &secrets)
        .start()
        .await;
    let status = async |method: &str, path: &str, name: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = world
            .client()
            .request(method, format!("{}{path}", world.url));
        let request = request.header("x-mas-secret", secret(name));
        request.send().await.unwrap().status().as_u16()
    };
    for (name, read, reset) in [("alice", 403, 403), ("ops", 200, 403), ("root", 200, 200)] {
        assert_eq!(status("GET", "/v1/experiments", name).await, read, "{name}");
        assert_eq!(
            status("DELETE", "/v1/experiments/next", name).await,
            reset,
            "{name}"
        );
    }
    assert_eq!(status("DELETE", "/v1/experiments/other", "root").await, 404);
    assert_eq!(status("POST", "/v1/experiments/next", "root").await, 405);
}

const TERSE: &str = "experiments:\n\
     - {name: words, arms: [{name: terse, share: 100%, prompt: {synthesis: Be terse.}}]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_not_waited_for_has_not_failed() {
    let document = "agents:\n\
        - {name: GPA, endpoint: '{gpa}/old', effect: none}\n\
        - {name: SLOW, endpoint: '{gpa}/slow', effect: none}\n\
        routing: {rules: [{if: 'true', then: {fan_out: [GPA, SLOW], quorum: 1}}]}\n";
    let world = plan("GPA")
        .gpa(|seen| match seen.path.starts_with("/slow") {
            true => Reply::sse().hang(),
            false => says("The old one."),
        })
        .set("MAS_AGENTS", &format!("{document}{TERSE}"))
        .start()
        .await;
    said(&world, "c-1", &[user("Hello")]).await;
    let report = report(&world).await;
    let arm = &report["arms"][1];
    assert_eq!(
        (&arm["turns"], &arm["failures"]["value"]),
        (&json!(1), &json!(0.0)),
        "{report:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_its_owners_limit_refused_counts_for_no_arm() {
    let world = world_of(&with(TERSE))
        .set("MAS_LIMITS", "requests=1")
        .start()
        .await;
    said(&world, "c-1", &[user("Hello")]).await;
    let body = json!({"messages": [user("Hello again")], "stream": true});
    let refused = World::answer(world.post_in("c-1", &body)).await;
    assert_eq!(refused.error_code(), "rate_limit_exceeded");
    let report = report(&world).await;
    assert_eq!(report["arms"][1]["turns"], 1, "{report:#}");
}
