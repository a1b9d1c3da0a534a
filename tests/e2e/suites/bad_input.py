"""What goes wrong is said in one form, with the right exit code, and leaves nothing behind.

Each test ends with leaves_nothing(): the store still builds, `mount` lists what it listed before, no process is
left in the suite's pid namespace, and ingest/ holds no litter after the next command.
"""
import hashlib
import io
import json
import os
import re
import signal
import tarfile
import time

from lib import harness
from lib.harness import Img, run


class BadInput(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.mounts = harness.mounts()
        self.store = self.img()

    def leaves_nothing(self, store=None):
        store = store or self.store
        deadline = time.monotonic() + 10
        while harness.processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(harness.processes(), {})
        context = self.write({"Dockerfile": "FROM busybox\nRUN echo fine > /fine\n"}, "afterwards")
        store.build(context, "afterwards", "--no-cache")
        self.assertEqual(store("run", "--rm", "--net", "none", "afterwards", "cat", "/fine").out, "fine\n")
        self.assertEqual(harness.mounts(), self.mounts)
        self.assertEqual(sorted(os.listdir(store.store / "ingest")), [], "litter in ingest/")
        self.assertEqual(store("images", "-q", check=False).code, 0)

    def fails(self, dockerfile, files=None, code=1, store=None, args=()):
        context = self.write({**(files or {}), "Dockerfile": dockerfile})
        shown = (store or self.store).build(context, "bad", *args, check=False)
        self.assertEqual(shown.code, code, str(shown))
        self.assertEqual(shown.out, "", str(shown))
        self.assertNotRegex(shown.err, r"(?i)terminate called|std::|0x[0-9a-f]{8}|json\.exception|Assertion")
        return shown

    def error(self, shown, sentence, line=None, contains=()):
        """The form of cli.md 4: a sentence in lower case without a full stop, then the position, then notes."""
        found = [l for l in shown.err.splitlines() if l.startswith("error: ")]
        self.assertTrue(found, str(shown))
        self.assertRegex(found[0], rf"^error: .*{sentence}")
        self.assertFalse(found[0].endswith("."), found[0])
        if line is not None:
            self.assertRegex(shown.err, rf"(?m)^ *--> \S*Dockerfile:{line}:\d+")
            self.assertRegex(shown.err, rf"(?m)^ *{line} \|")
        for text in contains:
            self.assertIn(text, shown.err)

    def hint(self, shown, text):
        hints = re.findall(r"(?m)^ *= hint: (.*)$", shown.err)
        self.assertTrue(any(text in hint for hint in hints), str(shown))

    # --- the Dockerfile ---

    def test_unknown_instruction(self):
        shown = self.fails("FROM busybox\nRUNN echo hi\n")
        self.error(shown, "[Uu]nknown instruction.*RUNN", 2)
        self.hint(shown, "RUN")
        self.leaves_nothing()

    def test_missing_copy_source_names_the_near_one(self):
        shown = self.fails("FROM busybox\nRUN true\nCOPY conf/setting.yml /etc/\n", {"conf/settings.yml": "x"})
        self.error(shown, "conf/setting.yml", 3)
        self.hint(shown, "settings.yml")
        self.leaves_nothing()

    def test_ignored_copy_source_names_the_rule(self):
        shown = self.fails("FROM busybox\nCOPY secret.txt /\n", {"secret.txt": "x", ".dockerignore": "# private\nsec*\n"})
        self.error(shown, "secret.txt", 2, [".dockerignore", "sec*"])
        self.assertRegex(shown.err, r"\.dockerignore(:| line )2")
        self.leaves_nothing()

    def test_failing_run_passes_its_exit_code_and_shows_its_output(self):
        shown = self.fails("FROM busybox\nRUN echo before; \\\n  echo oops >&2; exit 7\n", code=7)
        self.error(shown, "exit code 7", 2, ["oops", "before"])
        self.leaves_nothing()

    def test_run_killed_by_a_signal(self):
        # In a child, and not as the last command, which the shell would become: pid 1 is immune to its own signals.
        shown = self.fails("FROM busybox\nRUN sh -c 'kill -9 $$'; exit $?\n", code=137)
        self.error(shown, "", 2)
        self.leaves_nothing()

    def test_unknown_base(self):
        shown = self.fails("FROM no-such/base:1.2\nRUN true\n")
        self.error(shown, "no-such/base:1.2", 1)
        self.leaves_nothing()

    def test_empty_base_name_names_the_argument(self):
        shown = self.fails("ARG BASE\nFROM $BASE\n")
        self.error(shown, "", 2, ["BASE"])
        self.leaves_nothing()

    def test_unknown_stage_lists_near_names(self):
        shown = self.fails("FROM busybox AS builder\nFROM busybox\nCOPY --from=bilder /bin/sh /sh\n")
        self.error(shown, "bilder", 3)
        shown = self.fails("FROM busybox AS builder\nRUN true\n", args=["--target", "bilder"])
        self.error(shown, "bilder", contains=["builder"])
        self.leaves_nothing()

    def test_run_without_a_shell(self):
        shown = self.fails("FROM scratch\nCOPY Dockerfile /\nRUN echo hi\n", code=127)
        self.error(shown, "", 3, ["/bin/sh"])
        self.leaves_nothing()

    def test_no_dockerfile_and_no_context(self):
        (self.dir / "empty").mkdir()
        shown = self.store.build(self.dir / "empty", "x", check=False)
        self.assertEqual(shown.code, 1, str(shown))
        self.error(shown, "Dockerfile")
        shown = self.store.build(self.dir / "not-there", "x", check=False)
        self.assertIn(shown.code, (1, 125), str(shown))
        self.error(shown, "not-there")
        self.leaves_nothing()

    def test_copy_source_outside_the_context(self):
        outside = self.dir / "outside"
        outside.write_text("secret")
        context = self.write({"Dockerfile": "FROM busybox\nCOPY link /stolen\n"})
        os.symlink(outside, context / "link")
        shown = self.store.build(context, "bad", check=False)
        self.assertEqual(shown.code, 1, str(shown))
        self.error(shown, "", 2)
        self.leaves_nothing()

    def test_a_failed_build_does_not_move_the_tag(self):
        self.store.build(self.write({"Dockerfile": "FROM busybox\nRUN true\n"}), "bad")
        before = self.store.image("bad").digest
        self.fails("FROM busybox\nRUN exit 1\n")
        self.assertEqual(self.store.image("bad").digest, before)
        self.leaves_nothing()

    # --- the machine ---

    def small_disk(self, size):
        where = self.dir / "small"
        where.mkdir()
        run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", where])
        self.addCleanup(run, ["umount", where])
        self.mounts = harness.mounts()
        store = Img(where / "store")
        self.addCleanup(store.remove_containers)
        return store.with_busybox()

    def test_full_disk_in_a_copy(self):
        store = self.small_disk("24m")
        shown = self.fails("FROM busybox\nCOPY big /big\n", {"big": os.urandom(1 << 20) * 40}, store=store)
        self.error(shown, "")
        self.assertRegex(shown.err, r"(?i)no space left|ENOSPC")
        self.leaves_nothing(store)

    def test_full_disk_in_a_run_step(self):
        store = self.small_disk("24m")
        shown = self.fails("FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=40\n", store=store)
        self.assertRegex(shown.err, r"(?i)no space left")
        self.leaves_nothing(store)

    def test_full_disk_while_importing(self):
        store = self.small_disk("24m")
        archive = self.dir / "big.tar"
        with tarfile.open(archive, "w") as tar:
            info = tarfile.TarInfo("big")
            info.size = 40 << 20
            tar.addfile(info, io.BytesIO(os.urandom(1 << 20) * 40))
        shown = store("import", archive, "big", check=False)
        self.assertEqual(shown.code, 1, str(shown))
        self.assertRegex(shown.err, r"(?i)no space left|ENOSPC")
        self.leaves_nothing(store)

    def start_long_step(self, mark):
        context = self.write({"Dockerfile": f"FROM busybox\nRUN echo working > /file; sleep {mark} & sleep {mark}\n"}, mark)
        process = self.store.start("build", "--network", "host", "-t", "bad", context)
        deadline = time.monotonic() + 20
        while not any(mark in line and "sleep" in line and "sh" not in line.split()[0] and "build" not in line
                      for line in harness.processes().values()):
            self.assertIsNone(process.poll(), "the build ended early")
            self.assertLess(time.monotonic(), deadline, "the step did not start")
            time.sleep(0.01)
        return process

    def ended_by(self, process, number, code):
        began = time.monotonic()
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=15)
        self.assertEqual(process.returncode, code, err.decode(errors="replace")[-2000:])
        self.assertLess(time.monotonic() - began, 5)

    def test_interrupt_in_the_middle_of_a_step(self):
        self.ended_by(self.start_long_step("7000001"), signal.SIGINT, 130)
        self.leaves_nothing()

    def test_termination_in_the_middle_of_a_step(self):
        self.ended_by(self.start_long_step("7000002"), signal.SIGTERM, 143)
        self.leaves_nothing()

    def test_kill_9_in_the_middle_of_a_step(self):
        process = self.start_long_step("7000003")
        process.kill()
        process.communicate(timeout=10)
        self.leaves_nothing()

    def test_kill_9_of_imgrun(self):
        process = self.store.start("run", "--rm", "--net", "none", "busybox", "sleep", "7000004")
        deadline = time.monotonic() + 10
        while not any("sleep 7000004" == line for line in harness.processes().values()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        process.kill()
        process.communicate(timeout=10)
        deadline = time.monotonic() + 10
        while any("sleep 7000004" == line for line in harness.processes().values()):
            self.assertLess(time.monotonic(), deadline, "the container outlives its killed launcher")
            time.sleep(0.01)
        self.store("ps", "-a")
        self.leaves_nothing()

    # --- hostile archives ---

    def tar(self, entries, name="hostile.tar"):
        """entries: (name, type, data or link name)."""
        path = self.dir / name
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for entry, kind, value in entries:
                info = tarfile.TarInfo(entry)
                info.type, info.mode = kind, 0o755
                if kind == tarfile.REGTYPE:
                    info.size = len(value)
                    tar.addfile(info, io.BytesIO(value))
                else:
                    info.linkname = value or ""
                    tar.addfile(info)
        return path

    def hostile_layers(self):
        file, link, hard, folder = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
        canary = str(self.dir / "canary")
        return {
            "dot-dot": [("../../../../../.." + canary + "/new", file, b"x")],
            "dot-dot-inside": [("a/../../" + "../" * 12 + canary[1:] + "/new", file, b"x")],
            "hard-link-out": [("h", hard, "../../../../../.." + canary + "/file"), ("h", file, b"overwritten")],
            "root-is-a-link": [(".", link, canary), ("new", file, b"x")],
            "whiteout-of-parent": [(".wh...", file, b"")],
            "whiteout-of-itself": [("a/.wh..", file, b"")],
            "whiteout-device": [("zero", tarfile.CHRTYPE, "")],
            "nul-name": [("", file, b"x")],
            "hard-link-to-nothing": [("h", hard, "does/not/exist")],
        }

    def contained_layers(self):
        """Strange, but with one safe meaning: everything stays inside the root."""
        file, link, folder = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE
        canary = str(self.dir / "canary")
        return {
            "absolute": [(canary + "/new", file, b"x")],
            "through-a-link": [("out", link, canary), ("out/new", file, b"x")],
            "through-a-relative-link": [("out", link, "../../../../../../../.." + canary), ("out/new", file, b"x")],
            "link-then-file": [("f", link, canary + "/file"), ("f", file, b"overwritten")],
            "twice": [("f", file, b"one"), ("f", folder, None), ("f", file, b"two")],
            "folder-then-link": [("d", folder, None), ("d", link, canary), ("d/new", file, b"x")],
        }

    def canary(self):
        folder = self.dir / "canary"
        folder.mkdir()
        (folder / "file").write_text("untouched")
        harness.set_times(folder)
        state = lambda: [(p.name, p.lstat().st_ino, p.lstat().st_mode, p.lstat().st_nlink, p.lstat().st_mtime,
                          p.read_bytes() if p.is_file() else sorted(os.listdir(p))) for p in (folder, folder / "file")]
        before = state()
        return lambda: self.assertEqual(state(), before, "something outside was changed")

    def archive_of(self, layer):
        """A docker-archive with that layer."""
        data = layer.read_bytes()
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                             "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(data).hexdigest()]},
                             "history": [{"created_by": "x"}]}).encode()
        manifest = json.dumps([{"Config": "config.json", "RepoTags": ["hostile:latest"], "Layers": ["layer.tar"]}]).encode()
        return self.tar([("config.json", tarfile.REGTYPE, config), ("layer.tar", tarfile.REGTYPE, data),
                         ("manifest.json", tarfile.REGTYPE, manifest)], "archive.tar")

    def test_hostile_layers_are_refused_by_load(self):
        untouched = self.canary()
        for name, entries in self.hostile_layers().items():
            with self.subTest(name):
                shown = self.store("load", "-i", self.archive_of(self.tar(entries)), check=False)
                if shown.code == 0:  # unpacked on first use: refused there
                    shown = self.store("run", "--rm", "--net", "none", "hostile", "/x", check=False)
                    self.assertEqual(shown.code, 125, str(shown))
                    self.store("rmi", "-f", "hostile")
                self.error(shown, "")
                untouched()
        self.leaves_nothing()

    def test_hostile_archives_are_refused_by_add(self):
        untouched = self.canary()
        for name, entries in self.hostile_layers().items():
            if name == "nul-name":
                continue  # no archive at all then, and copied as a file
            with self.subTest(name):
                data = self.tar(entries).read_bytes()
                self.error(self.fails("FROM busybox\nADD x.tar /into/\n", {"x.tar": data}), "", 2)
                untouched()
        self.leaves_nothing()

    def test_strange_archives_stay_inside(self):
        untouched = self.canary()
        for name, entries in self.contained_layers().items():
            with self.subTest(name):
                data = self.tar(entries)
                self.store("load", "-i", self.archive_of(data), check=False)
                untouched()
                context = self.write({"Dockerfile": "FROM busybox\nADD x.tar /into/\n", "x.tar": data.read_bytes()})
                self.store.build(context, "bad", check=False)
                untouched()
        self.leaves_nothing()

    def test_broken_archives_change_nothing(self):
        good = self.dir / "good.tar"
        self.store("save", "-o", good, "busybox")
        data = good.read_bytes()
        index = (self.store.store / "index.json").read_bytes()
        broken = {
            "empty": b"", "text": b"hello\n" * 1000, "zeros": bytes(1 << 16), "half": data[:len(data) // 2],
            "gzip-half": run(["gzip", "-c", good]).raw[:5000], "one-bit": data[:len(data) // 2] + bytes([
                data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1:],
        }
        for name, content in broken.items():
            with self.subTest(name):
                path = self.dir / "broken"
                path.write_bytes(content)
                shown = self.store("load", "-i", path, check=False)
                self.assertEqual(shown.code, 1, str(shown))
                self.error(shown, "")
                self.assertEqual((self.store.store / "index.json").read_bytes(), index)
        self.leaves_nothing()

    def test_hostile_manifests_are_refused(self):
        file = tarfile.REGTYPE
        cases = {
            "path-outside": [("manifest.json", file, b'[{"Config":"../../../etc/passwd","RepoTags":["x:1"],"Layers":[]}]')],
            "deep": [("manifest.json", file, b"[" * 100000)],
            "wrong-types": [("manifest.json", file, b'[{"Config":7,"RepoTags":"x","Layers":{}}]')],
            "missing-layer": [("manifest.json", file, b'[{"Config":"c","RepoTags":["x:1"],"Layers":["l"]}]'), ("c", file, b"{}")],
            "bad-name": [("manifest.json", file, b'[{"Config":"c","RepoTags":["../../x:1"],"Layers":[]}]'), ("c", file, b"{}")],
            "digest-is-a-path": [("oci-layout", file, b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", file,
                b'{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",'
                b'"digest":"sha256:../../../../etc/passwd","size":1}]}')],
        }
        for name, entries in cases.items():
            with self.subTest(name):
                shown = self.store("load", "-i", self.tar(entries), check=False)
                self.assertEqual(shown.code, 1, str(shown))
                self.error(shown, "")
        self.leaves_nothing()

    def test_a_damaged_blob_is_found(self):
        self.store.build(self.write({"Dockerfile": "FROM busybox\nRUN echo x > /x\n"}), "app")
        image = self.store.image("app")
        path = image.blob_path(image.id)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(bytes(data))
        shown = self.store("run", "--rm", "--net", "none", "app", "true", check=False)
        self.assertEqual(shown.code, 125, str(shown))
        self.error(shown, "")
        self.leaves_nothing()
