"""Drives `img-remote session` (registry/README.md has the protocol) without the program img."""
import array
import json
import os
import select
import socket
import subprocess
import tempfile
import threading
import time

from . import harness


class Refused(Exception):
    """The error that a request was answered with; fields as attributes of `error`."""

    def __init__(self, error):
        super().__init__(error.get("cause"))
        self.error = error

    def text(self):
        return json.dumps(self.error)


def endpoint(registry_or_host, repository, **fields):
    """Of a registries.Registry, or of a HOST:PORT of plain HTTP."""
    registry = registry_or_host
    if isinstance(registry, str):
        return {"host": registry, "repository": repository, "scheme": "http", **fields}
    made = {"host": registry.host, "repository": repository, "scheme": registry.scheme}
    if registry.ca:
        made["authorities"] = registry.ca.read_text()
    if registry.user:
        made["credentials"] = dict(zip(("username", "password"), registry.user))
    return {**made, **fields}


class Session:
    """One img-remote. start() sends a request and returns its id, wait() its answer, call() both."""

    def __init__(self, endpoints, action="pull", env=None, **settings):
        endpoints = endpoints if isinstance(endpoints, list) else [endpoints]
        configuration = {"repository": endpoints[-1]["repository"], "action": action, "endpoints": endpoints, "tries": 4,
                         "retry_delay_ms": 20, "connect_seconds": 5, "first_byte_seconds": 10, "stall_seconds": 5,
                         "parallel": 6, "document_limit": 4 << 20, **settings}
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                # Not sh: dash takes descriptors of one digit only.
                ["bash", "-c", f"exec \"$0\" session 3<&{theirs.fileno()}", harness.program("img-remote")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[theirs.fileno()],
                env={**os.environ, **(env or {})})
        self.process.stdin.write(json.dumps(configuration).encode())
        self.process.stdin.close()
        self.process.stdin = None
        self.number, self.answers, self.notices = 0, {}, []

    def close(self):
        """Ends the session; returns (exit status, stdout, stderr)."""
        self.socket.close()
        try:
            out, err = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError("img-remote did not end with its socket") from None
        return self.process.returncode, out, err

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def start(self, op, fd=None, **fields):
        self.number += 1
        message = json.dumps({"id": self.number, "op": op, **fields}).encode()
        control = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.socket.sendmsg([message], control)
        return self.number

    def wait(self, number, timeout=30):
        deadline = time.monotonic() + timeout
        while number not in self.answers:
            ready, _, _ = select.select([self.socket], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"no answer to request {number} in {timeout} s")
            self._read()
        answer = self.answers.pop(number)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def _read(self):
        text = self.socket.recv(1 << 18)
        if not text:
            raise AssertionError(f"img-remote has ended: {self.process.communicate(timeout=10)}")
        message = json.loads(text)
        if "notice" in message:
            self.notices.append(message["notice"])
        else:
            self.answers[message["id"]] = message

    def call(self, op, fd=None, timeout=30, **fields):
        return self.wait(self.start(op, fd, **fields), timeout)

    def manifest(self, reference):
        """(answer, bytes)"""
        with tempfile.TemporaryFile(dir=harness.scratch()) as file:
            answer = self.call("manifest", file.fileno(), reference=reference)
            file.seek(0)
            return answer, file.read()

    def start_blob(self, digest, size, offset=0, sink=None, **fields):
        """A Download; `sink`: a function that gets the chunks instead of keeping them."""
        return Download(self, sink, digest=digest, size=size, offset=offset, **fields)

    def blob(self, digest, size, offset=0, **fields):
        """(answer, bytes); a Refused has the bytes as its attribute `received`."""
        return self.start_blob(digest, size, offset, **fields).finish()

    def upload(self, data, digest, chunk_bytes=0, **fields):
        with tempfile.TemporaryFile(dir=harness.scratch()) as file:
            file.write(data)
            file.flush()
            return self.call("upload", file.fileno(), digest=digest, size=len(data), chunk_bytes=chunk_bytes, **fields)

    def put_manifest(self, reference, data, media_type):
        with tempfile.TemporaryFile(dir=harness.scratch()) as file:
            file.write(data)
            file.flush()
            return self.call("put_manifest", file.fileno(), reference=reference, media_type=media_type)

    def tags(self):
        with tempfile.TemporaryFile(dir=harness.scratch()) as file:
            answer = self.call("tags", file.fileno())
            file.seek(0)
            return answer, json.loads(file.read())

    def memory_kib(self):
        """The most memory it ever had."""
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
        raise AssertionError("no VmHWM")


class Download:
    def __init__(self, session, sink, **fields):
        self.session, self.parts = session, []
        self.sink = sink or self.parts.append
        self.read_end, write_end = os.pipe()
        self.number = session.start("blob", write_end, **fields)
        os.close(write_end)
        self.thread = threading.Thread(target=self._drain, daemon=True)
        self.thread.start()

    def _drain(self):
        while chunk := os.read(self.read_end, 1 << 20):
            self.sink(chunk)
        os.close(self.read_end)

    def finish(self, timeout=60):
        try:
            answer = self.session.wait(self.number, timeout)
        except Refused as refused:
            self.thread.join(10)
            refused.received = b"".join(self.parts)
            raise
        self.thread.join(10)
        if self.thread.is_alive():
            raise AssertionError("the pipe of the blob was not closed")
        return answer, b"".join(self.parts)
