//! One request and its healthy answer, as plain values: read off a connection, asked of the server behind.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stub::Seen;

/// Headers that belong to one connection; they are made anew for the next.
const HOP: [&str; 4] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "keep-alive",
];

/// An answer that can be altered before it is sent.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// The body; of an event stream one piece for each event.
    pub pieces: Vec<Bytes>,
}

impl Answer {
    pub fn of(status: u16, content_type: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            pieces: Vec::new(),
        }
    }

    /// Sets a header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts another body in place, in one piece.
    pub fn saying(mut self, body: impl Into<Bytes>) -> Self {
        self.pieces = vec![body.into()];
        self
    }

    pub fn body(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    pub fn is_stream(&self) -> bool {
        self.headers
            .iter()
            .any(|(name, value)| name == "content-type" && value.starts_with("text/event-stream"))
    }

    /// Status line and headers, with these about the framing, and the empty line.
    pub fn head(&self, framing: &str) -> String {
        let mut head = format!("HTTP/1.1 {} Faulty\r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str(framing);
        head.push_str("\r\n\r\n");
        head
    }
}

/// The next request of a connection; `None` when the peer has left.
pub(super) async fn request(stream: &mut TcpStream) -> Option<Seen> {
    let mut read = BytesMut::new();
    let head = loop {
        if let Some(head) = head(&mut read) {
            break head;
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let (first, headers) = parsed(&head);
    let length = header(&headers, "content-length").and_then(|value| value.parse().ok());
    let length: usize = length.unwrap_or_default();
    while read.len() < length {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    let mut words = first.split(' ').map(str::to_owned);
    Some(Seen {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        headers,
        body: read.split_to(length).freeze(),
    })
}

/// What the server behind answers.
pub(super) async fn ask(origin: SocketAddr, request: &Seen) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(origin).await?;
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        if !HOP.contains(&name.as_str()) {
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    let length = request.body.len();
    let _ = write!(
        head,
        "content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&request.body).await?;
    let mut read = BytesMut::new();
    while stream.read_buf(&mut read).await? > 0 {}
    answer(read).ok_or_else(|| io::Error::other("the server behind gave no readable answer"))
}

fn answer(mut read: BytesMut) -> Option<Answer> {
    let (first, headers) = parsed(&head(&mut read)?);
    let mut body = read.freeze();
    if header(&headers, "transfer-encoding").is_some_and(|value| value == "chunked") {
        body = unchunked(body)?;
    }
    let mut answer = Answer {
        status: first.split(' ').nth(1)?.parse().ok()?,
        headers: headers
            .into_iter()
            .filter(|(name, _)| !HOP.contains(&name.as_str()))
            .collect(),
        pieces: Vec::new(),
    };
    if answer.is_stream() {
        while let Some(end) = find(&body, b"\n\n") {
            answer.pieces.push(body.split_to(end + 2));
        }
    }
    if !body.is_empty() {
        answer.pieces.push(body);
    }
    Some(answer)
}

fn unchunked(mut body: Bytes) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    loop {
        let line = body.split_to(find(&body, b"\r\n")? + 2);
        let size = std::str::from_utf8(&line).ok()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(whole.freeze());
        }
        if body.len() < size + 2 {
            return None;
        }
        whole.extend_from_slice(&body.split_to(size));
        let _ = body.split_to(2);
    }
}

/// Takes a head with its empty line, once it is complete.
fn head(read: &mut BytesMut) -> Option<String> {
    let end = find(read, b"\r\n\r\n")? + 4;
    Some(String::from_utf8_lossy(&read.split_to(end)).into_owned())
}

/// First line and headers, their names in lower case.
fn parsed(head: &str) -> (String, Vec<(String, String)>) {
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    (first, headers.collect())
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
