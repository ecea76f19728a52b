//! Stories of turns that go well.

use std::time::Duration;

use sandbox::Sandbox;
use sandbox::stub::Reply;
use serde_json::{Value, json};

use crate::world::{World, delta, echoed, finish, model, plan, routes, user};

fn names(stages: &[Value]) -> Vec<&str> {
    stages
        .iter()
        .map(|stage| stage["name"].as_str().unwrap_or_default())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_routes_asks_and_answers() {
    let world = plan("GPA").start().await;
    let answer = world.well(&[user("Draw a cat")]).await;
    assert_eq!(answer.text(), "Final answer.");
    assert_eq!(
        names(&answer.stages()),
        ["Coordination Request \u{2192} GPA", "Call GPA Agent"]
    );
    assert_eq!(answer.stage("Call GPA")["content"], "Done: all good.");
    assert_eq!(answer.whole["usage"]["total_tokens"], 22);
    assert_eq!(
        answer.whole["statistics"]["usage_per_model"][0]["model"],
        "gpt-4o"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn role_and_routing_stage_leave_before_any_upstream_call() {
    let world = plan("GPA").model(|_| Reply::sse().hang()).start().await;
    let mut response = world
        .post(&json!({"messages": [user("hi")], "stream": true}))
        .send()
        .await
        .unwrap();
    let first = response.chunk().await.unwrap().unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    assert!(
        first.contains(r#""delta":{"role":"assistant"}"#) && first.contains("Coordination Request"),
        "{first}"
    );
    drop(response);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_block_answer_is_the_folded_stream() {
    let world = plan("GPA")
        .gpa(|_| Reply::sample("gpa/tools.stream.http"))
        .start()
        .await;
    let streamed = world.well(&[user("Draw a cat")]).await;
    let (status, mut block) = world.block(&[user("Draw a cat")]).await;
    assert_eq!(status, 200);
    let mut whole = streamed.whole.clone();
    for answer in [&mut block, &mut whole] {
        answer["id"] = Value::Null;
        answer["created"] = Value::Null;
        let state = &mut answer["choices"][0]["message"]["custom_content"]["state"];
        assert!(state.is_object());
        *state = Value::Null;
    }
    assert_eq!(block, whole);
    assert_eq!(block["object"], "chat.completion");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_deployment_id_and_the_plain_path_are_served() {
    let world = plan("GPA").start().await;
    for path in [
        "/openai/deployments/mas-coordinator/chat/completions?api-version=2025-01-01-preview",
        "/openai/deployments/applications/bucket/my%20mas/chat/completions",
        "/openai/deployments/applications%2Fbucket%2Fname/chat/completions",
        "/openai/v1/chat/completions",
    ] {
        let request = world.client().post(format!("{}{path}", world.url));
        let body = json!({"messages": [user("hi")], "stream": true});
        let request = request
            .header("content-type", "application/json")
            .body(body.to_string());
        assert_eq!(
            World::answer(request).await.text(),
            "Final answer.",
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mixed_conversation_keeps_agents_apart() {
    let sandbox = Sandbox::start().await.unwrap();
    let world = plan("GPA")
        .set("OPENAI_BASE_URL", &sandbox.model_url())
        .set("GPA_AGENT_ENDPOINT", &sandbox.gpa_url())
        .set("UMS_AGENT_ENDPOINT", &sandbox.ums_url())
        .start()
        .await;
    let mut messages = Vec::new();
    let mut sessions = Vec::new();
    for (text, agent, part) in [
        ("Do we have user John?", "UMS", "John Doe"),
        ("What's the weather?", "GPA", "Which location?"),
        ("In Paris", "GPA", "Paris weather is 18\u{b0}C, sunny"),
        (
            "Add Andrej Karpathy to our system",
            "UMS",
            "Andrej Karpathy",
        ),
    ] {
        messages.push(user(text));
        let answer = world.well(&messages).await;
        assert!(answer.text().contains(part), "{text}: {}", answer.text());
        let called = answer.stage(&format!("Call {agent} Agent"));
        sessions.push(
            called["content"]
                .as_str()
                .unwrap()
                .matches("Created new UMS conversation")
                .count(),
        );
        messages.push(echoed(&answer));
    }
    assert_eq!(
        sessions,
        [1, 0, 0, 0],
        "the second UMS turn reuses the conversation"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn instructions_follow_the_users_words_as_a_marked_block() {
    let answer = |seen: &sandbox::stub::Seen| match seen.json()["response_format"].is_object() {
        true => routes("GPA", json!("Be brief")),
        false => model(seen, "GPA"),
    };
    let world = plan("GPA").model(answer).start().await;
    world.well(&[user("Draw a cat")]).await;
    let asked = World::asked(&world.gpa);
    assert_eq!(
        asked[0]["messages"][0]["content"],
        "Draw a cat\n\n---\nNote from the coordinator, not the user's words:\nBe brief"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_router_sees_a_manifest_and_agents_get_the_files_they_take() {
    let world = plan("GPA").start().await;
    let file =
        json!({"type": "text/csv", "title": "report.csv", "url": "files/b/report.csv", "index": 0});
    let message =
        json!({"role": "user", "content": "Analyse", "custom_content": {"attachments": [file]}});
    world.well(&[message]).await;
    let routing = &World::asked(&world.model)[0];
    let seen = routing["messages"].as_array().unwrap().last().unwrap()["content"]
        .as_str()
        .unwrap();
    assert!(
        seen.ends_with("[attachments]\n- report.csv (text/csv, size unknown)"),
        "{seen}"
    );
    let sent = &World::asked(&world.gpa)[0]["messages"][0]["custom_content"]["attachments"];
    assert_eq!(
        *sent,
        json!([{"type": "text/csv", "title": "report.csv", "url": "files/b/report.csv"}])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ums_hears_of_files_it_does_not_take() {
    let world = plan("UMS").start().await;
    let file = json!({"type": "text/csv", "title": "users.csv", "data": "a,b"});
    let message = json!({"role": "user", "content": "Import these", "custom_content": {"attachments": [file]}});
    world.well(&[message]).await;
    let sent = World::asked(&world.ums)[1]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        sent.starts_with("Import these\n\n---\n") && sent.contains("users.csv (text/csv, 3 bytes)"),
        "{sent}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn interleaved_stages_are_children_and_kept_apart() {
    let stage = |item: Value| delta(json!({"custom_content": {"stages": [item]}}));
    let gpa = move |_: &_| {
        Reply::sse()
            .data(delta(json!({"role": "assistant"})))
            .data(stage(json!({"index": 0, "name": "A", "status": null})))
            .data(stage(
                json!({"index": 1, "name": "B", "content": "b1", "status": null}),
            ))
            .data(stage(json!({"index": 0, "content": "a1", "status": null})))
            .data(stage(
                json!({"index": 2, "name": "C", "parent_stage_index": 1, "status": "failed"}),
            ))
            .data(stage(
                json!({"index": 1, "content": "b2", "status": "completed"}),
            ))
            .data(stage(
                json!({"index": 0, "content": "a2", "status": "completed"}),
            ))
            .data(delta(json!({"content": "ok"})))
            .data(finish())
            .done()
    };
    let world = plan("GPA").gpa(gpa).start().await;
    let answer = world.well(&[user("go")]).await;
    assert_eq!(
        answer.stages()[1..],
        [
            json!({"name": "Call GPA Agent", "status": "completed", "content": "ok"}),
            json!({"name": "A", "status": "completed", "parent_stage_index": 1, "content": "a1a2"}),
            json!({"name": "B", "status": "completed", "parent_stage_index": 1, "content": "b1b2"}),
            json!({"name": "C", "status": "failed", "parent_stage_index": 3}),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_are_flat_for_older_chat_clients() {
    let world = plan("GPA")
        .gpa(|_| Reply::sample("gpa/tools.stream.http"))
        .set("MAS_NESTED_STAGES", "off")
        .start()
        .await;
    let stages = world.well(&[user("Draw a cat")]).await.stages();
    assert_eq!(
        names(&stages)[2..],
        ["[GPA] execute_code", "[GPA] image_generation_tool"]
    );
    assert!(
        stages
            .iter()
            .all(|stage| stage.get("parent_stage_index").is_none())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_links_survive_the_synthesis() {
    let world = plan("GPA")
        .gpa(|_| crate::world::says("See ![image](files/b/cat.png) and https://example.com/a."))
        .start()
        .await;
    let answer = world.well(&[user("Draw a cat")]).await;
    assert_eq!(
        answer.text(),
        "Final answer.\n\n![image](files/b/cat.png)\n\nhttps://example.com/a"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn code_survives_the_synthesis() {
    const CODE: &str = "```python\nprint(sum(b))\n```";
    let world = plan("GPA")
        .gpa(|_| crate::world::says(&format!("Use this:\n\n{CODE}\n\nIt adds.")))
        .start()
        .await;
    let answer = world.well(&[user("How do I add a list?")]).await;
    assert_eq!(answer.text(), format!("Final answer.\n\n{CODE}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_broken_by_heartbeats() {
    let world = plan("GPA")
        .gpa(|_| crate::world::says("late").delay(Duration::from_millis(400)))
        .set("MAS_HEARTBEAT", "100ms")
        .start()
        .await;
    let answer = world.well(&[user("hi")]).await;
    assert!(
        answer.checked.heartbeats >= 2,
        "{}",
        answer.checked.heartbeats
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_usage_is_not_zero() {
    let silent = |seen: &sandbox::stub::Seen| match seen.json()["response_format"].is_object() {
        true => Reply::json(
            200,
            json!({"choices": [{"index": 0, "message": {"content": "{\"agent_name\":\"GPA\"}"}}], "usage": null}),
        ),
        false => Reply::sse().data(delta(json!({"content": "ok"}))).done(),
    };
    let world = plan("GPA").model(silent).start().await;
    let answer = world.well(&[user("hi")]).await;
    assert_eq!(answer.whole["usage"], Value::Null);
    assert!(answer.whole.get("statistics").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_context_and_the_conversation_id_are_passed_on() {
    let world = plan("GPA").start().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let body = json!({"messages": [user("hi")], "stream": true});
    World::answer(
        world
            .post(&body)
            .header("traceparent", trace)
            .header("cookie", "secret"),
    )
    .await;
    let seen = &world.gpa.seen()[0];
    assert_eq!(seen.header("traceparent"), Some(trace));
    assert_eq!(seen.header("x-conversation-id"), Some("conv-1"));
    assert_eq!(
        (seen.header("cookie"), seen.header("api-key")),
        (None, Some("gpa-key"))
    );
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_id_is_made_up_when_none_came() {
    let world = plan("GPA").start().await;
    let body = json!({"messages": [user("hi")], "stream": true});
    let bare = world
        .client()
        .post(format!("{}/openai/v1/chat/completions", world.url));
    World::answer(
        bare.header("content-type", "application/json")
            .body(body.to_string()),
    )
    .await;
    assert!(
        world.gpa.seen()[0]
            .header("x-conversation-id")
            .is_some_and(|id| id.len() == 32)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ums_streams_word_by_word_and_is_created_with_a_title() {
    let piece = |text: &str| json!({"choices": [{"delta": {"content": text}, "index": 0, "finish_reason": null}]});
    let ums = move |seen: &sandbox::stub::Seen| match seen.path.as_str() {
        "/conversations" => crate::world::ums(seen),
        _ => Reply::sse()
            .data(json!({"conversation_id": "x"}))
            .data(piece("first"))
            .hang(),
    };
    let world = plan("UMS").ums(ums).start().await;
    let mut response = world
        .post(&json!({"messages": [user("hi")], "stream": true}))
        .send()
        .await
        .unwrap();
    let mut seen = String::new();
    // The agent never goes on, so what arrives was not held back for its end.
    while !seen.contains("\"content\":\"first\"") {
        seen.push_str(&String::from_utf8_lossy(
            &response.chunk().await.unwrap().unwrap(),
        ));
    }
    let create = &World::asked(&world.ums)[0];
    assert!(
        create["title"]
            .as_str()
            .is_some_and(|title| !title.is_empty()),
        "{create}"
    );
    assert_eq!(
        World::asked(&world.ums)[1],
        json!({"message": {"role": "user", "content": "hi"}, "stream": true})
    );
    drop(response);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_null_state_is_no_state() {
    let gpa = |_: &_| {
        Reply::sse()
            .data(delta(json!({"content": "ok"})))
            .data(delta(json!({"custom_content": {"state": null}})))
            .data(finish())
            .done()
    };
    let world = plan("GPA").gpa(gpa).start().await;
    let first = world.well(&[user("one")]).await;
    world
        .well(&[user("one"), echoed(&first), user("two")])
        .await;
    assert_eq!(
        World::asked(&world.gpa)[1]["messages"][1]["custom_content"],
        json!({})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_said_twice_is_counted_once() {
    let usage = |tokens: u64| json!({"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens});
    let line = json!({"index": 0, "model": "gpt-4o-mini", "prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10});
    // As a newer DIAL Core has it: the agent's own usage, then a chunk with the same by model.
    let gpa = move |_: &_| {
        Reply::sse()
            .data(json!({"choices": [{"index": 0, "delta": {"content": "ok"}}], "usage": usage(4)}))
            .data(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage(10)}))
            .data(json!({"choices": [], "statistics": {"usage_per_model": [line]}}))
            .done()
    };
    let answer = plan("GPA").gpa(gpa).start().await.well(&[user("hi")]).await;
    assert_eq!(
        answer.whole["usage"]["prompt_tokens"],
        10 + 17,
        "the agent's, and the two model calls'"
    );
    assert_eq!(
        answer.whole["statistics"]["usage_per_model"][1]["model"],
        "gpt-4o-mini"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_beyond_reason_do_not_break_the_stream() {
    let gpa = |_: &_| {
        let usage =
            json!({"prompt_tokens": u64::MAX, "completion_tokens": 1, "total_tokens": u64::MAX});
        Reply::sse()
            .data(json!({"choices": [{"index": 0, "delta": {"content": "ok"}}], "usage": usage}))
            .done()
    };
    let answer = plan("GPA").gpa(gpa).start().await.well(&[user("hi")]).await;
    assert_eq!(answer.whole["usage"]["prompt_tokens"], u64::MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_answer_of_any_size_is_whole() {
    let long = "\u{421}".repeat(400_000);
    let said = long.clone();
    let world = plan("GPA")
        .gpa(move |_| crate::world::says(&said))
        .start()
        .await;
    let (status, block) = world.block(&[user("hi")]).await;
    assert_eq!(status, 200);
    let stage = &block["choices"][0]["message"]["custom_content"]["stages"][1];
    assert_eq!(
        (&stage["content"], &stage["status"]),
        (&json!(long), &json!("completed"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_model_name_is_not_repeated_in_full() {
    let world = plan("GPA").start().await;
    let body = json!({"messages": [user("hi")], "stream": true, "model": "m".repeat(100_000)});
    let answer = World::answer(world.post(&body)).await;
    assert_eq!(answer.whole["model"].as_str().unwrap().len(), 256);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_by_the_models_limit_says_so() {
    let model = |seen: &sandbox::stub::Seen| {
        match seen.json()["response_format"].is_object() {
        true => model(seen, "GPA"),
        false => Reply::sse()
            .data(json!({"choices": [{"index": 0, "delta": {"content": "Half"}, "finish_reason": "length"}]}))
            .done(),
    }
    };
    let answer = plan("GPA")
        .model(model)
        .start()
        .await
        .well(&[user("hi")])
        .await;
    assert_eq!(answer.whole["choices"][0]["finish_reason"], "length");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_asks_its_own_model_with_the_configured_key() {
    let world = plan("GPA")
        .set("OPENAI_API_KEY", "models-key")
        .set("MAS_ROUTING_MODEL", "small")
        .set("MAS_SYNTHESIS_MODEL", "large")
        .start()
        .await;
    let body = json!({"messages": [user("hi")], "stream": true});
    let mut request = world.post(&body).build().unwrap();
    request.url_mut().set_query(Some("api-version=2026-01-01"));
    assert_eq!(
        world
            .client()
            .execute(request)
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .matches("[DONE]")
            .count(),
        1
    );
    let asked: Vec<Value> = World::asked(&world.model)
        .into_iter()
        .map(|body| body["model"].clone())
        .collect();
    assert_eq!(asked, ["small", "large"]);
    for seen in world.model.seen() {
        assert_eq!(seen.header("authorization"), Some("Bearer models-key"));
        assert_eq!(
            seen.header("api-key"),
            None,
            "the caller's key goes to DIAL Core alone"
        );
    }
    assert!(
        world.gpa.seen()[0]
            .path
            .ends_with("?api-version=2026-01-01")
    );
}
