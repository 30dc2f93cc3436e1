"""Kill a command at many moments, rerun it, and compare with a run that nobody killed.

    python benchmarks/kill_resume.py SOURCE --work /tmp/kill --draws 10 --seed 1

For each of ingest, weight and train: one unbroken run is timed and digested. Then, for every draw, the
command starts in its own process group from the same state, the group gets SIGKILL, the run folder is
checked (whatever has a final name is whole), the command runs again to its end, and all tables, models,
losses and JSON files (without their `clock`) must have the same bytes as the unbroken run's.

Moments: `--draws` of them uniformly over the unbroken run's wall time; then as many more as every stage
needs to be hit twice; then `--writes` of them while a temporary file stands beside its target, and, for
train, as many while a checkpoint is being written. The seed is printed.

Exit code 0: all equal; 1: a difference, or something half-written under a final name; 3: all equal, but
a stage of more than 0.2 s was not hit twice, or no write was caught.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMANDS = ("ingest", "weight", "train")
LOG = "webclean.log"
RUN_JSON = "run.json"
CLOCK = "clock"
# Not part of what is promised: the log, caches that can be made again, and the lock of a killed process.
UNPROMISED = (LOG, ".scratch", ".lock")
# What only an unfinished run may hold.
LEFTOVERS = ("_pending.json", ".lock")
POLL_S = 0.0005
SHORT_STAGE_S = 0.2
TRIES = 5


@dataclass(frozen=True)
class Moment:
    """When to kill: after `seconds`; in `stage` at a fraction of its time; or while a file is written."""

    kind: str  # time, stage, write, checkpoint
    seconds: float = 0.0
    stage: str = ""

    def __str__(self) -> str:
        if self.kind == "time":
            return f"{self.seconds:.3f} s"
        if self.kind == "stage":
            return f"{self.stage} + {self.seconds:.3f} s"
        return f"in a {self.kind} after {self.seconds:.3f} s"


@dataclass
class Trial:
    """One kill and what came of it."""

    command: str
    moment: Moment
    stage: str
    killed_after_s: float
    in_write: bool
    in_checkpoint: bool
    broken: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing half-written was visible, and the rerun gave the same bytes."""
        return not self.broken and not self.differs


class Harness:
    """One run folder, always under the same path, so that no path differs between two runs."""

    def __init__(self, program: Sequence[str], source: str, work: Path, extra: dict[str, list[str]]) -> None:
        self.program, self.source, self.work, self.extra = list(program), source, work, extra
        self.run = work / "run"
        self.output = work / "output.txt"

    def argv(self, command: str) -> list[str]:
        """The command line."""
        where = [self.source, str(self.run)] if command == "ingest" else [str(self.run)]
        return [*self.program, command, *where, *self.extra[command]]

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Start the command in its own process group; its output goes to output.txt."""
        with self.output.open("ab") as out:
            out.write(f"\n$ {shlex.join(self.argv(command))}\n".encode())
            out.flush()
            return subprocess.Popen(
                self.argv(command), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def finish(self, command: str) -> float:
        """Run the command to its end and return its seconds.

        Raises:
            SystemExit: the command failed.
        """
        clock = time.perf_counter()
        code = self.start(command).wait()
        if code != 0:
            tail = self.output.read_text(errors="replace")[-2000:]
            raise SystemExit(f"`{shlex.join(self.argv(command))}` ended with {code}:\n{tail}")
        return time.perf_counter() - clock

    def save(self, name: str) -> None:
        """Keep the run folder's state under a name."""
        target = self.work / name
        shutil.rmtree(target, ignore_errors=True)
        if self.run.exists():
            shutil.copytree(self.run, target, symlinks=True)

    def restore(self, name: str) -> None:
        """Bring a kept state back."""
        shutil.rmtree(self.run, ignore_errors=True)
        if (self.work / name).exists():
            shutil.copytree(self.work / name, self.run, symlinks=True)

    def log_size(self) -> int:
        """Bytes of the log so far."""
        path = self.run / LOG
        return path.stat().st_size if path.exists() else 0

    def log_since(self, offset: int) -> str:
        """What the log has gained."""
        path = self.run / LOG
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")

    def kill(self, command: str, moment: Moment) -> Trial | None:
        """Start, kill at the moment, look; None where the command ended before the moment came."""
        offset = self.log_size()
        clock = time.perf_counter()
        process = self.start(command)
        come = self._wait_for(moment, process, offset, clock)
        after = time.perf_counter() - clock
        if not come:
            process.wait()
            return None
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        _await_group_end(process.pid)
        if code != -signal.SIGKILL:
            return None  # it ended by itself between our look and the signal
        temporary = list(temporaries(self.run))
        return Trial(
            command,
            moment,
            stage_hit(self.log_since(offset)),
            after,
            in_write=bool(temporary),
            in_checkpoint=any("checkpoint" in str(path) for path in temporary),
            broken=half_written(self.run),
        )

    def _wait_for(self, moment: Moment, process: subprocess.Popen[bytes], offset: int, clock: float) -> bool:
        if moment.kind == "time":
            return _sleep_until(clock + moment.seconds, process)
        if moment.kind == "stage":
            while f"{moment.stage}: started" not in self.log_since(offset):
                if process.poll() is not None:
                    return False
                time.sleep(POLL_S)
            return _sleep_until(time.perf_counter() + moment.seconds, process)
        if not _sleep_until(clock + moment.seconds, process):
            return False
        while process.poll() is None:
            for path in temporaries(self.run):
                if moment.kind == "write" or "checkpoint" in str(path):
                    return True
        return False


def _sleep_until(moment: float, process: subprocess.Popen[bytes]) -> bool:
    while (left := moment - time.perf_counter()) > 0:
        if process.poll() is not None:
            return False
        time.sleep(min(left, 0.005))
    return process.poll() is None


def _await_group_end(group: int) -> None:
    """A dying worker may still hold a file; look at the folder only when the whole group is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        for _ in range(2000):
            os.killpg(group, 0)
            time.sleep(0.005)


def temporaries(run: Path) -> Iterator[Path]:
    """Files that are being written: `.NAME.tmp` beside their target."""
    stack = [run]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in UNPROMISED:
                            stack.append(Path(entry.path))
                    elif entry.name.endswith(".tmp"):
                        yield Path(entry.path)
        except FileNotFoundError:
            continue


def stage_hit(log: str) -> str:
    """The stage that had started and not ended when the log stopped."""
    last = "start-up"
    for line in log.splitlines():
        _, _, text = line.partition(" ")
        name, separator, event = text.partition(": ")
        if not separator or " " in name:  # a command's own line: NAME [PID]
            continue
        if event.startswith("started"):
            last = name
        elif event.startswith("done") and name == last:
            last = f"after {name}"
    return last


def half_written(run: Path) -> list[str]:
    """Everything under a final name that cannot be read whole, or does not match its commit mark."""
    import pyarrow.parquet as pq
    from safetensors import safe_open

    broken = []
    for path in _files(run):
        rel = str(path.relative_to(run))
        if path.name.endswith(".tmp") or rel.split("/")[0] in UNPROMISED:
            continue
        try:
            if path.suffix == ".parquet":
                pq.read_table(path)
            elif path.suffix == ".json":
                json.loads(path.read_bytes())
            elif path.suffix == ".safetensors":
                with safe_open(path, "np") as file:
                    list(file.keys())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            broken.append(f"{rel}: {type(error).__name__}: {error}")
            continue
        if path.name == RUN_JSON:
            broken += _uncommitted(path, rel)
    return broken


def _uncommitted(path: Path, rel: str) -> list[str]:
    found = []
    for file in json.loads(path.read_bytes()).get("files", []):
        target = path.parent / file["name"]
        if not target.exists() or hashlib.sha256(target.read_bytes()).hexdigest() != file["sha256"]:
            found.append(f"{rel} stands, and {file['name']} is not what it says")
    return found


def digest(run: Path) -> dict[str, str]:
    """SHA-256 of every promised file; JSON, JSON lines and a checkpoint's state without their clocks."""
    found = {}
    for path in _files(run):
        rel = str(path.relative_to(run))
        if rel.split("/")[0] in UNPROMISED:
            continue
        lines = path.read_bytes()
        if path.suffix == ".json":
            data = _without_clock(lines)
        elif path.suffix == ".jsonl":
            data = b"\n".join(_without_clock(line) for line in lines.splitlines() if line.strip())
        elif path.suffix == ".safetensors":
            data = _state_without_clock(lines)
        else:
            data = lines
        found[rel] = hashlib.sha256(data).hexdigest()
    return found


def _without_clock(text: bytes) -> bytes:
    try:
        value = json.loads(text)
    except ValueError:
        return text  # torn: its bytes will differ from the unbroken run's
    return json.dumps(_timeless(value), sort_keys=True).encode()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key != CLOCK}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _state_without_clock(file: bytes) -> bytes:
    """Tensors and header of a safetensors file; its history of epochs tells how long each took."""
    end = 8 + int.from_bytes(file[:8], "little")
    try:
        header = json.loads(file[8:end])
    except ValueError:
        return file  # torn
    state = header.get("__metadata__", {}).pop("state", "{}")
    return json.dumps(header, sort_keys=True).encode() + _without_clock(state.encode()) + file[end:]


def _files(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_file()) if run.exists() else []


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """What a rerun lacks, has too much, or has otherwise."""
    lines = []
    for rel in sorted(expected.keys() | found.keys()):
        name = Path(rel).name
        if name.endswith(".tmp") or name in LEFTOVERS:
            lines.append(f"{rel} is left over")
        elif rel not in found:
            lines.append(f"{rel} is missing")
        elif rel not in expected:
            lines.append(f"{rel} should not be there")
        elif expected[rel] != found[rel]:
            lines.append(f"{rel} differs")
    return lines


def stage_seconds(run: Path, log: str) -> dict[str, float]:
    """Seconds of every stage that the unbroken command ran, by the clocks of its commit marks."""
    lines = [line.split(" ", 1)[1].partition(": ")[0] for line in log.splitlines() if ": started" in line]
    ran = [name for name in lines if " " not in name]  # not a command's own line: NAME [PID]
    seconds = dict.fromkeys(ran, 0.0)
    for path in _files(run):
        if path.name == RUN_JSON:
            record = json.loads(path.read_bytes())
            if record.get("stage") in seconds:
                seconds[record["stage"]] = float(record[CLOCK]["seconds"])
    return seconds


def trials(
    harness: Harness, command: str, options: argparse.Namespace, rng: random.Random
) -> tuple[list[Trial], list[str]]:
    """All kills of one command, and what could not be arranged."""
    harness.save("before")
    offset = harness.log_size()
    wall = harness.finish(command)
    stages = stage_seconds(harness.run, harness.log_since(offset))
    expected = digest(harness.run)
    harness.save("unbroken")
    listing = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in stages.items())
    print(f"\n{command}: unbroken {wall:.2f} s, {len(expected)} files; {listing}", flush=True)

    done: list[Trial] = []

    def attempt(moment: Moment) -> Trial | None:
        harness.restore("before")
        trial = harness.kill(command, moment)
        if trial is None:
            return None
        harness.finish(command)
        trial.differs = differences(expected, digest(harness.run))
        done.append(trial)
        marks = [word for word, on in (("write", trial.in_write), ("checkpoint", trial.in_checkpoint)) if on]
        verdict = "same bytes" if trial.good else "DIFFERS"
        print(
            f"  {len(done):3d}  {moment!s:<32} killed at {trial.killed_after_s:7.3f} s in {trial.stage:<24}"
            f" {','.join(marks):<16} {verdict}",
            flush=True,
        )
        for line in (trial.broken + trial.differs)[:10]:
            print(f"         {line}", flush=True)
        return trial

    for seconds in sorted(rng.uniform(0, wall) for _ in range(options.draws)):
        # Late draws may fall behind the end of a faster run: draw again, a little earlier.
        for shrink in (1.0, 0.95, 0.9, 0.8):
            if attempt(Moment("time", seconds * shrink)) is not None:
                break
    lacking = []
    for name, length in stages.items():
        for n in range(TRIES):
            if sum(trial.stage == name for trial in done) >= 2:
                break
            share = rng.uniform(0, 0.9) if n < 2 else 0.0
            attempt(Moment("stage", share * length, name))
        hits = sum(trial.stage == name for trial in done)
        if hits < 2:
            note = f"{command}: stage {name} ({length:.3f} s) was hit {hits} times"
            print(f"  note: {note}")
            if length >= SHORT_STAGE_S:
                lacking.append(note)
    kinds = ["write", "checkpoint"] if command == "train" else ["write"]
    for kind in kinds:
        for _ in range(TRIES * options.writes):
            if sum(t.in_checkpoint if kind == "checkpoint" else t.in_write for t in done) >= options.writes:
                break
            attempt(Moment(kind, rng.uniform(0, 0.8) * wall))
        if options.writes and not any(t.in_checkpoint if kind == "checkpoint" else t.in_write for t in done):
            lacking.append(f"{command}: no kill inside a {kind}")
    harness.restore("unbroken")
    return done, lacking


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, rerun, compare; print every kill and a table at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="the crawl")
    parser.add_argument("--work", type=Path, required=True, help="empty or new folder for the runs")
    parser.add_argument("--commands", default=",".join(COMMANDS), help="in this order; default %(default)s")
    parser.add_argument("--draws", type=int, default=10, help="uniform moments for each command")
    parser.add_argument("--writes", type=int, default=2, help="kills inside a write (and a checkpoint)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--program", default=str(Path(sys.executable).with_name("webclean")))
    for command in COMMANDS:
        parser.add_argument(
            f"--{command}-args", default="", help=f"more arguments of {command}, as one string"
        )
    parser.add_argument("--json", type=Path, help="write the trials as JSON here")
    options = parser.parse_args(arguments)
    commands = options.commands.split(",")
    if unknown := sorted(set(commands) - set(COMMANDS)):
        parser.error(f"unknown commands {', '.join(unknown)}; there are {', '.join(COMMANDS)}")
    if options.work.exists() and any(options.work.iterdir()):
        parser.error(f"{options.work} is not empty")
    options.work.mkdir(parents=True, exist_ok=True)
    extra = {command: shlex.split(getattr(options, f"{command}_args")) for command in COMMANDS}
    harness = Harness(shlex.split(options.program), options.source, options.work.absolute(), extra)
    rng = random.Random(options.seed)
    print(f"seed {options.seed}, {os.cpu_count()} cores, {options.source}")

    done: list[Trial] = []
    lacking: list[str] = []
    for command in COMMANDS[: max(COMMANDS.index(c) for c in commands) + 1]:
        if command in commands:
            found, lacks = trials(harness, command, options, rng)
            done += found
            lacking += lacks
        else:
            harness.finish(command)  # a later command needs what it makes

    print(f"\n{'stage hit':<32} kills  same bytes")
    hit = Counter((trial.command, trial.stage) for trial in done)
    good = Counter((trial.command, trial.stage) for trial in done if trial.good)
    for (command, stage), kills in hit.items():
        print(f"{command + ': ' + stage:<32} {kills:5d}  {good[command, stage]:5d}")
    writes, checkpoints = sum(t.in_write for t in done), sum(t.in_checkpoint for t in done)
    bad = [trial for trial in done if not trial.good]
    print(f"{len(done)} kills, {writes} inside a write, {checkpoints} inside a checkpoint, {len(bad)} differ")
    for note in lacking:
        print(f"lacking: {note}")
    if options.json:
        rows = [vars(trial) | {"moment": str(trial.moment), "good": trial.good} for trial in done]
        options.json.write_text(
            json.dumps({"seed": options.seed, "trials": rows, "lacking": lacking}, indent=2)
        )
    return 1 if bad else 3 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
