"""An agent on the real a2a-sdk that books rooms: it asks back, streams an answer in pieces with a file, waits, and fails.

BOOKER_VERSION (1.0 or 0.3) and BOOKER_STREAMING (1 or 0) say what its card offers. What it was sent is kept for tests.
"""

import asyncio
import os
from typing import Any

from a2a.helpers import get_message_text, new_raw_part, new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

PICTURE = b"\x89PNG room"

seen: list[dict[str, Any]] = []
cancelled: list[str] = []


class Booker(AgentExecutor):
    """Books a room once it knows the city."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Take one message of a task."""
        text = get_message_text(context.message).split("\n\n---\n")[0]
        task = context.current_task
        if task is None:
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)

        def words(said: str) -> Any:
            return updater.new_agent_message([new_text_part(said)])

        await updater.start_work(words("Looking for rooms"))
        if text == "Book a room":
            await updater.requires_input(words("In which city?"))
        elif text == "Wait":
            await asyncio.sleep(3600)
        elif text == "Fail":
            await updater.failed(words("No rooms today."))
        else:
            await updater.add_artifact([new_text_part("A room ")], artifact_id="answer", append=False)
            await updater.add_artifact([new_text_part(f"in {text} is yours.")], artifact_id="answer", append=True, last_chunk=True)
            await updater.add_artifact([new_raw_part(PICTURE, media_type="image/png", filename="room.png")])
            await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Stop a task, and remember that it was asked for."""
        cancelled.append(context.task_id)
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


class Journal:
    """Remember the headers of every call."""

    def __init__(self, app: Any) -> None:
        """Stand in front of the application."""
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and not scope["path"].startswith(("/test", "/health")):
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            seen.append({"path": scope["path"], "headers": headers})
        await self.app(scope, receive, send)


def card() -> AgentCard:
    """Return the card; its address is not where it was fetched, as behind a proxy."""
    interface = AgentInterface(
        url="http://booker.internal/rpc", protocol_binding="JSONRPC", protocol_version=os.environ["BOOKER_VERSION"]
    )
    return AgentCard(
        name="Booker", description="Books rooms.", version="1.0.0", supported_interfaces=[interface],
        capabilities=AgentCapabilities(streaming=os.environ["BOOKER_STREAMING"] == "1"),
        default_input_modes=["text/plain"], default_output_modes=["text/plain"],
        skills=[AgentSkill(id="book", name="Book a room", description="Books rooms.", tags=["rooms"])],
    )  # fmt: skip


async def health(_: Request) -> JSONResponse:
    """Say that the agent is up."""
    return JSONResponse({"status": "ok"})


async def inspect(_: Request) -> JSONResponse:
    """Show what was received."""
    return JSONResponse({"seen": seen, "cancelled": cancelled})


handler = DefaultRequestHandler(agent_executor=Booker(), task_store=InMemoryTaskStore(), agent_card=card())
app = Starlette(
    routes=[
        Route("/health", health),
        Route("/test/seen", inspect),
        *create_agent_card_routes(card()),
        *create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=True),
    ],
    middleware=[Middleware(Journal)],
)
