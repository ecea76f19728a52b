//! A hook in this process: it refuses what an administrator's patterns are found in.

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Answer, Error, Event, Hook};
use crate::domain::hook::Pattern;

/// Looks for patterns in what a point is about: the request before an agent has answered, the answer afterwards.
#[derive(Clone, Debug)]
pub struct Refuse {
    patterns: Vec<Pattern>,
    say: String,
}

impl Refuse {
    pub fn new(patterns: &[Pattern], say: &str) -> Self {
        Self {
            patterns: patterns.to_vec(),
            say: say.to_owned(),
        }
    }
}

#[async_trait]
impl Hook for Refuse {
    async fn ask(&self, event: &Event<'_>, _: Instant) -> Result<Answer, Error> {
        let found = |pattern: &Pattern| event.texts().any(|text| pattern.is_in(text));
        Ok(Answer {
            refuse: (self.patterns.iter().any(found)).then(|| self.say.clone()),
            ..Answer::default()
        })
    }
}
