//! Every fault of every upstream: the turn ends honestly, nothing leaks, nothing is left running, and the next healthy
//! request is served.

mod ends;
mod row;

use std::sync::Arc;

use sandbox::faults::{Fault, Orders, TableError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use ends::{End, PENDING, Upstream, ends, passes, table_ends};
use row::Row;

/// So many rows run beside each other: most of them wait.
const AT_ONCE: usize = 8;

/// Runs named rows beside each other and tells of every one that went wrong.
async fn all(rows: impl IntoIterator<Item = (String, Row)>) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    let pending = |name: &str| PENDING.iter().any(|(pending, _)| *pending == name);
    for (name, row) in rows.into_iter().filter(|(name, _)| !pending(name)) {
        let permits = Arc::clone(&permits);
        running.spawn(async move {
            let _permit = permits.acquire_owned().await.unwrap();
            let panic = tokio::spawn(row.run()).await.err()?.into_panic();
            let words = panic.downcast_ref::<String>().cloned();
            Some(format!("{name}: {}", words.unwrap_or_default()))
        });
    }
    let mut failed: Vec<String> = running.join_all().await.into_iter().flatten().collect();
    failed.sort();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

async fn matrix(upstream: Upstream) {
    let rows = Fault::ALL.iter().map(|fault| {
        let end = ends(*fault)[upstream as usize];
        let name = format!("{upstream:?} \u{d7} {fault:?}");
        (name, Row::of(upstream, *fault, (*fault).into(), end))
    });
    all(rows.filter(|(_, row)| row.end != End::NotMet)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_routing_model_does_an_agent_answers() {
    matrix(Upstream::Routing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_synthesis_model_does_the_user_has_the_agents_words() {
    matrix(Upstream::Synthesis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_dial_agent_does_the_turn_ends_honestly() {
    matrix(Upstream::Dial).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_a_new_conversation_nothing_was_done() {
    matrix(Upstream::Create).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_conversation_agent_does_it_was_asked_once() {
    matrix(Upstream::Chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_reading_the_memory_the_answer_comes() {
    matrix(Upstream::Read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_saving_the_turn_the_answer_comes() {
    matrix(Upstream::Save).await;
}

/// GPA only reads, so all that may pass is asked for again; there is one retry in the budget of so few calls.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_may_pass_is_asked_for_again() {
    // An address does not change from one call to the next.
    let faults = Fault::ALL.iter().copied();
    let rows = faults
        .filter(|fault| fault.heals() && *fault != Fault::Refuse)
        .map(|fault| {
            let (end, calls) = match ends(fault)[Upstream::Dial as usize] {
                _ if passes(fault) => (End::Answered, 2),
                end => (end, 1),
            };
            let orders = Orders::from(fault).only(0);
            let row = Row::of(Upstream::Dial, fault, orders, end);
            let row = Row {
                calls: Some(calls),
                ..row
            };
            (format!("Dial \u{d7} {fault:?} once"), row)
        });
    all(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_table_says_the_answer_comes() {
    let mut rows = Vec::new();
    for error in TableError::ALL.iter().copied() {
        for (upstream, once, end) in table_ends(error) {
            let orders = Orders::from(error);
            let orders = if once { orders.only(0) } else { orders };
            let row = Row::of(upstream, Fault::Status400, orders, end);
            let often = if once { "once" } else { "always" };
            rows.push((format!("{upstream:?} \u{d7} {error:?} {often}"), row));
        }
    }
    all(rows).await;
}
