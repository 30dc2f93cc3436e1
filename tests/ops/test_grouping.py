import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from webclean.ops.grouping import rows_by_code


@given(st.lists(st.tuples(st.integers(-2, 5), st.booleans()), max_size=30))
def test_it_is_the_scan_for_each_code(rows):
    code_N = np.array([code for code, _ in rows], dtype=np.int64)
    among_N = np.array([among for _, among in rows], dtype=bool)
    for mask in (None, among_N):
        wanted_N = np.ones(len(rows), dtype=bool) if mask is None else mask
        found = rows_by_code(code_N, mask)
        assert [code for code, _ in found] == sorted(set(code_N[wanted_N].tolist()))
        for code, members in found:
            assert members.tolist() == np.flatnonzero(wanted_N & (code_N == code)).tolist()
