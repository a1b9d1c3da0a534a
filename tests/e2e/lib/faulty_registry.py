"""A proxy in front of a registry that misbehaves as told. It counts requests and bytes and remembers headers.

    proxy = FaultyRegistry(registry)
    proxy.fault("/blobs/sha256:", reset(after=1000), times=2)   # the next two GETs of a blob
    proxy.seen                                                  # [(method, path, headers)]

A fault is a function (handler, answer): it gets what the registry answered and sends what it likes."""
import email.utils
import http.client
import http.server
import re
import socket
import struct
import threading
import time
import urllib.parse


class Answer:
    """What the registry said: status, headers (a list of pairs), body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name):
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def set(self, **headers):
        """Replaces headers (Content_Range=...), None takes one away."""
        for name, value in headers.items():
            name = name.replace("_", "-")
            self.headers = [(k, v) for k, v in self.headers if k.lower() != name.lower()]
            if value is not None:
                self.headers.append((name, str(value)))
        return self


class FaultyRegistry:
    """`registry`: a registries.Registry of plain HTTP, or None when everything is said by faults."""

    def __init__(self, registry=None, tls=None):
        self.registry, self.seen, self.faults, self.bytes_sent = registry, [], [], 0
        self.lock = threading.Lock()
        outer = self

        class Bound(_Handler):
            owner = outer

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *unused):
                pass  # the client has gone, as it may

        self.server = Server(("127.0.0.1", 0), Bound)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"{self.scheme}://{self.host}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def fault(self, pattern, action, times=1, method="GET"):
        """`pattern`: searched in the path; times: how often, None: always. Faults are tried in the order given."""
        with self.lock:
            self.faults.append([re.compile(pattern), method, action, times])

    def take(self, method, path):
        with self.lock:
            for fault in self.faults:
                pattern, wanted, action, times = fault
                if wanted == method and pattern.search(path) and times != 0:
                    fault[3] = None if times is None else times - 1
                    return action
        return None

    def count(self, pattern, method="GET"):
        return sum(1 for m, path, _ in self.seen if m == method and re.search(pattern, path))

    def headers(self, pattern, method="GET"):
        """Of each request that matches, names in lower case."""
        return [{k.lower(): v for k, v in headers.items()} for m, path, headers in self.seen
                if m == method and re.search(pattern, path)]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None

    def log_message(self, *unused):
        pass

    def _read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()  # no trailers
        return body

    def handle_method(self):
        self.owner.seen.append((self.command, self.path, dict(self.headers)))
        self.request_body = self._read_body()
        action = self.owner.take(self.command, urllib.parse.unquote(self.path))
        if action is not None and getattr(action, "asks_nobody", False):
            return action(self, None)
        answer = self.forward() if self.owner.registry else Answer(404, [], b"")
        return action(self, answer) if action else self.send(answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_method

    def forward(self):
        connection = http.client.HTTPConnection(self.owner.registry.host, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "accept-encoding", "transfer-encoding")}
        connection.request(self.command, self.path, self.request_body or None, headers)
        response = connection.getresponse()
        body = response.read()
        drop = ("connection", "transfer-encoding", "content-length")
        answer = Answer(response.status, [(k, v) for k, v in response.getheaders() if k.lower() not in drop], body)
        length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
        if length is not None and response.status != 204:
            answer.set(Content_Length=length)
        connection.close()
        return answer

    def send(self, answer, body=None):
        """`body`: what is sent in fact."""
        body = answer.body if body is None else body
        self.send_response(answer.status)
        for name, value in answer.headers:
            if name.lower() not in ("date", "server"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.owner.bytes_sent += len(body)

    def hang_up(self, hard=False):
        """hard: with a reset."""
        self.wfile.flush()
        if hard:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()  # both keep the socket open
            self.connection.close()
        self.close_connection = True


def _asks_nobody(action):
    action.asks_nobody = True
    return action


def status(code, body=b"", **headers):
    """An answer that the registry never gave."""
    return _asks_nobody(lambda handler, _: handler.send(Answer(code, [], body).set(Content_Length=len(body), **headers)))


def busy(code=429, after=None, in_seconds=None):
    """Retry-After as seconds, or as a date so many seconds from now."""
    def action(handler, _):
        value = after if in_seconds is None else email.utils.formatdate(time.time() + in_seconds, usegmt=True)
        answer = Answer(code, [], b"").set(Content_Length=0)
        handler.send(answer.set(Retry_After=value) if value is not None else answer)
    return _asks_nobody(action)


def reset(after):
    """The head, `after` bytes, a reset."""
    def action(handler, answer):
        handler.send(answer, answer.body[:after])
        handler.hang_up(hard=True)
    return action


def truncated(after):
    """As if the body had ended there, but for Content-Length."""
    def action(handler, answer):
        handler.send(answer, answer.body[:after])
        handler.hang_up()
    return action


def other_body(change, keeps_length=False):
    """`change`: bytes to bytes; Content-Length follows unless it is kept as it was."""
    def action(handler, answer):
        body = change(answer.body)
        if not keeps_length:
            answer.set(Content_Length=len(body))
        handler.send(answer, body)
        if keeps_length:
            handler.hang_up()
    return action


def chunked(change):
    """Without Content-Length."""
    def action(handler, answer):
        body = change(answer.body)
        answer.set(Content_Length=None, Transfer_Encoding="chunked")
        handler.send(answer, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    return action


def raw(text):
    """Bytes that need not be HTTP."""
    def action(handler, _):
        handler.wfile.write(text)
        handler.hang_up()
    return _asks_nobody(action)


def drip(pause, size=1):
    """`size` bytes at a time."""
    def action(handler, answer):
        handler.send(answer, b"")
        for at in range(0, len(answer.body), size):
            handler.wfile.write(answer.body[at:at + size])
            time.sleep(pause)
    return action


def silence(seconds):
    """No answer at all."""
    def action(handler, _):
        time.sleep(seconds)
        handler.hang_up()
    return _asks_nobody(action)


def redirect(url, code=307):
    """`url`: an address, or a function of the handler."""
    return _asks_nobody(lambda handler, _: handler.send(
        Answer(code, [], b"").set(Content_Length=0, Location=url(handler) if callable(url) else url)))


def changed(**headers):
    """The registry's answer with other headers, or another status (`status=`)."""
    def action(handler, answer):
        answer.status = headers.get("status", answer.status)
        handler.send(answer.set(**{k: v for k, v in headers.items() if k != "status"}))
    return action


def whole(handler, _):
    """200 for a request with Range."""
    del handler.headers["Range"]
    answer = handler.forward()
    handler.send(answer)


_asks_nobody(whole)
