//! Stories of what people want: the language they are told things in, and their preferences.

use serde_json::{Value, json};

use sandbox::stub::Reply;

use crate::world::{World, plan, user};

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_in_ukrainian_is_told_of_a_failure_in_ukrainian() {
    let world = plan("GPA")
        .gpa(|_| Reply::json(500, json!({})))
        .start()
        .await;
    let answer = world
        .ask(&[user("Покажи мені погоду в Києві, що там є?")])
        .await;
    let error = answer.checked.error.clone().unwrap();
    let told = error["display_message"].as_str().unwrap();
    assert!(told.contains("GPA не зміг відповісти"), "{told}");
    assert!(told.contains("(код "), "{told}");
    // What clients and tests know stages by stays as it is.
    assert!(answer.stage("Coordination Request")["name"] == "Coordination Request → GPA");
    assert_eq!(answer.stage("Call GPA")["name"], "Call GPA Agent");
    let english = world.ask(&[user("What is the weather?")]).await;
    let error = english.checked.error.unwrap();
    assert!(
        error["display_message"]
            .as_str()
            .unwrap()
            .starts_with("GPA could not answer")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_ukrainian_is_refused_in_ukrainian() {
    let world = plan("GPA").start().await;
    let refused = async |language: &str| {
        let request = world
            .post(&json!({"messages": []}))
            .header("accept-language", language);
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        body["error"]["display_message"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        refused("uk-UA, en;q=0.5").await,
        "Не вдалося зрозуміти запит."
    );
    assert_eq!(refused("ja").await, "The request could not be understood.");
    // Words that tell nothing are answered in the client's language.
    let request = world.post(&json!({"messages": [user("12345")], "stream": true}));
    let answer = World::answer(request.header("accept-language", "uk")).await;
    assert_eq!(answer.checked.error, None);
}
