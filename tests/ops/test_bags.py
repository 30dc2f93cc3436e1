import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webclean.errors import DataError
from webclean.ops.bags import draw_bags


def draw(category, probability, *, categories, size, each, seed=0):
    return draw_bags(
        np.array(category), np.array(probability, dtype=float), num_categories=categories,
        images_per_bag=size, bags_per_category=each, rng=np.random.default_rng(seed),
    )  # fmt: skip


def test_each_category_gets_equally_many_bags_of_its_own_images():
    category = np.array([0] * 40 + [1] * 5 + [2] * 9)
    plan = draw(category, np.ones(54), categories=3, size=2, each=20)
    assert np.bincount(plan.category_B).tolist() == [20, 20, 20]
    np.testing.assert_array_equal(category[plan.images_BG], plan.category_B[:, None] * [1, 1])
    assert (plan.images_BG[:, 0] != plan.images_BG[:, 1]).all()
    assert not plan.short_C.any()


def test_images_are_used_equally_often():
    plan = draw([0] * 10, np.ones(10), categories=1, size=2, each=50)
    uses = np.bincount(plan.images_BG.reshape(-1), minlength=10)
    assert uses.min() >= 8
    assert uses.max() <= 12


def test_a_short_category_is_drawn_with_replacement_and_told():
    plan = draw([0, 0, 0, 1], [1, 1, 1, 1], categories=3, size=3, each=2)
    assert plan.short_C.tolist() == [False, True, False]
    assert (plan.images_BG[plan.category_B == 1] == 3).all()
    assert 2 not in plan.category_B


def test_probability_zero_leaves_an_image_out_and_shares_follow():
    plan = draw([0, 0, 0], [1.0, 0.5, 0.0], categories=1, size=1, each=6000)
    uses = np.bincount(plan.images_BG.reshape(-1), minlength=3)
    assert uses[2] == 0
    assert uses[0] / uses[1] == pytest.approx(2.0, rel=0.1)


def test_the_draws_of_a_seed_stay_what_they_are():
    """Trained models are compared over versions: another order of draws would be another model."""
    category = [2, 0, 2, 4, 0, 2, 0, 4, 2, 0, 2, 1]
    probability = [1, 0.5, 0.2, 1, 1, 0.7, 0, 0.3, 1, 0.9, 0.4, 0]
    plan = draw(category, probability, categories=5, size=3, each=2, seed=7)
    assert plan.images_BG.tolist() == [[1, 9, 4], [0, 5, 10], [3, 7, 7], [1, 9, 4], [8, 5, 0], [3, 7, 3]]
    assert plan.category_B.tolist() == [0, 2, 4, 0, 2, 4]
    assert plan.short_C.tolist() == [False, False, False, False, True]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), min_size=1, max_size=40),
    st.integers(1, 4), st.integers(1, 3), st.integers(0, 5),
)  # fmt: skip
def test_a_bag_never_mixes_categories(rows, size, each, seed):
    category = np.array([c for c, _ in rows])
    probability = np.array([p for _, p in rows])
    if not (probability > 0).any():
        probability[0] = 1.0
    plan = draw(category, probability, categories=5, size=size, each=each, seed=seed)
    assert (category[plan.images_BG] == plan.category_B[:, None]).all()
    assert (probability[plan.images_BG] > 0).all()
    same = draw(category, probability, categories=5, size=size, each=each, seed=seed)
    np.testing.assert_array_equal(plan.images_BG, same.images_BG)


@pytest.mark.parametrize(
    ("category", "probability", "words"),
    [
        ([0, 1], [1.0], "differ in shape"),
        ([0, 7], [1, 1], "outside"),
        ([0, 1], [1, -1], "not negative"),
        ([0, 1], [0, 0], "no image is left"),
    ],
)
def test_unusable_inputs_are_refused(category, probability, words):
    with pytest.raises(DataError, match=words):
        draw(category, probability, categories=2, size=1, each=1)
