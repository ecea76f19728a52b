//! Values of variables: one at a time, and several named ones in one variable.

use std::time::Duration;

use url::Url;

use super::{Env, Error};

pub fn parsed<T>(
    env: &Env,
    name: &'static str,
    default: T,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Error> {
    let Some(value) = env.get(name) else {
        return Ok(default);
    };
    parse(value).ok_or_else(|| Error::Variable {
        name,
        value: shown(value),
        expected,
    })
}

/// A wrong value as it may be shown: never the credentials of an address.
pub fn shown(value: &str) -> String {
    match value.rsplit_once('@') {
        Some((_, rest)) => format!("[hidden]@{rest}"),
        None => value.to_owned(),
    }
}

pub fn table_name(name: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    ((3..=255).contains(&name.len()) && name.bytes().all(plain)).then(|| name.to_owned())
}

pub fn switch(env: &Env, name: &'static str, default: bool) -> Result<bool, Error> {
    parsed(env, name, default, "on or off", |value| {
        match value.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" => Some(true),
            "off" | "false" | "no" | "0" => Some(false),
            _ => None,
        }
    })
}

pub const DURATION: &str =
    "a duration above zero: seconds, or a number with a unit such as 500ms, 30s, 2m, 1h, 30d";

pub fn duration(env: &Env, name: &'static str, default: Duration) -> Result<Duration, Error> {
    parsed(env, name, default, DURATION, parse_duration)
}

/// `2`, `0.5`, `500ms`, `2m`, …; the unit is seconds where none is given.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| letter != '.' && !letter.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let duration = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
    // A year is beyond any use here, and keeps every sum of times in range.
    (Duration::from_millis(1)..=Duration::from_hours(366 * 24))
        .contains(&duration)
        .then_some(duration)
}

/// `4096`, `64KB`, `4MB`: bytes, at least one and at most a gigabyte.
pub fn parse_size(text: &str) -> Option<usize> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1024,
        "MB" => 1024 * 1024,
        _ => return None,
    };
    let size = number.parse::<usize>().ok()?.checked_mul(unit)?;
    (1..=1024 * 1024 * 1024).contains(&size).then_some(size)
}

/// Dollars and cents as millionths of a dollar.
fn parse_money(text: &str) -> Option<u64> {
    let dollars: f64 = text.trim_start_matches('$').parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked first"
    )]
    (0.0..=1e9)
        .contains(&dollars)
        .then(|| (dollars * 1e6).round() as u64)
}

/// An http(s) address without its trailing slash.
pub fn origin(env: &Env, name: &'static str) -> Result<Option<String>, Error> {
    parsed(
        env,
        name,
        None,
        "an address such as https://dial.example.com",
        |value| {
            let url = Url::parse(value).ok()?;
            let plain = matches!(url.scheme(), "http" | "https")
                && url.host().is_some()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none();
            plain.then(|| Some(value.trim_end_matches('/').to_owned()))
        },
    )
}

/// What is between commas, without what is empty.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// Several named values in one variable: `failures=5,open=30s`. What is not named keeps its default.
pub struct Group<'a> {
    variable: &'static str,
    values: Vec<(&'a str, &'a str)>,
}

impl<'a> Group<'a> {
    /// Fails for a name that is not known, or a part that is not `name=value`.
    pub fn read(env: &'a Env, variable: &'static str, known: &[&str]) -> Result<Self, Error> {
        let mut values = Vec::new();
        for part in list(env.get(variable).unwrap_or_default()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim(), value.trim());
            if !known.contains(&name) || value.is_empty() {
                return Err(Error::Refused {
                    name: variable,
                    problem: format!(
                        "{part:?} is not one of its values, expected name=value with the name being one of {}",
                        known.join(", ")
                    ),
                });
            }
            values.push((name, value));
        }
        Ok(Self { variable, values })
    }

    /// The value as it is written; the last one counts.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let found = self.values.iter().rfind(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }

    pub fn duration(&self, name: &str, default: Duration) -> Result<Duration, Error> {
        self.parsed(name, default, DURATION, parse_duration)
    }

    pub fn size(&self, name: &str, default: usize) -> Result<usize, Error> {
        let expected = "a size above zero: bytes, or a number with KB or MB";
        self.parsed(name, default, expected, parse_size)
    }

    pub fn count(&self, name: &str, default: u32) -> Result<u32, Error> {
        let expected = "a whole number from 1 to 1000000";
        self.parsed(name, default, expected, |text| {
            text.parse().ok().filter(|n| (1..=1_000_000).contains(n))
        })
    }

    pub fn percent(&self, name: &str, default: u32) -> Result<u32, Error> {
        let expected = "a share from 1 to 100, in percent";
        self.parsed(name, default, expected, |text| {
            let number = text.trim_end_matches('%').trim().parse().ok();
            number.filter(|n| (1..=100).contains(n))
        })
    }

    /// A value that may be `off`.
    pub fn off_or<T>(
        &self,
        name: &str,
        default: Option<T>,
        read: impl FnOnce(&Self, &str, T) -> Result<T, Error>,
    ) -> Result<Option<T>, Error>
    where
        T: Default,
    {
        match self.text(name) {
            None => Ok(default),
            Some("off") => Ok(None),
            Some(_) => read(self, name, T::default()).map(Some),
        }
    }

    /// A number that may be `off`.
    pub fn quota(&self, name: &str, default: Option<u64>) -> Result<Option<u64>, Error> {
        let expected = "a whole number above zero, or off";
        self.parsed(name, default, expected, |text| match text {
            "off" => Some(None),
            _ => text.parse().ok().filter(|n| *n > 0).map(Some),
        })
    }

    pub fn money(&self, name: &str, default: Option<u64>) -> Result<Option<u64>, Error> {
        let expected = "an amount in dollars such as 2.50, or off";
        self.parsed(name, default, expected, |text| match text {
            "off" => Some(None),
            _ => parse_money(text).filter(|n| *n > 0).map(Some),
        })
    }

    fn parsed<T>(
        &self,
        name: &str,
        default: T,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        parse(text).ok_or_else(|| Error::Refused {
            name: self.variable,
            problem: format!("{name} is {text:?}, expected {expected}"),
        })
    }
}

/// What a model's tokens cost, in millionths of a dollar for a million of them: `gpt-4o=2.5/10`, in before out.
pub fn parse_price(text: &str) -> Option<(u64, u64)> {
    let (input, output) = text.split_once('/')?;
    Some((parse_money(input.trim())?, parse_money(output.trim())?))
}
