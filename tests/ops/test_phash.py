import numpy as np
import pytest
import reference_hashing as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.ops import phash


def _grays(seed: int, num: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=(num, 32, 32)).astype(np.uint8)


def _smooth(seed: int, num: int = 4) -> np.ndarray:
    """Images whose low coefficients are far from zero, like those of photos."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(num, 9, 9))
    position = (2 * np.arange(32) + 1) / 64 * np.pi
    waves = np.cos(np.arange(9)[:, None] * position)
    signs = np.sign(coarse) * (0.2 + np.abs(coarse))
    return np.einsum("nuv,uy,vx->nyx", signs, waves, waves)


def test_hand_worked_one_cosine_sets_one_bit():
    wave = np.cos(np.pi * (2 * np.arange(32) + 1) * 3 / 64)
    image = np.broadcast_to(wave, (32, 32))  # column frequency 3, row frequency 0: the third bit
    assert phash.phash(image[None]).tolist() == [1 << 2]
    assert phash.phash(-image[None]).tolist() == [0]


def test_matches_reference():
    grays = _grays(1, 3)
    assert phash.phash(grays).tolist() == [reference.phash(gray) for gray in grays]


@given(st.integers(0, 2**32 - 1), st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_views_equal_hashes_of_turned_images(seed, view):
    images = _smooth(seed, 2)
    turned = np.stack([reference.turned(image, view) for image in images])
    np.testing.assert_array_equal(phash.views(phash.phash(images))[view], phash.phash(turned))
    np.testing.assert_array_equal(phash.turn(images, view), turned)


def test_turn_keeps_channels():
    images = np.arange(2 * 3 * 5 * 3).reshape(2, 3, 5, 3)
    assert phash.turn(images, 4).shape == (2, 5, 3, 3)
    np.testing.assert_array_equal(phash.turn(images, 1)[:, :, 0], images[:, :, -1])


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5))
@settings(deadline=None)
def test_views_are_a_group(hashes):
    hash_N = np.array(hashes, dtype=np.uint64)
    views = phash.views(hash_N)
    np.testing.assert_array_equal(views[0], hash_N)
    for v in range(4):  # flips undo themselves
        np.testing.assert_array_equal(phash.views(views[v])[v], hash_N)
    # Distances do not depend on turning both.
    np.testing.assert_array_equal(
        phash.hamming(views[5], views[5][::-1]), phash.hamming(hash_N, hash_N[::-1])
    )


@pytest.mark.parametrize("view", range(8))
def test_inverse_undoes_a_view(view):
    image = np.arange(12).reshape(1, 3, 4)
    back = int(phash.inverse(np.array([view]))[0])
    np.testing.assert_array_equal(phash.turn(phash.turn(image, view), back), image)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_hamming_matches_reference(a, b):
    found = phash.hamming(np.array([a], dtype=np.uint64), np.array([b], dtype=np.uint64))
    assert found.tolist() == [reference.distance(a, b)]


def test_constant_image_hashes_to_zero_and_brightness_does_not_matter():
    assert phash.phash(np.full((1, 32, 32), 137, dtype=np.uint8)).tolist() == [0]
    images = _smooth(3)
    np.testing.assert_array_equal(phash.phash(images), phash.phash(images * 2 + 40))


def test_no_images():
    assert phash.phash(np.empty((0, 32, 32))).shape == (0,)
    assert phash.views(np.empty(0, dtype=np.uint64)).shape == (8, 0)


def test_wrong_shape_and_view():
    with pytest.raises(ValueError, match=r"expected \(N, 32, 32\)"):
        phash.phash(np.zeros((32, 32)))
    with pytest.raises(ValueError, match="a view is a number from 0 to 7"):
        phash.turn(np.zeros((1, 2, 2)), 8)
