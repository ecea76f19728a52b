//! The real binaries at work: functions under a Runtime API of ours, and `mas` as its users start it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that meets something unexpected should stop right there"
)]

mod spans;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use coordinator::store;
use coordinator::upstream::{Bounds, Call, Client, Limits};
use dynoxide::Database;
use dynoxide::actions::scan::ScanRequest;
use sandbox::runtime_api::{Answer, FunctionUrlEvent, Invocation, RuntimeApi};
use sandbox::stub::{Reply, Seen, Stub};
use sandbox::{Options, Sandbox};
use serde_json::{Value, json};
use spans::{decode, tree};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

const CHAT: &str = "/openai/deployments/mas-coordinator/chat/completions";
/// Nothing here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);
/// As the template allows.
const TIMEOUT: Duration = Duration::from_mins(15);
const STATE_KEYS: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const LEAKED: &str = "Lambda-Runtime-Function-Error";

// The chat function.

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_streams_chunk_by_chunk_and_the_freeze_comes_after_its_end() {
    let pace = Duration::from_millis(50);
    let sandbox = Sandbox::start_with(Options {
        pace,
        ..Options::default()
    });
    let sandbox = sandbox.await.unwrap();
    let function = Function::chat_with(&sandbox).await;
    let answer = function.answer(turn("Calculate sin(5000)")).await;
    let answered = Answered::read(&answer);
    assert!(answered.text.contains("-0.98796"), "{}", answered.text);
    assert!(answered.stages.iter().all(Stage::is_completed));
    assert_eq!(answer.prelude.status, 200);
    let media = answer.prelude.header("content-type");
    assert_eq!(media, Some("text/event-stream; charset=utf-8"));
    assert!(answer.trailers.is_empty());

    // More than ten pieces of agent and answer, a pace apart: what is held back somewhere comes in fewer gulps.
    let gulps = answer
        .chunks
        .windows(2)
        .filter(|pair| pair[1].at - pair[0].at > pace / 2)
        .count();
    assert!(gulps >= 10, "{gulps} gulps");
    let (first, last) = (
        answer.chunks.first().unwrap(),
        answer.chunks.last().unwrap(),
    );
    assert!(last.at - first.at >= 10 * pace);
    assert!(last.bytes.ends_with(b"data: [DONE]\n\n"));
    assert!(last.at <= answer.ended_at && answer.ended_at <= answer.frozen_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_writes_its_metrics_as_cloudwatch_reads_them() {
    let sandbox = Sandbox::start().await.unwrap();
    let function = Function::chat_with(&sandbox).await;
    function.answer(turn("Calculate sin(5000)")).await;
    let all = |output: &Output| output.stdout.contains("mas_tokens_total");
    function.process.until(all).await;
    let said = function.process.stdout();
    let lines = said.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines
        .filter(|line: &Value| !line["_aws"].is_null())
        .collect();
    let with = |metric: &str| {
        let found = lines.iter().find(|line| !line[metric].is_null());
        found.unwrap_or_else(|| panic!("no {metric} in {said}"))
    };
    assert_eq!(with("mas_turns_total")["outcome"], "answered");
    assert!(with("mas_turn_seconds")["mas_turn_seconds"].as_f64() > Some(0.0));
    let decided = with("mas_decisions_total");
    assert_eq!(
        (&decided["source"], &decided["agent"]),
        (&json!("model"), &json!("GPA"))
    );
    for line in &lines {
        for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
            let dimensions = directive["Dimensions"].as_array().unwrap();
            let dimensions = dimensions.iter().flat_map(|set| set.as_array().unwrap());
            let metrics = directive["Metrics"].as_array().unwrap().iter();
            let mut names = dimensions.chain(metrics.map(|metric| &metric["Name"]));
            assert!(names.all(|name| line.get(name.as_str().unwrap()).is_some()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_chunk_does_not_wait_for_the_model() {
    let thought = Duration::from_millis(600);
    let sandbox = Sandbox::start().await.unwrap();
    let model = Stub::start(move |seen| said_by_model(&seen.json()).delay(thought));
    let model = model.await.unwrap();
    let function = Function::chat(&model.url(), &sandbox.gpa_url(), &sandbox.ums_url()).await;
    let answer = function.answer(turn("Calculate sin(5000)")).await;
    let arrival = |text: &str| {
        let mut chunks = answer.chunks.iter();
        let found = chunks.find(|chunk| String::from_utf8_lossy(&chunk.bytes).contains(text));
        found.unwrap_or_else(|| panic!("no {text:?}")).at
    };
    let routed = arrival(r"\u2192 GPA");
    assert!(routed - arrival(r#""role":"assistant""#) > thought / 2);
    // Nor does the routing stage, so that people see what is going on.
    assert!(routed - arrival("Coordination Request") > thought / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_saved_before_its_end_mark_and_so_before_the_freeze() {
    let sandbox = Sandbox::start().await.unwrap();
    let function = Function::chat_with(&sandbox).await;
    let mut invocation = function.invoke(turn("Calculate sin(5000)"), TIMEOUT);
    within(invocation.until("[DONE]")).await.unwrap();
    assert_eq!(function.saved_turns(), 1);
    within(invocation.finish()).await.unwrap();
    assert_eq!(function.saved_turns(), 1);

    // The process is thawed for the next one.
    let answer = function
        .answer(turn("Create user Alice, then show all users"))
        .await;
    assert!(Answered::read(&answer).text.contains("Alice"));
    assert_eq!(function.saved_turns(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_mark_waits_for_a_slow_table() {
    let sandbox = Sandbox::start().await.unwrap();
    let is_save = |seen: &Seen| {
        let target = seen.header("x-amz-target").unwrap_or_default();
        // The audit log opens its lanes in transactions, too.
        target.ends_with("TransactWriteItems") && seen.json().to_string().contains("#TURN#")
    };
    let table = Stub::start(move |seen| {
        let pause = if is_save(seen) { 300 } else { 0 };
        let media = "application/x-amz-json-1.0";
        Reply::raw(200, media, "{}").delay(Duration::from_millis(pause))
    });
    let table = table.await.unwrap();
    let [model, gpa, ums] = [sandbox.model_url(), sandbox.gpa_url(), sandbox.ums_url()];
    let (endpoint, unused) = (table.url(), Database::memory().unwrap());
    let chat = env!("CARGO_BIN_EXE_chat");
    let function = Function::with_table(chat, [&model, &gpa, &ums], unused, &endpoint).await;
    let mut invocation = function.invoke(turn("Calculate sin(5000)"), TIMEOUT);
    within(invocation.until("[DONE]")).await.unwrap();
    assert_eq!(table.in_flight(), 0);
    assert_eq!(table.seen().iter().filter(|seen| is_save(seen)).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_near_deadline_ends_the_turn_in_time_and_says_so() {
    let sandbox = Sandbox::start().await.unwrap();
    let agent = Stub::start(|_| {
        let stage = json!({"index": 0, "name": "search", "status": null});
        let delta = json!({"role": "assistant", "custom_content": {"stages": [stage]}});
        Reply::sse().data(chunk(&delta)).hang()
    });
    let agent = agent.await.unwrap();
    let function = Function::chat(&sandbox.model_url(), &gpa_at(&agent), &sandbox.ums_url()).await;
    // Three seconds are kept for the end.
    let invocation = function.invoke(turn("Calculate sin(5000)"), Duration::from_millis(4500));
    let answer = within(invocation.finish()).await.unwrap();
    let answered = Answered::read(&answer);
    assert!(answer.ended_at - answer.taken_at >= Duration::from_millis(1300));
    assert!(answer.frozen_at < answer.deadline_at.unwrap());
    let error = answered.error.as_ref().unwrap();
    assert_eq!(error["code"], "deadline_exceeded");
    assert!(error["display_message"].as_str().unwrap().contains("time"));
    let ends: Vec<_> = answered
        .stages
        .iter()
        .map(|stage| (stage.name.as_str(), stage.ends.join(",")))
        .collect();
    let expected = [
        ("Coordination Request \u{2192} GPA", "completed"),
        ("Call GPA Agent", "failed"),
        ("search", "failed"),
    ];
    assert_eq!(ends, expected.map(|(name, end)| (name, end.to_owned())));
    assert_eq!(answered.states, 1);
    assert!(answer.trailers.is_empty());
    // The agent is left alone, too.
    assert_eq!((agent.seen().len(), agent.in_flight()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_in_the_past_counts_as_unknown() {
    let sandbox = Sandbox::start().await.unwrap();
    let function = Function::chat_with(&sandbox).await;
    let event = turn("Calculate sin(5000)");
    let invocation = function.api.invoke_like_emulators(event);
    let answer = within(invocation.finish()).await.unwrap();
    assert_eq!(answer.deadline_at, None);
    let answered = Answered::read(&answer);
    assert_eq!(answered.error, None);
    assert!(answered.text.contains("-0.98796"), "{}", answered.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_breaks_off_is_an_error_event_and_nothing_leaks() {
    let sandbox = Sandbox::start().await.unwrap();
    let agent = Stub::start(|_| {
        let begun = chunk(&json!({"role": "assistant", "content": "The sine "}));
        Reply::sse().data(begun).cut()
    });
    let agent = agent.await.unwrap();
    let function = Function::chat(&sandbox.model_url(), &gpa_at(&agent), &sandbox.ums_url()).await;
    let answer = function.answer(turn("Calculate sin(5000)")).await;
    let answered = Answered::read(&answer);
    let error = answered.error.as_ref().unwrap();
    assert_eq!(error["code"], "agent_unavailable");
    let display = error["display_message"].as_str().unwrap();
    assert!(display.starts_with("GPA could not answer"), "{display}");
    assert_eq!(answered.text, "");
    assert_eq!(answer.prelude.status, 200);
    assert!(answer.trailers.is_empty());
    let agents_address = agent.url().replace("http://", "");
    assert!(
        !answer.text().contains(&agents_address),
        "{}",
        answer.text()
    );

    // The next event finds the process in good health.
    let answer = function
        .answer(turn("Create user Alice, then show all users"))
        .await;
    assert_eq!(Answered::read(&answer).error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_its_status_through_the_prelude() {
    let nowhere = "http://127.0.0.1:9";
    let function = Function::chat(nowhere, nowhere, nowhere).await;
    let large = format!(r#"{{"messages":"{}"}}"#, "x".repeat(4 * 1024 * 1024));
    let plain = FunctionUrlEvent::post(CHAT, "{}").header("content-type", "text/plain");
    let table = [
        (
            FunctionUrlEvent::post(CHAT, "no json"),
            400,
            "invalid_request",
        ),
        (FunctionUrlEvent::post(CHAT, "{}"), 400, "invalid_request"),
        (FunctionUrlEvent::post("/elsewhere", "{}"), 404, "not_found"),
        (FunctionUrlEvent::get(CHAT), 405, "method_not_allowed"),
        (
            FunctionUrlEvent::post(CHAT, large),
            413,
            "request_too_large",
        ),
        (plain, 415, "unsupported_media_type"),
    ];
    for (event, status, code) in table {
        let answer = function.answer(event).await;
        let head = &answer.prelude;
        assert_eq!(head.status, status, "{}", answer.text());
        assert_eq!(head.header("content-type"), Some("application/json"));
        assert_eq!(head.header("x-should-retry"), Some("false"));
        let allow = (status == 405).then_some("POST");
        assert_eq!(head.header("allow"), allow);
        let body: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(body["error"]["code"], code);
        assert!(body["error"]["display_message"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_base_64_is_understood() {
    let sandbox = Sandbox::start().await.unwrap();
    let function = Function::chat_with(&sandbox).await;
    // The service takes a type it does not know for binary.
    let media = "Application/JSON; charset=utf-8";
    let event = turn("Calculate sin(5000)").header("content-type", media);
    let answer = function.answer(event).await;
    assert!(Answered::read(&answer).text.contains("-0.98796"));
}

#[tokio::test(flavor = "multi_thread")]
async fn block_mode_answers_in_json() {
    let sandbox = Sandbox::start().await.unwrap();
    let function = Function::chat_with(&sandbox).await;
    let answer = function.answer(block("Calculate sin(5000)")).await;
    assert_eq!(answer.prelude.status, 200);
    let media = answer.prelude.header("content-type");
    assert_eq!(media, Some("application/json"));
    let body: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(body["object"], "chat.completion");
    let message = &body["choices"][0]["message"];
    assert!(message["content"].as_str().unwrap().contains("-0.98796"));
    assert_eq!(message["custom_content"]["state"]["kid"], "k1");
    assert_eq!(function.saved_turns(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_for_the_state_a_function_refuses_to_start() {
    let api = RuntimeApi::start().await.unwrap();
    for binary in [
        env!("CARGO_BIN_EXE_chat"),
        env!("CARGO_BIN_EXE_health"),
        env!("CARGO_BIN_EXE_api"),
        env!("CARGO_BIN_EXE_discover"),
    ] {
        let mut command = function(binary, &api);
        command
            .env("OPENAI_BASE_URL", "http://127.0.0.1:9")
            .env("GPA_AGENT_ENDPOINT", "http://127.0.0.1:9/chat")
            .env("MAS_AUTH", "none");
        let mut process = Process::start(command);
        assert!(!process.end().await.success());
        assert!(process.stderr().contains("MAS_STATE_KEYS is not set"));
    }
}

// What collectors of traces get.

#[tokio::test(flavor = "multi_thread")]
async fn the_spans_of_a_turn_are_sent_before_the_freeze() {
    let sandbox = Sandbox::start().await.unwrap();
    let collector = Stub::start(|_| Reply::json(200, json!({}))).await.unwrap();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b".into()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON".into()),
        // The model is asked each time.
        ("MAS_ROUTING", "cache=off".into()),
    ];
    let function = Function::chat_set(&sandbox, &variables).await;
    for turns in 1..=2 {
        let id = format!("{turns:032x}");
        let event = turn("Calculate sin(5000)").header("x-trace-id", &id);
        let answer = function.answer(event).await;
        assert_eq!(answer.prelude.header("x-trace-id"), Some(&*id));
        // The process is frozen now: what has not come does not come.
        let seen = collector.seen();
        assert_eq!(seen.last().unwrap().header("x-key"), Some("a b"));
        let spans = decode(&seen).into_iter().filter(|span| span.trace == id);
        let lines = tree(&spans.collect::<Vec<_>>());
        for line in [
            "turn",
            "    rung model",
            "  agent GPA",
            "  synthesis",
            "  store save",
        ] {
            assert!(lines.iter().any(|known| known == line), "{line}: {lines:?}");
        }
    }
    // A line of the log is found by the function's own id of the request, too.
    let stderr = function.process.stderr();
    let ended: Vec<Value> = (stderr.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["message"] == "turn ended")
        .collect();
    assert_eq!(ended.len(), 2, "{stderr}");
    for line in ended {
        assert!(
            line["requestId"].is_string() && line["turn.id"].is_string(),
            "{line}"
        );
        assert_eq!(line["trace.id"].as_str().unwrap().len(), 32);
        assert_eq!(line.get("faas.name"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_collector_that_does_not_answer() {
    let sandbox = Sandbox::start().await.unwrap();
    let hangs = Stub::start(|_| Reply::json(200, json!({})).delay(PATIENCE * 10));
    let hangs = hangs.await.unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for address in [hangs.url(), nobody] {
        let variables = [
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                format!("{address}/v1/traces"),
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "200".into()),
        ];
        let function = Function::chat_set(&sandbox, &variables).await;
        for _ in 0..5 {
            let answer = function.answer(turn("Calculate sin(5000)")).await;
            assert_eq!(Answered::read(&answer).error, None);
        }
        let stderr = function.process.stderr();
        let told = stderr.matches("spans cannot be exported").count();
        assert_eq!(told, 1, "{stderr}");
    }
    // The others were not even tried.
    assert_eq!(hangs.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mas_sends_its_last_spans_when_it_stops() {
    let collector = Stub::start(|_| Reply::json(200, json!({}))).await.unwrap();
    let mut command = command_of_mas(&["--memory", "--port", "0", "--pace", "0"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    let mas = Mas::serving(command).await;
    mas.ask(&[json!({"role": "user", "content": "Calculate sin(5000)"})])
        .await;
    assert!(mas.stop().await.success());
    let lines = tree(&decode(&collector.seen()));
    assert_eq!(lines[0], "turn");
}

// The health function.

#[tokio::test(flavor = "multi_thread")]
async fn the_health_function_tells_alive_from_ready() {
    let sandbox = Sandbox::start().await.unwrap();
    let [model, gpa, ums] = [sandbox.model_url(), sandbox.gpa_url(), sandbox.ums_url()];
    let function = Function::start(env!("CARGO_BIN_EXE_health"), [&model, &gpa, &ums]).await;
    let ask = async |path: &str| {
        let answer = function.answer(FunctionUrlEvent::get(path)).await;
        let body: Value = serde_json::from_str(&answer.text()).unwrap();
        (answer.prelude.status, body)
    };
    let (status, alive) = ask("/health").await;
    assert_eq!((status, &alive["status"]), (200, &json!("ok")));
    let (status, ready) = ask("/health/ready").await;
    assert_eq!(
        (status, &ready["status"]),
        (200, &json!("ready")),
        "{ready}"
    );
    let names: Vec<_> = ready["checks"].as_array().unwrap().iter().collect();
    let names: Vec<_> = names.iter().map(|check| check["name"].as_str()).collect();
    assert_eq!(
        names,
        ["registry", "table", "models", "GPA", "UMS"].map(Some)
    );
    let (status, missing) = ask("/elsewhere").await;
    assert_eq!(
        (status, &missing["error"]["code"]),
        (404, &json!("not_found"))
    );
}

// The function for everything else.

#[tokio::test(flavor = "multi_thread")]
async fn the_api_function_exports_and_erases_a_person_and_shows_the_log() {
    let sandbox = Sandbox::start().await.unwrap();
    let upstreams = [sandbox.model_url(), sandbox.gpa_url(), sandbox.ums_url()];
    let upstreams = upstreams.each_ref().map(String::as_str);
    let (table, endpoint) = table().await;
    let [chat, api] = [env!("CARGO_BIN_EXE_chat"), env!("CARGO_BIN_EXE_api")];
    let chat = Function::with_table(chat, upstreams, table.clone(), &endpoint).await;
    chat.answer(turn("Create user Alice, then show all users"))
        .await;
    let api = Function::with_table(api, upstreams, table.clone(), &endpoint).await;
    let ask = async |event: FunctionUrlEvent| {
        let answer = api.answer(event).await;
        (answer.prelude.status, answer.text())
    };
    let (status, bundle) = ask(FunctionUrlEvent::get("/v1/person/export")).await;
    assert_eq!(status, 200, "{bundle}");
    assert!(bundle.contains("Create user Alice"));
    let (status, erased) = ask(FunctionUrlEvent::delete("/v1/person")).await;
    assert_eq!(status, 200, "{erased}");
    let erased: Value = serde_json::from_str(&erased).unwrap();
    assert_eq!(
        (&erased["counts"]["turns"], &erased["counts"]["sessions"]),
        (&json!(1), &json!(1))
    );
    assert_eq!((count(&table, "CONV#"), count(&table, "SESSION#")), (0, 0));
    let today = coordinator::domain::day::Day::of(coordinator::http::clock());
    let (status, report) = ask(FunctionUrlEvent::get(&format!("/v1/audit/{today}/verify"))).await;
    assert_eq!(status, 200, "{report}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["fine"], true, "{report}");
    let (status, _) = ask(FunctionUrlEvent::get("/v1/elsewhere")).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_discover_function_asks_agents_by_its_schedule() {
    let agent = Stub::start(|_| Reply::json(200, json!({"capabilities": ["leave"]})));
    let agent = agent.await.unwrap();
    let place = format!("{}/chat", agent.url());
    let document =
        format!("agents:\n- {{name: HR, endpoint: '{place}', discover: capabilities}}\n");
    let (table, endpoint) = table().await;
    let discover = env!("CARGO_BIN_EXE_discover");
    let variables = [("MAS_AGENTS", document)];
    let upstreams = [place.as_str(); 3];
    let function = Function::with(discover, upstreams, table.clone(), &endpoint, &variables).await;
    // A schedule's event is no request: whatever comes is taken for one.
    let _ = within(
        function
            .invoke(FunctionUrlEvent::get("/"), TIMEOUT)
            .finish(),
    )
    .await;
    assert_eq!(agent.seen()[0].path, "/capabilities");
    assert_eq!(
        (count(&table, "FOUND#HR"), count(&table, "CHANGE#")),
        (1, 1)
    );
}

// The local process.

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_shows_and_changes_the_agents() {
    let folder = Folder::new("agents");
    let data = ["--data", folder.path.to_str().unwrap()];
    assert!(Mas::start(&data).await.stop().await.success());
    let run = async |arguments: &[&str]| {
        let mut mas = Process::start(command_of_mas(&[arguments, &data].concat()));
        let code = mas.end().await.code();
        (code, mas.stdout(), mas.stderr())
    };
    let file = folder.path.join("hr.json");
    let name = file.to_string_lossy().into_owned();
    let entry = json!({"endpoint": "http://127.0.0.1:9/hr", "description": "Leave"});
    std::fs::write(&file, entry.to_string()).unwrap();
    let (code, said, problem) = run(&["agents", "put", "HR", "--file", &name]).await;
    assert_eq!((code, said.as_str()), (Some(0), "version 1\n"), "{problem}");
    let (code, said, _) = run(&["agents", "list"]).await;
    assert!(
        code == Some(0) && said.contains("HR                   table"),
        "{said}"
    );
    let (_, said, _) = run(&["agents", "get", "HR", "--json"]).await;
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(found["entry"]["description"], "Leave");
    let example = [
        "agents",
        "example",
        "HR",
        "leave",
        "How many days off do I have?",
    ];
    let (code, said, problem) = run(&example).await;
    assert_eq!((code, said.as_str()), (Some(0), "version 2\n"), "{problem}");
    let (_, said, _) = run(&["agents", "get", "HR", "--json"]).await;
    let found: Value = serde_json::from_str(&said).unwrap();
    let leave = json!({"name": "leave", "examples": ["How many days off do I have?"]});
    assert_eq!(found["entry"]["capabilities"], json!([leave]));
    let (code, _, problem) = run(&["agents", "remove", "HR", "--seen", "7"]).await;
    assert!(
        code == Some(1) && problem.contains("version 2 is there"),
        "{problem}"
    );
    let (code, said, _) = run(&["agents", "remove", "HR", "--json"]).await;
    assert_eq!((code, said.as_str()), (Some(0), "{\"version\":3}\n"));
    let (_, said, _) = run(&["agents", "history", "HR"]).await;
    assert_eq!(said.lines().count(), 3, "{said}");
    std::fs::write(&file, "agents:\n- {name: A}\n").unwrap();
    let (code, _, problem) = run(&["agents", "publish", &name]).await;
    assert!(code == Some(1) && problem.contains("endpoint"), "{problem}");
    let (code, said, problem) = run(&["audit", "verify", "--json"]).await;
    assert_eq!(code, Some(0), "{said} {problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_asks_an_agent_alone_whether_it_works() {
    let folder = Folder::new("ask");
    let data = ["--data", folder.path.to_str().unwrap()];
    assert!(Mas::start(&data).await.stop().await.success());
    let run = async |arguments: &[&str]| {
        let mut mas = Process::start(command_of_mas(
            &[&["agents", "ask"], arguments, &data].concat(),
        ));
        let code = mas.end().await.code();
        (code, mas.stdout(), mas.stderr())
    };
    let (code, said, problem) = run(&["GPA", "What is 2+2?", "--json"]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&found["ok"], &found["problem"]),
        (&json!(true), &Value::Null)
    );
    assert!(found["text"].as_str().unwrap().contains('4'), "{found}");
    assert!(
        found["tokens"].is_u64() && found["first_event_ms"].is_u64(),
        "{found}"
    );
    // What may change something is asked only on purpose.
    let (code, _, problem) = run(&["UMS", "Show all users"]).await;
    assert!(code == Some(1) && problem.contains("--anyway"), "{problem}");
    let (code, said, problem) = run(&["UMS", "Show all users", "--anyway"]).await;
    assert!(
        code == Some(0) && said.contains("John Doe"),
        "{said}{problem}"
    );
    assert!(said.contains("UMS: a whole answer"), "{said}");
    // One that is not there, and one that does not keep to its protocol.
    assert_eq!(run(&["Nobody"]).await.0, Some(1));
    let broken = Stub::start(|_| Reply::text(200, "<html>welcome</html>"));
    let broken = broken.await.unwrap();
    let file = folder.path.join("broken.json");
    let entry = json!({"endpoint": format!("{}/chat", broken.url()), "effect": "none"});
    std::fs::write(&file, entry.to_string()).unwrap();
    let put = ["agents", "put", "Broken", "--file", file.to_str().unwrap()];
    let mut put = Process::start(command_of_mas(&[&put[..], &data].concat()));
    assert_eq!(put.end().await.code(), Some(0), "{}", put.stderr());
    let (code, said, problem) = run(&["Broken"]).await;
    assert!(
        code == Some(1) && said.contains("failed: "),
        "{said}{problem}"
    );
    assert!(said.contains("Broken: no whole answer"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_of_a_document_is_told_with_its_place() {
    let folder = Folder::new("mistakes");
    std::fs::create_dir_all(&folder.path).unwrap();
    let file = folder.path.join("agents.yaml");
    let file = file.to_str().unwrap();
    let run = async |text: &str, more: &[&str]| {
        std::fs::write(file, text).unwrap();
        let mut mas = Process::start(command_of_mas(&[&["validate", file], more].concat()));
        let code = mas.end().await.code();
        (code, mas.stdout())
    };
    let good = "agents:\n- {name: A, endpoint: a}\nrouting:\n  rules:\n  - {if: words > 2, then: A}\n\
                tests:\n- {say: one two three, expect: A}\n";
    let (code, said) = run(good, &[]).await;
    let wanted = format!("{file} is in order: 1 agent, 1 rule, 1 passed test\n");
    assert_eq!((code, said), (Some(0), wanted));
    let (code, said) = run(good, &["--json"]).await;
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &found["ok"], &found["tests"]),
        (Some(0), &json!(true), &json!(1))
    );

    // What has no form is told alone; then every mistake of the agents, and then of all that is about them.
    let agents = "agents:\n- {name: A, endpoint: a}\n";
    for (bad, mistakes) in [
        ("agents:\n- {name: A, endpoint: a, efect: none}\n".to_owned(), &[(2, "efect")][..]),
        (
            "agents:\n- {name: A, endpoint: '${NOT_SET}'}\n- {name: B, endpoint: b, key: hunter2}\n".to_owned(),
            &[(2, "NOT_SET"), (3, "key")],
        ),
        (
            format!("{agents}routing:\n  rules:\n  - {{if: wrds > 2, then: A}}\n  - {{if: words > 2, then: B}}\n"),
            &[(5, "wrds"), (6, "B")],
        ),
    ] {
        let (code, said) = run(&bad, &[]).await;
        assert_eq!((code, said.lines().count()), (Some(1), mistakes.len()), "{said}");
        for (told, (line, what)) in said.lines().zip(mistakes) {
            let place = format!("{file}:{line}:");
            assert!(told.starts_with(&place) && told.contains(what), "{what} in {said}");
        }
    }
    let failing = good.replace("one two three", "one two");
    let (code, said) = run(&failing, &["--json"]).await;
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &found["ok"]), (Some(1), &json!(false)), "{said}");
    let problem = &found["problems"][0];
    assert_eq!(problem["line"], 7, "{said}");
    assert!(
        problem["problem"].as_str().unwrap().contains("expected A"),
        "{said}"
    );
    // The schema that editors complete documents with.
    let mut mas = Process::start(command_of_mas(&["schema"]));
    assert_eq!(mas.end().await.code(), Some(0));
    let schema: Value = serde_json::from_str(&mas.stdout()).unwrap();
    assert!(schema["properties"]["agents"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_can_be_checked_as_it_will_be_read_elsewhere() {
    let folder = Folder::new("elsewhere");
    std::fs::create_dir_all(&folder.path).unwrap();
    let file = folder.path.join("agents.yaml");
    let document = "agents:\n- {name: A, endpoint: a, key: '${OUR_SECRET}'}\n\
                    - {name: B, endpoint: b, key: 'ssm:/mas/agents/b'}\n";
    std::fs::write(&file, document).unwrap();
    for (more, code, said) in [
        (&[][..], 0, "is in order"),
        (
            &["--elsewhere"][..],
            1,
            ":2:31: the variable OUR_SECRET is not set here",
        ),
    ] {
        let arguments = [&["validate", file.to_str().unwrap()][..], more].concat();
        let mut command = command_of_mas(&arguments);
        command.env("OUR_SECRET", "x");
        let mut mas = Process::start(command);
        assert_eq!(mas.end().await.code(), Some(code));
        assert!(mas.stdout().contains(said), "{}", mas.stdout());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_an_experiment_has_shown_and_begins_it_anew() {
    let folder = Folder::new("experiments");
    std::fs::create_dir_all(&folder.path).unwrap();
    let file = folder.path.join("agents.yaml");
    let document = "agents:\n\
        - {name: GPA, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY}', effect: none}\n\
        - {name: GPA-next, endpoint: '${GPA_AGENT_ENDPOINT}', key: '${GPA_API_KEY}', effect: none, listed: false}\n\
        experiments:\n- {name: next, arms: [{name: new, share: 100%, agents: {GPA: GPA-next}}]}\n";
    std::fs::write(&file, document).unwrap();
    let data = ["--data", folder.path.to_str().unwrap()];
    let mut command = command_of_mas(&[&data[..], &["--port", "0", "--pace", "0"]].concat());
    command.env("MAS_AGENTS", &file);
    let mas = Mas::serving(command).await;
    for _ in 0..6 {
        mas.ask(&[json!({"role": "user", "content": "What is 2+2?"})])
            .await;
    }
    assert!(mas.stop().await.success());
    let run = async |arguments: &[&str]| {
        let mut command = command_of_mas(&[&["experiments"], arguments, &data].concat());
        command
            .env("MAS_AGENTS", &file)
            .env("GPA_AGENT_ENDPOINT", "http://127.0.0.1:9")
            .env("GPA_API_KEY", "sandbox");
        let mut mas = Process::start(command);
        let code = mas.end().await.code();
        (code, mas.stdout(), mas.stderr())
    };
    let (code, said, problem) = run(&[]).await;
    assert_eq!(code, Some(0), "{problem}");
    for line in [
        "next, by user, running",
        "control            0.00 %        0 turns",
        "new              100.00 %        6 turns",
        "failures   0.00 % (0.00 % to 39.03 %)",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert!(!said.contains('\u{1b}'), "no colours but on a terminal");
    let (_, said, _) = run(&["--json"]).await;
    let found: Value = serde_json::from_str(&said).unwrap();
    let arm = &found["experiments"][0]["arms"][1];
    assert_eq!((&arm["name"], &arm["turns"]), (&json!("new"), &json!(6)));
    assert!(arm["seconds"]["low"].is_number(), "{arm:#}");
    let (code, _, problem) = run(&["--reset", "other"]).await;
    assert!(code == Some(1) && problem.contains("no experiment other"));
    assert_eq!(run(&["--reset", "next"]).await.0, Some(0));
    let (_, said, _) = run(&[]).await;
    assert!(
        said.contains("new              100.00 %        0 turns"),
        "{said}"
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn mas_looks_at_its_agents_when_it_is_told_to() {
    let folder = Folder::new("reload");
    std::fs::create_dir_all(&folder.path).unwrap();
    let file = folder.path.join("agents.yaml");
    let document = "agents:\n- {name: A, endpoint: 'http://127.0.0.1:9/a'}\n";
    std::fs::write(&file, document).unwrap();
    let mut command = command_of_mas(&["--memory", "--port", "0"]);
    command.env("MAS_AGENTS", &file);
    let mas = Mas::serving(command).await;
    let hang_up = || {
        let id = mas.process.child.id().to_string();
        let told = Command::new("kill").args(["-HUP", &id]).status();
        assert!(told.unwrap().success());
    };
    std::fs::write(&file, "agents: [").unwrap();
    hang_up();
    let refused = |output: &Output| output.stderr.contains("the old ones stay");
    mas.process.until(refused).await;
    std::fs::write(
        &file,
        format!("{document}- {{name: B, endpoint: 'http://127.0.0.1:9/b'}}\n"),
    )
    .unwrap();
    hang_up();
    let taken = |output: &Output| output.stderr.contains("the agents are new");
    mas.process.until(taken).await;
    assert!(mas.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_checks_the_log_and_exports_and_erases_a_person() {
    let folder = Folder::new("operator");
    let data = ["--data", folder.path.to_str().unwrap()];
    let mas = Mas::start(&data).await;
    mas.ask(&[json!({"role": "user", "content": "Create user Alice, then show all users"})])
        .await;
    assert!(mas.stop().await.success());
    let run = async |arguments: &[&str]| {
        let mut mas = Process::start(command_of_mas(&[arguments, &data].concat()));
        let code = mas.end().await.code();
        (code, mas.stdout(), mas.stderr())
    };
    let (code, said, problem) = run(&["audit", "verify", "--json"]).await;
    assert_eq!(code, Some(0), "{said} {problem}");
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&found["report"]["lines"], &found["report"]["problems"]),
        (&json!(1), &json!([]))
    );
    let (code, said, _) = run(&["audit", "show"]).await;
    assert_eq!(code, Some(0));
    assert!(said.contains(r#""kind":"turn""#), "{said}");

    let (code, bundle, problem) = run(&["export", "--owner", "development"]).await;
    assert_eq!(code, Some(0), "{problem}");
    assert!(bundle.contains("Create user Alice"));
    let file = folder.path.join("bundle.jsonl");
    let name = file.to_string_lossy().into_owned();
    for (text, expected) in [(bundle.clone(), 0), (bundle.replace("Alice", "Mallory"), 1)] {
        std::fs::write(&file, text).unwrap();
        assert_eq!(run(&["export", "--verify", &name]).await.0, Some(expected));
    }
    let (code, said, problem) = run(&["erase", "--owner", "development", "--json"]).await;
    assert_eq!(code, Some(0), "{problem}");
    let erased: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(erased["counts"]["turns"], 1);

    // An anchor of a line that is not there: the log was cut, or an older table put back.
    let today = coordinator::domain::day::Day::of(coordinator::http::clock());
    let log = format!("INFO turn ended audit.anchor=default/{today}/w-0/1/c2ln duration_ms=3\n");
    std::fs::write(&file, log).unwrap();
    let (code, said, _) = run(&["audit", "verify", "--anchors", &name]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the log has it, the table has not"), "{said}");
    let (code, _, problem) = run(&["audit", "verify", "--anchors", "/nowhere"]).await;
    assert_eq!(code, Some(2), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mas_serves_and_a_terminal_talks_to_it() {
    let mas = Mas::start(&["--memory"]).await;
    let url = ["chat", "--url", &mas.url];
    let said = "Create user Alice, then show all users";

    let mut talk = Process::start(command_of_mas(&[&url[..], &[said]].concat()));
    assert_eq!(talk.end().await.code(), Some(0), "{}", talk.stderr());
    assert!(talk.stdout().contains("Alice"), "{}", talk.stdout());
    // The work is shown beside the answer, not in it.
    assert!(!talk.stdout().contains("Call UMS Agent"));
    assert!(talk.stderr().contains("Call UMS Agent"));

    let mut talk = Process::start(command_of_mas(&[&url[..], &["--json", said]].concat()));
    assert_eq!(talk.end().await.code(), Some(0), "{}", talk.stderr());
    let (stdout, stderr) = (talk.stdout(), talk.stderr());
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(lines.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert_eq!(stderr, "");
    assert!(mas.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_reaches_nobody_says_how_to_start() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let mut talk = Process::start(command_of_mas(&["chat", "--url", &url, "Hello"]));
    assert_eq!(talk.end().await.code(), Some(1));
    let stderr = talk.stderr();
    assert!(
        stderr.contains(&url) && stderr.contains("cargo run"),
        "{stderr}"
    );
    assert_eq!(talk.stdout(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn mas_prints_the_entry_for_dial_core() {
    let arguments = ["dial-config", "--url", "https://x.example/", "--name", "c"];
    let mut print = Process::start(command_of_mas(&arguments));
    assert_eq!(print.end().await.code(), Some(0), "{}", print.stderr());
    let entry: Value = serde_json::from_str(&print.stdout()).unwrap();
    let application = &entry["applications"]["c"];
    let endpoint = "https://x.example/openai/deployments/c/chat/completions";
    assert_eq!(application["endpoint"], endpoint);
    let dependencies = json!(["general-purpose-agent"]);
    assert_eq!(application["dependencies"], dependencies);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_prints_an_environment_that_emulators_can_read() {
    let sandbox = Process::start(command_of_mas(&["sandbox", "--memory"]));
    let last = ["MAS_STATE_KEYS=", "MAS_AUTH=", "MAS_PRIVATE_NETWORKS="];
    let told = |output: &Output| last.iter().all(|name| output.stdout.contains(name));
    sandbox.until(told).await;
    let lines = sandbox.stdout();
    let pairs = lines.lines().map(|line| line.split_once('=').unwrap());
    let settings: BTreeMap<_, _> = pairs.collect();
    assert_eq!(settings["MAS_AUTH"], "none");
    assert_eq!(settings["MAS_PRIVATE_NETWORKS"], "loopback");
    assert!(settings["OPENAI_BASE_URL"].starts_with("http://127.0.0.1:"));
    // cargo-lambda's parser takes no `=` in a value that is not quoted.
    let quoted = |value: &str| value.len() > 2 && value.starts_with('\'') && value.ends_with('\'');
    for (name, value) in &settings {
        assert!(!value.contains('=') || quoted(value), "{name}={value}");
    }
    assert!(quoted(settings["MAS_STATE_KEYS"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_stops_the_start_and_is_named() {
    let models = ("OPENAI_BASE_URL", "http://127.0.0.1:9");
    for (settings, complaint) in [
        (
            vec![("MAS_PORT", "harbour")],
            "MAS_PORT is \"harbour\", expected a port",
        ),
        // An agent is a deployment, and there is no DIAL Core to ask for it.
        (
            vec![models, ("MAS_AUTH", "none")],
            "agent GPA is deployment general-purpose-agent of DIAL Core, so DIAL_URL must be set",
        ),
        (
            vec![
                models,
                ("MAS_AUTH", "none"),
                ("GPA_AGENT_ENDPOINT", "http://127.0.0.1:9/chat"),
                ("UMS_AGENT_ENDPOINT", "ums"),
            ],
            "is \"ums\", expected a full URL",
        ),
    ] {
        let mut command = command_of_mas(&["--memory"]);
        command.envs(settings);
        let mut mas = Process::start(command);
        assert_eq!(mas.end().await.code(), Some(1), "{complaint}");
        let stderr = mas.stderr();
        assert!(stderr.contains(complaint), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_mas_goes_on_where_the_first_one_stopped() {
    let folder = Folder::new("continues");
    let data = ["--data", folder.path.to_str().unwrap()];
    let mas = Mas::start(&data).await;
    let mut messages = vec![json!({"role": "user", "content": "Calculate sin(5000)"})];
    let said = mas.ask(&messages).await;
    assert!(mas.stop().await.success());
    let key_file = folder.path.join("state.key");
    let key = std::fs::read_to_string(&key_file).unwrap();
    assert_eq!(mode(&key_file) & 0o777, 0o600);

    let mas = Mas::start(&data).await;
    messages.push(said.as_message());
    messages.push(json!({"role": "user", "content": "Calculate cos(5000)"}));
    let said = mas.ask(&messages).await;
    assert!(said.text.contains("0.15"), "{}", said.text);
    assert!(mas.stop().await.success());
    assert_eq!(std::fs::read_to_string(&key_file).unwrap(), key);
    // Nothing but the signed state said that the two turns belong together.
    let table = folder.path.join("table.db");
    let table = Database::new(table.to_str().unwrap()).unwrap();
    let heads = count(&table, "#~HEAD");
    assert_eq!((heads, count(&table, "#TURN#")), (1, 2));
}

// What is asked, and what is answered.

fn turn(text: &str) -> FunctionUrlEvent {
    FunctionUrlEvent::post(CHAT, request(text, true)).header("api-key", "key-of-the-test")
}

fn block(text: &str) -> FunctionUrlEvent {
    FunctionUrlEvent::post(CHAT, request(text, false)).header("api-key", "key-of-the-test")
}

fn request(text: &str, stream: bool) -> String {
    json!({"stream": stream, "messages": [{"role": "user", "content": text}]}).to_string()
}

fn chunk(delta: &Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

/// A model that always routes to the general purpose agent, and always writes the same.
fn said_by_model(request: &Value) -> Reply {
    if request["stream"] == true {
        let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        let text = chunk(&json!({"role": "assistant", "content": "As computed."}));
        return Reply::sse().data(text).data(end).done();
    }
    let decision = json!({"agent_name": "GPA", "additional_instructions": null}).to_string();
    let message = json!({"role": "assistant", "content": decision});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    Reply::json(
        200,
        json!({"object": "chat.completion", "choices": [choice]}),
    )
}

fn gpa_at(stub: &Stub) -> String {
    format!("{}/openai/deployments/gpa/chat/completions", stub.url())
}

/// A streamed answer as its reader sees it.
#[derive(Default)]
struct Answered {
    text: String,
    stages: Vec<Stage>,
    states: usize,
    state: Value,
    error: Option<Value>,
}

#[derive(Default)]
struct Stage {
    name: String,
    ends: Vec<String>,
}

impl Stage {
    fn is_completed(&self) -> bool {
        self.ends == ["completed"]
    }
}

impl Answered {
    /// Demands what holds for every stream: one end mark, last, and nothing of the runtime's own.
    fn read(answer: &Answer) -> Self {
        let text = answer.text();
        assert!(!text.contains(LEAKED), "{text}");
        let events = text.strip_suffix("data: [DONE]\n\n").expect("[DONE]");
        let events = events.split_terminator("\n\n");
        Self::of(events.filter_map(|event| event.strip_prefix("data: ")))
    }

    fn of<'a>(events: impl Iterator<Item = &'a str>) -> Self {
        let mut answered = Self::default();
        let mut stages: BTreeMap<u64, Stage> = BTreeMap::new();
        for event in events {
            let event: Value = serde_json::from_str(event).unwrap();
            assert_eq!(answered.error, None, "an event after the error");
            if let Some(error) = event.get("error") {
                answered.error = Some(error.clone());
                continue;
            }
            let delta = &event["choices"][0]["delta"];
            answered.text += delta["content"].as_str().unwrap_or_default();
            let custom = &delta["custom_content"];
            if let Some(state) = custom.get("state") {
                answered.states += 1;
                answered.state = state.clone();
            }
            for change in custom["stages"].as_array().into_iter().flatten() {
                let stage = stages.entry(change["index"].as_u64().unwrap()).or_default();
                stage.name += change["name"].as_str().unwrap_or_default();
                stage
                    .ends
                    .extend(change["status"].as_str().map(str::to_owned));
            }
        }
        answered.stages = stages.into_values().collect();
        answered
    }

    /// As chat clients send it back.
    fn as_message(&self) -> Value {
        let custom = json!({"state": self.state});
        json!({"role": "assistant", "content": self.text, "custom_content": custom})
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("an end in time")
}

// Functions and processes.

/// A function's binary under the Runtime API, with a table of its own.
struct Function {
    api: RuntimeApi,
    table: Database,
    process: Process,
}

impl Function {
    async fn chat_with(sandbox: &Sandbox) -> Self {
        let (model, gpa, ums) = (sandbox.model_url(), sandbox.gpa_url(), sandbox.ums_url());
        Self::chat(&model, &gpa, &ums).await
    }

    /// With these variables, too.
    async fn chat_set(sandbox: &Sandbox, variables: &[(&str, String)]) -> Self {
        let upstreams = [sandbox.model_url(), sandbox.gpa_url(), sandbox.ums_url()];
        let upstreams = upstreams.each_ref().map(String::as_str);
        let (table, endpoint) = table().await;
        let chat = env!("CARGO_BIN_EXE_chat");
        Self::with(chat, upstreams, table, &endpoint, variables).await
    }

    async fn chat(model: &str, gpa: &str, ums: &str) -> Self {
        Self::start(env!("CARGO_BIN_EXE_chat"), [model, gpa, ums]).await
    }

    async fn start(binary: &str, upstreams: [&str; 3]) -> Self {
        let (table, endpoint) = table().await;
        Self::with_table(binary, upstreams, table, &endpoint).await
    }

    async fn with_table(
        binary: &str,
        upstreams: [&str; 3],
        table: Database,
        endpoint: &str,
    ) -> Self {
        Self::with(binary, upstreams, table, endpoint, &[]).await
    }

    async fn with(
        binary: &str,
        [model, gpa, ums]: [&str; 3],
        table: Database,
        endpoint: &str,
        variables: &[(&str, String)],
    ) -> Self {
        let api = RuntimeApi::start().await.unwrap();
        let mut command = function(binary, &api);
        command
            .env("OPENAI_BASE_URL", model)
            .env("GPA_AGENT_ENDPOINT", gpa)
            .env("GPA_API_KEY", "x")
            .env("UMS_AGENT_ENDPOINT", ums)
            .env("MAS_AUTH", "none")
            .env("MAS_STATE_KEYS", STATE_KEYS)
            .env("MAS_PRIVATE_NETWORKS", "loopback")
            .env("AWS_ENDPOINT_URL_DYNAMODB", endpoint)
            .envs(variables.iter().map(|(name, value)| (name, value)));
        Self {
            api,
            table,
            process: Process::start(command),
        }
    }

    fn invoke(&self, event: FunctionUrlEvent, deadline: Duration) -> Invocation {
        self.api.invoke(event, deadline)
    }

    async fn answer(&self, event: FunctionUrlEvent) -> Answer {
        let answer = within(self.invoke(event, TIMEOUT).finish()).await.unwrap();
        assert!(answer.ended_at <= answer.frozen_at);
        answer
    }

    fn saved_turns(&self) -> usize {
        count(&self.table, "#TURN#")
    }
}

/// An embedded table, created as `mas` creates it.
async fn table() -> (Database, String) {
    let database = Database::memory().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(listener, database.clone()));
    let table = store::connect("mas", Some(&endpoint)).await;
    store::create(&table).await.unwrap();
    (database, endpoint)
}

/// How many items have this in their sort key.
fn count(table: &Database, part: &str) -> usize {
    let scan = ScanRequest {
        table_name: "mas".into(),
        ..ScanRequest::default()
    };
    let items = table.scan(scan).unwrap().items.unwrap_or_default();
    let key = |item: &_| serde_json::to_value(item).unwrap()["sk"]["S"].to_string();
    items.iter().filter(|item| key(item).contains(part)).count()
}

/// A program with an empty environment, but for where a measured one leaves its coverage.
fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
    command
}

/// A function's binary with the environment that Lambda gives it, and nothing else.
fn function(binary: &str, api: &RuntimeApi) -> Command {
    let mut command = bare(binary);
    command
        .env("AWS_LAMBDA_RUNTIME_API", api.address())
        .env("AWS_LAMBDA_FUNCTION_NAME", "function")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512");
    command
}

fn command_of_mas(arguments: &[&str]) -> Command {
    let mut command = bare(env!("CARGO_BIN_EXE_mas"));
    command.args(arguments);
    command
}

/// `mas`, serving.
struct Mas {
    process: Process,
    url: String,
}

impl Mas {
    async fn start(arguments: &[&str]) -> Self {
        let arguments = [arguments, &["--port", "0", "--pace", "0"]].concat();
        Self::serving(command_of_mas(&arguments)).await
    }

    async fn serving(command: Command) -> Self {
        let process = Process::start(command);
        let greeting = process
            .until(|output| output.stderr.contains("Try it"))
            .await;
        let port = greeting
            .lines()
            .find(|line| line.starts_with("MAS Coordinator"))
            .and_then(|line| line.rsplit(':').next())
            .expect("an address");
        let url = format!("http://127.0.0.1:{port}");
        Self { process, url }
    }

    async fn ask(&self, messages: &[Value]) -> Answered {
        let limits = Limits {
            first_byte: PATIENCE,
            idle: PATIENCE,
            until: tokio::time::Instant::now() + PATIENCE,
        };
        let body = json!({"stream": true, "messages": messages}).to_string();
        let call = Call::post(format!("{}{CHAT}", self.url), body.into(), limits);
        let client = Client::new(&Bounds::default()).unwrap();
        let mut stream = client.events(call).await.unwrap();
        let mut events = Vec::new();
        while let Some(event) = stream.next().await.unwrap() {
            events.push(event);
        }
        Answered::of(events.iter().map(String::as_str))
    }

    /// Asks it to stop, as service managers do.
    async fn stop(mut self) -> ExitStatus {
        let id = self.process.child.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status();
        assert!(kill.unwrap().success());
        self.process.end().await
    }
}

/// A child process, killed on drop; what it said is shown when a test fails.
struct Process {
    child: Child,
    output: watch::Receiver<Output>,
}

#[derive(Default)]
struct Output {
    stdout: String,
    stderr: String,
    /// How many of the two have ended.
    ended: u8,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, output) = watch::channel(Output::default());
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        listen(stdout, told.clone(), |output| &mut output.stdout);
        listen(stderr, told, |output| &mut output.stderr);
        Self { child, output }
    }

    /// Waits for something said; gives standard error so far.
    async fn until(&self, said: impl Fn(&Output) -> bool) -> String {
        let mut output = self.output.clone();
        let found = within(output.wait_for(|output| said(output) || output.ended == 2)).await;
        let found = found.unwrap();
        assert!(said(&found), "it ended: {}{}", found.stdout, found.stderr);
        found.stderr.clone()
    }

    /// Waits for the end. A process that has closed both its outputs is about to go.
    async fn end(&mut self) -> ExitStatus {
        self.until(|output| output.ended == 2).await;
        self.child.wait().unwrap()
    }

    fn stdout(&self) -> String {
        self.output.borrow().stdout.clone()
    }

    fn stderr(&self) -> String {
        self.output.borrow().stderr.clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let (id, stderr) = (self.child.id(), self.stderr());
            eprintln!("--- standard error of process {id}\n{stderr}---");
        }
    }
}

/// Keeps what a process says, line by line.
fn listen(
    from: impl Read + Send + 'static,
    to: watch::Sender<Output>,
    part: fn(&mut Output) -> &mut String,
) {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            let text = String::from_utf8_lossy(&line).into_owned();
            to.send_modify(|output| part(output).push_str(&text));
            line.clear();
        }
        to.send_modify(|output| output.ended += 1);
    });
}

/// A folder for one test, removed on drop.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self { path }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn mode(file: &Path) -> u32 {
    let metadata = std::fs::metadata(file).unwrap();
    std::os::unix::fs::MetadataExt::mode(&metadata)
}
