import numpy as np
import pytest
from PIL import Image, ImageFont

from runtime import pictures
from runtime.pictures import PALETTE, colour_labels, grid, loss_curve, nice_ticks, number, save, smoothed


def test_29_classes_have_29_colours_that_can_be_told_apart():
    assert PALETTE.shape == (29, 3) and PALETTE.dtype == np.uint8
    distance = np.linalg.norm(PALETTE[:, None].astype(float) - PALETTE[None], axis=-1) + 999 * np.eye(29)
    assert distance.min() > 40


def test_labels_become_their_colours():
    labels = np.arange(29).reshape(1, 29).repeat(2, 0)
    np.testing.assert_array_equal(colour_labels(labels)[1], PALETTE)


def test_no_mask_is_white_with_grey_hatching():
    picture = colour_labels(np.full((6, 10), -1))
    assert picture.shape == (6, 10, 3) and set(np.unique(picture)) == {200, 255}


@pytest.mark.parametrize("labels", [np.full((2, 2), 29), np.full((2, 2), -2), np.zeros(3)])
def test_labels_that_are_none_are_refused(labels):
    with pytest.raises(ValueError, match="colour_labels: expected ids -1 to 28"):
        colour_labels(labels)


def test_a_grid_places_images_in_rows_with_thin_margins(rng):
    a, b = rng.integers(0, 255, (2, 6, 10, 3), dtype=np.uint8)
    picture = grid([[a, b], [b]], margin=2)
    assert picture.shape == (2 + 2 * 8, 2 + 2 * 12, 3)
    np.testing.assert_array_equal(picture[2:8, 2:12], a)
    np.testing.assert_array_equal(picture[2:8, 14:24], b)
    np.testing.assert_array_equal(picture[10:16, 2:12], b)
    assert (picture[10:16, 14:24] == 255).all()


def test_enlarged_images_keep_their_pixels_unless_smooth(rng):
    a = rng.integers(0, 255, (6, 10, 3), dtype=np.uint8)
    np.testing.assert_array_equal(grid([[a]], scale=3, margin=0), a.repeat(3, 0).repeat(3, 1))
    assert not np.array_equal(grid([[a]], scale=3, margin=0, smooth=True), a.repeat(3, 0).repeat(3, 1))


def test_a_small_mask_beside_an_image_is_brought_to_its_size():
    mask, image = np.full((6, 10), 7, np.uint8), np.zeros((24, 40, 3), np.uint8)
    picture = grid([[mask, image]], margin=0)
    assert picture.shape == (24, 80, 3) and (picture[:, :40] == 7).all()


def test_captions_take_room_and_leave_ink():
    image = np.full((60, 80, 3), 255, np.uint8)
    plain, captioned = grid([[image]]), grid([[image]], captions=["mask"], row_captions=["step 1"])
    assert captioned.shape[0] > plain.shape[0] and captioned.shape[1] > plain.shape[1]
    assert plain.min() == 255 and captioned.min() < 120


def test_a_long_caption_is_cut_to_its_column():
    assert pictures.text_width(pictures.shorten("a very long caption indeed", 14, 60), 14) <= 60
    assert pictures.shorten("mask", 14, 60) == "mask"


def test_captions_are_drawn_with_an_old_pillow_too(monkeypatch):
    # Pillow before 10.1 has one bitmap font and no size.
    plain = ImageFont.ImageFont()
    monkeypatch.setattr(pictures, "font", lambda size: (OldFont(plain), False))
    picture = Image.new("RGB", (100, 40), (255, 255, 255))
    pictures.write(picture, (50, 20), "xx", 22, anchor="mm")
    assert np.asarray(picture).min() < 255


class OldFont:
    """Stands for the bitmap font: 6 x 11 pixels a letter, every one black."""

    def __init__(self, font):
        self.font = font

    def getbbox(self, text, *args, **kwargs):
        return 0, 0, 6 * len(text), 11

    def getmask(self, text, *args, **kwargs):
        return Image.new("L", (6 * len(text), 11), 255).im

    def getmask2(self, text, *args, **kwargs):
        return self.getmask(text), (0, 0)


@pytest.mark.parametrize("bad", [np.zeros((2, 2), np.float32), np.zeros((1, 2, 2, 3), np.uint8)])
def test_a_grid_of_what_is_no_image_is_refused(bad):
    with pytest.raises(ValueError, match="expected uint8 images"):
        grid([[bad]])


def test_saving_gives_the_image_back_and_leaves_nothing_else(tmp_path, rng):
    image = rng.integers(0, 255, (6, 10, 3), dtype=np.uint8)
    save(tmp_path / "deep" / "a.png", image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "deep" / "a.png")), image)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.png"]


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize("series", [
    {"train": (np.arange(3000) * 100, 1 / (1 + np.arange(3000))), "validation": ([0, 200000], [0.4, 0.1])},
    {"one point": ([5], [0.0])}, {"flat": ([1, 2, 3], [2.0, 2.0, 2.0])}, {"none": ([], [])}, {},
    {"not finite": ([1, 2, 3], [np.nan, np.inf, 1.0]), "negative": ([1, 2], [-1.0, -2.0])},
])
def test_any_series_gives_a_chart(tmp_path, series, log_y):
    loss_curve(tmp_path / "loss.png", series, title="loss", log_y=log_y)
    chart = np.asarray(Image.open(tmp_path / "loss.png"))
    assert chart.shape == (560, 1000, 3) and chart.min() < 120 and (chart == 255).mean() > 0.5


def test_ticks_are_round_numbers_inside_the_range():
    assert nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(0, 270000) == [0, 50000, 100000, 150000, 200000, 250000]
    assert all(3.1 <= tick <= 3.2 for tick in nice_ticks(3.1, 3.2)) and len(nice_ticks(3.1, 3.2)) >= 3


@pytest.mark.parametrize("value, text", [(0, "0"), (200000, "200k"), (2500000, "2.5M"), (2e-5, "2e-05"), (0.25, "0.25"),
                                         (-1500, "-1500"), (1e10, "1e+10")])
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_smoothing_keeps_the_first_value_and_a_constant():
    values = np.arange(100.0)
    assert smoothed(values, 0.2)[0] == 0
    np.testing.assert_allclose(smoothed(np.full(100, 3.0)), 3.0)
    noisy = np.random.default_rng(0).normal(size=1000)
    assert smoothed(noisy, 0.1).std() < 0.3 * noisy.std()
