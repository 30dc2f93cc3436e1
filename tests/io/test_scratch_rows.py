"""Rows in a file: what is written is read, and neither stays in memory."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from webclean.io.scratch_rows import ScratchRows


def resident_of_files() -> int:
    """Bytes of files that this process has in its memory."""
    found = re.search(r"RssFile:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


@given(
    arrays.arrays(np.float32, (7, 3), elements=st.floats(-9, 9, width=32)),
    st.integers(0, 7),
    st.integers(0, 7),
)
def test_what_is_written_is_read(tmp_path_factory, value_NC, start, stop):
    rows = ScratchRows.zeros(tmp_path_factory.getbasetemp(), (7, 3), np.float32)
    assert (rows[:] == 0.0).all()
    rows[:] = value_NC
    rows[start:stop] = value_NC[start:stop] + 1.0
    value_NC[start:stop] += 1.0
    for key in (slice(start, stop), slice(None, None, 3), value_NC[:, 0] > 0, [5, 0]):
        np.testing.assert_array_equal(rows[key], value_NC[key])
    assert rows[2, 1] == value_NC[2, 1]
    np.testing.assert_array_equal(np.exp(rows)[1:3], np.exp(value_NC)[1:3])


def test_what_is_read_is_a_copy(tmp_path):
    rows = ScratchRows.zeros(tmp_path, (4, 2), np.float64)
    some = rows[1:3]
    some += 1.0
    assert (rows[:] == 0.0).all()
    assert type(some) is np.ndarray


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_nothing_needs_no_file(tmp_path, shape):
    assert ScratchRows.zeros(tmp_path / "nowhere", shape, np.float32).shape == shape


def test_no_page_stays_and_no_file(tmp_path):
    rows = ScratchRows.zeros(tmp_path, (64, 2**18), np.float32)
    before = resident_of_files()
    for start in range(0, 64, 8):
        rows[start : start + 8] = start
    assert sum(float(rows[start].sum(dtype=np.float64)) for start in range(64)) == 2**18 * 8 * sum(
        range(0, 64, 8)
    )
    assert resident_of_files() - before < 2**24  # of 64 MiB
    assert list(tmp_path.iterdir()) == []
