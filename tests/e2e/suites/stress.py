"""Many containers at once, and kill -9 of everything: nothing is left over, and `ps` tells the truth.

    IMG_STRESS=10 python3 tests/e2e/run.py --bin DIR stress      ten times as many as in an ordinary run
    IMG_STRESS_SEED=N                                            the same random choices again (the seed is printed)
"""
import fcntl
import json
import os
import pathlib
import random
import signal
import struct
import subprocess
import threading
import time

from lib import harness, people
from lib.harness import run

FACTOR = float(os.environ.get("IMG_STRESS", "1"))
CONTAINERS, WORKERS, KILLS = int(200 * FACTOR), 8, int(50 * FACTOR)
SEED = int(os.environ.get("IMG_STRESS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
F_OFD_GETLK = 36


def setUpModule():
    print(f"seed {SEED}", flush=True)
    people.private_network()


def namespaces():
    """{kind: the namespaces that any process of the suite is in}; what is_kept by a mount shows up there."""
    found = {}
    for pid in [name for name in os.listdir("/proc") if name.isdigit()]:
        try:
            for kind in os.listdir(f"/proc/{pid}/ns"):
                found.setdefault(kind, set()).add(os.readlink(f"/proc/{pid}/ns/{kind}"))
        except OSError:
            continue
    return found


def held_leases(run_root):
    """Addresses whose lease somebody holds."""
    held = []
    for path in pathlib.Path(run_root).glob("network/*/*.*.*.*"):
        with open(path, "rb+") as file:
            asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            if struct.unpack("hhqqi4x", fcntl.fcntl(file, F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK:
                held.append(path.name)
    return sorted(held)


def cgroups(ids):
    """The control groups of these containers. Others may have containers meanwhile: theirs do not count."""
    found = subprocess.run(["find", "/sys/fs/cgroup", "-mindepth", "2", "-type", "d"], capture_output=True, text=True).stdout.split()
    return sorted(path for path in found if os.path.basename(path) in ids)


def listed(folder):
    return sorted(os.listdir(folder)) if folder.is_dir() else []


class Stress(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.root = people.Root()
        self.img_ = self.root.img()
        self.addCleanup(self.img_.remove_containers)
        self.img_.with_busybox()
        # What the first container of a machine leaves for all others (the bridge, shared layers) is no leak.
        for network in ("none", "bridge"):
            self.img_("run", "--rm", "--net", network, "busybox", "true")
        self.ids = set()
        self.before = self.quiet_world()

    def quiet_world(self):
        """The cable of a container that has ended goes a moment later, with its namespace."""
        deadline = time.monotonic() + 5
        now = self.world()
        while any(name.startswith("veth") for name in now["links"]):
            self.assertLess(time.monotonic(), deadline, f"a cable is left: {now['links']}")
            time.sleep(0.02)
            now = self.world()
        return now

    def world(self):
        store = self.img_.store
        return {
            "mounts": harness.mounts(),
            "links": sorted(json.loads(row)["ifname"] if row.startswith("{") else row.split(":")[1].strip().split("@")[0]
                            for row in run(["ip", "-o", "link"]).out.splitlines()),
            "namespaces": namespaces(),
            "processes": sorted(harness.processes().values()),
            "cgroups": cgroups(self.ids),
            "containers": [n for n in listed(store / "containers") if not n.startswith(".")],
            "records": {n: listed(store / "containers" / n) for n in (".names", ".auto", ".part")},
            "store": {n: listed(store / n) for n in ("volumes", "ingest", "trash", "layers")},
            "run root": sorted(str(p.relative_to(self.root.home)) for p in (self.root.home / "run").rglob("*")
                               if not p.name.startswith("10.")),
            "leases": held_leases(self.root.home / "run"),
            "descriptors": len(os.listdir("/proc/self/fd")),
        }

    def assert_nothing_is_left(self):
        """The kernel takes namespaces and links down behind our back: it gets a moment for that."""
        deadline = time.monotonic() + 5
        while (now := self.world()) != self.before and time.monotonic() < deadline:
            time.sleep(0.05)
        for what, value in self.before.items():
            self.assertEqual(now[what], value, what)

    # --- many at once ---

    def options(self, chance, number):
        # No name that could be the beginning of an id: once such a name is free again, it means somebody else.
        options = ["--name", f"box{number}", "--net", chance.choice(["none", "none", "bridge", "bridge", "host"])]
        options += chance.choice([[], ["-m", "64m"], ["--cpus", "0.9"], ["--pids-limit", "50"], ["-m", "32m", "--pids-limit", "20"]])
        options += chance.choice([[], ["-v", "/anonymous"], ["-v", "shared:/data"], ["-v", f"{self.dir}:/host"],
                                  ["--tmpfs", "/scratch"]])
        if "bridge" in options and chance.random() < 0.3:
            options += ["-p", f"{20000 + number}:80"]
        return options + chance.choice([[], ["--init"], ["--read-only"], ["-u", "dev"]])

    def detached(self, *options):
        container = self.img_("run", "-d", *options, "busybox", "sleep", "7200000").out.strip()
        self.ids.add(container)
        return container

    def foreground(self, chance, options):
        code = chance.randrange(0, 5)
        shown = self.img_("run", "--rm", "--cidfile", self.dir / options[1], *options, "busybox", "sh", "-c",
                          f"echo {options[1]}; exit {code}", check=False)
        self.assertEqual((shown.code, shown.out), (code, options[1] + "\n"), str(shown))
        self.ids.add((self.dir / options[1]).read_text())

    def stopped(self, chance, options):
        self.detached(*options)
        self.assertEqual(self.img_("exec", options[1], "echo", "inside").out, "inside\n")
        self.img_("stop", "-t", str(chance.choice([0, 0, 1])), options[1])
        self.img_("rm", "-v", options[1])

    def killed(self, chance, options):
        self.detached("--rm", *options)
        self.img_("kill", options[1])
        self.img_("rm", "-f", options[1])  # whoever is first: none is no error

    def created(self, chance, options):
        self.ids.add(self.img_("create", *options, "busybox", "sleep", "7200000").out.strip())
        self.img_("start", options[1])
        self.assertEqual(self.img_.field(options[1], ".State.Running"), "true")
        self.img_("rm", "-f", "-v", options[1])

    def paused(self, chance, options):
        self.detached(*options)
        self.img_("pause", options[1])
        self.img_("unpause", options[1])
        self.img_("exec", options[1], "true")
        self.img_("rm", "-f", "-v", options[1])

    def test_many_containers_by_many_processes_leave_nothing(self):
        self.img_("volume", "create", "shared")
        self.before = self.quiet_world()
        ways = [self.foreground, self.foreground, self.stopped, self.killed, self.created, self.paused]
        numbers, failures, guard = iter(range(CONTAINERS)), [], threading.Lock()

        def work():
            while not failures:
                with guard:
                    number = next(numbers, None)
                if number is None:
                    return
                chance = random.Random(SEED + number)
                way, options = chance.choice(ways), self.options(chance, number)
                try:
                    way(chance, options)
                except BaseException as error:
                    failures.append(f"container {number}, {way.__name__} {' '.join(map(str, options))}: {error}")

        workers = [threading.Thread(target=work) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.img_("ps", "-a", "-q").out, "")
        self.assertGreaterEqual(len(self.ids), CONTAINERS)
        self.assert_nothing_is_left()

    # --- kill -9 ---

    def kill(self, pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def kill_img(self, chance, mark):
        """Somewhere in a command: start, run in the foreground, exec, stop or rm."""
        verb = chance.choice(["run", "run -d", "run -d", "exec", "stop", "rm"])
        network = ["--net", chance.choice(["none", "bridge"])]
        if verb.startswith("run"):
            words = ["run", *verb.split()[1:], *network, *chance.choice([[], ["--rm"], ["-v", "/anonymous"]]), "busybox", "sleep", mark]
        else:
            name = self.img_("run", "-d", *network, "busybox", "sleep", mark).out.strip()
            words = {"exec": ["exec", name, "sleep", "0.2"], "stop": ["stop", "-t", "0", name], "rm": ["rm", "-f", name]}[verb]
        process = self.img_.start(*words)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.communicate()
        return verb

    def kill_keeper(self, chance, mark):
        # Not --net host: what is asked is whether everything of the container's own goes.
        options = ["--net", chance.choice(["none", "bridge"]), *chance.choice([[], ["--rm"], ["--init"], ["-m", "64m"], ["-v", "/anonymous"]])]
        name = self.img_("run", "-d", *options, "busybox", "sleep", mark).out.strip()
        pid = int(self.img_.field(name, ".State.Pid"))
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        keeper = int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))
        time.sleep(chance.uniform(0, 0.02))
        self.kill(keeper)
        return " ".join(options)

    def kill_init(self, chance, mark):
        options = ["--net", chance.choice(["none", "bridge"]), *chance.choice([[], ["--rm"], ["--init"]])]
        name = self.img_("run", "-d", *options, "busybox", "sh", "-c", f"sleep {mark} & sleep {mark}").out.strip()
        time.sleep(chance.uniform(0, 0.02))
        self.kill(int(self.img_.field(name, ".State.Pid")))
        return " ".join(options)

    def living(self, mark):
        return [pid for pid, command in harness.processes().items() if mark in command.split()]

    def check_ps(self, mark, what):
        """Within a second of the kill, ps and /proc say the same of every container."""
        deadline = time.monotonic() + (1 if FACTOR == 1 else 3)
        while True:
            rows = self.img_("ps", "-a", "--no-trunc", "--format", "{{ .ID }} {{ .State }}").out.splitlines()
            self.ids.update(row.split()[0] for row in rows)
            states = [row.split()[1] for row in rows]
            alive = self.living(mark)
            lies = []
            if "running" in states and not alive:
                lies.append("shown as running, and no process is there")
            if alive and "running" not in states:
                lies.append(f"processes {alive} live, and ps shows {states}")
            for row in rows:
                if row.endswith(" running"):
                    pid = self.img_("inspect", "--format", "{{ .State.Pid }}", row.split()[0], check=False).out.strip()
                    if pid and pid != "0" and not os.path.exists(f"/proc/{pid}"):
                        lies.append(f"the pid {pid} of a running container does not exist")
            if not lies:
                return
            self.assertLess(time.monotonic(), deadline, f"{what}: {lies}")
            time.sleep(0.02)

    def test_kill_9_of_everything(self):
        for number in range(KILLS):
            chance, mark = random.Random(SEED + number), str(7300000 + number)
            way = (self.kill_img, self.kill_keeper, self.kill_init)[number % 3]
            with self.subTest(number=number, way=way.__name__):
                what = f"{number}: {way.__name__} {way(chance, mark)}"
                self.check_ps(mark, what)
                containers = self.img_("ps", "-a", "-q", "--no-trunc").out.split()
                # A name that nobody has: what a dead `run` left half made goes with any rm.
                self.img_("rm", "-f", "-v", *containers, "no-such-container")
                self.assertEqual(self.img_("ps", "-a", "-q").out, "", what)
                # A killed process needs a moment to be gone, and processes are a part of the world.
                self.assert_nothing_is_left()
