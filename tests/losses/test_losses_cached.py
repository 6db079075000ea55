"""Gradient caching: the gradient of the whole batch, whatever the model draws, keeps and takes."""

from __future__ import annotations

import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from loss_reference import random_batch
from torch import nn

from ssc_toolkit.losses import NTXentLoss, SemiSupConLoss, cached_backward
from ssc_toolkit.losses.gradient_cache import GradientCache


class Dropping(nn.Module):
    """An encoder with randomness, that takes keyword arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 5)).double()

    def forward(self, waveforms, scale=1.0, bias=None):
        return self.layers(waveforms * scale + (0 if bias is None else bias))


def test_caching_in_one_chunk_falls_as_without():
    model = Dropping()
    made = random_batch(0, 10, 2, 6, 0.5)
    criterion = SemiSupConLoss()
    torch.manual_seed(1)
    expected = criterion(model(made.embeddings), **made.signal.given)
    expected.backward()
    wanted = [p.grad.clone() for p in model.parameters()]
    after = torch.rand(1)
    model.zero_grad()
    torch.manual_seed(1)
    got = cached_backward(model, made.embeddings, lambda z: criterion(z, **made.signal.given), chunk_size=10)
    assert got == expected
    assert not got.requires_grad
    assert torch.rand(1) == after  # the stream of random numbers goes on as if nothing had been computed twice
    for p, w in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, w)


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_caching_in_chunks_is_exact_with_dropout_and_dicts(chunk_size):
    model = Dropping()
    made = random_batch(0, 10, 2, 6, 0.5)
    criterion = SemiSupConLoss()
    inputs = {"waveforms": made.embeddings, "bias": torch.randn(10, 2, 6, dtype=torch.float64), "scale": 2.0}
    torch.manual_seed(1)
    parts = [
        {k: v[i : i + chunk_size] if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
        for i in range(0, 10, chunk_size)
    ]
    expected = criterion(torch.cat([model(**part) for part in parts]), **made.signal.given)
    expected.backward()
    wanted = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    torch.manual_seed(1)
    got = cached_backward(model, inputs, lambda z: criterion(z, **made.signal.given), chunk_size)
    torch.testing.assert_close(got, expected.detach())
    for p, w in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, w)


def test_caching_updates_running_statistics_once():
    made = random_batch(0, 8, 1, 6, 0.5)
    inputs = made.embeddings[:, 0].float()
    models = [nn.BatchNorm1d(6), nn.BatchNorm1d(6)]
    for start in (0, 4):
        models[0](inputs[start : start + 4])
    cached_backward(models[1], inputs, lambda z: NTXentLoss()(z.view(4, 2, 6)), chunk_size=4)
    assert models[1].num_batches_tracked == 2
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(models[1], name), getattr(models[0], name))
    frozen = nn.BatchNorm1d(6).eval()
    expected = NTXentLoss()(frozen(inputs).view(4, 2, 6))
    expected.backward()
    wanted = frozen.weight.grad.clone()
    frozen.zero_grad()
    cached_backward(frozen, inputs, lambda z: NTXentLoss()(z.view(4, 2, 6)), chunk_size=3)
    torch.testing.assert_close(frozen.weight.grad, wanted)


def test_cached_gradients_under_autocast_and_a_scaler():
    model = nn.Linear(6, 5)
    inputs = torch.randn(8, 2, 6)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        NTXentLoss()(model(inputs)).backward()
        wanted = model.weight.grad.clone()
        model.zero_grad()
        cached_backward(model, inputs, NTXentLoss(), 3, backward=lambda loss: scaler.scale(loss).backward())
    torch.testing.assert_close(model.weight.grad / 1024, wanted, rtol=0.05, atol=0.02 * wanted.abs().max().item())


def test_caching_refuses_what_cannot_be_cut():
    model = Dropping()
    for inputs, words in (
        ({"waveforms": torch.randn(4, 6), "bias": torch.randn(3, 6)}, "inputs.*length"),
        ({"scale": 2.0}, "inputs"),
        (torch.randn(0, 6), "inputs"),
    ):
        with pytest.raises(ValueError, match=words):
            cached_backward(model, inputs, lambda z: z.sum(), 2)
    for size in (0, 2.5, True):
        with pytest.raises((TypeError, ValueError), match="chunk_size"):
            cached_backward(model, torch.randn(4, 6), lambda z: z.sum(), size)
    twice = nn.Module()
    twice.forward = lambda x: (x, x)
    with pytest.raises(TypeError, match="embeddings_of"):
        cached_backward(twice, torch.randn(4, 6), lambda z: z.sum(), 2)
    with pytest.raises(TypeError, match="inputs"):
        cached_backward(model, "waveforms", lambda z: z.sum(), 2)
    with pytest.raises(ValueError, match="criterion"):
        cached_backward(model, torch.randn(4, 6, dtype=torch.float64), lambda z: z, 2)


def chunks_and_whole(model, inputs, call, chunk_size=2):
    """Gradients of the parameters by chunks, and of the same chunks with one graph."""
    criterion = NTXentLoss()
    found = []
    for cached in (True, False):
        seed_all()
        model.zero_grad()
        if cached:
            cached_backward(model, inputs, criterion, chunk_size)
        else:
            criterion(torch.cat([call(start, start + chunk_size) for start in range(0, 6, chunk_size)])).backward()
        found.append([parameter.grad.clone() for parameter in model.parameters()])
    return found


def seed_all():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002


class Two(nn.Module):
    """Takes two tensors by place or by name, and one of them in a container."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 5).double()

    def forward(self, first, others, scale=1.0):
        return self.layer(first * others["gain"] + others["pair"][0]) * scale


Pair = namedtuple("Pair", ["one", "name"])


@pytest.mark.parametrize("form", [tuple, list, dict])
def test_inputs_may_be_arguments_in_containers(form):
    first, gain, shift = torch.randn(3, 6, 2, 6, dtype=torch.float64)
    model = Two()

    def others(start, stop):
        return {"gain": gain[start:stop], "pair": Pair(shift[start:stop], "shift")}

    scale = torch.tensor(2.0)  # a scalar goes to every chunk
    if form is dict:
        inputs = {"first": first, "others": others(0, 6), "scale": scale}
    else:
        inputs = form([first, others(0, 6), scale])
    got, expected = chunks_and_whole(model, inputs, lambda a, b: model(first[a:b], others(a, b), scale))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("source", [random.random, np.random.rand, lambda: float(torch.rand(()))])
def test_every_global_generator_falls_alike_in_both_passes(source):
    class Drawing(Dropping):
        def forward(self, waveforms):
            return super().forward(waveforms) * source()

    model, inputs = Drawing(), torch.randn(6, 2, 6, dtype=torch.float64)
    got, expected = chunks_and_whole(model, inputs, lambda a, b: model(inputs[a:b]))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_generators_go_on_as_if_nothing_was_computed_twice():
    class Drawing(Dropping):
        def forward(self, waveforms):
            return super().forward(waveforms) * random.random() * np.random.rand()  # noqa: NPY002

    model, inputs, after = Drawing(), torch.randn(6, 2, 6, dtype=torch.float64), []
    for run in (lambda: cached_backward(model, inputs, NTXentLoss(), 6), lambda: model(inputs)):
        seed_all()
        run()
        after.append((random.random(), np.random.rand(), float(torch.rand(()))))  # noqa: NPY002
    assert after[0] == after[1]


class Grows(nn.Module):
    """Resizes one buffer, creates another, and fills a third, all in the forward pass."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.layer = nn.Linear(6, 5).double()
        self.register_buffer("table", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("mean", None)

    def forward(self, waveforms):
        mean = waveforms.mean()
        if self.how == "resized in place":
            self.table.resize_(6).fill_(2.0)
        elif self.how == "replaced":
            self.table = torch.full((6,), 2.0, dtype=torch.float64)
        elif self.how == "created":
            if not hasattr(self, "scale"):
                self.register_buffer("scale", torch.full((6,), 2.0, dtype=torch.float64))
        else:
            self.mean = mean if self.mean is None else 0.5 * self.mean + 0.5 * mean
        factor = self.scale if self.how == "created" else self.table.sum() + 1
        return self.layer(waveforms * factor)


@pytest.mark.parametrize("how", ["resized in place", "replaced", "created", "a mean that begins as None"])
def test_a_forward_pass_may_make_and_resize_buffers(how):
    inputs = torch.randn(6, 2, 6, dtype=torch.float64)
    torch.manual_seed(0)
    model, plain = Grows(how), Grows(how)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "layer" in k}, strict=False)
    NTXentLoss()(torch.cat([plain(inputs[i : i + 2]) for i in range(0, 6, 2)])).backward()
    cached_backward(model, inputs, NTXentLoss(), 2)
    torch.testing.assert_close(model.layer.weight.grad, plain.layer.weight.grad)
    torch.testing.assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))


def test_lazy_layers_are_made_in_the_first_pass():
    model, inputs = nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d()), torch.randn(6, 4)
    loss = cached_backward(model, inputs, lambda z: NTXentLoss()(z.view(3, 2, 5)), 3)
    assert loss.isfinite()
    assert model[0].weight.grad.abs().sum() > 0


def test_a_failing_first_pass_leaves_the_buffers_as_they_were():
    class Fails(nn.BatchNorm1d):
        def forward(self, waveforms):
            super().forward(waveforms)
            raise RuntimeError("out of memory")

    model = Fails(4)
    with pytest.raises(RuntimeError, match="out of memory"):
        GradientCache(model, torch.randn(6, 4), 3)
    assert model.num_batches_tracked == 0
    assert (model.running_mean == 0).all()


def test_inputs_with_a_graph_are_refused_but_leaves_are_not():
    model, leaf = nn.Linear(6, 5), torch.randn(6, 2, 6, requires_grad=True)
    for inputs in (leaf * 2, (leaf * 2,), {"input": leaf * 2}):
        with pytest.raises(ValueError, match=r"inputs: .*without a graph.*detach"):
            cached_backward(model, inputs, NTXentLoss(), 2)
    cached_backward(model, leaf, NTXentLoss(), 2)
    got, leaf.grad = leaf.grad, None
    NTXentLoss()(model(leaf)).backward()
    torch.testing.assert_close(got, leaf.grad)
