use std::sync::Arc;

use proptest::prelude::*;
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::domain::agent::{Endpoint, Protocol};
use crate::domain::capability::HistoryRules;
use crate::domain::conversation::{Envelope, Outcome, StoredSession, TurnRecord};
use crate::domain::ids::{Timestamp, TurnId};
use crate::domain::turn::Caller;

fn id(n: u128) -> TurnId {
    TurnId::from_uuid(Uuid::from_u128(n))
}

fn exchange(agent: &str, request: &str, answer: &str) -> Exchange {
    Exchange {
        agent: AgentId::new(agent),
        request: request.into(),
        instructions: None,
        request_attachments: Vec::new(),
        answer: answer.into(),
        attachments: Vec::new(),
        state: None,
    }
}

fn record(n: u128, shown: &str, exchange: Exchange) -> TurnRecord {
    TurnRecord {
        id: id(n),
        at: Timestamp(1),
        after: None,
        asked: String::new(),
        sessions: std::collections::BTreeMap::new(),
        outcome: Outcome::Answered,
        source: "model".into(),
        confidence: None,
        rationale: String::new(),
        calls: Vec::new(),
        hooks: Vec::new(),
        exchanges: vec![exchange],
        shown: digest(shown),
        rungs: Vec::new(),
        last: None,
        facts: Vec::new(),
        usage: Vec::new(),
        duration_ms: 1,
        registry: String::new(),
        arms: Vec::new(),
    }
}

fn sealed(n: u128, sessions: &[(&str, &str)], exchange: Option<Exchange>) -> Recalled {
    Recalled::Sealed(Envelope {
        conversation: ConversationId::new("c"),
        turn: id(n),
        sessions: sessions
            .iter()
            .map(|(agent, session)| (AgentId::new(agent), (*session).to_owned()))
            .collect(),
        exchanges: exchange.into_iter().collect(),
        last: None,
        stored: false,
    })
}

fn turn(messages: Vec<Message>, conversation: Option<&str>) -> ChatTurn {
    ChatTurn {
        request: None,
        id: id(99),
        received_at: Timestamp(1),
        deadline: Instant::now(),
        messages: messages.into(),
        choice: None,
        budget: crate::domain::budget::Budget::default(),
        overrides: crate::domain::overrides::Overrides::default(),
        what_if: false,
        caller: Arc::new(Caller {
            conversation: conversation.map(Into::into),
            ..Caller::default()
        }),
    }
}

fn card(name: &str, accepts: &[&str]) -> AgentCard {
    AgentCard {
        accepts: accepts.iter().map(|pattern| (*pattern).into()).collect(),
        ..AgentCard::new(name, Protocol::Dial, Endpoint::Deployment(name.into()))
    }
}

/// The mixed conversation of the architecture document, before its third turn.
fn mixed() -> Vec<Message> {
    vec![
        Message::user("Do we have user John?"),
        Message::assistant("Yes, there is a John Doe."),
        Message::user("What's the weather?"),
        Message::assistant("Which location do you mean?"),
        Message::user("In Paris"),
    ]
}

fn remembered() -> Stored {
    Stored {
        sessions: [(AgentId::new("UMS"), session("ums-123", 1))].into(),
        turns: vec![
            record(
                1,
                "Yes, there is a John Doe.",
                exchange("UMS", "Do we have user John?", "John Doe found"),
            ),
            record(
                2,
                "Which location do you mean?",
                exchange("GPA", "What's the weather?", "Which location?"),
            ),
        ],
    }
}

fn session(id: &str, turn: u128) -> StoredSession {
    StoredSession {
        id: id.into(),
        turn: self::id(turn),
    }
}

fn known(memory: &Memory) -> Vec<(&str, &str)> {
    memory
        .sessions
        .iter()
        .map(|(agent, id)| (agent.as_str(), id.as_str()))
        .collect()
}

fn answers(memory: &Memory) -> Vec<&str> {
    memory
        .exchanges
        .iter()
        .map(|exchange| exchange.answer.as_str())
        .collect()
}

fn recollected(messages: &[Message], recalled: &[Recalled], stored: &Stored) -> Memory {
    recollect(ConversationId::new("c"), messages, recalled, stored)
}

const LOST: [Recalled; 2] = [Recalled::Nothing, Recalled::Nothing];

#[test]
fn the_store_alone_is_enough_to_go_on() {
    let memory = recollected(&mixed(), &LOST, &remembered());
    assert_eq!(answers(&memory), ["John Doe found", "Which location?"]);
    assert_eq!(known(&memory), [("UMS", "ums-123")]);
}

#[test]
fn the_clients_state_alone_is_enough_to_go_on() {
    let recalled = [
        sealed(
            1,
            &[("UMS", "ums-123")],
            Some(exchange("UMS", "Do we have user John?", "John Doe found")),
        ),
        sealed(
            2,
            &[("UMS", "ums-123")],
            Some(exchange("GPA", "What's the weather?", "Which location?")),
        ),
    ];
    let memory = recollected(&mixed(), &recalled, &Stored::default());
    assert_eq!(answers(&memory), ["John Doe found", "Which location?"]);
    assert_eq!(known(&memory), [("UMS", "ums-123")]);
}

#[test]
fn a_follow_up_reaches_an_agent_with_its_own_words_alone() {
    let memory = recollected(&mixed(), &LOST, &remembered());
    let assignment = Assignment {
        agent: AgentId::new("GPA"),
        instructions: None,
        facts: Vec::new(),
        effect: None,
    };
    let task = view(
        &turn(mixed(), None),
        &memory,
        &card("GPA", &["*/*"]),
        &assignment,
        usize::MAX,
    );
    assert_eq!(
        task.history,
        [exchange("GPA", "What's the weather?", "Which location?")]
    );
    assert_eq!((task.text.as_str(), task.session), ("In Paris", None));
}

#[test]
fn turns_are_found_by_id_not_by_adjacency() {
    // Two assistant messages side by side, and the first turn deleted by the user.
    let messages = [
        Message::assistant("edited by the user"),
        Message::assistant("Which location do you mean?"),
        Message::user("In Paris"),
    ];
    let recalled = [sealed(2, &[], None), Recalled::Nothing];
    let memory = recollected(&messages, &recalled, &remembered());
    assert_eq!(answers(&memory), ["Which location?"]);
}

#[test]
fn a_turn_of_another_branch_stays_out() {
    let mut stored = remembered();
    stored.turns.push(record(
        3,
        "Cloudy in Kyiv.",
        exchange("GPA", "In Kyiv", "Kyiv: cloudy"),
    ));
    // The user edited "In Kyiv" into "In Paris": the third turn is not part of this conversation any more.
    assert_eq!(
        answers(&recollected(&mixed(), &LOST, &stored)),
        ["John Doe found", "Which location?"]
    );
}

#[test]
fn without_any_sign_the_stored_turns_are_taken_in_order() {
    let mut messages = mixed();
    messages[1].text = "reworded by a client".into();
    messages[3].text = "reworded as well".into();
    assert_eq!(
        answers(&recollected(&messages, &LOST, &remembered())),
        ["John Doe found", "Which location?"]
    );
}

#[test]
fn of_two_sessions_the_one_seen_last_counts() {
    let of_client = |turn| [sealed(turn, &[("UMS", "of-client")], None)];
    let stored = Stored {
        sessions: [(AgentId::new("UMS"), session("of-store", 5))].into(),
        ..Stored::default()
    };
    let messages = [Message::assistant("x"), Message::user("y")];
    let newest = |turn| recollected(&messages, &of_client(turn), &stored);
    // What the store knows is of a turn that is not in this branch.
    assert_eq!(known(&newest(4)), [("UMS", "of-client")]);
    // The store missed a turn: its session is the older one.
    assert_eq!(known(&newest(6)), [("UMS", "of-client")]);
    let nothing = [sealed(6, &[], None)];
    let nothing = Recalled::Sealed(match nothing {
        [Recalled::Sealed(envelope)] => Envelope {
            stored: true,
            ..envelope
        },
        _ => unreachable!(),
    });
    assert_eq!(
        known(&recollected(&messages, &[nothing], &stored)),
        [("UMS", "of-store")]
    );
}

#[test]
fn another_conversation_of_the_same_name_is_not_taken_in_order() {
    let messages = [
        Message::user("new"),
        Message::assistant("new answer"),
        Message::user("next"),
    ];
    assert_eq!(
        answers(&recollected(&messages, &[Recalled::Nothing], &remembered())),
        [""; 0]
    );
}

#[test]
fn a_conversation_of_the_reference_goes_on() {
    let recalled = [
        Recalled::Legacy {
            gpa: None,
            ums_session: Some("ums-old".into()),
        },
        Recalled::Legacy {
            gpa: Some(None),
            ums_session: None,
        },
    ];
    let memory = recollected(&mixed(), &recalled, &Stored::default());
    assert_eq!(
        memory.exchanges,
        [exchange(
            "GPA",
            "What's the weather?",
            "Which location do you mean?"
        )]
    );
    assert_eq!(
        legacy_session(&recalled),
        Some((AgentId::new("UMS"), "ums-old"))
    );
    assert!(memory.sessions.is_empty());
}

#[test]
fn the_newest_state_names_the_conversation() {
    let recalled = [sealed(2, &[], None), Recalled::Nothing];
    assert_eq!(
        conversation_id(&recalled, &turn(mixed(), Some("x"))).as_str(),
        "c"
    );
    let by_client = conversation_id(&LOST, &turn(mixed(), Some("x")));
    assert_eq!(
        by_client,
        conversation_id(&[], &turn(Vec::new(), Some("x")))
    );
    assert_ne!(by_client, conversation_id(&LOST, &turn(mixed(), Some("y"))));
    assert_ne!(by_client, conversation_id(&LOST, &turn(mixed(), None)));
}

#[test]
fn files_reach_agents_that_take_them_and_others_hear_of_them() {
    let file = |title: &str, media_type: &str| Attachment {
        title: Some(title.into()),
        media_type: Some(media_type.into()),
        data: Some("abc".into()),
        ..Attachment::default()
    };
    let mut message = Message::user("Look");
    message.attachments = vec![file("a.png", "image/png"), file("b.csv", "text/csv")];
    let memory = recollected(&[], &[], &Stored::default());
    let assignment = Assignment {
        agent: AgentId::new("GPA"),
        instructions: None,
        facts: Vec::new(),
        effect: None,
    };
    let task = view(
        &turn(vec![message], None),
        &memory,
        &card("GPA", &["image/*"]),
        &assignment,
        usize::MAX,
    );
    assert_eq!(task.attachments, [file("a.png", "image/png")]);
    assert_eq!(task.manifest, ["b.csv (text/csv, 3 bytes)"]);
}

#[test]
fn an_agent_is_told_as_much_of_its_history_as_its_card_says() {
    let turns = [("one", 1), ("two", 2), ("three", 3)];
    let stored = Stored {
        turns: turns
            .map(|(text, n)| record(n, text, exchange("GPA", text, text)))
            .into(),
        ..Stored::default()
    };
    let messages: Vec<Message> = (turns.iter())
        .flat_map(|(text, _)| [Message::user(text), Message::assistant(text)])
        .chain([Message::user("now")])
        .collect();
    let memory = recollected(&messages, &[const { Recalled::Nothing }; 3], &stored);
    let told = |turns, bytes| {
        let mut card = card("GPA", &[]);
        card.history = HistoryRules { turns, bytes };
        let assignment = Assignment::plain(&card.id);
        let task = view(
            &turn(messages.clone(), None),
            &memory,
            &card,
            &assignment,
            1000,
        );
        let told: Vec<String> = task.history.into_iter().map(|one| one.answer).collect();
        told.join(" ")
    };
    assert_eq!(told(None, None), "one two three");
    assert_eq!(told(Some(2), None), "two three");
    assert_eq!(told(Some(0), None), "");
    assert_eq!(told(None, Some(12)), "three");
}

#[test]
fn addresses_that_are_not_in_the_request_are_not_sent_again() {
    let at = |url: &str| Attachment {
        url: Some(url.into()),
        ..Attachment::default()
    };
    let mut earlier = exchange("GPA", "Draw", "Done");
    earlier.request_attachments = vec![at("files/known"), at("files/unknown")];
    earlier.attachments = vec![at("files/unknown")];
    let stored = Stored {
        turns: vec![record(1, "Done!", earlier)],
        ..Stored::default()
    };
    let mut first = Message::user("Draw");
    first.attachments = vec![at("files/known")];
    let messages = vec![first, Message::assistant("Done!"), Message::user("Again")];
    let memory = recollected(&messages, &[Recalled::Nothing], &stored);
    let assignment = Assignment {
        agent: AgentId::new("GPA"),
        instructions: None,
        facts: Vec::new(),
        effect: None,
    };
    let task = view(
        &turn(messages, None),
        &memory,
        &card("GPA", &["*/*"]),
        &assignment,
        usize::MAX,
    );
    assert_eq!(task.history[0].request_attachments, [at("files/known")]);
    assert_eq!(task.history[0].attachments, []);
}

proptest! {
    #[test]
    fn no_byte_of_one_agents_turns_reaches_another(
        turns in proptest::collection::vec((0_usize..3, any::<bool>(), any::<bool>()), 1..8),
        asked in 0_usize..3,
    ) {
        const AGENTS: [&str; 3] = ["ALPHA", "BETA", "GAMMA"];
        let mut messages = Vec::new();
        let mut recalled = Vec::new();
        let mut stored = Stored::default();
        for (n, (who, in_state, in_store)) in turns.iter().enumerate() {
            let agent = AGENTS[*who];
            let secret = format!("secret-of-{agent}-{n}");
            let own = exchange(agent, &format!("ask {secret}"), &format!("answer {secret}"));
            messages.extend([Message::user(&own.request), Message::assistant(&format!("shown {n}"))]);
            recalled.push(if *in_state {
                sealed(n as u128, &[(agent, &secret)], Some(own.clone()))
            } else {
                Recalled::Nothing
            });
            if *in_store {
                stored.turns.push(record(n as u128, &format!("shown {n}"), own));
                stored.sessions.insert(AgentId::new(agent), session(&secret, n as u128));
            }
        }
        messages.push(Message::user("now"));
        let memory = recollected(&messages, &recalled, &stored);
        let assignment = Assignment { agent: AgentId::new(AGENTS[asked]), instructions: None , facts: Vec::new(), effect: None,};
        let task = view(&turn(messages, Some("x")), &memory, &card(AGENTS[asked], &["*/*"]), &assignment, usize::MAX);
        let seen = format!("{:?} {:?} {:?}", task.history, task.text, task.session);
        for (who, other) in AGENTS.iter().enumerate() {
            prop_assert!(who == asked || !seen.contains(&format!("secret-of-{other}")), "{}", seen);
        }
    }
}
