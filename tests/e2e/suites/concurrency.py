"""Many processes on one store (reliability.md 6): no lost name, no missing blob, no deadlock, and the store comes back to
its minimum.

    IMG_SOAK=10 python3 tests/e2e/run.py --bin DIR concurrency     ten minutes of each mixed load, not seconds (./dev soak)
    IMG_SOAK_SEED=N                                                the same random choices again (the seed is printed)
"""
import hashlib
import json
import os
import random
import signal
import subprocess
import threading
import time

from lib import harness
from lib.harness import run

MINUTES = float(os.environ.get("IMG_SOAK", "0"))
SECONDS = MINUTES * 60 or 10
SEED = int(os.environ.get("IMG_SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
TIMEOUT = 120  # a command that takes longer hangs


def setUpModule():
    print(f"seed {SEED}", flush=True)


class Many:
    """Functions side by side until the time is over or one fails."""

    def __init__(self, seconds=SECONDS):
        self.end, self.failures, self.count = time.monotonic() + seconds, [], 0

    def go_on(self):
        return time.monotonic() < self.end and not self.failures

    def worker(self, work, number):
        chance = random.Random(SEED + number)

        def body():
            while self.go_on():
                try:
                    work(chance, number)
                    self.count += 1
                except BaseException as error:
                    self.failures.append(f"{work.__name__} {number}: {error}")
        return threading.Thread(target=body)

    def run(self, *works):
        threads = [self.worker(work, number) for number, work in enumerate(works)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Concurrency(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.img_ = self.img()
        self.context = self.write({"a.txt": "a"})

    def in_parallel(self, commands, at_once=16):
        """All of them, `at_once` at a time; returns those that failed."""
        todo, failed, guard = iter(commands), [], threading.Lock()

        def work():
            while True:
                with guard:
                    command = next(todo, None)
                if command is None:
                    return
                result = self.img_(*command, check=False, timeout=TIMEOUT)
                if result.code != 0:
                    failed.append(str(result))

        threads = [threading.Thread(target=work) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return failed

    def index(self):
        return json.loads((self.img_.store / "index.json").read_text())["manifests"]

    def names(self):
        return sorted(d.get("annotations", {}).get("org.opencontainers.image.ref.name", "") for d in self.index())

    def check_whole(self):
        """Every image that index.json names is there with all its blobs, and each blob is what its name says."""
        seen = {}

        def blob(digest):
            if digest not in seen:
                path = self.img_.store / "blobs/sha256" / digest.split(":")[1]
                self.assertTrue(path.exists(), f"{digest} is missing")
                seen[digest] = path.read_bytes()
                self.assertEqual("sha256:" + hashlib.sha256(seen[digest]).hexdigest(), digest)
            return seen[digest]

        for entry in self.index():
            manifest = json.loads(blob(entry["digest"]))
            blob(manifest["config"]["digest"])
            for layer in manifest["layers"]:
                blob(layer["digest"])

    def check_empty(self, *folders):
        for folder in folders or ("ingest", "trash", "leases"):
            path = self.img_.store / folder
            left = [p.name for p in path.iterdir() if p.name != "partial" and ".tmp-" not in p.name] if path.is_dir() else []
            self.assertEqual(left, [], folder)

    def system(self, *args, **kwargs):
        return run([self.img_.path(), "--root", self.img_.store, *args], timeout=TIMEOUT, **kwargs)

    def remove_all(self):
        """To the minimum: an empty store."""
        self.img_.remove_containers()
        self.system("prune", "-f", "-a", "--volumes", "--build-cache")
        self.assertEqual(self.names(), [])
        self.check_empty("blobs/sha256", "layers", "containers/.names", "cache/steps", "ingest", "trash", "leases")

    # --- names ---

    def test_no_name_is_lost(self):
        processes, each = 64, 20
        failed = self.in_parallel([["tag", "busybox", *[f"t{p}:{n}" for n in range(each)]] for p in range(processes)],
                                  at_once=processes)
        self.assertEqual(failed, [])
        wanted = sorted([f"docker.io/library/t{p}:{n}" for p in range(processes) for n in range(each)] +
                        ["docker.io/library/busybox:latest"])
        self.assertEqual(self.names(), wanted)

    def test_names_that_come_and_go_leave_a_valid_index(self):
        many = Many(3 * SECONDS / 10)

        def tag(chance, number):
            self.img_("tag", "busybox", f"n{chance.randrange(8)}")

        def untag(chance, number):
            self.img_("rmi", "-i", f"n{chance.randrange(8)}")

        def read(chance, number):
            names = self.names()
            assert "docker.io/library/busybox:latest" in names and len(names) == len(set(names)), names

        many.run(tag, tag, untag, untag, read)
        self.assertEqual(many.failures, [])
        self.assertGreater(many.count, 10)
        self.check_whole()

    # --- builds ---

    def test_the_same_build_by_many_processes(self):
        processes = 32 if MINUTES else 12
        (self.context / "Dockerfile").write_text("FROM busybox\nRUN echo made > /made\nCOPY a.txt /\nRUN cat /a.txt > /b\n")
        failed = self.in_parallel([["build", "--network", "host", "-q", "-t", f"same{n}", str(self.context)]
                                   for n in range(processes)], at_once=processes)
        self.assertEqual(failed, [])
        layers = {tuple(layer["digest"] for layer in self.img_.image(f"same{n}").layers) for n in range(processes)}
        self.assertLessEqual(len(layers), 2)
        self.check_whole()

    # --- everything against the collector ---

    def make_work(self):
        tar = self.dir / "loaded.tar"
        self.img_.build(self.context, "loaded", dockerfile="FROM busybox\nRUN echo loaded > /loaded\n")
        self.img_("save", "-o", str(tar), "loaded")
        contexts = []
        for n in range(4):
            contexts.append(self.write({"f": f"{n}", "Dockerfile": f"FROM busybox\nRUN echo {n} > /n\nCOPY f /f\nRUN cat /f /n > /both\n"},
                                       f"ctx{n}"))

        def expect(result, *allowed):
            """A name may be taken away under us; anything else is an error."""
            if result.code == 0 or any(text in result.err for text in allowed):
                return
            raise AssertionError(str(result))

        def build(chance, number):
            kind = chance.randrange(4)
            # No name is hexadecimal: where its image is gone, "b0" would be the beginning of an id.
            expect(self.img_("build", "--network", "host", "-q", "-t", f"built{kind}", str(contexts[kind]), check=False, timeout=TIMEOUT))

        def load(chance, number):
            expect(self.img_("load", "-q", "-i", str(tar), check=False, timeout=TIMEOUT))

        def start(chance, number):
            image = chance.choice(["busybox", "loaded", "built0", "built1"])
            result = self.img_("run", "--rm", "--pull", "never", "--net", "none", *chance.choice([[], ["-v", "/anonymous"]]), image, "cat", "/etc/group",
                               check=False, timeout=TIMEOUT)
            expect(result, "no such image")
            assert result.code != 0 or "root" in result.out, str(result)

        def keep(chance, number):
            name = f"kept{number}"
            result = self.img_("run", "--name", name, "--pull", "never", "--net", "none", chance.choice(["built0", "built2", "busybox"]), "sh", "-c",
                               "echo x > /made-here", check=False, timeout=TIMEOUT)
            expect(result, "no such image")
            if result.code == 0:
                expect(self.img_("commit", name, f"copy{number}", check=False, timeout=TIMEOUT))
                expect(self.img_("rm", "-f", "-v", name, check=False, timeout=TIMEOUT))

        def remove(chance, number):
            expect(self.img_("rmi", "-f", chance.choice(["loaded", "built0", "built1", "built2", "built3", "copy3"]), check=False, timeout=TIMEOUT),
                   "no such image", "is used by")

        def save(chance, number):
            target = self.dir / f"saved{number}.tar"
            expect(self.img_("save", "-o", str(target), chance.choice(["busybox", "built1", "loaded"]), check=False, timeout=TIMEOUT),
                   "no such image")
            target.unlink(missing_ok=True)

        def prune(chance, number):
            words = chance.choice([["image", "prune", "-f"], ["builder", "prune", "-f"], ["builder", "prune", "-f", "-a"],
                                   ["prune", "-f", "--filter", "until=1h"], ["df"]])
            expect(self.system(*words, check=False))
            time.sleep(chance.uniform(0, 0.3))

        return [build, build, load, keep, start, remove, save, prune]

    def test_the_collector_next_to_everything(self):
        many = Many()
        many.run(*self.make_work())
        self.assertEqual(many.failures, [])
        self.assertGreater(many.count, 20)
        self.check_whole()
        self.check_empty()
        self.img_("run", "--rm", "--net", "none", "busybox", "true")
        self.remove_all()

    # --- kill -9 ---

    def test_killed_workers_leave_a_whole_store(self):
        works = self.make_work()
        many = Many()
        running, guard = set(), threading.Lock()
        popen = subprocess.Popen

        class Watched(popen):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                with guard:
                    running.add(self)

        def killer(chance, number):
            time.sleep(chance.uniform(0, 0.15))
            with guard:
                running.difference_update([p for p in running if p.returncode is not None])
                alive = sorted(running, key=lambda p: p.pid)
            if alive:
                victim = chance.choice(alive)
                victim.was_killed = True
                victim.send_signal(signal.SIGKILL)

        def tolerant(work):
            """What was killed has failed; all others have to do their work."""
            def body(chance, number):
                try:
                    work(chance, number)
                except AssertionError as error:
                    text = str(error)
                    if "exit -9" not in text and "is in use by container" not in text and "container-removed" not in text:
                        raise
                if number == 3:  # a kept container whose `run` was killed: its name is free again
                    self.img_("rm", "-f", "-v", f"kept{number}", check=False, timeout=TIMEOUT)
            body.__name__ = work.__name__
            return body

        harness.subprocess.Popen = Watched
        try:
            many.run(*[tolerant(work) for work in works], killer)
        finally:
            harness.subprocess.Popen = popen
        self.assertEqual(many.failures, [])
        self.check_whole()
        self.img_("images")
        self.check_empty()
        self.img_("run", "--rm", "--net", "none", "busybox", "true")
        self.system("rm", "-f", "-v", "-a")
        self.remove_all()
