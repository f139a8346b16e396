"""The zip and the image's content start as they are, without anything of this environment (ingress.package)."""

import os
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
    monkeypatch.setattr(runtime_api, "_COMMAND", ("-S", "-m", "awslambdaric"))
    path = os.pathsep.join(map(str, (folder, *more)))
    function = Function(handler, site.environment(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1"), 1, 60.0)
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
