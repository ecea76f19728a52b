//! What was changed over the document, and what both come to together.

use std::fmt::{self, Write as _};

use futures_util::join;

use super::found::Found;
use super::source::{Document, digest};
use crate::settings::{Env, Over, Place, Roster, roster};
use crate::store::{self, Entries};

/// What was changed over the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub version: u64,
    pub over: Vec<Over>,
    /// What agents said of themselves.
    pub found: Vec<(String, Found)>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.version.fmt(f)
    }
}

/// What was changed, unless it is the version that was seen.
pub(super) async fn changes(
    entries: &Entries,
    seen: Option<u64>,
) -> Result<Option<Changes>, store::Error> {
    let version = entries.version().await?;
    if seen == Some(version) || (seen.is_none() && version == 0) {
        return Ok(None);
    }
    let (over, found) = join!(entries.all(), entries.all_found());
    let over = over?.into_iter().map(|entry| Over {
        name: entry.name,
        written: entry.written,
    });
    let found = found?.into_iter().map(|entry| {
        let found = Found::read(entry.written.as_deref());
        (entry.name, found)
    });
    Ok(Some(Changes {
        version,
        over: over.collect(),
        found: found.collect(),
    }))
}

/// Names a document with the changes over it.
pub(super) fn version(document: &Document, changes: &Changes) -> String {
    let mut all = document.text.to_string();
    for over in &changes.over {
        let _ = write!(all, "\n{} {:?}", over.name, over.written);
    }
    for (name, found) in &changes.found {
        let _ = write!(all, "\n{name} {found:?}");
    }
    format!("{changes}-{}", digest(&all))
}

pub(super) fn compose(
    place: &Place,
    document: &Document,
    changes: &Changes,
    env: &Env,
) -> Result<Roster, String> {
    let mut roster =
        roster(place, &document.text, &changes.over, env).map_err(|error| error.to_string())?;
    let registry = roster.registry.altered(|card| {
        let found = (changes.found.iter()).find(|(name, _)| *name == card.id.as_str());
        if let (Some(_), Some((_, found))) = (card.discover, found) {
            found.enrich(card);
        }
    });
    roster.registry = registry.versioned(&version(document, changes));
    Ok(roster)
}
