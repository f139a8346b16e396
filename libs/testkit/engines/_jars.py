"""The jars of the Java engines: fetched once into the cache, and used only when every one has the committed hash.

`python -m testkit.engines._jars fetch` fills the cache; with `lock` it resolves the coordinates anew and rewrites jars.lock instead,
which is for a change of versions.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from testkit.engines._cache import folder
from testkit.engines._errors import EngineError
from testkit.engines._locks import lock

LOCK_FILE = Path(__file__).with_name("jars.lock")

COORDINATES = {
    # slf4j-nop: the broker's own logging would otherwise print a warning for want of a binding
    "kafka": "org.apache.kafka:kafka_2.13:4.1.0+org.slf4j:slf4j-nop:1.7.36",
    "dynamodb": "software.amazon.dynamodb:DynamoDBLocal:3.1.0",
}

# Ten times what a slow line (1 MB/s) needs for the larger set (48 MB).
FETCH_SECONDS = 480.0

_RESOLVE = "import sys, pathlib, jgo; print(jgo.build(sys.argv[1], cache_dir=pathlib.Path(sys.argv[2])).path)"


def locked(engine: str, lock_file: Path = LOCK_FILE) -> dict[str, str]:
    """File name -> sha256 of every file that `engine` needs, as committed; the format is that of sha256sum."""
    lines = (line.split("  ") for line in lock_file.read_text().splitlines())
    return {name.removeprefix(f"{engine}/"): digest for digest, name in lines if name.startswith(f"{engine}/")}


def jars(engine: str, lock_file: Path = LOCK_FILE) -> Path:
    """The folder that holds the files of `engine`, every one checked.

    Needs the network only when files are missing. Raises EngineError when one cannot be fetched or has not the committed hash.
    """
    wanted = locked(engine, lock_file)
    where = place(engine, lock_file)
    if any(not (where / file).exists() for file in wanted):
        _fill(engine, where, wanted)
    for file, digest in wanted.items():
        _verify(where / file, digest)
    return where


def place(engine: str, lock_file: Path = LOCK_FILE) -> Path:
    """The folder for the files of `engine`, whether they are there or not."""
    # One folder for one lock: two checkouts with different versions share a cache without fighting over it.
    name = hashlib.sha256("".join(sorted(locked(engine, lock_file).values())).encode()).hexdigest()[:12]
    return folder("jars", f"{engine}-{name}")


def _verify(file: Path, digest: str) -> None:
    found = _sha256(file)
    if found != digest:
        raise EngineError(
            f"{file.name}: sha256 is {found[:16]}.., {LOCK_FILE.name} says {digest[:16]}..: remove {file.parent} so that it is "
            "fetched again; if that does not help, the published file has changed and must not be used"
        )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fill(engine: str, where: Path, wanted: dict[str, str]) -> None:
    # One fetch at a time: on a cold cache the second starter finds the files, and two resolvers never write one repository folder.
    holder = lock(folder("m2") / "lock")
    try:
        if all((where / file).exists() for file in wanted):
            return
        with tempfile.TemporaryDirectory(dir=where.parent) as scratch:
            found = _resolve(engine, Path(scratch))
            missing = sorted(set(wanted) - set(found))
            if missing:
                raise EngineError(
                    f"{COORDINATES[engine]} no longer brings {missing[0]}: rewrite {LOCK_FILE.name} (python -m testkit.engines._jars lock)"
                )
            for file in wanted:
                found[file].replace(where / file)
    finally:
        os.close(holder)


def _resolve(engine: str, scratch: Path) -> dict[str, Path]:
    """Fetch what the coordinates bring; file name -> path under `scratch`."""
    environment = {**os.environ, "M2_REPO": str(folder("m2"))}
    command = [sys.executable, "-c", _RESOLVE, COORDINATES[engine], str(scratch)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)  # noqa: S603 - fixed command
    except subprocess.TimeoutExpired:
        raise EngineError(f"the jars of {engine} did not arrive within {FETCH_SECONDS:g} s: check the network and start again") from None
    if done.returncode != 0:
        reason = textwrap.shorten((done.stderr.strip().splitlines() or ["no reason given"])[-1], 160, placeholder=" ..")
        raise EngineError(
            f"the jars of {engine} are not in the cache ({folder('jars')}) and could not be fetched: connect to a network once ({reason})"
        )
    return {path.name: path for path in Path(done.stdout.strip()).rglob("*") if _needed(path)}


def _needed(path: Path) -> bool:
    # DynamoDB Local brings its native SQLite for every system; one of them is used here.
    return path.suffix == ".jar" or path.name.endswith("linux-amd64-1.0.392.so")


def rewrite_lock() -> None:
    """Resolve all coordinates and write jars.lock."""
    lines = []
    for engine in COORDINATES:
        with tempfile.TemporaryDirectory(dir=folder("jars")) as scratch:
            found = _resolve(engine, Path(scratch))
            lines += [f"{_sha256(path)}  {engine}/{name}" for name, path in sorted(found.items())]
    LOCK_FILE.write_text("".join(f"{line}\n" for line in lines))


def main(arguments: list[str]) -> None:
    if arguments == ["fetch"]:
        for engine in COORDINATES:
            jars(engine)
    elif arguments == ["lock"]:
        rewrite_lock()
    else:
        raise EngineError(f"{arguments} is neither ['fetch'] nor ['lock']")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except EngineError as error:
        sys.exit(str(error))
