"""Keepers at work: health checks, restarts, pauses, lost keepers, orphans, signals."""
import json
import os
import re
import signal
import time

from lib import harness
from lib.harness import run


class Supervision(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.img_ = self.img()

    def start(self, *args):
        container = self.img_("run", "-d", "--net", "none", *args).out.strip()
        self.addCleanup(self.img_, "rm", "-f", container, check=False)
        return container

    def field(self, container, template):
        return self.img_("inspect", "-f", template, container).out.strip()

    def until_health(self, container, wanted):
        harness.wait_until(lambda: self.field(container, "{{.State.Health.Status}}") == wanted, f"it becomes {wanted}")

    def keeper_of(self, container):
        pid = int(self.field(container, "{{.State.Pid}}"))
        return int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])

    # health

    def test_a_container_becomes_healthy_and_unhealthy(self):
        container = self.start("--name", "web", "--health-cmd", "echo looked; test ! -e /sick", "--health-interval", "200ms",
                               "--health-retries", "2", "busybox", "sleep", "100")
        self.assertIn("(health: starting)", self.img_("ps").out)
        self.until_health(container, "healthy")
        self.assertIn("(healthy)", self.img_("ps").out)
        self.assertEqual(self.img_("ps", "-q", "-f", "health=healthy").out.strip(), container[:12])
        self.assertEqual(self.img_("ps", "-q", "-f", "health=unhealthy").out, "")
        self.assertEqual(self.img_("ps", "--format", "{{.HealthStatus}}").out, "healthy\n")
        self.img_("exec", container, "touch", "/sick")
        self.until_health(container, "unhealthy")
        health = json.loads(self.field(container, "{{json .State.Health}}"))
        self.assertGreaterEqual(health["FailingStreak"], 2)
        self.assertLessEqual(len(health["Log"]), 5)
        self.assertEqual((health["Log"][-1]["ExitCode"], health["Log"][-1]["Output"]), (1, "looked\n"))
        self.img_("exec", container, "rm", "/sick")
        self.until_health(container, "healthy")
        self.assertEqual(self.field(container, "{{.State.Health.FailingStreak}}"), "0")

    def test_the_images_check_is_used_changed_and_switched_off(self):
        folder = harness.temp_dir("context")
        self.img_.build(folder, "checked", dockerfile="FROM busybox\nHEALTHCHECK --interval=150ms CMD [\"test\", \"-e\", \"/bin\"]\n"
                                                      "CMD [\"sleep\", \"100\"]\n")
        container = self.start("checked")
        self.until_health(container, "healthy")
        self.assertEqual(self.field(container, "{{.Config.Healthcheck.Test}}"), "[CMD test -e /bin]")
        other = self.start("--health-cmd", "false", "--health-retries", "1", "checked")
        self.until_health(other, "unhealthy")
        none = self.start("--no-healthcheck", "checked")
        self.assertIsNone(json.loads(self.field(none, "{{json .State.Health}}")))

    def test_a_check_that_hangs_is_ended_with_its_children(self):
        container = self.start("--health-cmd", "echo begun; sleep 12345; true", "--health-interval", "100ms",
                               "--health-timeout", "300ms", "--health-retries", "1", "busybox", "sleep", "100")
        self.until_health(container, "unhealthy")
        last = json.loads(self.field(container, "{{json .State.Health.Log}}"))[-1]
        self.assertEqual(last["ExitCode"], -1)
        self.assertEqual(last["Output"], "Health check exceeded timeout (0.3s): begun\n")
        harness.wait_until(lambda: self.img_("top", container, "-o", "args").out.count("sleep 12345") <= 1, "its children go", 5)

    def test_output_is_cut_and_failures_of_the_start_period_do_not_count(self):
        container = self.start("--health-cmd", "head -c 100000 /dev/zero | tr '\\0' x; exit 1", "--health-start-period", "60s",
                               "--health-start-interval", "100ms", "--health-retries", "1", "busybox", "sleep", "100")
        harness.wait_until(lambda: "xxx" in self.field(container, "{{json .State.Health.Log}}"), "a result")
        health = json.loads(self.field(container, "{{json .State.Health}}"))
        self.assertEqual((health["Status"], health["FailingStreak"]), ("starting", 0))
        self.assertEqual(len(health["Log"][0]["Output"]), 4096)
        self.assertTrue(health["Log"][0]["Output"].endswith("x..."))

    def test_a_flood_of_output_keeps_nobody_from_the_time_limit(self):
        container = self.start("--health-cmd", "for i in 1 2 3 4 5 6 7 8; do cat /dev/zero & done; wait", "--health-interval", "100ms",
                               "--health-timeout", "300ms", "--health-retries", "1", "busybox", "sh", "-c",
                               "while :; do echo x; sleep 0.05; done")
        self.until_health(container, "unhealthy")
        self.assertEqual(self.field(container, "{{(index .State.Health.Log 0).ExitCode}}"), "-1")
        self.assertIn("x\n", self.img_("logs", container).out)

    def test_a_container_that_stops_its_checks_cannot_hold_its_keeper(self):
        # Every process is stopped at once: some before they have become the command of the check.
        container = self.start("--timeout", "1500ms", "--stop-timeout", "0", "--health-cmd", "true", "--health-interval", "20ms",
                               "--health-timeout", "200ms", "busybox", "sh", "-c", "(while :; do kill -STOP -1; done) & sleep 100")
        self.assertEqual(self.img_("wait", container, timeout=30).out, "124\n")

    def test_a_check_gets_no_descriptor_of_the_keeper(self):
        container = self.start("--health-cmd", "ls -l /proc/$$/fd; true", "--health-interval", "100ms", "busybox", "sleep",
                               "100")
        self.until_health(container, "healthy")
        shown = self.field(container, "{{(index .State.Health.Log 0).Output}}")
        leads = re.findall(r" (\d+) -> (\S+?):?(?:\[\d+\])?$", shown, re.MULTILINE)
        self.assertEqual(leads, [("0", "/dev/null"), ("1", "pipe"), ("2", "pipe")], shown)

    def test_a_paused_container_is_not_checked_and_its_keeper_goes_on(self):
        container = self.start("--health-cmd", "true", "--health-interval", "100ms", "busybox", "sleep", "100")
        self.until_health(container, "healthy")
        self.img_("pause", container)
        self.assertIn("(Paused)", self.img_("ps").out)
        time.sleep(0.5)
        count = self.field(container, "{{json .State.Health.Log}}")
        time.sleep(0.5)
        self.assertEqual(self.field(container, "{{json .State.Health.Log}}"), count)
        self.assertEqual(self.field(container, "{{.State.Paused}}"), "true", "no check wrote over it")
        self.img_("stop", "-t", "1", container)
        self.assertEqual(self.field(container, "{{.State.Status}}"), "exited")

    def test_what_happens_to_an_unhealthy_container(self):
        for action, code in (("kill", "137"), ("stop", "7")):
            with self.subTest(action=action):
                container = self.start("--health-cmd", "false", "--health-interval", "100ms", "--health-retries", "1",
                                       "--health-on-failure", action, "busybox", "sh", "-c",
                                       "trap 'exit 7' TERM; while :; do sleep 0.05; done")
                self.assertEqual(self.img_("wait", container).out, code + "\n")
        container = self.start("--health-cmd", "false", "--health-interval", "100ms", "--health-retries", "1",
                               "--health-on-failure", "restart", "--stop-timeout", "0", "busybox", "sleep", "100")
        harness.wait_until(lambda: int(self.field(container, "{{.RestartCount}}")) >= 1, "it is started again")
        self.img_("stop", container)
        self.assertEqual(self.field(container, "{{.State.Status}}"), "exited")

    def test_a_check_by_hand(self):
        container = self.start("--health-cmd", "test ! -e /sick", "--health-interval", "1h", "busybox", "sleep", "100")
        self.assertEqual(run([self.img_.path(), "--root", self.img_.store, "healthcheck", "run", container]).code, 0)
        self.assertEqual(self.field(container, "{{.State.Health.Status}}"), "healthy")
        self.img_("exec", container, "touch", "/sick")
        failed = run([self.img_.path(), "--root", self.img_.store, "healthcheck", "run", container], check=False)
        self.assertEqual((failed.code, failed.out), (1, "unhealthy\n"))
        plain = self.start("busybox", "sleep", "100")
        self.assertEqual(run([self.img_.path(), "--root", self.img_.store, "healthcheck", "run", plain], check=False).code, 125)

    # restarts

    def test_on_failure_restarts_so_often_and_no_more(self):
        container = self.start("--restart", "on-failure:2", "busybox", "sh", "-c", "echo run; exit 3")
        self.assertEqual(self.img_("wait", container).out, "3\n")
        self.assertEqual(self.field(container, "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}} "
                                               "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"),
                         "2 exited 3 on-failure 2")
        self.assertEqual(self.img_("logs", container).out, "run\n" * 3)

    def test_on_failure_leaves_a_success_alone(self):
        container = self.start("--restart", "on-failure", "busybox", "true")
        self.assertEqual(self.img_("wait", container).out, "0\n")
        self.assertEqual(self.field(container, "{{.RestartCount}}"), "0")

    def test_always_goes_on_until_it_is_stopped(self):
        container = self.start("--restart", "always", "busybox", "sh", "-c", "echo run; sleep 0.05")
        harness.wait_until(lambda: self.img_("logs", container).out.count("run") >= 3, "three runs")
        harness.wait_until(lambda: self.field(container, "{{.State.Restarting}}") == "true", "it waits for the next one")
        self.assertRegex(self.img_("ps").out, r"Restarting \(0\)")
        self.img_("stop", container)
        self.assertEqual(self.field(container, "{{.State.Status}} {{.State.Restarting}}"), "exited false")
        runs = self.img_("logs", container).out
        time.sleep(0.5)
        self.assertEqual(self.img_("logs", container).out, runs, "it stays down")
        self.img_("start", container)
        harness.wait_until(lambda: self.img_("logs", container).out.count("run") > runs.count("run") + 1, "it goes on after a start")
        self.img_("rm", "-f", container)
        self.assertEqual(self.img_("ps", "-a", "-q").out, "")

    def test_stop_meets_a_container_that_is_just_started_again(self):
        # The second run is for ever; it begins 100 ms after the first.
        for delay in (0.09, 0.1, 0.105, 0.11, 0.12):
            with self.subTest(delay=delay):
                container = self.start("--restart", "always", "busybox", "sh", "-c",
                                       "test -e /again && exec sleep 10000; touch /again; exit 1")
                time.sleep(delay)
                self.img_("stop", "-t", "0", container, timeout=20)
                self.assertEqual(self.field(container, "{{.State.Status}}"), "exited")

    def test_rm_meets_a_container_that_is_just_started(self):
        for delay in (0, 0.003, 0.006, 0.01, 0.02):
            with self.subTest(delay=delay):
                container = self.img_("create", "--net", "none", "busybox", "sleep", "10000").out.strip()
                starter = self.img_.start("start", container)
                time.sleep(delay)
                self.img_("rm", "-f", container, timeout=20)
                starter.communicate(timeout=20)
                self.assertEqual(self.img_("ps", "-aq").out, "")

    def test_update_ends_the_restarts(self):
        container = self.start("--restart", "always", "busybox", "sleep", "100")
        self.img_("update", "--restart", "no", container)
        os.kill(int(self.field(container, "{{.State.Pid}}")), signal.SIGKILL)
        self.assertEqual(self.img_("wait", container).out, "137\n")
        self.assertEqual(self.field(container, "{{.RestartCount}}"), "0")

    def test_restart_and_rm_exclude_each_other(self):
        self.assertEqual(self.img_("run", "--rm", "--restart", "always", "busybox", "true", check=False).code, 125)
        self.assertEqual(self.img_("run", "--restart", "sometimes", "busybox", "true", check=False).code, 125)

    def test_the_restart_command(self):
        container = self.start("busybox", "sh", "-c", "echo run; sleep 100")
        first = self.field(container, "{{.State.Pid}}")
        self.img_("restart", "-t", "0", container)
        self.assertEqual(self.field(container, "{{.State.Status}}"), "running")
        self.assertNotEqual(self.field(container, "{{.State.Pid}}"), first)

    # keepers and boots

    def test_a_killed_keeper_takes_its_container_along(self):
        container = self.start("--init", "busybox", "sh", "-c", "sleep 100 & sleep 100")
        pid = int(self.field(container, "{{.State.Pid}}"))
        os.kill(self.keeper_of(container), signal.SIGKILL)
        harness.wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "it ends too", 1)
        self.assertEqual(self.field(container, "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}"), "exited 137 monitor lost")
        self.assertRegex(self.img_("ps", "-a").out, r"Exited \(137\)")
        self.assertEqual(self.img_("wait", container).out, "137\n")
        self.img_("start", container)
        self.assertEqual(self.field(container, "{{.State.Status}} {{.State.Error}}"), "running")

    def test_after_another_boot_it_is_gone(self):
        container = self.start("busybox", "sleep", "100")
        state = self.img_.store / "containers" / container / "state.json"
        old = json.loads(state.read_text())
        self.img_("kill", container)
        state.write_text(json.dumps({**old, "bootId": "00000000-0000-0000-0000-000000000000"}))
        self.assertEqual(self.field(container, "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}"), "exited 255 host restarted")

    def test_a_pid_that_belongs_to_somebody_else_is_left_alone(self):
        container = self.start("busybox", "sleep", "100")
        state = self.img_.store / "containers" / container / "state.json"
        old = json.loads(state.read_text())
        self.img_("kill", container)
        other = self.img_.start("version")
        state.write_text(json.dumps({**old, "pid": os.getpid()}))
        other.communicate()
        self.assertNotEqual(self.img_("kill", container, check=False).code, 0)
        self.assertEqual(self.field(container, "{{.State.Running}}"), "false")

    def test_an_init_reaps_ten_thousand_orphans(self):
        container = self.start("--init", "busybox", "sh", "-c",
                               "i=0; while [ $i -lt 10000 ]; do (true &); i=$((i+1)); done; echo done; sleep 100")
        harness.wait_until(lambda: "done" in self.img_("logs", container).out, "all have been made", 90)
        harness.wait_until(lambda: len(self.img_("top", container, "-o", "pid").out.splitlines()) - 1 <= 3, "they are reaped", 5)
        states = self.img_("top", container, "-o", "stat").out
        self.assertLessEqual(states.count("Z"), 2)

    def test_signals_reach_a_foreground_container(self):
        for number, name in ((signal.SIGTERM, "TERM"), (signal.SIGINT, "INT"), (signal.SIGHUP, "HUP")):
            with self.subTest(signal=name):
                process = self.img_.start("run", "--rm", "--net", "none", "busybox", "sh", "-c",
                                          f"trap 'echo got; exit 5' {name}; echo ready; while :; do sleep 0.02; done")
                self.assertEqual(process.stdout.readline(), b"ready\n")
                process.send_signal(number)
                out, _ = process.communicate(timeout=10)
                self.assertEqual((out, process.returncode), (b"got\n", 5))
        self.assertEqual(self.img_("ps", "-a", "-q").out, "")

    def test_a_keeper_is_small(self):
        container = self.start("--health-cmd", "true", "--health-interval", "1h", "busybox", "sleep", "100")
        keeper = self.keeper_of(container)

        def private():
            rollup = open(f"/proc/{keeper}/smaps_rollup").read()
            return sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+)", rollup, re.M))

        harness.wait_until(lambda: private() <= 1024, f"at most 1 MiB of its own, it is {private()} KiB", 5)
