"""Base class of the encoders."""

from __future__ import annotations

import copy
import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from torch import Tensor, nn

from ssc_toolkit.checks import check_bool, check_integer
from ssc_toolkit.encoders.checkpointing import run_checkpointed
from ssc_toolkit.encoders.fusion import fold_batch_norms, fuse_layers
from ssc_toolkit.encoders.readout import DEFAULT, FRAME_POOLINGS, LAST, Readout, capture_outputs
from ssc_toolkit.encoders.saving import (
    CLASS_KEY,
    CONFIG,
    READOUT_KEY,
    WEIGHTS,
    fill,
    find_saved_folder,
    make_config_error,
    name_of_infinite,
    read_config,
)
from ssc_toolkit.encoders.tracing import is_traced
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import CHECKSUMS, write_checksums
from ssc_toolkit.old_names import ENCODER_ARGUMENTS, with_new_names

_CPU_SLICE = 8  # number of clips that a fused encoder embeds at once, so that activations fit in the cache

_READ_SLICE = 32  # number of clips whose layers are read at once outside of training, to limit the memory

_DOWNLOAD = ("cache_dir", "force_download", "local_files_only", "revision", "token")
"""Options of `from_pretrained` that apply to models on the Hugging Face Hub."""

MODEL_CARD = """---
{{ card_data }}
---

An audio encoder of ssc_toolkit. Load it with

    from {{ module }} import {{ encoder_class }}
    encoder = {{ encoder_class }}.from_pretrained("path/to/this/folder")
"""


class Encoder(nn.Module, PyTorchModelHubMixin, ABC, library_name="ssc_toolkit", model_card_template=MODEL_CARD):
    """Base class of encoders, which map a waveform to one embedding, or to one embedding per frame.

    A subclass defines `encode_frames` and passes the arguments below to the constructor of this class.
    `save_pretrained(folder)` and `from_pretrained(folder)` save and load an encoder in the format of the Hugging Face
    Hub: a JSON file with the constructor arguments and a safetensors file with the weights. For the encoders of this
    library, `load_encoder(folder)` finds the class in the JSON file.

    Args:
        embedding_dim: width of the embedding.
        sample_rate: sample rate in hertz of the waveforms that the encoder expects.
        min_samples: minimum length of a waveform in samples.
        receptive_field_samples: number of samples that one frame depends on, including zero padding. None if a
            frame depends on the whole input, or if the number is not known.

    Raises:
        ValueError: if a number is not a positive integer.

    Shape:
        - input: (N, samples), (N, channels, samples) or (items, views, channels, samples); the
          channels are averaged
        - output: (N, embedding_dim) or (items, views, embedding_dim); with `frames=True`
          (..., frames, embedding_dim)
    """

    rearrangeable: ClassVar[bool] = False
    """Whether `fuse` may replace and reorder layers. Set it to True only if `encode_frames` of this class calls each
    `nn.Sequential` as a whole and does not keep the output of a layer inside it."""

    fixed_readout: ClassVar[bool] = False
    """Whether `frame_pooling` and `layers` of an evaluation do not apply, because the encoder itself is a readout."""

    _unsaved: tuple[str, ...] = ()
    _readout: Readout = Readout()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Create the encoder, and store its constructor arguments as plain values for `save_pretrained`."""
        args, kwargs = tuple(map(to_plain, args)), to_plain(kwargs)
        encoder = super().__new__(cls, *args, **kwargs)
        given = dict(zip(list(cls._hub_mixin_init_parameters)[1:], args, strict=False)) | kwargs
        if unsaved := tuple(name for name, value in given.items() if not cls._is_jsonable(value)):
            encoder._unsaved = unsaved
        return encoder

    def __init__(
        self,
        *,
        embedding_dim: int,
        sample_rate: int,
        min_samples: int,
        receptive_field_samples: int | None = None,
    ) -> None:
        super().__init__()
        self.embedding_dim = check_integer("embedding_dim", embedding_dim)
        self.sample_rate = check_integer("sample_rate", sample_rate)
        self.min_samples = check_integer("min_samples", min_samples)
        self.receptive_field_samples = receptive_field_samples
        self.fused = False
        self.gradient_checkpointing = False
        self.register_state_dict_post_hook(_make_contiguous)

    @abstractmethod
    def encode_frames(self, signals: Tensor) -> Tensor:
        """Compute framewise features (N, embedding_dim, frames) of mono signals (N, samples).

        The signals have the dtype of the waveforms that were passed to `forward`. A subclass casts them to the dtype of
        its first layer.
        """

    def pool_frames(self, features: Tensor) -> Tensor:
        """Compute embeddings (N, embedding_dim) as the mean of framewise features (N, embedding_dim, frames)."""
        return features.mean(dim=-1)

    def forward(self, waveforms: Tensor, frames: bool = False) -> Tensor:
        """Embed waveforms.

        Args:
            waveforms: (N, samples), (N, channels, samples) or (items, views, channels, samples), floating point, -1
                to 1.
            frames: return the features of each frame instead of one embedding per waveform.

        Returns:
            Embeddings (N, embedding_dim) or (items, views, embedding_dim), in the dtype of the weights or of autocast;
            with `frames`, (..., frames, embedding_dim).

        Raises:
            ValueError: if the waveforms have another shape, or fewer samples than `min_samples`.
            TypeError: if the waveforms are not a floating-point tensor.
        """
        signals, shape = self._signals(waveforms)
        features = self._features(signals)
        if frames:
            return features.transpose(1, 2).unflatten(0, shape)
        return self.pool_frames(features).unflatten(0, shape)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers whose frames can be read, from the input to the output.

        A subclass lists paths of submodules, as for `get_submodule`, with outputs (N, width, frames) or
        (N, width, bands, frames). The last one is the output of `encode_frames`. By default, only this output can be
        read, by the name "last".
        """
        return (LAST,)

    @property
    def output_layer(self) -> str:
        """Name of the layer that is the output of `encode_frames`."""
        return self.layer_names[-1]

    @property
    def readout(self) -> Readout:
        """Default readout of `embed_waveforms` and of the evaluation. `save_pretrained` saves it."""
        return self._readout

    def set_readout(self, frame_pooling: str = DEFAULT, layers: str | Sequence[str] = LAST) -> Self:
        """Set the default readout of `embed_waveforms` and of the evaluation. `forward` does not change.

        Args:
            frame_pooling: as for `Readout`.
            layers: as for `Readout`.

        Raises:
            InputError: as for `Readout`, or if the encoder has no layer with a given name.
        """
        readout = Readout(frame_pooling, layers)
        self.select_layers(readout.layers)
        self._readout = readout
        return self

    def choose_readout(self, frame_pooling: str = DEFAULT, layers: str | Sequence[str] | None = None) -> Readout:
        """Return a readout of this encoder, after checking the names of the layers.

        Args:
            frame_pooling: as for `Readout`. "default" is the pooling of `readout`.
            layers: as for `Readout`. None is for the layers of `readout`.

        Raises:
            InputError: as for `set_readout`.
        """
        own = self.readout
        chosen = Readout(
            own.frame_pooling if frame_pooling == DEFAULT else frame_pooling, own.layers if layers is None else layers
        )
        self.select_layers(chosen.layers)
        return chosen

    def select_layers(self, layers: str | Sequence[str]) -> list[str]:
        """Return the names of layers, for "last", "all" or a list of names.

        Raises:
            InputError: as for `set_readout`.
        """
        return Readout(layers=layers).select(self.layer_names, self.output_layer, type(self).__name__)

    def layer_frames(self, waveforms: Tensor, layers: str | Sequence[str] = "all") -> dict[str, Tensor]:
        """Compute the frames of layers.

        Feature maps (N, width, bands, frames) are averaged over the bands.

        Args:
            waveforms: as for `forward`.
            layers: "all", "last" or a list of names from `layer_names`.

        Returns:
            Frames (..., frames, width) by name of the layer. Width and number of frames differ between layers.

        Raises:
            InputError: if the encoder has no layer with a given name.
            ValueError: as for `forward`.
        """
        signals, shape = self._signals(waveforms)
        found = self._read(signals, self.select_layers(layers), lambda frames: frames)
        return {name: frames.transpose(1, 2).unflatten(0, shape) for name, frames in found.items()}

    def embed_waveforms(
        self, waveforms: Tensor, frame_pooling: str = DEFAULT, layers: str | Sequence[str] | None = None
    ) -> Tensor:
        """Compute embeddings by a readout: pool the frames of each layer, and concatenate the results.

        Args:
            waveforms: as for `forward`.
            frame_pooling: "mean", "max", "mean_std" or "default", as for `choose_readout`.
            layers: "last", "all", a list of names from `layer_names`, or None, as for `choose_readout`.

        Returns:
            Embeddings (N, dim) or (items, views, dim). With the default readout of a new encoder, they equal the result
            of `forward`.

        Raises:
            InputError: as for `choose_readout`.
            ValueError: as for `forward`.
        """
        readout = self.choose_readout(frame_pooling, layers)
        if readout == Readout():
            return self(waveforms)
        signals, shape = self._signals(waveforms)
        pool = self.pool_frames if readout.frame_pooling == DEFAULT else FRAME_POOLINGS[readout.frame_pooling]
        pooled = self._read(signals, self.select_layers(readout.layers), pool)
        return torch.cat(list(pooled.values()), dim=1).unflatten(0, shape)

    def encode_layers(
        self, signals: Tensor, names: Sequence[str], function: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Apply a function to the frames (N, width, frames) of layers, and return the results by name.

        Gradient checkpointing does not apply, because a checkpointed stage returns only its output.

        Args:
            signals: mono signals (N, samples).
            names: names from `layer_names`.
            function: function of the frames of one layer, such as a pooling.

        Raises:
            InputError: if `encode_frames` does not call one of the layers.
        """
        inner, checkpointing = [name for name in names if name != self.output_layer], self.gradient_checkpointing
        self.gradient_checkpointing = checkpointing and not inner
        try:
            with capture_outputs(self, inner, function) as found:
                output = self.encode_frames(signals)
        finally:
            self.gradient_checkpointing = checkpointing
        if self.output_layer in names:
            found[self.output_layer] = function(output)
        if missing := [name for name in names if name not in found]:
            raise InputError(f"layers: expected layers that {type(self).__name__} calls, got {', '.join(missing)}")
        return {name: found[name] for name in names}

    def fuse(self) -> Self:
        """Return a faster copy of the encoder for inference.

        Batch norms are folded into the preceding convolutions, and layers use memory layouts that are fast on a CPU.
        If the class is not `rearrangeable`, as with adapters, batch norms are folded only in each `nn.Sequential` that
        is called as a whole, and nothing else is changed. The embeddings of the copy equal those of this encoder in
        eval mode, up to rounding errors. The copy stays in eval mode, its parameters require no gradients, and it
        cannot be saved.
        """
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        author = next(kind for kind in type(self).__mro__ if "encode_frames" in vars(kind))
        (fuse_layers if vars(author).get("rearrangeable", False) else fold_batch_norms)(fused)
        fused.fused, fused.gradient_checkpointing = True, False
        return fused

    def gradient_checkpointing_(self, enabled: bool = True) -> Self:
        """Enable or disable gradient checkpointing, which reduces the memory for training.

        With gradient checkpointing, the forward pass stores only the input of each `stage`, and the backward pass
        recomputes the other activations. Outputs, gradients and running statistics do not change. A training step takes
        about a third longer.
        """
        self.gradient_checkpointing = check_bool("enabled", enabled)
        return self

    def stage(self, layers: nn.Module, *inputs: Tensor) -> Tensor:
        """Apply layers as one stage of gradient checkpointing. `encode_frames` of a subclass calls this method."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return run_checkpointed(layers, *inputs)
        return layers(*inputs)

    def train(self, mode: bool = True) -> Self:
        """Set training or eval mode. A fused encoder stays in eval mode."""
        return super().train(mode and not self.fused)

    def save_pretrained(self, save_directory: str | Path, *, config: Any = None, **kwargs: Any) -> str | None:
        """Write `config.json`, `model.safetensors` and their checksums to a folder.

        Args:
            save_directory: the folder; it is created if needed.
            config: entries for `config.json` in addition to the constructor arguments.
            kwargs: options of `huggingface_hub.PyTorchModelHubMixin.save_pretrained`.

        Raises:
            ValueError: if the encoder is fused, if a weight is NaN or infinite, if JSON cannot represent a
                constructor argument, or if `config` contradicts the constructor arguments.
        """
        if self.fused:
            raise ValueError("encoder: a fused encoder cannot be saved; save the encoder on which you called fuse()")
        if self._unsaved:
            raise ValueError(
                f"encoder: {type(self).__name__} was made with {', '.join(self._unsaved)}, which {CONFIG} cannot "
                "contain; save its state_dict() and construct the encoder again to load it"
            )
        if name := name_of_infinite(self.state_dict()):
            raise ValueError(f"encoder: expected finite weights, got NaN or infinity in {name}")
        own = {**_dictionary(self._hub_mixin_config), CLASS_KEY: type(self).__name__}
        if self.readout != Readout():
            own[READOUT_KEY] = self.readout.to_config()
        more = _dictionary(config)
        for name in own.keys() & more.keys():
            if to_plain(more[name]) != to_plain(own[name]):
                raise ValueError(f"config: expected {name} to be {own[name]!r} as in this encoder, got {more[name]!r}")
        (Path(save_directory) / CHECKSUMS).unlink(missing_ok=True)
        pushed = super().save_pretrained(save_directory, config=more | own, **kwargs)
        write_checksums(Path(save_directory), (CONFIG, WEIGHTS))
        return pushed

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """Load an encoder of this class that `save_pretrained` wrote, in eval mode and with the saved dtypes.

        Args:
            pretrained_model_name_or_path: the folder, or the name of a model on the Hugging Face Hub.
            options: options of `huggingface_hub.PyTorchModelHubMixin.from_pretrained`, where `strict` is True by
                default, and constructor arguments, which override the saved ones.

        Raises:
            InputError: if the folder contains no encoder, an encoder of another class, or weights of another model.
        """
        download = {name: options[name] for name in _DOWNLOAD if name in options}
        folder = find_saved_folder(pretrained_model_name_or_path, **download)
        config = read_config(folder)
        if config[CLASS_KEY] != cls.__name__:
            raise InputError(f"encoder: expected a {cls.__name__} in {folder}, got a {config[CLASS_KEY]}")
        parameters = cls._hub_mixin_init_parameters
        renamed = with_new_names(config, ENCODER_ARGUMENTS, parameters)
        options = {name: renamed[name] for name in renamed.keys() - config.keys()} | options
        kinds = {parameter.kind for parameter in parameters.values()}
        unknown = sorted(renamed.keys() - parameters.keys() - {CLASS_KEY, READOUT_KEY})
        takes_all = inspect.Parameter.VAR_KEYWORD in kinds or "config" in parameters
        if unknown and not takes_all:
            warnings.warn(
                f"{folder / CONFIG}: ignoring {', '.join(unknown)}, which {cls.__name__} does not accept", stacklevel=2
            )
        encoder = super().from_pretrained(str(folder), **options)
        if READOUT_KEY in config and READOUT_KEY not in parameters:
            _restore_readout(encoder, config[READOUT_KEY], folder)
        return encoder

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, map_location: Any = "cpu", strict: bool = True, **arguments: Any
    ) -> Self:
        for name in _DOWNLOAD:
            arguments.pop(name)
        if READOUT_KEY not in cls._hub_mixin_init_parameters:
            arguments.pop(READOUT_KEY, None)
        try:
            encoder = cls(**arguments)
        except (RuntimeError, TypeError, ValueError) as error:
            raise make_config_error(cls.__name__, Path(model_id), error) from error
        fill(encoder, Path(model_id), map_location, strict)
        return encoder.eval()

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Generate the text of the model card, which `save_pretrained` writes to `README.md`."""
        module = type(self).__module__
        module = "ssc_toolkit.encoders" if module.startswith("ssc_toolkit.encoders.") else module
        return super().generate_model_card(*args, module=module, encoder_class=type(self).__name__, **kwargs)

    def _features(self, signals: Tensor) -> Tensor:
        if not self.fused or signals.device.type != "cpu" or is_traced():
            return self.encode_frames(signals)
        return torch.cat([self.encode_frames(part) for part in signals.split(_CPU_SLICE)])

    def _read(self, signals: Tensor, names: Sequence[str], function: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Apply `encode_layers`, outside of training to a few clips at a time."""
        if self.training or torch.is_grad_enabled() or is_traced() or not len(signals):
            return self.encode_layers(signals, names, function)
        size = _CPU_SLICE if self.fused and signals.device.type == "cpu" else _READ_SLICE
        parts = [self.encode_layers(part, names, function) for part in signals.split(size)]
        return {name: torch.cat([part[name] for part in parts]) for name in names}

    def _signals(self, waveforms: Tensor) -> tuple[Tensor, torch.Size]:
        """Return mono signals (N, samples), and the shape of the waveforms without channels and samples."""
        self._check(waveforms)
        mono = waveforms if waveforms.dim() == 2 else waveforms.mean(dim=-2)
        return mono.reshape(-1, mono.shape[-1]), mono.shape[:-1]

    def _check(self, waveforms: Tensor) -> None:
        if not isinstance(waveforms, Tensor):
            raise TypeError(f"waveforms: expected a tensor, got {type(waveforms).__name__}")
        if waveforms.dim() not in (2, 3, 4):
            raise ValueError(
                "waveforms: expected (N, samples), (N, channels, samples) or (items, views, channels, samples), "
                f"got {tuple(waveforms.shape)}"
            )
        if not waveforms.is_floating_point():
            raise TypeError(f"waveforms: expected floating point, -1 to 1, got {waveforms.dtype}")
        if waveforms.dim() > 2 and not waveforms.shape[-2]:
            raise ValueError(f"waveforms: expected at least one channel, got {tuple(waveforms.shape)}")
        samples = waveforms.shape[-1]
        if samples < self.min_samples:
            hundredths = -(-100 * self.min_samples // self.sample_rate)  # rounded up, so that this length is sufficient
            raise ValueError(
                f"waveforms: expected at least {self.min_samples} samples for {type(self).__name__} "
                f"({hundredths / 100:.2f} s at {self.sample_rate} Hz), got {samples}"
            )


def _restore_readout(encoder: Encoder, config: Any, folder: Path) -> None:
    """Set the default readout that `config.json` contains."""
    try:
        readout = Readout.from_config(config)
        encoder.set_readout(readout.frame_pooling, readout.layers)
    except InputError as error:
        raise make_config_error(type(encoder).__name__, folder, error) from error


def _make_contiguous(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Make the tensors of a state dict contiguous, as file formats require."""
    for name, value in state.items():
        if name.startswith(prefix) and isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            state[name] = value.contiguous()


def _dictionary(config: Any) -> dict[str, Any]:
    """Return a configuration, which may be a data class or None, as a dictionary."""
    return asdict(config) if is_dataclass(config) and not isinstance(config, type) else dict(config or {})


def to_plain(value: Any) -> Any:
    """Convert values of NumPy or PyTorch, also in lists, tuples and dictionaries, to values that JSON can represent.

    Examples:
        >>> import numpy as np
        >>> to_plain({"strides": np.full(3, 2), "sample_rate": [np.int64(16000), None]})
        {'strides': [2, 2, 2], 'sample_rate': [16000, None]}
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [to_plain(element) for element in value]
    if isinstance(value, dict):
        return {key: to_plain(element) for key, element in value.items()}
    return value
