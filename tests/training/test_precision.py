"""The precision that a measurement chooses: it is recorded, and the run is that of the same precision."""

from __future__ import annotations

import copy
import json
import logging
import random
import weakref

import numpy as np
import pytest
import torch
from training_runs import SMALL, assert_same_checkpoint, history, pretrain_on

from ssc_toolkit.data import ContrastiveDataset, check_audio, load_tracks
from ssc_toolkit.encoders import ContrastiveModel, MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.losses import CrossBatchMemory, SemiSupConLoss
from ssc_toolkit.options import LogOptions, PretrainOptions, TrainerOptions
from ssc_toolkit.training import SemiSupConModule, precision
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.launching import check_devices
from ssc_toolkit.training.precision import choose_precision, read_precision

OPTIONS = {**SMALL, "steps": 4, "labels": "note", "logs": LogOptions(tensorboard=False)}
AUTO = TrainerOptions(precision="auto", accelerator="cpu")


def measured(monkeypatch, float32, bfloat16, cosine):
    """Give every measurement these seconds, and this similarity of the gradients."""
    found = precision.Measurement({"32": float32, "bf16": bfloat16}, cosine)
    monkeypatch.setattr(precision, "measure_precisions", lambda *_: found)


@pytest.mark.parametrize(
    ("float32", "bfloat16", "cosine", "chosen"),
    [
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], 0.99, "bf16"),
        ([2.0, 2.0, 9.0], [1.9, 1.9, 1.9], 0.99, "32"),  # faster, but not clearly; the slow step does not count
        ([1.0, 1.0, 1.0], [3.0, 3.0, 0.1], 0.99, "32"),
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], 0.8, "32"),
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], float("nan"), "32"),
    ],
)
def test_only_a_clear_gain_chooses_bfloat16(monkeypatch, tmp_path, caplog, float32, bfloat16, cosine, chosen):
    measured(monkeypatch, float32, bfloat16, cosine)
    with caplog.at_level(logging.INFO):
        assert choose_precision(None, None, tmp_path, None) == chosen
    assert read_precision(tmp_path) == chosen
    record = json.loads((tmp_path / "precision.json").read_text())
    assert record["seconds"] == {"32": float32, "bf16": bfloat16}
    times = f"{sorted(float32)[1]:.3g} s in float32 and {sorted(bfloat16)[1]:.3g} s in bfloat16"
    assert f"precision {chosen}" in caplog.text
    assert times in caplog.text
    assert f"cosine of the gradients is {cosine:.3f}" in caplog.text


@pytest.mark.parametrize("content", [None, "{}", '{"precision": "bf16"}'])
def test_a_missing_or_changed_record_is_an_error(tmp_path, content):
    if content is not None:
        (tmp_path / "precision.json").write_text(content)
    with pytest.raises(InputError, match=r"out: .*precision\.json.*train again in another folder"):
        read_precision(tmp_path)


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


@pytest.mark.parametrize("chunk_size", [None, 4])
def test_the_measurement_changes_nothing(music, chunk_size):
    """The model draws random numbers and has statistics, and the loss has a queue: all stay, bit for bit."""
    trainer = TrainerOptions(precision="auto", accelerator="cpu", chunk_size=chunk_size)
    options = PretrainOptions(tracks=str(music / "my.csv"), out="run", **SMALL, trainer=trainer)
    loss = CrossBatchMemory(SemiSupConLoss(gather=True), 8)
    module = SemiSupConModule(ContrastiveModel(MelCNN(n_mels=32)), loss, chunk_size=chunk_size)
    seen = []

    def draw(_, __, output):
        seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002

    module.model.encoder.register_forward_hook(draw)
    data = SemiSupConDataModule(ContrastiveDataset(check_audio(load_tracks(music / "my.csv")), 16000, 0.5), 6)
    before, weights = states(), copy.deepcopy(module.state_dict())
    seconds, cosine = precision.measure_precisions(module, data, options)
    assert 0.9 < cosine < 1 - 1e-9
    assert states() == before
    torch.testing.assert_close(module.state_dict(), weights, rtol=0, atol=0)
    assert all(weight.grad is None for weight in module.parameters())
    assert set(seen) == {torch.float32, torch.bfloat16}
    assert seen.count(torch.float32) == seen.count(torch.bfloat16)
    assert len(seconds["32"]) == len(seconds["bf16"]) >= 3
    assert min(seconds["32"] + seconds["bf16"]) > 0


class Crowded(MelCNN):
    """An encoder that needs too much memory in some precisions, and that counts its copies."""

    def __init__(self, too_large: tuple[torch.dtype, ...]) -> None:
        super().__init__(n_mels=32)
        self.too_large = too_large
        self.alive: weakref.WeakSet[Crowded] = weakref.WeakSet()

    def __deepcopy__(self, memo):
        twin = Crowded(self.too_large)
        self.alive.add(twin)
        assert len(self.alive) == 1, "two copies at once"
        return twin

    def encode_frames(self, signals):
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        if dtype in self.too_large:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super().encode_frames(signals)


@pytest.mark.parametrize(
    ("too_large", "chosen"),
    [((), None), ((torch.float32,), "bf16"), ((torch.bfloat16,), "32"), ((torch.float32, torch.bfloat16), None)],
)
def test_a_precision_that_does_not_fit_is_not_chosen(music, tmp_path, too_large, chosen):
    options = PretrainOptions(tracks=str(music / "my.csv"), out="run", **SMALL, trainer=AUTO)
    module = SemiSupConModule(ContrastiveModel(Crowded(too_large)), SemiSupConLoss())
    data = SemiSupConDataModule(ContrastiveDataset(check_audio(load_tracks(music / "my.csv")), 16000, 0.5), 6)
    if len(too_large) == 2:
        with pytest.raises(InputError, match=r"trainer\.precision: .* lower trainer\.chunk_size or a lower batch_size"):
            choose_precision(module, data, tmp_path, options)
        return
    found = choose_precision(module, data, tmp_path, options)
    assert chosen in (found, None)
    assert read_precision(tmp_path) == found


@pytest.mark.slow
@pytest.mark.parametrize(("least", "chosen"), [(0.0, "bf16"), (1e9, "32")])
def test_a_run_with_auto_is_that_of_its_choice(music, tmp_path, monkeypatch, least, chosen):
    monkeypatch.setattr(precision, "MIN_SPEEDUP", least)
    monkeypatch.setattr(precision, "MIN_COSINE", -1.0)
    pretrain_on(music / "my.csv", tmp_path / "auto", **OPTIONS, trainer=AUTO)
    assert read_precision(tmp_path / "auto") == chosen
    fixed = TrainerOptions(precision=chosen, accelerator="cpu")
    pretrain_on(music / "my.csv", tmp_path / "fixed", **OPTIONS, trainer=fixed)
    assert history(tmp_path / "auto") == history(tmp_path / "fixed")
    assert_same_checkpoint(tmp_path / "auto" / "last.ckpt", tmp_path / "fixed" / "last.ckpt")
    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("auto", "fixed")]
    assert names[0] - names[1] == {"precision.json"}
    # A longer run keeps the choice, and does not measure again, even if a measurement would choose differently.
    monkeypatch.setattr(precision, "measure_precisions", lambda *_: pytest.fail("measured again"))
    pretrain_on(music / "my.csv", tmp_path / "auto", **OPTIONS | {"steps": 6}, trainer=AUTO)
    pretrain_on(music / "my.csv", tmp_path / "fixed", **OPTIONS | {"steps": 6}, trainer=fixed)
    assert_same_checkpoint(tmp_path / "auto" / "last.ckpt", tmp_path / "fixed" / "last.ckpt")
    with pytest.raises(InputError, match=r"trainer\.precision was 'auto', is '32'"):
        pretrain_on(music / "my.csv", tmp_path / "auto", **OPTIONS | {"steps": 8})
    (tmp_path / "auto" / "precision.json").unlink()
    with pytest.raises(InputError, match=r"out: expected precision\.json"):
        pretrain_on(music / "my.csv", tmp_path / "auto", **OPTIONS | {"steps": 8}, trainer=AUTO)


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        (TrainerOptions(precision="auto", devices=2), "expected 32, bf16 or fp16 with 2 processes, got auto"),
        (TrainerOptions(precision="auto", num_nodes=3), "expected 32, bf16 or fp16 with 3 processes, got auto"),
        (TrainerOptions(precision="auto", compile=True), "expected 32, bf16 or fp16 with trainer.compile, got auto"),
        (TrainerOptions(precision="auto", accelerator="mps"), "expected 32 or bf16 with trainer.accelerator=mps"),
    ],
)
def test_auto_is_refused_where_it_cannot_work(tmp_path, trainer, words):
    with pytest.raises(InputError, match=f"trainer.precision: {words}"):
        pretrain_on(tmp_path / "none.csv", tmp_path / "run", trainer=trainer)
    assert not (tmp_path / "run").exists()


def test_auto_is_refused_on_an_apple_gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=r"trainer\.precision: expected 32 or bf16 on an Apple GPU, got auto"):
        check_devices(TrainerOptions(precision="auto"))
    check_devices(AUTO)  # on the CPU


def relative(one, other):
    """Norm of a difference, relative to the norm of the second tensor."""
    return float((one.float() - other).norm() / other.norm())


def test_bfloat16_is_close_to_float32_for_mel_cnn():
    torch.manual_seed(0)
    model = ContrastiveModel(MelCNN()).train()
    views = 0.1 * torch.randn(6, 2, 1, max(16000, model.encoder.min_samples))
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = model(views)
            loss = SemiSupConLoss()(output.projection)
        loss.backward()
        gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
        found[dtype] = output.representation.detach(), gradient, loss.detach()
    (embedding, gradient, loss), (expected, slope, exact) = found[torch.bfloat16], found[torch.float32]
    assert 1e-5 < relative(embedding, expected) < 0.03
    assert relative(gradient, slope) < 0.2
    assert float(torch.cosine_similarity(gradient, slope, dim=0)) > 0.98
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(exact), abs=0.05)
