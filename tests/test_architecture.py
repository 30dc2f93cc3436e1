"""What may import what, and what starting costs."""

from __future__ import annotations

import ast
import importlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import webclean
from webclean.cli.commands import COMMANDS
from webclean.stages.chain import CHAIN

HEAVY = (
    "torch", "torchvision", "pandas", "pyarrow", "nltk", "sentence_transformers", "transformers", "ray",
    "sklearn", "scipy", "PIL", "numpy", "numba", "faiss", "matplotlib", "fsspec",
)  # fmt: skip
_LOADED = """
import json, sys
from webclean.cli.app import main
codes = [main(line.split()) for line in sys.argv[1:]]
print(json.dumps({"codes": codes, "loaded": sorted({m.split(".")[0] for m in sys.modules})}), file=sys.stderr)
"""
_CPU = """
import resource, sys
sys.argv = ["webclean", "--help"]
from webclean.cli.app import main
main()
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, file=sys.stderr)
"""
_LIMIT_S = 0.45  # of processor time on a slow machine; an idle laptop needs about 0.12 s


def test_the_front_help_imports_nothing_heavy_and_no_rich(fresh_python):
    found = json.loads(fresh_python(_LOADED, "--help", "--version").stderr.splitlines()[-1])
    assert found["codes"] == [0, 0]
    assert not {*HEAVY, "rich"} & set(found["loaded"])


def test_the_commands_help_imports_nothing_heavy(fresh_python):
    lines = [f"{command.name} --help" for command in COMMANDS]
    found = json.loads(fresh_python(_LOADED, *lines).stderr.splitlines()[-1])
    assert set(found["codes"]) == {0}
    assert not set(HEAVY) & set(found["loaded"])


def test_help_is_instant(fresh_python):
    seconds = [float(fresh_python(_CPU).stderr.splitlines()[-1]) for _ in range(3)]
    assert statistics.median(seconds) < _LIMIT_S, seconds


def test_importing_webclean_loads_nothing(fresh_python):
    done = fresh_python("import sys, webclean; print(sorted(sys.modules))")
    assert not [name for name in HEAVY if f"'{name}'" in done.stdout]


def test_chain_and_commands_name_modules_that_are_there():
    for stage in CHAIN:
        assert hasattr(importlib.import_module(stage.module), "run"), stage.name
    for command in COMMANDS:
        assert callable(getattr(importlib.import_module(command.module), command.name))


def test_every_stage_reads_only_what_stands_above_it():
    written: set[str] = set()
    for stage in CHAIN:
        for artefact in stage.reads:
            name = artefact.rstrip("?")
            if "{previous}" in name or (stage.name, name) == ("judge-model", "models/{model}/predictions"):
                continue  # the round before
            shape = name.replace("{features}", "{name}").replace("{prototype_features}", "{name}")
            shape = shape.replace("{model}", "{name}").replace("{attached}", "{name}")
            shape = shape.replace("{clip_features}", "{name}")
            shape = shape.replace("text-r1", "text-r{round}").replace("{text_round}", "{round}")
            assert shape in written, f"{stage.name} reads {artefact}, which nothing above it writes"
        if stage.name != "judge-model":  # it stands in for judge-image, in rounds where it is asked for
            assert not written & set(stage.writes), f"{stage.name} writes what another stage writes"
        written |= set(stage.writes)


def test_public_names_are_these():
    assert sorted(webclean.__all__) == ["__version__", "load_manifest", "weighted_loss"]
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        webclean.nonsense  # noqa: B018


def _calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, object]]]:
    """Each call's name and its keywords that are plain values."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            keywords = {
                k.arg: k.value.value for k in node.keywords if k.arg and isinstance(k.value, ast.Constant)
            }
            yield ast.unparse(node.func), keywords


def test_no_file_is_ever_run_as_code():
    for path in sorted(Path(webclean.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, keywords in _calls(tree):
            where = f"{path}: {name}"
            assert name not in ("eval", "exec", "os.system", "pickle.load", "pickle.loads"), where
            assert name != "torch.load" or keywords.get("weights_only") is True, where
            assert not keywords.get("allow_pickle"), where
            assert not keywords.get("shell"), where


@pytest.mark.slow
def test_imports_point_down_only():
    root = Path(__file__).resolve().parent.parent
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
