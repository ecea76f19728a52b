use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::context::recollect;
use crate::domain::conversation::{Envelope, Exchange, Memory, StoredSession};
use crate::domain::ids::ConversationId;

/// The first keeps its own conversations, the other is told its history.
const AGENTS: [&str; 2] = ["UMS", "GPA"];

/// What is left of an answer that was stopped.
const CUT: &str = "sho";

/// What a person does next.
#[derive(Clone, Debug)]
struct Step {
    /// Goes on from one of the answers so far, or begins anew: after an edit, going back, asking again.
    from: usize,
    says: usize,
    agent: usize,
    /// The client keeps the answer's state.
    keeps: bool,
    /// It shows another text than was sent: it was stopped.
    stopped: bool,
    /// It sends so many of the newest answers.
    window: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0_usize..8,
        0_usize..3,
        0_usize..2,
        any::<bool>(),
        any::<bool>(),
        prop_oneof![4 => Just(usize::MAX), 1 => 1_usize..3],
    );
    let step = step.prop_map(|(from, says, agent, keeps, stopped, window)| Step {
        from,
        says,
        agent,
        keeps,
        stopped,
        window,
    });
    prop::collection::vec(step, 1..16)
}

/// One turn as it really was.
struct Happened {
    from: Option<usize>,
    says: usize,
    agent: usize,
    message: Message,
    recalled: Recalled,
    /// The conversation of the UMS that it was in.
    session: Option<String>,
}

/// All that happened, and what the UMS was told in each of its conversations.
#[derive(Default)]
struct History {
    happened: Vec<Happened>,
    told: BTreeMap<String, Vec<usize>>,
    stored: Stored,
}

fn id(n: usize) -> TurnId {
    TurnId::from_uuid(Uuid::from_u128(n as u128 + 1))
}

fn words_of(says: usize) -> Message {
    Message::user(&format!("request {says}"))
}

impl History {
    /// The turns from the first one to this one.
    fn path(&self, mut at: Option<usize>) -> Vec<usize> {
        let mut path = Vec::new();
        while let Some(turn) = at {
            path.push(turn);
            at = self.happened[turn].from;
        }
        path.reverse();
        path
    }

    /// Whether a turn answered the same words at the same place as one of a path, or as what is asked after it.
    fn is_try(&self, turn: usize, path: &[usize], says: usize) -> bool {
        let key = |turn: usize| (self.happened[turn].from, self.happened[turn].says);
        let now = (path.last().copied(), says);
        key(turn) == now || path.iter().any(|own| key(*own) == key(turn))
    }

    fn own(&self, path: &[usize], agent: usize) -> Vec<usize> {
        let own = path.iter().copied();
        own.filter(|turn| self.happened[*turn].agent == agent)
            .collect()
    }

    /// Does one step, and holds it against what a chat of the same messages alone would lead to.
    fn go(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let from = step
            .from
            .checked_sub(1)
            .filter(|at| *at < self.happened.len());
        let path = self.path(from);
        let mut seen = &path[path.len().saturating_sub(step.window)..];
        if (seen.iter()).any(|turn| self.happened[*turn].message.text == CUT) {
            // What it stands for is only known by what was said before it.
            seen = &path;
        }
        let mut messages = Vec::new();
        let mut recalled = Vec::new();
        for turn in seen {
            let turn = &self.happened[*turn];
            messages.extend([words_of(turn.says), turn.message.clone()]);
            recalled.push(turn.recalled.clone());
        }
        messages.push(words_of(step.says));
        let memory = recollect(ConversationId::new("c"), &messages, &recalled, &self.stored);
        for (agent, name) in AGENTS.iter().enumerate() {
            let told: Vec<&str> = (memory.exchanges.iter())
                .filter(|one| one.agent.as_str() == *name)
                .map(|one| one.answer.as_str())
                .collect();
            let own = self.own(seen, agent);
            let own: Vec<String> = own.iter().map(|turn| format!("answer {turn}")).collect();
            prop_assert_eq!(told, own, "{} of {:?}", name, seen);
        }
        let session = memory.sessions.get(&AgentId::new(AGENTS[0])).cloned();
        let usable = |session: &String| {
            let mut told = self.told[session].iter();
            told.all(|turn| path.contains(turn) || self.is_try(*turn, &path, step.says))
        };
        if let Some(session) = &session {
            prop_assert!(usable(session), "another branch was at work in {session}");
            let missing: Vec<usize> = (self.own(&path, 0).into_iter())
                .filter(|turn| !self.told[session].contains(turn))
                .collect();
            prop_assert_eq!(missing, [0_usize; 0], "it knows all of this branch");
        }
        if seen.len() == path.len() {
            let now = |one: &&Happened| from.is_some() && (one.from, one.says) == (from, step.says);
            let again = self.happened.iter().filter(now);
            let own = self.own(&path, 0);
            let own = own.last().map(|turn| &self.happened[*turn]);
            let left = own.into_iter().chain(again);
            let left = left.filter_map(|one| one.session.clone());
            let left = left.fold(None, |_, session| Some(session));
            let left = left.filter(|_| session.is_none()).filter(usable);
            prop_assert_eq!(left, None, "it could have gone on in its conversation");
        }
        self.happens(step, from, &path, &memory, session);
        Ok(())
    }

    fn happens(
        &mut self,
        step: &Step,
        from: Option<usize>,
        path: &[usize],
        memory: &Memory,
        session: Option<String>,
    ) {
        let n = self.happened.len();
        let mut sessions = memory.sessions.clone();
        let mut reached = BTreeMap::new();
        let mut session = session.filter(|_| step.agent == 0);
        if step.agent == 0 {
            // Of what the client left out it is told nothing, which is no other branch's either.
            let again = self.own(path, 0);
            let used = session.unwrap_or_else(|| {
                let made = format!("{n:02}");
                self.told.insert(made.clone(), again);
                made
            });
            self.told.get_mut(&used).unwrap().push(n);
            sessions.insert(AgentId::new(AGENTS[0]), used.clone());
            reached.insert(AgentId::new(AGENTS[0]), vec![used.clone()]);
            session = Some(used);
        }
        let exchange = Exchange {
            agent: AgentId::new(AGENTS[step.agent]),
            request: format!("request {}", step.says),
            instructions: None,
            request_attachments: Vec::new(),
            answer: format!("answer {n}"),
            attachments: Vec::new(),
            state: None,
        };
        // Without a state, only the text tells two answers to the same words from each other.
        let shown = if step.keeps {
            "Done.".into()
        } else {
            format!("shown {n}")
        };
        let cut = step.stopped && !step.keeps;
        let record = serde_json::json!({
            "id": id(n), "at": 1, "after": memory.after, "asked": words(&words_of(step.says)), "sessions": reached,
            "outcome": "answered", "source": "model", "rationale": "", "exchange": exchange,
            "shown": digest(&shown), "duration_ms": 1
        });
        self.stored
            .turns
            .push(serde_json::from_value(record).unwrap());
        let envelope = Envelope {
            conversation: ConversationId::new("c"),
            turn: id(n),
            sessions,
            exchanges: vec![exchange],
            last: None,
            stored: false,
        };
        self.happened.push(Happened {
            from,
            says: step.says,
            agent: step.agent,
            message: Message::assistant(if cut { CUT } else { &shown }),
            recalled: if step.keeps {
                Recalled::Sealed(envelope)
            } else {
                Recalled::Nothing
            },
            session,
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_edited_each_agent_is_told_what_a_chat_of_the_same_messages_would_tell_it(steps in steps()) {
        let mut history = History::default();
        for (n, step) in steps.iter().enumerate() {
            // Of two tries that are both shown in part nobody can tell which is meant.
            let says = if step.stopped { 100 + n } else { step.says };
            history.go(&Step { says, ..step.clone() })?;
        }
    }
}

/// A record as earlier versions wrote it.
fn old(n: usize, agent: &str) -> TurnRecord {
    serde_json::from_value(serde_json::json!({
        "id": id(n), "at": 1, "outcome": "answered", "source": "model", "rationale": "",
        "exchange": {"agent": agent, "request": "r", "answer": format!("answer {n}")},
        "shown": digest(&format!("shown {n}")), "duration_ms": 1
    }))
    .unwrap()
}

#[test]
fn what_earlier_versions_stored_still_reads_and_is_not_taken_across_branches() {
    let session = StoredSession {
        id: "s".into(),
        turn: id(1),
    };
    let stored = Stored {
        sessions: [(AgentId::new("UMS"), session)].into(),
        turns: vec![old(0, "UMS"), old(1, "UMS")],
    };
    let after = |turns: usize| {
        let said =
            (0..turns).flat_map(|n| [words_of(n), Message::assistant(&format!("shown {n}"))]);
        let messages: Vec<Message> = said.chain([words_of(9)]).collect();
        let recalled = vec![Recalled::Nothing; turns];
        recollect(ConversationId::new("c"), &messages, &recalled, &stored)
    };
    let sessions = |turns| after(turns).sessions.into_values().collect::<Vec<_>>();
    assert_eq!(sessions(2), ["s"]);
    assert_eq!(
        sessions(1),
        [""; 0],
        "the turn that was edited away may have been in it"
    );
    assert_eq!(after(1).exchanges.len(), 1);
}
