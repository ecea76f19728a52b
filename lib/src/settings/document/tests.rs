use std::time::Duration;

use url::Url;

use super::*;
use crate::domain::agent::{Effect, Endpoint, Protocol};
use crate::domain::capability::{Capability, FactRules, HistoryRules};
use crate::domain::ids::AgentId;
use crate::settings::{Error, Place};

fn read(env: &Env) -> Result<Roster, Error> {
    over::read(&Place::read(env)?, env)
}

#[test]
fn the_built_in_file_names_gpa_and_ums() {
    let Roster { registry, .. } =
        read(&Env::from([("UMS_AGENT_ENDPOINT", "http://ums:8000")])).unwrap();
    let names: Vec<_> = registry.iter().map(|card| card.id.as_str()).collect();
    assert_eq!(names, ["GPA", "UMS"]);
    assert_eq!(registry.default_agent().id.as_str(), "GPA");
    let ums = registry.get("UMS").unwrap();
    assert_eq!(ums.protocol, Protocol::Conversation);
    assert_eq!(
        ums.endpoints,
        [Endpoint::Url(Url::parse("http://ums:8000").unwrap())]
    );
    assert_eq!(ums.effect, Effect::Irreversible);
    let gpa = registry.get("GPA").unwrap();
    assert_eq!(
        gpa.endpoints,
        [Endpoint::Deployment("general-purpose-agent".into())]
    );
    assert_eq!(gpa.key, None);
}

#[test]
fn mistakes_are_named() {
    let check = |text: &str, part: &str| {
        let problem = parse(text, &Env::default()).unwrap_err().to_string();
        assert!(problem.contains(part), "{text:?}: {problem}");
    };
    check("agents: []", "no agents");
    check("agents:\n- name: A\n", "endpoint");
    check("agents:\n- {name: A, endpoint: x, colour: red}\n", "colour");
    check("agents:\n- {name: A, endpoint: 'ftp://x'}\n", "agent A");
    check("agents:\n- {name: 'A#', endpoint: x}\n", "agent \"A#\"");
    check("agents:\n- {name: A, endpoint: x, effect: bad}\n", "bad");
    check(
        "default: B\nagents:\n- {name: A, endpoint: x}\n",
        "default agent B",
    );
    check(
        "agents:\n- {name: A, endpoint: '${NOWHERE}'}\n",
        "the variable NOWHERE is not set",
    );
    check("agents:\n- {name: A, endpoint: '${X'}\n", "without its }");
    check("agents: [", "");
}

#[test]
fn another_default_can_be_set_and_an_undeclared_effect_is_the_worst() {
    let text = "agents:\n- {name: A, endpoint: a}\n- {name: B, endpoint: b}\n";
    let read = |default| {
        read(&Env::from([
            ("MAS_AGENTS", text),
            ("MAS_DEFAULT_AGENT", default),
        ]))
    };
    let refused = read("C").unwrap_err().to_string();
    assert_eq!(
        refused,
        "MAS_DEFAULT_AGENT: there is no agent C, expected one of A, B"
    );
    let Roster { registry, .. } = read("B").unwrap();
    assert_eq!(registry.default_agent().id.as_str(), "B");
    assert_eq!(registry.default_agent().effect, Effect::Irreversible);
}

#[test]
fn what_a_variable_holds_never_becomes_yaml() {
    for key in [
        "abc #def", "null", "*x", "@x", "{x", "a: b", "- x", "%x", "\"q",
    ] {
        let env = Env::from([("GPA_API_KEY", key)]);
        let Roster { registry, .. } = read(&env).unwrap();
        let secret = registry.get("GPA").unwrap().key.as_ref().unwrap();
        assert_eq!(secret.expose(), key);
    }
}

#[test]
fn an_agent_may_have_several_endpoints_and_a_fallback() {
    let env = Env::from([("HR", "hr-1, https://hr.example.com/chat")]);
    let text =
        "agents:\n- {name: A, endpoint: '${HR}', fallback: B}\n- {name: B, endpoint: [b, c]}\n";
    let Roster { registry, .. } = parse(text, &env).unwrap();
    let places = |name| -> Vec<String> {
        let card = registry.get(name).unwrap();
        card.endpoints.iter().map(Endpoint::place).collect()
    };
    assert_eq!(places("A"), ["hr-1", "hr.example.com/chat"]);
    assert_eq!(places("B"), ["b", "c"]);
    assert_eq!(registry.get("A").unwrap().fallback, Some(AgentId::new("B")));
}

#[test]
fn an_agent_says_what_it_is_good_at_and_what_it_is_told() {
    let text = "agents:\n- name: A\n  endpoint: a\n  deadline: 20s\n  history: {turns: 3, bytes: 64KB}\n  \
                facts: {takes: [place], gives: false}\n  capabilities:\n  - rag\n  - name: users\n    \
                tags: [people]\n    examples: [List all users]\n    effect: none\n- {name: B, endpoint: b, deadline: 5}\n";
    let registry = parse(text, &Env::default()).unwrap().registry;
    let cards: Vec<_> = registry.iter().collect();
    let users = Capability {
        tags: vec!["people".into()],
        examples: vec!["List all users".into()],
        effect: Some(Effect::None),
        ..Capability::named("users")
    };
    assert_eq!(cards[0].capabilities, [Capability::named("rag"), users]);
    assert_eq!(cards[0].deadline, Some(Duration::from_secs(20)));
    let (turns, bytes) = (Some(3), Some(64 * 1024));
    assert_eq!(cards[0].history, HistoryRules { turns, bytes });
    assert_eq!(cards[0].facts.takes, ["place"]);
    assert!(!cards[0].facts.gives && cards[1].facts == FactRules::default());
    assert_eq!(cards[1].deadline, Some(Duration::from_secs(5)));
}

#[test]
fn the_variable_may_hold_the_agents_themselves() {
    let env = Env::from([("MAS_AGENTS", "agents:\n- {name: HR, endpoint: hr}\n")]);
    assert_eq!(
        read(&env).unwrap().registry.default_agent().id.as_str(),
        "HR"
    );
}

/// A document with two agents, and what stands below them.
fn with(rest: &str) -> String {
    format!(
        "agents:\n- {{name: GPA, endpoint: gpa, effect: none}}\n- {{name: UMS, endpoint: ums}}\n{rest}"
    )
}

/// Every problem of such a document, as it is told.
fn problems(rest: &str) -> Vec<String> {
    let parsed = parse(&with(rest), &Env::default());
    let Problems(problems) = parsed.expect_err(rest);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let check = |rest: &str, expected: &[&str]| assert_eq!(problems(rest), expected, "{rest}");
    check(
        "default: HR\nrouting:\n  rules:\n    - if: contains(query, \"x\") &\n      then: HR\n    - if: words > 3\n      then: {set: {synthesis: auto}, say: x}\n",
        &[
            "line 4, column 10: the default agent HR is not in the list",
            "line 7, column 32: the condition \"contains(query, \\\"x\\\") &\": unexpected single '&', expected '&&'",
            "line 8, column 13: there is no agent HR, expected one of GPA, UMS",
            "line 10, column 43: say is for the user where forbid forbids an agent, which none is",
        ],
    );
    check(
        "routing:\n  rules:\n  - if: >-\n      words > 3 &&\n      wrods < 5\n    then: GPA\n  - if: 'word > 1'\n    then: GPA\n",
        &[
            "line 8, column 7: the condition \"words > 3 && wrods < 5\": there is no wrods, expected one of query, words, language, attachments, tenant, role, roles, previous, depth, now",
            "line 10, column 10: the condition \"word > 1\": there is no word, expected one of query, words, language, attachments, tenant, role, roles, previous, depth, now",
        ],
    );
    check(
        "routing:\n  rules:\n  - if: 'true'\n    then: {}\n",
        &[
            "line 7, column 11: the rule does nothing, expected route, fan_out, forbid, approve, share or set",
        ],
    );
    check(
        "routing:\n  rules:\n  - if: 'true'\n    then: {route: UMS, forbid: [UMS]}\n",
        &["line 7, column 11: UMS is chosen and forbidden at once"],
    );
    check(
        "routing:\n  rules:\n  - if: 'true'\n    then: {fan_out: [UMS, UMS]}\n",
        &["line 7, column 21: fan_out: two steps are called UMS"],
    );
    check(
        "- {name: GPA, endpoint: x}\n",
        &["line 4, column 10: agent GPA is listed twice"],
    );
    check(
        "- {name: B, endpoint: x, fallback: C}\n",
        &["line 4, column 36: the fallback C is not another agent of the list"],
    );
    check(
        "version: 2\ncolours: []\n",
        &["line 4, column 10: the version 2 is not known, expected 1"],
    );
    let unknown = problems("colours: []\n");
    assert!(
        unknown[0].starts_with("line 4, column 1: ") && unknown[0].contains("colours"),
        "{unknown:?}"
    );
    let wrong = problems("routing:\n  rules:\n  - if: 'true'\n    then: 7\n");
    assert!(
        wrong[0].contains("expected an agent, or a mapping of route"),
        "{wrong:?}"
    );
}

#[test]
fn no_secret_stands_in_a_document() {
    let read = |key: &str, env: Env| {
        let text = format!("agents:\n- {{name: A, endpoint: a, key: '{key}'}}\n");
        parse(&text, &env).map(|document| {
            let card = document.registry.default_agent();
            card.key.as_ref().map(|key| key.expose().to_owned())
        })
    };
    for inline in ["hunter2", "${KEY:-hunter2}", "${A}${B}", "Bearer ${KEY}"] {
        let refused = read(inline, Env::from([("KEY", "k"), ("A", "a"), ("B", "b")]))
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("agent A: its key stands in the document, expected a variable"),
            "{refused}"
        );
        assert!(!refused.contains("hunter2"), "{refused}");
    }
    assert_eq!(
        read("${KEY}", Env::from([("KEY", "k")])),
        Ok(Some("k".into()))
    );
    assert_eq!(read("${KEY:-}", Env::default()), Ok(None));
    assert_eq!(read("", Env::default()), Ok(None));
    let reference = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:hr-AbCdEf#key";
    assert_eq!(
        read(reference, Env::from([(reference, "k")])),
        Ok(Some("k".into()))
    );
    assert!(
        read(reference, Env::default())
            .unwrap_err()
            .to_string()
            .contains("was not fetched")
    );
    let text = format!(
        "agents:\n- {{name: A, endpoint: a, key: '{reference}'}}\n- {{name: B, endpoint: b, key: '${{X}}'}}\n"
    );
    assert_eq!(references(&text), [reference]);
}

#[test]
fn no_capability_may_change_more_than_its_agent() {
    let found = problems(
        "- {name: B, endpoint: x, effect: none, capabilities: [{name: drop, effect: irreversible}]}\n",
    );
    assert!(
        found[0].contains("its capability drop may change more than the agent itself"),
        "{found:?}"
    );
}

const RULES: &str = "routing:
  rules:
    - if: contains(query, 'user')
      then: {route: UMS, instructions: Be brief}
    - if: tenant == 'acme' && now.hour >= 18
      then: {forbid: UMS, say: Not at night}
    - if: language == 'uk'
      then: {approve: true, set: {synthesis: never}}
    - if: startsWith(query, 'both')
      then: {fan_out: [GPA, UMS]}
    - if: attachments[0].size > 1000
      then: GPA
";

#[test]
fn a_documents_tests_are_run_and_what_fails_is_told() {
    let passing = "tests:
  - {say: Show all users, expect: UMS}
  - {say: Show all users, expect: {route: UMS, instructions: Be brief, forbidden: [], approve: false}}
  - {say: hello, expect: none}
  - {say: both of you, expect: [GPA, UMS]}
  - {say: 'Покажи, що є', expect: {approve: true, synthesis: never, route: none}}
  - {say: x, language: uk, expect: {approve: [GPA, UMS]}}
  - {say: x, tenant: acme, now: '2026-11-20T22:15', expect: {forbidden: UMS}}
  - {say: x, attachments: [{type: text/csv, size: 2000}], role: admin, previous: UMS, depth: 1, expect: GPA}
";
    let document = parse(&with(&format!("{RULES}{passing}")), &Env::default()).unwrap();
    assert_eq!((document.rulebook.rules.len(), document.tests), (5, 8));
    assert_eq!(document.rulebook.rules[1].line, 8);
    let fails = |case: &str, expected: &str| {
        let found = problems(&format!("{RULES}tests:\n  - {case}\n")).join("\n");
        assert!(
            found.starts_with("line 17, column ") && found.contains(expected),
            "{found}"
        );
    };
    fails(
        "{say: Users, expect: GPA}",
        "test 1 (\"Users\"): expected GPA, found UMS by rule 1",
    );
    fails(
        "{say: Users, expect: none}",
        "expected none, found UMS by rule 1",
    );
    fails(
        "{say: x, expect: GPA}",
        "expected GPA, but no rule chooses an agent; rule 5 cannot be tested: the list has no element there",
    );
    fails(
        "{say: users, tenant: acme, now: '2026-01-01T20:00', expect: UMS}",
        "expected UMS, which rule 2 forbids",
    );
    fails(
        "{say: x, expect: {forbidden: UMS}}",
        "expected UMS to be forbidden, found nobody",
    );
    fails(
        "{say: x, language: uk, expect: {approve: false}}",
        "approval is needed of GPA, UMS, which is not what is expected",
    );
    fails(
        "{say: x, expect: {synthesis: never}}",
        "expected synthesis to be set to never, found nothing",
    );
    fails(
        "{say: users, expect: {instructions: x}}",
        "expected the instructions \"x\", found \"Be brief\"",
    );
    fails(
        "{say: x, role: boss, expect: none}",
        "there is no role boss, expected one of user, operator",
    );
    fails(
        "{say: x, now: noon, expect: none}",
        "expected one such as 2026-11-20T22:15",
    );
    fails("{say: x, expect: HR}", "there is no agent HR");
}
