"""What goes wrong on the Hub, in one line: what was refused, why, what is published now, and what to do next."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from clmeeval_data.errors import PublishError

AS_IT_WAS = {"dataset": "Nothing was changed on the Hub", "space": "Nothing was changed in the Space"}
UNREAD = "Nothing was read"
WHOLE = "It holds its old release or the whole new one, nothing between"
_AGAIN = "run the same command again"
_ADVICE = {
    401: "the token is not valid there. Log in with 'hf auth login', or set HF_TOKEN to a valid token",
    403: "this token may not do that. Use one with write access to the owner's repositories (HF_TOKEN)",
    409: "the name is taken, or another request of yours is not finished. Choose another name, or " + _AGAIN,
    412: f"somebody else has changed it meanwhile. See what they did with --dry-run, then {_AGAIN}",
    413: "it is too large for the Hub. Publish fewer cases",
    429: f"the limit of requests is reached. Wait some minutes, then {_AGAIN}",
}


@contextmanager
def explained(doing: str, refused: str, broken: str, token: str | None) -> Iterator[None]:
    """Turn what huggingface_hub and the libraries below it raise into one expected error, without the token.

    Args:
        doing: What is tried, e.g. "clmeeval/cnle cannot be read".
        refused: What the Hub holds after it has said no.
        broken: What it holds after it failed, or after the connection did.
        token: What must not be shown.

    Raises:
        PublishError: Where the block fails for a reason that lies on the Hub or on the way to it.
    """
    from huggingface_hub.errors import HfHubHTTPError

    # its bases are the root of what the HTTP library raises, which no module of this package imports
    expected = (OSError, RuntimeError, ValueError, *HfHubHTTPError.__bases__)
    try:
        yield
    except cast("tuple[type[Exception], ...]", expected) as error:
        line = f"{doing}: {_reason(error, refused, broken)}."
        hidden = line if not token else line.replace(token, "***")
        raise PublishError(hidden) from (error if hidden == line else None)


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, or None where no answer came."""
    found = (getattr(getattr(cause, "response", None), "status_code", None) for cause in _causes(error))
    return next((status for status in found if isinstance(status, int)), None)


def _reason(error: Exception, refused: str, broken: str) -> str:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    status = status_of(error)
    said = _said(error)
    if isinstance(error, OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE is set. Unset it, then {_AGAIN}. {refused}"
    if _is_missing(error):
        return f"there is none, or this token may not see it ({status}). Check the name, or HF_TOKEN. {refused}"
    if status in _ADVICE:
        return f"{_ADVICE[status]} ({status}{said and ': ' + said}). {refused}"
    if status is not None and status < 500:
        return f"the Hub refuses it ({status}{said and ': ' + said}). {refused}"
    if status is not None:
        return f"the Hub failed ({status}{said and ': ' + said}). {broken}: {_AGAIN} later"
    causes = _causes(error)
    is_network = any(isinstance(cause, HfHubHTTPError.__bases__) for cause in causes)
    words = (str(causes[-1]).strip().splitlines() or [type(causes[-1]).__name__])[0].rstrip(".")[:300]
    return f"the {'connection' if is_network else 'client'} failed ({words}). {broken}: {_AGAIN}"


def _is_missing(error: BaseException) -> bool:
    """Whether the Hub says that it has no such repository for this token."""
    answers = [getattr(cause, "response", None) for cause in _causes(error)]
    return any(getattr(answer, "headers", {}).get("X-Error-Code") == "RepoNotFound" for answer in answers)


def _said(error: BaseException) -> str:
    """What the server says about it, "" where it says nothing."""
    found = (getattr(cause, "server_message", None) for cause in _causes(error))
    return " ".join(next((message for message in found if message), "").split()).rstrip(".")[:300]


def _causes(error: BaseException) -> list[BaseException]:
    """An error and those that led to it, the first of them last, as far as they are chained on purpose."""
    found = [error]
    while (cause := found[-1].__cause__) is not None:
        found.append(cause)
    return found
