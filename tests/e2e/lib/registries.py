"""Debian's docker-registry on loopback, started and ended by the test: plain, with users over TLS, or behind a token
server of the test's own. Everything lies in a folder of the test.

    registry = registries.Registry()                                    # plain HTTP, no users
    registry = registries.Registry(users={"me": "secret"}, tls=True)     # registry.ca: PEM file of its CA
    registry = registries.Registry(tokens=registries.TokenServer(...))
    self.addCleanup(registry.stop)
    registry.host                                                        # 127.0.0.1:PORT
"""
import base64
import hashlib
import http.server
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from . import harness
from .harness import run

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Authority:
    """A certificate authority, made by openssl(1)."""

    def __init__(self):
        harness.require("openssl")
        self.dir = pathlib.Path(harness.temp_dir("ca"))
        self.certificate, self.key = self.dir / "ca.crt", self.dir / "ca.key"
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test authority",
             "-keyout", self.key, "-out", self.certificate])

    def issue(self, name, alternatives="IP:127.0.0.1,DNS:localhost"):
        """(certificate, key), PEM files; for servers and clients."""
        key, request, certificate = (self.dir / f"{name}.{end}" for end in ("key", "csr", "crt"))
        run(["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request])
        extensions = self.dir / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternatives}\n")
        run(["openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
             "-days", "2", "-extfile", extensions, "-out", certificate])
        return certificate, key

    def server_context(self, name="server"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name))
        return context


class TokenServer:
    """Hands out tokens for a registry (distribution's docs/spec/auth/token.md and oauth.md), signed with RS256.

    `users`: {name: password}. `refresh`: refresh tokens that are accepted by POST. `anonymous`: actions without a user.
    Every request is remembered in `seen`: (method, path, headers, form); `given` has the scopes that were granted."""

    def __init__(self, users=None, refresh=(), anonymous=("pull",), lifetime=300, tls=None, key="token"):
        self.users, self.refresh, self.anonymous = dict(users or {}), set(refresh), set(anonymous)
        self.lifetime, self.key = lifetime, key  # key: the name of the answer's field
        self.seen, self.given, self.service = [], [], "test registry"
        self.authority = Authority()
        self.say = None  # a function(handler) that may answer instead and then returns True
        outer = self

        class Bound(_TokenHandler):
            owner = outer

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.realm = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_address[1]}/token"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def configuration(self):
        return {"token": {"realm": self.realm, "service": self.service, "issuer": "test issuer",
                          "rootcertbundle": str(self.authority.certificate)}}

    def sign(self, user, access):
        now = int(time.time())
        claims = {"iss": "test issuer", "sub": user, "aud": self.service, "exp": now + self.lifetime, "nbf": now - 10,
                  "iat": now, "jti": os.urandom(8).hex(), "access": access}
        certificate = ssl.PEM_cert_to_DER_cert(self.authority.certificate.read_text())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(certificate).decode()]}
        text = _part(json.dumps(head).encode()) + "." + _part(json.dumps(claims).encode())
        signature = run(["openssl", "dgst", "-sha256", "-sign", self.authority.key], stdin=text).raw
        return text + "." + _part(signature)


def _part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class _TokenHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None

    def log_message(self, *unused):
        pass

    def answer(self, status, document):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        user = self._basic_user()
        self._grant(query, user)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        form = urllib.parse.parse_qs(body)
        word = form.get("grant_type", [""])[0]
        user = False
        if word == "refresh_token" and form.get("refresh_token", [""])[0] in self.owner.refresh:
            user = "refreshed"
        if word == "password" and self.owner.users.get(form.get("username", [""])[0]) == form.get("password", [None])[0]:
            user = form["username"][0]
        self._grant(form, user)

    def _basic_user(self):
        """The user's name; None: nobody; False: a wrong password."""
        given = self.headers.get("Authorization")
        if given is None:
            return None
        name, _, password = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
        return name if self.owner.users.get(name) == password else False

    def _grant(self, form, user):
        self.owner.seen.append((self.command, self.path, dict(self.headers), form))
        if self.owner.say and self.owner.say(self):
            return
        if user is False:
            self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong user or password"}]})
            return
        access = []
        for scope in " ".join(form.get("scope", [])).split():
            kind, rest = scope.split(":", 1)
            name, actions = rest.rsplit(":", 1)
            granted = [a for a in actions.split(",") if user or a in self.owner.anonymous]
            access.append({"type": kind, "name": name, "actions": granted})
            self.owner.given.append(scope)
        token = self.owner.sign(user or "", access)
        self.answer(200, {self.owner.key: token, "expires_in": self.owner.lifetime})


class Registry:
    """A docker-registry. `users`: basic auth; `tokens`: a TokenServer; `tls`: True or an Authority;
    `client_authority`: clients must show a certificate of it; `mirror_of`: a URL it is a pull-through cache of;
    `access_log`: for requests()."""

    def __init__(self, users=None, tls=None, tokens=None, client_authority=None, mirror_of=None, access_log=False):
        harness.require("docker-registry")
        self.dir = pathlib.Path(harness.temp_dir("registry"))
        self.authority = Authority() if tls is True else tls
        self.tokens = tokens
        self.ca = self.authority.certificate if self.authority else None
        self.scheme = "https" if self.authority else "http"
        self.user = next(iter(users.items())) if users else None
        self.files = self.dir / "data"
        self._configuration = self._configure(users, client_authority, mirror_of)
        self._configuration["log"]["accesslog"]["disabled"] = not access_log
        self.process = self.log = None
        self.port = None
        for _ in range(5):  # a free port may be taken by another before the registry has it
            if self._start():
                return
        raise AssertionError("docker-registry did not come up:\n" + (self.dir / "log").read_text()[-3000:])

    def _configure(self, users, client_authority, mirror_of):
        configuration = {
            "version": 0.1, "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.files)}, "delete": {"enabled": True},
                        "maintenance": {"uploadpurging": {"enabled": False}}},
            "http": {"secret": "test", "headers": {"X-Content-Type-Options": ["nosniff"]}},
        }
        if users:
            lines = [run(["htpasswd", "-nbB", "-C", "4", name, word]).out.strip() for name, word in users.items()]
            (self.dir / "htpasswd").write_text("\n".join(lines) + "\n")
            configuration["auth"] = {"htpasswd": {"realm": "test", "path": str(self.dir / "htpasswd")}}
        if self.tokens:
            configuration["auth"] = self.tokens.configuration()
        if self.authority:
            certificate, key = self.authority.issue("registry")
            configuration["http"]["tls"] = {"certificate": str(certificate), "key": str(key)}
            if client_authority:
                configuration["http"]["tls"]["clientcas"] = [str(client_authority.certificate)]
        if mirror_of:
            configuration["proxy"] = {"remoteurl": mirror_of}
        return configuration

    def _start(self):
        self.port = self.port or free_port()
        self._configuration["http"]["addr"] = f"127.0.0.1:{self.port}"
        path = self.dir / "config.yml"
        path.write_text(json.dumps(self._configuration))  # JSON is YAML
        self.log = open(self.dir / "log", "ab")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL", "REGISTRY"))}
        self.process = subprocess.Popen(["docker-registry", "serve", path], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, env=environment, cwd=self.dir)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
            time.sleep(0.02)
        self.stop()
        self.port = None
        return False

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.log:
            self.log.close()

    def start_again(self):
        """After stop(): the same port and content."""
        if not self._start():
            raise AssertionError("docker-registry did not come up again")

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"{self.scheme}://{self.host}"

    def requests(self, since=0):
        """[(method, path, status)] of what was asked so far, oldest first; with access_log only. The registry writes
        a line after its answer, so a caller that counts waits for the last one it knows of."""
        lines = re.findall(r'"(\w+) (\S+) HTTP/[\d.]+" (\d+)', (self.dir / "log").read_text())
        return [(method, path, int(status)) for method, path, status in lines][since:]

    # --- The API, spoken by the test itself: what lies there does not depend on the program under test.
    def request(self, method, path, body=None, headers=None):
        """(status, headers in lower case, body); the path may be a URL of this registry."""
        headers = dict(headers or {})
        if self.user:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(self.user).encode()).decode()
        if self.tokens:
            name = path.split("/v2/")[-1].rsplit("/manifests/")[0].rsplit("/blobs/")[0].rsplit("/tags/")[0]
            access = [{"type": "repository", "name": name, "actions": ["pull", "push", "delete"]}]
            headers["Authorization"] = "Bearer " + self.tokens.sign("test", access)
        context = ssl.create_default_context(cafile=self.ca) if self.ca else None
        url = path if path.startswith("http") else self.url + path
        handlers = [urllib.request.ProxyHandler({})]
        if context:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        opener = urllib.request.build_opener(*handlers)
        try:
            with opener.open(urllib.request.Request(url, body, headers, method=method), timeout=60) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

    def _must(self, wanted, method, path, *args):
        status, headers, body = self.request(method, path, *args)
        if status != wanted:
            raise AssertionError(f"{method} {path}: {status} {body[:500]!r}")
        return headers, body

    def put_blob(self, repository, data):
        """Returns the descriptor of a blob that is there now."""
        headers, _ = self._must(202, "POST", f"/v2/{repository}/blobs/uploads/", b"")
        where = urllib.parse.urljoin(self.url, headers["location"])
        where += ("&" if "?" in where else "?") + "digest=" + sha256(data)
        self._must(201, "PUT", where, data, {"Content-Type": "application/octet-stream"})
        return {"digest": sha256(data), "size": len(data)}

    def put_manifest(self, repository, reference, document, media_type=MANIFEST):
        """`document`: bytes or something for json.dumps; returns the digest."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self._must(201, "PUT", f"/v2/{repository}/manifests/{reference}", data, {"Content-Type": media_type})
        return sha256(data)

    def get_manifest(self, repository, reference, accept=MANIFEST):
        return json.loads(self._must(200, "GET", f"/v2/{repository}/manifests/{reference}", None, {"Accept": accept})[1])

    def has_blob(self, repository, digest):
        return self.request("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200

    def delete(self, repository, kind, digest):
        """kind: `manifests` or `blobs`."""
        self._must(202, "DELETE", f"/v2/{repository}/{kind}/{digest}")

    def tags(self, repository):
        return json.loads(self._must(200, "GET", f"/v2/{repository}/tags/list")[1])["tags"] or []
