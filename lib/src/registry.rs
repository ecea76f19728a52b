//! The agents as they are now: a document, and what was changed over it, looked at again and again.

mod changes;
mod discovery;
mod edit;
mod found;
mod remote;
mod source;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::join;
use tokio::time::timeout;

use crate::domain::capability::Capability;
use crate::domain::ids::{Clock, Millis};
pub use crate::settings::Roster;
use crate::settings::{Env, Over, Place, entry, references};
use crate::store::secrets::Reference;
use crate::store::{self, Entries, Kept};
use changes::{Changes, changes, compose, version};
pub use edit::{Edit, Refused, difference};
pub use found::{Discovered, Found};
pub use remote::Remote;
pub use source::{Document, Source};

/// A file is looked at as often as this: it is there, and whoever edits it waits for it.
const FILE: Duration = Duration::from_secs(2);

/// Where the agents come from, and what of it is in force in this process.
#[derive(Debug)]
pub struct Directory {
    source: Source,
    entries: Entries,
    /// What documents refer to, with the credentials that were fetched for them.
    env: Mutex<Env>,
    /// How often it is looked whether something has changed.
    every: Duration,
    clock: Clock,
    known: Mutex<Known>,
    /// Held while looking: who comes meanwhile goes on with what is known.
    looking: tokio::sync::Mutex<()>,
}

/// What is in force, and what is wrong with what is not.
#[derive(Clone, Debug)]
struct Known {
    document: Document,
    changes: Changes,
    looked_at: Option<Millis>,
    /// The document is not where it should be, or the table cannot be asked.
    troubles: [Option<String>; 2],
    /// What was found and cannot be taken: its version, and why.
    refused: Option<(String, String)>,
    /// The table has a copy of the document, or needs none.
    copied: bool,
}

/// How long it is looked at the first time.
#[derive(Clone, Copy, Debug)]
pub struct Patience(pub Duration);

impl Directory {
    /// Looks for the agents for the first time, and has them taken. What cannot be had in time is done without: the last
    /// copy stands for the document, or the one built in, and the table's changes are missing. Fails only where the
    /// document is near and wrong.
    pub async fn open<T>(
        source: Source,
        entries: Entries,
        mut env: Env,
        every: Duration,
        patience: Patience,
        mut take: impl FnMut(Roster) -> Result<T, String>,
    ) -> Result<(Self, T), String> {
        let (fetched, changes) = join!(
            timeout(patience.0, source.fetch(&entries, None)),
            timeout(patience.0, changes(&entries, None)),
        );
        let fetched = fetched.unwrap_or_else(|_| Err("it did not come in time".into()));
        let changes = changes.unwrap_or(Err(store::Error::Slow));
        let mut documents: Vec<Document> = Vec::new();
        let mut troubles = [None, None];
        match fetched {
            Ok(found) => documents.extend(found),
            Err(problem) => troubles[0] = Some(problem),
        }
        let changes = changes.unwrap_or_else(|error| {
            troubles[1] = Some(remote::said(&error));
            None
        });
        let changes = changes.unwrap_or_default();
        let mut known = Known {
            document: Document::of(""),
            changes,
            looked_at: None,
            troubles,
            refused: None,
            copied: !source.place.is_far() || source.place == Place::Table,
        };
        let mut copies = source.place.is_far();
        loop {
            for document in documents.drain(..) {
                let over = &known.changes.over;
                let mut keys = references(&source.place, &document.text, over);
                keys.retain(|key| env.get(key).is_none());
                fetch(&source.remote, keys, &mut env).await;
                for with in [true, false] {
                    let changes = Some(known.changes.clone()).filter(|_| with);
                    let changes = changes.unwrap_or_default();
                    let version = version(&document, &changes);
                    let taken =
                        compose(&source.place, &document, &changes, &env).and_then(&mut take);
                    match taken {
                        Ok(taken) => {
                            (known.document, known.changes) = (document, changes);
                            known.looked_at = Some(source.remote.clock.now());
                            known.tell(&source.place);
                            let directory = Self {
                                clock: source.remote.clock.clone(),
                                source,
                                entries,
                                env: Mutex::new(env),
                                every,
                                known: Mutex::new(known),
                                looking: tokio::sync::Mutex::default(),
                            };
                            return Ok((directory, taken));
                        }
                        Err(problem) => {
                            known.refused.get_or_insert((version, problem));
                        }
                    }
                }
            }
            if !std::mem::take(&mut copies) {
                return Err(known
                    .refused
                    .map_or_else(String::new, |(_, problem)| problem));
            }
            let copy = timeout(patience.0, entries.copy()).await;
            documents.extend(copy.ok().and_then(Result::ok).flatten().map(Document::kept));
            documents.push(Document::of(&source.place.near()?));
        }
    }

    /// Looks whether the agents have changed, if the last look is too old or it is to be at once, and has them taken. What
    /// cannot be taken is refused with its reason in the log, and what was in force stays so.
    pub async fn look(&self, at_once: bool, mut take: impl FnMut(Roster) -> Result<(), String>) {
        let _looking = if at_once {
            self.looking.lock().await
        } else {
            match self.looking.try_lock() {
                Ok(looking) if self.is_due() => looking,
                _ => return,
            }
        };
        let mut known = self.known().clone();
        let (document, changes) = join!(
            self.source.fetch(&self.entries, Some(&known.document)),
            changes(&self.entries, Some(known.changes.version)),
        );
        let document = noted(document, &mut known.troubles[0]).flatten();
        let changes = changes.map_err(|error| remote::said(&error));
        let changes = noted(changes, &mut known.troubles[1]).flatten();
        if document.is_some() || changes.is_some() {
            let text = &document.as_ref().unwrap_or(&known.document).text;
            let over = &changes.as_ref().unwrap_or(&known.changes).over;
            self.credentials(&self.source.place, text, over).await;
        }
        // What can be taken together is; what cannot does not keep the other from it.
        let both = (document.clone(), changes.clone());
        let candidates = [both.clone(), (document, None), (None, changes)];
        let mut refused = None;
        for (document, changes) in candidates {
            if document.is_none() && changes.is_none() {
                continue;
            }
            let new_document = document.is_some();
            let document = document.unwrap_or_else(|| known.document.clone());
            let changes = changes.unwrap_or_else(|| known.changes.clone());
            let version = version(&document, &changes);
            let composed = compose(&self.source.place, &document, &changes, &self.env());
            match composed.and_then(&mut take) {
                Ok(()) => {
                    tracing::info!(registry.version = version, "the agents are new");
                    known.copied &= !new_document || !self.source.place.is_far();
                    (known.document, known.changes) = (document, changes);
                    break;
                }
                Err(problem) => {
                    refused.get_or_insert((version, problem));
                }
            }
        }
        if let Some((version, problem)) = &refused
            && refused != known.refused
        {
            tracing::error!(
                registry.version = version,
                problem,
                "the agents have changed and cannot be used: the old ones stay"
            );
        }
        known.refused = refused;
        known.looked_at = Some(self.clock.now());
        self.copy(&mut known).await;
        *self.known() = known;
    }

    /// What the registry would be with another entry: for whoever is to change it.
    pub async fn compose_with(&self, other: &Over) -> Result<Roster, String> {
        let place = &self.source.place;
        self.credentials(place, "", std::slice::from_ref(other))
            .await;
        if let Some(written) = &other.written {
            entry(written, &self.env())?;
        }
        let known = self.known().clone();
        let mut changes = known.changes;
        changes.over.retain(|over| over.name != other.name);
        changes.over.push(other.clone());
        compose(&self.source.place, &known.document, &changes, &self.env())
    }

    /// What the registry is.
    fn compose_now(&self) -> Result<Roster, String> {
        let known = self.known().clone();
        compose(
            &self.source.place,
            &known.document,
            &known.changes,
            &self.env(),
        )
    }

    /// What the registry would be with another document.
    pub async fn compose_from(&self, text: &str) -> Result<Roster, String> {
        self.credentials(&Place::Table, text, &[]).await;
        let changes = self.known().changes.clone();
        compose(&Place::Table, &Document::of(text), &changes, &self.env())
    }

    /// What an agent named before and does not name any more.
    pub fn missing(&self, agent: &str) -> Vec<Capability> {
        let known = self.known();
        let mut found = known.changes.found.iter();
        let found = found.find(|(name, _)| name == agent);
        found.map_or_else(Vec::new, |(_, found)| found.missing.clone())
    }

    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    pub fn env(&self) -> Env {
        let env = self.env.lock().unwrap_or_else(PoisonError::into_inner);
        env.clone()
    }

    /// Fetches the credentials that a document and entries over it refer to.
    async fn credentials(&self, place: &Place, text: &str, over: &[Over]) {
        let keys = references(place, text, over);
        if keys.is_empty() {
            return;
        }
        let mut env = self.env();
        fetch(&self.source.remote, keys, &mut env).await;
        *self.env.lock().unwrap_or_else(PoisonError::into_inner) = env;
    }

    pub fn every(&self) -> Duration {
        match self.source.place {
            Place::File(_) => self.every.min(FILE),
            _ => self.every,
        }
    }

    pub fn is_table(&self) -> bool {
        self.source.place == Place::Table
    }

    /// What is wrong with the agents as they are now.
    pub fn problem(&self) -> Option<String> {
        self.known().problem(&self.source.place)
    }

    /// The last look is too old.
    pub fn is_due(&self) -> bool {
        let (now, looked_at) = (self.clock.now(), self.known().looked_at);
        looked_at.is_none_or(|at| now < at || now.since(at) >= self.every())
    }

    /// Keeps a copy of a document from elsewhere, for starts while that place is down.
    async fn copy(&self, known: &mut Known) {
        if known.copied || known.troubles[0].is_some() {
            return;
        }
        let copy = Kept {
            text: known.document.text.to_string(),
            version: known.document.version.clone(),
            from: self.source.place.to_string(),
        };
        match self.entries.keep_copy(&copy).await {
            Ok(()) => known.copied = true,
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no copy of the document of agents can be kept"
            ),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn problem(&self, place: &Place) -> Option<String> {
        let [document, table] = &self.troubles;
        let document =
            (document.as_ref()).map(|problem| format!("{place} cannot be read: {problem}"));
        let table = (table.as_ref()).map(|problem| format!("changes are not known: {problem}"));
        let refused = (self.refused.as_ref())
            .map(|(version, problem)| format!("version {version} is refused: {problem}"));
        let all: Vec<String> = [document, table, refused].into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// At a start, what is missing stands in the log.
    fn tell(&self, place: &Place) {
        if let Some(problem) = self.problem(place) {
            tracing::warn!(
                registry.version = version(&self.document, &self.changes),
                problem,
                "the agents are not what they should be"
            );
        }
    }
}

/// Puts secrets into the environment, each under its reference. What cannot be had stays as it was, and what needs it and
/// never had it is refused.
async fn fetch(remote: &Remote, keys: Vec<String>, env: &mut Env) {
    let named = keys.into_iter().filter_map(|key| {
        let reference = Reference::parse(&key)?;
        Some((key, reference))
    });
    for (name, fetched) in remote.secrets(named.collect()).await {
        match fetched {
            Ok(secret) => env.set(&name, secret.expose()),
            Err(problem) => tracing::warn!(problem, "a credential of an agent cannot be had"),
        }
    }
}

/// A value, or its problem noted.
fn noted<T>(found: Result<T, String>, trouble: &mut Option<String>) -> Option<T> {
    match found {
        Ok(found) => {
            *trouble = None;
            Some(found)
        }
        Err(problem) => {
            if trouble.as_ref() != Some(&problem) {
                tracing::warn!(problem, "it cannot be seen whether the agents have changed");
            }
            *trouble = Some(problem);
            None
        }
    }
}
