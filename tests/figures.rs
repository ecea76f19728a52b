//! The arithmetic of the load measurement: what it counts as waiting, when its turns come, and what it lets pass.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[path = "load/baseline.rs"]
mod baseline;
#[allow(dead_code)]
#[path = "load/law.rs"]
mod law;
#[allow(dead_code)]
#[path = "load/ledger.rs"]
mod ledger;
#[allow(dead_code)]
#[path = "load/mean.rs"]
mod mean;
#[allow(dead_code)]
#[path = "load/spread.rs"]
mod spread;

use baseline::Baseline;
use law::{Law, arrivals};
use ledger::{Ledger, Span, waited};
use mean::{Mean, break_even};
use spread::{MEDIAN, P99, P999, Spread};

fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn calls_that_overlap_are_waited_for_once() {
    let zero = Instant::now();
    let span = |from, to| Span {
        begun_at: zero + millis(from),
        ended_at: zero + millis(to),
    };
    let rows = [
        (vec![], 0),
        (vec![span(0, 10), span(20, 25)], 15),
        (vec![span(20, 25), span(0, 10)], 15),
        (vec![span(0, 10), span(5, 12)], 12),
        (vec![span(0, 10), span(2, 3), span(9, 11)], 11),
        (vec![span(0, 10), span(10, 20)], 20),
    ];
    for (spans, expected) in rows {
        assert_eq!(waited(spans.clone()), millis(expected), "{spans:?}");
    }
    let ledger = Ledger::default();
    ledger.add(1, span(0, 1));
    ledger.add(2, span(0, 2));
    ledger.add(1, span(1, 2));
    assert_eq!(ledger.take(1).len(), 2);
    assert_eq!(ledger.take(1).len(), 0);
}

#[test]
fn a_turn_that_never_came_is_the_slowest_of_all() {
    let mut spread = Spread::default();
    assert!(spread.at(MEDIAN).is_nan());
    for value in (1..=99).rev() {
        spread.add(Duration::from_micros(value));
    }
    spread.add_miss();
    assert_eq!((spread.at(MEDIAN), spread.count()), (51.0, 100));
    assert_eq!(spread.at(P99), f64::INFINITY);
    let json = spread.json(&[MEDIAN, P999]);
    assert_eq!(json, serde_json::json!({"median": 51.0, "p99.9": null}));
}

#[test]
fn delays_keep_to_their_law_and_can_be_repeated() {
    let law = Law { scale: 1.0 };
    let mut events_seen = BTreeMap::new();
    for turn in 1..=2000 {
        let routing = law.routing(turn);
        assert!((millis(300)..millis(800)).contains(&routing), "{routing:?}");
        let (events, pace) = law.agent(turn);
        *events_seen.entry(events).or_insert(0) += 1;
        assert_eq!(pace.first, millis(300));
        let whole = pace.each * u32::try_from(events - 1).unwrap() + millis(1);
        assert!((millis(1000)..millis(2001)).contains(&whole), "{whole:?}");
        let each = law.synthesis(turn).each;
        assert!((millis(15)..millis(30)).contains(&each), "{each:?}");
        assert_eq!(Law { scale: 2.0 }.routing(turn), routing * 2);
    }
    assert_eq!(events_seen.keys().min(), Some(&20));
    assert_eq!(events_seen.keys().max(), Some(&40));
    assert_ne!(law.routing(1), law.routing(2));
    assert_eq!(Law { scale: 0.0 }.agent(7).1.each, Duration::ZERO);
}

#[test]
fn turns_come_as_often_as_asked_at_times_that_can_be_repeated() {
    let long = Duration::from_secs(30);
    let even = arrivals(100.0, long, 1, true);
    assert_eq!(even.len(), 2999);
    assert_eq!(even[1] - even[0], millis(10));
    let random = arrivals(100.0, long, 1, false);
    assert!((2800..3200).contains(&random.len()), "{}", random.len());
    assert!(random.is_sorted() && random.iter().all(|at| *at < long));
    assert_eq!(random, arrivals(100.0, long, 1, false));
    assert_ne!(random, arrivals(100.0, long, 2, false));
    // Who comes at random sometimes comes together.
    let close = random
        .windows(2)
        .filter(|pair| pair[1] - pair[0] < millis(1));
    assert!(close.count() > 100);
}

const FILE: &str = r#"{
  "debug.rss_kib": {"value":1000,"percent":10},
  "ratio": {"value":2.5,"percent":50},
  "zip.chat_bytes": {"value":5900,"percent":5,"at_most":6000}
}
"#;

fn measured(figures: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let named = figures.iter().map(|(name, value)| ((*name).into(), *value));
    named.collect()
}

#[test]
fn what_became_worse_than_the_baseline_allows_is_named() {
    let baseline = Baseline::read(FILE).unwrap();
    let check = |name: &str, value: f64, expected: Option<&str>| {
        let verdict = baseline.compare(&measured(&[(name, value)]), &[]);
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(verdict.worse, expected, "{name} {value}");
        assert_eq!(verdict.lines.len(), 1);
    };
    check("debug.rss_kib", 1099.0, None);
    check("debug.rss_kib", 10.0, None);
    check("new", 1.0, None);
    let worse = "debug.rss_kib: 1101 (+10.1 %), allowed are +10 %";
    check("debug.rss_kib", 1101.0, Some(worse));
    let worse = "zip.chat_bytes: 6001 (+1.7 %), over its limit 6000";
    check("zip.chat_bytes", 6001.0, Some(worse));
    let worse = "zip.chat_bytes: NaN (NaN %), no number";
    check("zip.chat_bytes", f64::NAN, Some(worse));
    let verdict = baseline.compare(
        &measured(&[("ratio", 2.5)]),
        &["zip.".into(), "debug".into()],
    );
    let expected = [
        "debug.rss_kib was not measured",
        "zip.chat_bytes was not measured",
    ];
    assert_eq!(verdict.worse, expected);
    assert!(verdict.text().contains("WORSE zip.chat_bytes was"));
}

#[test]
fn a_baseline_that_is_written_anew_keeps_its_rooms_and_limits() {
    let mut baseline = Baseline::read(FILE).unwrap();
    assert_eq!(baseline.text(), FILE);
    let news = [
        ("zip.chat_bytes", 5500.0),
        ("new", 7.0),
        ("new_to_direct_calls", 0.12345),
    ];
    baseline.renew(&measured(&news));
    let expected = FILE.replace("5900", "5500").replace(
        "  \"ratio\"",
        "  \"new\": {\"value\":7,\"percent\":10},\n  \"new_to_direct_calls\": {\"value\":0.123,\"percent\":50},\n  \"ratio\"",
    );
    assert_eq!(baseline.text(), expected);
    let problem = Baseline::read(r#"{"a": {"value": 1}}"#).unwrap_err();
    assert_eq!(problem, "a has no percent");
}

/// The baseline in the repository keeps to what was asked for.
#[test]
fn the_baseline_can_be_read_and_limits_the_zip() {
    let file = include_str!("load/baseline.json");
    let baseline = Baseline::read(file).unwrap();
    assert_eq!(baseline.0["zip.chat_bytes"].at_most, Some(6e6));
    assert_eq!(baseline.text(), file);
}

#[test]
fn a_guess_pays_from_its_break_even_on() {
    let near = |value: f64, expected: f64| assert!((value - expected).abs() < 0.001, "{value}");
    near(break_even(1000.0, 0.25, 1000.0), 0.8);
    near(break_even(0.0, 0.25, 1000.0), 0.0);
    near(break_even(1000.0, 0.0, 1000.0), 1.0);
    let (mut some, mut other) = (Mean::default(), Mean::default());
    assert!(some.value().is_nan());
    for value in [1.0, 2.0, 3.0] {
        some.add(value);
    }
    other.add(6.0);
    let all = some.merged(other);
    near(all.value(), 3.0);
    assert_eq!(all.count(), 4);
    // The values' standard deviation is the root of 14 / 3, and half of it that of the mean.
    near(all.give_or_take(), 1.96 * (14.0_f64 / 3.0).sqrt() / 2.0);
}
