"""One file from a web server: resumed when it breaks off, verified, and whole or not there at all."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import clmeeval_data
from clmeeval_data.atomic import written_aside
from clmeeval_data.errors import SourceError

if TYPE_CHECKING:
    import requests

_CHUNK = 2**20
_TIMEOUT = (20.0, 60.0)  # seconds to connect, and between two reads
_BUSY = (429, 500, 502, 503, 504)
_TRIES = 5  # requests in a row that bring nothing new

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Known:
    """What an answer said of its file: how to ask for the rest of the same one, and its length in bytes."""

    validator: str = ""
    total: int | None = None


class _BrokenOffError(Exception):
    """The connection ended before the file did."""


def download(url: str, target: Path, sha256: str | None = None, pause: float = 1.0) -> None:
    """Download a file, or go on where an earlier attempt broke off; nothing is done if it is there already.

    The target appears once its length, and its sha256 where one is given, are as promised. Until then its bytes are
    kept beside it, in a file that ends in ``.part``. Of several processes that want the same file, one downloads it.

    Args:
        url: The address, http or https.
        target: The file; folders above it are made.
        sha256: What the file's must be.
        pause: Seconds before the second attempt; each further one waits twice as long.

    Raises:
        SourceError: If the server can't be reached, refuses or keeps breaking off, the bytes are not those promised, or
            they can't be written.
    """
    from filelock import FileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.exists():
                _download(url, target, sha256, pause)
    except OSError as error:
        raise SourceError(
            f"cannot write {target} ({error.strerror or error}). Make room there, or choose another --cache."
        ) from error


def hash_of(path: Path) -> str:
    """The sha256 of a file's bytes.

    Raises:
        SourceError: If it can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read ({error.strerror or error}). Check the path and its rights."
        ) from error


def public(url: str) -> str:
    """An address without the user name and the password that may stand in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _download(url: str, target: Path, sha256: str | None, pause: float) -> None:
    part = target.with_name(f"{target.name}.part")
    with _session(pause) as session:
        _receive_all(session, url, part, pause)
    found = hash_of(part)
    if sha256 is not None and found != sha256:
        _forget(part)
        raise SourceError(
            f"{public(url)} has sha256 {found}, expected {sha256}. It was not kept: the file at that address has "
            "changed, or was altered on its way. Check the address and the checksum."
        )
    part.replace(target)
    _forget(part)


def _session(pause: float) -> "requests.Session":
    import requests
    from urllib3.util import Retry

    again = Retry(
        _TRIES - 1,
        connect=2,
        backoff_factor=pause,
        status_forcelist=_BUSY,
        allowed_methods=["GET"],
        raise_on_status=False,
    )
    session = requests.Session()
    session.headers["User-Agent"] = f"clmeeval-data/{clmeeval_data.__version__}"
    session.headers["Accept-Encoding"] = "identity"  # ranges and lengths count the bytes of the file itself
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=again))
    return session


def _receive_all(session: "requests.Session", url: str, part: Path, pause: float) -> None:
    """Ask for the rest of the file until there is none; give up when request after request brings nothing."""
    idle = 0
    while not _complete(part):
        before = _size(part)
        try:
            _receive(session, url, part)
            return
        except _BrokenOffError as error:
            idle = 0 if _size(part) > before else idle + 1
            if idle == _TRIES:
                raise SourceError(
                    f"{public(url)} broke off after {_size(part)} bytes, {_TRIES} times without a byte more ({error}). "
                    "The same command again continues from there."
                ) from error
            logger.info("%s broke off (%s); asking for the rest", public(url), error)
            time.sleep(pause * 2**idle)


def _receive(session: "requests.Session", url: str, part: Path) -> None:
    """Ask once, and keep what comes: the rest of the file, or all of it where the server has no rest to give."""
    import requests
    import urllib3

    known, have = _known(part), _size(part)
    headers = {"Range": f"bytes={have}-", "If-Range": known.validator} if have and known.validator else {}
    try:
        with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            _check_answer(response, part)
            goes_on = _goes_on(response, have, known, part)
            if not goes_on:
                known = _Known(_validator(response.headers), _length(response.headers))
                _remember(part, known)
            with part.open("ab" if goes_on else "wb") as file:
                for chunk in response.raw.stream(_CHUNK, decode_content=False):
                    file.write(chunk)
    except requests.RequestException as error:
        raise SourceError(
            f"{public(url)} cannot be reached ({_cause(error)}). Check the address and the network, or give the path "
            "of a copy on this machine."
        ) from error
    except urllib3.exceptions.HTTPError as error:
        raise _BrokenOffError(_cause(error)) from error
    if known.total is not None and _size(part) != known.total:
        raise _BrokenOffError(f"{_size(part)} of {known.total} bytes")


def _check_answer(response: "requests.Response", part: Path) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status == 416:  # what is here is not a beginning of what is there
        _forget(part)
        raise _BrokenOffError("the file at that address has changed")
    advice = f"Try again later: it was asked {_TRIES} times" if status in _BUSY else "Check the address"
    raise SourceError(
        f"{public(response.url)} answered {status} {response.reason}. {advice}, or give the path of a copy on this "
        "machine."
    )


def _goes_on(response: "requests.Response", have: int, known: _Known, part: Path) -> bool:
    """Whether an answer begins where the part ends; a whole file that is sent again begins anew."""
    if response.status_code == 200:
        return False
    expected = f"bytes {have}-{(known.total or 0) - 1}/{known.total}"
    if response.headers.get("Content-Range") != expected:
        _forget(part)
        raise _BrokenOffError(f"it sent {response.headers.get('Content-Range')} instead of {expected}")
    return True


def _validator(headers: Mapping[str, str]) -> str:
    """What proves that a later answer is about the same file; "" where the server gives nothing of the kind."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _known(part: Path) -> _Known:
    with suppress(OSError, ValueError, TypeError):
        return _Known(**json.loads(_notes(part).read_text(encoding="utf-8")))
    return _Known()


def _remember(part: Path, known: _Known) -> None:
    with written_aside(_notes(part)) as aside:
        aside.write_text(json.dumps(asdict(known)), encoding="utf-8")


def _forget(part: Path) -> None:
    for path in (part, _notes(part)):
        path.unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _complete(part: Path) -> bool:
    known = _known(part)
    return part.exists() and bool(known.validator) and _size(part) == known.total


def _cause(error: BaseException) -> str:
    """The innermost reason of an error, in a few words."""
    while (below := getattr(error, "reason", None) or error.__cause__ or error.__context__) is not None:
        if not isinstance(below, BaseException):
            break
        error = below
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
