"""Checks that a turn streams through cargo lambda's emulator, chunk by chunk, from the real function binary.

Two runs: the built binary under the emulator's bare Runtime API, and `cargo lambda watch` as a developer starts it.
Usage: PATH=<folder of cargo-lambda>:$PATH python .ci/watch_smoke.py [--skip-watch], after `cargo build --workspace`.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "debug"
PACE = 0.060
CHAT = "/openai/deployments/mas-coordinator/chat/completions"
QUESTION = {"stream": True, "messages": [{"role": "user", "content": "Calculate sin(5000)"}]}
# The binaries are built and the emulator only starts them; should it build them again, a busy machine takes its time.
WATCH_WITHIN = 600

passed = failed = 0


def check(what, holds, seen=""):
    global passed, failed
    if holds:
        passed += 1
    else:
        failed += 1
    print(f"{'ok    ' if holds else 'FAILED'} {what}{f': {seen}' if seen != '' else ''}", flush=True)


class Process:
    """A child in a process group of its own, so that what it starts ends with it."""

    def __init__(self, name, command, env):
        self.name = name
        self.lines = {"stdout": [], "stderr": []}
        self.news = threading.Condition()
        self.child = subprocess.Popen(
            command, cwd=ROOT, env=env, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        self.readers = [
            threading.Thread(target=self._read, args=(stream, self.lines[kind]), daemon=True)
            for kind, stream in (("stdout", self.child.stdout), ("stderr", self.child.stderr))
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, stream, lines):
        for line in stream:
            with self.news:
                lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.news.notify_all()

    def until(self, kind, text, within):
        """Waits for a line that holds the text."""
        def there():
            return any(text in line for line in self.lines[kind]) or self.child.poll() is not None
        with self.news:
            self.news.wait_for(there, within)
            if not any(text in line for line in self.lines[kind]):
                raise RuntimeError(f"{self.name} did not say {text!r}\n{self.said()}")

    def said(self):
        tail = self.lines["stdout"][-20:] + self.lines["stderr"][-40:]
        return "\n".join(f"  [{self.name}] {line}" for line in tail)

    def stop(self):
        """Ends the whole group: politely, then not."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(5)
                break
        # What the leader left behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def until_open(process, port, within):
    end = time.monotonic() + within
    while time.monotonic() < end and process.child.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}\n{process.said()}")


def ask(port, path, within):
    """Asks, and gives the status, the head and each event with its time of arrival."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=within)
    headers = {"Content-Type": "application/json", "Api-Key": "smoke"}
    began = time.monotonic()
    connection.request("POST", path, json.dumps(QUESTION), headers)
    answer = connection.getresponse()
    events, rest = [], b""
    while piece := answer.read1(65536):
        at = time.monotonic() - began
        *whole, rest = (rest + piece).split(b"\n\n")
        events += [(at, event.decode()) for event in whole]
    connection.close()
    return answer, events, rest


def check_stream(port, path, within=30):
    answer, events, rest = ask(port, path, within)
    check("the status is 200", answer.status == 200, answer.status)
    media = answer.headers.get("content-type", "")
    check("the answer is an event stream", media.startswith("text/event-stream"), media)
    if not events:
        check("there are events", False, rest[:500])
        return
    times = [at for at, _ in events]
    # Arrivals that are further apart than a scheduler's hiccup.
    gulps = 1 + sum(later - earlier > PACE / 2 for earlier, later in zip(times, times[1:]))
    check("chunks come one by one", gulps >= 5, f"{len(events)} events in {gulps} gulps")
    spread = times[-1] - times[0]
    check("the first comes well before the last", spread >= 0.3, f"{times[0]:.3f} s and {times[-1]:.3f} s")
    check("the stream ends with its end mark", (events[-1][1], rest) == ("data: [DONE]", b""), events[-1][1][-200:])
    chunks = [json.loads(event.removeprefix("data: ")) for _, event in events[:-1] if event.startswith("data: ")]
    text = "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", [])
    )
    check("the answer is right", "-0.98796" in text, repr(text))


def bare(lines, processes):
    """The built binary, started by hand, under the emulator's Runtime API."""
    print("\ncargo lambda watch --only-lambda-apis, and target/debug/chat")
    port = free_port()
    command = ["cargo", "lambda", "watch", "--only-lambda-apis", "-A", "127.0.0.1", "-P", str(port)]
    emulator = Process("emulator", command, dict(os.environ))
    processes.append(emulator)
    until_open(emulator, port, 30)
    pairs = (line.split("=", 1) for line in lines)
    env = {name: value.strip("'") for name, value in pairs} | {
        "AWS_LAMBDA_FUNCTION_NAME": "chat",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_RUNTIME_API": f"http://127.0.0.1:{port}/.rt/chat",
    }
    processes.append(Process("chat", [str(BINARIES / "chat")], env))
    check_stream(port, f"/lambda-url/chat{CHAT}")


def whole(lines, processes):
    """As a developer starts it: the emulator starts the functions, the router table gives production's paths."""
    print("\ncargo lambda watch --env-file")
    port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".env") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        command = ["cargo", "lambda", "watch", "--ignore-changes", "-A", "127.0.0.1", "-P", str(port)]
        emulator = Process("watch", [*command, "--env-file", file.name], dict(os.environ))
        processes.append(emulator)
        until_open(emulator, port, 30)
        check_stream(port, CHAT, WATCH_WITHIN)


def main():
    for program, remedy in (
        (BINARIES / "mas", "cargo build --workspace"),
        (BINARIES / "chat", "cargo build --workspace"),
        (shutil.which("cargo-lambda"), "pip install cargo-lambda, and its folder in PATH"),
    ):
        if not program or not Path(program).exists():
            print(f"{program or 'cargo-lambda'} is missing: {remedy}")
            return 2
    processes = []
    try:
        pace = str(round(PACE * 1000))
        sandbox = Process("sandbox", [str(BINARIES / "mas"), "sandbox", "--memory", "--pace", pace], dict(os.environ))
        processes.append(sandbox)
        for last in ("AWS_ENDPOINT_URL_DYNAMODB=", "MAS_STATE_KEYS=", "MAS_AUTH=", "MAS_PRIVATE_NETWORKS="):
            sandbox.until("stdout", last, 15)
        lines = sandbox.lines["stdout"]
        bare(lines, processes)
        if "--skip-watch" not in sys.argv[1:]:
            whole(lines, processes)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        check("everything runs", False, f"{type(error).__name__}: {error}")
    finally:
        for process in reversed(processes):
            process.stop()
        if failed:
            print("\n".join(process.said() for process in processes))
    print(f"\n{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
