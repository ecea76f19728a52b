//! What the coordinator itself says to people, in their language: what it can do, and which agent is meant.

use std::fmt::Write as _;

use serde_json::json;

use crate::domain::ids::AgentId;
use crate::domain::language::Language;

/// An agent, as people are told of it.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    pub agent: &'a AgentId,
    pub description: &'a str,
    /// It is left alone at the moment, since it failed too often.
    pub resting: bool,
}

/// The sentences of one language. `{}` is an agent.
struct Words {
    greeting: &'static str,
    resting: &'static str,
    advice: &'static str,
    which: &'static str,
}

fn words(language: Language) -> Words {
    match language {
        Language::English => Words {
            greeting: "I pass your messages on to the agent that knows most about them, and bring you its answer. These are the agents:",
            resting: "not available at the moment",
            advice: "Just ask, or begin with the name of an agent to choose it yourself, such as",
            which: "I am not sure who should answer this. Which agent do you mean?",
        },
        Language::Ukrainian => Words {
            greeting: "Я передаю ваші повідомлення агентові, який знає про них найбільше, і приношу його відповідь. Ось ці агенти:",
            resting: "зараз недоступний",
            advice: "Просто запитайте або почніть з імені агента, щоб обрати його самостійно, наприклад",
            which: "Я не впевнений, хто має на це відповісти. Якого агента ви маєте на увазі?",
        },
        Language::German => Words {
            greeting: "Ich gebe Ihre Nachrichten an den Agenten weiter, der am meisten davon versteht, und bringe Ihnen seine Antwort. Das sind die Agenten:",
            resting: "zurzeit nicht erreichbar",
            advice: "Fragen Sie einfach, oder beginnen Sie mit dem Namen eines Agenten, um ihn selbst zu wählen, zum Beispiel",
            which: "Ich bin nicht sicher, wer das beantworten soll. Welchen Agenten meinen Sie?",
        },
        Language::French => Words {
            greeting: "Je transmets vos messages à l'agent qui s'y connaît le mieux et je vous apporte sa réponse. Voici les agents :",
            resting: "indisponible pour le moment",
            advice: "Posez simplement votre question, ou commencez par le nom d'un agent pour le choisir vous-même, par exemple",
            which: "Je ne suis pas sûr de savoir qui doit répondre. Quel agent voulez-vous ?",
        },
        Language::Spanish => Words {
            greeting: "Paso sus mensajes al agente que más sabe de ellos y le traigo su respuesta. Estos son los agentes:",
            resting: "no disponible en este momento",
            advice: "Pregunte sin más, o empiece con el nombre de un agente para elegirlo usted, por ejemplo",
            which: "No estoy seguro de quién debe responder. ¿A qué agente se refiere?",
        },
        Language::Polish => Words {
            greeting: "Przekazuję wiadomości agentowi, który zna się na nich najlepiej, i przynoszę jego odpowiedź. Oto agenci:",
            resting: "chwilowo niedostępny",
            advice: "Wystarczy zapytać albo zacząć od nazwy agenta, żeby wybrać go samodzielnie, na przykład",
            which: "Nie wiem, kto powinien na to odpowiedzieć. Którego agenta masz na myśli?",
        },
    }
}

/// What the system can do, from the registry alone.
pub fn about(agents: &[Shown<'_>], language: Language) -> String {
    let words = words(language);
    let mut text = format!("{}\n", words.greeting);
    for shown in agents {
        text.push_str(&line(shown, &words));
    }
    if let Some(first) = agents.first() {
        let _ = write!(text, "\n\n{} `@{} …`", words.advice, first.agent);
    }
    text
}

/// The question which of two agents is meant. It works in clients without buttons, too.
pub fn which(agents: [Shown<'_>; 2], language: Language) -> String {
    let words = words(language);
    let mut text = format!("{}\n", words.which);
    for shown in &agents {
        text.push_str(&line(shown, &words));
    }
    text
}

fn line(shown: &Shown<'_>, words: &Words) -> String {
    let resting = if shown.resting {
        format!(" _({})_", words.resting)
    } else {
        String::new()
    };
    let description = shown.description.trim();
    let colon = if description.is_empty() { "" } else { ": " };
    format!("\n- **{}**{resting}{colon}{description}", shown.agent)
}

/// The same question as buttons: each says what a person would write.
pub fn which_form(agents: &[AgentId; 2]) -> serde_json::Value {
    let button = |agent: &AgentId| {
        let words = format!("@{agent}");
        json!({
            "const": words,
            "title": agent.as_str(),
            "dial:widgetOptions": {"populateText": words, "submit": true}
        })
    };
    json!({
        "type": "object",
        "properties": {
            "agent": {
                "type": "string",
                "dial:widget": "buttons",
                "oneOf": agents.iter().map(button).collect::<Vec<_>>()
            }
        },
        "required": ["agent"]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_names_the_agents_and_who_is_down() {
        let (gpa, ums) = (AgentId::new("GPA"), AgentId::new("UMS"));
        let shown = |agent, description, resting| Shown {
            agent,
            description,
            resting,
        };
        let agents = [shown(&gpa, "Searches.", false), shown(&ums, "", true)];
        for language in [
            Language::English,
            Language::Ukrainian,
            Language::German,
            Language::French,
            Language::Spanish,
            Language::Polish,
        ] {
            let text = about(&agents, language);
            let down = words(language).resting;
            assert!(text.contains("\n- **GPA**: Searches."), "{text}");
            assert!(
                text.contains(&format!("\n- **UMS** _({down})_\n")),
                "{text}"
            );
            assert!(text.ends_with("`@GPA …`"), "{text}");
            assert_eq!(
                Language::of(&which(agents, language)),
                language,
                "{language:?}"
            );
        }
    }
}
