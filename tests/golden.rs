//! The reference coordinator's golden streams: the same content and order of steps, without its defects.

use coordinator::dial::fold::{Folded, fold};
use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};

use crate::world::{Answer, World, model, plan, routes, user};

fn sample(file: &str) -> String {
    let path = format!(
        "{}/samples/reference-coordinator/{file}",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read_to_string(path).unwrap()
}

/// The merged message of a golden stream.
fn golden(file: &str) -> Value {
    let capture = sample(file);
    let (_, body) = capture.split_once("\r\n\r\n").unwrap();
    match fold(body.as_bytes()) {
        Folded::Answer(answer) => answer["choices"][0]["message"].clone(),
        other => panic!("{other:?}"),
    }
}

/// The upstreams that the golden streams were captured with.
async fn reference(agent: &'static str, instructions: Value) -> World {
    let answers = move |seen: &Seen| match seen.json()["response_format"].is_object() {
        true => routes(agent, instructions.clone()),
        false => model(seen, agent),
    };
    plan(agent)
        .model(answers)
        .gpa(|_| Reply::sample("gpa/tools.stream.http"))
        .start()
        .await
}

/// The two fields of the decision that the reference has too.
fn decision(stage: &Value) -> Value {
    let text = stage["content"].as_str().unwrap();
    let json = text
        .trim_start_matches("```json")
        .trim_end()
        .trim_end_matches("```");
    let shown: Value = serde_json::from_str(json).unwrap();
    json!([shown["agent_name"], shown["additional_instructions"]])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gpa_turn_matches_the_golden_stream_in_content() {
    let golden = golden("gpa.stream.http");
    let world = reference("GPA", json!("Be brief")).await;
    let ours = world.well(&[user("Draw a cat")]).await;
    let (theirs, stages) = (
        golden["custom_content"]["stages"]
            .as_array()
            .unwrap()
            .clone(),
        ours.stages(),
    );
    assert_eq!(theirs.len(), stages.len());
    assert_eq!(decision(&theirs[0]), decision(&stages[0]));
    assert_eq!(theirs[1]["name"], stages[1]["name"]);
    assert_eq!(theirs[1]["content"], stages[1]["content"]);
    for (theirs, ours) in theirs[2..].iter().zip(&stages[2..]) {
        let mut expected = theirs.clone();
        expected["parent_stage_index"] = json!(1);
        // The reference gives a type to an attachment that has none.
        if expected["attachments"][0]["title"] == "Revised prompt" {
            expected["attachments"][0]
                .as_object_mut()
                .unwrap()
                .shift_remove("type");
        }
        assert_eq!(sorted(&expected), sorted(ours));
    }
    assert_eq!(
        golden["custom_content"]["attachments"],
        ours.message["custom_content"]["attachments"]
    );
    // The image that GPA wrote into its text is lost in the reference.
    let image = "![image](files/BUCKET/appdata/dall-e-3/images/cat.png)";
    assert_eq!(
        format!("{}\n\n{image}", golden["content"].as_str().unwrap()),
        ours.text()
    );
}

fn sorted(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ums_turn_matches_the_golden_stream_in_content() {
    let golden = golden("ums.stream.http");
    let ours = reference("UMS", Value::Null)
        .await
        .well(&[user("Do we have user John?")])
        .await;
    let (theirs, stages) = (
        golden["custom_content"]["stages"]
            .as_array()
            .unwrap()
            .clone(),
        ours.stages(),
    );
    assert_eq!(decision(&theirs[0]), decision(&stages[0]));
    assert_eq!(theirs[1]["name"], stages[1]["name"]);
    let id = |text: &Value| {
        text.as_str()
            .unwrap()
            .replace("2ceb4817-7482-43ff-bce9-60feb0211da4", "ID")
            .replace("19b1346a-acca-4abf-b81b-b1f21c51dc70", "ID")
    };
    assert_eq!(id(&theirs[1]["content"]), id(&stages[1]["content"]));
    assert_eq!(golden["content"], ours.message["content"]);
}

/// The order in which things happen in a stream.
fn steps(answer: &Answer) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    for chunk in &answer.checked.chunks {
        let choice = &chunk["choices"][0];
        let custom = &choice["delta"]["custom_content"];
        let stage = &custom["stages"][0];
        let step = match () {
            () if !choice["finish_reason"].is_null() => "finish".into(),
            () if choice["delta"]["role"].is_string() => "role".into(),
            () if choice["delta"]["content"].is_string() => "answer".into(),
            () if custom["state"].is_object() => "state".into(),
            () if custom["attachments"].is_array() => "attachment".into(),
            () if stage["status"].is_string() => format!("close {}", stage["index"]),
            () => format!("stage {}", stage["index"]),
        };
        if steps.last() != Some(&step) {
            steps.push(step);
        }
    }
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_come_in_the_golden_order() {
    let world = reference("GPA", json!("Be brief")).await;
    let steps = steps(&world.well(&[user("Draw a cat")]).await);
    let at = |step: &str| {
        steps
            .iter()
            .position(|one| one == step)
            .unwrap_or_else(|| panic!("{step}: {steps:?}"))
    };
    let order = [
        "role", "stage 0", "close 0", "stage 1", "stage 2", "close 2", "stage 3", "close 3",
        "close 1", "state", "answer", "finish",
    ];
    let places: Vec<usize> = order.iter().map(|step| at(step)).collect();
    assert!(places.is_sorted(), "{steps:?}");
    assert!(at("attachment") < at("answer"));
    assert_eq!(steps.last().unwrap(), "finish");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_of_the_reference_goes_on_with_gpas_history() {
    let request: Value = serde_json::from_str(&sample("turn3.request.json")).unwrap();
    let golden: Value = serde_json::from_str(&sample("turn3-to-gpa.request.json")).unwrap();
    let world = reference("GPA", json!("Be brief")).await;
    World::answer(world.post(&request)).await;
    let ours = &World::asked(&world.gpa)[0]["messages"];
    let theirs = &golden["body"]["messages"];
    assert_eq!(ours.as_array().unwrap().len(), 3, "nothing of the UMS turn");
    assert_eq!(ours[0], theirs[0]);
    assert_eq!(ours[1], theirs[1]);
    let last = ours[2]["content"].as_str().unwrap();
    assert!(
        last.starts_with("Now draw a dog\n\n---\n") && last.ends_with("\nBe brief"),
        "{last}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_conversation_id_is_no_accident() {
    // The reference dies of it mid-stream: gpa-no-conversation-id.stream.http.
    assert!(
        sample("gpa-no-conversation-id.stream.http")
            .contains("Error during processing the request")
    );
    let world = reference("GPA", Value::Null).await;
    let mut request = world
        .post(&json!({"messages": [user("Draw a cat")], "stream": true}))
        .build()
        .unwrap();
    request.headers_mut().remove("x-conversation-id");
    let response = world.client().execute(request).await.unwrap();
    let answer = Answer::of(response.bytes().await.unwrap().to_vec());
    assert_eq!(answer.checked.error, None);
    assert!(world.gpa.seen()[0].header("x-conversation-id").is_some());
}
