"""Files and folders written whole: the old or the new one, no left-overs, and writers that live are left alone."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hyvae import BiasModel, Recommender, files
from hyvae.files import cannot_be_written, held, replace_folder, staged_folder, written_whole


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def write(path, text, fails=None):
    with written_whole(path) as part:
        part.write_text(text)
        if fails is not None:
            raise fails


def write_folder(target, text, fails=None):
    with staged_folder(target) as staging:
        (staging / "a").write_text(text)
        if fails is not None:
            raise fails
        (staging / "b").write_text(text)
        replace_folder(staging, target)


def content(target):
    return (target / "a").read_text() + (target / "b").read_text()


class TestFile:
    def test_a_file_takes_the_place_of_the_old_one(self, tmp_path):
        for text in ("old and longer", "new"):
            write(tmp_path / "file", text)
            assert (tmp_path / "file").read_text() == text
        assert names(tmp_path) == ["file"]

    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
    def test_the_old_one_stays_when_writing_fails(self, error, tmp_path):
        write(tmp_path / "file", "old")
        with pytest.raises(type(error)):
            write(tmp_path / "file", "new", error)
        assert (tmp_path / "file").read_text() == "old"
        assert names(tmp_path) == ["file"]

    def test_what_a_killed_writer_left_is_overwritten(self, tmp_path):
        (tmp_path / "file.part").write_text("a long left-over of a killed writer")
        write(tmp_path / "file", "new")
        assert (tmp_path / "file").read_text() == "new"
        assert names(tmp_path) == ["file"]

    def test_a_second_writer_is_refused_and_harms_nothing(self, tmp_path):
        with written_whole(tmp_path / "file") as part:
            part.write_text("first")
            with pytest.raises(OSError, match="another training or command is writing it"):
                write(tmp_path / "file", "second")
        assert (tmp_path / "file").read_text() == "first"

    def test_others_may_read_it(self, tmp_path):
        before = os.umask(0o022)
        try:
            write(tmp_path / "file", "x")
        finally:
            os.umask(before)
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


@pytest.fixture(params=["exchange", "two renames"])
def way(request, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    return request.param


class TestFolder:
    def test_a_folder_takes_the_place_of_the_old_one(self, way, tmp_path):
        for text in "123":
            write_folder(tmp_path / "run", text)
            assert content(tmp_path / "run") == text * 2
        assert names(tmp_path) == ["run"]

    def test_an_empty_folder_is_replaced(self, way, tmp_path):
        (tmp_path / "run").mkdir()
        write_folder(tmp_path / "run", "x")
        assert content(tmp_path / "run") == "xx"

    def test_parents_are_made(self, tmp_path):
        write_folder(tmp_path / "a" / "b" / "run", "x")
        assert content(tmp_path / "a" / "b" / "run") == "xx"

    def test_the_old_one_stays_when_writing_fails(self, way, tmp_path):
        write_folder(tmp_path / "run", "1")
        with pytest.raises(KeyboardInterrupt):
            write_folder(tmp_path / "run", "2", KeyboardInterrupt())
        assert content(tmp_path / "run") == "11"
        assert names(tmp_path) == ["run"]

    def test_the_old_one_stays_when_the_second_rename_fails(self, tmp_path, monkeypatch):
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
        write_folder(tmp_path / "run", "1")
        rename, calls = os.rename, []

        def fail_at_the_third(source, target):
            calls.append(target)
            if len(calls) == 3:
                raise OSError(errno.EIO, "Input/output error")
            rename(source, target)

        monkeypatch.setattr(os, "rename", fail_at_the_third)
        with pytest.raises(OSError, match="Input/output"):
            write_folder(tmp_path / "run", "2")
        assert len(calls) == 4
        assert content(tmp_path / "run") == "11"
        assert names(tmp_path) == ["run"]

    def test_a_reader_always_finds_a_folder(self, tmp_path):
        for one in ("a", "b"):
            (tmp_path / one).mkdir()
        if not files._exchange(tmp_path / "a", tmp_path / "b"):
            pytest.skip("this system, or its file system, cannot exchange two names")
        target, done, missing = tmp_path / "run", threading.Event(), []
        write_folder(target, "0")

        def look():
            while not done.is_set():
                if not target.exists():
                    missing.append(1)

        watcher = threading.Thread(target=look)
        watcher.start()
        for number in range(100):
            write_folder(target, str(number))
        done.set()
        watcher.join()
        assert not missing


@pytest.mark.skipif(files.fcntl is None, reason="no locks on this system")
class TestHeld:
    HOLDER = (
        "import sys, time; from pathlib import Path; from hyvae.files import held\n"
        "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )

    def test_a_second_one_is_refused_by_whatever_name_until_the_first_ends(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        with held(tmp_path / "real"):
            for name in ("real", "link", "real/../real"):
                with pytest.raises(OSError, match="another training or command") as refused, held(tmp_path / name):
                    pass
                assert refused.value.errno == errno.EBUSY
        with held(tmp_path / "link"):
            pass
        assert names(tmp_path) == ["link", "real"]

    def test_other_places_are_free_and_parents_are_made(self, tmp_path):
        with held(tmp_path / "a" / "run"), held(tmp_path / "a" / "run2"):
            assert names(tmp_path / "a") == [".run.lock", ".run2.lock"]
        assert names(tmp_path) == []

    def test_folders_with_something_in_them_stay(self, tmp_path):
        with held(tmp_path / "a" / "b" / "run"):
            (tmp_path / "a" / "b" / "run").touch()
        assert names(tmp_path / "a" / "b") == ["run"]

    def test_it_ends_with_an_error(self, tmp_path):
        with pytest.raises(KeyboardInterrupt), held(tmp_path / "run"):
            raise KeyboardInterrupt
        assert names(tmp_path) == []

    def test_who_opened_the_lock_before_it_was_removed_does_not_hold_it(self, tmp_path, monkeypatch):
        lock, open_ = files._lock, []

        def removed_in_between(descriptor):
            if not open_:
                (tmp_path / ".run.lock").unlink()
            open_.append(descriptor)
            return lock(descriptor)

        monkeypatch.setattr(files, "_lock", removed_in_between)
        with held(tmp_path / "run"):
            assert len(open_) == 2
            assert os.path.samestat(os.fstat(open_[1]), (tmp_path / ".run.lock").stat())

    @pytest.mark.integration
    def test_a_killed_holder_holds_nothing(self, tmp_path):
        holder = subprocess.Popen(
            [sys.executable, "-c", self.HOLDER, tmp_path / "run"], stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(OSError, match="another training"), held(tmp_path / "run"):
                pass
        finally:
            holder.kill()
            holder.wait()
            holder.stdout.close()
        with held(tmp_path / "run"):
            pass

    @pytest.mark.integration
    def test_a_forked_child_does_not_keep_it(self, tmp_path):
        (looked, look), (ready, say) = os.pipe(), os.pipe()
        with held(tmp_path / "run"):
            child = os.fork()
            if not child:
                os.write(say, b"1")
                os.close(look)
                os.read(looked, 1)  # until the parent has looked
                os._exit(0)
            os.read(ready, 1)
            # as a killed parent leaves it: the lock file stays, and its descriptor closes
            (descriptor,) = files._held
            copy = os.dup2(os.open(os.devnull, os.O_RDONLY), descriptor)
            try:
                with held(tmp_path / "run"):
                    pass
            finally:
                os.close(look)
                os.waitpid(child, 0)
                for end in (looked, ready, say):
                    os.close(end)
            assert copy == descriptor


class TestLeftovers:
    WRITER = (
        "import sys, time; from pathlib import Path; from hyvae.files import staged_folder\n"
        "with staged_folder(Path(sys.argv[1])) as staging:\n"
        "    (staging / 'a').write_text('half'); print(staging.name, flush=True); time.sleep(600)"
    )

    @pytest.mark.skipif(files.fcntl is None, reason="no locks on this system")
    def test_those_of_a_killed_writer_go_and_those_of_a_living_one_stay(self, tmp_path):
        target = tmp_path / "run"
        writer = subprocess.Popen([sys.executable, "-c", self.WRITER, target], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        staging = writer.stdout.readline().strip()
        try:
            write_folder(target, "1")
            assert names(tmp_path) == sorted([staging, "run"])
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        assert (tmp_path / staging / "a").read_text() == "half"
        write_folder(target, "2")
        assert names(tmp_path) == ["run"]
        assert content(target) == "22"

    def test_only_what_has_the_name_of_a_left_over_goes(self, tmp_path):
        mine = [".run.notes.part", ".run.0123abcd", ".run.0123abcd.part.old.bak", ".runs.0123abcd.part", "run.part"]
        for name in [*mine, ".run.0123abcd.part"]:
            (tmp_path / name).mkdir()
        write_folder(tmp_path / "run", "1")
        assert names(tmp_path) == sorted([*mine, "run"])

    def test_an_old_one_that_was_moved_away_comes_back(self, tmp_path):
        # as a kill between the two renames leaves it
        write_folder(tmp_path / "run", "1")
        os.rename(tmp_path / "run", tmp_path / ".run.0123abcd.part.old")
        with pytest.raises(KeyboardInterrupt):
            write_folder(tmp_path / "run", "2", KeyboardInterrupt())
        assert content(tmp_path / "run") == "11"
        assert names(tmp_path) == ["run"]

    def test_an_old_one_that_was_replaced_goes(self, tmp_path):
        write_folder(tmp_path / "run", "2")
        write_folder(tmp_path / ".run.0123abcd.part.old", "1")
        write_folder(tmp_path / "run", "3")
        assert content(tmp_path / "run") == "33"
        assert names(tmp_path) == ["run"]


class TestMessage:
    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free some space"),
            (OSError(errno.EROFS, "Read-only file system"), "Read-only file system; choose a place where you may"),
            (OSError(errno.EFBIG, "File too large"), "File too large; raise the limit"),
            (OSError(errno.EBUSY, "another is writing it"), "another is writing it; wait until that ends, or"),
            (OSError(errno.EIO, "Input/output error"), "Input/output error; mend that or choose another place"),
            (ValueError("I/O error: No space left on device (os error 28)"), "No space left on device; free some"),
            (OSError('Read-only file system (os error 30): "/x"'), "Read-only file system; choose a place"),
            (ValueError("two\nlines"), "two; mend that"),
        ],
    )
    def test_it_is_one_line_with_the_reason_and_the_mend(self, error, says):
        message = cannot_be_written(Path("run"), error)
        assert message.startswith(f"run cannot be written: {says}")
        assert "\n" not in message


def test_a_run_is_written_through_a_link(parts, tmp_path):
    model = BiasModel().fit(parts[0])
    model.save(tmp_path / "disk" / "run")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "run")
    model.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert Recommender.load(tmp_path / "disk" / "run").name == "bias"
    assert names(tmp_path / "disk") == ["run"]
