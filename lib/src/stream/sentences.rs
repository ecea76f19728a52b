//! What the coordinator says while it answers, in every language.

use crate::domain::phrase::sentences;

sentences! {
    /// Opened only when the memory could not be read or written.
    memory() {
        en: "Conversation memory",
        uk: "Пам'ять розмови",
    }
    memory_unread() {
        en: "The conversation store cannot be reached. This answer was made from what your chat client sent.",
        uk: "Сховище розмов недоступне. Цю відповідь складено з того, що надіслав ваш чат-клієнт.",
    }
    memory_unsaved() {
        en: "The conversation store cannot be reached. This turn is remembered by your chat client alone.",
        uk: "Сховище розмов недоступне. Цю репліку пам'ятає лише ваш чат-клієнт.",
    }
    memory_cut() {
        en: "What the agent wanted remembered is too large to keep. It will not know all of this turn.",
        uk: "Те, що агент хотів запам'ятати, завелике для зберігання. Він знатиме не все з цієї репліки.",
    }
    /// Appended to what an agent said before it broke off.
    partial() {
        en: "\n\n_(broken off here: this is not the whole answer)_",
        uk: "\n\n_(тут обірвалося: це не вся відповідь)_",
    }
    /// Appended to what an agent said up to the most that it may say at once.
    agent_cut() {
        en: "\n\n_(cut here: the agent may not say more at once)_",
        uk: "\n\n_(обрізано тут: більше за один раз агент сказати не може)_",
    }
    /// Appended to a synthesised answer that broke off; the agent's own text follows.
    synthesis_broke_off() {
        en: "\n\n_(the summary broke off; what the agent itself said follows)_\n\n",
        uk: "\n\n_(підсумок обірвався; далі слова самого агента)_\n\n",
    }
    /// The name of the stage that stands for those that are not shown.
    more_stages() {
        en: "More stages",
        uk: "Інші етапи",
    }
    /// The stage that shows a plan of several steps.
    plan_stage() {
        en: "Plan",
        uk: "План",
    }
    with_the_result_of(names) {
        en: " (with the result of {names})",
        uk: " (з результатом кроку {names})",
    }
    step_done(name, seconds) {
        en: "- {name}: done in {seconds} s\n",
        uk: "- {name}: зроблено за {seconds} с\n",
    }
    step_kept(name) {
        en: "- {name}: done before\n",
        uk: "- {name}: зроблено раніше\n",
    }
    /// Why a step was not done: another one gave it nothing.
    step_needs(name) {
        en: "it needs the result of {name}, which there is none of.",
        uk: "для цього потрібен результат кроку {name}, а його немає.",
    }
    /// Instead of doing a step: an earlier turn of the same request did it.
    done_before() {
        en: "_(done when this request was sent before)_\n\n",
        uk: "_(зроблено, коли цей запит надсилали раніше)_\n\n",
    }
    /// Why a step was not done: an earlier turn of the same request was cut off while its agent was at work.
    may_be_done(agent) {
        en: "{agent} was asked when this request was sent before, and what came of it is not known. Look at what is there, \
             and ask for what is missing in other words.",
        uk: "{agent} вже отримав цей запит раніше, і що з того вийшло, невідомо. Перевірте стан і попросіть про решту \
             іншими словами.",
    }
    /// Why there is nothing of an agent: it was taken away after the plan was made.
    gone(agent) {
        en: "there is no agent {agent} any more.",
        uk: "агента {agent} більше немає.",
    }
    /// Why there is nothing of an agent: a rule said how many answers are enough.
    not_waited_for() {
        en: "enough others had answered before it.",
        uk: "інші вже дали достатньо відповідей.",
    }
    /// Why there is nothing of an agent: the turn's budget.
    no_room() {
        en: "the budget of this turn had no room for it.",
        uk: "на це забракло бюджету цієї репліки.",
    }
    /// Why a step was not done: what it needs is told to nobody.
    results_stay(agent) {
        en: "what {agent} finds is told to no other agent.",
        uk: "знахідки {agent} не передають іншим агентам.",
    }
    /// Why there is nothing of an agent: a content filter.
    withheld() {
        en: "its answer was withheld by a content filter.",
        uk: "відповідь затримав фільтр вмісту.",
    }
    /// Why there is nothing of an agent: the turn ended before.
    unfinished() {
        en: "it did not finish in time.",
        uk: "він не встиг завершити.",
    }
    /// Below an answer of several agents: one that gave nothing.
    missing(agent, why) {
        en: "\n\n_{agent} is missing here: {why}_",
        uk: "\n\n_Тут бракує {agent}: {why}_",
    }
    /// The stage that shows what an agent is told of another's answers.
    shared_with(agent) {
        en: "Shared with {agent}",
        uk: "Передано {agent}",
    }
    /// The stage that shows what agents say differently.
    contradictions() {
        en: "Contradictions",
        uk: "Суперечності",
    }
    to_this_assistant() {
        en: " → about this assistant",
        uk: " → про цього помічника",
    }
    to_nobody(agent) {
        en: " → {agent} is not allowed",
        uk: " → {agent} не дозволено",
    }
    /// A rule forbids the agent, and says nothing else.
    forbidden(agent) {
        en: "{agent} may not be asked this: a rule of this service forbids it.",
        uk: "Просити про це {agent} не можна: це забороняє правило сервісу.",
    }
    to_a_question() {
        en: " → a question back",
        uk: " → зустрічне запитання",
    }
    to_preferences() {
        en: " → your preferences",
        uk: " → ваші налаштування",
    }
    rung_failed(rung, agent) {
        en: "\nThe routing {rung} gave no decision, so {agent} answers by default.\n",
        uk: "\nМаршрутизація ({rung}) не дала рішення, тому типово відповідає {agent}.\n",
    }
    /// Begins the stage of an agent that is asked because another one could not answer.
    stands_in(other, agent) {
        en: "_{other} could not answer, so {agent} was asked instead._\n\n",
        uk: "_{other} не зміг відповісти, тому замість нього запитано {agent}._\n\n",
    }
    /// An agent that was not even asked, because it failed too often of late.
    agent_resting(agent, reference) {
        en: "{agent} has been failing and is left alone for a moment. Please try again in a minute. (reference {reference})",
        uk: "{agent} останнім часом не відповідав, тому його поки не турбують. Спробуйте за хвилину. (код {reference})",
    }
    session_created(agent, id) {
        en: "_Created new {agent} conversation: {id}_\n\n",
        uk: "_Створено нову розмову з {agent}: {id}_\n\n",
    }
    /// A turn that a hook refused without a word.
    cannot_be_checked(reference) {
        en: "This cannot be checked at the moment, so it is not answered. Please try again later. (reference {reference})",
        uk: "Зараз це неможливо перевірити, тому відповіді не буде. Спробуйте пізніше. (код {reference})",
    }
    /// What is said after a refusal where something may have been done already.
    refused_after(sentence, advice) {
        en: "{sentence}\n\nPlease note: {advice}",
        uk: "{sentence}\n\nЗауважте: {advice}",
    }
    try_again() {
        en: "Please try again.",
        uk: "Спробуйте ще раз.",
    }
    check_first() {
        en: "It may have done a part of what you asked: please check before you ask again.",
        uk: "Частину з проханого, можливо, вже зроблено: перевірте, перш ніж просити ще раз.",
    }
    agent_unavailable(agent, advice, reference) {
        en: "{agent} could not answer: it failed or broke off. {advice} (reference {reference})",
        uk: "{agent} не зміг відповісти: стався збій або відповідь обірвалася. {advice} (код {reference})",
    }
    /// What a failed agent itself said to people.
    agent_said(agent, said, advice, reference) {
        en: "{agent} could not answer. It says: {said} {advice} (reference {reference})",
        uk: "{agent} не зміг відповісти. Він каже: {said} {advice} (код {reference})",
    }
    agent_timeout(agent, advice, reference) {
        en: "{agent} did not answer in time. {advice} (reference {reference})",
        uk: "{agent} не відповів вчасно. {advice} (код {reference})",
    }
    approval_over() {
        en: "This approval is not valid any more: it was used, has expired, or is not yours. Nothing was done.",
        uk: "Це схвалення вже не чинне: його використано, його час минув або воно не ваше. Нічого не зроблено.",
    }
    approval_unread() {
        en: "The approval cannot be checked at the moment. Nothing was done; please try again soon.",
        uk: "Схвалення зараз неможливо перевірити. Нічого не зроблено; спробуйте трохи згодом.",
    }
    rejected() {
        en: "All right: nothing was done.",
        uk: "Гаразд: нічого не зроблено.",
    }
    /// The stage that holds what would be asked of agents that may change something.
    what_if_stage() {
        en: "What if",
        uk: "Що, якби",
    }
    /// Below each answer to what only asked.
    what_if_note() {
        en: "\n\n_(What if: nothing was changed, and nothing of this is remembered. To have it done, ask without it.)_",
        uk: "\n\n_(Що, якби: нічого не змінено, і ніщо з цього не запам'ятовується. Щоб це зробити, попросіть без цього.)_",
    }
    what_if_consent() {
        en: "This only asks what would happen: it approves and rejects nothing.",
        uk: "Це лише запитання, що було б: воно нічого не схвалює й не відхиляє.",
    }
    /// The stage that holds what an agent would be asked.
    approval_stage(agent) {
        en: "Approval needed → {agent}",
        uk: "Потрібне схвалення → {agent}",
    }
    would_be_asked(agent, request) {
        en: "{agent} would be asked:\n\n> {request}\n",
        uk: "{agent} отримає запит:\n\n> {request}\n",
    }
    and_told(instructions) {
        en: "\nand told:\n\n> {instructions}\n",
        uk: "\nі вказівку:\n\n> {instructions}\n",
    }
    and_told_the_result_of(name, text) {
        en: "\nand told the result of {name}:\n\n> {text}\n",
        uk: "\nі результат кроку {name}:\n\n> {text}\n",
    }
    with_the_file(file) {
        en: "\nwith the file {file}\n",
        uk: "\nз файлом {file}\n",
    }
    without_the_file(file) {
        en: "\n**without** the file {file}, which is not kept\n",
        uk: "\n**без** файлу {file}, який не зберігається\n",
    }
    /// The question to the user. It works in clients without buttons, too.
    needs_approval(proposal, digest, minutes) {
        en: "This may change things that cannot be undone, so it needs your approval. {proposal}\nTo go on, answer \
             `approve {digest}`; to change it, `edit {digest}: ` and the new words; to leave it, \
             `reject {digest}`. The offer ends in {minutes} minutes.",
        uk: "Це може змінити щось безповоротно, тому потрібне ваше схвалення. {proposal}\nЩоб продовжити, \
             відповідайте `approve {digest}`; щоб змінити, `edit {digest}: ` і нові слова; щоб відмовитися, \
             `reject {digest}`. Пропозиція чинна {minutes} хв.",
    }
    approve() {
        en: "Approve",
        uk: "Схвалити",
    }
    edit() {
        en: "Edit",
        uk: "Змінити",
    }
    reject() {
        en: "Reject",
        uk: "Відхилити",
    }
    no_proposal(agent, reference) {
        en: "{agent} needs your approval for this, which cannot be asked for at the moment. Nothing was done. \
             (reference {reference})",
        uk: "{agent} потребує на це вашого схвалення, а запитати про нього зараз неможливо. Нічого не зроблено. \
             (код {reference})",
    }
    duplicate() {
        en: "This message is already being answered.",
        uk: "На це повідомлення вже готується відповідь.",
    }
    in_seconds(seconds) {
        en: "in {seconds} seconds",
        uk: "за {seconds} с",
    }
    in_minutes(minutes) {
        en: "in {minutes} minutes",
        uk: "за {minutes} хв",
    }
    tomorrow() {
        en: "tomorrow",
        uk: "завтра",
    }
    limit_reached(when, reference) {
        en: "You have reached your limit. Please try again {when}. (reference {reference})",
        uk: "Ви вичерпали свій ліміт. Спробуйте ще раз {when}. (код {reference})",
    }
    deadline(advice, reference) {
        en: "The time for this answer was used up. {advice} (reference {reference})",
        uk: "Час на цю відповідь вичерпано. {advice} (код {reference})",
    }
    stages_left_out(agent, cap) {
        en: "_{agent} opened more stages than the {cap} that are shown._",
        uk: "_{agent} відкрив більше етапів, ніж показується ({cap})._",
    }
    /// Appended to a stage's text.
    stage_over(size) {
        en: "\n\n_(cut here: a stage has at most {size})_",
        uk: "\n\n_(тут обрізано: етап вміщує щонайбільше {size})_",
    }
    /// Appended to an agent's text.
    text_over(size) {
        en: "\n\n_(cut here: an agent's answer has at most {size})_",
        uk: "\n\n_(тут обрізано: відповідь агента вміщує щонайбільше {size})_",
    }
    attachment_over(title, size) {
        en: "\n\n_(the attachment {title} is left out: it is larger than {size})_\n\n",
        uk: "\n\n_(вкладення {title} пропущено: воно більше за {size})_\n\n",
    }
    attachments_over(title, cap) {
        en: "\n\n_(the attachment {title} and all after it are left out: {cap} are the most)_\n\n",
        uk: "\n\n_(вкладення {title} і всі наступні пропущено: найбільше може бути {cap})_\n\n",
    }
    /// Appended to an agent's own text where the budget had no room for a summary of it.
    no_synthesis() {
        en: "\n\n_(No summary was written: it did not fit into this turn's budget.)_",
        uk: "\n\n_(Підсумку немає: він не вклався в бюджет цієї відповіді.)_",
    }
    no_comparison() {
        en: "\n_Left out for this turn's budget: comparing the decision with an earlier one._\n",
        uk: "\n_Пропущено через бюджет цієї відповіді: порівняння рішення з попереднім._\n",
    }
    no_guess() {
        en: "\n_Left out for this turn's budget: a head start for the likeliest agent._\n",
        uk: "\n_Пропущено через бюджет цієї відповіді: завчасний початок роботи найімовірнішого агента._\n",
    }
    budget_used_up(agent, reference) {
        en: "The budget of this turn was used up before {agent} could be asked. (reference {reference})",
        uk: "Бюджет цієї відповіді вичерпано, перш ніж вдалося запитати {agent}. (код {reference})",
    }
    untitled() {
        en: "without a title",
        uk: "без назви",
    }
}
