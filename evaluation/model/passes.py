"""What one forward pass is to an edit: which rows it has, and what of their prompts it reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from clmeeval_data.errors import EditError


@dataclass(frozen=True)
class PromptPart:
    """What one pass reads of the prompts, and what earlier passes read of them.

    ``own``: True at each prompt's own tokens in this pass, shape (rows, tokens). ``count``: how many of its tokens were
    read before, shape (rows, 1); None: none. ``earlier``: by module, the sum of its input over those, shape (rows, f).
    """

    own: Tensor
    count: Tensor | None = None
    earlier: Mapping[str, Tensor] = field(default_factory=dict)

    def mean(self, module: str, inputs: Tensor) -> Tensor:
        """Mean over each prompt's own tokens of a module's input, shape (rows, f), in float32.

        Args:
            module: Name of the module.
            inputs: Its input in this pass, shape (rows, tokens, f).

        Raises:
            EditError: If a part of the prompts was read before and nothing is known of it.
        """
        own = self.own.to(inputs.device)
        total = inputs.masked_fill(~own[..., None], 0.0).sum(1, dtype=torch.float32)
        count = own.sum(-1, keepdim=True)
        if self.count is not None:
            if module not in self.earlier:
                raise EditError(
                    f"the codebook of {module} has an encoder, which looks at the whole prompt, and this pass reads "
                    "its end alone. Read the prompt in one pass, or call clmeeval_data.evaluation.model.generate."
                )
            total, count = total + self.earlier[module].to(inputs.device), count + self.count.to(inputs.device)
        return total / count.clamp_min(1)


class Change(Protocol):
    """What happens to a module's output."""

    def __call__(
        self, inputs: Tensor, output: Tensor, rows: Tensor, lookup: Tensor | None, part: PromptPart | None = None
    ) -> Tensor:
        """The output as changed.

        Args:
            inputs: The module's input, shape (rows, tokens, f).
            output: Its output, shape (rows, tokens, d).
            rows: Index of the edit each row runs under, shape (rows,).
            lookup: Where the last prompt token of each row is, shape (rows,), below 0 for nowhere; None: in no row.
            part: What the pass reads of the prompts; None: all of them, from the first token on and without padding.
        """
