from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from webclean.errors import ColumnMissingError, ConfigError
from webclean.io.category_vectors import read_category_vectors

TEXTS = {
    "columns.csv": "name,x0,x1\ncat,0.5,-2\ndog,1,1e-3\n",
    "spaces.csv": "name,vector\ncat,0.5 -2\ndog,1 1e-3\n",
    "brackets.tsv": "name\tvector\ncat\t[0.5, -2]\ndog\t[1 1e-3]\n",
    "semicolons.csv": 'name,vector\ncat,0.5;-2\ndog,"1,1e-3"\n',
    "lines.jsonl": '{"name": "cat", "vector": [0.5, -2]}\n{"name": "dog", "vector": [1, 0.001]}\n',
}


@pytest.mark.parametrize("name", [*TEXTS, "table.parquet"])
def test_every_way_to_write_vectors(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name in TEXTS:
        file.write_text(TEXTS[name])
    else:
        pq.write_table(pa.table({"name": ["cat", "dog"], "vector": [[0.5, -2.0], [1.0, 1e-3]]}), file)
    found = read_category_vectors(str(file))
    assert list(found) == ["cat", "dog"]
    np.testing.assert_array_equal(found["cat"], [0.5, -2])
    np.testing.assert_array_equal(found["dog"], [1, 1e-3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,vector\ncat,1 2\ndog,1 2 3", "row 2: 3 numbers, the rows before have 2"),
        ("name,vector\ncat,1 2\ncat,3 4", "row 2: 'cat' stands in row 1 already"),
        ("name,vector\ncat,1 two", "row 1: 'two' is no finite number"),
        ("name,vector\ncat,1 nan", "row 1: 'nan' is no finite number"),
        ("name,x,y\ncat,1,", "row 1: None is no finite number"),
        ("name,vector\ncat,", "row 1: no numbers"),
        ("name,vector\n,1 2", "row 1, has no name"),
        ("name,vector\n", "has no rows"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "v.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_category_vectors(str(file))
    assert caught.value.hint


@pytest.mark.parametrize("text", ["id,vector\ncat,1", "name\ncat"])
def test_a_table_without_its_columns(tmp_path: Path, text: str) -> None:
    file = tmp_path / "v.csv"
    file.write_text(text)
    with pytest.raises(ColumnMissingError, match="needs a column name and numbers"):
        read_category_vectors(str(file))
