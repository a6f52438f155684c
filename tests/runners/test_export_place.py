"""A folder is there whole or not at all, whatever happens while it is written, and has one writer at a time."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from safetensors import SafetensorError

from genembench.problem import Problem
from runners.exporting import place
from runners.exporting.place import new_folder
from tests.conftest import CHECKOUT


def fill(folder: Path, text: str = "whole") -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "file.txt").write_text(text)


def fail(target: Path, error: BaseException, needed: int = 10) -> None:
    """Write something, then go wrong."""
    with new_folder(target, needed) as folder:
        fill(folder)
        raise error


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_it_stands_there_only_when_it_is_whole(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "a" / "target"
    if there:
        target.mkdir(parents=True)
    with new_folder(target, 10) as folder:
        fill(folder)
        assert not target.exists() or not any(target.iterdir())
    assert (target / "sub" / "file.txt").read_text() == "whole"
    assert names(target.parent) == ["target"]


def test_a_link_to_an_empty_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with new_folder(tmp_path / "link", 10) as folder:
        fill(folder)
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == ["sub"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=repr)
def test_nothing_is_left_of_what_went_wrong(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        fail(tmp_path / "target", error)
    assert names(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from runners.exporting.place import new_folder

with new_folder(Path(sys.argv[1]), 10) as folder:
    (folder / "half.txt").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_export_left_is_no_folder_and_goes_with_the_next(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "target")], cwd=CHECKOUT)
    assert result.returncode == -signal.SIGKILL
    assert names(tmp_path) == [".target.exporting"]
    with new_folder(tmp_path / "target", 10) as folder:
        fill(folder)
    assert names(tmp_path) == ["target"]
    assert names(tmp_path / "target") == ["sub"]


def test_two_at_once(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with new_folder(target, 10) as folder:
        fill(folder)
        with pytest.raises(Problem, match=f"another genembench is exporting to {target}"), new_folder(target, 10):
            raise AssertionError
        # Nor is what the first one has written so far taken away.
        assert names(folder) == ["sub"]
        with new_folder(tmp_path / "other", 10) as other:
            fill(other, "other")
    assert names(tmp_path) == ["other", "target"]
    assert (target / "sub" / "file.txt").read_text() == "whole"


def test_many_at_once_leave_one_folder(tmp_path: Path) -> None:
    target, outcomes, start = tmp_path / "target", [], threading.Barrier(8)

    def export(number: int) -> None:
        start.wait()
        try:
            with new_folder(target, 10) as folder:
                fill(folder, str(number))
        except Problem as problem:
            outcomes.append(problem.what)
        else:
            outcomes.append("done")

    threads = [threading.Thread(target=export, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("done") == 1
    assert all("another genembench" in each or "is not empty" in each for each in outcomes if each != "done")
    assert names(tmp_path) == ["target"]


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_somebody_put_there_meanwhile_stays(tmp_path: Path, what: str) -> None:
    target = tmp_path / "target"

    def overtaken() -> None:
        with new_folder(target, 10) as folder:
            fill(folder)
            if what == "folder":
                target.mkdir()
            (target / "theirs.txt" if what == "folder" else target).write_text("theirs")

    with pytest.raises(Problem, match=r"target is (not empty|a file)"):
        overtaken()
    assert names(tmp_path) == ["target"]
    assert (target / "theirs.txt" if what == "folder" else target).read_text() == "theirs"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["python", "rust"],
)
def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(Problem) as caught:
        fail(tmp_path / "target", error, needed=3_000_000_000)
    assert "target could not be written: No space left on device" in str(caught.value)
    assert "3.00 GB" in str(caught.value)
    assert names(tmp_path) == []


def test_a_disk_without_room_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"GB free, and the export takes \d+"), new_folder(tmp_path / "t", 10**18):
        raise AssertionError
    assert names(tmp_path) == []


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_in(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Problem, match="no permission to write in"):
        place.check_free(tmp_path / "a" / "target")


def test_errors_of_others_pass_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), new_folder(tmp_path / "target", 10):
        raise OSError(errno.EPERM, "mine")
