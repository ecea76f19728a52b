//! The one retry loop, and the policy that decides each step of it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// More attempts than these make a bad moment worse.
const ATTEMPTS: u32 = 3;
/// The first wait is up to this long, each further one up to twice as long, none longer than the cap.
const BASE: Duration = Duration::from_millis(50);
const CAP: Duration = Duration::from_secs(1);
/// A peer that asks for more patience than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What of a call may be repeated. It follows from what the call may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing: a probe, which should tell how things are.
    Never,
    /// Only what provably never left: the call may change something.
    Unsent,
    /// Every transient failure: the call only reads.
    Freely,
}

/// What a failed attempt says about another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It would fail again.
    Final,
    /// The request never left.
    Unsent,
    /// It may go better soon; `after` is when the peer says.
    Transient { after: Option<Duration> },
}

/// How long to wait before another attempt; `None` gives up. `failed` counts the attempts so far, `luck` is from 0 to 1.
/// An attempt that would have less time than `reserve` is not made.
pub fn wait(
    failed: u32,
    failure: Failure,
    repeat: Repeat,
    remaining: Duration,
    reserve: Duration,
    luck: f64,
) -> Option<Duration> {
    let after = match (failure, repeat) {
        (Failure::Final, _) | (_, Repeat::Never) | (Failure::Transient { .. }, Repeat::Unsent) => {
            return None;
        }
        (Failure::Unsent, _) => None,
        (Failure::Transient { after }, Repeat::Freely) => after,
    };
    if failed >= ATTEMPTS {
        return None;
    }
    let wait = match after {
        Some(after) if after > PATIENCE.min(remaining / 4) => return None,
        Some(after) => after,
        // Full jitter: those who failed together do not come back together.
        None => BASE
            .saturating_mul(1 << failed.saturating_sub(1))
            .min(CAP)
            .mul_f64(luck.clamp(0.0, 1.0)),
    };
    (remaining >= wait + reserve).then_some(wait)
}

/// How many retries this process may still make: a fifth of the calls of the last seconds, and always one.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// Per second: which one, its calls, its retries. A slot is reused when its second is over.
    seconds: [(u64, u32, u32); Self::WINDOW],
}

impl Budget {
    const WINDOW: usize = 10;

    /// Counts a call made in this second.
    pub fn call(&mut self, second: u64) {
        if let Some(slot) = self.slot(second) {
            slot.1 = slot.1.saturating_add(1);
        }
    }

    /// Takes a retry out of the budget, if there is one left.
    pub fn retry(&mut self, second: u64) -> bool {
        let oldest = second.saturating_sub(Self::WINDOW as u64 - 1);
        let (calls, retries) = self
            .seconds
            .iter()
            .filter(|(of, ..)| (oldest..=second).contains(of))
            .fold((0_u32, 0_u32), |(calls, retries), slot| {
                (calls.saturating_add(slot.1), retries.saturating_add(slot.2))
            });
        if retries >= (calls / 5).max(1) {
            return false;
        }
        if let Some(slot) = self.slot(second) {
            slot.2 = slot.2.saturating_add(1);
        }
        true
    }

    fn slot(&mut self, second: u64) -> Option<&mut (u64, u32, u32)> {
        let at = usize::try_from(second % Self::WINDOW as u64).ok()?;
        let slot = self.seconds.get_mut(at)?;
        if slot.0 != second {
            *slot = (second, 0, 0);
        }
        Some(slot)
    }
}

/// The loop. One for the whole process, so that the budget is one.
#[derive(Debug)]
pub struct Retry {
    begun: Instant,
    reserve: Duration,
    budget: Mutex<Budget>,
}

impl Retry {
    /// `reserve` is what an attempt must have left to be made.
    pub fn new(now: Instant, reserve: Duration) -> Self {
        Self {
            begun: now,
            reserve,
            budget: Mutex::default(),
        }
    }

    /// Makes attempts until one succeeds or another would be no use. The last failure is the answer.
    pub async fn run<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        repeat: Repeat,
        until: Instant,
        judge: impl Fn(&E) -> Failure,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, E> {
        self.budget(Budget::call);
        let mut failed = 0;
        loop {
            let error = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failed += 1;
            let remaining = until.saturating_duration_since(Instant::now());
            let verdict = judge(&error);
            let Some(wait) = wait(failed, verdict, repeat, remaining, self.reserve, luck()) else {
                return Err(error);
            };
            if !self.budget(Budget::retry) {
                tracing::warn!("the retry budget is used up");
                return Err(error);
            }
            sleep(wait).await;
        }
    }

    fn budget<T>(&self, ask: impl FnOnce(&mut Budget, u64) -> T) -> T {
        let second = self.begun.elapsed().as_secs();
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&mut budget, second)
    }
}

/// Randomness for the jitter; where there is none, half of the wait.
pub fn luck() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use proptest::prelude::*;

    use super::*;

    const TRANSIENT: Failure = Failure::Transient { after: None };
    const RESERVE: Duration = Duration::from_secs(2);
    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn only_what_may_be_repeated_is() {
        let again = |failure, repeat| wait(1, failure, repeat, MINUTE, RESERVE, 1.0).is_some();
        assert!(again(TRANSIENT, Repeat::Freely) && again(Failure::Unsent, Repeat::Freely));
        assert!(again(Failure::Unsent, Repeat::Unsent) && !again(TRANSIENT, Repeat::Unsent));
        assert!(!again(TRANSIENT, Repeat::Never) && !again(Failure::Unsent, Repeat::Never));
        assert!(!again(Failure::Final, Repeat::Freely));
    }

    #[test]
    fn a_peer_is_waited_for_within_reason() {
        let waits = |seconds, remaining| {
            let after = Some(Duration::from_secs(seconds));
            wait(
                1,
                Failure::Transient { after },
                Repeat::Freely,
                Duration::from_secs(remaining),
                RESERVE,
                1.0,
            )
        };
        assert_eq!(waits(3, 60), Some(Duration::from_secs(3)));
        assert_eq!(waits(6, 60), None);
        assert_eq!(waits(3, 11), None, "more than a quarter of what is left");
        assert_eq!(waits(5, 60), Some(PATIENCE), "just within patience");
        assert_eq!(waits(3, 12), Some(Duration::from_secs(3)), "just a quarter");
    }

    #[test]
    fn luck_is_anywhere_between_none_and_all() {
        let drawn: Vec<f64> = (0..64).map(|_| luck()).collect();
        assert!(drawn.iter().all(|luck| (0.0..=1.0).contains(luck)));
        assert!(drawn.iter().any(|luck| *luck < 0.5) && drawn.iter().any(|luck| *luck > 0.5));
    }

    #[test]
    fn the_longest_wait_doubles() {
        let longest = |failed| wait(failed, TRANSIENT, Repeat::Freely, MINUTE, RESERVE, 1.0);
        assert_eq!(longest(1), Some(BASE));
        assert_eq!(longest(2), Some(BASE * 2));
        assert_eq!(longest(3), None);
    }

    #[test]
    fn the_budget_is_a_fifth_of_the_calls_and_at_least_one() {
        let mut budget = Budget::default();
        assert!(budget.retry(100));
        assert!(!budget.retry(100));
        for _ in 0..25 {
            budget.call(101);
        }
        assert_eq!(
            (0..10).filter(|_| budget.retry(101)).count(),
            4,
            "five, and one was used a second ago"
        );
        assert!(!budget.retry(109));
        assert!(budget.retry(111), "the window has moved on");
        let mut budget = Budget::default();
        assert!(budget.retry(100) && !budget.retry(109));
        assert!(budget.retry(110), "ten seconds are over");
    }

    #[tokio::test(start_paused = true)]
    async fn the_loop_ends_with_success_or_with_the_last_failure() {
        let retry = Retry::new(Instant::now(), RESERVE);
        for _ in 0..100 {
            let _: Result<(), ()> = retry
                .run(
                    Repeat::Never,
                    Instant::now(),
                    |()| Failure::Final,
                    || async { Ok(()) },
                )
                .await;
        }
        let until = Instant::now() + MINUTE;
        let attempts = AtomicU32::new(0);
        let attempt = || {
            std::future::ready(match attempts.fetch_add(1, Ordering::SeqCst) {
                2 => Ok("third time"),
                n => Err(n),
            })
        };
        assert_eq!(
            retry
                .run(Repeat::Freely, until, |_| TRANSIENT, attempt)
                .await,
            Ok("third time")
        );
        let hopeless = || std::future::ready(Err::<(), _>(attempts.fetch_add(1, Ordering::SeqCst)));
        assert_eq!(
            retry
                .run(Repeat::Freely, until, |_| TRANSIENT, hopeless)
                .await,
            Err(5)
        );
        let once = || std::future::ready(Err::<(), _>(attempts.fetch_add(1, Ordering::SeqCst)));
        assert_eq!(
            retry.run(Repeat::Unsent, until, |_| TRANSIENT, once).await,
            Err(6)
        );
    }

    proptest! {
        #[test]
        fn attempts_and_waits_are_bounded(
            failures in proptest::collection::vec((any::<bool>(), proptest::option::of(0_u64..100_000)), 10),
            total in 0_u64..200_000,
            luck in 0.0..=1.0,
        ) {
            let mut remaining = Duration::from_millis(total);
            let mut attempts = 1;
            for (unsent, after) in failures {
                let failure = if unsent {
                    Failure::Unsent
                } else {
                    Failure::Transient { after: after.map(Duration::from_millis) }
                };
                let Some(wait) = wait(attempts, failure, Repeat::Freely, remaining, RESERVE, luck) else { break };
                prop_assert!(wait + RESERVE <= remaining);
                remaining -= wait;
                attempts += 1;
            }
            prop_assert!(attempts <= ATTEMPTS);
        }
    }
}
