"""The coordinator and everything around it, for one pair of SDK versions."""

import base64
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from callers import Answer, Ask, Caller, Person
from processes import Process, free_port

HERE = Path(__file__).resolve().parent
APPS = HERE / "apps"
REPOSITORY = HERE.parent.parent
STATE_KEY = base64.b64encode(bytes(range(32))).decode()


@dataclass(frozen=True)
class Versions:
    """Which SDK serves which application, and whether Core behaves like a newer one."""

    gpa: str
    model: str
    newer_core: bool

    def __str__(self) -> str:
        return f"gpa{self.gpa}-model{self.model}"


def python_of(venv: str) -> str:
    """Return the interpreter of one of the virtual environments made by `run`."""
    venvs = Path(os.environ.get("PEERS_VENVS", REPOSITORY / ".venv-peers"))
    return str(venvs / venv / "bin" / "python")


def coordinator_binary() -> str:
    """Return the path of the coordinator, or say what is missing."""
    path = Path(os.environ.get("MAS_BIN", REPOSITORY / "target" / "debug" / "mas"))
    if not path.is_file():
        raise FileNotFoundError(f"the coordinator is not built: {path} (run `cargo build`, or set MAS_BIN)")
    return str(path)


class Peers:
    """The applications around the coordinator: GPA, model, UMS, Core."""

    def __init__(self, versions: Versions, folder: Path) -> None:
        """Start all of them and wait until they answer."""
        self.versions, self.folder = versions, folder
        self.processes: list[Process] = []
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self.gpa = self._serve("gpa", python_of(f"sdk{self.versions.gpa}"))
        self.model = self._serve("model", python_of(f"sdk{self.versions.model}"))
        self.ums = self._serve("ums", sys.executable)
        upstreams = {"general-purpose-agent": self.gpa, "gpt-4o": self.model}
        settings = {"CORE_UPSTREAMS": json.dumps(upstreams), "CORE_STATISTICS": str(int(self.versions.newer_core))}
        self.core = self._serve("core", sys.executable, settings)
        for process, url in zip(self.processes, (self.gpa, self.model, self.ums, self.core), strict=True):
            process.wait_until_healthy(url)

    def _serve(self, app: str, python: str, env: dict[str, str] | None = None) -> str:
        port = free_port()
        command = [python, "-m", "uvicorn", f"{app}:app", "--port", str(port), "--log-level", "warning"]
        self.processes.append(Process(app, command, self.folder, env or {}, APPS))
        return f"http://127.0.0.1:{port}"

    def received(self, app_url: str, person: Person) -> list[dict[str, Any]]:
        """Return what an SDK application received on behalf of a person, oldest first."""
        entries = read(f"{app_url}/test/journal")
        return [entry for entry in entries if entry["key"].split(".")[0] in person.keys]

    def seen_by_core(self, person: Person) -> list[dict[str, Any]]:
        """Return what Core received on behalf of a person, oldest first."""
        return [entry for entry in read(f"{self.core}/test/seen") if entry["headers"].get("api-key") in person.keys]

    def ums_conversations(self) -> list[dict[str, Any]]:
        """Return the conversations at UMS, oldest first."""
        return read(f"{self.ums}/test/conversations")

    def make_ums_forget(self, unknown_status: int = 500) -> None:
        """Let UMS lose all conversations, and choose how it answers unknown ids."""
        params = {"unknown_status": unknown_status}
        httpx.post(f"{self.ums}/test/forget", params=params, trust_env=False).raise_for_status()

    def stop(self) -> None:
        """Stop everything that was started."""
        for process in reversed(self.processes):
            process.stop()


class Coordinator:
    """The product under test, as a subprocess."""

    def __init__(self, peers: Peers, extra: Mapping[str, str] | None = None, name: str = "mas") -> None:
        """Start it, with extra settings, and read from its output where it listens."""
        settings = {
            "DIAL_URL": peers.core, "UMS_AGENT_ENDPOINT": peers.ums, "GPA_AGENT_ENDPOINT": "general-purpose-agent",
            "MAS_AUTH": "dial", "MAS_ROUTING_MODEL": "gpt-4o", "MAS_SYNTHESIS_MODEL": "gpt-4o",
            "MAS_STATE_KEYS": f"k1:{STATE_KEY}", "MAS_TURN_TIMEOUT": "30",
            # Each story stands for itself: failures, numbers and decisions of the ones before it do not count.
            "MAS_ROUTING": "cache=off,guess=off",
            "MAS_BREAKER": "failures=1000000,calls=1000000", "MAS_LIMITS": "requests=off,concurrent=off",
            **(extra or {}),
        }  # fmt: skip
        command = [coordinator_binary(), "--port", "0", "--memory"]
        self.process = Process(name, command, peers.folder, settings, peers.folder)
        try:
            self.url = self.process.announced_url()
        except BaseException:
            self.process.stop()
            raise

    def stop(self) -> None:
        """Stop the coordinator."""
        self.process.stop()


def read(url: str) -> Any:
    """Read a test endpoint."""
    return httpx.get(url, trust_env=False, timeout=10).raise_for_status().json()


@dataclass
class Chat:
    """A conversation as DIAL Chat keeps it: every assistant message reduced to role, content and state."""

    caller: Caller
    person: Person
    stream: bool
    conversation: str = field(default_factory=lambda: f"conversations%2Fbucket%2Fmas__{uuid4().hex}")
    messages: list[dict[str, Any]] = field(default_factory=list)

    def say(self, text: str) -> Answer:
        """Ask the next question with the whole history, under a new key, and remember the answer."""
        self.messages.append({"role": "user", "content": text})
        answer = self.caller.ask(self.request())
        self.messages.append(reduced(answer.message))
        return answer

    def request(self) -> Ask:
        """Return the request that asks the last message."""
        return Ask(self.messages, self.person.key(), self.conversation, self.stream)


def reduced(message: dict[str, Any]) -> dict[str, Any]:
    """Reduce an assistant message the way DIAL Chat does before it sends it again."""
    kept = {"role": message["role"], "content": message.get("content", "")}
    state = message.get("custom_content", {}).get("state")
    return {**kept, "custom_content": {"state": state}} if state is not None else kept


def stage_of(answer: Answer, words: str) -> int:
    """Return the position of the top-level stage whose name matches."""
    for position, stage in enumerate(answer.stages):
        if "parent_stage_index" not in stage and re.search(words, stage["name"], re.IGNORECASE):
            return position
    raise AssertionError(f"no stage named like {words!r} among {[stage['name'] for stage in answer.stages]}")


def children_of(answer: Answer, parent: int) -> list[dict[str, Any]]:
    """Return the stages nested directly under another."""
    return [stage for stage in answer.stages if stage.get("parent_stage_index") == parent]
