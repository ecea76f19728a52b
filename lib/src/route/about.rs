//! Questions about the system itself, which no agent has to answer.

use async_trait::async_trait;

use super::{Error, Opinion, RouteQuery, Router};
use crate::domain::plan::{DecisionSource, Plan, RoutingDecision};
use crate::domain::usage::Tally;

/// What people ask, in small letters and without marks. Only a whole message counts: "help me with my taxes" is a request.
const QUESTIONS: [&str; 66] = [
    "help",
    "what can you do",
    "what can you do for me",
    "what can i do here",
    "what can i ask",
    "what can i ask you",
    "what can you help with",
    "what can you help me with",
    "what are you able to do",
    "what are your capabilities",
    "what do you do",
    "who are you",
    "what are you",
    "what is this",
    "how can you help",
    "how can you help me",
    "how do you work",
    "which agents do you have",
    "which agents are there",
    "what agents do you have",
    "what agents are available",
    "list your agents",
    "list agents",
    "show agents",
    "допомога",
    "що ти вмієш",
    "що ти можеш",
    "що ти можеш робити",
    "що ви вмієте",
    "що ви можете",
    "що вмієш",
    "що ти робиш",
    "чим ти можеш допомогти",
    "чим можеш допомогти",
    "чим ви можете допомогти",
    "хто ти",
    "хто ви",
    "які є агенти",
    "які в тебе є агенти",
    "hilfe",
    "was kannst du",
    "was kannst du tun",
    "was können sie",
    "wer bist du",
    "wobei kannst du helfen",
    "wie kannst du mir helfen",
    "welche agenten gibt es",
    "aide",
    "que peux tu faire",
    "que pouvez vous faire",
    "qu'est ce que tu peux faire",
    "qui es tu",
    "qui êtes vous",
    "ayuda",
    "qué puedes hacer",
    "que puedes hacer",
    "qué sabes hacer",
    "quién eres",
    "quien eres",
    "pomoc",
    "co potrafisz",
    "co umiesz",
    "co możesz zrobić",
    "w czym możesz pomóc",
    "kim jesteś",
    "jakich masz agentów",
];

/// The rung that knows such a question when it stands alone.
#[derive(Clone, Copy, Debug)]
pub struct AboutRouter;

impl AboutRouter {
    pub(super) fn decision(rationale: &str) -> RoutingDecision {
        RoutingDecision {
            plan: Plan::About,
            source: DecisionSource::About,
            confidence: None,
            rationale: rationale.to_owned(),
            request: None,
            kept: None,
        }
    }
}

#[async_trait]
impl Router for AboutRouter {
    fn name(&self) -> &'static str {
        "about"
    }

    async fn route(&self, query: &RouteQuery<'_>, _: &mut Tally) -> Result<Opinion, Error> {
        let asked = query.messages.last().is_some_and(|last| {
            last.attachments.is_empty() && QUESTIONS.contains(&normal(&last.text).as_str())
        });
        Ok(if asked {
            Opinion::Decided(Self::decision("the question is about the system itself"))
        } else {
            Opinion::abstained("the question is not about the system itself")
        })
    }
}

/// Small letters, single blanks, no marks but apostrophes within words.
fn normal(text: &str) -> String {
    let plain = |letter: char| match letter {
        '\u{2019}' => '\'',
        _ if letter.is_alphanumeric() || letter == '\'' => letter,
        _ => ' ',
    };
    // A longer message is none of the questions.
    let text: String = text.chars().take(200).map(plain).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}
