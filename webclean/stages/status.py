"""A survey of a run folder: what stands, what is stale, what comes next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from webclean import schema
from webclean.errors import ArtifactMissingError
from webclean.io.lock import holder_of
from webclean.io.run_dir import RunDir
from webclean.stages.base import PENDING, command_for, committed, staleness
from webclean.stages.chain import CHAIN, writer_of

DEFAULT = "default"  # the decisions that `export` and `evaluate` take by themselves
_DEPTH = 3


def survey(run: RunDir) -> dict[str, Any]:
    """Every artefact with its state (`fresh`, `stale: why`, `unfinished`), the lock, and the next command.

    `finished` is the ISO time at which the artefact was made, None where it is unfinished.

    Raises:
        ArtifactMissingError: there is no such run folder.
    """
    if not run.exists():
        raise ArtifactMissingError(
            f"{run.url} does not exist", hint=f"webclean ingest SOURCE {run.url} makes it"
        )
    rows = []
    for artefact in _artefacts(run):
        record = committed(run, artefact)
        if record is None:
            rows.append(
                {
                    "artefact": artefact,
                    "state": "unfinished",
                    "total": None,
                    "forwarded": None,
                    "seconds": None,
                    "finished": None,
                }
            )
            continue
        stale = staleness(run, artefact)
        rows.append(
            {
                "artefact": artefact,
                "state": "fresh" if stale is None else f"stale: {stale}",
                "total": record["counts"]["total"],
                "forwarded": record["counts"]["forwarded"],
                "seconds": round(record["clock"]["seconds"], 1),
                "finished": _finished(record["clock"]),
            }
        )
    return {"run": run.url, "artefacts": rows, "lock": holder_of(run), "next": _next(run, rows)}


def _finished(clock: dict[str, float]) -> str:
    """When the stage ended, in ISO 8601, UTC."""
    ended = datetime.fromtimestamp(clock["started"] + clock["seconds"], tz=UTC)
    return ended.isoformat(timespec="seconds")


def _artefacts(run: RunDir) -> list[str]:
    """Every folder that a stage has begun or committed, in the order of the chain."""
    return sorted(_below(run, "", _DEPTH), key=lambda artefact: (_place(artefact), artefact))


def _place(artefact: str) -> int:
    stage = writer_of(artefact)
    return CHAIN.index(stage) if stage is not None else len(CHAIN)


def _below(run: RunDir, folder: str, depth: int) -> list[str]:
    found = []
    for name in run.folders(folder) if depth else ():
        if name.startswith("."):
            continue
        path = f"{folder}/{name}".lstrip("/")
        if run.exists(f"{path}/{schema.RUN_JSON}") or run.exists(f"{path}/{PENDING}"):
            found.append(path)
        found.extend(_below(run, path, depth - 1))
    return found


def _next(run: RunDir, rows: list[dict[str, Any]]) -> str:
    states = {row["artefact"]: row["state"] for row in rows}
    for artefact, state in states.items():
        if state != "fresh":
            return command_for(artefact, run)
    if schema.DUPLICATES not in states:
        return f"webclean ingest SOURCE {run.url}"
    decided = [row for row in rows if row["artefact"].startswith(f"{schema.DECISIONS}/")]
    if not decided:
        return f"webclean weight {run.url}"
    if schema.decisions_path(DEFAULT) in states:
        return export_command(run.url, DEFAULT)
    newest = max(decided, key=lambda row: row["finished"])
    return export_command(run.url, newest["artefact"].removeprefix(f"{schema.DECISIONS}/"))


def export_command(url: str, decisions: str) -> str:
    """The command line that exports by the decisions of that name."""
    return f"webclean export {url} OUT" + ("" if decisions == DEFAULT else f" --decisions {decisions}")
