"""What every transform promises: shapes, reproducibility, replay, a draw of its own for each example."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from operations import operations
from seeded import generator, noise
from transforms import FOLDER, RATE, TRANSFORMS, WITHOUT_A_DRAW

from ssc_toolkit.augmentations import (
    MP3,
    BackgroundNoise,
    Chain,
    Delay,
    Draw,
    ImpulseResponse,
    from_config,
    semisupcon_chain,
)

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
def test_the_generator_determines_the_result(make):
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
    assert torch.equal(transform.apply_draw(waveforms, draw), result)


@every_transform
def test_a_draw_survives_saving_and_indexing(make, tmp_path):
    waveforms = noise(20, 1, 3000)
    transform = make(0.7)
    result, draw = transform(waveforms, generator=generator(), return_draw=True)
    torch.save(draw.state_dict(), tmp_path / "draw.pt")
    loaded = Draw.from_state_dict(torch.load(tmp_path / "draw.pt", weights_only=True))
    assert torch.equal(transform.apply_draw(waveforms, loaded), result)
    assert len(draw[4]) == 1
    torch.testing.assert_close(transform.apply_draw(waveforms[4:5], draw[4]), result[4:5])
    torch.testing.assert_close(transform.apply_draw(waveforms[-1:], draw[-1]), result[-1:])
    torch.testing.assert_close(transform.apply_draw(waveforms[5:9], draw[5:9]), result[5:9])
    rows = torch.tensor([11, 2])
    torch.testing.assert_close(transform.apply_draw(waveforms[rows], draw[rows]), result[rows])


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
def test_p_is_the_fraction_of_transformed_examples(make):
    count = 400
    waveforms = noise(count, 1, 400)
    changed = (make(0.3)(waveforms, generator=generator()) != waveforms).flatten(1).any(1)
    # Five standard deviations of a binomial, and no two halves alike.
    assert abs(changed.sum().item() - 0.3 * count) < 5 * (count * 0.3 * 0.7) ** 0.5
    assert not torch.equal(changed[: count // 2], changed[count // 2 :])


@every_transform
def test_views_draw_separately_and_channels_share_a_draw(make):
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


@every_transform
def test_the_number_of_operations_does_not_grow_with_the_batch(make):
    assert operations(make(1.0), noise(8, 1, 1000)) == operations(make(1.0), noise(64, 1, 1000))


@every_transform
def test_gradients_flow(make):
    waveforms = noise(4, 1, 3000).requires_grad_()
    make(1.0)(waveforms, generator=generator()).square().sum().backward()
    assert waveforms.grad.isfinite().all()
    assert (waveforms.grad != 0).any()


@every_transform
def test_apply_reads_no_value_from_the_device(make):
    transform = make(0.6)
    if any(isinstance(module, MP3) and module.implementation == "auto" for module in transform.modules()):
        pytest.skip("the codec works on the host")
    draw = transform.draw(8, generator()).to("meta")
    # A tensor on the meta device has a shape and no values: whoever asks for one fails.
    waveforms = torch.empty(8, 1, 3000, device="meta")
    assert transform.to("meta").apply_draw(waveforms, draw).shape == waveforms.shape


@pytest.mark.slow
@every_transform
def test_apply_compiles_without_a_graph_break(make):
    transform = make(0.6)
    if any(isinstance(module, MP3) and module.implementation == "auto" for module in transform.modules()):
        pytest.skip("the codec is no part of a graph")
    waveforms = noise(6, 1, 3000)
    draw = transform.draw(6, generator())
    compiled = torch.compile(transform.apply_draw, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(waveforms, draw), transform.apply_draw(waveforms, draw))


@every_transform
def test_autocast_leaves_the_precision_alone(make):
    transform, waveforms = make(1.0), noise(4, 1, 3000)
    result, draw = transform(waveforms, generator=generator(), return_draw=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(transform.apply_draw(waveforms, draw), result)


def test_recordings_survive_a_model_in_half_precision():
    model = torch.nn.Sequential(ImpulseResponse(FOLDER, sample_rate=RATE), BackgroundNoise(FOLDER, sample_rate=RATE))
    waveforms = noise(4, 1, 3000)
    draw = model[0].draw(4, generator())
    expected = model[0].apply_draw(waveforms, draw)
    assert torch.equal(model.half().float()[0].apply_draw(waveforms, draw), expected)


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
def test_the_result_is_not_a_view_of_the_input(make):
    waveforms = noise(3, 1, 2000)
    before = waveforms.clone()
    make(0.0)(waveforms).zero_()
    assert torch.equal(waveforms, before)


@every_transform
def test_it_can_be_printed_and_walked_through_as_a_module(make):
    transform = make(0.25)
    assert "p=0.25" in repr(transform)
    seen = []
    torch.nn.Sequential(transform).apply(seen.append)
    assert transform in seen


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
