//! Whether an answer declines the request: said by the agent itself, in so many words, and with nothing useful beside it.

use super::prose::{begins, has, has_substance, is_of_wording, length, prose, sentences};

/// A longer answer has more to say than no, in bytes.
const LONGEST: usize = 700;
/// Words and sentences that may follow a refusal.
const WORDS: usize = 45;
const SENTENCES: usize = 3;

/// What stands before a refusal and says nothing.
const COURTESY: &[&str] = &[
    "i'm|i|we're|we am|are? really|so|very|truly? sorry but|that|however?",
    "sorry but? about? that?",
    "i|we apologize|apologise for? any|the? inconvenience|confusion? but?",
    "my? apologies but?",
    "unfortunately|regrettably",
    "i'm afraid that?",
    "i|we understand .. but",
    "вибач|вибачте|пробач|пробачте|перепрошую|шкода але?",
    "прошу вибачення але?",
    "на жаль",
    "нажаль",
    "мені дуже? шкода але?",
    "es? tut mir sehr? leid aber?",
    "leider",
    "entschuldigung|entschuldigen sie? aber?",
    "je suis vraiment? désolé|désolée mais?",
    "désolé|désolée|malheureusement|pardon mais?",
    "lo siento mucho? pero?",
    "lamentablemente|desafortunadamente|disculpa|disculpe|perdón pero?",
    "przepraszam|niestety ale?",
    "przykro mi ale?",
];

/// Words that take nothing from a refusal, and add nothing to it.
const FILLERS: &str = "really currently directly actually simply just also unfortunately зараз наразі безпосередньо просто також \
    leider derzeit momentan einfach malheureusement actuellement lamentablemente actualmente niestety obecnie";

/// How a refusal begins, in the first person.
const REFUSALS: &[&str] = &[
    // English
    "i|we can't|cannot|won't|couldn't help|assist you? with that|this|it|these|those|your|such",
    "i|we can|could|will not help|assist you? with that|this|it|these|those|your|such",
    "i|we can't|cannot|won't help|assist you",
    "i'm|we're|i|we am|are? unable|not able? to? help|assist you? with? that|this|it|you|your|such",
    "i'm|we're|i|we am|are? unable|not able? to comply|do|provide|answer that|this|with|such|it",
    "i'm|we're|i|we am|are? unable|not able? to fulfil*|complete|process|answer .. request|requests|query|question|prompt|task",
    "i|we won't be able to help|assist|do|answer|comply that|this|with|you|your",
    "i|we can't|cannot|won't be? able? to? fulfil*|process .. request|requests|query|question|prompt",
    "i|we can't|cannot|won't comply|respond|engage with|to? that|this|your|the|such",
    "i|we can't|cannot|won't answer that|this|your|such",
    "i|we can't|cannot|won't provide|share|discuss|give that|this|such|any|you information|advice|assistance|content|details|help|instructions|medical|legal|financial",
    "i|we can't|cannot|won't do that|this|it for? you? $",
    "i'm|i am? not allowed|permitted|authorized|authorised|able|designed to help|assist|answer|do|provide|discuss|share",
    "i|we must|have to? decline|refuse",
    "i|we decline|refuse to",
    "i'd rather|prefer not .. discuss|answer|help|talk",
    "as an|a .. ai|assistant|model .. i|i'm can't|cannot|don't|won't|unable|not",
    "as an|a .. ai|assistant|model .. i am|do|can not|unable",
    "that|this|it|that's|it's is? outside|beyond of? my|our .. capabilit*|abilit*|scope|expertise|knowledge|guidelines|limits",
    "that|this|it|that's|it's is? outside|beyond of? what i|we|i'm|we're can|could|may|am|are|able|allowed",
    // Ukrainian
    "я|ми? не можу|можемо|зможу|зможемо|здатен|здатна .. допомогти|допомагати",
    "я|ми? не маю|можу .. змоги|можливості допомогти|виконати|відповісти",
    "я|ми? не можу|можемо|зможу|зможемо .. виконати|відповісти|обговорювати|опрацювати|обробити .. запит|запитання|питання|прохання|завдання",
    "я|ми? не можу|можемо|зможу|зможемо зробити|виконати|надати|обговорювати це|цього|таке|такого $",
    "я|ми? не можу|можемо|зможу|зможемо це|цього|таке|такого зробити|виконати|надати|обговорювати",
    "з цим|цією|такою|таким .. не можу|можемо|зможу|зможемо .. допомогти",
    "допомогти .. не можу|можемо|зможу|зможемо",
    "я|ми? змушений|змушена|змушені|мушу відмовити|відмовитися|відмовитись",
    "я? відмовляюся|відмовляюсь",
    "як мовна|штучний|ші|модель .. я? .. не можу|маю|здатен|здатна",
    "це поза|виходить за? межами|межі моїх|моїми|мого|моєї",
    // German
    "ich|wir kann|können .. nicht helfen|weiterhelfen|unterstützen|behilflich",
    "kann|können ich|wir .. nicht helfen|weiterhelfen|unterstützen",
    "dabei|damit|hierbei|da kann|können ich|wir .. nicht helfen|weiterhelfen|unterstützen|behilflich",
    "ich|wir kann|können|darf|dürfen .. frage|fragen|anfrage|anfragen|bitte|aufgabe .. nicht beantworten|ausführen|erfüllen|bearbeiten|antworten|nachkommen",
    "ich|wir kann|können|darf|dürfen das|dies nicht beantworten|ausführen|erfüllen|bearbeiten|tun",
    "diese|dieser|ihre|deine .. frage|fragen|anfrage|anfragen|bitte|aufgabe kann|darf|möchte|können|dürfen ich|wir .. nicht beantworten|ausführen|erfüllen|bearbeiten|nachkommen",
    "das|dies kann|darf|möchte|können|dürfen ich|wir .. nicht tun|machen|beantworten|ausführen|erfüllen|bearbeiten",
    "ich|wir bin|sind .. nicht in der lage .. zu? helfen|beantworten|erfüllen|weiterzuhelfen",
    "als ki|sprachmodell|assistent .. kann|habe|darf|bin ich .. nicht|kein|keine|keinen",
    // French
    "je|nous ne peux|puis|pourrai|pouvons pas .. aider|m'aider|t'aider",
    "je|nous ne peux|puis|pourrai|pouvons pas .. répondre|traiter|satisfaire|accéder|donner .. demande|question|requête|cela",
    "je|nous ne suis|sommes pas en mesure d'aider|d'y|de .. aider|répondre|traiter|faire|fournir|demande|question|cela",
    "en tant que|qu'ia|qu'intelligence .. je ne peux|suis|dispose|puis",
    // Spanish
    "yo? no puedo|podemos|podré ayudarte|ayudarle|ayudarlo|ayudarla|ayudaros|ayudar",
    "yo? no puedo|podemos|podré .. cumplir|responder|atender|realizar|hacer|completar .. solicitud|petición|pregunta|eso|esto",
    "no estoy en condiciones|capacitado de|para .. ayudar*|responder",
    "como modelo|ia|asistente|inteligencia .. no puedo|tengo|soy",
    // Polish
    "ja? nie mogę|możemy|potrafię .. pomóc",
    "ja? nie mogę|możemy .. odpowiedzieć|zrealizować|wykonać|spełnić .. pytanie|prośby|zadania|tego|to|polecenia|prośbę",
    "ja? nie jestem w stanie .. pomóc|odpowiedzieć|wykonać|spełnić",
    "jako model|ai|asystent|sztuczna .. nie mogę|mam|jestem",
    "muszę odmówić",
];

/// What makes a refusal a condition, or is followed by what is done instead.
const BUT: &str = "until unless without before if but however although yet though instead доки поки без якщо але проте однак хоча \
    bis ohne solange wenn falls aber jedoch doch sans tant avant si mais cependant toutefois hasta sin antes pero dopóki bez \
    zanim jeśli ale jednak \u{fffc}";

/// Whether an answer declines the request. What it tells of others' refusals, and what it does beside a no, is no refusal.
pub fn declines(request: &str, answer: &str) -> bool {
    let answer = answer.trim();
    if answer.len() > LONGEST || has_substance(answer) || is_of_wording(request) {
        return false;
    }
    let plain = prose(answer).replace(['*', '_'], "");
    let mut sentences = sentences(&plain).into_iter();
    let refusal = sentences.by_ref().find_map(|words| {
        let words: Vec<String> = words
            .into_iter()
            .filter(|word| !has(std::slice::from_ref(word), FILLERS))
            .collect();
        let skipped = (COURTESY.iter()).find_map(|courtesy| length(courtesy, &words));
        let rest = words.get(skipped.unwrap_or_default()..)?.to_vec();
        // What is only a courtesy is followed by what is meant.
        (!rest.is_empty()).then_some(rest)
    });
    let rest: Vec<Vec<String>> = sentences.collect();
    refusal.is_some_and(|words| {
        REFUSALS.iter().any(|pattern| begins(pattern, &words)) && !has(&words, BUT)
    }) && rest.len() <= SENTENCES
        && rest.iter().map(Vec::len).sum::<usize>() <= WORDS
        && !rest
            .iter()
            .flatten()
            .any(|word| word.contains(char::is_numeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_known_in_several_languages() {
        for answer in [
            "I can't help with that.",
            "I cannot help with that request.",
            "I\u{2019}m sorry, but I can\u{2019}t assist with that.",
            "I'm sorry, I can't help you with this.",
            "I\u{2019}m really sorry, but I cannot fulfill this request.",
            "Sorry, I can't do that.",
            "Sorry. I can't do that!",
            "Unfortunately, I am unable to help with that. Is there anything else I can do for you?",
            "I'm not able to comply with your request because it goes against my guidelines.",
            "**I won't be able to help with that.** Please contact support.",
            "I apologize for the inconvenience. I cannot process your request at this time.",
            "As an AI language model, I don't have access to that.",
            "As an AI assistant, I am not able to give an opinion.",
            "I must decline to answer.",
            "I'm afraid I can't answer that question.",
            "I can not help you with that.",
            "I currently cannot provide such information.",
            "I'm not allowed to discuss salaries.",
            "That is outside my capabilities.",
            "Я не можу допомогти з цим.",
            "Вибачте, я не можу вам з цим допомогти.",
            "На жаль, я не можу виконати цей запит. Чи можу я допомогти чимось іншим?",
            "Вибачте, але я не можу відповісти на це запитання.",
            "На жаль, з цим не можу допомогти.",
            "Мені шкода, але я змушений відмовити.",
            "Як мовна модель, я не маю доступу до цього.",
            "Це виходить за межі моїх можливостей.",
            "Ich kann Ihnen dabei leider nicht helfen.",
            "Es tut mir leid, aber dabei kann ich nicht helfen.",
            "Leider kann ich Ihnen nicht weiterhelfen.",
            "Diese Frage kann ich nicht beantworten.",
            "Ich kann diese Anfrage leider nicht bearbeiten.",
            "Я не можу цього зробити.",
            "Вибачте, не можу зробити цього.",
            "Sorry, that's beyond what I can do.",
            "Je ne suis pas en mesure de répondre à cette question.",
            "Als KI kann ich das nicht.",
            "Je suis désolé, mais je ne peux pas vous aider avec cela.",
            "Je ne peux pas répondre à cette demande.",
            "Lo siento, pero no puedo ayudarte con eso.",
            "No puedo responder a esa pregunta.",
            "Przykro mi, ale nie mogę w tym pomóc.",
            "Niestety nie mogę odpowiedzieć na to pytanie.",
        ] {
            assert!(declines("Show me Bob's salary", answer), "{answer}");
        }
    }

    #[test]
    fn what_only_looks_like_a_refusal_is_none() {
        for answer in [
            "",
            "Done.",
            "I can't find any user named Bob.",
            "There is no user Bob.",
            "I cannot see an attachment here. Which file do you mean?",
            "Bob refused: \"I can't help with that.\"",
            "\"I can't help with that\" is what the clerk said.",
            "The clerk answered that he cannot help with that.",
            "He said: I can't help with that.",
            "> I can't help with that.\n\nThat is what the form says.",
            "Support cannot help with that. Ask the vendor.",
            "You can't do that in version 2. Use `mas route` instead.",
            "I can't help but admire the question: it is 42.",
            "I can't help with that until you name the user. Which one?",
            "I can't do that without your e-mail address.",
            "I can't help with that, but here is the list: Ann, Bob, Eve.",
            "That is outside our delivery area.",
            "It's beyond what we expected: sales doubled.",
            "We cannot process the refund, because the order is older than a month.",
            "I'm unable to complete the booking: no seats are left.",
            "We can't do this trip on Sunday.",
            "I can't do that. These can be asked:\n\u{2022} Ann\n\u{2022} Bob",
            "Ми не можемо виконати це замовлення: товару немає на складі.",
            "Не можу надати цей звіт, даних за травень немає.",
            "Wir können Ihre Bestellung nicht bearbeiten, die Karte ist abgelaufen.",
            "Diese Bestellung kann ich nicht ausführen, der Artikel ist ausverkauft.",
            "Je ne suis pas en mesure de trouver Bob dans la base.",
            "Je ne peux pas accéder à votre boîte aux lettres, elle est fermée.",
            "I'm sorry to hear that. Reset your password on the settings page.",
            "I'm sorry for the delay. Paris: sunny, 18 degrees.",
            "Sorry, the user Bob was deleted on Monday.",
            "I can't do that. Bob has 3 open tickets and 2 accounts.",
            "I'm sorry, I can't help with that part. Here are the others:\n\n- Ann\n- Bob",
            "I cannot answer that from the text. See [the manual](https://a.b/c).",
            "I cannot do that:\n```\nError 42\n```",
            "{\"answer\": \"I can't help with that.\"}",
            "Не можу знайти користувача Іван.",
            "Він відповів: я не можу допомогти.",
            "\u{ab}Я не можу допомогти\u{bb} \u{2014} так каже бот.",
            "Користувача не можна видалити.",
            "Я не можу допомогти, поки не знаю імені. Як його звати?",
            "Ich kann Bob nicht finden.",
            "Der Kollege kann nicht helfen.",
            "Je ne peux pas trouver Bob.",
            "No puedo encontrar a Bob.",
            "Nie mogę znaleźć Boba.",
        ] {
            assert!(!declines("Show me Bob's salary", answer), "{answer}");
        }
        let long = format!(
            "I'm sorry, I can't help with that. {}",
            "But this is how it is done. ".repeat(30)
        );
        assert!(!declines("Hi", &long));
        assert!(!declines(
            "Translate to English: я не можу вам допомогти",
            "I can't help you."
        ));
    }
}
