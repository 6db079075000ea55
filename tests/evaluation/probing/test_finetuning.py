"""Fine-tuning on tones that a frozen encoder does not tell apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from audio_files import write_tones

from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.encoders import MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import as_model, embed_tracks, finetune

RATE = 8000
OPTIONS = {"steps": 12, "batch_size": 8, "evaluate_every": 4, "learning_rate": 1e-3, "progress": False}


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Tones of two pitches, sixteen a split."""
    folder = tmp_path_factory.mktemp("tones")
    names = write_tones(folder, [300, 900] * 24, RATE)
    split = np.repeat(["train", "valid", "test"], 16)
    pd.DataFrame({"path": names, "pitch": ["low", "high"] * 24, "split": split}).to_csv(folder / "t.csv", index=False)
    return check_audio(load_tracks(folder / "t.csv"), progress=False)


@pytest.mark.slow
def test_finetuning_learns_without_the_test_set(tracks):
    torch.manual_seed(0)
    encoder = MelCNN(sample_rate=RATE).eval()
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    tuned = finetune(encoder, tracks, "pitch", 0.5, **OPTIONS)
    assert all(torch.equal(weight, before[name]) for name, weight in encoder.state_dict().items())
    assert not all(torch.equal(weight, before[name]) for name, weight in tuned.model.state_dict().items())
    assert tuned.probe.head.settings["step"] in (4, 8, 12)
    score = tuned.probe.score(embed_tracks(tuned.model, tracks, 0.5, progress=False), tracks)
    assert score.headline.value == 1

    is_test = tracks["split"] == "test"
    spoiled = tracks.assign(
        pitch=tracks["pitch"].where(~is_test, "low"), path=tracks["path"].where(~is_test, tracks["path"][0])
    )
    again = finetune(encoder, spoiled, "pitch", 0.5, **OPTIONS)
    for name, weight in again.model.state_dict().items():
        assert torch.equal(weight, tuned.model.state_dict()[name])


def test_models_without_trainable_weights_are_refused(tracks):
    for model in (as_model(lambda waveforms: waveforms[:, :4], RATE), MelCNN(sample_rate=RATE).requires_grad_(False)):
        with pytest.raises(InputError, match="encoder: expected a module with trainable weights, got"):
            finetune(model, tracks, "pitch", 0.5, **OPTIONS)
    with pytest.raises(InputError, match="steps: expected an integer of at least 1"):
        finetune(MelCNN(sample_rate=RATE), tracks, "pitch", 0.5, **{**OPTIONS, "steps": 0})
