//! The way to the collector. One that fails is left alone for a while: nobody waits for it turn after turn.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use tokio::runtime::{Builder, Runtime};

use crate::domain::ids::{Clock, Millis};

/// How long a collector is left alone after its first failure; twice as long after each further one.
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(5);

/// Sends one batch, within a time of its own.
pub type Post = Box<dyn Fn(Vec<u8>) -> BoxFuture<'static, Result<(), HttpError>> + Send + Sync>;

/// Sends batches as long as that works. Spans of a pause are dropped.
pub struct Sender {
    post: Post,
    /// The wall clock: a frozen function sees no other one go on.
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Made by the thread that sends, which must also be the one that drops it.
    runtime: Option<Runtime>,
    failures: u32,
    paused_until: Millis,
}

impl Sender {
    pub fn new(clock: Clock, post: Post) -> Self {
        Self {
            post,
            clock,
            state: Mutex::default(),
        }
    }
}

impl State {
    fn send(&mut self, post: &Post, batch: Vec<u8>) -> Result<(), HttpError> {
        let runtime = match &self.runtime {
            Some(runtime) => runtime,
            None => (self.runtime).insert(Builder::new_current_thread().enable_all().build()?),
        };
        runtime.block_on(post(batch))
    }

    /// Counts how a batch ended. Every outage is one warning.
    fn settle(&mut self, sent: &Result<(), HttpError>, now: Millis) {
        match sent {
            Ok(()) => {
                if std::mem::take(&mut self.failures) > 0 {
                    tracing::info!("spans are exported again");
                }
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(
                        error = &**error as &dyn std::error::Error,
                        "spans cannot be exported: they are dropped until the collector answers"
                    );
                }
                let pause = PAUSE.saturating_mul(2_u32.saturating_pow(self.failures));
                self.paused_until = now.plus(pause.min(LONGEST));
                self.failures = self.failures.saturating_add(1);
            }
        }
    }
}

#[async_trait]
impl HttpClient for Sender {
    /// Called by the thread that sends, and by no other.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = Ok(Response::new(Bytes::new()));
        if self.clock.now() < state.paused_until {
            return done;
        }
        let sent = state.send(&self.post, request.into_body().to_vec());
        state.settle(&sent, self.clock.now());
        sent.and(done)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

    use super::*;

    struct World {
        sender: Sender,
        now: Arc<AtomicU64>,
        works: Arc<AtomicBool>,
        asked: Arc<AtomicUsize>,
    }

    impl World {
        fn new() -> Self {
            let now = Arc::new(AtomicU64::new(1_000_000));
            let works = Arc::new(AtomicBool::new(true));
            let asked = Arc::new(AtomicUsize::new(0));
            let (counted, answers) = (Arc::clone(&asked), Arc::clone(&works));
            let post: Post = Box::new(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                let works = answers.load(Ordering::SeqCst);
                Box::pin(async move { works.then_some(()).ok_or_else(|| "it is down".into()) })
            });
            let told = Arc::clone(&now);
            let clock = Clock::new(move || Millis(told.load(Ordering::SeqCst)));
            Self {
                sender: Sender::new(clock, post),
                now,
                works,
                asked,
            }
        }

        /// Whether the exporter hears of a failure, and how often the collector was asked so far.
        fn export(&self) -> (bool, usize) {
            let request = Request::new(Bytes::from_static(b"spans"));
            let sent = futures_util::FutureExt::now_or_never(self.sender.send_bytes(request));
            (
                sent.expect("it blocks and is done").is_ok(),
                self.asked.load(Ordering::SeqCst),
            )
        }

        fn later(&self, seconds: u64) {
            self.now.fetch_add(seconds * 1000, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_collector_that_fails_is_left_alone_for_longer_and_longer() {
        let world = World::new();
        assert_eq!(world.export(), (true, 1));
        world.works.store(false, Ordering::SeqCst);
        assert_eq!(world.export(), (false, 2));
        // What comes in the pause is dropped, and costs nobody anything.
        for _ in 0..10 {
            assert_eq!(world.export(), (true, 2));
        }
        let mut asked = 2;
        for pause in [30, 60, 120, 240, 300, 300] {
            world.later(pause - 1);
            assert_eq!(world.export(), (true, asked), "after {} s", pause - 1);
            world.later(1);
            asked += 1;
            assert_eq!(world.export(), (false, asked), "after {pause} s");
        }
        world.later(300);
        world.works.store(true, Ordering::SeqCst);
        assert_eq!(world.export(), (true, asked + 1));
        assert_eq!(world.export(), (true, asked + 2));
    }

    #[test]
    fn an_outage_is_one_warning_and_its_end_one_line() {
        use crate::telemetry::tests::Page;
        let page = Page::default();
        let writer = page.clone();
        let log = crate::telemetry::log("info", false, false, move || writer.clone()).unwrap();
        tracing::dispatcher::with_default(&log, || {
            let world = World::new();
            world.works.store(false, Ordering::SeqCst);
            for _ in 0..5 {
                world.export();
                world.later(301);
            }
            world.works.store(true, Ordering::SeqCst);
            world.export();
            world.export();
        });
        let lines = page.text();
        assert_eq!(lines.matches(" WARN ").count(), 1, "{lines}");
        assert!(lines.contains("it is down"), "{lines}");
        assert_eq!(lines.matches("exported again").count(), 1, "{lines}");
    }
}
