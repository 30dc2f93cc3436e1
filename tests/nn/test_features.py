"""Features: the same bytes however the images are spread, and what the options do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from webclean.nn import backbones, features
from webclean.nn.backbones import BackboneSpec
from webclean.nn.threads import repeatable

SMALL = BackboneSpec("small", "none")


@pytest.fixture
def backbone():
    with repeatable(num_threads=1, seed=0):
        return backbones.build(SMALL)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, size=(11, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


CPU = torch.device("cpu")


def test_forward_equals_one_image_at_a_time(backbone, images):
    got_ND = features.forward(backbone, images, device=CPU)
    assert got_ND.shape == (11, 256)
    assert got_ND.dtype == np.float32
    with torch.no_grad():
        for index, image in enumerate(images):
            one = backbone.feature_maps(backbone.normalize(torch.from_numpy(image[None]))).pooled_ND[0]
            np.testing.assert_allclose(got_ND[index], one, atol=1e-4)


def test_the_last_batch_is_padded_so_an_image_does_not_depend_on_its_neighbours(backbone, images):
    with repeatable(num_threads=1, seed=0):
        whole_ND = features.forward(backbone, images, device=CPU)
        parts = [features.forward(backbone, images[s : s + 8], device=CPU) for s in (0, 8)]
    assert np.concatenate(parts).tobytes() == whole_ND.tobytes()


def test_flip_makes_an_image_and_its_mirror_equal(backbone, images):
    a_ND = features.forward(backbone, images, device=CPU, flip=True)
    b_ND = features.forward(backbone, images[:, :, ::-1].copy(), device=CPU, flip=True)
    np.testing.assert_allclose(a_ND, b_ND, atol=1e-4)


def test_bf16_is_near(backbone, images):
    a_ND = features.forward(backbone, images, device=CPU)
    b_ND = features.forward(backbone, images, device=CPU, precision="bf16")
    assert b_ND.dtype == np.float32
    cosine_N = (a_ND * b_ND).sum(1) / np.linalg.norm(a_ND, axis=1) / np.linalg.norm(b_ND, axis=1)
    assert cosine_N.min() > 0.99


def test_no_images(backbone):
    none = np.empty((0, 32, 32, 3), dtype=np.uint8)
    assert features.forward(backbone, none, device=CPU).shape == (0, 256)


def test_extract_reads_uris_and_leaves_torch_as_it_was(tmp_path, rng):
    paths = []
    for i in range(3):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(rng.integers(0, 256, size=(40, 30, 3), dtype=np.uint8)).save(paths[-1])
    threads = torch.get_num_threads()
    state = torch.random.get_rng_state()
    args = {"spec": SMALL, "fit": "squash", "layers": "last", "flip": False, "precision": "float32"}
    first_ND = features.extract(paths, **args)
    features._backbone.cache_clear()
    again_ND = features.extract(paths, **args)
    assert first_ND.shape == (3, 256)
    assert first_ND.tobytes() == again_ND.tobytes()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
