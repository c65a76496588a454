"""No test reaches the network; and a few small records and datasets of both benchmarks."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: spinning threads starve busy machines

import pytest

from clmeeval_data.records import (
    CNLE,
    CSNE,
    SPLITS,
    CnleNeighbour,
    CnleRecord,
    CsneNeighbour,
    CsneRecord,
    Provenance,
    Rephrasing,
)
from clmeeval_data.storage import write_dataset

MANIFEST = {"command": "clmeeval-build cnle --seed 0", "limits": ["Made up for the tests."]}


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start, also where the shell runs in the background and ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests, so that no process is left alone with them in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Refuse every connection and every name look-up that leaves this machine."""

    def is_local(host: object) -> bool:
        name = host.decode() if isinstance(host, bytes) else host
        return name in (None, "", "localhost", "::1") or str(name).startswith("127.")

    def guarded(name: str):
        real = getattr(socket.socket, name)

        def connect(self: socket.socket, address: object) -> object:
            if isinstance(address, tuple) and not is_local(address[0]):
                raise PermissionError(f"a test tried to connect to {address}: tests have no network")
            return real(self, address)

        return connect

    real_getaddrinfo = socket.getaddrinfo

    def getaddrinfo(host: object, *rest: object, **options: object) -> object:
        if not is_local(host):
            raise PermissionError(f"a test looked up {host!r}: tests have no network")
        return real_getaddrinfo(host, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(name))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


def make_cnle(number: int) -> CnleRecord:
    """A CNLE case that differs from those of other numbers."""
    intent, snippet = f"sort list number {number} by length", f"rows_{number}.sort(key=len)"
    return CnleRecord(
        case_id=CNLE.case_id(intent, snippet),
        intent=intent,
        rewritten_intent=f"put list number {number} in order of length",
        snippet=snippet,
        neighborhood=(
            CnleNeighbour(f"reverse list number {number}", f"rows_{number}.reverse()", 200 / 3),
            CnleNeighbour("name the Gemüse – 野菜", "vegetables = ['🥕']", 0.1),
        ),
        provenance=Provenance("sample", f"sample#{number}", f"question-{number}", "CC-BY-SA-4.0"),
        rephrasing=Rephrasing("human", "", "1"),
    )


def make_csne(number: int) -> CsneRecord:
    """A CSNE case that differs from those of other numbers."""
    code, description = f"def add_{number}(value):\n    return value + {number}\n", f"Add {number} to a number."
    return CsneRecord(
        case_id=CSNE.case_id(code, description),
        func_name=f"add_{number}",
        code=code,
        code_rewrite=code.replace("value", "term"),
        code_doc=description,
        neighborhood=(CsneNeighbour("def half(x):\n    return x / 2\n", "Halve a number.", 71.25),),
        provenance=Provenance("stdlib", f"numbers.py#L{number}", f"module-{number}", "PSF-2.0"),
        rephrasing=Rephrasing("rename", "", "1"),
    )


def in_splits(records: list) -> dict[str, list]:
    """Nine records as three of each split."""
    return {split: records[3 * place : 3 * place + 3] for place, split in enumerate(SPLITS)}


@pytest.fixture
def cnle_records() -> list[CnleRecord]:
    return [make_cnle(number) for number in range(9)]


@pytest.fixture
def csne_records() -> list[CsneRecord]:
    return [make_csne(number) for number in range(9)]


@pytest.fixture
def cnle_splits(cnle_records) -> dict[str, list[CnleRecord]]:
    return in_splits(cnle_records)


@pytest.fixture
def csne_splits(csne_records) -> dict[str, list[CsneRecord]]:
    return in_splits(csne_records)


@pytest.fixture
def cnle_folder(tmp_path, cnle_splits) -> Path:
    """A whole CNLE dataset, in tmp_path/clmeeval/cnle."""
    folder = tmp_path / "clmeeval" / "cnle"
    write_dataset(folder, CNLE, cnle_splits, MANIFEST)
    return folder


@pytest.fixture
def csne_folder(tmp_path, csne_splits) -> Path:
    """A whole CSNE dataset, in tmp_path/clmeeval/csne."""
    folder = tmp_path / "clmeeval" / "csne"
    write_dataset(folder, CSNE, csne_splits, {**MANIFEST, "command": "clmeeval-build csne --seed 0"})
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).parents[1]
