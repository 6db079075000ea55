"""Settings of the semi-supervised contrastive loss, and their checks."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch.distributed as dist
from torch import Tensor, nn

from ssc_toolkit.checks import check_bool, check_choice
from ssc_toolkit.losses.distributed import count_processes, structure
from ssc_toolkit.losses.weighting import Weighting, check_weighting
from ssc_toolkit.targets.base import Target, values_are_readable

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Reduction = Literal["mean", "sum", "none"]
Denominator = Literal["all", "negatives"]
Implementation = Literal["auto", "dense", "tiled"]


class LossSettings(NamedTuple):
    """Settings of a loss, as for `semi_supcon_loss`."""

    temperature: float | Tensor
    target: Target
    reduction: Reduction = "mean"
    denominator: Denominator = "all"
    implementation: Implementation = "auto"
    gather: bool = False
    label_weight: float = 1.0
    beta: float = 0.0
    tau_plus: float = 0.0
    sigma: float | None = None
    process_group: ProcessGroup | None = None

    def checked(self) -> LossSettings:
        """Return the settings as Python numbers after a check.

        Raises:
            ValueError: if a setting is unknown or outside of its range.
            TypeError: if `process_group` is not a process group.
        """
        check_options(self.temperature, self.reduction, self.denominator, self.implementation)
        _check_process_group(self.process_group, self.gather)
        label_weight, beta, tau_plus, sigma = check_weighting(self.label_weight, self.beta, self.tau_plus, self.sigma)
        return self._replace(
            temperature=self.temperature if isinstance(self.temperature, Tensor) else float(self.temperature),
            gather=bool(self.gather),
            label_weight=label_weight,
            beta=beta,
            tau_plus=tau_plus,
            sigma=sigma,
        )

    @property
    def is_decoupled(self) -> bool:
        """Whether positives are left out of the denominator."""
        return self.denominator == "negatives"

    @property
    def weighting(self) -> Weighting:
        """Settings of the weighting of negatives and positives."""
        return Weighting(self.beta, self.tau_plus, self.sigma)

    @property
    def gathers(self) -> bool:
        """Whether the contrasts are the rows of several processes."""
        return self.gather and count_processes(self.process_group) > 1

    def shared(self) -> dict[str, Any]:
        """Return the settings that must be equal on all processes that gather."""
        temperature = "a tensor" if isinstance(self.temperature, Tensor) else self.temperature
        own = self._asdict() | {"temperature": temperature, "target": structure(self.target)}
        return {name: own[name] for name in own if name not in ("implementation", "gather", "process_group")}


def check_options(
    temperature: float | Tensor,
    reduction: str,
    denominator: str = "all",
    implementation: str = "auto",
) -> None:
    """Raise ValueError if an option is unknown or the temperature is invalid."""
    _check_temperature(temperature)
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    check_choice("denominator", denominator, ("all", "negatives"))
    check_choice("implementation", implementation, ("auto", "dense", "tiled"))


def _check_process_group(process_group: Any, gather: bool) -> None:
    check_bool("gather", gather)
    if process_group is None:
        return
    # `new_group` returns NON_GROUP_MEMBER on a process that is not a member; `count_processes` raises that error.
    if not dist.is_available() or not (
        isinstance(process_group, dist.ProcessGroup) or process_group is dist.GroupMember.NON_GROUP_MEMBER
    ):
        kind = type(process_group).__name__
        raise TypeError(f"process_group: expected a process group or None, got {process_group!r:.100} of type {kind}")
    if not gather:
        raise ValueError("process_group: expected None without gather=True, got a group")


def _check_temperature(temperature: Any) -> None:
    if isinstance(temperature, Tensor):
        if temperature.dim() != 0 or not temperature.is_floating_point():
            kind = f"{temperature.dtype} of shape {tuple(temperature.shape)}"
            raise ValueError(f"temperature: expected a number or a floating-point tensor of shape (), got {kind}")
        if values_are_readable(temperature) and not 0 < temperature < math.inf:
            raise ValueError(f"temperature: expected a positive number, got {temperature.item()}")
    elif isinstance(temperature, nn.Module):
        raise ValueError("temperature: expected a number or a tensor, got a module; call it: temperature=module()")
    elif not isinstance(temperature, Real) or isinstance(temperature, bool):
        kind = type(temperature).__name__
        raise ValueError(f"temperature: expected a positive number, got {temperature!r} of type {kind}; pass a float")
    elif not 0 < float(temperature) < math.inf:
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
