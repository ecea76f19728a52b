//! When a routing rule applies: a small part of the Common Expression Language, read once and tested on every request.

use super::ids::AgentId;

/// A rule of the agents file: where its condition holds, its agent answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub condition: Condition,
    /// The condition as it is written.
    pub written: String,
    pub agent: AgentId,
}

/// Whether a rule applies: `contains(query, "user")`, such terms negated with `!`, joined with `&&` and `||`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Any of these, each of which is all of those.
    any: Vec<Vec<Term>>,
}

/// One call, and whether it must not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    negated: bool,
    test: Test,
    /// In lower case.
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Contains,
    StartsWith,
    EndsWith,
}

impl Condition {
    /// Fails with a sentence that says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { whole: text, at: 0 };
        let mut any = vec![vec![reader.term()?]];
        while !reader.rest().is_empty() {
            if reader.takes("||") {
                any.push(vec![reader.term()?]);
            } else if reader.takes("&&") {
                let term = reader.term()?;
                if let Some(all) = any.last_mut() {
                    all.push(term);
                }
            } else {
                return Err(reader.expected("&& or ||"));
            }
        }
        Ok(Self { any })
    }

    /// Whether it holds for a query, whatever its capitals.
    pub fn holds(&self, query: &str) -> bool {
        let query = query.to_lowercase();
        let holds = |term: &Term| {
            let found = match term.test {
                Test::Contains => query.contains(&term.text),
                Test::StartsWith => query.starts_with(&term.text),
                Test::EndsWith => query.ends_with(&term.text),
            };
            found != term.negated
        };
        self.any.iter().any(|all| all.iter().all(holds))
    }
}

/// The text, and how far it is read.
struct Reader<'a> {
    whole: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&mut self) -> &'a str {
        let rest = self.whole.get(self.at..).unwrap_or_default();
        let plain = rest.trim_start();
        self.at += rest.len() - plain.len();
        plain
    }

    fn takes(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn needs(&mut self, token: &str) -> Result<(), String> {
        if self.takes(token) {
            Ok(())
        } else {
            Err(self.expected(token))
        }
    }

    fn expected(&mut self, what: &str) -> String {
        let rest: String = self.rest().chars().take(20).collect();
        let found = if rest.is_empty() {
            "the end".to_owned()
        } else {
            format!("{rest:?}")
        };
        format!(
            "{:?}: expected {what} at character {}, found {found}",
            self.whole,
            self.whole
                .get(..self.at)
                .map_or(0, |read| read.chars().count())
                + 1
        )
    }

    fn term(&mut self) -> Result<Term, String> {
        let negated = self.takes("!");
        let tests = [
            ("contains", Test::Contains),
            ("startsWith", Test::StartsWith),
            ("endsWith", Test::EndsWith),
        ];
        let found = tests.into_iter().find(|(name, _)| self.takes(name));
        let Some((_, test)) = found else {
            return Err(self.expected("contains, startsWith or endsWith"));
        };
        self.needs("(")?;
        self.needs("query")?;
        self.needs(",")?;
        let text = self.string()?;
        self.needs(")")?;
        Ok(Term {
            negated,
            test,
            text: text.to_lowercase(),
        })
    }

    /// A text in double or single quotes; a backslash takes the next letter as it is.
    fn string(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let Some(quote) = rest
            .chars()
            .next()
            .filter(|letter| matches!(letter, '"' | '\''))
        else {
            return Err(self.expected("a text in quotes"));
        };
        let mut text = String::new();
        let mut letters = rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => text.extend(letters.next().map(|(_, letter)| letter)),
                _ if letter == quote => {
                    self.at += at + 1;
                    return if text.is_empty() {
                        Err(format!("{:?}: an empty text is in every query", self.whole))
                    } else {
                        Ok(text)
                    };
                }
                _ => text.push(letter),
            }
        }
        Err(format!("{:?}: a quote is not closed", self.whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_as_they_read() {
        let check = |condition: &str, query: &str, expected: bool| {
            let parsed = Condition::parse(condition).unwrap();
            assert_eq!(parsed.holds(query), expected, "{condition} of {query:?}");
        };
        check(r#"contains(query, "user")"#, "Show all USERS", true);
        check(r#"contains(query, "user")"#, "Weather?", false);
        check("!contains(query,'user')", "Weather?", true);
        let both =
            r#"contains(query, "user") && contains(query, "list") || startsWith(query, "who is")"#;
        check(both, "list the users", true);
        check(both, "list", false);
        check(both, "Who is Bob?", true);
        check(r#"endsWith(query, "\"now\"")"#, "do it \"now\"", true);
        check(
            r#"contains(query, "користувач")"#,
            "Покажи КОРИСТУВАЧІВ",
            true,
        );
    }

    #[test]
    fn what_is_no_condition_says_where() {
        let check = |condition: &str, expected: &str| {
            let error = Condition::parse(condition).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(
            "",
            "expected contains, startsWith or endsWith at character 1, found the end",
        );
        check(
            r#"contains(query, "a") and x"#,
            "expected && or || at character 22",
        );
        check(r#"contains(text, "a")"#, "expected query at character 10");
        check(r#"contains(query, "a"#, "a quote is not closed");
        check(r#"contains(query, "")"#, "an empty text");
        check(
            "contains(query, 7)",
            "expected a text in quotes at character 17",
        );
    }
}
