//! What a caller is told who gets no turn: refusals at the door, in every language.

use super::phrase::sentences;

sentences! {
    not_understood() {
        en: "The request could not be understood.",
        uk: "Не вдалося зрозуміти запит.",
    }
    not_allowed() {
        en: "You are not allowed to do this.",
        uk: "Вам не дозволено цього робити.",
    }
    not_signed_in() {
        en: "You are not signed in.",
        uk: "Ви не ввійшли в систему.",
    }
    not_accepted() {
        en: "Your sign-in was not accepted.",
        uk: "Ваші дані для входу не прийнято.",
    }
    too_many_requests() {
        en: "Too many requests were made. Please try again in a minute.",
        uk: "Забагато запитів. Спробуйте ще раз за хвилину.",
    }
    unusable() {
        en: "The service cannot be used at the moment. Please try again soon.",
        uk: "Сервісом зараз не можна скористатися. Спробуйте ще раз трохи згодом.",
    }
    nothing_here() {
        en: "There is nothing here.",
        uk: "Тут нічого немає.",
    }
    wrong_use() {
        en: "This is not how this address is used.",
        uk: "Цією адресою користуються інакше.",
    }
    unreadable_address() {
        en: "This address cannot be read.",
        uk: "Цю адресу неможливо прочитати.",
    }
    circles() {
        en: "The agents are asking each other in circles. Please put the question differently.",
        uk: "Агенти запитують один одного по колу. Поставте запитання інакше.",
    }
    not_whole() {
        en: "The request did not arrive whole. Please try again.",
        uk: "Запит надійшов не повністю. Спробуйте ще раз.",
    }
    not_in_time() {
        en: "The request did not arrive in time. Please try again.",
        uk: "Запит не надійшов вчасно. Спробуйте ще раз.",
    }
    too_large() {
        en: "This conversation has become too large. Please start a new one, or attach files instead of pasting them.",
        uk: "Ця розмова стала завеликою. Почніть нову або додавайте файли, а не вставляйте їхній текст.",
    }
    too_many_parts() {
        en: "This conversation has become too large. Please start a new one.",
        uk: "Ця розмова стала завеликою. Почніть нову.",
    }
    too_long() {
        en: "This conversation is too long. Please start a new one.",
        uk: "Ця розмова задовга. Почніть нову.",
    }
    one_answer() {
        en: "This application gives one answer at a time.",
        uk: "Цей застосунок дає одну відповідь за раз.",
    }
    unreadable_part() {
        en: "The message holds something this application cannot read.",
        uk: "У повідомленні є щось, чого цей застосунок не може прочитати.",
    }
    internal(reference) {
        en: "Something went wrong on our side. Please try again. (reference {reference})",
        uk: "Щось пішло не так на нашому боці. Спробуйте ще раз. (код {reference})",
    }
    no_such_agent() {
        en: "There is no such agent.",
        uk: "Такого агента немає.",
    }
    agent_unusable() {
        en: "The agent cannot be used like this.",
        uk: "Агентом не можна користуватися в такий спосіб.",
    }
    agent_changed() {
        en: "Somebody else has changed the agent meanwhile.",
        uk: "Тим часом агента змінив хтось інший.",
    }
    agent_out_of_reach() {
        en: "The agent cannot be reached at the moment.",
        uk: "Зараз агент недоступний.",
    }
    took_too_long() {
        en: "This took too long. Please try again.",
        uk: "Це тривало задовго. Спробуйте ще раз.",
    }
}
