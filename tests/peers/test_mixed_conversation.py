"""The mixed conversation of the architecture document, over four turns, with every client program."""

from typing import Any

from callers import Answer, Person
from world import Chat, Peers, stage_of

TURNS = ["Do we have user John?", "What's the weather?", "In Paris", "Add Andrej Karpathy to our system"]
REPORTS = ["Yes, John Doe found", "Which location?", "Paris weather is 18°C, sunny", "User Andrej Karpathy created"]


def history_given_to_gpa(peers: Peers, person: Person) -> list[dict[str, Any]]:
    """Return the messages of the last request that GPA received."""
    return peers.received(peers.gpa, person)[-1]["body"]["messages"]


def test_the_mixed_conversation_reaches_the_right_agents(chat: Chat, peers: Peers) -> None:
    answers = [chat.say(text) for text in TURNS]
    assert [answer.text for answer in answers] == [f"In short: {report}" for report in REPORTS]
    assert_ums_was_used_once(peers)
    assert_gpa_saw_only_its_own_words(peers, chat.person)
    assert_every_turn_shows_its_agent(answers)


def assert_ums_was_used_once(peers: Peers) -> None:
    """There is one conversation at UMS, and it holds both of its turns and nothing else."""
    (conversation,) = peers.ums_conversations()
    said = [(message["role"], message["content"]) for message in conversation["messages"]]
    assert said == [("user", TURNS[0]), ("assistant", REPORTS[0]), ("user", TURNS[3]), ("assistant", REPORTS[3])]


def assert_gpa_saw_only_its_own_words(peers: Peers, person: Person) -> None:
    """The follow-up carried GPA's own question, not UMS's words and not the synthesised text."""
    assert len(peers.received(peers.gpa, person)) == 2
    messages = history_given_to_gpa(peers, person)
    said = [(message["role"], message["content"]) for message in messages if message["role"] != "system"]
    assert said == [("user", TURNS[1]), ("assistant", REPORTS[1]), ("user", TURNS[2])]
    assert "John" not in str(messages) and "In short" not in str(messages)


def assert_every_turn_shows_its_agent(answers: list[Answer]) -> None:
    """Each answer has a stage for the agent that was called, and carries a state."""
    for answer, agent in zip(answers, ["UMS", "GPA", "GPA", "UMS"], strict=True):
        assert answer.stages[stage_of(answer, f"Call {agent} Agent")]["status"] == "completed"
        assert isinstance(answer.custom["state"], dict)


def test_every_call_uses_the_key_of_its_own_request(bare_chat: Chat, peers: Peers) -> None:
    for text in TURNS:
        bare_chat.say(text)
        used = {entry["headers"]["api-key"] for entry in peers.seen_by_core(bare_chat.person)}
        assert used == set(bare_chat.person.keys)
    bearers = [e for e in peers.seen_by_core(bare_chat.person) if "authorization" in e["headers"]]
    assert bearers == []


def test_agents_and_models_are_told_the_conversation(bare_chat: Chat, peers: Peers) -> None:
    bare_chat.say("What's the weather?")
    (entry,) = peers.received(peers.gpa, bare_chat.person)
    assert entry["headers"]["x-conversation-id"] == bare_chat.conversation
    assert entry["query"]["api-version"]


def test_gpa_gets_a_conversation_id_even_if_the_caller_sent_none(bare_chat: Chat, peers: Peers) -> None:
    bare_chat.messages.append({"role": "user", "content": "Draw a cat"})
    ask = bare_chat.request()
    ask.headers = dict  # type: ignore[method-assign]
    assert bare_chat.caller.ask(ask).text.startswith("In short: I will run code and draw.")
    (entry,) = peers.received(peers.gpa, bare_chat.person)
    assert entry["headers"]["x-conversation-id"]


def test_the_state_of_gpa_comes_back_to_gpa(bare_chat: Chat, peers: Peers) -> None:
    bare_chat.say("Draw a cat")
    bare_chat.say("Draw another cat")
    assistant = history_given_to_gpa(peers, bare_chat.person)[-2]
    tools = assistant["custom_content"]["state"]["tool_call_history"]
    assert [message["role"] for message in tools] == ["assistant", "tool", "tool"]
    assert [call["index"] for call in tools[0]["tool_calls"]] == [0, 1]
