"""The command `ssc-toolkit export`."""

from __future__ import annotations

from pathlib import Path

from ssc_toolkit.evaluation.leaks import TRAINING_TRACKS
from ssc_toolkit.files import lock_file, make_writable_folder
from ssc_toolkit.options.export import ExportOptions, check_output
from ssc_toolkit.options.run_settings import EXPORTED_FROM, read_settings
from ssc_toolkit.paths import user_path
from ssc_toolkit.training.checkpoint_model import load_checkpoint_model
from ssc_toolkit.training.model_folder import write_model_folder


def export(options: ExportOptions) -> Path:
    """Save the encoder and the projector of a checkpoint of a training run, also while the run is training.

    Checkpoints are replaced atomically, so the run is not locked.

    Args:
        options: options of the command, as on the command line.

    Returns:
        The folder of the encoder, which `load_encoder`, `load_projector` and `load_model` read.

    Raises:
        InputError: if an option or a file is invalid. An earlier content of the output folder is not changed then.
    """
    options.check()
    run, out = user_path(options.run, "run"), user_path(options.out, "out").absolute()
    make_writable_folder(out.parent, "out")
    with lock_file(out, "out"):
        check_output(out)
        model, content = load_checkpoint_model(options.path, read_settings(run, "run"))
        training = {EXPORTED_FROM: run.absolute().name, **content}
        record = run / TRAINING_TRACKS
        write_model_folder(model, out, training, copied=[record] if record.exists() else [])
    print(f"encoder of step {content['step']}, {content['weights']} weights, in {out}")
    return out
