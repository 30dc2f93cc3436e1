"""Getting WordNet 3.0 without root, also where only the Debian and Python package indexes are reached."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from webclean.errors import DependencyMissingError

PACKAGE: Final = "wordnet-base"
# The files that NLTK opens at once; Debian's package carries them all, and lacks `lexnames`.
NEEDED: Final = (
    *("data.noun", "data.verb", "data.adj", "data.adv", "index.noun", "index.verb", "index.adj", "index.adv"),
    *("noun.exc", "verb.exc", "adj.exc", "adv.exc"),
)
_TIMEOUT_S: Final = 300.0  # apt's index is 10 MB; a dead mirror must not hang a set-up for ever

_NOUNS: Final = (
    "Tops act animal artifact attribute body cognition communication event feeling food group location motive "
    "object person phenomenon plant possession process quantity relation shape state substance time"
)
_VERBS: Final = (
    "body change cognition communication competition consumption contact creation emotion motion perception "
    "possession social stative weather"
)


def lexnames() -> str:
    """The `lexnames` file of WordNet 3.0: 45 lines of file number, name and part of speech (1 noun .. 4 adverb)."""
    names = [("adj.all", 3), ("adj.pert", 3), ("adv.all", 4)]
    names += [(f"noun.{name}", 1) for name in _NOUNS.split()]
    names += [(f"verb.{name}", 2) for name in _VERBS.split()]
    names += [("adj.ppl", 3)]
    return "".join(f"{number:02d}\t{name}\t{part}\n" for number, (name, part) in enumerate(names))


def home_folder(prefix: Path | None = None) -> Path:
    """Where a fetched WordNet stands under an environment, by default the running Python's."""
    return (prefix or Path(sys.prefix)) / "share" / "wordnet"


def known_places() -> Iterator[Path]:
    """Folders and archives that may hold WordNet, in the order they are tried: NLTK's, the system's, ours."""
    import nltk

    for root in nltk.data.path:
        for corpus in ("wordnet", "wordnet.zip"):
            yield Path(root) / "corpora" / corpus
    yield from (Path("/usr/share/wordnet"), Path("/usr/local/share/wordnet"))
    yield home_folder()


def is_wordnet(path: Path) -> bool:
    """Whether a folder, or NLTK's archive, holds WordNet."""
    if path.suffix == ".zip":
        return path.is_file()
    return all((path / name).is_file() for name in NEEDED)


def find_wordnet() -> Path | None:
    """The first known place that holds WordNet, None where none does."""
    return next((path for path in known_places() if is_wordnet(path)), None)


def download_with_nltk() -> Path | None:
    """`nltk.download("wordnet")` into NLTK's own folder: the archive, None where it cannot be reached."""
    import io
    import warnings

    import nltk

    # The downloader reports a missing network as text and a warning; the caller says it better.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not nltk.download("wordnet", quiet=True, print_error_to=io.StringIO()):
            return None
    return find_wordnet()


def fetch_wordnet(prefix: Path) -> Path:
    """Make sure that WordNet is on this machine and return its folder (or NLTK's archive of it).

    Tried in order: what is already there, `nltk.download`, Debian's package index. Nothing is installed into
    the system: apt gets its own state and cache in a temporary folder, and the package is unpacked into
    `prefix/share/wordnet`, so any user can run this.

    Raises:
        DependencyMissingError: no way led to WordNet; the message says what each of them answered.
    """
    ready = home_folder(prefix)
    if is_wordnet(ready):
        return ready
    found = find_wordnet() or download_with_nltk()
    if found is not None:
        return found
    failures = ["nltk.download: its server is not reached"]
    try:
        return fetch_from_debian(prefix)
    except (OSError, subprocess.SubprocessError) as error:
        failures.append(f"apt-get: {_reason(error)}")
    raise missing("; ".join(failures))


def missing(context: str | None = None) -> DependencyMissingError:
    """The error that lists every way to get WordNet."""
    return DependencyMissingError(
        "WordNet is not on this machine",
        context=context,
        hint=(
            "one of: `webclean doctor --fetch wordnet` (no root needed); "
            "`python -m nltk.downloader wordnet`; `apt-get install wordnet-base`; "
            "or copy WordNet's dict folder here and pass --wordnet DIR "
            "(--wordnet none compares category names by their text alone)"
        ),
    )


def fetch_from_debian(prefix: Path) -> Path:
    """Unpack Debian's wordnet-base into `prefix/share/wordnet` as any user.

    Raises:
        FileNotFoundError: no apt-get or dpkg-deb on this machine, or the package lacks a file.
        subprocess.SubprocessError: the package index did not answer, or not in time.
    """
    target = home_folder(prefix)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wordnet-", dir=target.parent) as name:
        work = Path(name)
        for folder in ("state/lists/partial", "cache/archives/partial", "download"):
            (work / folder).mkdir(parents=True)
        apt = ["apt-get", "-q", "-o", f"Dir::State={work}/state", "-o", f"Dir::Cache={work}/cache"]
        # dpkg's own list of installed packages stays where it is: apt reads it and never writes it here.
        apt += ["-o", "Dir::State::status=/var/lib/dpkg/status"]
        if os.geteuid() == 0:  # apt would hand the download to user _apt, who may not enter our folder
            apt += ["-o", "APT::Sandbox::User=root"]
        _call([*apt, "update"], work)
        _call([*apt, "download", PACKAGE], work / "download")
        (package,) = (work / "download").glob("*.deb")
        _call(["dpkg-deb", "-x", str(package), str(work / "tree")], work)
        unpacked = work / "tree" / "usr" / "share" / "wordnet"
        if not is_wordnet(unpacked):
            raise FileNotFoundError(f"{package.name} lacks one of {', '.join(NEEDED)}")
        (unpacked / "lexnames").write_text(lexnames(), encoding="ascii")
        shutil.copy(work / "tree" / "usr" / "share" / "doc" / PACKAGE / "copyright", unpacked / "LICENSE")
        if target.exists():  # a folder that is not WordNet, left by something that was killed
            shutil.rmtree(target)
        unpacked.rename(target)
    return target


def _call(command: list[str], folder: Path) -> None:
    subprocess.run(
        command, cwd=folder, check=True, timeout=_TIMEOUT_S, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
    )  # fmt: skip


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in str(error.stdout).splitlines() if line.startswith(("E:", "W:", "Err"))]
        return (lines or str(error.stdout).splitlines() or ["it failed"])[-1]
    return str(error)
