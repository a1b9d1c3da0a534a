"""The folders testdata/build/NAME: what they may hold, and a copy of one to build from (see suites/differential.py)."""
import contextlib
import functools
import http.server
import json
import os
import pathlib
import shutil
import threading

from . import harness
from .harness import TESTDATA, run

CASES = TESTDATA / "build"
NOT_CONTEXT = ("case.json", "expected.json", "setup.sh", "Dockerfile.peer")
TOP_KEYS = {"base", "peer", "why", "ignore", "skip", "history", "server", "builds", "runs", "covers"}
BUILD_KEYS = {"change", "context", "stdin", "env", "build", "ours", "theirs", "fails", "says", "silent", "ran"}


def names():
    return sorted(p.name for p in CASES.iterdir() if (p / "Dockerfile").exists() or (p / "case.json").exists())


class Case:
    """One case: its settings, its builds in a row, and what is expected besides the peer's result."""

    def __init__(self, name):
        self.name, self.folder = name, CASES / name
        self.settings = self._read("case.json")
        self.expected = self._read("expected.json")
        alone = {key: value for key, value in self.settings.items() if key in BUILD_KEYS}
        self.builds = [{**alone, **build} for build in self.settings.get("builds", [{}])]
        unknown = set(self.settings) - TOP_KEYS - BUILD_KEYS | {k for b in self.builds for k in b} - BUILD_KEYS
        assert not unknown, f"{name}/case.json: unknown keys {sorted(unknown)}"
        reasons = ("peer", "history")
        assert "why" in self.settings or not any(self.settings.get(k) is False for k in reasons), f"{name}: no why"

    def _read(self, file):
        path = self.folder / file
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def peer(self):
        return self.settings.get("peer", True)

    @property
    def peer_dockerfile(self):
        path = self.folder / "Dockerfile.peer"
        return path if path.exists() else None

    @property
    def needs_own_store(self):
        """What ran and what came from the cache can only be told in a store that nobody else fills."""
        return any("ran" in build for build in self.builds)

    def copy(self, where):
        """Makes the context in a new folder `where`: the files, then what setup.sh adds, all with old times."""
        shutil.copytree(self.folder, where, symlinks=True, ignore=lambda folder, names: (
            NOT_CONTEXT if pathlib.Path(folder) == self.folder else ()))
        # git keeps no modes but the x bit; the umask of a checkout must not decide what is compared.
        run(["chmod", "-R", "u=rwX,go=rX", where])
        if (self.folder / "setup.sh").exists():
            run(["sh", "-eu", self.folder / "setup.sh"], cwd=where)
        harness.set_times(where)
        return where

    @contextlib.contextmanager
    def server(self, context):
        """Serves CONTEXT/www on the loopback while it is needed; gives the URL, or None."""
        if not self.settings.get("server"):
            yield None
            return
        handler = functools.partial(_QuietHandler, directory=os.path.join(context, "www"))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            server.shutdown()
            thread.join()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *unused):
        pass


def change(build, context):
    """Runs the shell text of "change" in the context; the new files get the old times unless it set others."""
    if "change" not in build:
        return
    run(["sh", "-euc", build["change"]], cwd=context)


def options(build, side, context, url):
    """The options of one build, with the words that stand for the copy of the folder and for the server."""
    words = build.get("build", []) + build.get(side, [])
    return [word.replace("CONTEXT", str(context)).replace("http://SERVER", url or "") for word in words]
