//! Stories of turns that go wrong, visibly and kindly.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sandbox::stub::{Reply, Seen};
use serde_json::json;

use coordinator::domain::conversation::Outcome;
use coordinator::domain::ids::{ConversationId, Owner, Timestamp};
use coordinator::store::{self, Conversations};

use crate::audit::entries;
use crate::world::{
    self, Answer, Plan, World, decides, delta, finish, model, plan, says, table, user,
};

fn routing(seen: &Seen) -> bool {
    seen.json()["response_format"].is_object()
}

/// The model's answers one after another; the last one is repeated.
fn in_turn(answers: Vec<Reply>) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let next = AtomicUsize::new(0);
    move |_| answers[next.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)].clone()
}

async fn asked(plan: Plan) -> Answer {
    plan.start().await.ask(&[user("Draw a cat")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routing_failure_reaches_the_default_agent() {
    let broken = |seen: &Seen| match routing(seen) {
        true => Reply::json(500, json!({"error": {"message": "SECRET-INTERNAL"}})),
        false => model(seen, "UMS"),
    };
    let answer = asked(plan("UMS").model(broken)).await;
    assert_eq!(answer.text(), "Final answer.");
    let stage = answer.stage("Coordination Request");
    assert_eq!(
        (&stage["name"], &stage["status"]),
        (
            &json!("Coordination Request \u{2192} GPA"),
            &json!("failed")
        )
    );
    assert!(
        stage["content"]
            .as_str()
            .unwrap()
            .contains("answers by default")
    );
    assert!(!String::from_utf8_lossy(&answer.raw).contains("SECRET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_repair_is_tried_when_the_decision_does_not_parse() {
    let repaired = in_turn(vec![
        decides("GPA, I think"),
        decides("{\"agent_name\":\"UMS\"}"),
        model_answer(),
    ]);
    let world = plan("GPA").model(repaired).start().await;
    let answer = world.well(&[user("hi")]).await;
    assert_eq!(answer.stage("Coordination Request")["status"], "completed");
    assert_eq!(answer.stage("Call UMS Agent")["status"], "completed");
    let repair = &World::asked(&world.model)[1]["messages"];
    let last = repair.as_array().unwrap().last().unwrap()["content"]
        .as_str()
        .unwrap();
    assert!(last.contains("not a decision"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_one_failed_repair_the_default_agent_answers() {
    let hopeless = in_turn(vec![
        decides("GPA?"),
        decides("{\"agent_name\":\"HR\"}"),
        model_answer(),
    ]);
    let world = plan("GPA").model(hopeless).start().await;
    let answer = world.well(&[user("hi")]).await;
    assert_eq!(answer.stage("Coordination Request")["status"], "failed");
    assert_eq!(answer.stage("Call GPA Agent")["status"], "completed");
    assert_eq!(
        world.model.seen().len(),
        3,
        "two routing calls and the synthesis"
    );
}

fn model_answer() -> Reply {
    Reply::sse()
        .data(delta(json!({"content": "Final answer."})))
        .done()
}

/// An agent's failure: what it does, and the code that the user's error event has.
async fn agent_fails(reply: Reply, code: &str) {
    let reply = &reply;
    for agent in ["GPA", "UMS"] {
        let fails = {
            let reply = reply.clone();
            move |seen: &Seen| match seen.path.as_str() {
                "/conversations" => world::ums(seen),
                path if path.starts_with("/conversations") && seen.method == "GET" => {
                    Reply::json(200, json!({}))
                }
                _ => reply.clone(),
            }
        };
        let gpa = fails.clone();
        let begun = Instant::now();
        let world = plan(agent)
            .gpa(gpa)
            .ums(fails)
            .set("MAS_AGENT_FIRST_BYTE", "300ms")
            .set("MAS_STREAM_IDLE", "300ms")
            .start()
            .await;
        let answer = world.ask(&[user("Rename user Bob")]).await;
        let raw = String::from_utf8_lossy(&answer.raw);
        assert_eq!(answer.error_code(), code, "{agent}: {raw}");
        assert_eq!(
            answer.stage(&format!("Call {agent} Agent"))["status"],
            "failed"
        );
        let display = answer.checked.error.as_ref().unwrap()["display_message"]
            .as_str()
            .unwrap();
        assert!(
            display.contains(agent) && display.contains("reference"),
            "{display}"
        );
        assert!(!raw.contains("SECRET"), "{raw}");
        assert!(
            answer.state().is_object(),
            "the state leaves before the error event"
        );
        assert!(begun.elapsed() < Duration::from_secs(5));
        let (status, block) = world.block(&[user("Rename user Bob")]).await;
        assert_eq!((status, &block["error"]["code"]), (424, &json!(code)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_refuses_is_told_kindly() {
    agent_fails(
        Reply::json(503, json!({"error": {"message": "SECRET-INTERNAL"}})),
        "agent_unavailable",
    )
    .await;
    agent_fails(Reply::text(500, "SECRET-INTERNAL"), "agent_unavailable").await;
    agent_fails(
        Reply::text(302, "").header("location", "http://127.0.0.1:9/SECRET"),
        "agent_unavailable",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_silent_is_a_timeout() {
    agent_fails(Reply::sse().hang(), "agent_timeout").await;
    agent_fails(
        Reply::sse()
            .data(delta(json!({"content": "partial"})))
            .hang(),
        "agent_timeout",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_breaks_off_has_failed() {
    let partial = || Reply::sse().data(delta(json!({"content": "partial"})));
    agent_fails(partial().cut(), "agent_unavailable").await;
    agent_fails(partial(), "agent_unavailable").await;
    agent_fails(partial().data(finish()), "agent_unavailable").await;
    agent_fails(partial().data("not json").done(), "agent_unavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_event_after_a_finish_reason_is_a_failure() {
    let error = json!({"error": {"message": "SECRET-INTERNAL", "code": "500"}});
    let sdk27 = Reply::sse()
        .data(delta(json!({"content": "partial"})))
        .data(finish())
        .data(error)
        .done();
    agent_fails(sdk27, "agent_unavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_is_never_a_success() {
    agent_fails(
        Reply::sse()
            .data(delta(json!({"role": "assistant"})))
            .data(finish())
            .done(),
        "agent_unavailable",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_answer_is_an_error() {
    agent_fails(
        says("x").header("content-encoding", "gzip"),
        "agent_unavailable",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_off_agent_said_is_marked_as_partial() {
    let answer = asked(plan("GPA").gpa(|_| {
        Reply::sse()
            .data(delta(json!({"content": "partial"})))
            .cut()
    }))
    .await;
    let content = answer.stage("Call GPA Agent")["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(content.starts_with("partial\n\n_(broken off"), "{content}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_says_to_people_is_shown() {
    let error = json!({"error": {"message": "SECRET-INTERNAL", "display_message": "Quota used up until noon."}});
    let answer = asked(plan("GPA").gpa(move |_| Reply::json(429, error.clone()))).await;
    let told = answer.checked.error.unwrap();
    assert!(
        told["display_message"]
            .as_str()
            .unwrap()
            .contains("Quota used up until noon."),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_own_text_answers_when_the_synthesis_fails() {
    for broken in [
        Reply::json(500, json!({"error": {"message": "no"}})),
        Reply::sse()
            .data(json!({"error": {"message": "no"}}))
            .done(),
        Reply::sse().done(),
        Reply::sse().data(delta(json!({"content": "  "}))).done(),
    ] {
        let model = move |seen: &Seen| match routing(seen) {
            true => model(seen, "GPA"),
            false => broken.clone(),
        };
        let answer = asked(plan("GPA").model(model)).await;
        assert_eq!(answer.text().trim(), "Done: all good.".trim());
        assert_eq!(answer.checked.error, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synthesis_that_breaks_off_is_followed_by_the_agents_own_text() {
    let model = |seen: &Seen| match routing(seen) {
        true => model(seen, "GPA"),
        false => Reply::sse().data(delta(json!({"content": "All is"}))).cut(),
    };
    let answer = asked(plan("GPA").model(model)).await;
    assert!(
        answer
            .text()
            .starts_with("All is\n\n_(the summary broke off"),
        "{}",
        answer.text()
    );
    assert!(answer.text().ends_with("Done: all good."));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_answer_never_falls_back_to_the_unfiltered_text() {
    let model = |seen: &Seen| match routing(seen) {
        true => model(seen, "GPA"),
        false => Reply::sse()
            .data(
                json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}),
            )
            .done(),
    };
    let answer = asked(plan("GPA").model(model)).await;
    assert_eq!(answer.text(), "");
    assert_eq!(
        answer.whole["choices"][0]["finish_reason"],
        "content_filter"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_turn_ends_in_order_within_a_second() {
    let world = plan("GPA")
        .gpa(|_| {
            Reply::sse()
                .data(delta(json!({"content": "partial"})))
                .hang()
        })
        .set("MAS_TURN_TIMEOUT", "500ms")
        .start()
        .await;
    let begun = Instant::now();
    let answer = world.ask(&[user("hi")]).await;
    assert!(
        begun.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(answer.error_code(), "deadline_exceeded");
    assert_eq!(answer.stage("Call GPA Agent")["status"], "failed");
    assert!(answer.state().is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_used_up_by_the_routing_leaves_its_state_and_its_line_all_the_same() {
    let world = plan("GPA")
        .model(|_| Reply::sse().hang())
        .set("MAS_TURN_TIMEOUT", "1s")
        .start()
        .await;
    let answer = world.ask(&[user("hi")]).await;
    assert_eq!(answer.error_code(), "deadline_exceeded");
    assert!(
        answer.state().is_object(),
        "{}",
        String::from_utf8_lossy(&answer.raw)
    );
    let entries = entries(&world.table).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["error"], "deadline_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_less_patience_gets_its_end_sooner() {
    let world = plan("GPA").gpa(|_| Reply::sse().hang()).start().await;
    let body = json!({"messages": [user("hi")], "stream": true});
    let begun = Instant::now();
    let request = world.post(&body).header("x-request-timeout", "0.5");
    let answer = World::answer(request).await;
    assert_eq!(answer.error_code(), "deadline_exceeded");
    assert!(begun.elapsed() < Duration::from_secs(10));
    for nonsense in ["-1", "0", "soon", "1e999"] {
        let healthy = plan("GPA").start().await;
        let request = healthy.post(&body).header("x-request-timeout", nonsense);
        assert_eq!(World::answer(request).await.error_code(), "", "{nonsense}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_used_up_in_the_synthesis_gives_the_agents_own_text() {
    let model = |seen: &Seen| match routing(seen) {
        true => model(seen, "GPA"),
        false => Reply::sse().hang(),
    };
    let answer = asked(plan("GPA").model(model).set("MAS_TURN_TIMEOUT", "500ms")).await;
    assert_eq!(answer.text(), "Done: all good.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_cancels_every_upstream_call() {
    let world = plan("GPA")
        .gpa(|_| Reply::sse().data(delta(json!({"content": "x"}))).hang())
        .start()
        .await;
    let mut response = world
        .post(&json!({"messages": [user("hi")], "stream": true}))
        .send()
        .await
        .unwrap();
    let mut seen = String::new();
    while !seen.contains(r#""content":"x""#) {
        seen.push_str(&String::from_utf8_lossy(
            &response.chunk().await.unwrap().unwrap(),
        ));
    }
    assert_eq!(world.gpa.in_flight(), 1);
    drop(response);
    // The world itself checks on its way out that no call is left running.
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_whose_client_left_is_written_down_all_the_same() {
    let (endpoint, server) = table().await;
    let world = plan("GPA")
        .model(|seen| match routing(seen) {
            true => model(seen, "GPA"),
            false => Reply::sse().data(delta(json!({"content": "Final"}))).hang(),
        })
        .set("AWS_ENDPOINT_URL_DYNAMODB", &endpoint)
        .start()
        .await;
    let mut response = world
        .post(&json!({"messages": [user("hi")], "stream": true}))
        .send()
        .await
        .unwrap();
    let mut seen = String::new();
    while !seen.contains("Final") {
        seen.push_str(&String::from_utf8_lossy(
            &response.chunk().await.unwrap().unwrap(),
        ));
    }
    drop(response);
    let owner = Owner::new("default", "development");
    let stored = store::connect("mas", Some(&endpoint)).await;
    let conversations = Conversations::of(&stored, owner, Duration::from_secs(60));
    let conversation = ConversationId::new(&world::conversation_of("conv-1"));
    let patience = Instant::now() + Duration::from_secs(20);
    let turn = loop {
        let stored = conversations
            .load(&conversation, Timestamp(0))
            .await
            .unwrap();
        if let Some(turn) = stored.turns.into_iter().next() {
            break turn;
        }
        assert!(Instant::now() < patience, "nothing was written");
    };
    assert_eq!(turn.outcome, Outcome::Left);
    assert_eq!(turn.exchanges[0].answer, "Done: all good.");
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_conversation_is_made_anew_and_the_message_sent_once_more() {
    for lost in [
        Reply::sample("ums/get-unknown.http"),
        Reply::sample("ums/chat.unknown-id.http"),
    ] {
        let known = AtomicUsize::new(0);
        let ums = move |seen: &Seen| match (seen.method.as_str(), seen.path.as_str()) {
            ("POST", "/conversations") => {
                let n = known.fetch_add(1, Ordering::SeqCst);
                Reply::json(
                    200,
                    json!({"id": format!("conv-{n}"), "title": "x", "messages": []}),
                )
            }
            ("POST", path) if path.contains("conv-0") && known.load(Ordering::SeqCst) == 2 => {
                lost.clone()
            }
            ("POST", "/conversations/conv-0/chat")
                if seen.json()["message"]["content"] == "second" =>
            {
                lost.clone()
            }
            ("GET", _) => Reply::sample("ums/get-unknown.http"),
            _ => Reply::sample("ums/chat.stream.http"),
        };
        let world = plan("UMS").ums(ums).start().await;
        let first = world.well(&[user("first")]).await;
        let messages = [user("first"), world::echoed(&first), user("second")];
        let second = world.well(&messages).await;
        assert!(
            second.stage("Call UMS")["content"]
                .as_str()
                .unwrap()
                .contains("conv-1")
        );
        let paths: Vec<String> = world
            .ums
            .seen()
            .iter()
            .map(|seen| format!("{} {}", seen.method, seen.path))
            .collect();
        let chats: Vec<&String> = paths
            .iter()
            .filter(|path| path.ends_with("/chat"))
            .collect();
        assert_eq!(chats.len(), 3, "{paths:?}");
        let resent = World::asked(&world.ums).last().unwrap()["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            resent.starts_with("second\n\n---\n")
                && resent.contains("User: first\nYou: Done: all good."),
            "{resent}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_is_no_loss_is_not_repeated() {
    let ums = |seen: &Seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", "/conversations") => Reply::sample("ums/create.http"),
        ("GET", _) => Reply::sample("ums/get.http"),
        _ => Reply::sample("ums/chat.unknown-id.http"),
    };
    let world = plan("UMS").ums(ums).start().await;
    let answer = world.ask(&[user("Rename user Bob")]).await;
    assert_eq!(answer.error_code(), "agent_unavailable");
    let chats = world
        .ums
        .seen()
        .iter()
        .filter(|seen| seen.path.ends_with("/chat"))
        .count();
    assert_eq!(chats, 1, "the user is not renamed twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_an_id_is_refused() {
    let ums = |_: &Seen| Reply::json(200, json!({"id": "../admin", "title": "x"}));
    let world = plan("UMS").ums(ums).start().await;
    assert_eq!(
        world.ask(&[user("hi")]).await.error_code(),
        "agent_unavailable"
    );
    assert_eq!(
        world.ums.seen().len(),
        1,
        "nothing was sent to a path made of it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn advice_after_a_failure_depends_on_what_the_agent_may_have_done() {
    let partial = || {
        Reply::sse()
            .data(delta(json!({"content": "Created user."})))
            .cut()
    };
    for (agent, advice) in [
        ("GPA", "Please try again."),
        ("UMS", "please check before you ask again"),
    ] {
        let ums = move |seen: &Seen| match seen.path.as_str() {
            "/conversations" => world::ums(seen),
            _ => partial(),
        };
        let answer = asked(plan(agent).gpa(move |_| partial()).ums(ums)).await;
        let display = answer.checked.error.unwrap()["display_message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(display.contains(advice), "{agent}: {display}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_a_filter_however_it_is_told() {
    let error = json!({"error": {"message": "no", "code": "content_filter"}});
    for filtered in [
        Reply::json(400, error.clone()),
        Reply::sse().data(&error).done(),
    ] {
        let model = {
            let filtered = filtered.clone();
            move |seen: &Seen| match routing(seen) {
                true => model(seen, "GPA"),
                false => filtered.clone(),
            }
        };
        for plan in [
            plan("GPA").model(model),
            plan("GPA").gpa(move |_| filtered.clone()),
        ] {
            let answer = asked(plan).await;
            assert_eq!((answer.text(), &answer.checked.error), ("", &None));
            assert_eq!(
                answer.whole["choices"][0]["finish_reason"],
                "content_filter"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_event_of_any_shape_fails_the_agent() {
    for error in [json!("boom"), json!(5), json!({})] {
        let event = json!({"error": error});
        agent_fails(
            Reply::sse()
                .data(delta(json!({"content": "half"})))
                .data(event)
                .done(),
            "agent_unavailable",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untidy_end_mark_is_an_end_mark() {
    for end in [
        "data: [DONE] \n\n",
        "data: [DONE]",
        "data: [DONE]\n",
        "data:\n\ndata: [DONE]\n\n",
    ] {
        let answer = asked(plan("GPA").gpa(move |_| {
            Reply::sse()
                .data(delta(json!({"content": "ok"})))
                .bytes(end)
        }))
        .await;
        assert_eq!(answer.checked.error, None, "{end:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emoji_cut_between_two_chunks_loses_nothing_else() {
    let piece =
        |text: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#);
    let reply = Reply::sse()
        .data(piece(r"before \ud83d"))
        .data(piece(r"\ude00 after"))
        .done();
    let answer = asked(plan("GPA").gpa(move |_| reply.clone())).await;
    assert_eq!(
        answer.stage("Call GPA")["content"],
        "before \u{fffd}\u{fffd} after"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_moment_is_waited_out_where_nothing_can_change() {
    let bad = [
        Reply::text(503, "no"),
        Reply::text(502, "no").header("retry-after", "0"),
        Reply::text(429, "no").header("retry-after", "-5"),
    ];
    for bad in bad {
        let gpa = in_turn(vec![bad.clone(), says("second time")]);
        let world = plan("GPA").gpa(gpa).start().await;
        let answer = world.well(&[user("hi")]).await;
        assert_eq!(answer.stage("Call GPA")["content"], "second time");
        let model = in_turn(vec![
            bad,
            decides("{\"agent_name\":\"UMS\"}"),
            model_answer(),
        ]);
        let answer = plan("GPA")
            .model(model)
            .start()
            .await
            .well(&[user("hi")])
            .await;
        assert_eq!(answer.stage("Coordination Request")["status"], "completed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_may_change_something_is_asked_once() {
    let acting = "agents:\n- {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', effect: reversible}\n\
                  - {name: UMS, protocol: conversation, endpoint: '${UMS_AGENT_ENDPOINT}'}\n";
    for agent in ["GPA", "UMS"] {
        let fails = |seen: &Seen| match seen.path.as_str() {
            "/conversations" => world::ums(seen),
            _ => Reply::text(503, "no").header("retry-after", "0"),
        };
        let world = plan(agent)
            .gpa(fails)
            .ums(fails)
            .set("MAS_AGENTS", acting)
            .start()
            .await;
        assert_eq!(
            world.ask(&[user("Rename user Bob")]).await.error_code(),
            "agent_unavailable"
        );
        let asked = world.gpa.seen().len()
            + world
                .ums
                .seen()
                .iter()
                .filter(|seen| seen.path.ends_with("/chat"))
                .count();
        assert_eq!(asked, 1, "{agent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_will_not_pass_is_not_tried_again() {
    for last in [
        Reply::text(429, "no").header("retry-after", "600"),
        Reply::text(429, "no")
            .header("date", "Fri, 20 Nov 2026 08:00:00 GMT")
            .header("retry-after", "Fri, 20 Nov 2026 09:00:00 GMT"),
        Reply::text(400, "no"),
        Reply::text(500, "no"),
        Reply::sse().data(delta(json!({"content": "half"}))).cut(),
    ] {
        let world = plan("GPA").gpa(move |_| last.clone()).start().await;
        assert_eq!(
            world.ask(&[user("hi")]).await.error_code(),
            "agent_unavailable"
        );
        assert_eq!(world.gpa.seen().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_never_asked_has_done_nothing() {
    let refused = plan("UMS").set("UMS_AGENT_ENDPOINT", "http://127.0.0.1:9");
    let no_conversation = plan("UMS").ums(|_| Reply::text(500, "no"));
    for plan in [refused, no_conversation] {
        let answer = asked(plan).await;
        let display = answer.checked.error.unwrap()["display_message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(display.contains("Please try again."), "{display}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_models_cost_a_turn_their_time_and_no_more() {
    let begun = Instant::now();
    let answer = asked(
        plan("UMS")
            .model(|_| Reply::sse().hang())
            .set("MAS_MODEL_FIRST_BYTE", "300ms"),
    )
    .await;
    assert_eq!(answer.stage("Coordination Request")["status"], "failed");
    assert_eq!(
        (answer.text(), &answer.checked.error),
        ("Done: all good.", &None)
    );
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}
