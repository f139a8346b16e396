"""The edge as Lambda takes it: `python -m ingress.package --out dist` makes `edge.zip`, and `image/`, the content of a container image.

Both hold the same code with the versions that are installed here, which the lock file pins. The zip is for Lambda's own Python runtime; the
image brings the runtime client with it, as its entry point (Dockerfile beside this file).
"""

import argparse
import importlib
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path

HANDLERS = ("ingress.handler", "ingress.reconciler_handler", "ingress.archive_handler")
# What the handlers import late: where it is missing the first request fails, not the start.
LATE = ("aiohttp", "aiokafka", "spine.bus", "spine.msk_iam", "aws_msk_iam_sasl_signer", "botocore.session", "boto3")
RUNTIME = "awslambdaric.bootstrap"
OURS = ("ingress", "laws", "spine")
# botocore describes every service of AWS in 100 MB; Lambda takes 250 MB in all. What is asked through it: credentials.
_BOTOCORE = ("sts", "sso", "sso-oidc", "signin")
# A zip of the same files has the same bytes, so that its digest names a release.
_EPOCH = (1980, 1, 1, 0, 0, 0)

_LIST = "import importlib, sys; [importlib.import_module(m) for m in sys.argv[1:]]; print(*{m.partition('.')[0] for m in sys.modules})"


def needed() -> set[str]:
    """The distributions behind everything that the handlers import; ours are not among them."""
    done = subprocess.run([sys.executable, "-c", _LIST, *HANDLERS, *LATE, RUNTIME], capture_output=True, text=True, check=True)  # noqa: S603  ours
    by_package = packages_distributions()
    return {name for package in done.stdout.split() if package not in OURS for name in by_package.get(package, [])}


def build(out: Path) -> tuple[Path, Path]:
    """The zip and the folder of the image, made anew."""
    image = out / "image"
    shutil.rmtree(image, ignore_errors=True)
    image.mkdir(parents=True)
    for name in sorted(needed()):
        _copy(distribution(name), image)
    for package in OURS:
        source = Path(str(importlib.import_module(package).__file__)).parent
        shutil.copytree(source, image / package, ignore=shutil.ignore_patterns("__pycache__", "pyproject.toml", "Dockerfile"))
    _prune(image)
    shutil.copy(Path(__file__).parent / "Dockerfile", out / "Dockerfile")
    archive = out / "edge.zip"
    pack(image, archive)
    return archive, image


def pack(image: Path, archive: Path) -> None:
    """The zip of an image's content: the same content makes the same bytes."""
    with zipfile.ZipFile(archive, "w", compresslevel=1) as packed:
        for path, name in _files(image):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


def _files(image: Path) -> Iterator[tuple[Path, str]]:
    """What goes into the zip: all but the runtime client, which Lambda's runtime is."""
    theirs = ("awslambdaric", "runtime_client", "snapshot_restore_py")
    for path in sorted(image.rglob("*")):
        name = path.relative_to(image).as_posix()
        if path.is_file() and not name.startswith(theirs):
            yield path, name


def _copy(installed: Distribution, image: Path) -> None:
    packages = Path(sysconfig.get_paths()["purelib"])
    for file in installed.files or []:
        source = Path(str(installed.locate_file(file))).resolve()
        if packages not in source.parents or "__pycache__" in source.parts or not source.is_file():
            continue  # commands and caches
        target = image / source.relative_to(packages)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _prune(image: Path) -> None:
    data = image / "botocore" / "data"
    for folder in data.iterdir() if data.exists() else ():
        if folder.is_dir() and folder.name not in _BOTOCORE:
            shutil.rmtree(folder)


def main() -> None:
    """Says what was made, and how large it is."""
    parser = argparse.ArgumentParser(prog="python -m ingress.package", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dist"))
    archive, image = build(parser.parse_args().out)
    size = sum(path.stat().st_size for path in image.rglob("*") if path.is_file())
    sys.stdout.write(f"{archive} {archive.stat().st_size / 1e6:.1f} MB\n{image}/ {size / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main()
