"""On a GPU: the same values, and nothing waits for the device."""

from __future__ import annotations

import pytest
import torch
from loss_reference import SIGNALS, random_batch

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
    expected = criterion(made.embeddings, *made.signal[:2])
    criterion = criterion.cuda()
    embeddings = made.embeddings.cuda().requires_grad_()
    labels, labeled = on_gpu(made.signal.labels), on_gpu(made.signal.labeled)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = criterion(embeddings, labels, labeled)
        loss.sum().backward()
        contrastive_statistics(embeddings, labels, labeled, target=made.signal.target)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(loss.cpu(), expected)
    assert embeddings.grad.isfinite().all()
