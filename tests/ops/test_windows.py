import numpy as np
import pytest
import reference_hashing as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.ops import phash, windows
from webclean.ops.windows import QUARTERS_44, WINDOWS_W4, Windows


def _scenes(seed: int, num: int, side: int = 64) -> np.ndarray:
    """(N, S, S) grey pictures with structure at several scales."""
    rng = np.random.default_rng(seed)
    scenes = np.zeros((num, side, side), dtype=np.float32)
    for cells, strength in ((4, 60.0), (8, 40.0), (16, 20.0)):
        coarse = rng.normal(0, strength, size=(num, cells, cells))
        scenes += np.kron(coarse, np.ones((side // cells, side // cells)))
    return np.clip(scenes + 128, 0, 255).astype(np.float32)


def _cut(picture: np.ndarray, window: np.ndarray) -> np.ndarray:
    """A window of one grey picture at its size, each pixel the mean of what it covers (16 points a pixel)."""
    side = len(picture)
    fine = (np.arange(side * 4) + 0.5) / (side * 4)
    rows = ((window[0] + (window[1] - window[0]) * fine) * side).astype(int)
    columns = ((window[2] + (window[3] - window[2]) * fine) * side).astype(int)
    return picture[np.ix_(rows, columns)].reshape(side, 4, side, 4).mean(axis=(1, 3))


def test_the_whole_window_is_the_hash_of_the_reduced_picture():
    gray = _scenes(0, 3)
    reduced = gray.reshape(3, 32, 2, 32, 2).mean(axis=(2, 4))
    found = windows.describe(gray)
    assert found.window_NW[:, 0].tolist() == [reference.phash(picture) for picture in reduced]
    quarter = gray[:, 32:, :32]
    assert found.quarter_N4[:, 2].tolist() == [reference.phash(picture) for picture in quarter]


@pytest.mark.parametrize("number", [1, 6, 24, 25, 28])
def test_a_window_hashes_as_if_it_were_cut_out(number):
    gray = _scenes(1, 2)
    cut = np.stack([_cut(picture, WINDOWS_W4[number]) for picture in gray])
    apart = phash.hamming(windows.describe(gray).window_NW[:, number], windows.describe(cut).window_NW[:, 0])
    assert apart.max() <= 6


@pytest.mark.parametrize("view", range(8))
def test_a_turned_window_is_where_the_turned_picture_has_it(view):
    gray = _scenes(2, 1)
    number = 8  # the lower left: nothing is the same after any view but the first
    assert WINDOWS_W4[number].tolist() == [0.0, 0.9, 0.05, 0.95]
    place = windows.turned(WINDOWS_W4[[number]], view)[0]
    cut_then_turned = phash.turn(_cut(gray[0], WINDOWS_W4[number])[None], view)[0]
    turned_then_cut = _cut(phash.turn(gray, view)[0], place)
    assert np.abs(cut_then_turned - turned_then_cut).mean() < 3.0


def _triples(blocks) -> set[tuple[int, int, int]]:
    return {
        triple
        for starts in blocks
        for triple in zip(
            starts.first_P.tolist(), starts.second_P.tolist(), starts.view_P.tolist(), strict=True
        )
    }


@pytest.mark.parametrize("view", [0, 1, 6])
def test_candidates_hold_a_turned_crop_and_where_it_lies(view):
    gray = _scenes(3, 4)
    window = np.array([0.0, 0.9, 0.1, 1.0])
    crop = phash.turn(_cut(gray[1], window)[None], view)
    found = windows.describe(np.concatenate([gray, crop]))
    (starts,) = windows.candidates(found, np.zeros(5, dtype=bool))
    mine = (starts.first_P == 1) & (starts.second_P == 4)
    assert mine.sum() == 1
    assert starts.view_P[mine].tolist() == [view]
    np.testing.assert_allclose(starts.window_P4[mine][0], windows.turned(window[None], view)[0])
    assert {(a, b) for a, b, _ in _triples([starts])} <= {(1, 4), (4, 1)}


def test_candidates_hold_a_mirrored_copy_of_which_a_half_is_covered():
    gray = _scenes(4, 3)
    covered = phash.turn(gray[:1], 1).copy()
    covered[:, 32:] = _scenes(5, 1)[:, 32:]
    found = windows.describe(np.concatenate([gray, covered]))
    (starts,) = windows.candidates(found, np.zeros(4, dtype=bool))
    assert _triples([starts]) == {(0, 3, 1)}
    np.testing.assert_allclose(starts.window_P4[0], WINDOWS_W4[0])


def test_blank_corners_bring_nobody_together():
    gray = np.full((6, 64, 64), 255.0, dtype=np.float32)
    gray[:, 32:] = _scenes(6, 6)[:, 32:]
    found = windows.describe(gray)
    assert found.flat_N4.tolist() == [[True, True, False, False]] * 6
    assert (found.quarter_N4[:, 0] == found.quarter_N4[0, 0]).all()
    assert all(len(starts) == 0 for starts in windows.candidates(found, np.zeros(6, dtype=bool)))


@pytest.mark.parametrize("flipped", [windows.CUTOUT_RADIUS, windows.RADIUS, windows.RADIUS + 1])
@pytest.mark.parametrize("are_cutouts", [(False, True), (True, True)])
def test_cutouts_must_be_nearer(flipped, are_cutouts):
    rng = np.random.default_rng(7)
    window_NW = rng.integers(0, 2**64, size=(2, len(WINDOWS_W4)), dtype=np.uint64)
    window_NW[1, 0] = window_NW[0, 5] ^ np.uint64(2**flipped - 1)
    quarter_N4 = rng.integers(0, 2**64, size=(2, 4), dtype=np.uint64)
    found = Windows(window_NW, quarter_N4, np.zeros(2, dtype=bool), np.zeros((2, 4), dtype=bool))
    expected = flipped <= (windows.CUTOUT_RADIUS if all(are_cutouts) else windows.RADIUS)
    crops = _triples(windows.candidates(found, np.array(are_cutouts)))
    assert crops == ({(0, 1, 0)} if expected else set())


@given(st.integers(1, 9), st.integers(1, 5))
@settings(max_examples=10, deadline=None)
def test_blocks_do_not_change_what_is_found(num, block):
    gray = _scenes(8, num)
    found = windows.describe(np.concatenate([gray, phash.turn(gray, 3)]))
    flags = np.zeros(2 * num, dtype=bool)
    whole = _triples(windows.candidates(found, flags))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "BLOCK", block)
        assert _triples(windows.candidates(found, flags)) == whole
    assert {(i, i + num) for i in range(num)} <= {(a, b) for a, b, _ in whole}


def test_best_starts_try_both_ways_and_the_whole():
    gray = _scenes(9, 2)
    crop = _cut(gray[0], np.array([0.1, 0.9, 0.1, 0.9]))[None]
    found = windows.describe(np.concatenate([gray, crop]))
    starts = windows.best_starts(found, np.array([2]), np.array([0]))
    assert starts.first_P.tolist() == [2, 0, 2]
    assert starts.second_P.tolist() == [0, 2, 0]
    np.testing.assert_allclose(starts.window_P4[1], [0.1, 0.9, 0.1, 0.9])
    np.testing.assert_allclose(starts.window_P4[2], WINDOWS_W4[0])


def test_describe_checks_its_input_and_takes_nothing():
    with pytest.raises(ValueError, match="even S"):
        windows.describe(np.zeros((2, 64, 32), dtype=np.float32))
    nothing = windows.describe(np.zeros((0, 64, 64), dtype=np.float32))
    assert nothing.window_NW.shape == (0, len(WINDOWS_W4))
    assert nothing.quarter_N4.shape == (0, len(QUARTERS_44))
    assert list(windows.candidates(nothing, np.zeros(0, dtype=bool))) == []
