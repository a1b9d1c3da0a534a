"""INT, TERM and HUP in every phase of a command: it ends within two seconds, says so, and leaves nothing behind.

Phases are reached by failpoints that stop the process (store/failpoint.h), by input that does not come to its end, and by a
step that takes its time. A command that had all but ended may as well end with 0.
"""
import contextlib
import io
import itertools
import os
import pathlib
import random
import signal
import subprocess
import tarfile
import time

from lib import harness
from lib.harness import run

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECONDS = 2
DOCKERFILE = "FROM busybox\nCOPY data /data\nRUN cp /data/a /b\n"


class Signals(harness.TestCase):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("mounting needs root")
        run(["mount", "-t", "tmpfs", "none", self.dir])
        self.addCleanup(run, ["umount", "--lazy", self.dir])
        self.env = {"IMG_RUNROOT": str(self.dir / "run")}
        self.img_ = self.img(env=self.env)
        self.archive = self.dir / "archive.tar"
        self.context = self.write({"data/a": "a\n" * 50000, "Dockerfile": DOCKERFILE})
        self.img_("save", "-o", self.archive, "busybox")
        self.img_("run", "--net", "none", "--name", "box", "busybox", "sh", "-c", "echo new > /new")
        self.before = self.world()

    def world(self):
        store = self.img_.store
        return {"processes": harness.processes(), "mounts": harness.mounts(),
                **{folder: sorted(os.listdir(store / folder)) if (store / folder).exists() else []
                   for folder in ("ingest", "trash", "leases", "containers")},
                "files": sorted(p.name for p in self.dir.iterdir())}

    def start(self, words, failpoint=None, stdin=subprocess.DEVNULL):
        env = {**os.environ, **self.env, **({"IMG_FAILPOINT": failpoint + ":stop"} if failpoint else {})}
        process = subprocess.Popen(self.img_.argv(*words), stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   env=env, start_new_session=True)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()

    def stopped(self):
        """Processes of the suite that a failpoint has stopped."""
        found = []
        for pid in harness.processes():
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T":
                    found.append(pid)
        return found

    def assert_ends(self, process, number, what, may_succeed=False):
        began = time.monotonic()
        _, err = process.communicate(timeout=20)
        self.assertLess(time.monotonic() - began, SECONDS, what)
        codes = [128 + number] + ([0] if may_succeed else [])
        self.assertIn(process.returncode, codes, f"{what}\n{err.decode()}")
        if process.returncode:
            self.assertIn(b"interrupted", err, what)
        deadline = time.monotonic() + 1
        while (now := self.world()) != self.before and time.monotonic() < deadline:
            time.sleep(0.01)
        for key, value in self.before.items():
            self.assertEqual(now[key], value, f"{what}: {key}")
        checked = self.img_("verify", check=False)
        self.assertEqual((checked.code, checked.out), (0, ""), f"{what}\n{checked}")

    def interrupt_at(self, words, failpoint, number):
        what = f"{' '.join(map(str, words[:1]))} at {failpoint}, {number.name}"
        process = self.start(words, failpoint)
        harness.wait_until(lambda: self.stopped() or process.poll() is not None, "the phase is reached")
        if process.poll() is not None:
            process.communicate()
            self.assertEqual(process.returncode, 0, what)
            return False
        process.send_signal(number)
        for pid in self.stopped():
            os.kill(pid, signal.SIGCONT)
        self.assert_ends(process, number, what, may_succeed=True)
        return True

    def phases(self, words, failpoints, prepare=lambda: None):
        reached = 0
        for failpoint, number in itertools.product(failpoints, SIGNALS):
            with self.subTest(failpoint=failpoint, signal=number.name):
                prepare()
                reached += self.interrupt_at(words, failpoint, number)
        self.assertGreater(reached, 0)

    def forget(self, *names):
        """The image and its unpacked layers go, so that all of it is made again."""
        for name in names:
            self.img_("rmi", "-f", name, check=False)
        for layer in (self.img_.store / "layers").iterdir():
            run(["rm", "-r", layer])

    def test_load(self):
        self.phases(["load", "-i", self.archive], ("blobs.beforeRename", "images.beforeWrite"), lambda: self.forget("busybox"))

    def test_import(self):
        self.phases(["import", harness.busybox_tar(), "imported"], ("layers.beforeMeta", "blobs.beforeRename"),
                    lambda: self.forget("imported", "busybox"))

    def test_build(self):
        """Unpacking of the base, the first sealed layer, the name at the end."""
        self.phases(["build", "--no-cache", "--network", "none", "-q", "-t", "app", self.context],
                    ("layers.beforeMeta", "blobs.beforeRename", "images.beforeWrite"), lambda: self.forget("app"))

    def copy_of_many(self):
        """A build whose layer of many files is a folder of the store, not an index: the words of it."""
        self.env["IMG_LAYER_VIEW"] = "directory"
        many = self.write({"Dockerfile": "FROM busybox\nCOPY files /files\n", **{f"files/{n}": "" for n in range(3_000)}}, "many")
        return ["build", "--no-cache", "--network", "none", "-q", "-t", "app", many]

    def test_a_copy_of_many_files(self):
        """More than are removed while somebody waits (store/remover.h)."""
        words = self.copy_of_many()
        self.before = self.world()
        self.phases(words, ("layers.beforeMeta",), lambda: self.forget("app"))

    def test_what_a_killed_copy_and_a_killed_remover_leave_goes_with_the_next_command(self):
        words = self.copy_of_many()
        self.before = self.world()
        process = self.start(words, "layers.beforeMeta")
        harness.wait_until(self.stopped, "the phase is reached")
        for pid in (process.pid, *self.stopped()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        left = set(os.listdir(self.img_.store / "ingest"))
        self.assertTrue(left)
        failing = self.img(env={**self.env, "IMG_FAILPOINT": "remover.begun"})
        failing("images")
        harness.wait_until(lambda: harness.processes() == self.before["processes"], "the remover is dead")
        self.assertTrue(left & set(os.listdir(self.img_.store / "ingest")))
        self.img_("images")
        harness.wait_until(lambda: self.world() == self.before, "nothing is left")

    def test_commit(self):
        self.phases(["commit", "box", "committed"], ("blobs.beforeRename", "images.beforeWrite"), lambda: self.forget("committed"))

    def test_a_step_that_runs(self):
        for number in SIGNALS:
            with self.subTest(number.name):
                process = self.start(["build", "--no-cache", "--network", "none", "-q", "-"], stdin=subprocess.PIPE)
                process.stdin.write(b"FROM busybox\nRUN sleep 61\n")
                process.stdin.close()
                process.stdin = None
                harness.wait_until(lambda: any("sleep 61" in line for line in harness.processes().values()), "the phase is reached")
                process.send_signal(number)
                self.assert_ends(process, number, f"RUN, {number.name}")

    def test_input_that_does_not_end(self):
        tar = pathlib.Path(harness.busybox_tar()).read_bytes()
        for words, number in itertools.product((["load"], ["import", "-", "imported"]), SIGNALS):
            with self.subTest(words, signal=number.name):
                process = self.start(words, stdin=subprocess.PIPE)
                feed = self.archive.read_bytes() if words == ["load"] else tar
                process.stdin.write(feed[:300_000])
                process.stdin.flush()
                harness.wait_until(lambda: os.listdir(self.img_.store / "ingest"), "the phase is reached")
                process.send_signal(number)
                pipe, process.stdin = process.stdin, None
                self.assert_ends(process, number, f"{words[0]}, {number.name}")
                pipe.close()

    def test_files_that_are_written(self):
        """save, export, and the local output of a build of a large image: no half file."""
        large = self.dir / "large.tar"
        with tarfile.open(large, "w") as tar:
            for name in range(300):
                info = tarfile.TarInfo(f"files/{name}")
                info.size = 400_000
                tar.addfile(info, io.BytesIO(random.Random(name).randbytes(400_000)))
        self.img_("import", large, "large")
        large.unlink()
        self.img_("create", "--net", "none", "--name", "bigbox", "large", "none")
        self.before = self.world()
        out = self.dir / "out"
        for words in (["save", "-o", out, "large"], ["export", "-o", out, "bigbox"],
                      ["build", "--network", "none", "-q", "-o", f"type=local,dest={out}", "-"]):
            with self.subTest(words[0]):
                process = self.start(words, stdin=subprocess.PIPE)
                if words[-1] == "-":
                    process.stdin.write(b"FROM large\n")
                process.stdin.close()
                process.stdin = None
                time.sleep(0.05)
                process.send_signal(signal.SIGTERM)
                _, err = process.communicate(timeout=20)
                self.assertIn(process.returncode, (0, 143), err)
                self.assert_no_half(out)
                run(["rm", "-rf", out])
                self.assertEqual(self.world(), self.before, words[0])

    def assert_no_half(self, out):
        if out.is_dir():
            for file in out.rglob("*"):
                if file.is_file():
                    self.assertEqual(file.stat().st_size, 400_000, file)
        elif out.exists():
            with tarfile.open(out) as tar:
                self.assertTrue(tar.getnames())
