"""A survey of a run folder: what stands, what is stale, what comes next."""

from __future__ import annotations

from typing import Any

from webclean import schema
from webclean.errors import ArtifactMissingError
from webclean.io.lock import holder_of
from webclean.io.run_dir import RunDir
from webclean.stages.base import PENDING, command_for, committed, staleness
from webclean.stages.chain import CHAIN, writer_of

_DEPTH = 3


def survey(run: RunDir) -> dict[str, Any]:
    """Every artefact with its state (`fresh`, `stale: why`, `unfinished`), the lock, and the next command.

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
            }
        )
    return {"run": run.url, "artefacts": rows, "lock": holder_of(run), "next": _next(run, rows)}


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
    if not any(name.startswith(f"{schema.DECISIONS}/") for name in states):
        return f"webclean weight {run.url}"
    return f"webclean export {run.url} OUT"
