//! The process's environment as a value.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;

/// The variables of a process. An empty value counts as absent.
#[derive(Clone, Default)]
pub struct Env(HashMap<String, String>);

/// Names alone: values may be credentials.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
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
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// Sets a variable unless it is there.
    pub fn or(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.set(name, value);
        }
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// The variables whose names begin so.
    #[must_use]
    pub fn only(&self, prefix: &str) -> Self {
        let named = self.iter().filter(|(name, _)| name.starts_with(prefix));
        Self(
            named
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// Names and values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
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
        Self(
            pairs
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        )
    }
}
