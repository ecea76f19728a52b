"""The UMS agent's conversation API as captured (section 11 of the protocol reference), kept in memory.

Test endpoints under /test show the conversations, forget them, and choose how an unknown id is answered
(the captured agent says 500, another edition says 404).
"""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()
conversations: dict[str, dict[str, Any]] = {}
behaviour = {"unknown_status": 500}


class NewConversation(BaseModel):
    """The body of a creation; a missing title is allowed, a null one is not."""

    title: str = None  # type: ignore[assignment]


class Message(BaseModel):
    """One message; extra fields are ignored."""

    role: str
    content: str = ""
    tool_call_id: str | None = None
    name: str | None = None
    tool_calls: list[Any] | None = None


class ChatRequest(BaseModel):
    """The body of a chat call."""

    message: Message
    stream: bool = True


def now() -> str:
    """Return the present moment as the agent prints it."""
    return datetime.now(UTC).isoformat()


def answer(text: str, earlier: list[dict[str, Any]]) -> str:
    """Answer the user's words by simple rules; the last one needs the conversation's own history."""
    text, _, _ = text.partition("\n\n---\n")  # what follows is the coordinator's note
    if match := re.search(r"do we have user (\w+)", text, re.IGNORECASE):
        return f"Yes, {match[1]} Doe found"
    if match := re.search(r"add (.+?) to our system", text, re.IGNORECASE):
        return f"User {match[1]} created"
    users = [m["content"] for m in earlier if m["role"] == "user"]
    return f"I remember {len(users)} questions"


def event(data: dict[str, Any]) -> str:
    """Format one event the way the agent does, blanks in the JSON included."""
    return f"data: {json.dumps(data)}\n\n"


def text_event(text: str) -> str:
    """Format a piece of answer."""
    return event({"choices": [{"delta": {"content": text}, "index": 0, "finish_reason": None}]})


async def reply(conversation: dict[str, Any], text: str) -> AsyncIterator[str]:
    """Stream one turn; history is saved after the last byte, and not at all if the turn dies."""
    yield event({"conversation_id": conversation["id"]})
    if "break" in text:
        yield text_event("partial")
        raise RuntimeError("the tool died")
    if "stop early" in text:
        yield text_event("partial")
        return
    said = answer(text, conversation["messages"])
    for part in re.findall(r"\S+\s*", said):
        yield text_event(part)
    yield event({"choices": [{"delta": {}, "index": 0, "finish_reason": "stop"}]})
    yield "data: [DONE]\n\n"
    save(conversation, text, said)


def save(conversation: dict[str, Any], question: str, said: str) -> None:
    """Append the turn to the history."""
    for role, content in (("user", question), ("assistant", said)):
        conversation["messages"].append(Message(role=role, content=content).model_dump())
    conversation["updated_at"] = now()


def find(conversation_id: str) -> dict[str, Any]:
    """Return a conversation or answer 404."""
    if conversation_id not in conversations:
        raise HTTPException(404, "Conversation not found")
    return conversations[conversation_id]


@app.get("/health")
async def health() -> dict[str, Any]:
    """Say that the service is up."""
    return {"status": "healthy", "conversation_manager_initialized": True}


@app.post("/conversations")
async def create(body: NewConversation) -> dict[str, Any]:
    """Create a conversation."""
    moment = now()
    made = {"id": str(uuid4()), "title": body.title, "messages": [], "created_at": moment, "updated_at": moment}
    conversations[made["id"]] = made
    return made


@app.get("/conversations")
async def listing() -> list[dict[str, Any]]:
    """List the conversations; like the real agent, fail if one has no title."""
    if any(c["title"] is None for c in conversations.values()):
        raise RuntimeError("a title is null")
    newest = sorted(conversations.values(), key=lambda c: c["updated_at"], reverse=True)
    fields = ("id", "title", "created_at", "updated_at")
    return [{**{f: c[f] for f in fields}, "message_count": len(c["messages"])} for c in newest]


@app.get("/conversations/{conversation_id}")
async def get(conversation_id: str) -> dict[str, Any]:
    """Return one conversation."""
    return find(conversation_id)


@app.delete("/conversations/{conversation_id}")
async def delete(conversation_id: str) -> dict[str, str]:
    """Delete one conversation."""
    del conversations[find(conversation_id)["id"]]
    return {"message": "Conversation deleted successfully"}


@app.post("/conversations/{conversation_id}/chat", response_model=None)
async def chat(conversation_id: str, body: ChatRequest) -> Any:
    """Take one turn of a conversation."""
    if conversation_id not in conversations:
        if behaviour["unknown_status"] == 404:
            raise HTTPException(404, "Conversation not found")
        return Response("Internal Server Error", status_code=500, media_type="text/plain")
    conversation = conversations[conversation_id]
    if body.stream:
        return StreamingResponse(reply(conversation, body.message.content), media_type="text/event-stream")
    said = answer(body.message.content, conversation["messages"])
    conversation["messages"].append(body.message.model_dump())
    return {"content": said, "conversation_id": conversation_id}


@app.get("/test/conversations")
async def inspect() -> list[dict[str, Any]]:
    """Show every conversation with its messages, oldest first."""
    return list(conversations.values())


@app.post("/test/forget")
async def forget(unknown_status: int = 500) -> None:
    """Forget every conversation, as after a restart, and choose the answer to unknown ids."""
    behaviour["unknown_status"] = unknown_status
    conversations.clear()
