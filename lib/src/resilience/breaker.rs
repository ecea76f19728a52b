//! A peer's breaker as a value and its steps: no task, no lock, no clock.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::ids::Millis;
use crate::domain::rules::BreakerRules;

/// What is known of a peer, by all instances together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Breaker {
    /// Calls are let through.
    Closed {
        /// Failures since the last success that somebody counted, and when the last one was.
        run: u32,
        at: Millis,
    },
    /// Calls are refused.
    Open { until: Millis, strikes: u32 },
    /// One call is let through to see how the peer is.
    HalfOpen {
        strikes: u32,
        /// The instance that makes it, and until when nobody else may.
        holder: u64,
        until: Millis,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed {
            run: 0,
            at: Millis(0),
        }
    }
}

/// What a call that ended says about the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer came, whole.
    Success,
    /// It did not. `after` is when the peer wants to be asked again.
    Failure { after: Option<Duration> },
    /// The peer has enough of us: no failure of its own, but no success either.
    Limited { after: Option<Duration> },
    /// This caller was turned away: its own matter, unless others are turned away too.
    Denied,
    /// The caller's own mistake or leaving, which says nothing.
    Ignored,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Pass,
    /// As the probe, once the others agree to this state.
    Probe(Breaker),
    Refused {
        until: Millis,
    },
}

impl Breaker {
    /// Whether instance `me` may call now. It may go on with a probe of its own that came to nothing.
    pub fn admit(self, now: Millis, me: u64, rules: &BreakerRules) -> Admission {
        match self {
            Self::Closed { .. } => Admission::Pass,
            Self::Open { until, .. } if now < until => Admission::Refused { until },
            Self::HalfOpen { until, holder, .. } if now < until && holder != me => {
                Admission::Refused { until }
            }
            Self::Open { strikes, .. } | Self::HalfOpen { strikes, .. } => {
                Admission::Probe(Self::HalfOpen {
                    strikes,
                    holder: me,
                    until: now.plus(rules.lease),
                })
            }
        }
    }

    /// The state after a call. `probe` says that the call was a probe; `tripped`, that this instance has seen too few of
    /// its calls succeed. `luck` is from 0 to 1.
    #[must_use]
    pub fn after(self, outcome: Outcome, step: &Step, rules: &BreakerRules) -> Self {
        let Step {
            now,
            probe,
            tripped,
            luck,
        } = *step;
        match (self, outcome) {
            (Self::Closed { .. }, Outcome::Success) => Self::default(),
            (Self::Closed { run, at }, Outcome::Failure { after }) => {
                let run = if now.since(at) > rules.window { 0 } else { run };
                let run = run.saturating_add(1);
                if run >= rules.failures || tripped {
                    open(0, after, now, luck, rules)
                } else {
                    Self::Closed { run, at: now }
                }
            }
            (Self::Closed { .. }, Outcome::Limited { after }) if tripped => {
                open(0, after, now, luck, rules)
            }
            // Only the end of a probe decides; what was under way before says nothing new. A probe that took longer than
            // its lease counts as well: with a slow peer every probe does, and none would ever decide.
            (Self::HalfOpen { strikes, .. }, outcome) if probe => match outcome {
                Outcome::Success => Self::default(),
                Outcome::Failure { after } | Outcome::Limited { after } => {
                    open(strikes.saturating_add(1), after, now, luck, rules)
                }
                Outcome::Ignored | Outcome::Denied => self,
            },
            _ => self,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

/// What a step needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub now: Millis,
    pub probe: bool,
    pub tripped: bool,
    pub luck: f64,
}

/// Twice as long after each strike, up to the cap, give or take a fifth; longer if the peer asked for it.
fn open(
    strikes: u32,
    after: Option<Duration>,
    now: Millis,
    luck: f64,
    rules: &BreakerRules,
) -> Breaker {
    let long = (rules.open)
        .saturating_mul(1_u32.checked_shl(strikes.min(16)).unwrap_or(u32::MAX))
        .min(rules.open_cap)
        .mul_f64(0.8 + 0.4 * luck.clamp(0.0, 1.0));
    let asked = after.unwrap_or_default().min(rules.retry_after);
    Breaker::Open {
        until: now.plus(long.max(asked)),
        strikes,
    }
}

/// This instance's own calls of late: who fails now and then never has a run, but a poor share.
#[derive(Clone, Debug, Default)]
pub struct Window {
    calls: VecDeque<(Millis, bool)>,
}

/// More calls than these are not looked at: a busy peer's last ones say enough.
const WINDOW_CALLS: usize = 1000;

impl Window {
    /// Counts a call; true when too few succeeded.
    pub fn count(&mut self, outcome: Outcome, now: Millis, rules: &BreakerRules) -> bool {
        let good = match outcome {
            Outcome::Success => true,
            Outcome::Failure { .. } | Outcome::Limited { .. } => false,
            Outcome::Ignored | Outcome::Denied => return false,
        };
        let old = |(at, _): &(Millis, bool)| now.since(*at) > rules.window;
        while self.calls.front().is_some_and(old) || self.calls.len() >= WINDOW_CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back((now, good));
        let good = self.calls.iter().filter(|(_, good)| *good).count();
        self.calls.len() >= rules.calls as usize
            && good * 100 < self.calls.len() * rules.ratio as usize
    }

    /// Forgets everything: what comes now is judged anew.
    pub fn clear(&mut self) {
        self.calls.clear();
    }
}

#[cfg(test)]
mod tests;
