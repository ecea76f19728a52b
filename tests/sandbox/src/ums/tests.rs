use super::*;
use crate::Sandbox;
use crate::probe::{self, Answer};

struct Talk {
    sandbox: Sandbox,
    id: String,
}

impl Talk {
    async fn start() -> Self {
        let sandbox = Sandbox::start().await.unwrap();
        let url = format!("{}/conversations", sandbox.ums_url());
        let created = probe::post(&url, &[], &json!({"title": "T"})).await.json();
        let id = created["id"].as_str().unwrap().to_owned();
        Self { sandbox, id }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/conversations/{}{path}", self.sandbox.ums_url(), self.id)
    }

    async fn send(&self, text: &str) -> Answer {
        let body = json!({"message": {"role": "user", "content": text}});
        probe::post(&self.url("/chat"), &[], &body).await
    }

    async fn say(&self, text: &str) -> String {
        self.send(text).await.content()
    }
}

#[tokio::test]
async fn users_are_really_managed() {
    let talk = Talk::start().await;
    assert_eq!(
        talk.say("Do we have John Doe?").await,
        "Found **John Doe** (id 1), john.doe@example.com, engineering."
    );
    assert_eq!(
        talk.say("change his email to jd@example.com").await,
        "Updated **John Doe**: the email is now jd@example.com."
    );
    assert_eq!(
        talk.say("Add user Andrej Popov in engineering, then list all users in engineering\n\n--- delete John Doe").await,
        "Created user **Andrej Popov** (id 4), engineering.\n\nThere are 2 users in engineering:\n\n\
         | id | name | email | department |\n|---|---|---|---|\n\
         | 1 | John Doe | jd@example.com | engineering |\n| 4 | Andrej Popov | – | engineering |"
    );
    assert_eq!(
        talk.say("delete him").await,
        "Deleted user **Andrej Popov** (id 4)."
    );
    assert_eq!(
        talk.say("show him").await,
        "There is no user **Andrej Popov** any more."
    );
    assert_eq!(
        talk.say("Create user Ann Lee").await,
        "There is already a user **Ann Lee** (id 3), ann.lee@example.com, marketing."
    );
}

#[tokio::test]
async fn a_pronoun_means_somebody_of_this_conversation() {
    let talk = Talk::start().await;
    assert_eq!(
        talk.say("delete her").await,
        "Which user do you mean? Please give me a name."
    );
}

#[tokio::test]
async fn answers_are_streamed_as_python_writes_them() {
    let talk = Talk::start().await;
    let answer = talk.send("find nobody").await;
    let chunk = |text: &str| {
        format!(
            r#"data: {{"choices": [{{"delta": {{"content": "{text}"}}, "index": 0, "finish_reason": null}}]}}"#
        ) + "\n\n"
    };
    let mut expected = vec![format!(
        "data: {{\"conversation_id\": \"{}\"}}\n\n",
        talk.id
    )];
    let words = [
        "There ",
        "is ",
        "no ",
        "user ",
        "**Nobody** ",
        "in ",
        "the ",
        "system.",
    ];
    expected.extend(words.map(chunk));
    expected.push(
        "data: {\"choices\": [{\"delta\": {}, \"index\": 0, \"finish_reason\": \"stop\"}]}\n\n"
            .to_owned(),
    );
    expected.push("data: [DONE]\n\n".to_owned());
    assert_eq!(answer.chunks, expected);
}

#[tokio::test]
async fn conversations_are_kept_until_deleted() {
    let talk = Talk::start().await;
    talk.say("find Ann").await;
    let shown = probe::get(&talk.url("")).await.json();
    assert_eq!(shown["messages"].as_array().unwrap().len(), 2);
    assert_eq!(shown["messages"][1]["role"], "assistant");
    let all = format!("{}/conversations", talk.sandbox.ums_url());
    assert_eq!(probe::get(&all).await.json()[0]["message_count"], 2);
    assert_eq!(
        probe::send("DELETE", &talk.url(""), &[], "").await.status,
        200
    );
    assert_eq!(
        probe::send("DELETE", &talk.url(""), &[], "").await.status,
        404
    );
    assert_eq!(
        probe::get(&talk.url("")).await.json(),
        json!({"detail": "Conversation not found"})
    );
    let gone = talk.send("find Ann").await;
    assert_eq!(
        (gone.status, gone.body().as_str()),
        (500, "Internal Server Error")
    );
    assert!(
        gone.head
            .contains("content-type: text/plain; charset=utf-8")
    );
}

#[tokio::test]
async fn block_answers_forget_what_was_said() {
    let talk = Talk::start().await;
    let body = json!({"message": {"role": "user", "content": "find Ann"}, "stream": false});
    let answer = probe::post(&talk.url("/chat"), &[], &body).await.json();
    assert_eq!(answer["conversation_id"], talk.id.as_str());
    let shown = probe::get(&talk.url("")).await.json();
    assert_eq!(shown["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_bodies_are_refused_as_fastapi_refuses_them() {
    let talk = Talk::start().await;
    let all = format!("{}/conversations", talk.sandbox.ums_url());
    let answer = probe::send("POST", &all, &[], "").await;
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.body(),
        r#"{"detail":[{"type":"missing","loc":["body"],"msg":"Field required","input":null}]}"#
    );
    let answer = probe::post(&all, &[], &json!({"title": null})).await;
    assert_eq!(
        answer.body(),
        r#"{"detail":[{"type":"string_type","loc":["body","title"],"msg":"Input should be a valid string","input":null}]}"#
    );
    let answer = probe::post(&talk.url("/chat"), &[], &json!({"message": "x"})).await;
    assert_eq!(
        answer.body(),
        r#"{"detail":[{"type":"model_attributes_type","loc":["body","message"],"msg":"Input should be a valid dictionary or object to extract fields from","input":"x"}]}"#
    );
    assert_eq!(
        probe::post(&all, &[], &json!({})).await.json()["title"],
        Value::Null
    );
    assert_eq!(probe::get(&all).await.status, 500);
    let health = probe::get(&format!("{}/health", talk.sandbox.ums_url())).await;
    assert_eq!(
        health.body(),
        r#"{"status":"healthy","conversation_manager_initialized":true}"#
    );
}
