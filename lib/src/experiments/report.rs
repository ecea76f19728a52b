//! What an experiment has shown: each arm's figures, and how far they are from the control's.

use std::collections::HashMap;

use serde::Serialize;

use super::judge::{spend, time};
use super::statistics::{self, Interval, Sample, USUAL};
use crate::domain::day::Day;
use crate::domain::experiment::{Arm, ArmId, Experiment, SLOTS};
use crate::domain::ids::Millis;
use crate::domain::trial::{Counts, Trial};

/// An experiment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub name: String,
    pub by: String,
    /// `waiting` for its first day, `running`, or `over`.
    pub state: &'static str,
    pub start: Option<Day>,
    pub end: Option<Day>,
    /// The control first.
    pub arms: Vec<ArmReport>,
}

/// One arm. Intervals hold what they are about 95 times of 100; `null` where there are too few turns for one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmReport {
    pub name: String,
    /// In percent.
    pub share: f64,
    pub stopped_at: Option<Millis>,
    pub stopped_for: Option<String>,
    pub turns: u64,
    /// How many ended with a question back, and how many got the default agent because nothing else decided.
    pub clarified: u64,
    pub defaulted: u64,
    /// A share, from 0 to 1.
    pub failures: Option<Interval>,
    /// Of a turn.
    pub seconds: Option<Interval>,
    /// Of a turn whose price is known.
    pub dollars: Option<Interval>,
    /// How much more that is than the control's; not of the control itself.
    pub over_control: Option<Differences>,
}

/// How much more an arm's figures are than the control's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Differences {
    pub failures: Option<Difference>,
    pub seconds: Option<Difference>,
    pub dollars: Option<Difference>,
}

/// A difference, and what can be said of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    #[serde(flatten)]
    pub interval: Interval,
    pub says: &'static str,
}

/// What was counted so far, told.
pub fn of(experiment: &Experiment, trials: &HashMap<ArmId, Trial>, today: Day) -> Report {
    let trial = |arm: Option<&Arm>| trials.get(&experiment.id(arm)).cloned().unwrap_or_default();
    let control = trial(None);
    let given: u16 = experiment.arms.iter().map(|arm| arm.share).sum();
    let mut arms = vec![arm(experiment, None, SLOTS.saturating_sub(given), &control)];
    arms.extend(experiment.arms.iter().map(|own| {
        let trial = trial(Some(own));
        let differences = differences(&trial.counts, &control.counts);
        ArmReport {
            over_control: Some(differences),
            ..arm(experiment, Some(own), own.share, &trial)
        }
    }));
    Report {
        name: experiment.name.to_string(),
        by: experiment.by.to_string(),
        state: match experiment.start {
            _ if experiment.is_on(today) => "running",
            Some(start) if today < start => "waiting",
            _ => "over",
        },
        start: experiment.start,
        end: experiment.end,
        arms,
    }
}

fn arm(experiment: &Experiment, arm: Option<&Arm>, share: u16, trial: &Trial) -> ArmReport {
    let (counts, stopped) = (&trial.counts, trial.stopped.as_ref());
    let mean = |sample: Option<Sample>| sample.map(|sample| sample.mean(USUAL));
    ArmReport {
        name: experiment.id(arm).arm.to_string(),
        share: f64::from(share) * 100.0 / f64::from(SLOTS),
        stopped_at: stopped.map(|stopped| stopped.at),
        stopped_for: stopped.map(|stopped| stopped.why.clone()),
        turns: counts.turns,
        clarified: counts.clarified,
        defaulted: counts.defaulted,
        failures: statistics::rate(counts.failures, counts.turns, USUAL),
        seconds: mean(time(counts)),
        dollars: mean(spend(counts)),
        over_control: None,
    }
}

fn differences(own: &Counts, control: &Counts) -> Differences {
    let mean = |own: Option<Sample>, control: Option<Sample>| {
        let (own, control) = (own?, control?);
        Some(own.more_than(&control, USUAL))
    };
    let failures = statistics::more_than(
        (own.failures, own.turns),
        (control.failures, control.turns),
        USUAL,
    );
    Differences {
        failures: failures.map(said),
        seconds: mean(time(own), time(control)).map(said),
        dollars: mean(spend(own), spend(control)).map(said),
    }
}

fn said(interval: Interval) -> Difference {
    Difference {
        interval,
        says: match interval {
            Interval { low, .. } if low > 0.0 => "more than the control",
            Interval { high, .. } if high < 0.0 => "less than the control",
            _ => "cannot be told apart",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::experiment::{By, Variant, slots};
    use crate::domain::trial::{Stopped, Sum};

    fn experiment() -> Experiment {
        Experiment {
            name: "x".into(),
            by: By::User,
            condition: None,
            start: "2026-11-20".parse().ok(),
            end: "2026-11-22".parse().ok(),
            arms: vec![Arm {
                name: "new".into(),
                share: 1050,
                variant: Variant::default(),
                guard: None,
            }],
            slots: slots(&[1050]),
        }
    }

    /// Turns that took 1 s and 3 s by turns.
    fn trial(turns: u64, failures: u64) -> Trial {
        Trial {
            counts: Counts {
                turns,
                failures,
                time: Sum {
                    all: turns * 2000,
                    squares: turns * 5_000_000,
                },
                ..Counts::default()
            },
            stopped: None,
        }
    }

    fn told(of_control: Trial, of_new: Trial) -> Report {
        let experiment = experiment();
        let trials = [
            (experiment.id(None), of_control),
            (experiment.id(experiment.arms.first()), of_new),
        ];
        of(&experiment, &trials.into(), "2026-11-21".parse().unwrap())
    }

    #[test]
    fn an_arm_that_is_worse_is_said_to_be_and_one_that_may_be_is_not() {
        let says = |new: Trial| {
            let report = told(trial(100, 5), new);
            report.arms[1]
                .over_control
                .clone()
                .unwrap()
                .failures
                .unwrap()
                .says
        };
        assert_eq!(says(trial(100, 30)), "more than the control");
        assert_eq!(says(trial(100, 9)), "cannot be told apart");
        assert_eq!(says(trial(1000, 0)), "less than the control");
    }

    #[test]
    fn a_report_has_the_control_first_and_says_what_it_cannot() {
        let stopped = Trial {
            stopped: Some(Stopped {
                at: Millis(5),
                why: "it failed".into(),
            }),
            ..trial(4, 4)
        };
        let report = told(trial(8, 0), stopped);
        assert_eq!((report.state, &*report.by), ("running", "user"));
        let [control, new] = report.arms.as_slice() else {
            panic!("{report:?}")
        };
        assert_eq!((&*control.name, control.share), ("control", 89.5));
        assert_eq!((&*new.name, new.share), ("new", 10.5));
        assert_eq!(new.stopped_for.as_deref(), Some("it failed"));
        let seconds = control.seconds.unwrap();
        assert!((seconds.value - 2.0).abs() < 1e-9 && seconds.low < 1.2 && seconds.high > 2.8);
        // Of four turns no mean is told, and of no price nothing.
        assert_eq!((new.seconds, control.dollars), (None, None));
        assert!(new.failures.unwrap().low > 0.4);
        assert_eq!(control.over_control, None);
    }
}
