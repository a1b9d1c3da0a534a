"""imgrun and its family: processes, exit codes, users, volumes, exec, logs, stop, commit."""
import os
import time

from lib import harness
from lib.harness import Running, run


class Run(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.img_ = self.img()

    def run_(self, *args, **kwargs):
        return self.img_("run", "--rm", "--net", "none", *args, **kwargs)

    def running(self, name="c", *command):
        self.img_("run", "-d", "--net", "none", "--name", name, "busybox", *(command or ("sleep", "7100000")))
        return name

    # --- processes and exit codes ---

    def test_output_and_exit_code_are_the_commands_own(self):
        shown = self.run_("busybox", "sh", "-c", "echo out; echo err >&2; exit 42", check=False)
        self.assertEqual((shown.code, shown.out, shown.err), (42, "out\n", "err\n"))

    def test_exit_codes_of_failures(self):
        (self.dir / "noexec").write_text("#!/bin/sh\n")
        for code, args in ((127, ("busybox", "/no/such/program")), (127, ("busybox", "no-such-program")),
                           (126, ("busybox", "/etc")), (126, ("busybox", "/etc/passwd")), (125, ("no-such-image", "true")),
                           (125, ("--no-such-flag", "busybox", "true")), (125, ("-u", "nobodyatall", "busybox", "true")),
                           (137, ("busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?")), (0, ("busybox", "true")), (1, ("busybox", "false"))):
            with self.subTest(args):
                shown = self.run_(*args, check=False)
                self.assertEqual(shown.code, code, str(shown))
                if code == 125:
                    self.assertRegex(shown.err, r"(?m)^error: ")

    def test_stdin_and_quoting(self):
        self.assertEqual(self.run_("-i", "busybox", "cat", stdin="through\n").out, "through\n")
        self.assertEqual(self.run_("busybox", "printf", "[%s]", "a b", "", "$x", "-v").out, "[a b][][$x][-v]")

    def test_environment(self):
        shown = self.run_("-e", "A=1", "-e", "COPIED", "-e", "NOT_SET_HERE", "--env", "B=two words", "busybox", "env",
                          env={"COPIED": "from caller", "PRIVATE": "x"}).out.splitlines()
        for line in ("A=1", "B=two words", "COPIED=from caller", "HOME=/root"):
            self.assertIn(line, shown)
        self.assertTrue(any(line.startswith("PATH=") for line in shown))
        self.assertFalse([line for line in shown if line.startswith(("PRIVATE", "NOT_SET_HERE", "IMG_"))])

    def test_workdir_is_made_when_it_is_missing(self):
        self.assertEqual(self.run_("-w", "/made/here", "busybox", "pwd").out, "/made/here\n")

    def test_users_and_groups(self):
        for user, expected in (("dev", "uid=1000(dev) gid=1001(devs) groups=1001(devs),10(wheel)"),
                               ("1000", "uid=1000(dev) gid=1001(devs) groups=1001(devs),10(wheel)"),
                               ("4242", "uid=4242 gid=0(root) groups=0(root)"), ("dev:wheel", "uid=1000(dev) gid=10(wheel) groups=10(wheel)"),
                               ("7:8", "uid=7 gid=8 groups=8")):
            with self.subTest(user):
                shown = self.run_("-u", user, "busybox", "id").out.strip()
                name = lambda text: sorted(text.replace("groups=", "").replace(",", " ").split())
                self.assertEqual(name(shown), name(expected))

    def test_entrypoint_and_cmd_rules(self):
        context = self.write({"Dockerfile": 'FROM busybox\nENTRYPOINT ["echo", "entry"]\nCMD ["cmd"]\n'})
        self.img_.build(context, "app")
        self.assertEqual(self.run_("app").out, "entry cmd\n")
        self.assertEqual(self.run_("app", "mine", "-x").out, "entry mine -x\n")
        self.assertEqual(self.run_("--entrypoint", "printf", "app", "%s", "hi").out, "hi")
        self.assertEqual(self.run_("--entrypoint", "", "app", "echo", "cleared").out, "cleared\n")

    def test_signals_are_forwarded(self):
        process = self.img_.start("run", "--rm", "--net", "none", "busybox", "sh", "-c",
                                  "trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 0.1; done")
        self.assertEqual(process.stdout.readline(), b"ready\n")
        process.terminate()
        out, err = process.communicate(timeout=15)
        self.assertEqual((process.returncode, out), (5, b"got it\n"), err)

    def test_a_terminal(self):
        # script(1) gives imgrun a terminal on all three streams.
        command = " ".join(self.img_.argv("run", "--rm", "-it", "--net", "none", "busybox", "sh", "-c",
                                          "'test -t 0 && test -t 1 && stty size && echo $TERM'"))
        shown = run(["script", "-qec", command, "/dev/null"], env={"COLUMNS": None})
        self.assertIn("xterm", shown.out)
        self.assertEqual(self.run_("-t", "busybox", "true", check=False).code, 1)

    # --- confinement ---

    def test_namespaces_are_new(self):
        with Running(self.img_, "busybox") as container:
            for name in ("mnt", "pid", "ipc", "uts", "net"):
                self.assertNotEqual(os.readlink(f"/proc/{container.pid}/ns/{name}"), os.readlink(f"/proc/self/ns/{name}"), name)
            self.assertEqual(self.img_("exec", container.id, "sh", "-c", "echo $PPID; ps | wc -l").out.split()[0], "0")

    def test_network_none_has_only_loopback_and_host_has_the_hosts(self):
        shown = self.run_("busybox", "ls", "/sys/class/net").out.split()
        self.assertEqual(shown, ["lo"])
        shown = self.img_("run", "--rm", "--net", "host", "busybox", "sh", "-c", "hostname; ls /proc/sys/net/ipv4 | wc -l").out.split()
        self.assertEqual(shown[0], os.uname().nodename)
        container = self.img_("run", "--rm", "--net", "host", "busybox", "readlink", "/proc/self/ns/net").out.strip()
        self.assertEqual(container, os.readlink("/proc/self/ns/net"))

    def test_masked_paths_capabilities_and_read_only_sys(self):
        script = "cat /proc/keys /proc/timer_list /sys/firmware/* 2>/dev/null | wc -c; touch /sys/x 2>&1; echo x 2>&1 > /proc/sys/kernel/hostname; grep -E 'CapEff|Seccomp:' /proc/self/status"
        shown = self.run_("busybox", "sh", "-c", script + " 2>&1").out
        self.assertEqual(shown.splitlines()[0].strip(), "0")
        self.assertRegex(shown, r"/sys/x")
        self.assertRegex(shown, r"Seccomp:\s+2")
        effective = int([l for l in shown.splitlines() if l.startswith("CapEff")][0].split()[1], 16)
        self.assertEqual(effective & (1 << 21), 0, "CAP_SYS_ADMIN")

    def test_hosts_hostname_and_devices(self):
        shown = self.run_("--hostname", "box", "busybox", "sh", "-c", "hostname; cat /etc/hostname; grep -c localhost /etc/hosts; ls /dev").out.split()
        self.assertEqual(shown[:2], ["box", "box"])
        for device in ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd", "stdin", "stdout", "stderr"):
            self.assertIn(device, shown[3:])
        self.assertFalse({"sda", "vda", "mem", "kmsg"} & set(shown[3:]))

    # --- volumes ---

    def test_bind_mounts_and_named_volumes(self):
        host = self.write({"in": "from host\n"}, "host")
        self.assertEqual(self.run_("-v", f"{host}:/data", "busybox", "sh", "-c", "cat /data/in; echo back > /data/out").out, "from host\n")
        self.assertEqual((host / "out").read_text(), "back\n")
        shown = self.run_("-v", f"{host}:/data:ro", "busybox", "touch", "/data/x", check=False)
        self.assertNotEqual(shown.code, 0)
        self.run_("-v", "kept:/data", "busybox", "sh", "-c", "echo kept > /data/file")
        self.assertEqual(self.run_("-v", "kept:/elsewhere", "busybox", "cat", "/elsewhere/file").out, "kept\n")
        self.assertIn("kept", self.img_("volume", "ls", "-q").out.split())

    def test_a_new_volume_receives_the_images_content(self):
        self.img_.build(self.write({"Dockerfile": "FROM busybox\nRUN mkdir /data && echo seed > /data/seed && chown -R dev /data\nVOLUME /data\n"}), "app")
        self.assertEqual(self.run_("-v", "vol:/data", "app", "sh", "-c", "cat /data/seed; stat -c %u /data").out, "seed\n1000\n")

    # --- life of a container ---

    def test_names_rm_and_ps(self):
        self.img_("run", "--net", "none", "--name", "one", "busybox", "sh", "-c", "exit 3", check=False)
        rows = self.img_("ps", "-a").out.splitlines()
        self.assertRegex(rows[0], r"^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES$")
        self.assertRegex(rows[1], r"busybox.*Exited \(3\).* one$")
        self.assertEqual(self.img_("ps", "-q").out, "")
        taken = self.img_("run", "--net", "none", "--name", "one", "busybox", "true", check=False)
        self.assertEqual(taken.code, 125)
        self.assertRegex(taken.err, "one")
        self.assertEqual(self.img_("rm", "one").out, "one\n")
        self.assertEqual(len(self.img_("ps", "-a").out.splitlines()), 1)
        self.assertEqual(self.img_("rm", "one", check=False).code, 1)

    def test_rm_option_leaves_nothing(self):
        self.run_("--name", "gone", "busybox", "touch", "/x")
        self.assertEqual(self.img_("ps", "-a", "-q").out, "")
        left = [path for path in (self.img_.store / "containers").rglob("*") if not path.name.startswith(".")]
        self.assertEqual(left, [])

    def test_the_mark_of_a_volatile_mount_goes_while_the_command_runs(self):
        process = self.img_.start("run", "--rm", "--net", "none", "--name", "c", "busybox", "sleep", "7200000")
        mounted = lambda: [inner for work in self.img_.store.glob("containers/*/work") for inner in work.iterdir()]
        inner = harness.wait_until(mounted, "the container is mounted")[0]  # overlayfs makes it
        harness.wait_until(lambda: self.img_("ps", "-q").out and not (inner / "incompat").exists(), "the mark is gone")
        self.assertEqual(self.img_("exec", "c", "sh", "-c", "echo x > /f; cat /f").out, "x\n")
        self.img_("kill", "c")
        self.assertEqual(process.wait(20), 137)

    def test_detached_logs_wait_and_exit_code(self):
        self.img_("run", "-d", "--net", "none", "--name", "c", "busybox", "sh", "-c", "echo out; echo err >&2; printf partial; exit 9")
        self.assertEqual(self.img_("wait", "c").out, "9\n")
        shown = self.img_("logs", "c")
        self.assertEqual((shown.out, shown.err), ("out\npartial", "err\n"))
        self.assertEqual(self.img_("inspect", "--format", "{{ .State.ExitCode }} {{ .State.Pid }} {{ .State.Status }}", "c").out, "9 0 exited\n")

    def test_detached_start_failures_are_reported(self):
        self.assertEqual(self.img_("run", "-d", "--net", "none", "busybox", "/no/such", check=False).code, 127)

    def until_it_says(self, name, text):
        end = time.monotonic() + 20
        while text not in self.img_("logs", name).out:
            self.assertLess(time.monotonic(), end, f"{name} does not say {text}")
            time.sleep(0.02)

    def test_stop_and_kill(self):
        self.running("polite", "sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")
        self.until_it_says("polite", "ready")  # before its trap stands, PID 1 does not see a TERM
        self.assertEqual(self.img_("stop", "polite").out, "polite\n")
        self.assertRegex(self.img_("ps", "-a").out, r"Exited \(0\)")
        self.running("stubborn", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
        self.until_it_says("stubborn", "ready")
        began = time.monotonic()
        self.img_("stop", "-t", "1", "stubborn")
        self.assertLess(time.monotonic() - began, 8)
        self.assertEqual(self.img_("wait", "stubborn").out, "137\n")
        self.running("killed")
        self.img_("kill", "-s", "KILL", "killed")
        self.assertEqual(self.img_("wait", "killed").out, "137\n")
        self.assertEqual(self.img_("stop", "nosuch", check=False).code, 1)

    def test_exec(self):
        self.running()
        shown = self.img_("exec", "-e", "A=1", "-w", "/tmp", "-u", "dev", "c", "sh", "-c", "echo $A; pwd; id -u")
        self.assertEqual(shown.out, "1\n/tmp\n1000\n")
        self.assertEqual(self.img_("exec", "-i", "c", "cat", stdin="in\n").out, "in\n")
        for code, command in ((7, ("sh", "-c", "exit 7")), (127, ("no-such",)), (126, ("/etc/passwd",))):
            self.assertEqual(self.img_("exec", "c", *command, check=False).code, code)
        self.img_("exec", "c", "touch", "/made-by-exec")
        pid = self.img_("inspect", "--format", "{{ .State.Pid }}", "c").out.strip()
        self.assertTrue(os.path.exists(f"/proc/{pid}/root/made-by-exec"))
        self.img_("rm", "-f", "c")
        self.assertEqual(self.img_("exec", "c", "true", check=False).code, 1)

    def test_top_shows_host_pids(self):
        self.running()
        pid = self.img_("inspect", "--format", "{{ .State.Pid }}", "c").out.strip()
        rows = self.img_("top", "c").out.splitlines()
        self.assertRegex(rows[0], r"^UID +PID +PPID +C +STIME +TTY +TIME +CMD$")
        self.assertRegex(rows[1], rf"^root +{pid} .*sleep 7100000$")

    def test_start_again_keeps_the_files(self):
        self.img_("run", "--net", "none", "--name", "c", "busybox", "sh", "-c", "echo x >> /count; wc -l < /count")
        self.assertEqual(self.img_("start", "-a", "c").out.split(), ["2"])

    # --- commit ---

    def check_commit(self, container):
        self.assertRegex(self.img_("commit", container, "committed:v2").out, r"^sha256:[0-9a-f]{64}\n$")
        image = self.img_.image("committed:v2")
        entries = image.layer_entries(len(image.layers) - 1)
        names = [name.strip("/").removeprefix("./") for name in entries]
        self.assertIn("changed", names)
        for forbidden in ("etc/hosts", "etc/hostname", "etc/resolv.conf", "data/in-volume", "dev", "proc", "sys", "bound/file"):
            self.assertNotIn(forbidden, names)
        self.assertEqual(self.run_("committed:v2", "cat", "/changed").out, "changed\n")
        self.assertNotIn("edited", self.run_("committed:v2", "cat", "/etc/hosts").out)
        return image

    SCRIPT = "echo changed > /changed; echo edited >> /etc/hosts; echo v > /data/in-volume; echo b > /bound/file; rm /etc/group"

    def test_commit_of_a_stopped_container(self):
        bound = self.write({}, "bound")
        self.img_("run", "--net", "none", "--name", "c", "-v", "vol:/data", "-v", f"{bound}:/bound", "busybox", "sh", "-c", self.SCRIPT)
        image = self.check_commit("c")
        self.assertIn(".wh.group", [os.path.basename(n) for n in image.layer_entries(len(image.layers) - 1)])

    def test_commit_of_a_running_container(self):
        bound = self.write({}, "bound")
        self.img_("run", "-d", "--net", "none", "--name", "c", "-v", "vol:/data", "-v", f"{bound}:/bound", "busybox", "sleep", "7200000")
        self.img_("exec", "c", "sh", "-c", self.SCRIPT)
        self.check_commit("c")
        self.assertEqual(self.img_("exec", "c", "echo", "thawed").out, "thawed\n")

    def test_commit_changes_and_message(self):
        self.img_("run", "--net", "none", "--name", "c", "busybox", "touch", "/x")
        self.img_("commit", "-m", "why", "-a", "me", "-c", "CMD [\"cat\", \"/x\"]", "-c", "ENV A=b", "c", "new")
        image = self.img_.image("new")
        self.assertEqual(image.config["Cmd"], ["cat", "/x"])
        self.assertIn("A=b", image.config["Env"])
        self.assertEqual(image.document["history"][-1]["comment"], "why")
        self.assertEqual(image.document["author"], "me")

    def test_commit_takes_over_what_run_changed(self):
        self.img_("run", "--net", "none", "--name", "c", "-e", "A=1", "-w", "/tmp", "-u", "12", "-l", "k=v", "busybox", "pwd")
        self.img_("commit", "c", "new")
        config = self.img_.image("new").config
        self.assertIn("A=1", config["Env"])
        self.assertEqual((config["Cmd"], config["WorkingDir"], config["User"]), (["pwd"], "/tmp", "12"))
        self.assertEqual(config["Labels"]["k"], "v")
        self.assertFalse([entry for entry in config["Env"] if entry.startswith(("HOSTNAME=", "HOME=", "TERM="))])
        self.assertEqual(self.run_("new").out, "/tmp\n")

    def test_an_unchanged_container_gives_no_layer_but_a_config(self):
        self.img_("run", "--net", "none", "--name", "c", "busybox", "true")
        self.img_("commit", "-c", "ENV A=b", "c", "new")
        self.assertEqual(len(self.img_.image("new").layers), len(self.img_.image("busybox").layers))

    def test_twenty_at_once(self):
        processes = [self.img_.start("run", "--rm", "--net", "none", "busybox", "echo", str(n)) for n in range(20)]
        for number, process in enumerate(processes):
            out, err = process.communicate(timeout=60)
            self.assertEqual((process.returncode, out), (0, f"{number}\n".encode()), err)
        self.assertEqual(self.img_("ps", "-a", "-q").out, "")
