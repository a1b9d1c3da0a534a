"""`img-remote session` against the real docker-registry, and against one that misbehaves: a clear error or a completed
retry, credentials where they belong and nowhere else."""
import gzip
import json
import os
import pathlib
import threading
import time

from lib import faulty_registry as faulty
from lib import harness, registries
from lib.registries import sha256
from lib.remote_session import Refused, Session, endpoint

REPOSITORY = "team/app"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
BLOB = bytes(range(256)) * 4096  # 1 MiB
LAYER = {"digest": sha256(BLOB), "size": len(BLOB)}
MANIFEST = json.dumps({
    "schemaVersion": 2, "mediaType": registries.MANIFEST,
    "config": {"mediaType": registries.CONFIG, "digest": sha256(b"{}"), "size": 2},
    "layers": [{"mediaType": registries.LAYER, **LAYER}]}).encode()


def fill(registry):
    registry.put_blob(REPOSITORY, BLOB)
    registry.put_blob(REPOSITORY, b"{}")
    registry.put_manifest(REPOSITORY, "latest", MANIFEST)
    return registry


class SessionCase(harness.TestCase):
    def session(self, where, action="pull", repository=REPOSITORY, **settings):
        """`where`: a Registry, FaultyRegistry, or a list of endpoints."""
        if isinstance(where, faulty.FaultyRegistry):
            where = endpoint(where.host, repository, scheme=where.scheme)
        elif isinstance(where, registries.Registry):
            where = endpoint(where, repository)
        session = Session(where, action, **settings)
        self.addCleanup(session.close)
        return session

    def keep(self, server):
        self.addCleanup(server.stop)
        return server

    def refused(self, call, *args, **kwargs):
        with self.assertRaises(Refused) as caught:
            call(*args, **kwargs)
        return caught.exception.error

    def get(self, session, **fields):
        return session.blob(**{**LAYER, **fields})


class RealRegistry(SessionCase):
    def registries(self):
        """Each way of asking for credentials: (registry, its endpoint)."""
        plain = self.keep(registries.Registry())
        yield plain, endpoint(plain, REPOSITORY)
        yield plain, endpoint(plain, REPOSITORY, scheme="https-then-http", verify_tls=False)
        basic = self.keep(registries.Registry(users={"me": "pass word"}, tls=True))
        yield basic, endpoint(basic, REPOSITORY)
        tokens = self.keep(registries.TokenServer(users={"me": "pass word"}, refresh=["refreshing"]))
        registry = self.keep(registries.Registry(tokens=tokens))
        yield registry, endpoint(registry, REPOSITORY, credentials={"username": "me", "password": "pass word"})
        yield registry, endpoint(registry, REPOSITORY, credentials={"identity_token": "refreshing"})

    def test_there_and_back_with_each_way_of_authentication(self):
        for registry, where in self.registries():
            with self.subTest(where=where):
                data = os.urandom(3_000_000)
                push = self.session([where], "push")
                for blob, chunk_bytes in ((data, 0), (data[1:], 1 << 20), (b"{}", 0)):
                    push.upload(blob, sha256(blob), chunk_bytes)
                    self.assertTrue(registry.has_blob(REPOSITORY, sha256(blob)))
                manifest = MANIFEST.replace(LAYER["digest"].encode(), sha256(data).encode())
                self.assertEqual(push.put_manifest("v1", manifest, registries.MANIFEST)["digest"], sha256(manifest))
                self.assertEqual(registry.tags(REPOSITORY), ["v1"])
                pull = self.session([where])
                self.assertEqual(pull.call("ping")["status"], 200)
                head = pull.call("head", reference="v1")
                self.assertEqual((head["found"], head["digest"], head["media_type"], head["size"]),
                                 (True, sha256(manifest), registries.MANIFEST, len(manifest)))
                answer, document = pull.manifest(sha256(manifest))
                self.assertEqual((document, answer["host"]), (manifest, registry.host))
                answer, got = pull.blob(sha256(data), len(data))
                self.assertEqual((got == data, answer["requests"], answer["received"]), (True, 1, len(data)))
                self.assertEqual(pull.tags(), ({"id": 5, "count": 1}, ["v1"]))
                registry.delete(REPOSITORY, "manifests", sha256(manifest))  # for the next turn
                for status, out, err in (push.close(), pull.close()):
                    self.assertEqual((status, out, err), (0, b"", b""))

    def test_what_is_not_there(self):
        registry = self.keep(fill(registries.Registry()))
        session = self.session(registry)
        self.assertEqual(session.call("head", reference="none")["found"], False)
        self.assertEqual(session.call("has", digest=sha256(b"none"))["found"], False)
        self.assertEqual(session.call("has", digest=LAYER["digest"]), {"id": 3, "found": True, "size": len(BLOB)})
        error = self.refused(session.manifest, "none")
        self.assertEqual((error["code"], error["cause"]),
                         ("manifest-unknown", f"{registry.host}/{REPOSITORY}: cannot get manifest none: 404 Not Found"))
        self.assertIn("MANIFEST_UNKNOWN", error["why"])
        self.assertEqual(self.refused(session.blob, sha256(b"none"), 4)["code"], "blob-unknown")
        # Deleted between manifest and blob.
        registry.delete(REPOSITORY, "blobs", LAYER["digest"])
        self.assertEqual(self.refused(self.get, session)["code"], "blob-unknown")

    def test_a_part_of_a_blob(self):
        session = self.session(self.keep(fill(registries.Registry())))
        for offset in (1, 1000, len(BLOB) - 1, len(BLOB)):
            answer, got = self.get(session, offset=offset)
            self.assertEqual(got, BLOB[offset:], offset)
            self.assertLessEqual(answer["received"], len(BLOB))

    def test_mount_from_another_repository(self):
        tokens = self.keep(registries.TokenServer(users={"me": "secret"}))
        registry = self.keep(registries.Registry(tokens=tokens))
        theirs = registry.put_blob("other/base", b"shared")
        where = endpoint(registry, REPOSITORY, credentials={"username": "me", "password": "secret"})
        session = self.session([where], "push")
        self.assertEqual(session.call("mount", digest=theirs["digest"], **{"from": "other/base"})["mounted"], True)
        self.assertTrue(registry.has_blob(REPOSITORY, theirs["digest"]))
        self.assertEqual(session.call("mount", digest=sha256(b"none"), **{"from": "other/base"})["mounted"], False)
        self.assertEqual(set(tokens.given), {f"repository:{REPOSITORY}:pull,push", "repository:other/base:pull"})

    def test_many_blobs_at_once_over_tls_with_constant_memory(self):
        registry = self.keep(registries.Registry(tls=True))
        data = os.urandom(16 << 20)
        registry.put_blob(REPOSITORY, data)
        session = self.session(registry)
        # Nobody reads for a while: the pipes are full, the transfers wait, and other requests do not.
        gate = threading.Event()
        downloads = [session.start_blob(sha256(data), len(data), sink=lambda _: gate.wait(30)) for _ in range(12)]
        self.assertEqual(session.call("has", digest=sha256(data))["size"], len(data))
        gate.set()
        for download in downloads:
            self.assertEqual(download.finish()[0]["received"], len(data))
        self.assertLess(session.memory_kib(), 48 << 10)

    def test_cancel(self):
        registry = self.keep(fill(registries.Registry()))
        large = registry.put_blob(REPOSITORY, bytes(8 << 20))
        session = self.session(registry)
        read_end, write_end = os.pipe()
        number = session.start("blob", write_end, offset=0, **large)
        os.close(write_end)
        os.read(read_end, 1)  # it is under way, and then the pipe is full
        session.call("cancel", of=number)
        self.assertEqual(self.refused(session.wait, number)["code"], "cancelled")
        while os.read(read_end, 1 << 20):
            pass
        os.close(read_end)
        self.assertEqual(self.get(session)[1], BLOB)

    def test_a_reader_that_goes_away_fails_its_request_only(self):
        session = self.session(self.keep(fill(registries.Registry())))
        read_end, write_end = os.pipe()
        os.close(read_end)
        number = session.start("blob", write_end, offset=0, **LAYER)
        os.close(write_end)
        self.assertIn("EPIPE", self.refused(session.wait, number)["cause"])
        self.assertEqual(self.get(session)[1], BLOB)

    def test_requests_that_are_none(self):
        session = self.session(self.keep(registries.Registry()))
        for op, fields in (("nothing", {}), ("head", {"reference": "../x"}), ("head", {"reference": ""}),
                           ("has", {"digest": "sha256:12"}), ("mount", {"digest": LAYER["digest"], "from": "a/../b"}),
                           ("blob", LAYER), ("manifest", {"reference": "x"}), ("upload", LAYER),
                           ("head", {"reference": 5}), ("blob", {"digest": LAYER["digest"], "size": -1})):
            self.assertEqual(self.refused(session.call, op, **fields)["code"], "", op)
        session.socket.send(b"no json")
        status, out, _ = self.closed(session)
        self.assertEqual(status, 1)
        self.assertIn("request", json.loads(out)["error"]["cause"])

    def closed(self, session):
        session.process.wait(10)
        return session.close()

    def test_it_has_no_privileges_and_no_other_descriptors(self):
        session = self.session(self.keep(fill(registries.Registry())))
        self.get(session)
        here = pathlib.Path(f"/proc/{session.process.pid}")
        status = dict(line.split(":\t", 1) for line in (here / "status").read_text().splitlines() if ":\t" in line)
        self.assertEqual(status["Uid"].split() + status["Gid"].split(), ["65534"] * 8)
        self.assertEqual((status["NoNewPrivs"], int(status["CapEff"], 16) | int(status["CapPrm"], 16)), ("1", 0))
        targets = [os.readlink(here / "fd" / name) for name in os.listdir(here / "fd")]
        self.assertFalse([t for t in targets if t.startswith("/") and t != "/dev/null"], targets)
        pipes = [t for t in targets if t.startswith("pipe:")]
        self.assertLessEqual(len(pipes), 5, targets)  # its own three and libcurl's: the blob's is closed


class Faults(SessionCase):
    """Every row of the table in the reliability rules."""

    def setUp(self):
        super().setUp()
        self.registry = self.keep(fill(registries.Registry()))
        self.proxy = self.keep(faulty.FaultyRegistry(self.registry))

    def test_nobody_listens(self):
        for host, code in ((f"127.0.0.1:{registries.free_port()}", "unreachable"), ("nowhere.invalid", "unreachable")):
            session = self.session([endpoint(host, REPOSITORY)], tries=3)
            error = self.refused(session.manifest, "latest")
            self.assertEqual(error["code"], code, error)
            self.assertIn(f"{host}/{REPOSITORY}: cannot get manifest latest after 3 tries", error["cause"])

    def test_statuses_that_pass(self):
        for code in (408, 500, 502, 503, 504):
            session = self.session(self.proxy)
            self.proxy.seen.clear()
            self.proxy.fault("/manifests/", faulty.status(code), times=2)
            self.assertEqual(session.manifest("latest")[1], MANIFEST)
            self.assertEqual(self.proxy.count("/manifests/"), 3)
            self.proxy.fault("/blobs/", faulty.status(code), times=2)
            self.assertEqual(self.get(session)[1], BLOB)

    def test_statuses_that_stay(self):
        self.proxy.fault("/manifests/", faulty.status(503, b'{"errors":[{"code":"UNAVAILABLE","message":"be\\u001b back"}]}',
                                                      X_Request_Id="r-17"), times=None)
        error = self.refused(self.session(self.proxy).manifest, "latest")
        self.assertIn("503 Service Unavailable after 4 tries", error["cause"])
        self.assertIn("UNAVAILABLE: be\\x1b back (x-request-id: r-17)", error["why"])
        self.assertEqual(self.proxy.count("/manifests/"), 4)

    def test_statuses_that_are_not_tried_again(self):
        for code, name in ((401, "unauthorized"), (403, "forbidden"), (404, "manifest-unknown"), (400, "registry-error")):
            self.proxy.seen.clear()
            self.proxy.fault("/manifests/", faulty.status(code, b'{"errors":[{"code":"X","message":"because"}]}'))
            error = self.refused(self.session(self.proxy).manifest, "latest")
            self.assertEqual((error["code"], self.proxy.count("/manifests/")), (name, 1))
            self.assertIn("X: because", error["why"])

    def test_retry_after_in_seconds_and_as_a_date(self):
        for fault in (faulty.busy(503, after="1"), faulty.busy(503, in_seconds=2), faulty.busy(429, after="1"),
                      faulty.busy(429, in_seconds=2)):
            began = time.monotonic()
            self.proxy.fault("/manifests/", fault)
            self.assertEqual(self.session(self.proxy).manifest("latest")[1], MANIFEST)
            self.assertTrue(0.5 <= time.monotonic() - began <= 5, time.monotonic() - began)

    def test_too_many_requests_is_told_once_and_ends_parallel_work(self):
        session = self.session(self.proxy)
        self.proxy.fault("/manifests/", faulty.busy(429, after="1"), times=2)
        began = time.monotonic()
        numbers = [session.start("head", reference="latest") for _ in range(2)]
        self.assertEqual(session.manifest("latest")[1], MANIFEST)
        self.assertGreater(time.monotonic() - began, 1.5)
        for number in numbers:
            session.wait(number)
        self.assertEqual(len(session.notices), 1)
        self.assertRegex(session.notices[0], r"too many requests; going on in \d s, one transfer at a time")
        self.proxy.fault("/manifests/", faulty.busy(429, after="1000"))
        error = self.refused(session.manifest, "latest")
        self.assertEqual(error["code"], "too-many-requests")
        self.assertIn("1000 seconds", error["hints"][0])

    def test_a_blob_that_breaks_off_is_continued(self):
        for fault in (faulty.reset(300_000), faulty.truncated(400_000), faulty.truncated(1)):
            session = self.session(self.proxy)
            self.proxy.seen.clear()
            self.proxy.fault("/blobs/", fault, times=2)
            answer, got = self.get(session)
            self.assertEqual(got == BLOB, True)
            self.assertEqual(answer["requests"], 3)
            ranges = [h.get("range") for h in self.proxy.headers("/blobs/")]
            self.assertIsNone(ranges[0])
            self.assertRegex(ranges[1], r"bytes=[1-9][0-9]*-")
            self.assertEqual(self.proxy.headers("/blobs/")[1]["if-range"], f'"{LAYER["digest"]}"')
            self.assertLessEqual(answer["received"], len(BLOB) + 2)

    def test_ten_interruptions_cost_nothing_twice(self):
        self.proxy.fault("/blobs/", faulty.truncated(50_000), times=10)
        answer, got = self.get(self.session(self.proxy))
        self.assertEqual((got == BLOB, answer["requests"]), (True, 11))
        self.assertLessEqual(self.proxy.bytes_sent, 1.1 * len(BLOB))

    def test_no_progress_is_an_error_in_the_end(self):
        self.proxy.fault("/blobs/", faulty.truncated(100_000))
        self.proxy.fault("/blobs/", faulty.truncated(0), times=None)
        error = self.refused(self.get, self.session(self.proxy, tries=20, retry_delay_ms=1))
        self.assertIn("cannot get blob", error["cause"])
        self.assertEqual(self.proxy.count("/blobs/"), 7)  # one with progress, one and five without

    def test_answers_to_a_range_that_are_none(self):
        # 200: what was delivered is left out.
        self.proxy.fault("/blobs/", faulty.truncated(300_000))
        self.proxy.fault("/blobs/", faulty.whole)
        answer, got = self.get(self.session(self.proxy))
        self.assertEqual((got == BLOB, answer["received"]), (True, len(BLOB) + 300_000))
        # Another part: asked for as a whole.
        self.proxy.fault("/blobs/", faulty.truncated(300_000))
        self.proxy.fault("/blobs/", faulty.changed(Content_Range=f"bytes 5-{len(BLOB) - 1}/{len(BLOB)}"))
        self.proxy.seen.clear()
        self.assertEqual(self.get(self.session(self.proxy))[1] == BLOB, True)
        self.assertIsNone(self.proxy.headers("/blobs/")[2].get("range"))
        for wrong in ("bytes 300000-9/10", "junk", f"bytes 300000-{len(BLOB)}/{len(BLOB) + 1}"):
            self.proxy.fault("/blobs/", faulty.truncated(300_000))
            self.proxy.fault("/blobs/", faulty.changed(Content_Range=wrong))
            self.assertEqual(self.get(self.session(self.proxy))[1] == BLOB, True)

    def test_a_part_nobody_asked_for(self):
        self.proxy.fault("/blobs/", faulty.changed(status=206, Content_Range=f"bytes 0-{len(BLOB) - 1}/{len(BLOB)}"), None)
        with self.assertRaises(Refused) as caught:
            self.get(self.session(self.proxy))
        self.assertIn("206 was not asked for", caught.exception.error["cause"])
        self.assertEqual(caught.exception.received, b"")
        self.proxy.fault("/manifests/", faulty.changed(status=206))
        self.assertIn("206", self.refused(self.session(self.proxy).manifest, "latest")["cause"])

    def test_wrong_lengths(self):
        longer, shorter = (lambda body: body + b"more"), (lambda body: body[:-5])
        for fault, gets in ((faulty.other_body(longer), 0), (faulty.other_body(shorter), 0),
                            (faulty.chunked(longer), len(BLOB)), (faulty.chunked(shorter), len(BLOB) - 5)):
            self.proxy.faults.clear()
            self.proxy.fault("/blobs/", fault, times=None)
            with self.assertRaises(Refused) as caught:
                self.get(self.session(self.proxy))
            error = caught.exception.error
            self.assertEqual(error["code"], "digest-mismatch", error)
            self.assertIn(LAYER["digest"], error["cause"])
            self.assertLessEqual(len(caught.exception.received), gets)
        # Once is forgiven when nothing was delivered.
        self.proxy.faults.clear()
        self.proxy.fault("/blobs/", faulty.other_body(longer))
        self.assertEqual(self.get(self.session(self.proxy))[1] == BLOB, True)

    def test_never_more_than_the_blob_has(self):
        self.proxy.fault("/blobs/", faulty.chunked(lambda body: body * 20), times=None)
        with self.assertRaises(Refused) as caught:
            self.get(self.session(self.proxy))
        self.assertLessEqual(len(caught.exception.received), len(BLOB))

    def test_again_means_another_connection_and_another_endpoint(self):
        self.proxy.fault("/blobs/", faulty.other_body(lambda body: bytes(len(body))), times=None)
        session = self.session([endpoint(self.proxy.host, REPOSITORY, is_mirror=True),
                                endpoint(self.registry, REPOSITORY)])
        self.assertNotEqual(self.get(session)[1], BLOB)
        self.assertEqual(self.get(session, again=True)[1] == BLOB, True)
        self.assertEqual(self.proxy.count("/blobs/"), 1)

    def test_slow_and_silent_servers(self):
        self.proxy.fault("/blobs/", faulty.drip(0.2, size=20))
        answer, got = self.get(self.session(self.proxy, stall_seconds=1))
        self.assertEqual((got == BLOB, answer["requests"]), (True, 2))
        self.proxy.fault("/manifests/", faulty.silence(3))
        self.assertEqual(self.session(self.proxy, first_byte_seconds=1).manifest("latest")[1], MANIFEST)
        self.proxy.fault("/manifests/", faulty.silence(3))
        error = self.refused(self.session(self.proxy, first_byte_seconds=1, tries=1).manifest, "latest")
        self.assertEqual(error["why"], "no answer for 1 seconds")

    def test_nonsense_in_answers(self):
        big = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n{}"
        many = b"HTTP/1.1 200 OK\r\n" + b"X-A: aaaaaaaaaaaa\r\n" * 5000 + b"\r\n"
        for text in (big, many, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx",
                     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nxxx\r\n0\r\n\r\n",
                     b"SSH-2.0-x\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", b"\0" * 1000):
            self.proxy.faults.clear()
            self.proxy.fault("", faulty.raw(text), times=None)
            session = self.session(self.proxy, tries=2)
            for call in (lambda: session.manifest("latest"), lambda: self.get(session)):
                self.assertIn("cannot get", self.refused(call)["cause"], text[:60])
            self.proxy.faults.clear()
            self.assertEqual(self.get(session)[1] == BLOB, True)

    def test_hostile_documents(self):
        huge = self.session(self.proxy, document_limit=1000)
        self.proxy.fault("/manifests/", faulty.other_body(lambda _: b"{" * 5000))
        self.assertIn("more than 1000 bytes", self.refused(huge.manifest, "latest")["cause"])
        text = "\x1b]0;x\x07 \u202e\n" + "error: fake" + "x" * 100_000
        page = json.dumps({"errors": [{"code": text, "message": text}]}).encode()
        self.proxy.fault("/manifests/", faulty.status(400, page))
        error = self.refused(self.session(self.proxy).manifest, "latest")
        self.assertLess(len(error["why"]), 1000)
        self.assertNotRegex(error["why"], "[\x00-\x1f\u202e]")
        for media_type in ("text/html\x1b", "a" * 5000):
            self.proxy.fault("/manifests/", faulty.changed(Content_Type=media_type))
            self.session(self.proxy).manifest("latest")

    def test_tags_in_pages_of_the_same_host_only(self):
        for number in range(5):
            self.registry.put_manifest(REPOSITORY, f"v{number}", MANIFEST)
        session = self.session(self.proxy)
        self.assertEqual(sorted(session.tags()[1]), ["latest"] + [f"v{n}" for n in range(5)])
        page = faulty.status(200, b'{"tags":["a","b"]}', Link=f'</v2/{REPOSITORY}/tags/list?last=b&n=2>; rel="next"')
        self.proxy.fault("tags/list", page, times=2)
        self.proxy.fault("tags/list", faulty.status(200, b'{"tags":null}'))
        self.assertEqual(session.tags()[1], ["a", "b", "a", "b"])
        other = self.keep(faulty.FaultyRegistry(self.registry))
        self.proxy.fault("tags/list", faulty.status(200, b'{"tags":["a"]}', Link=f'<{other.url}/v2/x/tags/list>; rel="next"'))
        self.assertIn("not followed", self.refused(session.tags)["cause"])
        self.assertEqual(other.seen, [])


class Uploads(SessionCase):
    def setUp(self):
        super().setUp()
        self.registry = self.keep(registries.Registry())
        self.proxy = self.keep(faulty.FaultyRegistry(self.registry))

    def push(self, **kwargs):
        session = self.session(self.proxy, "push")
        session.upload(BLOB, LAYER["digest"], **kwargs)
        self.assertTrue(self.registry.has_blob(REPOSITORY, LAYER["digest"]))

    def test_failures_that_pass(self):
        for method, fault in (("POST", faulty.status(503)), ("PUT", faulty.status(500)), ("PUT", faulty.status(416)),
                              ("PUT", faulty.status(404)), ("PUT", faulty.raw(b"")), ("PATCH", faulty.status(502)),
                              ("PATCH", faulty.status(416)), ("PATCH", faulty.raw(b"")), ("PUT", faulty.busy(429, after="0"))):
            with self.subTest(method=method, fault=fault):
                self.proxy.fault("/blobs/uploads/", fault, method=method)
                self.push(chunk_bytes=300_000 if method == "PATCH" else 0)
                self.assertFalse([f for f in self.proxy.faults if f[3]], "the fault was not met")
                self.registry.delete(REPOSITORY, "blobs", LAYER["digest"])

    def test_an_answer_that_is_lost_is_no_reason_to_upload_again(self):
        self.proxy.fault("/blobs/uploads/", lambda handler, answer: handler.hang_up(hard=True), method="PUT")
        self.push()
        self.assertEqual((self.proxy.count("/blobs/uploads/", "PUT"), self.proxy.count("/blobs/sha256", "HEAD")), (1, 1))

    def test_chunks_are_continued_where_the_registry_is(self):
        # The first answer to a chunk is lost, the second is never given, the last PUT fails: a registry that tells how
        # far it is, as docker-registry does not, gets every byte once.
        registry = self.keep(faulty.FaultyRegistry())
        has, lost = bytearray(), [True, False]

        def patch(handler, _):
            first = int(handler.headers["Content-Range"].split("-")[0])
            self.assertEqual(first, len(has))
            has.extend(handler.request_body)
            if lost and lost.pop():
                return handler.hang_up(hard=True)
            return accepted(handler, _)

        def accepted(handler, _):
            code = 204 if handler.command == "GET" else 202
            handler.send(faulty.Answer(code, [], b"").set(Location="/v2/session/1", Range=f"0-{max(0, len(has) - 1)}",
                                                          Content_Length=0 if code == 202 else None))
        registry.fault("/blobs/uploads/", accepted, method="POST", times=None)
        registry.fault("/session/1", accepted, times=None)
        registry.fault("/session/1", patch, method="PATCH", times=None)
        registry.fault("/session/1", faulty.status(503), method="PUT")
        registry.fault("/session/1", faulty.status(201), method="PUT")
        self.session(registry, "push").upload(BLOB, LAYER["digest"], 300_000)
        self.assertEqual(bytes(has) == BLOB, True)
        self.assertEqual(registry.count("/blobs/uploads/", "POST"), 1)

    def test_a_registry_that_wants_chunks(self):
        for code in (405, 413, 501):
            self.proxy.fault("/blobs/uploads/", faulty.status(code), method="PUT")
            self.push()
            self.assertGreaterEqual(self.proxy.count("/blobs/uploads/", "PATCH"), 1)
            self.registry.delete(REPOSITORY, "blobs", LAYER["digest"])

    def test_relative_locations(self):
        def relative(handler, answer):
            location = answer.header("Location")
            handler.send(answer.set(Location=location.split(handler.owner.host, 1)[1]))
        self.proxy.fault("/blobs/uploads/", relative, times=None, method="POST")
        self.proxy.fault("/blobs/uploads/", relative, times=None, method="PATCH")
        self.push(chunk_bytes=500_000)

    def test_a_location_elsewhere_gets_no_credentials(self):
        other = self.keep(faulty.FaultyRegistry(self.registry))
        basic = faulty.status(401, WWW_Authenticate='Basic realm="x"')
        self.proxy.fault("/blobs/uploads/", basic, method="POST")
        self.proxy.fault("/blobs/uploads/", lambda handler, answer: handler.send(answer.set(
            Location=answer.header("Location").replace(self.proxy.host, other.host))), method="POST")
        session = self.session([endpoint(self.proxy.host, REPOSITORY, credentials={"username": "me", "password": "s3cret"})],
                               "push")
        session.upload(BLOB, LAYER["digest"])
        self.assertIn("authorization", self.proxy.headers("/blobs/uploads/", "POST")[1])
        self.assertEqual([h.get("authorization") for h in other.headers("/blobs/uploads/", "PUT")], [None])

    def test_refusals_are_final_and_told(self):
        for code, name in ((403, "forbidden"), (400, "registry-error"), (507, "registry-error")):
            self.proxy.seen.clear()
            page = b'{"errors":[{"code":"DENIED","message":"quota is used up"}]}'
            self.proxy.fault("/blobs/uploads/", faulty.status(code, page), method="POST", times=None)
            error = self.refused(self.session(self.proxy, "push").upload, BLOB, LAYER["digest"])
            self.assertEqual((error["code"], self.proxy.count("/blobs/uploads/", "POST")), (name, 1))
            self.assertIn("DENIED: quota is used up", error["why"])
            self.proxy.faults.clear()
        error = self.refused(self.session(self.proxy, "push").upload, b"other bytes", LAYER["digest"])
        self.assertIn("DIGEST_INVALID", error["why"])
        self.assertFalse(self.registry.has_blob(REPOSITORY, LAYER["digest"]))


class Authentication(SessionCase):
    def setUp(self):
        super().setUp()
        self.tokens = self.keep(registries.TokenServer(users={"me": "s3cret"}, refresh=["refr3sh"]))
        self.registry = self.keep(fill(registries.Registry(tokens=self.tokens)))
        self.proxy = self.keep(faulty.FaultyRegistry(self.registry))
        self.mine = {"username": "me", "password": "s3cret"}

    def login(self, credentials=None, server=None, **settings):
        server = server or self.proxy
        return self.session([endpoint(server.host, REPOSITORY, credentials=self.mine if credentials is None else credentials)],
                            **settings)

    def test_nothing_is_sent_before_it_is_asked_for(self):
        session = self.login()
        session.manifest("latest")
        self.get(session)
        sent = [h.get("authorization", "")[:6] for h in self.proxy.headers("/v2/")]
        self.assertEqual(sent, ["", "Bearer", "Bearer"])
        self.assertEqual(len(self.tokens.seen), 1)  # one token serves both
        _, path, headers, form = self.tokens.seen[0]
        self.assertEqual(form["scope"], [f"repository:{REPOSITORY}:pull"])
        self.assertEqual(form["service"], ["test registry"])
        self.assertTrue(headers["Authorization"].startswith("Basic "))

    def test_many_at_once_share_one_token(self):
        session = self.login()
        for number in [session.start("head", reference="latest") for _ in range(20)]:
            session.wait(number)
        self.assertEqual(len(self.tokens.seen), 1)

    def test_refresh_tokens_are_posted(self):
        session = self.login({"identity_token": "refr3sh"})
        session.manifest("latest")
        method, path, headers, form = self.tokens.seen[0]
        self.assertEqual((method, path, form["grant_type"], form["refresh_token"]),
                         ("POST", "/token", ["refresh_token"], ["refr3sh"]))
        self.assertNotIn("Authorization", headers)
        error = self.refused(self.login({"identity_token": "wrong-one"}).manifest, "latest")
        self.assertEqual(error["code"], "unauthorized")
        self.assertNotIn("wrong-one", json.dumps(error))

    def test_access_token_is_as_good_as_token(self):
        self.tokens.key = "access_token"
        self.assertEqual(self.login().manifest("latest")[1], MANIFEST)

    def test_registry_tokens_are_sent_as_they_are(self):
        token = self.tokens.sign("me", [{"type": "repository", "name": REPOSITORY, "actions": ["pull"]}])
        self.assertEqual(self.login({"registry_token": token}).manifest("latest")[1], MANIFEST)
        self.assertEqual(self.tokens.seen, [])

    def test_a_401_in_the_middle_renews_the_token_once(self):
        session = self.login()
        session.manifest("latest")
        challenge = f'Bearer realm="{self.tokens.realm}",service="test registry",error="invalid_token"'
        self.proxy.fault("/blobs/", faulty.status(401, WWW_Authenticate=challenge))
        self.assertEqual(self.get(session)[1] == BLOB, True)
        self.assertEqual(len(self.tokens.seen), 2)
        self.proxy.fault("/blobs/", faulty.status(401, WWW_Authenticate=challenge), times=2)
        self.assertEqual(self.refused(self.get, session)["code"], "unauthorized")
        self.assertEqual(len(self.tokens.seen), 3)

    def test_a_token_that_lasts_no_time_is_fetched_for_each_request(self):
        self.tokens.lifetime = 1
        session = self.login()
        session.manifest("latest")
        session.manifest("latest")
        self.assertGreaterEqual(len(self.tokens.seen), 2)

    def test_wrong_credentials(self):
        for credentials, server in (({"username": "me", "password": "wr0ng-word"}, self.proxy),
                                    ({"registry_token": "wr0ng-word"}, self.proxy)):
            error = self.refused(self.login(credentials, server).manifest, "latest")
            self.assertEqual(error["code"], "unauthorized")
            self.assertNotIn("wr0ng-word", json.dumps(error))
        basic = self.keep(registries.Registry(users={"me": "s3cret"}))
        for credentials in ({}, {"username": "me", "password": "wr0ng-word"}):
            error = self.refused(self.login(credentials, basic).call, "ping")
            self.assertEqual((error["code"], error["kind"]), ("unauthorized", 6))
        self.assertEqual(self.login(server=basic).call("ping")["status"], 200)

    def test_challenges_that_are_none(self):
        for header in ('Bearer realm="', "Bearer realm", 'Bearer realm="a",realm="b"', "Bearer",
                       'Bearer realm="/relative"', 'Bearer realm="ftp://x/"', 'Bearer realm="http://me:pw@127.0.0.1/t"',
                       "Digest x=y", 'Bearer realm="file:///etc/passwd"', "\x01"):
            self.proxy.seen.clear()
            self.proxy.fault("/manifests/", faulty.status(401, WWW_Authenticate=header), times=None)
            error = self.refused(self.login().manifest, "latest")
            self.assertIn("cannot get manifest latest", error["cause"], header)
            self.assertEqual(self.proxy.count("/manifests/"), 1)
            self.proxy.faults.clear()
        self.assertEqual(self.tokens.seen, [])

    def test_a_registry_over_https_cannot_send_us_to_http(self):
        authority = registries.Authority()
        secure = self.keep(faulty.FaultyRegistry(self.registry, tls=authority.server_context()))
        where = endpoint(secure.host, REPOSITORY, scheme="https", authorities=authority.certificate.read_text(),
                         credentials=self.mine)
        error = self.refused(self.session([where]).manifest, "latest")
        self.assertIn("not sent over http", error["why"])
        self.assertEqual(self.tokens.seen, [])
        # With a realm of https, at another port, it works.
        tokens = self.keep(registries.TokenServer(users={"me": "s3cret"}, tls=authority.server_context("tokens")))
        secure.fault("/manifests/", faulty.status(401, WWW_Authenticate=f'Basic realm="x", Bearer realm="{tokens.realm}"'))
        secure.fault("/manifests/", faulty.status(200, MANIFEST, Content_Type=registries.MANIFEST))
        self.assertEqual(self.session([where]).manifest("latest")[1], MANIFEST)
        self.assertEqual(len(tokens.seen), 1)

    def test_token_servers_that_misbehave(self):
        def say(status, document):
            def answer(handler):
                self.tokens.say = None
                handler.answer(status, document)
                return True
            return answer
        self.tokens.say = say(503, {})
        self.assertEqual(self.login().manifest("latest")[1], MANIFEST)
        for document in (b"{}", b"[]", b"no json", b'{"token":5}', b'{"token":"a\\nb: c"}', b'{"token":""}',
                         b'{"token":"' + b"x" * (1 << 20) + b'"}', b'{"token":"x","token":"y"}'):
            self.tokens.say = say(200, document)
            self.assertIn("cannot get manifest", self.refused(self.login().manifest, "latest")["cause"], document[:30])
        self.tokens.say = say(403, {"details": "no entry\x1b[1m for s3cret"})
        error = self.refused(self.login().manifest, "latest")
        self.assertEqual(error["code"], "unauthorized")
        self.assertIn("no entry\\x1b[1m for ***", error["why"])

    def test_client_certificates(self):
        authority = registries.Authority()
        registry = self.keep(registries.Registry(tls=authority, client_authority=authority))
        certificate, key = authority.issue("client")
        pair = {"client_certificate": certificate.read_text(), "client_key": key.read_text()}
        self.assertEqual(self.session([endpoint(registry, REPOSITORY, **pair)]).call("ping")["status"], 200)
        self.refused(self.session([endpoint(registry, REPOSITORY)], tries=1).call, "ping")

    def test_certificates_are_verified(self):
        registry = self.keep(registries.Registry(tls=True))
        for fields in ({"authorities": ""}, {"authorities": registries.Authority().certificate.read_text()}):
            error = self.refused(self.session([endpoint(registry, REPOSITORY, **fields)]).call, "ping")
            self.assertEqual(error["code"], "tls", error)
        relaxed = endpoint(registry, REPOSITORY, authorities="", verify_tls=False)
        self.assertEqual(self.session([relaxed]).call("ping")["status"], 200)

    def test_plain_http_only_where_it_is_allowed(self):
        plain = self.keep(registries.Registry())
        error = self.refused(self.session([endpoint(plain, REPOSITORY, scheme="https")]).call, "ping")
        self.assertEqual(error["code"], "plain-http")
        self.assertIn("--tls-verify=false", error["hints"][0])
        # "Then http" holds for loopback addresses alone.
        plain_elsewhere = endpoint(f"registry.invalid:{plain.port}", REPOSITORY, scheme="https-then-http")
        self.assertEqual(self.refused(self.session([plain_elsewhere]).call, "ping")["code"], "unreachable")
        local = endpoint(f"localhost:{plain.port}", REPOSITORY, scheme="https-then-http")
        self.assertEqual(self.session([local]).call("ping")["status"], 200)


class Redirects(SessionCase):
    def setUp(self):
        super().setUp()
        self.registry = self.keep(fill(registries.Registry()))
        self.proxy = self.keep(faulty.FaultyRegistry(self.registry))
        self.other = self.keep(faulty.FaultyRegistry(self.registry))
        basic = faulty.status(401, WWW_Authenticate='Basic realm="x"')
        self.proxy.fault("/v2/", basic)
        self.where = [endpoint(self.proxy.host, REPOSITORY, credentials={"username": "me", "password": "s3cret"})]
        self.proxy.fault("/blobs/", faulty.redirect(
            lambda handler: f"{self.other.url}{handler.path}?X-Amz-Signature=s1gned&token=t0ken"), times=None)

    def test_another_host_gets_the_range_and_nothing_else(self):
        self.other.fault("/blobs/", faulty.truncated(400_000))
        answer, got = self.get(self.session(self.where))
        self.assertEqual((got == BLOB, answer["requests"]), (True, 2))
        self.assertIn("authorization", self.proxy.headers("/blobs/")[-1])
        for headers in self.other.headers("/blobs/"):
            self.assertFalse({"authorization", "cookie"} & set(headers), headers)
        self.assertRegex(self.other.headers("/blobs/")[1]["range"], "bytes=[1-9][0-9]*-")

    def test_a_manifest_elsewhere(self):
        self.proxy.faults.clear()
        self.proxy.fault("/manifests/", faulty.redirect(lambda handler: self.other.url + handler.path))
        self.proxy.fault("", faulty.status(401, WWW_Authenticate='Basic realm="x"'))
        session = self.session(self.where)
        self.assertEqual(session.manifest("latest")[1], MANIFEST)
        self.assertNotIn("authorization", self.other.headers("/manifests/")[0])

    def test_a_401_from_elsewhere_is_not_answered(self):
        self.other.fault("/blobs/", faulty.status(401, WWW_Authenticate='Basic realm="x"'), times=None)
        error = self.refused(self.get, self.session(self.where))
        self.assertEqual(error["code"], "unauthorized")
        self.assertIn(f"401 Unauthorized from {self.other.url}", error["cause"])
        self.assertEqual([h.get("authorization") for h in self.other.headers("/blobs/")], [None])

    def test_a_signed_address_that_has_expired_is_asked_for_once_more(self):
        self.other.fault("/blobs/", faulty.status(403, b"<Error>expired</Error>"))
        self.assertEqual(self.get(self.session(self.where))[1] == BLOB, True)
        self.other.fault("/blobs/", faulty.status(403), times=None)
        self.other.seen.clear()
        error = self.refused(self.get, self.session(self.where))
        self.assertEqual((error["code"], self.other.count("/blobs/")), ("forbidden", 2))
        for secret in ("s1gned", "t0ken", "s3cret", "Signature"):
            self.assertNotIn(secret, json.dumps(error))

    def test_where_redirects_may_not_lead(self):
        authority = registries.Authority()
        secure = self.keep(faulty.FaultyRegistry(self.registry, tls=authority.server_context()))
        where = [endpoint(secure.host, REPOSITORY, scheme="https", authorities=authority.certificate.read_text())]
        for target, words in ((self.other.url + "/x?token=t0ken", "from https to http"), ("file:///etc/passwd", "http"),
                              ("gopher://x/", "http"), ("https://:99999999/", "no URL"), (f"{secure.url}/v2/loop", "more than 5")):
            secure.faults.clear()
            secure.seen.clear()
            secure.fault("", faulty.redirect(target), times=None)
            for call in (lambda: self.get(self.session(where)), lambda: self.session(where).manifest("latest")):
                error = self.refused(call)
                self.assertIn(words, error["cause"] + error["why"], target)
                self.assertNotIn("t0ken", json.dumps(error))
            self.assertLessEqual(len(secure.seen), 12)
        self.assertEqual(self.other.seen, [])


class Mirrors(SessionCase):
    def setUp(self):
        super().setUp()
        self.registry = self.keep(fill(registries.Registry()))
        self.mirror = self.keep(faulty.FaultyRegistry(self.registry))

    def both(self, **settings):
        return self.session([endpoint(self.mirror.host, REPOSITORY, is_mirror=True, **settings),
                             endpoint(self.registry, REPOSITORY)], retry_delay_ms=500)

    def test_the_mirror_is_asked_first(self):
        session = self.both()
        self.assertEqual(session.manifest("latest")[0]["host"], self.mirror.host)
        self.get(session)
        self.assertEqual(self.mirror.count("/blobs/"), 1)

    def test_what_it_does_not_serve_it_is_not_asked(self):
        session = self.both(serves_tags=False)
        self.assertEqual(session.manifest("latest")[0]["host"], self.registry.host)
        self.assertEqual(session.manifest(sha256(MANIFEST))[0]["host"], self.mirror.host)
        session = self.both(serves_digests=False)
        self.assertEqual(session.manifest(sha256(MANIFEST))[0]["host"], self.registry.host)

    def test_failures_move_on_at_once(self):
        for fault in (faulty.status(404), faulty.status(503), faulty.status(401), faulty.status(403), faulty.raw(b""),
                      faulty.truncated(10)):
            self.mirror.fault("/manifests/", fault)
            self.assertEqual(self.both().manifest("latest")[1], MANIFEST)
            self.mirror.fault("/blobs/", fault)
            self.assertEqual(self.get(self.both())[1] == BLOB, True)

    def test_a_mirror_that_is_away_is_asked_once(self):
        session = self.session([endpoint(f"127.0.0.1:{registries.free_port()}", REPOSITORY, is_mirror=True),
                                endpoint(self.registry, REPOSITORY)])
        self.assertEqual(session.manifest("latest")[1], MANIFEST)
        self.assertEqual(self.get(session)[1] == BLOB, True)

    def test_errors_name_everybody_who_was_asked(self):
        error = self.refused(self.both().manifest, "none")
        self.assertIn(f"{self.registry.host}/{REPOSITORY}: cannot get manifest none: 404", error["cause"])
        self.assertIn(f"{self.mirror.host}/{REPOSITORY}: cannot get manifest none: 404", error["steps"][0])

    def test_pushes_go_to_the_registry_itself(self):
        session = self.session([endpoint(self.mirror.host, REPOSITORY, is_mirror=True),
                                endpoint(self.registry, REPOSITORY)], "push")
        session.upload(b"new", sha256(b"new"))
        self.assertEqual((self.mirror.seen, self.registry.has_blob(REPOSITORY, sha256(b"new"))), ([], True))


class Proxies(SessionCase):
    def test_a_proxy_gets_its_own_credentials_only(self):
        registry = self.keep(fill(registries.Registry()))
        proxy = self.keep(faulty.FaultyRegistry(registry))
        proxy.fault("/v2/", faulty.status(401, WWW_Authenticate='Basic realm="x"'))
        environment = {"http_proxy": proxy.url.replace("//", "//us3r:pr0xy@"), "no_proxy": ""}
        far = endpoint("registry.invalid", REPOSITORY, credentials={"username": "me", "password": "s3cret"})
        session = self.session([far], env=environment)
        self.assertEqual(session.manifest("latest")[1], MANIFEST)
        self.assertTrue(proxy.seen[-1][1].startswith("http://registry.invalid/v2/"))
        self.assertTrue(all("proxy-authorization" in h for h in proxy.headers("/v2/")))
        self.assertEqual(["authorization" in h for h in proxy.headers("/v2/")], [False, True])
        # https: a tunnel, and nothing but the proxy's own credentials with it.
        proxy.seen.clear()
        tunnel = self.session([{**far, "scheme": "https"}], tries=1, env={
            "https_proxy": proxy.url.replace("//", "//us3r:pr0xy@"), "no_proxy": ""})
        error = self.refused(tunnel.manifest, "latest")
        self.assertNotIn("pr0xy", json.dumps(error))
        # Loopback is never reached through a proxy.
        proxy.seen.clear()
        near = self.session([endpoint(registry, REPOSITORY)], env=environment)
        self.assertEqual((near.manifest("latest")[1], proxy.seen), (MANIFEST, []))


class Pulls(SessionCase):
    """`img pull` through all that: it completes, or it says what is wrong and leaves nothing behind."""

    @classmethod
    def setUpClass(cls):
        cls.registry = registries.Registry()
        cls.addClassCleanup(cls.registry.stop)
        layer = gzip.compress(pathlib.Path(harness.busybox_tar()).read_bytes(), 1, mtime=0)
        config = json.dumps({"architecture": ARCHITECTURE, "os": "linux", "config": {}, "rootfs": {
            "type": "layers", "diff_ids": [sha256(gzip.decompress(layer))]}}).encode()
        cls.layer = cls.registry.put_blob(REPOSITORY, layer)["digest"]
        cls.manifest = {"schemaVersion": 2, "mediaType": registries.MANIFEST,
                        "config": {"mediaType": registries.CONFIG, **cls.registry.put_blob(REPOSITORY, config)},
                        "layers": [{"mediaType": registries.LAYER, "digest": cls.layer, "size": len(layer)}]}
        cls.registry.put_manifest(REPOSITORY, "v1", cls.manifest)

    def pull(self, *faults):
        """Through a proxy with these faults: (the result, the store)."""
        proxy = self.keep(faulty.FaultyRegistry(self.registry))
        for pattern, action, times in faults:
            proxy.fault(pattern, action, times)
        store = self.img(store=harness.temp_dir("store") + "/store", busybox=False,
                         env={"CONTAINERS_REGISTRIES_CONF": "/dev/null", "REGISTRY_AUTH_FILE": None})
        return store("pull", "--retry", "2", "--retry-delay", "50ms", f"{proxy.host}/{REPOSITORY}:v1", check=False), store

    def test_what_passes_is_survived(self):
        layer = f"/blobs/{self.layer}"
        for faults in ([("/manifests/", faulty.status(503), 1)], [("/manifests/", faulty.raw(b""), 1)],
                       [(layer, faulty.reset(100_000), 1)], [(layer, faulty.truncated(5), 2)], [(layer, faulty.status(502), 1)],
                       [(layer, faulty.truncated(300_000), 1), (layer, faulty.whole, 1)],
                       [(layer, faulty.other_body(lambda body: body[::-1]), 1)]):
            with self.subTest(faults=faults):
                shown, store = self.pull(*faults)
                self.assertEqual(shown.code, 0, str(shown))
                self.assertEqual(len(store("images", "-q").out.split()), 1)
                store("verify")

    def test_what_stays_is_told_and_nothing_is_stored(self):
        layer = f"/blobs/{self.layer}"
        hostile = [(b"{}", "manifest"), (b"[" * 100_000, ""), (b"\xff\xfe", ""), (b"null", ""),
                   (json.dumps({**self.manifest, "layers": [{**self.manifest["layers"][0], "size": -1}]}).encode(), ""),
                   (json.dumps({**self.manifest, "manifests": []}).encode(), ""),
                   (json.dumps({**self.manifest, "layers": [{**self.manifest["layers"][0], "digest": "sha256:../../x"}]}).encode(), "")]
        cases = [([("/manifests/", faulty.status(200, body, Content_Type=registries.MANIFEST), None)], words)
                 for body, words in hostile]
        cases += [([("/manifests/", faulty.status(503, b'{"errors":[{"code":"DOWN"}]}'), None)], "503"),
                  ([(layer, faulty.other_body(lambda body: body[::-1]), None)], self.layer),
                  ([(layer, faulty.other_body(lambda body: body + b"x"), None)], self.layer),
                  ([(layer, faulty.chunked(lambda body: body + b"x" * 100), None)], self.layer),
                  ([(layer, faulty.chunked(lambda body: body[:-9]), None)], self.layer),
                  ([(layer, faulty.truncated(0), None)], self.layer),
                  ([(layer, faulty.status(404), None)], "404"), ([(layer, faulty.redirect("file:///etc/passwd"), None)], "only addresses with http and https")]
        for faults, words in cases:
            with self.subTest(faults=faults):
                shown, store = self.pull(*faults)
                self.assertEqual(shown.code, 1, str(shown))
                self.assertRegex(shown.err, r"(?m)^error: ")
                self.assertIn(words, shown.err)
                self.assertNotIn("internal error", shown.err)
                self.assertEqual(store("images", "-a", "-q").out, "")
                for blob in (store.store / "blobs/sha256").glob("*"):
                    self.assertEqual(sha256(blob.read_bytes()), "sha256:" + blob.name)
                self.assertFalse((store.store / "blobs/sha256" / self.layer.split(":")[1]).exists())
                self.assertLessEqual({p.name for p in (store.store / "ingest").glob("*")}, {"partial"})
