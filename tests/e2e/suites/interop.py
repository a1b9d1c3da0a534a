"""Other people's tools read our store and our archives, and we read theirs."""
import json
import shutil

from lib import harness, peers
from lib.harness import run

DOCKERFILE = """FROM busybox
ENV GREETING=hello
WORKDIR /srv
COPY a.txt b/ ./
RUN echo "$GREETING from a layer" > greeting && rm a.txt && chown dev greeting
LABEL app=demo
ENTRYPOINT ["/bin/cat"]
CMD ["/srv/greeting"]
"""


class Layout(harness.TestCase):
    """The store as it lies on disk."""

    def setUp(self):
        super().setUp()
        self.store = self.img()
        self.context = self.write({"a.txt": "a\n", "b/c.txt": "c\n", "Dockerfile": DOCKERFILE})
        self.store.build(self.context, "app", "-t", "me/other:v2", "-t", "localhost:5000/third")

    def test_it_is_an_oci_image_layout(self):
        self.assertEqual(json.loads((self.store.store / "oci-layout").read_text()), {"imageLayoutVersion": "1.0.0"})
        index = json.loads((self.store.store / "index.json").read_text())
        self.assertEqual(index["schemaVersion"], 2)
        for name in ("app", "me/other:v2", "localhost:5000/third"):
            image = self.store.image(name)
            self.assertEqual(image.descriptor["mediaType"], "application/vnd.oci.image.manifest.v1+json")
            self.assertEqual(image.descriptor["size"], len(image.blob(image.digest)))
            self.assertEqual(image.manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json")

    def test_skopeo_inspects_every_name(self):
        harness.require("skopeo")
        for name in ("app", "me/other:v2", "localhost:5000/third"):
            shown = json.loads(run(["skopeo", "inspect", f"oci:{self.store.store}:{harness.full_name(name)}"]).out)
            self.assertEqual(shown["Digest"], self.store.image(name).digest)
            self.assertEqual(shown["Labels"], {"app": "demo"})

    def test_skopeo_copies_the_image_out(self):
        harness.require("skopeo")
        target = self.dir / "copy"
        run(["skopeo", "--insecure-policy", "copy", f"oci:{self.store.store}:docker.io/library/app:latest", f"dir:{target}"])
        self.assertTrue((target / "manifest.json").exists())

    def test_umoci_reads_and_unpacks_it(self):
        harness.require("umoci")
        run(["umoci", "stat", "--image", f"{self.store.store}:docker.io/library/app:latest"])
        rootfs = peers.unpack(self.store.store, "app", self.dir / "bundle")
        self.assertEqual((rootfs / "srv/greeting").read_text(), "hello from a layer\n")
        self.assertFalse((rootfs / "srv/a.txt").exists())

    def test_blobs_are_what_their_names_say(self):
        for blob in (self.store.store / "blobs/sha256").iterdir():
            digest = run(["sha256sum", blob]).out.split()[0]
            self.assertEqual(digest, blob.name)

    def test_two_names_are_two_descriptors_and_retagging_replaces(self):
        self.store.build(self.write({"Dockerfile": "FROM busybox\nRUN echo other > /other\n"}, "second"), "app")
        self.assertNotEqual(self.store.image("app").digest, self.store.image("me/other:v2").digest)
        index = json.loads((self.store.store / "index.json").read_text())
        nameless = [d for d in index["manifests"] if "org.opencontainers.image.ref.name" not in d.get("annotations", {})]
        self.assertEqual(nameless, [])


class Engines(harness.TestCase):
    """Archives in both directions, with docker and podman, each of which then runs the image."""

    @classmethod
    def setUpClass(cls):
        cls.docker = peers.Dockerd()
        cls.addClassCleanup(cls.docker.stop)
        cls.podman = peers.Podman()

    def setUp(self):
        super().setUp()
        self.store = self.img()
        context = self.write({"a.txt": "a\n", "b/c.txt": "c\n", "Dockerfile": DOCKERFILE})
        self.store.build(context, "app")
        self.archive = self.dir / "app.tar"

    def test_docker_loads_and_runs_what_img_saved(self):
        self.store("save", "-o", self.archive, "app")
        self.assertIn("app:latest", self.docker("load", "-i", self.archive).out)
        shown = self.docker("run", "--rm", "--network", "none", "app")
        self.assertEqual(shown.out, "hello from a layer\n")
        self.assertEqual(self.docker.inspect("app")["Config"]["Labels"], {"app": "demo"})

    def test_podman_loads_and_runs_what_img_saved(self):
        for form in ("docker-archive", "oci-archive"):
            with self.subTest(form):
                self.store("save", "--format", form, "-o", self.archive, "app")
                loaded = self.podman("load", "-i", self.archive).out
                self.assertIn("app:latest", loaded)
                name = loaded.split(": ", 1)[1].split(",")[0].strip()
                self.assertEqual(self.podman.run(name).out, "hello from a layer\n")
                self.podman("rmi", "-f", name)

    def check_loaded(self, archive, name, greeting, env=None):
        other = self.img(self.dir / "other", busybox=False)
        loaded = other("load", "-i", archive)
        self.assertEqual(loaded.out, f"Loaded image: {name}\n")
        self.assertEqual(other("run", "--rm", "--net", "none", name).out, greeting)
        run(["skopeo", "inspect", f"oci:{other.store}:{harness.full_name(name)}"])
        return other

    def engine_build(self, engine):
        context = self.write({"Dockerfile": "FROM busybox\nRUN rm -r /home && mkdir /home && echo theirs > /home/file\n"
                              "ENV A=b\nCMD [\"cat\", \"/home/file\"]\n"}, "theirs")
        engine("import", harness.busybox_tar(), "busybox:latest")
        return context

    def test_img_loads_and_runs_what_docker_saved(self):
        self.docker.build(self.engine_build(self.docker), "theirs:v1")
        self.docker("save", "-o", self.archive, "theirs:v1")
        other = self.check_loaded(self.archive, "theirs:v1", "theirs\n")
        rootfs = other("run", "--rm", "--net", "none", "theirs:v1", "ls", "/home").out
        self.assertEqual(rootfs, "file\n")

    def test_img_loads_and_runs_what_podman_saved(self):
        context = self.engine_build(self.podman)
        self.podman("build", "--isolation", "chroot", "--network", "host", "--pull-never", "-t", "theirs:v1", context)
        for form, name in (("docker-archive", "localhost/theirs:v1"), ("oci-archive", "localhost/theirs:v1")):
            with self.subTest(form):
                self.archive.unlink(missing_ok=True)
                shutil.rmtree(self.dir / "other", ignore_errors=True)
                self.podman("save", "--format", form, "-o", self.archive, "theirs:v1")
                self.check_loaded(self.archive, name, "theirs\n")

    def test_img_loads_compressed_archives_and_standard_input(self):
        self.store("save", "-o", self.archive, "app")
        for tool, suffix in (("gzip", "gz"), ("xz", "xz"), ("zstd", "zst"), ("bzip2", "bz2")):
            with self.subTest(tool):
                packed = self.dir / f"app.tar.{suffix}"
                packed.write_bytes(run([tool, "-c", self.archive]).raw)
                other = self.img(self.dir / f"store-{suffix}", busybox=False)
                self.assertEqual(other("load", "-i", packed).out, "Loaded image: app:latest\n")
                self.assertEqual(other.image("app").id, self.store.image("app").id)
        other = self.img(self.dir / "store-stdin", busybox=False)
        self.assertEqual(other("load", stdin=self.archive.read_bytes()).out, "Loaded image: app:latest\n")

    def test_img_loads_layouts_with_compressed_layers_from_skopeo(self):
        harness.require("skopeo")
        layout = self.dir / "layout"
        run(["skopeo", "--insecure-policy", "copy", "--dest-compress", f"oci:{self.store.store}:docker.io/library/app:latest",
             f"oci:{layout}:docker.io/library/app:latest"])
        other = self.img(self.dir / "other", busybox=False)
        self.assertEqual(other("load", "-i", layout).out, "Loaded image: app:latest\n")
        self.assertEqual(other("run", "--rm", "--net", "none", "app").out, "hello from a layer\n")
