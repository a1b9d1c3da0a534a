"""A RUN that failed is kept, can be entered, copied from and committed, and goes when it is no longer wanted (cli.md 9.8)."""
import os
import pty
import re
import select
import time

from lib import harness


class FailedSteps(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.store = self.img()

    def failing(self, dockerfile, *args, code=7):
        context = self.write({"Dockerfile": dockerfile})
        shown = self.store.build(context, "x", *args, check=False)
        self.assertEqual(shown.code, code, str(shown))
        return shown

    def kept(self):
        return self.store("debug", "--list").out.splitlines()[1:]

    def debug(self, *words, **kwargs):
        return self.store("debug", *words, **kwargs)

    def test_the_error_names_the_command_that_enters_the_step(self):
        shown = self.failing("FROM busybox\nENV COLOR=blue\nWORKDIR /wd\nRUN echo made > made; exit 7\n")
        hint = re.search(r"hint: look around in the failed step: img debug ([0-9a-f]+)", shown.err)
        self.assertTrue(hint, str(shown))
        inside = self.debug(hint.group(1), "sh", "-c", "cat made; pwd; echo $COLOR; id -u; hostname")
        self.assertEqual(inside.out, "made\n/wd\nblue\n0\nbuildkitsandbox\n")
        self.assertEqual(self.debug("last", "cat", "/wd/made").out, "made\n")
        self.assertEqual(self.debug(hint.group(1) + ":3", "cat", "/wd/made").out, "made\n")

    def test_exit_code_of_the_command_inside(self):
        self.failing("FROM busybox\nRUN exit 7\n")
        self.assertEqual(self.debug("last", "sh", "-c", "exit 9", check=False).code, 9)

    def test_runs_as_the_user_of_the_step(self):
        self.failing("FROM busybox\nUSER 1234:99\nRUN exit 7\n")
        self.assertEqual(self.debug("last", "id", "-u").out, "1234\n")

    def test_what_is_kept_is_a_container_that_can_be_committed(self):
        self.failing("FROM busybox\nRUN echo half > /half; exit 7\n")
        name = self.kept()[0].split()[0]
        self.assertRegex(name, r"^failed-[0-9a-f]+-2$")
        self.store("commit", name, "half")
        self.assertEqual(self.store("run", "--rm", "--net", "none", "--entrypoint", "", "half", "cat", "/half").out, "half\n")

    def test_the_next_success_of_the_step_removes_it(self):
        self.failing("FROM busybox\nRUN echo a; exit 7\n")
        self.assertEqual(len(self.kept()), 1)
        self.store.build(self.write({"Dockerfile": "FROM busybox\nRUN echo mended\n"}), "x")
        self.assertEqual(self.kept(), [])
        self.assertEqual(self.store("ps", "-aq").out, "")

    def test_a_second_failure_replaces_the_first_and_three_are_kept_at_most(self):
        self.failing("FROM busybox\nRUN exit 7\n")
        self.failing("FROM busybox\nRUN true; exit 7\n")
        self.assertEqual(len(self.kept()), 1)
        for stage in "abcd":
            self.failing(f"FROM busybox AS {stage}\nRUN exit 7\n")
        self.assertEqual(len(self.kept()), 3)

    def test_on_fail_remove_keeps_nothing(self):
        shown = self.failing("FROM busybox\nRUN exit 7\n", "--on-fail=remove")
        self.assertNotIn("img debug", shown.err)
        self.assertEqual(self.kept(), [])

    def test_files_are_copied_out_of_the_failed_step(self):
        out = harness.temp_dir("out")
        self.failing("FROM busybox\nRUN mkdir /logs; echo one > /logs/1.log; echo two > /logs/2.log; echo no > /logs/x; exit 7\n",
                  "--on-fail-copy", f"/logs/*.log:{out}/", "--on-fail-copy", f"/logs/x:{out}/renamed")
        self.assertEqual(sorted(os.listdir(out)), ["1.log", "2.log", "renamed"])
        with open(os.path.join(out, "2.log")) as copied:
            self.assertEqual(copied.read(), "two\n")

    def test_files_that_are_missing_do_not_hide_the_error_of_the_step(self):
        out = harness.temp_dir("out")
        shown = self.failing("FROM busybox\nRUN exit 7\n", "--on-fail-copy", f"/nothing:{out}/")
        self.assertIn("RUN failed with exit code 7", shown.err)
        self.assertRegex(shown.err, r'warning: --on-fail-copy: source "nothing" not found in the failed step')
        self.assertEqual(len(self.kept()), 1)

    def test_without_a_terminal_there_is_no_shell_but_a_hint(self):
        self.failing("FROM busybox\nRUN exit 7\n")
        shown = self.debug(check=False)
        self.assertEqual(shown.code, 1)
        self.assertRegex(shown.err, r"error: there is no terminal for a shell")
        self.assertIn("img debug failed-", shown.err)

    def test_unknown_ids(self):
        shown = self.debug("abcdef", "true", check=False)
        self.assertEqual(shown.code, 1)
        self.assertIn('no failed step "abcdef"', shown.err)

    def test_an_interrupted_or_cancelled_step_is_not_kept(self):
        self.failing("FROM busybox\nRUN sleep 60\n", "--timeout", "1s", code=124)
        self.assertEqual(self.kept(), [])

    def converse(self, argv, *steps):
        """Runs argv on a terminal; steps are (text to wait for, what to type then)."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(argv[0], argv)
        seen, steps, end = b"", list(steps), time.monotonic() + 30
        while time.monotonic() < end:
            if steps and steps[0][0].encode() in seen:
                os.write(terminal, steps.pop(0)[1].encode())
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            try:
                seen += os.read(terminal, 4096)
            except OSError:
                break
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        self.assertEqual(steps, [], seen.decode())
        return os.waitstatus_to_exitcode(status), seen.decode().replace("\r", "")

    def test_a_terminal_gets_a_shell(self):
        self.failing("FROM busybox\nRUN echo here > /here; exit 7\n")
        code, seen = self.converse(self.store.argv("debug"), ("#", "cat /here; exit 5\n"))
        self.assertIn("\nhere", seen)
        self.assertEqual(code, 5)

    def debugged(self, dockerfile, *steps, where=""):
        context = self.write({"Dockerfile": dockerfile})
        return self.converse(self.store.argv("build", "--progress=plain", "-t", "x", "--debug" + where, context), *steps)

    def test_debug_opens_a_shell_in_the_failed_step_and_continues_with_what_was_done(self):
        dockerfile = "FROM busybox\nRUN --mount=type=tmpfs,target=/m echo one > /one; exit 3\nRUN cat /one /two\n"
        code, seen = self.debugged(dockerfile, ("RUN failed with exit code 3: a shell", ""), ("#", "mount | grep -c ' /m '; echo two > /two; exit\n"),
                                   ("[a]bort?", "c\n"))
        self.assertEqual(code, 0, seen)
        self.assertRegex(seen, r"(?m)^#3 \d+\.\d+ two$")
        self.assertEqual(self.store.image("x").config["Labels"]["img.debug"], "true")
        self.failing(dockerfile, code=3)  # what was made by hand is in no cache

    def test_debug_tries_the_step_again(self):
        dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c test -e /c/fixed || exit 4\n"
        code, seen = self.debugged(dockerfile, ("#", "touch /c/fixed; exit\n"), ("[a]bort?", "r\n"))
        self.assertEqual(code, 0, seen)
        self.assertNotIn("Labels", {k: v for k, v in self.store.image("x").config.items() if v})

    def test_debug_aborts_with_the_code_of_the_step(self):
        code, seen = self.debugged("FROM busybox\nRUN exit 4\n", ("#", "exit\n"), ("[a]bort?", "a\n"))
        self.assertEqual(code, 4, seen)

    def test_debug_stops_before_and_after_a_line_without_a_trace(self):
        dockerfile = "FROM busybox\nRUN echo made > /made\n"
        code, seen = self.debugged(dockerfile, ("#", "ls /made; touch /trace; exit\n"), where="=before:2")
        self.assertEqual(code, 0, seen)
        self.assertIn("ls: /made: No such file", seen)
        code, seen = self.debugged(dockerfile, ("#", "cat /made; ls /trace; exit\n"), where="=after:2")
        self.assertEqual(code, 0, seen)
        self.assertIn("\nmade", seen)
        self.assertIn("ls: /trace: No such file", seen)

    def test_debug_without_a_terminal_never_opens_a_shell(self):
        self.failing("FROM busybox\nRUN exit 7\n", "--debug")

    def test_debug_at_no_line(self):
        self.failing("FROM busybox\n", "--debug=sometimes", code=125)
