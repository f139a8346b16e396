"""Make .venv what the committed files say: `python3 requirements/prepare.py [lock]`; the Makefile calls it before every target.

Needs Python and its venv module only. uv and every package are fetched once into a cache outside the tree, each checked by its
committed hash; from then on no network is needed. With `lock` it rewrites workspace.txt from the pyproject files instead.
Standard library only, and read by Python 3.7 on: it has to say itself that the Python is too old.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
VENV = ROOT / ".venv"
STAMP = VENV / "prepared"


class SetupError(Exception):
    """Something is missing on this machine; the text is one line that says what to do."""


def cache_root() -> Path:
    """$FP_CACHE, else $XDG_CACHE_HOME/fraud-platform, else ~/.cache/fraud-platform; testkit.engines uses the same folder."""
    explicit = os.environ.get("FP_CACHE")
    if explicit:
        return Path(explicit).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "fraud-platform"


def members() -> list[Path]:
    """The folders of the workspace's members, found by their pyproject.toml, so that a new one comes by itself."""
    return sorted(file.parent for group in ("libs", "services", "lambdas") for file in (ROOT / group).glob("*/pyproject.toml"))


def wanted_stamp() -> str:
    """What .venv was made from: the lock, the members, this script, the Python, and the folder (installed paths are absolute)."""
    digest = hashlib.sha256(f"{ROOT}\n{sys.version}\n".encode())
    own = [REQUIREMENTS / name for name in ("prepare.py", "uv.txt", "workspace.txt")]
    for file in [*own, *(member / "pyproject.toml" for member in members())]:
        digest.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def run(command: list[str]) -> str | None:
    """Run in the root of the tree; None when it worked, else the last line that it printed."""
    cache = {"UV_CACHE_DIR": str(cache_root() / "uv-cache"), "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": str(VENV)}
    done = subprocess.run(  # noqa: S603 - fixed commands, no shell
        command, cwd=ROOT, env={**os.environ, **cache}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return None
    lines = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()
    return lines[-1].strip()


def uv() -> str:
    """The uv of requirements/uv.txt out of the cache, fetched when it is not there yet."""
    pin = REQUIREMENTS / "uv.txt"
    version = pin.read_text().split()[0].partition("==")[2]
    program = cache_root() / "uv" / version / "uv"
    if program.exists():
        return str(program)
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        problem = run([sys.executable, "-m", "venv", scratch])
        if problem:
            raise SetupError(
                f"{sys.executable} cannot make a virtual environment: install its venv module, python3-venv on Debian ({problem})"
            )
        problem = run([f"{scratch}/bin/python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(pin)])
        if problem:
            raise SetupError(f"uv {version} is not in {cache_root()} and could not be fetched: connect to a network once ({problem})")
        # A rename: a second make at the same time finds no program or a whole one.
        Path(scratch, "bin", "uv").replace(program)
    return str(program)


def fill(program: str) -> None:
    """Install the locked packages and the members into a new .venv."""
    shutil.rmtree(VENV, ignore_errors=True)
    problem = run([program, "venv", "--quiet", "--no-project", "--python", sys.executable, str(VENV)])
    if problem:
        raise SetupError(f"{VENV} could not be made ({problem})")
    sync = [program, "pip", "sync", "--quiet", "--require-hashes", str(REQUIREMENTS / "workspace.txt")]
    # Offline first: a warm cache must do without a network, and does not wait for one that is slow.
    if run([*sync, "--offline"]):
        problem = run(sync)
        if problem:
            raise SetupError(f"the packages are not all in {cache_root()} and could not be fetched: connect to a network once ({problem})")
    # Hash mode refuses members, which are folders; they are built with the locked hatchling, so nothing is fetched for them.
    editable = [part for member in members() for part in ("-e", f"./{member.relative_to(ROOT)}")]
    problem = run([program, "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation", *editable])
    if problem:
        raise SetupError(f"the members could not be installed: check their pyproject.toml ({problem})")


def fetch_jars() -> None:
    """Fill the cache with the jars of the engines now: a test that meets a cold cache would run into its own time limit."""
    command = [str(VENV / "bin" / "python"), "-m", "testkit.engines._jars", "fetch"]
    problem = run(command)
    if problem:
        raise SetupError(problem)


def lock(program: str) -> None:
    """Rewrite requirements/workspace.txt. uv.lock stays, ignored by git; without it the newest allowed versions are taken."""
    content = ["--all-groups", "--no-emit-workspace", "--no-emit-project"]
    shape = ["--format", "requirements-txt", "--no-annotate", "--no-header"]  # annotations would name folders of this machine
    problem = run([program, "export", "--quiet", "--python", sys.executable, *content, *shape, "-o", str(REQUIREMENTS / "workspace.txt")])
    if problem:
        raise SetupError(f"the lock could not be made: it needs a network and pyproject files that agree ({problem})")


def main(arguments: list[str]) -> None:
    if sys.version_info[:2] < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        raise SetupError(f"Python {found} is too old: 3.11 or newer is needed; name one with `make PYTHON=/path/to/python3 ...`")
    if arguments == ["lock"]:
        lock(uv())
        return
    stamp = wanted_stamp()
    if STAMP.exists() and STAMP.read_text() == stamp:
        return
    fill(uv())
    fetch_jars()
    STAMP.write_text(stamp)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SetupError as error:
        sys.exit(f"setup: {error}")
