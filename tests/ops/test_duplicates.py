from functools import partial

import numpy as np
import pytest
import reference_hashing as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from webclean.ops import copy_groups, duplicates, hamming, hamming_parts, phash, verdict
from webclean.ops.pairs import Pairs, best_views
from webclean.ops.verdict import Bars

BARS = Bars()


def _scenes(seed: int, num: int) -> np.ndarray:
    """(N, 16, 16, 3) smooth colourful pictures that reach the border."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, size=(num, 4, 4, 3))
    return np.clip(np.kron(coarse, np.ones((1, 4, 4, 1))), 0, 255).astype(np.uint8)


def _cutouts(colors: list[tuple[int, int, int]]) -> np.ndarray:
    """One shape in several colours on white."""
    images = np.full((len(colors), 16, 16, 3), 255, dtype=np.uint8)
    for image, color in zip(images, colors, strict=True):
        image[3:13, 5:11] = color
        image[9:13, 7:9] = 255
    return images


def _hashes(tiny: np.ndarray) -> np.ndarray:
    gray = tiny.astype(float) @ [0.299, 0.587, 0.114]
    return phash.phash(np.kron(gray, np.ones((1, 2, 2))))


def _look(tiny: np.ndarray) -> verdict.Looks:
    return verdict.look(tiny, np.zeros(len(tiny), dtype=bool))


def _pairs(rows: list[tuple[int, int, int, int]]) -> Pairs:
    return Pairs(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)


def _as_set(blocks) -> set[tuple[int, int, int, int]]:
    return {
        row
        for p in blocks
        for row in zip(
            p.first_P.tolist(), p.second_P.tolist(), p.view_P.tolist(), p.distance_P.tolist(), strict=True
        )
    }


@given(st.lists(st.integers(0, 2**64 - 1), max_size=12), st.integers(0, 30), st.randoms())
@settings(max_examples=30, deadline=None)
def test_candidates_are_exact_to_the_radius(hashes, radius, random):
    # Neighbours at and beyond the radius, not only strangers.
    for value in hashes[:4]:
        for flips in (radius, radius + 1):
            mask = sum(1 << bit for bit in random.sample(range(64), min(64, flips)))
            hashes.append(value ^ mask)
    hash_N = np.array(hashes, dtype=np.uint64)
    expected = reference.candidate_pairs(phash.views(hash_N).tolist(), hashes, radius)
    assert _as_set(duplicates.candidates(hash_N, None, radius)) == expected


@pytest.mark.parametrize("way", [None, 2, "parts"])
def test_each_candidate_comes_once_under_each_view(monkeypatch, way):
    """Pictures that look alike when they are turned, too: such a pair is met both ways, and under many views."""

    def cheapest(hash_U, query_U, radius, flips):
        return hamming_parts.plan(query_U, hash_U, radius, flips) if way == "parts" else way

    monkeypatch.setattr(hamming, "_cheapest", cheapest)
    rng = np.random.default_rng(0)
    hash_N = rng.integers(0, 2**64, size=6, dtype=np.uint64)
    hash_N = np.concatenate([hash_N, *phash.views(hash_N[:2]), [0, 1, 3]]).astype(np.uint64)
    told: list[float] = []
    blocks = list(duplicates.candidates(hash_N, None, 4, told.append))
    expected = reference.candidate_pairs(phash.views(hash_N).tolist(), hash_N.tolist(), 4)
    assert _as_set(blocks) == expected
    assert sum(len(block) for block in blocks) == len(expected)
    assert told == sorted(told)
    assert told[-1] == 1.0
    others = _as_set(duplicates.candidates(hash_N, hash_N[:3], 4))
    assert {row[:3] for row in expected if row[1] < 3} <= {row[:3] for row in others}


def test_a_crowd_of_one_hash_is_compared_with_the_first_of_each_picture(monkeypatch):
    monkeypatch.setattr(duplicates, "CROWD", 3)
    scenes = _scenes(7, 2)
    tiny = np.concatenate([scenes, scenes, scenes, scenes[:1]])
    hash_N = np.array([9, 9, 9, 9, 9, 4, 4], dtype=np.uint64)
    stands, pairs = duplicates.in_crowds(hash_N, np.arange(7), _look(tiny), BARS)
    assert _as_set([pairs]) == {(0, 2, 0, 0), (0, 4, 0, 0), (1, 3, 0, 0)}
    assert stands.tolist() == [True, True, False, False, False, True, True]
    asked = np.array([1, 2, 3, 4, 6])
    stands, pairs = duplicates.in_crowds(hash_N, asked, _look(tiny), BARS)
    assert _as_set([pairs]) == {(1, 3, 0, 0), (2, 4, 0, 0)}
    assert stands.tolist() == [True, True, False, False, True]
    stands, pairs = duplicates.in_crowds(hash_N, np.arange(3), _look(tiny), BARS)
    assert stands.all()
    assert len(pairs) == 0


def test_candidates_against_another_set_include_equal_positions():
    hash_N = np.array([7, 9], dtype=np.uint64)
    assert (0, 0, 0, 0) in _as_set(duplicates.candidates(hash_N, hash_N, 0))


@pytest.mark.parametrize("view", range(8))
def test_verify_finds_a_turned_brighter_copy(view):
    tiny = _scenes(1, 2)
    copy = np.clip(phash.turn(tiny[:1], view).astype(float) * 0.8 + 10, 0, 255).astype(np.uint8)
    looks = _look(np.concatenate([tiny, copy]))
    good, correlation = verdict.verify(_pairs([(0, 2, view, 0), (1, 2, view, 0)]), looks, looks, BARS)
    assert good.tolist() == [True, False]
    assert correlation[0] > 0.98


def test_same_outline_in_another_colour_is_no_copy():
    looks = _look(_cutouts([(200, 20, 20), (20, 90, 200), (202, 22, 19)]))
    assert looks.cutout_N.all()
    good, correlation = verdict.verify(_pairs([(0, 1, 0, 0), (0, 2, 0, 0)]), looks, looks, BARS)
    assert good.tolist() == [False, True]
    assert (correlation > 0.9).all()


def test_a_brighter_cutout_is_a_copy_but_a_brighter_thing_on_the_same_ground_is_none():
    one = _cutouts([(120, 60, 30)])
    one[one == 255] = 200
    brighter = np.round(one * 1.15).astype(np.uint8)
    other = one.copy()
    other[(one == (120, 60, 30)).all(axis=-1)] = (138, 69, 35)
    looks = _look(np.concatenate([one, brighter, other]))
    assert looks.cutout_N.all()
    for first, second in ((0, 1), (1, 0)):
        good, _ = verdict.verify(_pairs([(first, second, 0, 0)]), looks, looks, BARS)
        assert good.tolist() == [True]
    good, _ = verdict.verify(_pairs([(0, 2, 0, 0), (1, 2, 0, 0)]), looks, looks, BARS)
    assert good.tolist() == [False, False]


def _brightened(images: np.ndarray, gain: float) -> np.ndarray:
    """Each pixel brighter and cut off at white, then 4 x 4 of them averaged: (N, 64, 64, 3) -> (N, 16, 16, 3)."""
    bright = np.minimum(255.0, images * gain)
    return bright.reshape(-1, 16, 4, 16, 4, 3).mean(axis=(2, 4)).round().astype(np.uint8)


def test_a_brighter_cutout_on_white_is_a_copy_though_its_fine_parts_are_cut_off():
    """A pale net in a dark frame: brightening whitens the net, and mixes with what was not cut off."""
    racket = np.full((1, 64, 64, 3), 255.0)
    racket[:, 12:52, 20:44] = (60, 70, 90)
    racket[:, 16:48, 24:40] = 255.0
    racket[:, 16:48, 24:40:3] = (215, 205, 190)
    looks = _look(np.concatenate([_brightened(racket, 1.0), _brightened(racket, 1.25)]))
    assert looks.cutout_N.all()
    for first, second in ((0, 1), (1, 0)):
        good, _ = verdict.verify(_pairs([(first, second, 0, 0)]), looks, looks, BARS)
        assert good.tolist() == [True]


def _pale_shirt(stripe_rows: slice = slice(28, 34)) -> np.ndarray:
    """(1, 64, 64, 3) a pale shirt with a darker stripe, on white."""
    shirt = np.full((1, 64, 64, 3), 255.0)
    shirt[:, 10:54, 14:50] = (205, 208, 212)
    shirt[:, 10:30, 14:20] = (225, 226, 230)
    shirt[:, stripe_rows, 14:50] = (150, 120, 130)
    return shirt


@pytest.mark.parametrize("view", range(8))
def test_a_bleached_copy_of_a_pale_thing_is_a_copy_under_each_view(view):
    """25 % more light: the shirt becomes white, the stripe stays."""
    plain, bleached = _brightened(_pale_shirt(), 1.0), _brightened(_pale_shirt(), 1.25)
    other = _brightened(_pale_shirt(slice(40, 46)), 1.25)
    looks = _look(np.concatenate([plain, phash.turn(bleached, view), phash.turn(other, view)]))
    assert looks.cutout_N.all()
    assert not looks.flat_N.any()
    good, correlation = verdict.verify(
        _pairs([(0, 1, view, 0), (0, 2, view, 0), (1, 2, 0, 0)]), looks, looks, BARS
    )
    assert good.tolist() == [True, False, False]
    assert correlation[0] < BARS.correlation
    back = int(phash.inverse(np.array([view]))[0])
    assert verdict.verify(_pairs([(1, 0, back, 0)]), looks, looks, BARS)[0].tolist() == [True]


@pytest.mark.parametrize("view", range(8))
def test_a_bleached_copy_is_a_candidate_though_its_hash_is_far(view):
    sneaker = np.full((1, 64, 64, 3), 255.0)
    pale = np.random.default_rng(0).uniform(195, 245, size=(6, 6, 1))
    sneaker[:, 8:56, 8:56] = np.kron(pale, np.ones((8, 8, 1)))
    sneaker[:, 48:52, 12:20] = 120
    tiny = np.concatenate([phash.turn(_brightened(sneaker, 1.25), view), _brightened(sneaker, 1.0)])
    hash_N = _hashes(tiny)
    back = int(phash.inverse(np.array([view]))[0])
    distance = int(phash.hamming(phash.views(hash_N[:1])[back], hash_N[1:])[0])
    assert distance > 12
    pairs = _as_set(duplicates.bleached_candidates(hash_N, np.arange(2), _look(tiny), 12))
    assert (0, 1, back, distance) in pairs
    assert all(first < second for first, second, _, _ in pairs)
    assert _as_set(duplicates.bleached_candidates(hash_N, np.array([0]), _look(tiny), 12)) == set()


def test_scenes_and_dark_things_are_not_bleached():
    tiny = np.concatenate([_scenes(3, 4), _cutouts([(40, 30, 20)]), _cutouts([(40, 30, 20)])])
    assert _as_set(duplicates.bleached_candidates(_hashes(tiny), np.arange(6), _look(tiny), 12)) == set()
    nothing = np.empty(0, dtype=np.int64)
    assert _as_set(duplicates.bleached_candidates(_hashes(tiny), nothing, _look(tiny), 12)) == set()


def test_a_few_specks_are_nobodys_bleached_copy():
    shirt = _pale_shirt(slice(0, 0))
    shirt[:, 40:44, 40:44] = 150.0
    looks = _look(np.concatenate([_brightened(shirt, 1.0), _brightened(shirt, 1.25)]))
    good, _ = verdict.verify(_pairs([(0, 1, 0, 0)]), looks, looks, BARS)
    assert good.tolist() == [False]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_verdicts_on_bleached_copies_do_not_depend_on_the_order_of_a_pair(seed):
    rng = np.random.default_rng(seed)
    things = np.full((4, 64, 64, 3), 255.0)
    coarse = rng.uniform(120, 255, size=(4, 8, 8, 3))
    things[:, 12:52, 12:52] = np.kron(coarse, np.ones((1, 5, 5, 1)))
    looks = _look(np.concatenate([_brightened(things, 1.0), _brightened(things, 1.25)]))
    rows = [(i, j, 0, 0) for i in range(8) for j in range(i)]
    there, _ = verdict.verify(_pairs(rows), looks, looks, BARS)
    back, _ = verdict.verify(_pairs([(j, i, 0, 0) for i, j, _, _ in rows]), looks, looks, BARS)
    assert there.tolist() == back.tolist()


def test_the_same_outline_with_another_frame_is_no_brighter_copy():
    racket = np.full((2, 64, 64, 3), 255.0)
    racket[:, 12:52, 20:44] = (60, 70, 90)
    racket[1, 12:52, 20:44] = (60, 120, 60)
    looks = _look(_brightened(racket, 1.0))
    good, correlation = verdict.verify(_pairs([(0, 1, 0, 0), (1, 0, 0, 0)]), looks, looks, BARS)
    assert correlation.min() > 0.9
    assert good.tolist() == [False, False]


def test_a_pale_cutout_is_a_copy_where_only_coding_noise_differs():
    """What stands out is little more than the noise, so that the noise is large beside it."""
    pale = _cutouts([(243, 238, 240)])
    noisy = np.clip(pale + np.random.default_rng(0).integers(-3, 4, pale.shape), 0, 255).astype(np.uint8)
    looks = _look(np.concatenate([pale, noisy]))
    assert looks.cutout_N.all()
    assert not looks.flat_N.any()
    good, _ = verdict.verify(_pairs([(0, 1, 0, 0)]), looks, looks, BARS)
    assert good.tolist() == [True]


def test_fine_noise_leaves_a_cutout_a_copy_and_another_colour_does_not():
    """Differences of 13 levels, once from pixel to pixel and once all over."""
    one = np.full((1, 16, 16, 3), 255, dtype=np.uint8)
    one[:, 4:12, 4:12] = (120, 90, 160)
    thing = (one < 255).any(axis=-1, keepdims=True)
    sign = np.where(np.indices((16, 16)).sum(axis=0) % 2, 13, -13)[None, :, :, None]
    noisy = (one + sign * thing).astype(np.uint8)
    colored = (one + np.array([13, -13, 13]) * thing).astype(np.uint8)
    looks = _look(np.concatenate([one, noisy, colored]))
    assert looks.cutout_N.all()
    good, _ = verdict.verify(_pairs([(0, 1, 0, 0), (0, 2, 0, 0)]), looks, looks, BARS)
    assert good.tolist() == [True, False]


def test_trousers_that_touch_the_border_above_and_below_are_a_cutout():
    tiny = np.full((1, 16, 16, 3), 255, dtype=np.uint8)
    tiny[:, :, 3:13] = (40, 50, 90)
    assert _look(tiny).cutout_N.tolist() == [True]
    tiny[:, :, 1:15] = (40, 50, 90)
    assert _look(tiny).cutout_N.tolist() == [False]


def test_same_scene_in_other_colours_is_no_copy_but_its_grey_version_is():
    scene = _scenes(2, 1)
    luma = (scene.astype(float) @ [0.299, 0.587, 0.114])[..., None]
    recolored = np.clip(luma + (scene - luma)[..., ::-1], 0, 255).astype(np.uint8)
    grey = np.repeat(luma, 3, axis=3).astype(np.uint8)
    tiny = np.concatenate([scene, recolored, grey])
    looks = verdict.look(tiny, np.array([False, False, True]))
    loose = Bars(correlation=0.5)
    good, _ = verdict.verify(_pairs([(0, 1, 0, 0), (0, 2, 0, 0)]), looks, looks, loose)
    assert good.tolist() == [False, True]


def test_flat_images_match_nothing():
    looks = _look(np.full((2, 16, 16, 3), 128, dtype=np.uint8))
    good, _ = verdict.verify(_pairs([(0, 1, 0, 0)]), looks, looks, BARS)
    assert looks.flat_N.all()
    assert not good.any()


def _group(tiny, same, pairs, best_first=None):
    fits = partial(verdict.fits_by_tiny, hash_N=_hashes(tiny), looks=_look(tiny), bars=BARS.lax())
    best = np.array(list(range(len(tiny))) if best_first is None else best_first, dtype=np.int64)
    return copy_groups.group(np.array(same, dtype=np.int64), pairs, best, fits)


def _members(groups: copy_groups.Groups) -> list[list[int]]:
    return [groups.image_M[groups.number_M == number].tolist() for number in np.unique(groups.number_M)]


def test_group_tells_view_and_distance_to_the_best():
    scenes = _scenes(4, 2)
    tiny = np.concatenate([scenes, phash.turn(scenes[:1], 1)])
    groups = _group(tiny, [0, 1, 2], _pairs([(0, 2, 1, 0)]), best_first=[2, 1, 0])
    assert (groups.image_M.tolist(), groups.representative_M.tolist()) == ([0, 2], [2, 2])
    assert groups.view_M.tolist() == [1, 0]
    assert groups.distance_M[0] <= 12


def test_equal_content_groups_even_where_flat():
    tiny = np.full((3, 16, 16, 3), 255, dtype=np.uint8)
    groups = _group(tiny, [5, 6, 5], _pairs([]))
    assert _members(groups) == [[0, 2]]


def test_groups_are_numbered_by_their_smallest_image():
    scenes = _scenes(8, 3)
    tiny = np.concatenate([scenes, scenes])
    groups = _group(tiny, [0, 1, 2, 0, 1, 3], _pairs([]), best_first=[4, 3, 0, 1, 2, 5])
    assert groups.representative_M.tolist() == [3, 4, 3, 4]
    assert groups.number_M.tolist() == [0, 1, 0, 1]
    more = groups.with_alone(np.array([2]))
    assert (more.image_M.tolist(), more.number_M.tolist()) == ([0, 1, 2, 3, 4], [0, 1, 2, 0, 1])
    moved = groups.at(np.array([10, 20, 30, 40, 50, 60]))
    assert (moved.image_M.tolist(), moved.representative_M.tolist()) == ([10, 20, 40, 50], [40, 50, 40, 50])


def _fits_only(pairs: set[tuple[int, int]]):
    """A membership that holds for these pairs, either way round."""

    def fits(image_M, representative_M):
        both = zip(image_M.tolist(), representative_M.tolist(), strict=True)
        none = np.zeros(len(image_M), dtype=np.int64)
        return copy_groups.Fits(
            np.array([(a, b) in pairs or (b, a) in pairs for a, b in both], dtype=bool), none, none
        )

    return fits


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        # 4 is no copy of the best, 0, but of the three others: of three of the four that fit.
        ([(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)], [[0, 1, 2, 3, 4]]),
        # Half of them is not enough.
        ([(0, 1), (0, 2), (0, 3), (1, 4), (2, 4)], [[0, 1, 2, 3]]),
        # One alone is a chain: 4 ~ 1 ~ 0.
        ([(0, 1), (1, 4)], [[0, 1]]),
    ],
)
def test_a_member_far_from_the_best_stays_where_most_others_speak_for_it(links, expected):
    pairs = _pairs([(a, b, 0, 0) for a, b in links])
    near = {(0, 1), (0, 2), (0, 3)}
    groups = copy_groups.group(np.arange(5), pairs, np.arange(5), _fits_only(near))
    assert _members(groups) == expected


def test_a_member_goes_where_most_of_its_pairs_are():
    """3 comes near to 0, the best, but is paired with 2, 4 and 5, which are another picture."""
    rows = [(0, 1), (0, 3), (2, 3), (3, 4), (3, 5), (2, 4), (4, 5), (2, 5)]
    near = {(0, 1), (0, 3), (2, 3), (2, 4), (2, 5)}
    pairs = _pairs([(a, b, 0, 0) for a, b in rows])
    groups = copy_groups.group(np.arange(6), pairs, np.arange(6), _fits_only(near))
    assert _members(groups) == [[0, 1], [2, 3, 4, 5]]
    # As many here as there: it stays with the best.
    pairs = _pairs([(0, 1, 0, 0), (0, 3, 0, 0), (2, 3, 0, 0)])
    groups = copy_groups.group(np.arange(6), pairs, np.arange(6), _fits_only(near))
    assert _members(groups) == [[0, 1, 3]]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_each_image_is_in_one_group_at_most_whatever_fits(seed):
    rng = np.random.default_rng(seed)
    num = 9
    every = [(a, b) for a in range(num) for b in range(a + 1, num)]
    pairs = _pairs([(a, b, 0, 0) for a, b in every if rng.random() < 0.4])
    near = {pair for pair in every if rng.random() < 0.4}
    same = rng.integers(0, 7, size=num)
    groups = copy_groups.group(same, pairs, rng.permutation(num), _fits_only(near))
    assert len(set(groups.image_M.tolist())) == len(groups.image_M)
    assert np.isin(groups.representative_M, groups.image_M).all()
    assert all(len(members) > 1 for members in _members(groups))


def test_equal_files_have_one_voice():
    pairs = _pairs([(0, 1, 0, 0), (0, 2, 0, 0), (1, 4, 0, 0)])
    same = np.array([0, 1, 2, 1, 4])  # 3 is 1 once more
    groups = copy_groups.group(same, pairs, np.arange(5), _fits_only({(0, 1), (0, 2), (0, 3)}))
    assert _members(groups) == [[0, 1, 2, 3]]


def test_a_chain_is_cut():
    scenes = _scenes(5, 2).astype(float)
    steps = np.linspace(0, 1, 9)[:, None, None, None]
    tiny = ((1 - steps) * scenes[:1] + steps * scenes[1:]).astype(np.uint8)
    links = _pairs([(i, i + 1, 0, 0) for i in range(8)])
    groups = _group(tiny, list(range(9)), links)
    looks = _look(tiny)
    assert groups.number_M.max() > 0
    none = np.zeros_like(groups.image_M)
    pairs = Pairs(groups.image_M, groups.representative_M, none, none)
    assert verdict.verify(pairs, looks, looks, BARS.lax())[0].all()
    assert len(set(groups.image_M.tolist())) == len(groups.image_M)


@given(st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_groups_do_not_depend_on_the_order_of_images(order):
    scenes = _scenes(6, 3)
    tiny = np.concatenate([scenes, scenes])
    links = [(i, i + 3) for i in range(3)]
    base = {frozenset((a, b)) for a, b in links}
    place = {image: position for position, image in enumerate(order)}
    moved = [tuple(sorted((place[a], place[b]))) for a, b in links]
    groups = _group(
        tiny[list(order)], list(range(6)), _pairs([(a, b, 0, 0) for a, b in sorted(moved)]),
        best_first=[place[i] for i in range(6)],
    )  # fmt: skip
    assert {frozenset(order[image] for image in members) for members in _members(groups)} == base
    assert all(order[row] < 3 for row in groups.representative_M.tolist())


def test_no_images_at_all():
    tiny = np.empty((0, 16, 16, 3), dtype=np.uint8)
    assert list(duplicates.candidates(np.empty(0, dtype=np.uint64), None, 12)) == []
    assert len(_group(tiny, [], _pairs([])).image_M) == 0


def test_best_views_keeps_each_pair_once_under_its_highest_score():
    found = [_pairs([(3, 4, 1, 9), (0, 2, 5, 7)]), _pairs([(0, 2, 6, 3), (3, 4, 0, 8), (3, 4, 2, 8)])]
    best = best_views(found, [np.array([0.5, 0.9]), np.array([0.8, 0.6, 0.6])])
    assert _as_set([best]) == {(0, 2, 5, 7), (3, 4, 0, 8)}
    assert len(best_views([], [])) == 0


def test_look_checks_its_input():
    with pytest.raises(ValueError, match=r"expected \(N, S, S, 3\) uint8"):
        verdict.look(np.zeros((2, 16, 16)), np.zeros(2, dtype=bool))
    with pytest.raises(ValueError, match="gray flags"):
        verdict.look(np.zeros((2, 16, 16, 3), dtype=np.uint8), np.zeros(3, dtype=bool))
