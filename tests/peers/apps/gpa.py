"""A DIAL application on the real aidial-sdk that behaves like the General Purpose Agent.

It runs unchanged under aidial-sdk 0.27.0 (the version GPA pins) and 0.46.0. It follows section 12 of the
protocol reference: one stage per tool, interleaved; files on the stage and on the choice; generated images
as markdown in the text; the turn's tool history as state; `x-conversation-id` indexed blindly by tools;
assistant messages without `custom_content` dropped from its own history.
"""

import asyncio
import json
from typing import Any

from aidial_sdk import DIALApp, HTTPException
from aidial_sdk.chat_completion import ChatCompletion, Choice, Message, Request, Response, Role, Stage

from journal import Journal

QUESTION = "Which location?"
WEATHER = "Paris weather is 18°C, sunny"
LOST = "I do not know what you mean."
CSV = "files/BUCKET/appdata/general-purpose-agent/out.csv"
PICTURE = "files/BUCKET/appdata/dall-e-3/images/cat.png"
HEARTBEAT_SECONDS = 0.2

journal = Journal()


def own_history(messages: list[Message]) -> list[Message]:
    """Keep what the real agent keeps: assistant messages without `custom_content` vanish."""
    return [m for m in messages if m.role != Role.ASSISTANT or m.custom_content is not None]


def previous_answer(history: list[Message]) -> str | None:
    """Return the assistant message just before the current user message."""
    earlier = history[:-1]
    if not earlier or earlier[-1].role != Role.ASSISTANT:
        return None
    return earlier[-1].text()


def tool_history() -> dict[str, Any]:
    """Return the state of a turn that used both tools, with `index` keys as the real agent has them."""

    def call(index: int, name: str, arguments: dict[str, str]) -> dict[str, Any]:
        function = {"name": name, "arguments": json.dumps(arguments)}
        return {"index": index, "id": f"call_{index}", "type": "function", "function": function}

    calls = [call(0, "execute_code", {"code": "print(1)"}), call(1, "image_generation_tool", {"prompt": "cat"})]
    return {
        "tool_call_history": [
            {"role": "assistant", "content": "I will run code and draw.", "tool_calls": calls},
            {"role": "tool", "content": '{"output":["1\\n"]}', "name": "execute_code", "tool_call_id": "call_0"},
            {"role": "tool", "content": "The image was generated.", "tool_call_id": "call_1"},
        ]
    }


async def run_code(stage: Stage, choice: Choice) -> None:
    """Play the Python interpreter: text, a file on the stage, the same file on the choice."""
    stage.append_content("## Request arguments: \n")
    stage.append_content("```python\n\rprint(1)\n\r```\n\r")
    await asyncio.sleep(0)
    stage.add_attachment(type="text/csv", title="out.csv", url=CSV)
    choice.add_attachment(type="text/csv", title="out.csv", url=CSV)
    stage.append_content("## Response: \n1 ☀\n\r")


async def draw(stage: Stage, choice: Choice) -> None:
    """Play the image tool: an untyped prompt, a picture, and the picture again inside the text."""
    stage.append_content("## Request arguments: \n")
    stage.add_attachment(title="Revised prompt", data="a cat")
    await asyncio.sleep(0)
    stage.add_attachment(type="image/png", title="Image", url=PICTURE)
    choice.append_content(f"\n\r![image]({PICTURE})\n\r")


class GeneralPurposeAgent(ChatCompletion):
    """Answers by fixed phrases of the last user message."""

    async def chat_completion(self, request: Request, response: Response) -> None:
        """Choose the behaviour the message asks for."""
        await journal.note(request)
        text = request.messages[-1].text().lower()
        if "refuse" in text:
            raise HTTPException("The agent refused", status_code=503, display_message="GPA is busy")
        with response.create_single_choice() as choice:
            await self._answer(text, request, response, choice)
        if "draw" in text:
            response.set_usage(100, 20)

    async def _answer(self, text: str, request: Request, response: Response, choice: Choice) -> None:
        if "draw" in text:
            await self._use_tools(request, choice)
        elif "break" in text:
            await self._break(response, choice)
        else:
            if "slowly" in text:
                await asyncio.sleep(HEARTBEAT_SECONDS * 3)
            choice.append_content(self._say(text, own_history(request.messages)))
            choice.set_state({"tool_call_history": []})

    def _say(self, text: str, history: list[Message]) -> str:
        if "in paris" in text:
            return WEATHER if previous_answer(history) == QUESTION else LOST
        if "weather" in text:
            return QUESTION
        return f"You said: {text}"

    async def _use_tools(self, request: Request, choice: Choice) -> None:
        choice.append_content("I will run code and draw.")
        cache_scope = request.headers["x-conversation-id"]
        assert cache_scope, "the conversation id must not be empty"
        with choice.create_stage("execute_code") as code, choice.create_stage("image_generation_tool") as image:
            await asyncio.gather(run_code(code, choice), draw(image, choice))
        for part in ("Done", ": ", "all good."):
            choice.append_content(part)
        choice.set_state(tool_history())

    async def _break(self, response: Response, choice: Choice) -> None:
        with choice.create_stage("execute_code") as stage:
            stage.append_content("## Request arguments: \n")
            choice.append_content("partial")
            await response.aflush()
            raise RuntimeError("the interpreter died")


app = DIALApp(add_healthcheck=True)
app.add_chat_completion("general-purpose-agent", GeneralPurposeAgent(), heartbeat_interval=HEARTBEAT_SECONDS)
journal.serve(app)
