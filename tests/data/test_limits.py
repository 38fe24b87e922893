"""Bounds on what is unpacked, downloaded and opened: a small file that would become gigabytes is refused."""

import bz2
import gzip
import io
import lzma
import os
import resource
import socket
import subprocess
import sys
import zipfile

import numpy as np
import polars as pl
import pytest
import zstandard
from scipy import sparse

from hyvae.data import limits, read
from hyvae.data.limits import parse_size, size_limit
from hyvae.errors import ConfigError, DataError

ROWS = b"user,item,rating\n" + b"".join(b"%d,%d,3\n" % (row, row) for row in range(2000))


def zipped(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ratings.csv", content)
    return buffer.getvalue()


PACKERS = {
    "gz": gzip.compress,
    "zst": zstandard.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": zipped,
}


def refused(path, **options):
    with pytest.raises(DataError, match=r"holds more than .*; if you trust it, .* max_size='64G'") as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", PACKERS)
class TestUnpacking:
    @pytest.fixture
    def path(self, tmp_path, kind):
        path = tmp_path / ("ratings.zip" if kind == "zip" else f"ratings.csv.{kind}")
        path.write_bytes(PACKERS[kind](ROWS))
        return path

    def test_a_limit_of_the_callers(self, path, kind):
        assert len(read(path, max_size=len(ROWS))) == 2000
        refused(path, max_size=len(ROWS) - 1)

    def test_what_grows_like_a_bomb(self, path, kind, monkeypatch):
        monkeypatch.setattr(limits, "SMALL_SIZE", 1 << 16)
        assert len(read(path)) == 2000
        path.write_bytes(PACKERS[kind](ROWS + b"\n" * (1 << 22)))
        refused(path)
        # whoever names a limit has looked
        assert len(read(path, max_size="5M")) == 2000

    def test_many_pieces(self, path, kind):
        """Frames, members and streams may follow each other in one file."""
        if kind != "zip":
            path.write_bytes(PACKERS[kind](ROWS[:5000]) + PACKERS[kind](ROWS[5000:]))
            assert len(read(path)) == 2000
            refused(path, max_size=len(ROWS) - 1)


class TestOtherKinds:
    def test_a_plain_file(self, tmp_path):
        path = tmp_path / "ratings.csv"
        path.write_bytes(ROWS)
        refused(path, max_size="10K")
        with path.open("r+b") as file:
            file.truncate(limits.DEFAULT_SIZE + 1)  # a hole, which takes no room on the disk
        refused(path)

    @pytest.mark.parametrize("without_pyarrow", [False, True])
    def test_rows_of_parquet_that_take_no_room(self, tmp_path, without_pyarrow, monkeypatch):
        if without_pyarrow:
            monkeypatch.setattr("hyvae.data.columnar._pyarrow", lambda: None)
        n_rows = limits.SMALL_SIZE // 24 + 1
        path = tmp_path / "ratings.parquet"
        one = pl.lit(1).repeat_by(n_rows).explode()
        pl.select(user=one, item=one, rating=one).write_parquet(path, compression="zstd")
        assert path.stat().st_size < 1 << 20
        refused(path)

    @pytest.mark.parametrize("ending", ["parquet", "arrow"])
    def test_a_long_text_that_many_rows_repeat(self, tmp_path, ending):
        pytest.importorskip("pyarrow")
        path = tmp_path / f"ratings.{ending}"
        frame = pl.DataFrame({"user": ["u" * 1000] * 2000, "item": range(2000), "rating": [1.0] * 2000})
        if ending == "parquet":
            frame.write_parquet(path)
        else:
            frame.with_columns(pl.col("user").cast(pl.Categorical)).write_ipc(path)
        assert path.stat().st_size < 1 << 17
        refused(path, max_size="1M")
        assert len(read(path)) == 2000

    def test_a_matrix(self, tmp_path):
        path = tmp_path / "ratings.npz"
        sparse.save_npz(path, sparse.coo_array(np.ones((300, 300))))
        refused(path, max_size="100K")
        assert len(read(path)) == 90_000

    def test_hdf5(self, tmp_path):
        import h5py

        path = tmp_path / "ratings.mat"
        with h5py.File(path, "w") as file:
            for name in ("M", "Otraining", "Otest"):
                file.create_dataset(name, (10_000, 10_000), "f4", compression="gzip")
        refused(path)

    def test_an_address(self, tmp_path, monkeypatch):
        path = tmp_path / "ratings.csv.gz"
        path.write_bytes(gzip.compress(ROWS))
        asked = {}
        monkeypatch.setattr("hyvae.data.readers.fetch_url", lambda _, **options: asked.update(options) or path)
        assert len(read("https://host/ratings.csv.gz", max_size="1M")) == 2000
        assert asked == {"max_size": 1 << 20}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no fifos here")
class TestNotFiles:
    def test_a_fifo(self, tmp_path):
        os.mkfifo(tmp_path / "ratings.csv")
        with pytest.raises(DataError, match=r"ratings\.csv: a pipe, not a file; give '-'"):
            read(tmp_path / "ratings.csv")

    @pytest.mark.parametrize("name", ["ratings.csv", "ratings.csv.gz", "ratings.parquet", "ratings"])
    def test_a_device(self, tmp_path, name):
        (tmp_path / name).symlink_to("/dev/zero")
        with pytest.raises(DataError, match="a device, not a file; name a file"):
            read(tmp_path / name)

    def test_a_socket(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # a socket's path may not be long
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("ratings.csv")
            with pytest.raises(DataError, match="a socket, not a file"):
                read("ratings.csv")

    def test_a_fifo_among_parts(self, tmp_path):
        os.mkfifo(tmp_path / "part.parquet")
        with pytest.raises(DataError, match="a pipe, not a file"):
            read(tmp_path)


class TestSizes:
    @pytest.mark.parametrize(
        ("size", "n_bytes"),
        [(5, 5), ("5", 5), ("1k", 1024), ("500M", 500 << 20), ("16 GiB", 16 << 30), ("2TB", 2 << 40)],
    )
    def test_forms(self, size, n_bytes):
        assert parse_size(size) == n_bytes

    @pytest.mark.parametrize("size", [0, -1, "", "G", "1.5G", "1X", True, "0", "٥"])
    def test_no_sizes(self, size):
        with pytest.raises(ConfigError, match="max_size takes bytes, or a size such as '500M'"):
            read("nothing.csv", max_size=size)

    def test_defaults(self):
        assert size_limit(None) == 8 << 30
        assert size_limit(None, 1000) == 256 << 20
        assert size_limit(None, 10 << 20) == 2000 << 20
        assert size_limit(None, 10 << 30) == 8 << 30
        assert size_limit(7, 10 << 30) == 7


@pytest.mark.integration
def test_six_gibibytes_take_little_memory(tmp_path):
    """As found: 197 kB became 6 GiB; here with 4 GB of address space, which the libraries alone fill by half."""
    path = tmp_path / "ratings.csv.zst"
    path.write_bytes(zstandard.compress(bytes(1 << 24)) * 384)
    assert path.stat().st_size < 1 << 19

    def bounded():
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    command = [sys.executable, "-c", f"from hyvae.data import read; read({str(path)!r})"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=bounded, env=environment, check=False)
    assert done.returncode == 1
    assert "DataError" in done.stderr
    assert "holds more than" in done.stderr
