"""What the coordinator remembers, from the caller's state or from its own store, and for whom."""

import copy
from typing import Any

import pytest

from callers import BareCaller, Person
from world import Chat, Peers

KEPT = "Paris weather is 18°C, sunny"
LOST = "I do not know what you mean."


def edited(value: Any) -> Any:
    """Change every string of a state a little, as a forger without the key would."""
    if isinstance(value, dict):
        return {key: edited(item) for key, item in value.items()}
    if isinstance(value, list):
        return [edited(item) for item in value]
    if isinstance(value, str) and len(value) > 1:
        middle = len(value) // 2
        other = "A" if value[middle] != "A" else "B"
        return value[:middle] + other + value[middle + 1 :]
    return value


def forge_states(chat: Chat) -> None:
    """Edit the states in the caller's history."""
    for message in chat.messages:
        if "custom_content" in message:
            genuine = message["custom_content"]["state"]
            message["custom_content"] = {"state": edited(copy.deepcopy(genuine))}
            assert message["custom_content"]["state"] != genuine


def drop_states(chat: Chat) -> None:
    """Drop all custom content from the caller's history."""
    for message in chat.messages:
        message.pop("custom_content", None)


def two_turns(chat: Chat) -> None:
    """Go as far as GPA's question."""
    chat.say("Do we have user John?")
    chat.say("What's the weather?")


def test_the_store_answers_when_the_caller_dropped_the_state(chat: Chat, peers: Peers) -> None:
    two_turns(chat)
    drop_states(chat)
    assert chat.say("In Paris").text == f"In short: {KEPT}"
    drop_states(chat)
    chat.say("Add Andrej Karpathy to our system")
    assert len(peers.ums_conversations()) == 1


def test_the_state_answers_when_the_conversation_id_changed(bare_chat: Chat, peers: Peers) -> None:
    two_turns(bare_chat)
    bare_chat.conversation += "-renamed"
    assert bare_chat.say("In Paris").text == f"In short: {KEPT}"
    bare_chat.say("Add Andrej Karpathy to our system")
    assert len(peers.ums_conversations()) == 1


def test_a_forged_state_is_ignored_without_an_error(bare_chat: Chat) -> None:
    two_turns(bare_chat)
    forge_states(bare_chat)
    assert bare_chat.say("In Paris").text == f"In short: {KEPT}"


def test_a_forged_state_in_an_unknown_conversation_brings_nothing_back(bare_chat: Chat, peers: Peers) -> None:
    two_turns(bare_chat)
    forge_states(bare_chat)
    bare_chat.conversation += "-other"
    bare_chat.say("Add Andrej Karpathy to our system")
    assert len(peers.ums_conversations()) == 2


@pytest.mark.parametrize("unknown_status", [500, 404])
def test_a_conversation_that_ums_forgot_is_made_anew(bare_chat: Chat, peers: Peers, unknown_status: int) -> None:
    bare_chat.say("Do we have user John?")
    (forgotten,) = peers.ums_conversations()
    peers.make_ums_forget(unknown_status)
    assert bare_chat.say("Add Andrej Karpathy to our system").text == "In short: User Andrej Karpathy created"
    (made,) = peers.ums_conversations()
    assert made["id"] != forgotten["id"]
    bare_chat.say("Do we have user John?")
    assert len(peers.ums_conversations()) == 1


@pytest.mark.parametrize("same_conversation", [True, False], ids=["same-id", "other-id"])
def test_the_state_of_another_owner_opens_nothing(
    bare: BareCaller, stream: bool, alice: Person, bob: Person, peers: Peers, same_conversation: bool
) -> None:
    hers = Chat(bare, alice, stream)
    two_turns(hers)
    before = peers.ums_conversations()
    his = Chat(bare, bob, stream, messages=copy.deepcopy(hers.messages))
    if same_conversation:
        his.conversation = hers.conversation
    his.say("Add Andrej Karpathy to our system")
    assert peers.ums_conversations()[0] == before[0]
    assert len(peers.ums_conversations()) == 2


def test_a_plain_state_naming_a_conversation_of_ums_opens_nothing(
    bare: BareCaller, stream: bool, alice: Person, bob: Person, peers: Peers
) -> None:
    Chat(bare, alice, stream).say("Do we have user John?")
    (hers,) = peers.ums_conversations()
    his = Chat(bare, bob, stream)
    stolen = {"role": "assistant", "content": "Yes.", "custom_content": {"state": {"ums_conversation_id": hers["id"]}}}
    his.messages = [{"role": "user", "content": "Do we have user John?"}, stolen]
    his.say("Add Andrej Karpathy to our system")
    assert peers.ums_conversations()[0] == hers


def test_two_people_in_a_conversation_of_the_same_name_stay_apart(
    bare: BareCaller, stream: bool, alice: Person, bob: Person, peers: Peers
) -> None:
    hers = Chat(bare, alice, stream, conversation="local-1")
    his = Chat(bare, bob, stream, conversation="local-1")
    hers.say("Do we have user John?")
    his.say("Do we have user Ann?")
    assert len(peers.ums_conversations()) == 2
