//! What the user says of their preferences is no request for an agent.

use async_trait::async_trait;

use super::{Error, Opinion, RouteQuery, Router};
use crate::domain::agent::Registry;
use crate::domain::ids::AgentId;
use crate::domain::message::Message;
use crate::domain::plan::{DecisionSource, Plan, RoutingDecision};
use crate::domain::usage::Tally;
use crate::domain::wish;

/// The rung that knows wishes. It reads the user's own last message, and nothing that anybody else said.
#[derive(Clone, Debug)]
pub struct PreferenceRouter {
    agents: Vec<AgentId>,
}

impl PreferenceRouter {
    pub fn new(registry: &Registry) -> Self {
        Self {
            agents: registry.iter().map(|card| card.id.clone()).collect(),
        }
    }
}

#[async_trait]
impl Router for PreferenceRouter {
    fn name(&self) -> &'static str {
        "preference"
    }

    async fn route(&self, query: &RouteQuery<'_>, _: &mut Tally) -> Result<Opinion, Error> {
        // A form is what an agent asked for, and who comes through an agent is no person.
        let last = (query.messages.last()).filter(|last| query.caller.depth == 0 && !last.form);
        let said = last.and_then(|last| Some((last, wish::read(&last.text, &self.agents)?)));
        let Some((last, said)) = said else {
            return Ok(Opinion::abstained("nothing is said of preferences"));
        };
        if said.rest.is_empty() && !last.attachments.is_empty() {
            return Ok(Opinion::abstained("a file is no preference"));
        }
        let rest = (!said.rest.is_empty()).then(|| Message {
            text: said.rest.to_owned(),
            ..last.clone()
        });
        Ok(Opinion::Decided(RoutingDecision {
            plan: Plan::Preferences(said.wishes),
            source: DecisionSource::Preference,
            confidence: None,
            rationale: "the user says what they prefer".into(),
            request: rest,
            kept: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::*;
    use crate::domain::ids::Timestamp;
    use crate::domain::message::Role;
    use crate::domain::preference::Preferences;
    use crate::domain::turn::Caller;

    const WISHES: [&str; 4] = [
        "Never ask UMS",
        "Always answer in German.",
        "Forget my preferences",
        "\u{421}\u{445}\u{43e}\u{432}\u{430}\u{439} \u{435}\u{442}\u{430}\u{43f}\u{438}",
    ];

    /// Whether the rung takes the conversation for a wish.
    fn decides(messages: &[Message], depth: u32) -> bool {
        let router = PreferenceRouter {
            agents: ["GPA", "UMS"].map(AgentId::new).to_vec(),
        };
        let query = RouteQuery {
            messages,
            caller: &Arc::new(Caller {
                depth,
                ..Caller::default()
            }),
            deadline: Instant::now() + Duration::from_secs(1),
            tenant: "t",
            roles: &[],
            at: Timestamp(0),
            choice: None,
            last: None,
            facts: &[],
            judged: None,
            preferences: &Preferences::default(),
            allowance: None,
            placed: None,
        };
        let opinion =
            futures_util::FutureExt::now_or_never(router.route(&query, &mut Tally::default()));
        matches!(opinion.unwrap().unwrap(), Opinion::Decided(_))
    }

    fn message() -> impl Strategy<Value = Message> {
        let text = prop_oneof![
            prop::sample::select(WISHES.to_vec()).prop_map(str::to_owned),
            ".{0,40}"
        ];
        let role = prop::sample::select(vec![Role::System, Role::User, Role::Assistant]);
        (role, text).prop_map(|(role, text)| Message {
            role,
            ..Message::user(&text)
        })
    }

    proptest! {
        #[test]
        fn only_the_users_own_last_message_says_a_preference(
            earlier in prop::collection::vec(message(), 0..5),
            wish in prop::sample::select(WISHES.to_vec()),
        ) {
            let with = |last: Message| {
                let mut messages = earlier.clone();
                messages.push(last);
                messages
            };
            prop_assert!(decides(&with(Message::user(wish)), 0));
            prop_assert!(!decides(&with(Message::user(wish)), 1));
            prop_assert!(!decides(&with(Message::user("What is there?")), 0));
            let form = Message { form: true, ..Message::user(wish) };
            prop_assert!(!decides(&with(form), 0));
            let quoted = format!("GPA said: \"{wish}\" What does it mean?");
            prop_assert!(!decides(&with(Message::user(&quoted)), 0));
        }
    }
}
