"""Images pulled from a real registry (Debian's docker-registry on loopback), put there by skopeo or by the test itself: by
`pull`, and by commands that need an image which the store lacks."""
import gzip
import io
import json
import os
import pathlib
import signal
import subprocess
import tarfile
import threading
import time

from lib import faulty_registry as faulty
from lib import harness, people, registries
from lib.harness import PAST, run
from lib.registries import sha256

INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
OTHER = "riscv64"
ENV = {"CONTAINERS_REGISTRIES_CONF": "/dev/null", "REGISTRY_AUTH_FILE": None, "DOCKER_AUTH_CONFIG": None}


def layer_tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), PAST, 0o644
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def put_image(registry, repository, reference, layers, arch=MACHINE, compressed=True):
    """An image with a layer for each {path: bytes}; returns its manifest's descriptor."""
    base = pathlib.Path(harness.busybox_tar()).read_bytes()
    tars = [base, *map(layer_tar, layers)]
    blobs = [gzip.compress(tar, 1, mtime=0) if compressed else tar for tar in tars]
    config = json.dumps({"architecture": arch, "os": "linux", "config": {"Cmd": ["cat", "/a"]},
                         "rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]}}).encode()
    manifest = {"schemaVersion": 2, "mediaType": registries.MANIFEST,
                "config": {"mediaType": registries.CONFIG, **registry.put_blob(repository, config)},
                "layers": [{"mediaType": registries.LAYER if compressed else PLAIN_LAYER,
                            **registry.put_blob(repository, blob)} for blob in blobs]}
    digest = registry.put_manifest(repository, reference or sha256(json.dumps(manifest).encode()), manifest)
    return {"mediaType": registries.MANIFEST, "digest": digest, "size": len(json.dumps(manifest)),
            "platform": {"os": "linux", "architecture": arch}}


class PullCase(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.registry = registries.Registry()
        cls.addClassCleanup(cls.registry.stop)

    def setUp(self):
        super().setUp()
        self.repository = self.id().rsplit(".", 1)[-1].replace("_", "-")
        self.store = self.img(busybox=False, env=ENV)

    def name(self, tag="v1", registry=None):
        return f"{(registry or self.registry).host}/{self.repository}:{tag}"

    def put(self, tag="v1", text=b"content\n", **kwargs):
        return put_image(self.registry, self.repository, tag, [{"a": text}], **kwargs)

    def proxy(self):
        proxy = faulty.FaultyRegistry(self.registry)
        self.addCleanup(proxy.stop)
        return proxy

    def content(self, name, *options):
        return self.store("run", "--rm", "--net", "none", "--pull", "never", *options, name).out

    def ingest(self):
        """What lies in ingest/: interrupted downloads, and anything else."""
        folder = self.store.store / "ingest"
        names = {p.name for p in folder.iterdir()} - {"partial"}
        return sorted(p.name for p in folder.glob("partial/*")), sorted(names)

    def rows(self):
        return self.store("images", "-a", "-q").out.split()

    def check_store(self):
        run(["skopeo", "--insecure-policy", "inspect", "--raw", f"oci:{self.store.store}:{self.name()}"])
        self.store("verify")


class Formats(PullCase):
    def test_what_skopeo_pushed_in_each_form_runs(self):
        harness.require("skopeo")
        source = self.img(self.dir / "source")
        for tag, options in {"gzip": [], "zstd": ["--dest-compress-format", "zstd"], "v2s2": ["--format", "v2s2"]}.items():
            with self.subTest(tag):
                # Of its own, base included: skopeo would take over a blob that is there in another form.
                context = self.write({"f": f"from {tag}\n"})
                source.build(context, "app", "--squash-all",
                             dockerfile="FROM busybox\nCOPY f /f\nRUN rm /etc/group\nCMD cat /f; test -e /etc/group || echo gone")
                source("save", "--format", "oci-dir", "-o", self.dir / tag, "app")
                run(["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", *options, f"oci:{self.dir / tag}",
                     "docker://" + self.name(tag)])
                output = self.store("pull", self.name(tag))
                self.assertEqual(output.out, self.name(tag) + "\n")
                image = self.store.image(self.name(tag))
                types = {layer["mediaType"] for layer in image.layers}
                self.assertTrue(all(tag.replace("v2s2", "gzip") in kind for kind in types), types)
                self.assertEqual(image.manifest["mediaType"], DOCKER_MANIFEST if tag == "v2s2" else registries.MANIFEST)
                self.assertEqual(image.document["rootfs"], source.image("app").document["rootfs"])
                self.assertEqual(self.content(self.name(tag)), f"from {tag}\ngone\n")
        self.assertEqual(self.ingest(), ([], []))

    def test_layers_that_are_not_compressed(self):
        self.put(compressed=False)
        self.store("pull", self.name())
        self.assertEqual(self.content(self.name()), "content\n")

    def test_quiet_prints_the_name_alone(self):
        self.put()
        output = self.store("pull", "-q", self.name())
        self.assertEqual((output.out, output.err), (self.name() + "\n", ""))
        loud = self.store("pull", self.name("v1"), check=False)
        self.assertEqual(loud.err, "")  # nothing was pulled

    def test_all_tags(self):
        for tag in ("v1", "v2", "v3"):
            self.put(tag, tag.encode())
        output = self.store("pull", "--all-tags", self.name().rsplit(":", 1)[0])
        self.assertEqual(output.out.split(), [self.name(tag) for tag in ("v1", "v2", "v3")])
        self.assertEqual(self.content(self.name("v2")), "v2")
        self.assertEqual(self.store("pull", "-a", self.name(), check=False).code, 125)

    def test_a_digest_is_a_name(self):
        digest = self.put()["digest"]
        self.put("v1", b"moved\n")
        proxy = self.proxy()
        name = f"{proxy.host}/{self.repository}@{digest}"
        self.assertEqual(self.store("pull", name).out, name + "\n")
        self.assertEqual(self.content(name), "content\n")
        seen = len(proxy.seen)
        self.store("pull", name)
        self.assertEqual(len(proxy.seen), seen)  # it says all there is to know

    def test_an_index_keeps_all_and_brings_one_platform(self):
        for kind in (INDEX, DOCKER_LIST):
            with self.subTest(kind):
                own = self.put(None, b"own\n")
                other = self.put(None, b"other\n", arch=OTHER)
                index = {"schemaVersion": 2, "mediaType": kind, "manifests": [other, own]}
                tag = "index" if kind == INDEX else "list"
                digest = self.registry.put_manifest(self.repository, tag, index, kind)
                name = self.name(tag)
                self.store("pull", name)
                entries = json.loads((self.store.store / "index.json").read_text())["manifests"]
                self.assertIn((kind, digest), [(entry["mediaType"], entry["digest"]) for entry in entries])
                blobs = self.store.store / "blobs/sha256"
                self.assertTrue((blobs / own["digest"][7:]).exists())
                self.assertEqual((blobs / other["digest"][7:]).exists(), kind == DOCKER_LIST)
                self.assertEqual(self.content(name), "own\n")
                self.store("verify")
                # The other platform later: the index is there already.
                self.store("pull", "--platform", "linux/" + OTHER, name)
                self.assertTrue((blobs / other["digest"][7:]).exists())
                self.assertEqual(self.content(name), "own\n")
                missing = self.store("pull", "--platform", "linux/mips", name, check=False)
                self.assertEqual(missing.code, 1)
                self.assertIn("linux/" + OTHER, missing.err)

    def test_an_index_that_skopeo_copied(self):
        harness.require("skopeo")
        own, other = self.put(None, b"own\n"), self.put(None, b"other\n", arch=OTHER)
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [other, own]}
        self.registry.put_manifest(self.repository, "first", index, INDEX)
        run(["skopeo", "--insecure-policy", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false",
             "docker://" + self.name("first"), "docker://" + self.name("second")])
        self.store("pull", self.name("second"))
        self.assertEqual(self.content(self.name("second")), "own\n")

    def test_only_another_platform_is_told_and_still_listed(self):
        other = self.put(None, arch=OTHER)
        self.registry.put_manifest(self.repository, "v1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [other]},
                                   INDEX)
        refused = self.store("pull", self.name(), check=False)
        self.assertEqual(refused.code, 1)
        self.assertIn("nothing for linux/" + MACHINE, refused.err)
        self.store("pull", "--platform", "linux/" + OTHER, self.name())
        self.assertEqual(len(self.rows()), 1)
        self.assertIn(OTHER, self.store("inspect", "--format", "{{ .Architecture }}", self.name()).out)


class Requests(PullCase):
    def test_an_unchanged_tag_costs_one_head(self):
        self.put()
        proxy = self.proxy()
        name = self.name(registry=proxy)
        self.store("pull", name)
        before = len(proxy.seen)
        self.store("pull", name)
        asked = [(method, path) for method, path, _ in proxy.seen[before:]]
        self.assertEqual(asked, [("HEAD", f"/v2/{self.repository}/manifests/v1")])

    def test_a_moved_tag_brings_what_is_new(self):
        self.put()
        proxy = self.proxy()
        name = self.name(registry=proxy)
        self.store("pull", name)
        self.put(text=b"new\n")
        before = len([1 for _, path, _ in proxy.seen if "/blobs/" in path])
        self.store("pull", name)
        self.assertEqual(len([1 for _, path, _ in proxy.seen if "/blobs/" in path]) - before, 2)  # config, one layer
        self.assertEqual(self.content(name), "new\n")

    def test_sixteen_at_once_download_each_blob_once(self):
        self.put()
        proxy = self.proxy()
        proxy.fault("/blobs/", faulty.drip(0.005, 65536), times=None)
        name = self.name(registry=proxy)
        pulls = [self.store.start("pull", "-q", name, env={k: v for k, v in {**os.environ, **ENV}.items() if v is not None})
                 for _ in range(16)]
        results = [(pull.communicate(timeout=60), pull.returncode) for pull in pulls]
        self.assertEqual({code for _, code in results}, {0}, results)
        image = self.store.image(name)
        for layer in image.layers:
            self.assertEqual(proxy.count(layer["digest"]), 1, layer)
        self.assertEqual(self.content(name), "content\n")
        self.assertEqual(self.ingest(), ([], []))


class Slow:
    """Sends a blob in pieces that the test counts, none before the client has stored the one before the last: what lies in
    the buffers of sockets and pipes when a client dies is lost, and is more the busier the machine is."""

    def __init__(self, proxy, digest, stored, size, pause=0.004, piece=64 << 10):
        self.bytes = 0
        self.stored, self.size = stored, size
        self.pause, self.piece = pause, piece
        proxy.fault(digest, self, times=None)

    def __call__(self, handler, answer):
        handler.send(answer, b"")
        begin = self.size - len(answer.body)
        for at in range(0, len(answer.body), self.piece):
            deadline = time.monotonic() + 1  # then the client is dead, which writing tells
            while self.stored() < begin + at - self.piece and time.monotonic() < deadline:
                time.sleep(0.001)
            handler.wfile.write(answer.body[at:at + self.piece])
            self.bytes += len(answer.body[at:at + self.piece])
            time.sleep(self.pause)


class Interrupted(PullCase):
    SIZE = 12 << 20

    def setUp(self):
        super().setUp()
        self.put(text=os.urandom(self.SIZE))
        self.layer = self.registry.get_manifest(self.repository, "v1")["layers"][1]
        self.digest = self.layer["digest"]
        self.server = self.proxy()
        self.slow = Slow(self.server, self.digest, self.stored, self.layer["size"])
        self.image_name = self.name(registry=self.server)
        self.partial = self.store.store / "ingest/partial" / self.digest[7:]

    def start(self):
        return self.store.start("pull", "-q", self.image_name,
                                env={k: v for k, v in {**os.environ, **ENV}.items() if v is not None})

    def stored(self):
        return self.partial.stat().st_size if self.partial.exists() else 0

    def finish(self):
        self.store("pull", self.image_name)
        self.assertEqual(self.ingest(), ([], []))
        self.store("verify")
        self.assertLess(self.slow.bytes, 1.1 * self.layer["size"])

    def test_ten_kills_cost_less_than_a_tenth(self):
        for number in range(10):
            process = self.start()
            harness.wait_until(lambda n=number: self.stored() > (n + 1) * (1 << 20), "progress of the download")
            os.kill(process.pid, signal.SIGKILL)
            process.communicate(timeout=20)
        self.assertEqual(self.store("images", "-q").out, "")
        self.finish()

    def test_an_interrupt_keeps_the_download_and_nothing_else(self):
        for sent, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            process = self.start()
            before = self.stored()
            harness.wait_until(lambda: self.stored() > before + (1 << 20), "progress of the download")
            os.killpg(process.pid, sent)
            _, err = process.communicate(timeout=20)
            self.assertEqual((process.returncode, err.decode()), (code, "error: interrupted\n"))
            partial, others = self.ingest()
            self.assertIn(self.digest[7:], partial)
            self.assertEqual(others, [])
            self.assertGreater(self.stored(), before)
        self.finish()


    def test_an_interrupted_build_keeps_the_download_of_its_base(self):
        context = self.write({"Dockerfile": f"FROM {self.image_name}\n"})
        process = self.store.start("build", "--network", "host", "-q", context,
                                   env={k: v for k, v in {**os.environ, **ENV}.items() if v is not None})
        harness.wait_until(lambda: self.stored() > (1 << 20), "progress of the download")
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=20)
        self.assertEqual((process.returncode, err.decode()), (130, "error: interrupted\n"))
        self.assertEqual(self.ingest()[1], [])
        self.assertIn(self.digest[7:], self.ingest()[0])
        self.finish()


class Wrong(PullCase):
    def failed(self, *args, code=1):
        output = self.store(*args, check=False)
        self.assertEqual(output.code, code, str(output))
        self.assertEqual(self.store("images", "-a", "-q").out, "")
        return output.err

    def test_a_blob_that_was_deleted_after_its_manifest(self):
        self.put()
        layer = self.registry.get_manifest(self.repository, "v1")["layers"][1]
        self.registry.delete(self.repository, "blobs", layer["digest"])
        err = self.failed("pull", self.name())
        self.assertIn(layer["digest"], err)
        self.assertIn(self.registry.host, err)

    def test_other_bytes_are_asked_for_again_and_then_refused(self):
        self.put()
        proxy = self.proxy()
        base, digest = (layer["digest"] for layer in self.registry.get_manifest(self.repository, "v1")["layers"])
        partial = self.store.store / "ingest/partial" / base[7:]
        is_over = threading.Event()
        self.addCleanup(is_over.set)

        def stall(handler, answer):
            handler.send(answer, answer.body[:100000])
            is_over.wait(20)
            handler.hang_up()

        def change(body):
            return body[:-1] + bytes([body[-1] ^ 1])

        def change_late(body):
            harness.wait_until(lambda: partial.exists() and partial.stat().st_size > 0, "the other layer under way")
            return change(body)

        proxy.fault(base, stall)
        proxy.fault(digest, faulty.other_body(change_late), times=None)
        err = self.failed("pull", self.name(registry=proxy))
        is_over.set()
        self.assertEqual(proxy.count(digest), 2)
        self.assertRegex(err, f"{digest}(.|\n)*sha256:[0-9a-f]{{64}}")
        # What there is of the other layer is kept for the next pull.
        kept = partial.stat().st_size
        self.assertEqual(self.ingest(), ([base[7:]], []))
        # Once is forgiven.
        proxy.faults.clear()
        proxy.fault(digest, faulty.other_body(change), times=1)
        self.store("pull", self.name(registry=proxy))
        self.assertEqual(proxy.headers(base)[-1]["range"], f"bytes={kept}-")
        self.assertEqual(self.content(self.name(registry=proxy)), "content\n")
        self.assertEqual(self.ingest(), ([], []))

    def test_an_image_that_nobody_has(self):
        err = self.failed("pull", self.name("v9"))
        self.assertIn(self.name("v9"), err)
        err = self.failed("run", "--rm", self.name("v9"), code=125)
        self.assertIn("no such image: " + self.name("v9"), err)
        self.assertIn("could not be pulled", err)

    def test_a_registry_that_cannot_be_reached(self):
        name = f"127.0.0.1:{registries.free_port()}/app:v1"
        err = self.failed("pull", "--retry", "0", name)
        self.assertIn(name, err)
        err = self.failed("run", "--rm", "--retry", "0", name, code=125)
        self.assertIn("no such image: " + name, err)
        self.assertIn("img load", err)
        self.assertNotIn("could not", self.failed("run", "--rm", "--pull", "never", name, code=125))

    def test_a_pull_that_nobody_asked_for_gives_up_early(self):
        name = f"127.0.0.1:{registries.free_port()}/app:v1"
        self.assertIn("after 2 tries", self.failed("run", "--rm", name, code=125))
        context = self.write({"Dockerfile": f"FROM {name}\n"})
        self.assertIn("after 2 tries", self.failed("build", "-q", context))
        self.assertIn("after 3 tries", self.failed("run", "--rm", "--retry", "2", "--retry-delay", "10ms", name, code=125))

    def test_without_img_remote_the_store_still_works(self):
        self.put()
        env = {"IMG_REMOTE": "/nonexistent/img-remote"}
        output = self.store("pull", self.name(), check=False, env=env)
        self.assertEqual(output.code, 1)
        self.assertIn("/nonexistent/img-remote", output.err)
        self.store.with_busybox()
        self.assertEqual(self.store("run", "--rm", "--net", "none", "busybox", "echo", "x", env=env).out, "x\n")

    def test_credentials_are_asked_for_by_name(self):
        registry = registries.Registry(users={"me": "pass word"}, tls=True)
        self.addCleanup(registry.stop)
        put_image(registry, "app", "v1", [{"a": b"private\n"}])
        name = registry.host + "/app:v1"
        certificates = self.dir / "certs"
        certificates.mkdir()
        (certificates / "ca.crt").write_bytes(pathlib.Path(registry.ca).read_bytes())
        err = self.failed("pull", "--cert-dir", certificates, name)
        self.assertIn("img login " + registry.host, err)
        err = self.failed("pull", "--cert-dir", certificates, "--creds", "me:wrong word", name)
        self.assertNotIn("wrong word", err)
        self.store("pull", "--cert-dir", certificates, "--creds", "me:pass word", name)
        self.assertEqual(self.content(name), "private\n")


class Needed(PullCase):
    """Commands that need an image."""

    def test_run_and_create_pull_what_is_missing(self):
        self.put()
        output = self.store("run", "--rm", "--net", "none", self.name())
        self.assertEqual(output.out, "content\n")
        self.assertIn("pulling", output.err)
        self.put("v2", b"second\n")
        created = self.store("create", "-q", "--net", "none", self.name("v2"))
        self.assertEqual((len(created.out.strip()), created.err), (64, ""))

    def test_policies_of_run(self):
        self.put()
        proxy = self.proxy()
        name = self.name(registry=proxy)

        def content(*options):
            return self.store("run", "--rm", "--net", "none", *options, name).out

        content()
        self.put(text=b"new\n")
        seen = len(proxy.seen)
        self.assertEqual(content("--pull", "missing"), "content\n")
        self.assertEqual(content("--pull", "never"), "content\n")
        self.assertEqual(len(proxy.seen), seen)
        self.assertEqual(content("--pull", "always"), "new\n")
        proxy.stop()
        self.assertEqual(content("--pull", "newer", "--retry", "0"), "new\n")
        self.assertEqual(self.store("run", "--rm", "--pull", "always", "--retry", "0", name, check=False).code, 125)
        self.assertEqual(self.store("run", "--rm", "--pull", "often", name, check=False).code, 125)

    def test_an_image_that_is_mounted(self):
        self.put()
        self.store.with_busybox()
        output = self.store("run", "--rm", "--net", "none", "--mount", f"type=image,src={self.name()},dst=/mnt", "busybox",
                            "cat", "/mnt/a")
        self.assertEqual(output.out, "content\n")

    def test_a_build_pulls_each_base_once(self):
        self.put()
        self.put("v2", b"second\n")
        self.put("v3", b"third\n")
        proxy = self.proxy()
        one, two, three = (self.name(tag, proxy) for tag in ("v1", "v2", "v3"))
        dockerfile = (f"FROM {one} AS a\nFROM {one}\nCOPY --from={two} /a /two\n"
                      f"RUN --mount=from={three},target=/m cat /m/a > /three\nCOPY --from=a /a /one\n"
                      "CMD cat /one /two /three\n")
        context = self.write({})
        self.store.build(context, "result", dockerfile=dockerfile)
        self.assertEqual(self.content("result"), "content\nsecond\nthird\n")
        for tag in ("v1", "v2", "v3"):
            self.assertEqual(proxy.count(f"/manifests/{tag}", "HEAD"), 1)
        # They are there now, and are asked for again only on request.
        seen = len(proxy.seen)
        self.store.build(context, "result", dockerfile=dockerfile)
        self.assertEqual(len(proxy.seen), seen)
        self.put(text=b"new\n")
        self.store.build(context, "result", "--pull", dockerfile=dockerfile)
        self.assertEqual(self.content("result"), "new\nsecond\nthird\n")
        self.assertEqual(proxy.count("/manifests/v1", "HEAD"), 2)

    def test_a_base_by_digest_and_by_platform(self):
        own, other = self.put(None, b"own\n"), self.put(None, b"other\n", arch=OTHER)
        self.registry.put_manifest(self.repository, "v1", {"schemaVersion": 2, "mediaType": INDEX,
                                                           "manifests": [own, other]}, INDEX)
        repository = self.name().rsplit(":", 1)[0]
        context = self.write({})
        dockerfile = (f"FROM --platform=linux/{OTHER} {self.name()} AS other\nFROM {repository}@{own['digest']}\n"
                      "COPY --from=other /a /b\nCMD cat /a /b\n")
        self.store.build(context, "result", dockerfile=dockerfile)
        self.assertEqual(self.content("result"), "own\nother\n")

    def test_a_base_that_is_not_to_be_pulled_or_not_there(self):
        self.put()
        context = self.write({})
        never = self.store.build(context, None, "--pull=never", dockerfile=f"FROM {self.name()}\n", check=False)
        self.assertEqual(never.code, 1)
        self.assertIn(f"FROM: {self.name()}: not found", never.err)
        missing = self.store.build(context, None, dockerfile=f"FROM {self.name()}\nCOPY --from={self.name('v9')} /a /b\n",
                                   check=False)
        self.assertEqual(missing.code, 1)
        self.assertIn("Dockerfile:2", missing.err)
        self.assertIn(f"COPY: {self.name('v9')}: not found", missing.err)
        self.assertIn(self.registry.host + " has no image", missing.err)


class Repaired(PullCase):
    """verify --repair asks the registry an image came from for the blobs that are no longer what they were."""

    def damage(self):
        """Each blob of the store in turn with one other byte: its digest."""
        for file in sorted((self.store.store / "blobs/sha256").iterdir()):
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.chmod(0o644)
            file.write_bytes(data)
            file.chmod(0o444)
            yield "sha256:" + file.name

    def test_every_damaged_blob_comes_back(self):
        self.put(text=os.urandom(300_000))
        self.store("pull", self.name())
        before = self.store.image(self.name())
        count = 0
        for count, digest in enumerate(self.damage(), 1):
            with self.subTest(count):
                found = self.store("verify", check=False)
                self.assertEqual(found.code, 1)
                self.assertIn(digest, found.out)
                mended = self.store("verify", "--repair")
                self.assertIn(digest, mended.out)
                self.check_store()
        self.assertGreaterEqual(count, 3)  # manifest, config, layer
        after = self.store.image(self.name())
        self.assertEqual((after.id, after.manifest), (before.id, before.manifest))
        self.assertEqual(self.ingest(), ([], []))

    def test_what_the_registry_no_longer_has_takes_the_image_with_it(self):
        proxy = self.proxy()
        self.put()
        name = self.name(registry=proxy)
        self.store("pull", name)
        proxy.stop()
        next(iter(self.damage()))
        mended = self.store("verify", "--repair", check=False)
        self.assertIn("cannot be fetched again", mended.err)
        self.assertIn(name, mended.out)
        self.assertEqual(self.rows(), [])
        self.store("verify")


class AsAnOrdinaryUser(PullCase):
    def test_pull_and_run(self):
        self.put()
        person = people.Ordinary("imgpull")
        program = person.img()
        program.env = {**program.env, **ENV}
        program("pull", self.name())
        shown = program("run", "--rm", "--net", "none", self.name())
        self.assertEqual(shown.out, "content\n")
        program("verify")
