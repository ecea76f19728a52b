//! A lean HTTP client: one kept-alive connection, requests made in advance, answers read to their end.

use std::fmt::Write as _;
use std::io::{Error, ErrorKind};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(10);

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
    /// From the request to the first byte of the body.
    pub first_byte: Duration,
    /// From the request to the end of the body.
    pub whole: Duration,
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

impl Connection {
    pub async fn open(port: u16) -> Result<Self, Error> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(64 * 1024),
        })
    }

    /// Sends a request and reads the answer to its end.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Answer, Error> {
        timeout(LONGEST, self.exchange(request))
            .await
            .map_err(|_| Error::new(ErrorKind::TimedOut, "no whole answer in time"))?
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Answer, Error> {
        let begun = Instant::now();
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
        let mut body = Vec::with_capacity(32 * 1024);
        let first_byte = match length {
            Some(length) => self.read_sized(length, &mut body, begun).await?,
            None => self.read_chunked(&mut body, begun).await?,
        };
        Ok(Answer {
            status: status.ok_or(ErrorKind::InvalidData)?,
            body,
            first_byte,
            whole: begun.elapsed(),
        })
    }

    async fn read_sized(
        &mut self,
        length: usize,
        body: &mut Vec<u8>,
        begun: Instant,
    ) -> Result<Duration, Error> {
        let mut first_byte = None;
        while self.buffer.len() < length {
            self.receive().await?;
            first_byte.get_or_insert_with(|| begun.elapsed());
        }
        body.append(&mut self.take(length));
        Ok(first_byte.unwrap_or_else(|| begun.elapsed()))
    }

    async fn read_chunked(
        &mut self,
        body: &mut Vec<u8>,
        begun: Instant,
    ) -> Result<Duration, Error> {
        let mut first_byte = None;
        // How much of the buffer is used up; it moves forward at each read only.
        let mut at = 0;
        loop {
            while let Some((start, length)) = chunk(self.buffer.get(at..).unwrap_or_default())? {
                let start = at + start;
                body.extend_from_slice(self.buffer.get(start..start + length).unwrap_or_default());
                at = start + length + 2;
                first_byte.get_or_insert_with(|| begun.elapsed());
                if length == 0 {
                    self.take(at);
                    return Ok(first_byte.unwrap_or_default());
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
