import numpy as np
import pytest
import reference_somnet as reference

from webclean.ops import grid


def test_neighbour_counts_are_those_of_the_torus():
    geo = grid.torus_distance(5)
    assert [int((geo[0] <= radius).sum()) for radius in range(5)] == [1, 5, 13, 21, 25]
    geo = grid.torus_distance(12)
    assert [int((geo[0] <= radius).sum()) for radius in (1, 2, 3)] == [5, 13, 25]


@pytest.mark.parametrize(("radius", "total"), [(1, 3.0), (2, 5.6667), (3, 7.6667), (4, 8.4667)])
def test_neighbour_weights_sum_alike_for_every_slot(radius, total):
    np.testing.assert_allclose(grid.neighbour_weights(5, radius).sum(axis=1), total, atol=1e-4)


def test_grid_has_fifty_edges_and_four_neighbours_each():
    edges_KK = grid.torus_distance(5) == 1
    assert edges_KK.sum() == 2 * 50
    assert (edges_KK.sum(axis=1) == 4).all()
    assert grid.torus_distance(5)[0, 4] == 1


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_distance_matches_a_walk_on_the_graph(side):
    num = side * side
    walked = [[reference.geo(side, a, b) for b in range(num)] for a in range(num)]
    np.testing.assert_array_equal(grid.torus_distance(side), walked)


@pytest.mark.parametrize("side", [3, 4, 7])
def test_distance_is_a_metric(side):
    geo = grid.torus_distance(side)
    np.testing.assert_array_equal(geo, geo.T)
    assert geo.max() == 2 * (side // 2)
    assert (geo[:, :, None] <= geo[:, None, :] + geo.T[None, :, :]).all()


def test_radius_zero_is_the_winner_alone():
    np.testing.assert_array_equal(grid.neighbour_weights(4, 0), np.eye(16))


def test_sizes_out_of_range_are_refused():
    with pytest.raises(ValueError, match="at least one slot"):
        grid.torus_distance(0)
    with pytest.raises(ValueError, match="cannot be negative"):
        grid.neighbour_weights(3, -1)
