//! Questions about the system itself, which no agent has to answer.

use async_trait::async_trait;

use super::{Error, Opinion, RouteQuery, Router};
use crate::domain::language::Language;
use crate::domain::plan::{DecisionSource, Plan, RoutingDecision};
use crate::domain::usage::Tally;

/// What people ask, in small letters and without marks. Only a whole message counts: "help me with my taxes" is a request.
const QUESTIONS: [(Language, &[&str]); 6] = [
    (
        Language::English,
        &[
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
        ],
    ),
    (
        Language::Ukrainian,
        &[
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
        ],
    ),
    (
        Language::German,
        &[
            "hilfe",
            "was kannst du",
            "was kannst du tun",
            "was können sie",
            "wer bist du",
            "wobei kannst du helfen",
            "wie kannst du mir helfen",
            "welche agenten gibt es",
        ],
    ),
    (
        Language::French,
        &[
            "aide",
            "que peux tu faire",
            "que pouvez vous faire",
            "qu'est ce que tu peux faire",
            "qui es tu",
            "qui êtes vous",
        ],
    ),
    (
        Language::Spanish,
        &[
            "ayuda",
            "qué puedes hacer",
            "que puedes hacer",
            "qué sabes hacer",
            "quién eres",
            "quien eres",
        ],
    ),
    (
        Language::Polish,
        &[
            "pomoc",
            "co potrafisz",
            "co umiesz",
            "co możesz zrobić",
            "w czym możesz pomóc",
            "kim jesteś",
            "jakich masz agentów",
        ],
    ),
];

/// Those that after an agent's answer are about that answer.
const ABOUT_ANSWERS: [&str; 9] = [
    "help",
    "what is this",
    "what do you do",
    "how do you work",
    "допомога",
    "hilfe",
    "aide",
    "ayuda",
    "pomoc",
];

/// The rung that knows such a question when it stands alone.
#[derive(Clone, Copy, Debug)]
pub struct AboutRouter;

impl AboutRouter {
    pub(super) fn decision(language: Option<Language>, rationale: &str) -> RoutingDecision {
        RoutingDecision {
            plan: Plan::About(language),
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
        let text = query
            .messages
            .last()
            .filter(|last| last.attachments.is_empty());
        let text = text.map_or_else(String::new, |last| normal(&last.text));
        let asked = (QUESTIONS.iter()).find(|(_, questions)| questions.contains(&text.as_str()));
        let answered = query.last.is_some_and(|last| last.agent.is_some());
        Ok(match asked {
            Some(_) if answered && ABOUT_ANSWERS.contains(&text.as_str()) => {
                Opinion::abstained("the question may be about the answer before")
            }
            Some((language, _)) => Opinion::Decided(Self::decision(
                Some(*language),
                "the question is about the system itself",
            )),
            None => Opinion::abstained("the question is not about the system itself"),
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
