"""Squares of pixels: geometry, colours, and a cache that can be taken up again."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from webclean.errors import ArtifactStaleError
from webclean.io import pixels
from webclean.io.run_dir import RunDir


def _halves(width: int, height: int) -> Image.Image:
    """Left half black, right half white."""
    array = np.zeros((height, width, 3), dtype=np.uint8)
    array[:, width // 2 :] = 255
    return Image.fromarray(array)


def test_squash_keeps_all_of_the_image():
    got = pixels.square(_halves(80, 20), 8)
    assert got.shape == (8, 8, 3)
    assert got.dtype == np.uint8
    assert (got[:, :3] < 30).all()
    assert (got[:, 5:] > 225).all()


def test_pad_keeps_the_aspect_on_grey():
    got = pixels.square(_halves(80, 20), 8, "pad")
    assert (got[:3] == 127).all()
    assert (got[5:] == 127).all()
    assert (got[3:5, 0] < 30).all()
    assert (got[3:5, 7] > 225).all()


def test_crop_takes_the_middle():
    array = np.zeros((20, 80, 3), dtype=np.uint8)
    array[:, 30:50] = 200  # the middle square
    got = pixels.square(Image.fromarray(array), 8, "crop")
    assert (abs(got.astype(int) - 200) < 12).all()  # bicubic overshoots a little at the edge


@pytest.mark.parametrize("fit", pixels.FITS)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_any_size_becomes_a_square(fit, size):
    assert pixels.square(Image.new("RGB", size, (9, 9, 9)), 16, fit).shape == (16, 16, 3)


def test_unknown_fit():
    with pytest.raises(ValueError, match="fit must be one of"):
        pixels.square(Image.new("RGB", (4, 4)), 2, "stretch")


def test_load_is_upright_over_white(tmp_path):
    image = Image.new("RGB", (40, 20), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise: what was left comes to the top
    image.save(tmp_path / "turned.png", exif=exif)
    turned = pixels.load_rgb(str(tmp_path / "turned.png"))
    assert turned.size == (20, 40)
    assert turned.getpixel((10, 5)) == (0, 0, 255)
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert pixels.load_rgb(str(tmp_path / "clear.png")).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_a_file_that_changed_since_ingest_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ArtifactStaleError, match=r"a\.jpg could be decoded by ingest"):
        pixels.load_rgb(str(tmp_path / "a.jpg"))


@pytest.fixture
def files(tmp_path):
    paths = []
    for i in range(5):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.new("RGB", (10 + i, 12), (40 * i, 10, 20)).save(paths[-1])
    return paths


def test_cache_holds_each_image_in_order(tmp_path, files):
    run, told = RunDir(str(tmp_path / "run")), []
    got = pixels.square_cache(run, list("abcde"), files, side=16, advance=told.append)
    np.testing.assert_array_equal(got, pixels.load_squares(files, side=16))
    assert sum(told) == 5
    np.testing.assert_array_equal(got[:, 0, 0, 0], [0, 40, 80, 120, 160])


def test_cache_is_made_once_and_by_its_images(tmp_path, files):
    run = RunDir(str(tmp_path / "run"))
    first = pixels.square_cache(run, list("abcde"), files, side=16)

    def never(function, items):
        raise AssertionError("decoded again")

    again = pixels.square_cache(run, list("abcde"), files, side=16, map_items=never)
    np.testing.assert_array_equal(first, again)
    with pytest.raises(AssertionError, match="decoded again"):
        pixels.square_cache(run, list("abcdf"), files, side=16, map_items=never)


def test_cache_is_taken_up_where_it_was_killed(tmp_path, files, monkeypatch):
    monkeypatch.setattr(pixels, "_CACHE_CHUNK", 2)
    run = RunDir(str(tmp_path / "run"))
    chunks: list[int] = []

    def dies_after_two(function, items):
        for index, item in enumerate(items):
            if index == 2:
                raise KeyboardInterrupt
            yield function(item)

    def counts(function, items):
        for item in items:
            chunks.append(len(item))
            yield function(item)

    with pytest.raises(KeyboardInterrupt):
        pixels.square_cache(run, list("abcde"), files, side=16, map_items=dies_after_two)
    got = pixels.square_cache(run, list("abcde"), files, side=16, map_items=counts)
    assert chunks == [1]
    np.testing.assert_array_equal(got, pixels.load_squares(files, side=16))
    assert [path.suffix for path in run.scratch("squares").iterdir()] == [".npy"]


def test_empty_cache(tmp_path):
    assert pixels.square_cache(RunDir(str(tmp_path)), [], [], side=16).shape == (0, 16, 16, 3)


def test_a_dropped_cache_is_made_again_and_what_is_mapped_stays(tmp_path, files):
    run = RunDir(str(tmp_path / "run"))
    first = pixels.square_cache(run, list("abcde"), files, side=16)
    pixels.square_cache(run, list("edcba"), files[::-1], side=16)
    pixels.drop_square_cache(run, list("abcde"), side=16)
    assert len(list(run.scratch("squares").iterdir())) == 1
    np.testing.assert_array_equal(first, pixels.load_squares(files, side=16))
    np.testing.assert_array_equal(pixels.square_cache(run, list("abcde"), files, side=16), first)
