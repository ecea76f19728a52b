//! Faults of what is said: an answer in place of the healthy one, sent as properly as that.

use bytes::Bytes;

use super::exchange::Answer;
use super::{Fault, SECRET};
use crate::wire;

/// Longer than any reader should take in one line.
const HUGE: usize = 2 * 1024 * 1024;

/// Another answer in place of the healthy one; `None` where the fault is in how it is sent. `elsewhere` is the address
/// of a host that must never be asked anything.
pub(super) fn instead(fault: Fault, healthy: &Answer, elsewhere: &str) -> Option<Answer> {
    let healthy = healthy.clone();
    let answer = match fault {
        Fault::WrongType => healthy.with("content-type", "image/png"),
        Fault::Page => Answer::of(200, "text/html; charset=utf-8").saying(format!(
            "<!doctype html>\n<html><body><h1>Sign in</h1>{SECRET}</body></html>\n"
        )),
        Fault::Compressed => {
            let body = gzip(&healthy.body());
            healthy.with("content-encoding", "gzip").saying(body)
        }
        Fault::HugeHeader => healthy.with("x-huge", &SECRET.repeat(1024 * 1024 / SECRET.len())),
        Fault::HugeLine => with_first(
            healthy,
            format!("data: {}\n\n", SECRET.repeat(HUGE / SECRET.len())),
        ),
        Fault::Empty => healthy.saying(""),
        Fault::DoneOnly => healthy.saying(wire::DONE),
        Fault::CutInLine => cut(healthy, |body| body.len() * 2 / 3),
        Fault::CutInCharacter => cut(healthy, in_a_character),
        Fault::CutInJson => cut(healthy, in_a_string),
        Fault::ErrorFirst => only_error(healthy, SECRET_ERROR),
        Fault::ErrorOdd => only_error(healthy, &format!("[\"{SECRET}\", 5, null]")),
        Fault::ErrorMiddle => with_error(healthy, false),
        Fault::ErrorLast => with_error(healthy, true),
        Fault::Duplicate if !healthy.is_stream() => {
            let twice = healthy.body().repeat(2);
            healthy.saying(twice)
        }
        Fault::Duplicate => with_stages(healthy, &DUPLICATE),
        Fault::OutOfOrder => with_stages(healthy, &OUT_OF_ORDER),
        Fault::RedirectSame => redirect(307, "/elsewhere"),
        Fault::RedirectOther => redirect(307, &format!("{elsewhere}/elsewhere")),
        _ => return by_status(fault),
    };
    Some(answer)
}

/// Refusals, whatever was asked.
pub(super) fn by_status(fault: Fault) -> Option<Answer> {
    let refusal = |status| {
        Answer::of(status, "application/json").saying(format!(
            "{{\"error\":{SECRET_ERROR},\"detail\":\"{SECRET}\"}}"
        ))
    };
    let later = |value| refusal(503).with("retry-after", value);
    Some(match fault {
        Fault::Status204 => Answer {
            pieces: Vec::new(),
            ..refusal(204)
        },
        Fault::Status301 => redirect(301, "/elsewhere"),
        Fault::Status302 => redirect(302, "/elsewhere"),
        Fault::Status307 => redirect(307, "/elsewhere"),
        Fault::Status400 => refusal(400),
        Fault::Status401 => refusal(401).with("www-authenticate", "Bearer"),
        Fault::Status403 => refusal(403),
        Fault::Status404 => refusal(404),
        Fault::Status408 => refusal(408),
        Fault::Status409 => refusal(409),
        Fault::Status422 => refusal(422),
        Fault::Status429 => refusal(429),
        Fault::Status500 => refusal(500),
        Fault::Status502 => refusal(502),
        Fault::Status503 => refusal(503),
        Fault::Status504 => refusal(504),
        Fault::RetryAfterNumber => later("1"),
        Fault::RetryAfterDate => {
            later("Fri, 20 Nov 2026 08:00:01 GMT").with("date", "Fri, 20 Nov 2026 08:00:00 GMT")
        }
        Fault::RetryAfterNegative => later("-5"),
        Fault::RetryAfterHuge => later("86400"),
        Fault::RetryAfterAbsurd => later("999999999999999999999999"),
        Fault::RetryAfterGarbage => later("soon, \u{2600}?"),
        _ => return None,
    })
}

/// No field of it is meant for people.
const SECRET_ERROR: &str = r#"{"message":"SECRET-INTERNAL","type":"SECRET-INTERNAL","code":"500"}"#;

fn redirect(status: u16, location: &str) -> Answer {
    Answer::of(status, "text/plain")
        .with("location", location)
        .saying(SECRET)
}

fn error(object: &str) -> String {
    format!("{{\"error\":{object}}}")
}

/// An error and nothing else: one event, or a JSON object.
fn only_error(answer: Answer, object: &str) -> Answer {
    if answer.is_stream() {
        let event = wire::event(error(object));
        return answer.saying(event + wire::DONE);
    }
    answer.saying(error(object))
}

fn with_first(mut answer: Answer, piece: String) -> Answer {
    answer.pieces.insert(0, piece.into());
    answer
}

/// An error event in the middle of the events or right before the end mark; in JSON, a member before or behind all others.
fn with_error(mut answer: Answer, last: bool) -> Answer {
    if answer.is_stream() {
        let pieces = answer.pieces.len();
        let at = if last {
            pieces.saturating_sub(1)
        } else {
            pieces / 2
        };
        let event = wire::event(error(SECRET_ERROR));
        answer.pieces.insert(at, event.into());
        return answer;
    }
    let body = answer.body();
    let inner = body
        .strip_prefix(b"{")
        .and_then(|body| body.strip_suffix(b"}"))
        .unwrap_or_default();
    let error = format!("\"error\":{SECRET_ERROR}");
    let comma: &[u8] = if inner.is_empty() { b"" } else { b"," };
    let members = if last {
        [inner, comma, error.as_bytes()]
    } else {
        [error.as_bytes(), comma, inner]
    };
    answer.saying([&b"{"[..], &members.concat(), b"}"].concat())
}

/// Stages, as arrays for the deltas of events: every event is sent twice.
const DUPLICATE: [&str; 6] = [
    r#"{"index":0,"name":"Twice","status":null}"#,
    r#"{"index":0,"name":"Twice","status":null}"#,
    r#"{"index":0,"content":"once or twice","status":null}"#,
    r#"{"index":0,"content":"once or twice","status":null}"#,
    r#"{"index":0,"status":"completed"}"#,
    r#"{"index":0,"status":"completed"}"#,
];

const OUT_OF_ORDER: [&str; 8] = [
    r#"{"index":3,"status":"completed"}"#,
    r#"{"index":3,"content":"closed before it was opened","status":null}"#,
    r#"{"index":3,"name":"Late","status":null}"#,
    r#"{"index":4000000000,"name":"Far","parent_stage_index":77,"status":null}"#,
    r#"{"index":-1,"name":"Below","status":null}"#,
    r#"{"index":1,"name":"Its own parent","parent_stage_index":1,"status":null}"#,
    r#"{"index":2,"status":"failed"}"#,
    r#"{"index":2,"status":"completed"}"#,
];

fn with_stages(mut answer: Answer, stages: &[&str]) -> Answer {
    if answer.is_stream() {
        let at = answer.pieces.len().min(1);
        let events = stages.iter().map(|stage| {
            let delta = format!(
                "{{\"choices\":[{{\"index\":0,\"finish_reason\":null,\"delta\":\
                 {{\"custom_content\":{{\"stages\":[{stage}]}}}}}}]}}"
            );
            Bytes::from(wire::event(delta))
        });
        answer.pieces.splice(at..at, events);
    }
    answer
}

/// The answer up to a place of its body, ended properly there.
fn cut(mut answer: Answer, at: impl Fn(&[u8]) -> usize) -> Answer {
    let mut left = at(&answer.body());
    for piece in &mut answer.pieces {
        piece.truncate(left);
        left -= piece.len();
    }
    answer.pieces.retain(|piece| !piece.is_empty());
    answer
}

/// Behind the first byte of the first character of several bytes, or half of the body.
fn in_a_character(body: &[u8]) -> usize {
    let first = body.iter().position(|byte| *byte >= 0x80);
    first.map_or(body.len() / 2, |first| first + 1)
}

/// Within the last string that is a value, or half of the body.
fn in_a_string(body: &[u8]) -> usize {
    let mut values =
        (0..body.len()).filter(|at| body.get(*at..).is_some_and(|rest| rest.starts_with(b":\"")));
    values.next_back().map_or(body.len() / 2, |at| at + 3)
}

/// Valid gzip, by blocks that store what they hold.
fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = plain.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    out.extend(crc32(plain).to_le_bytes());
    out.extend(u32::try_from(plain.len()).unwrap_or(u32::MAX).to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

/// Where a body is cut in two: between events, or in the middle.
pub(super) fn halves(answer: &Answer) -> (Vec<Bytes>, Vec<Bytes>) {
    let mut first = answer.pieces.clone();
    if first.len() > 1 {
        let second = first.split_off(first.len() / 2);
        return (first, second);
    }
    let mut whole = first.pop().unwrap_or_default();
    let head = whole.split_to(whole.len() / 2);
    (vec![head], vec![whole])
}
