//! Arithmetic found in natural text, computed by recursive descent.

use std::fmt;
use std::iter::Peekable;
use std::vec::IntoIter;

mod tokens;

use tokens::{Token, constant, is_function};

/// Deeper nesting than anybody writes, far from the end of the stack.
const MAX_DEPTH: usize = 100;

#[derive(Debug, PartialEq)]
pub(crate) enum Error {
    DivisionByZero,
    /// The result is no real number, or too large.
    Undefined,
    Unexpected(String),
    Incomplete,
    TooDeep,
}

/// The longest piece of arithmetic in a text, in one notation: "sine of 2 plus 3" is found as `sin(2) + 3`.
pub(crate) fn find(text: &str) -> Option<String> {
    // Nobody writes longer sums by hand, and the search is not made for them.
    let text = text.get(..text.floor_char_boundary(4096)).unwrap_or(text);
    let read = tokens::read(text);
    let runs = read.split(|token| !token.is_arithmetic());
    let longest = runs
        .filter(|run| tokens::computes(run))
        .rev()
        .max_by_key(|run| run.len())?;
    Some(tokens::join(longest))
}

pub(crate) fn evaluate(expression: &str) -> Result<f64, Error> {
    let mut parser = Parser {
        tokens: tokens::read(expression).into_iter().peekable(),
        depth: 0,
    };
    let value = parser.sum()?;
    match parser.tokens.next() {
        Some(token) => Err(Error::Unexpected(token.to_string())),
        None if value.is_finite() => Ok(value),
        None => Err(Error::Undefined),
    }
}

/// A number as people write it: no `.0`, no minus zero, powers of ten for very long ones.
pub(crate) fn show(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if (1e-6..1e16).contains(&size) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DivisionByZero => f.write_str("division by zero"),
            Self::Undefined => f.write_str("the result is not a real number"),
            Self::Unexpected(token) => write!(f, "unexpected `{token}`"),
            Self::Incomplete => f.write_str("the expression is incomplete"),
            Self::TooDeep => f.write_str("the expression is nested too deeply"),
        }
    }
}

/// sum = product (`+`|`-` product)*, product = signed (`*`|`/`|`%` signed)*, signed = `-` signed | power,
/// power = value [`^` signed], value = number | constant | function value | `(` sum `)`.
struct Parser {
    tokens: Peekable<IntoIter<Token>>,
    depth: usize,
}

impl Parser {
    fn sum(&mut self) -> Result<f64, Error> {
        let mut total = self.product()?;
        while let Some(sign) = self.take(&['+', '-']) {
            let next = self.product()?;
            total = if sign == '+' {
                total + next
            } else {
                total - next
            };
        }
        Ok(total)
    }

    fn product(&mut self) -> Result<f64, Error> {
        let mut total = self.signed()?;
        while let Some(sign) = self.take(&['*', '/', '%']) {
            let next = self.signed()?;
            total = match sign {
                '*' => total * next,
                _ if next == 0.0 => return Err(Error::DivisionByZero),
                '/' => total / next,
                _ => total.rem_euclid(next),
            };
        }
        Ok(total)
    }

    fn signed(&mut self) -> Result<f64, Error> {
        match self.take(&['+', '-']) {
            Some('-') => Ok(-self.deeper(Self::signed)?),
            Some(_) => self.deeper(Self::signed),
            None => self.power(),
        }
    }

    fn power(&mut self) -> Result<f64, Error> {
        let base = self.value()?;
        if self.take(&['^']).is_none() {
            return Ok(base);
        }
        let exponent = self.deeper(Self::signed)?;
        if base == 0.0 && exponent < 0.0 {
            return Err(Error::DivisionByZero);
        }
        Ok(base.powf(exponent))
    }

    fn value(&mut self) -> Result<f64, Error> {
        match self.tokens.next() {
            Some(Token::Number(text)) => text.parse().map_err(|_| Error::Unexpected(text)),
            Some(Token::Sign('(')) => {
                let inside = self.deeper(Self::sum)?;
                self.take(&[')']).ok_or(Error::Incomplete)?;
                Ok(inside)
            }
            Some(Token::Name(name)) => match constant(&name) {
                Some(value) => Ok(value),
                None if is_function(&name) => Ok(apply(&name, self.argument()?)),
                None => Err(Error::Unexpected(name)),
            },
            Some(token) => Err(Error::Unexpected(token.to_string())),
            None => Err(Error::Incomplete),
        }
    }

    /// `sin(2)^2` is the square of `sin(2)`, so an argument is no power; it may have a sign of its own.
    fn argument(&mut self) -> Result<f64, Error> {
        let signed = matches!(self.tokens.peek(), Some(Token::Sign('+' | '-')));
        self.deeper(if signed { Self::signed } else { Self::value })
    }

    fn take(&mut self, signs: &[char]) -> Option<char> {
        let wanted = |token: &Token| matches!(token, Token::Sign(sign) if signs.contains(sign));
        match self.tokens.next_if(wanted)? {
            Token::Sign(sign) => Some(sign),
            _ => None,
        }
    }

    fn deeper(&mut self, step: fn(&mut Self) -> Result<f64, Error>) -> Result<f64, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        let value = step(self);
        self.depth -= 1;
        value
    }
}

fn apply(function: &str, value: f64) -> f64 {
    match function {
        "sin" => value.sin(),
        "cos" => value.cos(),
        "tan" => value.tan(),
        "asin" => value.asin(),
        "acos" => value.acos(),
        "atan" => value.atan(),
        "sqrt" => value.sqrt(),
        "log" => value.ln(),
        "exp" => value.exp(),
        _ => value.abs(),
    }
}

#[cfg(test)]
mod tests;
