"""Looking into a model and changing what it computes, for the length of a block, leaving no trace afterwards.

Invariant of every context manager here: the model after the block is the model before it, also after an exception.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.hooks import RemovableHandle

K = TypeVar("K", bound=Hashable)
OutputChange = Callable[[Tensor, Tensor], Tensor]


class DecoderLayers(list[nn.Module]):
    """The decoder layers of a model, first to last.

    ``outputs``: how many values a layer returns as a tuple, the hidden states first; 0 where it returns them bare.
    """

    def __init__(self, layers: Iterable[nn.Module], outputs: int) -> None:
        super().__init__(layers)
        self.outputs = outputs

    def returned(self, hidden: Tensor) -> Tensor | tuple[Tensor | None, ...]:
        """Hidden states in the form in which a layer returns them."""
        return (hidden, *[None] * (self.outputs - 1)) if self.outputs else hidden


@contextmanager
def captured_inputs(modules: Mapping[K, nn.Module]) -> Iterator[dict[K, Tensor]]:
    """Collect the (last) input of each module: shape (rows, tokens, width)."""
    found: dict[K, Tensor] = {}

    def keep(key: K) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found[key] = args[0] if args else kwargs["hidden_states"]

        return hook

    with ExitStack() as stack:
        for key, module in modules.items():
            handle = module.register_forward_pre_hook(keep(key), with_kwargs=True)
            stack.callback(handle.remove)
        yield found


@contextmanager
def captured_outputs(modules: Mapping[K, nn.Module]) -> Iterator[dict[K, Tensor]]:
    """Collect the (last) output of each module: shape (rows, tokens, width)."""
    found: dict[K, Tensor] = {}

    def keep(key: K) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            found[key] = output[0] if isinstance(output, tuple) else output

        return hook

    with ExitStack() as stack:
        for key, module in modules.items():
            stack.callback(module.register_forward_hook(keep(key)).remove)
        yield found


@contextmanager
def kept_positions(head: nn.Module, positions: Tensor, before: Sequence[Tensor] = ()) -> Iterator[None]:
    """Let a module read, of inputs of shape (rows, tokens, width), the tokens at some positions alone.

    Its input becomes (1, positions, width), rows first, and behind inputs of this form that are given.

    Args:
        head: The module.
        positions: True at the tokens to keep, shape (rows, tokens).
        before: What it reads in front of them, each of shape (1, tokens, width).
    """

    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        kept = args[0][positions.to(args[0].device)][None]
        return (torch.cat([*before, kept], 1) if before else kept, *args[1:])

    handle = head.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def computed_at(module: nn.Module, positions: Tensor) -> Iterator[None]:
    """Let a module that works token by token compute the tokens at some positions alone; elsewhere it returns zeros.

    Exact wherever nothing reads the other tokens' outputs. The module computes everywhere all the same if somebody
    looks into it (a hook on a part of it), or if it takes more than hidden states.

    Args:
        module: From hidden states of shape (rows, tokens, width) to the same shape.
        positions: True at the tokens that are needed, shape (rows, tokens). Those that an edit's preamble puts in front
            of them are not.
    """
    whole, parts = module.forward, list(module.modules())

    def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or any(part._forward_hooks or part._forward_pre_hooks for part in parts):
            return whole(hidden, *args, **kwargs)
        here = pad(positions.to(hidden.device), (hidden.shape[1] - positions.shape[1], 0))
        found = whole(hidden[here][None])[0]
        return hidden.new_zeros(*hidden.shape[:-1], found.shape[-1]).index_put((here,), found)

    with _forward_set(module, forward):
        yield


class _Ended(Exception):  # noqa: N818  # not an error: it leaves a forward pass
    """A forward pass has come as far as it should."""


def ended_after(module: nn.Module) -> AbstractContextManager[None]:
    """End a forward pass, and the block with it, once a module has computed its output."""
    return _ended_by(module.register_forward_hook)


def ended_before(module: nn.Module) -> AbstractContextManager[None]:
    """End a forward pass, and the block with it, where a module would compute its output."""
    return _ended_by(module.register_forward_pre_hook)


@contextmanager
def _ended_by(register: Callable[[Callable[..., None]], RemovableHandle]) -> Iterator[None]:
    def hook(*args: object) -> None:
        raise _Ended

    handle = register(hook)
    try:
        yield
    except _Ended:
        pass
    finally:
        handle.remove()


@contextmanager
def changed_output(module: nn.Module, change: OutputChange) -> Iterator[None]:
    """Replace a module's output by ``change(input, output)``."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return change(args[0], output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def skipped_layers(layers: DecoderLayers, below: int, entering: Tensor) -> Iterator[None]:
    """Let no layer under ``below`` compute: layer ``below`` reads ``entering``, shape (rows, tokens, d).

    Exact whenever the skipped layers would have produced ``entering``. They do not write into the cache either.
    """

    def passed_on(hidden_states: Tensor, *args: object, **kwargs: object) -> object:
        return layers.returned(hidden_states)

    def entered(hidden_states: Tensor, *args: object, **kwargs: object) -> object:
        return layers.returned(entering)

    with ExitStack() as stack:
        for index, layer in enumerate(layers[:below]):
            stack.enter_context(_forward_set(layer, entered if index == below - 1 else passed_on))
        yield


@contextmanager
def recorded(modules: Iterable[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """Collect what modules compute themselves, before hooks change it; of those that are called once."""
    found: dict[nn.Module, Tensor] = {}
    calls: Counter[nn.Module] = Counter()

    def recording(module: nn.Module) -> Callable[..., Tensor]:
        whole = module.forward

        def forward(*args: Any, **kwargs: Any) -> Tensor:
            calls[module] += 1
            found[module] = whole(*args, **kwargs)
            return found[module]

        return forward

    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(_forward_set(module, recording(module)))
        yield found
    for module, times in calls.items():
        if times > 1:
            del found[module]


@contextmanager
def replayed(outputs: Mapping[nn.Module, Tensor]) -> Iterator[None]:
    """Let modules return what was recorded of them instead of computing it; hooks on them still run.

    Exact whenever they would compute it.
    """

    def replaying(output: Tensor) -> Callable[..., Tensor]:
        return lambda *args, **kwargs: output.clone()  # whoever called may write into it

    with ExitStack() as stack:
        for module, output in outputs.items():
            stack.enter_context(_forward_set(module, replaying(output)))
        yield


@contextmanager
def _forward_set(module: nn.Module, forward: Callable[..., object]) -> Iterator[None]:
    own = vars(module).get("forward")  # set where another library has wrapped the module
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        if own is None:
            del vars(module)["forward"]
        else:
            vars(module)["forward"] = own
