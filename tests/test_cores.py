"""Quotas of control groups, as Linux tells them; what the environment gets of them."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hyvae import cores
from hyvae.nn import kernels

SECOND = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
FIRST = (
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
)
IN_DOCKER = "700 690 0:26 /docker/ab12 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"
CASES = {
    "version 2, no limit": ("0::/user.slice\n", SECOND, {"user.slice/cpu.max": "max 100000\n"}, None),
    "version 2": ("0::/user.slice\n", SECOND, {"user.slice/cpu.max": "150000 100000\n"}, 1.5),
    "version 2, the group above is stricter": (
        "0::/pods/one\n",
        SECOND,
        {"pods/one/cpu.max": "400000 100000\n", "pods/cpu.max": "20000 10000\n"},
        2.0,
    ),
    "version 2, a container sees itself as the root": ("0::/\n", SECOND, {"cpu.max": "50000 100000\n"}, 0.5),
    "version 2, a container whose group lies outside": ("0::/../other\n", SECOND, {"cpu.max": "300000 100000"}, 3.0),
    "version 1": (
        "3:cpuset:/elsewhere\n5:cpu,cpuacct:/batch/job\n",
        FIRST,
        {
            "cpu,cpuacct/batch/job/cpu.cfs_quota_us": "200000\n",
            "cpu,cpuacct/batch/job/cpu.cfs_period_us": "100000\n",
            "cpuset/elsewhere/cpu.cfs_quota_us": "1\n",
            "cpuset/elsewhere/cpu.cfs_period_us": "100000\n",
        },
        2.0,
    ),
    "version 1, no limit": (
        "5:cpu,cpuacct:/\n",
        FIRST,
        {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
        None,
    ),
    "version 1 in Docker": (
        "5:cpu:/docker/ab12\n",
        IN_DOCKER,
        {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        1.0,
    ),
    "both, the limit in version 1": (
        "5:cpu,cpuacct:/a\n0::/a\n",
        FIRST + SECOND.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified "),
        {"cpu,cpuacct/a/cpu.cfs_quota_us": "100000", "cpu,cpuacct/a/cpu.cfs_period_us": "50000"},
        2.0,
    ),
    "no control groups": ("", "22 27 0:21 / /proc rw,relatime - proc proc rw\n", {}, None),
    "not mounted": ("0::/user.slice\n", "", {}, None),
    "lines of another form": ("0::/\n\n7\n", "\n9 - \n1 2 3:4 / /tmp rw - tmpfs\n" + SECOND, {"cpu.max": "2 1"}, 2.0),
    "nonsense": ("0::/\n", SECOND, {"cpu.max": "0 0 0\n"}, None),
}


@pytest.mark.parametrize(("groups", "mounts", "files", "expected"), CASES.values(), ids=CASES)
def test_quotas(groups, mounts, files, expected):
    assert cores.quota(groups, mounts, {f"/sys/fs/cgroup/{name}": text for name, text in files.items()}.get) == expected


@pytest.mark.parametrize(
    ("share", "expected"), [(None, 8), (2.0, 2), (2.9, 2), (0.5, 1), (64.0, 8)], ids=lambda value: str(value)
)
def test_whole_cores_are_used_at_least_one_and_those_that_are_there(monkeypatch, share, expected):
    monkeypatch.setattr(cores, "cores", lambda: 8)
    monkeypatch.setattr(cores, "quota", lambda *_: share)
    assert cores.usable_cores() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are not kept to cores on this system")
def test_cores_that_the_process_is_kept_from_do_not_count():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other OpenMPs")
@pytest.mark.parametrize(("imports", "expected"), [("torch, hyvae", 1), ("hyvae, torch", 0)])
def test_where_torch_was_imported_first_idle_threads_make_waits_short(imports, expected):
    if not kernels.compiled():
        pytest.skip("no kernels were built")
    count = "[thread.name for thread in threading.enumerate()].count('hyvae: shorter waits')"
    code = f"import threading, {imports}, hyvae.nn.kernels; print({count})"
    told = {"OMP_NUM_THREADS": "2"}
    kept = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    ended = subprocess.run([sys.executable, "-c", code], env=kept | told, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, f"{expected}\n"), ended.stderr


class TestWhatIsSet:
    @pytest.fixture(autouse=True)
    def _machine(self, monkeypatch):
        self.torch = SimpleNamespace(threads=8, get_num_threads=lambda: self.torch.threads, set_num_threads=self.set)
        monkeypatch.setitem(sys.modules, "torch", self.torch)
        monkeypatch.setattr(cores, "cores", lambda: 8)

    def set(self, threads):
        self.torch.threads = threads

    @pytest.mark.parametrize(
        ("share", "told", "threads", "torchs"),
        [
            (None, {}, {}, 8),
            (2.0, {}, {"OMP_NUM_THREADS": "2", "POLARS_MAX_THREADS": "2"}, 2),
            (2.0, {"OMP_NUM_THREADS": "6"}, {"OMP_NUM_THREADS": "6", "POLARS_MAX_THREADS": "2"}, 8),
            (2.0, {"POLARS_MAX_THREADS": "6"}, {"OMP_NUM_THREADS": "2", "POLARS_MAX_THREADS": "6"}, 2),
        ],
    )
    def test_threads(self, monkeypatch, share, told, threads, torchs):
        monkeypatch.setattr(cores, "quota", lambda *_: share)
        environment = dict(told)
        cores.keep_to_the_cores(environment)
        assert environment == {"GOMP_SPINCOUNT": "3000"} | threads
        assert self.torch.threads == torchs

    def test_what_the_user_says_of_waiting_stands(self, monkeypatch):
        monkeypatch.setattr(cores, "quota", lambda *_: None)
        environment = {"GOMP_SPINCOUNT": "7"}
        cores.keep_to_the_cores(environment)
        assert environment == {"GOMP_SPINCOUNT": "7"}

    @pytest.mark.parametrize("told", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "passive"}], ids=str)
    def test_whether_threads_wait_long_is_known(self, monkeypatch, told):
        monkeypatch.setattr(cores, "quota", lambda *_: None)
        monkeypatch.setattr(cores, "long_waits", False)
        cores.keep_to_the_cores(dict(told))
        assert cores.long_waits == (not told)
        monkeypatch.delitem(sys.modules, "torch")
        cores.keep_to_the_cores(dict(told))
        assert not cores.long_waits

    def test_fewer_threads_stay_fewer(self, monkeypatch):
        self.torch.threads = 1
        monkeypatch.setattr(cores, "quota", lambda *_: 2.0)
        cores.keep_to_the_cores({})
        assert self.torch.threads == 1
