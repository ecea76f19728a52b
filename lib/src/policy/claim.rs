//! Whether an answer speaks of a file of its own that is not there.

use super::prose::{
    begins, has, has_substance, is_of_letters, is_of_wording, prose, sentences, words,
};
use crate::domain::markdown::links;

/// The agent says that it attached something.
const ATTACHED: &[&str] = &[
    "i|we have|'ve also? attached",
    "i've|we've also? attached",
    "i|we am|are attaching",
    "please? find attached",
    "please? find .. attached",
    "attached is|are|you'll|you",
    "я|ми? вже? прикріпив|прикріпила|прикріпили|долучив|долучила|долучили .. файл*|вкладен*|звіт*|зображення|діаграм*|графік*",
    "я|ми? прикріплюю|прикріплюємо|долучаю|долучаємо .. файл*|звіт*|зображення|діаграм*|графік*|таблиц*",
    "ich|wir habe|haben .. angehängt|beigefügt|angefügt",
    "anbei finden|erhalten|sende|schicke",
    "im anhang finden|findest",
    "veuillez trouver ci joint",
    "j'ai|nous joint|avons joint? .. fichier|document|rapport|graphique|image",
    "he|hemos adjuntado",
    "adjunto el|la|un|una|aquí archivo|documento|informe|gráfico|imagen",
    "w załączniku znajdziesz|przesyłam",
    "załączam|załączyłem|załączyłam|załączamy",
];

/// It points to something attached: to the user's own file, where the user sent one.
const POINTED: &[&str] = &[
    "see the? attached|attachment",
    "see|open .. attached file|document|chart|report|image|spreadsheet|pdf|table",
    "the attached file|document|chart|report|image|spreadsheet|pdf shows|contains|lists|has",
    "see|look at? the chart|graph|diagram|image|picture|figure below|above",
    "here is|are the|your|a .. chart|diagram|image|screenshot|spreadsheet|pdf",
    "here's the|your|a .. chart|diagram|image|screenshot|spreadsheet|pdf",
    "дивіться|дивись|див .. вкладен*|прикріплен*",
    "ось .. діаграма|зображення|файл|картинка",
    "у прикріпленому|вкладеному файлі|документі",
    "у вкладенні",
    "siehe anhang|anhänge",
    "im anhang ist|sind",
    "w załączniku znajduje|jest",
    "hier ist .. diagramm|bild|grafik|datei|tabelle",
    "voici .. graphique|image|fichier|diagramme",
    "aquí está|tienes .. gráfico|imagen|archivo|diagrama",
    "oto .. wykres|obraz|plik|diagram",
];

/// It says that it made a file. An agent that may change things may have made it somewhere else.
const MADE: &[&str] = &[
    "i've|i have? created|generated|prepared|exported|produced|drawn|rendered|saved .. file|pdf|csv|spreadsheet|chart|diagram|image|picture|screenshot|archive",
    "я? створив|створила|згенерував|згенерувала|підготував|підготувала|намалював|намалювала|побудував|побудувала|зберіг|зберегла .. файл|діаграму|зображення|картинку",
    "я? створив|створила|намалював|намалювала|побудував|побудувала графік",
    "ich habe .. datei|diagramm|bild|grafik erstellt|erzeugt|gezeichnet|gespeichert",
    "j'ai créé|généré|préparé .. fichier|graphique|image|diagramme",
    "he creado|generado|preparado .. archivo|gráfico|imagen|diagrama",
    "stworzyłem|stworzyłam|utworzyłem|utworzyłam|przygotowałem|przygotowałam|wygenerowałem|wygenerowałam .. plik|wykres|obraz|diagram",
];

/// Nothing is said of the answer itself in a sentence with one of these.
const DOUBT: &str = "if whether when once would could should may might not never haven't hasn't cannot can't unless forgot earlier \
    previously last yesterday you'd якщо коли не ще раніше минулого wenn falls ob nicht kein keine si ne pas cuando no jeśli nie";

/// Words about a file are no file.
const ABOUT: &str = "summar* descri* explan* outline* prompt* name names text* transcri* caption* content contents structure template* \
    accounts роботи відпусток чергувань опис* текст* назв* зміст* підсумок beschreibung* zusammenfassung* gliederung* text* inhalt* \
    résumé* descripción resumen contenu contenido opis* treść streszczenie* podsumowanie*";

/// A request that asks to attach something to something else.
const ATTACH: &str = "attach* upload* прикріп* долуч* додай* додати завантаж* anhäng* anfüg* beifüg* hochlad* joindre joins joignez \
    adjunt* załącz* dołącz*";

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
    // Who may change something may have attached it where the user wanted it.
    let elsewhere = !reads && has(&words(request), ATTACH);
    if shown || elsewhere || is_of_letters(request) || is_of_wording(request) {
        return false;
    }
    let said = sentences(&prose(answer).replace(['*', '_'], ""));
    let letter = |words: &[String]| LETTER.iter().any(|pattern| begins(pattern, words));
    if said.iter().any(|words| letter(words)) {
        return false;
    }
    // What stands below the words may be what they point to.
    let points = !files && !has_substance(answer);
    let says = |words: &[String], patterns: &[&str]| {
        let mut places = 0..words.len();
        places.any(|at| {
            let from = words.get(at..).unwrap_or_default();
            patterns.iter().any(|pattern| begins(pattern, from))
        })
    };
    (said.iter().filter(|words| !has(words, DOUBT))).any(|words| {
        let of_a_file = points && !has(words, ABOUT);
        says(words, ATTACHED)
            || (of_a_file && (says(words, POINTED) || (reads && says(words, MADE))))
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
            "Click Preview to see the image, or look at the chart in Grafana.",
            "Open the attachment menu and choose a file.",
            "Here's the big picture: sales rose.",
            "Here is a summary of the PDF: sales rose.",
            "Here is a description of the image: a cat on a mat.",
            "Here is the org chart:\n- CEO: Ann\n- CTO: Bob",
            "Here is a comparison chart:\n| a | b |\n|---|---|\n| 1 | 2 |",
            "I've prepared an outline for your presentation: 1. Sales.",
            "I've created an image prompt for you: a cat in rain.",
            "Ось графік роботи: пн\u{2013}пт, 9\u{2013}18.",
            "Я підготувала графік відпусток: Анна в липні, Іван у серпні.",
            "Hier ist die Tabelle:\n| a | b |\n|---|---|",
            "Ich habe eine Gliederung für die Präsentation erstellt.",
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
            "Was steht darin?",
            "Im Anhang ist eine Rechnung.",
            true,
            true,
            false,
        );
        check(
            "\u{bf}Qu\u{e9} contiene?",
            "El adjunto es un documento de ventas.",
            true,
            true,
            false,
        );
        check(
            "Attach my screenshot to PROJ-1",
            "I have attached the screenshot to PROJ-1.",
            true,
            false,
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
