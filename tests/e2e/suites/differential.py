"""The same Dockerfile and context, built by img and by docker's BuildKit: every file and the config must agree.

A case is a folder testdata/build/NAME with
  Dockerfile       and its context
  Dockerfile.peer  what the peer builds instead, where its BuildKit (20.10) lacks the syntax: an old-fashioned
                   Dockerfile with the same result
  setup.sh         makes what git cannot keep (fifos, xattrs, hard links, owners), in a copy of the folder
  expected.json    {"files": {path: {field: value}}, "absent": [path], "config": {...}}: checked besides the peer
  case.json        "build": options for both, "ours": options for img, "peer": false without a peer,
                   "base": tag of an image built first from base.Dockerfile,
                   "ignore": paths not compared and "skip": {path: fields}, each with a "why"
"""
import hashlib
import json
import os
import pathlib
import shutil
import time
import unittest

from lib import harness, peers, tree
from lib.harness import Img, TESTDATA, run

CASES = TESTDATA / "build"
NOT_CONTEXT = ("case.json", "expected.json", "setup.sh", "Dockerfile.peer")
CONFIG_FIELDS = ("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "ExposedPorts", "Volumes", "Labels",
                 "StopSignal", "Shell", "OnBuild", "Healthcheck")

# What BuildKit 20.10 leaves in the layer of a RUN: mount points of its own (dockerfile.md 3.5 wants none of them).
# Only the peer may have them, and only empty.
PEER_STUBS = {b"/etc/hosts": "file", b"/etc/resolv.conf": "file", b"/proc": "directory", b"/sys": "directory",
              b"/dev": "directory", b"/etc": "directory"}


def without_stubs(theirs, ours):
    def empty(path, entry):
        if entry["type"] == "file":
            return entry["size"] == 0
        return not any(other.startswith(path + b"/") for other in theirs if other not in PEER_STUBS)

    return {path: entry for path, entry in theirs.items()
            if not (path in PEER_STUBS and path not in ours and entry["type"] == PEER_STUBS[path] and empty(path, entry))}


def comparable(config):
    """Absent, null and empty mean the same, and so do "" and / as a working directory."""
    fields = {name: config.get(name) for name in CONFIG_FIELDS}
    fields["WorkingDir"] = fields["WorkingDir"] or "/"
    if fields["Healthcheck"]:
        fields["Healthcheck"] = {k: v for k, v in fields["Healthcheck"].items() if v}
    return {name: value for name, value in fields.items() if value or (name == "Cmd" and value == [])
            } | {"Cmd": config.get("Cmd") or None, "Entrypoint": config.get("Entrypoint") or None}


class Differential(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        harness.require("umoci")
        cls.began = int(time.time()) - 1  # files with older times got them by copying
        cls.docker = peers.Dockerd()
        cls.addClassCleanup(cls.docker.stop)
        cls.docker("import", harness.busybox_tar(), "busybox:latest")
        cls.img = Img().with_busybox()

    def prepare(self, name):
        work = pathlib.Path(harness.temp_dir(name))
        self.addCleanup(shutil.rmtree, work, ignore_errors=True)
        context = work / "context"
        shutil.copytree(CASES / name, context, symlinks=True, ignore=lambda folder, names: (
            NOT_CONTEXT if pathlib.Path(folder) == CASES / name else ()))
        # git keeps no modes but the x bit; the umask of a checkout must not decide what is compared.
        run(["chmod", "-R", "u=rwX,go=rX", context])
        if (CASES / name / "setup.sh").exists():
            run(["sh", "-eu", CASES / name / "setup.sh"], cwd=context)
        harness.set_times(context)
        return work, context

    def case(self, name):
        settings_file = CASES / name / "case.json"
        settings = json.loads(settings_file.read_text()) if settings_file.exists() else {}
        work, context = self.prepare(name)
        settings["build"] = [option.replace("CONTEXT", str(context)) for option in settings.get("build", [])]
        if "base" in settings:
            self.img.build(context, settings["base"], "-f", context / "base.Dockerfile")
            self.docker.build(context, settings["base"], "-f", context / "base.Dockerfile")
        self.img.build(context, name, *settings["build"], *settings.get("ours", []))
        image = self.img.image(name)
        self.check_document(image)
        ours = tree.scan(peers.unpack(self.img.store, name, work / "ours"))
        self.check_expected(name, ours, image.config)
        if settings.get("peer", True):
            self.check_peer(name, settings, work, context, ours, image)

    def check_document(self, image):
        layers = [entry for entry in image.document.get("history", []) if not entry.get("empty_layer")]
        self.assertEqual(len(layers), len(image.layers), "history entries with a layer, and layers")
        self.assertEqual(len(image.document["rootfs"]["diff_ids"]), len(image.layers), "diff ids, and layers")

    def check_peer(self, name, settings, work, context, ours, image):
        options = list(settings["build"])
        other = CASES / name / "Dockerfile.peer"
        if other.exists():
            options += ["-f", other]
        # The name of a container engine's image has no upper case and no leading dash.
        self.docker.build(context, name, *options)
        where = work / "theirs"
        self.docker.mount(name, where)
        try:
            theirs = tree.scan(where)
        finally:
            run(["umount", where], check=False)
        lines = tree.differences(ours, without_stubs(theirs, ours), theirs_name="buildkit", old=self.began,
                                 ignore=settings.get("ignore", {}).get("paths", ()), skip=settings.get("skip", {}).get("fields"))
        a, b = comparable(image.config), comparable(self.docker.config(name))
        lines += [f"config {field}: img {a.get(field)!r}, buildkit {b.get(field)!r}"
                  for field in sorted(set(a) | set(b)) if a.get(field) != b.get(field)]
        self.assertFalse(lines, "\n" + "\n".join(lines[:60]))

    def check_expected(self, name, ours, config):
        path = CASES / name / "expected.json"
        if not path.exists():
            return
        expected = json.loads(path.read_text())
        lines = []
        for file, fields in expected.get("files", {}).items():
            entry = ours.get(os.fsencode(file))
            if entry is None:
                lines.append(f"{file}: missing")
                continue
            for field, value in fields.items():
                if field == "content":
                    field, value = "sha256", hashlib.sha256(value.encode()).hexdigest()
                actual = entry.get(field)
                actual = os.fsdecode(actual) if isinstance(actual, bytes) else actual
                if actual != value:
                    lines.append(f"{file}: {field}: img {actual!r}, expected {value!r}")
        lines += [f"{file}: should not exist" for file in expected.get("absent", []) if os.fsencode(file) in ours]
        lines += [f"config {key}: img {config.get(key)!r}, expected {value!r}"
                  for key, value in expected.get("config", {}).items() if config.get(key) != value]
        self.assertFalse(lines, "\n" + "\n".join(lines))

    def test_there_are_at_least_forty_cases(self):
        self.assertGreaterEqual(len(case_names()), 40)


def case_names():
    return sorted(p.name for p in CASES.iterdir() if (p / "Dockerfile").exists() or (p / "case.json").exists())


for _name in case_names():
    setattr(Differential, "test_case_" + _name.replace("-", "_"), lambda self, name=_name: self.case(name))
