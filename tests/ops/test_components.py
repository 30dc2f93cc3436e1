import numpy as np
import reference_hashing as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.ops.components import components


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15))
@settings(deadline=None)
def test_components_match_reference(num, pairs):
    pairs = [(a % num, b % num) for a, b in pairs]
    first, second = (np.array([p[k] for p in pairs], dtype=np.int64) for k in (0, 1))
    assert components(num, first, second).tolist() == reference.components(num, pairs)


def test_no_nodes_have_no_components():
    nothing = np.empty(0, dtype=np.int64)
    assert components(0, nothing, nothing).shape == (0,)
