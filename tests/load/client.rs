//! A lean HTTP client: one kept-alive connection, requests made in advance, answers read to their end.

use std::fmt::Write as _;
use std::io::{Error, ErrorKind};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer that takes longer has failed.
const LONGEST: Duration = Duration::from_mins(1);

/// One connection.
pub struct Connection {
    stream: TcpStream,
    /// Bytes received and not yet used.
    buffer: Vec<u8>,
}

/// An answer, and when it came.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub sent_at: Instant,
    /// From the request to the first byte of the body.
    pub first_byte: Duration,
    /// From the request until the body holds what one waits for, if it ever does.
    pub first_word: Option<Duration>,
    /// From the request to the end of the body.
    pub whole: Duration,
}

/// A body as it comes.
struct Reading<'a> {
    sent_at: Instant,
    word: &'a [u8],
    body: Vec<u8>,
    first_byte: Option<Duration>,
    first_word: Option<Duration>,
}

impl Reading<'_> {
    fn add(&mut self, piece: &[u8]) {
        // What was there before may end with the word's beginning.
        let before = self.body.len().saturating_sub(self.word.len());
        self.body.extend_from_slice(piece);
        self.first_byte
            .get_or_insert_with(|| self.sent_at.elapsed());
        let holds = |new| find(new, self.word).is_some();
        if self.first_word.is_none() && self.body.get(before..).is_some_and(holds) {
            self.first_word = Some(self.sent_at.elapsed());
        }
    }
}

/// A POST request, ready to be sent.
pub fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    // Writing to a string cannot fail.
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    let _ = write!(request, "content-length: {}\r\n\r\n", body.len());
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}

/// A GET request, ready to be sent.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

impl Connection {
    pub async fn open(port: u16) -> Result<Self, Error> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(64 * 1024),
        })
    }

    /// Sends a request and reads the answer to its end; notes when it holds this word.
    pub async fn ask(&mut self, request: &[u8], word: &[u8]) -> Result<Answer, Error> {
        timeout(LONGEST, self.exchange(request, word))
            .await
            .map_err(|_| Error::new(ErrorKind::TimedOut, "no whole answer in time"))?
    }

    async fn exchange(&mut self, request: &[u8], word: &[u8]) -> Result<Answer, Error> {
        let sent_at = Instant::now();
        self.stream.write_all(request).await?;
        let head = loop {
            if let Some(length) = find(&self.buffer, b"\r\n\r\n") {
                break self.take(length + 4);
            }
            self.receive().await?;
        };
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut reading = Reading {
            sent_at,
            word,
            body: Vec::with_capacity(32 * 1024),
            first_byte: None,
            first_word: None,
        };
        match length {
            Some(length) => self.read_sized(length, &mut reading).await?,
            None => self.read_chunked(&mut reading).await?,
        }
        Ok(Answer {
            status: status.ok_or(ErrorKind::InvalidData)?,
            whole: sent_at.elapsed(),
            sent_at,
            first_byte: reading.first_byte.unwrap_or_default(),
            first_word: reading.first_word,
            body: reading.body,
        })
    }

    async fn read_sized(&mut self, length: usize, reading: &mut Reading<'_>) -> Result<(), Error> {
        while self.buffer.len() < length {
            self.receive().await?;
        }
        reading.add(&self.take(length));
        Ok(())
    }

    async fn read_chunked(&mut self, reading: &mut Reading<'_>) -> Result<(), Error> {
        // How much of the buffer is used up; it moves forward at each read only.
        let mut at = 0;
        loop {
            while let Some((start, length)) = chunk(self.buffer.get(at..).unwrap_or_default())? {
                let start = at + start;
                reading.add(self.buffer.get(start..start + length).unwrap_or_default());
                at = start + length + 2;
                if length == 0 {
                    self.take(at);
                    return Ok(());
                }
            }
            self.take(at);
            at = 0;
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> Result<(), Error> {
        self.buffer.reserve(16 * 1024);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.buffer.drain(..length).collect()
    }
}

/// Where the first chunk's bytes begin and how many they are, once all of it is there.
fn chunk(bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let Some(line) = find(bytes, b"\r\n") else {
        return Ok(None);
    };
    let length = bytes
        .get(..line)
        .and_then(|line| usize::from_str_radix(std::str::from_utf8(line).ok()?, 16).ok())
        .ok_or(ErrorKind::InvalidData)?;
    let start = line + 2;
    Ok((bytes.len() >= start + length + 2).then_some((start, length)))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|found| found == what)
}
