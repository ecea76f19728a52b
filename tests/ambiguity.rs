//! Requests that two readers of HTTP could understand in two ways: refused, or one request and the end of the connection.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::{World, plan};

const BODY: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
/// What would be a request of its own if somebody took it for one; it also ends a connection that is still open.
const HIDDEN: &str = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// The statuses of all answers to these bytes, until the server ends the connection.
async fn answers(world: &World, sent: &str) -> Vec<u16> {
    exchange(world, sent, false).await
}

/// With `ends` the client says that nothing follows.
async fn exchange(world: &World, sent: &str, ends: bool) -> Vec<u16> {
    let address = world.url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    // The server may have refused and left before everything is written.
    let _ = socket.write_all(sent.as_bytes()).await;
    if ends {
        let _ = socket.shutdown().await;
    }
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await;
    let read = read.unwrap_or_else(|_| panic!("the connection stays open after {sent:?}"));
    // A reset after the answer is an end as well.
    drop(read);
    let answer = String::from_utf8_lossy(&answer);
    let statuses = answer.split("HTTP/1.1 ").skip(1);
    statuses
        .map(|rest| rest.get(..3).unwrap().parse().unwrap())
        .collect()
}

/// A chat request with these lines in its head, and this after it.
fn chat(lines: &str, rest: &str) -> String {
    format!(
        "POST /openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{lines}\r\n{rest}"
    )
}

fn chunked(pieces: &[&str]) -> String {
    let chunk = |piece: &&str| format!("{:x}\r\n{piece}\r\n", piece.len());
    pieces.iter().map(chunk).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_plainly_two_requests_is_two() {
    let world = plan("GPA").start().await;
    let length = format!("Content-Length: {}\r\n", BODY.len());
    let measured = chat(&length, &format!("{BODY}{HIDDEN}"));
    assert_eq!(answers(&world, &measured).await, [200, 200]);
    let end = "0\r\n\r\n";
    let pieces = format!("{}{end}{HIDDEN}", chunked(&[&BODY[..9], &BODY[9..]]));
    let pieces = chat("Transfer-Encoding: chunked\r\n", &pieces);
    assert_eq!(answers(&world, &pieces).await, [200, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_request_is_never_two() {
    let world = plan("GPA").start().await;
    let long = BODY.len() + HIDDEN.len();
    let length = |value: &str| format!("Content-Length: {value}\r\n");
    let whole = length(&BODY.len().to_string());
    let pieces = format!("{}0\r\n\r\n{HIDDEN}", chunked(&[BODY]));
    let plain = format!("{BODY}{HIDDEN}");
    let coded = |value: &str| chat(&format!("Transfer-Encoding:{value}\r\n"), &pieces);
    let bad_chunk = |size: &str| {
        let rest = format!("{}{size}\r\n{HIDDEN}\r\n0\r\n\r\n", chunked(&[BODY]));
        chat("Transfer-Encoding: chunked\r\n", &rest)
    };
    for (name, sent) in [
        (
            "two lengths",
            chat(&format!("{whole}{}", length("5")), &plain),
        ),
        (
            "two lengths, the shorter first",
            chat(
                &format!("{}{}", length("5"), length(&long.to_string())),
                &plain,
            ),
        ),
        (
            "two lengths in one line",
            chat(&length(&format!("{}, {long}", BODY.len())), &plain),
        ),
        ("a negative length", chat(&length("-1"), &plain)),
        (
            "a signed length",
            chat(&length(&format!("+{}", BODY.len())), &plain),
        ),
        ("a length in hexadecimal", chat(&length("0x2d"), &plain)),
        (
            "a length without end",
            chat(&length("99999999999999999999999"), &plain),
        ),
        ("an empty length", chat(&length(""), &plain)),
        (
            "length and chunked",
            chat(&format!("{whole}Transfer-Encoding: chunked\r\n"), &pieces),
        ),
        (
            "chunked and length",
            chat(&format!("Transfer-Encoding: chunked\r\n{whole}"), &pieces),
        ),
        (
            "chunked and no length at all",
            chat(
                &format!("Transfer-Encoding: chunked\r\n{}", length("0")),
                &pieces,
            ),
        ),
        ("another coding", coded(" gzip")),
        ("chunked, but not last", coded(" chunked, identity")),
        ("almost chunked", coded(" xchunked")),
        ("chunked in quotes", coded(" \"chunked\"")),
        ("chunked after a strange blank", coded(" \u{b}chunked")),
        (
            "a space before the colon",
            chat("Transfer-Encoding : chunked\r\n", &pieces),
        ),
        (
            "a space before the colon of a length",
            chat(&format!("Content-Length : {}\r\n", BODY.len()), &plain),
        ),
        (
            "a tab before the colon",
            chat("Transfer-Encoding\t: chunked\r\n", &pieces),
        ),
        (
            "a folded header",
            chat("Transfer-Encoding:\r\n chunked\r\n", &pieces),
        ),
        (
            "a folded header of no importance",
            chat(&format!("{whole}X-A: b\r\n c\r\n"), &plain),
        ),
        (
            "a line that begins with a space",
            chat(&format!(" X-A: b\r\n{whole}"), &plain),
        ),
        (
            "a line without a colon",
            chat(&format!("{whole}X-A\r\n"), &plain),
        ),
        (
            "a nul within a header",
            chat(&format!("{whole}X-A: b\0c\r\n"), &plain),
        ),
        (
            "a lone carriage return",
            chat(&format!("{whole}X-A: b\rX-B: c\r\n"), &plain),
        ),
        ("a chunk size of no digits", bad_chunk("zz")),
        ("a negative chunk size", bad_chunk("-5")),
        ("a chunk size in C", bad_chunk("0x10")),
        ("a chunk size without end", bad_chunk("fffffffffffffffff")),
        ("an empty chunk size", bad_chunk("")),
        (
            "a chunk that is longer than it says",
            chat(
                "Transfer-Encoding: chunked\r\n",
                &format!("5\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}"),
            ),
        ),
        (
            "an old request that is chunked",
            coded(" chunked").replacen("HTTP/1.1", "HTTP/1.0", 1),
        ),
        (
            "a version of the future",
            coded(" chunked").replacen("HTTP/1.1", "HTTP/1.2", 1),
        ),
        (
            "a request line with a tab",
            coded(" chunked").replacen("POST ", "POST\t", 1),
        ),
    ] {
        let statuses = answers(&world, &sent).await;
        // One answer and no more; a chunked body beside a length is read as chunks, and the connection ends.
        let both = name.starts_with("length and") || name.starts_with("chunked and");
        let fine = matches!(statuses[..], [400]) || both && matches!(statuses[..], [200]);
        assert!(fine, "{name}: {statuses:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_no_request_even_if_it_could_be_read() {
    let world = plan("UMS").start().await;
    for sent in [
        chat(
            "Transfer-Encoding: chunked\r\n",
            &format!("{}zz\r\n", chunked(&[BODY])),
        ),
        chat(
            "Transfer-Encoding: chunked\r\n",
            &format!("{}5\r\nabcdefgh\r\n", chunked(&[BODY])),
        ),
    ] {
        assert_eq!(answers(&world, &sent).await, [400], "{sent}");
    }
    let longer = format!("Content-Length: {}\r\n", BODY.len() + 1);
    for sent in [
        chat(&longer, BODY),
        chat("Transfer-Encoding: chunked\r\n", &chunked(&[BODY])),
    ] {
        let statuses = exchange(&world, &sent, true).await;
        assert!(matches!(statuses[..], [] | [400]), "{statuses:?}: {sent}");
    }
    let asked = world.model.seen().len() + world.ums.seen().len();
    assert_eq!(asked, 0, "nothing was done");
}
