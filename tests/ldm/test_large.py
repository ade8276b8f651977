"""ldm/large.py: windows cover a larger picture, blend without a seam, and a second pass keeps what the first painted."""
import numpy as np
import pytest

from configs.schema import LargeConfig, RoundConfig, SamplingConfig
from ldm.large import Large, Windowed, enlarged, larger, ramp, starts
from ldm.schedule import make_schedule
from runtime.backend import jt
from tests.helpers import tiny_unet

WINDOW = 8, 12


@pytest.mark.parametrize("overlap", [0.05, 0.25, 0.75])
@pytest.mark.parametrize("length, window", [(8, 8), (9, 8), (16, 8), (33, 8), (100, 12)])
def test_windows_cover_a_side_and_their_weights_reach_everywhere(length, window, overlap):
    found = starts(length, window, overlap)
    total = np.zeros(length)
    for start in found:
        total[start:start + window] += ramp(start, window, length, overlap)
    assert found[0] == 0 and found[-1] == length - window and (total > 0).all()
    assert all(b - a <= max(1, window * (1 - overlap)) for a, b in zip(found, found[1:]))


def test_what_a_model_says_of_each_pixel_by_itself_is_the_same_in_windows_with_the_window_of_the_mask(rng):
    z, labels = rng.standard_normal((2, 3, 20, 31), dtype=np.float32), rng.integers(-1, 29, (2, 40, 62)).astype(np.int32)

    def model(z, t, labels):
        return z * t + labels[:, ::2, ::2].unsqueeze(1).float32()
    whole, seen = model(jt.array(z), 3, jt.array(labels)), Windowed(model, WINDOW, 0.25)
    m = jt.array(labels)
    np.testing.assert_allclose(seen(jt.array(z), 3, m).numpy(), whole.numpy(), rtol=1e-5, atol=1e-5)
    with_mask, without = seen.branches(jt.array(z), 3, m)
    np.testing.assert_allclose(with_mask.numpy(), whole.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(without.numpy(), z * 3 - 1, rtol=1e-5, atol=1e-5)


def seam(image, window, overlap):
    """How much larger the steps across the borders of windows are than those inside them: image (C, H, W)."""
    ratios = []
    for axis, side in ((1, window[0]), (2, window[1])):
        steps = np.abs(np.diff(image, axis=axis)).mean(axis=tuple(n for n in range(3) if n != axis))
        length = image.shape[axis]
        borders = {n - 1 for start in starts(length, side, overlap) for n in (start, start + side) if 0 < n < length}
        inside = [i for i in range(length - 1) if i not in borders]
        ratios.append(steps[sorted(borders)].mean() / steps[inside].mean())
    return max(ratios)


@pytest.mark.parametrize("overlap", [0.25, 0.5])
def test_a_picture_in_windows_has_no_seam_where_they_end(overlap):
    """Windows that disagree as those of a network do, whose normalisation sees a window's mean: laid over one another they
    leave steps, blended they do not."""
    window, (height, width) = (16, 24), (48, 72)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    z = np.stack([np.sin(y / 7 + k) * np.cos(x / 9 - k) for k in range(3)])[None].astype(np.float32)
    model = lambda z, t, labels: z - z.mean(dims=(2, 3), keepdims=True)
    blended = Windowed(model, window, overlap)(jt.array(z), 100, jt.zeros((1, height, width)).int32()).numpy()[0]
    hard = np.zeros_like(blended)
    for top in starts(height, window[0], overlap):
        for left in starts(width, window[1], overlap):
            part = z[0, :, top:top + window[0], left:left + window[1]]
            hard[:, top:top + window[0], left:left + window[1]] = part - part.mean(axis=(1, 2), keepdims=True)
    assert seam(blended, window, overlap) < 1.25 < 2 < seam(hard, window, overlap)


@pytest.mark.parametrize("window", [None, WINDOW])
def test_the_second_pass_keeps_the_structure_of_the_first_and_the_smaller_its_start_the_more(window, rng):
    z_0 = rng.standard_normal((1, 3, 8, 12), dtype=np.float32).cumsum(2).cumsum(3) / 8
    labels, wanted = np.full((1, 16, 24), 3), enlarged(z_0[0], 16, 24)
    distances = []
    for t_start in (20, 500):
        sampling = SamplingConfig(large=LargeConfig(round=RoundConfig(t_start=t_start, steps=2, guidance=1.0)))
        seen = []
        images = larger(lambda z: seen.append(z.numpy()[0]) or jt.tanh(z), tiny_unet(), jt.array(z_0),
                        Large(labels, (16, 24), window), ["a"], sampling, make_schedule("linear", 1000))
        assert images.shape == (1, 16, 24, 3) and images.dtype == np.uint8
        distances.append(np.abs(seen[0] - wanted).mean())
    assert distances[0] < 0.2 * distances[1]
