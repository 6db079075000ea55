"""Temperature that is learned together with the encoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssc_toolkit.checks import check_positive, check_range


class LearnableTemperature(nn.Module):
    r"""Temperature with a learned parameter, which stays between two bounds.

    The logarithm of the temperature is the sigmoid of the parameter, scaled to the range between the logarithms of the
    bounds. A clamped parameter would have gradient 0 outside of the bounds; this parameter does not.

    Args:
        initial: initial temperature, between the bounds.
        bounds: lowest and highest temperature, both positive.

    Raises:
        ValueError: unless 0 < lowest < `initial` < highest.

    Examples:
        >>> from ssc_toolkit.losses import SemiSupConLoss
        >>> criterion = SemiSupConLoss(temperature=LearnableTemperature(0.1, bounds=(0.01, 1.0)))
        >>> round(criterion.temperature().item(), 4)
        0.1
        >>> optimizer = torch.optim.Adam(criterion.parameters())
    """

    def __init__(self, initial: float = 0.1, bounds: tuple[float, float] = (0.01, 1.0)) -> None:
        super().__init__()
        low, high = check_range("bounds", bounds, 0, math.inf)
        initial = check_positive("initial", initial)
        if not 0 < low < initial < high < math.inf:
            raise ValueError(f"initial: expected 0 < low < initial < high, got {initial} in {bounds}")
        self.bounds = (low, high)
        place = math.log(initial / low) / math.log(high / low)
        self.logit = nn.Parameter(torch.tensor(math.log(place / (1 - place))))

    def forward(self) -> Tensor:
        """Return the temperature, a scalar."""
        low, high = self.bounds
        return low * (high / low) ** self.logit.sigmoid()

    def extra_repr(self) -> str:
        return f"bounds={self.bounds}"


def as_setting(temperature: float | Tensor | LearnableTemperature) -> float | Tensor | LearnableTemperature:
    """Return a temperature as a loss stores it: a module or tensor unchanged, and a number as a float."""
    return temperature if isinstance(temperature, (Tensor, nn.Module)) else float(temperature)


def read_temperature(temperature: float | Tensor | LearnableTemperature) -> float | Tensor:
    """Return the value of a temperature: the output of a `LearnableTemperature`, or the argument itself."""
    return temperature() if isinstance(temperature, LearnableTemperature) else temperature
