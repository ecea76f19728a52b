//! The conversations: their messages, and the user they last spoke of.

use std::time::Duration;

use serde_json::{Value, json};

use super::people::Subject;
use crate::clock;

#[derive(Default)]
pub(super) struct Conversations(Vec<Conversation>);

struct Conversation {
    id: String,
    title: Option<String>,
    messages: Vec<Value>,
    created_at: Duration,
    updated_at: Duration,
    subject: Option<Subject>,
}

impl Conversations {
    pub(super) fn create(&mut self, title: Option<String>) -> Value {
        let now = clock::now();
        let conversation = Conversation {
            id: clock::fresh_id().to_string(),
            title,
            messages: Vec::new(),
            created_at: now,
            updated_at: now,
            subject: None,
        };
        let shown = conversation.show();
        self.0.push(conversation);
        shown
    }

    /// Newest first. None if one has no title: the real service fails over that.
    pub(super) fn list(&self) -> Option<Vec<Value>> {
        let mut newest: Vec<_> = self.0.iter().rev().collect();
        newest.sort_by_key(|conversation| std::cmp::Reverse(conversation.updated_at));
        newest.into_iter().map(Conversation::summary).collect()
    }

    pub(super) fn show(&self, id: &str) -> Option<Value> {
        self.find(id).map(Conversation::show)
    }

    pub(super) fn delete(&mut self, id: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|conversation| conversation.id != id);
        self.0.len() < before
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.find(id).is_some()
    }

    /// Whom a conversation last spoke of.
    pub(super) fn subject(&self, id: &str) -> Option<Subject> {
        self.find(id)?.subject.clone()
    }

    pub(super) fn save(
        &mut self,
        id: &str,
        asked: &str,
        said: Option<&str>,
        subject: Option<Subject>,
    ) {
        let found = self.0.iter_mut().find(|conversation| conversation.id == id);
        if let Some(conversation) = found {
            conversation.messages.push(message("user", asked));
            let said = said.map(|said| message("assistant", said));
            conversation.messages.extend(said);
            conversation.updated_at = clock::now();
            conversation.subject = subject;
        }
    }

    fn find(&self, id: &str) -> Option<&Conversation> {
        self.0.iter().find(|conversation| conversation.id == id)
    }
}

impl Conversation {
    fn show(&self) -> Value {
        json!({
            "id": self.id,
            "title": self.title,
            "messages": self.messages,
            "created_at": clock::iso(self.created_at),
            "updated_at": clock::iso(self.updated_at),
        })
    }

    fn summary(&self) -> Option<Value> {
        let title = self.title.as_ref()?;
        Some(json!({
            "id": self.id,
            "title": title,
            "created_at": clock::iso(self.created_at),
            "updated_at": clock::iso(self.updated_at),
            "message_count": self.messages.len(),
        }))
    }
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content, "tool_call_id": null, "name": null, "tool_calls": null})
}
