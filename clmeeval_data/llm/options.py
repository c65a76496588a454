"""How a chat server is reached and how much may be asked of it."""

import ipaddress
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from clmeeval_data.errors import ConfigError

NO_KEY = "none"
_SHORTEST_SECRET = 8  # shorter ones, such as vLLM's customary "EMPTY", are words that replies may well contain


@dataclass(frozen=True)
class LlmOptions:
    """How a chat server is reached and how much may be asked of it.

    Args:
        base_url: Of an OpenAI-compatible server, as a rule ending in /v1. A user and password in it are sent as HTTP
            basic authentication in place of the key, and stored nowhere.
        model: As the server names it.
        cache: The folder of the replies' database; None for the user's cache folder.
        concurrency: How many requests may be under way at once.
        timeout: Seconds for one HTTP request, from sending it to the last byte of its answer. What comes later is lost,
            though the server may charge for it: give slow models enough.
        retries: How often a request is sent again after a timeout, a lost connection, or HTTP 408, 409, 429 or 5xx.
        max_requests: The most HTTP requests for completions that one client sends, failed ones included.
        max_cost: The most USD that one client spends; needs a price.
        price_in: USD per million tokens of prompts. For a batch, its own price.
        price_out: USD per million tokens of replies.
        batch: Whether to use the server's Batch API, which answers within a day.
        batch_poll: Seconds between two looks at a batch.

    Raises:
        ConfigError: If a value cannot be used.
    """

    base_url: str
    model: str
    cache: Path | None = None
    concurrency: int = 8
    timeout: float = 60.0
    retries: int = 5
    max_requests: int | None = None
    max_cost: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0
    batch: bool = False
    batch_poll: float = 30.0

    def __post_init__(self) -> None:
        self._check_address()
        if not self.model.strip():
            raise ConfigError("--llm-model is empty. Expected the name of a model that the server has.")
        self._check("concurrency", self.concurrency, 1)
        self._check("retries", self.retries, 0)
        for name in ("timeout", "batch_poll"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} {value} cannot be used. Expected seconds, more than 0.")
        for name in ("max_requests", "max_cost", "price_in", "price_out"):
            if getattr(self, name) is not None:
                self._check(name, getattr(self, name), 0)
        if self.max_cost is not None and not (self.price_in or self.price_out):
            raise ConfigError(
                f"a largest cost of {self.max_cost} USD cannot be kept without prices. Give the price of prompts or "
                "replies in USD per million tokens."
            )

    @property
    def server(self) -> str:
        """The base URL without credentials and without a slash at its end."""
        return self._parts._replace(netloc=self._parts.netloc.rpartition("@")[2]).geturl().rstrip("/")

    @property
    def credentials(self) -> tuple[str, str] | None:
        """The user and password in the base URL."""
        user = self._parts.username
        return None if user is None else (user, self._parts.password or "")

    @property
    def host(self) -> str:
        """The server's name, in lower case."""
        return self._parts.hostname or ""

    @property
    def on_loopback(self) -> bool:
        """Whether the server is on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.base_url.strip())

    def _check_address(self) -> None:
        try:
            parts = self._parts
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            usable = usable and not (parts.query or parts.fragment)
        except ValueError:
            usable = False
        if not usable:  # the value isn't shown: it may hold a password
            raise ConfigError(
                "--llm-base-url cannot be used. Expected http:// or https://, a host and a path, without ? and #, "
                "e.g. https://api.openai.com/v1 or http://localhost:8000/v1."
            )

    def _check(self, name: str, value: float, least: int) -> None:
        if not (math.isfinite(value) and value >= least):
            raise ConfigError(f"{name} {value} cannot be used. Expected at least {least}.")


def api_key(options: LlmOptions, environment: Mapping[str, str] = os.environ) -> str:
    """The key for a server: CLMEEVAL_LLM_API_KEY, or OPENAI_API_KEY unless it is on this machine, or "none"."""
    own = environment.get("CLMEEVAL_LLM_API_KEY", "").strip()
    general = "" if options.on_loopback else environment.get("OPENAI_API_KEY", "").strip()
    key = own or general or NO_KEY
    if not (key.isascii() and key.isprintable()):
        raise ConfigError("the API key in the environment has characters that no HTTP header can hold. Copy it anew.")
    return key


def without_secrets(text: str, options: LlmOptions, key: str) -> str:
    """A text of the server's without the key and the password, should it repeat them."""
    for secret in (key, *(options.credentials or ())):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text
