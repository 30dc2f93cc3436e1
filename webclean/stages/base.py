"""`execute`: the one place that checks inputs, skips, times, counts and commits a stage."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import webclean
from webclean import schema
from webclean.config import StageConfig
from webclean.engines.base import Engine
from webclean.errors import ArtifactInvalidError, ArtifactMissingError, ArtifactStaleError
from webclean.io.run_dir import RunDir
from webclean.stages import log
from webclean.stages.chain import Stage, writer_of

if TYPE_CHECKING:  # brings pyarrow
    from webclean.io.readers.listing import Listing

PENDING = "_pending.json"
# What an artefact's digest covers; logs, clocks and checkpoints are not part of it.
_DIGESTED = (".parquet", ".safetensors", "config.json")
_RECORD_KEYS = {"fingerprint", "inputs", "counts", "result", "digest"}


class Bar(Protocol):
    """Progress of one loop."""

    def advance(self, steps: int = 1) -> None:
        """So many more units are done."""
        ...

    def describe(self, text: str) -> None:
        """Show a short text beside the bar (a loss, a fold)."""
        ...


class _SilentBar:
    def advance(self, steps: int = 1) -> None:
        pass

    def describe(self, text: str) -> None:
        pass


class Progress(Protocol):
    """Opens a progress bar; the command line draws it, everything else stays silent."""

    def __call__(self, *, total: int, unit: str, label: str) -> AbstractContextManager[Bar]:
        """A bar over `total` units."""
        ...


@contextmanager
def silent(*, total: int, unit: str, label: str) -> Iterator[Bar]:
    """A bar that shows nothing."""
    yield _SilentBar()


@dataclass(frozen=True)
class Counts:
    """How many images came in, went on, and left, by reason."""

    total: int
    forwarded: int
    dropped: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.total != self.forwarded + sum(self.dropped.values()):
            raise AssertionError(f"counts do not add up: {self}")


@dataclass(frozen=True)
class Source:
    """What a stage finds outside the run folder; a module's `source_fingerprint(config)` may return it.

    Attributes:
        digest: part of the stage's fingerprint, None where there is nothing outside.
        listing: what the digest covers, where the stage works on it.
    """

    digest: str | None
    listing: Listing | None = None


@dataclass
class Context:
    """What a stage may use besides its config.

    `listing` is what the stage's `source_fingerprint` listed. `execute` sets it for the length of one `run`,
    so that what is worked on is what was fingerprinted, however the folder changes in between. A stage may put
    into `digests` that of an artefact it has replaced, where nothing differs that a later stage depends on.
    `force` is that of `execute`: nothing that was made before is to be used. `log` takes lines for the run's log,
    into which they go by themselves where it is not given.
    """

    run: RunDir
    engine: Engine
    seed: int = 0
    progress: Progress = silent
    note: Callable[[str], None] = lambda text: None
    result: dict[str, Any] = field(default_factory=dict)
    available: dict[str, bool] = field(default_factory=dict)
    listing: Listing | None = None
    digests: dict[str, str] = field(default_factory=dict)
    force: bool = False
    log: Callable[[str], None] | None = None

    def has(self, artefact: str) -> bool:
        """Whether an input may be read: an optional one is there and fresh; `execute` has looked."""
        return self.available.get(artefact, False)


@dataclass(frozen=True)
class Outcome:
    """What became of one stage: skipped or run, its counts, what it wants told, and of which round of judging it was."""

    stage: str
    skipped: bool
    counts: Counts
    result: dict[str, Any]
    seconds: float
    round: int | None = None


def execute(stage: Stage, config: StageConfig, context: Context, *, force: bool = False) -> Outcome:
    """Run one stage unless nothing that it depends on has changed, and commit what it wrote.

    A stage's outputs count as made only when each folder's run.json stands, and run.json is written
    last. A killed stage leaves finished parts behind; a rerun with the same fingerprint keeps them.

    Args:
        stage: one row of the chain.
        config: its config.
        context: run folder, engine, seed, progress; the caller holds the lock.
        force: run although unchanged, and use required inputs that are stale.

    Raises:
        ArtifactMissingError: a required input has not been made.
        ArtifactStaleError: an input is older than its own inputs.
    """
    run = context.run
    module = importlib.import_module(stage.module)
    inputs = _input_digests(stage, config, context, force)
    source = _source(module, config)
    seed = context.seed if stage.draws else None
    round_ = getattr(config, "round", None)
    fingerprint = _fingerprint(stage, config, seed, inputs, source.digest)
    outputs = stage.outputs(config)

    done = [committed(run, artefact) for artefact in outputs]
    if not force and all(d is not None and d["fingerprint"] == fingerprint for d in done):
        record = done[0]
        assert record is not None
        for artefact in outputs:
            run.remove(f"{artefact}/{PENDING}")  # left where the commit was killed in its last step
        return Outcome(stage.name, True, Counts(**record["counts"]), record["result"], 0.0, round_)

    write_log = context.log or partial(log.append, run)
    context.force = force
    context.listing = source.listing
    context.result, context.digests = {}, {}
    try:
        check = getattr(module, "check", None)
        if check is not None:
            check(config, context)  # what can be refused is refused before anything that stands is touched
        for artefact in outputs:
            _prepare(run, artefact, fingerprint, outputs, keep_parts=not force)
        started = time.time()
        clock = time.perf_counter()
        write_log(f"{stage.name}: started, fingerprint {fingerprint[:12]}")
        counts = module.run(config, context)
    finally:
        context.listing = None
    seconds = time.perf_counter() - clock
    for artefact in outputs:
        files = _files(run, artefact)
        record = {
            "stage": stage.name,
            "artefact": artefact,
            "fingerprint": fingerprint,
            "config": config.fingerprint_fields(),
            "seed": seed,
            "inputs": inputs,
            "source": source.digest,
            "versions": versions(),
            "counts": {"total": counts.total, "forwarded": counts.forwarded, "dropped": counts.dropped},
            "result": context.result,
            "files": files,
            "digest": context.digests.get(artefact, _digest(files)),
            "clock": {"started": started, "seconds": seconds},
        }
        run.write_json(f"{artefact}/{schema.RUN_JSON}", record)
    for artefact in outputs:
        run.remove(f"{artefact}/{PENDING}")
    write_log(f"{stage.name}: done in {seconds:.1f} s, {counts}")
    return Outcome(stage.name, False, counts, context.result, seconds, round_)


def committed(run: RunDir, artefact: str) -> dict[str, Any] | None:
    """The artefact's run.json, None where it has not been committed.

    Raises:
        ArtifactInvalidError: the file is not one that `execute` wrote.
    """
    path = f"{artefact}/{schema.RUN_JSON}"
    if not run.exists(path):
        return None
    record = run.read_json(path)
    if not isinstance(record, dict) or not _RECORD_KEYS <= record.keys():
        raise ArtifactInvalidError(
            f"{path} is not the record of a stage", context=run.url, hint="remove it and run the stage again"
        )
    return record


def staleness(run: RunDir, artefact: str) -> str | None:
    """Why an artefact is older than what it was made from, or None where it is fresh.

    Every ancestor is looked at, so that a change at the top is seen from the bottom.
    """
    if committed(run, artefact) is None:
        return f"{artefact} has not been made"
    # Each ancestor is read once: the ways up through the rounds double with each.
    records: dict[str, dict[str, Any] | None] = {}
    return _reason(run, artefact, records, fresh=set(), below=())


def _reason(
    run: RunDir,
    artefact: str,
    records: dict[str, dict[str, Any] | None],
    fresh: set[str],
    below: tuple[str, ...],
) -> str | None:
    if artefact in fresh or artefact in below:
        return None
    record = _once(run, artefact, records)
    assert record is not None, "the caller has seen it"
    for name, digest in sorted(record["inputs"].items()):
        above = _once(run, name, records)
        if digest is None:
            # A model comes after the weights: a decision without it stands until training decides anew.
            if above is None or name in below or name.startswith(f"{schema.MODELS}/"):
                continue
            if _reason(run, name, records, fresh, (*below, artefact)) is None:
                return f"{artefact} was made without {name}, which is there now"
            continue
        if above is None:
            return f"{artefact} was made from {name}, which is gone"
        if above["digest"] != digest:
            return f"{artefact} was made from an older {name}"
        reason = _reason(run, name, records, fresh, (*below, artefact))
        if reason is not None:
            return reason
    fresh.add(artefact)
    return None


def _once(run: RunDir, artefact: str, records: dict[str, dict[str, Any] | None]) -> dict[str, Any] | None:
    if artefact not in records:
        records[artefact] = committed(run, artefact)
    return records[artefact]


def command_for(artefact: str, run: RunDir) -> str:
    """The command line that makes an artefact."""
    stage = writer_of(artefact)
    if stage is None:
        return "webclean --help"
    if stage.command == "ingest":
        return f"webclean ingest SOURCE {run.url}"
    if stage.command == "attach":
        return _attaching(artefact, run)
    return f"webclean {stage.command} {run.url}{_round_flags(artefact, run)}{_decision_flags(artefact, run)}"


def _attaching(artefact: str, run: RunDir) -> str:
    """The command that attached these columns, with its flags."""
    record = committed(run, artefact)
    if record is None:
        return f"webclean attach {run.url} TABLE"
    config = record["config"]
    words = ["webclean", "attach", run.url, config["table"], "--on", config["on"], "--name", config["name"]]
    return shlex.join(words + (["--columns", ",".join(config["columns"])] if config["columns"] else []))


def _decision_flags(artefact: str, run: RunDir) -> str:
    """The trusted labels of decisions, and the name and the evidence of other than the default ones."""
    folder, _, name = artefact.partition("/")
    if folder != schema.DECISIONS or not name:
        return ""
    record = committed(run, artefact)
    file = None if record is None else record.get("config", {}).get("trusted")
    trusted = "" if file is None else f" --trusted {shlex.quote(file)}"
    if name == "default":
        return trusted
    evidence = [] if record is None else record.get("config", {}).get("evidence", [])
    return (f" --evidence {','.join(evidence)}" if evidence else "") + f" --decisions {name}{trusted}"


def _round_flags(artefact: str, run: RunDir) -> str:
    """What a command needs besides the run folder to come to an artefact of a round after the first."""
    found = re.search(r"[-/]r(\d+)(?:$|/)", artefact)
    round_ = int(found.group(1)) if found else 1
    if round_ == 1:
        return ""
    judge = committed(run, schema.predictions_path(schema.JUDGE_IMAGE, round_))
    model = None if judge is None else judge.get("config", {}).get("model")
    return f" --rounds {round_}" if model is None else f" --judge model:{model}"


def require(run: RunDir, artefact: str, *, reader: str, force: bool = False) -> dict[str, Any]:
    """The run.json of an artefact that must be there and fresh.

    Raises:
        ArtifactMissingError, ArtifactStaleError: with the command that mends it.
    """
    record = committed(run, artefact)
    if record is None:
        raise ArtifactMissingError(
            f"{run.url}/{artefact} has not been made",
            context=f"{reader} reads it",
            hint=f"run `{command_for(artefact, run)}` first",
        )
    reason = None if force else staleness(run, artefact)
    if reason is not None:
        raise ArtifactStaleError(
            f"stale: {reason}",
            context=f"{reader} reads {artefact}",
            hint=f"run `{command_for(artefact, run)}` again, or add --force to use it as it is",
        )
    return record


def _input_digests(stage: Stage, config: StageConfig, context: Context, force: bool) -> dict[str, str | None]:
    run = context.run
    digests: dict[str, str | None] = {}
    context.available = {}
    for artefact, required in stage.inputs(config).items():
        if required:
            digests[artefact] = require(run, artefact, reader=f"stage '{stage.name}'", force=force)["digest"]
            context.available[artefact] = True
            continue
        record = committed(run, artefact)
        reason = None if record is None else staleness(run, artefact)
        if reason is not None:
            context.note(f"{artefact} is left out: {reason}; `{command_for(artefact, run)}` brings it back")
        usable = record is not None and reason is None
        context.available[artefact] = usable
        digests[artefact] = record["digest"] if usable and record is not None else None
    return digests


def _source(module: ModuleType, config: StageConfig) -> Source:
    """What the stage depends on outside the run folder; many stages have no more to say than a digest."""
    fingerprint = getattr(module, "source_fingerprint", None)
    found = None if fingerprint is None else fingerprint(config)
    return found if isinstance(found, Source) else Source(found)


def _fingerprint(
    stage: Stage, config: StageConfig, seed: int | None, inputs: dict[str, str | None], source: str | None
) -> str:
    text = json.dumps(
        {
            "version": webclean.__version__, "stage": stage.name, "config": config.fingerprint_fields(),
            "seed": seed, "inputs": inputs, "source": source,
        },
        sort_keys=True,
    )  # fmt: skip
    return hashlib.sha256(text.encode()).hexdigest()


def _prepare(
    run: RunDir, artefact: str, fingerprint: str, outputs: tuple[str, ...], *, keep_parts: bool
) -> None:
    """Make the artefact's folder ready: keep parts of the same fingerprint, clear all else of its own."""
    pending = f"{artefact}/{PENDING}"
    same = run.exists(pending) and run.read_json(pending).get("fingerprint") == fingerprint
    run.remove(f"{artefact}/{schema.RUN_JSON}")
    if not (same and keep_parts):
        nested = {o[len(artefact) + 1 :].split("/")[0] for o in outputs if o.startswith(artefact + "/")}
        for name in run.list(artefact):
            if name not in nested:
                run.remove(f"{artefact}/{name}")
        run.write_json(pending, {"fingerprint": fingerprint})


def _files(run: RunDir, artefact: str) -> list[dict[str, Any]]:
    files = []
    for name in run.list(artefact):
        if name.endswith(_DIGESTED) and not name.startswith("."):
            sha, size = hashlib.sha256(), 0
            with run.open(f"{artefact}/{name}") as file:
                while block := file.read(1 << 20):
                    sha.update(block)
                    size += len(block)
            files.append({"name": name, "sha256": sha.hexdigest(), "nbytes": size})
    return files


def _digest(files: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python, webclean and the packages that results depend on."""
    import platform
    from importlib import metadata

    found = {"python": platform.python_version(), "webclean": webclean.__version__}
    for package in ("numpy", "pillow", "pyarrow", "scikit-learn", "torch", "torchvision", "nltk"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found
