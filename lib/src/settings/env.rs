//! The process's environment as a value.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;

/// The variables of a process. An empty value counts as absent.
#[derive(Clone, Default)]
pub struct Env {
    values: HashMap<String, String>,
    /// Only some of all variables are here.
    narrowed: bool,
}

/// Names alone: values may be credentials.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Env {
    /// This process's environment.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn process() -> Self {
        // Names and values that are no text cannot be ours.
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            values: std::env::vars_os().filter_map(text).collect(),
            narrowed: false,
        }
    }

    /// Sets a variable unless it is there.
    pub fn or(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.set(name, value);
        }
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), value.to_owned());
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// The variables of these names alone.
    #[must_use]
    pub fn only(&self, may: impl Fn(&str) -> bool) -> Self {
        let named = self.iter().filter(|(name, _)| may(name));
        Self {
            values: named
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            narrowed: true,
        }
    }

    /// Whether a variable that is not here may be set after all.
    pub fn is_narrowed(&self) -> bool {
        self.narrowed
    }

    /// Names and values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .keys()
            .filter_map(|name| Some((name.as_str(), self.get(name)?)))
    }

    /// True when no address of models or of DIAL Core is set: there is nothing real to talk to.
    pub fn wants_sandbox(&self) -> bool {
        self.get("DIAL_URL").is_none() && self.get("OPENAI_BASE_URL").is_none()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Env {
    fn from(pairs: [(&str, &str); N]) -> Self {
        let pairs = pairs.iter();
        Self {
            values: pairs
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            narrowed: false,
        }
    }
}
