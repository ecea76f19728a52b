"""Strangers are refused, and a failing agent becomes an error that a person can read, in time."""

import time
from typing import Any

import aidial_client
import httpx
import openai
import pytest

from callers import CALLERS, BareCaller, Caller, Person, RecordingTransport
from checker import check_error, check_stream
from world import Chat, Coordinator, Peers

PATIENCE_SECONDS = 15.0
LIBRARIES = [kind for kind in CALLERS if kind is not BareCaller]
FAILING = ["break", "refuse", "break the user John", "stop early at the user John"]
FAILING_IDS = ["gpa-breaks", "gpa-refuses", "ums-breaks", "ums-without-done"]
CLIENT_ERRORS = (openai.APIError, aidial_client.DialException)


def asking(caller: Caller, person: Person, stream: bool, text: str) -> Chat:
    """Prepare a chat whose next request asks the text."""
    return Chat(caller, person, stream, messages=[{"role": "user", "content": text}])


def display_message(error: Any) -> str | None:
    """Return the text for the person from the error of either client."""
    if isinstance(error, aidial_client.DialException):
        return error.display_message
    return error.body.get("display_message")


def status_of_stages(events: list[dict[str, Any]]) -> list[str]:
    """Return in order how the stages ended."""
    customs = [e["choices"][0]["delta"].get("custom_content", {}) for e in events if "choices" in e]
    items = [stage for custom in customs for stage in custom.get("stages", [])]
    return [item["status"] for item in items if item["status"]]


@pytest.fixture(params=LIBRARIES, ids=lambda kind: kind.name)
def library_caller(request: pytest.FixtureRequest, coordinator: Coordinator) -> Caller:
    """Take each of the client libraries in turn, which have error classes of their own."""
    return request.param(coordinator.url)


def test_a_stranger_is_refused(library_caller: Caller, stream: bool, peers: Peers) -> None:
    mallory = Person("mallory")
    ask = asking(library_caller, mallory, stream, "Draw a cat").request()
    with pytest.raises(CLIENT_ERRORS) as caught:
        library_caller.call(ask, RecordingTransport())
    # The routing stage has left before Core is asked about the caller, so a stream tells it by an error event.
    assert "invalid_credentials" in str(getattr(caught.value, "code", caught.value))
    if not stream:
        assert getattr(caught.value, "status_code", None) == 401
    assert display_message(caught.value)
    assert not any("general-purpose-agent" in entry["path"] for entry in peers.seen_by_core(mallory))


def test_a_request_without_a_key_is_refused(bare: BareCaller, stream: bool, alice: Person) -> None:
    ask = asking(bare, alice, stream, "Draw a cat").request()
    ask.key = ""
    response = bare.post(ask)
    assert response.status_code in (400, 401)
    check_error(response.json()["error"])


@pytest.mark.parametrize("text", FAILING, ids=FAILING_IDS)
def test_a_failing_agent_becomes_a_readable_error(
    library_caller: Caller, stream: bool, alice: Person, text: str
) -> None:
    ask = asking(library_caller, alice, stream, text).request()
    started = time.monotonic()
    with pytest.raises(CLIENT_ERRORS) as caught:
        library_caller.call(ask, RecordingTransport())
    assert display_message(caught.value)
    assert time.monotonic() - started < PATIENCE_SECONDS


@pytest.mark.parametrize("text", FAILING, ids=FAILING_IDS)
def test_the_stage_of_a_failed_call_ends_as_failed(bare: BareCaller, alice: Person, text: str) -> None:
    response = bare.post(asking(bare, alice, True, text).request())
    events = check_stream(response.content, response.headers)
    assert "error" in events[-1]
    assert "failed" in status_of_stages(events)


@pytest.mark.parametrize("text", FAILING, ids=FAILING_IDS)
def test_a_failed_call_in_block_mode_is_not_retried_by_core(bare: BareCaller, alice: Person, text: str) -> None:
    response = bare.post(asking(bare, alice, False, text).request())
    assert response.status_code == 424
    check_error(response.json()["error"])


def test_the_conversation_goes_on_after_a_failure(bare_chat: Chat) -> None:
    bare_chat.say("What's the weather?")
    broken = Chat(bare_chat.caller, bare_chat.person, bare_chat.stream, bare_chat.conversation)
    broken.messages = [*bare_chat.messages, {"role": "user", "content": "Break"}]
    BareCaller(bare_chat.caller.url).post(broken.request())
    assert bare_chat.say("In Paris").text == "In short: Paris weather is 18°C, sunny"


def test_a_caller_who_hangs_up_leaves_the_conversation_usable(bare: BareCaller, alice: Person) -> None:
    chat = Chat(bare, alice, True)
    chat.say("What's the weather?")
    hang_up(Chat(bare, alice, True, chat.conversation, [*chat.messages, {"role": "user", "content": "Think slowly"}]))
    assert chat.say("In Paris").text == "In short: Paris weather is 18°C, sunny"


def hang_up(chat: Chat) -> None:
    """Ask, read the first bytes, and close the connection."""
    ask = chat.request()
    url = f"{chat.caller.url}/openai/deployments/{chat.caller.deployment}/chat/completions"
    headers = {"Api-Key": ask.key, **ask.headers()}
    body = {"messages": ask.messages, "stream": True}
    with httpx.stream("POST", url, headers=headers, json=body, trust_env=False) as response:
        next(response.iter_raw())
