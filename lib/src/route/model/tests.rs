use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::domain::agent::{AgentCard, Effect, Endpoint, Protocol};
use crate::domain::capability::Capability;
use crate::domain::ids::Clock;
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
    ModelRouter::new(models, "m", &registry(), Caps::default(), Some(50))
}

#[test]
fn decisions_are_read_from_plain_and_fenced_json() {
    let decision = RoutingDecision {
        request: None,
        kept: None,
        plan: Plan::Single(Assignment {
            agent: AgentId::new("UMS"),
            instructions: Some("Be brief".into()),
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
        let read = router().read(&answer).unwrap();
        assert_eq!(read.decision, decision, "{answer}");
    }
}

#[test]
fn a_model_that_gives_only_the_references_two_fields_is_understood() {
    let decision = router()
        .read(r#"{"agent_name":"GPA","additional_instructions":null}"#)
        .unwrap()
        .decision;
    assert_eq!(decision.confidence, None);
    assert_eq!(
        decision.plan,
        Plan::Single(Assignment {
            agent: AgentId::new("GPA"),
            instructions: None
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
        let problem = router().read(answer).unwrap_err();
        assert!(problem.contains(part), "{answer}: {problem}");
    }
}

#[test]
fn the_schema_names_the_registrys_agents_and_is_strict() {
    let format: Value = serde_json::from_str(router().response_format.get()).unwrap();
    let schema = &format["json_schema"];
    assert_eq!(schema["strict"], true);
    assert_eq!(
        schema["schema"]["properties"]["agent_name"]["enum"],
        json!(["GPA", "UMS", "coordinator"])
    );
    assert_eq!(schema["schema"]["additionalProperties"], false);
    let prompt = prompt::system(&registry());
    assert!(
        prompt.contains("- UMS (priority 1, only reads): UMS does things. Capabilities: a, b\n"),
        "{prompt}"
    );
}

proptest::proptest! {
    #[test]
    fn any_answer_is_read_or_refused(answer in ".{0,200}") {
        let _ = router().read(&answer);
    }

    #[test]
    fn a_cut_never_splits_a_character(text in "\\PC{0,50}", cap in 0_usize..60) {
        proptest::prop_assert!(text.starts_with(cut(&text, cap)) && cut(&text, cap).len() <= cap);
    }
}
