//! Bad input gets a clear error, at once, and nothing is called.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{World, plan, user};

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

/// A field that nobody knows, in many places and of many kinds, with a word that is easily found again.
fn unknown() -> Value {
    json!({"smuggled": [{"smuggled": "smuggled"}], "role ": "smuggled", "Messages": "smuggled", "": "smuggled"})
}

/// `known` with fields that nobody knows beside its own.
fn beside(mut known: Value) -> Value {
    let fields = known.as_object_mut().unwrap();
    fields.extend(unknown().as_object().unwrap().clone());
    known
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_ignored_at_every_level_and_never_passed_on() {
    for agent in ["GPA", "UMS"] {
        let world = plan(agent).start().await;
        let file = beside(json!({"title": "a.csv", "type": "text/csv", "data": "YSxi"}));
        let image = beside(json!({"url": "https://files.example/a.png"}));
        let custom = beside(json!({"attachments": [file], "stages": [unknown()]}));
        let parts = json!([
            beside(json!({"type": "text", "text": "Look"})),
            beside(json!({"type": "image_url", "image_url": image}))
        ]);
        let messages = json!([
            beside(json!({"role": "system", "content": "Be kind"})),
            beside(json!({"role": "user", "content": "Hi", "name": "smuggled"})),
            beside(
                json!({"role": "assistant", "content": "Hello", "tool_calls": [unknown()],
                          "custom_content": {"state": unknown()}})
            ),
            beside(json!({"role": "user", "content": parts, "custom_content": custom}))
        ]);
        let body = beside(json!({
            "messages": messages, "stream": true, "n": 1, "temperature": 0.2, "user": "smuggled",
            "addons": [unknown()], "tools": [unknown()], "tool_choice": unknown(), "metadata": unknown(),
            "custom_fields": {"other": unknown()}, "stream_options": beside(json!({"include_usage": true}))
        }));
        let answer = World::answer(world.post(&body)).await;
        assert_eq!(answer.checked.error, None);
        for seen in [world.model.seen(), world.gpa.seen(), world.ums.seen()].concat() {
            let sent = String::from_utf8_lossy(&seen.body);
            assert!(!sent.contains("smuggled"), "{}: {sent}", seen.path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_comes_twice_is_refused_wherever_it_counts() {
    let world = plan("GPA").start().await;
    let hi = r#"{"role":"user","content":"hi"}"#;
    let message = |fields: &str| format!(r#"{{"messages":[{{"role":"user",{fields}}}]}}"#);
    for (name, body) in [
        (
            "messages",
            format!(r#"{{"messages":[{hi}],"messages":[{hi}]}}"#),
        ),
        (
            "escaped",
            format!(r#"{{"messages":[{hi}],"m\u0065ssages":[{hi}]}}"#),
        ),
        (
            "stream",
            format!(r#"{{"stream":true,"stream":false,"messages":[{hi}]}}"#),
        ),
        (
            "model",
            format!(r#"{{"model":"a","model":"b","messages":[{hi}]}}"#),
        ),
        ("role", message(r#""role":"system","content":"hi""#)),
        ("content", message(r#""content":"hi","content":"ho""#)),
        (
            "custom_content",
            message(r#""content":"hi","custom_content":{},"custom_content":{}"#),
        ),
        (
            "state",
            message(r#""content":"hi","custom_content":{"state":{},"state":{}}"#),
        ),
        (
            "url",
            message(r#""content":"hi","custom_content":{"attachments":[{"url":"a","url":"b"}]}"#),
        ),
        (
            "part",
            message(r#""content":[{"type":"text","text":"a","text":"b"}]"#),
        ),
    ] {
        let response = world.post(&Value::Null).body(body).send().await.unwrap();
        assert_eq!(response.status(), 400, "{name}");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["code"], "invalid_request", "{name}");
        assert!(error["error"]["param"].is_string(), "{name}: {error}");
    }
    assert_eq!(world.model.seen().len(), 0);
    let ignored = format!(r#"{{"x":1,"x":2,"messages":[{hi}]}}"#);
    let response = world.post(&Value::Null).body(ignored).send().await.unwrap();
    assert_eq!(response.status(), 200, "what nobody reads may come twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_types_are_refused_with_their_place() {
    let world = plan("GPA").start().await;
    let last = |message: Value| json!({"messages": [user("hi"), {"role": "assistant", "content": "x"}, message]});
    for (body, param) in [
        (json!({"messages": [user("hi")], "stream": "yes"}), "stream"),
        (json!({"messages": [user("hi")], "stream": 1}), "stream"),
        (json!({"messages": [user("hi")], "n": "two"}), "n"),
        (json!({"messages": [user("hi")], "n": -1}), "n"),
        (json!({"messages": [user("hi")], "model": 5}), "model"),
        (json!({"messages": null}), "messages"),
        (json!({"messages": {"0": user("hi")}}), "messages"),
        (json!({"messages": [null]}), "messages.0"),
        (json!({"messages": ["hi"]}), "messages.0"),
        (json!({"messages": [{"content": "hi"}]}), "messages.0"),
        (
            last(json!({"role": "user", "content": 5})),
            "messages.2.content",
        ),
        (
            last(json!({"role": "user", "content": {"text": "hi"}})),
            "messages.2.content",
        ),
        (
            last(json!({"role": "user", "content": ["hi"]})),
            "messages.2.content",
        ),
        (
            last(json!({"role": "user", "content": "hi", "custom_content": "x"})),
            "messages.2.custom_content",
        ),
        (
            last(json!({"role": "user", "content": "hi", "custom_content": {"attachments": {}}})),
            "messages.2.custom_content.attachments",
        ),
        (last(json!({"role": "user", "content": ""})), "messages.2"),
        (last(json!({"role": "user", "content": null})), "messages.2"),
        (last(json!({"role": "user", "content": []})), "messages.2"),
        (last(json!({"role": "user"})), "messages.2"),
        (
            last(json!({"role": "assistant", "content": "x"})),
            "messages.2",
        ),
        (last(json!({"role": "tool", "content": "x"})), "messages.2"),
    ] {
        let error = refused(world.post(&body), 400, "invalid_request", Some(param)).await;
        let message = error["message"].as_str().unwrap();
        for internal in [
            "WireMessage",
            "Content",
            "untagged",
            "RawValue",
            "Object",
            " at line ",
        ] {
            assert!(!message.contains(internal), "{message}");
        }
    }
    assert_eq!(world.model.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_deep_a_body_is_it_is_answered_at_once() {
    let world = plan("GPA").start().await;
    let deep =
        |open: &str, close: &str, depth: usize| open.repeat(depth) + "1" + &close.repeat(depth);
    let (list, object) = (deep("[", "]", 500_000), deep(r#"{"a":"#, "}", 400_000));
    // As many objects as a body may have.
    let nested = deep(r#"{"a":"#, "}", 40_000);
    let message = |fields: &str| format!(r#"{{"messages":[{{"role":"user",{fields}}}]}}"#);
    for (name, status, body) in [
        ("a list", 400, list.clone()),
        ("an object", 413, object.clone()),
        ("an open list", 400, "[".repeat(4_000_000)),
        ("an open object", 413, r#"{"messages":"#.repeat(300_000)),
        ("messages", 400, format!(r#"{{"messages":{list}}}"#)),
        ("content", 400, message(&format!(r#""content":{list}"#))),
        (
            "custom content",
            400,
            message(&format!(r#""content":"hi","custom_content":{list}"#)),
        ),
        (
            "an unknown field",
            200,
            message(&format!(r#""content":"hi","x":{nested}"#)),
        ),
        (
            "a state",
            200,
            message(&format!(
                r#""content":"hi","custom_content":{{"state":{nested}}}"#
            )),
        ),
    ] {
        let begun = Instant::now();
        let response = world.post(&Value::Null).body(body).send().await.unwrap();
        assert_eq!(response.status(), status, "{name}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["error"].is_object(), status != 200, "{name}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{name}");
    }
}

/// The next of a row of numbers that looks random and is the same each time.
fn random(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed as usize
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_as_a_body_get_an_answer() {
    let world = plan("GPA").start().await;
    let good = json!({"stream": false, "model": "m", "messages": [
        {"role": "system", "content": "Be \u{1f600} kind"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}],
         "custom_content": {"attachments": [{"url": "files/a", "type": "text/csv"}], "state": {"v": 1}}}]});
    let good = good.to_string().into_bytes();
    let spice: [&[u8]; 12] = [
        b"\"",
        b"{",
        b"]",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"1e999",
        b"\\ud83d",
        b"null",
        b",",
        b"\n",
        b"\\",
    ];
    let mut seed = 0x5eed_cafe_f00d_u64;
    let mut bodies: Vec<Vec<u8>> = vec![
        b"\xef\xbb\xbf{}".to_vec(),
        good.iter().flat_map(|byte| [*byte, 0]).collect(),
        vec![0; 70_000],
        vec![0xff; 70_000],
        (0..=255).collect(),
        b"\x1f\x8b\x08\x00".to_vec(),
        b"messages=hi&stream=true".to_vec(),
        b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xc3\x28\"}]}".to_vec(),
    ];
    for _ in 0..200 {
        let mut body = good.clone();
        for _ in 0..=random(&mut seed) % 3 {
            let at = random(&mut seed) % body.len();
            let until = (at + random(&mut seed) % 4).min(body.len());
            body.splice(
                at..until,
                spice[random(&mut seed) % spice.len()].iter().copied(),
            );
        }
        body.truncate(body.len() - random(&mut seed) % 2 * (random(&mut seed) % body.len()));
        bodies.push(body);
    }
    for body in bodies {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let response = world.post(&Value::Null).body(body).send().await.unwrap();
        let status = response.status().as_u16();
        assert!(matches!(status, 200 | 400 | 422), "{status}: {shown}");
        let answer: Value = response.json().await.unwrap();
        if status != 200 {
            let error = &answer["error"];
            let whole = ["code", "message", "type", "display_message"]
                .map(|field| error[field].is_string());
            assert_eq!(whole, [true; 4], "{answer}: {shown}");
        }
    }
}
