"""Learning rates that decrease from the last layer of an encoder to the first."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from torch import nn

from ssc_toolkit.encoders import Encoder


def number_layers(encoder: Encoder) -> dict[str, int]:
    """Return the number of the layer of each parameter of an encoder, from 0 for the first layer.

    The layers are those of `Encoder.layer_names` that have parameters. A parameter between two layers, such as a scale
    of the spectrogram, belongs to the later one.

    Examples:
        >>> from ssc_toolkit.encoders import MelCNN
        >>> found = number_layers(MelCNN())
        >>> {name: found[name] for name in ("scale.weight", "spectral.0.weight", "temporal.4.bias")}
        {'scale.weight': 0, 'spectral.0.weight': 0, 'temporal.4.bias': 3}
    """
    places = {name: place for place, (name, _) in enumerate(encoder.named_modules())}
    ends = [
        max(place for name, place in places.items() if f"{name}.".startswith(f"{layer}."))
        for layer in encoder.layer_names
    ]
    found = {
        name: min(bisect_left(ends, places[name.rpartition(".")[0]]), len(ends) - 1)
        for name, _ in encoder.named_parameters()
    }
    with_parameters = sorted(set(found.values()))
    return {name: with_parameters.index(number) for name, number in found.items()}


def make_parameter_groups(
    encoder: Encoder, parameters: Iterable[nn.Parameter], learning_rate: float, decay: float
) -> list[dict[str, Any]]:
    r"""Return groups of parameters for an optimizer, with a learning rate for each layer of an encoder.

    The learning rate of layer l of an encoder with L layers is \(\eta d^{L - 1 - l}\), with η the learning rate and d
    the decay. Parameters outside of the encoder have the learning rate η, and are in the first group.

    Args:
        encoder: the encoder.
        parameters: parameters of the encoder and of other modules, such as the projector.
        learning_rate: learning rate of the last layer.
        decay: factor of the learning rate from a layer to the layer before it, above 0 and at most 1.
    """
    numbers = number_layers(encoder)
    layers = {id(parameter): numbers[name] for name, parameter in encoder.named_parameters()}
    groups: dict[int, list[nn.Parameter]] = {}
    last = max(numbers.values(), default=0)
    for parameter in parameters:
        groups.setdefault(last + 1 if id(parameter) not in layers else layers[id(parameter)], []).append(parameter)
    return [
        {"params": groups[number], "lr": learning_rate * decay ** max(0, last - number)}
        for number in sorted(groups, reverse=True)
    ]
