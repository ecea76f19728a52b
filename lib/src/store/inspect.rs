//! Reading the audit log: a day's lines, and whether anything was done to them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::attributes::{expires_at, string};
use super::audit::{Audit, head_of, line_of};
use super::chain::{Anchor, Head, Line, Listed, ROLL, Scope};
use super::check::{Check, Problem, Report, What};
use super::requests::Place;
use super::{Error, keys};
use crate::domain::day::Day;

/// A line as it is shown.
#[derive(Debug, Serialize)]
pub struct Shown {
    pub day: Day,
    pub writer: Arc<str>,
    pub seq: u64,
    /// Whether it is as it was written.
    pub good: bool,
    /// What it says; absent when it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<Box<RawValue>>,
}

/// What there is of a scope.
struct Found {
    report: Report,
    listed: Vec<String>,
    /// Anything at all.
    any: bool,
}

impl Audit {
    /// Checks every day of a range. `progress` is told of each day and of what was found so far.
    pub async fn verify(
        &self,
        tenant: &str,
        days: RangeInclusive<Day>,
        anchors: &[Anchor],
        mut progress: impl FnMut(Day, &Report),
    ) -> Result<Report, Error> {
        let (mut report, mut listed) = self.days(tenant).await?;
        // Where the roll's keys are not known, nothing can be said of what it lists.
        let readable = report.unknown_keys.is_empty();
        let mut day = *days.start();
        while day <= *days.end() {
            let scope = Scope::of_day(tenant, day);
            let found = self.scan(&scope, anchors, |_, _, _, _| {}).await?;
            report.add(found.report);
            let is_listed = |listed: &[Listed]| listed.iter().any(|listed| listed.day == day);
            if found.any && !is_listed(&listed) {
                // It may have begun after the roll was read.
                listed = self.days(tenant).await?.1;
            }
            let what = match (found.any, is_listed(&listed)) {
                (true, false) if readable => Some(What::DayUnlisted),
                (false, true) if readable => Some(What::DayMissing),
                _ => None,
            };
            report.problems.extend(what.map(|what| Problem {
                day: Some(day),
                what,
                writer: None,
                seq: None,
                to: None,
            }));
            progress(day, &report);
            day = day.next();
        }
        Ok(report)
    }

    /// The lines of a day, lane after lane.
    pub async fn show(
        &self,
        tenant: &str,
        day: Day,
        mut visit: impl FnMut(Shown),
    ) -> Result<Report, Error> {
        let scope = Scope::of_day(tenant, day);
        let found = self.scan(&scope, &[], |chain, seq, line, good| {
            if &**chain == ROLL {
                return;
            }
            let entry = line.and_then(|line| RawValue::from_string(line.body.clone()).ok());
            visit(Shown {
                day,
                writer: Arc::clone(chain),
                seq,
                good,
                entry,
            });
        });
        Ok(found.await?.report)
    }

    /// The days that have lines, and what is wrong with the roll of them.
    async fn days(&self, tenant: &str) -> Result<(Report, Vec<Listed>), Error> {
        let scope = Scope::of_tenant(tenant);
        let found = self.scan(&scope, &[], |_, _, _, _| {}).await?;
        let listed = (found.listed.iter())
            .filter_map(|body| serde_json::from_str(body).ok())
            .collect();
        Ok((found.report, listed))
    }

    /// Follows every chain of a scope. What has expired is gone, whether the table has deleted it or not.
    async fn scan(
        &self,
        scope: &Scope,
        anchors: &[Anchor],
        mut visit: impl FnMut(&Arc<str>, u64, Option<&Line>, bool),
    ) -> Result<Found, Error> {
        let now = self.clock.now().seconds();
        let pk = keys::chains(scope);
        let heads = self.heads(scope).await?;
        let mut any = !heads.is_empty();
        let mut check = Check::new(&self.keys, scope, now, heads, anchors);
        let mut place = Place::default();
        while let Some(items) = self.table.page(&pk, keys::LINES, &mut place).await? {
            for item in items.iter().filter(|item| expires_at(item) > now) {
                any = true;
                let sk = string(item, "sk").unwrap_or_default();
                // What stands at no place of a line is nobody's.
                let (chain, seq) = keys::place(sk).unwrap_or((sk, 0));
                let (chain, line) = (chain.into(), line_of(item));
                let good = check.take(&chain, seq, line.as_ref());
                visit(&chain, seq, line.as_ref(), good);
            }
        }
        let (report, listed) = check.end(self.heads(scope).await?);
        Ok(Found {
            report,
            listed,
            any,
        })
    }

    /// A head that cannot be read stands for nothing, and is missed.
    async fn heads(&self, scope: &Scope) -> Result<Vec<Head>, Error> {
        let now = self.clock.now().seconds();
        let (pk, mut heads) = (keys::chains(scope), Vec::new());
        let mut place = Place::default();
        while let Some(items) = self.table.page(&pk, keys::HEADS, &mut place).await? {
            let current = items.iter().filter(|item| expires_at(item) > now);
            heads.extend(current.filter_map(|item| {
                let chain = string(item, "sk")?.strip_prefix(keys::HEADS)?;
                // A head at another chain's place is not that chain's.
                head_of(item).filter(|head| &*head.chain == chain)
            }));
        }
        Ok(heads)
    }
}
