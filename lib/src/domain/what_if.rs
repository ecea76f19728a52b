//! A turn that only asks what would happen: how it is asked for, and how it is left out of what comes after it.

use serde::{Deserialize, Serialize};

use super::message::{Message, Role};

/// What stands before a request that only asks.
const COMMAND: &str = "/whatif";

/// The state of an answer to such a turn. It needs no signature: all it can do is to make messages of its own client count
/// for nothing, and that client need not send them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    what_if: bool,
}

pub const MARK: Mark = Mark { what_if: true };

impl Mark {
    fn is_on(message: &Message) -> bool {
        let state = message.state.as_ref();
        let mark = state.and_then(|state| serde_json::from_str::<Self>(state.get()).ok());
        mark.is_some_and(|mark| mark.what_if)
    }
}

/// The request behind the command, where a message is one. No other words are taken for it: what would be done must never
/// be done, nor the other way round, because of how somebody puts a question. A phone writes it with a capital, and a person
/// with a colon; alone it is a request for nothing that may be done, either.
pub fn request(message: &Message) -> Option<Message> {
    let text = message.text.trim();
    let (command, rest) = text.split_at_checked(COMMAND.len())?;
    let ends = |letter: char| letter.is_whitespace() || matches!(letter, ':' | ',');
    let asks = message.role == Role::User
        && !message.form
        && command.eq_ignore_ascii_case(COMMAND)
        && (rest.is_empty() || rest.starts_with(ends));
    let request = rest.trim_start_matches(ends);
    asks.then(|| Message {
        text: if request.is_empty() { text } else { request }.to_owned(),
        ..message.clone()
    })
}

/// The messages without those that only asked, and the answers to them. The last one is the one to be answered.
pub fn left_out(messages: Vec<Message>) -> Vec<Message> {
    let mut kept: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        let asked = kept.last().filter(|last| last.role == Role::User);
        let commanded = asked.is_some_and(|last| request(last).is_some());
        let answers = message.role == Role::Assistant;
        let only_asked = commanded || (answers && Mark::is_on(&message));
        if only_asked && asked.is_some() {
            kept.pop();
        }
        if !(answers && only_asked) {
            kept.push(message);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::OpaqueState;

    fn answered(text: &str, state: &str) -> Message {
        let raw: Box<serde_json::value::RawValue> = serde_json::from_str(state).unwrap();
        Message {
            state: OpaqueState::new(&raw),
            ..Message::assistant(text)
        }
    }

    #[test]
    fn only_the_command_asks_what_would_happen() {
        let asked = |text: &str| request(&Message::user(text)).map(|message| message.text);
        for text in [
            " /whatif Delete Bob\n",
            "/Whatif Delete Bob",
            "/WHATIF: Delete Bob",
            "/whatif\nDelete Bob",
        ] {
            assert_eq!(asked(text), Some("Delete Bob".into()), "{text}");
        }
        assert_eq!(asked("/whatif"), Some("/whatif".into()));
        for other in [
            "What if I delete Bob?",
            "what if: delete Bob",
            "/whatifDelete Bob",
            "/whatif-mode on",
            "/якщо видалити",
            "please /whatif delete Bob",
        ] {
            assert_eq!(asked(other), None, "{other}");
        }
        let form = Message {
            form: true,
            ..Message::user("/whatif x")
        };
        assert!(request(&form).is_none());
    }

    #[test]
    fn what_only_asked_is_left_out_with_its_answer() {
        let mark = serde_json::to_string(&MARK).unwrap();
        assert_eq!(mark, r#"{"what_if":true}"#);
        let texts = |messages: Vec<Message>| {
            let kept = left_out(messages);
            kept.into_iter().map(|one| one.text).collect::<Vec<_>>()
        };
        let now = || Message::user("now");
        // By its state, whatever was asked; by the command, whatever became of the state.
        for (asked, state) in [("delete Bob", mark.as_str()), ("/whatif delete Bob", "{}")] {
            let messages = vec![
                Message::user("one"),
                Message::assistant("1"),
                Message::user("stopped"),
                Message::user(asked),
                answered("It would.", state),
                now(),
            ];
            assert_eq!(texts(messages), ["one", "1", "stopped", "now"], "{asked}");
        }
        for state in [r#"{"what_if":false}"#, r#"{"what_if":true,"x":1}"#, "{}"] {
            let messages = vec![Message::user("one"), answered("1", state), now()];
            assert_eq!(texts(messages), ["one", "1", "now"], "{state}");
        }
        // Its answer was stopped, and the client kept nothing of it.
        let stopped = vec![Message::user("/whatif delete Bob"), now()];
        assert_eq!(texts(stopped), ["now"]);
        let last = vec![Message::user("/whatif delete Bob")];
        assert_eq!(texts(last), ["/whatif delete Bob"]);
    }
}
