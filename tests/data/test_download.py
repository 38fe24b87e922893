"""Downloads, against a server on this machine that misbehaves on demand."""

import contextlib
import gzip
import hashlib
import io
import os
import socket
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hyvae.data import DATASETS, NamedDataset, download, find_local, load
from hyvae.data.download import cache_folder, discard, fetch, fetch_url
from hyvae.errors import DataError

RATINGS = "userId,movieId,rating,timestamp\n1,10,3,7\n1,20,4.5,8\n2,10,5,9\n"
MOVIES = "movieId,title,genres\n10,Toy Story (1995),\n20,Heat (1995),\n30,Unseen (1999),\n"

WAITS = download.WAITS


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"tiny/{name}.csv", content)
    return buffer.getvalue()


GOOD = zipped(ratings=RATINGS, movies=MOVIES)
WRONG = zipped(ratings=RATINGS.replace("2,10,5,9\n", ""), movies=MOVIES)


class Server:
    """Gives its answers in turn, the last one for ever.

    An answer is content, a status, or a function of the request handler.
    """

    def __init__(self):
        self.answers = [GOOD]
        self.requests = []
        self.stopping = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.path)
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                if callable(answer):
                    answer(self)
                elif isinstance(answer, int):
                    self.send_error(answer)
                else:
                    give(answer)(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.stopping.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def silent(self, handler):
        self.stopping.wait(10)


def give(content, length=None, **headers):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def cut(handler):
    give(GOOD[: len(GOOD) // 2], length=len(GOOD))(handler)


def hang_up(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)


def cut_chunks(handler):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"400\r\nonly this")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, no data folder, and no waiting."""
    monkeypatch.setenv("HYVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HYVAE_DATA", raising=False)
    monkeypatch.setattr(download, "WAITS", (0.0, 0.0))
    return tmp_path / "cache"


@pytest.fixture
def tiny(server, monkeypatch):
    """A data set that the server has, with its checksum."""
    dataset = NamedDataset(
        name="tiny",
        title="Tiny",
        files=("tiny.zip", "tiny"),
        scale=(0.5, 5.0),
        url=f"{server.url}/datasets/tiny.zip",
        licence="none",
        citation="none",
        ratings=3,
        users=2,
        items=3,
        checksum=f"md5:{hashlib.md5(GOOD).hexdigest()}",
    )
    monkeypatch.setitem(DATASETS, "tiny", dataset)
    return dataset


@pytest.fixture
def unsigned(tiny, monkeypatch):
    """The same without a checksum."""
    dataset = replace(tiny, checksum=None)
    monkeypatch.setitem(DATASETS, "tiny", dataset)
    return dataset


def content(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(reason, file="tiny.zip"):
    """`load` fails in one line that names the file, what happened and the mend."""
    with pytest.raises(DataError, match=reason) as caught:
        load("tiny")
    message = str(caught.value)
    assert file in message
    assert "\n" not in message
    url = DATASETS["tiny"].url
    assert f"try again, or get {url} yourself and put it into a folder as tiny.zip, with HYVAE_DATA set" in message


class TestWhereFrom:
    def test_downloaded_once(self, tiny, server, cache):
        for _ in range(2):
            assert load("tiny").titles.tolist() == ["Toy Story (1995)", "Heat (1995)", "Unseen (1999)"]
        assert server.requests == ["/datasets/tiny.zip"]
        assert content(cache) == ["tiny.zip"]
        assert load("tiny").scale == (0.5, 5.0)

    def test_data_folder_before_cache_before_network(self, tiny, server, cache, tmp_path, monkeypatch):
        assert find_local("tiny") == "would be downloaded from 127.0.0.1"
        cache.mkdir()
        (cache / "tiny.zip").write_bytes(GOOD)
        assert find_local("tiny") == str(cache / "tiny.zip")
        assert len(load("tiny")) == 3
        # were the cache read, it would be found out
        (cache / "tiny.zip").write_bytes(WRONG)
        own = tmp_path / "own"
        own.mkdir()
        (own / "tiny.zip").write_bytes(GOOD)
        monkeypatch.setenv("HYVAE_DATA", str(own))
        assert find_local("tiny") == str(own / "tiny.zip")
        assert len(load("tiny")) == 3
        assert server.requests == []

    def test_a_data_folder_without_it(self, tiny, server, tmp_path, monkeypatch):
        monkeypatch.setenv("HYVAE_DATA", str(tmp_path))
        assert len(load("tiny")) == 3
        assert len(server.requests) == 1

    def test_a_repacked_copy_needs_no_checksum(self, tiny, server, tmp_path, monkeypatch):
        (tmp_path / "tiny.zip").write_bytes(zipped(ratings=RATINGS, movies=MOVIES, notes="mine"))
        monkeypatch.setenv("HYVAE_DATA", str(tmp_path))
        assert len(load("tiny")) == 3

    def test_a_wrong_copy_of_the_users_own_is_left_alone(self, tiny, server, tmp_path, monkeypatch):
        (tmp_path / "tiny.zip").write_bytes(WRONG)
        monkeypatch.setenv("HYVAE_DATA", str(tmp_path))
        with pytest.raises(DataError, match=r"tiny\.zip: not tiny, for it holds 2 ratings.*get it again from http://"):
            load("tiny")
        assert (tmp_path / "tiny.zip").read_bytes() == WRONG
        assert server.requests == []

    def test_the_mend_names_the_data_folder(self, tiny, server, tmp_path, monkeypatch):
        monkeypatch.setenv("HYVAE_DATA", str(tmp_path))
        server.answers = [404]
        with pytest.raises(DataError) as caught:
            load("tiny")
        assert str(caught.value).endswith(f"put it into {tmp_path} as tiny.zip (HYVAE_DATA)")

    def test_the_cache_of_the_system(self, monkeypatch):
        monkeypatch.delenv("HYVAE_CACHE")
        assert "hyvae" in cache_folder().parts

    def test_a_home_in_the_cache_variable(self, monkeypatch):
        monkeypatch.setenv("HYVAE_CACHE", "~/data")
        assert "~" not in str(cache_folder())


class TestFailures:
    def test_cut_once(self, tiny, server, cache):
        server.answers = [cut, GOOD]
        assert len(load("tiny")) == 3
        assert len(server.requests) == 2
        assert content(cache) == ["tiny.zip"]

    @pytest.mark.parametrize("answer", [cut, hang_up, cut_chunks])
    def test_always_cut(self, unsigned, server, cache, answer):
        server.answers = [answer]
        refused("the download failed .the connection was cut before the end of the file")
        assert len(server.requests) == 3
        assert content(cache) == []

    def test_another_file_under_a_known_checksum(self, tiny, server, cache):
        server.answers = [WRONG]
        refused("the download is not the published file .its checksum is not md5:")
        # it arrived whole: more of the same would follow
        assert len(server.requests) == 1
        assert content(cache) == []

    def test_another_file_without_a_checksum(self, unsigned, server, cache):
        server.answers = [WRONG, GOOD]
        refused(r"holds 2 ratings \(published: 3\), 1 users \(published: 2\); tiny\.zip was removed from the cache")
        assert content(cache) == []
        assert len(load("tiny")) == 3

    def test_a_web_page_for_a_file(self, unsigned, server, cache):
        server.answers = [b"<html>Please log in</html>"]
        refused(r"not a readable zip file.*tiny\.zip was removed from the cache")
        assert content(cache) == []

    @pytest.mark.parametrize("damaged", [WRONG, b"no zip", GOOD[:-30], b""])
    def test_a_damaged_file_in_the_cache(self, tiny, server, cache, damaged):
        cache.mkdir()
        (cache / "tiny.zip").write_bytes(damaged)
        refused(r"tiny\.zip was removed from the cache; try again")
        assert server.requests == []
        assert len(load("tiny")) == 3

    @pytest.mark.parametrize(
        ("status", "reason", "tries"), [(404, "HTTP 404 Not Found", 1), (500, "HTTP 500 Internal Server Error", 3)]
    )
    def test_statuses(self, tiny, server, cache, status, reason, tries):
        server.answers = [status]
        refused(f"the download failed .{reason}")
        assert len(server.requests) == tries
        assert content(cache) == []

    def test_a_server_that_was_busy(self, tiny, server):
        server.answers = [503, 429, GOOD]
        assert len(load("tiny")) == 3

    def test_nothing_listens(self, tiny, cache, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        monkeypatch.setitem(DATASETS, "tiny", replace(tiny, url=f"http://127.0.0.1:{port}/tiny.zip"))
        refused("the download failed .connection refused")
        assert content(cache) == []

    def test_no_such_host(self, tiny, cache, monkeypatch):
        monkeypatch.setenv("NO_PROXY", "*")
        # a name that RFC 6761 reserves for not existing
        monkeypatch.setitem(DATASETS, "tiny", replace(tiny, url="http://files.invalid/tiny.zip"))

        def lookup(*_, **__):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        refused("the download failed .name or service not known")

    def test_silence(self, tiny, server, cache, monkeypatch):
        monkeypatch.setattr(download, "TIMEOUT", 0.1)
        server.answers = [server.silent]
        refused("the download failed .no answer within 0.1 s")
        assert len(server.requests) == 3
        assert content(cache) == []

    def test_silence_half_way(self, tiny, server, cache, monkeypatch):
        monkeypatch.setattr(download, "TIMEOUT", 0.1)

        def stop(handler):
            cut(handler)
            server.silent(handler)

        server.answers = [stop]
        refused("the download failed .no answer within 0.1 s")
        assert content(cache) == []

    def test_an_answer_that_is_no_http(self, tiny, server, cache):
        server.answers = [give(GOOD, length="many")]
        refused("the download failed .an answer that is not understood")
        assert content(cache) == []

    @pytest.mark.parametrize("told", [True, False])
    def test_an_answer_without_an_end(self, server, cache, told):
        sent = []

        def endless(handler):
            handler.send_response(200)
            if told:
                handler.send_header("Content-Length", str(1 << 50))
            handler.end_headers()
            with contextlib.suppress(OSError):  # whom it is sent to hangs up
                while len(sent) < 1000:
                    sent.append(handler.wfile.write(bytes(1 << 16)))

        server.answers = [endless]
        with pytest.raises(DataError, match=r"endless\.csv: holds more than 1 MiB; if you trust it") as caught:
            fetch_url(f"{server.url}/endless.csv", max_size=1 << 20)
        assert "\n" not in str(caught.value)
        assert len(server.requests) == 1
        assert len(sent) < 1000
        assert content(cache) == []

    def test_an_answer_that_unpacks_on_arrival(self, server, cache):
        server.answers = [give(gzip.compress(bytes(1 << 24)), Content_Encoding="gzip")]
        with pytest.raises(DataError, match="holds more than 1 MiB"):
            fetch_url(f"{server.url}/bomb.csv", max_size=1 << 20)
        assert content(cache) == []

    def test_a_file_in_the_place_of_the_cache(self, tiny, server, cache):
        cache.write_text("in the way")
        refused("the download cannot be written there .* set HYVAE_CACHE to one that can be written", file=str(cache))
        assert server.requests == []

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
    def test_a_cache_that_may_not_be_written(self, tiny, server, cache):
        cache.mkdir(mode=0o500)
        refused(r"the download cannot be written there \(permission denied\)", file=str(cache))

    def test_a_full_disk(self, tiny, server, cache, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(download._Bar, "update", full)
        refused("the download cannot be written there .no space left on device", file=str(cache))
        assert content(cache) == []

    def test_control_c(self, tiny, server, cache, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(download._Bar, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load("tiny")
        assert content(cache) == []

    def test_a_damaged_file_that_cannot_be_removed(self, tmp_path):
        (tmp_path / "folder").mkdir()
        assert discard(tmp_path / "folder").startswith(f"remove {tmp_path / 'folder'} yourself")

    def test_a_file_that_may_not_be_read_is_not_removed(self, tiny, server, cache, monkeypatch):
        def deny(path, options):
            raise DataError(f"{path}: cannot be opened") from PermissionError(13, "Permission denied")

        cache.mkdir()
        (cache / "tiny.zip").write_bytes(GOOD)
        monkeypatch.setattr("hyvae.data.named.read_path", deny)
        with pytest.raises(DataError, match=r"cannot be opened$"):
            load("tiny")
        assert content(cache) == ["tiny.zip"]


class TestWaits:
    def test_they_grow(self, tiny, server, monkeypatch):
        slept = []
        monkeypatch.setattr(download, "WAITS", WAITS)
        monkeypatch.setattr(download.time, "sleep", slept.append)
        server.answers = [500]
        with pytest.raises(DataError):
            fetch(tiny.url, "tiny.zip", cache_folder(), mend="")
        assert slept == [1.0, 3.0]


class TestProgress:
    def test_shown(self, server, cache, capsys):
        fetch(server.url, "a.zip", cache, mend="", progress=True)
        shown = capsys.readouterr()
        assert "a.zip" in shown.err
        assert shown.out == ""

    def test_silent_where_nobody_watches(self, server, cache, capsys):
        fetch(server.url, "a.zip", cache, mend="")
        assert capsys.readouterr() == ("", "")


class TestFetchUrl:
    def test_keeps_the_name_and_is_asked_once(self, server, cache):
        url = f"{server.url}/data/my%20ratings.csv?version=2"
        server.answers = [RATINGS.encode()]
        path = fetch_url(url)
        assert path == fetch_url(url)
        assert path.name == "my ratings.csv"
        assert path.read_text() == RATINGS
        assert path.is_relative_to(cache)
        assert server.requests == ["/data/my%20ratings.csv?version=2"]

    def test_two_addresses_with_one_name(self, server):
        server.answers = [b"1", b"2"]
        paths = [fetch_url(f"{server.url}/{folder}/ratings.csv") for folder in "ab"]
        assert [path.read_bytes() for path in paths] == [b"1", b"2"]

    @pytest.mark.parametrize("path", ["/%2e%2e%2f%2e%2e%2fevil.csv", "/..%5c..%5cevil.csv", "/a%00b.csv"])
    def test_stays_inside_the_cache(self, server, cache, path):
        found = fetch_url(server.url + path).resolve()
        assert found.is_relative_to(cache.resolve())
        assert len(found.relative_to(cache.resolve()).parts) == 3

    def test_a_redirect(self, server):
        def redirect(handler):
            handler.send_response(302)
            handler.send_header("Location", "/elsewhere")
            handler.end_headers()

        server.answers = [redirect, b"there"]
        assert fetch_url(f"{server.url}/a.csv").read_bytes() == b"there"

    def test_a_gz_stays_one(self, server):
        packed = gzip.compress(RATINGS.encode())
        server.answers = [give(packed, Content_Encoding="gzip")]
        assert fetch_url(f"{server.url}/a.csv.gz").read_bytes() == packed

    def test_a_compressed_transport_is_undone(self, server):
        server.answers = [give(gzip.compress(b"plain"), Content_Encoding="gzip")]
        assert fetch_url(f"{server.url}/a.csv").read_bytes() == b"plain"

    def test_a_long_name_keeps_its_ending(self, server):
        assert fetch_url(f"{server.url}/{'x' * 300}.csv.gz").name.endswith("xx.csv.gz")

    @pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
    def test_others_may_read_a_shared_cache(self, server):
        assert fetch_url(f"{server.url}/a.csv").stat().st_mode & 0o777 == 0o644

    @pytest.mark.parametrize(
        "url", ["ftp://host/a.csv", "http:///a.csv", "https://host", "https://host/", "http://host/..", "http://[x/a"]
    )
    def test_not_an_address_of_a_file(self, url):
        with pytest.raises(DataError, match=r"not (the|an) address") as caught:
            fetch_url(url)
        assert str(caught.value).startswith(url)

    def test_a_failure(self, server, cache):
        server.answers = [404]
        with pytest.raises(DataError, match=r"^a\.csv: the download failed \(HTTP 404 Not Found\); try again, or get"):
            fetch_url(f"{server.url}/a.csv")
        assert content(cache) == []
