"""Trainings that are killed, interrupted, or find no room: real processes, and the same weights in the end.

Importing hyvae takes seconds, so most processes are forks of one that has imported it and done nothing else.
"""

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from hyvae.cli import main
from hyvae.ratings import Ratings
from hyvae.runs import read_run

SMALL = [
    f"--set={key}"
    for key in ("hidden=16", "latent=8", "deep_layers=8", "batch_users=10", "validate_every=5", "patience=none")
]
EPOCHS = 60
STEPS = EPOCHS * 4  # 40 users
TRAIN = ["train", "ratings.csv", "--out", "run", *SMALL, f"--set=epochs={EPOCHS}", "--threads", "1"]
EACH_STEP = ["--checkpoint-every", "0"]

# a line of JSON in: {"shell": command}, or a command of hyvae to run in a fork; out: the fork's pid, then its exit code
SERVER = """
import json, os, signal, subprocess, sys
import sklearn.model_selection, torch._dynamo, hyvae.cli.app
from hyvae.cli import main
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    if "shell" in order:
        print(subprocess.run(order["shell"], shell=True).returncode, flush=True)
        continue
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(order["folder"])
        for number, name in ((0, "/dev/null"), (1, order["out"]), (2, order["err"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        sys.argv, code = ["hyvae", *order["arguments"]], 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks into processes as Linux lets one")


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Server:
    """A process that has imported hyvae, and forks for each command."""

    def __init__(self, notes: Path, *wrapper: str) -> None:
        self.notes = notes
        command = [*wrapper, sys.executable, "-c", SERVER]
        # threads that spin would take the cores from each other
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.answer() == "ready", "the process that imports hyvae did not start"

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def order(self, **order: object) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def shell(self, command: str) -> None:
        assert self.order(shell=command) == "0", command

    def start(self, folder: Path, *arguments: str) -> int:
        out, err = self.notes / "out", self.notes / "err"
        return int(self.order(folder=str(folder), arguments=arguments, out=str(out), err=str(err)))

    def end(self) -> Ended:
        code = int(self.answer())
        lines = (self.notes / "err").read_text().splitlines(keepends=True)
        # models this small learn little
        told = "".join(line for line in lines if "is no better than the bias model" not in line)
        return Ended(code, (self.notes / "out").read_text(), told)

    def run(self, folder: Path, *arguments: str, code: int = 0) -> Ended:
        self.start(folder, *arguments)
        ended = self.end()
        assert ended.code == code, ended
        return ended

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process.wait()


def wait_for(condition, seconds=60.0):
    """Whether something came to be, asked about as often as can be: a checkpoint is written in a millisecond."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.0002)
    return False


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("notes"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def ratings_file(tmp_path_factory):
    rng = np.random.default_rng(0)
    pairs = rng.choice(40 * 30, 500, replace=False)
    file = tmp_path_factory.mktemp("data") / "ratings.csv"
    pl.DataFrame({"user": pairs // 30, "item": pairs % 30, "rating": rng.integers(1, 6, 500)}).write_csv(file)
    return file


@pytest.fixture(scope="module")
def expected(server, ratings_file):
    """The weights of a training that nothing stopped."""
    server.run(ratings_file.parent, *TRAIN)
    assert names(ratings_file.parent) == ["ratings.csv", "run"]
    return (ratings_file.parent / "run" / "weights.safetensors").read_bytes()


@pytest.fixture
def folder(ratings_file, tmp_path):
    shutil.copy(ratings_file, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def half_checkpoint(server, ratings_file, tmp_path_factory):
    """The checkpoint of half a training, which was killed."""
    folder = tmp_path_factory.mktemp("half")
    shutil.copy(ratings_file, folder)
    pid = server.start(folder, *TRAIN, *EACH_STEP)
    assert wait_for(lambda: (folder / "run.checkpoint").exists() and step_of(folder) >= STEPS // 2)
    os.kill(pid, signal.SIGKILL)
    server.end()
    return folder / "run.checkpoint"


@pytest.fixture
def half(folder, half_checkpoint):
    """A folder with that checkpoint."""
    shutil.copy(half_checkpoint, folder)
    return folder


def is_training(pid):
    # only training catches SIGTERM
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def assert_finished(folder, expected):
    assert names(folder) == ["ratings.csv", "run"]
    assert (folder / "run" / "weights.safetensors").read_bytes() == expected
    assert read_run(folder / "run").curves[-1]["steps"] == STEPS


def step_of(folder):
    return place_of(folder)["step"]


def place_of(folder):
    # by hand and through one opening: safetensors opens a file twice, between which another may take its place
    with (folder / "run.checkpoint").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return json.loads(header["__metadata__"]["checkpoint"])["place"]


# -- kill -9 --------------------------------------------------------------------------------------------


class TestKilled:
    def kill_when(self, server, folder, condition, every=EACH_STEP):
        """Kill a training, started with --resume, when something comes to be; whether it was still there."""
        pid = server.start(folder, *TRAIN, *every, "--resume")
        gone = partial(self.is_gone, pid)
        wait_for(lambda: condition() or gone())
        os.kill(pid, signal.SIGKILL)
        return server.end().code == -signal.SIGKILL

    def is_gone(self, pid):
        # a process that has ended waits for its parent, which is not us, as a zombie
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    def test_at_any_moment_and_gone_on_from(self, server, folder, expected):
        # an older run of something else: it must stay readable until the new one is there
        server.run(folder, "train", "ratings.csv", "--out", "run", "--model", "bias")
        draw, kills, steps = random.Random(0), [], [0]
        checkpoint, part = folder / "run.checkpoint", folder / "run.checkpoint.part"
        for kind in ("time", "time", "part", "step", "part", "step", "time", "part", "step", "part", "step", "run"):
            aim = steps[-1] + draw.randint(1, STEPS // 8)
            if kind == "time":
                moment = time.monotonic() + draw.uniform(0, 0.5)
                condition = partial(lambda moment: time.monotonic() > moment, moment)
            elif kind == "part":
                before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
                condition = partial(self.writes_again, checkpoint, part, before)
            elif kind == "step":
                condition = partial(self.is_at, checkpoint, aim)
            else:
                condition = partial(self.writes_its_run, folder)
            if not self.kill_when(server, folder, condition):
                break
            kills.append(kind + " (inside a write)" * part.exists())
            assert read_run(folder / "run").config.model == "bias"
            steps.append(step_of(folder) if checkpoint.exists() else 0)
        assert len(kills) >= 10, (kills, steps)
        assert steps == sorted(steps)
        assert steps[-1] == STEPS, "the last kill is to be in the writing of the run"
        assert any("inside" in kind for kind in kills), kills
        server.run(folder, *TRAIN, *EACH_STEP, "--resume")
        assert_finished(folder, expected)

    def writes_again(self, checkpoint, part, before):
        return part.exists() and checkpoint.exists() and checkpoint.stat().st_mtime_ns != before

    def is_at(self, checkpoint, step):
        return checkpoint.exists() and step_of(checkpoint.parent) >= step

    def writes_its_run(self, folder, before=()):
        # beside its lock, and the empty folder that shows at the start that a run can be written
        return any(file.parent.name not in before for file in folder.glob(".run.*.part/*"))

    def test_a_run_that_is_being_written_leaves_nothing_or_all(self, server, half, expected):
        for _ in range(3):
            if not self.kill_when(server, half, partial(self.writes_its_run, half, os.listdir(half)), every=[]):
                break
            assert not (half / "run").exists() or read_run(half / "run")
        assert (half / "run.checkpoint").exists()
        server.run(half, *TRAIN, "--resume")
        assert_finished(half, expected)

    def test_between_the_run_and_the_end_of_its_checkpoint(self, server, half, expected, ratings_file):
        shutil.copytree(ratings_file.parent / "run", half / "run")
        server.run(half, *TRAIN, "--resume")
        assert_finished(half, expected)


# -- resuming -------------------------------------------------------------------------------------------


class TestResume:
    def test_it_says_where_it_goes_on(self, server, half, expected):
        step = step_of(half)
        ended = server.run(half, *TRAIN, "--resume")
        assert ended.err == f"note: going on from run.checkpoint at step {step}\n"
        assert_finished(half, expected)

    def test_another_thread_count_is_noted(self, server, half):
        ended = server.run(half, *TRAIN[:-1], "2", "--resume")
        note = "note: run.checkpoint: threads was 1 and is 2 now: the weights may differ in their last bits\n"
        assert ended.err.startswith(note)

    def test_a_complete_run_is_not_trained_again(self, server, folder, ratings_file, expected):
        shutil.copytree(ratings_file.parent / "run", folder / "run")
        before = (folder / "run" / "config.json").stat().st_mtime_ns
        ended = server.run(folder, *TRAIN, "--resume")
        assert ended.out.splitlines()[1] == "run is complete: it holds the run of this very training"
        printed = json.loads(server.run(folder, *TRAIN, "--resume", "--json").out)
        assert printed["metrics"] == json.loads((folder / "run" / "metrics.json").read_text())
        assert (folder / "run" / "config.json").stat().st_mtime_ns == before
        assert_finished(folder, expected)

    @pytest.mark.parametrize("other", [["--seed", "1"], ["--no-history"], ["--split-seed", "1"], ["--all"]])
    def test_a_complete_run_of_another_training_is_replaced(self, other, server, folder, ratings_file):
        shutil.copytree(ratings_file.parent / "run", folder / "run")
        assert "run written to run" in server.run(folder, *TRAIN, "--resume", *other).out

    def test_another_training_is_refused(self, server, half):
        ended = server.run(half, *TRAIN, "--resume", "--seed", "7", "--set=epochs=9", code=1)
        assert ended.err == (
            "error: run.checkpoint is of another training: seed was 0 and is 7 now; setting epochs was 60 and is 9 "
            "now; train as then, choose another place, or start afresh without --resume\n"
        )

    def test_a_damaged_checkpoint_is_refused(self, server, half):
        file = half / "run.checkpoint"
        file.write_bytes(file.read_bytes()[:-9])
        ended = server.run(half, *TRAIN, "--resume", code=1)
        assert ended.err.startswith("error: run.checkpoint is damaged: ")
        assert ended.err.endswith("; remove it and train from the start\n")
        assert ended.err.count("\n") == 1

    def test_without_resume_training_starts_afresh(self, server, half, expected):
        ended = server.run(half, *TRAIN)
        assert ended.err == "note: run.checkpoint is removed: training starts afresh, as --resume was not given\n"
        assert_finished(half, expected)


# -- Ctrl-C and SIGTERM ---------------------------------------------------------------------------------


class TestInterrupted:
    def test_the_installed_command_from_ctrl_c_to_the_end(self, folder, expected):
        command = [str(Path(sys.executable).with_name("hyvae")), *TRAIN, *EACH_STEP]
        start = partial(
            subprocess.Popen,
            cwd=folder,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        # what this process ignores, as in the background of some shells, its children would ignore
        signal.signal(signal.SIGINT, signal.default_int_handler)
        process = start(command)
        assert wait_for(lambda: (folder / "run.checkpoint").exists() or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        words = " ".join([*TRAIN, *EACH_STEP])
        assert err == f"stopped at step {step_of(folder)} of {STEPS}; go on with: hyvae {words} --resume\n"
        process = start([*command[: -len(EACH_STEP)], "--resume"])
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert_finished(folder, expected)

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_saves_and_stops(self, number, code, server, folder, expected):
        # no checkpoint is due, so there is one only because of the signal
        os.rename(folder / "ratings.csv", folder / "my ratings.csv")
        arguments = ["my ratings.csv" if word == "ratings.csv" else word for word in TRAIN]
        arguments[-2:] = ["--set=epochs=100000"]
        pid = server.start(folder, *arguments, "--resume")
        assert wait_for(partial(is_training, pid))
        os.kill(pid, number)
        ended = server.end()
        assert ended.code == code
        start = f"stopped at step {step_of(folder)} of 400000; go on with: hyvae train 'my ratings.csv' --out run "
        assert ended.err.startswith(start)
        assert ended.err.endswith(" --resume\n")
        assert ended.err.count("--resume") == ended.err.count("\n") == 1
        assert names(folder) == ["my ratings.csv", "run.checkpoint"]

    def test_a_second_ctrl_c_stops_at_once(self, server, folder):
        # small blocks make slow steps
        arguments = ["train", "movielens-small", "--out", "run", *SMALL[:3], "--set=block_users=1", *EACH_STEP]
        pid = server.start(folder, *arguments)
        assert wait_for(lambda: (folder / "run.checkpoint").exists() and place_of(folder)["epoch"] == 2)
        before = (folder / "run.checkpoint").read_bytes()
        # two that come while a call of C runs are one, and a long call may run: again, where it goes on
        with suppress(ProcessLookupError):
            for pause in (0.1, 1.0, 1.0):
                os.kill(pid, signal.SIGINT)
                time.sleep(pause)
        ended = server.end()
        assert (ended.code, ended.err) == (130, "stopped\n")
        assert (folder / "run.checkpoint").read_bytes() == before
        assert names(folder) == ["ratings.csv", "run.checkpoint"]

    def test_ctrl_c_elsewhere_says_one_line(self, folder, monkeypatch, capsys):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["hyvae", *TRAIN])
        monkeypatch.setattr(Ratings, "read", lambda *_, **__: signal.raise_signal(signal.SIGINT))
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 130
        assert capsys.readouterr() == ("", "stopped\n")


# -- no room, and no leave ------------------------------------------------------------------------------


class Disk(NamedTuple):
    """A small disk of its own, which only the server's processes have mounted."""

    server: Server
    mount: Path
    seen: Path


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    mount = tmp_path_factory.mktemp("disk")
    mounting = f"mount -t tmpfs -o size=4m,mode=777 tmpfs {mount}"
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on this system to make a small disk with")
    tried = subprocess.run(["unshare", "-rm", "sh", "-c", mounting], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no disk can be mounted here: {tried.stderr.strip()}")
    server = Server(tmp_path_factory.mktemp("notes"), "unshare", "-rm", "sh", "-c", f'{mounting} && exec "$@"', "sh")
    yield Disk(server, mount, Path(f"/proc/{server.process.pid}/root{mount}"))
    server.close()


@pytest.fixture
def disk(small_disk, ratings_file, half_checkpoint, expected):
    """The disk with an old run and the checkpoint of half a training on it."""
    server, mount, seen = small_disk
    shutil.copy(ratings_file, seen)
    server.run(mount, "train", "ratings.csv", "--out", "run", "--model", "bias")
    shutil.copy(half_checkpoint, seen)
    yield small_disk
    server.shell(f"mount -o remount,rw {mount} && rm -rf {mount}/* {mount}/.run*")


def everything(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def fill(folder, but):
    """Take all space of a disk but some."""
    free = shutil.disk_usage(folder).free
    (folder / "filler").write_bytes(bytes(free - but))


class TestNoRoom:
    def refused(self, disk, code, *arguments):
        before = everything(disk.seen)
        ended = disk.server.run(disk.mount, *TRAIN, *arguments, code=code)
        assert everything(disk.seen) == before
        assert names(disk.seen) == sorted({file.parts[0] for file in before})
        assert ended.err.count("\n") == ended.err.count("error: ") + ended.err.count("note: ")
        return ended.err.splitlines()[-1]

    def finishes(self, disk, expected):
        (disk.seen / "filler").unlink(missing_ok=True)
        disk.server.run(disk.mount, *TRAIN, "--resume")
        assert_finished(disk.seen, expected)

    def test_for_a_checkpoint(self, disk, expected):
        fill(disk.seen, but=8192)
        said = self.refused(disk, 1, "--resume", *EACH_STEP)
        assert said == (
            "error: run.checkpoint cannot be written: No space left on device; free some space and run again"
        )
        self.finishes(disk, expected)

    def test_for_the_run(self, disk, expected):
        fill(disk.seen, but=8192)
        said = self.refused(disk, 1, "--resume")
        assert said == "error: run cannot be written: No space left on device; free some space and run again"
        self.finishes(disk, expected)

    def test_for_a_table(self, disk):
        fill(disk.seen, but=0)
        for name in ("lists.csv", "lists.parquet"):
            said = disk.server.run(disk.mount, "recommend", "run", "--all", "--out", name, code=1).err
            assert said == f"error: {name} cannot be written: No space left on device; free some space and run again\n"
            assert not any(entry.startswith("lists") for entry in names(disk.seen))

    def test_a_disk_that_may_only_be_read(self, disk, expected):
        disk.server.shell(f"mount -o remount,ro {disk.mount}")
        for arguments in (["--resume"], []):
            said = self.refused(disk, 1, *arguments)
            assert said == "error: run cannot be written: Read-only file system; choose a place where you may write"
        disk.server.shell(f"mount -o remount,rw {disk.mount}")
        self.finishes(disk, expected)

    def test_a_disk_that_may_only_be_read_from_now_on(self, disk):
        pid = disk.server.start(disk.mount, *TRAIN, "--set=epochs=100000", "--checkpoint-every", "3600")
        assert wait_for(partial(is_training, pid))
        inside = ["nsenter", "-t", str(disk.server.process.pid), "-U", "-m"]
        subprocess.run([*inside, "mount", "-o", "remount,ro", str(disk.mount)], check=True)
        os.kill(pid, signal.SIGTERM)
        ended = disk.server.end()
        assert ended.code == 1
        assert ended.err.endswith(
            "error: run.checkpoint cannot be written: Read-only file system; choose a place where you may write\n"
        )

    def test_a_limit_on_the_size_of_files(self, disk):
        before = everything(disk.seen)
        pid = disk.server.start(disk.mount, *TRAIN, *EACH_STEP, "--resume")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, 4096))
        ended = disk.server.end()
        assert ended.code == 1
        assert "error: run.checkpoint cannot be written: File too large; raise the limit" in ended.err
        assert everything(disk.seen).keys() == before.keys()
