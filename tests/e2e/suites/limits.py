"""Limits of containers and steps, enforced by this machine's kernel: memory, time, processes, CPUs, swap."""
import glob
import os
import signal
import time

from lib import harness

GROUPS = "/sys/fs/cgroup"
HOG = "x=$(head -c 200000000 /dev/zero | tr '\\0' x)"


def groups_of(container_id):
    return glob.glob(f"{GROUPS}/img/{container_id}") + glob.glob(f"{GROUPS}/*/img/{container_id}")


class Limits(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.img_ = self.img()

    def run_(self, *args, **kwargs):
        return self.img_("run", "--rm", "--net", "none", *args, **kwargs)

    def start(self, *args):
        container = self.img_("run", "-d", "--net", "none", *args).out.strip()
        self.addCleanup(self.img_, "rm", "-f", container, check=False)
        return container

    def field(self, container, template):
        return self.img_("inspect", "-f", template, container).out.strip()

    # memory

    def test_a_memory_hog_is_killed_and_the_record_says_why(self):
        container = self.start("-m", "24m", "--memory-swap", "24m", "busybox", "sh", "-c", HOG)
        self.assertEqual(self.img_("wait", container).out, "137\n")
        self.assertEqual(self.field(container, "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137")

    def test_a_foreground_hog_names_the_limit(self):
        result = self.run_("-m", "24m", "busybox", "sh", "-c", HOG, check=False)
        self.assertEqual(result.code, 137)
        self.assertIn("out of memory", result.err)
        self.assertIn("24MiB", result.err)

    def test_what_stays_below_the_limit_lives(self):
        container = self.start("-m", "64m", "busybox", "sh", "-c", "x=$(head -c 8000000 /dev/zero | tr '\\0' x)")
        self.assertEqual(self.img_("wait", container).out, "0\n")
        self.assertEqual(self.field(container, "{{.State.OOMKilled}}"), "false")

    def test_the_container_sees_its_own_limits_read_only(self):
        shown = self.run_("-m", "64m", "busybox", "sh", "-c",
                          "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; "
                          "grep -c ' /sys/fs/cgroup[^ ]* rw' /proc/self/mountinfo; cut -d: -f3 /proc/self/cgroup | sort -u; "
                          "find /sys/fs/cgroup -name release_agent").out.split()
        self.assertEqual(shown, ["67108864", "0", "/"])

    def test_swap_is_limited_with_the_memory(self):
        container = self.start("-m", "32m", "--memory-swap", "32m", "busybox", "sleep", "100")
        values = [open(p).read().strip() for g in groups_of(container)
                  for p in (f"{g}/memory.memsw.limit_in_bytes", f"{g}/memory.swap.max") if os.path.exists(p)]
        self.assertIn(values, (["33554432"], ["0"]), "version 1 counts both together, version 2 swap alone")

    # time

    def test_a_quota_of_20_percent_is_20_percent(self):
        container = self.start("--cpus", "0.2", "busybox", "sh", "-c", "while :; do :; done")
        pid = self.field(container, "{{.State.Pid}}")

        def used():
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        before, began = used(), time.monotonic()
        time.sleep(2)
        share = (used() - before) / (time.monotonic() - began)
        self.assertGreater(share, 0.10)
        self.assertLess(share, 0.27)

    def test_cpus_can_be_chosen(self):
        result = self.run_("--cpuset-cpus", "0", "--cpuset-mems", "0", "busybox", "grep", "_allowed_list", "/proc/self/status")
        self.assertEqual([line.split()[1] for line in result.out.splitlines()], ["0", "0"])

    def test_a_cpu_that_does_not_exist_is_an_error(self):
        result = self.run_("--cpuset-cpus", "4000", "busybox", "true", check=False)
        self.assertEqual(result.code, 125)
        self.assertIn("cpuset.cpus=4000", result.err)

    # processes

    def test_a_fork_bomb_is_stopped(self):
        began = time.monotonic()
        container = self.start("--pids-limit", "30", "busybox", "sh", "-c", "b() { b | b & }; b; sleep 100")
        deadline = time.monotonic() + 10
        events = 0
        while events == 0 and time.monotonic() < deadline:
            for group in groups_of(container):
                if os.path.exists(f"{group}/pids.events"):
                    events = int(open(f"{group}/pids.events").read().split()[1])
                    self.assertLessEqual(int(open(f"{group}/pids.current").read()), 30)
        self.assertGreater(events, 0, "the limit was reached")
        self.img_("rm", "-f", container)
        self.assertLess(time.monotonic() - began, 30)
        self.assertEqual(groups_of(container), [])

    # together

    def test_inspect_shows_what_was_asked_for(self):
        container = self.start("-m", "64m", "--memory-reservation", "32m", "--cpus", "1.5", "--cpu-shares", "512",
                               "--pids-limit", "77", "busybox", "sleep", "100")
        shown = self.field(container, "{{with .HostConfig}}{{.Memory}} {{.MemorySwap}} {{.MemoryReservation}} "
                                      "{{.NanoCpus}} {{.CpuShares}} {{.PidsLimit}}{{end}}")
        self.assertEqual(shown, "67108864 134217728 33554432 1500000000 512 77")

    def test_stats_show_the_use_and_the_limit(self):
        container = self.start("-m", "64m", "--cpus", "0.3", "busybox", "sh", "-c", "sleep 100 & while :; do :; done")
        row = self.img_("stats", "--no-stream", "--format", "{{.Container}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}", container)
        shown, cpu, _, _, limit, processes = row.out.split()
        self.assertTrue(container.startswith(shown))
        self.assertGreater(float(cpu.rstrip("%")), 10)
        self.assertLess(float(cpu.rstrip("%")), 45)
        self.assertEqual((limit, processes), ("64MiB", "2"))

    def test_stats_count_without_any_limit(self):
        self.start("--name", "busy", "busybox", "sh", "-c", "while :; do :; done")
        cpu = self.img_("stats", "--no-stream", "--format", "{{.CPUPerc}}", "busy").out.strip()
        self.assertGreater(float(cpu.rstrip("%")), 10)

    def test_update_changes_a_running_container_and_later_starts(self):
        container = self.start("busybox", "sh", "-c", "while :; do sleep 1; done")
        self.img_("update", "-m", "48m", "--pids-limit", "9", "--cpus", "0.5", container)
        pid = int(self.field(container, "{{.State.Pid}}"))
        limits = [open(f).read().strip() for g in groups_of(container)
                  for f in (f"{g}/pids.max",) if os.path.exists(f)]
        self.assertEqual(limits, ["9"])
        self.assertIn(str(pid), open([g for g in groups_of(container) if os.path.exists(f"{g}/pids.max")][0]
                                     + "/cgroup.procs").read())
        self.img_("update", "-m", "96m", container)
        self.assertEqual(self.field(container, "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}"), "100663296 500000000")
        self.img_("restart", "-t", "0", container)
        shown = self.img_("exec", container, "sh", "-c",
                         "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true").out
        self.assertEqual(shown, "100663296\n")

    def test_the_groups_that_an_update_adds_go_with_the_container(self):
        for options in ((), ("--rm",)):
            container = self.start(*options, "busybox", "sleep", "100")
            self.img_("update", "-m", "48m", "--pids-limit", "9", container)
            self.assertTrue(groups_of(container))
            self.img_("kill", container)
            self.img_("wait", container, check=False)  # --rm: it may be gone
            self.assertEqual(groups_of(container), [], options)

    def test_the_groups_of_an_update_go_with_the_second_run_too(self):
        container = self.start("busybox", "sleep", "100")
        self.img_("update", "--pids-limit", "9", container)
        self.img_("restart", "-t", "0", container)
        self.img_("update", "-m", "48m", container)
        self.img_("kill", container)
        self.img_("wait", container)
        self.assertEqual(groups_of(container), [])

    def test_an_update_at_the_very_end_leaves_no_group(self):
        for seconds in ("0", "0.01", "0.02", "0.03", "0.1", "0.2", "0.3"):
            for options in ((), ("--rm",), ("--rm",)):
                container = self.start(*options, "busybox", "sleep", seconds)
                self.img_("update", "-m", "48m", "--pids-limit", "9", container, check=False)
                self.img_("wait", container, check=False)
                self.img_("rm", "-f", container, check=False)
                self.assertEqual(groups_of(container), [], (seconds, options))

    def test_cgroups_can_be_switched_off(self):
        container = self.start("--cgroups", "disabled", "-m", "64m", "busybox", "sleep", "100")
        self.assertEqual(groups_of(container), [])
        result = self.img_("pause", container, check=False)
        self.assertEqual(result.code, 1)
        self.assertIn("no cgroup to freeze", result.err)

    def test_a_parent_can_be_chosen(self):
        parent = f"/img-e2e-{os.getpid()}-parent"
        self.addCleanup(lambda: [os.rmdir(p) for p in glob.glob(f"{GROUPS}{parent}") + glob.glob(f"{GROUPS}/*{parent}")])
        container = self.start("--cgroup-parent", parent, "-m", "64m", "busybox", "sleep", "100")
        found = glob.glob(f"{GROUPS}{parent}/{container}") + glob.glob(f"{GROUPS}/*{parent}/{container}")
        self.assertTrue(found)
        self.assertEqual(groups_of(container), [])
        self.img_("pause", container)
        self.img_("unpause", container)
        self.img_("rm", "-f", container)
        self.assertEqual([p for p in found if os.path.exists(p)], [])

    def test_a_low_limit_of_open_files_is_taken_as_it_is(self):
        """Its hard limit is not ours to raise: podman and crun of Debian 12 insist, and fail."""
        for drop in ((), ("setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource")):
            result = harness.run(["prlimit", "--nofile=1024:20000", *drop, *self.img_.argv("run"), "--rm", "--net", "none", "busybox",
                                  "sh", "-c", "ulimit -Sn; ulimit -Hn"])
            self.assertEqual(result.out, "20000\n20000\n")
        result = harness.run(["prlimit", "--nofile=1024:20000", "setpriv", "--bounding-set=-sys_resource",
                              *self.img_.argv("run"), "--rm", "--net", "none", "--ulimit", "nofile=30000", "busybox", "true"], check=False)
        self.assertEqual(result.code, 125)
        self.assertIn("20000", result.err)

    def test_bad_values_are_refused(self):
        for words, text in ((["--cgroups", "maybe"], "unknown mode"), (["--cgroup-parent", "../x"], "not the path"),
                            (["-m", "64m", "--memory-reservation", "65m"], "more than --memory"),
                            (["--blkio-weight", "5"], "between 10 and 1000"), (["--cpuset-cpus", "a"], "not a list")):
            with self.subTest(words=words):
                result = self.run_(*words, "busybox", "true", check=False)
                self.assertEqual(result.code, 125, result)
                self.assertIn(text, result.err)

    # leftovers

    def test_a_killed_keeper_leaves_groups_only_to_the_next_look(self):
        container = self.start("-m", "64m", "busybox", "sleep", "100")
        self.img_("update", "--pids-limit", "9", container)
        pid = int(self.field(container, "{{.State.Pid}}"))
        keeper = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
        os.kill(keeper, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertFalse(os.path.exists(f"/proc/{pid}"), "the container ends with its keeper")
        self.img_("ps")
        self.assertEqual(groups_of(container), [])
        self.assertEqual(self.field(container, "{{.State.Status}} {{.State.Error}} {{.State.Running}}"),
                         "exited monitor lost false")

    def test_many_short_containers_leave_no_group(self):
        before = set(glob.glob(f"{GROUPS}/*/img/*/") + glob.glob(f"{GROUPS}/img/*/"))
        for _ in range(10):
            self.run_("-m", "64m", "--cpus", "1", "busybox", "true")
        mine = [p for p in set(glob.glob(f"{GROUPS}/*/img/*/") + glob.glob(f"{GROUPS}/img/*/")) - before
                if os.path.exists(f"{self.img_.store}/containers/{os.path.basename(os.path.dirname(p))}")]
        self.assertEqual(mine, [])

    # steps of a build

    def build(self, *args, dockerfile, **kwargs):
        folder = harness.temp_dir("context")
        with open(f"{folder}/Dockerfile", "w") as file:
            file.write(dockerfile)
        return self.img_("build", "--no-cache", "--network", "none", *args, folder, **kwargs)

    def test_a_step_that_needs_too_much_memory_fails_with_the_limit(self):
        result = self.build("-m", "24m", dockerfile=f"FROM busybox\nRUN {HOG}\n", check=False)
        self.assertNotEqual(result.code, 0)
        self.assertIn("memory", result.err)

    def test_a_step_takes_limits_and_a_parent(self):
        parent = f"/img-e2e-{os.getpid()}-steps"
        self.addCleanup(lambda: [os.rmdir(p) for p in glob.glob(f"{GROUPS}{parent}") + glob.glob(f"{GROUPS}/*{parent}")])
        self.build("--cgroup-parent", parent, "-m", "64m", "--pids-limit", "20", "-t", "limited",
                   dockerfile="FROM busybox\nRUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes "
                              "/sys/fs/cgroup/memory.max 2>/dev/null > /seen; exit 0\n")
        self.assertEqual(self.run_("limited", "cat", "/seen").out, "67108864\n")
        left = [p for p in glob.glob(f"{GROUPS}{parent}/*/") + glob.glob(f"{GROUPS}/*{parent}/*/")]
        self.assertEqual(left, [])
        self.assertTrue(glob.glob(f"{GROUPS}{parent}") + glob.glob(f"{GROUPS}/*{parent}"), "it was made there")
