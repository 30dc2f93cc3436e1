"""Features of patches: equal to the formulas taken literally, the same each time, blind to mirroring, worth something."""

from __future__ import annotations

import numpy as np
import pytest
import reference_patches as reference
from reference_patches import textures

from webclean.nn import patches
from webclean.ops.heads import cross_fit, ridge, standardise


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Quick on any machine."""
    monkeypatch.setattr(patches, "_NUM_THREADS", 1)
    monkeypatch.setattr(patches, "_PATCHES", 2000)


def test_normalised_patches_are_the_literal_ones():
    images, _ = textures(2)
    found = patches._patches(images, 16).numpy()
    assert found.shape == (2, 36, 108)
    np.testing.assert_allclose(found[1], reference.patches(images[1]), atol=1e-5)


def test_whitening_and_centroids_are_the_literal_ones(monkeypatch):
    """All patches of the images are taken, so that only the start of k-means is drawn; the last step is done over."""
    images, _ = textures(6)
    dictionary = patches.learn(images, 5)
    patch_PD = np.concatenate([reference.patches(image) for image in images])
    mean_D, whitening_DD = reference.whitening(patch_PD)
    np.testing.assert_allclose(dictionary.mean_D, mean_D, atol=1e-5)
    np.testing.assert_allclose(dictionary.whitening_DD, whitening_DD, atol=1e-3)
    monkeypatch.setattr(patches, "_STEPS", patches._STEPS - 1)
    before_KD = patches.learn(images, 5).centroid_KD.numpy()
    literal = reference.k_means_step((patch_PD - mean_D) @ whitening_DD, before_KD)
    np.testing.assert_allclose(dictionary.centroid_KD, literal, atol=1e-3)


def test_features_are_the_literal_ones():
    images, _ = textures(11)  # more than a batch
    dictionary = patches.learn(images, 5)
    found_ND = patches.features(images, dictionary)
    assert found_ND.shape == (11, dictionary.dim) == (11, 45)
    assert found_ND.dtype == np.float32
    parts = [part.numpy() for part in (dictionary.mean_D, dictionary.whitening_DD, dictionary.centroid_KD)]
    for row in (0, 10):
        np.testing.assert_allclose(found_ND[row], reference.features(images[row], *parts), atol=2e-3)


def test_same_seed_same_bytes_other_seed_other():
    images, _ = textures(12)

    def made(seed: int) -> bytes:
        return patches.features(images, patches.learn(images, 6, seed=seed)).tobytes()

    assert made(1) == made(1)
    assert made(1) != made(2)


@pytest.mark.parametrize("side", [16, 64])
def test_a_mirror_image_has_the_same_features(side):
    images, _ = textures(10, side)
    dictionary = patches.learn(images, 6)
    assert dictionary.side == min(side, 48)
    mirrored = patches.features(images[:, :, ::-1], dictionary)
    np.testing.assert_allclose(mirrored, patches.features(images, dictionary), atol=1e-4)


def test_a_head_on_them_tells_textures_apart_that_pixels_do_not():
    images, kind_N = textures(120)
    fold_N = np.arange(120) // 4 % 5

    def share_right(x_ND: np.ndarray) -> float:
        x_ND = standardise(x_ND, 30) / np.sqrt(x_ND.shape[1])
        fit = cross_fit(x_ND, kind_N, fold_N, 4, ridge, (0.1, 1.0))
        return float((fit.log_probability_NC.argmax(axis=1) == kind_N).mean())

    assert share_right(patches.features(images, patches.learn(images, 40))) > 0.9
    assert share_right(images.reshape(120, -1).astype(float)) < 0.6


def test_even_images_and_few_patches():
    """One grey image: all its patches are the same, and no part of it is nearer to one centroid than to another."""
    grey = np.full((1, 16, 16, 3), 90, dtype=np.uint8)
    dictionary = patches.learn(grey, 800)
    assert len(dictionary.centroid_KD) == 3  # of 36 patches
    np.testing.assert_array_equal(patches.features(grey, dictionary), 0.0)


def test_inputs_that_do_not_fit():
    images, _ = textures(2)
    with pytest.raises(ValueError, match="and a centroid"):
        patches.learn(images, 0)
    with pytest.raises(ValueError, match="square images"):
        patches.learn(images[:0], 4)
    with pytest.raises(ValueError, match="square images"):
        patches.learn(images[:, :12], 4)
    with pytest.raises(ValueError, match="even and at least 10"):
        patches.learn(images[:, :8, :8], 4)
