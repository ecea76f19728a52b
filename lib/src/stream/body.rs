//! The response body owns the turn: reading it is what makes the turn go on, dropping it is what cancels its work.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tracing::instrument::{Instrument as _, Instrumented};

use super::sink::AnswerSink;
use crate::dial::chunk::HEARTBEAT;
use crate::domain::failure::Failure;

/// How long a turn whose reader left may take to write down what there is.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// A turn to its end, or to its panic.
type Turn = BoxFuture<'static, Result<(), Box<dyn Any + Send>>>;

/// The bytes of one answer, with a comment now and then while nothing else is said.
///
/// It never yields an error: on Lambda an error would be written into the stream as text. A panic of the turn
/// becomes an error event.
pub struct TurnBody {
    /// In the span that it was made in, which ends with it.
    turn: Option<Instrumented<Turn>>,
    sink: AnswerSink,
    heartbeat: Option<Heartbeat>,
    gathered: Gathered,
    /// Told to people if the turn panics.
    reference: String,
}

struct Heartbeat {
    every: Duration,
    next: Pin<Box<Sleep>>,
}

/// Chunks that come in one burst are handed out together: each hand-over costs a system call.
///
/// A burst is over when the buffer has not grown for two polls. One would not do: hyper polls a body twice in a row.
#[derive(Default)]
struct Gathered {
    unread: usize,
    quiet: u8,
}

impl Gathered {
    /// A burst larger than this is handed out at once.
    const ENOUGH: usize = 16 * 1024;

    fn is_over(&mut self, unread: usize) -> bool {
        self.quiet = if unread > self.unread {
            0
        } else {
            self.quiet + 1
        };
        self.unread = unread;
        let over = unread >= Self::ENOUGH || self.quiet >= 2;
        if over {
            *self = Self::default();
        }
        over
    }
}

impl TurnBody {
    /// `heartbeat` is the longest silence; `None` sends no comments.
    pub fn new(
        turn: impl Future<Output = ()> + Send + 'static,
        sink: AnswerSink,
        heartbeat: Option<Duration>,
        reference: String,
    ) -> Self {
        Self {
            turn: Some(
                AssertUnwindSafe(turn)
                    .catch_unwind()
                    .boxed()
                    .in_current_span(),
            ),
            sink,
            heartbeat: heartbeat.map(|every| Heartbeat {
                every,
                next: Box::pin(sleep_until(Instant::now() + every)),
            }),
            gathered: Gathered::default(),
            reference,
        }
    }
}

impl http_body::Body for TurnBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if let Some(turn) = &mut this.turn
            && let Poll::Ready(end) = turn.poll_unpin(context)
        {
            if end.is_err() {
                turn.span().in_scope(|| {
                    tracing::error!(error.reference = this.reference, "the turn panicked");
                });
                this.sink.fail(&Failure::internal(&this.reference));
            }
            this.turn = None;
        }
        if this.turn.is_some()
            && let Some(unread) = this.sink.can_wait()
            && !this.gathered.is_over(unread)
        {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let bytes = this.sink.take();
        if !bytes.is_empty() {
            if let Some(heartbeat) = &mut this.heartbeat {
                heartbeat
                    .next
                    .as_mut()
                    .reset(Instant::now() + heartbeat.every);
            }
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if this.turn.is_none() {
            return Poll::Ready(None);
        }
        if let Some(heartbeat) = &mut this.heartbeat
            && heartbeat.next.as_mut().poll(context).is_ready()
        {
            heartbeat
                .next
                .as_mut()
                .reset(Instant::now() + heartbeat.every);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(HEARTBEAT)))));
        }
        Poll::Pending
    }
}

impl Drop for TurnBody {
    /// The reader left. The turn stops its work and writes down what there is, for a moment and with nobody waiting;
    /// on Lambda this does not happen, since there a reader's leaving is not noticed.
    fn drop(&mut self) {
        self.sink.leave();
        if let Some(turn) = self.turn.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(timeout(CLOSE_WITHIN, turn));
        }
    }
}

impl fmt::Debug for TurnBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnBody")
            .field("running", &self.turn.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body;

    use super::*;

    async fn frame(body: &mut TurnBody) -> Option<String> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        frame.map(|Ok(frame)| String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    fn sink() -> AnswerSink {
        AnswerSink::new("x-1", 1, "m")
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_by_heartbeats() {
        let writer = sink();
        let turn = {
            let writer = writer.clone();
            async move {
                writer.begin();
                tokio::time::sleep(Duration::from_secs(40)).await;
                writer.text("late");
            }
        };
        let mut body = TurnBody::new(turn, writer, Some(Duration::from_secs(15)), "ref".into());
        assert!(frame(&mut body).await.unwrap().contains("assistant"));
        assert_eq!(frame(&mut body).await.unwrap(), ": heartbeat\n\n");
        assert_eq!(frame(&mut body).await.unwrap(), ": heartbeat\n\n");
        assert!(frame(&mut body).await.unwrap().contains("late"));
        assert_eq!(frame(&mut body).await, None);
    }

    #[tokio::test]
    async fn a_panic_becomes_an_error_event_and_leaks_nothing() {
        let writer = sink();
        let turn = {
            let writer = writer.clone();
            async move {
                writer.begin();
                let _stage = writer.open_stage(Some("S"), None);
                panic!("SECRET-INTERNAL");
            }
        };
        let mut body = TurnBody::new(turn, writer, None, "1a2b3c4d".into());
        let text = frame(&mut body).await.unwrap();
        assert!(text.contains(r#"{"index":0,"status":"failed"}"#), "{text}");
        assert!(text.contains("internal_error") && text.contains("1a2b3c4d"));
        assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("SECRET"));
        assert_eq!(frame(&mut body).await, None);
    }

    #[tokio::test]
    async fn a_turn_whose_reader_leaves_hears_of_it_and_may_write_things_down() {
        let writer = sink();
        let (written, mut read) = tokio::sync::mpsc::channel(1);
        let turn = {
            let writer = writer.clone();
            async move {
                let stage = writer.open_stage(Some("S"), None);
                writer.left().await;
                drop(stage);
                tokio::task::yield_now().await;
                written.send("what there is").await.unwrap();
            }
        };
        let mut body = TurnBody::new(turn, writer.clone(), None, String::new());
        assert!(frame(&mut body).await.unwrap().contains(r#""name":"S""#));
        drop(body);
        assert_eq!(read.recv().await, Some("what there is"));
        let rest = String::from_utf8(writer.take().to_vec()).unwrap();
        assert!(rest.contains(r#"{"index":0,"status":"failed"}"#), "{rest}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_hear_its_reader_leave_is_dropped_all_the_same() {
        let writer = sink();
        let (alive, mut dead) = tokio::sync::mpsc::channel::<()>(1);
        let turn = async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        };
        drop(TurnBody::new(turn, writer, None, String::new()));
        assert_eq!(dead.recv().await, None);
    }

    #[tokio::test]
    async fn a_turn_waits_for_a_slow_reader() {
        let writer = sink().buffered(64 * 1024);
        let turn = {
            let writer = writer.clone();
            async move {
                for _ in 0..1000 {
                    writer.ready().await;
                    writer.text(&"x".repeat(1000));
                }
            }
        };
        let mut body = TurnBody::new(turn, writer, None, String::new());
        let mut frames = 0;
        while let Some(text) = frame(&mut body).await {
            assert!(text.len() < 70_000, "{}", text.len());
            frames += 1;
        }
        assert!(frames > 10);
    }

    #[tokio::test]
    async fn one_long_text_waits_for_a_slow_reader_as_well() {
        let writer = sink().buffered(1000);
        let turn = {
            let writer = writer.clone();
            async move {
                let stage = writer.open_stage(Some("S"), None);
                stage.stream(&"x".repeat(1_000_000)).await;
            }
        };
        let mut body = TurnBody::new(turn, writer, None, String::new());
        let mut whole = 0;
        while let Some(text) = frame(&mut body).await {
            assert!(text.len() < 40_000, "{}", text.len());
            whole += text.len();
        }
        assert!(whole > 1_000_000);
    }
}
