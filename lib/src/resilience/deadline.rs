//! One absolute end per turn.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::rules::Times;

/// When a turn that begins `now` must have ended: after its longest time, or so long before the function itself is
/// stopped that it can close its stages, save, and say so.
///
/// `function_left` is what the runtime says is left; `None` when it says nothing, or something that has passed, as
/// local emulators do.
///
/// `caller` is how long the caller itself wants to wait: it may ask for less time, never for more.
pub fn of_turn(
    now: Instant,
    times: &Times,
    function_left: Option<Duration>,
    caller: Option<Duration>,
) -> Instant {
    let left = function_left.map_or(times.turn, |left| left.saturating_sub(times.turn_reserve));
    let asked = caller.unwrap_or(times.turn);
    now + times.turn.min(left).min(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sooner_end_counts() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let times = Times::default();
        let end = |function: Option<u64>, caller: Option<u64>| {
            let end = of_turn(now, &times, function.map(seconds), caller.map(seconds));
            (end - now).as_secs()
        };
        assert_eq!(end(None, None), 120);
        assert_eq!(end(Some(900), None), 120);
        assert_eq!(end(Some(63), None), 60);
        assert_eq!(end(Some(1), None), 0);
        assert_eq!(end(Some(63), Some(10)), 10);
        assert_eq!(end(Some(63), Some(100)), 60, "never more than there is");
        assert_eq!(end(None, Some(500)), 120);
    }
}
