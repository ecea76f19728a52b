//! A turn is one tree of spans in its caller's trace, its log lines name it, and nobody waits for a collector that fails.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use coordinator::settings::Env;
use coordinator::telemetry::{self, Exporter, Style};
use sandbox::stub::{Reply, Seen, Stub};
use serde_json::{Value, json};
use tracing::dispatcher::DefaultGuard;

use crate::logs::{Log, not_alone};
use crate::spans::{Spanned, decode, tree};
use crate::world::{Answer, Plan, World, delta, echoed, plan, says, user};
use crate::{collector, compose};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = PARENT.split_at(3).1.split_at(32).0;
const ABOVE: &str = PARENT.split_at(36).1.split_at(16).0;

/// A collector, and the spans of this thread. The tests run on one thread, so all of a turn is here.
struct Watch {
    collector: Stub,
    exporter: Exporter,
    _listening: DefaultGuard,
}

/// Only the log, as JSON lines.
fn listen(share: f64) -> (Log, DefaultGuard) {
    not_alone();
    let log = Log::default();
    let writer = log.clone();
    let style = Style {
        share,
        ..Style::new("coordinator=info", true)
    };
    let dispatch = telemetry::dispatch(style, None, move || writer.clone()).unwrap();
    (log, tracing::dispatcher::set_default(&dispatch))
}

impl Watch {
    async fn start<const N: usize>(settings: [(&str, &str); N]) -> Self {
        Self::with(|_| Reply::json(200, json!({})), settings).await
    }

    async fn with<const N: usize>(
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
        settings: [(&str, &str); N],
    ) -> Self {
        not_alone();
        let collector = Stub::start(answer).await.unwrap();
        let mut env = Env::from(settings);
        env.or("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url());
        env.or("OTEL_EXPORTER_OTLP_TIMEOUT", "20000");
        env.or("DIAL_URL", "http://127.0.0.1:9");
        let settings = compose::settings(env).await.unwrap();
        let exporter = collector::exporter(&settings).unwrap().unwrap();
        let style = Style::new("info", true);
        let dispatch = telemetry::dispatch(style, Some(&exporter), io::sink).unwrap();
        Self {
            collector,
            exporter,
            _listening: tracing::dispatcher::set_default(&dispatch),
        }
    }

    /// What the collector has of the turns so far, which must be over.
    async fn spans(&self, world: World) -> Vec<Spanned> {
        while world.running() > 0 {
            tokio::task::yield_now().await;
        }
        self.flush().await;
        decode(&self.collector.seen())
    }

    async fn flush(&self) {
        let exporter = self.exporter.clone();
        let flushed = tokio::task::spawn_blocking(move || exporter.flush());
        flushed.await.unwrap();
    }
}

/// A turn with these headers.
async fn ask(world: &World, messages: &[Value], headers: &[(&str, &str)]) -> Answer {
    let mut request = world.post(&json!({"messages": messages, "stream": true}));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    World::answer(request).await
}

fn named<'a>(spans: &'a [Spanned], name: &str, which: &str) -> &'a Spanned {
    let found = spans.iter().find(|span| {
        span.name == name && (which.is_empty() || span.attributes.values().any(|v| v == which))
    });
    found.unwrap_or_else(|| panic!("no {name} {which} in {spans:#?}"))
}

fn parent_of(seen: &Seen) -> &str {
    let parent = seen.header("traceparent").unwrap();
    assert_eq!(parent.get(..36).unwrap(), format!("00-{TRACE}-"));
    assert_eq!(seen.header("x-trace-id"), Some(TRACE));
    assert_eq!(seen.header("tracestate"), Some("a=b"));
    parent.get(36..52).unwrap()
}

#[tokio::test]
async fn the_spans_of_a_turn_are_one_tree_in_the_callers_trace() {
    let watch = Watch::start([("OTEL_SERVICE_NAME", "mine")]).await;
    let world = plan("GPA").gpa(|_| says("MARK-SAID")).start().await;
    let first = ask(&world, &[user("MARK-ASKED")], &[]).await;
    let messages = [user("MARK-ASKED"), echoed(&first), user("MARK-AGAIN")];
    let context = [("traceparent", PARENT), ("tracestate", "a=b")];
    ask(&world, &messages, &context).await;
    let (models, agent) = (world.model.seen(), world.gpa.seen());
    let mut spans = watch.spans(world).await;
    let text = format!("{spans:?}");
    assert!(
        !text.contains("MARK") && !text.contains("127.0.0.1"),
        "{text}"
    );
    assert!(!text.contains("key-1"), "{text}");
    spans.retain(|span| span.trace == TRACE);
    // Which of the two ends first at the beginning and at the end of a turn is a matter of luck.
    let mut lines = tree(&spans);
    lines[1..].sort();
    assert_eq!(
        lines,
        [
            "turn",
            "    rung about",
            "    rung explicit",
            "    rung model",
            "    rung preference",
            "    rung rule",
            "    rung sticky",
            "    store enter",
            "    store load",
            "  agent GPA",
            "  route",
            "  store save",
            "  synthesis",
        ]
    );
    let turn = named(&spans, "turn", "");
    assert_eq!(turn.parent, ABOVE);
    for (name, value) in [
        ("turn.outcome", "Answered"),
        ("route.agent", "GPA"),
        ("route.source", "model"),
        ("service.name", "mine"),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(turn.attributes[name], value, "{turn:?}");
    }
    // Whoever is called is below the step that calls.
    assert_eq!(parent_of(&models[2]), named(&spans, "rung", "model").id);
    assert_eq!(parent_of(&agent[1]), named(&spans, "agent", "GPA").id);
    assert_eq!(parent_of(&models[3]), named(&spans, "synthesis", "").id);
}

#[tokio::test]
async fn what_fails_is_a_failed_span() {
    let watch = Watch::start([]).await;
    let breaks = |_: &Seen| Reply::json(400, json!({"error": {"message": "MARK", "code": "MARK"}}));
    let world = plan("GPA").model(breaks).gpa(breaks).start().await;
    ask(&world, &[user("hi")], &[]).await;
    let refused = world.post(&json!({"messages": []})).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let id = refused.headers()["x-trace-id"].to_str().unwrap().to_owned();
    let spans = watch.spans(world).await;
    assert!(!format!("{spans:?}").contains("MARK"), "{spans:?}");
    let (refused, turn): (Vec<_>, Vec<_>) = spans.into_iter().partition(|span| span.trace == id);
    let lines = tree(&turn);
    for line in ["turn failed", "    rung model failed", "  agent GPA failed"] {
        assert!(lines.iter().any(|known| known == line), "{line}: {lines:?}");
    }
    let turn = named(&turn, "turn", "");
    assert_eq!(turn.attributes["error.type"], "agent_unavailable");
    assert_eq!(tree(&refused), ["turn failed"]);
    assert_eq!(refused[0].attributes["error.type"], "invalid_request");
}

#[tokio::test]
async fn a_trace_that_is_only_named_begins_here_under_its_name() {
    let watch = Watch::start([]).await;
    let world = plan("GPA").start().await;
    ask(&world, &[user("hi")], &[("X-Trace-ID", TRACE)]).await;
    let spans = watch.spans(world).await;
    assert_eq!(tree(&spans)[0], "turn");
    let turn = named(&spans, "turn", "");
    assert_eq!((&*turn.trace, &*turn.parent), (TRACE, ""));
}

#[tokio::test]
async fn a_trace_that_is_not_recorded_is_passed_on_and_not_exported() {
    let unrecorded = PARENT.replace("-01", "-00");
    let (given, none) = ([("traceparent", unrecorded.as_str())], []);
    for (share, context) in [("1", &given[..]), ("0", &none[..])] {
        let watch = Watch::start([("OTEL_TRACES_SAMPLER_ARG", share)]).await;
        let world = plan("GPA").start().await;
        ask(&world, &[user("hi")], context).await;
        let agent = world.gpa.seen();
        assert_eq!(watch.spans(world).await, Vec::new());
        let parent = agent[0].header("traceparent").unwrap();
        assert!(parent.ends_with("-00"), "{parent}");
        assert_eq!(context.is_empty(), !parent.contains(TRACE));
    }
}

#[tokio::test]
async fn a_collector_that_fails_is_asked_once() {
    let slow = Duration::from_secs(60);
    for answer in [
        Reply::json(503, json!({})),
        Reply::raw(200, "text/plain", "").delay(slow),
    ] {
        let answer = Mutex::new(Some(answer));
        // A second batch would be one too many.
        let answer = move |_: &Seen| answer.lock().unwrap().take().unwrap();
        let watch = Watch::with(answer, [("OTEL_EXPORTER_OTLP_TIMEOUT", "300")]).await;
        let world = plan("GPA").start().await;
        for _ in 0..3 {
            assert_eq!(ask(&world, &[user("hi")], &[]).await.checked.error, None);
            watch.flush().await;
        }
        assert_eq!(watch.collector.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_trace_is_known_by_the_same_id_everywhere_though_nothing_is_exported() {
    let world = plan("GPA").start().await;
    for (given, expected) in [
        (vec![("traceparent", PARENT)], Some(PARENT)),
        (
            vec![
                ("traceparent", PARENT),
                ("x-trace-id", "00000000000000000000000000000001"),
            ],
            Some(PARENT),
        ),
        (vec![("x-trace-id", TRACE)], None),
        (
            vec![
                ("x-trace-id", TRACE),
                ("traceparent", "00-MARK-01"),
                ("tracestate", "a=b"),
            ],
            None,
        ),
    ] {
        let mut request = world.post(&json!({"messages": [user("hi")], "stream": true}));
        for (name, value) in given {
            request = request.header(name, value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["x-trace-id"], TRACE);
        response.bytes().await.unwrap();
        for seen in [world.model.seen(), world.gpa.seen()] {
            let seen = seen.last().unwrap();
            let parent = seen.header("traceparent").unwrap();
            assert_eq!(parent.split('-').nth(1), Some(TRACE));
            assert!(
                expected.is_none_or(|expected| expected == parent),
                "{parent}"
            );
            assert_eq!(seen.header("x-trace-id"), Some(TRACE));
            assert_eq!(seen.header("tracestate"), None);
        }
    }
    let refused = world.post(&json!({})).header("x-trace-id", "x").send();
    let refused = refused.await.unwrap();
    assert_eq!(refused.headers()["x-trace-id"].len(), 32);
}

#[tokio::test]
async fn dial_core_is_asked_about_a_caller_within_the_callers_trace() {
    let core = |seen: &Seen| match seen.path.starts_with("/v1/bucket") {
        true => Reply::json(200, json!({"appdata": "alice/appdata/mas-coordinator"})),
        false => crate::world::model(seen, "GPA"),
    };
    let world = plan("GPA")
        .model(core)
        .set("DIAL_URL", "{model}")
        .start()
        .await;
    ask(&world, &[user("hi")], &[("x-trace-id", TRACE)]).await;
    let seen = world.model.seen();
    assert!(seen.iter().any(|seen| seen.path == "/v1/bucket"));
    for seen in seen {
        assert_eq!(seen.header("x-trace-id"), Some(TRACE), "{}", seen.path);
    }
}

fn breaks(_: &Seen) -> Reply {
    let data = delta(json!({"content": "half"}));
    Reply::sse().data(data).cut()
}

/// A turn that goes well, one whose synthesis fails, and one that fails: each with one last line.
fn turns() -> [(Plan, usize); 3] {
    let mute = |seen: &Seen| match seen.json()["response_format"].is_object() {
        true => crate::world::model(seen, "GPA"),
        false => Reply::json(500, json!({})),
    };
    [
        (plan("GPA"), 0),
        (plan("GPA").model(mute), 1),
        (plan("GPA").gpa(breaks), 1),
    ]
}

#[tokio::test]
async fn every_line_of_a_turn_names_the_turn_and_its_trace() {
    let (log, _listening) = listen(1.0);
    for (plan, _) in turns() {
        let world = plan.start().await;
        ask(&world, &[user("hi")], &[("traceparent", PARENT)]).await;
        world
            .post(&json!({}))
            .header("x-trace-id", TRACE)
            .send()
            .await
            .unwrap();
        while world.running() > 0 {
            tokio::task::yield_now().await;
        }
    }
    let lines = log.lines();
    assert!(lines.len() >= 8, "{lines:#?}");
    for line in &lines {
        assert_eq!(line["trace.id"], TRACE, "{line:#}");
        assert_eq!(line["turn.id"].as_str().map(str::len), Some(36), "{line:#}");
    }
    let ended = lines.iter().filter(|line| line["message"] == "turn ended");
    assert_eq!(ended.count(), 3);
}

#[tokio::test]
async fn of_turns_that_go_well_only_a_share_is_written_down() {
    for (share, all) in [(0.0, false), (1.0, true)] {
        for (plan, kept) in turns() {
            let (log, _listening) = listen(share);
            let world = plan.start().await;
            ask(&world, &[user("hi")], &[]).await;
            let refused = world.post(&json!({})).send().await.unwrap();
            assert_eq!(refused.status(), 400);
            while world.running() > 0 {
                tokio::task::yield_now().await;
            }
            let lines = log.lines();
            let count = |message| {
                lines
                    .iter()
                    .filter(|line| line["message"] == message)
                    .count()
            };
            assert_eq!(
                count("turn ended"),
                if all { 1 } else { kept },
                "{lines:#?}"
            );
            assert_eq!(count("refused"), 1, "{lines:#?}");
            let warnings = lines.iter().filter(|line| line["level"] == "WARN").count();
            assert_eq!(warnings, kept, "{lines:#?}");
        }
    }
}
