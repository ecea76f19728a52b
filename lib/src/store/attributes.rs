//! Values of the table's attributes, in and out.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::domain::ids::{Timestamp, TurnId};

/// An item as the table gives it.
pub type Item = HashMap<String, AttributeValue>;

pub fn string<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub fn id(item: &Item, name: &str) -> Option<TurnId> {
    string(item, name)?.parse().ok().map(TurnId::from_uuid)
}

pub fn count(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// When an item is gone, whether the table has deleted it or not.
pub fn expires_at(item: &Item) -> Timestamp {
    Timestamp(count(item, "expires_at").unwrap_or(u64::MAX))
}

pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
