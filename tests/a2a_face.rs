//! Stories of callers that speak A2A to the coordinator.

use sandbox::stub::Reply;
use serde_json::{Value, json};

use crate::world::{World, delta, finish, model, plan, says};

const METHODS: [(&str, &str, bool); 2] = [
    ("SendStreamingMessage", "SendMessage", true),
    ("message/stream", "message/send", false),
];

async fn post(world: &World, body: &Value) -> reqwest::Response {
    let request = (world.client().post(format!("{}/a2a", world.url)))
        .header("content-type", "application/json")
        .body(body.to_string());
    request.send().await.unwrap()
}

fn call(method: &str, message: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": "call-1", "method": method, "params": {"message": message}})
}

fn said(text: &str) -> Value {
    json!({"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": text}]})
}

async fn rpc(world: &World, body: &Value) -> Value {
    let response = post(world, body).await;
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

/// What was told, event by event, without what both versions wrap around it.
async fn told(world: &World, body: &Value) -> Vec<Value> {
    let response = post(world, body).await;
    assert_eq!(response.status(), 200);
    let media = response.headers()["content-type"].to_str().unwrap();
    assert!(media.starts_with("text/event-stream"), "{media}");
    let text = response.text().await.unwrap();
    let events = text
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "));
    let events: Vec<Value> = events
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let result = |event: &Value| {
        assert_eq!(event["id"], "call-1");
        let result = &event["result"];
        ["task", "statusUpdate", "artifactUpdate"]
            .iter()
            .find_map(|kind| result.get(kind))
            .unwrap_or(result)
            .clone()
    };
    events.iter().map(result).collect()
}

fn text_of(events: &[Value]) -> String {
    let pieces = events
        .iter()
        .filter(|event| event["artifact"]["artifactId"] == "answer");
    pieces
        .filter_map(|event| event["artifact"]["parts"][0]["text"].as_str())
        .collect()
}

fn state_of(event: &Value) -> &str {
    event["status"]["state"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_card_tells_what_the_agents_can_do_and_where() {
    let world = plan("GPA").set("MAS_AUTH", "none").start().await;
    let response = world
        .get("/.well-known/agent-card.json")
        .send()
        .await
        .unwrap();
    let card: Value = response.json().await.unwrap();
    let url = format!("{}/a2a", world.url);
    assert_eq!(card["url"], url);
    assert_eq!(
        card["supportedInterfaces"][0],
        json!({"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"})
    );
    assert_eq!(card["capabilities"]["streaming"], true);
    let skills = card["skills"].as_array().unwrap();
    let users = skills
        .iter()
        .find(|skill| skill["id"] == "user_management")
        .unwrap();
    assert_eq!(users["tags"], json!(["UMS"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_a_turn_told_as_a_task() {
    for (stream, send, new) in METHODS {
        let picture = json!({"attachments": [
            {"index": 0, "type": "image/png", "title": "cat", "data": "iVBO"}]});
        let world = plan("GPA")
            .gpa(move |_| {
                let reply = Reply::sse().data(delta(
                    json!({"content": "A cat.", "custom_content": picture.clone()}),
                ));
                reply.data(finish()).done()
            })
            .start()
            .await;
        let events = told(&world, &call(stream, said("Draw a cat"))).await;
        let (first, last) = (&events[0], events.last().unwrap());
        let (working, completed) = if new {
            ("TASK_STATE_WORKING", "TASK_STATE_COMPLETED")
        } else {
            ("working", "completed")
        };
        assert_eq!(state_of(first), working);
        assert_eq!(state_of(last), completed);
        assert_eq!(last["taskId"], first["id"]);
        assert_eq!(last["contextId"], first["contextId"]);
        assert_eq!(text_of(&events), "Final answer.");
        let appended: Vec<&Value> = (events.iter())
            .filter(|event| event["artifact"]["artifactId"] == "answer")
            .map(|event| &event["append"])
            .collect();
        assert_eq!(appended[0], &json!(false));
        assert!(appended[1..].iter().all(|append| **append == true));
        let file = events
            .iter()
            .find(|event| event["artifact"]["artifactId"] == "file-1");
        let part = &file.unwrap()["artifact"]["parts"][0];
        let data = if new {
            &part["raw"]
        } else {
            &part["file"]["bytes"]
        };
        assert_eq!(data, "iVBO");
        let stages: Vec<&str> = (events.iter())
            .filter_map(|event| event["metadata"]["name"].as_str())
            .collect();
        assert!(
            stages
                .iter()
                .any(|stage| stage.starts_with("Call GPA Agent")),
            "{stages:?}"
        );
        if !new {
            assert_eq!(
                (&first["kind"], &last["kind"], &last["final"]),
                (&json!("task"), &json!("status-update"), &json!(true))
            );
        }

        let answer = rpc(&world, &call(send, said("Draw a cat"))).await;
        let result = &answer["result"];
        let task = result.get("task").unwrap_or(result);
        assert_eq!(state_of(task), completed);
        assert_eq!(task["artifacts"][0]["parts"][0]["text"], "Final answer.");
        assert_eq!(task["artifacts"][1]["artifactId"], "file-1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_is_a_conversation_that_we_remember_for_the_client() {
    let world = plan("GPA").start().await;
    let first = rpc(&world, &call("SendMessage", said("What is it?"))).await;
    let context = first["result"]["task"]["contextId"].clone();
    let mut next = said("Sure?");
    next["contextId"] = context.clone();
    let second = rpc(&world, &call("SendMessage", next.clone())).await;
    assert_eq!(second["result"]["task"]["contextId"], context);
    next["parts"][0]["text"] = "Really?".into();
    rpc(&world, &call("message/send", next)).await;
    let asked = World::asked(&world.gpa);
    let said_to = |at: usize| -> Vec<String> {
        let messages = asked[at]["messages"].as_array().unwrap();
        messages
            .iter()
            .map(|message| message["content"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(said_to(0), ["What is it?"]);
    assert_eq!(said_to(1), ["What is it?", "Done: all good.", "Sure?"]);
    assert_eq!(said_to(2).len(), 5, "{:?}", said_to(2));
    // Another context knows nothing of it.
    rpc(&world, &call("SendMessage", said("And now?"))).await;
    assert_eq!(
        World::asked(&world.gpa)[3]["messages"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_waits_for_input_and_its_reply_goes_to_whom_asked() {
    let world = plan("GPA")
        .gpa(
            |seen| match seen.json()["messages"].as_array().map(Vec::len) {
                Some(1) => says("In which city?"),
                _ => says("It rains."),
            },
        )
        .set("MAS_SYNTHESIS", "never")
        .set("MAS_ROUTING", "sticky=12,guess=off,cache=off")
        .start()
        .await;
    let events = told(&world, &call("SendStreamingMessage", said("The weather"))).await;
    let last = events.last().unwrap();
    assert_eq!(state_of(last), "TASK_STATE_INPUT_REQUIRED");
    assert_eq!(
        last["status"]["message"]["parts"][0]["text"],
        "In which city?"
    );
    let routed = World::asked(&world.model).len();
    let mut reply = said("Paris");
    reply["contextId"] = last["contextId"].clone();
    reply["taskId"] = last["taskId"].clone();
    let events = told(&world, &call("SendStreamingMessage", reply)).await;
    assert_eq!(text_of(&events), "It rains.");
    assert_eq!(events[0]["id"], last["taskId"], "the task goes on");
    assert_eq!(World::asked(&world.model).len(), routed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_asked_for_and_given_by_the_same_door() {
    let agents = "agents:\n\
        - {name: GPA, endpoint: '{gpa}/gpa', effect: none}\n\
        - {name: UMS, protocol: conversation, endpoint: '{ums}', approval: always}\n";
    let world = plan("UMS").set("MAS_AGENTS", agents).start().await;
    let events = told(&world, &call("SendStreamingMessage", said("Delete Bob"))).await;
    let last = events.last().unwrap();
    assert_eq!(state_of(last), "TASK_STATE_INPUT_REQUIRED");
    let form = last["status"]["message"]["parts"][1]["data"].to_string();
    let token = form.split("approve ").nth(1).unwrap();
    let token: String = token
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    assert_eq!(world.ums.seen().len(), 0);
    let mut reply = said(&format!("approve {token}"));
    reply["contextId"] = last["contextId"].clone();
    reply["taskId"] = last["taskId"].clone();
    let events = told(&world, &call("SendStreamingMessage", reply)).await;
    assert_eq!(state_of(events.last().unwrap()), "TASK_STATE_COMPLETED");
    let asked = World::asked(&world.ums);
    assert!(asked[1].to_string().contains("Delete Bob"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_fails_is_a_failed_task() {
    let world = plan("GPA")
        .gpa(|_| Reply::text(500, "SECRET"))
        .start()
        .await;
    let events = told(&world, &call("message/stream", said("hi"))).await;
    let last = events.last().unwrap();
    assert_eq!(state_of(last), "failed");
    let told = last["status"]["message"]["parts"][0]["text"]
        .as_str()
        .unwrap();
    assert!(told.contains("GPA") && !told.contains("SECRET"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_and_what_is_wrong_is_told_in_json_rpc() {
    let world = plan("GPA").start().await;
    for (method, code) in [
        ("GetTask", -32001),
        ("tasks/cancel", -32001),
        ("SubscribeToTask", -32004),
        ("CreateTaskPushNotificationConfig", -32004),
        ("dance", -32601),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": {"id": "t"}});
        let answer = rpc(&world, &body).await;
        assert_eq!(
            (&answer["error"]["code"], &answer["id"]),
            (&json!(code), &json!(7)),
            "{method}"
        );
    }
    let request = (world.client().post(format!("{}/a2a", world.url)))
        .header("content-type", "application/json")
        .header("a2a-version", "9.0")
        .body(call("SendMessage", said("hi")).to_string());
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["error"]["code"], -32009);
    assert_eq!(world.model.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_has_the_same_lock_and_the_same_limits_as_the_chat() {
    let locked = plan("GPA")
        .set("MAS_AUTH", "secret")
        .set(
            "MAS_AUTH_SECRETS",
            "partner:0123456789012345678901234567890123456789",
        )
        .set("MAS_LIMITS", "requests=1")
        .start()
        .await;
    let body = call("SendMessage", said("hi"));
    assert_eq!(post(&locked, &body).await.status(), 401);
    let card = locked
        .get("/.well-known/agent-card.json")
        .send()
        .await
        .unwrap();
    let card: Value = card.json().await.unwrap();
    assert_eq!(card["securitySchemes"]["secret"]["name"], "x-mas-secret");
    let known = || async {
        let request = (locked.client().post(format!("{}/a2a", locked.url)))
            .header("content-type", "application/json")
            .header("x-mas-secret", "0123456789012345678901234567890123456789")
            .body(body.to_string());
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        state_of(&answer["result"]["task"]).to_owned()
    };
    assert_eq!(known().await, "TASK_STATE_COMPLETED");
    assert_eq!(known().await, "TASK_STATE_FAILED", "one request a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_cancels_the_turn() {
    let hangs = |_: &sandbox::stub::Seen| Reply::sse().data(delta(json!({"content": "a"}))).hang();
    let world = plan("GPA")
        .model(|seen| model(seen, "GPA"))
        .gpa(hangs)
        .start()
        .await;
    let mut response = post(&world, &call("SendStreamingMessage", said("hi"))).await;
    let mut read = String::new();
    while !read.contains("Call GPA Agent") {
        let piece = response.chunk().await.unwrap().unwrap();
        read.push_str(&String::from_utf8_lossy(&piece));
    }
    // The world waits for every call to end.
    drop(response);
}
