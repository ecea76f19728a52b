//! What is wrong with a request's body, told with its place and without its words.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::failure::{Code, Failure};
use crate::domain::sentences;

pub fn invalid(message: impl Into<String>, param: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidRequest, message, sentences::not_understood()).at(param)
}

pub fn malformed(why: &str) -> Failure {
    Failure::new(
        Code::InvalidRequest,
        format!("the request body isn't valid JSON: {why}"),
        sentences::not_understood(),
    )
}

/// Why a body could not be read: not JSON, or where its shape is wrong. The slow path, taken once.
pub fn explain<'a, T: Deserialize<'a>>(body: &'a str) -> Failure {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(body) {
        return malformed(&error.to_string());
    }
    let mut json = serde_json::Deserializer::from_str(body);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut json) else {
        return malformed("it cannot be read");
    };
    let path = error.path().to_string().replace('[', ".").replace(']', "");
    let path = path.trim_matches('.');
    let path = if path.is_empty() || path == "?" {
        "messages"
    } else {
        path
    };
    invalid(
        format!(
            "the request has an invalid structure at {path}: {}",
            expected(error.inner())
        ),
        path,
    )
}

/// What was expected, without what came instead: that may be the user's words.
fn expected(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match text.rsplit_once("expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None if text.starts_with("missing field") || text.starts_with("duplicate field") => {
            text.to_owned()
        }
        None => "this cannot be read".into(),
    }
}
