//! The trace that a request belongs to: its caller's, or one that begins here.

use axum::http::{HeaderMap, HeaderValue};

use crate::domain::ids::TurnId;
use crate::domain::trace::{TRACE_ID, TRACEPARENT, TRACESTATE, Trace};

/// Every request belongs to one, so that agents which call back are recognised, and answers are found again.
pub fn of(headers: &HeaderMap) -> Trace {
    read(headers).unwrap_or_else(|| {
        let id = alone(headers, TRACE_ID).and_then(Trace::read_id);
        // Not the turn's own id: agents see the trace, and the marks in our prompts come from the turn.
        let id = id.unwrap_or_else(|| (u128::from(random()) << 64) | u128::from(random()));
        Trace::begun(id, random())
    })
}

/// The caller's own, if it says so well.
pub fn read(headers: &HeaderMap) -> Option<Trace> {
    let state: Vec<&str> = (headers.get_all(TRACESTATE).iter())
        .filter_map(|value| value.to_str().ok())
        .collect();
    Trace::read(alone(headers, TRACEPARENT)?, Some(&state.join(",")))
}

/// Makes the headers say so, for whoever reads them next.
pub fn put(headers: &mut HeaderMap, trace: &Trace) {
    if let Ok(parent) = HeaderValue::from_str(&trace.parent(None)) {
        headers.insert(TRACEPARENT, parent);
    }
    if trace.state().is_none() {
        headers.remove(TRACESTATE);
    }
}

/// A header that is there once: of two, nobody knows which one counts.
fn alone<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Never zero, which would be no id. The whole of it is random: samplers decide by parts of it.
fn random() -> u64 {
    let random = getrandom::u64().unwrap_or_else(|_| TurnId::now().random());
    random.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    /// Another one.
    const ID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        .split_at(3)
        .1
        .split_at(32)
        .0;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_callers_trace_is_taken_where_it_is_one() {
        let whole = headers(&[
            ("traceparent", PARENT),
            ("tracestate", "a=b"),
            ("tracestate", "c=d"),
            ("x-trace-id", ID),
        ]);
        let trace = of(&whole);
        assert_eq!(trace.parent(None), PARENT);
        assert_eq!(trace.state(), Some("a=b,c=d"));

        // Wrong, or twice: then the older header counts, and the state belongs to nothing.
        for parents in [
            &[("traceparent", "nonsense")][..],
            &[("traceparent", PARENT); 2],
        ] {
            let mut given = parents.to_vec();
            given.extend([("x-trace-id", ID), ("tracestate", "a=b")]);
            let trace = of(&headers(&given));
            assert_eq!((trace.id(), trace.state()), (ID, None));
            assert_eq!(trace.above(), None);
        }
    }

    #[test]
    fn a_request_without_a_trace_begins_one() {
        for given in [headers(&[]), headers(&[("x-trace-id", "0190-uuid")])] {
            let (one, other) = (of(&given), of(&given));
            assert_ne!(one.id(), other.id());
            assert!(Trace::read(&one.parent(None), None).is_some());
        }
    }

    #[test]
    fn what_is_put_is_read_again() {
        let mut given = headers(&[("x-trace-id", ID), ("tracestate", "a=b")]);
        let trace = of(&given);
        put(&mut given, &trace);
        let again = read(&given).unwrap();
        assert_eq!(
            (again.parent(None), again.state()),
            (trace.parent(None), None)
        );
        assert_eq!(of(&given).id(), ID);
    }
}
