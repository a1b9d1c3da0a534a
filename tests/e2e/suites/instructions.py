"""How much work the paths that people wait for most are: instructions and system calls, which no busy machine changes.

The figures are compared with testdata/instructions.json. More than 10 % above it fails; far below it asks to record anew:

    ./dev bench --record-instructions      (after a change that is meant; the diff of the file belongs to the commit)

System calls are those of the program as it is, with all processes it starts (strace). Instructions are counted by callgrind
in the same program linked once more (counted/img, tests/instructions/), because valgrind knows neither openat2(2) nor the calls
that make a container: so for a container it is `create`, which does what comes before them. They hold for one build type and
one compiler, which the record names; another compiler may need 60 % more, and its system calls are compared all the same.
"""
import json
import os
import pathlib
import re
import subprocess
import time
import unittest

from lib import harness

RECORD = harness.TESTDATA / "instructions.json"
RECORDING = "IMG_RECORD_INSTRUCTIONS"
TOLERANCE, FOREIGN_TOLERANCE = 1.10, 1.60
# Their number says who waited for whom, and how often.
WAITS = {"futex", "sched_yield", "restart_syscall", "wait4", "waitid", "poll", "ppoll", "epoll_wait", "epoll_pwait", "rt_sigtimedwait"}
# The same code on every machine: the functions of libc and OpenSSL that are for all of them. One CPU: no second thread that
# may or may not find something left to do.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C", "OPENSSL_ia32cap": "0", "IMG_LAYER_VIEW": "directory",
               "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-BMI2,-MOVBE,-SSE4_1,-SSE4_2,-SSSE3"}
STEPS, FILES = 20, 1_000


def compiler_of(build):
    """'Debug GNU 12.2.0' from what CMake found."""
    cache = (build / "CMakeCache.txt").read_text()
    kind = re.search(r"^CMAKE_BUILD_TYPE:\w+=(.*)$", cache, re.M).group(1)
    found = next(build.glob("CMakeFiles/*/CMakeCXXCompiler.cmake")).read_text()
    name, version = (re.search(rf'set\(CMAKE_CXX_COMPILER_{word} "([^"]*)"\)', found).group(1) for word in ("ID", "VERSION"))
    return f"{kind} {name} {version}"


def pinned(argv):
    return ["/usr/bin/taskset", "-c", str(min(os.sched_getaffinity(0))), *map(os.fspath, argv)]


def clean_run(argv, folder):
    done = subprocess.run(pinned(argv), env=ENVIRONMENT, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(os.fspath, argv))}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def system_calls(argv, folder):
    """{name: how many} without the waits."""
    table = folder / "strace.txt"
    clean_run(["/usr/bin/strace", "-f", "-c", "-o", table, *argv], folder)
    rows = [line.split() for line in table.read_text().splitlines()[2:]]
    counts = {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[-1] != "total" and row[3].isdigit()}
    return {name: count for name, count in counts.items() if name not in WAITS}


def instructions(argv, folder):
    done = clean_run(["/usr/bin/valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--trace-children=no", *argv], folder)
    unknown = re.findall(r"unhandled amd64-linux syscall: (\d+)", done.stderr)
    if unknown:
        raise AssertionError(f"valgrind does not know system call {', '.join(sorted(set(unknown)))}: what was counted is an error's way")
    counts = re.findall(r"Collected : (\d+)", done.stderr)
    if not counts:
        raise AssertionError(f"no count:\n{done.stderr}")
    return sum(map(int, counts))


class Record:
    """The file, which is written anew after a run that records."""

    def __init__(self):
        self.recording = bool(os.environ.get(RECORDING))
        self.document = json.loads(RECORD.read_text()) if RECORD.exists() else {}

    def put(self, section, name, value):
        self.document.setdefault(section, {})[name] = value
        RECORD.write_text(json.dumps(self.document, indent=2, sort_keys=True) + "\n")

    def get(self, section, name):
        """None where nothing is recorded."""
        return self.document.get(section, {}).get(name)


class Instructions(harness.TestCase):
    def setUp(self):
        super().setUp()
        harness.require("strace", "valgrind", "taskset")
        self.record = Record()
        self.build_folder = pathlib.Path(harness.program()).parents[1]
        self.counted = self.build_folder / "counted/img"
        self.store = self.dir / "store"
        self.command("import", harness.busybox_tar(), "busybox")

    def command(self, *args, program=None):
        argv = [program or harness.program(), "--root", self.store, *args]
        clean_run(argv, self.dir)
        return argv

    def expect(self, section, name, found, detail=""):
        if self.record.recording:
            self.record.put(section, name, found)
            return
        wanted, tolerance = self.record.get(section, name), TOLERANCE
        if wanted is None and section.startswith("instructions"):
            kind = section.split()[1]
            others = [s for s in self.record.document if s.startswith(f"instructions {kind} ")]
            self.assertTrue(others, f"{RECORD.name} has no instructions of a {kind} build: ./dev bench --record-instructions")
            wanted, tolerance = self.record.get(others[0], name), FOREIGN_TOLERANCE
        self.assertIsNotNone(wanted, f"{RECORD.name} has no {section} of {name}: ./dev bench --record-instructions")
        what = "instructions" if section.startswith("instructions") else section
        print(f"        {name}: {found:,} {what}, {wanted:,} recorded ({found / wanted - 1:+.1%})")
        self.assertLessEqual(found, wanted * tolerance, f"{name}: {found:,} {section}, {wanted:,} are recorded{detail}")

    def expect_calls(self, name, argv):
        calls = system_calls(argv, self.dir)
        most = ", ".join(f"{count} {call}" for call, count in sorted(calls.items(), key=lambda item: -item[1])[:12])
        self.expect("system calls", name, sum(calls.values()), f"\n{most}")

    def expect_instructions(self, name, *args):
        if not self.counted.exists():
            reason = f"no {self.counted}: the folder with the programs is none of CMake's, or its build has sanitizers"
            if os.environ.get("IMG_TEST_REQUIRE_PEERS"):
                self.fail(reason)
            self.skipTest(reason)
        argv = self.command(*args, program=self.counted)  # once before: what it notes of the machine is there then
        self.expect("instructions " + compiler_of(self.build_folder), name, instructions(argv, self.dir))

    def built(self, dockerfile, files=0):
        """Words of a build that has nothing to do: built twice, the second time when no file is young any more."""
        context = self.dir / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(dockerfile)
        for number in range(files):
            path = context / f"tree/d{number % 20}/f{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{number}\n" * 20)
        harness.set_times(context)
        words = ["build", "-q", "--network", "host", "-t", "built", context]
        self.command(*words)
        time.sleep(1.1)
        self.command(*words)
        return words

    def test_build_of_unchanged_run_steps(self):
        words = self.built("FROM busybox\n" + "".join(f"RUN echo {i} > /f{i}\n" for i in range(STEPS)))
        self.expect_calls("steps_unchanged", [harness.program(), "--root", self.store, *words])
        self.expect_instructions("steps_unchanged", *words)

    def test_build_of_an_unchanged_context(self):
        words = self.built("FROM busybox\nCOPY tree /tree\n", FILES)
        self.expect_calls("context_unchanged", [harness.program(), "--root", self.store, *words])
        self.expect_instructions("context_unchanged", *words)

    def test_start_of_a_container(self):
        words = ["run", "--rm", "--net", "none", "busybox", "true"]
        self.expect_calls("run", self.command(*words))

    def test_container_up_to_its_start(self):
        self.expect_instructions("create", "create", "--net", "none", "busybox", "true")


class Comparison(unittest.TestCase):
    """The test itself: a record that nothing exceeds would be no gate."""

    def expect(self, found, recorded):
        case = Instructions("test_start_of_a_container")
        case.record = Record()
        case.record.recording, case.record.document = False, {"system calls": recorded}
        case.expect("system calls", "run", found)

    def test_eleven_percent_more_fail(self):
        with self.assertRaisesRegex(AssertionError, "111 system calls, 100 are recorded"):
            self.expect(111, {"run": 100})

    def test_ten_percent_more_pass(self):
        self.expect(110, {"run": 100})

    def test_a_row_that_is_not_recorded_fails(self):
        with self.assertRaisesRegex(AssertionError, "no system calls of run"):
            self.expect(1, {})
