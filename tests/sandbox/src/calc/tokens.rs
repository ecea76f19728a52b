//! Tokens of arithmetic, with signs and function names put for the words people use.

use std::fmt::{self, Write};

const FUNCTIONS: &[&str] = &[
    "sin", "cos", "tan", "asin", "acos", "atan", "sqrt", "log", "exp", "abs",
];

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Number(String),
    Name(String),
    Sign(char),
    Other,
}

impl Token {
    pub(super) fn is_arithmetic(&self) -> bool {
        match self {
            Self::Number(_) | Self::Sign(_) => true,
            Self::Name(name) => is_function(name) || constant(name).is_some(),
            Self::Other => false,
        }
    }

    fn is_operator(&self) -> bool {
        matches!(self, Self::Sign('+' | '-' | '*' | '/' | '%' | '^'))
    }

    fn ends_a_value(&self) -> bool {
        match self {
            Self::Number(_) | Self::Sign(')') => true,
            Self::Name(name) => constant(name).is_some(),
            _ => false,
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(text) | Self::Name(text) => f.write_str(text),
            Self::Sign(sign) => write!(f, "{sign}"),
            Self::Other => f.write_str("?"),
        }
    }
}

pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.contains(&name)
}

pub(super) fn constant(name: &str) -> Option<f64> {
    match name {
        "pi" => Some(std::f64::consts::PI),
        "e" => Some(std::f64::consts::E),
        _ => None,
    }
}

/// The tokens of a text, words included.
pub(super) fn read(text: &str) -> Vec<Token> {
    translate(&lex(text))
}

/// Whether there is something to compute here: a function of something, or an operator after a value.
pub(super) fn computes(run: &[Token]) -> bool {
    let has_value = run.iter().any(|token| match token {
        Token::Number(_) => true,
        // a lone "e" is a letter more often than a number
        Token::Name(name) => name == "pi",
        _ => false,
    });
    let has_function = run
        .iter()
        .any(|token| matches!(token, Token::Name(name) if is_function(name)));
    let has_operator = run.windows(3).any(
        |window| matches!(window, [value, sign, _] if value.ends_a_value() && sign.is_operator()),
    );
    has_value && (has_function || has_operator)
}

/// Blanks around binary operators, none elsewhere: `sin(5000) + -2`.
pub(super) fn join(run: &[Token]) -> String {
    let mut out = String::new();
    let mut before: Option<&Token> = None;
    for token in run {
        // writing to a string cannot fail
        let binary = token.is_operator() && before.is_some_and(Token::ends_a_value);
        let apart = before.is_some_and(|before| match before {
            Token::Number(_) | Token::Name(_) => !matches!(token, Token::Sign(_)),
            _ => false,
        });
        if binary {
            let _ = write!(out, " {token} ");
        } else if apart {
            let _ = write!(out, " {token}");
        } else {
            let _ = write!(out, "{token}");
        }
        before = Some(token);
    }
    out.trim().to_owned()
}

fn lex(text: &str) -> Vec<Token> {
    let text = text
        .replace("**", "^")
        .replace(['×', '·'], "*")
        .replace('÷', "/");
    let text = text.replace('−', "-").to_lowercase();
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let digits = number_length(rest);
        let letters = rest
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(rest.len());
        let length = if digits > 0 {
            digits
        } else {
            letters.max(first.len_utf8())
        };
        let (token, after) = rest.split_at(length);
        tokens.push(if digits > 0 {
            Token::Number(token.to_owned())
        } else if letters > 0 {
            Token::Name(token.to_owned())
        } else if "+-*/%^()".contains(first) {
            Token::Sign(first)
        } else {
            Token::Other
        });
        rest = after.trim_start();
    }
    tokens
}

/// Digits with at most one point, which must have a digit after it: the full stop of a sentence is none.
fn number_length(text: &str) -> usize {
    let digits = |text: &str| {
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len())
    };
    let whole = digits(text);
    let fraction = text
        .get(whole..)
        .and_then(|rest| rest.strip_prefix('.'))
        .map_or(0, digits);
    if fraction > 0 {
        whole + 1 + fraction
    } else {
        whole
    }
}

/// Puts signs and function names for the words people use.
fn translate(tokens: &[Token]) -> Vec<Token> {
    let name = |text: &str| Token::Name(text.to_owned());
    let mut out: Vec<Token> = Vec::new();
    let mut rest = tokens;
    while let [first, tail @ ..] = rest {
        let second = match tail.first() {
            Some(Token::Name(word)) => word.as_str(),
            _ => "",
        };
        let word = match first {
            Token::Name(word) => word.as_str(),
            Token::Sign('%') => "%",
            _ => "",
        };
        let after_function = matches!(out.last(), Some(Token::Name(last)) if is_function(last));
        let (translated, taken) = match (word, second) {
            ("plus", _) => (vec![Token::Sign('+')], 1),
            ("minus", _) => (vec![Token::Sign('-')], 1),
            ("times", _) => (vec![Token::Sign('*')], 1),
            ("multiplied", "by") => (vec![Token::Sign('*')], 2),
            ("divided", "by") => (vec![Token::Sign('/')], 2),
            ("%" | "percent", "of") => {
                let hundred = Token::Number("100".to_owned());
                (vec![Token::Sign('/'), hundred, Token::Sign('*')], 2)
            }
            ("square", "root") => (vec![name("sqrt")], 2),
            ("sine" | "sinus", _) => (vec![name("sin")], 1),
            ("cosine" | "cosinus", _) => (vec![name("cos")], 1),
            ("tangent", _) => (vec![name("tan")], 1),
            ("ln", _) => (vec![name("log")], 1),
            ("π", _) => (vec![name("pi")], 1),
            ("of", _) if after_function => (vec![], 1),
            _ if after_function && matches!(first, Token::Number(_)) => {
                (vec![Token::Sign('('), first.clone(), Token::Sign(')')], 1)
            }
            _ => (vec![first.clone()], 1),
        };
        out.extend(translated);
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}
