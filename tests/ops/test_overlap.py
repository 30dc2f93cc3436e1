import numpy as np
import pytest
from PIL import Image

from webclean.ops import overlap, phash
from webclean.ops.overlap import CUTOUT, SCENE, SCENE_MEMBER, SIDE
from webclean.ops.windows import Starts

WHOLE = np.array([[0.0, 1.0, 0.0, 1.0]])
BIG = 256


def _scene(seed: int) -> np.ndarray:
    """(256, 256, 3) levels: blobs of colour with finer ones over them."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((BIG, BIG, 3))
    for cells, strength in ((4, 70), (12, 45), (32, 30)):
        coarse = Image.fromarray(rng.integers(0, 255, (cells, cells, 3)).astype(np.uint8))
        fine = np.asarray(coarse.resize((BIG, BIG), Image.Resampling.BICUBIC), dtype=float)
        picture += (fine - 128) / 128 * strength
    return np.clip(picture + 128, 0, 255)


def _small(picture: np.ndarray, box: tuple[float, float, float, float] | None = None) -> np.ndarray:
    """(1, 64, 64, 3) float32 of a box (top, bottom, left, right shares) of a picture."""
    image = Image.fromarray(np.clip(picture, 0, 255).round().astype(np.uint8))
    if box is not None:
        top, bottom, left, right = (share * BIG for share in box)
        image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, right, bottom))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32)[None]


def _fit(first: np.ndarray, second: np.ndarray, window=WHOLE, bars=SCENE) -> overlap.Fit:
    return overlap.fit(first, second, np.array(window, dtype=float).reshape(1, 4), bars)


def test_the_same_picture_agrees_everywhere():
    small = _small(_scene(0))
    found = _fit(small, small)
    assert found.detail_P[0] == found.good_pixels_P[0] == found.overlap_P[0] == 1.0
    assert found.bad_cells_P[0] == 0.0
    assert found.reaches(SCENE).all()


@pytest.mark.parametrize("box", [(0.03, 0.97, 0.06, 0.94), (0.0, 0.88, 0.1, 1.0), (0.12, 0.93, 0.04, 0.92)])
def test_a_crop_is_found_from_a_window_near_it(box):
    picture = _scene(1)
    window = np.array(box) + [0.02, -0.02, -0.02, 0.02]
    assert _fit(_small(picture), _small(picture, box), window).reaches(SCENE).all()


def test_a_brighter_crop_is_found_and_its_gain_does_not_count():
    picture = _scene(2)
    box = (0.05, 0.95, 0.05, 0.95)
    assert _fit(_small(picture), _small(picture * 1.25, box), box).reaches(SCENE).all()


def test_a_box_over_it_makes_bad_cells_and_leaves_a_copy():
    picture = _scene(3)
    covered = picture.copy()
    covered[160:224, 32:160] = 255.0  # 64 x 128 of 256 x 256: an eighth
    found = _fit(_small(picture), _small(covered))
    assert found.reaches(SCENE).all()
    assert 0.08 <= found.bad_cells_P[0] <= 0.17
    assert found.good_detail_P[0] > 0.95
    covered[32:224, 32:224] = 255.0
    assert not _fit(_small(picture), _small(covered)).reaches(SCENE).any()


@pytest.mark.parametrize("seed", range(4))
def test_other_pictures_do_not_agree(seed):
    assert not _fit(_small(_scene(10 + seed)), _small(_scene(20 + seed))).reaches(SCENE_MEMBER).any()


def _thing(color: tuple[int, int, int]) -> np.ndarray:
    """One outline on white."""
    picture = np.full((BIG, BIG, 3), 255.0)
    picture[60:200, 90:170] = color
    picture[150:200, 120:140] = 255.0
    return picture


def test_things_of_one_outline_agree_only_in_one_colour():
    first = _small(_thing((120, 60, 40)))
    assert _fit(first, _small(_thing((122, 62, 38))), bars=CUTOUT).reaches(CUTOUT).all()
    assert not _fit(first, _small(_thing((60, 70, 150))), bars=CUTOUT).reaches(CUTOUT).any()


def test_a_thing_with_another_pattern_is_another_thing():
    plain, striped = _thing((120, 60, 40)), _thing((120, 60, 40))
    striped[70:150:16, 90:170] = striped[78:150:16, 90:170] = (230, 220, 60)
    assert not _fit(_small(plain), _small(striped), bars=CUTOUT).reaches(CUTOUT).any()


def test_a_blank_page_is_nobodys_copy():
    blank = np.full((1, SIDE, SIDE, 3), 250, dtype=np.float32)
    assert not _fit(blank, blank).reaches(SCENE).any()


def test_verdicts_do_not_depend_on_what_else_is_in_the_task():
    pictures = np.concatenate([_small(_scene(seed)) for seed in range(5)])
    windows = np.tile(WHOLE, (5, 1))
    second = np.roll(pictures, 1, axis=2)
    together = overlap.fit(pictures, second, windows, SCENE)
    for i in range(5):
        alone = overlap.fit(pictures[i : i + 1], second[i : i + 1], windows[:1], SCENE)
        assert alone.detail_P[0] == together.detail_P[i]


def test_tasks_turn_the_first_and_split_by_kind():
    squares = (
        np.concatenate([_small(_scene(seed)) for seed in range(2)]).round().clip(0, 255).astype(np.uint8)
    )
    squares = np.concatenate([squares, phash.turn(squares[:1], 6)])
    starts = Starts(np.array([0, 0, 1]), np.array([1, 2, 2]), np.array([0, 6, 0]), np.tile(WHOLE, (3, 1)))
    cutout = np.array([False, True, True])
    found = {tuple(chosen.tolist()): task for chosen, task in overlap.tasks(squares, cutout, starts)}
    assert {key: task.bars for key, task in found.items()} == {(0, 1): SCENE, (2,): CUTOUT}
    verdict, detail = overlap.judge(found[0, 1])
    assert verdict.tolist() == [False, True]
    assert detail[1] == 1.0
    lax = [task.bars for _, task in overlap.tasks(squares, cutout, starts, lax=True)]
    assert lax == [SCENE_MEMBER, CUTOUT]


def test_nothing_to_compare():
    empty = np.empty((0, SIDE, SIDE, 3), dtype=np.float32)
    assert len(overlap.fit(empty, empty, np.empty((0, 4)), SCENE).reaches(SCENE)) == 0
