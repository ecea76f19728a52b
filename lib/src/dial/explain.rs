//! What is wrong with a request's body, told with its place and without its words.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::failure::{Code, Failure};
use crate::domain::sentences;

/// A longer path is cut off, in bytes.
const PATH_CAP: usize = 200;

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
    let path = path_of(&error);
    structure(
        if path.is_empty() { "messages" } else { &path },
        error.inner(),
    )
}

/// The same for the JSON that stands at this place of a body.
pub fn explain_at<'a, T: Deserialize<'a>>(json: &'a str, place: &str) -> Failure {
    let mut json = serde_json::Deserializer::from_str(json);
    match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Ok(_) => invalid("it cannot be read", place),
        Err(error) => {
            let path = format!("{place}.{}", path_of(&error));
            structure(path.trim_end_matches('.'), error.inner())
        }
    }
}

fn path_of(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let path = error.path().to_string().replace('[', ".").replace(']', "");
    let path = path.trim_matches('.');
    let path = if path == "?" { "" } else { path };
    // A name in it may be the caller's own, of any length.
    let end = path.floor_char_boundary(PATH_CAP);
    path.get(..end).unwrap_or_default().to_owned()
}

fn structure(path: &str, error: &serde_json::Error) -> Failure {
    let expected = expected(error);
    let message = format!("the request has an invalid structure at {path}: {expected}");
    invalid(message, path)
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
