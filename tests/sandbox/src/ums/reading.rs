//! Reading a message: its clauses, and the names, addresses and departments in them.

use super::commands::Who;
use crate::text::{bare, capitalised};

/// Words of one command, without the punctuation around them.
pub(super) struct Clause(Vec<String>);

/// Words before a name that do not belong to it.
const FILLERS: &[&str] = &[
    "a",
    "about",
    "account",
    "all",
    "an",
    "any",
    "anybody",
    "anyone",
    "are",
    "called",
    "details",
    "employee",
    "employees",
    "everybody",
    "everyone",
    "for",
    "info",
    "information",
    "is",
    "list",
    "me",
    "named",
    "new",
    "of",
    "our",
    "people",
    "person",
    "please",
    "somebody",
    "someone",
    "staff",
    "that",
    "the",
    "there",
    "this",
    "up",
    "us",
    "user",
    "users",
    "works",
];

/// Words that end a name.
const STOPS: &[&str] = &[
    "already",
    "and",
    "as",
    "at",
    "by",
    "department",
    "e-mail",
    "email",
    "exist",
    "exists",
    "from",
    "has",
    "have",
    "if",
    "in",
    "into",
    "mail",
    "name",
    "on",
    "please",
    "registered",
    "team",
    "to",
    "we",
    "who",
    "whose",
    "with",
];

const PRONOUNS: &[&str] = &[
    "he", "her", "him", "his", "it", "its", "she", "their", "them", "they",
];

/// Where users are in any case: no department.
const NO_DEPARTMENT: &[&str] = &["database", "list", "our", "system", "this", "total", "ums"];

const LONGEST_NAME: usize = 4;

/// Splits a message where a sentence ends, at "then", and at a comma or "and" that a command follows.
pub(super) fn clauses(message: &str, is_command: impl Fn(&[String]) -> bool) -> Vec<Clause> {
    let mut clauses = Vec::new();
    for line in message.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let lower: Vec<String> = words
            .iter()
            .map(|word| trimmed(word).to_lowercase())
            .collect();
        let mut clause = Vec::new();
        for (at, (word, small)) in words.iter().zip(&lower).enumerate() {
            let rest = lower.get(at + 1..).unwrap_or_default();
            let links = ["and", "also", "then", "please"];
            let linked = rest
                .iter()
                .take_while(|word| links.contains(&word.as_str()))
                .count();
            let command_follows = is_command(rest.get(linked..).unwrap_or_default());
            let joins = small == "then" || small == "and" && command_follows;
            if !joins {
                clause.push(trimmed(word).to_owned());
            }
            let ends = ends_a_sentence(word) || word.ends_with(',') && command_follows;
            if joins || ends {
                clauses.push(std::mem::take(&mut clause));
            }
        }
        clauses.push(clause);
    }
    let clauses = clauses.into_iter().map(|mut words| {
        words.retain(|word| !word.is_empty());
        Clause(words)
    });
    clauses.filter(|clause| !clause.0.is_empty()).collect()
}

impl Clause {
    pub(super) fn text(&self) -> String {
        self.0.join(" ")
    }

    pub(super) fn lower(&self) -> Vec<String> {
        self.0.iter().map(|word| word.to_lowercase()).collect()
    }

    pub(super) fn has(&self, any: &[&str]) -> bool {
        self.0.iter().any(|word| is(word, any))
    }

    pub(super) fn emails(&self) -> Vec<String> {
        let emails = self.0.iter().filter(|word| is_email(word));
        emails.cloned().collect()
    }

    /// The name that begins here, after words that only lead to it.
    pub(super) fn name(&self, from: usize) -> Option<String> {
        let words = self.0.get(from..)?.iter();
        let words = words.skip_while(|word| is(word, FILLERS));
        let words = words.take_while(|word| !is(word, STOPS) && !is_email(word));
        let mut name = Vec::new();
        for word in words.take(LONGEST_NAME) {
            name.push(capitalised(bare(word)));
            if bare(word).len() < word.len() {
                break;
            }
        }
        let is_pronoun = name.first().is_some_and(|first| is(first, PRONOUNS));
        (!name.is_empty() && !is_pronoun).then(|| name.join(" "))
    }

    pub(super) fn name_after(&self, any: &[&str]) -> Option<String> {
        self.name(self.position(any)? + 1)
    }

    /// The user that is meant: by address, name or pronoun. None if nobody in particular.
    pub(super) fn who(&self, from: usize) -> Option<Who> {
        if let Some(email) = self.emails().first() {
            return Some(Who::Email(email.clone()));
        }
        self.name(from).map(Who::Named).or_else(|| self.pronoun())
    }

    /// The user whose property is meant: "John's email", "her email", "the email of John", "John to sales".
    pub(super) fn owner(&self, from: usize) -> Option<Who> {
        let name = self.name(from);
        let name = name.or_else(|| self.name_after(&["of", "for"]));
        name.map(Who::Named).or_else(|| self.pronoun())
    }

    /// "in the sales department", "in sales", "department sales".
    pub(super) fn department(&self) -> Option<String> {
        self.department_after(&["in", "from", "into"])
            .or_else(|| self.department_after(&["department", "team"]))
    }

    pub(super) fn department_after(&self, any: &[&str]) -> Option<String> {
        let mut rest = self.0.get(self.position(any)? + 1..)?.iter();
        let word = rest.find(|word| !is(word, &["the", "department", "team", "to", "is"]))?;
        let known = !is(word, NO_DEPARTMENT) && !is_email(word);
        known.then(|| word.to_lowercase())
    }

    fn pronoun(&self) -> Option<Who> {
        let said = self.has(PRONOUNS);
        let pointed =
            self.has(&["this", "that", "the", "same"]) && self.has(&["user", "account", "person"]);
        (said || pointed).then_some(Who::Last)
    }

    fn position(&self, any: &[&str]) -> Option<usize> {
        self.0.iter().position(|word| is(word, any))
    }
}

fn is(word: &str, any: &[&str]) -> bool {
    any.contains(&word.to_lowercase().as_str())
}

fn is_email(word: &str) -> bool {
    word.split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
}

fn trimmed(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// An initial ("J.") or a title ("Dr.") ends none.
fn ends_a_sentence(word: &str) -> bool {
    let short = trimmed(word).chars().count() <= 2;
    word.ends_with([';', '?', '!']) || word.ends_with('.') && !short
}
