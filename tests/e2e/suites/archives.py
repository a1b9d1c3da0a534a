"""save, load, import and export: what docker, podman, skopeo and old tools write and read, and what goes wrong on the way."""
import hashlib
import io
import json
import os
import pty
import subprocess
import tarfile

from lib import harness, servers
from lib.harness import run

CHANGES = ("-c", "CMD [\"cat\", \"/greeting\"]", "-c", "LABEL a=b")


def tar_of(members):
    """A tar of (name, bytes), (name, link target as str) in this order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                content = b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Save(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.store = self.img()
        self.store("import", *CHANGES, "-", "app:1", stdin=tar_of([("greeting", b"hello\n" * 5000)]))
        self.store("tag", "app:1", "other:2")

    def other(self, name="other"):
        return self.img(self.dir / name, busybox=False)

    def test_the_same_image_is_the_same_bytes_in_every_form(self):
        for options in ((), ("--format", "oci-archive"), ("--compress",), ("--compress", "--format", "oci-archive")):
            with self.subTest(options):
                first = self.store("save", *options, "app:1", "busybox").raw
                self.store("save", *options, "-o", self.dir / "second", "app:1", "busybox")
                self.assertEqual(first, (self.dir / "second").read_bytes())
                other = self.other("-".join(("o", *options)))
                other("load", stdin=first)
                self.assertEqual(other("save", *options, "app:1", "busybox").raw, first)

    def test_all_names_that_were_asked_for_are_kept(self):
        for options in ((), ("--format", "oci-archive")):
            other = self.other("-".join(("n", *options)))
            done = other("load", stdin=self.store("save", *options, "app:1", "other:2", "busybox").raw)
            self.assertEqual(sorted(done.out.splitlines()),
                             ["Loaded image: app:1", "Loaded image: busybox:latest", "Loaded image: other:2"])
            self.assertEqual(other.image("app:1").id, other.image("other:2").id)

    def test_an_image_by_id_has_no_name(self):
        archive = self.store("save", self.store.image("app:1").id).raw
        self.assertEqual(self.other()("load", stdin=archive).out, f"Loaded image ID: {self.store.image('app:1').id}\n")

    def test_compressed_layers_run_everywhere_with_the_same_id(self):
        archive = self.dir / "c.tar"
        for form in ("docker-archive", "oci-archive"):
            self.store("save", "--compress", "--format", form, "-o", archive, "app:1")
            self.assertLess(archive.stat().st_size, 20_000)
            other = self.other(form)
            other("load", "-i", archive)
            self.assertEqual(other.image("app:1").id, self.store.image("app:1").id)
            harness.require("skopeo")
            shown = json.loads(run(["skopeo", "inspect", "--config", f"{form}:{archive}"]).out)
            self.assertEqual(shown["config"]["Labels"], {"a": "b"})

    def test_a_directory_is_an_oci_layout_and_is_not_written_over(self):
        self.store("save", "--format", "oci-dir", "-o", self.dir / "layout", "app:1")
        self.assertEqual(self.other()("load", "-i", self.dir / "layout").out, "Loaded image: app:1\n")
        self.assertEqual(self.store("save", "--format", "oci-dir", "-o", self.dir / "layout", "app:1", check=False).code, 1)

    def test_a_terminal_gets_nothing(self):
        ours, theirs = pty.openpty()
        done = subprocess.run(list(map(str, self.store.argv("save", "app:1"))), stdout=theirs, stderr=subprocess.PIPE, timeout=60)
        os.close(theirs)
        os.close(ours)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"refusing to write an archive to a terminal", done.stderr)
        self.assertIn(b"-o FILE", done.stderr)

    def test_a_reader_that_goes_away_is_an_error(self):
        with subprocess.Popen(list(map(str, self.store.argv("save", "busybox"))), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            process.stdout.read(10)
            process.stdout.close()
            self.assertIn(b"EPIPE", process.stderr.read())
            self.assertEqual(process.wait(60), 1)

    def test_a_full_disk_leaves_the_old_file_and_no_other(self):
        mounted = self.dir / "small"
        mounted.mkdir()
        run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mounted])
        self.addCleanup(run, ["umount", mounted])
        (mounted / "a.tar").write_text("old")
        done = self.store("save", "-o", mounted / "a.tar", "busybox", check=False)
        self.assertEqual(done.code, 1)
        self.assertIn("ENOSPC", done.err)
        self.assertEqual([p.name for p in mounted.iterdir()], ["a.tar"])
        self.assertEqual((mounted / "a.tar").read_text(), "old")

    def test_an_index_keeps_its_digest_and_its_platforms(self):
        self.store.build(self.write({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}), "multi",
                         "--platform", "linux/amd64,linux/arm64")
        entry = lambda store: next(e for e in json.loads((store.store / "index.json").read_text())["manifests"]
                                   if e["annotations"]["org.opencontainers.image.ref.name"].endswith("/multi:latest"))
        self.assertIn("index", entry(self.store)["mediaType"])
        archive = self.dir / "multi.tar"
        self.store("save", "--format", "oci-archive", "-o", archive, "multi")
        other = self.other()
        other("load", "-i", archive)
        self.assertEqual(entry(other), entry(self.store))
        self.assertEqual(other("save", "--format", "oci-archive", "multi").raw, archive.read_bytes())
        one = self.other("one")
        one("load", "--platform", "linux/arm64", "-i", archive)
        blobs = lambda store: len(list((store.store / "blobs/sha256").iterdir()))
        self.assertLess(blobs(one), blobs(other))
        failed = one("load", "--platform", "linux/s390x", "-i", archive, check=False)
        self.assertIn("holds no image for the platform linux/s390x", failed.err)
        harness.require("skopeo")
        run(["skopeo", "--insecure-policy", "copy", "--all", f"oci-archive:{archive}", f"dir:{self.dir}/dir"])


class Load(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.store = self.img(busybox=False)
        self.layer = tar_of([("greeting", b"hello\n")])
        self.diff_id = hashlib.sha256(self.layer).hexdigest()
        self.config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                                  "rootfs": {"type": "layers", "diff_ids": [f"sha256:{self.diff_id}"]}}).encode()
        self.image_id = hashlib.sha256(self.config).hexdigest()

    def manifest(self, tags=("old:1",)):
        return json.dumps([{"Config": f"{self.image_id}.json", "RepoTags": list(tags), "Layers": ["one/layer.tar"]}]).encode()

    def old_archive(self, tags=("old:1",), **changes):
        """As docker before 25 has written it: a folder for each layer, one of them a link to the other's bytes."""
        return tar_of([("two/layer.tar", self.layer), ("two/VERSION", b"1.0"), ("one/VERSION", b"1.0"),
                       ("one/json", b"{}"), ("one/layer.tar", "../two/layer.tar"), (f"{self.image_id}.json", self.config),
                       ("repositories", json.dumps({"old": {"1": "one"}}).encode()), ("manifest.json", self.manifest(tags))])

    def test_old_archives_share_layers_by_links(self):
        self.assertEqual(self.store("load", stdin=self.old_archive()).out, "Loaded image: old:1\n")
        self.assertEqual(self.store.image("old:1").id, f"sha256:{self.image_id}")

    def test_an_image_without_a_name_is_told_by_its_id(self):
        self.assertEqual(self.store("load", stdin=self.old_archive(())).out, f"Loaded image ID: sha256:{self.image_id}\n")

    def test_any_compression_of_the_outer_archive(self):
        for tool in ("gzip", "zstd", "xz", "bzip2"):
            with self.subTest(tool):
                store = self.img(self.dir / tool, busybox=False)
                self.assertEqual(store("load", stdin=run([tool, "-c"], stdin=self.old_archive()).raw).out, "Loaded image: old:1\n")

    def test_damage_and_truncation_store_nothing(self):
        packed = run(["gzip", "-c"], stdin=self.old_archive()).raw
        wrong = bytearray(packed)
        wrong[-6] ^= 1  # the CRC
        for name, data in (("cut", packed[:-200]), ("crc", bytes(wrong)), ("tar", self.old_archive()[:3000])):
            with self.subTest(name):
                done = self.store("load", stdin=data, check=False)
                self.assertEqual(done.code, 1)
                self.assertEqual(self.store("images", "-q").out, "")
                self.assertEqual(list((self.store.store / "blobs/sha256").iterdir()), [])

    def test_progress_is_for_terminals_and_leaves_the_line_clean(self):
        (self.dir / "a.tar").write_bytes(self.old_archive())
        self.assertEqual(self.store("load", "-i", self.dir / "a.tar").err, "")
        ours, theirs = pty.openpty()
        done = subprocess.run(list(map(str, self.store.argv("load", "-q", "-i", self.dir / "a.tar"))), stdout=subprocess.PIPE,
                              stderr=theirs, timeout=60)
        os.close(theirs)
        try:
            shown = os.read(ours, 1000)
        except OSError:  # EIO: nobody wrote
            shown = b""
        os.close(ours)
        self.assertEqual((done.stdout, shown), (b"Loaded image: old:1\n", b""))


class Import(harness.TestCase):
    def test_a_url(self):
        server = servers.Http({"/root.tar.gz": run(["gzip", "-c"], stdin=tar_of([("greeting", b"hi\n")])).raw})
        self.addCleanup(server.close)
        store = self.img(busybox=False)
        store("import", "-q", f"{server.url}/root.tar.gz", "web:1")
        self.assertIn("Imported from", store("history", "--no-trunc", "web:1").out)
        failed = store("import", f"{server.url}/none.tar", check=False)
        self.assertEqual(failed.code, 1)
        self.assertIn("the server answered 404", failed.err)
        self.assertEqual(list((store.store / "ingest").iterdir()), [])


class Export(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.store = self.img()

    def members(self, data):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return {m.name: m for m in tar.getmembers()}

    def test_the_tree_of_a_container(self):
        made = ("rm /etc/group; rm -r /home; echo x > /data; ln /data /hard; ln -s /data /soft; mknod /dev0 c 1 3; "
                "mkfifo /pipe; dd if=/dev/zero of=/sparse bs=1 count=1 seek=5000000 2>/dev/null; chown 7:8 /data; chmod 6755 /data; "
                "echo v > /vol/in")
        self.store("run", "--name", "c", "--net", "none", "--cap-add", "all", "-v", "/vol", "busybox", "sh", "-c", made)
        data = self.store("export", "c").raw
        self.store("export", "-o", self.dir / "again.tar", "c")
        self.assertEqual((self.dir / "again.tar").read_bytes(), data)
        members = self.members(data)
        self.assertEqual(list(members), sorted(members, key=lambda name: name.split("/")))
        for gone in ("etc/group", "home", "vol/in"):
            self.assertNotIn(gone, members)
        self.assertFalse([name for name in members if "/.wh." in f"/{name}"])
        links = [members[name] for name in ("data", "hard")]
        self.assertEqual(sorted(m.isreg() for m in links), [False, True])
        self.assertEqual((members["data"].uid, members["data"].gid, members["data"].mode & 0o7777), (7, 8, 0o6755))
        self.assertEqual(members["soft"].linkname, "/data")
        self.assertTrue(members["dev0"].ischr() and members["pipe"].isfifo())
        self.assertEqual(members["sparse"].size, 5000001)
        self.assertLess(len(data), 4_000_000 + os.path.getsize(harness.BUSYBOX))
        other = self.img(self.dir / "other", busybox=False)
        other("import", "-", "back", stdin=data)
        self.assertEqual(other("run", "--rm", "--net", "none", "back", "cat", "/hard").out, "x\n")
