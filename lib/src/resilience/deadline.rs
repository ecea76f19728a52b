//! One absolute end per turn.

use std::time::Duration;

use tokio::time::Instant;

/// Kept of the function's own time for closing stages, saving and saying so.
const RESERVE: Duration = Duration::from_secs(3);

/// When a turn that begins `now` must have ended: after `total`, or before the function itself is stopped.
///
/// `function_left` is what the runtime says is left; `None` when it says nothing, or something that has passed, as
/// local emulators do.
pub fn of_turn(now: Instant, total: Duration, function_left: Option<Duration>) -> Instant {
    let left = function_left.map_or(total, |left| left.saturating_sub(RESERVE));
    now + total.min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sooner_end_counts() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        assert_eq!(of_turn(now, seconds(120), None), now + seconds(120));
        assert_eq!(
            of_turn(now, seconds(120), Some(seconds(900))),
            now + seconds(120)
        );
        assert_eq!(
            of_turn(now, seconds(120), Some(seconds(63))),
            now + seconds(60)
        );
        assert_eq!(of_turn(now, seconds(120), Some(seconds(1))), now);
    }
}
