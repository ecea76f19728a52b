//! A bare HTTP client for this crate's tests, which shows answers as they are on the wire.

use std::fmt::Write;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) chunks: Vec<String>,
    /// Whether the body ended as HTTP demands.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn body(&self) -> String {
        self.chunks.concat()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body()).unwrap()
    }

    /// The JSON of every event before `[DONE]`, which must come last.
    pub(crate) fn events(&self) -> Vec<Value> {
        let body = self.body();
        let body = body.strip_suffix("data: [DONE]\n\n").expect("[DONE]");
        let events = body.split_terminator("\n\n");
        events
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    }

    /// The text that the events add up to.
    pub(crate) fn content(&self) -> String {
        let events = self.events();
        let text = events
            .iter()
            .filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str());
        text.collect()
    }
}

pub(crate) async fn get(url: &str) -> Answer {
    send("GET", url, &[], "").await
}

pub(crate) async fn post(url: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    send("POST", url, headers, &body.to_string()).await
}

pub(crate) async fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = open(method, url, headers, body).await;
    let mut answer = Vec::new();
    // a reset connection is a way to end, too
    let _ = stream.read_to_end(&mut answer).await;
    parse(&String::from_utf8(answer).unwrap())
}

/// Sends a request and leaves the answer to be read.
pub(crate) async fn open(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> TcpStream {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\n"
    );
    for (name, value) in headers {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    let _ = write!(request, "content-length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn parse(answer: &str) -> Answer {
    let (head, mut body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .map_or(0, |code| code.parse().unwrap());
    let head = head.to_lowercase();
    let mut chunks = Vec::new();
    let mut complete = true;
    if head.contains("transfer-encoding: chunked") {
        loop {
            let Some((size, rest)) = body.split_once("\r\n") else {
                complete = false;
                break;
            };
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                break;
            }
            chunks.push(rest[..size].to_owned());
            body = &rest[size + 2..];
        }
    } else {
        chunks.push(body.to_owned());
    }
    Answer {
        status,
        head,
        chunks,
        complete,
    }
}
