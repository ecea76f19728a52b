//! Whatever a client makes of a state: it opens to what was sealed for this owner, or to nothing.

use std::time::Duration;

use bolero::TypeGenerator;
use uuid::Uuid;

use super::tests::{ONE, TWO};
use super::*;
use crate::domain::conversation::Sessions;
use crate::domain::ids::{AgentId, ConversationId, TurnId};

fn envelope() -> Envelope {
    Envelope {
        conversation: ConversationId::new("c1"),
        turn: TurnId::from_uuid(Uuid::from_u128(7)),
        sessions: Sessions::from([(AgentId::new("UMS"), "19b1346a".into())]),
        exchanges: Vec::new(),
        last: None,
        stored: true,
    }
}

/// What somebody does to a text.
#[derive(Clone, Debug, TypeGenerator)]
enum Edit {
    Put(u16, u8),
    Delete(u16),
    Insert(u16, u8),
    /// Text of this length from one place to another: parts of a state in other parts of it.
    Copy(u16, u16, u8),
}

fn edited(text: &str, edits: &[Edit]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        let place = |at: &u16| usize::from(*at) % bytes.len();
        match edit {
            Edit::Put(at, byte) => {
                let at = place(at);
                bytes[at] = *byte;
            }
            Edit::Delete(at) => drop(bytes.remove(place(at))),
            Edit::Insert(at, byte) => bytes.insert(place(at), *byte),
            Edit::Copy(from, to, length) => {
                let (from, to) = (place(from), place(to));
                let end = bytes.len().min(from + usize::from(*length));
                let part = bytes[from..end].to_vec();
                bytes.splice(to..to, part);
            }
        }
    }
    bytes
}

/// The state as a message would carry it; none when it is no JSON object.
fn state(bytes: &[u8]) -> Option<OpaqueState> {
    let raw: Box<RawValue> = serde_json::from_slice(bytes).ok()?;
    OpaqueState::new(&raw)
}

/// What came of it: opened, old, nothing. The envelope itself must be the one that was sealed.
fn opened(seal: &Seal, owner: &Owner, state: &OpaqueState) -> bool {
    match seal.open(owner, Some(state)) {
        Recalled::Sealed(found) => {
            assert_eq!(found, envelope());
            true
        }
        Recalled::Legacy { .. } | Recalled::Nothing => false,
    }
}

#[test]
fn any_edit_of_a_state_opens_to_what_was_sealed_or_to_nothing() {
    let seal = Seal::parse(ONE).unwrap();
    // Another installation's key under the same name.
    let foreign = Seal::parse(&TWO.replace("k2:", "k1:")).unwrap();
    let alice = Owner::new("default", "alice");
    let bob = Owner::new("default", "bob");
    let genuine = serde_json::to_string(&seal.seal(&alice, envelope())).unwrap();
    bolero::check!()
        .with_type::<Vec<Edit>>()
        .with_iterations(3000)
        .with_test_time(Duration::from_secs(1))
        .for_each(|edits| {
            let Some(state) = state(&edited(&genuine, edits.get(..4).unwrap_or(edits))) else {
                return;
            };
            opened(&seal, &alice, &state);
            assert!(!opened(&seal, &bob, &state), "opened as another's");
            assert!(!opened(&foreign, &alice, &state), "opened by another key");
        });
    assert!(opened(&seal, &alice, &state(genuine.as_bytes()).unwrap()));
}

#[test]
fn any_fields_of_any_content_open_to_nothing_without_a_signature() {
    let seal = Seal::parse(ONE).unwrap();
    let owner = Owner::new("default", "alice");
    bolero::check!()
        .with_type::<(u8, bool, Vec<u8>, Vec<u8>, bool)>()
        .with_iterations(2000)
        .with_test_time(Duration::from_secs(1))
        .for_each(|(v, known, payload, mac, encoded)| {
            let text = |bytes: &[u8]| match encoded {
                true => URL_SAFE_NO_PAD.encode(bytes),
                false => String::from_utf8_lossy(bytes).into_owned(),
            };
            let sealed = SealedState {
                v: v % 3,
                kid: if *known { "k1" } else { "" }.into(),
                payload: text(payload),
                mac: text(mac),
            };
            let json = serde_json::to_vec(&sealed).unwrap();
            assert_eq!(seal.open(&owner, state(&json).as_ref()), Recalled::Nothing);
        });
}

#[test]
fn a_state_opens_for_exactly_the_owner_it_was_sealed_for() {
    /// Names that run into each other when they are put together carelessly.
    fn name(letters: &[bool]) -> String {
        letters
            .iter()
            .take(letters.len() % 3)
            .map(|a| if *a { 'a' } else { '#' })
            .collect()
    }
    let seal = Seal::parse(ONE).unwrap();
    bolero::check!()
        .with_type::<[Vec<bool>; 4]>()
        .with_iterations(2000)
        .with_test_time(Duration::from_secs(1))
        .for_each(|names| {
            let [tenant, id, other_tenant, other_id] =
                names.each_ref().map(|letters| name(letters));
            let owner = Owner::new(&tenant, &id);
            let other = Owner::new(&other_tenant, &other_id);
            let sealed = serde_json::to_vec(&seal.seal(&owner, envelope())).unwrap();
            assert_eq!(
                opened(&seal, &other, &state(&sealed).unwrap()),
                owner == other
            );
        });
}
