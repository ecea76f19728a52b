//! Bad input gets a clear error, at once, and nothing is called.

use serde_json::{Value, json};

use crate::world::{plan, user};

async fn refused(
    request: reqwest::RequestBuilder,
    status: u16,
    code: &str,
    param: Option<&str>,
) -> Value {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["x-should-retry"], "false");
    assert_eq!(response.headers()["content-type"], "application/json");
    let body: Value = response.json().await.unwrap();
    let error = &body["error"];
    assert_eq!(error["code"], code, "{error}");
    assert_eq!(error["param"].as_str(), param, "{error}");
    for field in ["message", "type", "display_message"] {
        assert!(
            error[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field} of {error}"
        );
    }
    error.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_bad_input_has_its_answer() {
    let world = plan("GPA").start().await;
    let raw = |body: &str| world.post(&Value::Null).body(body.to_owned());
    let invalid = "invalid_request";
    refused(raw("not json"), 400, invalid, None).await;
    refused(raw("{\"messages\":"), 400, invalid, None).await;
    refused(raw(""), 400, invalid, None).await;
    refused(raw("\u{0}\u{1}\u{2}"), 400, invalid, None).await;
    refused(world.post(&json!([])), 400, invalid, Some("messages")).await;
    refused(
        world.post(&json!({"messages": []})),
        400,
        invalid,
        Some("messages"),
    )
    .await;
    refused(
        world.post(&json!({"messages": "hi"})),
        400,
        invalid,
        Some("messages"),
    )
    .await;
    let role = json!({"messages": [{"role": "robot", "content": "x"}]});
    refused(world.post(&role), 400, invalid, Some("messages.0.role")).await;
    let no_user = json!({"messages": [{"role": "system", "content": "x"}]});
    refused(world.post(&no_user), 400, invalid, Some("messages")).await;
    let several = json!({"messages": [user("x")], "n": 2});
    refused(
        world.post(&several),
        422,
        "unsupported_parameter",
        Some("n"),
    )
    .await;
    let many = json!({"messages": vec![user("x"); 2001]});
    refused(
        world.post(&many),
        413,
        "request_too_large",
        Some("messages"),
    )
    .await;
    let large = json!({"messages": [user(&"x".repeat(4 * 1024 * 1024))]});
    refused(world.post(&large), 413, "request_too_large", None).await;
    let plain = world.post(&json!({"messages": [user("x")]}));
    let mut plain = plain.build().unwrap();
    plain
        .headers_mut()
        .insert("content-type", "text/plain".parse().unwrap());
    let response = world.client().execute(plain).await.unwrap();
    assert_eq!(response.status(), 415);
    let packed = world
        .post(&json!({"messages": [user("x")]}))
        .header("content-encoding", "gzip");
    refused(packed, 415, "unsupported_media_type", None).await;
    assert_eq!(
        world.running() + world.model.seen().len() + world.gpa.seen().len(),
        0,
        "nothing was called"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_declared_length_is_capped_too() {
    let world = plan("GPA").start().await;
    let piece = bytes::Bytes::from(vec![b' '; 64 * 1024]);
    let pieces = std::iter::repeat_n(piece, 80).map(Ok::<_, std::io::Error>);
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let response = world.post(&Value::Null).body(body).send().await;
    // The server may answer before the client has sent everything.
    if let Ok(response) = response {
        assert_eq!(response.status(), 413);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_and_unknown_paths_say_so() {
    let world = plan("GPA").start().await;
    for path in [
        "/openai/deployments/x/chat/completions",
        "/openai/v1/chat/completions",
    ] {
        let response = world.get(path).send().await.unwrap();
        assert_eq!(response.headers()["allow"], "POST");
        refused(world.get(path), 405, "method_not_allowed", None).await;
    }
    for path in [
        "/",
        "/nowhere",
        "/openai/deployments/x/rate",
        "/openai/deployments//chat/completions",
    ] {
        refused(world.get(path), 404, "not_found", None).await;
    }
    let post = world.client().post(format!("{}/health", world.url));
    refused(post, 405, "method_not_allowed", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_accepted() {
    let world = plan("GPA").start().await;
    let body = json!({"messages": [user("hi")], "stream": true, "addons": [], "temperature": 0.2, "x": {"y": 1},
                      "n": 1, "stream_options": {"include_usage": true}});
    assert_eq!(world.post(&body).send().await.unwrap().status(), 200);
}
