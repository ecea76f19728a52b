use super::*;

const MOST: usize = 2000;

fn read(body: &str) -> Result<ChatRequest, Failure> {
    ChatRequest::read(body.as_bytes(), MOST)
}

fn refused(body: &str) -> (Code, Option<String>, String) {
    let failure = read(body).unwrap_err();
    (failure.code, failure.param, failure.message)
}

#[test]
fn a_plain_request_is_read() {
    let request =
        read(r#"{"messages":[{"role":"user","content":"hi"}],"stream":true,"model":"mas"}"#);
    assert_eq!(
        request,
        Ok(ChatRequest {
            configuration: Configuration::default(),
            messages: vec![Message::user("hi")],
            stream: true,
            model: Some("mas".into())
        })
    );
}

#[test]
fn unknown_fields_are_accepted_at_every_level() {
    let request = read(
        r#"{"messages":[{"role":"user","content":"hi","x":1,"custom_content":{"y":2,"stages":[{"index":0}],
            "attachments":[{"url":"files/a","z":3,"index":0}]}}],"addons":[],"temperature":0.5}"#,
    )
    .unwrap();
    assert_eq!(
        request.messages[0].attachments[0].url.as_deref(),
        Some("files/a")
    );
    assert!(!request.stream);
}

#[test]
fn parts_become_text_and_attachments() {
    let request = read(
        r#"{"messages":[{"role":"user","content":[
            {"type":"text","text":"look"},{"type":"text","text":"here"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},
            {"type":"image_url","image_url":{"url":"https://example.com/a.png"}},
            {"type":"input_audio","input_audio":{"data":"BBBB","format":"wav"}},
            {"type":"file","file":{"file_data":"data:application/pdf;base64,CCCC","filename":"a.pdf"}}]}]}"#,
    )
    .unwrap();
    let message = &request.messages[0];
    assert_eq!(message.text, "look\nhere");
    let seen: Vec<_> = message
        .attachments
        .iter()
        .map(|file| {
            (
                file.title.as_deref(),
                file.media_type.as_deref(),
                file.data.as_deref(),
                file.url.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        vec![
            (Some("file"), Some("image/png"), Some("AAAA"), None),
            (
                Some("file"),
                Some("image/png"),
                None,
                Some("https://example.com/a.png")
            ),
            (Some("audio"), Some("audio/wav"), Some("BBBB"), None),
            (Some("a.pdf"), Some("application/pdf"), Some("CCCC"), None),
        ]
    );
}

#[test]
fn the_kind_of_a_picture_follows_from_its_address() {
    for (address, kind) in [
        ("https://example.com/a.JPG", "image/jpeg"),
        ("files/a.jpeg?size=2", "image/jpeg"),
        ("files/a.gif#b", "image/gif"),
        ("files/a.webp", "image/webp"),
        ("files/a.svg", "image/svg+xml"),
        ("files/a.bmp", "image/png"),
        ("files/a", "image/png"),
    ] {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{address}"}}}}]}}]}}"#
        );
        let request = read(&body).unwrap();
        let file = &request.messages[0].attachments[0];
        assert_eq!(file.media_type.as_deref(), Some(kind), "{address}");
    }
}

#[test]
fn a_part_that_cannot_be_read_is_refused_with_its_place() {
    let (code, param, _) =
        refused(r#"{"messages":[{"role":"user","content":[{"type":"hologram"}]}]}"#);
    assert_eq!(
        (code, param.as_deref()),
        (Code::UnsupportedParameter, Some("messages.0.content.0"))
    );
}

#[test]
fn a_pressed_button_is_a_message() {
    let request = read(
        r#"{"messages":[{"role":"user","content":"","custom_content":{"form_value":{"answer":1}}}]}"#,
    )
    .unwrap();
    assert_eq!(request.messages[0].text, r#"{"answer":1}"#);
}

#[test]
fn the_state_is_kept_byte_for_byte_and_never_an_error() {
    let state = r#"{"b": 1.50, "a": [1, {"index": 0}]}"#;
    let request = read(&format!(
        r#"{{"messages":[{{"role":"assistant","content":null,"custom_content":{{"state":{state}}}}},
            {{"role":"assistant","content":"x","custom_content":{{"state":[1]}}}},
            {{"role":"user","content":"hi","custom_content":null}}]}}"#
    ))
    .unwrap();
    assert_eq!(request.messages[0].state.as_ref().unwrap().get(), state);
    assert_eq!(request.messages[1].state, None);
}

#[test]
fn wrong_bodies_are_refused_with_the_place_of_the_mistake() {
    let check = |body: &str, param: Option<&str>, part: &str| {
        let (code, found, message) = refused(body);
        assert_eq!(code, Code::InvalidRequest, "{body}");
        assert_eq!(found.as_deref(), param, "{body}: {message}");
        assert!(message.contains(part), "{body}: {message}");
    };
    check("", None, "isn't valid JSON");
    check("{\"messages\":", None, "isn't valid JSON");
    check("{\"messages\":[]} x", None, "isn't valid JSON");
    check("[1]", Some("messages"), "an object");
    check("null", Some("messages"), "an object");
    check(
        r#"{"messages":[["user","hi"]]}"#,
        Some("messages.0"),
        "an object",
    );
    check(
        r#"{"messages":[{"role":null,"content":"x"}]}"#,
        Some("messages.0.role"),
        "",
    );
    check(
        r#"{"messages":[{"role":"user","content":"x","custom_content":[]}]}"#,
        Some("messages.0.custom_content"),
        "an object",
    );
    check("{}", Some("messages"), "missing field `messages`");
    check(r#"{"messages":{}}"#, Some("messages"), "messages");
    check(r#"{"messages":[]}"#, Some("messages"), "empty");
    check(
        r#"{"messages":[{"role":"robot","content":"x"}]}"#,
        Some("messages.0.role"),
        "expected one of `system`",
    );
    check(
        r#"{"messages":[{"role":"user","content":5}]}"#,
        Some("messages.0.content"),
        ": this cannot be read",
    );
    check(
        r#"{"messages":[{"role":"user","content":"x"}],"stream":"yes"}"#,
        Some("stream"),
        "boolean",
    );
    check(
        r#"{"messages":[{"role":"system","content":"x"}]}"#,
        Some("messages"),
        "no message of the user",
    );
    check(
        r#"{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}"#,
        Some("messages.1"),
        "last message",
    );
    check(
        r#"{"messages":[{"role":"user","content":"  "}]}"#,
        Some("messages.0"),
        "empty",
    );
    check(
        r#"{"messages":[{"role":"user","content":"x","custom_content":{"attachments":"a"}}]}"#,
        Some("messages.0.custom_content.attachments"),
        "",
    );
}

#[test]
fn a_refusal_never_repeats_the_users_words() {
    for body in [
        r#"{"messages":"my secret words"}"#,
        r#"{"messages":[{"role":"my secret words"}]}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"stream":"my secret words"}"#,
    ] {
        let (_, _, message) = refused(body);
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn half_a_character_in_an_old_message_is_no_obstacle() {
    let request = read(
        r#"{"messages":[{"role":"assistant","content":"cut \ud83d"},{"role":"user","content":"hi"}]}"#,
    );
    assert_eq!(request.unwrap().messages[0].text, "cut \u{fffd}");
}

#[test]
fn several_choices_and_too_many_messages_are_refused() {
    assert!(read(r#"{"messages":[{"role":"user","content":"x"}],"n":1}"#).is_ok());
    let (code, param, _) = refused(r#"{"messages":[{"role":"user","content":"x"}],"n":2}"#);
    assert_eq!(
        (code, param.as_deref()),
        (Code::UnsupportedParameter, Some("n"))
    );
    let one = r#"{"role":"user","content":"x"}"#;
    let many = vec![one; MOST + 1].join(",");
    let (code, _, message) = refused(&format!(r#"{{"messages":[{many}]}}"#));
    assert_eq!(code, Code::RequestTooLarge);
    assert!(message.contains("2001"));
    assert!(
        read(&format!(
            r#"{{"messages":[{}]}}"#,
            vec![one; MOST].join(",")
        ))
        .is_ok()
    );
}

#[test]
fn a_body_of_tiny_parts_is_refused_before_they_take_a_hundred_times_its_size() {
    let filled = |part: &str| {
        let parts = vec![part; 100_000].join(",");
        format!(
            r#"{{"messages":[{{"role":"user","content":"x","custom_content":{{"attachments":[{parts}]}}}}]}}"#
        )
    };
    let (code, ..) = refused(&filled("{}"));
    assert_eq!(code, Code::RequestTooLarge);
    let quoted = vec!["{ \\\"{"; 100_000].join("");
    assert!(
        read(&format!(
            r#"{{"messages":[{{"role":"user","content":"{quoted}"}}]}}"#
        ))
        .is_ok()
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_give_a_request_or_a_refusal(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = ChatRequest::read(&bytes, MOST);
    }
}
