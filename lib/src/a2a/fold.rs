//! Artifacts that grow and are replaced, as text that only grows.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::event::Artifact;
use super::part::Part;
use crate::domain::event::{AgentEvent, StageChange};
use crate::domain::message::Attachment;

/// What a task has said so far.
///
/// A new artifact is held back until it is continued or is known to be whole, since it may still be replaced: agents that
/// send every version of an artifact are as right as those that send its pieces. What was already said and is then
/// replaced by something else makes the answer begin anew.
#[derive(Debug, Default)]
pub struct Fold {
    /// In the order in which they were first heard of.
    artifacts: Vec<Kept>,
    /// The one that spoke last.
    speaking: Option<usize>,
    /// Digests of the files so far: a task that is asked for again has them again.
    files: HashSet<u64>,
    /// The last words about the task's state.
    words: String,
}

#[derive(Debug)]
struct Kept {
    id: String,
    said: String,
    held: Option<String>,
}

impl Fold {
    /// Takes an artifact, or the next piece of one.
    pub fn artifact(
        &mut self,
        artifact: Artifact,
        append: bool,
        last: bool,
        out: &mut VecDeque<AgentEvent>,
    ) {
        let text = self.split(artifact.parts, out);
        let at = self.place(artifact.id);
        let Some(kept) = self.artifacts.get_mut(at) else {
            return;
        };
        if append {
            let before = kept.held.take().unwrap_or_default();
            self.say(at, &(before + &text), out);
        } else if kept.said.is_empty() {
            kept.held = Some(text);
        } else if let Some(more) = text.strip_prefix(kept.said.as_str()) {
            let more = more.to_owned();
            self.say(at, &more, out);
        } else {
            kept.said = text;
            out.push_back(AgentEvent::Anew(self.whole()));
        }
        if last {
            self.release(at, out);
        }
    }

    /// Takes all artifacts as they stand.
    pub fn snapshot(&mut self, artifacts: Vec<Artifact>, out: &mut VecDeque<AgentEvent>) {
        for artifact in artifacts {
            self.artifact(artifact, false, false, out);
        }
    }

    /// Says what was held back.
    pub fn end(&mut self, out: &mut VecDeque<AgentEvent>) {
        for at in 0..self.artifacts.len() {
            self.release(at, out);
        }
    }

    /// True when artifacts have said something.
    pub fn has_spoken(&self) -> bool {
        self.artifacts.iter().any(|kept| !kept.said.is_empty())
    }

    /// Takes words that are the answer, or its end.
    pub fn answer(&mut self, parts: Vec<Part>, out: &mut VecDeque<AgentEvent>) {
        let text = self.split(parts, out);
        if text.is_empty() {
            return;
        }
        let gap = if self.has_spoken() { "\n\n" } else { "" };
        out.push_back(AgentEvent::Text(format!("{gap}{text}")));
    }

    /// Takes words about the task's state, which are shown beside the answer. Repeated ones are told once.
    pub fn progress(&mut self, parts: Vec<Part>, out: &mut VecDeque<AgentEvent>) {
        let text = self.split(parts, out);
        if text.is_empty() || text == self.words {
            return;
        }
        let first = self.words.is_empty();
        let name = first.then(|| "Task".to_owned());
        let gap = if first { "" } else { "\n\n" };
        out.push_back(AgentEvent::Stage {
            index: 0,
            change: StageChange {
                name,
                content: Some(format!("{gap}{text}")),
                ..StageChange::default()
            },
        });
        self.words = text;
    }

    /// The text of the parts; files go out at once.
    fn split(&mut self, parts: Vec<Part>, out: &mut VecDeque<AgentEvent>) -> String {
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Text(more) => text.push_str(&more),
                Part::File(file) if self.files.insert(digest(&file)) => {
                    out.push_back(AgentEvent::Attachment(file));
                }
                Part::File(_) => {}
            }
        }
        text
    }

    fn place(&mut self, id: String) -> usize {
        let known = self.artifacts.iter().position(|kept| kept.id == id);
        known.unwrap_or_else(|| {
            self.artifacts.push(Kept {
                id,
                said: String::new(),
                held: None,
            });
            self.artifacts.len() - 1
        })
    }

    fn release(&mut self, at: usize, out: &mut VecDeque<AgentEvent>) {
        let held = self.artifacts.get_mut(at).and_then(|kept| kept.held.take());
        if let Some(text) = held {
            self.say(at, &text, out);
        }
    }

    fn say(&mut self, at: usize, text: &str, out: &mut VecDeque<AgentEvent>) {
        let Some(kept) = self.artifacts.get_mut(at).filter(|_| !text.is_empty()) else {
            return;
        };
        kept.said.push_str(text);
        let other = self.speaking.replace(at).is_some_and(|before| before != at);
        let gap = if other { "\n\n" } else { "" };
        out.push_back(AgentEvent::Text(format!("{gap}{text}")));
    }

    fn whole(&self) -> String {
        let said = self.artifacts.iter().map(|kept| kept.said.as_str());
        let said: Vec<&str> = said.filter(|said| !said.is_empty()).collect();
        said.join("\n\n")
    }
}

fn digest(file: &Attachment) -> u64 {
    let mut hasher = DefaultHasher::new();
    for field in [&file.media_type, &file.title, &file.data, &file.url] {
        field.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(id: &str, text: &str) -> Artifact {
        Artifact {
            id: id.into(),
            parts: vec![Part::Text(text.into())],
        }
    }

    /// The answer as a reader has it at the end.
    fn read(steps: &[(&str, &str, bool, bool)]) -> String {
        let (mut fold, mut out) = (Fold::default(), VecDeque::new());
        for (id, text, append, last) in steps {
            fold.artifact(piece(id, text), *append, *last, &mut out);
        }
        fold.end(&mut out);
        let mut answer = String::new();
        for event in out {
            match event {
                AgentEvent::Text(text) => answer.push_str(&text),
                AgentEvent::Anew(text) => answer = text,
                other => panic!("{other:?}"),
            }
        }
        answer
    }

    #[test]
    fn pieces_are_appended_and_versions_replace_each_other() {
        assert_eq!(
            read(&[("a", "One", false, false), ("a", " two", true, true)]),
            "One two"
        );
        assert_eq!(
            read(&[("a", "Draft", false, false), ("a", "Final", false, true)]),
            "Final"
        );
        assert_eq!(
            read(&[("a", "One", false, true), ("a", "One two", false, true)]),
            "One two"
        );
        assert_eq!(
            read(&[
                ("a", "One", false, false),
                ("a", " two", true, false),
                ("b", "B", false, true),
                ("a", "Three", false, true)
            ]),
            "Three\n\nB"
        );
        assert_eq!(
            read(&[("a", "A", false, true), ("b", "B", false, true)]),
            "A\n\nB"
        );
    }

    #[test]
    fn pieces_are_said_as_they_come() {
        let (mut fold, mut out) = (Fold::default(), VecDeque::new());
        fold.artifact(piece("a", "One"), false, false, &mut out);
        assert!(out.is_empty(), "it may still be replaced");
        fold.artifact(piece("a", " two"), true, false, &mut out);
        assert_eq!(out, [AgentEvent::Text("One two".into())]);
    }

    #[test]
    fn a_task_that_is_asked_for_again_says_nothing_twice() {
        let (mut fold, mut out) = (Fold::default(), VecDeque::new());
        let file = Attachment {
            url: Some("https://a/x.png".into()),
            ..Attachment::default()
        };
        let whole = || Artifact {
            id: "a".into(),
            parts: vec![
                Part::Text("One".into()),
                Part::Text(" two".into()),
                Part::File(file.clone()),
            ],
        };
        fold.artifact(piece("a", "One"), true, false, &mut out);
        for _ in 0..3 {
            fold.snapshot(vec![whole()], &mut out);
            fold.progress(vec![Part::Text("Working".into())], &mut out);
        }
        fold.end(&mut out);
        assert_eq!(out.len(), 4, "{out:?}");
        assert_eq!(out[1], AgentEvent::Attachment(file));
        assert_eq!(out[2], AgentEvent::Text(" two".into()));
    }
}
