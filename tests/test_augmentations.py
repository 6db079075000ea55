"""What every transform promises: shapes, reproducibility, replay, a draw of its own for each example."""

from __future__ import annotations

import json
import socket
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from transforms import FOLDER, RATE, TRANSFORMS, WITHOUT_A_DRAW, generator, noise

from ssc_toolkit.augmentations import (
    MP3,
    BackgroundNoise,
    BandPass,
    BandStop,
    BitCrush,
    Chain,
    Chorus,
    Clipping,
    ColoredNoise,
    Compression,
    Delay,
    Distortion,
    Draw,
    Equalizer,
    Gain,
    HighPass,
    ImpulseResponse,
    LowPass,
    OneOf,
    PeakNormalization,
    PitchShift,
    PolarityInversion,
    Reverb,
    SomeOf,
    SpliceOut,
    TimeShift,
    TimeStretch,
    clmr_chain,
    corruption,
    from_config,
    semisupcon_chain,
)
from ssc_toolkit.augmentations.presets import CORRUPTIONS

every_transform = pytest.mark.parametrize("make", TRANSFORMS.values(), ids=TRANSFORMS.keys())


@every_transform
@pytest.mark.parametrize("shape", [(5, 1, 4000), (3, 2, 2, 4000)])
def test_shape_dtype_and_input_are_kept(make, shape):
    waveforms = noise(*shape)
    before = waveforms.clone()
    result = make(1.0)(waveforms, generator=generator())
    assert result.shape == waveforms.shape
    assert result.dtype == waveforms.dtype
    assert result.isfinite().all()
    assert torch.equal(waveforms, before)


@every_transform
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_agree_with_float32(make, dtype):
    waveforms = noise(4, 1, 4000).to(dtype)
    result = make(1.0)(waveforms, generator=generator())
    assert result.dtype == dtype
    expected = make(1.0)(waveforms.float(), generator=generator())
    scale = expected.abs().max()
    tolerance = 1e-3 if dtype == torch.float64 else torch.finfo(dtype).eps
    assert (result.float() - expected).abs().max() <= scale * tolerance


@every_transform
def test_the_generator_alone_decides(make):
    waveforms = noise(20, 1, 3000)
    transform = make(0.5)
    first = transform(waveforms, generator=generator(3))
    torch.rand(7)  # the global generator has no say
    assert torch.equal(transform(waveforms, generator=generator(3)), first)
    assert not torch.equal(transform(waveforms, generator=generator(4)), first)


@every_transform
def test_a_draw_replays_exactly(make):
    waveforms = noise(20, 1, 3000)
    transform = make(0.5)
    result, draw = transform(waveforms, generator=generator(), return_draw=True)
    assert torch.equal(transform.apply(waveforms, draw), result)


@every_transform
def test_a_draw_survives_saving_and_indexing(make, tmp_path):
    waveforms = noise(20, 1, 3000)
    transform = make(0.7)
    result, draw = transform(waveforms, generator=generator(), return_draw=True)
    torch.save(draw.state_dict(), tmp_path / "draw.pt")
    loaded = Draw.from_state_dict(torch.load(tmp_path / "draw.pt", weights_only=True))
    assert torch.equal(transform.apply(waveforms, loaded), result)
    assert len(draw[4]) == 1
    torch.testing.assert_close(transform.apply(waveforms[4:5], draw[4]), result[4:5])
    torch.testing.assert_close(transform.apply(waveforms[-1:], draw[-1]), result[-1:])
    torch.testing.assert_close(transform.apply(waveforms[5:9], draw[5:9]), result[5:9])
    rows = torch.tensor([11, 2])
    torch.testing.assert_close(transform.apply(waveforms[rows], draw[rows]), result[rows])


@every_transform
def test_slices_of_a_batch_change_nothing(make):
    waveforms = noise(40, 1, 2000)
    sliced, whole = make(0.8), make(0.8)
    whole.cpu_slice_size = None
    torch.testing.assert_close(sliced(waveforms, generator=generator()), whole(waveforms, generator=generator()))


@every_transform
def test_p_zero_is_the_identity_and_p_one_touches_all(make):
    waveforms = noise(30, 1, 3000)
    assert torch.equal(make(0.0)(waveforms, generator=generator()), waveforms)
    changed = (make(1.0)(waveforms, generator=generator()) != waveforms).flatten(1).any(1)
    assert changed.all()


@every_transform
def test_p_touches_a_share_of_the_examples_independently(make):
    count = 400
    waveforms = noise(count, 1, 400)
    changed = (make(0.3)(waveforms, generator=generator()) != waveforms).flatten(1).any(1)
    # Five standard deviations of a binomial, and no two halves alike.
    assert abs(changed.sum().item() - 0.3 * count) < 5 * (count * 0.3 * 0.7) ** 0.5
    assert not torch.equal(changed[: count // 2], changed[count // 2 :])


@every_transform
def test_views_of_an_item_are_drawn_apart_and_channels_share_their_draw(make):
    clip = noise(1, 1, 1, 3000)
    views = make(1.0)(clip.expand(1, 8, 2, 3000), generator=generator())
    torch.testing.assert_close(views[:, :, 0], views[:, :, 1])
    if all(make is not TRANSFORMS[name] for name in WITHOUT_A_DRAW):
        assert not torch.equal(views, views[:, :1].expand_as(views))


@every_transform
@given(
    samples=st.one_of(st.sampled_from([1, 2, 3, 17, 255, 1601]), st.integers(1, 9000)),
    channels=st.integers(1, 3),
    kind=st.sampled_from(["silence", "constant", "full scale", "denormal", "noise"]),
    seed=st.integers(0, 2**31),
)
def test_any_length_and_signal_stays_finite(make, samples, channels, kind, seed):
    waveforms = {
        "silence": torch.zeros(3, channels, samples),
        "constant": torch.full((3, channels, samples), 0.5),
        "full scale": noise(3, channels, samples, seed=seed).sign(),
        "denormal": torch.full((3, channels, samples), 1e-40),
        "noise": noise(3, channels, samples, seed=seed),
    }[kind]
    result = make(0.8)(waveforms, generator=generator(seed))
    assert result.shape == waveforms.shape
    assert result.isfinite().all()
    if kind == "silence":
        assert (result == 0).all()


@every_transform
@pytest.mark.parametrize("samples", [10 * RATE - 1, 10 * RATE])
def test_ten_seconds(make, samples):
    waveforms = noise(2, 1, samples)
    assert make(1.0)(waveforms, generator=generator()).isfinite().all()


@given(
    samples=st.one_of(st.integers(1, 40), st.integers(1, 30000)),
    severity=st.floats(0, 2.5),
    sample_rate=st.sampled_from([8000, 16000, 22050, 44100, 48000]),
    name=st.sampled_from(["chain", *CORRUPTIONS]),
    silent=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_severity_stays_finite(samples, severity, sample_rate, name, silent, seed):
    make = semisupcon_chain(sample_rate, severity) if name == "chain" else corruption(name, sample_rate, severity)
    waveforms = noise(2, 1, samples, seed=seed) * (not silent)
    result = make(waveforms, generator=generator(seed))
    assert result.shape == waveforms.shape
    assert result.isfinite().all()
    if silent:
        assert (result == 0).all()


class CountOperations(TorchDispatchMode):
    """Counts what is dispatched to the tensor library."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def operations(transform, waveforms) -> int:
    transform.cpu_slice_size = None
    draw = transform.draw(len(waveforms), generator())
    with CountOperations() as counter:
        transform.apply(waveforms, draw)
    return counter.count


@every_transform
def test_the_number_of_operations_does_not_grow_with_the_batch(make):
    assert operations(make(1.0), noise(8, 1, 3000)) == operations(make(1.0), noise(64, 1, 3000))


@every_transform
def test_gradients_flow(make):
    waveforms = noise(4, 1, 3000).requires_grad_()
    make(1.0)(waveforms, generator=generator()).square().sum().backward()
    assert waveforms.grad.isfinite().all()
    assert (waveforms.grad != 0).any()


@every_transform
def test_apply_reads_no_value_on_the_host(make):
    transform = make(0.6)
    if any(isinstance(module, MP3) and module.implementation == "auto" for module in transform.modules()):
        pytest.skip("the codec works on the host")
    draw = transform.draw(8, generator()).to("meta")
    # A tensor on the meta device has a shape and no values: whoever asks for one fails.
    waveforms = torch.empty(8, 1, 3000, device="meta")
    assert transform.to("meta").apply(waveforms, draw).shape == waveforms.shape


@every_transform
def test_apply_compiles_without_a_graph_break(make):
    transform = make(0.6)
    if any(isinstance(module, MP3) and module.implementation == "auto" for module in transform.modules()):
        pytest.skip("the codec is no part of a graph")
    waveforms = noise(6, 1, 3000)
    draw = transform.draw(6, generator())
    torch._dynamo.reset()
    compiled = torch.compile(transform.apply, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(waveforms, draw), transform.apply(waveforms, draw))


def test_a_chain_compiles_to_machine_code():
    chain = Chain([Gain((-15, 5), p=0.5), LowPass((500, 4000), sample_rate=RATE, p=0.5), Delay(sample_rate=RATE)])
    waveforms = noise(6, 1, 4000)
    draw = chain.draw(6, generator())
    compiled = torch.compile(chain.apply, fullgraph=True)
    torch.testing.assert_close(compiled(waveforms, draw), chain.apply(waveforms, draw))


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
    torch._dynamo.reset()
    compiled = torch.compile(chain.apply, fullgraph=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seed in range(12):
            draw = chain.draw(4, generator(seed))
            torch.testing.assert_close(compiled(waveforms, draw), chain.apply(waveforms, draw), atol=1e-5, rtol=1e-4)


@every_transform
def test_autocast_leaves_the_precision_alone(make):
    transform, waveforms = make(1.0), noise(4, 1, 3000)
    result, draw = transform(waveforms, generator=generator(), return_draw=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(transform.apply(waveforms, draw), result)


def test_recordings_survive_a_model_in_half_precision():
    model = torch.nn.Sequential(ImpulseResponse(FOLDER, sample_rate=RATE), BackgroundNoise(FOLDER, sample_rate=RATE))
    waveforms = noise(4, 1, 3000)
    draw = model[0].draw(4, generator())
    expected = model[0].apply(waveforms, draw)
    assert torch.equal(model.half().float()[0].apply(waveforms, draw), expected)


@pytest.mark.parametrize("index", [3, -2, np.int64(3), torch.tensor(3), [1, 4], slice(1, 3), np.array([2])])
def test_a_draw_is_indexed_like_a_tensor(index):
    draw = semisupcon_chain(RATE).draw(6, generator())
    rows = torch.arange(6)[index].reshape(-1)
    assert torch.equal(draw[index].children[0].values["gain_db"], draw.children[0].values["gain_db"][rows])


@pytest.mark.parametrize("index", [6, -7, None, torch.tensor([[1, 2]])])
def test_an_index_that_is_none_is_refused(index):
    with pytest.raises(IndexError):
        semisupcon_chain(RATE).draw(6, generator())[index]


def test_numbers_of_numpy_and_torch_are_numbers():
    chain = semisupcon_chain(np.int64(22050), np.float32(1.0))
    assert from_config(json.loads(json.dumps(chain.to_config()))).to_config() == semisupcon_chain(22050).to_config()
    assert Gain(torch.tensor(3.0)).gain_db == Gain(torch.tensor([3.0, 3.0])).gain_db == (3, 3)


def test_many_echoes_cost_no_more_than_those_within_the_clip():
    assert operations(Delay(400.0, repeats=1000, sample_rate=RATE), noise(2, 1, RATE)) < 50


@every_transform
def test_a_configuration_makes_the_same_transform(make):
    transform = make(0.6)
    again = from_config(json.loads(json.dumps(transform.to_config())))
    assert again.to_config() == transform.to_config()
    waveforms = noise(6, 1, 3000)
    assert torch.equal(again(waveforms, generator=generator()), transform(waveforms, generator=generator()))


@every_transform
@pytest.mark.parametrize("shape", [(20, 1, 2000), (20, 2, 1, 2000)])
def test_in_place_writes_over_the_input(make, shape):
    waveforms = noise(*shape)
    expected = make(0.6)(waveforms, generator=generator())
    result = make(0.6)(waveforms, generator=generator(), inplace=True)
    assert result is waveforms
    assert torch.equal(waveforms, expected)


@every_transform
def test_the_result_is_no_view_of_the_input(make):
    waveforms = noise(3, 1, 2000)
    before = waveforms.clone()
    make(0.0)(waveforms).zero_()
    assert torch.equal(waveforms, before)


def test_a_draw_moves_in_one_copy():
    chain = semisupcon_chain(RATE)
    draw = chain.draw(6, generator())

    class Transfers(CountOperations):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func is torch.ops.aten._to_copy.default
            return func(*args, **(kwargs or {}))

    with Transfers() as transfers:
        moved = draw.to("meta")
    assert transfers.count == 1
    assert moved.device.type == "meta"
    assert [child.transform for child in moved.children] == [child.transform for child in draw.children]
    assert moved.children[0].values["gain_db"].shape == (6,)


def one_after_the_other(chain: Chain, waveforms: torch.Tensor, draw: Draw) -> torch.Tensor:
    for transform, child in zip(chain.transforms, draw.children, strict=True):
        waveforms = transform.apply(waveforms, child)
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
def test_what_is_fused_equals_one_after_the_other(members):
    waveforms = noise(40, 2, 3000)
    chain = Chain(members(), p=0.9)
    draw = chain.draw(40, generator())
    expected = one_after_the_other(chain, waveforms, draw)
    assert (chain.apply(waveforms, draw) - expected).abs().max() < 1e-5 * expected.abs().max()
    chain.fuse = "none"
    assert (chain.apply(waveforms, draw) - expected).abs().max() < 1e-6 * expected.abs().max()


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
def test_fused_neighbours_share_their_fft(members, fuse, pairs):
    # One forward FFT for the clips of each stage, and one for each impulse response.
    chain = Chain(list(members()), fuse=fuse)
    draw = chain.draw(12, generator())
    assert transforms_taken(lambda: chain.apply(noise(12, 1, 3000), draw)) == pairs


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
    assert (chain.apply(waveforms, draw) - expected).abs().max() < 1e-5 * expected.abs().max()


@every_transform
def test_it_can_be_printed_and_walked_through_as_a_module(make):
    transform = make(0.25)
    assert "p=0.25" in repr(transform)
    seen = []
    torch.nn.Sequential(transform).apply(seen.append)
    assert transform in seen


def test_a_transform_that_hides_its_arguments_says_so():
    class Hidden(Gain):
        def __init__(self, amount):
            super().__init__(amount)

    with pytest.raises(ValueError, match="keeps no attribute named amount"):
        Hidden(3.0).to_config()
    assert "Hidden" in repr(Chain([Hidden(3.0)]))


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


def test_background_from_the_batch_takes_another_item():
    # Each item is a constant of its own, so what was added tells where it came from.
    items, views = 6, 3
    waveforms = (10.0 ** torch.arange(items))[:, None, None, None].expand(items, views, 1, 50).contiguous()
    waveforms = waveforms * torch.linspace(1, 2, 50)
    mix = BackgroundNoise(snr_db=0.0)
    result, draw = mix(waveforms, generator=generator(), return_draw=True)
    partner = draw.values["partner"].view(items, views) // views
    assert (partner != torch.arange(items)[:, None]).all()
    assert partner.unique().numel() == items
    torch.testing.assert_close(result, 2 * waveforms)
    assert torch.equal(mix.apply(waveforms, draw), result)
    with pytest.raises(ValueError, match="cannot be indexed"):
        draw[3]


def test_background_from_the_batch_works_in_a_long_batch_and_leaves_a_lone_item_alone():
    chain = Chain([Gain((-6, 6)), BackgroundNoise(snr_db=3.0, p=0.5)])
    waveforms = noise(50, 1, 400)
    result, draw = chain(waveforms, generator=generator(), return_draw=True)
    assert torch.equal(chain.apply(waveforms, draw), result)
    lone = noise(1, 4, 1, 400)
    assert torch.equal(BackgroundNoise(snr_db=3.0)(lone), lone)


def test_recordings_follow_the_module_and_stay_out_of_its_state():
    chain = Chain([BackgroundNoise(FOLDER, sample_rate=RATE), ImpulseResponse(FOLDER, sample_rate=RATE)])
    assert chain.state_dict() == {}
    assert {buffer.device.type for buffer in chain.to("meta").buffers()} == {"meta"}


def test_a_transform_works_in_the_workers_of_a_loader():
    class Clips(torch.utils.data.Dataset):
        chain = semisupcon_chain(RATE)

        def __len__(self):
            return 8

        def __getitem__(self, index):
            clip = noise(1, 1, 4000, seed=index)
            return self.chain(clip, generator=generator(index))[0]

    serial = torch.stack([Clips()[index] for index in range(8)])
    loader = torch.utils.data.DataLoader(Clips(), batch_size=4, num_workers=2)
    torch.testing.assert_close(torch.cat(list(loader)), serial)


def train_one_step(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.manual_seed(0)
    chain = Chain([semisupcon_chain(RATE), ImpulseResponse(FOLDER, sample_rate=RATE, p=0.5)])
    model = DistributedDataParallel(torch.nn.Sequential(chain, torch.nn.Flatten(), torch.nn.Linear(800, 3)))
    torch.manual_seed(rank)  # a draw of its own in each process
    waveforms = noise(6, 1, 800)
    views = model.module[0](waveforms, generator=generator(rank))
    model(waveforms).square().sum().backward()
    torch.save((views, model.module[2].weight.grad), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_a_chain_inside_a_model_trains_on_two_processes(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    mp.spawn(train_one_step, (port, str(tmp_path)), nprocs=2)
    (first, gradient), (second, same) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(gradient, same)
    assert not torch.equal(first, second)


def test_one_of_takes_each_member_as_often_as_its_weight_says():
    one_of = OneOf([Gain(-6.0), Gain(-12.0), Gain(-18.0)], weights=[1, 0, 3])
    picked = one_of.draw(4000, generator()).values["picked"]
    shares = torch.bincount(picked, minlength=3) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.0, 0.75]), atol=0.035, rtol=0)


def test_describe_names_what_touched_each_example():
    chain = Chain([Gain(-6.0), OneOf([PolarityInversion(), LowPass(1000.0, sample_rate=RATE)])])
    lines = chain.draw(50, generator()).describe()
    assert len(lines) == 50
    assert set(lines) == {"Gain(gain_db=-6); PolarityInversion()", "Gain(gain_db=-6); LowPass(cutoff_hz=1000)"}
    assert Gain(p=0.0).draw(1).describe() == ["unchanged"]


@pytest.mark.parametrize("severity", [0, 0.3, 0.5, 1, 1.5, 2, 2.5])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 44100])
def test_the_chain_is_legal_at_any_severity(severity, sample_rate):
    waveforms = noise(24, 2, 1, 2000)
    result = semisupcon_chain(sample_rate, severity)(waveforms, generator=generator())
    assert result.isfinite().all()
    assert torch.equal(result, waveforms) == (severity == 0)


def test_the_chain_at_severity_one_has_the_published_settings():
    chain = semisupcon_chain(22050)
    gain, polarity, colored, one_filter, pitch, delay = chain.transforms
    assert (chain.p, [t.p for t in chain.transforms]) == (0.8, [0.4, 0.6, 0.6, 0.3, 0.6, 0.6])
    assert (gain.gain_db, pitch.shift_semitones) == ((-15, 5), (-4, 4))
    assert (colored.snr_db, colored.spectral_decay) == ((3, 30), (-2, 2))
    assert isinstance(polarity, PolarityInversion)
    band_pass, band_stop, high_pass, low_pass = one_filter.transforms
    assert band_pass.center_hz == band_stop.center_hz == (200, 4000)
    assert band_pass.bandwidth_fraction == band_stop.bandwidth_fraction == (0.5, 1.99)
    assert (high_pass.cutoff_hz, low_pass.cutoff_hz) == ((200, 2400), (150, 7500))
    assert (delay.delay_ms, delay.volume, delay.repeats, delay.attenuation) == ((100, 500), 0.5, 2, 0.5)


def test_the_chain_of_clmr():
    chain = clmr_chain(22050)
    assert [t.p for t in chain.transforms] == [0.8, 0.01, 0.3, 0.8, 0.3, 0.6, 0.6]
    echo = chain.transforms[4](torch.eye(1, 22050)[None], generator=generator(5))[0, 0]
    late = [round(ms * 22.05) for ms in range(200, 451, 50)]
    if echo[1:].any():
        assert echo[1:].argmax() + 1 in late
    waveforms = noise(24, 2, 1, 22050)
    assert clmr_chain(22050)(waveforms, generator=generator()).isfinite().all()
    assert len(clmr_chain(8000, omit=("pitch_shift", "reverb")).transforms) == 5


@pytest.mark.parametrize(
    ("name", "severity", "settings"),
    [
        ("time_stretch", 1, {"rate": (0.7, 1.3)}),
        ("time_stretch", 2.5, {"rate": (0.4, 1.6)}),
        ("splice_out", 2, {"cuts": 8, "cut_ms": (0, 200)}),
        ("reverb", 1, {"rt60_seconds": (2.5, 2.5), "direct_to_reverberant_db": (0, 0)}),
        ("chorus", 0.5, {"rate_hz": (5, 5), "depth": (0.5, 0.5), "mix": 0.5}),
        ("chorus", 2, {"depth": (1, 1)}),
        ("distortion", 2, {"drive_db": (18, 18)}),
        (
            "compression",
            1,
            {"threshold_db": (-30, -30), "ratio": (5, 5), "attack_ms": (1, 1), "release_ms": (100, 100)},
        ),
        ("compression", 2.5, {"threshold_db": (-60, -60), "ratio": (11, 11)}),
        ("bitcrush", 0.5, {"bits": (8, 8)}),
        ("bitcrush", 2.5, {"bits": (2, 2)}),
        ("mp3", 0.5, {"bitrate_kbps": (64, 64), "implementation": "codec"}),
        ("mp3", 1, {"bitrate_kbps": (32, 32)}),
        ("mp3", 1.5, {"bitrate_kbps": (24, 24)}),
        ("mp3", 2, {"bitrate_kbps": (16, 16)}),
    ],
)
def test_the_law_of_the_unseen_corruptions(name, severity, settings):
    transform = corruption(name, 22050, severity)
    for setting, value in settings.items():
        assert getattr(transform, setting) == (pytest.approx(value) if setting != "implementation" else value)
    assert transform.p == 1


def test_the_chain_grows_with_severity():
    waveforms = noise(64, 1, 4000)
    distances = [
        (semisupcon_chain(RATE, severity)(waveforms, generator=generator()) - waveforms).square().mean().item()
        for severity in (0.25, 0.5, 1.0, 2.0)
    ]
    assert distances == sorted(distances)


def test_omit_leaves_stages_out():
    chain = semisupcon_chain(RATE, omit=("pitch_shift", "delay"))
    assert [type(t).__name__ for t in chain.transforms] == ["Gain", "PolarityInversion", "ColoredNoise", "OneOf"]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_touches_every_example(name):
    waveforms = noise(16, 1, RATE)
    changed = (corruption(name, RATE, 1.0)(waveforms, generator=generator()) != waveforms).flatten(1).any(1)
    assert changed.all()
    assert torch.equal(corruption(name, RATE, 0.0)(waveforms), waveforms)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Gain(p=1.5), ValueError, "p:"),
        (lambda: Gain((3, -3)), ValueError, "gain_db"),
        (lambda: LowPass(9000.0, sample_rate=16000), ValueError, "cutoff_hz"),
        (lambda: LowPass((2000, 1000), sample_rate=16000), ValueError, "cutoff_hz"),
        (lambda: LowPass(1000.0, sample_rate=None), ValueError, "sample_rate"),
        (lambda: HighPass(1000.0, sample_rate=0), ValueError, "sample_rate"),
        (lambda: BandPass(1000.0, 2.5, sample_rate=16000), ValueError, "bandwidth_fraction"),
        (lambda: BandStop(9000.0, 0.5, sample_rate=16000), ValueError, "center_hz"),
        (lambda: ColoredNoise(sample_rate=-1), ValueError, "sample_rate"),
        (lambda: Delay((-5, 100), sample_rate=16000), ValueError, "delay_ms"),
        (lambda: Delay(volume=2, sample_rate=16000), ValueError, "volume"),
        (lambda: Delay(repeats=0, sample_rate=16000), ValueError, "repeats"),
        (lambda: PitchShift((-90, 0), sample_rate=16000), ValueError, "shift_semitones"),
        (lambda: PitchShift(n_fft=7, sample_rate=16000), ValueError, "n_fft"),
        (lambda: Chain([torch.nn.Identity()]), TypeError, "transforms"),
        (lambda: OneOf([]), ValueError, "transforms"),
        (lambda: OneOf([Gain()], weights=[0.0]), ValueError, "weights"),
        (lambda: OneOf([Gain()], weights=[1.0, 2.0]), ValueError, "weights"),
        (lambda: semisupcon_chain(16000, severity=3), ValueError, "severity"),
        (lambda: semisupcon_chain(16000, omit=("reverb",)), ValueError, "omit"),
        (lambda: corruption("wobble", 16000), ValueError, "name"),
        (lambda: corruption("mp3", 15000), ValueError, "sample_rate: expected one of 8000"),
        (lambda: clmr_chain(16000, omit=("echo",)), ValueError, "omit"),
        (lambda: PeakNormalization("loud"), ValueError, "peak_db"),
        (lambda: Gain((1, 2, 3)), ValueError, "gain_db"),
        (lambda: Equalizer(center_hz=(100, 9000), sample_rate=16000), ValueError, "center_hz"),
        (lambda: Equalizer(center_hz=(100, 110), sample_rate=16000), ValueError, "center_hz"),
        (lambda: Reverb(-1.0, sample_rate=16000), ValueError, "rt60_seconds"),
        (lambda: ImpulseResponse("/nowhere.wav", sample_rate=16000), ValueError, "files: .*nowhere.wav"),
        (lambda: ImpulseResponse([], sample_rate=16000), ValueError, "files"),
        (lambda: ImpulseResponse(tempfile.gettempdir() + "/", sample_rate=None), ValueError, "sample_rate"),
        (lambda: BackgroundNoise(FOLDER), ValueError, "sample_rate"),
        (lambda: TimeStretch(0.0, sample_rate=16000), ValueError, "rate"),
        (lambda: Chorus(depth=2.0, sample_rate=16000), ValueError, "depth"),
        (lambda: Chorus(delay_ms=-1, sample_rate=16000), ValueError, "delay_ms"),
        (lambda: Distortion(90), ValueError, "drive_db"),
        (lambda: Clipping(3.0), ValueError, "threshold_db"),
        (lambda: BitCrush(0), ValueError, "bits"),
        (lambda: BitCrush((2.5, 3)), ValueError, "bits"),
        (lambda: Compression(ratio=0.5, sample_rate=16000), ValueError, "ratio"),
        (lambda: Compression(attack_ms=-1, sample_rate=16000), ValueError, "attack_ms"),
        (lambda: TimeShift(mode="wrap", sample_rate=16000), ValueError, "mode"),
        (lambda: SpliceOut(cut_ms=(-5, 5), sample_rate=16000), ValueError, "cut_ms"),
        (lambda: SpliceOut(0, sample_rate=16000), ValueError, "cuts"),
        (lambda: MP3(5, sample_rate=16000), ValueError, "bitrate_kbps: at 16000 Hz MP3 knows 8, 16"),
        (lambda: MP3(sample_rate=10000), ValueError, "sample_rate"),
        (lambda: MP3(sample_rate=16000, implementation="ffmpeg"), ValueError, "implementation"),
        (lambda: Chain([], fuse="maybe"), ValueError, "fuse"),
        (lambda: SomeOf([], count=1), ValueError, "transforms"),
        (lambda: SomeOf([Gain()], count=2), ValueError, "count"),
        (lambda: from_config({"gain_db": 3}), ValueError, "config"),
        (lambda: from_config({"name": "Wobble"}), ValueError, "config: expected a transform among BackgroundNoise"),
        (lambda: from_config({"name": "Transform"}), ValueError, "config"),
        (lambda: from_config({"name": "Gain", "gain": 3}), ValueError, "config: Gain takes gain_db, p; got gain"),
        (lambda: from_config({"name": "LowPass", "sample_rate": 16000}), ValueError, "config: LowPass needs cutoff_hz"),
        (lambda: Gain().apply(torch.zeros(3, 1, 9), PolarityInversion().draw(3)), ValueError, "draw"),
        (lambda: Gain()(torch.zeros(4, 100)), ValueError, "waveforms"),
        (lambda: Gain()(torch.zeros(4, 1, 100, dtype=torch.int16)), TypeError, "waveforms"),
        (lambda: Gain().apply(torch.zeros(4, 1, 100), Gain().draw(3)), ValueError, "draw"),
        (lambda: Gain().apply(torch.zeros(4, 1, 100)), TypeError, "draw"),
        (lambda: Gain((1, "a")), ValueError, "gain_db"),
        (lambda: Gain((None, 1)), ValueError, "gain_db"),
        (lambda: Gain(["1e3", "2e3"]), ValueError, "gain_db"),
        (lambda: Gain(10**400), ValueError, "gain_db"),
        (lambda: Gain(float("nan")), ValueError, "gain_db"),
        (lambda: Gain(p="0.5"), ValueError, "p:"),
        (lambda: Gain(p=torch.tensor([3.0, 4.0])), ValueError, "p:"),
        (lambda: ColoredNoise(sample_rate="a"), ValueError, "sample_rate"),
        (lambda: ColoredNoise(sample_rate=float("inf")), ValueError, "sample_rate"),
        (lambda: Reverb(sample_rate=True), ValueError, "sample_rate"),
        (lambda: Equalizer(sample_rate=1e9), ValueError, "sample_rate"),
        (lambda: clmr_chain(None), ValueError, "sample_rate"),
        (lambda: PitchShift(n_fft="a", sample_rate=16000), ValueError, "n_fft"),
        (lambda: Delay(repeats="a", sample_rate=16000), ValueError, "repeats"),
        (lambda: Delay(repeats=float("nan"), sample_rate=16000), ValueError, "repeats"),
        (lambda: Delay(repeats=10**6, sample_rate=16000), ValueError, "repeats"),
        (lambda: Equalizer(center_hz="a", sample_rate=16000), ValueError, "center_hz"),
        (lambda: Equalizer(center_hz=3, sample_rate=16000), ValueError, "center_hz"),
        (lambda: BackgroundNoise(3, sample_rate=16000), TypeError, "files"),
        (lambda: OneOf([Gain()], weights="a"), ValueError, "weights"),
        (lambda: semisupcon_chain(16000, omit=(5,)), ValueError, "omit"),
        (lambda: semisupcon_chain(16000, severity="high"), ValueError, "severity"),
        (lambda: from_config({"name": "Chain", "transforms": None}), ValueError, "config: the transforms of Chain"),
        (lambda: from_config({"name": "Chain", "transforms": {"name": "Gain"}}), ValueError, "config: the transforms"),
        (lambda: Chain(Gain()), TypeError, "transforms"),
        (lambda: Gain().draw(-1), ValueError, "count"),
        (lambda: Draw.from_state_dict({"values": {}}), ValueError, "state: .* lacks applied, children"),
        (lambda: Chain([Gain()]).draw(1.5), ValueError, "count"),
        (lambda: BackgroundNoise().draw(20, views=3), ValueError, "views"),
        (lambda: Gain()(torch.zeros(4, 0, 100)), ValueError, "waveforms"),
    ],
)
def test_bad_input_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()
