"""Groups of copies from verified pairs, without chains.

Letters: N images, P pairs, M members of groups, C contents, L links between contents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from webclean.ops.components import components
from webclean.ops.pairs import NOTHING, Pairs

_LEAST_VOTES: Final = 2  # pairs with others of a group that outweigh its representative


@dataclass(frozen=True, slots=True)
class Groups:
    """Images that are in a group, by their rows in ascending order.

    Attributes:
        image_M: int64, row of the image.
        representative_M: int64, row of the group's best image, to which view and distance refer.
        view_M: int64, the view that, applied to this image, gives the representative.
        distance_M: int64, hash bits between the two under that view.
    """

    image_M: NDArray[np.int64]
    representative_M: NDArray[np.int64]
    view_M: NDArray[np.int64]
    distance_M: NDArray[np.int64]

    @property
    def number_M(self) -> NDArray[np.int64]:
        """Number of each one's group, from 0 in the order of the groups' smallest images."""
        _, first_G, group_M = np.unique(self.representative_M, return_index=True, return_inverse=True)
        number_G = np.empty(len(first_G), dtype=np.int64)
        number_G[np.argsort(first_G)] = np.arange(len(first_G))
        return np.asarray(number_G[group_M], dtype=np.int64)

    def at(self, row_K: NDArray[np.int64]) -> Groups:
        """The same groups where image k is known by another number; the numbers ascend."""
        return Groups(row_K[self.image_M], row_K[self.representative_M], self.view_M, self.distance_M)

    def with_alone(self, image_K: NDArray[np.int64]) -> Groups:
        """With images that are in no group yet, each in one of its own."""
        none = np.zeros(len(image_K), dtype=np.int64)
        return _groups([self, Groups(image_K, image_K, none, none)])


def _groups(parts: Sequence[Groups]) -> Groups:
    names = ("image_M", "representative_M", "view_M", "distance_M")
    columns = [np.concatenate([NOTHING, *(getattr(part, name) for part in parts)]) for name in names]
    order = np.argsort(columns[0], kind="stable")
    return Groups(*(column[order] for column in columns))


class Membership(Protocol):
    """Whether images are copies of the best image of their group, by lax bars."""

    def __call__(self, image_M: NDArray[np.int64], representative_M: NDArray[np.int64]) -> Fits:
        """Rows of images, and of what stands for each."""
        ...


@dataclass(frozen=True, slots=True)
class Fits:
    """How images relate to what stands for them.

    Attributes:
        fits_M: whether each is a copy.
        view_M: int64, the view that, applied to it, gives the representative.
        distance_M: int64, hash bits between the two under that view.
    """

    fits_M: NDArray[np.bool_]
    view_M: NDArray[np.int64]
    distance_M: NDArray[np.int64]


def group(
    same_N: NDArray[np.int64], pairs: Pairs, best_first_N: NDArray[np.int64], fits: Membership
) -> Groups:
    """Groups of copies, without chains.

    A component of verified pairs is a group if every member is, by the lax bars, also a copy of its best
    image. Where the best is an edit that is far from another edit, or comes near to another picture, the others
    have their say: a member that is no copy of the best stays where it is paired with more than half of
    those that are, and with two at least; one that is leaves where it is paired with more that are not. The
    members that are left form groups among themselves by the same rule, from their own pairs; one that is left
    alone is in no group. So A ~ B ~ C cannot join A and C that are different pictures.

    Args:
        same_N: (N,) any number that two images share exactly if their content is the same bytes.
        pairs: verified near copies among the N.
        best_first_N: the images from the best to the worst to keep; no two alike.
        fits: asked of images whose content is not that of their representative.

    Returns:
        Groups of at least two.
    """
    num = len(same_N)
    order_N = np.empty(num, dtype=np.int64)
    order_N[best_first_N] = np.arange(num)
    _, first_of_same, same_label_N = np.unique(same_N, return_index=True, return_inverse=True)
    twin_N = first_of_same[same_label_N]
    links_a = np.concatenate([pairs.first_P, np.arange(num)])
    links_b = np.concatenate([pairs.second_P, twin_N])
    linked_contents = _both_ways(same_label_N[pairs.first_P], same_label_N[pairs.second_P])
    groups: list[Groups] = []
    open_N = np.ones(num, dtype=np.bool_)
    while True:
        kept = open_N[links_a] & open_N[links_b]
        root_N = components(num, links_a[kept], links_b[kept])
        size_N = np.bincount(root_N, minlength=num)
        members = np.flatnonzero(open_N & (size_N[root_N] > 1))
        if not len(members):
            break
        # The best image of each component, by root.
        best_N = np.full(num, -1, dtype=np.int64)
        best_first_M = members[np.argsort(order_N[members])]
        root_R, first_R = np.unique(root_N[best_first_M], return_index=True)
        best_N[root_R] = best_first_M[first_R]
        representative_M = best_N[root_N[members]]
        fits_M = same_label_N[members] == same_label_N[representative_M]
        view_M, distance_M = np.zeros((2, len(members)), dtype=np.int64)
        others = np.flatnonzero(~fits_M)
        if len(others):
            other = fits(members[others], representative_M[others])
            fits_M[others], view_M[others], distance_M[others] = other.fits_M, other.view_M, other.distance_M
            label_M = same_label_N[members]
            is_best_M = label_M == same_label_N[representative_M]
            fits_M = _voted(label_M, root_N[members], fits_M, is_best_M, linked_contents)[label_M]
        open_N[members[fits_M]] = False
        num_N = np.bincount(representative_M[fits_M], minlength=num)
        kept_M = np.flatnonzero(fits_M & (num_N[representative_M] > 1))
        groups.append(Groups(members[kept_M], representative_M[kept_M], view_M[kept_M], distance_M[kept_M]))
    return _groups(groups)


def _both_ways(label_P: NDArray[np.int64], other_P: NDArray[np.int64]) -> NDArray[np.int64]:
    """(L, 2) each pair of different contents once, and once the other way round."""
    link_P2 = np.stack([label_P, other_P], axis=1)[label_P != other_P]
    return np.unique(np.concatenate([link_P2, link_P2[:, ::-1]]), axis=0)


def _voted(
    label_M: NDArray[np.int64],
    root_M: NDArray[np.int64],
    fits_M: NDArray[np.bool_],
    is_best_M: NDArray[np.bool_],
    link_L2: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """(C,) which contents are in the group of their component's best, by it and by those they are paired with.

    One that fits leaves where it is paired with more that do not fit than with such that do. One that does not fit
    stays where it is paired with more than half of those that fit, and with two.
    """
    num = max(int(label_M.max()), int(link_L2.max(initial=0))) + 1
    fits_C, is_open_C, is_best_C = np.zeros((3, num), dtype=np.bool_)
    fits_C[label_M[fits_M]] = True
    is_open_C[label_M] = True
    is_best_C[label_M[is_best_M]] = True
    root_C = np.zeros(num, dtype=np.int64)
    root_C[label_M] = root_M
    num_fitting_C = np.bincount(root_C[fits_C], minlength=int(root_M.max()) + 1)[root_C]
    one_L, other_L = link_L2[is_open_C[link_L2].all(axis=1)].T
    for_C = np.bincount(one_L[fits_C[other_L]], minlength=num)
    against_C = np.bincount(one_L[~fits_C[other_L]], minlength=num)
    enters_C = (for_C >= _LEAST_VOTES) & (2 * for_C > num_fitting_C)
    return np.asarray(np.where(fits_C, is_best_C | (against_C <= for_C), enters_C))
