"""The same Dockerfile and context, built by img and by docker's BuildKit: every file, the config and the history agree.

A case is a folder testdata/build/NAME with
  Dockerfile       and its context
  Dockerfile.peer  what the peer builds instead, where its BuildKit (20.10) lacks the syntax: an old-fashioned
                   Dockerfile with the same result; its history is not compared
  setup.sh         makes what git cannot keep (fifos, xattrs, hard links, owners), in a copy of the folder
  expected.json    checked besides the peer: "files": {path: {field: value}}, "absent": [path], "config": {...},
                   "document": {...}, "history": [created_by of every new entry], "layers": how many are new
  case.json        all keys may be left out:
    one build      "build": options for both, "ours": options for img, "theirs": options for the peer,
                   "context": what is built instead of the folder, "stdin": a file for the standard input, "env",
                   "fails": {"exit": 1, "text": [...]} with the peer failing too unless "peer": false stands there,
                   "says" and "silent": texts that img prints or does not,
                   "ran": lines of the Dockerfile whose steps ran (the others came from the cache)
    several        "builds": [one build, ...] in a row, each with "change": a shell text run in the context first;
                   the result of the last one is compared
    around them    "base": tag of an image built first from base.Dockerfile,
                   "server": true serves the folder www over http; http://SERVER in options is its address,
                   "runs": [{"args", "options", "out", "exit"}], containers of the result, of both sides
    compared       "peer": false without a peer, "history": false without that of the peer,
                   "ignore": {"paths": [...]} not compared, "skip": {"fields": {path: fields},
                   "config": [field]}, each with a "why"
CONTEXT in options is the copy of the folder. docs/conformance.md says which rule is covered by which case.
"""
import concurrent.futures
import fnmatch
import hashlib
import json
import os
import pathlib
import re
import shutil
import time
import unittest

from lib import cases, harness, peers, tree
from lib.harness import ROOT, TESTDATA, Img, run

# The first build of a case: a layer of another case, equal but for its times, must not be taken.
UNSHARED = ("--no-cache",)
WORKERS = 2  # cases at the same time: one waits for its peer's daemon most of the time
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


def new_history(entries):
    """The created_by of what the build added, without the peer's suffix (dockerfile.md Q27)."""
    return [entry.get("created_by", "").removesuffix(" # buildkit") for entry in entries
            if not entry.get("comment", "").startswith("Imported from")]


def comparable_history(entries):
    """BuildKit 20.10 writes some texts in other ways than dockerfile.md 7.4: EXPOSE and HEALTHCHECK as a dump of its own
    values, ARG with the default instead of the value, COPY and ADD without flags; its client writes a tab as a blank."""
    def reduce(text):
        keyword = text.split(" ", 1)[0]
        if keyword in ("EXPOSE", "HEALTHCHECK", "ARG"):
            return keyword
        return re.sub(r"^(COPY|ADD) (--(chown|chmod)=\S+ )+", r"\1 ", text)

    return [reduce(text).replace("\t", " ") for text in new_history(entries)]


def lines_that_ran(text):
    """Of a plain progress text: the lines of the Dockerfile whose step was no base image and not cached."""
    steps = {number: (int(line), title) for number, title, line in
             re.findall(r"^#(\d+) \[[^]]*\] (.*) \([^()]*:(\d+)\)$", text, re.M)}
    cached = set(re.findall(r"^#(\d+) CACHED", text, re.M))
    return sorted(line for number, (line, title) in steps.items()
                  if number not in cached and not title.startswith("FROM "))


class Lines(list):
    """What differs, one line each; a test fails when there is any."""

    def unless(self, condition, text):
        if not condition:
            self.append(text)

    def raise_if_any(self):
        if self:
            raise AssertionError("\n" + "\n".join(self[:60]))


class Differ:
    """The daemon and the store of all cases, and the comparison of one."""

    def __init__(self):
        self.began = int(time.time()) - 1  # files with older times got them by copying
        self.docker = peers.Dockerd()
        self.docker("import", harness.busybox_tar(), "busybox:latest")
        self.img = Img().with_busybox()

    def check(self, name):
        case = cases.Case(name)
        work = pathlib.Path(harness.temp_dir(name))
        try:
            self._check(case, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _check(self, case, work):
        context = case.copy(work / "context")
        img = Img(work / "store").with_busybox() if case.needs_own_store else self.img
        if "base" in case.settings:
            img.build(context, case.settings["base"], "-f", context / "base.Dockerfile")
        with case.server(context) as url:
            built = [self._build(img, case, build, context, url, n == 0) for n, build in enumerate(case.builds)][-1]
            if built:
                image = img.image(case.name)
                found = tree.scan(peers.unpack(img.store, case.name, work / "ours"))
                check_document(image)
                check_expected(case.expected, found, image)
                check_runs(case, lambda options, args: img("run", "--rm", "--net", "none", *options, case.name, *args,
                                                           check=False))
            if case.peer:
                self._check_peer(case, work, context, url, (found, image) if built else None)

    def _build(self, img, case, build, context, url, isolated):
        """True when there is an image now."""
        cases.change(build, context)
        words = list(UNSHARED if isolated else ()) + cases.options(build, "ours", context, url)
        where = build.get("context", "CONTEXT").replace("CONTEXT", str(context))
        stdin = (context / build["stdin"]).read_bytes() if "stdin" in build else b""
        plain = [] if any(word.startswith("--progress") for word in words) else ["--progress", "plain"]
        result = img.build(where, case.name, *plain, *words, stdin=stdin, check=False, env=build.get("env", {}))
        lines, fails = Lines(), build.get("fails")
        lines.unless((result.code == 0) != bool(fails), "this build should " + ("fail" if fails else "succeed"))
        if fails:
            lines.unless(result.code == fails.get("exit", 1), f"exit status: {result.code}, not {fails.get('exit', 1)}")
        for text in (fails or {}).get("text", []) + build.get("says", []):
            lines.unless(text in result.err, f"does not say {text!r}")
        for text in build.get("silent", []):
            lines.unless(text not in result.err, f"says {text!r}")
        if "ran" in build:
            ran = lines_that_ran(result.err)
            lines.unless(ran == build["ran"], f"the steps of lines {ran} ran, expected {build['ran']}")
        if lines:
            lines.append(str(result))
        lines.raise_if_any()
        return not fails

    def _check_peer(self, case, work, context, url, ours):
        if len(case.builds) > 1:  # the first builds changed the folder
            shutil.rmtree(context)
            case.copy(context)
        if "base" in case.settings:
            self.docker.build(context, case.settings["base"], "-f", context / "base.Dockerfile")
        for number, build in enumerate(case.builds):
            self._build_peer(case, build, context, url, number == 0)
        if not ours:
            return
        found, image = ours
        inspected = self.docker.inspect(case.name)
        theirs = self._scan_peer(inspected, work / "theirs")
        lines = Lines(tree.differences(found, without_stubs(theirs, found), theirs_name="buildkit", old=self.began,
                                       ignore=case.settings.get("ignore", {}).get("paths", ()),
                                       skip=case.settings.get("skip", {}).get("fields")))
        a, b = comparable(image.config), comparable(inspected["Config"])
        for field in sorted((set(a) | set(b)) - set(case.settings.get("skip", {}).get("config", ()))):
            lines.unless(a.get(field) == b.get(field), f"config {field}: img {a.get(field)!r}, buildkit {b.get(field)!r}")
        if case.settings.get("history", True) and not case.peer_dockerfile:
            a, b = comparable_history(image.document.get("history", [])), comparable_history(self.docker.history(case.name))
            lines.unless(a == b, "history:\n  img      " + "\n           ".join(a) + "\n  buildkit " + "\n           ".join(b))
        lines.raise_if_any()
        check_runs(case, lambda options, args: self.docker("run", "--rm", "--network", "none", *options, case.name, *args,
                                                           check=False))

    def _build_peer(self, case, build, context, url, isolated):
        cases.change(build, context)
        words = list(UNSHARED if isolated else ()) + cases.options(build, "theirs", context, url)
        if case.peer_dockerfile:
            words += ["-f", case.peer_dockerfile]
        where = build.get("context", "CONTEXT").replace("CONTEXT", str(context))
        stdin = (context / build["stdin"]).read_bytes() if "stdin" in build else b""
        fails = build.get("fails")
        if fails and not fails.get("peer", True):
            return
        result = self.docker.build(where, case.name, *words, stdin=stdin, check=not fails, env=build.get("env", {}))
        if fails and result.code == 0:
            raise AssertionError(f"buildkit builds what img refuses\n{result}")

    def _scan_peer(self, inspected, where):
        self.docker.mount(inspected, where)
        try:
            return tree.scan(where)
        finally:
            run(["umount", where], check=False)


def check_document(image):
    layers = [entry for entry in image.document.get("history", []) if not entry.get("empty_layer")]
    lines = Lines()
    lines.unless(len(layers) == len(image.layers), f"{len(layers)} history entries with a layer, {len(image.layers)} layers")
    lines.unless(len(image.document["rootfs"]["diff_ids"]) == len(image.layers), "diff ids, and layers")
    lines.raise_if_any()


def check_expected(expected, found, image):
    lines = Lines()
    for file, fields in expected.get("files", {}).items():
        entry = found.get(os.fsencode(file))
        if entry is None:
            lines.append(f"{file}: missing")
            continue
        for field, value in fields.items():
            if field == "content":
                field, value = "sha256", hashlib.sha256(value.encode()).hexdigest()
            actual = entry.get(field)
            actual = os.fsdecode(actual) if isinstance(actual, bytes) else actual
            lines.unless(actual == value, f"{file}: {field}: img {actual!r}, expected {value!r}")
    for file in expected.get("absent", []):
        lines.unless(os.fsencode(file) not in found, f"{file}: should not exist")
    for part, values in (("config", image.config), ("document", image.document)):
        for key, value in expected.get(part, {}).items():
            lines.unless(values.get(key) == value, f"{part} {key}: img {values.get(key)!r}, expected {value!r}")
    history = image.document.get("history", [])
    for key, actual in (("history", new_history(history)), ("layers", len(
            [e for e in history if not e.get("empty_layer") and not e.get("comment", "").startswith("Imported from")]))):
        lines.unless(expected.get(key, actual) == actual, f"{key}: img {actual!r}, expected {expected.get(key)!r}")
    lines.raise_if_any()


def check_runs(case, program):
    for asked in case.settings.get("runs", []):
        result = program(asked.get("options", []), asked.get("args", []))
        if (result.code, result.out) != (asked.get("exit", 0), asked.get("out", "")):
            raise AssertionError(f"expected exit {asked.get('exit', 0)} and {asked.get('out', '')!r}\n{result}")


class Differential(unittest.TestCase):
    """One test per case. The cases run in the background, some at a time; a test waits for its own."""

    selected = []

    @classmethod
    def setUpClass(cls):
        harness.require("umoci")
        differ = Differ()
        cls.addClassCleanup(differ.docker.stop)
        pool = concurrent.futures.ThreadPoolExecutor(WORKERS)
        cls.addClassCleanup(pool.shutdown, cancel_futures=True)
        cls.outcomes = {name: pool.submit(differ.check, name) for name in cls.selected}

    def wait_for(self, name):
        try:
            self.outcomes[name].result()
        except AssertionError as error:  # the frames of the other thread say nothing about the case
            raise AssertionError(str(error)) from None


class Coverage(unittest.TestCase):
    """docs/conformance.md tells the truth about what the cases cover."""

    @classmethod
    def setUpClass(cls):
        text = (ROOT / "docs/conformance.md").read_text()
        # A row: its first cell, and the names in backquotes of its last one.
        cls.rows = [(row[0].strip(), re.findall("`([^`]+)`", row[-1]))
                    for row in (line.strip("|").split("|") for line in text.splitlines() if line.startswith("| "))]
        cls.names = cases.names()
        cls.units = "".join(path.read_text() for path in (ROOT / "tests").glob("*/*_test.cc"))

    def found(self, name):
        """The cases that a name of the page stands for; for anything else a list that is not empty if it exists."""
        if name.startswith("parser-fail/"):
            return [name] if (TESTDATA / name / "Dockerfile").exists() else []
        if match := re.fullmatch(r"(\w+)\.(test_\w+)", name):
            suite = ROOT / "tests/e2e/suites" / (match[1] + ".py")
            return re.findall(rf"def {match[2]}\(", suite.read_text()) if suite.exists() else []
        if re.fullmatch(r"\w+\.\w+", name):
            return re.findall(r"TEST\w*\({}, {}\)".format(*name.split(".")), self.units)
        return fnmatch.filter(self.names, name)

    def test_there_are_at_least_250_cases(self):
        self.assertGreaterEqual(len(self.names), 250)

    def test_every_name_exists(self):
        self.assertEqual([name for _, names in self.rows for name in names if not self.found(name)], [])

    def test_every_case_has_a_row(self):
        named = {case for _, names in self.rows for name in names for case in self.found(name)}
        self.assertEqual(sorted(set(self.names) - named), [])

    def test_every_decision_has_a_case(self):
        covered = {first for first, names in self.rows if names}
        self.assertEqual([f"Q{n}" for n in range(1, 31) if f"Q{n}" not in covered], [])

    def test_every_flag_has_a_case_that_uses_it(self):
        keywords = {"From": "FROM", "Run": "RUN", "Copy": "COPY", "Add": "ADD", "Health": "HEALTHCHECK"}
        tables = re.findall(r"k(\w+)Flags\{\{(.*?)\}\};", (ROOT / "parser/typed.cc").read_text(), re.S)
        flags = [f"{keywords[name]} --{flag}" for name, table in tables for flag in re.findall(r'\{"([\w-]+)"', table)]
        self.assertGreater(len(flags), 20)
        rows = dict(self.rows)
        self.assertEqual([flag for flag in flags if not any(
            self.uses(case, *flag.split(" ")) for name in rows.get(flag, ()) for case in self.found(name))], [])

    def uses(self, case, keyword, flag):
        return any(re.match(rf"\s*{keyword}\s.*{flag}\b", line, re.I)
                   for path in (cases.CASES / case).glob("*ockerfile") for line in path.read_text().splitlines())


def method_name(name):
    return "test_case_" + name.replace("-", "_")


for _name in cases.names():
    setattr(Differential, method_name(_name), lambda self, name=_name: self.wait_for(name))


def load_tests(loader, tests, pattern):
    """Only the cases asked for (run.py -k) are started."""
    asked = {test._testMethodName for group in tests for test in group}  # of both classes
    Differential.selected = [name for name in cases.names() if method_name(name) in asked]
    return tests
