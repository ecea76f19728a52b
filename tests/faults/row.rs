//! One row of the matrix: a turn that meets a fault, and what must hold after it, whatever the fault was.

use std::time::{Duration, Instant};

use sandbox::faults::{Fault, Orders, SECRET};
use sandbox::stub::{Reply, Seen};
use serde_json::{Value, json};

use super::ends::{End, Upstream};
use crate::world::{Answer, Place, Plan, World, delta, echoed, finish, plan, routes, user};

const FINAL: &str = "Final \u{2600} answer.";
const OWN: &str = "Done \u{2600}: all good.";
/// What nobody outside may read: words of a fault, keys, addresses.
const HIDDEN: [&str; 6] = [
    SECRET,
    "gpa-key",
    "model-key",
    "key-1",
    "127.0.0.1",
    ".invalid",
];
/// No limit of a turn adds up to more, so that a turn that takes longer was not limited.
const PATIENCE: Duration = Duration::from_secs(90);

impl Upstream {
    fn place(self) -> Place {
        match self {
            Self::Routing | Self::Synthesis => Place::Model,
            Self::Dial => Place::Gpa,
            Self::Create | Self::Chat => Place::Ums,
            Self::Read | Self::Save => Place::Table,
        }
    }

    /// Whether a request is of this kind.
    fn is(self, seen: &Seen) -> bool {
        let target = || seen.header("x-amz-target").unwrap_or_default();
        let names = |key: &str| String::from_utf8_lossy(&seen.body).contains(key);
        match self {
            Self::Routing => seen.json()["response_format"].is_object(),
            Self::Synthesis => !seen.json()["response_format"].is_object(),
            Self::Dial => true,
            Self::Create => seen.path == "/conversations",
            Self::Chat => seen.path.ends_with("/chat"),
            // Breakers are read with a query, too, where more than a moment has passed since the turn before.
            Self::Read => target().ends_with(".Query") && names("CONV#"),
            // The audit log opens its lanes in transactions, too.
            Self::Save => target().ends_with(".TransactWriteItems") && names("#TURN#"),
        }
    }

    /// The agent that the turn is for. A routing that fails goes to another one.
    fn agent(self) -> &'static str {
        match self {
            Self::Routing | Self::Create | Self::Chat => "UMS",
            Self::Synthesis | Self::Dial | Self::Read | Self::Save => "GPA",
        }
    }

    /// The most calls of one turn, however they fail.
    fn calls(self, fault: Fault) -> usize {
        match self {
            Self::Routing | Self::Synthesis | Self::Dial => 3,
            // The conversation was lost, and the message provably not taken.
            Self::Chat if fault == Fault::Status404 => 2,
            Self::Create | Self::Chat => 1,
            Self::Read => 3,
            // A save that lost against another one is tried again, with what is there then.
            Self::Save => 6,
        }
    }
}

/// Healthy upstreams: the model sends a request to the agent that it names.
fn healthy() -> Plan {
    plan("GPA")
        .model(model)
        .gpa(|_| gpa())
        .ums(ums)
        .set("OPENAI_API_KEY", "model-key")
        .set("MAS_AGENT_FIRST_BYTE", "4s")
        .set("MAS_MODEL_FIRST_BYTE", "4s")
        .set("MAS_STREAM_IDLE", "4s")
}

/// Whether it takes as long as it may.
fn hangs(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Hang
            | Fault::HeadHang
            | Fault::HalfHang
            | Fault::InterimEndless
            | Fault::LengthTooLong
            | Fault::Trickle
            | Fault::StaleDead
    )
}

fn model(seen: &Seen) -> Reply {
    let request = seen.json();
    if request["response_format"].is_object() {
        let messages = request["messages"].as_array().cloned().unwrap_or_default();
        let last = messages.last().cloned().unwrap_or_default()["content"].to_string();
        let agent = if last.contains("UMS") { "UMS" } else { "GPA" };
        return routes(agent, json!("\u{2600}"));
    }
    let piece = |text: &str| json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    Reply::sse()
        .data(piece("Final \u{2600}"))
        .data(piece(" answer"))
        .data(piece("."))
        .data(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        .done()
}

fn gpa() -> Reply {
    let stage = |stage: Value| delta(json!({"custom_content": {"stages": [stage]}}));
    Reply::sse()
        .data(delta(json!({"role": "assistant"})))
        .data(stage(json!({"index": 0, "name": "Look", "status": null})))
        .data(delta(json!({"content": "Done \u{2600}: "})))
        .data(stage(json!({"index": 0, "status": "completed"})))
        .data(delta(json!({"content": "all good."})))
        .data(finish())
        .done()
}

fn ums(seen: &Seen) -> Reply {
    match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", "/conversations") => {
            Reply::json(200, json!({"id": "conv-1", "title": "MAS \u{2600}"}))
        }
        ("POST", path) if path.ends_with("/chat") => gpa(),
        _ => Reply::json(200, json!({"id": "conv-1"})),
    }
}

/// One row: what goes wrong, and how the turn must end.
pub struct Row {
    pub upstream: Upstream,
    /// Decides the address; what is done there is up to the orders.
    pub fault: Fault,
    pub orders: Orders,
    pub end: End,
    /// How often the upstream is asked, where that is part of the row.
    pub calls: Option<usize>,
}

impl Row {
    pub fn of(upstream: Upstream, fault: Fault, orders: Orders, end: End) -> Self {
        Self {
            upstream,
            fault,
            orders: orders.when(move |seen| upstream.is(seen)),
            end,
            calls: None,
        }
    }

    /// Three turns through one coordinator: a healthy one, one that meets the fault, and a healthy one.
    pub async fn run(self) {
        let Self {
            upstream, fault, ..
        } = self;
        let table = matches!(upstream, Upstream::Read | Upstream::Save);
        // What is alive without progress is ended by the turn's own limit, which need not take long. The table has limits of
        // its own.
        let limit = match fault {
            Fault::Trickle if upstream != Upstream::Routing && !table => "8s",
            // Megabytes are read, or a packet for each byte, which takes a slow machine its time.
            Fault::Endless | Fault::Drip => "60s",
            _ => "20s",
        };
        // A table that hangs is given up soon. Elsewhere a busy machine has its time, for all that goes well beside a fault.
        let (store, save) = match fault {
            _ if table && hangs(fault) => ("2s", "8s"),
            Fault::Drip => ("20s", "20s"),
            _ => ("5s", "10s"),
        };
        // Old connections to the table are not used: the pool is dropped after a gap, and here every gap is one.
        let stale = matches!(
            fault,
            Fault::StaleClosed | Fault::StaleReset | Fault::StaleDead
        );
        let idle = if table && stale { "1ms" } else { "4s" };
        let world = healthy()
            .set("MAS_POOL_IDLE", idle)
            .set("MAS_STORE_TIMEOUT", store)
            .set("MAS_SAVE_TIMEOUT", save)
            .set("MAS_TURN_TIMEOUT", limit)
            .faulty(upstream.place(), fault)
            .start()
            .await;
        let question = user(&format!("Ask {} \u{2600}", upstream.agent()));
        // Where the fault lies in the address, nothing goes well before it.
        let earlier = if fault.heals() {
            let first = world.ask(std::slice::from_ref(&question)).await;
            assert_eq!(End::of(&first), End::Answered, "before the fault");
            echoed(&first)
        } else {
            json!({"role": "assistant", "content": "from elsewhere"})
        };
        let again = [question.clone(), earlier, question.clone()];
        // On the first turn of a conversation one is made, and nothing is read.
        let messages = match upstream {
            Upstream::Create | Upstream::Save => &again[..1],
            _ => &again[..],
        };

        let faulty = world.faulty.as_ref().unwrap();
        faulty.arm(self.orders).await;
        let (end, calls) = met(&world, upstream, fault, messages).await;
        assert_eq!(end, self.end, "the turn's end");
        if let Some(expected) = self.calls {
            assert_eq!(calls, expected, "calls");
        }
        // No connection that is used again carries what may change something.
        let fresh = matches!(upstream, Upstream::Create | Upstream::Chat);
        let stale = matches!(fault, Fault::StaleDead | Fault::StaleReset);
        let silent = matches!(fault, Fault::Refuse | Fault::NoDns);
        assert_eq!(
            faulty.applied() == 0,
            silent || stale && (fresh || table),
            "whether the fault was met"
        );

        faulty.heal().await.unwrap();
        let after = if fault.heals() {
            world.ask(messages).await
        } else if matches!(upstream.place(), Place::Gpa | Place::Ums) {
            let other = if upstream.agent() == "GPA" {
                "UMS"
            } else {
                "GPA"
            };
            world.ask(&[user(&format!("Ask {other}"))]).await
        } else {
            let after = world.ask(messages).await;
            assert_eq!(End::of(&after), self.end, "as long as it lasts");
            return;
        };
        assert_eq!(End::of(&after), End::Answered, "after the fault");
    }
}

/// The turn that meets a fault, what holds after each of them, and how often the upstream was asked.
async fn met(world: &World, upstream: Upstream, fault: Fault, messages: &[Value]) -> (End, usize) {
    let faulty = world.faulty.as_ref().unwrap();
    let before = faulty.seen().len();
    let begun = Instant::now();
    let answer = world.ask(messages).await;
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());

    let raw = String::from_utf8_lossy(&answer.raw);
    let shown: String = raw.chars().take(20_000).collect();
    for hidden in HIDDEN {
        assert!(!raw.contains(hidden), "{hidden} leaked: {shown}");
    }
    let seen = faulty.seen().split_off(before);
    let calls = seen.iter().filter(|seen| upstream.is(seen)).count();
    assert!(calls <= upstream.calls(fault), "{calls} calls");
    let followed = seen.iter().filter(|seen| seen.path == "/elsewhere").count();
    assert_eq!(
        (faulty.lured(), followed),
        (0, 0),
        "a redirect was followed"
    );
    while world.running() > 0 {
        assert!(
            begun.elapsed() < PATIENCE,
            "{} calls are running",
            world.running()
        );
        tokio::task::yield_now().await;
    }
    if let Upstream::Dial | Upstream::Create | Upstream::Chat = upstream
        && let Some(error) = &answer.checked.error
    {
        cut_short(&answer, upstream.agent());
        let told = error["display_message"].as_str().unwrap_or_default();
        let asked = upstream == Upstream::Chat && calls > 0;
        let advice = if asked {
            "may have done a part"
        } else {
            "Please try again."
        };
        assert!(told.contains(advice), "{told}");
    }
    (End::of(&answer), calls)
}

/// Nothing of a failed agent looks complete.
fn cut_short(answer: &Answer, agent: &str) {
    let stage = answer.stage(&format!("Call {agent} Agent"));
    assert_eq!(stage["status"], "failed");
    let content = stage["content"].as_str().unwrap_or_default();
    if content.contains("Done") || content.contains("xxx") {
        assert!(content.ends_with("_(broken off here: this is not the whole answer)_"));
    }
    assert!(
        answer.state().is_object(),
        "the state leaves before the error"
    );
    assert_eq!(answer.text(), "");
}

impl End {
    /// How a stream ended. One that is none of these is a failure by itself.
    fn of(answer: &Answer) -> Self {
        match answer.error_code() {
            "" => {}
            "agent_unavailable" => return Self::Unavailable,
            "agent_timeout" => return Self::Timeout,
            "deadline_exceeded" => return Self::Deadline,
            other => panic!("the error {other}"),
        }
        let stages = answer.stages();
        let memory = stages
            .iter()
            .find(|stage| stage["name"] == "Conversation memory")
            .map(|stage| stage["content"].as_str().unwrap_or_default());
        let routed = answer.stage("Coordination Request")["status"] == "completed";
        let text = answer.text();
        let broken = text.contains("_(the summary broke off") && text.ends_with(OWN);
        match (routed, memory, text) {
            (true, None, FINAL) => Self::Answered,
            (false, None, FINAL) => Self::ByDefault,
            (true, None, OWN) => Self::OwnText,
            (true, None, _) if broken => Self::BrokeOff,
            (false, None, OWN) => Self::NoModels,
            (true, Some(said), FINAL) if said.contains("chat client sent") => Self::Unread,
            (true, Some(said), FINAL) if said.contains("chat client alone") => Self::Unsaved,
            other => {
                let shown: String = format!("{other:?}").chars().take(2000).collect();
                panic!("an end of no kind: {shown}")
            }
        }
    }
}
