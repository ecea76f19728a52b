//! Faults of how an answer is sent: silence, cuts, framing.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::exchange::Answer;
use super::said::halves;
use super::{Fault, SECRET};
use crate::wire;

/// Well within every limit, and long enough to be a wait.
const SLOW: Duration = Duration::from_millis(300);
/// Between two signs of life without progress.
const PULSE: Duration = Duration::from_millis(50);

/// Whether the connection may carry another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Stay,
    Close,
    /// Reset: what is on its way is thrown away.
    Reset,
}

/// Sends an answer as it should be sent.
pub(super) async fn properly(stream: &mut TcpStream, answer: &Answer) -> io::Result<After> {
    stream.write_all(head(answer).as_bytes()).await?;
    send(stream, answer, &answer.pieces).await?;
    finish(stream, answer).await?;
    Ok(After::Stay)
}

/// Sends an answer in the way of a fault. What this does not know is sent properly.
pub(super) async fn wrongly(
    fault: Fault,
    stream: &mut TcpStream,
    answer: &Answer,
) -> io::Result<After> {
    let (first, second) = halves(answer);
    match fault {
        Fault::Hang | Fault::StaleDead => silence(stream).await?,
        Fault::HeadHang => {
            stream.write_all(head(answer).as_bytes()).await?;
            silence(stream).await?;
        }
        Fault::HalfHang => {
            half(stream, answer, &first).await?;
            silence(stream).await?;
        }
        Fault::SlowFirstByte => {
            sleep(SLOW).await;
            return properly(stream, answer).await;
        }
        Fault::SlowSecondChunk => {
            half(stream, answer, &first).await?;
            sleep(SLOW).await;
            send(stream, answer, &second).await?;
            finish(stream, answer).await?;
            return Ok(After::Stay);
        }
        Fault::Drip => return drip(stream, answer).await,
        Fault::CutByClose => half(stream, answer, &first).await?,
        Fault::CutByReset => {
            half(stream, answer, &first).await?;
            // Otherwise the reset could overtake what was sent.
            sleep(PULSE).await;
            return Ok(After::Reset);
        }
        Fault::ResetAtOnce | Fault::StaleReset => return Ok(After::Reset),
        Fault::LengthTooLong => {
            sized(stream, answer, answer.body().len() + 1000).await?;
        }
        Fault::LengthTooShort => {
            sized(stream, answer, answer.body().len() * 2 / 3).await?;
            sleep(PULSE).await;
        }
        Fault::BadChunk => {
            let head = answer.head("transfer-encoding: chunked");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&chunk(&first.concat())).await?;
            stream.write_all(b"zz\r\n").await?;
            stream.write_all(&second.concat()).await?;
        }
        Fault::Interim | Fault::InterimEndless => {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            let hint = format!("HTTP/1.1 103 Early Hints\r\nlink: <{SECRET}>\r\n\r\n");
            stream.write_all(hint.as_bytes()).await?;
            if fault == Fault::Interim {
                return properly(stream, answer).await;
            }
            without_end(stream, &hint, PULSE).await?;
        }
        Fault::SecondAnswer => {
            properly(stream, answer).await?;
            let body = format!("{{\"choices\":[{{\"message\":{{\"content\":\"{SECRET}\"}}}}]}}");
            let answer = Answer::of(200, "application/json").saying(body);
            return properly(stream, &answer).await;
        }
        Fault::NotHttp => {
            let greeting = format!("SSH-2.0-{SECRET}\r\n");
            stream.write_all(greeting.as_bytes()).await?;
        }
        Fault::Endless => endless(stream, answer).await?,
        Fault::Trickle => {
            let head = answer.head("transfer-encoding: chunked");
            stream.write_all(head.as_bytes()).await?;
            let sign = if answer.is_stream() {
                ": here\n\n"
            } else {
                "  "
            };
            let sign = String::from_utf8_lossy(&chunk(sign.as_bytes())).into_owned();
            without_end(stream, &sign, PULSE).await?;
        }
        Fault::StaleClosed => {
            properly(stream, answer).await?;
        }
        // What is not named closes without a byte, which is a fault by itself.
        _ => {}
    }
    Ok(After::Close)
}

fn head(answer: &Answer) -> String {
    if answer.is_stream() {
        answer.head("transfer-encoding: chunked")
    } else if answer.status == 204 {
        answer.head("x-body: none")
    } else {
        answer.head(&format!("content-length: {}", answer.body().len()))
    }
}

/// These pieces of the body: one write for each, so that each can arrive alone.
async fn send(stream: &mut TcpStream, answer: &Answer, pieces: &[Bytes]) -> io::Result<()> {
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        if answer.is_stream() {
            stream.write_all(&chunk(piece)).await?;
        } else {
            stream.write_all(piece).await?;
        }
    }
    Ok(())
}

async fn half(stream: &mut TcpStream, answer: &Answer, first: &[Bytes]) -> io::Result<()> {
    stream.write_all(head(answer).as_bytes()).await?;
    send(stream, answer, first).await
}

async fn finish(stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    if answer.is_stream() {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    Ok(())
}

fn chunk(piece: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}

/// The body under a length that is not its own.
async fn sized(stream: &mut TcpStream, answer: &Answer, length: usize) -> io::Result<()> {
    let head = answer.head(&format!("content-length: {length}"));
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&answer.body()).await
}

async fn drip(stream: &mut TcpStream, answer: &Answer) -> io::Result<After> {
    let mut bytes = head(answer).into_bytes();
    for piece in &answer.pieces {
        if answer.is_stream() {
            bytes.extend(chunk(piece));
        } else {
            bytes.extend(piece);
        }
    }
    if answer.is_stream() {
        bytes.extend(b"0\r\n\r\n");
    }
    for (at, byte) in bytes.into_iter().enumerate() {
        stream.write_all(&[byte]).await?;
        // Each byte costs the other side a packet: more than it can hold would be lost, and slow for that reason.
        if at % 32 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    Ok(After::Stay)
}

/// Text of the kind that is expected, until the peer has had enough.
async fn endless(stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    let head = answer.head("transfer-encoding: chunked");
    stream.write_all(head.as_bytes()).await?;
    let text = "x".repeat(32 * 1024);
    let piece = if answer.is_stream() {
        wire::event(format!(
            "{{\"choices\":[{{\"index\":0,\"finish_reason\":null,\"delta\":{{\"content\":\"{text}\"}}}}]}}"
        ))
    } else {
        text
    };
    let piece = String::from_utf8_lossy(&chunk(piece.as_bytes())).into_owned();
    without_end(stream, &piece, Duration::from_millis(1)).await
}

/// The same again and again, until the peer leaves.
async fn without_end(stream: &mut TcpStream, piece: &str, every: Duration) -> io::Result<()> {
    loop {
        stream.write_all(piece.as_bytes()).await?;
        sleep(every).await;
    }
}

/// Says nothing until the peer leaves.
async fn silence(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
