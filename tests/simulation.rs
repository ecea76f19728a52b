//! Several instances, one table, a clock that is set by hand: what all of them together do to a peer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coordinator::domain::ids::{Clock, Millis};
use coordinator::domain::rules::BreakerRules;
use coordinator::guard::{Calling, Guard, Permit};
use coordinator::resilience::breaker::{Breaker, Outcome};
use coordinator::store::{self, Breakers};
use proptest::prelude::*;
use sandbox::faults::{Faulty, Orders, TableError};
use sandbox::stub::Seen;
use tokio::time::Instant;

use crate::world::table;

const PEER: &str = "agent:A@a";
const INSTANCES: usize = 6;

/// A clock of its own for every test: they run beside each other.
macro_rules! clock {
    () => {{
        static NOW: AtomicU64 = AtomicU64::new(1_000_000);
        let clock = Clock::new(|| Millis(NOW.load(Ordering::SeqCst)));
        (&NOW, clock)
    }};
}

async fn instances(count: usize, endpoint: &str, clock: Clock) -> Vec<Arc<Guard>> {
    let mut guards = Vec::new();
    for me in 0..count {
        let table = store::connect("mas", Some(endpoint)).await;
        let (rules, shared) = (BreakerRules::default(), Breakers::of(&table));
        guards.push(Arc::new(Guard::new(
            rules,
            shared,
            clock.clone(),
            me as u64,
        )));
    }
    guards
}

/// A turn up to the call: a look at the others, then the question.
async fn ask(guard: &Arc<Guard>) -> Option<Permit> {
    guard.refresh().await;
    let until = Instant::now() + Duration::from_hours(1);
    let peer = PEER.into();
    guard
        .permit(&peer, Calling::default(), Duration::from_secs(30), until)
        .await
        .ok()
}

const FAILURE: Outcome = Outcome::Failure { after: None };

/// Calls of each open period: from the first failure of a run, over the time it is open, to the next probe.
fn check_periods(calls: &[(u64, bool)]) {
    let mut periods: Vec<usize> = vec![0];
    let mut last = 0;
    for (at, _) in calls {
        // Nothing is let through for the shortest open time, so a gap of that length ends a period.
        if at - last >= 24_000 {
            periods.push(0);
        }
        last = *at;
        *periods.last_mut().unwrap() += 1;
    }
    for period in &periods {
        assert!(
            *period <= INSTANCES + 5,
            "{period} calls to a dead agent in one open period: {calls:?}"
        );
    }
}

/// What happens next in a run: which instance does what, and how much time passes first.
#[derive(Clone, Copy, Debug)]
enum Event {
    Begin(usize),
    End(usize),
    Cancel(usize),
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = (0..INSTANCES, 0_u8..10).prop_map(|(at, what)| match what {
        0..=5 => Event::Begin(at),
        6..=8 => Event::End(at),
        _ => Event::Cancel(at),
    });
    // Mostly close together, now and then a long pause: an instance that is not named meanwhile is frozen.
    let pause = prop_oneof![8 => 0_u64..500, 2 => 500_u64..20_000, 1 => 20_000_u64..400_000];
    proptest::collection::vec((pause, event), 150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 40, ..ProptestConfig::default() })]
    #[test]
    fn a_dead_agent_gets_few_calls_whatever_the_schedule(events in events()) {
        let (now, clock) = clock!();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (endpoint, server) = table().await;
            let guards = instances(INSTANCES, &endpoint, clock.clone()).await;
            let mut running: BTreeMap<usize, Permit> = BTreeMap::new();
            let observer = Breakers::of(&store::connect("mas", Some(&endpoint)).await);
            // Calls that began while the agent was to be left alone, by the moment until which it was.
            let mut stray: BTreeMap<u64, usize> = BTreeMap::new();
            for (pause, event) in events {
                now.fetch_add(pause, Ordering::SeqCst);
                match event {
                    // One turn at a time runs in an instance.
                    Event::Begin(at) if !running.contains_key(&at) => {
                        let known = observer.all(clock.now()).await.unwrap();
                        if let Some(permit) = ask(&guards[at]).await {
                            let breaker = known.first().map(|(_, known)| known.value).unwrap_or_default();
                            match breaker {
                                Breaker::Open { until, .. } if clock.now() < until => *stray.entry(until.0).or_default() += 1,
                                Breaker::HalfOpen { until, holder, .. } => {
                                    prop_assert!(
                                        holder == at as u64 || clock.now() >= until,
                                        "a second probe beside the one of {holder}"
                                    );
                                }
                                Breaker::Open { .. } | Breaker::Closed { .. } => {}
                            }
                            running.insert(at, permit);
                        }
                    }
                    Event::End(at) => {
                        if let Some(permit) = running.remove(&at) {
                            permit.settle(FAILURE).await;
                        }
                    }
                    Event::Cancel(at) => drop(running.remove(&at)),
                    Event::Begin(_) => {}
                }
            }
            server.abort();
            // Five have opened it; then each instance may begin one call before it has looked at the others.
            for calls in stray.values() {
                prop_assert!(*calls <= INSTANCES, "{} stray calls", calls);
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_instances_together_make_few_calls_to_a_dead_agent_and_one_probe() {
    let (now, clock) = clock!();
    let (endpoint, server) = table().await;
    let guards = instances(INSTANCES, &endpoint, clock).await;
    let mut calls = Vec::new();
    // Ten minutes, every instance asked once a second: an agent that fails at once.
    for second in 0..600 {
        for guard in &guards {
            now.fetch_add(1000 / INSTANCES as u64, Ordering::SeqCst);
            if let Some(permit) = ask(guard).await {
                calls.push((second * 1000, true));
                permit.settle(FAILURE).await;
            }
        }
    }
    check_periods(&calls);
    assert!(
        (9..=14).contains(&calls.len()),
        "five to open it, then one probe after 30, 60, 120, 240 seconds: {calls:?}"
    );
    // It comes back: one probe finds out, and everybody calls again.
    now.fetch_add(400_000, Ordering::SeqCst);
    let probe = ask(&guards[0]).await.expect("the probe");
    assert!(ask(&guards[1]).await.is_none(), "there is one probe");
    assert!(ask(&guards[0]).await.is_none(), "also in this instance");
    probe.settle(Outcome::Success).await;
    now.fetch_add(2_000, Ordering::SeqCst);
    for guard in &guards {
        let permit = ask(guard).await.expect("it is closed again");
        permit.settle(Outcome::Success).await;
    }
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_dropped_blocks_nobody_for_longer_than_its_lease() {
    let (now, clock) = clock!();
    let (endpoint, server) = table().await;
    let guards = instances(2, &endpoint, clock).await;
    for _ in 0..5 {
        ask(&guards[0]).await.unwrap().settle(FAILURE).await;
    }
    assert!(ask(&guards[0]).await.is_none());
    now.fetch_add(40_000, Ordering::SeqCst);
    drop(ask(&guards[0]).await.expect("the probe"));
    assert!(ask(&guards[1]).await.is_none(), "the lease is another's");
    let again = ask(&guards[0]).await;
    assert!(again.is_some(), "who holds the lease may use it");
    std::mem::forget(again);
    now.fetch_add(15_000, Ordering::SeqCst);
    assert!(
        ask(&guards[1]).await.is_some(),
        "an instance that froze with the probe is not waited for"
    );
    server.abort();
}

/// What becomes of a call that was let through.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Fails,
    Answers,
    IsDropped,
    Panics,
    IsForgotten,
}

fn fates() -> impl Strategy<Value = Vec<(u64, usize, Fate)>> {
    let fate = prop_oneof![
        5 => Just(Fate::Fails),
        1 => Just(Fate::Answers),
        2 => Just(Fate::IsDropped),
        2 => Just(Fate::Panics),
        1 => Just(Fate::IsForgotten),
    ];
    let pause = prop_oneof![6 => 0_u64..500, 2 => 500_u64..60_000];
    proptest::collection::vec((pause, 0..2_usize, fate), 60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 40, ..ProptestConfig::default() })]
    #[test]
    fn a_breaker_is_never_stuck_whatever_becomes_of_its_calls(fates in fates()) {
        let (now, clock) = clock!();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (endpoint, server) = table().await;
            let guards = instances(2, &endpoint, clock.clone()).await;
            let mut frozen = [false, false];
            for (pause, at, fate) in fates {
                now.fetch_add(pause, Ordering::SeqCst);
                if frozen[at] {
                    continue;
                }
                let Some(permit) = ask(&guards[at]).await else { continue };
                match fate {
                    Fate::Fails => permit.settle(FAILURE).await,
                    Fate::Answers => permit.settle(Outcome::Success).await,
                    Fate::IsDropped => drop(permit),
                    Fate::Panics => {
                        let held = std::panic::AssertUnwindSafe(move || {
                            let _permit = permit;
                            std::panic::resume_unwind(Box::new("a call that panics"));
                        });
                        assert!(std::panic::catch_unwind(held).is_err());
                    }
                    Fate::IsForgotten if frozen[1 - at] => drop(permit),
                    // An instance that is frozen for good does nothing any more.
                    Fate::IsForgotten => {
                        std::mem::forget(permit);
                        frozen[at] = true;
                    }
                }
            }
            // Longer than it is ever open, and than a probe may take.
            now.fetch_add(400_000, Ordering::SeqCst);
            let alive = guards.iter().zip(frozen).find(|(_, frozen)| !frozen).unwrap().0;
            let probe = ask(alive).await;
            prop_assert!(probe.is_some(), "{alive:?}");
            probe.unwrap().settle(Outcome::Success).await;
            prop_assert!(ask(alive).await.is_some());
            server.abort();
            Ok::<_, TestCaseError>(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_table_every_instance_has_its_own_view_and_nobody_is_shut_out() {
    let (now, clock) = clock!();
    let guards = instances(2, "http://127.0.0.1:9", clock).await;
    let mut calls = 0;
    for _ in 0..60 {
        now.fetch_add(1000, Ordering::SeqCst);
        if let Some(permit) = ask(&guards[0]).await {
            calls += 1;
            permit.settle(FAILURE).await;
        }
    }
    assert!((5..=7).contains(&calls), "{calls}");
    let permit = ask(&guards[1]).await.expect("the other knows nothing");
    permit.settle(Outcome::Success).await;
    now.fetch_add(400_000, Ordering::SeqCst);
    let probe = ask(&guards[0]).await.expect("a probe of its own");
    probe.settle(Outcome::Success).await;
    assert!(ask(&guards[0]).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_instance_found_while_the_table_was_down_is_told_when_it_is_back() {
    let (now, clock) = clock!();
    let (endpoint, server) = table().await;
    let link = crate::link::Link::to(&endpoint).await;
    let guards = instances(2, &link.url(), clock).await;
    link.cut(true);
    for _ in 0..5 {
        ask(&guards[0]).await.unwrap().settle(FAILURE).await;
    }
    link.cut(false);
    now.fetch_add(2_000, Ordering::SeqCst);
    assert!(
        ask(&guards[0]).await.is_none(),
        "the shared view knows nothing, the own one does"
    );
    now.fetch_add(40_000, Ordering::SeqCst);
    let probe = ask(&guards[0]).await.expect("the probe");
    assert!(ask(&guards[1]).await.is_none(), "now the others know");
    probe.settle(FAILURE).await;
    now.fetch_add(2_000, Ordering::SeqCst);
    assert!(ask(&guards[1]).await.is_none());
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_that_take_longer_than_their_lease_decide_all_the_same() {
    let (now, clock) = clock!();
    let (endpoint, server) = table().await;
    let guards = instances(3, &endpoint, clock).await;
    let open = async || {
        for _ in 0..5 {
            ask(&guards[0]).await.unwrap().settle(FAILURE).await;
        }
        now.fetch_add(40_000, Ordering::SeqCst);
    };
    open().await;
    // Each answer takes longer than the lease, so that another instance makes a probe as well.
    let first = ask(&guards[0]).await.expect("the probe");
    now.fetch_add(16_000, Ordering::SeqCst);
    let second = ask(&guards[1]).await.expect("the next one");
    now.fetch_add(4_000, Ordering::SeqCst);
    first.settle(Outcome::Success).await;
    now.fetch_add(2_000, Ordering::SeqCst);
    let third = ask(&guards[2]).await.expect("it is closed");
    third.settle(Outcome::Success).await;
    second.settle(Outcome::Success).await;

    open().await;
    let first = ask(&guards[0]).await.expect("the probe");
    now.fetch_add(16_000, Ordering::SeqCst);
    let second = ask(&guards[1]).await.expect("the next one");
    now.fetch_add(14_000, Ordering::SeqCst);
    first.settle(FAILURE).await;
    now.fetch_add(16_000, Ordering::SeqCst);
    assert!(
        ask(&guards[2]).await.is_none(),
        "it is left alone for longer"
    );
    second.settle(FAILURE).await;
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_in_a_row_open_it_also_where_nothing_can_be_written() {
    let (now, clock) = clock!();
    let (endpoint, server) = table().await;
    let faulty = Faulty::before(&endpoint).await.unwrap();
    let puts = |seen: &Seen| {
        let target = seen.header("x-amz-target");
        target.is_some_and(|target| target.ends_with(".PutItem"))
    };
    let denied = Orders::from(TableError::AccessDenied).when(puts);
    faulty.arm(denied).await;
    let guards = instances(1, &faulty.url(), clock).await;
    let mut calls = 0;
    for _ in 0..10 {
        now.fetch_add(2_500, Ordering::SeqCst);
        if let Some(permit) = ask(&guards[0]).await {
            calls += 1;
            permit.settle(FAILURE).await;
        }
    }
    assert_eq!(calls, 5);
    server.abort();
}
