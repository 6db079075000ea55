"""Files that earlier versions wrote, with the names of arguments and options of then."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ssc_toolkit.encoders import Encoder, MelCNN, load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.files import read_metadata, write_embeddings
from ssc_toolkit.files import CHECKSUMS, write_checked_json
from ssc_toolkit.old_names import ENCODER_ARGUMENTS, OPTIONS, SAMPLER_STATE, with_new_names
from ssc_toolkit.options import EmbedOptions, EncoderOptions, PrepareOptions, PretrainOptions
from ssc_toolkit.options.parsing import CommandLine, parse_mapping
from ssc_toolkit.options.run_settings import check_run_settings, read_settings
from ssc_toolkit.samplers import BalancedBatchSampler, SemiSupervisedBatchSampler


def saved_by_an_earlier_version(encoder, folder, names):
    """Save an encoder, and put the old names of arguments into its config."""
    encoder.save_pretrained(folder)
    (folder / CHECKSUMS).unlink()
    config = json.loads((folder / "config.json").read_text())
    old = {new: old for old, new in names.items()}
    (folder / "config.json").write_text(json.dumps({old.get(name, name): value for name, value in config.items()}))


@pytest.mark.parametrize("load", [load_encoder, MelCNN.from_pretrained])
def test_encoders_with_old_arguments_load(load, tmp_path, recwarn):
    encoder = MelCNN(sample_rate=8000, n_mels=24, max_hz=3000.0, channels=2, embedding_dim=4).eval()
    saved_by_an_earlier_version(encoder, tmp_path, ENCODER_ARGUMENTS)
    assert "highest_hz" in json.loads((tmp_path / "config.json").read_text())
    found = load(tmp_path)
    waveforms = torch.randn(2, 8000)
    assert torch.equal(found(waveforms), encoder(waveforms))
    assert not [warning for warning in recwarn if "ignoring" in str(warning.message)]
    found.save_pretrained(tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["max_hz"] == 3000.0
    assert "highest_hz" not in config


def test_given_arguments_override_old_ones(tmp_path):
    saved_by_an_earlier_version(MelCNN(n_mels=24, max_hz=3000.0, channels=2), tmp_path, ENCODER_ARGUMENTS)
    found = MelCNN.from_pretrained(tmp_path, max_hz=2999.0)
    assert found._hub_mixin_config["max_hz"] == 2999.0  # type: ignore[index]


class OwnEncoder(Encoder):
    """An encoder of a user, with arguments of the old names."""

    def __init__(self, minimum_samples: int = 100, highest_hz: float = 1.0) -> None:
        super().__init__(embedding_dim=1, sample_rate=8000, min_samples=minimum_samples)
        self.highest_hz = highest_hz
        self.scale = torch.nn.Parameter(torch.ones(1))

    def encode_frames(self, signals: Tensor) -> Tensor:
        return self.scale * signals[:, None]


def test_arguments_of_own_encoders_keep_their_names(tmp_path):
    OwnEncoder(200, 3.0).save_pretrained(tmp_path)
    found = OwnEncoder.from_pretrained(tmp_path)
    assert (found.min_samples, found.highest_hz) == (200, 3.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SemiSupervisedBatchSampler(range(20), range(20, 99), 4, steps=9),
        lambda: BalancedBatchSampler(torch.arange(40) % 4, 2, 4, steps=9),
    ],
)
def test_states_of_samplers_with_old_names_load(make):
    state = make().state_dict(batches=3)
    old = {new: old for old, new in SAMPLER_STATE.items()}
    earlier = {old.get(name, name): value for name, value in state.items()}
    assert "items_and_shares" in earlier
    sampler = make()
    sampler.load_state_dict(earlier)
    assert list(sampler) == list(make())[3:]
    with pytest.raises(ValueError, match="settings_hash"):
        sampler.load_state_dict(earlier | {"items_and_shares": "0"})


def earlier_run(folder, **settings):
    """Make the folder of a run of an earlier version that can be resumed."""
    (folder / "last.ckpt").touch()
    write_checked_json(folder / "settings.json", {"tracks": "scores", "steps": 2000, **settings})


def test_runs_with_old_settings_resume(tmp_path):
    earlier_run(tmp_path, minimum_shared=2, monitor="key")
    assert read_settings(tmp_path)["min_shared"] == 2
    earlier = PretrainOptions(
        tracks="scores", out=str(tmp_path), steps=2000, min_shared=2, encoder=EncoderOptions(max_hz=5000.0)
    )
    check_run_settings(tmp_path, earlier)
    with pytest.raises(InputError, match="min_shared was 2, is 1"):
        check_run_settings(tmp_path, replace(earlier, min_shared=1))


def test_configs_of_earlier_runs_are_read(tmp_path):
    config = tmp_path / "config.yaml"
    validation = "monitor: key\nlogs:\n  measure_every: 7\n"
    config.write_text(f"tracks: scores\nout: a\nminimum_shared: 3\nmost_skipped: 0.25\n{validation}")
    options = CommandLine(PretrainOptions, [f"--config={config}"]).options
    assert (options.min_shared, options.max_unusable) == (3, 0.25)
    assert (options.validation.labels, options.validation.every) == ("key", 7)


def test_configs_with_the_old_window_pooling_are_read(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("tracks: music\nencoder: a\nout: a.npz\nwindow_pooling: mean+std\n")
    assert CommandLine(EmbedOptions, [f"--config={config}"]).options.window_pooling == "mean_std"
    assert parse_mapping(
        EmbedOptions, {"tracks": "music", "encoder": "a", "out": "a.npz", "window_pooling": "mean+std"}
    )
    with pytest.raises(InputError, match="window_pooling: expected one of 'mean', 'max', 'mean_std', 'none'"):
        CommandLine(EmbedOptions, ["music", "--encoder=a", "--out=a.npz", "--window_pooling=mean+std"])


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_metadata_with_the_old_window_pooling_is_read(tmp_path, suffix):
    file = tmp_path / f"e{suffix}"
    write_embeddings(file, np.zeros((1, 2)), {}, {"windows": {"pooling": "mean+std"}})
    assert read_metadata(file) == {"windows": {"pooling": "mean_std"}}


def test_threads_of_prepare_were_called_workers(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("tracks: scores\nworkers: 3\n")
    assert CommandLine(PrepareOptions, [f"--config={config}"]).options.threads == 3
    with pytest.raises(InputError, match="mean --threads"):
        CommandLine(PrepareOptions, ["--tracks=scores", "--workers=3"])
    config.write_text("tracks: scores\nout: a\nworkers: 3\n")
    assert CommandLine(PretrainOptions, [f"--config={config}"]).options.workers == 3


def test_new_names_are_not_replaced():
    assert with_new_names({"min_shared": 2, "minimum_shared": 1}, OPTIONS) == {"min_shared": 2, "minimum_shared": 1}
    assert with_new_names({"a": 1, "most_skipped": 0.5}, OPTIONS) == {"a": 1, "max_unusable": 0.5}
