"""What a build shows and records: every style on a real build of several stages, the records, the logs."""
import base64
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import termios
import time

from lib import harness

CI_VARIABLES = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "JENKINS_URL", "TF_BUILD", "TEAMCITY_VERSION",
                "IMG_PROGRESS", "BUILDKIT_PROGRESS", "NO_COLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "GITHUB_STEP_SUMMARY")
NO_CI = {name: None for name in CI_VARIABLES}

TWO_STAGES = """FROM busybox AS left
RUN for i in 1 2 3; do echo left $i; sleep 0.1; done
FROM busybox AS right
RUN for i in 1 2 3; do echo right $i; sleep 0.1; done; mkdir /made
FROM busybox AS unused
RUN echo never
FROM left
COPY --from=right /made /made
"""
FAILING = """FROM busybox
RUN echo before
RUN echo '::error::fake'; echo the reason; exit 7
"""


class Terminal:
    """A command on a pseudo terminal; what it writes is kept and drawn on a small screen."""

    def __init__(self, argv, rows=24, columns=80, env=None):
        environment = {**os.environ, **NO_CI, "TERM": "xterm", "LC_ALL": "C.UTF-8", **(env or {})}
        environment = {k: v for k, v in environment.items() if v is not None}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(argv[0], argv, environment)
        self.rows, self.columns, self.bytes = rows, columns, b""

    def settings(self):
        return termios.tcgetattr(self.fd)

    def read_until(self, pattern, timeout=20):
        end = time.monotonic() + timeout
        while not re.search(pattern, self.bytes):
            if time.monotonic() > end or not self._read(end):
                raise AssertionError(f"{pattern} did not come: {self.bytes[-2000:]!r}")

    def _read(self, end):
        if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
            return False
        try:
            piece = os.read(self.fd, 65536)
        except OSError:  # EIO: everybody has closed the other side
            return False
        self.bytes += piece
        return bool(piece)

    def finish(self, timeout=30):
        """The exit status, after all output has been read."""
        end = time.monotonic() + timeout
        while self._read(end):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def screen(self):
        """The lines as they stand at the end. Only what the display may use is understood."""
        lines, row, column = [""], 0, 0
        for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+|\x1b", self.bytes.decode()):
            if token == "\n":
                row, column = row + 1, 0
                if row == len(lines):
                    lines.append("")
            elif token == "\r":
                column = 0
            elif re.fullmatch(r"\x1b\[\d+A", token):
                up = int(token[2:-1])
                assert up < self.rows and up <= row, f"moved {up} up at line {row}"
                row -= up
            elif token == "\x1b[J":
                lines[row:] = [lines[row][:column]]
            elif token == "\x1b[K":
                lines[row] = lines[row][:column]
            elif not re.fullmatch(r"\x1b\[[0-9;]*m", token):
                assert not token.startswith("\x1b"), repr(token)
                lines[row] = lines[row][:column] + token
                column += len(token)
        return lines


class Progress(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.program = self.img(env=NO_CI)

    def build(self, *args, dockerfile=TWO_STAGES, **kwargs):
        context = self.write({"Dockerfile": dockerfile})
        return self.program("build", "--network", "host", *args, context, **kwargs)

    def test_plain_shows_each_step_in_one_piece(self):
        shown = self.build("-t", "app", "--progress", "plain")
        self.assertEqual(shown.out, "")
        output = re.findall(r"^#\d+ \d+\.\d{3} (left|right) \d$", shown.err, re.M)
        self.assertIn(output, (["left"] * 3 + ["right"] * 3, ["right"] * 3 + ["left"] * 3), shown.err)
        self.assertRegex(shown.err, r"(?m)^#2 \[left 2/2\] RUN for i .* \(Dockerfile:2\)$")
        self.assertRegex(shown.err, r"(?m)^#2 DONE \d+\.\ds \+\S+ sha256:[0-9a-f]{12}$")
        self.assertRegex(shown.err, r"(?m)^built docker.io/library/app:latest  sha256:[0-9a-f]{12}  ")
        self.assertIn('skipped  stage "unused" (Dockerfile:5), not needed for the target\n', shown.err)
        numbers = sorted({int(n) for n in re.findall(r"^#(\d+) \[", shown.err, re.M)})
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)), "plan order, gap-free")

    def test_plain_of_a_cached_build_shows_no_output(self):
        self.build()
        shown = self.build("--progress", "plain")
        self.assertRegex(shown.err, r"(?m)^#2 CACHED$")
        self.assertNotRegex(shown.err, r"(?m)^#\d+ \d+\.\d{3} ")

    def test_plain_says_how_a_step_failed(self):
        shown = self.build("--progress", "plain", dockerfile=FAILING, check=False)
        self.assertEqual(shown.code, 7)
        self.assertRegex(shown.err, r"(?m)^#3 ERROR exit code 7 after \d+\.\ds$")
        self.assertLess(shown.err.index("#3 ERROR"), shown.err.index("error: RUN failed"))

    def test_rawjson_is_buildkits_status_stream(self):
        shown = self.build("--progress", "rawjson")
        objects = [json.loads(line) for line in shown.err.splitlines()]
        for item in objects:
            self.assertLessEqual(set(item), {"vertexes", "statuses", "logs", "warnings"})
        vertexes = {}
        for vertex in (v for o in objects for v in o.get("vertexes", [])):
            self.assertRegex(vertex["digest"], "^sha256:[0-9a-f]{64}$")
            vertexes[vertex["digest"]] = vertex
        for vertex in vertexes.values():
            self.assertIn("completed", vertex)
            self.assertLessEqual(vertex["started"][:19], vertex["completed"][:19])
            self.assertLessEqual(set(vertex.get("inputs", [])), set(vertexes))
        logs = {}
        for log in (entry for o in objects for entry in o.get("logs", [])):
            name = vertexes[log["vertex"]]["name"]
            logs[name] = logs.get(name, b"") + base64.b64decode(log["data"])
        left = next(text for name, text in logs.items() if name.startswith("[left"))
        self.assertEqual(left, b"left 1\nleft 2\nleft 3\n")
        copied = next(v for v in vertexes.values() if "COPY" in v["name"])
        self.assertEqual(copied["img"]["line"], 8)
        self.assertIn("layer", copied["img"])

    def test_gha_groups_annotates_and_obeys_no_step(self):
        summary = self.dir / "summary.md"
        summary.write_text("before\n")
        env = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
        shown = self.build(dockerfile=FAILING, check=False, env=env)
        self.assertEqual(shown.code, 7)
        open_group, token = False, None
        obeyed = []
        for line in shown.err.splitlines():
            if token:
                token = None if line == f"::{token}::" else token
            elif line.startswith("::stop-commands::"):
                token = line.removeprefix("::stop-commands::")
                self.assertGreaterEqual(len(token), 16)
            elif line.startswith("::group::"):
                self.assertFalse(open_group)
                open_group = True
            elif line == "::endgroup::":
                self.assertTrue(open_group)
                open_group = False
            elif line.lstrip().startswith("::"):
                obeyed.append(line)
        self.assertFalse(open_group or token)
        self.assertEqual(len(obeyed), 1, obeyed)
        self.assertRegex(obeyed[0], r"^::error file=Dockerfile,line=3,endLine=3,title=img build::RUN failed with exit")
        self.assertTrue(summary.read_text().startswith("before\n| STEP |"), summary.read_text())
        self.assertIn("failed: RUN failed with exit code 7", summary.read_text())

    def test_gitlab_opens_and_closes_sections(self):
        shown = self.build(env={"GITLAB_CI": "true"})
        starts = re.findall(r"\x1b\[0Ksection_start:\d{10}:(\w+)\[collapsed=true\]\r\x1b\[0K\[", shown.err)
        ends = re.findall(r"\x1b\[0Ksection_end:\d{10}:(\w+)\r\x1b\[0K", shown.err)
        self.assertEqual(starts, ends)
        self.assertGreaterEqual(len(set(starts)), 5)

    def test_quiet_prints_the_id_alone_and_the_log_of_a_failed_step(self):
        shown = self.build("-q")
        self.assertRegex(shown.out, r"\Asha256:[0-9a-f]{64}\n\Z")
        self.assertEqual(shown.err, "")
        failed = self.build("-q", dockerfile=FAILING, check=False)
        self.assertEqual((failed.code, failed.out), (7, ""))
        self.assertTrue(failed.err.startswith("::error::fake\nthe reason\nerror: RUN failed"), failed.err)
        self.assertNotRegex(failed.err, "(?m)^before$")

    def test_a_style_comes_from_the_environment_and_is_checked(self):
        self.build()
        self.assertEqual(self.build(env={"BUILDKIT_PROGRESS": "none"}).err, "")
        self.assertIn("#1 ", self.build("--progress=plain", env={"BUILDKIT_PROGRESS": "none"}).err)
        wrong = self.build("--progress", "fancy", check=False)
        self.assertEqual(wrong.code, 125)
        self.assertIn('error: --progress "fancy": use auto, tty, plain, rawjson, gha, gitlab, quiet or none', wrong.err)
        self.assertEqual(self.build("--summary", "some", check=False).code, 125)

    def test_the_full_summary_has_a_row_for_each_step(self):
        shown = self.build("--summary=full", "--progress=plain")
        rows = shown.err[shown.err.index("STEP "):].splitlines()
        self.assertEqual(rows[0].split(), ["STEP", "LINE", "TIME", "SIZE", "CACHED", "REASON", "INSTRUCTION"])
        self.assertRegex(rows[2], r"^2 +2 +\d+\.\ds ")
        off = self.build("--summary=off", "--progress=plain")
        self.assertNotIn("built ", off.err)

    def test_wasted_bytes_are_named_with_both_instructions(self):
        shown = self.build("--progress=plain", dockerfile="FROM busybox\n"
                           "RUN dd if=/dev/zero of=/big bs=1000000 count=3 2>/dev/null\nRUN chown 1:1 /big\n")
        self.assertIn("wasted   3MB  Dockerfile:3 chown 1:1 copies files of Dockerfile:2;", shown.err)

    def test_the_metadata_file_tells_result_and_steps(self):
        file = self.dir / "metadata.json"
        self.build("-t", "app", "-t", "app:2", "--metadata-file", file, "--iidfile", self.dir / "id")
        data = json.loads(file.read_text())
        image = self.program.image("app")
        self.assertEqual(data["containerimage.config.digest"], image.id)
        self.assertEqual(data["containerimage.config.digest"], (self.dir / "id").read_text())
        self.assertEqual(data["containerimage.digest"], image.digest)
        descriptor = data["containerimage.descriptor"]
        self.assertEqual((descriptor["digest"], descriptor["size"], descriptor["mediaType"]),
                         (image.digest, image.descriptor["size"], image.descriptor["mediaType"]))
        self.assertEqual(data["image.name"], "docker.io/library/app:latest,docker.io/library/app:2")
        self.assertRegex(data["img.build.id"], "^[0-9a-f]{6,}$")
        steps = data["img.steps"]
        self.assertEqual([s["index"] for s in steps], list(range(1, len(steps) + 1)))
        for step in steps:
            self.assertLessEqual({"index", "line", "cached", "reason", "seconds", "bytes"}, set(step))
        self.assertGreaterEqual(next(s["seconds"] for s in steps if s["line"] == 2), 0.3)

    def test_records_are_written_on_failure_too(self):
        metadata, trace, log = self.dir / "m.json", self.dir / "t.json", self.dir / "log"
        shown = self.build("--metadata-file", metadata, "--trace", trace, "--logfile", log, "--iidfile", self.dir / "id",
                           "--progress=none", dockerfile=FAILING, check=False)
        self.assertEqual(shown.code, 7)
        error = json.loads(metadata.read_text())["img.error"]
        self.assertEqual((error["error"], error["file"], error["line"], error["exit_code"]),
                         ("RUN failed with exit code 7", "Dockerfile", 3, 7))
        self.assertTrue(json.loads(trace.read_text())["traceEvents"])
        self.assertRegex(log.read_text(), r"(?m)^#3 ERROR exit code 7")
        self.assertIn("error: RUN failed with exit code 7", log.read_text())
        self.assertFalse((self.dir / "id").exists())

    def test_errors_as_json_are_one_object_on_one_line(self):
        shown = self.build("--error-format=json", "-q", dockerfile=FAILING, check=False)
        last = json.loads(shown.err.splitlines()[-1])
        self.assertEqual((last["error"], last["file"], last["line"], last["exit_code"], last["log_tail"]),
                         ("RUN failed with exit code 7", "Dockerfile", 3, 7, ["::error::fake", "the reason"]))
        usage = self.build("--error-format=json", "--nonsense", check=False)
        self.assertEqual(json.loads(usage.err)["exit_code"], 125)

    def test_the_trace_has_spans_counters_and_names(self):
        file = self.dir / "trace.json"
        self.build("--trace", file)
        document = json.loads(file.read_text())
        self.assertEqual(document["displayTimeUnit"], "ms")
        events = document["traceEvents"]
        spans = [e for e in events if e["ph"] == "X"]
        categories = {e["cat"] for e in spans}
        self.assertLessEqual({"parse", "run", "mount", "seal", "cache", "export"}, categories)
        self.assertLessEqual(categories, set("parse context pull unpack mount run diff seal compress cache export gc lock"
                                             .split()))
        for span in spans:
            self.assertGreaterEqual(span["dur"], 0)
            self.assertEqual(span["pid"], 1)
        for row in {e["tid"] for e in spans}:  # spans of one row nest
            inside = sorted(((e["ts"], -e["dur"]) for e in spans if e["tid"] == row))
            ends = []
            for start, negative in inside:
                while ends and ends[-1] <= start:
                    ends.pop()
                self.assertTrue(not ends or start - negative <= ends[-1], (row, inside))
                ends.append(start - negative)
        left = next(e for e in spans if e["cat"] == "run" and e["args"].get("line") == 2)
        self.assertGreaterEqual(left["dur"], 300_000)
        self.assertEqual(left["args"]["step"], 2)
        names = {e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
        self.assertLessEqual({"scheduler", "step", "step 2", "sealer"}, names)
        counters = {e["name"] for e in events if e["ph"] == "C"}
        self.assertEqual(counters, {"cpu_ms", "rss", "bytes_read", "bytes_written", "net_bytes"})

    def test_logs_of_a_build_are_kept_byte_by_byte(self):
        self.build(dockerfile="FROM busybox\nRUN printf 'one\\r\\000two'; echo; yes x | head -c 300000\nRUN true\n")
        whole = self.program("logs", "--build", "last", "2")
        self.assertEqual(whole.raw, b"one\r\0two\n" + b"x\n" * 150000)
        every = self.program("logs", "--build", "last")
        self.assertTrue(every.out.startswith("#2 [2/3] RUN printf"), every.out[:100])
        builds = os.listdir(self.program.store / "builds")
        self.assertEqual(len(builds), 1)
        self.assertEqual(self.program("logs", "--build", builds[0][:6], "2").raw, whole.raw)
        wrong = self.program("logs", "--build", "last", "3", check=False)
        self.assertEqual(wrong.code, 1)
        self.assertIn("steps with output: 2", wrong.err)
        self.assertEqual(self.program("logs", "--build", "ffffffffffffff", check=False).code, 1)

    def test_a_build_without_output_leaves_no_log_and_only_twenty_are_kept(self):
        self.build()
        self.build()  # all cached
        self.assertEqual(len(os.listdir(self.program.store / "builds")), 1)
        for number in range(22):
            self.build(dockerfile=f"FROM busybox\nRUN echo {number}\n")
        self.assertEqual(len(os.listdir(self.program.store / "builds")), 20)
        self.assertIn("21\n", self.program("logs", "--build", "last").out)


class OnATerminal(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.program = self.img(env=NO_CI)

    def start(self, dockerfile, *args, **kwargs):
        context = self.write({"Dockerfile": dockerfile})
        argv = self.program.argv("build", "--network", "host", "-t", "app", *args, context)
        return Terminal([os.fspath(a) for a in argv], **kwargs)

    def test_a_build_is_drawn_and_its_final_state_stays(self):
        # Long enough for several frames, also on a busy machine.
        terminal = self.start(TWO_STAGES.replace("left $i; sleep 0.1; done", "left $i; done; sleep 2"))
        self.assertEqual(terminal.finish(), 0)
        lines = terminal.screen()
        self.assertRegex(lines[0], r"^\[\+\] built app:latest   \d+\.\ds   \d/\d done   2 cached$")
        self.assertEqual(sum(line.startswith(" ✔ [") for line in lines), 3, lines)
        self.assertEqual(sum(line.startswith(" = [") for line in lines), 2, lines)
        self.assertTrue(any(line.startswith("built docker.io/library/app:latest") for line in lines), lines)
        self.assertFalse(any(line.startswith("     left 1") for line in lines), "finished steps collapse")
        self.assertIn("     left 1", re.sub(r"\x1b\[[0-9;]*m", "", terminal.bytes.decode()))
        self.assertIn("\x1b[32m✔\x1b[0m", terminal.bytes.decode())

    def test_frames_keep_within_a_small_terminal(self):
        many = "FROM busybox\n" + "".join(f"RUN echo {i}{'x' * 100}; sleep 0.05\n" for i in range(12))
        terminal = self.start(many, rows=6, columns=30)
        self.assertEqual(terminal.finish(), 0)
        ups = [int(n) for n in re.findall(rb"\x1b\[(\d+)A", terminal.bytes)]
        self.assertTrue(ups and max(ups) <= 5, ups)
        for frame in terminal.bytes.split(b"\x1b[J")[:-2]:
            for line in re.sub(rb"\x1b\[[0-9;]*[A-Za-z]", b"", frame).decode().replace("\r", "").split("\n"):
                self.assertLess(len(line), 30)
        self.assertEqual(terminal.screen()[0][:13], "[+] built app")

    def test_no_colour_and_ascii_when_asked_for(self):
        terminal = self.start(TWO_STAGES, env={"NO_COLOR": "1", "LC_ALL": "C"})
        self.assertEqual(terminal.finish(), 0)
        self.assertNotRegex(terminal.bytes, rb"\x1b\[[0-9;]*m")
        terminal.bytes.decode("ascii")
        self.assertIn(b" + [left 2/2]", terminal.bytes)

    def test_a_dumb_terminal_gets_plain_lines(self):
        terminal = self.start(TWO_STAGES, env={"TERM": "dumb"})
        self.assertEqual(terminal.finish(), 0)
        self.assertNotIn(b"\x1b", terminal.bytes)
        self.assertIn(b"#2 [left 2/2]", terminal.bytes)

    def test_a_failure_leaves_the_terminal_as_it_was(self):
        terminal = self.start(FAILING)
        before = terminal.settings()
        self.assertEqual(terminal.finish(), 7)
        lines = terminal.screen()
        self.assertTrue(lines[0].startswith("[!] failed app:latest"), lines)
        self.assertTrue(any(line.startswith(" ✖ [3/3] RUN echo") and line.endswith("exit code 7") for line in lines), lines)
        self.assertTrue(any("error:" in line and "RUN failed with exit code 7" in line for line in lines), lines)
        self.assertEqual(before, terminal.settings())
        self.assertNotIn(b"\x1b[?", terminal.bytes, "no mode is set that would have to be reset")

    def test_an_interrupt_leaves_the_final_state(self):
        terminal = self.start("FROM busybox\nRUN echo started; sleep 60\n")
        terminal.read_until(rb"     .*started")
        os.kill(terminal.pid, signal.SIGINT)
        self.assertEqual(terminal.finish(), 130)
        lines = terminal.screen()
        self.assertTrue(lines[0].startswith("[!] failed"), lines)
        self.assertTrue(any(line.startswith(" - [2/2] RUN echo") for line in lines), lines)
        self.assertTrue(terminal.bytes.endswith(b"\n"))

    def test_a_resize_is_followed(self):
        terminal = self.start("FROM busybox\nRUN echo " + "x" * 60 + "; sleep 1.5\n")
        terminal.read_until(b"xxxxx")
        fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 30, 0, 0))
        size = len(terminal.bytes)
        self.assertEqual(terminal.finish(), 0)
        for line in terminal.bytes[size + 4000:].decode().split("\n"):
            text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\r", "", line)
            if text.startswith(("[", " ●", "  ")):
                self.assertLess(len(text), 30, text)
