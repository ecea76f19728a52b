//! The sentences that say a preference, in English and Ukrainian.

use super::preference::Stages;

/// What a rule makes of what was said.
#[derive(Clone, Copy, Debug)]
pub enum Make {
    Language,
    AnyLanguage,
    Block,
    Unblock,
    Prefer,
    Unprefer,
    SkipSynthesis(bool),
    Stages(Stages),
    Day,
    Turn,
    NoDay,
    NoTurn,
    Show,
    Forget,
}

/// Words stand for themselves, `a|b` for one of several, `[a]` may be left out, `{agent}`, `{language}` and `{money}` for
/// what they say. "From now on" and "please" are not in them: they are taken off before.
pub const RULES: &[(Make, &[&str])] = &[
    (
        Make::Language,
        &[
            "always answer|reply|respond|write|speak|talk [to] [me] in {language}",
            "answer|reply|respond|write|speak|talk [to] [me] always|only in {language}",
            "set [my|the] language to {language}",
            "my language is {language}",
            "завжди відповідай|відповідайте|пиши|пишіть|говори|говоріть [мені] [зі] [мною] {language} [мовою]",
            "відповідай|відповідайте|пиши|пишіть [мені] завжди|тільки|лише {language} [мовою]",
            "моя мова {language}",
        ],
    ),
    (
        Make::AnyLanguage,
        &[
            "[always] answer|reply|respond in any|my language",
            "[always] answer|reply|respond in the language i write in",
            "forget my language",
            "[завжди] відповідай|відповідайте будь-якою|моєю мовою",
            "[завжди] відповідай|відповідайте мовою якою я пишу",
            "забудь|забудьте мою мову",
        ],
    ),
    (
        Make::Block,
        &[
            "never ask|use|call|consult [the] {agent} [agent] [again]",
            "always don't ask|use|call|consult [the] {agent} [agent]",
            "don't [ever] ask|use|call|consult [the] {agent} [agent] again|anymore|ever",
            "don't ever|again ask|use|call|consult [the] {agent} [agent]",
            "don't ask|use|call|consult [the] {agent} [agent] any more",
            "block [the] [agent] {agent} [agent]",
            "ніколи не питай|питайте|запитуй|запитуйте|використовуй|використовуйте|викликай|викликайте|звертайся|звертайтеся [до] [агента] {agent}",
            "більше не питай|питайте|запитуй|запитуйте|використовуй|використовуйте|викликай|викликайте [агента] {agent}",
            "не питай|питайте|запитуй|запитуйте|використовуй|використовуйте|викликай|викликайте більше|ніколи [агента] {agent}",
            "заблокуй|заблокуйте|блокуй|блокуйте [агента] {agent}",
        ],
    ),
    (
        Make::Unblock,
        &[
            "unblock|allow [the] [agent] {agent} [agent]",
            "stop blocking [the] {agent} [agent]",
            "you may|can ask|use|call|consult [the] {agent} [agent] again",
            "ask|use [the] {agent} [agent] again",
            "розблокуй|розблокуйте|дозволь|дозвольте [агента] {agent}",
            "можна|можеш|можете знову питати|запитувати|використовувати [агента] {agent}",
        ],
    ),
    (
        Make::Prefer,
        &[
            "[i] [always] prefer [the] {agent} [agent]",
            "[завжди] надавай|надавайте|віддавай|віддавайте перевагу [агенту] {agent}",
            "я надаю|віддаю перевагу [агенту] {agent}",
        ],
    ),
    (
        Make::Unprefer,
        &[
            "stop preferring [the] {agent} [agent]",
            "don't prefer [the] {agent} [agent] [anymore]",
            "[більше] не надавай|надавайте|віддавай|віддавайте [більше] перевагу|переваги [агенту] {agent}",
        ],
    ),
    (
        Make::SkipSynthesis(true),
        &[
            "[always] skip [the] summary|summaries|synthesis",
            "[always] no summary|summaries",
            "never write [a|the] summary|summaries",
            "don't|never summarise|summarize [the] [answers]",
            "[завжди] пропускай|пропускайте|пропусти підсумок|підсумки",
            "[завжди] без підсумку|підсумків",
            "[більше|ніколи] не пиши|пишіть|роби|робіть підсумок|підсумки|підсумку|підсумків",
        ],
    ),
    (
        Make::SkipSynthesis(false),
        &[
            "[always] write [the|a] summary|summaries [again]",
            "don't skip [the] summary|summaries|synthesis [anymore]",
            "[always] summarise|summarize again",
            "поверни|поверніть підсумок|підсумки",
            "[завжди] пиши|пишіть|роби|робіть [знову] підсумок|підсумки",
            "не пропускай|пропускайте підсумок|підсумки",
        ],
    ),
    (
        Make::Stages(Stages::None),
        &[
            "[always] hide [the|all] [agent] stages",
            "[always] [show] no stages",
            "never show [the|any] stages",
            "don't show [the|any] stages [anymore]",
            "[завжди] сховай|сховайте|ховай|ховайте|приховай|приховуй|приховайте [всі|усі] етапи|стадії",
            "[більше|ніколи] не показуй|показуйте [більше] етапи|етапів|стадії|стадій",
            "[завжди] без етапів|стадій",
        ],
    ),
    (
        Make::Stages(Stages::Summary),
        &[
            "[always] [show] fewer|less stages",
            "[always] show only [the] names of [the] stages",
            "[завжди] показуй|показуйте|покажи|покажіть менше етапів|стадій",
            "[завжди] менше етапів|стадій",
        ],
    ),
    (
        Make::Stages(Stages::Full),
        &[
            "[always] show [me] [all|full] [the] [agent] stages [again]",
            "[завжди] показуй|показуйте|покажи|покажіть [знову] [всі|усі] етапи|стадії",
        ],
    ),
    (
        Make::Day,
        &[
            "[always] spend at most {money} a|per|each day",
            "[always] spend no|not more than {money} a|per|each day",
            "never spend more than {money} a|per|each day",
            "[завжди] витрачай|витрачайте не більше [за|ніж] {money} на|за день",
            "не витрачай|витрачайте більше [за|ніж] {money} на|за день",
        ],
    ),
    (
        Make::Turn,
        &[
            "[always] spend at most {money} a|an|per|each turn|answer|message|request",
            "[always] spend no|not more than {money} a|an|per|each turn|answer|message|request",
            "never spend more than {money} a|an|per|each turn|answer|message|request",
            "[завжди] витрачай|витрачайте не більше [за|ніж] {money} на|за відповідь|запит|повідомлення",
            "не витрачай|витрачайте більше [за|ніж] {money} на|за відповідь|запит|повідомлення",
        ],
    ),
    (
        Make::NoDay,
        &[
            "no limit a|per day",
            "forget|remove my daily limit|cap",
            "без денного ліміту",
            "забудь|забудьте мій денний ліміт",
        ],
    ),
    (
        Make::NoTurn,
        &[
            "no limit an|per answer",
            "forget|remove my limit|cap an|per answer",
            "без ліміту на відповідь",
            "забудь|забудьте мій ліміт на відповідь",
        ],
    ),
    (
        Make::Show,
        &[
            "what are my preferences",
            "[show] [me] my preferences",
            "which preferences do i have",
            "які [в|у] [мене] [мої] налаштування|вподобання|уподобання",
            "[покажи|покажіть] [мені] мої налаштування|вподобання|уподобання",
        ],
    ),
    (
        Make::Forget,
        &[
            "forget|delete|reset|clear [all] [of] my preferences",
            "забудь|забудьте|видали|видаліть|скинь|скиньте [всі|усі] мої налаштування|вподобання|уподобання",
        ],
    ),
];
