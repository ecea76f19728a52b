use proptest::prelude::*;

use super::*;

const FAILURE: Outcome = Outcome::Failure { after: None };
const LIMITED: Outcome = Outcome::Limited { after: None };
const ME: u64 = 1;

fn rules() -> BreakerRules {
    BreakerRules::default()
}

fn step(seconds: u64, probe: bool) -> Step {
    Step {
        now: Millis(seconds * 1000),
        probe,
        tripped: false,
        luck: 0.5,
    }
}

fn opened(until: u64, strikes: u32) -> Breaker {
    Breaker::Open {
        until: Millis(until * 1000),
        strikes,
    }
}

fn probing(breaker: Breaker, seconds: u64) -> Breaker {
    match breaker.admit(Millis(seconds * 1000), ME, &rules()) {
        Admission::Probe(breaker) => breaker,
        other => panic!("{other:?} is no probe"),
    }
}

#[test]
fn five_failures_in_a_row_open_it_and_a_success_starts_the_count_anew() {
    let mut breaker = Breaker::default();
    for outcome in [FAILURE, FAILURE, FAILURE, FAILURE, Outcome::Success] {
        breaker = breaker.after(outcome, &step(1, false), &rules());
    }
    for _ in 0..4 {
        breaker = breaker.after(FAILURE, &step(2, false), &rules());
        assert_eq!(breaker.name(), "closed");
    }
    assert_eq!(
        breaker.after(FAILURE, &step(2, false), &rules()),
        opened(32, 0)
    );
}

#[test]
fn a_run_with_a_long_pause_in_it_is_no_run() {
    let four = Breaker::Closed {
        run: 4,
        at: Millis(0),
    };
    let late = four.after(FAILURE, &step(31, false), &rules());
    assert_eq!(
        late,
        Breaker::Closed {
            run: 1,
            at: Millis(31_000)
        }
    );
}

#[test]
fn a_pause_as_long_as_the_window_is_still_a_run() {
    let four = Breaker::Closed {
        run: 4,
        at: Millis(0),
    };
    assert_eq!(
        four.after(FAILURE, &step(30, false), &rules()),
        opened(60, 0)
    );
}

#[test]
fn a_window_forgets_when_it_is_told_to_and_keeps_its_last_moment() {
    let mut window = Window::default();
    for _ in 0..19 {
        window.count(FAILURE, Millis(0), &rules());
    }
    let mut cleared = window.clone();
    cleared.clear();
    assert!(!cleared.count(FAILURE, Millis(0), &rules()));
    assert!(window.count(FAILURE, Millis(30_000), &rules()));
}

#[test]
fn while_open_nobody_calls_and_after_it_one_probe_does() {
    let breaker = opened(30, 0);
    let refused = Admission::Refused {
        until: Millis(30_000),
    };
    assert_eq!(breaker.admit(Millis(29_999), ME, &rules()), refused);
    let half = probing(breaker, 30);
    assert_eq!(
        half.admit(Millis(31_000), 2, &rules()),
        Admission::Refused {
            until: Millis(45_000)
        }
    );
    assert!(
        matches!(half.admit(Millis(45_000), 2, &rules()), Admission::Probe(_)),
        "a probe that never ended is given to another after its lease"
    );
    assert!(
        matches!(
            half.admit(Millis(31_000), ME, &rules()),
            Admission::Probe(_)
        ),
        "whose probe came to nothing may make it again"
    );
}

#[test]
fn a_probe_that_succeeds_closes_it_and_one_that_fails_doubles_the_time_up_to_the_cap() {
    let mut breaker = probing(opened(0, 0), 0);
    assert_eq!(
        breaker.after(Outcome::Success, &step(1, true), &rules()),
        Breaker::default()
    );
    let mut times = Vec::new();
    for outcome in [FAILURE, LIMITED, FAILURE, FAILURE, FAILURE] {
        let Breaker::Open { until, strikes } = breaker.after(outcome, &step(0, true), &rules())
        else {
            panic!("it should be open")
        };
        times.push(until.0 / 1000);
        breaker = probing(opened(0, strikes), 0);
    }
    assert_eq!(times, [60, 120, 240, 300, 300]);
}

#[test]
fn a_peer_that_names_a_time_is_left_alone_for_that_long_within_reason() {
    let four = Breaker::Closed {
        run: 4,
        at: Millis(0),
    };
    let after = |seconds| Outcome::Failure {
        after: Some(Duration::from_secs(seconds)),
    };
    assert_eq!(
        four.after(after(50), &step(0, false), &rules()),
        opened(50, 0)
    );
    assert_eq!(
        four.after(after(5), &step(0, false), &rules()),
        opened(30, 0)
    );
    assert_eq!(
        four.after(after(9999), &step(0, false), &rules()),
        opened(60, 0)
    );
}

#[test]
fn the_open_time_varies_by_a_fifth() {
    let four = Breaker::Closed {
        run: 4,
        at: Millis(0),
    };
    for (luck, seconds) in [(0.0, 24), (1.0, 36)] {
        let step = Step {
            luck,
            ..step(0, false)
        };
        assert_eq!(four.after(FAILURE, &step, &rules()), opened(seconds, 0));
    }
}

#[test]
fn being_limited_is_no_failure_of_its_own_but_counts_in_the_share() {
    let mut breaker = Breaker::default();
    let mut window = Window::default();
    for call in 0..19 {
        assert!(!window.count(LIMITED, Millis(call), &rules()));
        breaker = breaker.after(LIMITED, &step(0, false), &rules());
    }
    assert_eq!(breaker, Breaker::default());
    let tripped = window.count(LIMITED, Millis(19), &rules());
    let step = Step {
        tripped,
        ..step(0, false)
    };
    assert!(tripped);
    assert_eq!(breaker.after(LIMITED, &step, &rules()), opened(30, 0));
}

#[test]
fn a_poor_share_of_many_calls_trips_and_old_calls_do_not_count() {
    let mut window = Window::default();
    let outcomes = [Outcome::Success, FAILURE];
    for call in 0..40 {
        assert!(
            !window.count(outcomes[call % 2], Millis(0), &rules()),
            "half is enough"
        );
    }
    assert!(window.count(FAILURE, Millis(0), &rules()));
    assert!(!window.count(FAILURE, Millis(31_000), &rules()));
}

#[test]
fn what_was_under_way_when_it_opened_changes_nothing() {
    let half = probing(opened(0, 1), 0);
    for breaker in [opened(30, 1), half] {
        for outcome in [Outcome::Success, FAILURE, LIMITED] {
            assert_eq!(breaker.after(outcome, &step(1, false), &rules()), breaker);
        }
    }
}

/// The same rules once more, as plainly as can be, to compare with.
#[derive(Debug)]
struct Model {
    run: u32,
    run_at: u64,
    open_until: Option<u64>,
    strikes: u32,
    probing: bool,
}

impl Model {
    fn admits(&self, now: u64) -> bool {
        match self.open_until {
            None => true,
            Some(until) => now >= until,
        }
    }

    fn ends(&mut self, good: bool, now: u64) {
        if self.probing {
            self.probing = false;
            if good {
                *self = Self {
                    run: 0,
                    run_at: 0,
                    open_until: None,
                    strikes: 0,
                    probing: false,
                };
            } else {
                self.strikes += 1;
                let long = (30_000_u64 << self.strikes.min(16)).min(300_000);
                self.open_until = Some(now + long);
            }
        } else if good {
            self.run = 0;
        } else {
            if now - self.run_at > 30_000 {
                self.run = 0;
            }
            self.run += 1;
            self.run_at = now;
            if self.run >= 5 {
                self.open_until = Some(now + 30_000);
                self.strikes = 0;
            }
        }
    }
}

proptest! {
    #[test]
    fn it_behaves_like_the_plain_model(
        calls in proptest::collection::vec((0_u64..40_000, proptest::bool::weighted(0.3)), 1..200)
    ) {
        let rules = rules();
        let mut now = 100_000;
        let mut breaker = Breaker::default();
        let mut model = Model { run: 0, run_at: 0, open_until: None, strikes: 0, probing: false };
        for (pause, good) in calls {
            now += pause;
            let admission = breaker.admit(Millis(now), ME, &rules);
            let admitted = !matches!(admission, Admission::Refused { .. });
            prop_assert_eq!(admitted, model.admits(now), "{:?} {:?}", breaker, model);
            if !admitted {
                continue;
            }
            model.probing = model.open_until.is_some();
            let probe = matches!(admission, Admission::Probe(_));
            prop_assert_eq!(probe, model.probing);
            if let Admission::Probe(half) = admission {
                breaker = half;
            }
            let outcome = if good { Outcome::Success } else { FAILURE };
            let step = Step { now: Millis(now), probe, tripped: false, luck: 0.5 };
            breaker = breaker.after(outcome, &step, &rules);
            model.ends(good, now);
        }
    }
}
