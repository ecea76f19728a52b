"""A plain OpenAI-compatible server: it streams the very objects of the official `openai` package, and nothing of DIAL's."""

import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta

MODEL = "tiny-1"
# What the API reference allows in these places; anything else is refused, as strict servers do.
FIELDS = {"model", "messages", "stream", "stream_options"}

seen: list[dict[str, Any]] = []
app = FastAPI()


def chunk(choices: list[Choice], usage: CompletionUsage | None = None) -> str:
    """Format one event."""
    made = ChatCompletionChunk(
        id="chatcmpl-1", created=int(time.time()), model=MODEL, object="chat.completion.chunk", choices=choices, usage=usage
    )
    return f"data: {made.model_dump_json()}\n\n"


async def reply(text: str, reason: Any) -> AsyncIterator[str]:
    """Stream an answer word by word, then its usage."""
    yield chunk([Choice(index=0, delta=ChoiceDelta(role="assistant", content=""))])
    for word in text.split(" "):
        yield chunk([Choice(index=0, delta=ChoiceDelta(content=f"{word} "))])
    yield chunk([Choice(index=0, delta=ChoiceDelta(), finish_reason=reason)])
    yield chunk([], CompletionUsage(prompt_tokens=11, completion_tokens=7, total_tokens=18))
    yield "data: [DONE]\n\n"


@app.post("/v1/chat/completions", response_model=None)
async def chat(request: Request) -> Any:
    """Answer a chat completion."""
    body = await request.json()
    seen.append({"headers": dict(request.headers), "body": body})
    if request.headers.get("authorization") != "Bearer sk-plain":
        return JSONResponse({"error": {"message": "Incorrect API key", "type": "invalid_request_error", "code": "invalid_api_key"}}, 401)
    if unknown := set(body) - FIELDS:
        return JSONResponse({"error": {"message": f"unknown: {unknown}", "type": "invalid_request_error"}}, 400)
    last = body["messages"][-1]["content"]
    reason = "length" if "long" in last else "stop"
    return StreamingResponse(reply(f"You said {len(body['messages'])} things.", reason), media_type="text/event-stream")


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that the server is up."""
    return {"status": "ok"}


@app.get("/test/seen")
async def inspect() -> list[dict[str, Any]]:
    """Show every request received, oldest first."""
    return seen
