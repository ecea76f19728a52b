use super::*;
use crate::domain::experiment::{Guard, Limits, Told};
use crate::domain::ids::AgentId;
use crate::settings::Env;
use crate::settings::document::parse;

const AGENTS: &str = "agents:\n\
    - {name: GPA, endpoint: gpa, effect: reversible}\n\
    - {name: Next, endpoint: next, effect: reversible}\n\
    - {name: Tame, endpoint: tame, effect: none}\n";

fn read(experiments: &str) -> Result<Vec<Experiment>, String> {
    let text = format!("{AGENTS}experiments:\n{experiments}");
    let roster = parse(&text, &Env::default());
    roster
        .map(|roster| roster.experiments)
        .map_err(|problems| problems.to_string())
}

/// An experiment of one arm, from line 6 on.
fn arm(rest: &str) -> String {
    format!("- name: x\n  arms:\n  - {{name: new, {rest}}}\n")
}

#[test]
fn an_experiment_is_read_whole() {
    let all = read(
        "- name: next\n  by: conversation\n  if: words > 2\n  start: 2026-11-20\n  end: 2026-12-20\n  arms:\n  \
         - name: new\n    share: 12.5%\n    agents: {GPA: Next}\n    model: {routing: small}\n    \
         prompt: {synthesis: ' Be brief. '}\n    guard: {least: 100, failures: 5%, time: 20s, spend: 0.05, over_control: {time: 500ms}}\n",
    );
    let [experiment] = all.unwrap().try_into().unwrap();
    assert_eq!(
        (&*experiment.name, experiment.by),
        ("next", By::Conversation)
    );
    assert_eq!(experiment.condition.unwrap().written(), "words > 2");
    assert_eq!(experiment.start, "2026-11-20".parse().ok());
    let [arm] = experiment.arms.try_into().unwrap();
    let guard = Guard {
        least: 100,
        limits: Limits {
            failures: Some(0.05),
            time: Some(20.0),
            spend: Some(0.05),
        },
        over_control: Limits {
            time: Some(0.5),
            ..Limits::default()
        },
    };
    let variant = Variant {
        agents: [(AgentId::new("GPA"), AgentId::new("Next"))].into(),
        rules: None,
        routing: Told {
            model: Some("small".into()),
            prompt: None,
        },
        synthesis: Told {
            model: None,
            prompt: Some("Be brief.".into()),
        },
    };
    assert_eq!(
        (arm.share, arm.guard, arm.variant),
        (1250, Some(guard), variant)
    );
    let given: u16 = experiment.slots.iter().map(|slot| u16::from(*slot)).sum();
    assert_eq!(given, 1250);
}

#[test]
fn whoever_stands_in_for_another_has_it_to_fall_back_on() {
    let fallback = |own: &str| {
        let agents = AGENTS.replace("endpoint: next", &format!("endpoint: next{own}"));
        let text = format!(
            "{agents}experiments:\n{}",
            arm("share: 1%, agents: {GPA: Next}")
        );
        let roster = parse(&text, &Env::default()).unwrap();
        roster.registry.get("Next").unwrap().fallback.clone()
    };
    assert_eq!(fallback(""), Some(AgentId::new("GPA")));
    assert_eq!(fallback(", fallback: Tame"), Some(AgentId::new("Tame")));
}

#[test]
fn an_arms_rules_keep_what_the_documents_forbid() {
    let text = format!(
        "{AGENTS}routing:\n  rules:\n  - if: words > 1\n    then: {{route: Tame, forbid: GPA, approve: Next}}\n  \
         - if: words > 2\n    then: Tame\nexperiments:\n- name: x\n  arms:\n  - name: new\n    share: 1%\n    \
         rules: [{{if: words > 3, then: Next}}]\n"
    );
    let roster = parse(&text, &Env::default()).unwrap();
    let rules = roster.experiments[0].arms[0].variant.rules.clone().unwrap();
    let shown: Vec<String> = rules
        .rules
        .iter()
        .map(|rule| rule.then.to_string())
        .collect();
    assert_eq!(
        shown,
        ["route to Next", "forbid GPA, ask for approval of Next"]
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let check = |experiments: &str, expected: &str| {
        let found = read(experiments).unwrap_err();
        assert!(found.contains(expected), "{found}\n{experiments}");
    };
    check(
        &arm("share: 101%, agents: {GPA: Next}"),
        "line 8, column 24: \"101%\" is no share, expected 0% to 100%",
    );
    for share in ["10", "-1%", "0.001%", "a%", "%", "1.%5"] {
        let text = arm(&format!("share: '{share}', agents: {{GPA: Next}}"));
        check(&text, "line 8, column 24: ");
    }
    check(
        &arm("share: 1%, agents: {GPA: Nobody}"),
        "line 8, column 42: there is no agent Nobody, expected one of GPA, Next, Tame",
    );
    check(
        &arm("share: 1%, agents: {Nobody: GPA}"),
        "there is no agent Nobody",
    );
    check(
        &arm("share: 1%, agents: {GPA: GPA}"),
        "GPA cannot stand in its own place",
    );
    check(
        &arm("share: 1%, agents: {GPA: Tame}"),
        "line 8, column 42: Tame says that it changes less than GPA",
    );
    check(
        &arm("share: 1%"),
        "line 8, column 12: the arm changes nothing",
    );
    check(
        &arm("share: 1%, model: {routing: 'a b'}"),
        "\"a b\" is no model",
    );
    check(
        &arm("share: 1%, prompt: {routing: ' '}"),
        "expected a text of 1 to 4000 bytes",
    );
    check(
        &arm("share: 1%, rules: [{if: qurey == '', then: GPA}]"),
        "line 8, column 41: the condition \"qurey == ''\": there is no qurey",
    );
    check(
        &arm("share: 1%, agents: {GPA: Next}, guard: {least: 9}"),
        "expected 10 to 1000000 turns",
    );
    check(
        &arm("share: 1%, agents: {GPA: Next}, guard: {time: soon}"),
        "\"soon\", expected a duration",
    );
    check(
        &arm("share: 1%, agents: {GPA: Next}, guard: {spend: 0}"),
        "\"0\" is no amount of dollars",
    );
    check(
        &arm("share: 1%, agents: {GPA: Next}, guard: {fails: 1%}"),
        "unknown field",
    );
    check(
        "- {name: x, arms: []}\n",
        "line 6, column 19: expected 1 to 4 arms",
    );
    check(
        "- {name: a/b, arms: [{name: new, share: 1%, agents: {GPA: Next}}]}\n",
        "line 6, column 10: experiment \"a/b\": a name has",
    );
    let named = |name: &str| format!("{{name: {name}, share: 60%, agents: {{GPA: Next}}}}");
    check(
        &format!("- {{name: x, arms: [{}]}}\n", named("control")),
        "control is the name of those who are in no other arm",
    );
    check(
        &format!("- {{name: x, arms: [{}, {}]}}\n", named("a"), named("a")),
        "arm a is listed twice",
    );
    check(
        &format!("- {{name: x, arms: [{}, {}]}}\n", named("a"), named("b")),
        "line 6, column 19: the shares of the arms are more than 100% together",
    );
    check(
        &format!(
            "- {{name: x, start: 2026-11-20, end: 2026-11-19, arms: [{}]}}\n",
            named("a")
        ),
        "line 6, column 37: the last day is before the first",
    );
    check(
        &format!("- {{name: x, start: soon, arms: [{}]}}\n", named("a")),
        "\"soon\": expected a day such as 2026-11-20",
    );
}

#[test]
fn two_experiments_change_the_same_thing_on_different_days_alone() {
    let two = |first: &str, second: &str| {
        let arms = |arm: &str| format!("arms: [{{name: new, share: 1%, {arm}}}]");
        let one = arms("agents: {GPA: Next}, model: {routing: small}");
        let read = read(&format!(
            "- {{name: a, {one}{first}}}\n- {{name: b, {second}}}\n"
        ));
        read.map(|all| all.len())
    };
    let same = "arms: [{name: new, share: 1%, model: {routing: other}}]";
    let problem = "line 7, column 10: the experiments a and b both change the routing model, expected them on different days";
    assert_eq!(two("", same), Err(problem.into()));
    let later = format!("start: 2026-12-01, {same}");
    assert_eq!(two(", end: 2026-11-30", &later), Ok(2));
    assert!(two(", end: 2026-12-01", &later).is_err());
    // Also who stands in for somebody is changed.
    let agent = "arms: [{name: new, share: 1%, agents: {Next: GPA}}]";
    assert!(
        two("", agent)
            .unwrap_err()
            .contains("both change who is asked for")
    );
    let other = "arms: [{name: new, share: 1%, prompt: {synthesis: Be brief.}}]";
    assert_eq!(two("", other), Ok(2));
    assert!(two("", &format!("{other}, name: a")).is_err());
}

#[test]
fn a_case_may_name_the_arm_that_it_is_about() {
    let tested = |experiment: &str, case: &str| {
        let text = format!(
            "{AGENTS}routing:\n  rules:\n  - if: words > 0\n    then: GPA\nexperiments:\n- name: x\n{experiment}  arms:\n  \
             - {{name: new, share: 1%, agents: {{GPA: Next}}}}\ntests:\n- {case}\n"
        );
        parse(&text, &Env::default())
            .map(|roster| roster.tests)
            .map_err(|problems| problems.to_string())
    };
    assert_eq!(tested("", "{say: hi, expect: GPA}"), Ok(1));
    assert_eq!(tested("", "{say: hi, arm: x/new, expect: Next}"), Ok(1));
    assert!(tested("", "{say: hi, arm: x/new, expect: GPA}").is_err());
    let unknown = tested("", "{say: hi, arm: x/old, expect: GPA}").unwrap_err();
    let expected =
        "line 14, column 18: test 1 (\"hi\"): there is no arm \"x/old\", expected one of x/new";
    assert_eq!(unknown, expected);
    let other = tested("  if: words > 5\n", "{say: hi, arm: x/new, expect: Next}").unwrap_err();
    assert!(
        other.contains("the experiment x is not about it"),
        "{other}"
    );
}
