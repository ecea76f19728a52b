use super::*;
use crate::Sandbox;
use crate::probe::{self, Answer};

const HEADERS: &[(&str, &str)] = &[("Api-Key", "key"), ("x-conversation-id", "c-1")];

async fn send(body: Value, headers: &[(&str, &str)]) -> Answer {
    let sandbox = Sandbox::start().await.unwrap();
    probe::post(&sandbox.gpa_url(), headers, &body).await
}

async fn ask(text: &str) -> Answer {
    let messages = json!([{"role": "user", "content": text}]);
    send(json!({"messages": messages, "stream": true}), HEADERS).await
}

/// What happened to stages, in order: `0 open`, `1 completed`.
fn stages(answer: &Answer) -> Vec<String> {
    let events = answer.events();
    let items = events
        .iter()
        .filter_map(|event| event.pointer("/choices/0/delta/custom_content/stages/0"));
    let steps = items.filter_map(|item| {
        let status = item["status"].as_str();
        let step = status.or_else(|| item["name"].as_str())?;
        Some(format!("{} {step}", item["index"]))
    });
    steps.collect()
}

#[tokio::test]
async fn sums_are_computed_in_a_stage() {
    let answer = ask("What is 2 + 2 * 3?").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.content(), "The result of `2 + 2 * 3` is 8.");
    assert_eq!(stages(&answer), ["0 execute_code", "0 completed"]);
    let events = answer.events();
    assert_eq!(
        events[0]["choices"][0]["delta"],
        json!({"role": "assistant"})
    );
    let [.., state, last] = events.as_slice() else {
        panic!("{events:?}")
    };
    let history = &state["choices"][0]["delta"]["custom_content"]["state"]["tool_call_history"];
    assert_eq!(
        history[0]["tool_calls"][0]["function"]["name"],
        "execute_code"
    );
    assert_eq!(history[1]["tool_call_id"], "call_1");
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        last["usage"],
        json!({"prompt_tokens": 7, "completion_tokens": 10, "total_tokens": 17})
    );
}

#[tokio::test]
async fn a_sum_that_has_no_result_fails_its_stage() {
    let answer = ask("calculate 1 / 0").await;
    assert_eq!(stages(&answer), ["0 execute_code", "0 failed"]);
    assert_eq!(
        answer.content(),
        "I could not compute `1 / 0`: division by zero."
    );
}

#[tokio::test]
async fn two_tools_run_interleaved() {
    let answer = ask("weather in Kyiv and generate a picture").await;
    assert_eq!(
        stages(&answer),
        [
            "0 weather_search",
            "1 image_generation_tool",
            "0 completed",
            "1 completed"
        ]
    );
    let text = answer.content();
    assert!(
        text.starts_with("Kyiv weather is 15°C, cloudy. [Source"),
        "{text}"
    );
    assert!(answer.body().is_ascii());
}

#[tokio::test]
async fn a_block_answer_is_the_merged_stream() {
    let messages = json!([{"role": "user", "content": "Draw a cat\n\n---\nBe brief"}]);
    let answer = send(json!({"messages": messages}), HEADERS).await.json();
    let message = &answer["choices"][0]["message"];
    let custom = &message["custom_content"];
    assert_eq!(message["content"], "Here is the picture you asked for.");
    assert_eq!(custom["stages"][0]["status"], "completed");
    let revised = &custom["stages"][0]["attachments"][0];
    assert_eq!(
        revised,
        &json!({"title": "Revised prompt", "data": "A colour gradient that stands for: Draw a cat"})
    );
    assert_eq!(custom["attachments"][0]["type"], "image/png");
    assert!(
        custom["attachments"][0]["data"]
            .as_str()
            .unwrap()
            .starts_with("iVBOR")
    );
    assert_eq!(custom["attachments"][0].get("index"), None);
}

#[tokio::test]
async fn a_city_is_asked_for_and_remembered_from_history() {
    let asked = ask("What is the weather?").await;
    assert_eq!(asked.content(), "Which location?");
    assert!(stages(&asked).is_empty());
    let history = |custom: Value| {
        json!({"stream": true, "messages": [
            {"role": "user", "content": "What is the weather?"},
            {"role": "assistant", "content": "Which location?", "custom_content": custom},
            {"role": "user", "content": "In Paris"},
        ]})
    };
    let answer = send(history(json!({})), HEADERS).await;
    assert!(
        answer
            .content()
            .starts_with("Paris weather is 18°C, sunny.")
    );
    let dropped = send(history(Value::Null), HEADERS).await;
    assert!(dropped.content().starts_with("I am the sandbox's stand-in"));
}

#[tokio::test]
async fn attached_tables_are_counted() {
    let attachment = json!({"type": "text/csv", "title": "a.csv", "data": "a,b\n1,2\n"});
    let custom = json!({"attachments": [attachment]});
    let messages = json!([{"role": "user", "content": "Analyse it", "custom_content": custom}]);
    let answer = send(json!({"messages": messages, "stream": true}), HEADERS).await;
    assert_eq!(
        answer.content(),
        "\"a.csv\" has 2 lines (a header and 1 row) and 2 columns: a, b."
    );
}

#[tokio::test]
async fn bad_requests_are_refused_as_the_sdk_refuses_them() {
    let good = json!({"messages": [{"role": "user", "content": "hi"}]});
    let answer = send(good, &[]).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json(),
        json!({"error": {"message": "Api-Key header is required", "type": "invalid_request_error", "code": "400"}})
    );
    let answer = send(json!({"messages": [], "foo": 1}), HEADERS).await;
    assert_eq!(
        answer.json()["error"]["message"],
        "Your request contained invalid structure on path foo. extra fields not permitted"
    );
}

#[tokio::test]
async fn without_a_conversation_id_tools_break() {
    let messages = json!([{"role": "user", "content": "draw a cat"}]);
    let body = json!({"messages": messages, "stream": true});
    let answer = send(body, &[("Api-Key", "key")]).await;
    let events = answer.events();
    assert_eq!(events[1]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[2], answer::failure());
    let block = send(json!({"messages": messages}), &[("Api-Key", "key")]).await;
    assert_eq!((block.status, block.json()), (500, answer::failure()));
}

#[tokio::test]
async fn it_says_what_it_can_do() {
    assert!(
        ask("What can you do?")
            .await
            .content()
            .contains("calculate")
    );
    let answer = ask("Who wrote Hamlet?").await.content();
    assert!(answer.ends_with("no real answer to: \"Who wrote Hamlet?\""));
    let sandbox = Sandbox::start().await.unwrap();
    let health = probe::get(&format!("{}/health", sandbox.gpa.url())).await;
    assert_eq!(health.json(), json!({"status": "ok"}));
}
