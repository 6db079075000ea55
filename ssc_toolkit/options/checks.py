"""Checks of the options of several commands. The checks open no audio files and import no slow packages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

from ssc_toolkit.checks import check_choice, check_names, check_number
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.code import check_code, is_import_path
from ssc_toolkit.options.names import (
    ENCODER_FILES,
    FINETUNE,
    MAX_SEVERITY,
    PROJECTOR_FILES,
    PUBLISHED_MODELS,
    STAGES,
)
from ssc_toolkit.paths import missing_hint, user_path


def check_choices(options: Any, prefix: str = "") -> None:
    """Raise InputError if the value of an option is not one of its choices.

    Args:
        options: instance of a dataclass, whose fields of type `Literal` are checked.
        prefix: text before the name of a field in the error, such as "trainer.".
    """
    hints = get_type_hints(type(options))
    for field in fields(options):
        choices = getattr(hints[field.name], "__args__", ())
        if choices and all(isinstance(choice, str) for choice in choices):
            check_choice(f"{prefix}{field.name}", getattr(options, field.name), choices)


def check_encoder(source: str, argument: str = "encoder", *, allow_code: bool = False) -> None:
    """Raise InputError unless `source` is a saved encoder, a published model, or an allowed module:function.

    Args:
        source: folder, name of a published model, or module:function. The function is not imported.
        argument: name of the argument for the error message.
        allow_code: whether the user allows code, which module:function requires.
    """
    folder = user_path(source, argument)
    if not folder.exists() and source in PUBLISHED_MODELS:
        return
    if not folder.exists() and is_import_path(source):
        return check_code(argument, source, allow_code)
    if not all((folder / name).is_file() for name in ENCODER_FILES):
        hint = missing_hint(folder) or "; pass the 'encoder' folder that pretraining wrote"
        files = " and ".join(ENCODER_FILES)
        raise InputError(f"{argument}: expected the folder of a saved encoder, with {files}, got {folder}{hint}")


def check_projections(
    sources: Sequence[str],
    frame_pooling: str,
    layers: Sequence[str],
    methods: Collection[str] = (),
    argument: str = "encoder",
) -> None:
    """Raise InputError unless encoders have projectors, and readout and methods can be used with projections.

    Args:
        sources: folders of saved encoders.
        frame_pooling: option of the command, which must be "default".
        layers: option of the command, which must be empty.
        methods: option of the command, which may not contain methods that train or weight the encoder's layers.
        argument: name of the argument that gave the folders, for error messages.
    """
    if frame_pooling != "default" or layers:
        name, value = ("layers", ", ".join(layers)) if layers else ("frame_pooling", frame_pooling)
        raise InputError(
            f"{name}: expected no value with projections, because the projector was trained on the output of the "
            f"encoder, got {value}"
        )
    for method in methods:
        if method in (FINETUNE, "weighted_layers"):
            raise InputError(f"methods: expected linear, mlp, knn or prototypes with projections, got {method}")
    for source in sources:
        folder = user_path(source, argument)
        if not all((folder / name).is_file() for name in PROJECTOR_FILES):
            raise InputError(
                f"projections: expected {' and '.join(PROJECTOR_FILES)} next to the encoder in {folder}, got none; "
                "pretrain and export write them"
            )


def check_layers(layers: Sequence[str], group: str = "") -> None:
    """Raise InputError if "all" is not alone in a list of layers, or if a layer occurs twice.

    `group` is the name of the group of options with a dot, for the message.
    """
    if (len(layers) > 1 and "all" in layers) or len(set(layers)) < len(layers):
        raise InputError(f"{group}layers: expected last, all or a list of different names, got {', '.join(layers)}")


def check_severity(severity: float) -> None:
    """Raise InputError unless the severity of a corruption is from 0 to 2.5."""
    check_number("severity", severity, 0, MAX_SEVERITY)


def check_omit(omit: Collection[str]) -> None:
    """Raise InputError if a name in `omit` is not that of a stage of the augmentation chain."""
    if omit:
        check_names("omit", omit, STAGES)


def check_output_file(out: str, overwrite: bool) -> None:
    """Raise InputError if `out` is a folder, or an existing file that is not to be overwritten."""
    path = user_path(out, "out")
    if path.is_dir():
        raise InputError(f"out: expected a file name, got the folder {path}")
    if path.exists() and not overwrite:
        raise InputError(f"out: {path} exists; choose another file, or pass --overwrite to replace it")
