//! The form of an answer that is data: the part of JSON Schema that is understood, and whether a text fits it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Number, Value};

/// A JSON Schema of these keywords. Another keyword is a mistake where the schema is read: nobody is to believe that it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Shape {
    #[serde(rename = "$schema", skip_serializing)]
    _dialect: Option<String>,
    #[serde(rename = "title", skip_serializing)]
    _title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<Kinds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#enum: Option<Vec<Value>>,
    #[serde(
        deserialize_with = "even_null",
        skip_serializing_if = "Option::is_none"
    )]
    r#const: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<String, Shape>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    required: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_properties: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Box<Shape>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_items: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_items: Option<usize>,
    /// In characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    min_length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum: Option<Number>,
}

/// One type, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    untagged,
    expecting = "expected a type, one of string, number, integer, boolean, object, array and null, or a list of them"
)]
enum Kinds {
    One(Kind),
    Several(Vec<Kind>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
enum Kind {
    String,
    Number,
    Integer,
    Boolean,
    Object,
    Array,
    Null,
}

/// A `const` of null is one, too.
fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Shape {
    /// Whether an answer is data of this form: JSON alone, or one code block of it. What is wrong is said without its values.
    pub fn fits(&self, answer: &str) -> Result<(), String> {
        let value: Value = serde_json::from_str(inside(answer)).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("it is no JSON: line {line}, column {column}")
        })?;
        self.look(&value, "")
    }

    fn look(&self, value: &Value, at: &str) -> Result<(), String> {
        let place = if at.is_empty() { "/" } else { at };
        let wrong = |problem: &str| Err(format!("{place}: {problem}"));
        let found = kind(value);
        let fits = match &self.r#type {
            None => true,
            Some(Kinds::One(kind)) => kind.takes(value),
            Some(Kinds::Several(kinds)) => kinds.iter().any(|kind| kind.takes(value)),
        };
        if !fits {
            let expected = serde_json::to_string(&self.r#type).unwrap_or_default();
            return wrong(&format!("found {found}, expected {expected}"));
        }
        let listed = self.r#enum.as_ref().is_none_or(|all| all.contains(value))
            && self.r#const.as_ref().is_none_or(|only| only == value);
        if !listed {
            return wrong("it is none of the values that it may have");
        }
        match value {
            Value::Object(fields) => self.fields(fields, at),
            Value::Array(list) => self.list(list, at),
            Value::String(text) => {
                let within = within(text.chars().count(), self.min_length, self.max_length);
                within.or_else(|problem| wrong(&format!("its length is {problem}")))
            }
            Value::Number(number) => {
                let float = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
                let value = float(number);
                let low = (self.minimum.as_ref()).is_some_and(|least| value < float(least));
                let high = (self.maximum.as_ref()).is_some_and(|most| value > float(most));
                match (low, high) {
                    (true, _) => wrong("the number is too small"),
                    (_, true) => wrong("the number is too large"),
                    _ => Ok(()),
                }
            }
            Value::Null | Value::Bool(_) => Ok(()),
        }
    }

    fn fields(&self, fields: &serde_json::Map<String, Value>, at: &str) -> Result<(), String> {
        let place = if at.is_empty() { "/" } else { at };
        if let Some(missing) = (self.required.iter()).find(|name| !fields.contains_key(*name)) {
            return Err(format!("{place}: {missing} is missing"));
        }
        for (name, value) in fields {
            match self.properties.get(name) {
                Some(shape) => shape.look(value, &format!("{at}/{name}"))?,
                None if self.additional_properties == Some(false) => {
                    return Err(format!("{place}: {name} has no place here"));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn list(&self, list: &[Value], at: &str) -> Result<(), String> {
        let place = if at.is_empty() { "/" } else { at };
        within(list.len(), self.min_items, self.max_items)
            .map_err(|problem| format!("{place}: the list's length is {problem}"))?;
        let Some(items) = &self.items else {
            return Ok(());
        };
        for (number, item) in list.iter().enumerate() {
            items.look(item, &format!("{at}/{number}"))?;
        }
        Ok(())
    }
}

fn within(count: usize, least: Option<usize>, most: Option<usize>) -> Result<(), String> {
    match (least, most) {
        (Some(least), _) if count < least => Err(format!("{count}, expected {least} or more")),
        (_, Some(most)) if count > most => Err(format!("{count}, expected {most} or less")),
        _ => Ok(()),
    }
}

impl Kind {
    fn takes(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Number => value.is_number(),
            Self::Integer => {
                let whole = |float: f64| float.fract() == 0.0;
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(whole)
            }
            Self::Boolean => value.is_boolean(),
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::Null => value.is_null(),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What stands in the one code block that an answer is; the whole of another one.
fn inside(answer: &str) -> &str {
    let answer = answer.trim();
    let block = || {
        let inside = answer.strip_prefix("```")?.strip_suffix("```")?;
        let (language, inside) = inside.split_once('\n')?;
        let plain = language.trim().is_empty() || language.trim().eq_ignore_ascii_case("json");
        (plain && !inside.contains("```")).then_some(inside)
    };
    block().unwrap_or(answer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shape(schema: Value) -> Shape {
        serde_json::from_value(schema).unwrap()
    }

    #[test]
    fn an_answer_fits_its_schema_or_the_place_is_named() {
        let users = shape(json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "required": ["users"], "additionalProperties": false,
            "properties": {"users": {"type": "array", "minItems": 1, "items": {
                "type": "object", "required": ["name"],
                "properties": {
                    "name": {"type": "string", "minLength": 2, "maxLength": 5},
                    "age": {"type": ["integer", "null"], "minimum": 0, "maximum": 150},
                    "role": {"enum": ["admin", "user"]},
                    "kind": {"const": null}
                }}}}
        }));
        let check = |answer: &str, expected: Result<(), &str>| {
            let expected = expected.map_err(str::to_owned);
            assert_eq!(users.fits(answer), expected, "{answer}");
        };
        check(
            r#"{"users": [{"name": "Ann", "age": 7.0, "role": "user", "kind": null, "x": 1}]}"#,
            Ok(()),
        );
        check("```json\n{\"users\": [{\"name\": \"Ann\"}]}\n```", Ok(()));
        check(
            " ```\n{\"users\": [{\"name\": \"Ann\", \"age\": null}]}\n``` ",
            Ok(()),
        );
        check("Here: {}", Err("it is no JSON: line 1, column 1"));
        check("", Err("it is no JSON: line 1, column 0"));
        check("[]", Err("/: found a list, expected \"object\""));
        check("{}", Err("/: users is missing"));
        check(
            r#"{"users": []}"#,
            Err("/users: the list's length is 0, expected 1 or more"),
        );
        check(
            r#"{"users": [{"name": "Ann"}], "n": 1}"#,
            Err("/: n has no place here"),
        );
        check(
            r#"{"users": [{"name": "Ann"}, {"name": "B"}]}"#,
            Err("/users/1/name: its length is 1, expected 2 or more"),
        );
        check(
            r#"{"users": [{"name": "Ann", "age": 7.5}]}"#,
            Err("/users/0/age: found a number, expected [\"integer\",\"null\"]"),
        );
        check(
            r#"{"users": [{"name": "Ann", "age": 151}]}"#,
            Err("/users/0/age: the number is too large"),
        );
        check(
            r#"{"users": [{"name": "Ann", "age": -1}]}"#,
            Err("/users/0/age: the number is too small"),
        );
        check(
            r#"{"users": [{"name": "Ann", "role": "boss"}]}"#,
            Err("/users/0/role: it is none of the values that it may have"),
        );
        check(
            r#"{"users": [{"name": "Ann", "kind": 1}]}"#,
            Err("/users/0/kind: it is none of the values that it may have"),
        );
    }

    #[test]
    fn a_keyword_that_is_not_understood_is_refused() {
        for schema in [
            json!({"oneOf": []}),
            json!({"type": "text"}),
            json!({"properties": {"a": {"pattern": "x"}}}),
            json!({"items": {"$ref": "#/a"}}),
        ] {
            assert!(
                serde_json::from_value::<Shape>(schema.clone()).is_err(),
                "{schema}"
            );
        }
    }

    #[test]
    fn a_schema_is_told_as_it_was_written() {
        let written =
            json!({"type": "array", "items": {"type": ["string", "null"], "const": null}});
        assert_eq!(
            serde_json::to_value(shape(written.clone())).unwrap(),
            written
        );
    }
}
