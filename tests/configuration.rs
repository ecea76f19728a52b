//! Stories of the configuration document: what its rules do to requests, what is told of them, and its published examples.

use std::path::Path;
use std::time::{Duration, Instant};

use coordinator::settings::{Env, document};
use serde_json::{Value, json};

use crate::compose;
use crate::world::{Answer, World, echoed, model, plan, routes, says, user};

/// The agents that the world has, and what stands below them.
fn ruled(rest: &str) -> String {
    format!(
        "version: 1\nagents:\n\
         - {{name: GPA, endpoint: '${{GPA_AGENT_ENDPOINT}}', key: '${{GPA_API_KEY:-}}', effect: none}}\n\
         - {{name: UMS, protocol: conversation, endpoint: '${{UMS_AGENT_ENDPOINT}}'}}\n\
         default: GPA\n{rest}"
    )
}

fn rule(condition: &str, then: &str) -> String {
    ruled(&format!(
        "routing:\n  rules:\n  - if: {condition}\n    then: {then}\n"
    ))
}

/// Who decided for whom, as the routing stage tells it.
fn decided(answer: &Answer) -> (String, String) {
    let content = answer.stage("Coordination Request")["content"].clone();
    let json = content.as_str().unwrap().trim_start_matches("```json\n");
    let shown: Value = serde_json::from_str(json.split("\n```").next().unwrap()).unwrap();
    let word = |name: &str| shown[name].as_str().unwrap_or("model").to_owned();
    (word("decided_by"), word("agent_name"))
}

fn by(rung: &str, agent: &str) -> (String, String) {
    (rung.into(), agent.into())
}

/// What the routing would do, by `POST /v1/route`.
async fn trace(world: &World, text: &str) -> Value {
    let request = world.client().post(format!("{}/v1/route", world.url));
    let body = json!({"messages": [user(text)]}).to_string();
    let request = request
        .header("api-key", "key-1")
        .header("content-type", "application/json");
    request
        .body(body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_look_at_the_language() {
    let world = plan("GPA")
        .set("MAS_AGENTS", &rule("language == \"uk\"", "UMS"))
        .start()
        .await;
    let answer = world.well(&[user("Покажи всіх, хто є в системі")]).await;
    assert_eq!(decided(&answer), by("rule", "UMS"));
    let answer = world.well(&[user("Show everybody who is there")]).await;
    assert_eq!(decided(&answer), by("model", "GPA"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_look_at_attachments() {
    let condition =
        "attachments.exists(a, a.type == \"text/csv\" && a.name.endsWith(\".csv\") && a.size > 3)";
    let world = plan("GPA")
        .set("MAS_AGENTS", &rule(condition, "UMS"))
        .start()
        .await;
    let with = |name: &str, data: &str| {
        json!({"role": "user", "content": "What is in it?", "custom_content":
               {"attachments": [{"type": "text/csv", "title": name, "data": data}]}})
    };
    let answer = world.well(&[with("users.csv", "a,b,c")]).await;
    assert_eq!(decided(&answer), by("rule", "UMS"));
    for other in [
        with("users.csv", "a"),
        with("users.txt", "a,b,c"),
        user("What is in it?"),
    ] {
        assert_eq!(decided(&world.well(&[other]).await), by("model", "GPA"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_look_at_tenant_and_role() {
    let ops = "ops-secret-of-at-least-32-characters";
    let bob = "bob-secret-of-at-least-32-characters";
    let world = plan("GPA")
        .set(
            "MAS_AGENTS",
            &rule("tenant == \"acme\" && \"operator\" in roles", "UMS"),
        )
        .set("MAS_AUTH", "secret")
        .set("MAS_TENANT", "acme")
        .set("MAS_AUTH_SECRETS", &format!("ops/operator:{ops},bob:{bob}"))
        .start()
        .await;
    for (secret, expected) in [(ops, by("rule", "UMS")), (bob, by("model", "GPA"))] {
        let request = world.post(&json!({"messages": [user("hi")], "stream": true}));
        let answer = World::answer(request.header("x-mas-secret", secret)).await;
        assert_eq!(decided(&answer), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_look_at_the_agent_before() {
    let world = plan("GPA")
        .set(
            "MAS_AGENTS",
            &rule("previous == \"GPA\" && words < 4", "UMS"),
        )
        .start()
        .await;
    let first = user("Tell me of the weather in Paris today");
    let answer = world.well(std::slice::from_ref(&first)).await;
    assert_eq!(decided(&answer), by("model", "GPA"));
    let answer = world
        .well(&[first, echoed(&answer), user("And users too")])
        .await;
    assert_eq!(decided(&answer), by("rule", "UMS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_look_at_the_time() {
    for (condition, expected) in [
        (
            r#"now.date >= "2026-01-01" && now.hour < 24 && now.timestamp > 1700000000"#,
            by("rule", "UMS"),
        ),
        (
            r#"now.date < "2026-01-01" || now.weekday == "someday""#,
            by("model", "GPA"),
        ),
    ] {
        let rules = rule(&format!("'{condition}'"), "UMS");
        let world = plan("GPA").set("MAS_AGENTS", &rules).start().await;
        let answer = world.well(&[user("hello")]).await;
        assert_eq!(decided(&answer), expected, "{condition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_told_as_much_of_its_history_as_its_card_says() {
    let short = ruled("").replace("effect: none}", "effect: none, history: {turns: 1}}");
    let world = plan("GPA").set("MAS_AGENTS", &short).start().await;
    let mut said = Vec::new();
    for text in ["the first", "the second", "the third"] {
        said.push(user(text));
        let answer = world.well(&said).await;
        said.push(echoed(&answer));
    }
    let asked = World::asked(&world.gpa).pop().unwrap();
    let messages = asked["messages"].as_array().unwrap();
    let shown: Vec<&str> = (messages.iter())
        .filter(|message| message["role"] == "user")
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    assert_eq!(shown, ["the second", "the third"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_forbids_nobody_can_choose() {
    let forbids = rule(
        "words > 0",
        "{forbid: UMS, say: Users are managed by the help desk.}",
    );
    for (asks, agent) in [("@UMS delete Bob", "GPA"), ("Delete Bob", "UMS")] {
        let world = plan(agent).set("MAS_AGENTS", &forbids).start().await;
        let answer = world.well(&[user(asks)]).await;
        assert_eq!(
            answer.text(),
            "Users are managed by the help desk.",
            "{asks}"
        );
        let name = answer.stage("Coordination Request")["name"].clone();
        assert!(
            name.as_str().unwrap().contains("UMS is not allowed"),
            "{name}"
        );
        assert!(
            world.ums.seen().is_empty() && world.gpa.seen().is_empty(),
            "nobody was asked"
        );
    }
    // The default agent is no way round it, nor is one that stands in.
    let forbids = forbids.replace(
        "forbid: UMS, say: Users are managed by the help desk.",
        "forbid: [GPA]",
    );
    let broken = |_: &sandbox::stub::Seen| sandbox::stub::Reply::text(500, "broken");
    let world = plan("GPA")
        .model(broken)
        .set("MAS_AGENTS", &forbids)
        .start()
        .await;
    let answer = world.well(&[user("hi")]).await;
    assert!(
        answer.text().contains("GPA may not be asked this"),
        "{}",
        answer.text()
    );
    let falls = forbids.replace(
        "protocol: conversation,",
        "protocol: conversation, fallback: GPA,",
    );
    let world = plan("UMS")
        .ums(broken)
        .set("MAS_AGENTS", &falls)
        .start()
        .await;
    world.ask(&[user("hi")]).await;
    assert!(world.gpa.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_agent_that_a_rule_forbids_is_not_begun_on_a_guess_either() {
    let world = plan("GPA")
        .set(
            "MAS_AGENTS",
            &rule("contains(query, \"secret\")", "{forbid: GPA}"),
        )
        .set("MAS_ROUTING", "cache=off,guess=80%")
        // There is time for a guess.
        .model(|seen| match seen.json()["response_format"].is_object() {
            true => routes("GPA", Value::Null).delay(Duration::from_millis(150)),
            false => model(seen, "GPA"),
        })
        .start()
        .await;
    // So many that GPA is guessed from now on.
    for round in 0..10 {
        world
            .well(&[user(&format!("What is {round} and {round}?"))])
            .await;
    }
    let metrics = world.metrics().await;
    let adopted = metrics
        .lines()
        .find(|line| line.starts_with(r#"mas_speculation_total{result="adopted"}"#));
    assert!(adopted.is_some(), "GPA was guessed: {metrics}");
    let before = world.gpa.seen().len();
    world.well(&[user("What is the secret?")]).await;
    assert_eq!(world.gpa.seen().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_want_approval_whoever_decides() {
    let wants = rule("contains(query, \"delete\")", "{approve: UMS}");
    let world = plan("UMS").set("MAS_AGENTS", &wants).start().await;
    let first = user("Delete Bob");
    let answer = world.well(std::slice::from_ref(&first)).await;
    assert!(world.ums.seen().is_empty(), "nothing was sent");
    let consent = answer.message["custom_content"]["form_schema"].to_string();
    let at = consent.find("approve ").expect("a button approves");
    let words: String = consent[at..]
        .chars()
        .take_while(|letter| *letter != '"')
        .collect();
    let approved = world.well(&[first, echoed(&answer), user(&words)]).await;
    assert_eq!(approved.error_code(), "");
    assert!(!world.ums.seen().is_empty(), "approved, it was asked");
    // Other requests go as ever.
    let asked = world.ums.seen().len();
    world.well(&[user("List all users")]).await;
    assert!(world.ums.seen().len() > asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_set_who_writes_the_answer_and_tell_the_agent_something() {
    let rules = ruled(
        "routing:\n  rules:\n  - if: words < 5\n    then: {set: {synthesis: never}}\n\
         \x20 - if: contains(query, \"weather\")\n    then: {route: GPA, instructions: Say it in one sentence.}\n",
    );
    let world = plan("UMS")
        .gpa(|_| says("Sunny."))
        .set("MAS_AGENTS", &rules)
        .start()
        .await;
    let answer = world.well(&[user("Weather in Paris?")]).await;
    assert_eq!(
        (decided(&answer), answer.text()),
        (by("rule", "GPA"), "Sunny.")
    );
    assert!(World::asked(&world.model).is_empty(), "no model was needed");
    assert!(
        World::asked(&world.gpa)[0]
            .to_string()
            .contains("Say it in one sentence.")
    );
    let answer = world
        .well(&[user("What will the weather be in Paris today?")])
        .await;
    assert_eq!(answer.text(), "Final answer.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_may_ask_several_agents_at_once() {
    let several = rule(
        "contains(query, \"weather\") && contains(query, \"users\")",
        "{fan_out: [GPA, UMS]}",
    );
    let world = plan("GPA").set("MAS_AGENTS", &several).start().await;
    let answer = world
        .well(&[user("The weather in Paris and all users")])
        .await;
    assert_eq!(answer.text(), "Final answer.");
    assert!(!world.gpa.seen().is_empty() && !world.ums.seen().is_empty());
    // One of them forbidden, the other answers, and it is said who is missing.
    let rest = "  - if: 'true'\n    then: {forbid: UMS, say: not today}\n";
    let world = plan("GPA")
        .set("MAS_AGENTS", &(several + rest))
        .start()
        .await;
    let answer = world
        .well(&[user("The weather in Paris and all users")])
        .await;
    assert!(world.ums.seen().is_empty() && !world.gpa.seen().is_empty());
    assert!(
        answer.text().contains("UMS") && answer.text().contains("not today"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_cannot_be_tested_is_told_of_and_harms_nobody() {
    let world = plan("GPA")
        .set("MAS_AGENTS", &rule("int(query) > 5", "UMS"))
        .start()
        .await;
    let answer = world.well(&[user("hello")]).await;
    assert_eq!(decided(&answer), by("model", "GPA"));
    let traced = trace(&world, "hello").await;
    let rung = traced["rungs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|rung| rung["rung"] == "rule")
        .unwrap();
    let reason = rung["reason"].as_str().unwrap();
    assert!(
        reason.contains("rule 1 cannot be tested") && !reason.contains("hello"),
        "{reason}"
    );
    let rule = &traced["rules"][0];
    assert_eq!(
        (&rule["holds"], &rule["if"], &rule["line"]),
        (&Value::Null, &json!("int(query) > 5"), &json!(8))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_shows_every_rule() {
    let rules = ruled(
        "routing:\n  rules:\n  - if: words > 5\n    then: GPA\n  - if: contains(query, \"user\")\n    then: UMS\n\
         \x20 - if: depth == 0\n    then: {approve: true, forbid: GPA}\n",
    );
    let world = plan("GPA").set("MAS_AGENTS", &rules).start().await;
    let traced = trace(&world, "List users").await;
    assert_eq!(
        (&traced["agent"], &traced["decided_by"]),
        (&json!("UMS"), &json!("rule"))
    );
    let shown: Vec<Value> = (traced["rules"].as_array().unwrap().iter())
        .map(|rule| json!([rule["rule"], rule["holds"], rule["chosen"], rule["then"]]))
        .collect();
    let expected = [
        json!([1, false, false, "route to GPA"]),
        json!([2, true, true, "route to UMS"]),
        json!([3, true, false, "forbid GPA, ask for approval"]),
    ];
    assert_eq!(shown, expected);
    let traced = trace(&world, "@GPA hi").await;
    assert_eq!(traced["plan"], json!({"refused": "GPA"}));
    assert_eq!(traced["reason"], "rule 3 forbids GPA");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_own_deadline_ends_its_call() {
    let slow = ruled("").replace("effect: none}", "effect: none, deadline: 300ms}");
    let world = plan("GPA")
        .gpa(|_| says("late").delay(Duration::from_secs(20)))
        .set("MAS_AGENTS", &slow)
        .start()
        .await;
    let begun = Instant::now();
    let answer = world.ask(&[user("hi")]).await;
    assert_eq!(answer.error_code(), "agent_timeout");
    assert!(begun.elapsed().as_secs() < 15, "the turn had 120 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_refuses_a_document_whose_own_tests_fail() {
    let failing =
        rule("contains(query, \"user\")", "UMS") + "tests:\n- {say: List users, expect: GPA}\n";
    let env = Env::from([
        ("MAS_AGENTS", failing.as_str()),
        ("GPA_AGENT_ENDPOINT", "gpa"),
        ("UMS_AGENT_ENDPOINT", "http://ums"),
        ("DIAL_URL", "http://core"),
    ]);
    let refused = compose::settings(env).await.unwrap_err().to_string();
    let expected = "line 11, column 29: test 1 (\"List users\"): expected GPA, found UMS by rule 1";
    assert!(refused.contains(expected), "{refused}");
}

/// The example of `specs/mas-coordinator-roadmap.md`, as it stands there.
const ROADMAP: &str = r#"agents:
  - name: GPA
    endpoint: http://localhost:8052
    capabilities: [web_search, code_execution, rag]
    priority: 1
  - name: UMS
    endpoint: http://localhost:8042
    capabilities: [user_management]
    priority: 1
  - name: NewAgent
    endpoint: http://localhost:9000
    capabilities: [custom_capability]
    priority: 2

routing:
  rules:
    - if: contains(query, "user")
      then: UMS
    - if: contains(query, "weather")
      then: GPA
  default: GPA
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_roadmaps_own_example_loads_unchanged() {
    let at = |address: &str| ROADMAP.replace("http://localhost:8042", address);
    // Whole, as it is.
    document::parse(ROADMAP, &Env::default()).unwrap();
    let world = plan("GPA")
        .ums(|_| says("Bob and Alice."))
        .model(|seen| model(seen, "GPA"))
        .set("MAS_AGENTS", &at("{ums}"))
        .start()
        .await;
    let answer = world.well(&[user("List all Users")]).await;
    assert_eq!(decided(&answer), by("rule", "UMS"));
    let seen = &world.ums.seen()[0];
    assert!(
        seen.path
            .starts_with("/openai/deployments/UMS/chat/completions"),
        "{}",
        seen.path
    );
}

#[test]
fn every_example_of_the_pages_loads_and_passes_its_own_tests() {
    let pages = [
        "configuration",
        "several-agents",
        "facts",
        "approval",
        "checks",
        "experiments",
        "routing",
        "../README",
    ]
    .map(|page| {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        std::fs::read_to_string(docs.join(format!("{page}.md"))).unwrap()
    });
    let page = pages.join("\n");
    let env = Env::from([
        ("HR_URL", "https://hr.example.com"),
        ("HR_KEY", "k"),
        ("secretsmanager:mas/hr#key", "k"),
    ]);
    let (mut documents, mut tests) = (0, 0);
    for block in page.split("```yaml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        // A part of a document is shown without the rest.
        let whole = if text.contains("agents:") {
            text.to_owned()
        } else if text.trim_start().starts_with("- name:") {
            format!("agents:\n{text}  - {{name: GPA, endpoint: gpa}}\n")
        } else {
            format!(
                "{text}\nagents: [{{name: GPA, endpoint: gpa}}, {{name: UMS, endpoint: ums}}, {{name: HR, endpoint: hr}}]\n"
            )
        };
        let read =
            document::parse(&whole, &env).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        documents += 1;
        tests += read.tests;
    }
    assert!(
        documents == 12 && tests >= 18,
        "{documents} documents, {tests} tests"
    );
}
