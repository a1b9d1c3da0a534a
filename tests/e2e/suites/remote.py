"""Sources from elsewhere: img-remote, ADD of URLs and git repositories, contexts that are no folder, named contexts."""
import gzip
import hashlib
import io
import json
import os
import pathlib
import signal
import ssl
import subprocess
import tarfile
import tempfile
import time

from lib import harness, servers
from lib.harness import TestCase, run


class Entry(tarfile.TarInfo):
    """With room for the content."""
    data = None


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def tar_of(files, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), harness.PAST, 0o644
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Layout:
    """An OCI image layout that may say anything."""

    def __init__(self, root):
        self.root = root
        (root / "blobs/sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, kind, data, digest=None, size=None):
        digest = digest or sha256(data)
        (self.root / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": "sha256:" + digest,
                "size": len(data) if size is None else size}

    def image(self, name, architecture, layer_digest=None, layer_size=None):
        """Of one layer with one file, `name`."""
        layer = tar_of({name: b"x"})
        config = {"architecture": architecture, "os": "linux", "config": {},
                  "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha256(layer)]}}
        manifest = {"schemaVersion": 2, "config": self.blob("config.v1+json", json.dumps(config).encode()),
                    "layers": [self.blob("layer.v1.tar", layer, layer_digest, layer_size)]}
        return self.blob("manifest.v1+json", json.dumps(manifest).encode())

    def index(self, entries):
        entries = [{key: value for key, value in entry.items() if value} for entry in entries]
        return self.blob("index.v1+json", json.dumps({"schemaVersion": 2, "manifests": entries}).encode())

    def publish(self, entry):
        named = {**entry, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
        (self.root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))


class RemoteCase(TestCase):
    def serve(self, files=None, **kwargs):
        server = servers.Http(files, **kwargs)
        self.addCleanup(server.close)
        return server

    def layer(self, program, name="x", number=-1):
        """{path: Entry} of one layer."""
        image = program.image(name)
        found = {}
        with tarfile.open(image.blob_path(image.layers[number]["digest"]), tarinfo=Entry) as tar:
            for member in tar:
                member.data = tar.extractfile(member).read() if member.isreg() else None
                found[member.name] = member
        return found

    def build(self, program, dockerfile, *args, **kwargs):
        context = self.write({"local.txt": "local\n"})
        return program.build(context, "x", *args, dockerfile=dockerfile, **kwargs)

    def fails(self, program, dockerfile, *args, **kwargs):
        shown = self.build(program, dockerfile, *args, check=False, **kwargs)
        self.assertEqual(shown.code, 1, str(shown))
        return shown.err


class Fetch(RemoteCase):
    """The program img-remote by itself."""

    def fetch(self, url, check=True, env=None, **request):
        request = {"url": url, "tries": 1, **request}
        with tempfile.TemporaryFile(dir=self.dir) as body:
            done = subprocess.run(
                ["sh", "-c", f"exec \"$0\" fetch 3<&{body.fileno()}", harness.Img(self.dir).path("img-remote")],
                input=json.dumps(request).encode(), capture_output=True, timeout=30, pass_fds=[body.fileno()],
                env={**os.environ, **(env or {})})
            body.seek(0)
            answer = json.loads(done.stdout)
            self.assertEqual(done.returncode, 1 if "error" in answer else 0)
            if check:
                self.assertNotIn("error", answer)
            return answer, body.read()

    def error(self, url, **request):
        return self.fetch(url, check=False, **request)[0]["error"]

    def test_body_hash_and_times(self):
        server = self.serve({"/a.txt": b"hello\n"})
        answer, body = self.fetch(server.url + "/a.txt")
        self.assertEqual(body, b"hello\n")
        self.assertEqual(answer["status"], 200)
        self.assertEqual(answer["sha256"], sha256(b"hello\n"))
        self.assertEqual(answer["size"], 6)
        self.assertEqual(answer["modified"], servers.MODIFIED_SECONDS)
        again, body = self.fetch(server.url + "/a.txt", etag=answer["etag"])
        self.assertEqual((again["status"], body), (304, b""))

    def test_redirects_are_followed_and_bounded(self):
        server = self.serve({"/a.txt": b"hello\n"})
        answer, body = self.fetch(server.url + "/hops/5")
        self.assertEqual((body, answer["url"]), (b"hello\n", server.url + "/a.txt"))
        self.assertIn("more than 5", self.error(server.url + "/hops/6")["cause"])
        self.assertIn("file:///etc/passwd", self.error(server.url + "/to-file")["cause"])

    def test_credentials_stay_at_their_host_and_port(self):
        there, here = self.serve({"/a.txt": b"hello\n"}), self.serve({"/b.txt": b"b"})
        here.elsewhere = there
        self.fetch(here.url + "/leave/a.txt", authorization="Bearer s3cret")
        self.assertEqual(here.seen[-1][2]["Authorization"], "Bearer s3cret")
        self.assertNotIn("Authorization", there.seen[-1][2])
        self.fetch(here.url.replace("//", "//me:pw@") + "/leave/a.txt")
        self.assertEqual(here.seen[-1][2]["Authorization"], "Basic bWU6cHc=")
        self.assertNotIn("Authorization", there.seen[-1][2])
        self.fetch(here.url + "/b.txt", authorization="Bearer s3cret")
        self.assertEqual(here.seen[-1][2]["Authorization"], "Bearer s3cret")

    def test_a_header_cannot_be_smuggled_in(self):
        server = self.serve({"/a.txt": b"hello\n"})
        self.assertIn("line break", self.error(server.url + "/a.txt", authorization="x\r\nHost: evil")["cause"])
        self.assertEqual(server.seen, [])

    def test_status_is_a_result(self):
        server = self.serve()
        answer, body = self.fetch(server.url + "/nothing")
        self.assertEqual((answer["status"], body), (404, b""))
        self.assertNotIn("sha256", answer)

    def test_a_body_that_ends_early_or_stalls_is_an_error(self):
        server = self.serve()
        self.assertIn("cannot fetch", self.error(server.url + "/truncated")["cause"])
        self.assertIn("cannot fetch", self.error(server.url + "/stalls", stall_seconds=1)["cause"])

    def test_a_slow_body_is_waited_for(self):
        self.assertEqual(self.fetch(self.serve().url + "/slow", stall_seconds=2)[1], b"slow\n")

    def test_the_limit_ends_the_transfer(self):
        server = self.serve({"/a.txt": b"x" * 1000})
        self.assertIn("more than 999 bytes", self.error(server.url + "/a.txt", limit=999)["cause"])
        self.assertEqual(len(self.fetch(server.url + "/a.txt", limit=1000)[1]), 1000)

    def test_passing_failures_are_tried_again(self):
        server = self.serve()
        self.assertEqual(self.fetch(server.url + "/flaky/2", tries=3, retry_delay_ms=1)[1], b"at last\n")
        server.failures = 0
        self.assertEqual(self.fetch(server.url + "/flaky/9", tries=3, retry_delay_ms=1)[0]["status"], 503)
        self.assertEqual(server.failures, 3)
        server.close()
        self.addCleanup(lambda: None)

    def test_content_encoding_is_left_as_it_is(self):
        answer, body = self.fetch(self.serve().url + "/coded")
        self.assertEqual(gzip.decompress(body), b"plain\n")
        self.assertEqual(answer["sha256"], sha256(body))

    def test_a_proxy_is_used_and_no_proxy_respected(self):
        proxy = self.serve({"/a.txt": b"direct"})
        proxy.files["http://unknown.invalid/a.txt"] = b"through"
        environment = {"HTTP_PROXY": proxy.url, "NO_PROXY": "127.0.0.1"}
        self.assertEqual(self.fetch(proxy.url + "/a.txt", env=environment)[1], b"direct")
        self.fetch("http://unknown.invalid/a.txt", env=environment)
        self.assertEqual(proxy.paths()[-1], "http://unknown.invalid/a.txt")

    def test_certificates_are_verified(self):
        harness.require("openssl")
        key, cert = self.dir / "key.pem", self.dir / "cert.pem"
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
             "-out", cert, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
        server = self.serve({"/a.txt": b"hello\n"}, tls=tls)
        url = f"https://localhost:{server.port}/a.txt"
        self.assertEqual(self.error(url)["code"], "tls")
        self.dir.chmod(0o700)  # read before the user root is given up
        self.assertEqual(self.fetch(url, env={"SSL_CERT_FILE": str(cert)})[1], b"hello\n")
        wrong = self.error(f"https://127.0.0.1:{server.port}/a.txt", env={"SSL_CERT_FILE": str(cert)})
        self.assertEqual(wrong["code"], "tls")
        plain = self.serve({"/a.txt": b"hello\n"})
        self.assertEqual(self.error(plain.url.replace("http:", "https:") + "/a.txt")["code"], "plain-http")

    def test_it_has_no_privileges_while_it_works(self):
        server = self.serve()
        with tempfile.TemporaryFile(dir=self.dir) as body, open(self.dir / "other", "w") as other:
            process = subprocess.Popen(["sh", "-c", f"exec \"$0\" fetch 3<&{body.fileno()}",
                                        harness.Img(self.dir).path("img-remote")], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, pass_fds=[body.fileno(), other.fileno()])
            process.stdin.write(json.dumps({"url": server.url + "/stalls", "stall_seconds": 1, "tries": 1}).encode())
            process.stdin.close()
            while not server.seen:
                self.assertIsNone(process.poll())
            status = dict(line.split(":\t", 1) for line in
                          pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines() if ":\t" in line)
            files = os.listdir(f"/proc/{process.pid}/fd")
            self.assertEqual(status["Uid"].split(), ["65534"] * 4)
            self.assertEqual(status["Gid"].split(), ["65534"] * 4)
            self.assertEqual(status["Groups"].split(), [])
            self.assertEqual(status["NoNewPrivs"].strip(), "1")
            self.assertEqual(int(status["CapEff"], 16) | int(status["CapPrm"], 16), 0)
            targets = [os.readlink(f"/proc/{process.pid}/fd/{name}") for name in files]
            self.assertNotIn(str(self.dir / "other"), targets)
            process.stdout.read()
            self.assertEqual(process.wait(), 1)


class AddHttp(RemoteCase):
    def test_file_name_mode_owner_and_time(self):
        server = self.serve({"/dir/a%20b.txt": b"hello\n"})
        program = self.img(busybox=False)
        self.build(program, f"FROM scratch\nADD {server.url}/dir/a%20b.txt?x=1 /in/\n")
        entry = self.layer(program)["in/a b.txt"]
        self.assertEqual((entry.data, entry.mode, entry.uid, entry.gid, entry.mtime),
                         (b"hello\n", 0o600, 0, 0, servers.MODIFIED_SECONDS))

    def test_chown_chmod_and_a_name_of_its_own(self):
        server = self.serve({"/a.txt": b"hello\n", "/none/": b"unnamed\n"})
        program = self.img(busybox=False)
        self.build(program, f"FROM scratch\nADD --chown=5:6 --chmod=755 {server.url}/a.txt /own\n"
                            f"ADD {server.url}/none/ /in/\n")
        entry = self.layer(program, number=0)["own"]
        self.assertEqual((entry.mode, entry.uid, entry.gid), (0o755, 5, 6))
        self.assertIn("in/__unnamed__", self.layer(program))

    def test_revalidation_by_etag(self):
        server = self.serve({"/a.txt": b"one\n"})
        program = self.img(busybox=False)
        dockerfile = f"FROM scratch\nADD {server.url}/a.txt /a\n"
        self.build(program, dockerfile)
        first = program.image("x").id
        self.build(program, dockerfile)
        self.assertIn("If-None-Match", server.seen[-1][2])
        self.assertEqual(program.image("x").id, first)
        server.files["/a.txt"] = b"two\n"
        self.build(program, dockerfile)
        self.assertEqual(self.layer(program)["a"].data, b"two\n")
        server.files["/a.txt"] = b"one\n"
        self.build(program, dockerfile)
        self.assertEqual(program.image("x").id, first)

    def test_a_weak_etag_promises_nothing(self):
        server = self.serve()
        program = self.img(busybox=False)
        for _ in range(2):
            self.build(program, f"FROM scratch\nADD {server.url}/weak /a\n")
        self.assertNotIn("If-None-Match", server.seen[-1][2])

    def test_a_damaged_download_is_fetched_again(self):
        server = self.serve({"/a.txt": b"one\n"})
        program = self.img(busybox=False)
        self.build(program, f"FROM scratch\nADD {server.url}/a.txt /a\n")
        for path in (program.store / "cache/http").glob("*-*"):
            path.write_bytes(b"bad\n")
        self.build(program, f"FROM scratch\nADD {server.url}/a.txt /b\n")
        self.assertEqual(self.layer(program)["b"].data, b"one\n")

    def test_checksum_matches_and_then_needs_no_request(self):
        server = self.serve({"/a.txt": b"one\n"})
        program = self.img(busybox=False)
        dockerfile = f"FROM scratch\nARG SUM\nADD --checksum=sha256:$SUM {server.url}/a.txt /a\n"
        self.build(program, dockerfile, "--build-arg", "SUM=" + sha256(b"one\n"))
        self.assertEqual(len(server.seen), 1)
        self.build(program, dockerfile, "--build-arg", "SUM=" + sha256(b"one\n"))
        self.assertEqual(len(server.seen), 1)

    def test_checksum_mismatch_and_bad_form(self):
        server = self.serve({"/a.txt": b"one\n"})
        program = self.img(busybox=False)
        wrong = "0" * 64
        shown = self.fails(program, f"FROM scratch\nADD --checksum=sha256:{wrong} {server.url}/a.txt /a\n")
        self.assertIn(f"ADD: {server.url}/a.txt: expected sha256:{wrong}, got sha256:{sha256(b'one' + bytes([10]))}", shown)
        self.assertIn("Dockerfile:2", shown)
        shown = self.fails(program, f"FROM scratch\nADD --checksum=md5:1 {server.url}/a.txt /a\n")
        self.assertIn("ADD: --checksum must be sha256:<64 hex digits>", shown)
        for sources in (f"{server.url}/a.txt {server.url}/a.txt", "local.txt"):
            shown = self.fails(program, f"FROM scratch\nADD --checksum=sha256:{wrong} {sources} /a/\n")
            self.assertIn("ADD: --checksum needs a single HTTP or git source", shown)

    def test_archives_are_unpacked_on_request_only(self):
        server = self.serve({"/a.tar.gz": tar_of({"d/f": b"inside\n"}, "w:gz"), "/plain": b"no archive\n"})
        program = self.img(busybox=False)
        self.build(program, f"FROM scratch\nADD {server.url}/a.tar.gz /p/\nADD --unpack=true {server.url}/a.tar.gz /u/\n"
                            f"ADD --unpack {server.url}/plain /v/\n")
        self.assertIn("p/a.tar.gz", self.layer(program, number=0))
        self.assertEqual(self.layer(program, number=1)["u/d/f"].data, b"inside\n")
        self.assertEqual(self.layer(program, number=2)["v/plain"].data, b"no archive\n")

    def test_local_and_remote_sources_together(self):
        server = self.serve({"/a.txt": b"one\n"})
        program = self.img(busybox=False)
        self.build(program, f"FROM scratch\nADD local.txt {server.url}/a.txt /in/\n")
        layer = self.layer(program)
        self.assertEqual((layer["in/local.txt"].data, layer["in/a.txt"].data), (b"local\n", b"one\n"))
        self.assertNotEqual(layer["in/local.txt"].mode, 0o600)

    def test_errors_say_what_the_server_said(self):
        server = self.serve()
        program = self.img(busybox=False)
        shown = self.fails(program, f"FROM scratch\nADD {server.url}/none /a\n")
        self.assertIn(f"ADD: {server.url}/none: the server answered 404", shown)
        shown = self.fails(program, f"FROM scratch\nADD {server.url}/private/x /a\n")
        self.assertIn("the server answered 401", shown)
        self.assertIn(f"HTTP_AUTH_TOKEN_{server.host}", shown)
        self.assertIn("the server answered 206", self.fails(program, f"FROM scratch\nADD {server.url}/part /a\n"))
        shown = self.fails(program, f"FROM scratch\nADD {server.url}/a%2Fb /a\n")
        self.assertIn("cannot be the name of a file", shown)
        shown = self.fails(program, f"FROM scratch\nCOPY {server.url}/a /a\n")
        self.assertIn("is a remote source; use ADD", shown)
        self.assertEqual(list((program.store / "ingest").iterdir()), [])

    def test_credentials_of_the_host(self):
        server, other = self.serve(), self.serve({"/a.txt": b"elsewhere\n"})
        server.elsewhere = other
        program = self.img(busybox=False)
        token = self.write({"token": "s3cret-token\n"}, under="secrets") / "token"
        secret = ["--secret", f"id=HTTP_AUTH_TOKEN_{server.host},src={token}"]
        server.authorization = "Bearer s3cret-token"
        self.build(program, f"FROM scratch\nADD {server.url}/private /a\nADD {server.url}/leave/a.txt /b\n", *secret)
        self.assertEqual(self.layer(program, number=0)["a"].data, b"private\n")
        self.assertEqual(self.layer(program, number=1)["b"].data, b"elsewhere\n")
        self.assertNotIn("Authorization", other.seen[-1][2])
        basic = self.write({"header": "Basic c29tZWJvZHk6cGFzcw==\n"}, under="secrets") / "header"
        server.authorization = "Basic c29tZWJvZHk6cGFzcw=="
        self.build(program, f"FROM scratch\nADD {server.url}/private /a\n", "--secret", f"id=HTTP_AUTH_HEADER_127.0.0.1,src={basic}")

    def test_what_a_secret_opened_is_not_for_a_build_without_it(self):
        server = self.serve()
        program = self.img(busybox=False)
        token = self.write({"token": "s3cret-token\n"}, under="secrets") / "token"
        secret = ["--secret", f"id=HTTP_AUTH_TOKEN_{server.host},src={token}"]
        server.authorization = "Bearer s3cret-token"
        dockerfile = f"FROM scratch\nADD --checksum=sha256:{sha256(b'private' + bytes([10]))} {server.url}/private /a\n"
        self.build(program, dockerfile, *secret)
        self.build(program, dockerfile, *secret)
        self.assertEqual(len(server.seen), 1)
        self.assertIn("the server answered 401", self.fails(program, dockerfile))

    def test_without_img_remote_the_error_says_so(self):
        program = self.img(busybox=False, env={"IMG_REMOTE": "/nonexistent/img-remote"})
        shown = self.fails(program, "FROM scratch\nADD http://127.0.0.1:1/a /a\n")
        self.assertIn("ADD: remote sources are not available in this build", shown)
        self.assertIn("/nonexistent/img-remote", shown)


class AddGit(RemoteCase):
    @classmethod
    def setUpClass(cls):
        harness.require("git")

    def setUp(self):
        super().setUp()
        self.root = self.dir / "repositories"
        self.root.mkdir()
        self.server = self.serve(git={"root": self.root})
        self.repository = servers.Repository(self.root, "r")
        self.first = self.repository.commit({"f": "one\n", "run.sh": ("#!/bin/sh\n", 0o755), "sub/dir/g": "g\n"})
        self.url = self.server.url + "/git/r.git"
        self.program = self.img(busybox=False)

    def add(self, source, *args, flags=""):
        self.build(self.program, f"FROM scratch\nADD {flags} {source} /in/\n", *args)
        return self.layer(self.program)

    def refused(self, source, flags=""):
        return self.fails(self.program, f"FROM scratch\nADD {flags} {source} /in/\n")

    def test_tree_with_plain_modes_and_owners(self):
        layer = self.add(self.url)
        self.assertEqual(sorted(layer), ["in", "in/f", "in/run.sh", "in/sub", "in/sub/dir", "in/sub/dir/g"])
        self.assertEqual({name: oct(layer[name].mode) for name in ("in/f", "in/run.sh", "in/sub")},
                         {"in/f": "0o644", "in/run.sh": "0o755", "in/sub": "0o755"})
        self.assertEqual({(entry.uid, entry.gid) for entry in layer.values()}, {(0, 0)})

    def test_branch_tag_commit_and_folder(self):
        self.repository.git("tag", "-a", "v1", "-m", "annotated")
        self.repository.git("checkout", "--quiet", "-b", "feature/x")
        second = self.repository.commit({"f": "two\n"})
        for source, content in (("#v1", "one\n"), ("#feature/x", "two\n"), ("#refs/heads/feature/x", "two\n"),
                                ("#" + self.first, "one\n"), ("?branch=feature/x", "two\n"), ("?tag=v1", "one\n"),
                                ("?ref=" + second, "two\n"), ("?commit=" + self.first, "one\n"),
                                ("?branch=feature/x&fetch-by-commit=1&commit=" + second, "two\n")):
            with self.subTest(source):
                self.assertEqual(self.add(self.url + source)["in/f"].data.decode(), content)
        self.assertEqual(sorted(self.add(self.url + "#v1:sub")), ["in", "in/dir", "in/dir/g"])
        self.assertEqual(sorted(self.add(self.url + "?ref=v1&subdir=/sub/dir/")), ["in", "in/g"])

    def test_the_key_is_the_commit_and_not_the_ref(self):
        self.repository.git("tag", "v1")
        self.repository.publish()
        self.add(self.url + "#main")
        first = self.program.image("x").layers
        requests = len(self.server.seen)
        self.add(self.url + "#v1")
        self.assertEqual(self.program.image("x").layers, first)
        self.assertTrue(all("info/refs" in path or "git-upload-pack" in path for path in self.server.paths()[requests:]))
        self.repository.commit({"f": "two\n"})
        self.assertEqual(self.add(self.url + "#main")["in/f"].data, b"two\n")

    def test_checksum_is_a_prefix_of_the_commit(self):
        self.add(self.url, flags="--checksum=" + self.first[:10])
        self.add(self.url + "?checksum=" + self.first)
        shown = self.refused(self.url, "--checksum=" + "0" * 40)
        self.assertIn(f"ADD: {self.url}: expected {'0' * 40}, got {self.first}", shown)
        self.assertIn("must be a commit hash", self.refused(self.url, "--checksum=sha256:12"))

    def test_keep_git_dir(self):
        layer = self.add(self.url, flags="--keep-git-dir")
        self.assertEqual(layer["in/.git/HEAD"].data.decode().strip(), self.first)
        config = layer["in/.git/config"].data.decode()
        self.assertIn(self.url, config)
        (self.root / "fork.git").symlink_to(self.repository.bare)
        fork = self.url.replace("r.git", "fork.git")
        self.assertIn(fork, self.add(fork, flags="--keep-git-dir")["in/.git/config"].data.decode())
        self.assertIn("in/.git/HEAD", self.add(self.url + "?keep-git-dir=1"))
        self.assertIn("contradicts", self.refused(self.url + "?keep-git-dir=0", "--keep-git-dir"))

    def test_submodules(self):
        inner = servers.Repository(self.root, "inner")
        inner.commit({"deep": "deep\n"})
        self.repository.git("submodule", "--quiet", "add", str(inner.bare), "mod")
        self.repository.git("config", "-f", ".gitmodules", "submodule.mod.url", "../inner.git")
        self.repository.commit({})
        layer = self.add(self.url)
        self.assertEqual(layer["in/mod/deep"].data, b"deep\n")
        self.assertFalse([name for name in layer if ".git" in name.split("/")])
        self.assertNotIn("in/mod/deep", self.add(self.url + "?submodules=false"))
        self.repository.git("config", "-f", ".gitmodules", "submodule.mod.url", str(inner.bare))
        self.repository.commit({})
        self.assertIn("with its submodules", self.refused(self.url))

    def test_commit_times(self):
        layer = self.add(self.url + "?mtime=commit")
        self.assertEqual({entry.mtime for entry in layer.values()}, {1_700_000_000})

    def test_exclude_and_private_files(self):
        self.assertEqual(sorted(self.add(self.url, flags="--exclude=sub")), ["in", "in/f", "in/run.sh"])

    def test_credentials(self):
        self.server.git["authorization"] = "basic eC1hY2Nlc3MtdG9rZW46czNjcmV0LXRva2Vu"
        shown = self.refused(self.url)
        self.assertIn("git cannot read the repository", shown)
        self.assertIn("GIT_AUTH_TOKEN", shown)
        token = self.write({"token": "s3cret-token\n"}, under="secrets") / "token"
        self.assertIn("in/f", self.add(self.url, "--secret", f"id=GIT_AUTH_TOKEN,src={token}"))
        self.assertIn("in/.git/HEAD", self.add(self.url, "--secret", f"id=GIT_AUTH_TOKEN.{self.server.host},src={token}",
                                               flags="--keep-git-dir"))
        run(["sh", "-c", "! grep -r s3cret-token " + str(self.program.store)])

    def test_credentials_go_to_no_other_host(self):
        other = self.serve(git=self.server.git)
        inner = servers.Repository(self.root, "inner")
        inner.commit({"deep": "deep\n"})
        self.repository.git("submodule", "--quiet", "add", str(inner.bare), "mod")
        self.repository.git("config", "-f", ".gitmodules", "submodule.mod.url", other.url + "/git/inner.git")
        self.repository.commit({})
        token = self.write({"token": "s3cret-token\n"}, under="secrets") / "token"
        self.assertIn("in/mod/deep", self.add(self.url, "--secret", f"id=GIT_AUTH_TOKEN,src={token}"))
        self.assertTrue(all("Authorization" in headers for _, _, headers in self.server.seen))
        self.assertFalse([headers for _, _, headers in other.seen if "Authorization" in headers])

    def test_what_is_refused(self):
        for source, reason in (("#no-such", "there is no branch or tag"), ("#main:none", "there is no folder"),
                               ("?what=1", "unknown parameter"), ("?ref=a&ref=b", "given twice"),
                               ("?tag=a&branch=b", "only one of"), ("?ref=a#b", "contradicts"),
                               ("?ref=--upload-pack=x", "no name of a branch or tag"), ("#-x", "no name of a branch or tag"),
                               ("#a..b", "no name of a branch or tag"), ("#main:../..", "refused"),
                               ("#" + self.first[:8], "whole hash"), ("#" + "1" * 40, "cannot fetch")):
            with self.subTest(source):
                self.assertIn(reason, self.refused(self.url + source))
        self.assertIn("cannot read the repository", self.refused(self.server.url + "/git/none.git"))
        for source in ("ssh://-oProxyCommand=x/r.git", "git://-x/r.git", "git@host:-x"):
            with self.subTest(source):
                self.assertIn("refused", self.refused(source))

    def test_links_in_the_repository_lead_nowhere_else(self):
        (self.repository.work / "link").symlink_to("/etc")
        self.repository.commit({})
        self.assertIn("there is no folder", self.refused(self.url + "#main:link"))
        self.assertEqual(self.add(self.url)["in/link"].linkname, "/etc")

    def test_a_hook_or_filter_of_nobody_runs(self):
        mark = self.dir / "ran"
        home = self.write({".gitconfig": f"[core]\n\thooksPath = {self.dir}/hooks\n[filter \"f\"]\n\tsmudge = touch {mark}\n"},
                          under="home")
        self.write({"post-checkout": f"#!/bin/sh\ntouch {mark}\n"}, under="hooks").joinpath("post-checkout").chmod(0o755)
        self.repository.commit({".gitattributes": "* filter=f\n"})
        self.program.env = {"HOME": str(home)}
        self.add(self.url)
        self.assertFalse(mark.exists())

    def test_a_mirror_whose_git_was_killed_is_made_anew(self):
        self.add(self.url)
        for mirror in (self.program.store / "cache/git").glob("*/"):
            for name in ("config.lock", "shallow.lock"):
                (mirror / name).touch()
            mirror.with_name(mirror.name + ".writing").touch()
        self.repository.commit({"later": "later\n"})
        self.assertIn("in/later", self.add(self.url))
        self.assertEqual(list((self.program.store / "cache/git").glob("*.writing")), [])

    def test_a_damaged_mirror_is_made_anew(self):
        self.add(self.url)
        for pack in (self.program.store / "cache/git").glob("*/objects/pack/*.pack"):
            pack.chmod(0o600)
            pack.write_bytes(pack.read_bytes()[:-30])
        self.assertIn("in/f", self.add(self.url, flags="--exclude=none"))

class Interrupted(RemoteCase):
    def test_nothing_is_left(self):
        harness.require("git")
        program = self.img(busybox=False)
        for source, worker in (("/stalls/a.txt", "img-remote"), ("/stalls/r.git", "git")):
            with self.subTest(worker):
                server = self.serve()
                context = self.write({"Dockerfile": f"FROM scratch\nADD {server.url}{source} /a\n"})
                process = program.start("build", context)
                while not server.seen:
                    self.assertIsNone(process.poll())
                    time.sleep(0.01)
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=10)
                self.assertEqual(process.returncode, 130, err)
                self.assertEqual(list((program.store / "ingest").iterdir()), [])
                # The kernel ends the worker's pid namespace when its init is gone, a moment after the build.
                left, deadline = [worker], time.monotonic() + 5
                while left and time.monotonic() < deadline:
                    left = [line for line in harness.processes().values() if worker in line]
                    time.sleep(0.01)
                self.assertEqual(left, [])


class Contexts(RemoteCase):
    """CONTEXT that is no folder."""

    FILES = {"Dockerfile": b"FROM scratch\nCOPY . /in/\n", "a": b"a\n", "sub/b": b"b\n", ".dockerignore": b"a\n",
             "other/My.Dockerfile": b"FROM scratch\nCOPY a /other\n"}

    def setUp(self):
        super().setUp()
        self.program = self.img(busybox=False)

    def built(self, context, *args, **kwargs):
        self.program("build", "-t", "x", *args, context, **kwargs)
        self.assertEqual(list((self.program.store / "ingest").iterdir()), [])
        return self.layer(self.program)

    def refused(self, context, *args, code=1, **kwargs):
        shown = self.program("build", "-t", "x", *args, context, check=False, **kwargs)
        self.assertEqual(shown.code, code, str(shown))
        return shown.err

    def test_tar_on_stdin_in_every_compression(self):
        plain = tar_of(self.FILES)
        zstd = run(["zstd", "-q", "-c"], stdin=plain).raw
        for name, data in (("plain", plain), ("gzip", tar_of(self.FILES, "w:gz")), ("bzip2", tar_of(self.FILES, "w:bz2")),
                           ("xz", tar_of(self.FILES, "w:xz")), ("zstd", zstd)):
            with self.subTest(name):
                layer = self.built("-", stdin=data)
                # Q26: the ignore file is a file as any other.
                self.assertEqual((layer["in/a"].data, layer["in/sub/b"].data), (b"a\n", b"b\n"))
                self.assertIn("in/.dockerignore", layer)

    def test_dockerfile_inside_the_tar(self):
        self.assertEqual(self.built("-", "-f", "other/My.Dockerfile", stdin=tar_of(self.FILES))["other"].data, b"a\n")
        self.assertIn("no Dockerfile at", self.refused("-", "-f", "none", stdin=tar_of(self.FILES)))
        self.assertIn("no Dockerfile in", self.refused("-", stdin=tar_of({"a": b"a"})))

    def test_an_ignore_file_that_does_not_apply_is_noted(self):
        shown = run([self.program.path(), "--root", self.program.store, "--log-level", "info", "build", "-t", "x", "-"],
                    stdin=tar_of(self.FILES))
        self.assertIn("the .dockerignore of standard input is not applied", shown.err)

    def test_dockerfile_on_stdin_has_no_context(self):
        self.program("build", "-t", "x", "-", stdin="FROM scratch\nLABEL a=b\n")
        self.assertEqual(self.program.image("x").config["Labels"], {"a": "b"})
        self.assertIn("no build context", self.refused("-", stdin="FROM scratch\nCOPY a /\n"))
        self.refused("-", "-f", "Dockerfile", stdin="FROM scratch\n", code=125)
        self.refused("-", "-f", "-", stdin="FROM scratch\n", code=125)

    def test_dockerfile_on_stdin_with_a_folder(self):
        context = self.write({"a": "a\n", "Dockerfile": "broken\n"})
        self.assertEqual(self.built(context, "-f", "-", stdin="FROM scratch\nCOPY a /from\n")["from"].data, b"a\n")

    def test_hostile_tar(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            info = tarfile.TarInfo("../escaped")
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
        self.refused("-", stdin=out.getvalue())
        self.assertFalse((self.program.store / "ingest/escaped").exists())
        self.assertEqual(list((self.program.store / "ingest").iterdir()), [])

    def test_a_link_out_of_the_tree_is_a_link_as_in_a_folder(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, target in (("up", "../../shared"), ("root", "/etc")):
                info = tarfile.TarInfo("links/" + name)
                info.type, info.linkname = tarfile.SYMTYPE, target
                tar.addfile(info)
            data = b"FROM scratch\nCOPY links /in/\n"
            info = tarfile.TarInfo("Dockerfile")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            data = b"FROM scratch\nCOPY links/root/passwd /in/\n"
            info = tarfile.TarInfo("Through")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        layer = self.built("-", stdin=out.getvalue())
        self.assertEqual((layer["in/up"].linkname, layer["in/root"].linkname), ("../../shared", "/etc"))
        self.assertIn("not found in the build context", self.refused("-", "-f", "Through", stdin=out.getvalue()))

    def test_archive_of_a_url(self):
        server = self.serve({"/c.tar.gz": tar_of(self.FILES, "w:gz")})
        self.assertEqual(self.built(server.url + "/c.tar.gz")["in/a"].data, b"a\n")
        self.assertEqual(self.built(server.url + "/c.tar.gz", "-f", "other/My.Dockerfile")["other"].data, b"a\n")
        self.assertIn("the server answered 404", self.refused(server.url + "/none"))

    def test_a_url_that_is_a_dockerfile(self):
        server = self.serve({"/Dockerfile.txt": b"FROM scratch\nCOPY context /as-file\n"})
        self.assertIn(b"as-file", self.built(server.url + "/Dockerfile.txt")["as-file"].data)
        context = self.write({"a": "a\n", "context": "own\n"})
        self.assertEqual(self.built(context, "-f", server.url + "/Dockerfile.txt")["as-file"].data, b"own\n")

    def test_git_repository_and_the_time_of_its_commit(self):
        harness.require("git")
        root = self.dir / "repositories"
        root.mkdir()
        server = self.serve(git={"root": root})
        repository = servers.Repository(root, "r")
        repository.commit({"Dockerfile": "FROM scratch\nCOPY . /in/\n", "a": "a\n",
                           "sub/Dockerfile": "FROM scratch\nCOPY . /sub/\n", "sub/b": "b\n"})
        url = server.url + "/git/r.git"
        layer = self.built(url)
        self.assertEqual(layer["in/a"].data, b"a\n")
        self.assertNotIn("in/.git", layer)
        self.assertEqual(self.built(url + "#main:sub")["sub/b"].data, b"b\n")
        self.assertIn("in/.git/HEAD", self.built(url, "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"))
        first = self.built(url, "--build-arg", "SOURCE_DATE_EPOCH=context")
        self.assertEqual(first["in/a"].mtime, 1_700_000_000)
        self.assertEqual(self.program.image("x").document["created"], "2023-11-14T22:13:20Z")
        local = self.write({"Dockerfile": "FROM scratch\nCOPY . /in/\n"}, under="local")
        self.built(local, "--build-arg", "SOURCE_DATE_EPOCH=context")
        self.assertNotEqual(self.program.image("x").document["created"], "2023-11-14T22:13:20Z")


class NamedContexts(RemoteCase):
    def setUp(self):
        super().setUp()
        self.program = self.img()
        self.folder = self.write({"f": "from the folder\n", "skip": "s\n", ".dockerignore": "skip\n"}, under="named")

    def with_contexts(self, dockerfile, *contexts, code=0):
        options = [word for context in contexts for word in ("--build-context", context)]
        shown = self.build(self.program, dockerfile, *options, check=False)
        self.assertEqual(shown.code, code, str(shown))
        return shown.err if code else self.layer(self.program)

    def test_folder_as_source_base_and_mount(self):
        context = f"lib={self.folder}"
        layer = self.with_contexts("FROM scratch\nCOPY --from=lib / /in/\n", context)
        self.assertEqual(sorted(layer), ["in", "in/.dockerignore", "in/f"])
        self.assertEqual((layer["in/f"].uid, layer["in/f"].data), (0, b"from the folder\n"))
        self.assertEqual(sorted(self.with_contexts("FROM lib\nLABEL a=b\n", context)), [".dockerignore", "f"])
        self.assertEqual(self.program.image("x").config["Labels"], {"a": "b"})
        self.with_contexts("FROM busybox\nRUN --mount=type=bind,from=lib,target=/m cp /m/f /copied\n", context)
        self.assertEqual(self.layer(self.program)["copied"].data, b"from the folder\n")

    def test_a_change_in_the_folder_is_noticed(self):
        dockerfile, context = "FROM scratch\nCOPY --from=lib f /f\n", f"lib={self.folder}"
        self.with_contexts(dockerfile, context)
        (self.folder / "f").write_text("changed\n")
        self.assertEqual(self.with_contexts(dockerfile, context)["f"].data, b"changed\n")

    def test_it_replaces_a_stage_and_an_image(self):
        dockerfile = "FROM nowhere/none AS tools\nRUN false\nFROM scratch\nCOPY --from=tools /f /f\n"
        self.assertEqual(self.with_contexts(dockerfile, f"TOOLS={self.folder}")["f"].data, b"from the folder\n")
        self.assertIn("f", self.with_contexts("FROM library/nowhere:latest\n", f"nowhere={self.folder}"))

    def test_images(self):
        base = self.write({"Dockerfile": "FROM scratch\nCOPY Dockerfile /d\nONBUILD LABEL fired=yes\n"}, under="base")
        self.program.build(base, "other")
        self.with_contexts("FROM alias\nCOPY local.txt /l\n", "alias=docker-image://other")
        self.assertEqual(self.program.image("x").config["Labels"], {"fired": "yes"})
        self.assertEqual(sorted(self.with_contexts("FROM alias\nCOPY local.txt /l\n", "alias=docker-image://scratch")),
                         ["l"])
        self.assertIn("the store has no docker.io/library/none:latest", self.with_contexts("FROM alias\n", "alias=docker-image://none", code=1))

    def test_oci_layout(self):
        base = self.write({"Dockerfile": "FROM scratch\nCOPY Dockerfile /d\n"}, under="base")
        other = self.img(self.dir / "other-store", busybox=False)
        other.build(base, "given:1")
        self.with_contexts("FROM alias\nCOPY local.txt /l\n", f"alias=oci-layout://{other.store}:1")
        self.assertEqual(len(self.program.image("x").layers), 2)
        digest = other.image("given:1").digest
        self.assertIn("from", self.with_contexts("FROM scratch\nCOPY --from=alias /d /from\n",
                                                 f"alias=oci-layout://{other.store}@{digest}"))
        shown = self.with_contexts("FROM alias\n", f"alias=oci-layout://{other.store}:2", code=1)
        self.assertIn("there is no image", shown)
        self.assertIn("given:1", shown)
        names = {d.get("annotations", {}).get("org.opencontainers.image.ref.name")
                 for d in json.loads((self.program.store / "index.json").read_text())["manifests"]}
        self.assertNotIn("docker.io/library/given:1", names)

    def test_oci_layout_with_an_index(self):
        machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        layout = Layout(self.dir / "layout")
        foreign, own = layout.image("foreign", "s390x"), layout.image("own", machine)
        other = layout.image("other", "riscv64")
        index = layout.index([{**foreign, "platform": None},
                              {**own, "platform": {"os": "linux", "architecture": machine}},
                              {**other, "platform": {"os": "linux", "architecture": "riscv64"}}])
        layout.publish(index)
        context = f"lib=oci-layout://{layout.root}"
        self.assertIn("own", self.with_contexts("FROM lib\nLABEL a=b\n", context))
        self.program("build", "-t", "x", "--platform", "linux/riscv64", "--build-context", context, "-",
                     stdin="FROM lib\nLABEL a=b\n")
        self.assertIn("other", self.layer(self.program))
        shown = self.program("build", "--platform", "linux/ppc64le", "--build-context", context, "-",
                             stdin="FROM lib\nLABEL a=b\n", check=False)
        self.assertIn("nothing for linux/ppc64le", shown.err)

    def test_oci_layout_that_lies(self):
        def wrong_size(layout):
            layout.publish(layout.image("f", "amd64", layer_size=1_000_000))

        def wrong_digest(layout):
            layout.publish(layout.image("f", "amd64", layer_digest="b" * 64))

        def fifo(layout):
            layout.publish(layout.image("f", "amd64"))
            (layout.root / "index.json").unlink()
            os.mkfifo(layout.root / "index.json")

        for number, (change, reason) in enumerate(((wrong_size, "and not 1000000"), (wrong_digest, "does not have the digest"),
                                                   (fifo, "is no OCI layout"))):
            with self.subTest(reason):
                layout = Layout(self.dir / f"layout{number}")
                change(layout)
                self.assertIn(reason, self.with_contexts("FROM lib\n", f"lib=oci-layout://{layout.root}", code=1))
                self.assertEqual(list((self.program.store / "ingest").iterdir()), [])

    def test_urls(self):
        server = self.serve({"/c.tar": tar_of({"t": b"from the tar\n"}), "/one": b"a single file\n"})
        self.assertEqual(self.with_contexts("FROM scratch\nCOPY --from=u t /t\n", f"u={server.url}/c.tar")["t"].data,
                         b"from the tar\n")
        self.assertEqual(self.with_contexts("FROM scratch\nCOPY --from=u context /t\n", f"u={server.url}/one")["t"].data,
                         b"a single file\n")

    def test_platforms_and_the_last_one(self):
        other = self.write({"f": "other\n"}, under="named2")
        machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        dockerfile = "FROM scratch\nCOPY --from=lib f /f\n"
        for contexts, content in (([f"lib={other}", f"lib={self.folder}"], b"from the folder\n"),
                                  ([f"lib::linux/{machine}={self.folder}", f"lib={other}"], b"from the folder\n"),
                                  ([f"lib::linux/s390x={self.folder}", f"lib={other}"], b"other\n")):
            with self.subTest(contexts):
                self.assertEqual(self.with_contexts(dockerfile, *contexts)["f"].data, content)

    def test_unused_ones_are_not_opened(self):
        self.with_contexts("FROM scratch\nCOPY local.txt /l\n", "a=/nonexistent", "b=http://127.0.0.1:1/x",
                           "c=docker-image://none")

    def test_what_is_refused(self):
        for context in ("scratch=/tmp", "context=/tmp", "noequals", "=x", "a=", "a=target:b"):
            with self.subTest(context):
                self.with_contexts("FROM scratch\nCOPY local.txt /l\n", context, code=125)
        self.assertIn("is not a folder", self.with_contexts("FROM lib\n", "lib=/nonexistent", code=1))
