//! What every turn runs through, measured piece by piece: `cargo bench -p coordinator`.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that goes wrong should stop right there"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use coordinator::dial::delta::Chunk;
use coordinator::dial::fold::fold;
use coordinator::dial::request::ChatRequest;
use coordinator::dial::sse::Decoder;
use coordinator::domain::conversation::{Envelope, Exchange};
use coordinator::domain::event::{AgentEvent, StageStatus};
use coordinator::domain::ids::{AgentId, ConversationId, Owner, TurnId};
use coordinator::domain::message::OpaqueState;
use coordinator::domain::rules::Caps;
use coordinator::domain::usage::Tally;
use coordinator::store::envelope::Seal;
use coordinator::store::keyring::fresh_key;
use coordinator::stream::{AnswerSink, FinishReason, Mirror, Nesting};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use serde_json::{Value, json};

/// A real answer of the general-purpose agent, head included.
const CAPTURE: &str = include_str!("../../tests/samples/gpa/tools.stream.http");
const ASCII: &str = "A weather report, word by word: ";
const CYRILLIC: &str = "Прогноз погоди, слово за словом: ";
/// A piece that every measured stream fits into, in bytes.
const WHOLE: usize = 65_536;
/// Pieces of text in one measured answer.
const PIECES: usize = 20;

fn main() {
    divan::main();
}

/// One question, nothing before it.
#[divan::bench]
fn request_small(bencher: Bencher) {
    request(
        bencher,
        &json!({"stream": true, "messages": [{"role": "user", "content": "What is the weather in Kyiv?"}]}),
    );
}

/// The fortieth message of a conversation: sealed states of 2 KB behind it, an attachment here and there.
#[divan::bench]
fn request_of_40_messages(bencher: Bencher) {
    let seal = seal();
    let messages: Vec<Value> = (0..39)
        .map(|at| {
            let message = json!({
                "role": if at % 2 == 0 { "user" } else { "assistant" },
                "content": if at % 2 == 0 { CYRILLIC.repeat(4) } else { ASCII.repeat(30) },
            });
            let file = json!({"type": "image/png", "title": "cat.png", "url": format!("files/bucket/{at}/cat.png")});
            let custom = if at % 2 == 0 {
                json!({"attachments": if at % 8 == 0 { vec![file] } else { vec![] }})
            } else {
                json!({"attachments": [file], "state": seal.seal(&owner(), envelope(2048))})
            };
            with(message, "custom_content", custom)
        })
        .collect();
    request(
        bencher,
        &json!({"stream": true, "model": "mas-coordinator", "messages": messages}),
    );
}

fn request(bencher: Bencher, request: &Value) {
    let body = request.to_string();
    bencher
        .counter(BytesCount::of_str(&body))
        .bench(|| ChatRequest::read(black_box(body.as_bytes()), 2000).unwrap());
}

/// Bytes into events' data, in one piece and in pieces that fit no event.
#[divan::bench(args = [WHOLE, 64])]
fn sse_read(bencher: Bencher, piece: usize) {
    let stream = agent_stream();
    bencher
        .counter(BytesCount::of_str(&stream))
        .counter(ItemsCount::new(data(&stream, piece).len()))
        .bench(|| data(black_box(&stream), piece));
}

/// Bytes into what the agent says.
#[divan::bench(args = [WHOLE, 64])]
fn sse_read_as_agent_events(bencher: Bencher, piece: usize) {
    let stream = agent_stream();
    bencher
        .counter(BytesCount::of_str(&stream))
        .counter(ItemsCount::new(data(&stream, piece).len()))
        .bench(|| events(black_box(&stream), piece));
}

#[divan::bench]
fn sse_read_of_the_capture(bencher: Bencher) {
    let (_, body) = CAPTURE.split_once("\r\n\r\n").unwrap();
    bencher
        .counter(BytesCount::of_str(body))
        .counter(ItemsCount::new(data(body, WHOLE).len()))
        .bench(|| events(black_box(body), WHOLE));
}

/// Text into chunks, one each.
#[divan::bench(args = ["ascii", "cyrillic"])]
fn chunk_write(bencher: Bencher, script: &str) {
    let piece = if script == "ascii" { ASCII } else { CYRILLIC };
    bencher
        .counter(BytesCount::new(piece.len() * PIECES))
        .counter(ItemsCount::new(PIECES))
        .bench(|| {
            let sink = AnswerSink::new("turn", 1_700_000_000, "mas-coordinator");
            for _ in 0..PIECES {
                sink.text(black_box(piece));
            }
            sink.take()
        });
}

/// An agent's stages into ours.
#[divan::bench(args = [Nesting::Nested, Nesting::Flat])]
fn stage_mirror(bencher: Bencher, nesting: Nesting) {
    let events: Vec<AgentEvent> = events(&agent_stream(), WHOLE)
        .into_iter()
        .filter(|event| matches!(event, AgentEvent::Stage { .. }))
        .collect();
    bencher
        .counter(ItemsCount::new(events.len()))
        .bench(|| mirrored(black_box(&events), nesting));
}

/// A block answer out of a stream of ours.
#[divan::bench]
fn block_fold(bencher: Bencher) {
    let sink = AnswerSink::new("turn", 1_700_000_000, "mas-coordinator");
    sink.begin();
    let mut stream = sink.take().to_vec();
    stream.extend_from_slice(&mirrored(&events(&agent_stream(), WHOLE), Nesting::Nested));
    for _ in 0..PIECES {
        sink.text(ASCII);
    }
    sink.finish(FinishReason::Stop, &Tally::default());
    stream.extend_from_slice(&sink.take());
    bencher
        .counter(BytesCount::of_slice(&stream))
        .bench(|| fold(black_box(&stream)));
}

/// The client's half of the memory, signed; the argument is the agent's own state in bytes.
#[divan::bench(args = [2048, 10_240])]
fn state_seal(bencher: Bencher, size: usize) {
    let (seal, owner, envelope) = (seal(), owner(), envelope(size));
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| envelope.clone())
        .bench_values(|envelope| {
            serde_json::value::to_raw_value(&seal.seal(&owner, envelope)).unwrap()
        });
}

/// The same, verified and read.
#[divan::bench(args = [2048, 10_240])]
fn state_open(bencher: Bencher, size: usize) {
    let (seal, owner) = (seal(), owner());
    let sealed = serde_json::value::to_raw_value(&seal.seal(&owner, envelope(size))).unwrap();
    let state = OpaqueState::new(&sealed);
    bencher
        .counter(BytesCount::new(size))
        .bench(|| seal.open(&owner, black_box(state.as_ref())));
}

fn data(stream: &str, piece: usize) -> Vec<Bytes> {
    let mut decoder = Decoder::default();
    let mut found = Vec::with_capacity(64);
    for piece in stream.as_bytes().chunks(piece) {
        decoder.push(piece);
        while let Some(data) = decoder.next_event().unwrap() {
            found.push(data);
        }
    }
    found
}

fn events(stream: &str, piece: usize) -> Vec<AgentEvent> {
    let mut events = Vec::with_capacity(64);
    for data in data(stream, piece) {
        if *data != *b"[DONE]" {
            let chunk = Chunk::read(std::str::from_utf8(&data).unwrap()).unwrap();
            chunk.into_events(|event| events.push(event));
        }
    }
    events
}

fn mirrored(events: &[AgentEvent], nesting: Nesting) -> Bytes {
    let sink = AnswerSink::new("turn", 1_700_000_000, "mas-coordinator");
    let stage = sink.open_stage(Some("Call GPA Agent"), None);
    let mut mirror = Mirror::new(
        &sink,
        &AgentId::new("GPA"),
        &stage,
        nesting,
        Caps::default(),
    );
    for event in events {
        match event {
            AgentEvent::Stage { index, change } => mirror.apply(*index, change),
            AgentEvent::Text(text) => stage.text(text),
            _ => {}
        }
    }
    mirror.close(StageStatus::Completed);
    stage.close(StageStatus::Completed);
    sink.take()
}

/// An answer such as the general-purpose agent's: two tools at work, about forty pieces of text, a state of 2 KB.
fn agent_stream() -> String {
    let mut deltas = vec![json!({"role": "assistant"})];
    for (index, name) in ["execute_code", "web_search"].iter().enumerate() {
        let stage =
            |change| json!({"custom_content": {"stages": [with(change, "index", index.into())]}});
        deltas.push(stage(json!({"name": name, "status": null})));
        for content in [
            "## Request arguments: \n",
            "```python\nprint(1)\n```\n",
            "## Response: \n",
            CYRILLIC,
        ] {
            deltas.push(stage(json!({"content": content, "status": null})));
        }
        let file = json!({"index": 0, "type": "text/csv", "title": "out.csv", "url": "files/bucket/out.csv"});
        deltas.push(stage(json!({"attachments": [file], "status": null})));
        deltas.push(stage(json!({"status": "completed"})));
    }
    deltas.extend((0..40).map(|at| json!({"content": if at % 2 == 0 { ASCII } else { CYRILLIC }})));
    deltas.push(json!({"custom_content": {"state": state(2048)}}));
    let mut stream = String::new();
    for delta in deltas {
        let choice = json!({"index": 0, "finish_reason": null, "delta": delta});
        let chunk = json!({"choices": [choice], "usage": null, "id": "gpa-1", "created": 1_700_000_000,
            "object": "chat.completion.chunk"});
        let _ = write!(stream, "data: {chunk}\n\n");
    }
    stream + "data: [DONE]\n\n"
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object.as_object_mut().unwrap().insert(key.into(), value);
    object
}

/// An agent's state of about this many bytes.
fn state(size: usize) -> Value {
    json!({"tool_call_history": [{"role": "tool", "content": "x".repeat(size)}]})
}

fn envelope(size: usize) -> Envelope {
    let state = serde_json::value::to_raw_value(&state(size)).unwrap();
    Envelope {
        conversation: ConversationId::new("0123456789abcdef0123456789abcdef"),
        turn: TurnId::now(),
        sessions: BTreeMap::from([(AgentId::new("UMS"), "5f0c7a52".to_owned())]),
        exchanges: vec![Exchange {
            agent: AgentId::new("GPA"),
            request: "What is the weather in Kyiv?".into(),
            instructions: None,
            request_attachments: Vec::new(),
            answer: ASCII.repeat(10),
            attachments: Vec::new(),
            state: OpaqueState::new(&state),
        }],
        last: None,
        stored: false,
    }
}

fn seal() -> Seal {
    Seal::parse(&fresh_key("bench").unwrap()).unwrap()
}

fn owner() -> Owner {
    Owner::new("acme", "user-1")
}
