//! What a person says of their preferences in so many words, recognised without a model.

use std::sync::LazyLock;

use super::ids::AgentId;
use super::money::Money;
use super::preference::Wish;
use super::tongue::Tongue;
use super::wordings::{Make, RULES};

/// A longer message is a text of its own, whatever it begins with.
const LONGEST: usize = 2000;
/// More words than these are no wish.
const WORDS: usize = 16;

/// What a message says of preferences, and what is left of it.
#[derive(Debug, PartialEq)]
pub struct Wishes<'a> {
    pub wishes: Vec<Wish>,
    /// Empty where the message says nothing else.
    pub rest: &'a str,
}

/// Reads a message. Only whole sentences at its beginning and at its end count; `None` where there is none of them.
pub fn read<'a>(text: &'a str, agents: &[AgentId]) -> Option<Wishes<'a>> {
    if text.len() > LONGEST {
        return None;
    }
    let mut sentences = sentences(text);
    let mut wishes = Vec::new();
    let mut last = Vec::new();
    let mut rest = text;
    let leading = sentences
        .iter()
        .map_while(|sentence| said(sentence, agents))
        .collect::<Vec<_>>();
    for (sentence, said) in sentences.drain(..leading.len()).zip(leading) {
        rest = rest.strip_prefix(sentence).unwrap_or(rest);
        wishes.extend(said);
    }
    while let Some((sentence, said)) = sentences
        .pop()
        .and_then(|sentence| Some((sentence, said(sentence, agents)?)))
    {
        rest = rest.strip_suffix(sentence).unwrap_or(rest);
        last.insert(0, said);
    }
    wishes.extend(last.into_iter().flatten());
    (!wishes.is_empty()).then(|| Wishes {
        wishes,
        rest: rest.trim(),
    })
}

/// A text in its sentences, each with its mark and what is blank after it.
fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut begin, mut ended) = (0, false);
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if ended && !letter.is_whitespace() && !is_mark(letter) {
            found.extend(text.get(begin..at));
            (begin, ended) = (at, false);
        }
        let next = letters.peek().map(|(_, next)| *next);
        ended |= match letter {
            '.' => next.is_none_or(char::is_whitespace),
            _ => letter == '\n' || is_mark(letter),
        };
    }
    found.extend(text.get(begin..).filter(|rest| !rest.is_empty()));
    found
}

fn is_mark(letter: char) -> bool {
    matches!(letter, '!' | '?' | ';' | '\u{2026}')
}

/// What a sentence says, if it says nothing but wishes.
fn said(sentence: &str, agents: &[AgentId]) -> Option<Vec<Wish>> {
    if let Some(wish) = clause(sentence, agents) {
        return Some(vec![wish]);
    }
    let mut clauses = vec![sentence];
    for joint in [", ", " and ", " \u{456} ", " \u{442}\u{430} "] {
        clauses = clauses
            .into_iter()
            .flat_map(|one| one.split(joint))
            .collect();
    }
    if clauses.len() < 2 {
        return None;
    }
    clauses.into_iter().map(|one| clause(one, agents)).collect()
}

/// What a pattern has in one place.
#[derive(Debug)]
enum Token {
    /// One of these words.
    Word(Vec<&'static str>),
    /// The same, or nothing.
    Maybe(Vec<&'static str>),
    Agent,
    Language,
    Money,
}

/// The rules, read once: every message is held against all of them.
static PATTERNS: LazyLock<Vec<(Make, Vec<Token>)>> = LazyLock::new(|| {
    let read = |make, pattern: &'static str| (make, pattern.split(' ').map(token).collect());
    let rules = RULES.iter();
    rules
        .flat_map(|(make, patterns)| patterns.iter().map(move |pattern| read(*make, pattern)))
        .collect()
});

fn token(text: &'static str) -> Token {
    let choices = |text: &'static str| text.split('|').collect();
    let maybe = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match (text, maybe) {
        (_, Some(text)) => Token::Maybe(choices(text)),
        ("{agent}", _) => Token::Agent,
        ("{language}", _) => Token::Language,
        ("{money}", _) => Token::Money,
        (text, _) => Token::Word(choices(text)),
    }
}

fn clause(text: &str, agents: &[AgentId]) -> Option<Wish> {
    let words = words(text)?;
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    tidy(&mut words);
    if words.is_empty() || words.len() > WORDS {
        return None;
    }
    PATTERNS.iter().find_map(|(make, pattern)| {
        let mut caught = Caught::default();
        fits(pattern, &words, agents, &mut caught).then(|| made(*make, caught))?
    })
}

/// Small words, without marks at their ends; `None` where marks say that it is more than a plain sentence.
fn words(text: &str) -> Option<Vec<String>> {
    let quotes = |letter: char| {
        matches!(
            letter,
            '"' | '`'
                | '<'
                | '>'
                | '{'
                | '}'
                | '['
                | ']'
                | '('
                | ')'
                | ':'
                | '*'
                | '#'
                | '|'
                | '='
                | '@'
        ) || matches!(letter, '\u{ab}' | '\u{bb}' | '\u{201c}'..='\u{201f}')
    };
    if text.contains(quotes) {
        return None;
    }
    let text = (text.to_lowercase())
        .replace('\u{2019}', "'")
        .replace("do not ", "don't ");
    let ends = |letter: char| matches!(letter, '.' | ',' | '!' | '?' | ';' | '\u{2026}');
    let words = text.split_whitespace().map(|word| word.trim_matches(ends));
    Some(
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

/// Takes off what is said beside, and puts "from now on" where "always" would stand.
fn tidy(words: &mut Vec<&str>) {
    const BESIDE: [&[&str]; 9] = [
        &["please"],
        &["and"],
        &["also"],
        &["ok"],
        &["thanks"],
        &["будь", "ласка"],
        &["також"],
        &["дякую"],
        &["\u{456}"],
    ];
    const HENCEFORTH: [(&[&str], &str); 3] = [
        (&["from", "now", "on"], "always"),
        (&["відтепер"], "завжди"),
        (&["надалі"], "завжди"),
    ];
    let mut always = None;
    loop {
        let before = words.len();
        for beside in BESIDE {
            if words.starts_with(beside) {
                words.drain(..beside.len());
            }
            if words.ends_with(beside) {
                words.truncate(words.len() - beside.len());
            }
        }
        for (henceforth, word) in HENCEFORTH {
            if words.starts_with(henceforth) {
                words.drain(..henceforth.len());
                always = Some(word);
            }
            if words.ends_with(henceforth) {
                words.truncate(words.len() - henceforth.len());
                always = Some(word);
            }
        }
        if words.len() == before {
            break;
        }
    }
    if let Some(word) = always.filter(|word| words.first() != Some(word)) {
        let said = ["never", "ніколи"];
        if !words.first().is_some_and(|first| said.contains(first)) {
            words.insert(0, word);
        }
    }
}

/// What stood for the placeholders.
#[derive(Debug, Default)]
struct Caught {
    agent: Option<AgentId>,
    language: Option<Tongue>,
    money: Option<Money>,
}

fn fits(pattern: &[Token], words: &[&str], agents: &[AgentId], caught: &mut Caught) -> bool {
    let Some((token, pattern)) = pattern.split_first() else {
        return words.is_empty();
    };
    let is_one_of = |choices: &[&str]| words.first().is_some_and(|word| choices.contains(word));
    let rest = words.get(1..).unwrap_or_default();
    match token {
        Token::Word(choices) => is_one_of(choices) && fits(pattern, rest, agents, caught),
        Token::Maybe(choices) => {
            (is_one_of(choices) && fits(pattern, rest, agents, caught))
                || fits(pattern, words, agents, caught)
        }
        Token::Agent => named(words, agents).into_iter().any(|(agent, taken)| {
            let rest = words.get(taken..).unwrap_or_default();
            let fits = fits(pattern, rest, agents, caught);
            if fits {
                caught.agent = Some(agent);
            }
            fits
        }),
        Token::Language => {
            caught.language = words.first().and_then(|word| Tongue::named(word));
            caught.language.is_some() && fits(pattern, rest, agents, caught)
        }
        Token::Money => {
            let Some((money, taken)) = money(words) else {
                return false;
            };
            caught.money = Some(money);
            fits(
                pattern,
                words.get(taken..).unwrap_or_default(),
                agents,
                caught,
            )
        }
    }
}

/// The agents that the words may begin with, and how many words each takes.
fn named(words: &[&str], agents: &[AgentId]) -> Vec<(AgentId, usize)> {
    let fitting = agents.iter().filter_map(|agent| {
        let name = self::words(agent.as_str())?;
        let begins = !name.is_empty() && words.len() >= name.len();
        let same = begins && name.iter().zip(words).all(|(one, other)| one == other);
        same.then(|| (agent.clone(), name.len()))
    });
    fitting.collect()
}

/// An amount of money that the words begin with, and how many words it takes.
fn money(words: &[&str]) -> Option<(Money, usize)> {
    let first = *words.first()?;
    let number = |text: &str| text.replace(',', ".").parse::<f64>().ok();
    let bare = first.strip_prefix('$').or_else(|| first.strip_suffix('$'));
    if let Some(dollars) = bare.and_then(number) {
        return Some((Money::dollars(dollars)?, 1));
    }
    let value = number(first)?;
    let worth = match *words.get(1)? {
        "$" | "dollar" | "dollars" | "usd" | "долар" | "долара" | "долари" | "доларів" => {
            1.0
        }
        "cent" | "cents" | "цент" | "цента" | "центи" | "центів" => 0.01,
        _ => return None,
    };
    Some((Money::dollars(value * worth)?, 2))
}

fn made(make: Make, caught: Caught) -> Option<Wish> {
    Some(match make {
        Make::Language => Wish::Language(Some(caught.language?)),
        Make::AnyLanguage => Wish::Language(None),
        Make::Block => Wish::Block(caught.agent?),
        Make::Unblock => Wish::Unblock(caught.agent?),
        Make::Prefer => Wish::Prefer(caught.agent?),
        Make::Unprefer => Wish::Unprefer(caught.agent?),
        Make::SkipSynthesis(skip) => Wish::SkipSynthesis(skip),
        Make::Stages(stages) => Wish::Stages(stages),
        Make::Day => Wish::SpendPerDay(Some(caught.money?)),
        Make::Turn => Wish::SpendPerTurn(Some(caught.money?)),
        Make::NoDay => Wish::SpendPerDay(None),
        Make::NoTurn => Wish::SpendPerTurn(None),
        Make::Show => Wish::Show,
        Make::Forget => Wish::Forget,
    })
}

#[cfg(test)]
mod tests;
