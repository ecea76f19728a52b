//! Where something stands in a document, so that every mistake can be told with its line.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_saphyr::{Location, Spanned};

use crate::domain::condition::Mistake;

/// A value, and where it stands: line and column count from 1.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub value: T,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub line: usize,
    pub column: usize,
    pub problem: String,
}

/// Everything that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Problems(pub Vec<Problem>);

impl Place {
    pub fn problem(self, problem: impl Into<String>) -> Problem {
        Problem {
            line: self.line,
            column: self.column,
            problem: problem.into(),
        }
    }

    /// The place of a mistake within a text that stands here, as the document has it: plain, in quotes or as a block.
    pub fn within(self, document: &str, mistake: &Mistake) -> Self {
        let lines = || document.lines().skip(self.line.saturating_sub(1));
        let line = lines().next().unwrap_or_default();
        let right = mistake.column.saturating_sub(1);
        if let Some(folded) = self.block(document) {
            let (mut left, mut below) = (right, mistake.line - 1);
            for text in lines().skip(below) {
                let indent = text.chars().take_while(|letter| *letter == ' ').count();
                let length = text.chars().count() - indent;
                // A folded block has a blank where its lines meet.
                if !folded || left <= length {
                    return Self {
                        line: self.line + below,
                        column: indent + left + 1,
                    };
                }
                left -= length + 1;
                below += 1;
            }
            return self;
        }
        let quoted = line
            .chars()
            .nth(self.column.saturating_sub(1))
            .is_some_and(|first| matches!(first, '"' | '\''));
        match mistake.line {
            1 => Self {
                column: self.column + right + usize::from(quoted),
                ..self
            },
            _ => self,
        }
    }

    /// Whether a block begins here, whose sign stands at the end of the line before, and whether its lines are folded into one.
    fn block(self, document: &str) -> Option<bool> {
        let mut lines = document.lines().skip(self.line.checked_sub(2)?);
        let (sign, first) = (lines.next()?, lines.next()?);
        let alone = first
            .chars()
            .take(self.column.saturating_sub(1))
            .all(|letter| letter == ' ');
        let sign = sign
            .trim_end()
            .trim_end_matches(['-', '+', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        match sign.chars().next_back() {
            Some('>') if alone => Some(true),
            Some('|') if alone => Some(false),
            _ => None,
        }
    }
}

impl From<&serde_saphyr::Error> for Problem {
    fn from(error: &serde_saphyr::Error) -> Self {
        let error = error.without_snippet();
        let place = error.location().map(Place::from).unwrap_or_default();
        let text = error.to_string();
        // The place stands before it already.
        let text = text.split(" at line ").next().unwrap_or_default();
        place.problem(text.trim_start_matches("error: "))
    }
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            line: number(location.line()),
            column: number(location.column()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            problem,
        } = self;
        if *line == 0 {
            return f.write_str(problem);
        }
        write!(f, "line {line}, column {column}: {problem}")
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self {
            value: spanned.value,
            place: spanned.referenced.into(),
        })
    }
}

#[cfg(test)]
impl<T: schemars::JsonSchema> schemars::JsonSchema for At<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }
}
