use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::domain::agent::{AgentCard, Effect, Endpoint, Protocol};
use crate::domain::capability::Capability;
use crate::domain::ids::{Clock, Timestamp};
use crate::domain::message::Message;
use crate::domain::preference::Wish;
use crate::domain::rules::BreakerRules;
use crate::guard::Guard;
use crate::llm::Provider;
use crate::store;
use crate::upstream::{Bounds, Client};

fn registry() -> Registry {
    let card = |name: &str| AgentCard {
        description: format!("{name} does things."),
        capabilities: vec![Capability::named("a"), Capability::named("b")],
        effect: Effect::None,
        ..AgentCard::new(name, Protocol::Dial, Endpoint::Deployment(name.into()))
    };
    Registry::new(vec![card("GPA"), card("UMS")], None).unwrap()
}

pub(super) fn router() -> ModelRouter {
    router_of(&registry())
}

fn router_of(registry: &Registry) -> ModelRouter {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let table = runtime.block_on(store::connect("mas", Some("http://127.0.0.1:9")));
    let guard = Guard::new(
        BreakerRules::default(),
        store::Breakers::of(&table),
        Clock::default(),
        1,
    );
    let models = Models {
        client: Client::new(&Bounds::default()).unwrap(),
        provider: Provider::OpenAi {
            base: String::new(),
            key: None,
        },
        first_byte: Duration::from_secs(1),
        idle: Duration::from_secs(1),
        guard: Arc::new(guard),
    };
    ModelRouter::new(models, "m", registry, Caps::default(), Some(50))
}

#[test]
fn decisions_are_read_from_plain_and_fenced_json() {
    let decision = RoutingDecision {
        request: None,
        kept: None,
        plan: Plan::Single(Assignment {
            agent: AgentId::new("UMS"),
            instructions: Some("Be brief".into()),
            facts: Vec::new(),
            effect: None,
        }),
        source: DecisionSource::Model,
        confidence: Some(1.0),
        rationale: "users".into(),
    };
    let json = r#"{"agent_name":"UMS","additional_instructions":" Be brief ","confidence":7,"reason":"users"}"#;
    for answer in [
        json.to_owned(),
        format!("```json\n{json}\n```"),
        format!("\n```{json}```"),
    ] {
        let read = router().read(&answer, &[]).unwrap();
        assert_eq!(read.decision, decision, "{answer}");
    }
}

#[test]
fn a_model_that_gives_only_the_references_two_fields_is_understood() {
    let decision = router()
        .read(
            r#"{"agent_name":"GPA","additional_instructions":null}"#,
            &[],
        )
        .unwrap()
        .decision;
    assert_eq!(decision.confidence, None);
    assert_eq!(
        decision.plan,
        Plan::Single(Assignment {
            agent: AgentId::new("GPA"),
            instructions: None,
            facts: Vec::new(),
            effect: None,
        })
    );
}

#[test]
fn what_is_no_decision_is_refused_with_the_reason() {
    for (answer, part) in [
        ("I think GPA", "expected"),
        ("{}", "agent_name"),
        (r#"{"agent_name":"HR"}"#, "no agent \"HR\""),
        (r#"{"agent_name":["GPA"]}"#, "string"),
    ] {
        let problem = router().read(answer, &[]).unwrap_err();
        assert!(problem.contains(part), "{answer}: {problem}");
    }
}

#[test]
fn the_schema_names_the_registrys_agents_and_is_strict() {
    let format: Value = serde_json::from_str(router().told.response_format.get()).unwrap();
    let schema = &format["json_schema"];
    assert_eq!(schema["strict"], true);
    assert_eq!(
        schema["schema"]["properties"]["agent_name"]["enum"],
        json!(["GPA", "UMS", "coordinator"])
    );
    assert_eq!(schema["schema"]["additionalProperties"], false);
    let prompt = prompt::system(&registry(), 5, 1);
    assert!(
        prompt.contains("- UMS (priority 1, only reads): UMS does things. Capabilities: a, b\n"),
        "{prompt}"
    );
}

proptest::proptest! {
    #[test]
    fn any_answer_is_read_or_refused(answer in ".{0,200}") {
        let _ = router().read(&answer, &[]);
    }

    #[test]
    fn a_cut_never_splits_a_character(text in "\\PC{0,50}", cap in 0_usize..60) {
        proptest::prop_assert!(text.starts_with(cut(&text, cap)) && cut(&text, cap).len() <= cap);
    }
}

/// So many agents with descriptions of usual length.
fn many(count: usize) -> Registry {
    let cards = (0..count).map(|n| AgentCard {
        description: format!(
            "Answers questions about subject number {n}, its history, its rules and its people."
        ),
        ..AgentCard::new(
            &format!("Agent {n}"),
            Protocol::Dial,
            Endpoint::Deployment("x".into()),
        )
    });
    Registry::new(cards.collect(), None).unwrap()
}

/// Has a router look at a request.
fn with<T>(
    registry: &Registry,
    text: &str,
    preferences: &Preferences,
    look: impl FnOnce(&ModelRouter, &RouteQuery<'_>) -> T,
) -> T {
    let query = RouteQuery {
        messages: &[Message::user(text)],
        caller: &Arc::default(),
        deadline: tokio::time::Instant::now(),
        tenant: "t",
        roles: &[],
        at: Timestamp(0),
        choice: None,
        last: None,
        facts: &[],
        judged: None,
        preferences,
        allowance: None,
        placed: None,
    };
    look(&router_of(registry), &query)
}

/// What a model is told and may answer for a request.
fn asked(registry: &Registry, text: &str, preferences: &Preferences) -> (String, String) {
    let prompt = with(registry, text, preferences, |router, query| {
        router.prompt(query)
    });
    let format = prompt.response_format.as_ref().unwrap().get().to_owned();
    (prompt.messages[0].text.clone(), format)
}

#[test]
fn two_hundred_agents_take_no_more_of_a_prompt_than_some() {
    let size = |count: usize, text: &str| {
        let (system, format) = asked(&many(count), text, &Preferences::default());
        (system.len() + format.len(), system, format)
    };
    let (few, system, _) = size(12, "subject number 11");
    assert!(system.contains("- Agent 0 ") && system.contains("- Agent 11 "));
    let (many, system, format) = size(200, "What are the rules of subject number 137?");
    assert!(system.contains("- Agent 137 ") && format.contains("\"Agent 137\""));
    // The default is the first of them.
    assert!(system.contains("- Agent 0 "));
    // docs/registry.md tells the figure.
    assert!(many < few * 3 && many < 8 * 1024, "{few} {many}");
    let (all, ..) = size(200, "nothing of that");
    assert!(all < 8 * 1024, "{all}");
}

/// Agents whose cards are full: thirty examples each, and what an agent may say of itself at most.
fn full(count: usize, capabilities: usize, length: usize) -> Registry {
    let example = |n: usize| format!("{n} {}", "word ".repeat(length / 5));
    many(count).altered(|card| {
        let named = (0..capabilities).map(|n| Capability {
            description: example(n),
            examples: (0..30).map(example).collect(),
            ..Capability::named(&format!("capability {n}"))
        });
        card.capabilities = named.collect();
    })
}

#[test]
fn whatever_cards_hold_the_prompt_stays_within_its_bound() {
    let everybody = Preferences {
        preferred_agents: (0..50)
            .map(|n| AgentId::new(&format!("Agent {}", n * 4)))
            .collect(),
        ..Preferences::default()
    };
    // docs/registry.md tells the figures.
    for (registry, wanted, most) in [
        (full(200, 1, 60), &Preferences::default(), 24 * 1024),
        (full(40, 40, 300), &Preferences::default(), 40 * 1024),
        (full(200, 4, 60), &everybody, 48 * 1024),
        (full(3, 40, 300), &Preferences::default(), 40 * 1024),
    ] {
        let (system, format) = asked(&registry, "subject number 137", wanted);
        let size = system.len() + format.len();
        assert!(size < most, "{size}");
        // Nobody's line is lost, and the rules stand behind them all.
        let lines = system.lines().filter(|line| line.starts_with("- Agent "));
        assert!(lines.count() >= registry.iter().count().min(32));
        assert!(system.contains("\nRules:\n"));
    }
}

#[test]
fn the_model_is_told_of_preferred_agents_and_not_of_blocked_ones() {
    let id = AgentId::new;
    let wanted = Preferences {
        preferred_agents: vec![id("Agent 150")],
        blocked_agents: vec![id("Agent 137")],
        ..Preferences::default()
    };
    let (system, format) = asked(&many(200), "the rules of subject number 137", &wanted);
    assert!(system.contains("- Agent 150 ") && format.contains("\"Agent 150\""));
    assert!(!system.contains("- Agent 137 ") && !format.contains("\"Agent 137\""));
}

#[test]
fn of_many_agents_the_user_is_asked_about_those_that_may_be_meant() {
    let doubtful = |agent: &str| {
        let mut decision = RoutingDecision::plain(&AgentId::new(agent), DecisionSource::Model, "");
        decision.confidence = Some(0.1);
        Answered {
            decision,
            second: None,
        }
    };
    let settled = |text: &str, wanted: &Preferences| {
        with(&many(200), text, wanted, |router, query| {
            router.settle(doubtful("Agent 11"), query).plan
        })
    };
    let between = |agent: &str| Plan::Clarify(["Agent 11", agent].map(AgentId::new));
    let text = "the rules of subject number 137";
    assert_eq!(settled(text, &Preferences::default()), between("Agent 137"));
    let wanted = Preferences::default().with(&Wish::Block(AgentId::new("Agent 137")));
    assert_ne!(settled(text, &wanted), between("Agent 137"));
}
