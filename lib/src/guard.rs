//! Who may be called now: every peer's breaker, shared with the other instances.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::{Clock, Millis};
use crate::domain::rules::BreakerRules;
use crate::resilience::breaker::{Admission, Breaker, Outcome, Step, Window};
use crate::resilience::retry::luck;
use crate::store::{Breakers, Versioned};

/// The breakers of everything that is called. One for the whole process.
#[derive(Debug)]
pub struct Guard {
    rules: BreakerRules,
    shared: Breakers,
    clock: Clock,
    /// This instance among all of them.
    me: u64,
    seen: Mutex<Seen>,
}

/// What this instance knows.
#[derive(Debug, Default)]
struct Seen {
    /// When the others were last looked at.
    at: Option<Millis>,
    peers: HashMap<Arc<str>, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    breaker: Versioned<Breaker>,
    /// When this instance changed it last: what was read before that is old.
    changed: Millis,
    /// The others could not be told: the store was down.
    untold: bool,
    window: Window,
    /// Owners that were turned away since somebody was served.
    denied: BTreeSet<u64>,
    /// A probe of ours is under way.
    probing: bool,
}

/// Whose call it is.
#[derive(Clone, Debug, Default)]
pub struct Calling {
    /// The owner's mark, once it is known.
    pub mark: Arc<OnceLock<u64>>,
    /// The call is made with the caller's own key: its limits are the caller's own.
    pub own_key: bool,
}

/// So many owners that are turned away are no accident.
const SEVERAL: usize = 3;

/// A peer is left alone for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it failed too often and is left alone for {:?}", .0)]
pub struct Resting(pub Duration);

impl Guard {
    /// `me` tells this instance from the others: any random number.
    pub fn new(rules: BreakerRules, shared: Breakers, clock: Clock, me: u64) -> Self {
        Self {
            rules,
            shared,
            clock,
            me,
            seen: Mutex::default(),
        }
    }

    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Looks at what the other instances found, if the last look is too old. A store that does not answer leaves this
    /// instance with its own view: it never closes the service.
    pub async fn refresh(&self) {
        let now = self.clock.now();
        {
            let mut seen = self.lock();
            if (seen.at).is_some_and(|at| now.since(at) < self.rules.fresh) {
                return;
            }
            // Whoever comes meanwhile goes on with the old view.
            seen.at = Some(now);
        }
        let all = match self.shared.all(now).await {
            Ok(all) => all,
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the other instances' breakers cannot be read"
                );
                return;
            }
        };
        let mut seen = self.lock();
        let mut all: HashMap<_, _> = all.into_iter().collect();
        for (name, peer) in &mut seen.peers {
            peer.learn(all.remove(&**name).unwrap_or_default(), now);
        }
        for (name, breaker) in all {
            seen.peers
                .entry(name.into())
                .or_default()
                .learn(breaker, now);
        }
    }

    /// Whether a peer is left alone at the moment, as far as this instance knows.
    pub fn leaves_alone(&self, peer: &str) -> bool {
        let now = self.clock.now();
        let seen = self.lock();
        (seen.peers.get(peer)).is_some_and(|known| {
            let admission = known.breaker.value.admit(now, self.me, &self.rules);
            matches!(admission, Admission::Refused { .. })
        })
    }

    /// Every peer that was called, and the name of its breaker's state.
    pub fn states(&self) -> Vec<(Arc<str>, &'static str)> {
        let seen = self.lock();
        let peers = seen.peers.iter();
        (peers.map(|(peer, known)| (Arc::clone(peer), known.breaker.value.name()))).collect()
    }

    /// Asks whether a peer may be called. The permit must be settled with how the call ended; one that is dropped
    /// is given back.
    pub async fn permit(
        self: &Arc<Self>,
        peer: &Arc<str>,
        caller: Calling,
        patience: Duration,
        until: Instant,
    ) -> Result<Permit, Resting> {
        let now = self.clock.now();
        let permit = |probe| Permit {
            guard: Arc::clone(self),
            peer: Arc::clone(peer),
            caller: caller.clone(),
            probe,
            patience,
            begun: Instant::now(),
            until,
            settled: false,
        };
        let resting = |until: Millis| Resting(until.since(now));
        let (known, half) = {
            let mut seen = self.lock();
            let known = seen.peers.entry(Arc::clone(peer)).or_default();
            match known.breaker.value.admit(now, self.me, &self.rules) {
                Admission::Pass => return Ok(permit(false)),
                Admission::Refused { until } => return Err(resting(until)),
                Admission::Probe(_) if known.probing => {
                    return Err(Resting(self.rules.lease));
                }
                Admission::Probe(half) => {
                    known.probing = true;
                    (known.breaker, half)
                }
            }
        };
        // From here on the place of the probe is ours: a permit gives it back, also when this future is dropped.
        let probe = permit(true);
        let agreed = self
            .shared
            .step(peer, now, known, |breaker| {
                let admission = breaker.admit(now, self.me, &self.rules);
                let half = match admission {
                    Admission::Probe(half) => Some(half),
                    Admission::Pass | Admission::Refused { .. } => None,
                };
                (half, admission)
            })
            .await;
        let (breaker, admission) = match agreed {
            Ok((breaker, admission)) => (breaker, admission),
            Err(error) => {
                tracing::warn!(
                    peer = &**peer,
                    error = &error as &dyn std::error::Error,
                    "a probe could not be agreed on with the other instances"
                );
                let alone = Versioned {
                    value: half,
                    ..known
                };
                (alone, Admission::Probe(half))
            }
        };
        self.with(peer, |known| {
            known.breaker = breaker;
            known.changed = now;
        });
        match admission {
            Admission::Probe(_) => Ok(probe),
            Admission::Pass => {
                drop(probe);
                Ok(permit(false))
            }
            Admission::Refused { until } => Err(resting(until)),
        }
    }

    /// Takes an end into this instance's view. `Some` when the others should know: what the view was before.
    fn count(
        &self,
        peer: &Arc<str>,
        caller: &Calling,
        probe: bool,
        outcome: Outcome,
    ) -> Option<(Versioned<Breaker>, Outcome, Step)> {
        let now = self.clock.now();
        let rules = &self.rules;
        self.with(peer, |known| {
            if probe {
                known.probing = false;
            }
            let outcome = known.judged(caller, outcome);
            let step = Step {
                now,
                probe,
                tripped: !probe && known.window.count(outcome, now, rules),
                luck: luck(),
            };
            let old = known.breaker;
            let new = old.value.after(outcome, &step, rules);
            if new == old.value {
                return None;
            }
            if new.name() != old.value.name() {
                known.window.clear();
                tracing::warn!(peer = &**peer, breaker = new.name(), "a breaker changed");
            }
            known.breaker.value = new;
            known.changed = now;
            known.untold = true;
            Some((old, outcome, step))
        })
    }

    fn with<T>(&self, peer: &Arc<str>, act: impl FnOnce(&mut Peer) -> T) -> T {
        act(self.lock().peers.entry(Arc::clone(peer)).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    /// One owner who is turned away may not be allowed; several have met a peer that lets nobody in.
    fn judged(&mut self, caller: &Calling, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Success => self.denied.clear(),
            // Of a key that is ours, everybody has had enough.
            Outcome::Limited { .. } if !caller.own_key => {}
            Outcome::Denied | Outcome::Limited { .. } => {
                if self.denied.len() < SEVERAL {
                    self.denied.extend(caller.mark.get());
                }
                return match outcome {
                    _ if self.denied.len() < SEVERAL => Outcome::Ignored,
                    Outcome::Denied => Outcome::Failure { after: None },
                    _ => outcome,
                };
            }
            Outcome::Failure { .. } | Outcome::Ignored => {}
        }
        outcome
    }

    /// Takes the view that all instances had when they were asked, unless this one knows better since, or could not
    /// say so.
    fn learn(&mut self, breaker: Versioned<Breaker>, asked: Millis) {
        if self.changed >= asked && self.changed.0 > 0 {
            return;
        }
        // A run of failures that could not be told is no less a run. What the others found to be open is so for us, too.
        let closed = |breaker: Breaker| breaker.name() == "closed";
        if self.untold && (!closed(self.breaker.value) || closed(breaker.value)) {
            self.breaker.version = breaker.version;
        } else {
            self.breaker = breaker;
            self.untold = false;
        }
    }
}

/// Leave to make one call.
#[derive(Debug)]
#[must_use = "a permit is settled with how the call ended"]
pub struct Permit {
    guard: Arc<Guard>,
    peer: Arc<str>,
    caller: Calling,
    probe: bool,
    /// How long the peer may take to its first byte.
    patience: Duration,
    begun: Instant,
    until: Instant,
    settled: bool,
}

impl Permit {
    /// Says how the call ended. The store is written only when that changes something for the others.
    pub async fn settle(mut self, outcome: Outcome) {
        self.settled = true;
        let guard = Arc::clone(&self.guard);
        let counted = guard.count(&self.peer, &self.caller, self.probe, outcome);
        let Some((old, outcome, step)) = counted else {
            return;
        };
        // The turn has no time left: what happened is worth more to its user than to the other instances.
        if Instant::now() >= self.until {
            return;
        }
        let told = guard
            .shared
            .step(&self.peer, step.now, old, |breaker| {
                let new = breaker.after(outcome, &step, &guard.rules);
                ((new != *breaker).then_some(new), ())
            })
            .await;
        match told {
            Ok((breaker, ())) => guard.with(&self.peer, |known| {
                known.breaker = breaker;
                known.untold = false;
            }),
            Err(error) => tracing::warn!(
                peer = &*self.peer,
                error = &error as &dyn std::error::Error,
                "the other instances could not be told of a breaker"
            ),
        }
    }

    /// What it says about the peer that the turn's time ran out during the call: nothing, if the peer had little of it.
    pub fn out_of_time(&self) -> Outcome {
        let share = self
            .patience
            .mul_f64(f64::from(self.guard.rules.silence) / 100.0);
        if self.begun.elapsed() >= share {
            Outcome::Failure { after: None }
        } else {
            Outcome::Ignored
        }
    }
}

impl Drop for Permit {
    /// Whoever drops a call has left it or has no time: only this instance learns of it, since nothing can be awaited.
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let outcome = if Instant::now() >= self.until {
            self.out_of_time()
        } else {
            Outcome::Ignored
        };
        self.guard
            .count(&self.peer, &self.caller, self.probe, outcome);
    }
}
