"""One loss over the batches of several processes, with DistributedDataParallel and torchrun.

Every process has a part of each batch. The loss compares the embeddings of this part with those of all processes. Loss
and gradient equal those of one process with the whole batch. The first step also prints the loss of the whole batch for
comparison.

    torchrun --nproc_per_node=2 examples/distributed.py --steps=20
"""

from __future__ import annotations

import argparse
import os

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.encoders import ContrastiveModel, MelCNN
from ssc_toolkit.losses import SemiSupConLoss
from ssc_toolkit.samplers import SemiSupervisedBatchSampler

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--steps", type=int, default=20)
arguments.add_argument("--batch_size", type=int, default=16, help="number of items of one process")
options = arguments.parse_args()

on_gpu = torch.cuda.is_available()
distributed.init_process_group("nccl" if on_gpu else "gloo")
rank, processes = distributed.get_rank(), distributed.get_world_size()
device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")

# The data must be the same on every process. Here, each process computes them from the same seed. A track is a tone,
# and its class is the octave.
octave = torch.randint(4, (200,), generator=torch.Generator().manual_seed(1))
hertz = 110 * 2 ** (octave + torch.rand(200, generator=torch.Generator().manual_seed(2)))
tracks = 0.3 * torch.sin(2 * torch.pi * hertz[:, None] * torch.arange(16000) / 16000)

# The part of batch k that process `rank` gets depends only on k and `rank`, so the processes need no synchronization.
sampler = SemiSupervisedBatchSampler(
    labeled=range(50),
    unlabeled=range(50, 200),
    batch_size=options.batch_size,
    labeled_fraction=0.5,
    rank=rank,
    world_size=processes,
)

torch.manual_seed(0)
model = DistributedDataParallel(ContrastiveModel(MelCNN(sample_rate=16000)).to(device))
criterion = SemiSupConLoss(temperature=0.1, gather=True)
augment = semisupcon_chain(sample_rate=16000)
generator = torch.Generator().manual_seed(rank)  # different augmentations on every process
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


def of_all(tensor: Tensor) -> Tensor:
    """Return the rows of all processes, without a gradient."""
    parts = [torch.empty_like(tensor) for _ in range(processes)]
    distributed.all_gather(parts, tensor.detach())
    return torch.cat(parts)


for step in range(options.steps):
    batch = sampler.batch(step)
    rows = torch.tensor([int(index) for index in batch])
    labeled = torch.tensor([index.labeled for index in batch], device=device)
    views = tracks[rows][:, None, None].repeat(1, 2, 1, 1).to(device)  # (items, views, channels, samples)
    embeddings = model(augment(views, generator=generator)).projection
    labels = octave[rows].to(device)
    loss = criterion(embeddings, labels=labels, labeled=labeled)
    if step == 0:
        whole = SemiSupConLoss(temperature=0.1)(of_all(embeddings), of_all(labels), labeled=of_all(labeled))
        if rank == 0:
            print(f"one process with the whole batch: loss {whole.item():.4f}")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if rank == 0 and (step % 5 == 0 or step == options.steps - 1):
        print(f"step {step:3}  loss {loss.item():.4f} over {processes * len(rows)} items", flush=True)

distributed.destroy_process_group()
