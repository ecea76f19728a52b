//! A panic anywhere in a turn becomes an error event: nothing truncated looks complete, and nothing of it leaks.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use coordinator::domain::access::{Identity, Role};
use coordinator::domain::ids::{Owner, Timestamp, TurnId};
use coordinator::domain::message::Message;
use coordinator::domain::turn::ChatTurn;
use coordinator::http::App;
use coordinator::stream::{AnswerSink, TurnBody};
use futures_util::FutureExt;
use http_body::Body as _;
use tokio::time::Instant;

use crate::checker;
use crate::world::plan;

/// A turn that panics where it would have waited for the `at`th time.
struct Panics<F> {
    turn: Pin<Box<F>>,
    at: usize,
    polls: usize,
}

impl<F: Future<Output = ()>> Future for Panics<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let polled = self.turn.as_mut().poll(context);
        self.polls += 1;
        if polled.is_pending() && self.polls > self.at {
            // As a panic of the code that was just running would: without the message of this test's own hook.
            resume_unwind(Box::new("SECRET-INTERNAL"));
        }
        polled
    }
}

/// The stream of a turn that panics at its `at`th wait, and whether it came to that.
async fn stream(app: &Arc<App>, at: usize) -> String {
    let turn = ChatTurn {
        id: TurnId::now(),
        received_at: Timestamp(1_700_000_000),
        deadline: Instant::now() + Duration::from_secs(60),
        request: None,
        messages: vec![Message::user("hi")].into(),
        choice: None,
        budget: Default::default(),
        overrides: Default::default(),
        what_if: false,
        caller: Arc::default(),
    };
    let sink = AnswerSink::new(&turn.id.to_string(), 1, "m");
    let identity = Identity {
        owner: Owner::new("default", "development"),
        roles: vec![Role::User],
    };
    let verified = std::future::ready(Ok(identity)).boxed();
    let (app, writer) = (Arc::clone(app), sink.clone());
    let reference = turn.id.reference();
    let turn = Panics {
        turn: Box::pin(async move { app.coordinator().answer(turn, verified, writer).await }),
        at,
        polls: 0,
    };
    let mut body = TurnBody::new(turn, sink, None, reference);
    let mut read = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        let Ok(frame) = frame;
        read.extend_from_slice(&frame.into_data().unwrap());
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_at_any_wait_of_a_turn_ends_it_with_an_error_event() {
    let world = plan("UMS").start().await;
    let mut whole = 0;
    let mut panicked = 0;
    for at in 0.. {
        let text = stream(&world.app, at).await;
        let checked = catch_unwind(AssertUnwindSafe(|| checker::check(text.as_bytes())))
            .unwrap()
            .unwrap_or_else(|breach| panic!("wait {at}: {breach}\n{text}"));
        assert!(!text.contains("SECRET"), "{text}");
        match checked.error {
            Some(error) => {
                assert_eq!(error["code"], "internal_error");
                panicked += 1;
            }
            None => {
                assert!(text.contains("Final"), "{text}");
                whole += 1;
            }
        }
        if whole == 3 {
            break;
        }
    }
    assert!(panicked > 5, "only {panicked} waits were found");
    // And the next turn is served.
    assert!(stream(&world.app, usize::MAX).await.contains("Final"));
}
