"""Base class of the encoders."""

from __future__ import annotations

import copy
import inspect
import warnings
from abc import ABC
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from torch import Tensor, nn

from ssc_toolkit.checks import check_bool, check_integer
from ssc_toolkit.encoders.checkpointing import run_checkpointed
from ssc_toolkit.encoders.fusion import fold_batch_norms, fuse_layers
from ssc_toolkit.encoders.layered import CPU_SLICE, LayeredEncoder
from ssc_toolkit.encoders.readout import Readout
from ssc_toolkit.encoders.saving import (
    CONFIG,
    ENCODER_CLASS_KEY,
    READOUT_KEY,
    WEIGHTS,
    check_shapes,
    fill,
    find_saved_folder,
    make_config_error,
    name_of_infinite,
    read_config,
    verify,
)
from ssc_toolkit.encoders.sliced_blocks import apply_layers
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import CHECKSUMS, write_checksums
from ssc_toolkit.old_names import ENCODER_ARGUMENTS, with_new_names
from ssc_toolkit.tracing import is_traced

_DOWNLOAD = ("cache_dir", "force_download", "local_files_only", "revision", "token")
"""Names of the options of `from_pretrained` that apply to downloads from the Hugging Face Hub."""

_OWN_MODULES = "ssc_toolkit.encoders."

MODEL_CARD = """---
{{ card_data }}
---

An audio encoder of ssc_toolkit. Load it with

    from {{ module }} import {{ encoder_class }}
    encoder = {{ encoder_class }}.from_pretrained("path/to/this/folder")
"""


class Encoder(LayeredEncoder, PyTorchModelHubMixin, ABC, library_name="ssc_toolkit", model_card_template=MODEL_CARD):
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
    """Whether the method `fuse` may replace and reorder layers.

    Set it to True only if `encode_frames` of this class calls each `nn.Sequential` as a whole and does not keep the
    output of a layer inside it.
    """

    _unsaved: tuple[str, ...] = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Create the encoder, and store its constructor arguments as plain values for `save_pretrained`."""
        args, kwargs = tuple(map(to_python_values, args)), to_python_values(kwargs)
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

    def forward(self, waveforms: Tensor, frames: bool = False) -> Tensor:
        """Embed waveforms.

        Args:
            waveforms: (N, samples), (N, channels, samples) or (items, views, channels, samples), floating point, -1
                to 1.
            frames: whether to return the features of each frame instead of one embedding per waveform.

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

    def fuse(self) -> Self:
        """Return a faster copy of the encoder for inference.

        Batch norms are folded into the preceding convolutions, and layers use memory layouts that are fast on a CPU. If
        the class attribute `rearrangeable` is False, as in `EncoderAdapter`, batch norms are folded only in each
        `nn.Sequential` that is called as a whole, and nothing else is changed. The embeddings of the copy equal those
        of this encoder in eval mode, up to rounding errors. The copy stays in eval mode, its parameters require no
        gradients, and it cannot be saved.
        """
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        author = next(kind for kind in type(self).__mro__ if "encode_frames" in vars(kind))
        (fuse_layers if vars(author).get("rearrangeable", False) else fold_batch_norms)(fused)
        fused.fused, fused.gradient_checkpointing = True, False
        return fused

    def gradient_checkpointing_(self, enabled: bool = True) -> Self:
        """Enable or disable gradient checkpointing, which reduces the memory for training.

        With gradient checkpointing, the forward pass stores only the inputs of groups of layers, and the backward pass
        recomputes the other activations. Outputs, gradients and running statistics do not change. A training step takes
        about a third longer.
        """
        self.gradient_checkpointing = check_bool("enabled", enabled)
        return self

    def stage(self, layers: nn.Module, input: Tensor, *affine: Tensor) -> Tensor:
        """Apply layers, and recompute their activations in the backward pass if gradient checkpointing is enabled.

        In training on a CPU, the layers are computed in slices of the batch that fit in its cache; see `apply_layers`.
        The method `encode_frames` of a subclass calls this method.

        Args:
            layers: module to apply.
            input: input of the module.
            affine: weight and bias of a preceding batch norm that are not yet applied; see `normalize_image`.

        Returns:
            Output of the module.
        """
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return run_checkpointed(layers, input, *affine)
        return apply_layers(layers, input, *affine)

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
        own = self.to_config()
        if self.readout != Readout():
            own[READOUT_KEY] = self.readout.to_config()
        more = _dictionary(config)
        for name in own.keys() & more.keys():
            if to_python_values(more[name]) != to_python_values(own[name]):
                raise ValueError(f"config: expected {name} to be {own[name]!r} as in this encoder, got {more[name]!r}")
        (Path(save_directory) / CHECKSUMS).unlink(missing_ok=True)
        pushed = super().save_pretrained(save_directory, config=more | own, **kwargs)
        write_checksums(Path(save_directory), (CONFIG, WEIGHTS))
        return pushed

    def to_config(self) -> dict[str, Any]:
        """Return the name of the class and the constructor arguments, as in `config.json` without the readout.

        Examples:
            >>> from ssc_toolkit.encoders import SampleCNN
            >>> SampleCNN().to_config()["encoder_class"]
            'SampleCNN'
        """
        return {**_dictionary(self._hub_mixin_config), ENCODER_CLASS_KEY: type(self).__name__}

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
        if config[ENCODER_CLASS_KEY] != cls.__name__:
            raise InputError(f"encoder: expected a {cls.__name__} in {folder}, got a {config[ENCODER_CLASS_KEY]}")
        parameters = cls._hub_mixin_init_parameters
        renamed = with_new_names(config, ENCODER_ARGUMENTS, parameters)
        options = {name: renamed[name] for name in renamed.keys() - config.keys()} | options
        kinds = {parameter.kind for parameter in parameters.values()}
        unknown = sorted(renamed.keys() - parameters.keys() - {ENCODER_CLASS_KEY, READOUT_KEY})
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
        folder = Path(model_id)
        verify(folder / WEIGHTS)
        if cls.__module__.startswith(_OWN_MODULES):
            # The arguments in a file of somebody else could need any amount of memory.
            with torch.device("meta"), warnings.catch_warnings(action="ignore"):
                check_shapes(cls._from_config(folder, arguments), folder, strict)
        encoder = cls._from_config(folder, arguments)
        fill(encoder, folder, map_location, strict)
        return encoder.eval()

    @classmethod
    def _from_config(cls, folder: Path, arguments: dict[str, Any]) -> Self:
        """Create an untrained encoder with arguments from `config.json` in a folder."""
        try:
            return cls(**arguments)
        except (RuntimeError, TypeError, ValueError) as error:
            raise make_config_error(cls.__name__, folder, error) from error

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Return the model card, which `save_pretrained` writes to `README.md` in the folder of the encoder."""
        module = type(self).__module__
        module = "ssc_toolkit.encoders" if module.startswith(_OWN_MODULES) else module
        return super().generate_model_card(*args, module=module, encoder_class=type(self).__name__, **kwargs)

    def _features(self, signals: Tensor) -> Tensor:
        if not self.fused or signals.device.type != "cpu" or is_traced():
            return self.encode_frames(signals)
        return torch.cat([self.encode_frames(part) for part in signals.split(CPU_SLICE)])


def _restore_readout(encoder: Encoder, config: Any, folder: Path) -> None:
    """Set the default readout that `config.json` contains."""
    try:
        readout = Readout.from_config(config)
        encoder.set_readout(readout.frame_pooling, readout.layers)
    except InputError as error:
        raise make_config_error(type(encoder).__name__, folder, error) from error


def _make_contiguous(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Make the buffers of `module` in a state dict contiguous, as file formats require.

    This is a hook of `state_dict`. The names of the buffers begin with `prefix`.
    """
    for name, value in state.items():
        if name.startswith(prefix) and isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            state[name] = value.contiguous()


def _dictionary(config: Any) -> dict[str, Any]:
    """Return a configuration, which may be a mapping, a data class or None, as a dictionary."""
    return asdict(config) if is_dataclass(config) and not isinstance(config, type) else dict(config or {})


def to_python_values(value: Any) -> Any:
    """Convert values of NumPy or PyTorch, also in lists, tuples and dictionaries, to values that JSON can represent.

    Examples:
        >>> import numpy as np
        >>> to_python_values({"strides": np.full(3, 2), "sample_rate": [np.int64(16000), None]})
        {'strides': [2, 2, 2], 'sample_rate': [16000, None]}
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [to_python_values(element) for element in value]
    if isinstance(value, dict):
        return {key: to_python_values(element) for key, element in value.items()}
    return value
