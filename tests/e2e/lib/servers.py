"""Servers on loopback that a test owns: HTTP with paths that misbehave, and git over HTTP."""
import gzip
import hashlib
import http.server
import os
import pathlib
import subprocess
import threading
import time
import urllib.parse

from lib.harness import run

MODIFIED = "Mon, 05 Jan 2026 10:20:30 GMT"
MODIFIED_SECONDS = 1_767_608_430


class Http:
    """`files`: {path: bytes} answered with ETag and Last-Modified. Every request is remembered in `seen`:
    (method, path, headers). Other paths: see Handler.special."""

    def __init__(self, files=None, git=None, tls=None):
        self.files, self.git, self.seen, self.failures = dict(files or {}), git, [], 0
        self.elsewhere = None  # another Http, for redirects
        self.authorization = None  # what /private wants
        outer = self

        class Bound(Handler):
            server_state = outer

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.scheme = "https" if tls else "http"
        self.url = f"{self.scheme}://{self.host}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def paths(self):
        return [path for _, path, _ in self.seen]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state = None

    def log_message(self, *unused):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        headers.setdefault("Content_Length", len(body))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.do_GET()

    def do_GET(self):
        state = self.server_state
        state.seen.append((self.command, self.path, dict(self.headers)))
        path = urllib.parse.urlsplit(self.path).path
        try:
            if state.git and path.startswith("/git/"):
                return self.serve_git(path)
            if path in state.files:
                return self.serve_file(state.files[path])
            self.special(path, state)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has seen enough

    def serve_file(self, body):
        etag = '"' + hashlib.sha256(body).hexdigest()[:16] + '"'
        if self.headers.get("If-None-Match") == etag:
            return self.answer(304, ETag=etag)
        self.answer(200, body, ETag=etag, Last_Modified=MODIFIED)

    def special(self, path, state):
        kind, _, rest = path.lstrip("/").partition("/")
        if kind == "hops":  # /hops/3: three redirects, then the file
            left = int(rest)
            return self.answer(302, Location=f"/hops/{left - 1}" if left > 1 else "/a.txt")
        if kind == "leave":
            return self.answer(302, Location=state.elsewhere.url + "/" + rest)
        if kind == "to-file":
            return self.answer(302, Location="file:///etc/passwd")
        if kind == "private":
            if state.authorization is None or self.headers.get("Authorization") != state.authorization:
                return self.answer(401)
            return self.answer(200, b"private\n")
        if kind == "coded":
            return self.answer(200, gzip.compress(b"plain\n", mtime=0), Content_Encoding="gzip")
        if kind == "truncated":
            self.close_connection = True
            return self.answer(200, b"half", Content_Length=1000)
        if kind == "stalls":
            self.answer(200, b"begin", Content_Length=1000)
            return time.sleep(3)
        if kind == "slow":
            self.answer(200, b"", Content_Length=5)
            for byte in b"slow\n":
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
            return None
        if kind == "flaky":  # /flaky/2: two failures, then the file
            state.failures += 1
            return self.answer(503) if state.failures <= int(rest) else self.answer(200, b"at last\n")
        if kind == "part":
            return self.answer(206, b"half", Content_Range="bytes 0-3/8")
        if kind == "weak":
            return self.answer(200, b"weak\n", ETag='W/"1"')
        return self.answer(404, b"no such thing")

    def serve_git(self, path):
        """CGI, as git-http-backend(1) wants it."""
        query = urllib.parse.urlsplit(self.path).query
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.server_state.git.get("authorization")
        if token and self.headers.get("Authorization") != token:
            return self.answer(401, WWW_Authenticate='Basic realm="git"')
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.server_state.git["root"]), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path.removeprefix("/git"), "QUERY_STRING": query, "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": "127.0.0.1", "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, timeout=60)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200 OK").split()[0])
        return self.answer(status, content, **{k.replace("-", "_"): v for k, v in headers.items() if k != "Content-Length"})


class Repository:
    """A git repository with a work tree, served as ROOT/NAME.git."""

    def __init__(self, root, name):
        self.work = pathlib.Path(root) / ("work-" + name)
        self.bare = pathlib.Path(root) / (name + ".git")
        self.git("init", "--quiet", "--initial-branch=main", self.work, at=root)

    def git(self, *words, at=None, when=1_700_000_000):
        environment = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": "/nonexistent",
                       "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
                       "GIT_COMMITTER_EMAIL": "a@b", "GIT_AUTHOR_DATE": f"{when} +0000",
                       "GIT_COMMITTER_DATE": f"{when} +0000"}
        return run(["git", "-c", "protocol.file.allow=always", "-C", at or self.work, *words], env=environment).out.strip()

    def commit(self, files, message="m", **kwargs):
        """{path: text, (text, mode) or None to remove}; returns the hash."""
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
                continue
            text, mode = content if isinstance(content, tuple) else (content, 0o644)
            path.write_text(text)
            path.chmod(mode)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message, **kwargs)
        self.publish()
        return self.git("rev-parse", "HEAD")

    def publish(self):
        if not self.bare.exists():
            self.git("clone", "--quiet", "--bare", self.work, self.bare)
        else:
            self.git("push", "--quiet", "--force", self.bare, "--all")
            self.git("push", "--quiet", "--force", self.bare, "--tags")
