"""Fixtures: the peers and the coordinator once per pair of SDK versions, a clean UMS for every test."""

from collections.abc import Iterator

import pytest

from callers import CALLERS, BareCaller, Caller, Person
from world import Chat, Coordinator, Peers, Versions

PAIRS = [Versions("046", "046", True), Versions("027", "027", False), Versions("027", "046", True)]


@pytest.fixture(scope="session", params=PAIRS, ids=str)
def peers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """Run GPA, model, UMS and Core."""
    started = Peers(request.param, tmp_path_factory.mktemp(str(request.param)))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def coordinator(peers: Peers) -> Iterator[Coordinator]:
    """Run the coordinator amid the peers."""
    started = Coordinator(peers)
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def logs_on_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print what the processes wrote during a test, so that a failure shows it."""
    used = [request.getfixturevalue(name) for name in ("peers", "coordinator", "traced", "collector") if name in request.fixturenames]
    processes = [p for owner in used for p in getattr(owner, "processes", [getattr(owner, "process", None)])]
    sizes = {process.name: len(process.log()) for process in processes}
    yield
    for process in processes:
        if written := process.log()[sizes[process.name] :]:
            print(f"--- {process.name} ---\n{written[-6000:]}")


@pytest.fixture(autouse=True)
def clean_ums(request: pytest.FixtureRequest) -> None:
    """Begin every test with an UMS that remembers nothing."""
    if "peers" in request.fixturenames:
        request.getfixturevalue("peers").make_ums_forget()


@pytest.fixture(params=CALLERS, ids=lambda kind: kind.name)
def caller(request: pytest.FixtureRequest, coordinator: Coordinator) -> Caller:
    """Take each of the client programs in turn."""
    return request.param(coordinator.url)


@pytest.fixture
def bare(coordinator: Coordinator) -> BareCaller:
    """Take the bare HTTP client, for tests that do not depend on the client program."""
    return BareCaller(coordinator.url)


@pytest.fixture(params=[True, False], ids=["stream", "block"])
def stream(request: pytest.FixtureRequest) -> bool:
    """Ask streamed, then not."""
    return request.param


@pytest.fixture
def alice() -> Person:
    """Return a person known to Core."""
    return Person("alice")


@pytest.fixture
def bob() -> Person:
    """Return another person known to Core."""
    return Person("bob")


@pytest.fixture
def chat(caller: Caller, alice: Person, stream: bool) -> Chat:
    """Begin a conversation of Alice with each client program, streamed and not."""
    return Chat(caller, alice, stream)


@pytest.fixture
def bare_chat(bare: BareCaller, alice: Person, stream: bool) -> Chat:
    """Begin a conversation of Alice over bare HTTP, streamed and not."""
    return Chat(bare, alice, stream)
