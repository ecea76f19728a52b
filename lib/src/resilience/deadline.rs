//! One absolute end per turn.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::rules::Times;

/// When a turn that begins `now` must have ended: after its longest time, or so long before the function itself is
/// stopped that it can close its stages, save, and say so.
///
/// `function_left` is what the runtime says is left; `None` when it says nothing, or something that has passed, as
/// local emulators do.
pub fn of_turn(now: Instant, times: &Times, function_left: Option<Duration>) -> Instant {
    let left = function_left.map_or(times.turn, |left| left.saturating_sub(times.turn_reserve));
    now + times.turn.min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sooner_end_counts() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let times = Times::default();
        assert_eq!(of_turn(now, &times, None), now + seconds(120));
        assert_eq!(of_turn(now, &times, Some(seconds(900))), now + seconds(120));
        assert_eq!(of_turn(now, &times, Some(seconds(63))), now + seconds(60));
        assert_eq!(of_turn(now, &times, Some(seconds(1))), now);
    }
}
