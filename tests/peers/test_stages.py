"""Stages, attachments and text of the agents arrive at the caller, in place and complete."""

import re
from typing import Any

import pytest

from callers import Answer, BareCaller, Caller, Person
from world import Chat, children_of, stage_of

CSV = {"type": "text/csv", "title": "out.csv", "url": "files/BUCKET/appdata/general-purpose-agent/out.csv"}
PICTURE = {"type": "image/png", "title": "Image", "url": "files/BUCKET/appdata/dall-e-3/images/cat.png"}
UNSTABLE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d+(\.\d+)?\s?(ms|s)\b", re.IGNORECASE
)


def tools_of(answer: Answer) -> dict[str, dict[str, Any]]:
    """Return the tool stages nested under the stage of the GPA call, by name."""
    children = children_of(answer, stage_of(answer, "Call GPA Agent"))
    return {stage["name"]: stage for stage in children}


def test_the_tool_stages_of_gpa_are_nested_under_its_call(chat: Chat) -> None:
    answer = chat.say("Draw a cat")
    tools = tools_of(answer)
    assert set(tools) == {"execute_code", "image_generation_tool"}
    assert {stage["status"] for stage in answer.stages} == {"completed"}
    assert tools["execute_code"]["content"].endswith("## Response: \n1 ☀\n\r")
    assert "```python\n\rprint(1)\n\r```" in tools["execute_code"]["content"]


def test_attachments_arrive_where_gpa_put_them(chat: Chat) -> None:
    answer = chat.say("Draw a cat")
    tools = tools_of(answer)
    assert tools["execute_code"]["attachments"] == [CSV]
    prompt, picture = tools["image_generation_tool"]["attachments"]
    assert prompt in ({"title": "Revised prompt", "data": "a cat"}, {"type": "text/markdown", **prompt})
    assert (prompt["title"], prompt["data"]) == ("Revised prompt", "a cat")
    assert picture == PICTURE
    assert answer.custom["attachments"] == [CSV]


def test_the_own_words_of_gpa_stand_in_its_stage(bare_chat: Chat) -> None:
    answer = bare_chat.say("Draw a cat")
    content = answer.stages[stage_of(answer, "Call GPA Agent")]["content"]
    assert "I will run code and draw." in content and content.rstrip().endswith("Done: all good.")


def test_a_generated_picture_stays_visible_in_the_answer(bare_chat: Chat) -> None:
    assert f"![image]({PICTURE['url']})" in bare_chat.say("Draw a cat").text


def test_heartbeats_of_a_slow_agent_do_not_disturb(bare_chat: Chat) -> None:
    assert bare_chat.say("Think slowly please").text == "In short: You said: think slowly please"


def test_the_answer_is_streamed_in_many_pieces(bare: BareCaller, alice: Person) -> None:
    chunks = Chat(bare, alice, stream=True).say("Draw a cat").chunks
    assert len([chunk for chunk in chunks if chunk["choices"][0]["delta"].get("content")]) > 3


def test_the_tools_of_gpa_are_seen_before_the_answer(bare: BareCaller, alice: Person) -> None:
    deltas = [chunk["choices"][0]["delta"] for chunk in Chat(bare, alice, stream=True).say("Draw a cat").chunks]
    first_text = next(place for place, delta in enumerate(deltas) if delta.get("content"))
    last_tool = max(place for place, delta in enumerate(deltas) if "attachments" in str(delta))
    assert last_tool < first_text


def comparable(answer: Answer) -> dict[str, Any]:
    """Return the message without what differs from turn to turn: ids, durations, the state's value."""
    custom = {**answer.custom, "state": sorted(answer.custom["state"])}
    return stable({**answer.message, "custom_content": custom})


def stable(value: Any) -> Any:
    """Mask ids and durations in every string."""
    if isinstance(value, dict):
        return {key: stable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [stable(item) for item in value]
    return UNSTABLE.sub("~", value) if isinstance(value, str) else value


@pytest.mark.parametrize("question", ["Draw a cat", "Do we have user John?"], ids=["gpa", "ums"])
def test_a_streamed_and_a_block_answer_say_the_same(caller: Caller, alice: Person, question: str) -> None:
    streamed = Chat(caller, alice, stream=True).say(question)
    block = Chat(caller, alice, stream=False).say(question)
    assert comparable(streamed) == comparable(block)
    assert streamed.usage == block.usage
