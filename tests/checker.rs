//! The grammar of a DIAL stream, checked on every answer that any test gets.

use serde_json::Value;

/// What a good stream held.
#[derive(Debug, Default)]
pub struct Checked {
    /// Every chunk, without the end mark.
    pub chunks: Vec<Value>,
    pub heartbeats: usize,
    /// The error event's `error`, if the stream ended in one.
    pub error: Option<Value>,
}

#[derive(Default)]
struct Stage {
    attachments: usize,
    closed: bool,
}

#[derive(Default)]
struct Checker {
    checked: Checked,
    envelope: Option<(Value, Value, Value)>,
    stages: Vec<Stage>,
    attachments: usize,
    state: bool,
    form: bool,
    finished: bool,
}

/// Checks a whole stream; the first breach is told with its event.
pub fn check(stream: &[u8]) -> Result<Checked, String> {
    let text = std::str::from_utf8(stream).map_err(|error| error.to_string())?;
    if !text.is_ascii() || text.contains('\r') {
        return Err("a stream is ASCII with LF line ends".into());
    }
    let body = text
        .strip_suffix("\n\n")
        .ok_or("the stream does not end in a blank line")?;
    let mut checker = Checker::default();
    let mut done = false;
    for event in body.split("\n\n") {
        if done {
            return Err(format!("after the end mark: {event}"));
        }
        if event == ": heartbeat" {
            checker.checked.heartbeats += 1;
        } else if event == "data: [DONE]" {
            done = true;
        } else {
            let data = event
                .strip_prefix("data: ")
                .ok_or_else(|| format!("no event: {event}"))?;
            checker
                .event(data)
                .map_err(|breach| format!("{breach}: {event}"))?;
        }
    }
    if !done {
        return Err("there is no end mark".into());
    }
    checker.end()
}

impl Checker {
    fn event(&mut self, data: &str) -> Result<(), String> {
        if data.starts_with(' ') || data.contains('\n') {
            return Err("one line, one space".into());
        }
        let chunk: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
        if ascii(&chunk.to_string()) != data {
            return Err("JSON is not compact ASCII".into());
        }
        if self.checked.error.is_some() {
            return Err("after an error event only the end mark may come".into());
        }
        if let Some(error) = chunk.get("error") {
            return self.error(error);
        }
        if self.finished {
            return Err("after the finish chunk".into());
        }
        self.envelope(&chunk)?;
        let choice = &chunk["choices"][0];
        let first = self.checked.chunks.is_empty();
        self.checked.chunks.push(chunk.clone());
        let delta = choice["delta"].as_object().ok_or("no delta")?;
        if first != delta.contains_key("role") {
            return Err("the role comes first and once".into());
        }
        match choice["finish_reason"].as_str() {
            Some("stop" | "length" | "content_filter") if delta.is_empty() => {
                self.finished = true;
                Ok(())
            }
            Some(_) => Err("a finish chunk has a known reason and an empty delta".into()),
            None if !chunk["usage"].is_null() => Err("usage belongs into the finish chunk".into()),
            None => self.delta(delta),
        }
    }

    fn error(&mut self, error: &Value) -> Result<(), String> {
        for field in ["message", "type", "code", "display_message"] {
            if error[field].as_str().is_none_or(str::is_empty) {
                return Err(format!("the error has no {field}"));
            }
        }
        if self.finished {
            return Err("no finish chunk may come before an error event".into());
        }
        self.checked.error = Some(error.clone());
        Ok(())
    }

    fn envelope(&mut self, chunk: &Value) -> Result<(), String> {
        let keys: Vec<&str> = chunk
            .as_object()
            .ok_or("a chunk is an object")?
            .keys()
            .map(String::as_str)
            .filter(|key| *key != "statistics")
            .collect();
        if keys != ["choices", "usage", "id", "created", "object", "model"] {
            return Err(format!("keys {keys:?}"));
        }
        if chunk["object"] != "chat.completion.chunk"
            || chunk["choices"].as_array().map(Vec::len) != Some(1)
        {
            return Err("not one choice of a chunk".into());
        }
        let envelope = (
            chunk["id"].clone(),
            chunk["created"].clone(),
            chunk["model"].clone(),
        );
        if self.envelope.get_or_insert_with(|| envelope.clone()) != &envelope {
            return Err("the envelope changed".into());
        }
        Ok(())
    }

    fn delta(&mut self, delta: &serde_json::Map<String, Value>) -> Result<(), String> {
        for (key, value) in delta {
            match (key.as_str(), value) {
                ("role", Value::String(role)) if role == "assistant" => {}
                ("content", Value::String(text)) if !text.is_empty() => {}
                ("custom_content", Value::Object(custom)) => {
                    for (key, value) in custom {
                        match (key.as_str(), value) {
                            ("stages", Value::Array(items)) => {
                                items.iter().try_for_each(|item| self.stage(item))?;
                            }
                            ("attachments", Value::Array(items)) => {
                                items
                                    .iter()
                                    .try_for_each(|item| attachment(item, &mut self.attachments))?;
                            }
                            ("state", Value::Object(_))
                                if !std::mem::replace(&mut self.state, true) => {}
                            ("form_schema", Value::Object(_))
                                if !std::mem::replace(&mut self.form, true) => {}
                            _ => return Err(format!("custom content {key}")),
                        }
                    }
                }
                _ => return Err(format!("delta {key}")),
            }
        }
        Ok(())
    }

    fn stage(&mut self, item: &Value) -> Result<(), String> {
        let fields = item.as_object().ok_or("a stage is an object")?;
        let index = usize::try_from(item["index"].as_u64().ok_or("no index")?).unwrap();
        let known = [
            "index",
            "name",
            "content",
            "attachments",
            "status",
            "parent_stage_index",
        ];
        if let Some(odd) = fields.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("stage field {odd}"));
        }
        if !fields.contains_key("status") {
            return Err("a stage delta has a status".into());
        }
        if index == self.stages.len() {
            if !fields.contains_key("name") || !item["status"].is_null() {
                return Err("a stage opens with a name and a null status".into());
            }
            if let Some(parent) = fields.get("parent_stage_index") {
                let parent = usize::try_from(parent.as_u64().ok_or("parent")?).unwrap();
                if parent >= index {
                    return Err("a parent is announced before its child".into());
                }
            }
            self.stages.push(Stage::default());
        } else if fields.contains_key("parent_stage_index") {
            return Err("the parent belongs into the opening delta".into());
        }
        let stage = self
            .stages
            .get_mut(index)
            .ok_or("stage indexes are contiguous")?;
        if stage.closed {
            return Err("the stage is closed".into());
        }
        for file in item["attachments"].as_array().into_iter().flatten() {
            attachment(file, &mut stage.attachments)?;
        }
        match item["status"].as_str() {
            Some("completed" | "failed") => stage.closed = true,
            Some(_) => return Err("an unknown status".into()),
            None => {}
        }
        Ok(())
    }

    fn end(self) -> Result<Checked, String> {
        if let Some(open) = self.stages.iter().position(|stage| !stage.closed) {
            return Err(format!("stage {open} was never closed"));
        }
        if self.checked.chunks.is_empty() {
            return Err("there is no role chunk".into());
        }
        if self.finished == self.checked.error.is_some() {
            return Err("a stream ends in a finish chunk or in an error event".into());
        }
        Ok(self.checked)
    }
}

fn attachment(item: &Value, count: &mut usize) -> Result<(), String> {
    let fields = item.as_object().ok_or("an attachment is an object")?;
    let known = [
        "index",
        "type",
        "title",
        "data",
        "url",
        "reference_url",
        "reference_type",
    ];
    if let Some(odd) = fields.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("attachment field {odd}"));
    }
    if item["index"] != *count {
        return Err("attachment indexes are contiguous".into());
    }
    *count += 1;
    if fields.contains_key("data") == fields.contains_key("url") {
        return Err("an attachment has exactly one of data and url".into());
    }
    Ok(())
}

/// Checks a block answer: the merged message of section 9, or an error body.
pub fn check_block(status: u16, body: &Value) -> Result<(), String> {
    if status != 200 {
        let error = body["error"]
            .as_object()
            .ok_or("an error body has an error object")?;
        let fields = ["message", "type", "code", "display_message"];
        let missing = fields.iter().find(|field| {
            error
                .get(**field)
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
        });
        return missing.map_or(Ok(()), |field| Err(format!("the error has no {field}")));
    }
    let keys: Vec<&str> = body
        .as_object()
        .ok_or("an object")?
        .keys()
        .map(String::as_str)
        .collect();
    let known = [
        "choices",
        "usage",
        "id",
        "created",
        "object",
        "model",
        "statistics",
    ];
    if keys.iter().any(|key| !known.contains(key)) || body["object"] != "chat.completion" {
        return Err(format!("keys {keys:?}"));
    }
    let choice = &body["choices"][0];
    if body["choices"].as_array().map(Vec::len) != Some(1)
        || choice["finish_reason"].as_str().is_none()
    {
        return Err("one finished choice".into());
    }
    let message = &choice["message"];
    if message["role"] != "assistant" || message.get("index").is_some() {
        return Err("the message is the assistant's".into());
    }
    let custom = &message["custom_content"];
    let mut lists = vec![&custom["attachments"]];
    for (at, stage) in custom["stages"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let parent = stage["parent_stage_index"].as_u64();
        let closed = matches!(stage["status"].as_str(), Some("completed" | "failed"));
        if !closed
            || stage.get("index").is_some()
            || parent.is_some_and(|parent| parent >= at as u64)
        {
            return Err(format!("stage {stage}"));
        }
        lists.push(&stage["attachments"]);
    }
    for file in lists.into_iter().filter_map(Value::as_array).flatten() {
        if file.get("index").is_some() || file.get("data").is_some() == file.get("url").is_some() {
            return Err(format!("attachment {file}"));
        }
    }
    Ok(())
}

fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() {
            out.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

#[test]
fn the_checker_finds_what_it_is_for() {
    let chunk = |delta: &str, finish: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"finish_reason\":{finish},\"delta\":{delta}}}],\"usage\":null,\
             \"id\":\"x\",\"created\":1,\"object\":\"chat.completion.chunk\",\"model\":\"m\"}}\n\n"
        )
    };
    let role = chunk("{\"role\":\"assistant\"}", "null");
    let stage = |item: &str| {
        chunk(
            &format!("{{\"custom_content\":{{\"stages\":[{item}]}}}}"),
            "null",
        )
    };
    let open = stage("{\"index\":0,\"name\":\"A\",\"status\":null}");
    let close = stage("{\"index\":0,\"status\":\"completed\"}");
    let end = format!("{}data: [DONE]\n\n", chunk("{}", "\"stop\""));
    let error = "data: {\"error\":{\"message\":\"m\",\"type\":\"t\",\"code\":\"c\",\"display_message\":\"d\"}}\n\n";
    for good in [
        format!("{role}{end}"),
        format!(": heartbeat\n\n{role}{open}{close}: heartbeat\n\n{end}"),
        format!("{role}{open}{close}{error}data: [DONE]\n\n"),
    ] {
        assert!(
            check(good.as_bytes()).is_ok(),
            "{good}: {:?}",
            check(good.as_bytes())
        );
    }
    let attachment = |item: &str| {
        chunk(
            &format!("{{\"custom_content\":{{\"attachments\":[{item}]}}}}"),
            "null",
        )
    };
    for bad in [
        end.clone(),
        role.clone(),
        format!("{role}{role}{end}"),
        format!("{role}{end}{end}"),
        format!("{role}{open}{end}"),
        format!("{role}{open}{close}{close}{end}"),
        format!(
            "{role}{}{end}",
            stage("{\"index\":1,\"name\":\"A\",\"status\":null}")
        ),
        format!(
            "{role}{}{end}",
            stage("{\"index\":0,\"name\":\"A\",\"status\":null,\"parent_stage_index\":0}")
        ),
        format!("{role}{}{end}", attachment("{\"index\":1,\"data\":\"d\"}")),
        format!(
            "{role}{}{end}",
            attachment("{\"index\":0,\"data\":\"d\",\"url\":\"u\"}")
        ),
        format!(
            "{role}{}{end}",
            chunk("{\"custom_content\":{\"state\":[]}}", "null")
        ),
        format!("{role}{error}{end}"),
        format!("{role}{end}").replace("data: {", "data:  {"),
        format!("{role}{end}").replace("\"m\"", "\"\u{2600}\""),
        format!("{role}{end}").replace('\n', "\r\n"),
        format!("{role}{end}").replace("\"index\":0,", "\"index\": 0,"),
    ] {
        assert!(check(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn the_block_checker_finds_what_it_is_for() {
    let good = serde_json::json!({"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant",
        "content": "x", "custom_content": {"stages": [{"name": "A", "status": "completed"}],
        "attachments": [{"data": "d"}]}}}], "usage": null, "id": "x", "created": 1, "object": "chat.completion",
        "model": "m"});
    assert_eq!(check_block(200, &good), Ok(()));
    let error = serde_json::json!({"error": {"message": "m", "type": "t", "code": "c", "display_message": "d"}});
    assert_eq!(check_block(500, &error), Ok(()));
    assert!(check_block(500, &good).is_err() && check_block(200, &error).is_err());
    for (place, value) in [
        ("/object", "chat.completion.chunk"),
        ("/choices/0/message/role", "user"),
        (
            "/choices/0/message/custom_content/stages/0/status",
            "running",
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap() = value.into();
        assert!(check_block(200, &bad).is_err(), "{place}");
    }
    for (place, key) in [
        ("/choices/0/message/custom_content/stages/0", "index"),
        ("/choices/0/message/custom_content/attachments/0", "index"),
        ("/choices/0/message/custom_content/attachments/0", "url"),
    ] {
        let mut bad = good.clone();
        bad.pointer_mut(place).unwrap()[key] = 0.into();
        assert!(check_block(200, &bad).is_err(), "{place} {key}");
    }
}
