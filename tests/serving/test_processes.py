"""Real processes: what kill -9 leaves, reloads under load, several workers, how it starts and stops."""

import json
import operator
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import httpx
import numpy as np
import pytest
from listening import TOKEN, WRITING

from hyvae import ConfigError, HyVAE, Recommender
from hyvae.serving import processes, supervising
from hyvae.serving.events import EventStore
from hyvae.serving.settings import Settings

PATIENCE = 60
pytestmark = pytest.mark.integration


class Serving:
    """A process of ``hyvae serve``, and where it listens."""

    def __init__(self, *arguments, **environment):
        command = [sys.executable, "-m", "hyvae", "serve", *map(str, arguments), "--rate", "0"]
        given = {**os.environ, "HYVAE_TOKEN": TOKEN, "OMP_NUM_THREADS": "1", **environment}
        self.process = subprocess.Popen(
            command, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.said: list[str] = []
        self._port = threading.Event()
        self.port = 0
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self):
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r'"port": (\d+)', line):
                self.port = int(found[1])
                self._port.set()
        self._port.set()

    def client(self):
        assert self._port.wait(PATIENCE), self.said
        assert self.port, "".join(self.said)
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def kill(self, number=signal.SIGKILL):
        os.killpg(self.process.pid, number)
        self.process.wait(PATIENCE)
        self._listener.join(PATIENCE)


@contextmanager
def serving(*arguments, **environment):
    service = Serving(*arguments, **environment)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.kill()


@pytest.fixture
def own_run(run, tmp_path):
    """A copy that a test may replace."""
    return shutil.copytree(run, tmp_path / "run")


@pytest.fixture(scope="module")
def other_run(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other") / "run"
    HyVAE(preset="fast", epochs=3).fit(*parts, seed=1, progress=False).save(folder)
    return folder


def put_in_place(new, run):
    """As an operator would: beside, then renamed."""
    beside, old = run.with_name("new"), run.with_name("old")
    shutil.copytree(new, beside)
    run.rename(old)
    beside.rename(run)
    shutil.rmtree(old)


def test_no_acknowledged_rating_is_lost_by_kill_9_and_none_is_there_twice(own_run, database):
    acknowledged: set[str] = set()
    sent = 0
    rng = np.random.default_rng(0)
    for _ in range(2):
        with serving(own_run, "--port", 0, "--database", database) as service:
            client = service.client()
            killer = threading.Timer(0.4 + rng.random() * 0.4, service.kill)
            killer.start()
            while True:
                keys = [f"key-{sent + n}" for n in range(3)]
                events = [{"user": 1 + hash(key) % 5, "item": 100, "rating": 3.0, "key": key} for key in keys]
                # what was sent before is sent again, as a client does that got no answer
                try:
                    client.post("/v1/ratings", json={"events": events}, headers=WRITING).raise_for_status()
                    client.post("/v1/ratings", json={"events": events[:1]}, headers=WRITING).raise_for_status()
                except httpx.HTTPError:
                    break
                acknowledged.update(keys)
                sent += 3
            killer.join()
    assert len(acknowledged) > 20
    store = EventStore(database, integer_users=True, integer_items=True)
    stored = [event.key for user in range(1, 6) for event, _ in store.events_of(user)]
    store.close()
    assert len(stored) == len(set(stored))
    assert acknowledged <= set(stored)


def test_reloads_under_load_fail_no_request_and_a_bad_run_changes_nothing(own_run, other_run, run, tmp_path):
    with serving(own_run, "--port", 0) as service:
        client = service.client()
        failed, answered, stop = [], [0], threading.Event()

        def load():
            with service.client() as mine:
                while not stop.is_set():
                    answer = mine.post("/v1/recommend", json={"ratings": [{"item": 100, "rating": 5.0}]})
                    answered[0] += 1
                    if answer.status_code != 200:
                        failed.append(answer.text)

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        fingerprints = {Recommender.load(folder).fingerprint for folder in (run, other_run)}
        found = set()
        for turn in range(8):
            put_in_place((other_run, run)[turn % 2], own_run)
            reloaded = client.post("/v1/admin/reload", headers=WRITING).json()
            assert reloaded["changed"]
            found.add(reloaded["fingerprint"])
        damaged = shutil.copytree(run, tmp_path / "damaged")
        (damaged / "weights.safetensors").write_bytes(b"damaged")
        (damaged / "config.json").write_text((damaged / "config.json").read_text() + "\n")
        put_in_place(damaged, own_run)
        refused = client.post("/v1/admin/reload", headers=WRITING)
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/run-refused")
        assert client.get("/v1/model").json()["fingerprint"] == reloaded["fingerprint"]
        stop.set()
        for thread in threads:
            thread.join()
        assert found == fingerprints
        assert failed == []
        assert answered[0] > 20
        assert "weights.safetensors differs" in "".join(service.said)


def test_several_processes_answer_alike_share_reloads_and_are_started_again(own_run, other_run):
    with serving(own_run, "--port", 0, "--workers", 2) as service:
        ask = {"ratings": [{"item": 100, "rating": 5.0}], "n": 5}

        def answers(n=12):
            # connections of their own, so that each process gets some
            found = []
            for _ in range(n):
                with service.client() as client:
                    found.append(
                        (client.get("/v1/model").json()["fingerprint"], client.post("/v1/recommend", json=ask).text)
                    )
            return set(found)

        assert len(answers()) == 1
        for child in children(service):
            # pages of its own would be anonymous
            assert of_weights(child, "Anonymous") == 0
            assert of_weights(child, "Rss") > 0
        put_in_place(other_run, own_run)
        with service.client() as client:
            fingerprint = client.post("/v1/admin/reload", headers=WRITING).json()["fingerprint"]
        until(lambda: {each[0] for each in answers(8)} == {fingerprint})
        text = httpx.get(f"http://127.0.0.1:{service.port}/metrics").text
        assert 'hyvae_requests_total{method="POST",route="/v1/recommend",status="200"}' in text
        os.kill(children(service)[0], signal.SIGKILL)
        until(lambda: sum('"serving"' in line for line in service.said) == 3)
        assert {each[0] for each in answers(4)} == {fingerprint}
        service.kill(signal.SIGTERM)


def children(service):
    return [int(re.search(r'"process": (\d+)', line)[1]) for line in service.said if '"serving"' in line]


def of_weights(pid, what):
    """KiB of the pages of the weights' file that a process has."""
    with open(f"/proc/{pid}/smaps") as maps:
        text = maps.read()
    return int(re.search(rf"weights\.safetensors.*?^{what}: *(\d+)", text, re.M | re.S)[1])


def until(holds):
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_signal_reloads(own_run, other_run):
    with serving(own_run, "--port", 0) as service:
        client = service.client()
        before = client.get("/v1/model").json()["fingerprint"]
        put_in_place(other_run, own_run)
        os.kill(service.process.pid, signal.SIGHUP)
        until(lambda: client.get("/v1/model").json()["fingerprint"] != before)


def test_requests_that_are_being_answered_end_before_it_stops(own_run):
    with serving(own_run, "--port", 0) as service:
        client = service.client()
        requests = [{"ratings": [{"item": 100, "rating": 5.0}], "n": 50}] * 100
        answer = []
        thread = threading.Thread(
            target=lambda: answer.append(client.post("/v1/recommend/batch", json={"requests": requests}))
        )
        thread.start()
        time.sleep(0.05)
        os.kill(service.process.pid, signal.SIGTERM)
        thread.join()
        service.process.wait(PATIENCE)
        assert answer[0].status_code == 200


def failing(*arguments, **environment):
    command = [sys.executable, "-m", "hyvae", "serve", *map(str, arguments)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_whoever_was_let_in_before_it_stops_is_answered(own_run, workers):
    with serving(own_run, "--port", 0, "--workers", workers) as service:
        service.client().get("/v1/model").raise_for_status()
        let_in = [socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) for _ in range(20)]
        os.kill(service.process.pid, signal.SIGTERM)
        until(lambda: not is_open(service.port))
        for each in let_in:
            each.sendall(b"GET /v1/model HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        answers = [all_of(each) for each in let_in]
        service.process.wait(PATIENCE)
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer


def all_of(connection):
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def is_open(port):
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def test_processes_end_with_the_one_that_started_them(own_run):
    with serving(own_run, "--port", 0, "--workers", 2) as service:
        service.client().get("/v1/model").raise_for_status()
        until(lambda: len(children(service)) == 2)
        os.kill(service.process.pid, signal.SIGKILL)
        until(lambda: not any(lives(pid) for pid in children(service)))
        assert not is_open(service.port)


def lives(pid):
    try:
        # one that nobody waits for is dead too
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_run_that_vanished_is_one_line_each_time(own_run):
    with serving(own_run, "--port", 0, "--workers", 2) as service:
        service.client().get("/v1/model").raise_for_status()
        until(lambda: len(children(service)) == 2)
        shutil.rmtree(own_run)
        os.kill(children(service)[0], signal.SIGKILL)
        until(lambda: sum("a process ended" in line for line in service.said) == 2)
        # the other one answers on
        assert service.client().get("/v1/model").status_code == 200
        ended = [json.loads(line) for line in service.said if "a process ended" in line]
        assert [line["again_in_s"] for line in ended] == [1.0, 2.0]
        assert sum("cannot serve" in line for line in service.said) == 1
        assert not any("Traceback" in line for line in service.said)
        service.kill(signal.SIGTERM)


class Ended:
    """A process that ended as soon as it was started."""

    pid, exitcode = 4711, 1

    def __init__(self):
        self._ended, self._other = socket.socketpair()
        self._other.close()
        self.sentinel = self._ended

    def is_alive(self):
        return False


def test_a_service_none_of_whose_processes_stays_up_is_given_up(monkeypatch):
    monkeypatch.setattr(supervising, "_SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(signal, "signal", lambda *given: None)
    started = []
    monkeypatch.setattr(supervising.Supervisor, "_started", lambda self: started.append(Ended()) or started[-1])
    with socket.socket() as listening, pytest.raises(ConfigError, match="no process of the service stays up"):
        supervising.Supervisor(Settings(run="none", workers=2), listening, operator.is_).run()
    assert len(started) == 10


@pytest.mark.parametrize(("ends", "pause"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1_000, 60)])
def test_each_time_it_waits_twice_as_long(ends, pause):
    assert supervising.pause_after(ends) == pause


@pytest.mark.parametrize(
    ("limits", "raised", "enough"),
    [
        ((20, 20), 20, False),
        ((255, 255), 255, False),
        ((256, 256), 256, True),
        ((20, 5_000), 4_096, True),
        ((1_024, resource.RLIM_INFINITY), 4_096, True),
        ((5_000, 5_000), None, True),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None, True),
    ],
)
def test_too_few_files_are_refused_at_the_start(limits, raised, enough, monkeypatch):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda which, wanted: asked.append(wanted))
    with nullcontext() if enough else pytest.raises(ConfigError, match=f"only {limits[1]} files.* ulimit -n 4096"):
        processes.require_files()
    assert asked == ([] if raised is None else [(raised, limits[1])])


@pytest.mark.parametrize("workers", [1, 2])
def test_the_last_line_of_its_log_is_written_before_it_stops(own_run, workers):
    with serving(own_run, "--port", 0, "--workers", workers) as service:
        service.client().get("/v1/model").raise_for_status()
        service.kill(signal.SIGTERM)
    assert sum('"route": "/v1/model"' in line for line in service.said) == 1


def test_what_is_wrong_is_told_in_one_line(own_run, tmp_path):
    assert "is not a folder" in failing(tmp_path / "none", "--port", 0)
    assert "not in mysql" in failing(own_run, "--port", 0, "--database", "mysql://host/name")
    with serving(own_run, "--port", 0) as service:
        service.client().close()
        assert "cannot listen" in failing(own_run, "--port", service.port)
