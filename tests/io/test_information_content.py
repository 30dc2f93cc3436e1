from __future__ import annotations

import math
from pathlib import Path

import pytest

from webclean.errors import ConfigError
from webclean.io.information_content import read_information_content
from webclean.ops.taxonomy import UNSEEN


def test_counts_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "ic.dat"
    file.write_text("wnver::x\n1n 8 ROOT\n2n 2.0\n3n 0\n\n4v 5 ROOT\n")
    found = read_information_content(str(file))
    assert [found.of(offset) for offset in (1, 2)] == pytest.approx([0.0, math.log(4)])
    assert found.of(3) == found.of(99) == UNSEEN
    assert found.count_of == {1: 8.0, 2: 2.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wnver::x\n1n", "line 2: expected OFFSETn COUNT"),
        ("wnver::x\n1n 3 ROOT\nxn 4", "line 3: expected OFFSETn COUNT"),
        ("wnver::x\n1n nan ROOT", "line 2: a count must be a number from 0, got nan"),
        ("wnver::x\n1n -1 ROOT", "must be a number from 0"),
        ("wnver::x\n1n 3\n4v 5 ROOT", "counts no noun root"),
        ("", "counts no noun root"),
        ("wnver::x\n1n 3 \u2603", "is no text"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "ic.dat"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        read_information_content(str(file))
    assert "ic-brown.dat" in str(caught.value.hint)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_information_content(str(tmp_path / "absent.dat"))
