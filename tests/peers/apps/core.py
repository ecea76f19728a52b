"""A small DIAL Core: knows per-request keys, passes chat completions through, remembers what it saw.

Per-request keys look like `prk-<owner>-<anything>`. As in the real Core the called deployment receives a
key of its own, made here by appending `.<deployment>`. CORE_UPSTREAMS is a JSON object from deployment to
base URL; CORE_STATISTICS=1 adds the chunk that newer Cores append before `[DONE]`.
"""

import json
import os
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

APPLICATION = "mas-coordinator"
KEY = re.compile(r"^prk-(?P<owner>alice|bob|carol)-[\w-]+(\.[\w-]+)*$")
HOP_BY_HOP = {
    "connection", "keep-alive", "host", "te", "trailer", "transfer-encoding", "upgrade",
    "content-length", "accept-encoding", "proxy-authorization", "api-key", "server", "date",
}  # fmt: skip
DONE = b"data: [DONE]\n\n"
STATISTICS = {"object": "chat.completion.chunk", "choices": [], "statistics": {"usage_per_model": []}}

upstreams: dict[str, str] = json.loads(os.environ.get("CORE_UPSTREAMS", "{}"))
adds_statistics = os.environ.get("CORE_STATISTICS") == "1"
seen: list[dict[str, Any]] = []
app = FastAPI()
client = httpx.AsyncClient(trust_env=False, timeout=60)


def owner_of(key: str | None) -> str | None:
    """Return who a per-request key belongs to, or None if the key is unknown."""
    match = KEY.match(key or "")
    return match["owner"] if match else None


def refusal(request: Request) -> Response | None:
    """Refuse a request whose credentials the real Core would refuse; old Cores speak plain text."""
    key = request.headers.get("api-key")
    bearer = request.headers.get("authorization")
    if bearer is not None and bearer != f"Bearer {key}":
        return PlainTextResponse("Either API-KEY or Authorization header must be provided but not both", 400)
    if owner_of(key) is None:
        return PlainTextResponse("Unknown api key", 401)
    return None


def passed_headers(request: Request, deployment: str) -> dict[str, str]:
    """Copy all headers but the hop-by-hop ones, and issue the deployment's own key."""
    kept = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
    return {**kept, "api-key": f"{request.headers['api-key']}.{deployment}"}


async def passed_body(upstream: httpx.Response) -> AsyncIterator[bytes]:
    """Pass the bytes through as they arrive, with the newer Core's own chunk before the end."""
    extra = f"data: {json.dumps(STATISTICS, separators=(',', ':'))}\n\n".encode()
    try:
        async for part in upstream.aiter_raw():
            yield part.replace(DONE, extra + DONE) if adds_statistics else part
    finally:
        await upstream.aclose()


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that the service is up."""
    return {"status": "ok"}


@app.get("/v1/bucket", response_model=None)
async def bucket(request: Request) -> Any:
    """Tell whose key this is, in the form in which Core tells it to an application."""
    seen.append({"path": "/v1/bucket", "headers": dict(request.headers), "body": None})
    if refused := refusal(request):
        return refused
    owner = owner_of(request.headers["api-key"])
    return {"bucket": f"bucket-of-{APPLICATION}", "appdata": f"bucket-of-{owner}/appdata/{APPLICATION}"}


@app.post("/openai/deployments/{deployment}/chat/completions", response_model=None)
async def chat(deployment: str, request: Request) -> Response:
    """Pass a chat completion to the application that serves the deployment."""
    body = await request.body()
    entry = {"path": request.url.path, "deployment": deployment, "headers": dict(request.headers)}
    if "application/json" not in request.headers.get("content-type", ""):
        return PlainTextResponse("Only application/json is supported", 415)
    seen.append({**entry, "query": dict(request.query_params), "body": json.loads(body)})
    if refused := refusal(request):
        return refused
    if deployment not in upstreams:
        return PlainTextResponse("Not found", 404)
    return await forward(deployment, request, body)


async def forward(deployment: str, request: Request, body: bytes) -> Response:
    """Send the request on and stream the answer back."""
    url = f"{upstreams[deployment]}{request.url.path}"
    headers = passed_headers(request, deployment)
    outgoing = client.build_request("POST", url, params=request.query_params, headers=headers, content=body)
    upstream = await client.send(outgoing, stream=True)
    back = {name: value for name, value in upstream.headers.items() if name not in HOP_BY_HOP}
    back["x-upstream-attempts"] = "1"
    return StreamingResponse(passed_body(upstream), upstream.status_code, back)


@app.get("/test/seen")
async def inspect() -> list[dict[str, Any]]:
    """Show every request received, oldest first."""
    return seen
