//! Fewer lines of turns that went well. What went wrong is always written down.

use std::fmt;

use sha2::{Digest as _, Sha256};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use super::spans::{ENDED, TURN};

/// Which turns are among the share.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    below: u64,
}

impl Sample {
    /// `None` for all of them.
    pub fn of(share: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "the cast saturates, and a share is no more precise than this"
        )]
        let below = (share * u64::MAX as f64) as u64;
        (share < 1.0).then_some(Self { below })
    }

    /// The same for all turns of a trace, in every process and every release. Nothing says that a caller's ids are random.
    fn has(self, trace: &str) -> bool {
        let digest = Sha256::digest(trace);
        let first = digest.iter().take(8);
        first.fold(0, |number, byte| (number << 8) | u64::from(*byte)) < self.below
    }
}

/// Leaves the last line of turns out that are not in the sample and had no trouble.
#[derive(Debug)]
pub struct Sampling(pub Sample);

/// Kept with a turn's span: its last line is written.
struct Kept(bool);

impl<S> Filter<S> for Sampling
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() == TURN
            && let Some(span) = context.span(id)
        {
            let mut found = Found::default();
            attributes.record(&mut found);
            let kept = self.0.has(&found.trace);
            span.extensions_mut().insert(Kept(kept));
        }
    }

    fn event_enabled(&self, event: &Event<'_>, context: &Context<'_, S>) -> bool {
        let (level, last) = (
            *event.metadata().level(),
            event.metadata().target() == ENDED,
        );
        // A warning is less than, or equal to, the level of warnings.
        let warns = level <= Level::WARN;
        if !warns && !last {
            return true;
        }
        let mut found = Found::default();
        if last {
            event.record(&mut found);
        }
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(kept) = span.extensions_mut().get_mut::<Kept>() {
                kept.0 |= warns || found.trouble;
                return kept.0 || !last;
            }
        }
        true
    }
}

/// What a turn's span and its last line say.
#[derive(Default)]
struct Found {
    trace: String,
    trouble: bool,
}

impl Visit for Found {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "trace.id" => self.trace = format!("{value:?}"),
            "error.code" => self.trouble = true,
            "turn.outcome" => self.trouble |= format!("{value:?}") == "Failed",
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_traces_and_the_same_everywhere() {
        assert!(Sample::of(1.0).is_none());
        let nobody = Sample::of(0.0).unwrap();
        let third = Sample::of(0.3).unwrap();
        let mut seen = 0;
        for n in 0..1000_u128 {
            let trace = format!("{n:032x}");
            assert!(!nobody.has(&trace));
            seen += u32::from(third.has(&trace));
        }
        assert!((250..350).contains(&seen), "{seen} of 1000");
    }
}
