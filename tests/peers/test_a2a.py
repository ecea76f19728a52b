"""The a2a-sdk on both sides: as an agent that the coordinator asks, and as a client that asks the coordinator."""

import asyncio
import base64
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from a2a.client import ClientConfig, ClientFactory
from a2a.client.errors import A2AClientError
from a2a.types import GetTaskRequest, Message, Part, Role, SendMessageRequest, TaskState
from a2a.utils.errors import TaskNotFoundError

from callers import BareCaller, Person
from processes import Process, free_port
from world import APPS, Chat, Coordinator, Peers, read

OFFERS = [("1.0", True), ("1.0", False), ("0.3", True), ("0.3", False)]
SIGNING = "k1:" + base64.b64encode(bytes(range(32))).decode()
ISSUER = "https://mas.example.com"


class Booker:
    """The agent, as a subprocess."""

    def __init__(self, peers: Peers, version: str, streaming: bool) -> None:
        """Start it and wait until it answers."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "uvicorn", "booker:app", "--port", str(port), "--log-level", "warning"]
        settings = {"BOOKER_VERSION": version, "BOOKER_STREAMING": str(int(streaming))}
        self.process = Process("booker", command, peers.folder, settings, APPS)
        self.process.wait_until_healthy(self.url)

    def received(self) -> dict[str, Any]:
        """Return the calls and cancellations so far."""
        return read(f"{self.url}/test/seen")


@pytest.fixture(scope="module", params=OFFERS, ids=lambda offer: f"v{offer[0]}-{'stream' if offer[1] else 'poll'}")
def booker(request: pytest.FixtureRequest, peers: Peers) -> Iterator[Booker]:
    """Run the agent with each kind of card."""
    started = Booker(peers, *request.param)
    yield started
    started.process.stop()


@pytest.fixture(scope="module")
def booked(peers: Peers, booker: Booker) -> Iterator[Coordinator]:
    """Run a coordinator that asks this agent."""
    agents = f"agents:\n- {{name: GPA, protocol: a2a, endpoint: '{booker.url}', effect: irreversible, assertion: true, audience: booker}}\n"
    settings = {
        "MAS_AGENTS": agents, "MAS_ASSERTION_KEYS": SIGNING, "MAS_ASSERTION_ISSUER": ISSUER, "MAS_SYNTHESIS": "never",
        "MAS_ROUTING": "sticky=12,cache=off,guess=off", "MAS_STREAM_IDLE": "3s", "MAS_TURN_TIMEOUT": "6s",
    }  # fmt: skip
    started = Coordinator(peers, settings, "mas-a2a")
    yield started
    started.stop()


def test_a_question_of_the_agent_is_answered_in_its_own_task(booked: Coordinator, alice: Person) -> None:
    chat = Chat(BareCaller(booked.url), alice, True)
    assert chat.say("Book a room").text == "In which city?"
    answer = chat.say("Lviv")
    assert answer.text == "A room in Lviv is yours."
    (file,) = answer.custom["attachments"]
    assert (file["title"], file["type"]) == ("room.png", "image/png")
    assert base64.b64decode(file["data"]) == b"\x89PNG room"
    assert any("Looking for rooms" in stage.get("content", "") for stage in answer.stages)


def test_a_task_that_nobody_waits_for_is_cancelled(booked: Coordinator, booker: Booker, alice: Person) -> None:
    before = len(booker.received()["cancelled"])
    chat = Chat(BareCaller(booked.url), alice, True)
    body = {"messages": [{"role": "user", "content": "Wait"}], "stream": True}
    ask = chat.request()
    with httpx.stream("POST", f"{booked.url}/openai/deployments/mas-coordinator/chat/completions", json=body,
                      headers={"api-key": ask.key, **ask.headers()}, trust_env=False, timeout=30) as answer:  # fmt: skip
        assert "error" in "".join(answer.iter_text())
    deadline = time.monotonic() + 10
    while len(booker.received()["cancelled"]) == before:
        assert time.monotonic() < deadline, "the task runs on"
        time.sleep(0.05)


def test_pyjwt_verifies_who_calls_and_for_whom(booked: Coordinator, booker: Booker, alice: Person) -> None:
    Chat(BareCaller(booked.url), alice, True).say("Kyiv")
    keys = jwt.PyJWKSet.from_dict(read(f"{booked.url}/.well-known/jwks.json"))
    tokens = [call["headers"]["authorization"].removeprefix("Bearer ") for call in booker.received()["seen"] if call["path"] == "/rpc"]
    token = tokens[-1]
    key = keys[jwt.get_unverified_header(token)["kid"]].key
    claims = jwt.decode(token, key, algorithms=["EdDSA"], audience="booker", issuer=ISSUER)
    assert claims["exp"] - claims["iat"] <= 60 and claims["tenant"] and claims["turn"] and "alice" not in claims["sub"]
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, key, algorithms=["EdDSA"], audience="somebody-else", issuer=ISSUER)
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(token, key, algorithms=["EdDSA"], audience="booker", leeway=-61, options={"verify_iat": False})
    ids = [jwt.decode(one, options={"verify_signature": False})["jti"] for one in tokens]
    assert len(set(ids)) == len(ids)


def message(text: str, context: str = "", task: str = "") -> SendMessageRequest:
    """Return a request of the SDK's."""
    parts = [Part(text=text)]
    return SendMessageRequest(
        message=Message(message_id=uuid4().hex, role=Role.ROLE_USER, parts=parts, context_id=context, task_id=task)
    )


@pytest.mark.parametrize("version", ["1.0", "0.3"])
@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "block"])
def test_the_sdks_client_talks_to_the_coordinator(coordinator: Coordinator, alice: Person, version: str, streaming: bool) -> None:
    asyncio.run(conversation(coordinator.url, alice, version, streaming))


async def conversation(url: str, person: Person, version: str, streaming: bool) -> None:
    """Ask, be asked back, reply, and ask for what is not kept."""
    headers = {"api-key": person.key()}
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=30) as http:
        factory = ClientFactory(ClientConfig(httpx_client=http, streaming=streaming))
        client = await factory.create_from_url(url)
        card = client._card
        assert {skill.id for skill in card.skills} >= {"web_search", "user_management"}
        offered = [one for one in card.supported_interfaces if one.protocol_version == version]
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(offered)
        client = factory.create(card)
        events = [event async for event in client.send_message(message("What's the weather?"))]
        context, task, state, text = told(events)
        assert state == TaskState.TASK_STATE_INPUT_REQUIRED
        assert text == "In short: Which location?"
        events = [event async for event in client.send_message(message("In Paris", context, task))]
        assert told(events)[2:] == (TaskState.TASK_STATE_COMPLETED, "In short: Paris weather is 18°C, sunny")
        if streaming:
            stages = [event for event in events if event.HasField("status_update")]
            assert len(stages) > 2
        with pytest.raises((TaskNotFoundError, A2AClientError)):
            await client.get_task(GetTaskRequest(id=task))


def told(events: list[Any]) -> tuple[str, str, Any, str]:
    """Return context, task, last state and the whole text of an answer."""
    context = task = text = ""
    state = None
    for event in events:
        if event.HasField("task"):
            context, task, state = event.task.context_id, event.task.id, event.task.status.state
            text += "".join(part.text for artifact in event.task.artifacts for part in artifact.parts)
        elif event.HasField("status_update"):
            state = event.status_update.status.state
        elif event.HasField("artifact_update"):
            text += "".join(part.text for part in event.artifact_update.artifact.parts)
    return context, task, state, text
