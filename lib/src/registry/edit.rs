//! A change of the registry: checked as a whole before it is written, then seen by everybody.

use serde_json::{Map, Value, json};

use super::Directory;
use crate::domain::audit::{By, Entry};
use crate::domain::ids::{Millis, Owner};
use crate::settings::{Over, Roster, is_within_reach};
use crate::store::secrets::Reference;
use crate::store::{self, Audit, Changing, Put, Target};

/// A longer document does not fit into an item.
const LONGEST: usize = 350 * 1024;

/// What is to be changed, by whom.
#[derive(Clone, Debug)]
pub struct Edit<'a> {
    pub what: Target<'a>,
    /// The text of its entry, or of the document; none to remove the agent.
    pub written: Option<String>,
    /// The version that it must have, see [`Changing::seen`].
    pub seen: Option<u64>,
    pub at: Millis,
    pub by: By,
    /// Whose tenant's log has it, and whom the line is about.
    pub tenant: &'a str,
    pub owner: Option<&'a Owner>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Invalid(String),
    #[error("there is no such agent")]
    Unknown,
    #[error("version {0} is there")]
    Other(u64),
    #[error("the agent does not say what it can: {0}")]
    Silent(String),
    #[error("the table cannot do it")]
    Store(#[from] store::Error),
}

impl<'a> Edit<'a> {
    /// An agent's entry as somebody sent it: an object of JSON, named by its place.
    pub fn entry(name: &'a str, body: &[u8]) -> Result<String, Refused> {
        let wrong = |problem: String| Err(Refused::Invalid(problem));
        let mut entry: Map<String, Value> = match serde_json::from_slice(body) {
            Ok(entry) => entry,
            Err(error) => return wrong(format!("the body is no JSON object: {error}")),
        };
        let named = entry.entry("name").or_insert_with(|| json!(name));
        if named != name {
            return wrong(format!("the body names {named}, and the path {name}"));
        }
        let key = entry.get("key").and_then(Value::as_str).unwrap_or_default();
        let refers = key.strip_prefix("${").and_then(|key| key.strip_suffix('}'));
        let refers = refers.or_else(|| Reference::parse(key).map(|_| key));
        if !key.is_empty() && !refers.is_some_and(is_within_reach) {
            return wrong(
                "key: a credential is not kept here, expected a variable such as ${AGENT_HR_KEY}, or a secret with a part \
                 \"agents\" in its name, such as ssm:/mas/agents/hr"
                    .into(),
            );
        }
        Ok(Value::Object(entry).to_string())
    }

    /// An entry with one more example of a capability, which it has then.
    pub fn with_example(written: &str, capability: &str, text: &str) -> Result<String, Refused> {
        let broken = || Refused::Invalid("the entry is no JSON object with capabilities".into());
        let mut entry: Map<String, Value> = serde_json::from_str(written).map_err(|_| broken())?;
        let all = entry.entry("capabilities").or_insert_with(|| json!([]));
        let all = all.as_array_mut().ok_or_else(broken)?;
        let named = |known: &Value| {
            known == capability || known.get("name").is_some_and(|name| name == capability)
        };
        let mut known = match all.iter().position(named) {
            Some(at) => all.remove(at),
            None => json!(capability),
        };
        if known.is_string() {
            known = json!({"name": known});
        }
        let known = known.as_object_mut().ok_or_else(broken)?;
        let examples = known.entry("examples").or_insert_with(|| json!([]));
        let examples = examples.as_array_mut().ok_or_else(broken)?;
        if !examples.iter().any(|example| example == text) {
            examples.push(text.into());
        }
        all.push(Value::Object(std::mem::take(known)));
        Ok(Value::Object(entry).to_string())
    }

    fn log(&self, log: &Audit, version: u64) -> Entry {
        let written = self.written.as_deref();
        Entry::Registry {
            at: self.at,
            by: self.by,
            agent: self.what.agent().map(str::to_owned),
            what: match (self.what, written) {
                (Target::Found(_), _) => "found",
                (_, Some(_)) => "put",
                (_, None) => "removed",
            }
            .into(),
            version,
            written: log.hash(self.tenant, written.unwrap_or_default()),
        }
    }
}

impl Directory {
    /// What the registry would be after a change; fails with what would be wrong.
    pub async fn tried(&self, edit: &Edit<'_>) -> Result<Roster, Refused> {
        let written = edit.written.as_deref().unwrap_or_default();
        if written.len() > LONGEST {
            let problem = format!("what is written is longer than {LONGEST} bytes");
            return Err(Refused::Invalid(problem));
        }
        let name = match edit.what {
            Target::Agent(name) => name,
            Target::Document => return self.compose_from(written).await.map_err(Refused::Invalid),
            // What an agent says of itself is read with care, whatever it is.
            Target::Found(_) => return self.compose_now().map_err(Refused::Invalid),
        };
        let over = Over {
            name: name.to_owned(),
            written: edit.written.clone(),
        };
        let composed = self.compose_with(&over).await;
        composed.map_err(Refused::Invalid)
    }

    /// Writes a change that was tried: the entry, its line in the history and in the audit log, all or nothing.
    pub async fn write(&self, edit: &Edit<'_>, log: &Audit) -> Result<u64, Refused> {
        let by = match edit.by {
            By::Person(pseudonym) => pseudonym.to_string(),
            By::Themselves | By::Command => "command".into(),
        };
        let changing = Changing {
            what: edit.what,
            written: edit.written.as_deref(),
            seen: edit.seen,
            at: edit.at,
            by: &by,
        };
        let line = |version| edit.log(log, version);
        let entries = self.entries();
        let changed = entries.change(changing, log, edit.tenant, edit.owner, line);
        match changed.await? {
            Put::Done(version) => Ok(version),
            Put::Other(version) => Err(Refused::Other(version)),
        }
    }
}

/// What differs between two entries, member by member.
pub fn difference(before: Option<&str>, after: Option<&str>) -> Value {
    let read = |text: Option<&str>| -> Map<String, Value> {
        let read = text.and_then(|text| serde_json::from_str(text).ok());
        read.unwrap_or_default()
    };
    let (before, after) = (read(before), read(after));
    let names = before.keys().chain(after.keys());
    let differs = names.filter(|name| before.get(*name) != after.get(*name));
    let both = |name: &String| {
        let (before, after) = (before.get(name), after.get(name));
        (name.clone(), json!({"before": before, "after": after}))
    };
    differs.map(both).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_an_object_that_has_its_name_and_no_credential() {
        let check = |body: &str, part: &str| {
            let problem = Edit::entry("HR", body.as_bytes()).unwrap_err().to_string();
            assert!(problem.contains(part), "{problem}");
        };
        check("[]", "no JSON object");
        check(r#"{"name": "IT", "endpoint": "x"}"#, "names \"IT\"");
        for key in [
            "hunter2",
            "${MAS_STATE_KEYS}",
            "x${AGENT_K}",
            "${AGENT_A}${MAS_B}",
            "secretsmanager:mas/state",
        ] {
            let body = json!({"endpoint": "x", "key": key}).to_string();
            if key == "${AGENT_A}${MAS_B}" {
                // It is refused when it is read: what it names is not there for it.
                Edit::entry("HR", body.as_bytes()).unwrap();
                continue;
            }
            check(&body, "a credential is not kept here");
        }
        let entry = Edit::entry("HR", br#"{"endpoint": "x", "key": "${AGENT_K}"}"#).unwrap();
        assert_eq!(entry, r#"{"endpoint":"x","key":"${AGENT_K}","name":"HR"}"#);
        Edit::entry("HR", br#"{"endpoint": "x", "key": "ssm:/mas/agents/hr"}"#).unwrap();
    }

    #[test]
    fn an_example_is_added_to_a_capability_whichever_way_it_is_written() {
        let check = |written: &str, capability: &str, expected: &str| {
            let entry = Edit::with_example(written, capability, "Hi").unwrap();
            let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            assert_eq!(read(&entry), read(expected));
        };
        let named = r#"{"capabilities":[{"examples":["Hi"],"name":"a"}]}"#;
        check("{}", "a", named);
        check(r#"{"capabilities": ["a"]}"#, "a", named);
        check(named, "a", named);
        check(
            r#"{"capabilities": ["b", {"name": "a", "tags": ["t"], "examples": ["x"]}]}"#,
            "a",
            r#"{"capabilities":["b",{"examples":["x","Hi"],"name":"a","tags":["t"]}]}"#,
        );
        assert!(Edit::with_example("[]", "a", "Hi").is_err());
        assert!(Edit::with_example(r#"{"capabilities": "a"}"#, "a", "Hi").is_err());
    }

    #[test]
    fn a_difference_names_what_came_went_and_changed() {
        let before = r#"{"a": 1, "b": 2, "c": 3}"#;
        let after = r#"{"a": 1, "b": 5, "d": 4}"#;
        assert_eq!(
            difference(Some(before), Some(after)),
            json!({"b": {"before": 2, "after": 5}, "c": {"before": 3, "after": null},
                   "d": {"before": null, "after": 4}})
        );
        assert_eq!(difference(None, None), json!({}));
    }
}
