"""Rewordings written by people, which came with the raw data."""

from collections.abc import Sequence

from clmeeval_data.paraphrase.engine import Setting


class HumanEngine:
    """Looks each prompt up among the written rewordings."""

    name = "human"
    version = "1"
    model = ""

    def __init__(self, setting: Setting) -> None:
        self._written = setting.written

    def rewrite(self, prompts: Sequence[str]) -> list[str | None]:
        """The written rewording of each prompt; None where nobody wrote one."""
        return [self._written.get(prompt) for prompt in prompts]
