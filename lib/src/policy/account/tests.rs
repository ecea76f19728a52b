use std::collections::VecDeque;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::money::Money;

fn turn(n: u128) -> TurnId {
    TurnId::from_uuid(Uuid::from_u128(n))
}

const NOW: u64 = 20_000 * DAY;

fn entry(n: u128, seconds: u64) -> Entry {
    let now = Millis(NOW + seconds * 1000);
    Entry {
        turn: turn(n),
        now,
        until: now.plus(Duration::from_mins(2)),
        request: None,
        trace: None,
        conversation: None,
    }
}

fn quotas() -> Quotas {
    Quotas {
        requests: None,
        concurrent: None,
        ..Quotas::default()
    }
}

#[test]
fn four_turns_at_once_and_the_fifth_when_one_has_ended_or_must_have() {
    let quotas = Quotas {
        concurrent: Some(4),
        ..quotas()
    };
    let mut account = Account::default();
    for n in 0..4 {
        account = account.enter(&entry(n, 0), &quotas).unwrap();
    }
    assert_eq!(
        account.enter(&entry(4, 1), &quotas),
        Err(Refusal::Concurrent)
    );
    let later = account
        .leave(turn(2), Used::default(), Millis(NOW))
        .unwrap();
    assert!(later.enter(&entry(4, 1), &quotas).is_ok());
    assert!(
        account.enter(&entry(4, 120), &quotas).is_ok(),
        "an instance that died with a turn blocks nobody for ever"
    );
}

#[test]
fn requests_are_drawn_from_a_bucket_and_a_refused_one_costs_nothing() {
    let quotas = Quotas {
        requests: Some(2),
        ..quotas()
    };
    let account = Account::default()
        .enter(&entry(1, 0), &quotas)
        .and_then(|account| account.enter(&entry(2, 0), &quotas))
        .unwrap();
    let wait = Refusal::Requests(Duration::from_secs(30));
    assert_eq!(account.enter(&entry(3, 0), &quotas), Err(wait));
    assert_eq!(account.enter(&entry(3, 0), &quotas), Err(wait));
    assert!(account.enter(&entry(3, 30), &quotas).is_ok());
}

#[test]
fn the_same_request_is_refused_while_it_is_answered() {
    let same = |n, seconds| Entry {
        request: Some("r".into()),
        ..entry(n, seconds)
    };
    let account = Account::default().enter(&same(1, 0), &quotas()).unwrap();
    assert_eq!(
        account.enter(&same(2, 29), &quotas()),
        Err(Refusal::Duplicate)
    );
    assert!(account.enter(&same(2, 30), &quotas()).is_ok());
    let other = Entry {
        request: Some("s".into()),
        ..entry(2, 1)
    };
    assert!(account.enter(&other, &quotas()).is_ok());
    assert!(account.enter(&entry(2, 1), &quotas()).is_ok());
    let ended = account
        .leave(turn(1), Used::default(), Millis(NOW))
        .unwrap();
    assert!(
        ended.enter(&same(2, 1), &quotas()).is_ok(),
        "asking again afterwards is no mistake"
    );
}

#[test]
fn a_turn_that_was_written_without_word_of_it_is_not_refused_for_itself() {
    let narrow = Quotas {
        requests: Some(1),
        concurrent: Some(1),
        trace: 1,
        ..quotas()
    };
    let entry = Entry {
        request: Some("r".into()),
        trace: Some("t".into()),
        ..entry(1, 0)
    };
    let account = Account::default().enter(&entry, &narrow).unwrap();
    assert_eq!(account.enter(&entry, &narrow), Ok(account.clone()));
}

#[test]
fn tokens_and_money_of_a_day_are_refused_until_the_next() {
    let used = Used {
        tokens: 100,
        spend: 5_000_000,
        ..Used::default()
    };
    let account = Account::default().enter(&entry(1, 0), &quotas()).unwrap();
    let account = account.leave(turn(1), used, Millis(NOW + 1000)).unwrap();
    let rest = Duration::from_millis(DAY - 10_000);
    let tokens = Quotas {
        tokens: Some(100),
        ..quotas()
    };
    let spend = Quotas {
        spend: Some(5_000_000),
        ..quotas()
    };
    assert_eq!(
        account.enter(&entry(2, 10), &tokens),
        Err(Refusal::Tokens(rest))
    );
    assert_eq!(
        account.enter(&entry(2, 10), &spend),
        Err(Refusal::Spend(rest))
    );
    assert!(account.enter(&entry(2, 86_400), &tokens).is_ok());
}

#[test]
fn a_circle_ends_after_so_many_turns_and_turns_that_follow_each_other_are_none() {
    let traced = |n, trace: &str| Entry {
        trace: Some(trace.into()),
        ..entry(n, 0)
    };
    let mut account = Account::default();
    for n in 0..20 {
        account = account.enter(&traced(n, "t"), &quotas()).unwrap();
    }
    assert_eq!(
        account.enter(&traced(20, "t"), &quotas()),
        Err(Refusal::Trace)
    );
    let mut batch = Account::default();
    for n in 0..100 {
        batch = batch.enter(&traced(n, "t"), &quotas()).unwrap();
        batch = batch.leave(turn(n), Used::default(), Millis(NOW)).unwrap();
    }
    for n in 0..40 {
        account = account
            .enter(&traced(100 + n, &format!("t{n}")), &quotas())
            .unwrap();
    }
    assert_eq!(account.traces.len(), TRACES, "it does not grow for ever");
}

#[test]
fn leaving_counts_what_was_used_and_changes_nothing_else() {
    let account = Account::default().enter(&entry(1, 0), &quotas()).unwrap();
    let used = Used {
        tokens: 7,
        spend: 9,
        ..Used::default()
    };
    let unknown = account.leave(turn(5), used, Millis(NOW)).unwrap();
    assert_eq!((unknown.tokens, unknown.spend), (7, 9));
    assert_eq!(unknown.running, account.running);
    assert_eq!(account.leave(turn(5), Used::default(), Millis(NOW)), None);
    let next_day = account.leave(turn(5), used, Millis(NOW + DAY));
    assert_eq!(next_day, None, "another day's account is closed");
}

#[test]
fn a_trace_that_was_quiet_for_long_enough_is_over() {
    let traced = |seconds| Entry {
        trace: Some("t".into()),
        until: Millis(NOW + DAY),
        ..entry(u128::from(seconds), seconds)
    };
    let once = Quotas {
        trace: 1,
        ..quotas()
    };
    let account = Account::default().enter(&traced(0), &once).unwrap();
    assert_eq!(account.enter(&traced(899), &once), Err(Refusal::Trace));
    assert!(account.enter(&traced(900), &once).is_ok());
}

#[test]
fn erasing_leaves_the_limits_and_a_mark_and_nothing_else() {
    let used = Used {
        tokens: 7,
        spend: 9,
        ..Used::default()
    };
    let account = Account::default()
        .enter(&entry(1, 0), &Quotas::default())
        .map(|account| account.leave(turn(1), used, Millis(NOW)).unwrap())
        .unwrap();
    let erased = account.erase(turn(9));
    assert_eq!(
        (erased.day, erased.tokens, erased.spend),
        (account.day, 7, 9)
    );
    assert_eq!((erased.erased, erased.pseudonym), (Some(turn(9)), None));
    assert_eq!(erased.wishes, Some(0), "no preferences are left");
    assert_eq!(erased.requests, account.requests);
    assert!(erased.running.is_empty() && erased.traces.is_empty());
    let again = erased.enter(&entry(10, 1), &Quotas::default()).unwrap();
    assert_eq!(again.pseudonym, Some(turn(10)), "a new name in the log");
    assert_eq!(again.erased, Some(turn(9)));
}

#[test]
fn an_account_survives_the_table() {
    let account = Account::default()
        .enter(&entry(1, 0), &Quotas::default())
        .unwrap();
    let json = serde_json::to_string(&account).unwrap();
    assert_eq!(serde_json::from_str::<Account>(&json).unwrap(), account);
    assert_eq!(
        serde_json::from_str::<Account>("{}").unwrap(),
        Account::default()
    );
}

#[test]
fn only_a_plan_that_was_carried_out_is_no_longer_gone_on_with() {
    let same = |n, seconds| Entry {
        request: Some("r".into()),
        ..entry(n, seconds)
    };
    let used = |plan| Used {
        plan,
        ..Used::default()
    };
    let mut account = Account::default();
    for (n, plan, repeated) in [
        (1, None, false),
        (2, Some(PlanEnd::Left), true),
        (3, None, true),
        (4, Some(PlanEnd::Left), true),
        (5, Some(PlanEnd::Done), false),
    ] {
        account = account.enter(&same(n, 0), &quotas()).unwrap();
        account = account.leave(turn(n), used(plan), Millis(NOW)).unwrap();
        assert_eq!(account.is_repeated(&same(9, 0)), repeated, "{n}");
        assert!(account.unfinished.len() <= 1, "each request is noted once");
    }
}

/// What one step of somebody is about: an owner's turn in some process, or a change of their preferences.
#[derive(Clone, Copy, Debug)]
enum Move {
    Turn(usize),
    /// The oldest turn under way ends.
    End,
    /// Another change begins, or the one that is under way goes on: it is marked, then written.
    Change(u32),
    Erase,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0_usize..2).prop_map(Move::Turn),
        2 => Just(Move::End),
        3 => (0_u32..3).prop_map(Move::Change),
        1 => Just(Move::Erase),
    ];
    prop::collection::vec(one, 1..40)
}

/// None, or one of two.
fn preferences(n: u32) -> Preferences {
    Preferences {
        spend_per_day: (n > 0).then(|| Money(n.into())),
        ..Preferences::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]
    #[test]
    fn preferences_that_a_mark_spares_to_read_are_those_of_now(moves in moves()) {
        let mut account = Account::default();
        let mut now = preferences(0);
        let mut seen = [preferences(0), preferences(0)];
        let mut changing: Option<(u32, u128)> = None;
        let mut running = VecDeque::new();
        for (n, one) in (1_u128..).zip(moves) {
            match one {
                Move::Turn(process) => {
                    let spared = account.wishes == Some(seen[process].mark());
                    // What is being written is as good as what is there.
                    let written = changing.map(|(wanted, _)| preferences(wanted));
                    if spared {
                        prop_assert!(seen[process] == now || written == Some(seen[process].clone()));
                    } else {
                        seen[process] = now.clone();
                    }
                    running.push_back((turn(n), (!spared).then(|| now.mark())));
                    account = account.enter(&entry(n, 0), &quotas()).unwrap();
                }
                Move::End => {
                    let Some((turn, wishes)) = running.pop_front() else { continue };
                    let used = Used { wishes, ..Used::default() };
                    account = account.leave(turn, used, Millis(NOW)).unwrap_or(account);
                }
                Move::Change(wanted) => match changing.take() {
                    None => {
                        changing = Some((wanted, n));
                        account = account.wishing(turn(n), preferences(wanted).mark()).unwrap_or(account);
                    }
                    Some((wanted, begun)) if account.erased < Some(turn(begun)) => {
                        now = preferences(wanted);
                    }
                    Some(_) => {}
                },
                Move::Erase => {
                    account = account.erase(turn(n));
                    now = preferences(0);
                }
            }
        }
    }
}
