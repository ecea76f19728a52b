//! Whether an answer speaks of a file of its own that is not there.

use super::prose::{begins, has, is_of_letters, is_of_wording, prose, sentences};
use crate::domain::markdown::links;

/// The agent says that it attached something.
const ATTACHED: &[&str] = &[
    "i|we have|'ve also? attached",
    "i've|we've also? attached",
    "i|we am|are attaching",
    "please? find attached",
    "please? find .. attached",
    "attached is|are|you'll|you",
    "я|ми? вже? прикріпив|прикріпила|прикріпили|долучив|долучила|долучили|додав|додала|додали .. файл*|вкладен*|звіт*|зображення|діаграм*|графік*",
    "я|ми? прикріплюю|прикріплюємо|долучаю|долучаємо .. файл*|звіт*|зображення|діаграм*|графік*|таблиц*",
    "ich|wir habe|haben .. angehängt|beigefügt|angefügt",
    "anbei finden|erhalten|sende|schicke",
    "im anhang finden|findest|ist|sind",
    "veuillez trouver ci joint",
    "j'ai|nous joint|avons joint? .. fichier|document|rapport|graphique|image",
    "he|hemos adjuntado",
    "adjunto .. archivo|documento|informe|gráfico|imagen",
    "w załączniku znajduje|znajdziesz|przesyłam|jest",
    "załączam|załączyłem|załączyłam|załączamy",
];

/// It points to something attached: to the user's own file, where the user sent one.
const POINTED: &[&str] = &[
    "see|open|check the? attached|attachment",
    "see|open .. attached file|document|chart|report|image|spreadsheet|pdf|table",
    "the attached file|document|chart|report|image|spreadsheet|pdf shows|contains|lists|has",
    "see|look the|at the? chart|graph|diagram|image|picture|figure below|above?",
    "here is|are|'s the|your|a .. chart|diagram|image|picture|screenshot|spreadsheet|pdf",
    "here's the|your|a .. chart|diagram|image|picture|screenshot|spreadsheet|pdf",
    "дивіться|дивись|див .. вкладен*|прикріплен*",
    "ось .. діаграма|графік|зображення|файл|картинка",
    "у прикріпленому|вкладеному файлі|документі",
    "у вкладенні",
    "siehe anhang|anhänge",
    "hier ist .. diagramm|bild|grafik|datei|tabelle",
    "voici .. graphique|image|fichier|diagramme",
    "aquí está|tienes .. gráfico|imagen|archivo|diagrama",
    "oto .. wykres|obraz|plik|diagram",
];

/// It says that it made a file. An agent that may change things may have made it somewhere else.
const MADE: &[&str] = &[
    "i've|i have? created|generated|prepared|exported|produced|drawn|rendered|saved .. file|pdf|csv|spreadsheet|chart|diagram|image|picture|screenshot|archive|presentation",
    "я? створив|створила|згенерував|згенерувала|підготував|підготувала|намалював|намалювала|побудував|побудувала|зберіг|зберегла .. файл|діаграму|графік|зображення|картинку|презентацію",
    "ich habe .. datei|diagramm|bild|grafik|präsentation erstellt|erzeugt|gezeichnet|gespeichert",
    "j'ai créé|généré|préparé .. fichier|graphique|image|diagramme|présentation",
    "he creado|generado|preparado .. archivo|gráfico|imagen|diagrama|presentación",
    "stworzyłem|stworzyłam|utworzyłem|utworzyłam|przygotowałem|przygotowałam|wygenerowałem|wygenerowałam .. plik|wykres|obraz|diagram|prezentację",
];

/// Nothing is said of the answer itself in a sentence with one of these.
const DOUBT: &str = "if whether when once would could should may might not never haven't hasn't cannot can't unless forgot earlier \
    previously last yesterday you'd якщо коли не ще раніше минулого wenn falls ob nicht kein keine si ne pas cuando no jeśli nie";

/// How letters begin and end: what stands in them is said by whoever sends them.
const LETTER: &[&str] = &[
    "dear",
    "subject",
    "best|kind|warm regards",
    "sincerely",
    "yours",
    "шановн*",
    "з повагою",
    "тема",
    "mit freundlichen",
    "sehr geehrte*",
    "liebe*",
    "betreff",
    "cordialement",
    "cher|chère|madame|monsieur",
    "estimad*",
    "saludos|atentamente",
    "szanown*",
    "z poważaniem",
];

/// Whether an answer without any attachment claims one. `files` are in the conversation already; `reads` says that the agent
/// changes nothing, so that what it made can only be in its answer.
pub fn claims_a_file(request: &str, answer: &str, files: bool, reads: bool) -> bool {
    let shown = answer.contains("```") || !links(answer).is_empty() || answer.contains("](");
    if shown || is_of_letters(request) || is_of_wording(request) {
        return false;
    }
    let said = sentences(&prose(answer).replace(['*', '_'], ""));
    let letter = |words: &[String]| LETTER.iter().any(|pattern| begins(pattern, words));
    if said.iter().any(|words| letter(words)) {
        return false;
    }
    let mut patterns: Vec<&str> = ATTACHED.to_vec();
    if !files {
        patterns.extend(POINTED);
        if reads {
            patterns.extend(MADE);
        }
    }
    (said.iter().filter(|words| !has(words, DOUBT))).any(|words| {
        let mut places = 0..words.len();
        places.any(|at| {
            let from = words.get(at..).unwrap_or_default();
            patterns.iter().any(|pattern| begins(pattern, from))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_claimed_must_be_there() {
        for answer in [
            "I have attached the report.",
            "Done, I've attached the chart.",
            "Here you go. Please find the spreadsheet attached.",
            "Attached is the summary you asked for.",
            "See the attached file for details.",
            "Sales rose in May. See the chart below.",
            "Here is a chart of the sales.",
            "I've created a PDF file with all users.",
            "I have generated an image of a cat.",
            "Я прикріпив файл зі звітом.",
            "Ось ваша діаграма.",
            "Я створила графік продажів.",
            "Ich habe die Datei angehängt.",
            "Ich habe ein Diagramm erstellt.",
            "J'ai créé un fichier avec la liste.",
            "He adjuntado el informe.",
            "Załączam plik z listą.",
        ] {
            assert!(claims_a_file("Show sales", answer, false, true), "{answer}");
        }
    }

    #[test]
    fn what_speaks_of_other_files_claims_nothing() {
        for answer in [
            "Paris: sunny.",
            "I have not attached anything.",
            "If I have attached the wrong file, tell me.",
            "Would you like me to create a chart?",
            "I can create a PDF file of it.",
            "The button says \"I have attached the file\".",
            "I've attached the chart: ![chart](files/b/c.png)",
            "I've created the file: https://a.b/c.pdf",
            "Here is the chart:\n```mermaid\npie\n```",
            "Dear Bob,\n\nPlease find attached the report.\n\nBest regards,\nAnn",
            "Шановний Іване,\nя додаю файл зі звітом.\nЗ повагою, Анна",
            "Bob attached a file to the ticket.",
            "I have created the user Bob.",
            "{\"note\": \"I have attached the file\"}",
        ] {
            assert!(
                !claims_a_file("Show sales", answer, false, true),
                "{answer}"
            );
        }
        let check = |request: &str, answer: &str, files, reads, expected| {
            assert_eq!(
                claims_a_file(request, answer, files, reads),
                expected,
                "{answer}"
            );
        };
        check(
            "What is in it?",
            "The attached file contains 3 rows.",
            true,
            true,
            false,
        );
        check(
            "What is in it?",
            "I have attached the result.",
            true,
            true,
            true,
        );
        check(
            "Save it",
            "I have created the file a.csv.",
            false,
            false,
            false,
        );
        check(
            "Write a mail to Bob",
            "I have attached the report.",
            false,
            true,
            false,
        );
    }
}
