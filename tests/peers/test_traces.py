"""What a real collector of traces gets of a turn, and how it fits what the peers were told."""

import signal
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from callers import DEPLOYMENT, Person
from collector import Collector, Span
from world import Coordinator, Peers


@pytest.fixture
def collector(peers: Peers) -> Iterator[Collector]:
    """Run the collector."""
    started = Collector(peers.folder)
    yield started
    started.stop()


@pytest.fixture
def traced(peers: Peers, collector: Collector) -> Iterator[Coordinator]:
    """Run a coordinator that sends its spans there."""
    started = Coordinator(peers, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, "mas-traced")
    yield started
    started.stop()


def ask(url: str, person: Person, headers: dict[str, str]) -> httpx.Response:
    """Ask for a drawing, streamed."""
    body = {"stream": True, "messages": [{"role": "user", "content": "Draw a cat"}]}
    return httpx.post(
        f"{url}/openai/deployments/{DEPLOYMENT}/chat/completions",
        json=body, headers={"api-key": person.key(), **headers}, trust_env=False, timeout=40,
    )  # fmt: skip


def the(spans: list[Span], name: str) -> Span:
    """Return the only span of a name."""
    (found,) = [span for span in spans if span["Name"] == name]
    return found


def test_a_real_collector_gets_the_whole_turn(
    peers: Peers, collector: Collector, traced: Coordinator, alice: Person
) -> None:
    trace, parent = uuid4().hex, uuid4().hex[:16]
    answer = ask(traced.url, alice, {"traceparent": f"00-{trace}-{parent}-01", "tracestate": "peer=1"})
    assert answer.status_code == 200 and answer.text.endswith("data: [DONE]\n\n")
    assert answer.headers["x-trace-id"] == trace
    # The last spans leave when it stops, if not before.
    traced.stop()
    spans = collector.spans(trace, "turn")
    assert sorted(span["Name"] for span in spans) == [
        "agent", "route", *["rung"] * 6, "store", "store", "synthesis", "turn",
    ]  # fmt: skip
    turn, route = the(spans, "turn"), the(spans, "route")
    assert turn["Parent ID"] == parent
    rungs = {span.attributes["route.rung"]: span for span in spans if span["Name"] == "rung"}
    assert sorted(rungs) == ["about", "explicit", "model", "preference", "rule", "sticky"]
    assert {span["Parent ID"] for span in rungs.values()} == {route["ID"]}
    below = [the(spans, name) for name in ("agent", "route", "synthesis")]
    assert {span["Parent ID"] for span in below} == {turn["ID"]}
    assert turn.attributes["turn.outcome"] == "Answered"
    assert the(spans, "agent").attributes["agent.id"] == "GPA"
    assert "cat" not in collector.process.log()

    # Core was told the same trace in every call, each below the step that made it.
    told = [seen["headers"] for seen in peers.seen_by_core(alice) if seen["headers"].get("x-trace-id") == trace]
    assert {headers["tracestate"] for headers in told} == {"peer=1"}
    parents = {headers["traceparent"].split("-")[2] for headers in told}
    steps = {the(spans, name)["ID"] for name in ("agent", "synthesis")} | {rungs["model"]["ID"]}
    assert steps <= parents <= {*steps, turn["ID"]}


def test_a_turn_whose_agent_stands_still_is_a_failed_span(
    peers: Peers, collector: Collector, traced: Coordinator, alice: Person
) -> None:
    trace = uuid4().hex
    agent = peers.processes[0].child
    agent.send_signal(signal.SIGSTOP)
    try:
        headers = {"x-trace-id": trace, "x-request-timeout": "4"}
        answer = ask(traced.url, alice, headers)
    finally:
        agent.send_signal(signal.SIGCONT)
    assert '"error"' in answer.text and answer.headers["x-trace-id"] == trace
    spans = collector.spans(trace, "turn")
    turn = the(spans, "turn")
    assert "ERROR" in turn["Status code"] and turn.attributes["error.type"]
    assert turn["Parent ID"] == ""
