"""Subprocesses on the loopback: start, wait until they listen, show their log, stop by process id."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

START_SECONDS = 30.0
STOP_SECONDS = 5.0
ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost|0\.0\.0\.0):(?P<port>\d+)")


def free_port() -> int:
    """Return a loopback port that is free right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without proxies and settings of the coordinator, plus `extra`."""
    unwanted = re.compile(r".*_proxy$|^(MAS|DIAL|GPA|UMS|AWS|OTEL|PYDANTIC)_.*", re.IGNORECASE)
    inherited = {name: value for name, value in os.environ.items() if not unwanted.match(name)}
    return {**inherited, "PYTHONDONTWRITEBYTECODE": "1", **extra}


class Process:
    """One child process that writes to a log file."""

    def __init__(self, name: str, command: list[str], folder: Path, env: Mapping[str, str], cwd: Path) -> None:
        """Start the child in its own session, so that stopping it also stops what it started."""
        self.name = name
        self.log_path = folder / f"{name}.log"
        with self.log_path.open("wb") as log:
            self.child = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment(env), cwd=cwd, start_new_session=True
            )

    def log(self) -> str:
        """Return what the child has written so far."""
        return self.log_path.read_text(errors="replace")

    def announced_url(self) -> str:
        """Wait for the line in which the child says where it listens."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if match := ADDRESS.search(self.log()):
                return f"http://127.0.0.1:{match['port']}"
            self._insist_alive()
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} announced no address:\n{self.log()[-4000:]}")

    def wait_until_healthy(self, url: str) -> None:
        """Wait until GET /health answers 200."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if healthy(url):
                return
            self._insist_alive()
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} is not healthy:\n{self.log()[-4000:]}")

    def stop(self) -> None:
        """Ask the child to end, and end it if it does not."""
        for wish in (signal.SIGTERM, signal.SIGKILL):
            if self.child.poll() is not None:
                return
            os.killpg(self.child.pid, wish)
            try:
                self.child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue

    def _insist_alive(self) -> None:
        if self.child.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.child.returncode}:\n{self.log()[-4000:]}")


def healthy(url: str) -> bool:
    """Tell whether a service answers its health check."""
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=2).status_code == 200
    except httpx.TransportError:
        return False
