"""On a GPU: the same values, and nothing waits for the device."""

from __future__ import annotations

import pytest
import torch
from loss_reference import SIGNALS, random_batch
from seeded import generator, noise
from transforms import TRANSFORMS

from ssc_toolkit.augmentations import MP3, semisupcon_chain
from ssc_toolkit.losses import SemiSupConLoss, contrastive_statistics

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def on_gpu(value):
    return {name: v.cuda() for name, v in value.items()} if isinstance(value, dict) else value.cuda()


@pytest.mark.parametrize("implementation", ["auto", "dense", "tiled"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("kind", SIGNALS)
def test_the_loss_never_waits_for_the_device(kind, reduction, implementation):
    made = random_batch(0, 24, 2, 8, 0.7, kind)
    criterion = SemiSupConLoss(target=made.signal.target, reduction=reduction, implementation=implementation)
    expected = criterion(made.embeddings, **made.signal.given)
    criterion = criterion.cuda()
    embeddings = made.embeddings.cuda().requires_grad_()
    labels, labeled = on_gpu(made.signal.labels), on_gpu(made.signal.labeled)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = criterion(embeddings, labels, labeled=labeled)
        loss.sum().backward()
        contrastive_statistics(embeddings, labels, labeled=labeled, target=made.signal.target)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(loss.cpu(), expected)
    assert embeddings.grad.isfinite().all()


def without_waiting(run):
    """The result of what may not wait for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        return run()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("make", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_a_transform_never_waits_for_the_device(make):
    transform = make(0.6)
    waveforms = noise(20, 2, 1, 4000)
    draw = transform.draw(40, generator())
    expected = transform.apply_draw(waveforms, draw)
    transform, moved = transform.cuda(), waveforms.cuda()
    result = without_waiting(lambda: transform.apply_draw(moved, draw))
    if any(isinstance(module, MP3) and module.implementation == "auto" for module in transform.modules()):
        return  # the codec on the CPU, its approximation on the GPU
    torch.testing.assert_close(result.cpu(), expected, atol=1e-4, rtol=0)


def test_the_whole_chain_from_the_draw_on_never_waits():
    chain = semisupcon_chain(22050).cuda()
    waveforms = noise(32, 2, 1, 59535).cuda()
    chain(waveforms)
    views = without_waiting(lambda: chain(waveforms, generator=generator()))
    assert views.isfinite().all()
    assert torch.equal(chain.apply_draw(waveforms, chain.draw(64, generator(), views=2)), views)


def test_slices_on_a_device_bound_the_memory_and_change_nothing():
    waveforms = noise(64, 1, 59535).cuda()
    peaks, results = [], []
    for size in (None, 8):
        chain = semisupcon_chain(22050)
        chain.device_slice_size = size
        torch.cuda.reset_peak_memory_stats()
        results.append(chain(waveforms, generator=generator()))
        peaks.append(torch.cuda.max_memory_allocated())
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=0)
    assert peaks[1] < peaks[0] / 2
