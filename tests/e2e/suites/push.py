"""Images pushed to a real registry, and read back by skopeo, podman, docker and a second store of our own; login and
logout. The registry is Debian's docker-registry on loopback."""
import base64
import json
import os
import pathlib
import pty
import re
import subprocess

from lib import faulty_registry, harness, peers, people, registries
from lib.harness import run

DOCKERFILE = """FROM busybox
ENV GREETING=hello
COPY data /data
RUN echo "$GREETING from a layer" > /greeting
LABEL app=demo
CMD ["cat", "/greeting"]
"""
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LINE = re.compile(r"^(\S+): digest: (sha256:[0-9a-f]{64}) size: (\d+)$")


class PushCase(harness.TestCase):
    """A store with the image `app`; nothing of the caller's own configuration is used."""

    def setUp(self):
        super().setUp()
        self.home = self.dir / "home"
        self.home.mkdir()
        self.env = {"HOME": str(self.home), "XDG_CONFIG_HOME": None, "XDG_RUNTIME_DIR": None, "DOCKER_CONFIG": None,
                    "REGISTRY_AUTH_FILE": None, "DOCKER_AUTH_CONFIG": None,
                    "CONTAINERS_REGISTRIES_CONF": "/dev/null"}
        self.store = self.img(env=self.env)
        # More than one block of what compresses well, and something that does not.
        self.context = self.write({"data/text": "all work and no play\n" * 200_000, "data/noise": os.urandom(300_000),
                                   "Dockerfile": DOCKERFILE})
        self.store.build(self.context, "app")

    def second_store(self):
        return self.img(self.dir / "second", busybox=False, env=self.env)

    def pushed(self, output):
        """(tag, digest) of the last line."""
        found = LINE.match(output.out.splitlines()[-1])
        self.assertTrue(found, str(output))
        return found.group(1), found.group(2)


class Plain(PushCase):
    """A registry without users."""

    @classmethod
    def setUpClass(cls):
        cls.registry = registries.Registry(access_log=True)
        cls.addClassCleanup(cls.registry.stop)

    def name(self, repository="app"):
        return f"{self.registry.host}/{self.id().rsplit('.', 1)[-1].replace('_', '-')}/{repository}:v1"

    def repository(self, repository="app"):
        return self.name(repository).split("/", 1)[1].rsplit(":", 1)[0]

    def manifest(self, repository="app", reference="v1", accept=registries.MANIFEST):
        return self.registry.get_manifest(self.repository(repository), reference, accept)

    def test_skopeo_reads_it_and_its_digest_is_the_printed_one(self):
        tag, digest = self.pushed(self.store("push", "app", self.name(), "--digestfile", self.dir / "digest"))
        self.assertEqual(tag, "v1")
        self.assertEqual((self.dir / "digest").read_text(), digest)
        shown = json.loads(run(["skopeo", "inspect", "--tls-verify=false", "docker://" + self.name()]).out)
        self.assertEqual(shown["Digest"], digest)
        self.assertEqual(shown["Labels"], {"app": "demo"})
        run(["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "docker://" + self.name(),
             f"oci:{self.dir}/copy:x"])
        config = self.manifest()["config"]["digest"]
        self.assertEqual(config, self.store.image("app").id)

    def test_it_comes_back_with_the_same_id(self):
        self.store("push", "app", self.name())
        other = self.second_store()
        other("pull", self.name())
        self.assertEqual(other.image(self.name()).id, self.store.image("app").id)
        shown = other("run", "--rm", "--net", "none", self.name())
        self.assertEqual(shown.out, "hello from a layer\n")

    def test_each_compression_comes_back_with_the_same_id(self):
        types = {"gzip": "+gzip", "gzip:1": "+gzip", "zstd": "+zstd", "zstd:7": "+zstd", "none": ".tar"}
        for number, (compression, ending) in enumerate(types.items()):
            with self.subTest(compression):
                name = self.name(f"app{number}")
                self.store("push", "--compression", compression, "app", name)
                layers = self.manifest(f"app{number}")["layers"]
                self.assertEqual({layer["mediaType"].endswith(ending) for layer in layers}, {True}, layers)
                other = self.img(self.dir / f"other{number}", busybox=False, env=self.env)
                other("pull", name)
                self.assertEqual(other.image(name).id, self.store.image("app").id)
                self.assertEqual(other("run", "--rm", "--net", "none", name).out, "hello from a layer\n")

    def test_force_compression_changes_layers_that_are_compressed(self):
        self.store("push", "app", self.name())
        other = self.second_store()
        other("pull", self.name())
        other("push", "--compression", "zstd", self.name(), self.name("kept"))
        self.assertTrue(self.manifest("kept")["layers"][0]["mediaType"].endswith("+gzip"))
        other("push", "--compression", "zstd", "--force-compression", self.name(), self.name("changed"))
        layers = self.manifest("changed")["layers"]
        self.assertEqual({layer["mediaType"][-5:] for layer in layers}, {"+zstd"})
        self.assertEqual(self.manifest("changed")["config"]["digest"], self.store.image("app").id)

    def test_what_is_compressed_already_keeps_its_digest(self):
        _, digest = self.pushed(self.store("push", "app", self.name()))
        other = self.second_store()
        other("pull", self.name())
        _, again = self.pushed(other("push", self.name(), self.name("other")))
        self.assertEqual(again, digest)

    def test_an_unchanged_push_only_asks(self):
        self.store("push", "app", self.name())
        harness.wait_until(lambda: any(m == "PUT" and "/manifests/" in p for m, p, _ in self.registry.requests()), "the manifest")
        before = len(self.registry.requests())
        again = self.store("push", "app", self.name())
        wanted = len(self.manifest()["layers"]) + 2  # the config, the manifest

        def asked():
            return [r for r in self.registry.requests(before) if r[0] != "GET"]

        harness.wait_until(lambda: len(asked()) >= wanted, "the HEAD requests")
        self.assertEqual({method for method, _, _ in asked()}, {"HEAD"})
        self.assertEqual(len(asked()), wanted)
        self.assertIn("already there", again.err)

    def test_a_second_push_does_not_compress_again(self):
        self.store("push", "--compression", "zstd:15", "app", self.name())
        records = sorted(p.name for p in (self.store.store / "cache/compressed").iterdir())
        self.assertEqual(len(records), len(self.store.image("app").layers))
        blobs = set(os.listdir(self.store.store / "blobs/sha256"))
        inodes = {b: os.stat(self.store.store / "blobs/sha256" / b).st_ino for b in blobs}
        self.store("push", "--compression", "zstd:15", "app", self.name("elsewhere"))
        self.assertEqual(set(os.listdir(self.store.store / "blobs/sha256")), blobs)
        self.assertEqual({b: os.stat(self.store.store / "blobs/sha256" / b).st_ino for b in blobs}, inodes)

    def test_compressed_forms_go_with_their_image(self):
        def forms():
            return list((self.store.store / "cache/compressed").iterdir())

        self.store("load", stdin=self.store("save", "app").raw)  # nothing of the build cache keeps its layers
        self.store("push", "app", self.name())
        self.assertTrue(forms())
        self.store("rmi", "-f", "app", "busybox")
        run([harness.program(), "--root", self.store.store, "builder", "prune", "-a", "-f"])
        run([harness.program(), "--root", self.store.store, "image", "prune", "-a", "-f"])
        self.assertEqual(forms(), [])

    def test_blobs_are_mounted_from_another_repository(self):
        self.store("push", "app", self.name("one"))
        before = len(self.registry.requests())
        second = self.store("push", "app", self.name("two"))
        harness.wait_until(lambda: any(m == "PUT" and "/manifests/" in p for m, p, _ in self.registry.requests(before)),
                           "the manifest")
        mounts = [r for r in self.registry.requests(before) if r[0] == "POST" and "mount=" in r[1]]
        self.assertEqual({status for _, _, status in mounts}, {201})
        self.assertEqual(len(mounts), len(self.store.image("app").layers) + 1)
        uploads = [r for r in self.registry.requests(before) if r[0] in ("PATCH", "PUT") and "/uploads/" in r[1]]
        self.assertEqual(uploads, [])
        self.assertIn("mounted from", second.err)

    def test_a_place_that_has_lost_the_blob_is_no_obstacle(self):
        self.store("push", "app", self.name("one"))
        layer = self.manifest("one")["layers"][1]["digest"]
        self.registry.delete(self.repository("one"), "blobs", layer)
        self.store("push", "app", self.name("two"))
        other = self.second_store()
        other("pull", self.name("two"))
        self.assertEqual(other.image(self.name("two")).id, self.store.image("app").id)

    def test_format_v2s2_is_dockers_and_keeps_the_id(self):
        self.store("push", "--format", "v2s2", "app", self.name())
        manifest = self.manifest(accept=DOCKER_MANIFEST)
        self.assertEqual(manifest["mediaType"], DOCKER_MANIFEST)
        self.assertEqual(manifest["config"]["mediaType"], "application/vnd.docker.container.image.v1+json")
        self.assertEqual({layer["mediaType"] for layer in manifest["layers"]},
                         {"application/vnd.docker.image.rootfs.diff.tar.gzip"})
        self.assertEqual(manifest["config"]["digest"], self.store.image("app").id)
        other = self.second_store()
        other("pull", self.name())
        other("push", "--format", "oci", self.name(), self.name("back"))
        self.assertEqual(self.manifest("back")["mediaType"], registries.MANIFEST)

    def test_push_by_id_needs_a_destination(self):
        image = self.store.image("app")
        failed = self.store("push", image.id, check=False)
        self.assertNotEqual(failed.code, 0)
        self.assertIn("is an id", failed.err)
        self.store("push", image.id[7:19], self.name())
        self.assertEqual(self.manifest()["config"]["digest"], image.id)

    def test_all_tags_of_a_repository(self):
        repository = self.name().rsplit(":", 1)[0]
        for tag in ("a", "b"):
            self.store("tag", "app", f"{repository}:{tag}")
        lines = self.store("push", "-a", repository).out.splitlines()
        self.assertEqual(sorted(line.split(":")[0] for line in lines), ["a", "b"])
        self.assertEqual(sorted(self.registry.tags(self.repository())), ["a", "b"])

    def test_quiet_prints_the_name_alone(self):
        shown = self.store("push", "-q", "app", self.name())
        self.assertEqual((shown.out, shown.err), (self.name() + "\n", ""))

    def test_a_name_pushes_to_where_it_says(self):
        self.store("tag", "app", self.name())
        self.store("push", self.name())
        self.assertEqual(self.manifest()["config"]["digest"], self.store.image("app").id)

    def test_a_whole_index(self):
        self.store.build(self.context, "many", "--platform", "linux/amd64,linux/arm64", dockerfile="""FROM scratch
ARG TARGETARCH
COPY data/noise /$TARGETARCH
""")
        self.store("push", "many", self.name())
        index = self.manifest(accept=INDEX)
        self.assertEqual(index["mediaType"], INDEX)
        platforms = {entry["platform"]["architecture"] for entry in index["manifests"]}
        self.assertEqual(platforms, {"amd64", "arm64"})
        for entry in index["manifests"]:
            child = self.registry.get_manifest(self.repository(), entry["digest"])
            self.assertTrue(child["layers"][0]["mediaType"].endswith("+gzip"))
        self.store("push", "--platform", "linux/arm64", "many", self.name("one"))
        config = self.manifest("one")["config"]["digest"]
        document = self.registry.request("GET", f"/v2/{self.repository('one')}/blobs/{config}")[2]
        self.assertEqual(json.loads(document)["architecture"], "arm64")

    def test_what_is_missing_in_an_index_is_not_pushed(self):
        self.store.build(self.context, "many", "--platform", "linux/amd64,linux/arm64", dockerfile="""FROM scratch
ARG TARGETARCH
COPY data/noise /$TARGETARCH
""")
        self.store("push", "many", self.name())
        other = self.second_store()
        other("pull", self.name())
        pushed = other("push", self.name(), self.name("half"))
        self.assertIn("not all platforms", pushed.err)
        self.assertEqual(len(self.manifest("half")["layers"]), 1)

    def test_a_build_pushes_its_result(self):
        self.store.build(self.context, self.name(), "--push")
        self.assertEqual(self.manifest()["config"]["digest"], self.store.image("app").id)
        self.assertTrue(self.manifest()["layers"][0]["mediaType"].endswith("+gzip"))
        output = f"type=registry,name={self.name('other')},compression=zstd"
        self.store.build(self.context, None, "-o", output)
        self.assertTrue(self.manifest("other")["layers"][0]["mediaType"].endswith("+zstd"))
        other = self.second_store()
        other("pull", self.name("other"))
        self.assertEqual(other("run", "--rm", "--net", "none", self.name("other")).out, "hello from a layer\n")

    def test_a_build_that_cannot_push_fails(self):
        port = registries.free_port()
        failed = self.store.build(self.context, f"127.0.0.1:{port}/x", "--push", check=False, env={**self.env})
        self.assertNotEqual(failed.code, 0)
        self.assertIn(f"127.0.0.1:{port}", failed.err)

    def test_options_that_make_no_sense(self):
        for arguments, message in ((["--compression", "lzma"], "invalid value"), (["--compression", "gzip:12"], "level"),
                                   (["--compression", "none:1"], "level"), (["--format", "tar"], "invalid value"),
                                   (["--force-compression"], "needs --compression"),
                                   (["--format", "v2s2", "--compression", "zstd"], "zstd")):
            with self.subTest(arguments):
                failed = self.store("push", *arguments, "app", self.name(), check=False)
                self.assertNotEqual(failed.code, 0)
                self.assertIn(message, failed.err)

    def test_no_such_image(self):
        failed = self.store("push", "nobody/has:this", self.name(), check=False)
        self.assertEqual(failed.code, 1)
        self.assertIn("no such image", failed.err)

    def test_a_damaged_layer_is_not_pushed(self):
        layer = max(self.store.image("app").layers, key=lambda each: each["size"])
        path = self.store.image("app").blob_path(layer["digest"])
        os.chmod(path, 0o644)
        with open(path, "r+b") as file:
            file.seek(3_000_000)
            file.write(b"damage")
        failed = self.store("push", "app", self.name(), check=False)
        self.assertEqual(failed.code, 1)
        self.assertIn("is damaged", failed.err)
        self.assertEqual(self.registry.request("GET", f"/v2/{self.repository()}/manifests/v1")[0], 404)

    def test_a_blob_that_goes_before_the_manifest_comes(self):
        proxy = faulty_registry.FaultyRegistry(self.registry)
        self.addCleanup(proxy.stop)
        name = self.name().replace(self.registry.host, proxy.host)
        self.store("push", "app", name)
        layer = self.manifest()["layers"][1]["digest"]

        def answer_and_delete(handler, answer):
            self.registry.delete(self.repository(), "blobs", layer)
            handler.send(answer)

        proxy.fault(f"/blobs/{layer}", answer_and_delete, method="HEAD")
        failed = self.store("push", "app", name.replace(":v1", ":v2"), check=False)
        self.assertEqual(failed.code, 1)
        self.assertIn("has lost what it had a moment ago", failed.err)
        self.assertIn("push again", failed.err)
        self.store("push", "app", name.replace(":v1", ":v2"))
        self.assertEqual(self.manifest(reference="v2")["layers"][1]["digest"], layer)
        self.assertTrue(self.registry.has_blob(self.repository(), layer))

    def test_an_upload_that_is_cut_short_is_made_again(self):
        proxy = faulty_registry.FaultyRegistry(self.registry)
        self.addCleanup(proxy.stop)
        proxy.fault("/uploads/", faulty_registry.busy(503, after=0), times=2, method="PUT")
        proxy.fault("/uploads/", faulty_registry.busy(503, after=0), times=1, method="POST")
        self.store("push", "app", self.name().replace(self.registry.host, proxy.host))
        self.assertEqual(self.manifest()["config"]["digest"], self.store.image("app").id)

    def large_layer(self, name):
        """An image with a layer that is sent while it is compressed."""
        context = self.dir / "large"
        context.mkdir()
        (context / "noise").write_bytes(os.urandom(12 << 20))
        (context / "Dockerfile").write_text("FROM scratch\nCOPY noise /\n")
        self.store.build(context, name)
        return self.store.image(name)

    def asked(self, proxy, method):
        return [path for verb, path, _ in proxy.seen if verb == method and "/uploads/" in path]

    def proxy(self):
        proxy = faulty_registry.FaultyRegistry(self.registry)
        self.addCleanup(proxy.stop)
        return proxy, self.name().replace(self.registry.host, proxy.host)

    def pulls_back(self, image):
        other = self.second_store()
        other("pull", self.name())
        self.assertEqual(other.image(self.name()).id, image.id)

    def test_a_large_layer_is_sent_while_it_is_compressed(self):
        image = self.large_layer("large")
        proxy, name = self.proxy()
        self.store("push", "large", name)
        lengths = [(headers.get("Transfer-Encoding"), headers.get("Content-Length")) for verb, _, headers in proxy.seen
                   if verb == "PATCH"]
        self.assertEqual(lengths, [("chunked", None)])  # it began before its end was known
        self.pulls_back(image)

    def test_an_interrupted_early_upload_goes_on(self):
        image = self.large_layer("large")
        proxy, name = self.proxy()
        proxy.fault("/uploads/", faulty_registry.busy(503, after=0), times=1, method="PATCH")
        self.store("push", "large", name)
        self.pulls_back(image)

    def test_a_registry_that_takes_no_pieces_gets_the_layer_whole(self):
        image = self.large_layer("large")
        proxy, name = self.proxy()
        proxy.fault("/uploads/", faulty_registry.status(405), times=None, method="PATCH")
        self.store("push", "large", name)
        self.assertTrue(self.asked(proxy, "PATCH"))
        self.pulls_back(image)

    def test_an_early_upload_of_what_is_there_already_is_given_up(self):
        self.large_layer("large")
        self.store("push", "large", self.name())
        layer = self.manifest()["layers"][0]["digest"]
        for path in (self.store.store / "cache/compressed").iterdir():
            path.unlink()
        proxy, name = self.proxy()
        again = self.store("push", "large", name)
        self.assertIn("already there", again.err)
        self.assertEqual(self.asked(proxy, "PUT"), [])
        self.assertEqual(self.manifest()["layers"][0]["digest"], layer)

    def test_an_ordinary_user_pushes(self):
        user = people.Ordinary("imgpush")
        program = user.img()
        program.env = {**program.env, "CONTAINERS_REGISTRIES_CONF": "/dev/null"}
        program.with_busybox()
        program("push", "busybox", self.name())
        program("push", "--compression", "zstd", "busybox", self.name("zstd"))
        self.assertEqual(self.manifest()["config"]["digest"], self.manifest("zstd")["config"]["digest"])
        self.assertEqual(self.manifest()["config"]["digest"], program.image("busybox").id)


class Engines(PushCase):
    """The others run what img pushed."""

    @classmethod
    def setUpClass(cls):
        cls.registry = registries.Registry()
        cls.addClassCleanup(cls.registry.stop)

    def test_podman_runs_gzip_and_zstd(self):
        podman = peers.Podman()
        for compression in ("gzip", "zstd"):
            with self.subTest(compression):
                name = f"{self.registry.host}/{compression}"
                self.store("push", "--compression", compression, "app", name)
                podman("pull", "--tls-verify=false", name)
                self.assertEqual(podman.run(name).out, "hello from a layer\n")

    def test_docker_runs_oci_and_v2s2(self):
        docker = peers.Dockerd()
        self.addCleanup(docker.stop)
        for form in ("oci", "v2s2"):
            with self.subTest(form):
                name = f"{self.registry.host}/{form}"
                self.store("push", "--format", form, "app", name)
                docker("pull", name)
                self.assertEqual(docker("run", "--rm", "--network", "none", name).out, "hello from a layer\n")


class Login(PushCase):
    """Users over TLS with a CA of its own, and a token server."""

    @classmethod
    def setUpClass(cls):
        cls.registry = registries.Registry(users={"me": "sesame"}, tls=True)
        cls.addClassCleanup(cls.registry.stop)
        cls.host = cls.registry.host

    def setUp(self):
        super().setUp()
        self.config = self.home / ".docker/config.json"
        certificates = self.home / ".config/containers/certs.d" / self.host
        certificates.mkdir(parents=True)
        (certificates / "ca.crt").write_bytes(pathlib.Path(self.registry.ca).read_bytes())

    def login(self, password="sesame", *options, **kwargs):
        return self.store("login", "-u", "me", "--password-stdin", "--tls-verify=true", *options, self.host,
                          stdin=password + "\n", **kwargs)

    def test_login_push_logout(self):
        name = f"{self.host}/app"
        refused = self.store("push", "--tls-verify=true", "app", name, check=False)
        self.assertEqual(refused.code, 1)
        self.assertIn("img login", refused.err)
        self.assertEqual(self.login().out, "Login Succeeded\n")
        self.assertEqual(os.stat(self.config).st_mode & 0o777, 0o600)
        stored = json.loads(self.config.read_text())
        self.assertEqual(base64.b64decode(stored["auths"][self.host]["auth"]), b"me:sesame")
        self.store("push", "--tls-verify=true", "app", name)
        self.assertEqual(self.store("login", "--get-login", self.host).out, "me\n")
        out = self.store("logout", self.host).out
        self.assertEqual(out, f"Removed login credentials for {self.host}\n")
        self.assertEqual(self.store("push", "app", f"{self.host}/other", check=False).code, 1)
        self.assertEqual(self.store("logout", self.host).out, f"Not logged in to {self.host}\n")
        self.assertNotEqual(self.store("login", "--get-login", self.host, check=False).code, 0)

    def test_a_wrong_password_is_not_stored_and_not_shown(self):
        failed = self.login("hunter2", check=False)
        self.assertEqual(failed.code, 1)
        self.assertNotIn("hunter2", failed.out + failed.err)
        self.assertFalse(self.config.exists())
        debugged = run([harness.program("img"), "--log-level", "debug", "login", "-u", "me", "--password-stdin",
                        self.host], stdin="hunter2", check=False, env=self.env)
        self.assertNotIn("hunter2", debugged.err)
        self.assertNotIn(base64.b64encode(b"me:hunter2").decode(), debugged.err)

    def test_credentials_of_the_command_line(self):
        name = f"{self.host}/creds"
        self.store("push", "--creds", "me:sesame", "--tls-verify=true", "app", name)
        failed = self.store("push", "--creds", "me:hunter2", "app", name, check=False)
        self.assertEqual(failed.code, 1)
        self.assertNotIn("hunter2", failed.err)
        self.assertIn("--creds", failed.err)

    def test_an_unknown_authority_is_refused(self):
        for folder in (self.home / ".config/containers/certs.d").iterdir():
            (folder / "ca.crt").unlink()
        failed = self.login(check=False)
        self.assertEqual(failed.code, 1)
        self.assertIn("certificate", failed.err.lower())
        self.login("sesame", "--cert-dir", pathlib.Path(self.registry.ca).parent / "none", check=False)
        own = self.dir / "certs"
        own.mkdir()
        (own / "ca.crt").write_bytes(pathlib.Path(self.registry.ca).read_bytes())
        self.assertEqual(self.login("sesame", "--cert-dir", own).out, "Login Succeeded\n")

    def test_a_password_in_the_arguments_is_warned_about(self):
        shown = self.store("login", "-u", "me", "-p", "sesame", self.host)
        self.assertEqual(shown.out, "Login Succeeded\n")
        self.assertIn("--password on the command line is insecure", shown.err)

    def test_the_authfile_and_what_else_is_in_it(self):
        file = self.dir / "auth.json"
        file.write_text('{"auths": {"other.example": {"auth": "YTpi"}}, "more": [1]}')
        file.chmod(0o644)
        self.login("sesame", "--authfile", file)
        stored = json.loads(file.read_text())
        self.assertEqual((stored["more"], stored["auths"]["other.example"]), ([1], {"auth": "YTpi"}))
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.assertFalse(self.config.exists())
        self.store("push", "--authfile", file, "app", f"{self.host}/authfile")
        self.store("push", "app", f"{self.host}/variable", env={"REGISTRY_AUTH_FILE": str(file)})
        self.store("push", "app", f"{self.host}/text", env={"DOCKER_AUTH_CONFIG": file.read_text()})
        self.store("logout", "-a", "--authfile", file)
        self.assertEqual(json.loads(file.read_text())["auths"], {})

    def test_a_readable_file_is_warned_about(self):
        self.login()
        self.config.chmod(0o644)
        shown = self.store("push", "app", f"{self.host}/readable")
        self.assertIn("chmod 600", shown.err)

    def test_a_credential_helper_keeps_the_password(self):
        programs, kept = self.dir / "bin", self.dir / "kept"
        programs.mkdir()
        helper = programs / "docker-credential-test"
        helper.write_text(f"""#!/bin/sh
case $1 in
store) cat > {kept} ;;
get) cat {kept} 2>/dev/null || {{ echo "credentials not found in native keychain"; exit 1; }} ;;
erase) rm -f {kept} ;;
esac
""")
        helper.chmod(0o755)
        self.config.parent.mkdir()
        self.config.write_text('{"credsStore": "test"}')
        path = {"PATH": f"{programs}:{os.environ['PATH']}"}
        self.login(env=path)
        self.assertEqual(json.loads(kept.read_text())["Secret"], "sesame")
        self.assertNotIn("sesame", self.config.read_text())
        self.assertEqual(json.loads(self.config.read_text())["auths"], {self.host: {}})
        self.store("push", "app", f"{self.host}/helper", env=path)
        self.store("logout", self.host, env=path)
        self.assertFalse(kept.exists())
        self.assertEqual(self.store("push", "app", f"{self.host}/helper", env=path, check=False).code, 1)

    def test_what_is_stored_is_tried_first(self):
        self.login()
        again = self.store("login", self.host)
        self.assertEqual(again.out, "Login Succeeded\n")
        self.config.write_text(self.config.read_text().replace(base64.b64encode(b"me:sesame").decode(),
                                                               base64.b64encode(b"me:old").decode()))
        failed = self.store("login", self.host, check=False)
        self.assertIn("not accepted any more", failed.err)
        self.assertIn("no terminal", failed.err)

    def test_the_terminal_does_not_show_the_password(self):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(self.store.argv("login", self.host), stdin=theirs, stdout=theirs, stderr=theirs,
                                   env={k: v for k, v in {**os.environ, **self.env}.items() if v is not None})
        self.addCleanup(os.close, ours)
        os.close(theirs)
        seen = b""
        for prompt, answer in ((b"Username: ", b"me\n"), (b"Password: ", b"sesame\n"), (b"Login Succeeded", b"")):
            while prompt not in seen:
                seen += os.read(ours, 4096)
            os.write(ours, answer)
        self.assertEqual(process.wait(30), 0)
        self.assertIn(b"me\r\n", seen)
        self.assertNotIn(b"sesame", seen)

    def test_login_makes_no_store(self):
        program = self.img(self.dir / "none", busybox=False, env=self.env)
        program("login", "-u", "me", "--password-stdin", self.host, stdin="sesame")
        self.assertFalse((self.dir / "none").exists())

    def test_podman_and_skopeo_use_what_login_stored(self):
        file = self.dir / "shared.json"
        self.login("sesame", "--authfile", file)
        self.store("push", "--authfile", file, "app", f"{self.host}/shared")
        shown = run(["skopeo", "inspect", "--authfile", file, "--cert-dir", pathlib.Path(self.registry.ca).parent,
                     f"docker://{self.host}/shared"], check=False)
        if shown.code != 0:  # the folder of the CA holds its key, too
            own = self.dir / "ca"
            own.mkdir()
            (own / "ca.crt").write_bytes(pathlib.Path(self.registry.ca).read_bytes())
            shown = run(["skopeo", "inspect", "--authfile", file, "--cert-dir", own, f"docker://{self.host}/shared"])
        self.assertEqual(json.loads(shown.out)["Labels"], {"app": "demo"})


class Tokens(PushCase):
    """A registry that sends its clients to a token server."""

    @classmethod
    def setUpClass(cls):
        cls.tokens = registries.TokenServer(users={"me": "sesame"}, refresh=["refresh-me"])
        cls.addClassCleanup(cls.tokens.stop)
        cls.registry = registries.Registry(tokens=cls.tokens)
        cls.addClassCleanup(cls.registry.stop)

    def test_login_and_push(self):
        host = self.registry.host
        self.store("login", "-u", "me", "--password-stdin", host, stdin="sesame")
        self.store("push", "app", f"{host}/a/app")
        self.assertIn("repository:a/app:pull,push", " ".join(sorted(self.tokens.given)).replace("push,pull", "pull,push"))
        before = len(self.tokens.given)
        self.store("push", "app", f"{host}/b/app")
        self.assertTrue(any("a/app" in scope for scope in self.tokens.given[before:]), self.tokens.given[before:])
        failed = self.store("login", "-u", "me", "--password-stdin", host, stdin="wrong", check=False)
        self.assertEqual(failed.code, 1)

    def test_an_identity_token(self):
        host = self.registry.host
        file = self.dir / "auth.json"
        file.write_text(json.dumps({"auths": {host: {"identitytoken": "refresh-me"}}}))
        file.chmod(0o600)
        self.store("push", "--authfile", file, "app", f"{host}/identity")
        self.assertEqual(self.registry.tags("identity"), ["latest"])

    def test_without_credentials_it_is_denied(self):
        failed = self.store("push", "app", f"{self.registry.host}/denied", check=False)
        self.assertEqual(failed.code, 1)
        self.assertIn("img login", failed.err)
