"""The grammar checker accepts a correct stream and names the rule that a wrong one breaks."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from checker import GrammarError, check_stream, fold

HEADERS = {"content-type": "text/event-stream; charset=utf-8"}
Chunks = list[dict[str, Any]]


def chunk(delta: dict[str, Any], finish: str | None = None, usage: dict[str, int] | None = None) -> dict[str, Any]:
    """Return a chunk with the usual envelope."""
    choice = {"index": 0, "finish_reason": finish, "delta": delta}
    return {"choices": [choice], "usage": usage, "id": "a", "created": 1, "object": "chat.completion.chunk"}


def stage(**fields: Any) -> dict[str, Any]:
    """Return a chunk with one stage item."""
    return chunk({"custom_content": {"stages": [fields]}})


def correct() -> Chunks:
    """Return a stream with everything in order: a stage, a nested stage, an attachment, a state, usage."""
    attachment = {"index": 0, "title": "note", "data": "n"}
    return [
        chunk({"role": "assistant"}),
        stage(index=0, name="Call", status=None),
        stage(index=1, name="Tool", status=None, parent_stage_index=0),
        stage(index=1, attachments=[attachment], status=None),
        stage(index=1, status="completed"),
        stage(index=0, status="completed"),
        chunk({"content": "Hello ☀"}),
        chunk({"custom_content": {"state": {"k": [{"index": 3}]}}}),
        chunk({}, "stop", {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
    ]


def raw(chunks: Chunks) -> bytes:
    """Write a stream."""
    lines = [json.dumps(item, separators=(",", ":")) for item in chunks] + ["[DONE]"]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def test_a_correct_stream_is_accepted_and_folded() -> None:
    message = fold(check_stream(raw(correct()), HEADERS))["choices"][0]["message"]
    assert message["content"] == "Hello ☀"
    assert message["custom_content"]["stages"][1] == {
        "name": "Tool", "status": "completed", "parent_stage_index": 0, "attachments": [{"title": "note", "data": "n"}],
    }  # fmt: skip
    assert message["custom_content"]["state"] == {"k": [{"index": 3}]}


def test_heartbeats_are_accepted() -> None:
    assert check_stream(b": heartbeat\n\n" + raw(correct()), HEADERS)


def attached(item: dict[str, Any]) -> dict[str, Any]:
    """Return a chunk with an attachment of the choice."""
    return chunk({"custom_content": {"attachments": [item]}})


def error(**fields: str) -> dict[str, Any]:
    """Return an error event."""
    return {"error": {"message": "m", "type": "t", "code": "500", "display_message": "d", **fields}}


WRONG: dict[str, Callable[[Chunks], Chunks]] = {
    "role comes first": lambda c: c[1:],
    "role comes once": lambda c: [*c[:2], c[0], *c[2:]],
    "contiguous": lambda c: [c[0], stage(index=1, name="x", status=None), *c[1:]],
    "closed once": lambda c: [*c[:5], c[4], *c[5:]],
    "every stage is closed": lambda c: [*c[:5], *c[6:]],
    "parent is open": lambda c: [*c[:6], stage(index=2, name="x", status=None, parent_stage_index=0), *c[6:]],
    "parent is announced": lambda c: [c[0], stage(index=0, name="x", status=None, parent_stage_index=0), *c[1:]],
    "state is sent once": lambda c: [*c[:8], c[7], *c[8:]],
    "attachment indexes": lambda c: [*c[:4], c[3], *c[4:]],
    "exactly one of data and url": lambda c: [c[0], attached({"index": 0}), *c[1:]],
    "no nulls in custom_content": lambda c: [*c[:6], chunk({"custom_content": {"stages": None}}), *c[6:]],
    "nothing follows the finish": lambda c: [*c, c[6]],
    "no finish chunk before": lambda c: [*c, error()],
    "display_message": lambda c: [c[0], error(display_message="")],
    "a finish chunk or an error": lambda c: c[:-1],
    "usage is null": lambda c: [c[0], {**c[6], "usage": {"total_tokens": 1}}, *c[1:]],
    "repeat on every chunk": lambda c: [*c[:6], {**c[6], "id": "b"}, *c[7:]],
}


@pytest.mark.parametrize("rule", WRONG)
def test_a_wrong_stream_is_refused_by_name(rule: str) -> None:
    with pytest.raises(GrammarError, match=rule):
        check_stream(raw(WRONG[rule](correct())), HEADERS)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("one space", lambda text: text.replace(b"data: {", b"data:{", 1)),
        ("one space", lambda text: text.replace(b"data: {", b"data:  {", 1)),
        ("LF only", lambda text: text.replace(b"\n\n", b"\r\n\r\n")),
        ("compact", lambda text: text.replace(b'"usage":', b'"usage": ', 1)),
        ("DONE", lambda text: text.replace(b"data: [DONE]\n\n", b"")),
        ("comes last", lambda text: text + b'data: {"choices":[]}\n\n'),
    ],
    ids=["no-space", "two-spaces", "crlf", "blanks", "no-done", "after-done"],
)
def test_wrong_bytes_are_refused(rule: str, change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(GrammarError, match=rule):
        check_stream(change(raw(correct())), HEADERS)
