"""Shortages and broken disks: one clear error, exit status not 0, nothing damaged, and all is well once the fault is gone.

    python3 tests/e2e/run.py --bin DIR faults               a random sample, at most a minute (the seed is printed)
    IMG_FAULTS_FULL=1 python3 tests/e2e/run.py ... faults   every size, every call
    IMG_FAULTS_SECONDS=N                                    as much of it as fits
    IMG_FAULTS_SEED=N                                       the same sample again
"""
import collections
import os
import random
import re
import shutil
import time

from lib import harness
from lib.harness import run

FULL = bool(os.environ.get("IMG_FAULTS_FULL"))
SEED = int(os.environ.get("IMG_FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
SECONDS = float(os.environ.get("IMG_FAULTS_SECONDS") or (1e9 if FULL else 7))  # of each sweep
CHANCE = random.Random(SEED)

# What a failing disk answers to, and what must never be taken for success.
CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2", "pread64", "read", "close",
         "copy_file_range", "openat", "openat2", "mkdirat", "linkat", "symlinkat", "unlinkat", "ftruncate", "fchmod", "fchownat",
         "utimensat", "newfstatat", "getdents64", "flock", "mount", "move_mount", "fsopen", "clone", "clone3", "execve")
PROMISES = ("fsync", "fdatasync", "renameat2", "write")
DOCKERFILE = "FROM busybox\nCOPY data /data\nRUN cp /data/a /b\n"


def setUpModule():
    print(f"seed {SEED}", flush=True)


class FaultCase(harness.TestCase):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("mounting needs root")
        run(["mount", "-t", "tmpfs", "none", self.dir])
        self.addCleanup(run, ["umount", "--lazy", self.dir])
        self.env = {"SOURCE_DATE_EPOCH": "1600000000", "IMG_RUNROOT": str(self.dir / "run")}
        self.context = self.write({"data/a": "a\n" * 50000, "Dockerfile": DOCKERFILE})
        harness.set_times(self.context)
        self.archive = self.dir / "archive.tar"
        self.template = harness.Img(self.dir / "template", env=self.env).with_busybox()
        self.template("save", "-o", self.archive, "busybox")
        self.commands = {
            "build": (["build", "--network", "none", "-q", "-t", "app", self.context], "app"),
            "load": (["load", "-i", self.archive], "busybox"),
            "import": (["import", harness.busybox_tar(), "imported"], "imported"),
            "tag": (["tag", "busybox", "other"], "other"),
            "run": (["run", "--rm", "--net", "none", "busybox", "true"], None),
            "rmi": (["rmi", "busybox"], None),
        }
        self.expected = {}

    def copy(self):
        where = self.dir / "copy"
        if where.exists():
            shutil.rmtree(where)
        run(["cp", "-a", self.template.store, where])
        return harness.Img(where, env=self.env)

    def digest(self, name):
        """What the command gives when nothing fails."""
        words, result = self.commands[name]
        if name not in self.expected:
            img = self.copy()
            img(*words)
            self.expected[name] = img.image(result).digest if result else None
        return self.expected[name]

    def assert_clear_error(self, failed, what):
        lines = [line for line in failed.err.splitlines() if re.match(r"(error|Error)", line)]
        self.assertGreaterEqual(len(lines), 1, f"{what}\n{failed}")
        self.assertNotIn("internal error", failed.err, what)
        self.assertNotIn("terminate called", failed.err, what)
        self.assertGreater(failed.code, 0, f"{what}\n{failed}")
        self.assertLess(failed.code, 128, f"{what}\n{failed}")

    def assert_undamaged(self, img, what):
        checked = img("verify", check=False)
        self.assertEqual((checked.code, checked.out), (0, ""), f"{what}\n{checked}")
        self.assertEqual(harness.processes(), {}, what)

    def assert_works_again(self, img, name, what):
        words, result = self.commands[name]
        again = img(*words, check=False)
        if name == "rmi" and again.code != 0:
            self.assertIn("no such image", again.err)
        else:
            self.assertEqual(again.code, 0, f"{what}\n{again}")
        if result:
            self.assertEqual(img.image(result).digest, self.digest(name), what)
        self.assert_undamaged(img, what)
        for folder in ("ingest", "trash"):
            self.assertEqual(os.listdir(img.store / folder), [], what)

    def sweep(self, plan, work, least=3):
        CHANCE.shuffle(plan)
        deadline, done = time.monotonic() + SECONDS, 0
        for case in plan:
            if time.monotonic() > deadline and done >= least:
                break
            with self.subTest(case=case):
                done += work(*case) is not False
        print(f"{self.id().rsplit('.', 1)[1]}: {done} of {len(plan)}", flush=True)
        self.assertGreaterEqual(done, least)


class FullDisk(FaultCase):
    """The store on a file system of its own, which has too little of something."""

    def setUp(self):
        super().setUp()
        self.disk = self.dir / "disk"
        self.disk.mkdir()

    def on_small_disk(self, name, option, larger, base):
        words, what = self.commands[name][0], f"{name} with {option}"
        self.digest(name)
        run(["mount", "-t", "tmpfs", "-o", base, "small", self.disk])
        try:
            run(["cp", "-a", self.template.store, self.disk / "store"])
            img = harness.Img(self.disk / "store", env=self.env)
            run(["mount", "-o", "remount," + option, self.disk])
            failed = img(*words, check=False)
            if failed.code != 0:
                self.assert_clear_error(failed, what)
                self.assertRegex(failed.err, r"ENOSPC|ENOMEM|No space left", what)
                if "ENOSPC" in failed.err:
                    self.assertRegex(failed.err, r"free|prune", f"{what}\n{failed}")
            else:
                self.assert_undamaged(img, what)
            run(["mount", "-o", "remount," + larger, self.disk])
            self.assert_undamaged(img, what)
            self.assert_works_again(img, name, what)
            return failed.code != 0
        finally:
            run(["umount", "--lazy", self.disk])

    def used(self):
        files = list(self.template.store.rglob("*"))
        blocks = sum((f.lstat().st_size + 4095) // 4096 * 4 for f in files if f.is_file() and not f.is_symlink())
        return blocks, len(files)

    def test_no_bytes_left(self):
        used, _ = self.used()
        sizes = range(used + 128, used + 4096, 64)
        self.sweep([(name, f"size={size}k", "size=64m", "size=64m") for name in ("build", "load", "import", "tag", "run", "rmi")
                    for size in sizes], self.on_small_disk)

    def test_no_inodes_left(self):
        _, used = self.used()
        counts = range(used + 2, used + 600, 1 if FULL else 7)
        self.sweep([(name, f"nr_inodes={count}", "nr_inodes=20000", "nr_inodes=20000,size=64m")
                    for name in ("build", "load", "import", "tag", "run") for count in counts], self.on_small_disk)


class BrokenCalls(FaultCase):
    def traced(self, img, name, *options):
        log = self.dir / "log"
        log.unlink(missing_ok=True)
        done = run(["strace", "-f", "-y", "-qq", "-o", log, "-e", "signal=none", *options, *img.argv(*self.commands[name][0])],
                   env=self.env, check=False, timeout=60)
        return done, log.read_text(errors="replace").splitlines() if log.exists() else []

    def calls(self, name):
        """{call: how often the busiest process makes it}"""
        _, lines = self.traced(self.copy(), name, "-e", "trace=" + ",".join(CALLS))
        each = collections.Counter()
        for line in lines:
            pid, _, rest = line.partition(" ")
            each[pid, rest.strip().split("(")[0]] += 1
        most = collections.Counter()
        for (_, call), count in each.items():
            if call in CALLS:
                most[call] = max(most[call], count)
        return most

    def break_call(self, name, call, number, error):
        what = f"{name}: {call} number {number} fails with {error}"
        expected, img = self.digest(name), self.copy()
        done, lines = self.traced(img, name, "-e", "trace=" + call, "-e", f"inject={call}:error={error}:when={number}")
        hit = [line for line in lines if "(INJECTED)" in line]
        if not hit:
            return False
        in_store = [line for line in hit if str(img.store) in line]
        ours = [line for line in in_store if call in PROMISES and re.search(r"/(blobs|ingest)|index\.json", line)]
        if done.code == 0 and ours and call in ("fsync", "fdatasync"):
            self.fail(f"{what}: taken for success\n{ours}\n{done}")
        spoke = not any(re.search(r"write\((1|2)<", line) for line in hit)
        if done.code != 0 and spoke:
            self.assert_clear_error(done, f"{what}\n" + "\n".join(hit))
        result = self.commands[name][1]
        if done.code == 0 and result:
            self.assertEqual(img.image(result).digest, expected, what)
        self.assert_undamaged(img, what + "\n" + "\n".join(hit))
        self.assert_works_again(img, name, what)
        return True

    def test_every_call(self):
        plan = []
        for name in self.commands:
            for call, count in self.calls(name).items():
                some = range(1, count + 1) if FULL else {CHANCE.randrange(1, count + 1) for _ in range(3)}
                plan += [(name, call, number, "EROFS" if CHANCE.random() < 0.2 else "EIO") for number in some]
        self.sweep(plan, self.break_call)

    def test_a_layer_that_the_disk_does_not_take_is_no_layer(self):
        """The layers of a build are synced together at its end: the one that fails is removed, and made again next time."""
        broken = set()
        for number in range(1, 5):
            expected, img = self.digest("build"), self.copy()
            done, lines = self.traced(img, "build", "-e", "trace=fsync", "-e", f"inject=fsync:error=EIO:when={number}")
            hit = {name for line in lines if "(INJECTED)" in line for name in re.findall(r"/blobs/sha256/([0-9a-f]{64})", line)}
            what = f"fsync number {number} of each process fails\n" + "\n".join(lines)
            self.assertNotEqual(done.code, 0, what)
            self.assert_clear_error(done, what)
            for name in hit:
                self.assertFalse((img.store / "blobs/sha256" / name).exists(), f"{name}\n{what}")
            self.assert_undamaged(img, what)
            self.assert_works_again(img, "build", what)
            self.assertEqual(img.image(self.commands["build"][1]).digest, expected, what)
            broken |= hit
        self.assertGreaterEqual(len(broken), 2, "layers and documents")

    def test_interrupted_calls_are_made_again(self):
        """Every second call of a kind is interrupted by a signal."""
        # signal(7): those that a signal can interrupt. The step is odd, or of two calls that alternate always the same fails.
        calls = ("read", "write", "flock", "wait4", "waitid", "poll", "epoll_wait", "sendmsg", "recvmsg", "connect", "accept4")

        def storm(name, call):
            img = self.copy()
            done, _ = self.traced(img, name, "-e", "trace=" + call, "-e", f"inject={call}:error=EINTR:when=2+3")
            self.assertEqual(done.code, 0, f"{name}, {call}\n{done}")
            self.assert_undamaged(img, f"{name}, {call}")
        self.sweep([(name, call) for name in self.commands for call in calls], storm)


class Limits(FaultCase):
    def limited(self, name, option):
        what = f"{name} with {option}"
        self.digest(name)
        img = self.copy()
        done = run(["prlimit", option, *img.argv(*self.commands[name][0])], env=self.env, check=False)
        if done.code != 0 and "error while loading" not in done.err:
            self.assert_clear_error(done, what)
        self.assert_undamaged(img, what)
        self.assert_works_again(img, name, what)

    def test_few_descriptors(self):
        self.sweep([(name, f"--nofile={count}:{count}") for name in self.commands for count in range(12, 65)], self.limited)

    def test_small_files_only(self):
        sizes = [0, 1, 100, 4096, 50_000, 1 << 20]
        self.sweep([(name, f"--fsize={size}:{size}") for name in self.commands for size in sizes], self.limited)

    def test_little_memory(self):
        sizes = [mega << 20 for mega in range(16, 400, 8)]
        self.sweep([(name, f"--as={size}:{size}") for name in self.commands for size in sizes], self.limited)

    def test_a_reader_that_goes_away(self):
        for words in (["images"], ["save", "busybox"], ["inspect", "busybox"], ["verify", "--format", "json"]):
            with self.subTest(words):
                img = self.copy()
                command = " ".join(map(str, img.argv(*words)))
                done = run(["bash", "-c", f"{{ {command}; echo $? >&2; }} | true"], env=self.env)
                self.assertNotIn("terminate", done.err)
                self.assertLessEqual(len(done.err.splitlines()), 3, done)
                self.assert_undamaged(img, words)
