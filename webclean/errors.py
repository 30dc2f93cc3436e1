"""Every error webclean raises on purpose; the class fixes the exit code.

    WebcleanError
    |-- ConfigError            2   usage or configuration
    |-- DataError              3   the user's data or run folder
    |   |-- ImagesNotFoundError      no image, or none usable
    |   |-- TooManyBadError          more bad files than --max-bad
    |   |-- ColumnMissingError       a manifest lacks a column, or two could be it
    |   |-- ArtifactMissingError     a stage's input is not there
    |   |-- ArtifactStaleError       a stage's input is older than its own inputs
    |   |-- ArtifactInvalidError     an artefact breaks its schema or checksum
    |   |-- RunLockedError           another process writes this run folder
    |   `-- StorageFullError         no space left
    |-- DependencyMissingError 4   something to install
    `-- WorkerCrashedError     5   a worker process died; the finished parts are kept

1 is a bug, 130 an interrupt, 141 a broken pipe.
"""

from __future__ import annotations

from typing import ClassVar


class WebcleanError(Exception):
    """Base of all errors shown without a traceback: what happened, where, what to type next.

    The extra fields are optional keywords, so that errors survive pickling across processes.
    """

    exit_code: ClassVar[int] = 1
    reference: ClassVar[str] = "webclean-error"

    def __init__(self, message: str, *, context: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.context = context
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.context, self.hint))

    def __str__(self) -> str:
        lines = [self.message]
        if self.context:
            lines.append(f"  where: {self.context}")
        if self.hint:
            lines.append(f"  next:  {self.hint}")
        return "\n".join(lines)


def _rebuild(kind: type[WebcleanError], message: str, context: str | None, hint: str | None) -> WebcleanError:
    return kind(message, context=context, hint=hint)


class ConfigError(WebcleanError):
    """A flag, a TOML key or a combination of them is not usable."""

    exit_code = 2
    reference = "config"


class DataError(WebcleanError):
    """The user's data or run folder stands in the way."""

    exit_code = 3
    reference = "data"


class ImagesNotFoundError(DataError):
    """SOURCE holds no image, or none that can be used."""

    reference = "images-not-found"


class TooManyBadError(DataError):
    """More files are bad than `--max-bad` allows."""

    reference = "too-many-bad"


class ColumnMissingError(DataError):
    """A table lacks a column that is needed."""

    reference = "column-missing"


class ArtifactMissingError(DataError):
    """A stage's input has not been made yet."""

    reference = "artifact-missing"


class ArtifactStaleError(DataError):
    """A stage's input was made from inputs that have changed since."""

    reference = "artifact-stale"


class ArtifactInvalidError(DataError):
    """A table breaks its schema, or bytes differ from their checksum."""

    reference = "artifact-invalid"


class RunLockedError(DataError):
    """Another process writes this run folder."""

    reference = "run-locked"


class StorageFullError(DataError):
    """The disk is full; what was committed is intact."""

    reference = "storage-full"


class DependencyMissingError(WebcleanError):
    """A package, corpus or weight file has to be installed."""

    exit_code = 4
    reference = "dependency-missing"


class WorkerCrashedError(WebcleanError):
    """A worker process died on one item (out of memory, or a crash in a library); finished parts are kept."""

    exit_code = 5
    reference = "worker-crashed"
