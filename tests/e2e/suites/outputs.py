"""Where the result of a build goes: folders, tars, archives, squashed layers, several platforms."""
import io
import json
import os
import pty
import subprocess
import tarfile

from lib import harness, peers, tree
from lib.harness import PAST, run

FILES = """FROM busybox
RUN mkdir -p /d/e && echo hi > /d/e/f && ln /d/e/f /d/e/g && ln -s /etc/passwd /d/link && mkfifo /d/pipe
RUN echo secret > /gone && chmod 4751 /d/e/f && mkdir -m 1777 /d/sticky && touch -d @1000000000 /d/e/f
RUN rm /gone && rm -r /home && mkdir /home && echo new > /home/new
"""
SCRATCH = "FROM scratch\nCOPY f /dir/f\n"


class Files(harness.TestCase):
    """-o of files."""

    def build(self, *args, files=None, dockerfile=SCRATCH, **kwargs):
        program = self.img(busybox="busybox" in dockerfile)
        context = self.write(files or {"f": "content\n"})
        harness.set_times(context)
        kwargs.setdefault("cwd", self.dir)
        return program, program.build(context, None, *args, dockerfile=dockerfile, **kwargs)

    def test_a_folder_has_what_docker_gives(self):
        docker = peers.Dockerd()
        self.addCleanup(docker.stop)
        docker("import", harness.busybox_tar(), "busybox:latest")
        program, _ = self.build("-o", "ours", dockerfile=FILES)
        context = self.dir / "ctx"
        docker("build", "--network", "host", "-o", self.dir / "theirs", context)
        lines = tree.differences(tree.scan(self.dir / "ours"), tree.scan(self.dir / "theirs"),
                                 ignore=[*harness.RUNTIME_PATHS], skip={"/": ["mode"]})
        self.assertEqual(lines, [])
        self.assertEqual(os.stat(self.dir / "ours/d/e/f").st_mtime, 1_000_000_000)
        with tarfile.open(fileobj=io.BytesIO(program.build(context, None, "-o", "-").raw)) as tar:
            names = {member.name for member in tar}
        docker("build", "--network", "host", "-o", f"type=tar,dest={self.dir}/theirs.tar", context)
        with tarfile.open(self.dir / "theirs.tar") as tar:
            theirs = {member.name.rstrip("/") for member in tar}
        stubs = {"dev", "proc", "sys", "etc/hosts", "etc/resolv.conf"}
        self.assertEqual(names - stubs, theirs - stubs)

    def test_a_folder_is_merged_and_old_files_stay(self):
        out = self.dir / "out"
        (out / "dir").mkdir(parents=True)
        (out / "dir/f").write_text("old")
        (out / "dir/mine").write_text("mine")
        self.build("-o", "out")
        self.assertEqual((out / "dir/f").read_text(), "content\n")
        self.assertEqual((out / "dir/mine").read_text(), "mine")
        self.assertEqual(os.stat(out / "dir/f").st_mtime, PAST)

    def test_links_in_the_folder_lead_nowhere(self):
        out, victim = self.dir / "out", self.dir / "victim"
        out.mkdir()
        victim.mkdir()
        (victim / "f").write_text("untouched")
        (out / "dir").symlink_to(victim)
        self.build("-o", "out")
        self.assertEqual((victim / "f").read_text(), "untouched")
        self.assertFalse((out / "dir").is_symlink())
        (out / "dir/f").unlink()
        (out / "dir/f").symlink_to(victim / "f")
        self.build("-o", "out")
        self.assertEqual((victim / "f").read_text(), "untouched")
        (out / "dir/f").unlink()
        os.link(victim / "f", out / "dir/f")
        self.build("-o", "out")
        self.assertEqual((victim / "f").read_text(), "untouched")

    def test_mode_delete_removes_what_the_result_lacks_and_only_below_here(self):
        (self.dir / "out/old/deep").mkdir(parents=True)
        (self.dir / "out/old/deep/file").write_text("x")
        program, _ = self.build("-o", "type=local,dest=out,mode=delete")
        self.assertEqual(sorted(p.name for p in (self.dir / "out").iterdir()), ["dir"])
        (self.dir / "link").symlink_to(self.dir / "elsewhere")
        (self.dir / "here").mkdir()
        (self.dir / "elsewhere").mkdir()
        (self.dir / "elsewhere/keep").write_text("x")
        for dest, here in ((self.dir / "elsewhere", "here"), (".", "."), ("..", "here"), ("../elsewhere", "here"),
                           ("ctx", ".")):
            with self.subTest(dest=dest):
                failed = program.build(self.dir / "ctx", None, "-o", f"type=local,dest={dest},mode=delete",
                                       cwd=self.dir / here, check=False)
                self.assertEqual(failed.code, 125, failed)
                self.assertIn("mode=delete would remove", failed.err)
        self.assertTrue((self.dir / "elsewhere/keep").exists())
        program.build(self.dir / "ctx", None, "-o", f"type=local,dest={self.dir}/elsewhere,mode=delete", "--allow",
                      f"fs.write={self.dir}/elsewhere", cwd=self.dir / "here")
        self.assertFalse((self.dir / "elsewhere/keep").exists())

    def test_a_tar_is_the_same_every_time_and_in_every_store(self):
        self.build("-o", "type=tar,dest=a.tar", dockerfile=FILES.replace("touch", "touch -d @5 / /d; touch"),
                   env={"SOURCE_DATE_EPOCH": "1000"})
        self.store_two = self.img(self.dir / "store2")
        self.store_two.build(self.dir / "ctx", None, "-o", "type=tar,dest=b.tar", cwd=self.dir,
                             env={"SOURCE_DATE_EPOCH": "1000"})
        self.assertEqual((self.dir / "a.tar").read_bytes(), (self.dir / "b.tar").read_bytes())
        with tarfile.open(self.dir / "a.tar") as tar:
            self.assertEqual({member.mtime for member in tar}, {1000})
        self.assertEqual(list(self.dir.glob("*.part*")), [])

    def test_a_reader_that_goes_away_ends_the_build(self):
        program, _ = self.build("-o", "files", dockerfile=FILES)
        for kind in ("tar", "oci"):
            with program.start("build", "-o", f"type={kind}", self.dir / "ctx") as process:
                process.stdout.close()
                self.assertEqual(process.wait(60), 1)
                self.assertIn(b"EPIPE", process.stderr.read())
        self.assertEqual(os.listdir(program.store / "ingest"), [])

    def test_a_terminal_gets_no_archive(self):
        program = self.img(busybox=False)
        self.write({"f": "x", "Dockerfile": SCRATCH})
        master, slave = pty.openpty()
        process = subprocess.run(program.argv("build", "-o", "-", self.dir / "ctx"), stdout=slave,
                                 stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60, check=False)
        os.close(slave)
        os.close(master)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"refusing to write an archive to a terminal", process.stderr)

    def test_files_alone_have_no_image_id(self):
        program = self.img(busybox=False)
        self.write({"f": "x", "Dockerfile": SCRATCH})
        failed = program.build(self.dir / "ctx", None, "-o", self.dir / "out", "--iidfile", self.dir / "iid", check=False)
        self.assertEqual(failed.code, 125)
        program.build(self.dir / "ctx", "named", "-o", self.dir / "out", "--iidfile", self.dir / "iid")
        self.assertEqual((self.dir / "iid").read_text(), program.image("named").id)
        self.assertEqual(json.loads((program.store / "index.json").read_text())["manifests"], [program.image("named").descriptor])

    def test_a_pushed_result_needs_a_name_and_a_registry(self):
        program = self.img(busybox=False)
        context = self.write({"f": "x", "Dockerfile": SCRATCH})
        for option in ("--push", "-otype=registry", "-otype=image,push=true"):
            failed = program.build(context, None, option, check=False)
            self.assertEqual(failed.code, 125)
            self.assertIn("needs a name", failed.err)
        failed = program.build(context, None, "-otype=tar,push=true,dest=x", check=False)
        self.assertIn("push=true is for type=image", failed.err)


class Archives(harness.TestCase):
    def test_skopeo_umoci_podman_and_docker_read_them(self):
        program = self.img()
        context = self.write({"Dockerfile": "FROM busybox\nRUN echo hello > /greeting\nCMD [\"cat\", \"/greeting\"]\n"})
        program.build(context, "app", "-o", "type=oci,dest=app.oci", "-o", "type=docker,dest=app.tar", "-o",
                      "type=oci,tar=false,dest=app.dir,compression=gzip", cwd=self.dir)
        shown = json.loads(run(["skopeo", "inspect", f"oci-archive:{self.dir}/app.oci:docker.io/library/app:latest"]).out)
        self.assertEqual(shown["Digest"], program.image("app").digest)
        for _ in range(2):  # into a layout that is there, too
            run(["umoci", "stat", "--image", f"{self.dir}/app.dir:docker.io/library/app:latest"])
            program.build(context, "app", "-o", "type=oci,tar=false,dest=app.dir,compression=gzip", cwd=self.dir)
        rootfs = peers.unpack(self.dir / "app.dir", "app", self.dir / "bundle")
        self.assertEqual((rootfs / "greeting").read_text(), "hello\n")
        podman = peers.Podman()
        self.assertIn("app:latest", podman("load", "-i", self.dir / "app.oci").out)
        docker = peers.Dockerd()
        self.addCleanup(docker.stop)
        self.assertIn("app:latest", docker("load", "-i", self.dir / "app.tar").out)
        self.assertEqual(docker("run", "--rm", "--network", "none", "app").out, "hello\n")

    def test_compression_and_docker_types(self):
        program = self.img(busybox=False)
        context = self.write({"f": "x" * 5000, "Dockerfile": SCRATCH})
        program.build(context, "z", "--compression", "zstd:5")
        self.assertTrue(program.image("z").layers[0]["mediaType"].endswith("tar+zstd"))
        program.build(context, "d", "--format", "docker", "--compression", "gzip")
        image = program.image("d")
        self.assertEqual(image.manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json")
        self.assertEqual(image.layers[0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip")
        first = image.digest
        program.build(context, "d", "--format", "docker", "--compression", "gzip")
        self.assertEqual(program.image("d").digest, first)

    def test_annotations_edits_and_times(self):
        program = self.img(busybox=False)
        context = self.write({"f": "x", "Dockerfile": SCRATCH + "ENV A=1 B=2\nLABEL x=1 y=2\n"})
        program.build(context, "a", "--annotation", "org.example/K=v", "--annotation", "manifest-descriptor:d=e",
                      "--env", "C=3", "--unsetenv", "A", "--unsetlabel", "x", "--timestamp", "77")
        image = program.image("a")
        self.assertEqual(image.manifest["annotations"], {"org.example/K": "v"})
        self.assertEqual(image.descriptor["annotations"]["d"], "e")
        self.assertEqual(image.config["Env"][1:], ["B=2", "C=3"])
        self.assertEqual(image.config["Labels"], {"y": "2"})
        self.assertEqual(image.document["created"], "1970-01-01T00:01:17Z")
        with tarfile.open(image.blob_path(image.layers[0]["digest"])) as tar:
            self.assertEqual({member.mtime for member in tar}, {77})
        failed = program.build(context, "a", "--annotation", "index:a=b", check=False)
        self.assertIn("has no index", failed.err)


class Squash(harness.TestCase):
    def test_the_tree_is_the_same_and_what_was_deleted_is_gone(self):
        program = self.img()
        context = self.write({"Dockerfile": FILES})
        program.build(context, "plain")
        program.build(context, "squashed", "--squash")
        plain, squashed = program.image("plain"), program.image("squashed")
        self.assertEqual((len(plain.layers), len(squashed.layers)), (4, 2))
        self.assertEqual(squashed.layers[0], plain.layers[0])
        trees = [tree.scan(peers.unpack(program.store, name, self.dir / name)) for name in ("plain", "squashed")]
        self.assertEqual(tree.differences(*trees, fields=(*tree.FIELDS, "mtime")), [])
        self.assertNotIn("gone", squashed.layer_entries(1))
        self.assertIn("home/.wh..wh..opq", squashed.layer_entries(1))
        layers = [entry for entry in squashed.document["history"] if not entry.get("empty_layer")]
        self.assertEqual(len(layers), 2)
        self.assertEqual(len(squashed.document["history"]), len(plain.document["history"]))
        program.build(context, "again", "--squash")
        self.assertEqual(program.image("again").digest, squashed.digest)
        program.build(context, "all", "--squash-all")
        self.assertEqual(len(program.image("all").layers), 1)
        whole = tree.scan(peers.unpack(program.store, "all", self.dir / "all"))
        self.assertEqual(tree.differences(whole, trees[0]), [])


class Platforms(harness.TestCase):
    DOCKERFILE = "FROM scratch\nARG TARGETARCH TARGETVARIANT\nCOPY f /arch-$TARGETARCH$TARGETVARIANT\n"

    def test_several_make_an_index_in_their_order(self):
        program = self.img(busybox=False)
        context = self.write({"f": "x", "Dockerfile": self.DOCKERFILE})
        built = program.build(context, "multi", "--platform", "linux/arm64,linux/amd64", "--platform", "linux/arm/v7",
                              "--annotation", "index:a=b", "--progress", "plain")
        for step in ("#1 [linux/arm64 1/1] COPY f /arch-arm64", "#2 [linux/amd64 1/1]", "#3 [linux/arm/v7 1/1]"):
            self.assertIn(step, built.err)
        raw = json.loads(run(["skopeo", "inspect", "--raw", f"oci:{program.store}:docker.io/library/multi:latest"]).out)
        self.assertEqual([m["platform"] for m in raw["manifests"]],
                         [{"os": "linux", "architecture": "arm64"}, {"os": "linux", "architecture": "amd64"},
                          {"os": "linux", "architecture": "arm", "variant": "v7"}])
        self.assertEqual(raw["annotations"], {"a": "b"})
        self.assertEqual(len({m["digest"] for m in raw["manifests"]}), 3)
        shown = run(["skopeo", "inspect", "--override-arch", "arm64",
                     f"oci:{program.store}:docker.io/library/multi:latest"]).out
        self.assertEqual(json.loads(shown)["Architecture"], "arm64")
        program.build(context, None, "--platform", "linux/arm64,linux/arm/v7", "-o", self.dir / "out")
        found = sorted(str(p.relative_to(self.dir / "out")) for p in (self.dir / "out").rglob("arch*"))
        self.assertEqual(found, ["linux_arm64/arch-arm64", "linux_arm_v7/arch-armv7"])
        # A base image of several platforms: each build takes its own.
        second = self.write({"Dockerfile": "FROM multi\nLABEL a=b\n"}, "second")
        for platform, name in (("linux/arm64", "arch-arm64"), ("linux/arm/v7", "arch-armv7")):
            program.build(second, None, "--platform", platform, "-o", self.dir / name)
            self.assertTrue((self.dir / name / name).exists())
        failed = program.build(second, None, "--platform", "linux/s390x", check=False)
        self.assertIn("has no image for linux/s390x", failed.err)
        self.assertIn("linux/arm64", failed.err)

    def test_a_foreign_run_names_both_machines(self):
        program = self.img()
        context = self.write({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\nRUN [\"/x\"]\n"})
        failed = program.build(context, "x", "--platform", "linux/s390x", check=False)
        self.assertEqual(failed.code, 1, failed)
        self.assertIn("s390x", failed.err)
        self.assertIn("binfmt_misc", failed.err)

    def test_one_platform_is_a_manifest(self):
        program = self.img(busybox=False)
        context = self.write({"f": "x", "Dockerfile": self.DOCKERFILE})
        program.build(context, "arm", env={"DOCKER_DEFAULT_PLATFORM": "linux/arm64"})
        image = program.image("arm")
        self.assertEqual(image.document["architecture"], "arm64")
        self.assertEqual(image.layer_entries(0), ["arch-arm64"])
        program.build(context, "index", "--build-arg", "BUILDKIT_MULTI_PLATFORM=1")
        index = json.loads((program.store / "index.json").read_text())["manifests"]
        self.assertIn("application/vnd.oci.image.index.v1+json", [d["mediaType"] for d in index])
