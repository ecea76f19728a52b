//! What a measurement hands over: a table for people, JSON for programs, figures for the baseline, and what went wrong.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// One part of the report.
#[derive(Default)]
pub struct Section {
    pub text: String,
    pub json: Map<String, Value>,
    /// By the names that the baseline knows.
    pub figures: BTreeMap<String, f64>,
    pub errors: Vec<String>,
    /// Warnings of the program's own log: shown, and no failure.
    pub said: Vec<String>,
}

impl Section {
    pub fn say(&mut self, text: &str) {
        self.text += text;
    }

    pub fn put(&mut self, key: &str, value: Value) {
        self.json.insert(key.to_owned(), value);
    }

    pub fn figure(&mut self, name: impl Into<String>, value: f64) {
        self.figures.insert(name.into(), value);
    }

    /// With what went wrong at its end.
    pub fn closed(mut self) -> Self {
        let mut end = format!("errors: {}\n", self.errors.len());
        for line in self.errors.iter().take(3).chain(self.said.iter().take(5)) {
            end += &["  ", line, "\n"].concat();
        }
        self.say(&end);
        let first: Vec<&String> = self.errors.iter().take(3).collect();
        let (first, said) = (json!(first), json!(self.said));
        self.put("errors", self.errors.len().into());
        self.put("first_errors", first);
        self.put("log", said);
        self
    }
}

/// All parts as one.
pub fn joined(sections: Vec<Section>) -> Section {
    let mut whole = Section::default();
    for section in sections {
        whole.text += &section.text;
        whole.json.extend(section.json);
        whole.figures.extend(section.figures);
        whole.errors.extend(section.errors);
        whole.said.extend(section.said);
    }
    whole
}

pub fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}
