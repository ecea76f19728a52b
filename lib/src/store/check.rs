//! Finding what was done to chains: each line or lane that was edited, removed, moved or added.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::chain::{Anchor, Head, Line, Listed, ROLL, Scope};
use super::keyring::Keyring;
use crate::domain::day::Day;
use crate::domain::ids::Timestamp;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    pub what: What,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The last of several lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The line is not as it was signed.
    Edited,
    /// Lines are not there.
    Missing,
    /// Another line stands in the place of this one.
    Moved,
    /// The line does not follow on the one before it.
    Unlinked,
    /// The line stands behind the end of its lane.
    Surplus,
    /// The head is not as it was signed, or not that of these lines.
    HeadEdited,
    HeadMissing,
    LaneMissing,
    /// The roll of the day does not know the lane.
    LaneUnlisted,
    DayMissing,
    /// The roll of the tenant does not know the day.
    DayUnlisted,
    /// The log of the service has the line, the table has not.
    Unanchored,
}

/// What came of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub lines: u64,
    pub lanes: u64,
    pub problems: Vec<Problem>,
    /// Lines and heads whose keys are not known, by key: nothing can be said of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown_keys: BTreeMap<String, u64>,
}

/// A check under way, of all chains of one scope: heads as they were before the lines were read, lines in the order of
/// their places, heads as they were afterwards. What was appended meanwhile is no problem.
#[derive(Debug)]
pub struct Check<'a> {
    keys: &'a Keyring,
    scope: Scope,
    now: Timestamp,
    heads: BTreeMap<Arc<str>, Head>,
    walks: BTreeMap<Arc<str>, Walk>,
    anchors: BTreeMap<(Arc<str>, u64), String>,
    /// Lines behind the heads that were read first.
    beyond: Vec<(Arc<str>, u64)>,
    report: Report,
}

/// How far a chain was followed.
#[derive(Debug, Default)]
struct Walk {
    last: u64,
    /// The signature of the last line, if that is as it was signed.
    mac: Option<String>,
    /// What the lines of a roll say.
    bodies: Vec<String>,
}

impl Report {
    /// Nothing is wrong, and everything could be checked.
    pub fn is_fine(&self) -> bool {
        self.problems.is_empty() && self.unknown_keys.is_empty()
    }

    pub fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.lanes += other.lanes;
        self.problems.extend(other.problems);
        for (kid, count) in other.unknown_keys {
            *self.unknown_keys.entry(kid).or_default() += count;
        }
    }
}

impl<'a> Check<'a> {
    pub fn new(
        keys: &'a Keyring,
        scope: &Scope,
        now: Timestamp,
        heads: Vec<Head>,
        anchors: &[Anchor],
    ) -> Self {
        let ours =
            |anchor: &&Anchor| anchor.tenant == scope.tenant && Some(anchor.day) == scope.day;
        Self {
            keys,
            scope: scope.clone(),
            now,
            heads: by_chain(heads),
            walks: BTreeMap::new(),
            anchors: (anchors.iter().filter(ours))
                .map(|anchor| ((Arc::clone(&anchor.chain), anchor.seq), anchor.mac.clone()))
                .collect(),
            beyond: Vec::new(),
            report: Report::default(),
        }
    }

    /// The next line in the order of places. `line` is what stands there; `None` when it cannot even be read. Gives back
    /// whether it is what was written there.
    pub fn take(&mut self, chain: &Arc<str>, seq: u64, line: Option<&Line>) -> bool {
        self.report.lines += u64::from(&**chain != ROLL);
        let end = self.heads.get(chain).map_or(0, |head| head.seq);
        let walk = self.walks.entry(Arc::clone(chain)).or_default();
        let inside = (1..=end).contains(&seq);
        if !inside {
            self.beyond.push((Arc::clone(chain), seq));
        }
        // Of the oldest lines of the tenant's roll, those that have expired are gone.
        let begins = walk.last == 0
            && line.is_some_and(|line| {
                let listed = serde_json::from_str::<Listed>(&line.body);
                listed.is_ok_and(|listed| listed.before.is_some_and(|until| until <= self.now))
            });
        if inside && seq > walk.last + 1 && !begins {
            let what = (What::Missing, walk.last + 1, seq - 1);
            let problem = problem(&self.scope, chain, what);
            self.report.problems.push(problem);
        }
        let good = line.and_then(|line| line.is_good(self.keys, &self.scope));
        let what = match (line, good) {
            (Some(line), None) => {
                let unknown = self.report.unknown_keys.entry(line.kid.clone());
                *unknown.or_default() += 1;
                None
            }
            (Some(line), Some(true)) if line.chain != *chain || line.seq != seq => {
                Some(What::Moved)
            }
            (Some(line), Some(true)) => {
                let before = if seq == 1 {
                    Some("")
                } else {
                    walk.mac.as_deref()
                };
                let follows = walk.last + 1 == seq && before.is_some_and(|mac| mac != line.prev);
                follows.then_some(What::Unlinked)
            }
            _ => Some(What::Edited),
        };
        let sound = what.is_none() && good == Some(true);
        if inside {
            walk.last = seq;
            walk.mac = line.filter(|_| sound).map(|line| line.mac.clone());
        }
        if let Some(line) = line {
            let place = (Arc::clone(chain), seq);
            if self.anchors.get(&place) == Some(&line.mac) {
                self.anchors.remove(&place);
            }
            if sound && &**chain == ROLL {
                walk.bodies.push(line.body.clone());
            }
        }
        if let Some(what) = what {
            let problem = problem(&self.scope, chain, (what, seq, seq));
            self.report.problems.push(problem);
        }
        sound
    }

    /// The end: `later` are the heads as they are now. Gives back what the roll of the scope lists, too.
    pub fn end(mut self, later: Vec<Head>) -> (Report, Vec<String>) {
        let later = by_chain(later);
        let heads = std::mem::take(&mut self.heads);
        for (chain, head) in &heads {
            self.check_head(chain, head);
        }
        for (chain, seq) in std::mem::take(&mut self.beyond) {
            match later.get(&chain) {
                Some(head) if (1..=head.seq).contains(&seq) => {}
                // The missing head is the problem, and not each of its lines.
                None if !heads.contains_key(&chain) => {}
                _ => self.complain(&chain, What::Surplus, seq, seq),
            }
        }
        let headless: Vec<_> = (self.walks.keys())
            .filter(|chain| !heads.contains_key(*chain) && !later.contains_key(*chain))
            .cloned()
            .collect();
        for chain in &headless {
            self.complain_of(chain, What::HeadMissing);
        }
        let listed = (self.walks.remove(ROLL)).map_or_else(Vec::new, |walk| walk.bodies);
        if self.scope.day.is_some() {
            self.check_lanes(&listed, &heads, &later);
            for (chain, seq) in std::mem::take(&mut self.anchors).into_keys() {
                self.complain(&chain, What::Unanchored, seq, seq);
            }
        }
        self.report.lanes = heads.keys().filter(|chain| &***chain != ROLL).count() as u64;
        self.report.problems.sort();
        (self.report, listed)
    }

    fn check_head(&mut self, chain: &Arc<str>, head: &Head) {
        let (last, mac) =
            (self.walks.get(chain)).map_or((0, None), |walk| (walk.last, walk.mac.clone()));
        match head.is_good(self.keys, &self.scope) {
            None => {
                let unknown = self.report.unknown_keys.entry(head.kid.clone());
                *unknown.or_default() += 1;
            }
            Some(false) => self.complain_of(chain, What::HeadEdited),
            Some(true) if last < head.seq && head.until > self.now => {
                self.complain(chain, What::Missing, last + 1, head.seq);
            }
            Some(true) if last == head.seq && mac.is_some_and(|mac| mac != head.mac) => {
                self.complain_of(chain, What::HeadEdited);
            }
            Some(true) => {}
        }
    }

    /// Every lane that the roll lists must be there, and no other.
    fn check_lanes(
        &mut self,
        listed: &[String],
        heads: &BTreeMap<Arc<str>, Head>,
        later: &BTreeMap<Arc<str>, Head>,
    ) {
        let listed: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
        for lane in &listed {
            let headless = !heads.contains_key(*lane) && !later.contains_key(*lane);
            if headless && !self.walks.contains_key(*lane) {
                self.complain_of(&Arc::from(*lane), What::LaneMissing);
            }
        }
        let lanes: BTreeSet<_> = heads.keys().chain(self.walks.keys()).cloned().collect();
        for lane in lanes {
            let known = &*lane == ROLL || listed.contains(&*lane);
            // Where the roll's key is not known, nothing can be said.
            if !known && self.report.unknown_keys.is_empty() {
                self.complain_of(&lane, What::LaneUnlisted);
            }
        }
    }

    fn complain_of(&mut self, chain: &Arc<str>, what: What) {
        self.report.problems.push(Problem {
            day: self.scope.day,
            what,
            writer: Some(Arc::clone(chain)),
            seq: None,
            to: None,
        });
    }

    fn complain(&mut self, chain: &Arc<str>, what: What, from: u64, to: u64) {
        let problem = problem(&self.scope, chain, (what, from, to));
        self.report.problems.push(problem);
    }
}

fn problem(scope: &Scope, chain: &Arc<str>, (what, from, to): (What, u64, u64)) -> Problem {
    Problem {
        day: scope.day,
        what,
        writer: Some(Arc::clone(chain)),
        seq: Some(from),
        to: (to != from).then_some(to),
    }
}

fn by_chain(heads: Vec<Head>) -> BTreeMap<Arc<str>, Head> {
    (heads.into_iter())
        .map(|head| (Arc::clone(&head.chain), head))
        .collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(day) = self.day {
            write!(f, "{day}: ")?;
        }
        let chain = self.writer.as_deref().unwrap_or_default();
        let lane = match (chain, self.day) {
            (ROLL, None) => "the roll of days".to_owned(),
            (ROLL, Some(_)) => "the roll of lanes".to_owned(),
            (lane, _) => format!("lane {lane}"),
        };
        let line = match (self.seq, self.to) {
            (Some(from), Some(to)) => format!("lines {from} to {to} of {lane}"),
            (Some(seq), None) => format!("line {seq} of {lane}"),
            (None, _) => lane.clone(),
        };
        match self.what {
            What::Edited => write!(f, "{line}: not as it was written"),
            What::Missing => write!(f, "{line}: missing"),
            What::Moved => write!(f, "{line}: another line stands there"),
            What::Unlinked => write!(f, "{line}: does not follow on the line before it"),
            What::Surplus => write!(f, "{line}: stands behind the end"),
            What::HeadEdited => write!(f, "the head of {lane}: not as it was written"),
            What::HeadMissing => write!(f, "the head of {lane}: missing"),
            What::LaneMissing => write!(f, "{lane}: missing as a whole"),
            What::LaneUnlisted => write!(f, "{lane}: not in the roll of the day"),
            What::DayMissing => write!(f, "missing as a whole"),
            What::DayUnlisted => write!(f, "not in the roll of days"),
            What::Unanchored => write!(f, "{line}: the log has it, the table has not, or not so"),
        }
    }
}

#[cfg(test)]
mod tests;
