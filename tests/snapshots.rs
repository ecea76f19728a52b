//! What people, models and agents are shown, word for word: a change here should be seen and meant.

use sandbox::stub::Reply;
use serde_json::{Value, json};

use crate::world::{World, model, plan, routes, user};

/// A stream with what differs from run to run replaced.
fn redacted(raw: &[u8]) -> String {
    let text = String::from_utf8(raw.to_vec()).unwrap();
    let first: Value =
        serde_json::from_str(text.lines().next().unwrap().trim_start_matches("data: ")).unwrap();
    let created = format!("\"created\":{}", first["created"]);
    let mut text = text
        .replace(first["id"].as_str().unwrap(), "ID")
        .replace(&created, "\"created\":0");
    for field in ["\"payload\":\"", "\"mac\":\""] {
        let at = text.find(field).unwrap() + field.len();
        let end = at + text[at..].find('"').unwrap();
        text.replace_range(at..end, "…");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_a_turn() {
    let world = plan("GPA")
        .gpa(|_| Reply::sample("gpa/tools.stream.http"))
        .start()
        .await;
    let answer = world.well(&[user("Draw a cat")]).await;
    insta::assert_snapshot!(redacted(&answer.raw));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_a_failed_turn() {
    let world = plan("UMS").ums(|_| Reply::text(500, "no")).start().await;
    let answer = world.ask(&[user("Rename user Bob")]).await;
    let reference = answer.checked.error.as_ref().unwrap()["message"]
        .as_str()
        .unwrap()
        .rsplit(' ')
        .next()
        .unwrap();
    insta::assert_snapshot!(redacted(&answer.raw).replace(reference, "REFERENCE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_models_and_agents_are_asked() {
    let answers = |seen: &sandbox::stub::Seen| match seen.json()["response_format"].is_object() {
        true => routes("GPA", json!("The city is Paris.")),
        false => model(seen, "GPA"),
    };
    let world = plan("GPA").model(answers).start().await;
    world.well(&[user("What's the weather?")]).await;
    let mut asked = World::asked(&world.model);
    asked.extend(World::asked(&world.gpa));
    let mut text = serde_json::to_string_pretty(&asked).unwrap();
    let marker = text.find("-----").unwrap() + 5;
    let nonce = text[marker..].split(' ').next().unwrap().to_owned();
    text = text.replace(&nonce, "NONCE");
    insta::assert_snapshot!(text);
}
