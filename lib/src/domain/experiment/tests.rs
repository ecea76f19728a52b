use proptest::prelude::*;

use super::*;

fn experiment(name: &str, by: By, shares: &[u16]) -> Experiment {
    let arms = shares.iter().zip(["a", "b", "c", "d"]);
    Experiment {
        name: name.into(),
        by,
        condition: None,
        start: None,
        end: None,
        arms: arms
            .map(|(share, name)| Arm {
                name: name.into(),
                share: *share,
                variant: Variant::default(),
                guard: None,
            })
            .collect(),
        slots: slots(shares),
    }
}

fn owner(number: usize) -> Owner {
    Owner::new("acme", &format!("user {number}"))
}

/// The arm of each of so many users.
fn arms(experiment: &Experiment, users: usize) -> Vec<String> {
    (0..users)
        .map(|number| experiment.id(experiment.arm(&owner(number), None)))
        .map(|id| id.arm.to_string())
        .collect()
}

fn count(arms: &[String], name: &str) -> usize {
    arms.iter().filter(|arm| *arm == name).count()
}

/// Shares of arms that do not meet: two of any size, or up to four of a quarter each.
fn shares() -> impl Strategy<Value = Vec<u16>> {
    let two = (0..=SLOTS).prop_flat_map(|one| (Just(one), 0..=SLOTS - one));
    prop_oneof![
        two.prop_map(|(one, two)| vec![one, two]),
        prop::collection::vec(0..=SLOTS / 4, 1..=ARMS),
    ]
}

proptest! {
    #[test]
    fn an_arm_has_its_share_of_the_slots(
        shares in prop::collection::vec(0..=SLOTS / 4, 1..=ARMS)
    ) {
        let slots = slots(&shares);
        for (share, number) in shares.iter().zip(1..) {
            let taken = slots.iter().map(|slot| u16::from(*slot == number)).sum::<u16>();
            prop_assert_eq!(taken, *share);
        }
    }

    #[test]
    fn another_share_moves_those_alone_who_must_move(
        shares in shares(), at in 0..ARMS, to in 0..=SLOTS,
    ) {
        let at = at % shares.len();
        let others: u16 = shares.iter().sum::<u16>() - shares[at];
        let most = if shares.len() > 2 { SLOTS / 4 } else { SLOTS - others };
        let mut changed = shares.clone();
        changed[at] = to.min(most);
        let (before, after) = (slots(&shares), slots(&changed));
        let number = u8::try_from(at + 1).unwrap();
        let moved: Vec<_> = before.iter().zip(&*after).filter(|(old, new)| old != new).collect();
        prop_assert_eq!(moved.len(), usize::from(shares[at].abs_diff(changed[at])));
        for (old, new) in moved {
            let expected = if changed[at] > shares[at] { (0, number) } else { (number, 0) };
            prop_assert_eq!((*old, *new), expected);
        }
    }

    #[test]
    fn another_arm_takes_from_the_control_alone(shares in prop::collection::vec(0..=SLOTS / 4, 2..=ARMS)) {
        let (before, after) = (slots(&shares[..shares.len() - 1]), slots(&shares));
        for (old, new) in before.iter().zip(&*after) {
            prop_assert!(old == new || *old == 0);
        }
    }

    #[test]
    fn an_arm_is_that_of_the_user_or_of_the_conversation(
        tenant in ".{0,8}", id in ".{0,8}", one in ".{0,8}", other in ".{0,8}"
    ) {
        let owner = Owner::new(&tenant, &id);
        let by_user = experiment("x", By::User, &[5000]);
        prop_assert_eq!(by_user.arm(&owner, Some(&one)), by_user.arm(&owner, Some(&other)));
        prop_assert_eq!(by_user.arm(&owner, Some(&one)), by_user.arm(&owner, None));
        let by_conversation = experiment("x", By::Conversation, &[5000]);
        let again = experiment("x", By::Conversation, &[5000]);
        prop_assert_eq!(by_conversation.arm(&owner, Some(&one)), again.arm(&owner, Some(&one)));
        // Without a name of its own a conversation is its user's.
        let nameless = by_conversation.arm(&owner, None).map(|arm| &arm.name);
        prop_assert_eq!(nameless, by_user.arm(&owner, None).map(|arm| &arm.name));
    }
}

#[test]
fn users_are_spread_as_the_shares_say() {
    // Of 20 000 users a share of p has 20 000 p, give or take six standard deviations.
    let users = 20_000;
    for name in ["next", "another name", ""] {
        let found = arms(&experiment(name, By::User, &[1000, 5000]), users);
        for (arm, share) in [("a", 0.1_f64), ("b", 0.5), (CONTROL, 0.4)] {
            let (expected, found) = (share * 20_000.0, count(&found, arm));
            let far = 6.0 * (expected * (1.0 - share)).sqrt();
            #[expect(clippy::cast_precision_loss, reason = "it is small")]
            let found = found as f64;
            assert!((found - expected).abs() < far, "{name}/{arm}: {found}");
        }
    }
}

#[test]
fn one_experiment_says_nothing_of_another() {
    let users = 20_000;
    let one = arms(&experiment("one", By::User, &[5000]), users);
    let two = arms(&experiment("two", By::User, &[5000]), users);
    let both = one
        .iter()
        .zip(&two)
        .filter(|(one, two)| *one == "a" && *two == "a");
    // A quarter, give or take six standard deviations of 61.
    let both = both.count();
    assert!(both.abs_diff(5000) < 370, "{both}");
}

#[test]
fn conversations_of_one_user_are_spread() {
    let experiment = experiment("x", By::Conversation, &[5000]);
    let in_arm =
        |number: &usize| (experiment.arm(&owner(1), Some(&format!("c{number}")))).is_some();
    let found = (0..10_000).filter(in_arm).count();
    assert!(found.abs_diff(5000) < 300, "{found}");
}

#[test]
fn an_arm_stays_the_same_over_versions_of_this_program() {
    let found = arms(&experiment("next", By::User, &[2500, 2500]), 12);
    let expected = STABLE.split(' ').collect::<Vec<_>>();
    assert_eq!(found, expected);
}

/// Computed by another program.
const STABLE: &str = "control b control a a b b control b control a b";

#[test]
fn an_experiment_runs_from_its_first_day_to_its_last() {
    let day = |text: &str| text.parse::<Day>().unwrap();
    let experiment = Experiment {
        start: Some(day("2026-11-20")),
        end: Some(day("2026-11-22")),
        ..experiment("x", By::User, &[1])
    };
    let on = ["2026-11-19", "2026-11-20", "2026-11-22", "2026-11-23"]
        .map(|text| experiment.is_on(day(text)));
    assert_eq!(on, [false, true, true, false]);
}

#[test]
fn agents_are_put_in_the_place_of_others_where_they_may_be() {
    let id = AgentId::new;
    let variant = Variant {
        agents: [(id("A"), id("A2")), (id("B"), id("C"))].into(),
        ..Variant::default()
    };
    let swapped = |agents: &[&str], may: bool| {
        let steps = agents.iter().map(|agent| crate::domain::plan::Step {
            name: (*agent).into(),
            assignment: Assignment::plain(&id(agent)),
            after: Vec::new(),
        });
        let mut plan = Plan::steps(steps.collect(), 8).unwrap();
        variant.swap(&mut plan, |_, _| may);
        let agents: Vec<String> = plan.agents().map(ToString::to_string).collect();
        agents.join(" ")
    };
    assert_eq!(swapped(&["A"], true), "A2");
    assert_eq!(swapped(&["A"], false), "A");
    assert_eq!(swapped(&["A", "D"], true), "A2 D");
    assert_eq!(
        swapped(&["B", "C"], true),
        "B C",
        "nobody is asked twice for it"
    );
}
