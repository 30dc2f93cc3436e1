"""Where each image of an export goes: category folders with safe, unique names."""

from __future__ import annotations

from collections.abc import Iterable

from webclean.io.writers.names import UniqueNames, ending_for, safe_name, split_ending

NO_SPLIT = "no-split"
"""Folder of the images without a split, where others have one."""


class Layout:
    """Hands out relative paths `[split/]category/name.ending`, the same for the same sequence of calls.

    No path leaves the folder it is relative to, whatever the crawl called its files and categories.
    """

    def __init__(self, *, prefix: str = "", has_splits: bool = False, reserved: Iterable[str] = ()) -> None:
        """Set up an empty layout.

        Args:
            prefix: folder that all paths start with, ending in a slash, or nothing.
            has_splits: whether folders of splits stand above those of categories.
            reserved: names at the top that belong to other files.
        """
        self._prefix = prefix
        self._has_splits = has_splits
        self._reserved = frozenset(reserved)
        self._folders: dict[tuple[str, str], str] = {}
        self._names: dict[str, UniqueNames] = {}

    def path(
        self, category: str, split: str | None, file_name: str, format_name: str | None, mark: str
    ) -> str:
        """The path of one image.

        Args:
            category: the label it is exported under.
            split: its split, None for none.
            file_name: its name in the crawl; the stem is kept where it can be.
            format_name: Pillow's name of the format its bytes have.
            mark: hex digits of its own, for the case that the name is taken.
        """
        folder = ""
        if self._has_splits:
            folder = self._folder("", NO_SPLIT if split is None else split) + "/"
        folder += self._folder(folder, category) + "/"
        names = self._names.setdefault("file:" + folder, UniqueNames())
        ending = ending_for(format_name, file_name)
        return self._prefix + folder + names.take(safe_name(split_ending(file_name)[0]), ending, mark)

    def _folder(self, parent: str, name: str) -> str:
        key = (parent, name)
        if key not in self._folders:
            taken = self._names.setdefault(
                "folder:" + parent, UniqueNames(self._reserved if parent == "" else ())
            )
            self._folders[key] = taken.take(safe_name(name), "", "x")
        return self._folders[key]
