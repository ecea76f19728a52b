use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::conversation::{Exchange, Sessions};
use crate::domain::ids::{AgentId, ConversationId, TurnId};

pub(super) const ONE: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub(super) const TWO: &str = "k2:Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";

fn owner() -> Owner {
    Owner::new("default", "alice")
}

fn state(json: &str) -> OpaqueState {
    OpaqueState::new(&serde_json::from_str::<Box<RawValue>>(json).unwrap()).unwrap()
}

fn envelope(answer: &str, agent_state: Option<&str>) -> Envelope {
    Envelope {
        conversation: ConversationId::new("c1"),
        turn: TurnId::from_uuid(Uuid::from_u128(7)),
        sessions: Sessions::from([(AgentId::new("UMS"), "19b1346a".into())]),
        exchanges: vec![Exchange {
            agent: AgentId::new("GPA"),
            request: "What's the weather?".into(),
            instructions: None,
            request_attachments: Vec::new(),
            answer: answer.into(),
            attachments: Vec::new(),
            state: agent_state.map(state),
        }],
        last: None,
        stored: false,
    }
}

fn echoed(sealed: &SealedState) -> OpaqueState {
    state(&serde_json::to_string(sealed).unwrap())
}

#[test]
fn a_sealed_state_opens_to_what_it_was() {
    let seal = Seal::parse(ONE).unwrap();
    let envelope = envelope("Which location?", Some("{\"tool_call_history\": []}"));
    let sealed = seal.seal(&owner(), envelope.clone());
    assert_eq!(
        seal.open(&owner(), Some(&echoed(&sealed))),
        Recalled::Sealed(envelope)
    );
}

#[test]
fn a_state_that_version_1_0_sealed_opens() {
    let sealed = r#"{"v":1,"kid":"k1","payload":"eyJjb252ZXJzYXRpb24iOiJjMSIsInR1cm4iOiIwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDciLCJzZXNzaW9ucyI6eyJVTVMiOiIxOWIxMzQ2YSJ9LCJleGNoYW5nZSI6eyJhZ2VudCI6IkdQQSIsInJlcXVlc3QiOiJXaGF0J3MgdGhlIHdlYXRoZXI_IiwiYW5zd2VyIjoiYSIsInN0YXRlIjp7IngiOiBbMV19fX0","mac":"dfBppbtdwLORE2K9n3GmPmsLx9f3R_fCocc2h6LXonU"}"#;
    let seal = Seal::parse(ONE).unwrap();
    assert_eq!(
        seal.open(&owner(), Some(&state(sealed))),
        Recalled::Sealed(envelope("a", Some("{\"x\": [1]}")))
    );
}

#[test]
fn keys_can_be_rotated() {
    let old = Seal::parse(ONE).unwrap();
    let both = Seal::parse(&format!("{TWO},{ONE}")).unwrap();
    let new = Seal::parse(TWO).unwrap();
    let by_old = echoed(&old.seal(&owner(), envelope("a", None)));
    let by_both = echoed(&both.seal(&owner(), envelope("a", None)));
    assert!(matches!(
        both.open(&owner(), Some(&by_old)),
        Recalled::Sealed(_)
    ));
    assert!(matches!(
        new.open(&owner(), Some(&by_both)),
        Recalled::Sealed(_)
    ));
    assert_eq!(new.open(&owner(), Some(&by_old)), Recalled::Nothing);
}

#[test]
fn anothers_state_is_nothing() {
    let seal = Seal::parse(ONE).unwrap();
    let sealed = echoed(&seal.seal(&owner(), envelope("a", None)));
    for other in [Owner::new("default", "bob"), Owner::new("defaulta", "lice")] {
        assert_eq!(seal.open(&other, Some(&sealed)), Recalled::Nothing);
    }
}

#[test]
fn the_references_own_keys_are_read() {
    let seal = Seal::parse(ONE).unwrap();
    let open = |json: &str| seal.open(&owner(), Some(&state(json)));
    assert_eq!(
        open(r#"{"is_gpa":true,"gpa_messages":{"tool_call_history": []}}"#),
        Recalled::Legacy {
            gpa: Some(Some(state("{\"tool_call_history\": []}"))),
            ums_session: None
        }
    );
    assert_eq!(
        open(r#"{"is_gpa":true,"gpa_messages":null}"#),
        Recalled::Legacy {
            gpa: Some(None),
            ums_session: None
        }
    );
    assert_eq!(
        open(r#"{"ums_conversation_id":"2ceb4817"}"#),
        Recalled::Legacy {
            gpa: None,
            ums_session: Some("2ceb4817".into())
        }
    );
    for nothing in [
        "{}",
        r#"{"is_gpa":false}"#,
        r#"{"is_gpa":"yes"}"#,
        r#"{"other":1}"#,
    ] {
        assert_eq!(open(nothing), Recalled::Nothing, "{nothing}");
    }
    assert_eq!(seal.open(&owner(), None), Recalled::Nothing);
}

#[test]
fn a_large_agent_state_is_left_to_the_store() {
    let seal = Seal::parse(ONE).unwrap();
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(20_000));
    let sealed = seal.seal(&owner(), envelope("short", Some(&large)));
    let Recalled::Sealed(opened) = seal.open(&owner(), Some(&echoed(&sealed))) else {
        panic!("not sealed")
    };
    assert!(opened.stored);
    let [exchange] = opened.exchanges.try_into().unwrap();
    assert_eq!((exchange.answer.as_str(), exchange.state), ("short", None));
}

proptest! {
    // Each case seals tens of kilobytes; a few dozen cover every step of the shrinking.
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_state_is_ever_larger_than_the_cap(
        answer in proptest::collection::vec(prop_oneof![Just('\u{421}'), Just('"'), Just('x'), Just('\n')], 0..20_000),
        agent_state in "[a-z\"\\\\]{0,3000}",
        agents in 0_usize..400,
        cap in 2048_usize..40_000,
    ) {
        let seal = Seal::parse(ONE).unwrap().capped(cap);
        let text: String = answer.into_iter().collect();
        let mut big = envelope(&text, Some(&serde_json::json!({"s": agent_state}).to_string()));
        big.sessions.extend((0..agents).map(|n| (AgentId::new(&format!("agent-{n}")), "0123456789abcdef".repeat(8))));
        let sealed = seal.seal(&owner(), big);
        prop_assert!(serde_json::to_string(&sealed).unwrap().len() <= cap);
        prop_assert!(matches!(seal.open(&owner(), Some(&echoed(&sealed))), Recalled::Sealed(_)));
    }

}

proptest! {
    #[test]
    fn any_edit_of_a_sealed_state_makes_it_nothing(at in any::<prop::sample::Index>(), byte in 0x20_u8..0x7f) {
        let seal = Seal::parse(ONE).unwrap();
        let sealed = serde_json::to_string(&seal.seal(&owner(), envelope("a", None))).unwrap();
        let mut edited = sealed.clone().into_bytes();
        let at = at.index(edited.len());
        prop_assume!(edited[at] != byte);
        edited[at] = byte;
        let Ok(raw) = serde_json::from_slice::<Box<RawValue>>(&edited) else { return Ok(()) };
        let Some(edited) = OpaqueState::new(&raw) else { return Ok(()) };
        let opened = seal.open(&owner(), Some(&edited));
        // Another spelling of the same signature is no edit; anything else is.
        let genuine = opened == Recalled::Sealed(envelope("a", None));
        prop_assert!(opened == Recalled::Nothing || genuine);
    }
}
