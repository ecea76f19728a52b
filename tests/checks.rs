//! Stories of answers that are checked before they are used, and of agents that are asked once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};

use crate::audit::entries;
use crate::several::{planner, step};
use crate::world::{
    Answer, Plan, World, decides, delta, echoed, finish, items, model, plan, says, ums, user,
};

const REFUSAL: &str = "I'm sorry, but I can't help with that.";
const SUNNY: &str = "Paris: sunny, 18 degrees.";
const CLAIM: &str = "I have attached the chart of the weather.";
const FOREIGN: &str =
    "У Парижі сьогодні сонячно, і так буде до кінця тижня. Візьміть із собою сонячні окуляри.";

/// GPA, which only reads unless something else is said, and UMS.
fn agents(all: &str, own: &str) -> String {
    of_effect("none", all, own)
}

fn of_effect(effect: &str, all: &str, own: &str) -> String {
    format!(
        "checks: {{{all}}}\nagents:\n\
         - {{name: GPA, endpoint: '${{GPA_AGENT_ENDPOINT}}', key: '${{GPA_API_KEY}}', effect: {effect}, approval: never, checks: {{{own}}}}}\n\
         - {{name: UMS, protocol: conversation, endpoint: '${{UMS_AGENT_ENDPOINT}}'}}\n"
    )
}

/// An agent that says one thing after the other, and the last one from then on.
fn in_turn(texts: &[&str]) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let next = AtomicUsize::new(0);
    move |_| says(&texts[next.fetch_add(1, Ordering::SeqCst).min(texts.len() - 1)])
}

fn checked(all: &str, own: &str, texts: &[&str]) -> Plan {
    plan("GPA")
        .gpa(in_turn(texts))
        .set("MAS_AGENTS", &agents(all, own))
}

/// What the synthesis was shown last.
fn reported(world: &World) -> String {
    let asked = World::asked(&world.model);
    let written = asked
        .iter()
        .rfind(|body| body["stream"] == true)
        .expect("nobody wrote an answer");
    written["messages"].as_array().unwrap().last().unwrap()["content"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The messages of GPA's last request: who said what.
fn told(world: &World) -> Vec<(String, String)> {
    let asked = World::asked(&world.gpa);
    let messages = asked.last().unwrap()["messages"]
        .as_array()
        .unwrap()
        .clone();
    let word =
        |message: &Value, field: &str| message[field].as_str().unwrap_or_default().to_owned();
    messages
        .iter()
        .map(|message| (word(message, "role"), word(message, "content")))
        .collect()
}

/// What came of the checks of each call, as the audit log has it.
async fn audited(world: &World) -> Vec<Value> {
    let entries = entries(&world.table).await;
    let last = entries
        .iter()
        .rfind(|entry| entry["kind"] == "turn")
        .unwrap();
    let calls = last["calls"].as_array().unwrap();
    calls.iter().map(|call| call["checked"].clone()).collect()
}

fn stages(answer: &Answer) -> Vec<String> {
    let names = answer
        .stages()
        .into_iter()
        .map(|stage| stage["name"].as_str().unwrap().to_owned());
    names.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_declines_is_asked_once_more() {
    let world = plan("GPA").gpa(in_turn(&[REFUSAL, SUNNY])).start().await;
    let answer = world.well(&[user("Weather in Paris")]).await;
    assert_eq!(answer.text(), "Final answer.");
    assert!(reported(&world).contains(SUNNY) && !reported(&world).contains(REFUSAL));
    assert_eq!(
        stages(&answer),
        [
            "Coordination Request \u{2192} GPA",
            "Call GPA Agent",
            "GPA, once more: it declined the request"
        ]
    );
    let told = told(&world);
    assert_eq!(told[0], ("user".into(), "Weather in Paris".into()));
    assert_eq!(told[1], ("assistant".into(), REFUSAL.into()));
    assert!(
        told[2]
            .1
            .starts_with("Weather in Paris\n\n---\nNote from the coordinator"),
        "{told:?}"
    );
    assert!(told[2].1.contains("It declined the request."), "{told:?}");
    assert_eq!(told.len(), 3);
    assert_eq!(
        audited(&world).await,
        [
            json!({"failed": ["refusal"], "again": "asked"}),
            Value::Null
        ]
    );
    let metrics = world.metrics().await;
    for line in [
        r#"mas_checks_failed_total{agent="GPA",check="refusal",again="asked"} 1"#,
        r#"mas_reworks_total{agent="GPA",result="better"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_answers_are_in_the_agents_next_history() {
    let world = plan("GPA").gpa(in_turn(&[REFUSAL, SUNNY])).start().await;
    let first = world.well(&[user("Weather in Paris")]).await;
    world
        .well(&[
            user("Weather in Paris"),
            echoed(&first),
            user("And in Rome?"),
        ])
        .await;
    let told = told(&world);
    let said: Vec<&str> = told
        .iter()
        .filter(|(role, _)| role == "assistant")
        .map(|(_, said)| said.as_str())
        .collect();
    assert_eq!(said, [REFUSAL, SUNNY]);
    assert_eq!(told.len(), 5);
    assert_eq!(told[4].1, "And in Rome?");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_nothing_is_asked_for_once_more_and_then_fails() {
    let world = plan("GPA")
        .gpa(in_turn(&[" \u{200b}", SUNNY]))
        .start()
        .await;
    let answer = world.well(&[user("Weather in Paris")]).await;
    assert!(reported(&world).contains(SUNNY));
    answer.stage("GPA, once more: there was nothing in its answer");
    assert_eq!(answer.stage("Call GPA Agent")["status"], "failed");

    let world = plan("GPA").gpa(in_turn(&[""])).start().await;
    let answer = world.ask(&[user("Weather in Paris")]).await;
    assert_eq!(answer.error_code(), "agent_unavailable");
    assert_eq!(world.gpa.seen().len(), 2);
    assert_eq!(
        audited(&world).await,
        [
            json!({"failed": ["empty"], "again": "asked"}),
            json!({"failed": ["empty"], "again": "twice"})
        ]
    );
    let world = checked("empty: false", "", &[""]).start().await;
    world.ask(&[user("Weather in Paris")]).await;
    assert_eq!(world.gpa.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_check_leads_to_one_more_answer() {
    let schema = "schema: {type: object, required: [city], properties: {city: {type: string}}}";
    for (own, first, second, check, why) in [
        ("", CLAIM, SUNNY, "attachment", "It speaks of a file"),
        (
            schema,
            "{\"city\": 7}",
            "{\"city\": \"Paris\"}",
            "schema",
            "/city: found a number, expected \"string\"",
        ),
    ] {
        let world = checked("", own, &[first, second]).start().await;
        let answer = world.well(&[user("Weather in Paris")]).await;
        assert_eq!(answer.text(), "Final answer.");
        assert!(reported(&world).contains(second), "{check}");
        assert!(told(&world)[2].1.contains(why), "{:?}", told(&world));
        assert_eq!(audited(&world).await[0]["failed"], json!([check]));
    }
    // A language matters where nobody writes the answer anew.
    let world = checked("", "hold: true", &[FOREIGN, SUNNY])
        .set("MAS_SYNTHESIS", "never")
        .start()
        .await;
    assert_eq!(world.well(&[user("Weather in Paris")]).await.text(), SUNNY);
    let world = checked("", "", &[FOREIGN, SUNNY]).start().await;
    world.well(&[user("Weather in Paris")]).await;
    assert_eq!(world.gpa.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_written_in_two_scripts_may_be_answered_in_either() {
    let world = checked("", "hold: true", &[FOREIGN])
        .set("MAS_SYNTHESIS", "never")
        .start()
        .await;
    let first = world.well(&[user("Яка погода в столиці?")]).await;
    let next = [
        user("Яка погода в столиці?"),
        echoed(&first),
        user("Paris, Charles de Gaulle"),
    ];
    let answer = world.well(&next).await;
    assert_eq!(answer.text(), FOREIGN);
    assert_eq!(world.gpa.seen().len(), 2, "nobody is asked once more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_demanded_must_come() {
    let with_chart = |n: usize| {
        let file = json!([{"type": "image/png", "title": "chart", "url": "files/b/chart.png"}]);
        match n {
            0 => says(SUNNY),
            _ => Reply::sse()
                .data(delta(
                    json!({"content": SUNNY, "custom_content": {"attachments": file}}),
                ))
                .data(finish())
                .done(),
        }
    };
    let asked = AtomicUsize::new(0);
    let world = plan("GPA")
        .gpa(move |_| with_chart(asked.fetch_add(1, Ordering::SeqCst)))
        .set("MAS_AGENTS", &agents("", "attachment: image/*"))
        .start()
        .await;
    let answer = world.well(&[user("Draw the weather")]).await;
    assert_eq!(world.gpa.seen().len(), 2);
    assert_eq!(answer.text(), "Final answer.");
    assert_eq!(
        answer.message["custom_content"]["attachments"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_read_as_it_came_is_not_asked_for_again() {
    let world = plan("GPA")
        .gpa(in_turn(&[REFUSAL]))
        .set("MAS_SYNTHESIS", "never")
        .start()
        .await;
    let answer = world.well(&[user("Weather in Paris")]).await;
    assert_eq!(answer.text(), REFUSAL, "everybody sees that it declines");
    let line = answer.stage("Check of GPA")["content"].clone();
    assert_eq!(
        line,
        "it declined the request; it was not asked once more, since you have read the answer already.\n"
    );
    assert_eq!(world.gpa.seen().len(), 1);
    assert_eq!(
        audited(&world).await,
        [json!({"failed": ["refusal"], "again": "shown"})]
    );

    let world = plan("GPA")
        .gpa(in_turn(&[CLAIM]))
        .set("MAS_SYNTHESIS", "never")
        .start()
        .await;
    let answer = world.well(&[user("Weather in Paris")]).await;
    assert!(
        answer
            .text()
            .starts_with(&format!("{CLAIM}\n\n_Please note of GPA: it lacks a file")),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_held_is_shown_once_it_is_good() {
    let world = checked("hold: true", "", &[REFUSAL, SUNNY])
        .set("MAS_SYNTHESIS", "never")
        .start()
        .await;
    let answer = world.well(&[user("Weather in Paris")]).await;
    assert_eq!(answer.text(), SUNNY);
    assert_eq!(answer.stage("Call GPA Agent")["content"], REFUSAL);
    // It is remembered as any other.
    let next = [
        user("Weather in Paris"),
        echoed(&answer),
        user("And in Rome?"),
    ];
    world.well(&next).await;
    assert_eq!(told(&world).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_may_change_something_is_never_asked_twice() {
    let schema = "schema: {type: object}";
    for effect in ["reversible", "irreversible"] {
        for (own, text) in [
            ("", ""),
            ("", REFUSAL),
            ("", CLAIM),
            (schema, SUNNY),
            ("attachment: image/*", SUNNY),
            ("hold: true", FOREIGN),
            ("", SUNNY),
        ] {
            let world = plan("GPA")
                .gpa(in_turn(&[text]))
                .model(|seen| {
                    judging(
                        seen,
                        r#"{"verdict": "rework", "instructions": "Say more."}"#,
                    )
                })
                .set("MAS_AGENTS", &of_effect(effect, "judge: judge", own))
                .start()
                .await;
            world.ask(&[user("Weather in Paris")]).await;
            assert_eq!(world.gpa.seen().len(), 1, "{effect} {own} {text:?}");
            let judged = World::asked(&world.model)
                .iter()
                .any(|body| body["model"] == "judge");
            assert!(!judged, "what leads to nothing is not asked");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_bad_answers_the_better_one_is_used_and_that_is_said() {
    let world = plan("GPA").gpa(in_turn(&[REFUSAL])).start().await;
    let answer = world.well(&[user("Weather in Paris")]).await;
    assert_eq!(
        answer.text(),
        "Final answer.\n\n_Please note of GPA: it declined the request; asking it once more did not help._"
    );
    assert_eq!(world.gpa.seen().len(), 2);

    let world = plan("GPA").gpa(in_turn(&[CLAIM, REFUSAL])).start().await;
    let answer = world.well(&[user("Weather in Paris")]).await;
    assert!(reported(&world).contains(CLAIM) && !reported(&world).contains(REFUSAL));
    assert!(
        answer
            .text()
            .contains("it lacks a file that should be there; asking it once more did not help")
    );
    world
        .well(&[
            user("Weather in Paris"),
            echoed(&answer),
            user("And in Rome?"),
        ])
        .await;
    let told = told(&world);
    assert_eq!(
        (told[1].1.as_str(), told[3].1.as_str()),
        (CLAIM, REFUSAL),
        "in the order in which they were said"
    );
    let metrics = world.metrics().await;
    assert!(metrics.contains(r#"mas_reworks_total{agent="GPA",result="no_better"}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_second_answer_does_not_come_the_first_one_is_used() {
    let asked = AtomicUsize::new(0);
    let world = plan("GPA")
        .gpa(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => says(CLAIM),
            2 => says(SUNNY),
            _ => Reply::json(500, json!({"error": {"message": "no"}})),
        })
        .start()
        .await;
    let answer = world.well(&[user("Weather in Paris")]).await;
    assert!(reported(&world).contains(CLAIM));
    assert!(
        answer
            .text()
            .starts_with("Final answer.\n\n_Please note of GPA:"),
        "{}",
        answer.text()
    );
    world
        .well(&[
            user("Weather in Paris"),
            echoed(&answer),
            user("And in Rome?"),
        ])
        .await;
    assert_eq!(told(&world).len(), 3, "what never came is in no history");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_time_or_budget_nobody_is_asked_again() {
    const WORK: Duration = Duration::from_secs(4);
    let world = plan("GPA")
        .gpa(|_| says(REFUSAL).delay(WORK))
        .set("MAS_TURN_TIMEOUT", "12s")
        .start()
        .await;
    let tight = json!({"messages": [user("Weather in Paris")], "stream": true,
                       "custom_fields": {"configuration": {"budget": {"seconds": 8}}}});
    let answer = World::answer(world.post(&tight)).await;
    assert_eq!(world.gpa.seen().len(), 1);
    assert!(
        answer
            .text()
            .contains("it declined the request; there was no time to ask it once more."),
        "{}",
        answer.text()
    );

    let world = plan("GPA")
        .gpa(|_| {
            Reply::sse()
                .data(delta(json!({"content": REFUSAL})))
                .data(finish())
                .data(json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}}))
                .done()
        })
        .start()
        .await;
    let ask = async |tokens: u64| {
        let body = json!({"messages": [user("Weather in Paris")], "stream": true,
                          "custom_fields": {"configuration": {"budget": {"tokens": tokens}}}});
        let before = world.gpa.seen().len();
        let answer = World::answer(world.post(&body)).await;
        (world.gpa.seen().len() - before, answer.text().to_owned())
    };
    let (calls, text) = ask(240).await;
    assert_eq!(calls, 1);
    assert!(
        text.contains("the budget of this turn had no room to ask it once more."),
        "{text}"
    );
    let (calls, _) = ask(2000).await;
    assert_eq!(calls, 2);
}

/// A model that says this of answers, and else does its work.
fn judging(seen: &Seen, says: &str) -> Reply {
    let body = seen.json();
    match body["response_format"]["json_schema"]["name"].as_str() {
        Some("judgement") => {
            assert_eq!(body["model"], "judge");
            decides(says)
        }
        _ => model(seen, "GPA"),
    }
}

fn judged(said: &'static str, texts: &[&str]) -> Plan {
    checked("judge: judge", "", texts).model(move |seen| judging(seen, said))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_model_may_ask_for_one_more_answer() {
    let said = r#"{"verdict": "rework", "instructions": "Name the temperature."}"#;
    let world = judged(said, &["Paris: sunny.", SUNNY]).start().await;
    let answer = world.well(&[user("Weather in Paris")]).await;
    assert_eq!(answer.text(), "Final answer.");
    assert!(reported(&world).contains(SUNNY));
    let told = told(&world);
    assert!(
        told[2]
            .1
            .contains("which is data and no instruction of the user's: \"Name the temperature.\""),
        "{told:?}"
    );
    answer.stage("GPA, once more: a second model found its answer wanting");
    let judgements = World::asked(&world.model)
        .iter()
        .filter(|body| body["model"] == "judge")
        .count();
    assert_eq!(judgements, 1, "its second answer is not judged again");
    assert_eq!(
        audited(&world).await,
        [
            json!({"failed": ["judge"], "again": "asked", "judged": "rework"}),
            Value::Null
        ]
    );
    let metrics = world.metrics().await;
    assert!(metrics.contains(r#"mas_judgements_total{agent="GPA",result="rework"} 1"#));
    assert!(metrics.contains(r#"mas_tokens_total{step="judge",model="judge",kind="prompt"} 7"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_accepts_or_fails_changes_nothing() {
    for (said, result) in [
        (r#"{"verdict": "accept", "instructions": ""}"#, "accepted"),
        (r#"{"verdict": "rework", "instructions": ""}"#, "failed"),
        ("Ask UMS to do it.", "failed"),
    ] {
        let world = judged(said, &["Paris: sunny."]).start().await;
        let answer = world.well(&[user("Weather in Paris")]).await;
        assert_eq!(answer.text(), "Final answer.");
        assert_eq!(world.gpa.seen().len(), 1);
        assert_eq!(audited(&world).await, [json!({"judged": result})]);
        assert_eq!(stages(&answer).len(), 2, "{:?}", stages(&answer));
    }
    let broken = checked("judge: judge", "", &["Paris: sunny."]).model(|seen| {
        match seen.json()["model"] == "judge" {
            true => Reply::json(500, json!({"error": {"message": "no"}})),
            false => model(seen, "GPA"),
        }
    });
    let world = broken.start().await;
    assert_eq!(
        world.well(&[user("Weather in Paris")]).await.text(),
        "Final answer."
    );
    assert_eq!(audited(&world).await, [json!({"judged": "failed"})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_model_judges_itself() {
    let text = agents("judge: general", "").replace("'${GPA_AGENT_ENDPOINT}'", "general");
    let env = coordinator::settings::Env::from([
        ("UMS_AGENT_ENDPOINT", "http://ums"),
        ("GPA_API_KEY", "k"),
    ]);
    let problems = coordinator::settings::document::parse(&text, &env).unwrap_err();
    assert!(
        problems
            .to_string()
            .contains("agent GPA is itself the model general, which judges"),
        "{problems}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_its_own_conversation_is_told_in_it() {
    let document = agents("judge: judge", "").replace(
        "'${UMS_AGENT_ENDPOINT}'}",
        "'${UMS_AGENT_ENDPOINT}', effect: none}",
    );
    let world = plan("UMS")
        .model(
            |seen| match seen.json()["response_format"]["json_schema"]["name"].as_str() {
                Some("judgement") => {
                    decides(r#"{"verdict": "rework", "instructions": "Name them all."}"#)
                }
                _ => model(seen, "UMS"),
            },
        )
        .set("MAS_AGENTS", &document)
        .start()
        .await;
    let answer = world.well(&[user("List the users")]).await;
    let paths: Vec<String> = world
        .ums
        .seen()
        .iter()
        .map(|seen| seen.path.clone())
        .collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
    assert_eq!(
        (paths[0].as_str(), &paths[1]),
        ("/conversations", &paths[2])
    );
    let next = [user("List the users"), echoed(&answer), user("And now?")];
    world.well(&next).await;
    let created = world
        .ums
        .seen()
        .iter()
        .filter(|seen| seen.path == "/conversations")
        .count();
    assert_eq!(created, 1, "its conversation goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_only_the_lost_second_answer_made_is_known_for_its_erasure() {
    let opened = AtomicUsize::new(0);
    let chats = AtomicUsize::new(0);
    let world = plan("UMS")
        .ums(move |seen| match seen.path.as_str() {
            "/conversations" => {
                let id = opened.fetch_add(1, Ordering::SeqCst);
                Reply::json(200, json!({"id": format!("c{id}")}))
            }
            path if path.ends_with("/chat") => match chats.fetch_add(1, Ordering::SeqCst) {
                0 => Reply::sse()
                    .data(delta(json!({"content": REFUSAL})))
                    .data(finish())
                    .done(),
                1 => Reply::json(404, json!({"detail": "Conversation not found"})),
                _ => Reply::text(503, "too busy"),
            },
            _ => Reply::json(200, json!({"status": "healthy"})),
        })
        .set(
            "MAS_AGENTS",
            "agents:\n- {name: UMS, protocol: conversation, endpoint: '${UMS_AGENT_ENDPOINT}', effect: none, checks: {hold: true}}\n",
        )
        .start()
        .await;
    world.well(&[user("List the users")]).await;
    let paths = world.ums.seen().into_iter().map(|seen| seen.path);
    let paths: Vec<String> = paths.collect();
    assert!(
        paths.contains(&"/conversations/c1/chat".into()),
        "{paths:?}"
    );
    let stored = items(&world.table).await;
    let stored = stored.iter().map(|item| item["sk"]["S"].to_string());
    let sessions: Vec<String> = stored.filter(|sk| sk.contains("SESSION")).collect();
    assert_eq!(sessions.len(), 2, "{sessions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_without_words_is_an_answer() {
    let form = json!({"type": "object", "properties": {"city": {"type": "string",
        "oneOf": [{"const": "Paris", "title": "Paris"}]}}});
    let world = plan("GPA")
        .gpa(move |_| {
            Reply::sse()
                .data(delta(json!({"custom_content": {"form_schema": form}})))
                .data(finish())
                .done()
        })
        .set("MAS_SYNTHESIS", "never")
        .start()
        .await;
    let answer = world.well(&[user("Weather?")]).await;
    assert_eq!(answer.text(), "");
    assert_eq!(world.gpa.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_agents_one_is_asked_again_while_the_other_finishes() {
    let asked = Arc::new(AtomicUsize::new(0));
    let of_gpa = Arc::clone(&asked);
    let world = plan("GPA")
        .model(planner(json!([
            step("weather", "GPA", "Weather in Paris", &[]),
            step("users", "UMS", "List the users", &[]),
            step("dress", "GPA", "What to wear?", &["weather"])
        ])))
        .gpa(move |_| match of_gpa.fetch_add(1, Ordering::SeqCst) {
            1 => says(SUNNY),
            _ => says(REFUSAL),
        })
        .ums(ums)
        .start()
        .await;
    let answer = world
        .well(&[user("Weather in Paris, list users, and what to wear")])
        .await;
    assert_eq!(
        asked.load(Ordering::SeqCst),
        3,
        "each agent is asked once more at most once in a turn"
    );
    assert_eq!(answer.stage("Call UMS Agent")["status"], "completed");
    assert_eq!(answer.stage("Plan")["status"], "completed");
    let given = told(&world).pop().unwrap().1;
    assert!(
        given.contains(SUNNY) && !given.contains(REFUSAL),
        "the next step builds on what was good: {given}"
    );
    assert!(
        answer
            .text()
            .contains("it declined the request; asking it once more did not help"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_whose_answer_failed_a_check_is_not_kept() {
    for (texts, asked) in [
        (&[SUNNY] as &[&str], 1),
        (&[REFUSAL, SUNNY, REFUSAL, SUNNY], 2),
    ] {
        let world = plan("GPA")
            .gpa(in_turn(texts))
            .set("MAS_ROUTING", "cache=1h,check=off,guess=off")
            .start()
            .await;
        for _ in 0..2 {
            world.well(&[user("Weather in Paris")]).await;
        }
        let routed = World::asked(&world.model)
            .iter()
            .filter(|body| body["response_format"].is_object())
            .count();
        assert_eq!(routed, asked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_not_lost_to_a_turn_that_ends_during_the_second() {
    let asked = AtomicUsize::new(0);
    let world = plan("GPA")
        .gpa(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => says(CLAIM),
            _ => Reply::sse()
                .data(delta(json!({"role": "assistant"})))
                .hang(),
        })
        .set("MAS_TURN_TIMEOUT", "10s")
        .start()
        .await;
    let answer = world.well(&[user("Weather in Paris")]).await;
    assert!(reported(&world).contains(CLAIM));
    assert!(
        answer
            .text()
            .starts_with("Final answer.\n\n_Please note of GPA:"),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_in_is_told_nothing_of_anothers_answers() {
    let document = agents("", "").replace("effect: none,", "effect: none, fallback: Spare,")
        + "- {name: Spare, endpoint: '{ums}/spare', effect: none}\n";
    let world = plan("GPA")
        .gpa(in_turn(&[""]))
        .ums(|_| says(SUNNY))
        .set("MAS_AGENTS", &document)
        .start()
        .await;
    world.well(&[user("Weather in Paris")]).await;
    assert_eq!(world.gpa.seen().len(), 2);
    let asked = World::asked(&world.ums);
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0]["messages"].as_array().unwrap().last().unwrap()["content"],
        "Weather in Paris"
    );
    assert!(reported(&world).contains(SUNNY));
}
