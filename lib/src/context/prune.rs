//! A history cut to a budget: what is oldest goes first, and what belongs together stays together.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::conversation::Exchange;
use crate::domain::message::OpaqueState;

/// Where the general-purpose agent keeps the calls of its tools: the bulk of its states.
const TOOL_CALLS: &str = "tool_call_history";

/// Cuts a history to so many bytes: states of older turns go before their words, and whole turns before newer ones. True
/// if anything is gone. The newest turn keeps its words whatever the budget.
pub fn history(history: &mut Vec<Exchange>, budget: usize) -> bool {
    let words = |exchange: &Exchange| {
        let instructions = exchange.instructions.as_ref().map_or(0, String::len);
        exchange.request.len() + exchange.answer.len() + instructions
    };
    let mut cut = false;
    // The words first: a state is worth little without them.
    let mut room = budget;
    let mut kept = 0;
    for exchange in history.iter().rev() {
        let size = words(exchange);
        if size > room && kept > 0 {
            break;
        }
        room = room.saturating_sub(size);
        kept += 1;
    }
    let gone = history.len() - kept;
    cut |= gone > 0;
    history.drain(..gone);
    let mut full = false;
    for exchange in history.iter_mut().rev() {
        let Some(state) = &exchange.state else {
            continue;
        };
        let size = state.get().len();
        if !full && size <= room {
            room -= size;
            continue;
        }
        cut = true;
        let smaller = state_of(state, room).filter(|_| !full);
        full = true;
        room = 0;
        exchange.state = smaller;
    }
    cut
}

/// A state with the newest of its tool calls alone, each with its results; `None` if it cannot be made so small.
fn state_of(state: &OpaqueState, budget: usize) -> Option<OpaqueState> {
    #[derive(Deserialize)]
    struct Role<'a> {
        #[serde(borrow, default)]
        role: std::borrow::Cow<'a, str>,
    }
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(state.get()).ok()?;
    let calls: Vec<&RawValue> = serde_json::from_str(fields.get(TOOL_CALLS)?.get()).ok()?;
    let lengths: usize = calls.iter().map(|call| call.get().len() + 1).sum();
    // Commas stand between them alone.
    let whole = lengths.saturating_sub(1);
    let mut room = budget.checked_sub(state.get().len().saturating_sub(whole))?;
    // A result stands behind the message that called for it: what is kept begins with a message that is no result.
    let mut kept = calls.len();
    for (at, call) in calls.iter().enumerate().rev() {
        let Some(left) = room.checked_sub(call.get().len() + 1) else {
            break;
        };
        room = left;
        if serde_json::from_str::<Role>(call.get()).is_ok_and(|message| message.role != "tool") {
            kept = at;
        }
    }
    let kept = serde_json::value::to_raw_value(calls.get(kept..)?).ok()?;
    let mut fields = fields;
    fields.insert(TOOL_CALLS, &kept);
    OpaqueState::new(&serde_json::value::to_raw_value(&fields).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::ids::AgentId;

    fn exchange(words: usize, state: Option<&Value>) -> Exchange {
        let state = state.map(|state| {
            OpaqueState::new(&serde_json::value::to_raw_value(state).unwrap()).unwrap()
        });
        Exchange {
            agent: AgentId::new("GPA"),
            request: "q".repeat(words / 2),
            instructions: None,
            request_attachments: Vec::new(),
            answer: "a".repeat(words - words / 2),
            attachments: Vec::new(),
            state,
        }
    }

    fn calls(groups: &[usize]) -> Value {
        let mut messages = Vec::new();
        for (at, results) in groups.iter().enumerate() {
            messages.push(json!({"role": "assistant", "tool_calls": [{"id": at}]}));
            messages.extend(
                (0..*results).map(
                    |_| json!({"role": "tool", "tool_call_id": at, "content": "x".repeat(50)}),
                ),
            );
        }
        json!({"tool_call_history": messages})
    }

    #[test]
    fn older_turns_and_states_go_first() {
        let state = json!({"k": "v".repeat(100)});
        let all = vec![
            exchange(40, Some(&state)),
            exchange(40, Some(&state)),
            exchange(40, Some(&state)),
        ];
        let sizes = |budget| {
            let mut kept = all.clone();
            let cut = history(&mut kept, budget);
            (
                cut,
                kept.iter()
                    .map(|one| one.state.is_some())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(sizes(1000), (false, vec![true, true, true]));
        assert_eq!(sizes(350), (true, vec![false, true, true]));
        assert_eq!(sizes(130), (true, vec![false, false, false]));
        assert_eq!(sizes(90), (true, vec![false, false]));
        assert_eq!(sizes(0), (true, vec![false]), "the newest words stay");
    }

    proptest! {
        #[test]
        fn a_call_and_its_results_stay_together(
            groups in prop::collection::vec(0_usize..4, 1..6),
            budget in 0_usize..2000,
        ) {
            let whole = calls(&groups);
            let mut kept = vec![exchange(10, Some(&whole))];
            history(&mut kept, budget);
            let Some(state) = &kept[0].state else { return Ok(()) };
            prop_assert!(state.get().len() + 10 <= budget.max(10));
            let state: Value = serde_json::from_str(state.get()).unwrap();
            let left = state["tool_call_history"].as_array().unwrap();
            let all = whole["tool_call_history"].as_array().unwrap();
            prop_assert!(all.ends_with(left), "what is left is the newest");
            prop_assert!(left.first().is_none_or(|first| first["role"] == "assistant"));
        }
    }
}
