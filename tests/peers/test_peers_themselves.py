"""The peers behave as captured, before anything is said about the coordinator between them."""

import json
from typing import Any

import httpx
import openai
import pytest

from callers import CALLERS, AzureCaller, BareCaller, Caller, Person, RecordingTransport
from checker import events_of
from world import Chat, Peers

GPA = "general-purpose-agent"
SCHEMA = {
    "type": "object",
    "properties": {
        "agent_name": {"type": "string", "enum": ["GPA", "UMS"]},
        "additional_instructions": {"type": ["string", "null"]},
        "confidence": {"type": "number"},
        "reason": {"type": "string"},
    },
    "required": ["agent_name"],
    "additionalProperties": False,
}
ROUTING_FORMAT = {"type": "json_schema", "json_schema": {"name": "decision", "strict": True, "schema": SCHEMA}}


def direct(kind: type[Caller], peers: Peers, person: Person, stream: bool) -> Chat:
    """Begin a chat with GPA itself, without Core."""
    return Chat(kind(peers.gpa, GPA), person, stream)


def ask_model(peers: Peers, person: Person, text: str, **more: Any) -> Any:
    """Ask the model through Core with the openai client."""
    client = openai.AzureOpenAI(
        api_key=person.key(), azure_endpoint=peers.core, api_version="2025-01-01-preview", max_retries=0
    )
    return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}], **more)


@pytest.mark.parametrize("kind", [k for k in CALLERS if k.name != "openai-v1"], ids=lambda kind: kind.name)
def test_every_client_can_talk_to_gpa_itself(kind: type[Caller], peers: Peers, alice: Person, stream: bool) -> None:
    answer = direct(kind, peers, alice, stream).say("Draw a cat")
    assert answer.text.startswith("I will run code and draw.") and "![image](files/" in answer.text
    assert [stage["name"] for stage in answer.stages] == ["execute_code", "image_generation_tool"]
    assert answer.usage == {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def test_the_tools_of_gpa_run_interleaved(peers: Peers, alice: Person) -> None:
    answer = direct(BareCaller, peers, alice, stream=True).say("Draw a cat")
    deltas = [chunk["choices"][0]["delta"].get("custom_content", {}) for chunk in answer.chunks]
    order = [stage["index"] for custom in deltas for stage in custom.get("stages", [])]
    assert order != sorted(order)


def test_our_merge_agrees_with_the_merge_of_the_sdk(peers: Peers, alice: Person) -> None:
    streamed = direct(BareCaller, peers, alice, stream=True).say("Draw a cat")
    block = direct(BareCaller, peers, alice, stream=False).say("Draw a cat")
    for answer in (streamed, block):
        answer.custom.pop("state")
    assert streamed.message == block.message


def test_gpa_answers_a_follow_up_only_if_it_remembers_its_own_question(peers: Peers, alice: Person) -> None:
    chat = direct(BareCaller, peers, alice, stream=True)
    assert chat.say("What's the weather?").text == "Which location?"
    assert chat.say("In Paris").text == "Paris weather is 18°C, sunny"
    without_custom_content = [{"role": m["role"], "content": m["content"]} for m in chat.messages[:2]]
    forgetful = Chat(chat.caller, alice, True, messages=without_custom_content)
    assert forgetful.say("In Paris").text == "I do not know what you mean."


def test_a_tool_of_gpa_fails_without_a_conversation_id(peers: Peers, alice: Person) -> None:
    caller = AzureCaller(peers.core, GPA)
    ask = Chat(caller, alice, True, messages=[{"role": "user", "content": "Draw a cat"}]).request()
    ask.headers = dict  # type: ignore[method-assign]
    with pytest.raises(openai.APIError, match="Error during processing the request"):
        caller.call(ask, RecordingTransport())


def test_gpa_can_fail_in_mid_stream(peers: Peers, alice: Person) -> None:
    caller = AzureCaller(peers.core, GPA)
    ask = Chat(caller, alice, True, messages=[{"role": "user", "content": "Break"}]).request()
    transport = RecordingTransport()
    with pytest.raises(openai.APIError, match="Error during processing the request"):
        caller.call(ask, transport)
    raw = bytes(transport.last.raw)
    assert b'"status":"failed"' in raw
    assert (b'"finish_reason":"stop"' in raw) == (peers.versions.gpa == "027")


def test_the_model_routes_by_the_schema_it_is_given(peers: Peers, alice: Person) -> None:
    for text, agent in (("Do we have user John?", "UMS"), ("What's the weather?", "GPA")):
        result = ask_model(peers, alice, text, response_format=ROUTING_FORMAT, temperature=0)
        assert json.loads(result.choices[0].message.content)["agent_name"] == agent
        assert result.usage.total_tokens == 25


def test_the_model_rephrases_the_reports_it_is_given(peers: Peers, alice: Person) -> None:
    text = "Question\n-----n0 BEGIN GPA-----\nIt is sunny.\n-----n0 END GPA-----\nAnswer."
    chunks = list(ask_model(peers, alice, text, stream=True, stream_options={"include_usage": True}))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == "In short: It is sunny."
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [60]


def test_a_newer_core_adds_its_statistics_before_the_end(peers: Peers, alice: Person) -> None:
    response = BareCaller(peers.core, GPA).post(Chat(BareCaller(""), alice, True, messages=[user("Hi")]).request())
    last = json.loads(events_of(response.content)[-1])
    assert ("statistics" in last and "id" not in last) == peers.versions.newer_core


def test_core_knows_owners_and_refuses_strangers(peers: Peers, alice: Person) -> None:
    known = httpx.get(f"{peers.core}/v1/bucket", headers={"Api-Key": alice.key()})
    assert known.json() == {"bucket": "bucket-of-mas-coordinator", "appdata": "bucket-of-alice/appdata/mas-coordinator"}
    assert httpx.get(f"{peers.core}/v1/bucket", headers={"Api-Key": "prk-mallory-1"}).status_code == 401
    assert httpx.get(f"{peers.core}/v1/bucket").status_code == 401
    both = {"Api-Key": alice.key(), "Authorization": "Bearer other"}
    assert httpx.get(f"{peers.core}/v1/bucket", headers=both).status_code == 400


def test_ums_streams_as_captured_and_remembers(peers: Peers) -> None:
    with httpx.Client(base_url=peers.ums) as ums:
        made = ums.post("/conversations", json={"title": "t"}).json()
        said = ums.post(f"/conversations/{made['id']}/chat", json={"message": user("Do we have user John?")})
        assert said.text == captured_stream(made["id"], ["Yes, ", "John ", "Doe ", "found"])
        again = ums.post(f"/conversations/{made['id']}/chat", json={"message": user("And now?")})
        assert 'I "}' in again.text and "1 " in again.text
        kept = ums.get(f"/conversations/{made['id']}").json()["messages"]
        assert [message["role"] for message in kept] == ["user", "assistant"] * 2


def test_ums_refuses_as_captured(peers: Peers) -> None:
    with httpx.Client(base_url=peers.ums) as ums:
        assert ums.post("/conversations").status_code == 422
        assert ums.post("/conversations", json={"title": None}).status_code == 422
        assert ums.post("/conversations", json={}).json()["title"] is None
        unknown = ums.post("/conversations/none/chat", json={"message": user("Hi")})
        assert (unknown.status_code, unknown.text) == (500, "Internal Server Error")
        assert ums.get("/conversations/none").json() == {"detail": "Conversation not found"}


def test_ums_cuts_the_connection_when_a_turn_dies(peers: Peers) -> None:
    with httpx.Client(base_url=peers.ums) as ums:
        made = ums.post("/conversations", json={}).json()
        with pytest.raises(httpx.RemoteProtocolError):
            ums.post(f"/conversations/{made['id']}/chat", json={"message": user("Please break")})
        assert ums.get(f"/conversations/{made['id']}").json()["messages"] == []


def captured_stream(conversation: str, parts: list[str]) -> str:
    """Return the stream of section 11, byte for byte."""
    lines = [f'{{"conversation_id": "{conversation}"}}']
    lines += [f'{{"choices": [{{"delta": {{"content": "{p}"}}, "index": 0, "finish_reason": null}}]}}' for p in parts]
    lines += ['{"choices": [{"delta": {}, "index": 0, "finish_reason": "stop"}]}', "[DONE]"]
    return "".join(f"data: {line}\n\n" for line in lines)


def user(text: str) -> dict[str, str]:
    """Return a user message."""
    return {"role": "user", "content": text}
