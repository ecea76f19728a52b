//! The log holds ids, times and codes: never what people and agents say, never a credential, never a line of somebody else's.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};

use coordinator::telemetry;
use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};
use tracing::Dispatch;

use crate::world::{Plan, World, delta, echoed, finish, model, plan, says, ums, user};

/// What is logged on this thread. The tests run on one thread, so all of a turn is.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Where it is JSON.
    pub fn lines(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    }
}

/// With one log alone in the process, a line that is first met on another thread, where nobody listens, is taken for one
/// that nobody ever wants. So there is always a second one.
pub fn not_alone() {
    static SECOND: LazyLock<Dispatch> =
        LazyLock::new(|| telemetry::log("info", false, false, io::sink).unwrap());
    LazyLock::force(&SECOND);
}

/// Everything that our own crates have to say, and what others find worth a line.
pub fn listen() -> (Log, tracing::dispatcher::DefaultGuard) {
    not_alone();
    let log = Log::default();
    let writer = log.clone();
    let filter = "info,coordinator=trace,all=trace";
    let dispatch = telemetry::log(filter, false, false, move || writer.clone()).unwrap();
    (log, tracing::dispatcher::set_default(&dispatch))
}

/// A world on this thread: it may only be dropped once its calls are over.
pub async fn end(world: World) {
    while world.running() > 0 {
        tokio::task::yield_now().await;
    }
}

fn file(data: &str) -> Value {
    json!({"title": "MARK-TITLE", "type": "text/plain", "data": data})
}

/// A person who says marked things, with a state that somebody forged.
fn said() -> Vec<Value> {
    let forged = json!({"v": 1, "kid": "k1", "payload": "MARK-FORGED", "mac": "MARK-FORGED"});
    let answered =
        json!({"role": "assistant", "content": "MARK-ANSWER", "custom_content": {"state": forged}});
    let asks = json!({"role": "user", "content": "MARK-ASKED",
                      "custom_content": {"attachments": [file("MARK-SENT")]}});
    vec![user("MARK-EARLIER"), answered, asks]
}

fn talks(_: &Seen) -> Reply {
    let stage =
        json!({"index": 0, "name": "MARK-STAGE", "content": "MARK-STAGE", "status": "completed"});
    Reply::sse()
        .data(delta(json!({"content": "MARK-SAID"})))
        .data(delta(
            json!({"custom_content": {"stages": [stage], "state": {"s": "MARK-STATE"},
                                              "attachments": [file("MARK-DATA")]}}),
        ))
        .data(finish())
        .done()
}

/// The same with an error after it, or instead of it.
fn breaks(_: &Seen) -> Reply {
    let error = json!({"error": {"message": "MARK-ERROR", "code": "MARK ERROR", "display_message": "MARK-DISPLAY"}});
    Reply::sse()
        .data(delta(json!({"content": "MARK-SAID"})))
        .data(error)
        .done()
}

fn refuses(_: &Seen) -> Reply {
    let error = json!({"message": "MARK-ERROR", "code": "MARK ERROR\r\nforged"});
    Reply::json(400, json!({"error": error}))
}

fn mumbles(_: &Seen) -> Reply {
    Reply::sse()
        .data("{\"choices\": [{\"delta\": {\"content\": \"MARK-SAID\"}")
        .done()
}

fn creates(answer: &'static str) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |_| Reply::raw(200, "application/json", answer)
}

/// Turns that go well and turns that go wrong in every room, each with something to say of it.
fn turns() -> Vec<(Plan, &'static str)> {
    let keyless = |plan: Plan| {
        plan.set("GPA_API_KEY", "MARK-GPA-KEY")
            .set("OPENAI_API_KEY", "MARK-MODEL-KEY")
    };
    let routes = |agent: &'static str, answer: fn(&Seen) -> Reply| {
        move |seen: &Seen| match seen.json()["response_format"].is_object() {
            true => model(seen, agent),
            false => answer(seen),
        }
    };
    vec![
        (plan("GPA").gpa(talks), "turn ended"),
        (plan("UMS").ums(ums), "turn ended"),
        (plan("GPA").gpa(breaks), "the agent failed"),
        (plan("GPA").gpa(refuses), "the agent failed"),
        (plan("GPA").gpa(mumbles), "the agent failed"),
        (
            plan("UMS").ums(creates("\"MARK-SAID\"")),
            "the agent failed",
        ),
        (
            plan("UMS").ums(creates("{\"id\": \"MARK SAID\"}")),
            "the agent failed",
        ),
        (plan("GPA").model(refuses), "a routing rung failed"),
        (plan("GPA").model(mumbles), "a routing rung failed"),
        (
            plan("GPA").gpa(talks).model(routes("GPA", refuses)),
            "the synthesis failed",
        ),
        (
            plan("GPA").gpa(talks).model(routes("GPA", breaks)),
            "the synthesis failed",
        ),
        (
            plan("GPA").set("MAS_PRIVATE_NETWORKS", "private"),
            "no agent may be at this address",
        ),
        (
            plan("GPA")
                .gpa(talks)
                .set("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9"),
            "the memory cannot be read",
        ),
        (
            plan("GPA").model(refuses).set("DIAL_URL", "{model}"),
            "DIAL Core cannot be asked about a caller",
        ),
    ]
    .into_iter()
    .map(|(plan, line)| (keyless(plan), line))
    .collect()
}

#[tokio::test]
async fn nothing_that_is_said_and_no_key_gets_into_the_log() {
    for (plan, line) in turns() {
        let (log, _listening) = listen();
        let world = plan.start().await;
        for stream in [true, false] {
            let body = json!({"messages": said(), "stream": stream, "model": "MARK-NAME"});
            let request = world.post(&body).build().unwrap();
            let mut request = request;
            let headers = request.headers_mut();
            headers.insert("api-key", "MARK-KEY".parse().unwrap());
            headers.insert("authorization", "Bearer MARK-TOKEN".parse().unwrap());
            let answer = world.client().execute(request).await.unwrap();
            answer.bytes().await.unwrap();
        }
        end(world).await;
        let log = log.text();
        assert!(log.contains(line), "{line}: {log}");
        assert!(
            log.contains("state_rejected") || line.contains("DIAL Core"),
            "{line}: {log}"
        );
        assert!(!log.contains("MARK"), "{line}: {log}");
    }
}

#[tokio::test]
async fn what_is_said_is_logged_only_when_asked_for_and_that_is_told_at_the_start() {
    for (switch, shown) in [("on", true), ("off", false)] {
        let (log, _listening) = listen();
        let world = plan("GPA")
            .gpa(talks)
            .set("MAS_LOG_CONTENT", switch)
            .start()
            .await;
        let told = log.text().contains("MAS_LOG_CONTENT=on");
        assert_eq!(told, shown, "{}", log.text());
        world.well(&said()).await;
        end(world).await;
        let log = log.text();
        for text in ["MARK-ASKED", "MARK-SAID", "Final answer."] {
            assert_eq!(log.contains(text), shown, "{text} in {log}");
        }
        // Keys and states are no text: no switch shows them.
        for never in ["key-1", "MARK-STATE", "MARK-DATA", "MARK-SENT"] {
            assert!(!log.contains(never), "{never} in {log}");
        }
    }
}

#[tokio::test]
async fn no_request_and_no_answer_can_write_a_line_of_the_log() {
    let evil = "x\r\n2026-11-20T00:00:00Z  INFO forged \u{202e}\u{1b}[2J\u{2028}";
    let (log, _listening) = listen();
    let says_it = move |_: &Seen| says(evil);
    let world = plan("GPA")
        .gpa(says_it)
        .set("MAS_LOG_CONTENT", "on")
        .start()
        .await;
    let first = world.well(&[user(evil)]).await;
    let body = json!({"messages": [user(evil), echoed(&first), user(evil)], "stream": true, "model": evil});
    let request = world.post(&body);
    let request = request.header("x-conversation-id", "conv \u{202e}".as_bytes());
    World::answer(request).await;
    end(world).await;
    let log = log.text();
    assert!(log.contains("forged"), "{log}");
    for line in log.lines() {
        assert!(
            !line.contains(" INFO forged") || line.contains("what was said"),
            "{line}"
        );
    }
    let hides = |letter: char| {
        (letter.is_control() && letter != '\n') || matches!(letter, '\u{202e}' | '\u{2028}')
    };
    assert!(!log.contains(hides), "{log:?}");
}

#[tokio::test]
async fn the_reference_that_a_user_reads_out_is_found_in_the_log() {
    let (log, _listening) = listen();
    let world = plan("GPA").gpa(refuses).start().await;
    let answer = world.ask(&[user("hi")]).await;
    let told = answer.checked.error.unwrap();
    let bad = world.post(&json!({"messages": []})).send().await.unwrap();
    let bad: Value = bad.json().await.unwrap();
    end(world).await;
    let log = log.text();
    for text in [
        &told["display_message"],
        &told["message"],
        &bad["error"]["message"],
    ] {
        let text = text.as_str().unwrap();
        let (_, rest) = text.split_once("reference ").unwrap();
        let reference = rest.get(..8).unwrap();
        assert!(
            reference.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{text}"
        );
        assert!(log.contains(reference), "{reference}: {log}");
    }
}
