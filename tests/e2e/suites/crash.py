"""kill -9 at every call and every step, and power cuts: what a command said is stored is whole, the rest is gone.

    python3 tests/e2e/run.py --bin DIR crash                a random sample, at most a minute (the seed is printed)
    IMG_CRASH_FULL=1 python3 tests/e2e/run.py ... crash     every call of every command, every failpoint, every cut
    IMG_CRASH_SEED=N                                        the same sample again
    IMG_CRASH_ONLY=COMMAND                                  kill -9 of this one alone

kill -9: strace kills each process of a command at its N-th call of SET, for all N. Power cut: the store lies on ext4 in a
loop device, which the shutdown ioctl of the file system cuts off (flag 0: all on the disk; 1: the journal, not the data;
2: neither), then it is mounted again under another boot id.
"""
import collections
import contextlib
import fcntl
import gzip
import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import tarfile
import time

from lib import harness, registries
from lib.harness import run

FULL = bool(os.environ.get("IMG_CRASH_FULL"))
SEED = int(os.environ.get("IMG_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
SECONDS = 1e9 if FULL else 12  # of each sweep
ONLY = os.environ.get("IMG_CRASH_ONLY", "")
CHANCE = random.Random(SEED)

SET = ("openat,write,pwrite64,copy_file_range,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,symlink,"
       "symlinkat,fsync,fdatasync,syncfs,ftruncate,fchmod,fchmodat,fchown,fchownat,setxattr,fsetxattr,mount,umount2,move_mount,"
       "clone,clone3,fork,vfork,execve,flock")
FAILPOINTS = ("blobs.beforeFsync", "blobs.beforeRename", "blobs.afterRename", "layers.beforeMeta", "layers.beforeRename",
              "layers.afterRename", "images.beforeWrite", "images.beforeRename", "images.afterRename", "gc.beforeLock",
              "gc.buried", "gc.beforeUnlink", "lease.pinned", "containers.beforeRename", "containers.afterRename",
              "containers.removing")
SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32): EXT4_IOC_SHUTDOWN, linux/ext4.h
BOOT_ID = "/proc/sys/kernel/random/boot_id"

DOCKERFILE = """FROM busybox
COPY data /data
RUN --mount=type=cache,target=/cache echo kept > /cache/x && cp /data/a /b
RUN rm /data/a && mkdir -p /d/e
WORKDIR /w
"""


def setUpModule():
    print(f"seed {SEED}", flush=True)


class Command:
    """What is run, the names that it makes or takes away, and what its result is known by."""

    def __init__(self, words, makes=(), removes=(), result=None):
        self.words, self.makes, self.removes, self.result = words, set(makes), set(removes), result


class CrashCase(harness.TestCase):
    """A store with an image, a second name, a container and an archive; each test gets copies of it."""

    def setUp(self):
        super().setUp()
        self.present = harness.processes()  # a registry
        self.env = {"SOURCE_DATE_EPOCH": "1600000000", "IMG_RUNROOT": str(self.dir / "run")}
        context = self.dir / "ctx"
        self.archive, self.saved = self.dir / "archive.tar", self.dir / "saved.tar"
        self.commands = {
            "build": Command(["build", "--network", "none", "-q", "-t", "app", context], ["app"], result="app"),
            "load": Command(["load", "-i", self.archive], ["packed"], result="packed"),
            "tag": Command(["tag", "busybox", "other"], ["other"], result="other"),
            "rmi": Command(["rmi", "second"], removes=["second"]),
            "commit": Command(["commit", "box", "committed"], ["committed"], result="committed"),
            "run": Command(["run", "--rm", "--net", "none", "busybox", "true"]),
            "save": Command(["save", "-o", self.saved, "busybox"]),
            "import": Command(["import", harness.busybox_tar(), "imported"], ["imported"], result="imported"),
            "prune": Command(["prune", "-f", "-a"], removes=["second", "busybox"]),
        }

    def fill(self, store):
        context = self.write({"data/a": "a\n" * 5000, "data/b": "b", "Dockerfile": DOCKERFILE})
        harness.set_times(context)
        img = harness.Img(store, env=self.env)
        img.with_busybox()
        img("build", "--network", "none", "-q", "-t", "second", "-", stdin="FROM busybox\nRUN echo second > /second\n")
        packed = harness.Img(self.dir / "elsewhere", env=self.env)
        if not self.archive.exists():
            packed.with_busybox()
            packed("build", "--network", "none", "-q", "-t", "packed", "-", stdin="FROM busybox\nRUN echo p > /p\n")
            packed("save", "-o", self.archive, "packed")
        img("run", "--net", "none", "--name", "box", "busybox", "sh", "-c", "echo new > /new; rm /etc/group")
        return img

    @contextlib.contextmanager
    def copy_of(self, template):
        where = self.dir / "copy"
        run(["cp", "-a", "--reflink=auto", template, where])
        try:
            yield harness.Img(where, env=self.env)
        finally:
            shutil.rmtree(where)
            self.saved.unlink(missing_ok=True)

    def names(self, img):
        index = json.loads((img.store / "index.json").read_text())
        return {d["annotations"]["org.opencontainers.image.ref.name"].removeprefix("docker.io/library/").removesuffix(":latest")
                for d in index["manifests"] if "annotations" in d}

    def result(self, img, command):
        return img.image(command.result).digest if command.result else None

    def quiet_processes(self):
        """Those that the command left behind may take a moment to die."""
        deadline = time.monotonic() + 2
        while (left := self.others()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return left

    def others(self):
        return {pid: what for pid, what in harness.processes().items() if pid not in self.present}

    def check(self, img, command, before, expected, what):
        self.assertEqual(self.quiet_processes(), {}, what)
        self.assertEqual(harness.mounts(), self.mounts, what)
        names = self.names(img)
        if command.words[0] == "prune":  # one image after the other
            self.assertLessEqual(names, before, what)
            self.assertLessEqual(before - command.removes, names, what)
        else:
            self.assertIn(names, (before, (before | command.makes) - command.removes), what)
        self.assert_verified(img, what)
        again = img(*command.words, check=False)
        gone = command.removes and not command.removes <= names
        if not gone:
            self.assertEqual(again.code, 0, f"{what}\n{again}")
        self.assertEqual(self.result(img, command), expected, what)
        self.assert_verified(img, what)
        for folder in ("ingest", "trash", "leases"):
            left = [n for n in os.listdir(img.store / folder) if n != "partial"] if (img.store / folder).exists() else []
            self.assertEqual(left, [], f"{what}: {folder}")
        # The download that was cut off has become the blob.
        self.assertEqual([p.name for p in img.store.glob("ingest/partial/*")], [], what)

    def assert_verified(self, img, what):
        checked = img("verify", check=False)
        lines = [line for line in checked.out.splitlines() if not self.is_harmless(line)]
        self.assertEqual((checked.code, lines), (0, []), f"{what}\n{checked}")

    def is_harmless(self, line):
        return False


class Kill9(CrashCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = registries.Registry()
        cls.addClassCleanup(cls.registry.stop)
        cls.pulled = cls.put_image()

    @classmethod
    def put_image(cls):
        """Two layers, one of which is no other command's; the name to pull them by."""
        large = io.BytesIO()
        with tarfile.open(fileobj=large, mode="w") as tar:
            info = tarfile.TarInfo("random")
            info.size, info.mtime = 3 << 20, harness.PAST
            tar.addfile(info, io.BytesIO(random.Random(1).randbytes(info.size)))
        tars = [pathlib.Path(harness.busybox_tar()).read_bytes(), large.getvalue()]
        put = lambda data: cls.registry.put_blob("crash", data)
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"]}, "rootfs": {
            "type": "layers", "diff_ids": [registries.sha256(tar) for tar in tars]}}).encode()
        cls.registry.put_manifest("crash", "v1", {
            "schemaVersion": 2, "mediaType": registries.MANIFEST, "config": {"mediaType": registries.CONFIG, **put(config)},
            "layers": [{"mediaType": registries.LAYER, **put(gzip.compress(tar, 1, mtime=0))} for tar in tars]})
        return cls.registry.host + "/crash:v1"

    def setUp(self):
        super().setUp()
        self.env |= {"CONTAINERS_REGISTRIES_CONF": "/dev/null", "REGISTRY_AUTH_FILE": None, "DOCKER_AUTH_CONFIG": None}
        self.commands["pull"] = Command(["pull", self.pulled], [self.pulled], result=self.pulled)
        self.commands = {name: command for name, command in self.commands.items() if ONLY in ("", name)}
        # What is on a disk makes no difference to a kill; copies of the store are made in memory.
        if os.geteuid() == 0:
            run(["mount", "-t", "tmpfs", "none", self.dir])
            self.addCleanup(run, ["umount", "--lazy", self.dir])
        self.template = self.fill(self.dir / "template").store
        self.mounts = harness.mounts()
        self.before = self.names(harness.Img(self.template))

    def undisturbed(self, command):
        """The digest that the command gives, and the calls of its busiest process."""
        with self.copy_of(self.template) as img:
            log = self.dir / "calls"
            run(["strace", "-f", "-qq", "-o", log, "-e", "trace=" + SET, "-e", "signal=none", *img.argv(*command.words)],
                env=self.env, timeout=120)
            calls = collections.Counter(line.split()[0] for line in log.read_text(errors="replace").splitlines())
            return self.result(img, command), max(calls.values())

    def known(self, name):
        return name in self.commands and harness.run([harness.program("img"), name, "--help"], check=False).code == 0

    def kill_at(self, command, number, expected):
        with self.copy_of(self.template) as img:
            run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + SET, "-e", "signal=none",
                 "-e", f"inject={SET}:signal=SIGKILL:when={number}", *img.argv(*command.words)],
                env=self.env, check=False, timeout=120)
            self.check(img, command, self.before, expected, f"{command.words[0]}, killed at call {number}")

    def test_every_call(self):
        plan, calls, expected = [], {}, {}
        for name, command in self.commands.items():
            if not self.known(name):
                continue
            expected[name], calls[name] = self.undisturbed(command)
            plan += [(name, number) for number in range(1, calls[name] + 1)]
        CHANCE.shuffle(plan)
        deadline, done = time.monotonic() + SECONDS, collections.Counter()
        for name, number in plan:
            if time.monotonic() > deadline and sum(done.values()) > 5:
                break
            with self.subTest(name, call=number):
                self.kill_at(self.commands[name], number, expected[name])
            done[name] += 1
        print("killed:", ", ".join(f"{name} {done[name]} of {calls[name]}" for name in calls), flush=True)
        self.assertGreater(sum(done.values()), 5)

    def test_every_failpoint(self):
        plan = [(name, point) for name in self.commands if self.known(name) for point in FAILPOINTS]
        CHANCE.shuffle(plan)
        deadline, fired, expected = time.monotonic() + SECONDS, 0, {}
        for name, point in plan:
            if time.monotonic() > deadline and fired > 3:
                break
            command = self.commands[name]
            with self.subTest(name, failpoint=point), self.copy_of(self.template) as img:
                if name not in expected:
                    img(*command.words)
                    expected[name] = self.result(img, command)
                    shutil.rmtree(img.store)
                    run(["cp", "-a", self.template, img.store])
                killed = img(*command.words, check=False, env={"IMG_FAILPOINT": point})
                if killed.code == 0:
                    continue
                fired += 1
                self.check(img, command, self.before, expected[name], f"{name} at {point}")
        print(f"failpoints: {fired} fired", flush=True)
        self.assertGreater(fired, 3)


class Disk:
    """ext4 in a file, mounted through a loop device that goes with the mount."""

    def __init__(self, file, point, options=""):
        self.file, self.point, self.options = file, point, options
        point.mkdir(exist_ok=True)

    def make(self):
        with open(self.file, "wb") as file:
            file.truncate(128 << 20)
        run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", self.file])
        return self

    def mount(self):
        run(["mount", "-o", ",".join(filter(None, ["loop", self.options])), self.file, self.point])

    def cut(self, flag):
        fd = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", flag))
        finally:
            os.close(fd)

    def unmount(self, check=True):
        for _ in range(100):
            if run(["umount", self.point], check=False).code == 0:
                return
            time.sleep(0.02)
        if check:
            run(["umount", self.point])

    @contextlib.contextmanager
    def mounted(self):
        self.mount()
        try:
            yield
        finally:
            self.unmount()


@contextlib.contextmanager
def another_boot(folder):
    """The kernel says another boot id, in this suite's mount namespace."""
    file = folder / "boot_id"
    file.write_text("00000000-1111-2222-3333-%012x\n" % CHANCE.randrange(1 << 48))
    run(["mount", "--bind", file, BOOT_ID])
    try:
        yield
    finally:
        run(["umount", BOOT_ID])


class PowerCut(CrashCase):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("mounting needs root")
        harness.require("mkfs.ext4")
        self.point = self.dir / "disk"
        self.template = Disk(self.dir / "template.ext4", self.point).make()
        self.addCleanup(self.template.unmount, False)
        with self.template.mounted():
            self.fill(self.point / "store")
            self.before = self.names(harness.Img(self.point / "store"))

    def is_harmless(self, line):
        """Records of the cache are never synced: a power cut may take them (reliability.md S-3)."""
        return line.startswith("cache record ") and line.endswith(": dropped")

    def disk(self, options):
        copy = self.dir / "cut.ext4"
        run(["cp", "--sparse=always", self.template.file, copy])
        return Disk(copy, self.point, options)

    def assert_whole(self, img, command, what, is_done):
        names = self.names(img)
        if is_done:
            self.assertEqual(names, (self.before | command.makes) - command.removes, what)
        else:
            self.assertIn(names, (self.before, (self.before | command.makes) - command.removes), what)
        self.assert_verified(img, what)
        for name in sorted(names):
            ran = img("run", "--rm", "--net", "none", name, "true", check=False)
            self.assertEqual(ran.code, 0, f"{what}: {name}\n{ran}")
        self.assertEqual(self.quiet_processes(), {}, what)

    @contextlib.contextmanager
    def syncing(self, wanted):
        """Another process that makes the journal commit at any moment."""
        if not wanted:
            yield
            return
        code = "import os,sys\nf=os.open(sys.argv[1],os.O_CREAT|os.O_WRONLY)\nwhile True:\n os.write(f,b'x')\n os.fsync(f)\n"
        other = subprocess.Popen(["python3", "-c", code, self.point / "other"], stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            other.kill()
            other.wait()

    def cut_after_exit(self, name, flag, options, syncing, env):
        command, disk = self.commands[name], self.disk(options)
        what = f"{name}, flag {flag}, {options or 'defaults'}, fsync loop {syncing}, {env}"
        img = harness.Img(self.point / "store", env={**self.env, **env})
        with disk.mounted(), self.syncing(syncing):
            img(*command.words)
            disk.cut(flag)
        with disk.mounted(), another_boot(self.dir):
            if env:
                img("images")  # the check after the boot takes out what is lost
                kept = self.names(img)
                self.assertLessEqual(kept, self.before | command.makes, what)
                self.before, before = kept & self.before, self.before
                self.assert_whole(img, command, what, is_done=False)
                self.before = before
            else:
                self.assert_whole(img, command, what, is_done=True)

    def cut_at_failpoint(self, name, point, flag, options):
        command, disk = self.commands[name], self.disk(options)
        what = f"{name} at {point}, flag {flag}, {options or 'defaults'}"
        img = harness.Img(self.point / "store", env=self.env)
        with disk.mounted():
            process = subprocess.Popen([os.fspath(w) for w in img.argv(*command.words)], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, start_new_session=True,
                                       env={**os.environ, **self.env, "IMG_FAILPOINT": point + ":stop"})
            is_done = not self.wait_for_stop(process)
            disk.cut(flag)
            for pid in harness.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
            self.quiet_processes()
        with disk.mounted(), another_boot(self.dir):
            self.assert_whole(img, command, what, is_done)
        return not is_done

    def wait_for_stop(self, process):
        """True when any process of the command has stopped, False when it ended."""
        while process.poll() is None:
            for pid in harness.processes():
                with contextlib.suppress(OSError):
                    if pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T":
                        return True
            time.sleep(0.002)
        self.assertEqual(process.returncode, 0)
        return False

    def sweep(self, plan, work):
        CHANCE.shuffle(plan)
        deadline, done = time.monotonic() + SECONDS, 0
        for case in plan:
            if time.monotonic() > deadline and done > 3:
                break
            with self.subTest(case=case):
                done += work(*case) is not False
        print(f"cuts: {done} of {len(plan)}", flush=True)
        self.assertGreater(done, 3)

    STORING = ("build", "load", "commit", "tag", "rmi", "import")

    def test_after_exit(self):
        self.sweep([(name, flag, options, syncing, {}) for name in self.STORING for flag in (0, 1, 2)
                    for options in ("", "noauto_da_alloc") for syncing in (False, True)], self.cut_after_exit)

    def cut_before_the_sync(self, flag, options):
        """All layers of a build are there, with their records, and none is on the disk."""
        command, disk = self.commands["build"], self.disk(options)
        what = f"before the first sync, flag {flag}, {options or 'defaults'}"
        img = harness.Img(self.point / "store", env=self.env)
        with disk.mounted():
            process = subprocess.Popen([os.fspath(w) for w in img.argv(*command.words)], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, start_new_session=True,
                                       env={**os.environ, **self.env, "IMG_FAILPOINT": "blobs.beforeFsync:stop"})
            self.assertTrue(self.wait_for_stop(process), what)
            records = len(list((img.store / "cache/steps").iterdir()))
            waiting = [b for b in (img.store / "blobs/sha256").iterdir() if b.stat().st_mode & 0o200]
            self.assertGreaterEqual(min(records, len(waiting)), 3, what)
            disk.cut(flag)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.quiet_processes()
        with disk.mounted(), another_boot(self.dir):
            img(*command.words)
            self.assert_whole(img, command, what, is_done=True)
            shown = img("run", "--rm", "--net", "none", "app", "cat", "/b", "/data/b").out
            self.assertEqual(shown, "a\n" * 5000 + "b", what)

    def test_records_lead_to_no_layer_that_was_lost(self):
        for flag in (0, 1, 2):
            with self.subTest(flag=flag):
                self.cut_before_the_sync(flag, "noauto_da_alloc" if flag == 1 else "")

    def test_without_durability(self):
        self.sweep([(name, flag, options, False, {"IMG_DURABILITY": "fast"}) for name in ("build", "load", "import")
                    for flag in (1, 2) for options in ("", "noauto_da_alloc")], self.cut_after_exit)

    def test_in_between(self):
        self.sweep([(name, point, flag, options) for name in self.STORING for point in FAILPOINTS for flag in (0, 1, 2)
                    for options in ("", "noauto_da_alloc")], self.cut_at_failpoint)
