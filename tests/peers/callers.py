"""The callers: the official openai client, aidial-client, and a bare HTTP client that reads to the last byte.

All of them record the raw answer. Whenever a call succeeds, the recorded stream is run through the grammar
checker, and what the client's typed objects say is compared with what was on the wire.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import openai
from aidial_client import AsyncDial, Dial
from aidial_client._http_client._async import AsyncHTTPClient
from aidial_client._http_client._sync import SyncHTTPClient

from checker import check_block, check_stream, fold

DEPLOYMENT = "mas-coordinator"
API_VERSION = "2025-01-01-preview"
TIMEOUT_SECONDS = 40.0


@dataclass
class Recording:
    """The bytes and headers of one HTTP answer, as they came."""

    headers: httpx.Headers = field(default_factory=httpx.Headers)
    raw: bytearray = field(default_factory=bytearray)


class Tee(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A response body that copies itself into a recording while it is read."""

    def __init__(self, body: Any, recording: Recording) -> None:
        self.body, self.recording = body, recording

    def __iter__(self) -> Iterator[bytes]:
        for part in self.body:
            self.recording.raw += part
            yield part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self.body:
            self.recording.raw += part
            yield part

    def close(self) -> None:
        """Close the body."""
        self.body.close()

    async def aclose(self) -> None:
        """Close the body."""
        await self.body.aclose()


class RecordingTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport, for both kinds of client, that records the last answer."""

    def __init__(self) -> None:
        self.sync, self.asynchronous = httpx.HTTPTransport(), httpx.AsyncHTTPTransport()
        self.last = Recording()

    def _record(self, response: httpx.Response) -> httpx.Response:
        self.last = Recording(response.headers)
        return httpx.Response(
            response.status_code, headers=response.headers, stream=Tee(response.stream, self.last),
            extensions=response.extensions,
        )  # fmt: skip

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request of a synchronous client."""
        return self._record(self.sync.handle_request(request))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request of an asynchronous client."""
        return self._record(await self.asynchronous.handle_async_request(request))

    def close(self) -> None:
        """Close the connections of a synchronous client."""
        self.sync.close()

    async def aclose(self) -> None:
        """Close the connections of an asynchronous client."""
        await self.asynchronous.aclose()


@dataclass
class Person:
    """Someone who talks to the coordinator; Core gives every request a new key of the same owner."""

    name: str
    keys: list[str] = field(default_factory=list)

    def key(self) -> str:
        """Return a fresh per-request key and remember it."""
        self.keys.append(f"prk-{self.name}-{uuid4().hex[:12]}")
        return self.keys[-1]


@dataclass
class Ask:
    """One request: who asks, what, in which conversation, streamed or not."""

    messages: list[dict[str, Any]]
    key: str
    conversation: str
    stream: bool

    def headers(self) -> dict[str, str]:
        """Return the headers that DIAL Chat sends besides the credential."""
        return {"X-CONVERSATION-ID": self.conversation}


@dataclass
class Answer:
    """One answer: the merged completion, the raw events if it was streamed, and the text the client saw."""

    completion: dict[str, Any]
    chunks: list[dict[str, Any]]
    typed_text: str

    @property
    def message(self) -> dict[str, Any]:
        """Return the assistant's message."""
        return self.completion["choices"][0]["message"]

    @property
    def text(self) -> str:
        """Return the message's text."""
        return self.message.get("content") or ""

    @property
    def custom(self) -> dict[str, Any]:
        """Return the message's custom content."""
        return self.message.get("custom_content") or {}

    @property
    def stages(self) -> list[dict[str, Any]]:
        """Return the merged stages."""
        return self.custom.get("stages", [])

    @property
    def usage(self) -> dict[str, Any] | None:
        """Return the usage of the whole turn."""
        return self.completion.get("usage")


class Caller(ABC):
    """A client program that can ask the coordinator."""

    name: str

    def __init__(self, url: str, deployment: str = DEPLOYMENT) -> None:
        """Point the client at a server and a deployment."""
        self.url, self.deployment = url, deployment

    def ask(self, ask: Ask) -> Answer:
        """Send one request, check the grammar of the answer, and return it; client errors pass through."""
        transport = RecordingTransport()
        typed_text = self.call(ask, transport)
        answer = read_answer(ask, transport.last, typed_text)
        assert answer.typed_text == answer.text, "the client saw another text than the wire carried"
        return answer

    @abstractmethod
    def call(self, ask: Ask, transport: RecordingTransport) -> str:
        """Make the call with this client and return the text its typed objects show."""


def read_answer(ask: Ask, recording: Recording, typed_text: str) -> Answer:
    """Check a recorded answer and turn it into an Answer."""
    raw = bytes(recording.raw)
    if ask.stream:
        chunks = check_stream(raw, recording.headers)
        completion = fold(chunks)
    else:
        chunks, completion = [], json.loads(raw)
    check_block(completion)
    return Answer(completion, chunks, typed_text)


def text_of(result: Any, stream: bool) -> str:
    """Collect the text from a client's typed result."""
    if not stream:
        return result.choices[0].message.content or ""
    return "".join(chunk.choices[0].delta.content or "" for chunk in result if chunk.choices)


class AzureCaller(Caller):
    """The openai client, Azure style: `Api-Key` header, deployment in the path."""

    name = "openai-azure"

    def call(self, ask: Ask, transport: RecordingTransport) -> str:
        """Make the call with this client."""
        with httpx.Client(transport=transport, timeout=TIMEOUT_SECONDS) as http:
            client = openai.AzureOpenAI(
                api_key=ask.key, azure_endpoint=self.url, api_version=API_VERSION, max_retries=0, http_client=http
            )
            return openai_text(client, self.deployment, ask)


class V1Caller(Caller):
    """The openai client, plain style: deployment-less path, `Api-Key` as an extra header."""

    name = "openai-v1"

    def call(self, ask: Ask, transport: RecordingTransport) -> str:
        """Make the call with this client."""
        with httpx.Client(transport=transport, timeout=TIMEOUT_SECONDS) as http:
            client = openai.OpenAI(
                api_key="unused", base_url=f"{self.url}/openai/v1", default_headers={"Api-Key": ask.key},
                max_retries=0, http_client=http,
            )  # fmt: skip
            return openai_text(client, self.deployment, ask)


def openai_text(client: openai.OpenAI, deployment: str, ask: Ask) -> str:
    """Ask through an openai client."""
    create: Any = client.chat.completions.create
    result = create(model=deployment, messages=ask.messages, stream=ask.stream, extra_headers=ask.headers())
    return text_of(result, ask.stream)


class DialCaller(Caller):
    """The synchronous aidial-client."""

    name = "aidial-sync"

    def call(self, ask: Ask, transport: RecordingTransport) -> str:
        """Make the call with this client."""
        with httpx.Client(transport=transport, timeout=TIMEOUT_SECONDS) as http:
            inner = SyncHTTPClient(self.url, ask.key, None, 0, TIMEOUT_SECONDS, http)
            client = Dial(base_url=self.url, api_key=ask.key, api_version=API_VERSION, http_client=inner)
            client.chat.completions.openai_client.max_retries = 0
            return text_of(client.chat.completions.create(**dial_arguments(self.deployment, ask)), ask.stream)


class AsyncDialCaller(Caller):
    """The asynchronous aidial-client."""

    name = "aidial-async"

    def call(self, ask: Ask, transport: RecordingTransport) -> str:
        """Make the call with this client."""
        return asyncio.run(self._call(ask, transport))

    async def _call(self, ask: Ask, transport: RecordingTransport) -> str:
        async with httpx.AsyncClient(transport=transport, timeout=TIMEOUT_SECONDS) as http:
            inner = AsyncHTTPClient(self.url, ask.key, None, 0, TIMEOUT_SECONDS, http)
            client = AsyncDial(base_url=self.url, api_key=ask.key, api_version=API_VERSION, http_client=inner)
            client.chat.completions.openai_client.max_retries = 0
            result: Any = await client.chat.completions.create(**dial_arguments(self.deployment, ask))
            chunks = [chunk async for chunk in result] if ask.stream else result
            return text_of(chunks, ask.stream)


def dial_arguments(deployment: str, ask: Ask) -> dict[str, Any]:
    """Return the arguments of a chat completion in aidial-client's words."""
    return {
        "deployment_name": deployment, "messages": ask.messages, "stream": ask.stream,
        "extra_headers": ask.headers(),
    }  # fmt: skip


class BareCaller(Caller):
    """No client library: sends what DIAL Core sends and reads to the last byte."""

    name = "bare-http"

    def call(self, ask: Ask, transport: RecordingTransport) -> str:
        """Make the call with this client."""
        response = self.post(ask, transport)
        response.raise_for_status()
        return read_answer(ask, transport.last, "").text

    def post(self, ask: Ask, transport: RecordingTransport | None = None) -> httpx.Response:
        """Send the request and return the HTTP answer, whatever its status."""
        url = f"{self.url}/openai/deployments/{self.deployment}/chat/completions"
        headers = {"Api-Key": ask.key, **ask.headers()}
        body = {"messages": ask.messages, "stream": ask.stream}
        with httpx.Client(transport=transport or RecordingTransport(), timeout=TIMEOUT_SECONDS) as http:
            return http.post(url, params={"api-version": API_VERSION}, headers=headers, json=body)


CALLERS: list[type[Caller]] = [AzureCaller, V1Caller, DialCaller, AsyncDialCaller, BareCaller]
