//! Ids of spans. A trace that begins here has the id that the turn was given at the door.

use std::cell::Cell;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

thread_local! {
    /// The id of the trace that begins next on this thread; 0 for any.
    static NEXT: Cell<u128> = const { Cell::new(0) };
}

#[derive(Debug, Default)]
pub struct Ids(RandomIdGenerator);

/// Gives whatever trace begins meanwhile this id.
pub fn with<T>(trace: u128, begin: impl FnOnce() -> T) -> T {
    NEXT.set(trace);
    let begun = begin();
    NEXT.set(0);
    begun
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        match NEXT.take() {
            0 => self.0.new_trace_id(),
            id => TraceId::from(id),
        }
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}
