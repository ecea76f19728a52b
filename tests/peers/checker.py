"""The grammar of a DIAL stream (sections 3 to 8 of the protocol reference), and the merge of section 9."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HEARTBEAT = ": heartbeat"
ENVELOPE = {"id", "created", "object", "model"}
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
FINISH_REASONS = {"stop", "length", "content_filter", "tool_calls", "function_call"}
STAGE_KEYS = {"index", "name", "status", "content", "attachments", "parent_stage_index"}
ATTACHMENT_KEYS = {"index", "type", "title", "data", "url", "reference_url", "reference_type"}


class GrammarError(AssertionError):
    """The answer breaks a rule of the protocol."""


def require(condition: object, rule: str, seen: object = "") -> None:
    """Raise with the broken rule, and what was seen instead, unless the condition holds."""
    if not condition:
        raise GrammarError(f"{rule}; seen: {str(seen)[:600]}")


def events_of(raw: bytes) -> list[str]:
    """Split a stream into the payloads of its data events, checking the line grammar (3.2)."""
    text = raw.decode("utf-8")
    require("\r" not in text, "3.2 LF only", text)
    require(text.endswith("\n\n"), "3.2 every event ends with a blank line", text[-80:])
    payloads = [p for p in map(payload_of, text[:-2].split("\n\n")) if p is not None]
    require(payloads and payloads[-1] == "[DONE]", "3.2 [DONE] comes last", payloads[-1:])
    require(payloads.count("[DONE]") == 1, "3.2 [DONE] comes once", payloads[-2:])
    return payloads[:-1]


def payload_of(event: str) -> str | None:
    """Return the payload of one event, or None for a heartbeat."""
    if event == HEARTBEAT:
        return None
    require("\n" not in event, "3.2 one line per event", event)
    require(re.match(r"data: \S", event), "3.2 exactly one space after data:", event)
    return event.removeprefix("data: ")


def parse(payload: str) -> dict[str, Any]:
    """Parse one payload and insist on compact JSON."""
    require(not re.search(r"\s", STRING.sub("", payload)), "3.2 compact JSON", payload)
    data = json.loads(payload)
    require(isinstance(data, dict), "3.3 an event is an object", payload)
    return data


@dataclass
class StageRow:
    """What is known of one stage while the stream is read."""

    status: str | None = None
    attachments: int = 0


@dataclass
class Reader:
    """Reads the chunks of one stream in order and keeps what the rules need to remember."""

    envelope: tuple[Any, Any] | None = None
    stages: list[StageRow] = field(default_factory=list)
    attachments: int = 0
    states: int = 0
    chunks: int = 0
    finish: str | None = None
    error: dict[str, Any] | None = None

    def read(self, chunk: dict[str, Any]) -> None:
        """Check the next event."""
        require(self.error is None, "3.2 the error event is the last before [DONE]", chunk)
        if "error" in chunk:
            self._read_error(chunk["error"])
        else:
            self._read_chunk(chunk)

    def end(self) -> None:
        """Check what must hold once the stream is over."""
        require(self.error or self.finish, "3.4 a finish chunk or an error event closes the stream")
        open_stages = [i for i, stage in enumerate(self.stages) if stage.status is None]
        require(not open_stages, "4 every stage is closed", open_stages)

    def _read_error(self, error: Any) -> None:
        require(self.finish is None, "8.2 no finish chunk before an error event", error)
        check_error(error)
        self.error = error

    def _read_chunk(self, chunk: dict[str, Any]) -> None:
        require(self.finish is None, "3.4 nothing follows the finish chunk", chunk)
        self._read_envelope(chunk)
        require(len(chunk["choices"]) == 1, "3.3 one choice per chunk", chunk)
        choice = chunk["choices"][0]
        require(set(choice) == {"index", "finish_reason", "delta"}, "3.3 keys of a choice", choice)
        require(choice["index"] == 0, "3.3 the only choice has index 0", choice)
        self._read_delta(choice["delta"], choice["finish_reason"])
        last = choice["finish_reason"] is not None
        require(last or chunk["usage"] is None, "3.3 usage is null but in the finish chunk", chunk)
        self.chunks += 1

    def _read_envelope(self, chunk: dict[str, Any]) -> None:
        require(chunk.get("object") == "chat.completion.chunk", "3.3 object", chunk)
        require({"choices", "usage", "id", "created"} <= set(chunk), "3.3 keys of a chunk", chunk)
        require(isinstance(chunk["id"], str) and isinstance(chunk["created"], int), "3.3 id and created", chunk)
        envelope = (chunk["id"], chunk["created"])
        require(self.envelope in (None, envelope), "3.3 id and created repeat on every chunk", chunk)
        self.envelope = envelope

    def _read_delta(self, delta: dict[str, Any], finish: str | None) -> None:
        if self.chunks == 0:
            require(delta == {"role": "assistant"}, "3.4 the role comes first, alone", delta)
            return
        require("role" not in delta, "17.5 the role comes once", delta)
        if finish is not None:
            require(finish in FINISH_REASONS and delta == {}, "3.4 the finish chunk has an empty delta", delta)
            self.finish = finish
        elif "custom_content" in delta:
            self._read_custom(delta["custom_content"])
        else:
            require(isinstance(delta.get("content"), str), "14 content is a string", delta)

    def _read_custom(self, custom: dict[str, Any]) -> None:
        require(custom, "3.5 custom content says something", custom)
        nulls = [key for key, value in custom.items() if value is None]
        require(not nulls, "17.8 no nulls in custom_content", custom)
        for stage in custom.get("stages", []):
            self._read_stage(stage)
        for attachment in custom.get("attachments", []):
            self.attachments = read_attachment(attachment, self.attachments)
        if "state" in custom:
            require(isinstance(custom["state"], dict), "6 the state is an object", custom)
            self.states += 1
            require(self.states == 1, "6 the state is sent once", custom)

    def _read_stage(self, item: dict[str, Any]) -> None:
        require(set(item) <= STAGE_KEYS, "4 keys of a stage", item)
        require("status" in item and isinstance(item.get("index"), int), "4 a stage item has index and status", item)
        index = item["index"]
        if index >= len(self.stages):
            self._open_stage(item)
        else:
            self._continue_stage(self.stages[index], item)

    def _open_stage(self, item: dict[str, Any]) -> None:
        require(item["index"] == len(self.stages), "4 stage indexes are contiguous", item)
        require("name" in item and item["status"] is None, "4 a stage opens with its name, status null", item)
        if "parent_stage_index" in item:
            self._check_parent(item)
        self.stages.append(StageRow())

    def _check_parent(self, item: dict[str, Any]) -> None:
        parent = item["parent_stage_index"]
        known = isinstance(parent, int) and 0 <= parent < len(self.stages)
        require(known, "4 a parent is announced before its child", item)
        require(self.stages[parent].status is None, "4 the parent is open when its child opens", item)

    def _continue_stage(self, row: StageRow, item: dict[str, Any]) -> None:
        require(row.status is None, "4 nothing follows the closing of a stage, closed once", item)
        require("parent_stage_index" not in item, "4 the parent is named in the opening only", item)
        require(item["status"] in (None, "completed", "failed"), "4 status is completed or failed", item)
        for attachment in item.get("attachments", []):
            row.attachments = read_attachment(attachment, row.attachments)
        row.status = item["status"]


def read_attachment(item: dict[str, Any], expected: int) -> int:
    """Check a streamed attachment and return the index of the next one."""
    require(item.get("index") == expected, "5 attachment indexes are contiguous in their place", item)
    check_attachment(item)
    return expected + 1


def check_attachment(item: dict[str, Any]) -> None:
    """Check the fields of an attachment."""
    require(set(item) <= ATTACHMENT_KEYS, "5 keys of an attachment", item)
    require(("data" in item) != ("url" in item), "5 exactly one of data and url", item)
    strings = all(isinstance(value, str) and value for key, value in item.items() if key != "index")
    require(strings, "5 attachment fields are non-empty strings", item)


def check_error(error: Any) -> None:
    """Check the shape of an error (8.1) and that it can be shown to a person (8.3)."""
    require(isinstance(error, dict) and None not in error.values(), "8.1 an error is an object without nulls", error)
    for name in ("message", "type", "code", "display_message"):
        require(isinstance(error.get(name), str) and error[name], f"8.3 an error has {name}", error)


def check_stream(raw: bytes, headers: Mapping[str, str]) -> list[dict[str, Any]]:
    """Check a whole stream and return its events; an error event, if any, comes last."""
    require(headers["content-type"].replace(" ", "").lower() == "text/event-stream;charset=utf-8", "3.1", headers)
    require("content-encoding" not in headers, "3.1 no compression", headers)
    require("content-length" not in headers, "3.1 no content-length", headers)
    events = [parse(payload) for payload in events_of(raw)]
    reader = Reader()
    for chunk in events:
        reader.read(chunk)
    reader.end()
    return events


def check_block(answer: dict[str, Any]) -> None:
    """Check a non-stream answer (section 9)."""
    require(answer.get("object") == "chat.completion", "9 object", answer)
    require(len(answer["choices"]) == 1, "9 one choice", answer)
    choice = answer["choices"][0]
    require(choice.get("finish_reason") in FINISH_REASONS and "delta" not in choice, "9 the choice is final", choice)
    message = choice["message"]
    require(message["role"] == "assistant", "9 role", message)
    custom = message.get("custom_content", {})
    for position, stage in enumerate(custom.get("stages", [])):
        check_finished_stage(stage, position)
    for attachment in custom.get("attachments", []):
        require("index" not in attachment, "9 no index in merged lists", attachment)
        check_attachment(attachment)


def check_finished_stage(stage: dict[str, Any], position: int) -> None:
    """Check one stage of a merged message."""
    require(set(stage) <= STAGE_KEYS - {"index"}, "9 keys of a merged stage", stage)
    require(stage.get("status") in ("completed", "failed"), "4 the stage is closed", stage)
    require(stage.get("parent_stage_index", -1) < position, "4 the parent stands before its child", stage)
    for attachment in stage.get("attachments", []):
        check_attachment(attachment)


def fold(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge the chunks of a stream into the non-stream answer they stand for; the state is left alone."""
    answer = dict(chunks[0])
    for chunk in chunks[1:]:
        answer = merge(answer, {key: value for key, value in chunk.items() if key not in ENVELOPE})
    answer["object"] = "chat.completion"
    answer["choices"] = [finished(choice) for choice in answer["choices"]]
    return answer


def finished(choice: dict[str, Any]) -> dict[str, Any]:
    """Rename the merged `delta` to `message` and drop the indexes inside."""
    rest = {key: value for key, value in choice.items() if key != "delta"}
    return {**rest, "message": without_index(choice["delta"])}


def merge(old: Any, new: Any, key: str = "") -> Any:
    """Merge a later value into an earlier one; see section 9, point 2."""
    if new is None:
        return old
    if old is None or key == "state":
        return new
    if isinstance(old, dict):
        return {**old, **{name: merge(old.get(name), value, name) for name, value in new.items()}}
    if isinstance(old, list):
        return merge_lists(old, new)
    return old + new if isinstance(old, str) else new


def merge_lists(old: list[Any], new: list[Any]) -> list[Any]:
    """Merge lists by the integer `index` of their items, or append."""
    if not all(isinstance(item, dict) and "index" in item for item in [*old, *new]):
        return [*old, *new]
    by_index = {item["index"]: item for item in old}
    for item in new:
        by_index[item["index"]] = merge(by_index.get(item["index"]), item)
    return [by_index[index] for index in sorted(by_index)]


def without_index(value: Any) -> Any:
    """Remove `index` from the items of every list, in their order, but never look inside a state."""
    if isinstance(value, dict):
        return {key: item if key == "state" else without_index(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_index(drop_index(item)) for item in value]
    return value


def drop_index(item: Any) -> Any:
    """Remove the `index` key of one list item."""
    return {key: value for key, value in item.items() if key != "index"} if isinstance(item, dict) else item
