//! Which of several endpoints is tried first: the first of the list, unless it was left a short while ago.

use std::time::Duration;

use crate::domain::ids::Millis;

/// The endpoint that answered last, and since when it is the one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    current: usize,
    since: Millis,
}

impl Preference {
    /// The order in which `count` endpoints are tried. A spare one is kept to for the dwell time, so that calls do not
    /// swing to and fro with an endpoint that comes and goes.
    pub fn order(self, now: Millis, dwell: Duration, count: usize) -> impl Iterator<Item = usize> {
        let first = if now.since(self.since) < dwell {
            self.current.min(count.saturating_sub(1))
        } else {
            0
        };
        std::iter::once(first)
            .chain((0..count).filter(move |at| *at != first))
            .take(count)
    }

    /// An endpoint answered.
    #[must_use]
    pub fn answered(self, at: usize, now: Millis) -> Self {
        if at == self.current {
            self
        } else {
            Self {
                current: at,
                since: now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_endpoint_is_kept_to_for_the_dwell_time() {
        let dwell = Duration::from_mins(1);
        let order = |preference: Preference, seconds: u64| -> Vec<usize> {
            preference.order(Millis(seconds * 1000), dwell, 3).collect()
        };
        let at_first = Preference::default();
        assert_eq!(order(at_first, 1000), [0, 1, 2]);
        let spare = at_first.answered(2, Millis(1_000_000));
        assert_eq!(order(spare, 1059), [2, 0, 1]);
        assert_eq!(order(spare, 1060), [0, 1, 2]);
        let still = spare.answered(2, Millis(1_030_000));
        assert_eq!(still, spare, "the time counts from the change");
        assert_eq!(order(still.answered(0, Millis(1_061_000)), 1062), [0, 1, 2]);
        assert_eq!(at_first.order(Millis(0), dwell, 0).count(), 0);
    }
}
