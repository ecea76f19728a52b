"""A real collector of traces as a subprocess: rotel, which writes down every span that it takes."""

import importlib.util
import re
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from processes import START_SECONDS, Process, free_port

ARRIVAL_SECONDS = 20.0
ANSI = re.compile(r"\x1b\[[0-9;]*m")
LINE = re.compile(r"^\s*(?P<name>Trace ID|Parent ID|ID|Name|Status code)\s*: ?(?P<value>.*)$")
ATTRIBUTE = re.compile(r"^\s*-> (?P<name>[\w.]+): \w+\((?P<value>.*)\)$")


@dataclass
class Span:
    """A span as the collector understood it."""

    fields: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.fields[name]


class Collector:
    """The collector, listening for OTLP over HTTP."""

    def __init__(self, folder: Path) -> None:
        """Start it and wait until it listens."""
        port, unused = free_port(), free_port()
        command = [
            binary(), "start", "--otlp-http-endpoint", f"127.0.0.1:{port}", "--otlp-grpc-endpoint",
            f"127.0.0.1:{unused}", "--pid-file", str(folder / "rotel.pid"), "--exporter", "blackhole",
            "--debug-log", "traces", "--debug-log-verbosity", "detailed",
        ]  # fmt: skip
        self.url = f"http://127.0.0.1:{port}"
        self.process = Process("rotel", command, folder, {}, folder)
        deadline = time.monotonic() + START_SECONDS
        while not listens(port):
            if time.monotonic() > deadline or self.process.child.poll() is not None:
                self.process.stop()
                raise RuntimeError(f"rotel does not listen:\n{self.process.log()[-4000:]}")
            time.sleep(0.05)

    def spans(self, trace: str, root: str) -> list[Span]:
        """Wait for the root of a trace, which ends last, and return the trace's spans."""
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while time.monotonic() < deadline:
            spans = [span for span in read(self.process.log()) if span.fields.get("Trace ID") == trace]
            if any(span["Name"] == root for span in spans):
                return spans
            time.sleep(0.05)
        raise AssertionError(f"no {root} of trace {trace}:\n{self.process.log()[-4000:]}")

    def stop(self) -> None:
        """Stop it."""
        self.process.stop()


def binary() -> str:
    """Return the path of the program, which its package holds beside the Python code."""
    found = importlib.util.find_spec("rotel")
    assert found is not None and found.submodule_search_locations is not None, "rotel is not installed"
    return str(Path(found.submodule_search_locations[0]) / "rotel-agent")


def listens(port: int) -> bool:
    """Tell whether somebody takes connections at a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def read(log: str) -> list[Span]:
    """Read the spans out of what the collector wrote."""
    spans: list[Span] = []
    for line in ANSI.sub("", log).splitlines():
        if line.startswith("Span #"):
            spans.append(Span())
        elif spans and (found := LINE.match(line)):
            spans[-1].fields[found["name"]] = found["value"].strip()
        elif spans and line.startswith("ResourceSpans #"):
            # What follows belongs to the next resource.
            spans.append(Span())
        elif spans and (found := ATTRIBUTE.match(line)):
            spans[-1].attributes[found["name"]] = found["value"]
    return [span for span in spans if span.fields]
