//! The trick `execute_code`: arithmetic, really computed.

use serde_json::json;

use super::tool::{Tool, fence};
use crate::calc;

/// Computes the expression that was found in the text.
pub(super) fn compute(expression: Option<&str>, text: &str) -> (Tool, String) {
    let code = format!("print({})", expression.unwrap_or(text).replace('^', "**"));
    let value = match expression {
        Some(expression) => calc::evaluate(expression).map_err(|error| error.to_string()),
        None => Err("there is no arithmetic in it".to_owned()),
    };
    let shown = value.as_ref().copied().map(calc::show);
    let result = json!({
        "success": shown.is_ok(),
        "output": shown.iter().map(|value| format!("{value}\n")).collect::<Vec<_>>(),
        "result": null,
        "error": shown.as_ref().err(),
        "traceback": [],
        "files": [],
        "session_info": {"session_id": "sandbox", "instructions": null},
    });
    let tool = Tool::new("execute_code", json!({"code": code}), &result);
    let tool = Tool {
        request: fence("python", &code) + "New session will be created\n\r",
        failed: shown.is_err(),
        ..tool
    };
    let expression = expression.unwrap_or(text);
    let said = match shown {
        Ok(value) => format!("The result of `{expression}` is {value}."),
        Err(error) => format!("I could not compute `{expression}`: {error}."),
    };
    (tool, said)
}
