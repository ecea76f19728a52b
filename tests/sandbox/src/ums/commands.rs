//! Commands in natural text: what to do with which user.

use super::reading::{self, Clause};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    Create {
        name: String,
        email: Option<String>,
        department: Option<String>,
    },
    Find(Who),
    List {
        department: Option<String>,
    },
    Update {
        who: Who,
        change: Change,
    },
    Delete(Who),
    Unclear(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Who {
    Named(String),
    Email(String),
    /// The user last spoken of: "him", "her", "that user".
    Last,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Email(String),
    Department(String),
    Name(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verb {
    Create,
    Find,
    List,
    Update,
    Delete,
}

/// Longer phrases first, since the first one that fits is taken.
const VERBS: &[(&str, Verb)] = &[
    ("how many", Verb::List),
    ("do we have", Verb::Find),
    ("have we got", Verb::Find),
    ("is there", Verb::Find),
    ("are there", Verb::Find),
    ("tell me about", Verb::Find),
    ("look up", Verb::Find),
    ("search for", Verb::Find),
    ("create", Verb::Create),
    ("add", Verb::Create),
    ("register", Verb::Create),
    ("find", Verb::Find),
    ("search", Verb::Find),
    ("check", Verb::Find),
    ("show", Verb::Find),
    ("get", Verb::Find),
    ("display", Verb::Find),
    ("who", Verb::Find),
    ("who's", Verb::Find),
    ("list", Verb::Find),
    ("update", Verb::Update),
    ("change", Verb::Update),
    ("set", Verb::Update),
    ("edit", Verb::Update),
    ("move", Verb::Update),
    ("transfer", Verb::Update),
    ("rename", Verb::Update),
    ("delete", Verb::Delete),
    ("remove", Verb::Delete),
];

/// Reads every command of a message.
pub(super) fn parse(message: &str) -> Vec<Command> {
    let clauses = reading::clauses(message, |words| verb_at(words, 0).is_some());
    if clauses.is_empty() {
        return vec![Command::Unclear(message.to_owned())];
    }
    clauses.iter().map(command).collect()
}

fn command(clause: &Clause) -> Command {
    let unclear = || Command::Unclear(clause.text());
    let lower = clause.lower();
    let Some((verb, after)) = (0..lower.len()).find_map(|at| verb_at(&lower, at)) else {
        return unclear();
    };
    let read = match verb {
        Verb::Create => create(clause, after),
        Verb::Find => Some(find(clause, after)),
        Verb::List => Some(Command::List {
            department: clause.department(),
        }),
        Verb::Update => update(clause, after),
        Verb::Delete => clause.who(after).map(Command::Delete),
    };
    read.unwrap_or_else(unclear)
}

/// The verb that begins at this word, and where it ends.
fn verb_at(lower: &[String], at: usize) -> Option<(Verb, usize)> {
    let rest = lower.get(at..)?;
    VERBS.iter().find_map(|(phrase, verb)| {
        let count = phrase.split(' ').count();
        let fits = rest.len() >= count && rest.iter().zip(phrase.split(' ')).all(|(a, b)| a == b);
        fits.then_some((*verb, at + count))
    })
}

fn create(clause: &Clause, after: usize) -> Option<Command> {
    Some(Command::Create {
        name: clause
            .name(after)
            .or_else(|| clause.name_after(&["named", "called", "name"]))?,
        email: clause.emails().last().cloned(),
        department: clause.department(),
    })
}

/// Without anybody in particular, all are meant.
fn find(clause: &Clause, after: usize) -> Command {
    clause.who(after).map_or_else(
        || Command::List {
            department: clause.department(),
        },
        Command::Find,
    )
}

fn update(clause: &Clause, after: usize) -> Option<Command> {
    let emails = clause.emails();
    let renames = clause.has(&["rename", "name"]) && !clause.has(&["named"]);
    let change = match emails.last() {
        Some(email) => Change::Email(email.clone()),
        None if clause.has(&["email", "e-mail", "mail"]) => return None,
        None if renames => Change::Name(clause.name_after(&["to"])?),
        None => Change::Department(clause.department_after(&["to", "into"])?),
    };
    let who = match emails.as_slice() {
        // "change a@b.c to d@e.f"
        [before, _, ..] => Who::Email(before.clone()),
        _ => clause.owner(after)?,
    };
    Some(Command::Update { who, change })
}

#[cfg(test)]
mod tests;
