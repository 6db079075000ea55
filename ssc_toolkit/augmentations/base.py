"""Base classes of the transforms. Drawing random parameters and applying them are separate steps."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, overload

import torch
from einops import rearrange
from torch import Tensor, nn

from ssc_toolkit.augmentations.draw import Draw
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.checks import check_integer, check_number
from ssc_toolkit.errors import InputError


class Augmentation(nn.Module, ABC):
    """Base class of transforms and containers.

    `draw` draws random parameters for each example of a batch, on the CPU. `apply_draw` applies these parameters to
    waveforms without drawing new ones. Calling the augmentation does both. An example is one clip, an array
    (channels, samples). In a batch with views, each view is an example.

    Args:
        p: probability that an example is transformed, 0 to 1. This is decided separately for each example.
        sample_rate: sample rate of the waveforms in hertz, for transforms that need it.

    Shape:
        - input: (batch, channels, samples) or (items, views, channels, samples), floating point.
          Each clip has its own random parameters. All channels of a clip have the same parameters.
        - output: same shape, dtype and device. float16 and bfloat16 waveforms are converted to float32 for the
          computation, also under autocast. Results outside the range of the input dtype become infinite.
    """

    cpu_slice_size: int | None = 16
    """Number of clips processed at once on a CPU, such that they fit in the cache. None: all clips."""
    device_slice_size: int | None = None
    """Number of clips processed at once on other devices, to limit the memory. None: all clips."""

    def __init__(self, *, p: float = 1.0, sample_rate: int | None = None) -> None:
        super().__init__()
        self.p = check_number("p", p, 0, 1)
        self.sample_rate = None if sample_rate is None else require_sample_rate(sample_rate)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "draw" in vars(cls):
            raise TypeError(f"{cls.__name__}: expected draw_examples(generator) or draw_values(generator), got draw")

    def draw(
        self,
        count: int,
        generator: torch.Generator | None = None,
        *,
        views: int = 1,
        places: Sequence[int] | Tensor | None = None,
    ) -> Draw:
        """Draw random parameters for a batch.

        The generator gives one seed. The parameters of a clip depend on this seed, the place of its item, and its
        number among the views, but not on the other clips. With the same state of the generator, several processes
        that draw for parts of a batch therefore draw what one process draws for the whole batch.

        Args:
            count: number of clips; each view is one clip.
            generator: random generator on the CPU; the global generator of PyTorch if None.
            views: number of consecutive clips that are views of the same item.
            places: position of each item in the batch of all processes, at least 0; 0 to the number of items - 1 if
                None.

        Returns:
            The drawn parameters of all clips, which can be passed to `apply_draw`.

        Raises:
            ValueError: if `count` is not a multiple of `views`, or the number of `places` is not the number of items.
            TypeError: if `places` are not integers.

        Examples:
            >>> from ssc_toolkit.augmentations import Gain
            >>> whole = Gain().draw(4, torch.Generator().manual_seed(0))
            >>> part = Gain().draw(2, torch.Generator().manual_seed(0), places=[1, 3])
            >>> torch.equal(part.values["gain_db"], whole.values["gain_db"][[1, 3]])
            True
        """
        check_count(count, views)
        check_generator(generator)
        if torch.compiler.is_compiling():  # numbers are drawn with NumPy, which a graph would not compute correctly
            return torch.compiler.disable(self._draw)(count, generator, views, places)
        return self._draw(count, generator, views, places)

    def _draw(
        self,
        count: int,
        generator: torch.Generator | None,
        views: int,
        places: Sequence[int] | Tensor | None,
    ) -> Draw:
        return self.draw_examples(ExampleGenerator.from_torch(generator, count, views, places))

    @abstractmethod
    def draw_examples(self, generator: ExampleGenerator) -> Draw:
        """Draw random parameters for the examples of a generator."""

    @abstractmethod
    def apply_to_clips(self, clips: Tensor, draw: Draw) -> Tensor:
        """Apply the random parameters of a draw for N clips to clips (N, channels, samples) in float32 or float64."""

    def apply_draw(self, waveforms: Tensor, draw: Draw, *, inplace: bool = False) -> Tensor:
        """Apply the random parameters of a draw. The same draw gives the same result for the same waveforms.

        Args:
            waveforms: (batch, channels, samples) or (items, views, channels, samples).
            draw: parameters that the method `draw` of this augmentation returned for the same number of clips.
            inplace: whether to write the result into `waveforms`, which saves the memory of a second batch.

        Returns:
            Transformed waveforms, of the same shape, dtype and device.

        Raises:
            ValueError: if `waveforms` has another shape, or the draw was made for a different number of clips, by a
                different augmentation, or by a container with different members.
            TypeError: if the waveforms are not floating point.
        """
        check_waveforms(waveforms)
        clips = rearrange(waveforms, "... channels samples -> (...) channels samples")
        if not isinstance(draw, Draw):
            raise TypeError(f"draw: expected a Draw, got {type(draw).__name__}")
        self.check_draw(draw)
        if len(draw) != len(clips):
            raise ValueError(f"draw: expected a draw for {len(clips)} clips, got one for {len(draw)}")
        size = self.cpu_slice_size if clips.device.type == "cpu" else self.device_slice_size
        if size is not None and size < 1:
            raise ValueError(f"cpu_slice_size, device_slice_size: expected at least 1 clip, or None, got {size}")
        if size is None or len(clips) <= size or torch.compiler.is_compiling() or draw.needs_all:
            result = self._in_float(clips, draw)
        else:
            slices = [slice(start, start + size) for start in range(0, len(clips), size)]
            if torch.is_grad_enabled() and waveforms.requires_grad:
                result = torch.cat([self._in_float(clips[rows], draw[rows]) for rows in slices])
            else:
                result = clips if inplace else torch.empty_like(clips)
                for rows in slices:
                    result[rows] = self._in_float(clips[rows], draw[rows])
        if inplace:
            return waveforms.copy_(result.view(waveforms.shape))
        return (result.clone() if result is clips else result).view(waveforms.shape)

    def check_draw(self, draw: Draw) -> None:
        """Raise InputError if the draw was made by a different augmentation."""
        if draw.transform != type(self).__name__:
            raise InputError(f"draw: expected a draw by {type(self).__name__}, got one by {draw.transform}")

    def _in_float(self, clips: Tensor, draw: Draw) -> Tensor:
        """Apply a draw to clips (N, channels, samples), computed in float32 or float64. The dtype stays the same."""
        wide = clips.float() if clips.dtype in (torch.float16, torch.bfloat16) else clips
        kind = clips.device.type
        with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
            return self.apply_to_clips(wide, draw.to(clips.device)).to(clips.dtype)

    @overload
    def __call__(
        self,
        waveforms: Tensor,
        *,
        generator: torch.Generator | None = None,
        places: Sequence[int] | Tensor | None = None,
        inplace: bool = False,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        waveforms: Tensor,
        *,
        generator: torch.Generator | None = None,
        places: Sequence[int] | Tensor | None = None,
        inplace: bool = False,
        return_draw: Literal[True],
    ) -> tuple[Tensor, Draw]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)

    def forward(
        self,
        waveforms: Tensor,
        *,
        generator: torch.Generator | None = None,
        places: Sequence[int] | Tensor | None = None,
        inplace: bool = False,
        return_draw: bool = False,
    ) -> Tensor | tuple[Tensor, Draw]:
        """Draw random parameters and apply them.

        Args:
            waveforms: (batch, channels, samples) or (items, views, channels, samples).
            generator: random generator on the CPU; the global generator of PyTorch if None. Generators in the same
                state give the same result.
            places: position of each item in the batch of all processes, as for `draw`.
            inplace: whether to write the result into `waveforms`.
            return_draw: whether to also return the random parameters as a `Draw`, which `apply_draw` can apply again.

        Returns:
            Transformed waveforms, of the same shape, dtype and device; with `return_draw`, also the draw.
        """
        check_waveforms(waveforms)
        views = waveforms.shape[1] if waveforms.dim() == 4 else 1
        draw = self.draw(waveforms.shape[:-2].numel(), generator, views=views, places=places)
        result = self.apply_draw(waveforms, draw, inplace=inplace)
        return (result, draw) if return_draw else result

    def extra_repr(self) -> str:
        """Return the settings as one line of text, which PyTorch shows in the text of the module."""
        names = inspect.signature(type(self).__init__).parameters
        settings = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return ", ".join(f"{k}={v!r}" for k, v in settings.items() if not isinstance(v, nn.Module))

    def to_config(self) -> dict[str, Any]:
        """Return the class name and the constructor arguments as a dictionary that JSON and YAML can represent.

        The dictionary of a container includes the dictionaries of its members. `from_config` constructs a transform
        with the same arguments from the dictionary.

        Raises:
            ValueError: if a transform does not store its arguments in attributes of the same names, or if an argument
                is not a string, number, bool, None, transform, or list of these.

        Examples:
            >>> from ssc_toolkit.augmentations import Gain
            >>> Gain((-6, 0), p=0.5).to_config()
            {'name': 'Gain', 'gain_db': [-6.0, 0.0], 'p': 0.5}
        """
        name = type(self).__name__
        arguments = [key for key in inspect.signature(type(self).__init__).parameters if key != "self"]
        lacking = [key for key in arguments if not hasattr(self, key)]
        if lacking:
            raise ValueError(
                f"config: expected {name} to store its arguments as attributes, got none named {', '.join(lacking)}"
            )
        return {"name": name, **{key: _plain(f"{name}.{key}", getattr(self, key)) for key in arguments}}


class Transform(Augmentation):
    """Base class of single transforms. `Container` is the base class of combinations of transforms.

    A subclass stores every constructor argument in an attribute of the same name. It defines `draw_values`, which draws
    the parameters of each clip, and `transform`, which applies given parameters to waveforms. A subclass with an
    expensive computation sets `selective = True`. It is then computed only for the clips that are transformed.
    """

    selective = False

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        """Draw the random parameters of N clips.

        Args:
            generator: random generator whose methods `uniform`, `log_uniform` and `integers` return a number for each
                clip.

        Returns:
            Dictionary of CPU tensors (N, ...) by name of the parameter.
        """
        return {}

    @abstractmethod
    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Apply given parameters to N clips.

        Args:
            waveforms: (N, channels, samples).
            values: parameters by name, as from `draw_values`, tensors (N, ...) on the device of the waveforms.

        Returns:
            Transformed waveforms, (N, channels, samples).
        """

    def draw_examples(self, generator: ExampleGenerator) -> Draw:
        applied = generator.uniform() < self.p
        values = self.draw_values(generator)
        self._check_values(values, len(generator))
        return Draw(type(self).__name__, applied, values)

    def apply_to_clips(self, clips: Tensor, draw: Draw) -> Tensor:
        if not torch.compiler.is_compiling():  # in a compiled graph, shapes cannot depend on the draw
            touched = len(draw.chosen)
            if touched == 0:
                return clips
            if touched == len(clips):
                return self._transformed(clips, draw.values)
            if self.selective:
                changed = self._transformed(clips[draw.chosen], draw.chosen_values())
                return clips.index_copy(0, draw.chosen, changed)
        return torch.where(per_clip(draw.mask), self._transformed(clips, draw.values), clips)

    def _transformed(self, clips: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Call the method `transform`, and check that the result has the shape of `clips`, (N, channels, samples)."""
        changed = self.transform(clips, values)
        if not isinstance(changed, Tensor) or changed.shape != clips.shape:
            raise InputError(
                f"{type(self).__name__}.transform: expected to return a tensor of the shape of its input, "
                f"{tuple(clips.shape)}, got {_form(changed)}"
            )
        return changed

    def _check_values(self, values: Mapping[str, Tensor], count: int) -> None:
        """Raise InputError unless the result of `draw_values` is a dictionary of tensors with `count` rows each."""
        place = f"{type(self).__name__}.draw_values"
        if not isinstance(values, Mapping):
            raise InputError(f"{place}: expected to return a dictionary of tensors by name, got {_form(values)}")
        for name, value in values.items():
            if not isinstance(value, Tensor) or value.shape[:1] != (count,):
                raise InputError(f"{place}: expected {name!r} to be a tensor of {count} rows, got {_form(value)}")


def check_waveforms(waveforms: Tensor) -> None:
    """Raise TypeError or ValueError unless waveforms are floating point with a shape that `Augmentation` accepts."""
    if not isinstance(waveforms, Tensor):
        raise TypeError(f"waveforms: expected a tensor, got {type(waveforms).__name__}")
    if waveforms.dim() not in (3, 4):
        raise ValueError(
            "waveforms: expected (batch, channels, samples) or (items, views, channels, samples), "
            f"got {tuple(waveforms.shape)}"
        )
    if not waveforms.is_floating_point():
        raise TypeError(f"waveforms: expected floating point, -1 to 1, got {waveforms.dtype}")
    if 0 in waveforms.shape[-2:]:
        raise ValueError(f"waveforms: expected at least 1 channel and 1 sample, got {tuple(waveforms.shape)}")


def check_count(count: int, views: int) -> None:
    """Raise ValueError unless the number of clips `count` is a multiple of the number of views per item."""
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"count: expected an integer, got {count!r}")
    if views < 0 or (count and (views == 0 or count % views)):
        raise ValueError(f"views: expected a divisor of {count} clips, got {views}")


def check_generator(generator: torch.Generator | None) -> None:
    """Raise InputError unless the generator is None or on the CPU."""
    if generator is None or (isinstance(generator, torch.Generator) and generator.device.type == "cpu"):
        return
    got = generator.device if isinstance(generator, torch.Generator) else repr(generator)
    raise InputError(f"generator: expected a torch.Generator of the CPU, or None, got {got}")


def require_sample_rate(sample_rate: int | None) -> int:
    """Check that a sample rate is an integer from 1 to 1 000 000 Hz and not None, and return it."""
    if sample_rate is None:
        raise ValueError("sample_rate: expected the sample rate of the waveforms in hertz, got None")
    if type(sample_rate) is int and 1 <= sample_rate <= _MAX_RATE:  # a fast path, because the check is repeated often
        return sample_rate
    return check_integer("sample_rate", sample_rate, 1, _MAX_RATE)


_MAX_RATE = 1_000_000


def per_clip(value: Tensor) -> Tensor:
    """Reshape one value per clip, (N,), to (N, 1, 1), to broadcast with clips (N, channels, samples)."""
    return value[:, None, None]


def db_to_amplitude(decibels: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert decibels to amplitude factors of `dtype` in the same shape, 10^(decibels / 20)."""
    return 10 ** (decibels.to(dtype) / 20)


def _form(value: Any) -> str:
    """Return the shape of a tensor, or the type of another value, for error messages."""
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Augmentation):
        return value.to_config()
    if isinstance(value, (list, tuple, nn.ModuleList)):
        return [_plain(name, element) for element in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise ValueError(f"config: expected {name} to be plain data, got {type(value).__name__}")
