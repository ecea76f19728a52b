//! Whether an arm is surely worse than its guard lets it be.

use super::statistics::{self, Interval, SURE, Sample};
use crate::domain::experiment::Guard;
use crate::domain::trial::Counts;

/// Milliseconds as seconds.
pub const SECOND: f64 = 1e-3;
/// Millionths of a dollar as dollars.
pub const DOLLAR: f64 = 1e-6;

/// The figures of an arm that are means.
pub fn time(counts: &Counts) -> Option<Sample> {
    Sample::of(counts.turns, counts.time, SECOND)
}

pub fn spend(counts: &Counts) -> Option<Sample> {
    Sample::of(counts.priced, counts.spend, DOLLAR)
}

/// The first limit that is surely passed, in a sentence; it is looked at after each turn, so the doubt must be small.
pub fn broken(guard: &Guard, arm: &Counts, control: &Counts) -> Option<String> {
    if arm.turns < guard.least {
        return None;
    }
    let (limits, over) = (&guard.limits, &guard.over_control);
    let failures = statistics::rate(arm.failures, arm.turns, SURE);
    let more = statistics::more_than(
        (arm.failures, arm.turns),
        (control.failures, control.turns),
        SURE,
    )
    .filter(|_| control.turns >= guard.least);
    let [own_time, own_spend] = [time(arm), spend(arm)];
    let enough = |count: u64| count >= guard.least;
    let others_time = time(control).filter(|_| enough(control.turns));
    let others_spend = spend(control).filter(|_| enough(control.priced));
    let mean = |own: &Option<Sample>| own.map(|own| own.mean(SURE));
    let difference = |own: Option<Sample>, other: Option<Sample>| {
        let (own, other) = (own?, other?);
        Some(own.more_than(&other, SURE))
    };
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let seconds = |seconds: f64| format!("{seconds:.1} s");
    let dollars = |dollars: f64| format!("${dollars:.4}");
    let worse =
        |what: &str, found: Option<Interval>, limit: Option<f64>, shown: &dyn Fn(f64) -> String| {
            let (found, limit) = (found?, limit?);
            let shown = || {
                format!(
                    "{what}: {}, surely more than {}",
                    shown(found.value),
                    shown(limit)
                )
            };
            (found.low > limit).then(shown)
        };
    worse("failures", failures, limits.failures, &percent)
        .or_else(|| worse("mean time", mean(&own_time), limits.time, &seconds))
        .or_else(|| worse("mean spend", mean(&own_spend), limits.spend, &dollars))
        .or_else(|| worse("failures over the control's", more, over.failures, &percent))
        .or_else(|| {
            let found = difference(own_time, others_time);
            worse("mean time over the control's", found, over.time, &seconds)
        })
        .or_else(|| {
            let found = difference(own_spend, others_spend);
            worse("mean spend over the control's", found, over.spend, &dollars)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::experiment::Limits;
    use crate::domain::trial::Sum;

    /// So many turns of so many seconds, every other one a second longer, at a tenth of a cent each.
    fn counts(turns: u64, failures: u64, seconds: u64) -> Counts {
        let mut counts = Counts {
            turns,
            failures,
            priced: turns,
            ..Counts::default()
        };
        for turn in 0..turns {
            let time = Sum::of((seconds + turn % 2) * 1000);
            counts.time.all += time.all;
            counts.time.squares += time.squares;
            let spend = Sum::of(1000 + turn % 2);
            counts.spend.all += spend.all;
            counts.spend.squares += spend.squares;
        }
        counts
    }

    fn limits(failures: f64, time: f64, spend: f64) -> Limits {
        Limits {
            failures: Some(failures),
            time: Some(time),
            spend: Some(spend),
        }
    }

    #[test]
    fn an_arm_is_stopped_for_what_is_sure_alone() {
        let guard = Guard {
            least: 20,
            limits: limits(0.05, 10.0, 0.01),
            over_control: limits(0.02, 1.0, 0.001),
        };
        let check = |arm: Counts, control: Counts, expected: Option<&str>| {
            let found = broken(&guard, &arm, &control);
            assert_eq!(found.as_deref(), expected, "{arm:?} {control:?}");
        };
        let none = Counts::default();
        check(counts(19, 19, 5), none, None);
        check(
            counts(20, 20, 5),
            none,
            Some("failures: 100.0 %, surely more than 5.0 %"),
        );
        // Ten percent of twenty may be chance; of two thousand it is not.
        check(counts(20, 2, 5), none, None);
        check(
            counts(2000, 200, 5),
            none,
            Some("failures: 10.0 %, surely more than 5.0 %"),
        );
        check(
            counts(40, 0, 12),
            none,
            Some("mean time: 12.5 s, surely more than 10.0 s"),
        );
        check(counts(40, 0, 9), none, None);
        // Of the control, as much must be known.
        check(counts(40, 0, 7), counts(19, 0, 3), None);
        check(
            counts(40, 0, 7),
            counts(20, 0, 3),
            Some("mean time over the control's: 4.0 s, surely more than 1.0 s"),
        );
        check(
            counts(2000, 80, 5),
            counts(2000, 0, 5),
            Some("failures over the control's: 4.0 %, surely more than 2.0 %"),
        );
        check(counts(2000, 80, 5), counts(2000, 60, 5), None);
    }

    #[test]
    fn a_guard_of_one_figure_looks_at_no_other() {
        let guard = Guard {
            least: 20,
            limits: Limits {
                spend: Some(0.0005),
                ..Limits::default()
            },
            ..Guard::default()
        };
        let found = broken(&guard, &counts(30, 30, 100), &Counts::default());
        let expected = "mean spend: $0.0010, surely more than $0.0005";
        assert_eq!(found.as_deref(), Some(expected));
    }
}
