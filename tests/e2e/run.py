#!/usr/bin/env python3
"""Runs one suite of end-to-end tests: the real programs, real peers, real files.

    run.py [--bin DIR] [-k PATTERN]... [--keep] SUITE      suites: the files in suites/

A suite runs in mount and pid namespaces of its own. Whatever it starts dies with it and whatever it mounts
goes away with it, also when it is killed; and "no process is left" can be asked of the whole namespace. Some have
a network of their own too: nothing but loopback, any port free, and "no interface is left" can be asked as well.
Exit status: 0 passed, 1 failed, 77 nothing could run (ctest counts that as skipped).
"""
import argparse
import importlib
import os
import pathlib
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
INSIDE = "IMG_E2E_INSIDE"
OWN_NETWORK = ("network", "ports", "story", "stress")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=sorted(p.stem for p in (HERE / "suites").glob("*.py") if p.stem != "__init__"))
    parser.add_argument("--bin", default=str(HERE.parents[1] / "build/bin"), help="folder with img and its links")
    parser.add_argument("-k", action="append", default=[], metavar="PATTERN", help="only tests whose name contains it")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folders")
    return parser.parse_args()


def enter_namespaces(suite):
    """Becomes pid 1 of a new pid namespace, in a private mount namespace with its own /proc."""
    os.environ[INSIDE] = "1"
    network = ["--net"] if suite in OWN_NETWORK else []
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
                          "--mount-proc", *network, sys.executable, *sys.argv])


def be_init():
    """Pid 1 reaps orphans, as on any machine: without that, a dead process stays in the pid namespace of a container,
    which then cannot end. The suite goes on in a child."""
    suite = os.fork()
    if suite == 0:
        return
    while True:
        pid, status = os.wait()
        if pid == suite:
            os._exit(max(os.waitstatus_to_exitcode(status), 0) or bool(status))


class Result(unittest.TextTestResult):
    """One line per test with its time; what failed is printed at once, not at the end."""

    def startTest(self, test):
        unittest.TestResult.startTest(self, test)
        self.began = time.monotonic()

    def line(self, word, test, detail=""):
        seconds = time.monotonic() - self.began
        name = test.id().removeprefix("suites.") if hasattr(test, "_testMethodName") else str(test)
        self.stream.writeln(f"{word:7} {seconds:6.2f}s  {name}{detail}")
        self.stream.flush()

    def addSuccess(self, test):
        unittest.TestResult.addSuccess(self, test)
        self.line("ok", test)

    def addFailure(self, test, err):
        unittest.TestResult.addFailure(self, test, err)
        self.line("FAILED", test)
        self.stream.writeln("\n".join("    " + l for l in str(err[1]).splitlines()[:120]))

    def addError(self, test, err):
        unittest.TestResult.addError(self, test, err)
        self.began = getattr(self, "began", time.monotonic())
        self.line("ERROR", test)
        self.stream.writeln("\n".join("    " + l for l in self._exc_info_to_string(err, test).splitlines()[-40:]))

    def addSkip(self, test, reason):
        unittest.TestResult.addSkip(self, test, reason)
        self.began = getattr(self, "began", time.monotonic())
        self.line("skipped", test, f"  ({reason})")

    def addSubTest(self, test, subtest, err):
        unittest.TestResult.addSubTest(self, test, subtest, err)
        if err is not None:
            self.line("FAILED", test, " " + subtest._subDescription())
            self.stream.writeln("\n".join("    " + l for l in str(err[1]).splitlines()[:60]))

    def printErrors(self):
        for kind, failures in (("FAILED", self.failures), ("ERROR", self.errors)):
            for test, _ in failures:
                self.stream.writeln(f"{kind}: {test.id() if hasattr(test, 'id') else test}")


def main():
    options = arguments()
    if os.geteuid() != 0:
        print("skipped: this suite starts containers and needs root")
        return SKIPPED
    if not os.path.exists(os.path.join(options.bin, "img")):
        print(f"error: no img in {options.bin}; build it first (./dev build, or --bin DIR)")
        return 1
    sys.path.insert(0, str(HERE))
    sys.dont_write_bytecode = True
    from lib import harness
    if os.environ.get(INSIDE) is None:
        if options.suite == "story":
            harness.flask_tar()  # downloads, which a network of its own does not allow
        enter_namespaces(options.suite)
    be_init()
    harness.configure(bin_dir=os.path.abspath(options.bin), keep=options.keep)

    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{pattern}*" for pattern in options.k] or None
    suite = loader.loadTestsFromModule(importlib.import_module("suites." + options.suite))
    try:
        result = unittest.TextTestRunner(resultclass=Result, stream=sys.stdout, verbosity=2).run(suite)
    finally:
        if not options.keep:
            harness.remove_scratch()
    if result.testsRun == 0 or (result.wasSuccessful() and result.testsRun == len(result.skipped)):
        return SKIPPED if result.wasSuccessful() else 1
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
