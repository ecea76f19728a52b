"""A plain OpenAI-compatible server as an agent: what it is sent, and what becomes of its answer."""

import sys
from collections.abc import Iterator

import pytest

from callers import BareCaller, Person
from processes import Process, free_port
from world import APPS, Chat, Coordinator, Peers, read


@pytest.fixture(scope="module")
def plain(peers: Peers) -> Iterator[str]:
    """Run the server."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "plain:app", "--port", str(port), "--log-level", "warning"]
    process = Process("plain", command, peers.folder, {}, APPS)
    process.wait_until_healthy(url)
    yield url
    process.stop()


@pytest.fixture(scope="module")
def asking(peers: Peers, plain: str) -> Iterator[Coordinator]:
    """Run a coordinator that asks this server."""
    agents = f"agents:\n- {{name: GPA, protocol: openai, endpoint: '{plain}/v1', model: tiny-1, key: sk-plain, effect: none}}\n"
    started = Coordinator(peers, {"MAS_AGENTS": agents, "MAS_SYNTHESIS": "auto"}, "mas-openai")
    yield started
    started.stop()


def test_the_server_gets_what_its_api_allows_and_its_own_turns(asking: Coordinator, plain: str, alice: Person) -> None:
    chat = Chat(BareCaller(asking.url), alice, True)
    assert chat.say("Hello").text.strip() == "You said 1 things."
    answer = chat.say("And again")
    assert answer.text.strip() == "You said 3 things."
    sent = read(f"{plain}/test/seen")[-1]
    assert [m["content"].strip() for m in sent["body"]["messages"]] == ["Hello", "You said 1 things.", "And again"]
    assert "x-conversation-id" not in sent["headers"] and "api-key" not in sent["headers"]


def test_an_answer_at_the_models_length_says_that_it_is_cut(asking: Coordinator, alice: Person) -> None:
    answer = Chat(BareCaller(asking.url), alice, True).say("Tell me a long story")
    assert "(cut here" in answer.text
