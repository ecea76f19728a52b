//! An invocation under watch: what the function answered, and when.

use std::io;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;

use super::Prelude;

/// One thing that happened.
#[derive(Debug)]
pub(super) enum Step {
    /// The function took the event, and was told how long it may run.
    Taken(Option<Duration>),
    Prelude(Prelude),
    Chunk(Bytes),
    /// The body ended well, with these trailers.
    Ended(HeaderMap),
    /// The function asked for its next event.
    Frozen,
    /// There will be no whole answer.
    Broken(String),
}

/// An event on its way through the function. Nothing here waits for a limited time: callers bring their own limits.
#[derive(Debug)]
pub struct Invocation {
    steps: UnboundedReceiver<(Instant, Step)>,
    seen: Seen,
}

/// What happened so far.
#[derive(Debug, Default)]
struct Seen {
    taken_at: Option<Instant>,
    deadline: Option<Duration>,
    prelude: Option<Prelude>,
    chunks: Vec<Chunk>,
    ended: Option<(Instant, HeaderMap)>,
    frozen_at: Option<Instant>,
}

/// A piece of a body, as it came.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub at: Instant,
    pub bytes: Bytes,
}

/// An answer from the event's handing over to the freeze point.
#[derive(Clone, Debug)]
pub struct Answer {
    pub taken_at: Instant,
    /// When Lambda would have stopped the function; none if it was told nonsense.
    pub deadline_at: Option<Instant>,
    pub prelude: Prelude,
    pub chunks: Vec<Chunk>,
    /// `Lambda-Runtime-Function-Error-Type` and the like; names in lower case.
    pub trailers: HeaderMap,
    pub ended_at: Instant,
    /// The next poll. Before `ended_at` it would be one that Lambda answers with a freeze in the middle of the body.
    pub frozen_at: Instant,
}

impl Invocation {
    pub(super) fn watch(steps: UnboundedReceiver<(Instant, Step)>) -> Self {
        Self {
            steps,
            seen: Seen::default(),
        }
    }

    /// Waits until the body holds this text, which has then just arrived.
    pub async fn until(&mut self, text: &str) -> io::Result<()> {
        while !self.seen.text().contains(text) {
            if self.seen.ended.is_some() {
                return Err(broken(&format!("the body ended without {text:?}")));
            }
            self.step().await?;
        }
        Ok(())
    }

    /// Waits for the freeze point, and gives everything up to it.
    pub async fn finish(mut self) -> io::Result<Answer> {
        loop {
            if let (Some((ended_at, trailers)), Some(frozen_at)) =
                (&self.seen.ended, self.seen.frozen_at)
            {
                let (ended_at, trailers) = (*ended_at, trailers.clone());
                return self.seen.answer(ended_at, trailers, frozen_at);
            }
            self.step().await?;
        }
    }

    async fn step(&mut self) -> io::Result<()> {
        let Some((at, step)) = self.steps.recv().await else {
            return Err(broken("the Runtime API was stopped"));
        };
        let seen = &mut self.seen;
        match step {
            Step::Taken(deadline) => (seen.taken_at, seen.deadline) = (Some(at), deadline),
            Step::Prelude(prelude) => seen.prelude = Some(prelude),
            Step::Chunk(bytes) => seen.chunks.push(Chunk { at, bytes }),
            Step::Ended(trailers) => seen.ended = Some((at, trailers)),
            Step::Frozen => seen.frozen_at = Some(at),
            Step::Broken(problem) => return Err(broken(&problem)),
        }
        Ok(())
    }
}

impl Seen {
    fn text(&self) -> String {
        text(&self.chunks)
    }

    fn answer(
        self,
        ended_at: Instant,
        trailers: HeaderMap,
        frozen_at: Instant,
    ) -> io::Result<Answer> {
        let (Some(taken_at), Some(prelude)) = (self.taken_at, self.prelude) else {
            return Err(broken("the answer has no beginning"));
        };
        Ok(Answer {
            taken_at,
            deadline_at: self.deadline.map(|left| taken_at + left),
            prelude,
            chunks: self.chunks,
            trailers,
            ended_at,
            frozen_at,
        })
    }
}

impl Answer {
    /// The whole body.
    pub fn text(&self) -> String {
        text(&self.chunks)
    }
}

fn text(chunks: &[Chunk]) -> String {
    let bytes: Vec<u8> = chunks
        .iter()
        .flat_map(|chunk| chunk.bytes.to_vec())
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn broken(problem: &str) -> io::Error {
    io::Error::other(problem.to_owned())
}
