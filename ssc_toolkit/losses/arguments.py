"""Read from the signature of a loss which arguments it accepts, and call the loss with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from torch import Tensor, nn

NAMES = (
    "labels",
    "labeled",
    "items",
    "keys",
    "key_labels",
    "key_labeled",
    "key_items",
    "groups",
    "key_groups",
    "ignored",
    "anchor_weights",
)
"""Names of the arguments, other than the embeddings, that this library passes to a loss that accepts them."""

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)
_SEVERAL = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class LossArguments:
    """Names of the arguments that a loss accepts, read from its signature.

    Attributes:
        embeddings_by_name: whether the embeddings are passed by the keyword `embeddings`. Otherwise they are passed as
            the first argument.
        taken: names that the loss accepts, of those in the constant `NAMES` of this module.
        required: names in `taken` for which the loss has no default value.
    """

    embeddings_by_name: bool
    taken: frozenset[str]
    required: frozenset[str]

    @classmethod
    def of(cls, loss: Callable[..., Any]) -> LossArguments:
        """Read the arguments of a loss from its signature.

        Args:
            loss: module or other callable that accepts the embeddings as its first argument, or as its argument
                `embeddings`.

        Raises:
            TypeError: if `loss` accepts no embeddings, or requires an argument that is not in the constant `NAMES`.
        """
        outermost, parameters = _parameters(loss)
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
        by_keyword = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        by_name = not (outermost and outermost[0].kind in _POSITIONAL and outermost[0].name not in NAMES)
        if by_name and not (takes_any or "embeddings" in by_keyword):
            raise TypeError(f"loss: expected a loss that accepts embeddings, got {_described(loss, parameters)}")
        own = {"embeddings"} if by_name else {outermost[0].name, "embeddings"}
        needed = {one.name for one in parameters if one.default is one.empty and one.kind not in _SEVERAL} - own
        if needed - set(NAMES) or any(one.kind is one.POSITIONAL_ONLY and one.name in needed for one in parameters):
            raise TypeError(
                f"loss: expected a loss that requires only embeddings and keywords such as {', '.join(NAMES[:3])}, got "
                f"{_described(loss, parameters)}"
            )
        taken = set(NAMES) if takes_any else set(NAMES) & by_keyword - own
        return cls(by_name, frozenset(taken), frozenset(needed))

    def call(self, loss: Callable[..., Any], embeddings: Tensor, given: Mapping[str, Any]) -> Any:
        """Call a loss with the embeddings and with those of the given arguments that it accepts.

        Args:
            loss: loss from which these arguments were read.
            embeddings: embeddings of the batch.
            given: values of the other arguments by name. An argument with the value None is not passed, unless the loss
                requires it.

        Returns:
            The value that `loss` returns.

        Raises:
            ValueError: if some labels are unknown and the loss accepts labels but no mask of known labels, or if
                `given` lacks an argument that the loss requires.
        """
        for labels, mask in (("labels", "labeled"), ("key_labels", "key_labeled")):
            if labels in self.taken and mask not in self.taken and hides_labels(given.get(mask)):
                raise ValueError(
                    f"{mask}: some labels are unknown, but {type(loss).__name__} accepts no {mask}; use SemiSupConLoss"
                )
        missing = [name for name in sorted(self.required) if name not in given]
        if missing:
            raise ValueError(f"{missing[0]}: {type(loss).__name__} requires it, but the batch does not contain it")
        handed = {name: value for name, value in given.items() if name in self.taken and value is not None}
        handed |= {name: given[name] for name in self.required}
        return loss(embeddings=embeddings, **handed) if self.embeddings_by_name else loss(embeddings, **handed)


def hides_labels(labeled: Any) -> bool:
    """Return whether a mask of known labels, or any mask in a dict, has an entry False. This waits for the device."""
    masks = labeled.values() if isinstance(labeled, Mapping) else [labeled]
    return any(mask is not None and not bool(mask.all()) for mask in masks)


def _parameters(loss: Callable[..., Any]) -> tuple[list[Parameter], list[Parameter]]:
    """Return two lists of the parameters of a loss.

    The first list is that of its own signature. The second list also contains the parameters of base classes to which
    the loss passes its `**kwargs`.
    """
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"loss: expected a module or a function of embeddings, got {loss!r}")
    while isinstance(loss, nn.Module) and isinstance(inner := _wrapped(loss), nn.Module):
        loss = inner
    try:
        outermost = list(inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters.values())
    except ValueError as error:
        raise TypeError(f"loss: cannot read the arguments of {loss!r}; wrap it in a function") from error
    if not isinstance(loss, nn.Module) or "forward" in vars(loss):
        return outermost, outermost
    return outermost, _of_classes(type(loss))


def _wrapped(loss: nn.Module) -> Any:
    """Return the module inside a wrapper of `torch.compile` or DistributedDataParallel, or None."""
    if isinstance(loss, nn.parallel.DistributedDataParallel):
        return loss.module
    return getattr(loss, "_orig_mod", None)


def _of_classes(kind: type) -> list[Parameter]:
    found: list[Parameter] = []
    for base in kind.__mro__:
        if base is nn.Module or "forward" not in vars(base):
            continue
        own = list(inspect.signature(vars(base)["forward"]).parameters.values())[1:]
        extends = any("forward" in vars(other) for other in base.__mro__[1:] if other is not nn.Module)
        passes_on = any(one.kind is one.VAR_KEYWORD for one in own) and extends
        names = {one.name for one in found}
        found += [one for one in own if one.name not in names and not (passes_on and one.kind is one.VAR_KEYWORD)]
        if not passes_on:
            break
    return found


def _described(loss: Any, parameters: list[Parameter]) -> str:
    name = getattr(loss, "__name__", type(loss).__name__)
    return f"{name}({', '.join(map(str, parameters))})"
