use super::*;
use crate::Sandbox;
use crate::probe;

async fn ask(body: Value) -> probe::Answer {
    let sandbox = Sandbox::start().await.unwrap();
    let url = format!("{}/chat/completions", sandbox.model_url());
    probe::post(&url, &[], &body).await
}

#[tokio::test]
async fn a_block_answer_has_usage() {
    let answer =
        ask(json!({"model": "m", "messages": [{"role": "user", "content": "Good day"}]})).await;
    let body = answer.json();
    assert_eq!(answer.status, 200);
    assert_eq!(body["model"], "m");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let content = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.starts_with("You asked: \"Good day\"."));
    let words = text::tokens(content);
    assert_eq!(body["usage"], usage(2, words));
}

#[tokio::test]
async fn a_streamed_answer_ends_with_usage_if_asked() {
    let report = "-----n BEGIN GPA-----\nIt is **8**.\n-----n END GPA-----";
    let messages = json!([{"role": "user", "content": report}]);
    let answer = ask(
        json!({"messages": messages, "stream": true, "stream_options": {"include_usage": true}}),
    )
    .await;
    assert_eq!(answer.content(), "Here is what I found:\n\nIt is **8**.");
    let events = answer.events();
    assert_eq!(answer.chunks.len(), events.len() + 1);
    let [.., stop, last] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(stop["choices"][0]["finish_reason"], "stop");
    assert_eq!(stop["usage"], Value::Null);
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 8);
}

#[tokio::test]
async fn a_schema_with_agents_is_answered_with_a_decision() {
    let schema = json!({"type": "object", "properties": {"agent_name": {"type": "string", "enum": ["GPA", "UMS"]}}});
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "response", "schema": schema}});
    let messages =
        json!([{"role": "user", "content": [{"type": "text", "text": "Do we have Ann?"}]}]);
    let answer = ask(json!({"messages": messages, "response_format": format})).await;
    let body = answer.json();
    let content = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(content, r#"{"agent_name":"UMS"}"#);
}

#[tokio::test]
async fn what_is_no_chat_request_is_refused() {
    for body in [
        json!("text"),
        json!({}),
        json!({"messages": []}),
        json!({"messages": ["x"]}),
    ] {
        let answer = ask(body).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
}

#[tokio::test]
async fn deployments_and_the_list_of_models_are_served() {
    let sandbox = Sandbox::start().await.unwrap();
    let base = sandbox.model_url();
    let models = probe::get(&format!("{base}/models")).await.json();
    assert_eq!(models["data"][0]["id"], MODEL);
    let url = base.replace("/v1", "/deployments/gpt-4o/chat/completions?api-version=1");
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let answer = probe::post(&url, &[], &json!({"messages": messages})).await;
    assert_eq!(answer.json()["model"], "gpt-4o");
    assert_eq!(probe::get(&base).await.status, 404);
}
