"""What a producer gave to the spool is there after any death of it, and comes out in its order."""

import os
from pathlib import Path

import pytest

from client.spool import Place, Spool, SpoolError


def events(spool: Spool, after: Place | None = None) -> list[bytes]:
    return [event for _, event in spool.events(spool.done if after is None else after)]


def test_events_come_out_in_their_order_and_what_is_answered_does_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    places = spool.append([b"a", b"", b"c"])
    assert events(spool) == [b"a", b"", b"c"]
    assert places[-1] == spool.end
    spool.answered(places[1])
    spool.append([b"d"])
    assert events(spool) == [b"c", b"d"]
    spool.close()
    again = Spool(tmp_path)
    assert events(again) == [b"c", b"d"]
    again.close()


def test_segments_end_and_are_given_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=30)
    places = [spool.append([b"x" * 20])[0] for _ in range(6)]
    assert len(list(tmp_path.glob("*.events"))) == 3
    assert len(events(spool)) == 6
    spool.answered(places[3])
    assert len(list(tmp_path.glob("*.events"))) == 2
    assert len(events(spool)) == 2
    spool.answered(places[5])
    spool.close()
    again = Spool(tmp_path, segment_bytes=30)
    assert events(again) == []
    again.append([b"y"])
    assert events(again) == [b"y"]
    again.close()


@pytest.mark.parametrize("torn", range(1, 12))
def test_a_write_that_death_cut_off_is_cut_off_and_nothing_before_it(tmp_path: Path, torn: int) -> None:
    spool = Spool(tmp_path)
    spool.append([b"whole"])
    spool.append([b"torn"])
    spool.close()
    [segment] = tmp_path.glob("*.events")
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size - torn)
    again = Spool(tmp_path)
    assert events(again) == [b"whole"]
    again.append([b"next"])
    assert events(again) == [b"whole", b"next"]
    again.close()


def test_a_mark_that_is_lost_or_broken_sends_again_and_loses_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.answered(spool.append([b"a", b"b"])[0])
    spool.close()
    for broken in ("", "x y"):
        (tmp_path / "done").write_text(broken)
        again = Spool(tmp_path)
        assert events(again) == [b"a", b"b"]
        again.close()


def test_a_folder_has_one_client(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with pytest.raises(SpoolError, match="in use"):
        Spool(tmp_path)
    spool.close()
    Spool(tmp_path).close()


def test_a_full_disk_is_told_and_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    spool.append([b"a"])
    write = os.write

    def full(file: int, data: bytes) -> int:
        write(file, bytes(data[:3]))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            spool.append([b"b"])
    spool.append([b"c"])
    assert events(spool) == [b"a", b"c"]
    spool.close()
