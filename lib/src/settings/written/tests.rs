use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::*;

/// The published schema.
const PUBLISHED: &str = include_str!("../../../../infra/agents.schema.json");

impl JsonSchema for OneOrMore {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMore".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A name, or a list of them.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
        })
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number, or a number with a unit, such as `20s` or `64KB`.",
            "type": ["string", "number"]
        })
    }
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    let mut schema = schemars::schema_for!(Written);
    schema.insert(
        "title".into(),
        "The coordinator's configuration document".into(),
    );
    let made = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    if made != PUBLISHED {
        let new = std::env::temp_dir().join("agents.schema.json");
        std::fs::write(&new, &made).unwrap();
        panic!(
            "infra/agents.schema.json is another one; what it should be is in {}",
            new.display()
        );
    }
}
