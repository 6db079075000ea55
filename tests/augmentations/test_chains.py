"""Chains, and one or some of many: what is fused, compiled, chosen, explained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from operations import CountOperations
from seeded import generator, noise
from torch.nn.parallel import DistributedDataParallel
from transforms import FOLDER, RATE

from ssc_toolkit.augmentations import (
    BackgroundNoise,
    Chain,
    ColoredNoise,
    Delay,
    Draw,
    Equalizer,
    Gain,
    HighPass,
    ImpulseResponse,
    LowPass,
    OneOf,
    PolarityInversion,
    Reverb,
    SomeOf,
    semisupcon_chain,
)


@pytest.mark.slow
def test_a_chain_compiles_to_machine_code():
    chain = Chain([Gain((-15, 5), p=0.5), LowPass((500, 4000), sample_rate=RATE, p=0.5), Delay(sample_rate=RATE)])
    waveforms = noise(6, 1, 4000)
    draw = chain.draw(6, generator())
    compiled = torch.compile(chain.apply_draw, fullgraph=True)
    torch.testing.assert_close(compiled(waveforms, draw), chain.apply_draw(waveforms, draw))


def test_a_compiled_call_draws_the_same():
    chain = Chain([Gain((-12, 0)), OneOf([PolarityInversion(), Gain((3, 6))])])
    waveforms = noise(6, 2, 1, 300)
    compiled = torch.compile(chain, backend="aot_eager")
    torch.testing.assert_close(compiled(waveforms, generator=generator()), chain(waveforms, generator=generator()))


@pytest.mark.slow
def test_a_compiled_chain_is_compiled_once_for_all_draws():
    chain = Chain(
        [
            semisupcon_chain(RATE, omit=("pitch_shift",)),
            Delay((2, 90), p=0.3, sample_rate=RATE),
            Reverb(0.1, p=0.3, sample_rate=RATE),
            BackgroundNoise(snr_db=(3, 30), p=0.3),
        ]
    )
    waveforms = noise(4, 1, 3000)
    compiled = torch.compile(chain.apply_draw, fullgraph=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seed in range(12):
            draw = chain.draw(4, generator(seed))
            torch.testing.assert_close(
                compiled(waveforms, draw), chain.apply_draw(waveforms, draw), atol=1e-5, rtol=1e-4
            )


def one_after_the_other(chain: Chain, waveforms: torch.Tensor, draw: Draw) -> torch.Tensor:
    for transform, child in zip(chain.transforms, draw.children, strict=True):
        waveforms = transform.apply_draw(waveforms, child)
    return waveforms


MIXTURES = {
    "factors": lambda: [Gain(p=0.5), PolarityInversion(p=0.5), Gain((-3, 3))],
    "causal": lambda: [
        Gain(p=0.5),
        Delay((2, 90), p=0.5, sample_rate=RATE),
        Reverb((0.05, 0.5), p=0.7, sample_rate=RATE),
    ],
    "rooms": lambda: [ImpulseResponse(FOLDER, p=0.5, sample_rate=RATE), Reverb(0.3, p=0.7, sample_rate=RATE)],
    "a filter between factors": lambda: [Gain(), LowPass((200, 4000), p=0.5, sample_rate=RATE), PolarityInversion()],
    "filters": lambda: [Equalizer(sample_rate=RATE), LowPass((200, 4000), p=0.5, sample_rate=RATE)],
    "one of many, then echoes": lambda: [
        OneOf([LowPass((200, 4000), sample_rate=RATE), HighPass((200, 4000), sample_rate=RATE), Gain()], p=0.8),
        Delay((2, 90), sample_rate=RATE),
    ],
    "echoes beyond the end": lambda: [
        Reverb(2.0, 0.0, sample_rate=RATE),
        Delay((90, 170), volume=1.0, attenuation=1.0, repeats=9, sample_rate=RATE),
        ImpulseResponse(FOLDER, sample_rate=RATE),
    ],
    "some of many": lambda: [
        SomeOf([Gain(), Reverb(0.2, sample_rate=RATE), Delay((2, 90), sample_rate=RATE)], count=(1, 3)),
        Chain([Gain(), ColoredNoise(sample_rate=RATE, p=0.5), Reverb(0.1, sample_rate=RATE)], p=0.5),
    ],
}


@pytest.mark.parametrize("members", MIXTURES.values(), ids=MIXTURES.keys())
def test_a_fused_chain_equals_its_members_in_order(members):
    waveforms = noise(40, 2, 3000)
    chain = Chain(members(), p=0.9)
    draw = chain.draw(40, generator())
    expected = one_after_the_other(chain, waveforms, draw)
    assert (chain.apply_draw(waveforms, draw) - expected).abs().max() < 1e-5 * expected.abs().max()
    chain.fuse = "none"
    assert (chain.apply_draw(waveforms, draw) - expected).abs().max() < 1e-6 * expected.abs().max()


def transforms_taken(run) -> int:
    """Number of forward FFTs."""

    class CountTransforms(CountOperations):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func is torch.ops.aten._fft_r2c.default
            return func(*args, **(kwargs or {}))

    with CountTransforms() as counter:
        run()
    return counter.count


@pytest.mark.parametrize(
    ("members", "fuse", "pairs"),
    [
        (lambda: [Gain(), LowPass(900.0, sample_rate=RATE), PolarityInversion()], "exact", 1),
        (lambda: [Delay((2, 90), sample_rate=RATE), ImpulseResponse(FOLDER, sample_rate=RATE)], "none", 2),
        (lambda: [Delay((2, 90), sample_rate=RATE), ImpulseResponse(FOLDER, sample_rate=RATE)], "exact", 2),
        (lambda: [ImpulseResponse(FOLDER, sample_rate=RATE), ImpulseResponse(FOLDER, sample_rate=RATE)], "none", 4),
        (lambda: [ImpulseResponse(FOLDER, sample_rate=RATE), ImpulseResponse(FOLDER, sample_rate=RATE)], "exact", 3),
        (lambda: [Equalizer(sample_rate=RATE), HighPass(900.0, sample_rate=RATE)], "exact", 2),
        (lambda: [Equalizer(sample_rate=RATE), HighPass(900.0, sample_rate=RATE)], "all", 1),
        (lambda: semisupcon_chain(RATE).transforms[3:4], "exact", 1),
    ],
)
def test_fused_neighbors_share_one_fft(members, fuse, pairs):
    # One forward FFT for the clips of each stage, and one for each impulse response.
    chain = Chain(list(members()), fuse=fuse)
    draw = chain.draw(12, generator())
    assert transforms_taken(lambda: chain.apply_draw(noise(12, 1, 3000), draw)) == pairs


def test_the_published_chain_needs_few_ffts_besides_pitch_shift():
    chain = semisupcon_chain(22050)
    chain.p = 1.0
    waveforms = noise(40, 1, 6000)
    draw = chain.draw(40, generator())
    pitch_rows, rows = 0, 0

    def counted(real):
        def transform(signals, *arguments, **options):
            nonlocal pitch_rows, rows
            if signals.dim() == 3 and signals.shape[1] > 1:  # frames of a short-time spectrum
                pitch_rows += len(signals)
            else:
                rows += signals.shape[:-1].numel()
            return real(signals, *arguments, **options)

        return transform

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rfft", "irfft"):
            patch.setattr(torch.fft, name, counted(getattr(torch.fft, name)))
        for name in ("fft", "ifft", "hfft", "ihfft"):
            patch.delattr(torch.fft, name)
        chain.apply_draw(waveforms, draw)
    noised, filtered, shifted = (draw.children[number].applied.sum().item() for number in (2, 3, 4))
    assert pitch_rows == 2 * shifted
    # A pair for the filter, and half a pair for the noise, of the examples to which they apply.
    assert rows <= 2 * filtered + noised


def test_fusing_all_is_cutting_once_in_surrounding_silence():
    chain = Chain(
        [
            Equalizer(sample_rate=RATE),
            LowPass((400, 4000), sample_rate=RATE),
            Delay((2, 90), sample_rate=RATE),
            HighPass((200, 1000), sample_rate=RATE),
        ],
        fuse="all",
    )
    waveforms = noise(6, 1, 3000)
    draw = chain.draw(6, generator())
    far = 12000
    surrounded = torch.nn.functional.pad(waveforms, (far, far))
    expected = one_after_the_other(chain, surrounded, draw)[..., far:-far]
    assert (chain.apply_draw(waveforms, draw) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_explain_names_the_stages(capsys):
    chain = Chain(
        [
            semisupcon_chain(RATE),
            Delay((2, 90), sample_rate=RATE, p=0.5),
            Reverb(0.2, sample_rate=RATE, p=0.5),
        ]
    )
    chain.explain(noise(4, 1, 3000))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1. Gain + PolarityInversion: one multiplication; ")
    assert lines[2].startswith("3. BandPass + BandStop + HighPass + LowPass: one FFT pair of")
    assert lines[4].startswith("5. Delay + Delay + Reverb: one FFT pair of")
    assert all(line.endswith("ms a clip") for line in lines)


def test_some_of_takes_as_many_as_it_should():
    some = SomeOf([Gain(-1.0), Gain(-2.0), Gain(-4.0)], count=(1, 2))
    picked = some.draw(4000, generator()).values["picked"]
    counts = torch.bincount(picked.sum(1), minlength=4) / 4000
    torch.testing.assert_close(counts, torch.tensor([0.0, 0.5, 0.5, 0.0]), atol=0.035, rtol=0)
    torch.testing.assert_close(picked.float().mean(0), torch.full((3,), 0.5), atol=0.035, rtol=0)
    assert (SomeOf([Gain(-1.0), Gain(-2.0)], count=0)(torch.ones(5, 1, 3)) == 1).all()


def train_one_step(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.manual_seed(0)
    chain = Chain([semisupcon_chain(RATE), ImpulseResponse(FOLDER, sample_rate=RATE, p=0.5)])
    model = DistributedDataParallel(torch.nn.Sequential(chain, torch.nn.Flatten(), torch.nn.Linear(800, 3)))
    torch.manual_seed(rank)  # a draw of its own in each process
    waveforms = noise(6, 1, 800)
    views = model.module[0](waveforms, generator=generator(rank))
    model(waveforms).square().sum().backward()
    torch.save((views, model.module[2].weight.grad), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_chain_inside_a_model_trains_on_two_processes(tmp_path):
    mp.spawn(train_one_step, (str(tmp_path),), nprocs=2)
    (first, gradient), (second, same) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(gradient, same)
    assert not torch.equal(first, second)


def test_one_of_takes_each_member_as_often_as_its_weight_says():
    one_of = OneOf([Gain(-6.0), Gain(-12.0), Gain(-18.0)], weights=[1, 0, 3])
    picked = one_of.draw(4000, generator()).values["picked"]
    shares = torch.bincount(picked, minlength=3) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.0, 0.75]), atol=0.035, rtol=0)
