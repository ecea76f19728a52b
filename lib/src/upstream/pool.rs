//! Kept connections, given up when the process has slept for longer than their peers keep them.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::error::Error;
use crate::domain::ids::{Clock, Millis};

type Build = Box<dyn Fn() -> Result<reqwest::Client, Error> + Send + Sync>;

/// The connections that calls may share.
pub(super) struct Pool {
    build: Build,
    /// How long an unused connection is kept.
    idle: Duration,
    clock: Clock,
    kept: Mutex<Kept>,
}

struct Kept {
    client: reqwest::Client,
    used_at: Millis,
}

impl Pool {
    pub fn new(build: Build, idle: Duration, clock: Clock) -> Result<Self, Error> {
        let kept = Kept {
            client: build()?,
            used_at: clock.now(),
        };
        Ok(Self {
            build,
            idle,
            clock,
            kept: Mutex::new(kept),
        })
    }

    /// The connections as they are, or new ones after a gap in which the old ones have been closed by their peers.
    pub fn client(&self) -> reqwest::Client {
        let now = self.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that went back tells nothing, so it counts as a gap: that costs one connection.
        let gap = now < kept.used_at || now.since(kept.used_at) > self.idle;
        if gap && let Ok(client) = (self.build)() {
            kept.client = client;
        }
        kept.used_at = now;
        kept.client.clone()
    }

    /// Notes that a call has ended here, so that a long answer is no gap.
    pub fn touch(&self) {
        let now = self.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.used_at = kept.used_at.max(now);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;
    use crate::upstream::Certificates;

    #[test]
    fn new_connections_are_made_after_a_gap_and_only_then() {
        let builds = Arc::<AtomicUsize>::default();
        let seconds = Arc::new(AtomicU64::new(1000));
        let (counted, now) = (Arc::clone(&builds), Arc::clone(&seconds));
        let tls = Certificates::default().tls().unwrap();
        let build = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let client = reqwest::Client::builder().tls_backend_preconfigured(tls.clone());
            client.build().map_err(Error::Request)
        };
        let clock = Clock::new(move || Millis(now.load(Ordering::SeqCst) * 1000));
        let pool = Pool::new(Box::new(build), Duration::from_secs(4), clock).unwrap();
        let after = |second: u64, work: &dyn Fn()| {
            seconds.store(second, Ordering::SeqCst);
            work();
            builds.load(Ordering::SeqCst)
        };
        let call = || drop(pool.client());
        assert_eq!(
            after(1004, &call),
            1,
            "not longer than connections are kept"
        );
        assert_eq!(after(1009, &call), 2, "longer");
        assert_eq!(after(1050, &|| pool.touch()), 2, "a long answer ends");
        assert_eq!(after(1053, &call), 2, "which was no gap");
        assert_eq!(after(1000, &call), 3, "the clock went back");
        assert_eq!(after(1001, &call), 3);
    }
}
