//! Stories of what models are asked, how much of a conversation they see, and what all of it costs.

use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};

use crate::world::{World, delta, echoed, finish, items, model, plan, says, user};

/// The calls for an answer, beside those for a decision.
fn syntheses(world: &World) -> usize {
    let asked = World::asked(&world.model);
    asked
        .iter()
        .filter(|body| !body["response_format"].is_object())
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_made_for_people_is_passed_on_without_a_second_model() {
    let world = plan("GPA")
        .gpa(|_| {
            Reply::sse()
                .data(delta(json!({"content": "It is "})))
                .data(delta(json!({"custom_content": {"stages": [{"index": 0, "name": "search", "status": "completed"}]}})))
                .data(delta(json!({"content": "sunny."})))
                .data(delta(json!({"custom_content": {"attachments": [{"title": "a", "data": "b"}], "state": {"k": 1}}})))
                .data(finish())
                .done()
        })
        .set("MAS_SYNTHESIS", "auto")
        .start()
        .await;
    let first = user("weather?");
    let answer = world.well(std::slice::from_ref(&first)).await;
    assert_eq!((answer.text(), syntheses(&world)), ("It is sunny.", 0));
    assert_eq!(
        answer.stage("Call GPA Agent")["content"],
        Value::Null,
        "it is not said twice"
    );
    assert_eq!(answer.stage("search")["status"], "completed");
    assert_eq!(
        answer.message["custom_content"]["attachments"][0]["title"],
        "a"
    );
    // The conversation goes on as ever.
    world
        .well(&[first, echoed(&answer), user("and now?")])
        .await;
    let sent = &World::asked(&world.gpa)[1]["messages"];
    assert_eq!(sent[1]["content"], "It is sunny.");
    assert_eq!(sent[1]["custom_content"]["state"], json!({"k": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_made_for_machines_is_written_anew_unless_nothing_is() {
    for (policy, calls) in [("always", 1), ("auto", 1), ("never", 0)] {
        let world = plan("UMS").set("MAS_SYNTHESIS", policy).start().await;
        let answer = world.well(&[user("Who is Bob?")]).await;
        assert_eq!(syntheses(&world), calls, "{policy}");
        assert!(!answer.text().is_empty());
    }
    let raw = "agents:\n- {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY:-}', effect: none, answers: raw}\n";
    let world = plan("GPA")
        .set("MAS_SYNTHESIS", "auto")
        .set("MAS_AGENTS", raw)
        .start()
        .await;
    world.well(&[user("hi")]).await;
    assert_eq!(syntheses(&world), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_passed_on_that_breaks_off_is_an_error_and_never_looks_complete() {
    let world = plan("GPA")
        .gpa(|_| Reply::sse().data(delta(json!({"content": "It is "}))).cut())
        .set("MAS_SYNTHESIS", "auto")
        .start()
        .await;
    let answer = world.ask(&[user("weather?")]).await;
    assert_eq!(answer.error_code(), "agent_unavailable");
    let shown = String::from_utf8_lossy(&answer.raw).into_owned();
    assert!(
        shown.contains("It is ") && shown.contains("broken off here"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_conversation_is_cut_to_its_budget_before_any_call() {
    let world = plan("GPA")
        .set(
            "MAS_CAPS",
            "routing_history=4KB,agent_history=8KB,synthesis_history=8KB",
        )
        .start()
        .await;
    let mut messages = Vec::new();
    for turn in 0..12 {
        messages.push(user(&format!("{turn} {}", "x".repeat(1500))));
        let answer = world.well(&messages).await;
        messages.push(echoed(&answer));
    }
    let size = |body: &Value| body["messages"].to_string().len();
    let newest = |bodies: Vec<Value>| bodies.last().map(size).unwrap();
    let (routing, writing): (Vec<_>, Vec<_>) = World::asked(&world.model)
        .into_iter()
        .partition(|body| body["response_format"].is_object());
    assert!(
        (4000..8000).contains(&newest(routing)),
        "the prompt has rules, too"
    );
    assert!((8000..12_000).contains(&newest(writing)));
    let agent = World::asked(&world.gpa);
    let last = agent.last().unwrap();
    assert!((6000..11_000).contains(&size(last)), "{}", size(last));
    let first = last["messages"][0]["content"].as_str().unwrap();
    assert!(
        first.starts_with("6 "),
        "the newest turns are kept: {}",
        &first[..10]
    );
}

/// An agent that takes at most so many messages.
fn forgetful(seen: &Seen, most: usize) -> Reply {
    if seen.json()["messages"].as_array().unwrap().len() > most {
        let error = json!({"message": "too long", "code": "context_length_exceeded", "type": "invalid_request_error"});
        return Reply::json(400, json!({"error": error}));
    }
    says(&"a".repeat(400))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_for_a_model_is_cut_and_asked_once_more() {
    let world = plan("GPA")
        .gpa(|seen| forgetful(seen, 7))
        .model(
            |seen| match seen.json()["messages"].as_array().unwrap().len() > 8 {
                true => Reply::json(
                    400,
                    json!({"error": {"message": "too long", "code": "context_length_exceeded"}}),
                ),
                false => model(seen, "GPA"),
            },
        )
        .set(
            "MAS_CAPS",
            "routing_history=3000,agent_history=3000,synthesis_history=3000",
        )
        .start()
        .await;
    let mut messages = Vec::new();
    for turn in 0..6 {
        messages.push(user(&format!("{turn} {}", "x".repeat(300))));
        let answer = world.well(&messages).await;
        messages.push(echoed(&answer));
    }
    let refused = World::asked(&world.gpa)
        .iter()
        .filter(|body| body["messages"].as_array().unwrap().len() > 7)
        .count();
    assert!(refused > 0, "it was too long once");
    // An agent that may have done something is not asked again.
    let risky = "agents:\n- {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY:-}', effect: reversible}\n";
    let world = plan("GPA")
        .gpa(|seen| forgetful(seen, 1))
        .set("MAS_AGENTS", risky)
        .start()
        .await;
    let first = user("hi");
    let answer = world.well(std::slice::from_ref(&first)).await;
    let answer = world.ask(&[first, echoed(&answer), user("again")]).await;
    assert_eq!(answer.error_code(), "agent_unavailable");
    assert_eq!(world.gpa.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_money_are_known_by_step_agent_and_tenant_and_unknown_stays_unknown() {
    let world = plan("GPA")
        .gpa(|_| {
            Reply::sse()
                .data(delta(json!({"content": "well"})))
                .data(finish())
                .data(json!({"choices": [], "statistics": {"usage_per_model": [
                    {"index": 0, "model": "inner", "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}]}}))
                .done()
        })
        .set("MAS_ROUTING_MODEL", "small")
        .set("MAS_SYNTHESIS_MODEL", "large")
        .set("MAS_PRICES", "small=1/1,large=10/20,large@2999-01-01=1/1")
        .start()
        .await;
    let answer = world.well(&[user("hi")]).await;
    assert_eq!(
        answer.whole["usage"],
        json!({"prompt_tokens": 1017, "completion_tokens": 105, "total_tokens": 1122})
    );
    let per_model = answer.whole["statistics"]["usage_per_model"]
        .as_array()
        .unwrap();
    let models: Vec<&str> = per_model
        .iter()
        .map(|line| line["model"].as_str().unwrap())
        .collect();
    assert_eq!(models, ["small", "inner", "large"]);
    let items = items(&world.table).await;
    let record = items
        .iter()
        .find_map(|item| item["record"]["S"].as_str())
        .unwrap();
    let record: Value = serde_json::from_str(record).unwrap();
    let lines: Vec<_> = (record["usage"].as_array().unwrap().iter())
        .map(|line| {
            (
                line["step"].as_str().unwrap(),
                line["model"].as_str().unwrap(),
                line["cost"].as_u64(),
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("route", "small", Some(9)),
            ("agent", "inner", None),
            ("synthesis", "large", Some(160))
        ]
    );
    assert_eq!(record["usage"][1]["agent"], "GPA");
    let metrics = world.metrics().await;
    for line in [
        r#"mas_cost_dollars_total{tenant="default",step="synthesis",agent="GPA"} 0.00016"#,
        r#"mas_tokens_total{step="agent",model="inner",kind="prompt"} 1000"#,
        r#"mas_unknown_price_total{model="inner"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    // An agent that says nothing of what it used.
    let silent = plan("GPA").start().await;
    silent.well(&[user("hi")]).await;
    let metrics = silent.metrics().await;
    assert!(
        metrics.contains(r#"mas_unknown_usage_total{step="agent"} 1"#),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_alone_is_an_answer_that_nobody_has_to_write_about() {
    let world = plan("GPA")
        .gpa(|_| {
            let file = json!({"attachments": [{"title": "cat", "type": "image/png", "url": "files/cat.png"}]});
            Reply::sse().data(delta(json!({"custom_content": file}))).data(finish()).done()
        })
        .set("MAS_SYNTHESIS", "auto")
        .start()
        .await;
    let answer = world.well(&[user("Draw a cat")]).await;
    assert_eq!(syntheses(&world), 0);
    assert_eq!(
        answer.message["custom_content"]["attachments"][0]["title"],
        "cat"
    );
}
