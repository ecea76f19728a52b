//! The trick `file_content_extraction_tool`: lines and columns of an attached text, really counted.

use serde_json::{Value, json};

use super::tool::Tool;

pub(super) fn extract(attachment: &Value) -> (Tool, String) {
    let field = |name| attachment.get(name).and_then(Value::as_str);
    let title = field("title").or_else(|| field("url")).unwrap_or("file");
    let kind = field("type").unwrap_or("text/markdown");
    let found = match field("data") {
        Some(data) if kind.contains("csv") || title.to_lowercase().ends_with(".csv") => {
            Ok(table(title, data))
        }
        Some(data) if kind.starts_with("text/") || kind.contains("json") => Ok(plain(title, data)),
        Some(_) => Err(format!(
            "\"{title}\" is {kind}, and the sandbox reads text only."
        )),
        None => Err(format!(
            "I see the attachment \"{title}\", but the sandbox cannot fetch files."
        )),
    };
    let arguments = json!({"file_url": field("url").unwrap_or(title), "page": 1});
    let (Ok(said) | Err(said)) = &found;
    let result = match &found {
        Ok(said) => json!({"content": said}),
        Err(said) => json!({"error": said}),
    };
    let tool = Tool::new("file_content_extraction_tool", arguments, &result);
    let failed = found.is_err();
    (Tool { failed, ..tool }, said.clone())
}

fn table(title: &str, data: &str) -> String {
    let lines = data.lines().filter(|line| !line.trim().is_empty()).count();
    let columns = columns(data.lines().next().unwrap_or_default());
    let rows = lines.saturating_sub(1);
    let rows = if rows == 1 {
        "1 row".to_owned()
    } else {
        format!("{rows} rows")
    };
    let names = columns.join(", ");
    format!(
        "\"{title}\" has {lines} lines (a header and {rows}) and {} columns: {names}.",
        columns.len()
    )
}

fn plain(title: &str, data: &str) -> String {
    let (lines, words) = (data.lines().count(), data.split_whitespace().count());
    format!("\"{title}\" has {lines} lines and {words} words.")
}

/// The cells of a CSV line; a comma between quotes does not end one.
fn columns(line: &str) -> Vec<String> {
    let mut quoted = false;
    let cells = line.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    let cells = cells.map(|cell| cell.trim().trim_matches('"').to_owned());
    cells.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(attachment: &Value, expected: &str, failed: bool) {
        let (tool, said) = extract(attachment);
        assert_eq!((said.as_str(), tool.failed), (expected, failed));
    }

    #[test]
    fn tables_are_counted() {
        check(
            &json!({"type": "text/csv", "title": "a.csv", "data": "name,\"city, country\",age\nAnn,x,1\nBob,y,2\n"}),
            "\"a.csv\" has 3 lines (a header and 2 rows) and 3 columns: name, city, country, age.",
            false,
        );
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        check(
            &json!({"type": "text/csv", "title": "a.csv", "url": "files/B/a.csv"}),
            "I see the attachment \"a.csv\", but the sandbox cannot fetch files.",
            true,
        );
        check(
            &json!({"type": "image/png", "title": "a.png", "data": "AAAA"}),
            "\"a.png\" is image/png, and the sandbox reads text only.",
            true,
        );
    }
}
