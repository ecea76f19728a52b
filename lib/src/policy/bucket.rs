//! A token bucket as a value: so many at once, refilled evenly over a minute.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::ids::Millis;

/// One token.
const TOKEN: u64 = 60_000;

/// What is missing from a full bucket, in thousandths of a second's worth of sixtieths, so that nothing is ever rounded:
/// a bucket of `n` refills `n` units a millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    drawn: u64,
    at: Millis,
}

impl Bucket {
    /// Takes one token of `size` a minute; when there is none, says how long until there is.
    pub fn draw(self, now: Millis, size: u32) -> Result<Self, Duration> {
        let rate = u64::from(size);
        let passed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let drawn = self.drawn.saturating_sub(passed.saturating_mul(rate));
        let full = rate.saturating_mul(TOKEN);
        let next = drawn.saturating_add(TOKEN);
        if next > full {
            let missing = (next - full).div_ceil(rate.max(1));
            return Err(Duration::from_millis(missing));
        }
        Ok(Self {
            drawn: next,
            // A clock that went back gives nothing back.
            at: now.max(self.at),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_bucket_gives_all_at_once_and_then_one_at_a_time() {
        let mut bucket = Bucket::default();
        let now = Millis(1_000_000);
        for _ in 0..30 {
            bucket = bucket.draw(now, 30).unwrap();
        }
        assert_eq!(bucket.draw(now, 30), Err(Duration::from_secs(2)));
        assert_eq!(
            bucket.draw(Millis(1_001_500), 30),
            Err(Duration::from_millis(500))
        );
        let bucket = bucket.draw(Millis(1_002_000), 30).unwrap();
        assert!(bucket.draw(Millis(1_002_000), 30).is_err());
        assert!(
            bucket.draw(Millis(900_000), 30).is_err(),
            "a clock that goes back"
        );
    }

    proptest! {
        #[test]
        fn no_schedule_gets_more_than_the_size_and_what_was_refilled(
            size in 1_u32..100,
            pauses in proptest::collection::vec(0_u64..5_000, 1..300),
        ) {
            let start = 5_000_000;
            let (mut now, mut bucket, mut given) = (start, Bucket::default(), 0_u64);
            for pause in pauses {
                now += pause;
                match bucket.draw(Millis(now), size) {
                    Ok(next) => {
                        bucket = next;
                        given += 1;
                    }
                    Err(wait) => {
                        let later = now + u64::try_from(wait.as_millis()).unwrap();
                        prop_assert!(bucket.draw(Millis(later), size).is_ok(), "the wait is enough");
                        prop_assert!(bucket.draw(Millis(later - 1), size).is_err(), "and not too long");
                    }
                }
                let refilled = (now - start) * u64::from(size) / TOKEN;
                prop_assert!(given <= u64::from(size) + refilled);
            }
        }
    }
}
