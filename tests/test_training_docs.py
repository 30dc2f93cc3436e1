"""Every block of docs/training.md runs on a small export, and its loops train."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest
from exported_run import Row, picture, write_run

from webclean.config import ExportConfig
from webclean.stages import export

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
NEEDS = {"transformers": ("transformers", "accelerate"), "timm": ("timm",)}
TINY = "ResNetConfig(depths=[1] * 4, hidden_sizes=[8] * 4, embedding_size=8, "
SHOW = """
import math
print(type(model).__name__, len(data), {})
"""


def test_each_way_has_a_block() -> None:
    libraries = [
        re.findall(r"^(?:import|from) (timm|transformers|torchvision)", b, re.MULTILINE) for b in BLOCKS
    ]
    assert len(BLOCKS) == 4
    assert {"timm", "transformers", "torchvision"} == {name for names in libraries for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=["torch", "trainer", "timm-reader", "timm-sampler"])
def test_the_block_runs(block: str, tmp_path: Path) -> None:
    for name, modules in NEEDS.items():
        for module in modules:
            if f"from {name}" in block and util.find_spec(module) is None:
                pytest.skip(f"{module} is not installed: pip install {module}")
    rows = [Row(f"{i}.jpg", "cat" if i % 2 else "dog", 0.9 - i / 20, data=picture(i)) for i in range(6)]
    export.run(ExportConfig(to="csv", images="copy"), write_run(tmp_path, rows), tmp_path / "my-clean")
    block = block.replace("ResNetConfig(num", f"{TINY}num").replace("batch_size=32", "batch_size=2")
    shown = "float(loss.detach())" if "loss =" in block and "Trainer" not in block else "0.0"
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            block + SHOW.format(shown),
        ],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"\w+ 6 \d+\.\d+(e-\d+)?", last), done.stdout
    if "Trainer" in block:
        assert "train_loss" in done.stdout
