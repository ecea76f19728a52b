//! The coordinator that serves now: another one takes its place when the agents change, and turns keep the one they began
//! with.

use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::{Either, select};

use tokio::sync::watch;

use crate::coordinator::Coordinator;
use crate::registry::{Directory, Edit, Refused, Roster};
use crate::resilience::health::{Checked, Part};
use crate::store::Audit;

/// Makes the coordinator of other agents from the one that serves. It shares everything that must survive.
pub type Renew = Box<dyn Fn(&Coordinator, Roster) -> Result<Coordinator, String> + Send + Sync>;

/// The coordinator of now, and the agents that it goes by.
pub struct Live {
    current: RwLock<Arc<Coordinator>>,
    directory: Directory,
    renew: Renew,
    /// Wakes all applications of the process.
    stirred: watch::Sender<()>,
}

impl Live {
    pub fn new(
        coordinator: Coordinator,
        directory: Directory,
        renew: Renew,
        stirred: watch::Sender<()>,
    ) -> Self {
        Self {
            current: RwLock::new(Arc::new(coordinator)),
            directory,
            renew,
            stirred,
        }
    }

    /// The coordinator of this moment: whoever asks keeps it for as long as it is needed.
    pub fn now(&self) -> Arc<Coordinator> {
        let current = self.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Looks whether the agents have changed, and goes on with them: where the last look is too old, or at once.
    pub async fn refresh(&self, at_once: bool) {
        let take = |roster| {
            let renewed = (self.renew)(&self.now(), roster)?;
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            *current = Arc::new(renewed);
            Ok(())
        };
        Box::pin(self.directory.look(at_once, take)).await;
    }

    /// Goes on with agents that were just changed here, and tells the others of the process.
    async fn changed(&self) {
        self.refresh(true).await;
        self.stirred.send_replace(());
    }

    /// Says when somebody of the process has changed the agents.
    pub fn stirred(&self) -> watch::Receiver<()> {
        self.stirred.subscribe()
    }

    /// Changes the registry, if all of it could be used then. Gives back its new version.
    pub async fn edit(&self, edit: Edit<'_>, log: &Audit) -> Result<u64, Refused> {
        // What it is tried on is what is there now.
        self.refresh(true).await;
        let known = (edit.what.agent()).is_none_or(|name| self.now().registry.get(name).is_some());
        if edit.written.is_none() && !known {
            return Err(Refused::Unknown);
        }
        let roster = Box::pin(self.directory.tried(&edit)).await?;
        (self.renew)(&self.now(), roster).map_err(Refused::Invalid)?;
        let version = Box::pin(self.directory.write(&edit, log)).await?;
        self.changed().await;
        Ok(version)
    }

    /// Looks beside some work, for as long as that takes: no turn waits for it, and on a function nothing runs after one.
    pub async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        let work = pin!(work);
        if !self.directory.is_due() {
            return work.await;
        }
        let looking = Box::pin(self.refresh(false));
        match select(work, looking).await {
            Either::Left((done, _)) => done,
            Either::Right(((), work)) => work.await,
        }
    }

    /// What is wrong with the agents as they are now.
    pub fn check(&self) -> Checked {
        let problem = self.directory.problem();
        Checked {
            name: "registry".into(),
            part: Part::Helper,
            up: problem.is_none(),
            latency: Duration::ZERO,
            problem,
        }
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("current", &self.now())
            .finish_non_exhaustive()
    }
}
