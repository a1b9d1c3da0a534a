#!/usr/bin/python3
"""A stand-in for img-remote: `session` over descriptor 3, answered from a folder instead of a registry.

    fake_remote.py FOLDER session <config.json 3<>socket

FOLDER/manifests/REFERENCE   documents; REFERENCE.type: their media type
FOLDER/blobs/HEX             blobs
FOLDER/faults/HEX            what goes wrong with a blob, one line for each request: "wrong" (other bytes), "short N" (N bytes, then
                             the connection is lost), "gone" (404), "die" (the process ends in mid-blob); anything else: nothing; the last
                             line stays
FOLDER/faults/ping           "denied"
FOLDER/faults/growing        "refused": nothing is taken while it grows
FOLDER/log                   one line for each request
FOLDER/config                the configuration of the last session
"""
import array
import hashlib
import json
import os
import pathlib
import socket
import sys

KINDS = "failed usage notFound exists busy corrupt denied unsupported internal".split()


class Failure(Exception):
    def __init__(self, kind, cause, code):
        super().__init__(cause)
        self.document = {"kind": KINDS.index(kind), "errno": 0, "cause": cause, "steps": [], "hints": [], "why": "", "code": code,
                         "logTail": [], "stage": ""}


class Session:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.growing = {}  # id: (the file, the writer's socket, which must not end)
        self.socket = socket.socket(fileno=3)

    def run(self):
        while True:
            text, controls, _, _ = self.socket.recvmsg(1 << 17, socket.CMSG_SPACE(4))
            if not text:
                return
            fd = array.array("i", controls[0][2])[0] if controls else None
            request = json.loads(text)
            with open(self.folder / "log", "a") as log:
                named = request.get("reference") or request.get("digest") or ""
                log.write(f"{request['op']} {named} {request.get('offset', '')} {request.get('again', '')}\n")
            try:
                answer = getattr(self, request["op"])(request, fd)
            except Failure as failure:
                answer = {"error": failure.document}
            if fd is not None:
                os.close(fd)
            if answer is not None:
                self.socket.send(json.dumps({"id": request["id"], **answer}).encode())

    def document(self, request):
        path = self.folder / "manifests" / request["reference"].replace(":", "-")
        if not path.exists():
            return None, None
        kind = path.with_name(path.name + ".type")
        return path.read_bytes(), kind.read_text() if kind.exists() else ""

    def fault(self, name):
        path = self.folder / "faults" / name
        if not path.exists():
            return [""]
        lines = path.read_text().splitlines()
        if len(lines) > 1:
            path.write_text("\n".join(lines[1:]) + "\n")
        return lines[0].split()

    def head(self, request, _):
        data, kind = self.document(request)
        if data is None:
            return {"found": False}
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        return {"found": True, "digest": digest, "media_type": kind, "size": len(data)}

    def manifest(self, request, fd):
        data, kind = self.document(request)
        if data is None:
            raise Failure("notFound", "registry.example has no such manifest", "manifest-unknown")
        os.write(fd, data)
        return {"media_type": kind, "size": len(data), "host": "registry.example"}

    def blob(self, request, fd):
        hex_digest = request["digest"].split(":")[1]
        fault = self.fault(hex_digest)
        path = self.folder / "blobs" / hex_digest
        if fault == ["gone"] or not path.exists():
            raise Failure("notFound", f"registry.example has no blob {request['digest']}", "blob-unknown")
        data = path.read_bytes()[request["offset"]:]
        if fault == ["wrong"]:
            data = bytes(byte ^ 1 for byte in data)
        end = len(data)
        if fault[0] in ("short", "die"):
            end = int(fault[1])
        self.write(fd, data[:end])
        if fault[0] == "die":
            print("out of luck", file=sys.stderr)
            sys.stderr.flush()
            os._exit(3)
        if fault[0] == "short":
            raise Failure("failed", "registry.example: the connection was lost", "unreachable")
        return {"requests": 1, "received": len(data)}

    @staticmethod
    def write(fd, data):
        while data:
            try:
                data = data[os.write(fd, data):]
            except BrokenPipeError:
                return

    def ping(self, *_):
        if self.fault("ping") == ["denied"]:
            raise Failure("denied", "registry.example refused the login (401)", "unauthorized")
        self.socket.send(json.dumps({"notice": "waits for the registry"}).encode())
        return {"status": 200}

    def tags(self, _, fd):
        names = sorted(p.name for p in (self.folder / "manifests").iterdir() if not p.name.endswith(".type"))
        os.write(fd, json.dumps(names).encode())
        return {"count": len(names)}

    def has(self, request, _):
        path = self.folder / "blobs" / request["digest"].split(":")[1]
        return {"found": path.exists(), "size": path.stat().st_size if path.exists() else 0}

    def mount(self, request, _):
        return {"mounted": request["from"] == "other/app"}

    def upload(self, request, fd):
        data = os.pread(fd, request["size"] + 1, 0)
        (self.folder / "blobs" / request["digest"].split(":")[1]).write_bytes(data)
        return {}

    def upload_growing(self, request, fd):
        if self.fault("growing") == ["refused"]:
            raise Failure("failed", "registry.example takes no pieces (405)", "registry-error")
        writer = socket.socket(fileno=os.dup(fd))
        _, controls, _, _ = writer.recvmsg(1000, socket.CMSG_SPACE(4))
        self.growing[request["id"]] = array.array("i", controls[0][2])[0], writer

    def finish(self, request, _):
        if request["of"] in self.growing:
            file, writer = self.growing.pop(request["of"])
            self.upload(request, file)
            os.close(file)
            writer.close()
            self.socket.send(json.dumps({"id": request["of"]}).encode())
        return {}

    def cancel(self, request, _):
        failure = Failure("failed", "cancelled", "cancelled")
        if self.growing.pop(request["of"], None):
            self.socket.send(json.dumps({"id": request["of"], "error": failure.document}).encode())
        return {}

    def put_manifest(self, request, fd):
        data = os.pread(fd, 1 << 22, 0)
        path = self.folder / "manifests" / request["reference"].replace(":", "-")
        path.write_bytes(data)
        path.with_name(path.name + ".type").write_text(request["media_type"])
        return {"digest": "sha256:" + hashlib.sha256(data).hexdigest()}


def main():
    folder, command = sys.argv[1:]
    assert command == "session", command
    (pathlib.Path(folder) / "config").write_text(sys.stdin.read())
    Session(folder).run()


main()
