"""A DIAL model on the real aidial-sdk, deployment `gpt-4o`: a router and a writer with fixed rules.

With a JSON schema in `response_format` it decides which agent answers; otherwise it rephrases the agents'
reports found in the last user message. Every call reports usage and keeps it in the journal.
"""

import json
import re
from typing import Any

from aidial_sdk import DIALApp
from aidial_sdk.chat_completion import ChatCompletion, Request, Response, Role

from journal import Journal

ROUTING_USAGE = (20, 5)
WRITING_USAGE = (50, 10)
UMS_WORDS = re.compile(r"\buser\b|\badd\b|\bdelete\b|\bsystem\b", re.IGNORECASE)
REPORT = re.compile(
    r"^-----(?P<nonce>\S+) BEGIN (?P<agent>.+?)-----\n(?P<body>.*?)\n?^-----(?P=nonce) END (?P=agent)-----$",
    re.DOTALL | re.MULTILINE,
)

journal = Journal()


def last_user_text(request: Request) -> str:
    """Return the text of the last user message."""
    users = [m for m in request.messages if m.role == Role.USER]
    return users[-1].text()


def enum_of(schema: dict[str, Any], name: str) -> list[str]:
    """Return the allowed values of a property, following a `$ref` into the schema's definitions."""
    field = schema.get("properties", {}).get(name, {})
    if reference := field.get("$ref"):
        field = schema["$defs"][reference.rsplit("/", 1)[-1]]
    return field.get("enum", [])


def decide(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Choose an agent among those the schema allows; fill only the fields the schema knows."""
    wanted = "UMS" if UMS_WORDS.search(text) else "GPA"
    allowed = enum_of(schema, "agent_name")
    agent = next((name for name in allowed if wanted.lower() in name.lower()), wanted)
    decision = {"agent_name": agent, "additional_instructions": None, "confidence": 0.9, "reason": f"It fits {wanted}."}
    known = schema.get("properties") or decision
    return {name: value for name, value in decision.items() if name in known}


def rephrase(text: str) -> str:
    """Write the final answer from the reports in the text."""
    reports = [match["body"].strip() for match in REPORT.finditer(text)]
    if not reports:
        return "I was given no report."
    return "In short: " + " ".join(reports)


def pieces(text: str) -> list[str]:
    """Cut a text into the word-sized parts in which a model streams."""
    return re.findall(r"\S+\s*|\s+", text)


class Model(ChatCompletion):
    """Routes or writes, depending on whether a schema is asked for."""

    async def chat_completion(self, request: Request, response: Response) -> None:
        """Answer one call and count its tokens."""
        schema = getattr(request.response_format, "json_schema", None)
        usage = ROUTING_USAGE if schema else WRITING_USAGE
        await journal.note(request, kind="routing" if schema else "writing", usage=usage)
        text = last_user_text(request)
        answer = json.dumps(decide(text, schema.schema_)) if schema else rephrase(text)
        response.set_model("gpt-4o")
        with response.create_single_choice() as choice:
            for part in pieces(answer):
                choice.append_content(part)
        response.set_usage(*usage)


app = DIALApp(add_healthcheck=True)
app.add_chat_completion("gpt-4o", Model())
journal.serve(app)
