"""Result files are whole or absent, and replace nothing that was not meant."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from solo.errors import OutputError
from solo.output_files import check_outputs, write_output


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_in_a_new_folder_with_usual_permissions(tmp_path: Path) -> None:
    write_output(tmp_path / "new" / "a.json", [b"one ", b"two"])
    (tmp_path / "usual").touch()
    assert (tmp_path / "new" / "a.json").read_bytes() == b"one two"
    assert stat.S_IMODE((tmp_path / "new" / "a.json").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "usual").stat().st_mode
    )
    assert names(tmp_path / "new") == ["a.json"]


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    write_output(tmp_path / ("x" * 255), b"content")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"content"


def test_an_existing_file_needs_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"kept")
    with pytest.raises(OutputError, match=r"a\.json exists already; .*--overwrite"):
        check_outputs([path], overwrite=False)
    check_outputs([path], overwrite=True)
    check_outputs([tmp_path / "other.json"], overwrite=False)


def test_inputs_are_never_replaced(tmp_path: Path) -> None:
    source = tmp_path / "a.json"
    source.touch()
    (tmp_path / "link.json").symlink_to(source)
    os.link(source, tmp_path / "hard.json")
    for name in ("a.json", "link.json", "hard.json"):
        with pytest.raises(OutputError, match=rf"{name} is a file that this command reads"):
            check_outputs([tmp_path / name], overwrite=True, inputs=[tmp_path / "missing", source])


def test_files_with_the_mark_are_replaced_but_not_links_to_them(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"our mark": 1}')
    check_outputs([path], overwrite=False, mark=b"our mark")
    with pytest.raises(OutputError, match="exists already"):
        check_outputs([path], overwrite=False, mark=b"another")
    (tmp_path / "link.json").symlink_to(path)
    with pytest.raises(OutputError, match="exists already"):
        check_outputs([tmp_path / "link.json"], overwrite=False, mark=b"our mark")


def test_links_are_replaced_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"kept")
    (tmp_path / "link").symlink_to(precious)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "dangling"):
        with pytest.raises(OutputError, match="exists already"):
            check_outputs([tmp_path / name], overwrite=False)
        write_output(tmp_path / name, b"new")
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == b"new"
    assert precious.read_bytes() == b"kept"
    assert not (tmp_path / "nowhere").exists()


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path: Path) -> None:
    def torn() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    (tmp_path / "a").write_bytes(b"earlier")
    with pytest.raises(KeyboardInterrupt):
        write_output(tmp_path / "a", torn())
    assert (tmp_path / "a").read_bytes() == b"earlier"
    assert names(tmp_path) == ["a"]


def test_folders_and_sockets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="it is a folder"):
        check_outputs([tmp_path], overwrite=True)
    with pytest.raises(OutputError, match="cannot be written"):
        write_output(tmp_path, b"")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written: "):
        write_output(tmp_path / "file" / "a", b"")


def test_devices_and_pipes_are_written_to(tmp_path: Path) -> None:
    check_outputs(["/dev/null"], overwrite=False, allow_streams=True)
    with pytest.raises(OutputError, match="/dev/null cannot be written: it is no regular file"):
        check_outputs(["/dev/null"], overwrite=True)
    write_output("/dev/null", b"content")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(OutputError, match="/dev/full cannot be written: No space left on device"):
        write_output("/dev/full", b"content")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_output(tmp_path / "pipe", b"content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
