//! An agent behind its breakers: the endpoint to ask, and the next one when that cannot be asked.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::{Error, EventStream, Gateway, Reach};
use crate::domain::agent::{AgentCard, Effect};
use crate::domain::event::AgentEvent;
use crate::domain::ids::Millis;
use crate::domain::turn::AgentTask;
use crate::guard::{Calling, Guard, Permit};
use crate::resilience::breaker::Outcome;
use crate::resilience::failover::Preference;

/// For so long a call that ended well says that the agent can be reached: nobody has to ask.
const HEARD: Duration = Duration::from_secs(30);

/// One agent at all its endpoints.
#[derive(Clone)]
pub struct Guarded {
    shared: Arc<Shared>,
}

struct Shared {
    /// In the order of the card.
    endpoints: Vec<Spot>,
    effect: Effect,
    /// How long a call may take in all, whatever is left of the turn.
    deadline: Option<Duration>,
    guard: Arc<Guard>,
    patience: Duration,
    dwell: Duration,
    preference: Mutex<Preference>,
    last: Arc<Last>,
}

/// What the last call that ended has shown.
#[derive(Default)]
struct Last {
    /// There was nothing at the address.
    gone: AtomicBool,
    /// When it ended, if it ended well; 0 otherwise.
    well: AtomicU64,
}

/// One endpoint.
pub struct Spot {
    /// Its breaker's name.
    pub peer: Arc<str>,
    /// Whether it is called with the caller's own key.
    pub own_key: bool,
    pub gateway: Arc<dyn Gateway>,
}

/// A call whose first event has come: from here on there is no other endpoint.
struct Running {
    events: EventStream,
    permit: Option<Permit>,
    guard: Arc<Guard>,
    last: Arc<Last>,
}

impl Guarded {
    pub fn new(endpoints: Vec<Spot>, card: &AgentCard, reach: &Reach) -> Self {
        Self {
            shared: Arc::new(Shared {
                endpoints,
                effect: card.effect,
                deadline: card.deadline,
                guard: Arc::clone(&reach.guard),
                patience: reach.first_byte,
                dwell: reach.dwell,
                preference: Mutex::default(),
                last: Arc::default(),
            }),
        }
    }
}

impl Shared {
    /// Asks endpoint after endpoint until one gives a first event.
    async fn begin(&self, task: &AgentTask) -> Result<(AgentEvent, Running), Error> {
        let now = self.guard.now();
        let order = self
            .preference()
            .order(now, self.dwell, self.endpoints.len());
        let mut last = Error::Unknown;
        for at in order {
            let Some(spot) = self.endpoints.get(at) else {
                continue;
            };
            let asked = self.ask(spot, task).await;
            match asked {
                Ok(begun) => {
                    let mut kept = self
                        .preference
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    *kept = kept.answered(at, self.guard.now());
                    return Ok(begun);
                }
                Err(error) if error.may_go_elsewhere(self.effect) => {
                    // Of several failures, the one of an endpoint that was asked says more.
                    if !matches!(
                        (&last, &error),
                        (Error::Call(_) | Error::Unasked(_), Error::Resting(_))
                    ) {
                        last = error;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    async fn ask(&self, spot: &Spot, task: &AgentTask) -> Result<(AgentEvent, Running), Error> {
        let caller = Calling {
            mark: Arc::clone(&task.caller.mark),
            own_key: spot.own_key,
        };
        let permit = (self.guard)
            .permit(&spot.peer, caller, self.patience, task.deadline)
            .await
            .map_err(Error::Resting)?;
        let mut running = Running {
            events: spot.gateway.call(task.clone()),
            permit: Some(permit),
            guard: Arc::clone(&self.guard),
            last: Arc::clone(&self.last),
        };
        let first = running.next().await?.ok_or(Error::Unfinished)?;
        Ok((first, running))
    }

    fn preference(&self) -> Preference {
        *self
            .preference
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// The next event. The end, good or bad, is told to the breaker before it is told to the caller.
    async fn next(&mut self) -> Result<Option<AgentEvent>, Error> {
        let event = self.events.next().await.transpose();
        let outcome = match (&event, &self.permit) {
            (Ok(Some(AgentEvent::Finished)), _) => Outcome::Success,
            (Ok(Some(_)), _) | (_, None) => return event,
            (Ok(None), _) => Outcome::Failure { after: None },
            (Err(error), Some(permit)) => error.outcome(permit.out_of_time()),
        };
        let gone = event.as_ref().is_err_and(Error::is_nothing_there);
        self.last.gone.store(gone, Ordering::Relaxed);
        let well = match outcome {
            Outcome::Success => self.guard.now().0,
            _ => 0,
        };
        self.last.well.store(well, Ordering::Relaxed);
        if let Some(permit) = self.permit.take() {
            permit.settle(outcome).await;
        }
        event
    }
}

#[async_trait]
impl Gateway for Guarded {
    fn call(&self, task: AgentTask) -> EventStream {
        enum Step {
            Begin(Box<AgentTask>),
            Go(Running),
        }
        let shared = Arc::clone(&self.shared);
        stream::try_unfold(Step::Begin(Box::new(task)), move |step| {
            let shared = Arc::clone(&shared);
            async move {
                let (event, running) = match step {
                    Step::Begin(mut task) => {
                        if let Some(deadline) = shared.deadline {
                            task.deadline = task.deadline.min(Instant::now() + deadline);
                        }
                        shared.begin(&task).await?
                    }
                    Step::Go(mut running) => match running.next().await? {
                        Some(event) => (event, running),
                        None => return Ok(None),
                    },
                };
                Ok(Some((event, Step::Go(running))))
            }
        })
        .boxed()
    }

    fn is_resting(&self) -> bool {
        let mut endpoints = self.shared.endpoints.iter();
        endpoints.all(|spot| self.shared.guard.leaves_alone(&spot.peer))
    }

    fn is_gone(&self) -> bool {
        self.shared.last.gone.load(Ordering::Relaxed)
    }

    /// Any endpoint may be the one that keeps it, so all of them have to forget. No breaker is asked: this is no call for
    /// an answer, and whoever waits for it is told how it went.
    async fn forget(&self, session: &str, within: Duration) -> Result<(), Error> {
        let asked = (self.shared.endpoints.iter()).map(|spot| spot.gateway.forget(session, within));
        (futures_util::future::join_all(asked).await.into_iter()).collect()
    }

    /// Which endpoint is at work is not known here, and the others know nothing of it.
    async fn abandon(&self, session: &str, within: Duration) -> Result<(), Error> {
        let asked =
            (self.shared.endpoints.iter()).map(|spot| spot.gateway.abandon(session, within));
        (futures_util::future::join_all(asked).await.into_iter()).collect()
    }

    /// A real call says more than a probe, so an agent that was just heard is not asked. One endpoint that can be reached is
    /// enough.
    async fn check(&self, within: Duration) -> Result<(), Error> {
        let well = Millis(self.shared.last.well.load(Ordering::Relaxed));
        if well.0 > 0 && self.shared.guard.now().since(well) < HEARD {
            return Ok(());
        }
        let checks = (self.shared.endpoints.iter()).map(|spot| spot.gateway.check(within));
        match futures_util::future::select_ok(checks).await {
            Ok(((), _)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
