"""The usage of a turn is the sum over its model calls and the agent, where reported."""

from typing import Any

import pytest

from world import Chat, Peers

GPA_TOOLS_USAGE = (100, 20)


def model_usage(chat: Chat, peers: Peers) -> tuple[int, int]:
    """Add up what the model reported during the chat."""
    calls: list[dict[str, Any]] = peers.received(peers.model, chat.person)
    assert calls, "the model was not called"
    return sum(call["usage"][0] for call in calls), sum(call["usage"][1] for call in calls)


@pytest.mark.parametrize(
    ("text", "agent"),
    [("Draw a cat", GPA_TOOLS_USAGE), ("What's the weather?", (0, 0)), ("Do we have user John?", (0, 0))],
    ids=["gpa-reports", "gpa-is-silent", "ums"],
)
def test_usage_adds_up(chat: Chat, peers: Peers, text: str, agent: tuple[int, int]) -> None:
    usage = chat.say(text).usage
    prompt, completion = model_usage(chat, peers)
    assert usage is not None
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (prompt + agent[0], completion + agent[1])
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_the_model_is_asked_once_to_route_and_once_to_write(bare_chat: Chat, peers: Peers) -> None:
    bare_chat.say("Draw a cat")
    assert [call["kind"] for call in peers.received(peers.model, bare_chat.person)] == ["routing", "writing"]
