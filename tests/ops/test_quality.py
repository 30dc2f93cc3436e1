import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from webclean import schema
from webclean.config import QualityConfig
from webclean.ops import quality
from webclean.ops.quality import Measured, Thresholds


def test_hand_worked_checkerboard():
    board = (np.indices((4, 4)).sum(axis=0) % 2 * 255).astype(np.uint8)
    found = quality.measure(board)
    assert found.brightness == 0.5
    assert found.contrast == pytest.approx(1.0)
    assert found.entropy == pytest.approx(1.0)
    assert found.sharpness == pytest.approx(4.0)  # Laplacians of +-4 in levels of 0 to 1


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_matches_literal_formulas(gray):
    found = quality.measure(gray)
    levels = gray.astype(float)
    assert found.brightness == pytest.approx(levels.mean() / 255, abs=1e-9)
    assert found.contrast == pytest.approx(levels.std() / 127.5, abs=1e-6)
    shares = [np.mean(gray == level) for level in np.unique(gray)]
    assert found.entropy == pytest.approx(-sum(p * math.log2(p) for p in shares), abs=1e-9)
    laplacians = [
        levels[y - 1, x] + levels[y + 1, x] + levels[y, x - 1] + levels[y, x + 1] - 4 * levels[y, x]
        for y in range(1, gray.shape[0] - 1)
        for x in range(1, gray.shape[1] - 1)
    ]
    expected = np.std(laplacians) / 255 if laplacians else 0.0
    assert found.sharpness == pytest.approx(expected, abs=1e-6)


@given(hnp.arrays(np.uint8, (6, 7)), st.integers(0, 3))
def test_turning_changes_nothing(gray, turns):
    turned = quality.measure(np.ascontiguousarray(np.rot90(gray, turns)))
    assert turned == quality.measure(gray)


def test_one_pixel():
    assert quality.measure(np.full((1, 1), 7, dtype=np.uint8)) == quality.Quality(7 / 255, 0.0, 0.0, 0.0)


def test_rejects_other_arrays():
    with pytest.raises(ValueError, match="non-empty"):
        quality.measure(np.zeros((0, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        quality.measure(np.zeros((3, 3)))


def test_is_gray_tolerates_noise_not_colour():
    pictures = np.full((3, 16, 16, 3), 100, dtype=np.uint8)
    pictures[:2, ..., 0] += 5
    pictures[1, 3, 3, 0] += 40
    pictures[2, 15, 0, 1] = 255
    assert quality.is_gray(pictures).tolist() == [True, False, False]


LIMITS = Thresholds(**{name: getattr(QualityConfig(), name) for name in Thresholds.__slots__})
PHOTO = {
    "width": 640, "height": 480, "brightness": 0.45, "contrast": 0.4, "sharpness": 0.2, "entropy": 7.2,
    "is_gray": False, "num_queries": 1,
}  # fmt: skip


def noise(num: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, 16, 16, 3), dtype=np.uint8)


def flags_of(tiny: np.ndarray | None = None, **changed: object) -> set[str]:
    """Flags of a photo with some of its measures changed."""
    values = PHOTO | changed
    found = quality.flag(
        Measured(
            **{f"{k}_N": np.array([v]) for k, v in values.items()},
            tiny_NSSC=noise(1) if tiny is None else tiny,
        ),
        LIMITS,
    )
    assert tuple(found) == schema.FLAGS
    return {name for name, flag_N in found.items() if flag_N[0]}


@pytest.mark.parametrize(
    ("inside", "outside", "flag"),
    [
        ({"width": 32, "height": 60}, {"width": 31, "height": 60}, "too_small"),
        ({"width": 300, "height": 100}, {"width": 301, "height": 100}, "odd_aspect"),
        ({"width": 100, "height": 300}, {"width": 100, "height": 301}, "odd_aspect"),
        ({"sharpness": 0.049}, {"sharpness": 0.047}, "blurry"),  # 0.12 times the contrast is 0.048
        ({"brightness": 0.1, "contrast": 0.23}, {"brightness": 0.1, "contrast": 0.21}, "dark"),
        ({"brightness": 0.97, "contrast": 0.08}, {"brightness": 0.97, "contrast": 0.06}, "light"),
        ({"entropy": 0.81}, {"entropy": 0.79}, "low_information"),
        ({"is_gray": False}, {"is_gray": True}, "gray"),
        ({"num_queries": 2}, {"num_queries": 3}, "placeholder"),
        # Lines: 0.9 times the contrast is 0.36; and not where there are as many grey levels as in a photo.
        ({"sharpness": 0.35, "entropy": 4.0}, {"sharpness": 0.37, "entropy": 4.0}, "graphic"),
        ({"sharpness": 0.37, "entropy": 4.6}, {"sharpness": 0.37, "entropy": 4.4}, "graphic"),
    ],
)
def test_flags_begin_at_their_thresholds(inside, outside, flag):
    assert flags_of() == set()
    assert flags_of(**inside) == set()
    assert flags_of(**outside) == {flag}


def test_a_flat_picture_is_neither_blurred_nor_drawn():
    flat = np.full((1, 16, 16, 3), 128, dtype=np.uint8)
    assert flags_of(flat, contrast=0.0, sharpness=0.0, entropy=0.0, is_gray=True, brightness=0.5) == {
        "low_information", "gray",
    }  # fmt: skip


def test_few_flat_colours_are_drawn_and_many_shades_are_not():
    tiny = np.full((1, 16, 16, 3), 255, dtype=np.uint8)
    tiny[0, 4:12, 4:12] = (200, 30, 30)  # 64 cells of one colour
    assert quality.color_share(tiny)[0] == 1 / 64
    assert flags_of(tiny, entropy=2.9) == {"graphic"}
    assert flags_of(tiny, entropy=3.1) == set()
    tiny[0, 4:12, 4:12] = noise(1)[0, :8, :8]
    assert quality.color_share(tiny)[0] > 0.9
    assert flags_of(tiny, entropy=2.9) == set()


@given(hnp.arrays(np.uint8, (3, 4, 4, 3), elements=st.sampled_from([0, 3, 8, 200, 255])))
def test_color_share_matches_a_slow_count(tiny):
    got = quality.color_share(tiny)
    for image, share in zip(tiny, got, strict=True):
        cells = [tuple(int(v) // 8 for v in cell) for cell in image.reshape(-1, 3)]
        commonest = max(cells.count(color) for color in cells)
        assert share == (len(set(cells)) - 1) / max(1, len(cells) - commonest)


def test_color_share_of_odd_arrays():
    assert quality.color_share(np.zeros((0, 16, 16, 3), np.uint8)).shape == (0,)
    assert quality.color_share(np.zeros((2, 16, 16, 3), np.uint8)).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="expected"):
        quality.color_share(np.zeros((16, 16, 3), np.uint8))


def test_no_images_have_no_flags():
    none = np.zeros(0)
    found = quality.flag(
        Measured(
            width_N=none, height_N=none, brightness_N=none, contrast_N=none, sharpness_N=none, entropy_N=none,
            is_gray_N=none.astype(bool), tiny_NSSC=noise(0), num_queries_N=none,
        ),
        LIMITS,
    )  # fmt: skip
    assert all(flag_N.shape == (0,) for flag_N in found.values())
