import numpy as np
import pytest

from webclean.io.run_dir import RunDir
from webclean.io.tiny_file import TinyFile


def _tiny(seed: int, num: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, 16, 16, 3)).astype(np.uint8)


def test_rows_come_back_in_any_order_and_the_file_goes(tmp_path):
    first, second = _tiny(0, 3), _tiny(1, 2)
    with TinyFile(RunDir(str(tmp_path)), "a") as tiny:
        tiny.append(first)
        assert (tiny[np.array([2, 0])] == first[[2, 0]]).all()
        tiny.append(second)
        assert len(tiny) == 5
        rows = tiny[np.array([4, 1, 4])]
        assert (rows == np.stack([second[1], first[1], second[1]])).all()
        assert not isinstance(rows, np.memmap)
        assert tiny[np.array([], dtype=np.int64)].shape == (0, 16, 16, 3)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_left_behind_is_written_over(tmp_path):
    run = RunDir(str(tmp_path))
    (run.scratch("tiny") / "a").write_bytes(b"of a killed process")
    with TinyFile(run, "a") as tiny:
        tiny.append(_tiny(1, 1))
        assert (tiny[np.array([0])] == _tiny(1, 1)).all()


def test_other_shapes_are_refused(tmp_path):
    with (
        TinyFile(RunDir(str(tmp_path)), "a") as tiny,
        pytest.raises(ValueError, match=r"expected \(P, 16, 16, 3\) uint8"),
    ):
        tiny.append(np.zeros((2, 8, 8, 3), dtype=np.uint8))
