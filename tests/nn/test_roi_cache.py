import numpy as np
import pytest
import torch
from PIL import Image

from webclean.io.run_dir import RunDir
from webclean.nn import backbones, roi_cache
from webclean.nn.backbones import BackboneSpec
from webclean.nn.roi_cache import CachedRows, PixelRows
from webclean.ops.proposals import grid_rois

SPEC = BackboneSpec("small", "none")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = []
    for i in range(9):
        path = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(path)
        paths.append(str(path))
    return paths


@pytest.fixture
def small_tasks(monkeypatch):
    monkeypatch.setattr(roi_cache, "TASK_IMAGES", 2)
    monkeypatch.setattr(roi_cache, "SAMPLE_IMAGES", 4)


def cache(folder, files, **options):
    ids = [f"id{i}" for i in range(len(files))]
    return roi_cache.roi_cache(
        RunDir(str(folder)), ids, files, spec=SPEC, side=32, rois_R4=grid_rois(), dim=6, **options
    )


def test_every_image_has_its_own_features(tmp_path, files, small_tasks):
    steps = []
    made = cache(tmp_path, files, advance=steps.append)
    assert made.features_NRE.shape == (9, 23, 6)
    assert sum(steps) == 9
    raw = roi_cache.extract_rois(files, spec=SPEC, side=32, rois=tuple(map(tuple, grid_rois())))
    with torch.inference_mode():
        expected = made.reducer(torch.from_numpy(raw.astype(np.float32))).numpy()
    np.testing.assert_allclose(made.features_NRE, expected, rtol=2e-3, atol=0.02)


def test_killed_and_taken_up_gives_the_same_bytes(tmp_path, files, small_tasks):
    whole = cache(tmp_path / "whole", files)

    class KilledError(Exception):
        pass

    def killing(after):
        done = []

        def map_items(function, items):
            for item in items:
                if len(done) == after:
                    raise KilledError
                done.append(item)
                yield function(item)

        return map_items

    for after in (1, 3):  # inside the sample's two tasks; then, having done those, inside the rest
        with pytest.raises(KilledError):
            cache(tmp_path / "killed", files, map_items=killing(after))
    resumed = cache(tmp_path / "killed", files)
    np.testing.assert_array_equal(resumed.features_NRE, whole.features_NRE)

    def never(function, items):
        assert list(items) == []
        return iter(())

    again = cache(tmp_path / "killed", files, map_items=never)
    np.testing.assert_array_equal(again.features_NRE, whole.features_NRE)


def test_rows_of_pixels_are_augmented_from_the_draw_alone():
    backbone = backbones.build(SPEC)
    squares = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    rows = PixelRows(squares, backbone, torch.device("cpu"))
    plain = rows.take(np.array([2, 0]))
    assert plain.shape == (2, 3, 32, 32)
    torch.testing.assert_close(plain, backbone.normalize(torch.from_numpy(squares[[2, 0]])))
    one = rows.take(np.array([2, 0]), np.random.default_rng(5))
    assert torch.equal(one, rows.take(np.array([2, 0]), np.random.default_rng(5)))
    assert not torch.equal(one, rows.take(np.array([2, 0]), np.random.default_rng(6)))


def test_rows_of_features_come_in_the_order_asked_for():
    features = np.arange(24, dtype=np.float16).reshape(4, 3, 2)
    rows = CachedRows(features, torch.device("cpu"))
    np.testing.assert_array_equal(rows.take(np.array([3, 1])).numpy(), features[[3, 1]])
