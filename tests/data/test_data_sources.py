"""Downloads: checked before use, and nothing left behind when they fail."""

import gzip
import hashlib
import socket
from pathlib import Path

import pytest
from full_disk import no_file_above

from priorwise.data import DataError, MissingDataError
from priorwise.data.sources import Remote, cache_folder, fetch, places
from priorwise.storage import WriteError

CONTENT = bytes(range(256)) * 500
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_file_is_downloaded_and_checked(serve, folder):
    path = fetch(Remote(serve("/x", CONTENT), SHA256, "x.bin"), folder)
    assert path == folder / "x.bin"
    assert path.read_bytes() == CONTENT
    assert list(folder.iterdir()) == [path]


def test_a_packed_file_is_checked_after_unpacking(serve, folder):
    path = fetch(
        Remote(serve("/x.gz", gzip.compress(CONTENT)), SHA256, "x.bin", "gzip"), folder, show=False
    )
    assert path.read_bytes() == CONTENT
    assert list(folder.iterdir()) == [path]


def test_the_progress_bar_goes_to_standard_error(serve, folder, capsys):
    fetch(Remote(serve("/x", CONTENT), SHA256, "x.bin"), folder)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "x.bin" in shown.err
    fetch(Remote(serve("/x", CONTENT), SHA256, "x.bin"), folder, show=False)
    assert capsys.readouterr().err.strip() == ""


@pytest.mark.parametrize("packed", ["none", "gzip"])
def test_another_checksum_is_refused_and_nothing_is_left(serve, folder, packed):
    body = gzip.compress(CONTENT + b"!") if packed == "gzip" else CONTENT + b"!"
    with pytest.raises(DataError, match=f"expected SHA-256 {SHA256} for x.bin; got .*deleted"):
        fetch(Remote(serve("/x", body), SHA256, "x.bin", packed), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_page_that_is_not_there_leaves_nothing(serve, folder, status):
    with pytest.raises(MissingDataError, match=f"could not download http://127.0.0.1.*{status}"):
        fetch(Remote(serve("/x", b"", status), SHA256, "x.bin"), folder)
    assert list(folder.iterdir()) == []


def test_a_connection_that_breaks_off_leaves_nothing(serve, folder):
    with pytest.raises(MissingDataError, match="could not download"):
        fetch(Remote(serve("/x", CONTENT[:1000], announced=len(CONTENT)), SHA256, "x.bin"), folder)
    assert list(folder.iterdir()) == []


def test_a_server_that_does_not_answer_leaves_nothing(serve, folder):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(MissingDataError, match="could not download"):
        fetch(Remote(f"http://127.0.0.1:{port}/x", SHA256, "x.bin"), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("body", [CONTENT, gzip.compress(CONTENT)[:300], b""])
def test_what_does_not_unpack_leaves_nothing(serve, folder, body):
    with pytest.raises(DataError, match=r"does not unpack|expected SHA-256"):
        fetch(Remote(serve("/x", body), SHA256, "x.bin", "gzip"), folder)
    assert list(folder.iterdir()) == []


def test_a_failed_download_leaves_an_older_file_alone(serve, folder):
    folder.mkdir()
    (folder / "x.bin").write_bytes(b"older")
    with pytest.raises(MissingDataError):
        fetch(Remote(serve("/x", b"", 404), SHA256, "x.bin"), folder)
    assert (folder / "x.bin").read_bytes() == b"older"


def test_a_full_disk_is_told_as_one(serve, folder):
    """Fault: "could not download", where the file came and found no room."""
    remote = Remote(serve("/x", CONTENT), SHA256, "x.bin")
    packed = Remote(serve("/x.gz", gzip.compress(CONTENT)), SHA256, "x.bin", "gzip")
    for each in (remote, packed):
        with (
            no_file_above(5_000),
            pytest.raises(WriteError, match=r"could not write .*x\.bin \(File too large\)"),
        ):
            fetch(each, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "abc"}, "expected `sha256` as 64"),
        ({"sha256": SHA256.upper()}, "expected `sha256` as 64"),
        ({"packed": "zip"}, "expected `packed` as 'none' or 'gzip'"),
        ({"url": "file:///etc/hostname"}, "expected an http or https `url`"),
    ],
)
def test_remotes_that_cannot_be_checked_or_fetched_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Remote(**{"url": "https://example.org/x", "sha256": SHA256, "filename": "x", **changes})


def test_places_in_their_order(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIORWISE_DATA", "~/data")
    monkeypatch.setenv("PRIORWISE_CACHE", str(tmp_path))
    assert places("mnist") == [Path("~/data/mnist.npz").expanduser(), tmp_path / "mnist.npz"]
    monkeypatch.delenv("PRIORWISE_DATA")
    assert places("mnist") == [tmp_path / "mnist.npz"]
    monkeypatch.delenv("PRIORWISE_CACHE")
    assert cache_folder().is_absolute()
    assert "priorwise" in str(cache_folder())
