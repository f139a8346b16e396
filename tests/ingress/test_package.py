"""The zip and the image's content start as they are, without anything of this environment (ingress.package)."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ingress import runtime_api
from ingress.package import build, pack
from ingress.runtime_api import Function
from tests.ingress.rig import Site, event_of


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"))


async def starts(site: Site, folder: Path, handler: str, monkeypatch: pytest.MonkeyPatch, *more: Path) -> int:
    """The status of a health request to a handler that finds nothing but the folder."""
    # -S: no site-packages, so that what is not in the folder is not there at all.
    monkeypatch.setattr(runtime_api, "_COMMAND", (sys.executable, "-S", "-m", "awslambdaric"))
    path = os.pathsep.join(map(str, (folder, *more)))
    return await health_of(Function(handler, site.environment(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1"), 1, 60.0))


async def health_of(function: Function) -> int:
    """The status of a health request."""
    await function.start()
    try:
        answer = await function.invoke(event_of(b"", method="GET", path="/v1/ops/health"))
        status: int = answer["statusCode"]
        return status
    finally:
        await function.stop()


async def test_the_image_starts_by_its_entry_point(site: Site, built: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, image = built
    lines = (image.parent / "Dockerfile").read_text().splitlines()
    assert 'ENTRYPOINT ["python", "-m", "awslambdaric"]' in lines
    assert 'CMD ["ingress.handler.handler"]' in lines
    assert await starts(site, image, "ingress.handler.handler", monkeypatch) == 200


# A root that has nothing but what an image of Python brings, and the image's content where the Dockerfile puts it.
ROOT = """
set -e
root=$1; image=$2; prefix=$3; shift 3
mkdir -p $root/var/task $root/dev $root/tmp $root$prefix
for each in /lib /lib64 /usr/lib /usr/lib64 /etc/ssl; do
  if [ -e $each ]; then mkdir -p $root$each; mount --rbind $each $root$each; fi
done
mount --bind $prefix $root$prefix
mount --bind -o ro $image $root/var/task
mount --rbind /dev $root/dev
exec "$@"
"""


async def test_the_image_starts_in_a_root_of_its_own(
    site: Site, built: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of this machine but Python and the C library is there, and no variable but those of the Dockerfile and of Lambda."""
    unshare, chroot, env = (shutil.which(name) for name in ("unshare", "chroot", "env"))
    if not unshare or not chroot or not env or subprocess.run([unshare, "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a root of his own (unshare -rm)")
    image = built[1]
    said = dict(line.split(" ", 1) for line in (image.parent / "Dockerfile").read_text().splitlines() if line[:1].isupper())
    assert said["WORKDIR"] == "/var/task"
    assert said["COPY"] == "image/ /var/task/"
    given = site.environment(AWS_ACCESS_KEY_ID="local", AWS_SECRET_ACCESS_KEY="local", PATH=f"{sys.base_prefix}/bin")
    of_lambda = [f'{name}="${name}"' for name in ("AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_FUNCTION_NAME", "_HANDLER")]
    words = [*(shlex.quote(f"{name}={value}") for name, value in given.items()), *said["ENV"].split(), *of_lambda]
    entry = " ".join(shlex.quote(word) for word in json.loads(said["ENTRYPOINT"]))
    start = tmp_path / "start.sh"
    start.write_text(f'exec {env} -i {" ".join(words)} {chroot} {tmp_path / "root"} {entry} "$@"')
    (tmp_path / "root.sh").write_text(ROOT)
    places = (str(tmp_path / "root"), str(image), sys.base_prefix)
    monkeypatch.setattr(runtime_api, "_COMMAND", (unshare, "-rm", "sh", str(tmp_path / "root.sh"), *places, "sh", str(start)))
    [handler] = json.loads(said["CMD"])
    assert await health_of(Function(handler, {}, 1, 60.0)) == 200


async def test_the_zip_starts_beside_a_runtime(
    site: Site, built: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, image = built
    with zipfile.ZipFile(archive) as packed:
        names = packed.namelist()
        packed.extractall(tmp_path / "task")
    assert not [name for name in names if name.startswith("awslambdaric") or "__pycache__" in name]
    assert sum(path.stat().st_size for path in (tmp_path / "task").rglob("*") if path.is_file()) < 250_000_000
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    for path in image.iterdir():
        if path.name.startswith(("awslambdaric", "runtime_client", "snapshot_restore_py")):
            (runtime / path.name).symlink_to(path)
    assert await starts(site, tmp_path / "task", "ingress.handler.handler", monkeypatch, runtime) == 200


def test_the_same_content_makes_the_same_zip(built: tuple[Path, Path], tmp_path: Path) -> None:
    archive, image = built
    for path in image.rglob("*.py"):
        os.utime(path, (0, 0))  # when a file was copied is no part of what it is
    pack(image, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
