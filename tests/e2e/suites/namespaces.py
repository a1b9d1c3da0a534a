"""--pid, --ipc, --uts, --userns, --cgroupns, time offsets, --sysctl, --device: shared, joined and mapped."""
import contextlib
import io
import json
import os
import pathlib
import signal
import stat
import tarfile
import time

from lib import harness, people

OWN = ("pid", "ipc", "uts", "net", "cgroup", "user", "time")


def link(pid, name):
    return os.readlink(f"/proc/{pid}/ns/{name}")


def host_setting(key):
    """What the machine has: a program that wrote it where it must not would change nothing."""
    path = pathlib.Path("/proc/sys", *(key.split("/") if "/" in key else key.split(".")))
    return path.read_text().strip() if path.exists() else "1"


class Namespaces(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.img_ = self.img(env={"IMG_RUNROOT": str(self.dir / "run")})

    def run_(self, *args, **kwargs):
        return self.img_("run", "--rm", "--net", "none", *args, **kwargs)

    def running(self, name, *options, command=("sleep", "7200000"), net=("--net", "none")):
        """A detached container; returns the pid of its first process."""
        self.img_("run", "-d", *net, "--name", name, *options, "busybox", *command)
        return int(self.img_("inspect", "--format", "{{ .State.Pid }}", name).out)

    def inside(self, name, script):
        return self.img_("exec", name, "sh", "-c", script).out

    def fails(self, *args, code=125, words=""):
        shown = self.img_(*args, check=False)
        self.assertEqual(shown.code, code, str(shown))
        self.assertIn(words, shown.err)
        return shown

    def host_config(self, name):
        return json.loads(self.img_("inspect", name).out)[0]["HostConfig"]

    # --- which namespaces ---

    def test_the_hosts_are_shared_where_asked(self):
        for name in ("pid", "ipc", "uts", "cgroup"):
            with self.subTest(name):
                option = "--cgroupns" if name == "cgroup" else f"--{name}"
                shown = self.run_(option, "host", "busybox", "readlink", f"/proc/self/ns/{name}").out.strip()
                self.assertEqual(shown, link("self", name))
                shown = self.run_(option, "private", "busybox", "readlink", f"/proc/self/ns/{name}").out.strip()
                self.assertNotEqual(shown, link("self", name))

    def test_another_containers_are_joined_by_create_start_and_exec(self):
        first = self.running("first")
        self.img_("create", "--net", "none", "--name", "second", "--pid", "container:first", "--ipc", "container:first",
                  "--uts", "container:first", "busybox", "sleep", "7300000")
        # The name of the first one may change: the record holds its id.
        self.img_("", "rename", "first", "renamed")
        self.img_("start", "second")
        second = int(self.img_("inspect", "--format", "{{ .State.Pid }}", "second").out)
        for name in OWN:
            same = link(first, name) == link(second, name)
            self.assertEqual(same, name in ("pid", "ipc", "uts", "user", "time"), name)
        self.assertIn("sleep 7200000", self.inside("second", "ps -o args"))
        self.assertIn("sleep 7300000", self.inside("renamed", "ps -o args"))
        self.assertEqual(self.inside("second", "readlink /proc/self/ns/pid").strip(), link(first, "pid"))
        self.assertEqual(self.inside("second", "hostname"), self.inside("renamed", "hostname"))
        identity = self.img_("inspect", "--format", "{{ .Id }}", "renamed").out.strip()
        shown = self.host_config("second")
        for key in ("PidMode", "IpcMode", "UTSMode"):
            self.assertEqual(shown[key], "container:" + identity)

    def test_modes_are_shown(self):
        self.img_("create", "--net", "none", "--name", "plain", "busybox", "true")
        shown = self.host_config("plain")
        self.assertEqual([shown[k] for k in ("PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode")],
                         ["", "shareable", "", "", "private"])
        self.img_("create", "--net", "none", "--name", "open", "--pid", "host", "--ipc", "host", "--uts", "host",
                  "--userns", "auto", "--cgroupns", "host", "busybox", "true")
        shown = self.host_config("open")
        self.assertEqual([shown[k] for k in ("PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode")],
                         ["host", "host", "host", "auto", "host"])

    def test_what_cannot_be_joined_is_an_error(self):
        self.fails("run", "--rm", "--pid", "container:nobody", "busybox", "true", words="nobody")
        self.img_("create", "--net", "none", "--name", "idle", "busybox", "true")
        for name in ("pid", "ipc", "uts", "userns"):
            with self.subTest(name):
                self.fails("run", "--rm", "--net", "none", f"--{name}", "container:idle", "busybox", "true", words="not running")
        self.running("closed", "--ipc", "private")
        self.fails("run", "--rm", "--net", "none", "--ipc", "container:closed", "busybox", "true", words="--ipc shareable")
        for options in (("--pid", "mine"), ("--ipc", "x"), ("--uts", "none"), ("--userns", "x"), ("--cgroupns", "container:idle")):
            with self.subTest(options):
                self.fails("run", "--rm", *options, "busybox", "true", words=options[0])
        self.assertEqual(self.img_("ps", "-aq").out.count("\n"), 2, "a failed run leaves nothing")

    # --- uts ---

    def test_host_names(self):
        self.assertEqual(self.run_("--uts", "host", "busybox", "sh", "-c", "hostname; cat /etc/hostname; echo $HOSTNAME").out.split(),
                         [os.uname().nodename] * 3)
        shown = self.run_("--hostname", "box", "--domainname", "corner", "busybox", "sh", "-c", "hostname; cat /proc/sys/kernel/domainname")
        self.assertEqual(shown.out.split(), ["box", "corner"])
        for option in ("--hostname", "--domainname"):
            self.fails("run", "--rm", "--uts", "host", option, "x", "busybox", "true", words="UTS mode")

    # --- pid ---

    def test_the_hosts_processes_are_seen_and_outlive_the_container(self):
        bystander = self.running("bystander")
        self.img_("run", "-d", "--net", "none", "--name", "c", "--pid", "host", "busybox", "sh", "-c",
                  "setsid sleep 7400001 & sleep 7400002")
        def ours():
            return {line for line in harness.processes().values() if "74000" in line and line.startswith("sleep")}

        deadline = time.monotonic() + 10
        while len(ours()) < 2:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        shown = self.inside("c", "ls -d /proc/[0-9]* | wc -l; cat /proc/1/cmdline | tr '\\0' ' '; echo; cat /proc/timer_list /proc/keys | wc -c;"
                                 "echo x 2>/dev/null >/proc/sys/kernel/hostname || echo fixed").splitlines()
        self.assertGreater(int(shown[0]), 3)
        self.assertIn("python", shown[1])  # the suite is process 1 here
        self.assertEqual(shown[2:], ["0", "fixed"])
        self.img_("kill", "c")
        self.assertEqual(ours(), set(), "processes of the container")
        self.assertTrue(os.path.exists(f"/proc/{bystander}"), "a process of somebody else")

    def test_the_command_ends_what_it_left_in_a_shared_pid_namespace(self):
        self.running("first")
        shown = self.img_("run", "--rm", "--net", "none", "--pid", "container:first", "busybox", "sh", "-c",
                          "setsid sleep 7500001 >/dev/null 2>&1 & sleep 0.05; exit 7", check=False)
        self.assertEqual(shown.code, 7)
        self.assertEqual([line for line in harness.processes().values() if line.startswith("sleep 7500001")], [])
        self.assertIn("7200000", self.inside("first", "ps -o args"))

    def test_the_end_of_the_owner_ends_who_joined(self):
        self.running("first")
        self.running("second", "--pid", "container:first")
        self.img_("kill", "first")
        self.assertEqual(self.img_("wait", "second").out, "137\n")
        self.fails("start", "second", code=1, words="not running")

    # --- ipc ---

    def test_shared_memory_is_shared_on_request_only(self):
        self.running("first", command=("sh", "-c", "echo seen >/dev/shm/note; sleep 7200000"))
        read = ("busybox", "cat", "/dev/shm/note")
        self.assertEqual(self.run_("--ipc", "container:first", *read).out, "seen\n")
        self.assertNotEqual(self.run_(*read, check=False).code, 0)
        self.assertEqual(self.run_("--ipc", "none", "busybox", "ls", "/dev/shm", check=False).code, 1)
        mark = pathlib.Path(f"/dev/shm/img-e2e-{os.getpid()}-{time.monotonic_ns()}")
        self.addCleanup(lambda: mark.unlink(missing_ok=True))
        mark.write_text("host\n")
        self.assertEqual(self.run_("--ipc", "host", "busybox", "cat", str(mark)).out, "host\n")
        self.assertNotEqual(self.run_("busybox", "cat", str(mark), check=False).code, 0)
        shown = self.run_("--shm-size", "3m", "busybox", "df", "-k", "/dev/shm").out
        self.assertIn("3072", shown)

    # --- users ---

    def test_auto_maps_root_and_shares_the_layers(self):
        pid = self.running("c", "--userns", "auto")
        outside = int(pathlib.Path(f"/proc/{pid}/uid_map").read_text().split()[1])
        self.assertGreaterEqual(outside, 65536)
        self.assertEqual(os.stat(f"/proc/{pid}").st_uid, outside)
        self.assertEqual(self.inside("c", "cat /proc/self/uid_map; id -u; stat -c %u:%g / /home/dev").split(),
                         ["0", str(outside), "65536", "0", "0:0", "1000:1001"])
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        self.assertIn(f"Uid:\t{outside}\t", status)
        # No layer was copied: nothing but the upper belongs to the container.
        self.assertEqual(list((self.img_.store / "containers" / self.identity("c") / "upper").iterdir()), [])
        self.assertEqual(self.host_config("c")["IDMappings"], {"UidMap": [f"0:{outside}:65536"], "GidMap": [f"0:{outside}:65536"]})

    def identity(self, name):
        return self.img_("inspect", "--format", "{{ .Id }}", name).out.strip()

    def test_auto_ranges_are_disjoint_and_given_back(self):
        def first(pid):
            return int(pathlib.Path(f"/proc/{pid}/uid_map").read_text().split()[1])

        starts = [first(self.running(f"c{i}", "--userns", "auto")) for i in range(3)]
        self.assertEqual(len({start // 65536 for start in starts}), 3, starts)
        shown = self.run_("--userns", "auto:size=5000", "busybox", "cat", "/proc/self/uid_map").out.split()
        self.assertEqual((shown[0], shown[2]), ("0", "5000"))
        self.assertNotIn(int(shown[1]), starts)

    def test_capabilities_are_of_the_inside(self):
        shown = self.run_("--userns", "auto", "--privileged", "busybox", "sh", "-c",
                          "mknod /tmp/node c 1 3; hostname other && hostname; cd /proc/sys/vm; v=$(cat swappiness); echo $v >swappiness; echo $?")
        self.assertEqual(shown.out.split(), ["other", "1"])
        self.assertIn("mknod", shown.err)

    def test_devices_streams_and_file_systems_inside(self):
        script = ("echo x >/dev/null; head -c 4 /dev/zero | wc -c; echo seen >/dev/stdout; ls /sys/class/net; "
                  "mount | grep -c -E ' on /(proc|sys|dev|dev/pts|dev/shm|dev/mqueue) '; touch /dev/shm/x && echo shm")
        self.assertEqual(self.run_("--userns", "auto", "busybox", "sh", "-c", script).out.split(), ["4", "seen", "lo", "6", "shm"])
        self.assertEqual(self.run_("--userns", "auto", "-u", "dev", "busybox", "sh", "-c", "id -u; echo me >/dev/stdout").out.split(),
                         ["1000", "me"])
        self.assertEqual(self.run_("--userns", "auto", "--tmpfs", "/scratch:mode=0700", "busybox", "sh", "-c",
                                   "touch /scratch/x && stat -c %u:%a /scratch").out, "0:700\n")

    def test_volumes_and_binds_keep_their_owners(self):
        host = self.write({"file": "x"}, "host")
        os.chown(host / "file", 1000, 1001)
        script = "stat -c %u:%g /data/file /data; touch /data/new; echo v >/vol/kept"
        self.assertEqual(self.run_("--userns", "auto", "-v", f"{host}:/data", "-v", "kept:/vol", "busybox", "sh", "-c", script).out.split(),
                         ["1000:1001", "0:0"])
        self.assertEqual((host / "new").stat().st_uid, 0)
        self.assertEqual(self.run_("-v", "kept:/vol", "busybox", "sh", "-c", "cat /vol/kept; stat -c %u /vol/kept").out.split(), ["v", "0"])

    def test_a_commit_does_not_know_of_the_map(self):
        script = ("echo changed >/etc/passwd; mkdir -p /srv/a; echo n >/srv/a/b; chown 1000:1001 /srv/a/b; rm /home/dev -r; chmod 4755 /srv/a;"
                  "touch -d @1600000000 /etc/passwd /etc /srv/a/b /srv/a /srv /home /")
        digests = []
        for number, options in enumerate(((), ("--userns", "auto"), ("--uidmap", "0:123456:65536"))):
            self.img_("run", "--net", "none", "--name", f"c{number}", *options, "busybox", "sh", "-c", script)
            self.img_("commit", f"c{number}", f"made{number}", env={"SOURCE_DATE_EPOCH": "1600000000"})
            image = self.img_.image(f"made{number}")
            digests.append(image.layers[-1]["digest"])
        self.assertEqual(len(set(digests)), 1, digests)

    def test_a_container_with_a_map_starts_again(self):
        self.img_("run", "--net", "none", "--name", "c", "--userns", "auto", "busybox", "sh", "-c", "rm -f /etc/hosts; echo kept >/kept")
        self.img_("start", "-a", "c")
        self.assertEqual((self.img_.store / "containers" / self.identity("c") / "upper/kept").stat().st_uid, 0)

    def test_maps_as_given(self):
        shown = self.run_("--uidmap", "0:200000:1000", "--uidmap", "1000:1000:1", "--gidmap", "0:300000:2000", "busybox", "sh", "-c",
                          "cat /proc/self/uid_map; cat /proc/self/gid_map; stat -c %u /home/dev").out.split()
        self.assertEqual(shown, ["0", "200000", "1000", "1000", "1000", "1", "0", "300000", "2000", "1000"])
        for options, words in ((("--uidmap", "0:0:10", "--uidmap", "5:20:10"), "overlap"), (("--uidmap", "zero"), "INSIDE:OUTSIDE"),
                               (("--uidmap", "1:1:1"), "id 0"), (("--userns", "host", "--uidmap", "0:1:1"), "excludes")):
            with self.subTest(options):
                self.fails("run", "--rm", *options, "busybox", "true", words=words)

    def test_keep_id_and_nomap_of_root(self):
        self.assertEqual(self.run_("--userns", "keep-id", "busybox", "cat", "/proc/self/uid_map").out.split(), ["0", "0", "4294967295"])
        self.assertNotEqual(self.run_("--userns", "keep-id", "busybox", "readlink", "/proc/self/ns/user").out.strip(), link("self", "user"))
        self.fails("run", "--rm", "--userns", "nomap", "busybox", "true", words="ordinary users")

    def test_a_user_namespace_is_shared(self):
        pid = self.running("first", "--userns", "auto")
        self.running("second", "--userns", "container:first", "--pid", "container:first", "--ipc", "container:first")
        self.assertEqual(self.inside("second", "readlink /proc/self/ns/user").strip(), link(pid, "user"))
        self.assertEqual(self.inside("second", "id -u; stat -c %u /").split(), ["0", "0"])
        self.assertIn("7200000", self.inside("second", "ps -o args"))
        # A container without one has none to share.
        self.running("plain")
        self.assertEqual(self.run_("--userns", "container:plain", "busybox", "readlink", "/proc/self/ns/user").out.strip(), link("self", "user"))

    def test_a_map_in_the_hosts_other_namespaces(self):
        shown = self.img_("run", "--rm", "--net", "host", "--pid", "host", "--ipc", "host", "--uts", "host", "--userns", "auto", "busybox", "sh", "-c",
                          "for n in pid ipc uts net; do readlink /proc/self/ns/$n; done; touch /sys/x 2>/dev/null || echo fixed; ls /proc/1/cmdline").out.split()
        self.assertEqual(shown, [link("self", n) for n in ("pid", "ipc", "uts", "net")] + ["fixed", "/proc/1/cmdline"])

    def test_exec_enters_the_map(self):
        pid = self.running("c", "--userns", "auto")
        shown = self.img_("exec", "-u", "dev", "c", "sh", "-c", "id -u; readlink /proc/self/ns/user; grep CapEff /proc/self/status; echo e >/dev/stderr")
        self.assertEqual(shown.out.split(), ["1000", link(pid, "user"), "CapEff:", "0000000000000000"])
        self.assertEqual(shown.err, "e\n")
        self.assertEqual(self.img_("exec", "-i", "c", "cat", stdin="through").out, "through")

    def test_cp_diff_and_export_know_the_ids_of_the_inside(self):
        self.running("c", "--userns", "auto")
        self.inside("c", "touch /made && chown 1000:1001 /made")
        self.img_("cp", "-a", "c:/made", self.dir / "made")
        self.assertEqual(((self.dir / "made").stat().st_uid, (self.dir / "made").stat().st_gid), (1000, 1001))
        (self.dir / "file").write_text("x")
        self.fails("cp", self.dir / "file", "c:/file", code=1, words="stop it first")
        self.assertEqual(self.img_("diff", "c").out, "A /made\n")
        self.img_("kill", "c")
        self.img_("cp", self.dir / "file", "c:/file")
        self.img_("export", "-o", self.dir / "all.tar", "c")
        with tarfile.open(self.dir / "all.tar") as tar:
            self.assertEqual((tar.getmember("made").uid, tar.getmember("file").uid), (1000, 0))

    # --- time ---

    def test_clocks(self):
        shown = self.run_("--boottime", "10000000", "--monotonic", "0", "busybox", "cut", "-d.", "-f1", "/proc/uptime").out
        self.assertGreaterEqual(int(shown), 10000000)
        pid = self.running("c", "--boottime", "10000000")
        self.assertNotEqual(link(pid, "time"), link("self", "time"))
        self.assertGreaterEqual(int(self.inside("c", "cut -d. -f1 /proc/uptime")), 10000000)
        self.fails("run", "--rm", "--net", "none", "--boottime", "-1000000000", "busybox", "true", words="range")

    # --- kernel settings, devices ---

    def test_sysctls(self):
        for setting, path in (("net.core.somaxconn=77", "net/core/somaxconn"), ("net.ipv4.ip_unprivileged_port_start=99", "net/ipv4/ip_unprivileged_port_start"),
                              ("kernel.msgmax=4097", "kernel/msgmax"), ("kernel.shm_rmid_forced=1", "kernel/shm_rmid_forced"),
                              ("fs.mqueue.msg_max=33", "fs/mqueue/msg_max"), ("kernel.domainname=dom", "kernel/domainname"),
                              ("net/ipv4/conf/lo/forwarding=0", "net/ipv4/conf/lo/forwarding")):
            for options in ((), ("--userns", "auto")):
                with self.subTest(setting=setting, options=options):
                    shown = self.run_(*options, "--sysctl", setting, "busybox", "cat", "/proc/sys/" + path).out.strip()
                    self.assertEqual(shown, setting.split("=")[1])
        for options, key in (((), "vm.swappiness"), ((), "kernel.hostname"), ((), "net/../vm/swappiness"), (("--net", "host"), "net.core.somaxconn"),
                             (("--ipc", "host"), "kernel.msgmax"), (("--uts", "host"), "kernel.domainname"), ((), "net.no.such.key")):
            with self.subTest(key):
                self.fails("run", "--rm", "--net", "none", *options, "--sysctl", f"{key}={host_setting(key)}", "busybox", "true", words=key)
        self.img_("create", "--net", "none", "--name", "c", "--sysctl", "net.core.somaxconn=9", "busybox", "true")
        self.assertEqual(self.host_config("c")["Sysctls"], {"net.core.somaxconn": "9"})

    def test_devices(self):
        nodes = self.dir / "nodes"
        (nodes / "deep").mkdir(parents=True)
        os.mknod(nodes / "zero", 0o640 | stat.S_IFCHR, os.makedev(1, 5))
        os.chown(nodes / "zero", 0, 1001)
        os.mknod(nodes / "deep/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (nodes / "file").write_text("no device")
        shown = self.run_("--device", f"{nodes}/zero:/dev/mine", "busybox", "sh", "-c", "stat -c %t:%T:%a:%g /dev/mine; head -c 2 /dev/mine | wc -c").out.split()
        self.assertEqual(shown, ["1:5:640:1001", "2"])
        shown = self.run_("--device", f"{nodes}:/dev/many:rw", "busybox", "sh", "-c", "cd /dev/many; find . -type c | sort").out.split()
        self.assertEqual(shown, ["./deep/null", "./zero"])
        self.assertEqual(self.run_("--userns", "auto", "--device", "/dev/full", "busybox", "sh", "-c", "echo x >/dev/full || echo full").out, "full\n")
        for spec, words in ((f"{nodes}/file:/dev/x", "not a device"), ("/dev/no-such-device", "no-such-device"), ("fuse", "absolute"),
                            ("/dev/null:/dev/x:q", "letters"), ("/dev/null:/srv/x", "below /dev")):
            with self.subTest(spec):
                self.fails("run", "--rm", "--net", "none", "--device", spec, "busybox", "true", words=words)
        self.img_("create", "--net", "none", "--name", "c", "--device", "/dev/null:/dev/x:r", "busybox", "true")
        self.assertEqual(self.host_config("c")["Devices"],
                         [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}])

    def test_the_oom_score(self):
        self.assertEqual(self.run_("--oom-score-adj", "500", "busybox", "cat", "/proc/self/oom_score_adj").out, "500\n")
        self.assertEqual(self.run_("--userns", "auto", "--oom-score-adj", "500", "busybox", "cat", "/proc/self/oom_score_adj").out, "500\n")
        self.fails("run", "--rm", "--oom-score-adj", "1001", "busybox", "true", words="--oom-score-adj")


class OfAnOrdinaryUser(harness.TestCase):
    """Maps from the ids that the user has: the kernel maps no mounts here, so the files are moved."""
    person = None

    def setUp(self):
        super().setUp()
        if OfAnOrdinaryUser.person is None:
            OfAnOrdinaryUser.person = people.Ordinary("imgspaces")
        self.img_ = self.person.img("store-" + self.id().rsplit(".", 1)[1])
        self.addCleanup(self.img_.remove_containers)
        os.chmod(harness.busybox_tar(), 0o644)
        self.img_("import", harness.busybox_tar(), "busybox")

    def run_(self, *args, **kwargs):
        return self.img_("run", "--net", "none", *args, **kwargs)

    def test_keep_id(self):
        uid, gid = self.person.uid, self.person.gid
        home = self.person.home / "kept"
        home.mkdir()
        os.chown(home, uid, gid)
        self.addCleanup(home.rmdir)
        shown = self.run_("--rm", "--userns", "keep-id", "-v", f"{home}:/mine", "busybox", "sh", "-c",
                          "id -u; id -g; stat -c %u:%g / /bin/busybox /home/dev /mine; touch /mine/x && stat -c %u /mine/x; rm /mine/x")
        self.assertEqual(shown.out.split(), [str(uid), str(gid), "0:0", "0:0", "1000:1001", f"{uid}:{gid}", str(uid)])
        self.assertEqual(self.run_("--rm", "--userns", "keep-id", "-u", "0", "busybox", "sh", "-c", "id -u; touch /made; stat -c %u /made").out.split(),
                         ["0", "0"])
        shown = self.run_("--rm", "--userns", "keep-id:uid=33,gid=44", "busybox", "sh", "-c", "id -u; id -g; stat -c %u /").out
        self.assertEqual(shown.split(), ["33", "44", "0"])

    def test_a_commit_has_the_ids_of_the_inside(self):
        self.run_("-d", "--name", "c", "--userns", "keep-id:uid=33,gid=44", "busybox", "sh", "-c",
                  "touch /tmp/mine; echo up; while ! test -e /tmp/end; do sleep 0.01; done")
        self.img_("exec", "-u", "0", "c", "sh", "-c", "touch /roots; chmod 4711 /roots")
        shown = self.img_("commit", "c", "early", check=False)
        self.assertIn("img stop c", shown.err)
        shown = self.img_("export", "-o", self.person.home / "early.tar", "c", check=False)
        self.assertIn("img stop c", shown.err)
        self.img_("exec", "c", "touch", "/tmp/end")
        self.img_("wait", "c")
        with tarfile.open(fileobj=io.BytesIO(self.img_("export", "c").raw)) as tar:
            owners = {m.name: (m.uid, m.gid, m.mode) for m in tar}
        self.assertEqual((owners["tmp/mine"][:2], owners["roots"], owners["home/dev"][:2]), ((33, 44), (0, 0, 0o4711), (1000, 1001)))
        self.img_("commit", "c", "made")
        image = self.img_.image("made")
        with tarfile.open(image.blob_path(image.layers[-1]["digest"])) as tar:
            owners = {m.name: (m.uid, m.gid, m.mode) for m in tar}
        self.assertEqual(owners["tmp/mine"][:2], (33, 44))
        self.assertEqual(owners["roots"], (0, 0, 0o4711))
        self.assertNotIn("home/dev", owners, "what did not change")
        # It starts again, and its files are its own once more.
        self.img_("start", "-a", "c")
        self.assertEqual(self.run_("--rm", "made", "stat", "-c", "%u", "/tmp/mine").out, "33\n")

    def test_owners_survive_a_kill_in_the_middle_of_moving_them(self):
        make = ("mkdir /many && cd /many && for i in $(seq 600); do echo $i > f$i; ln -s x l$i; done; chown -h 1:2 l*; chown 3:4 f*; "
                "chmod 4755 f7; chown 33:44 f8")
        self.run_("--name", "c", "--userns", "keep-id:uid=33,gid=44", "-u", "0", "busybox", "sh", "-c", make)
        upper = self.img_.store / "containers" / self.img_("inspect", "--format", "{{ .Id }}", "c").out.strip() / "upper"

        def owners():
            found = {}
            for folder, names, files in os.walk(upper):
                for path in [os.path.join(folder, name) for name in names + files]:
                    st = os.lstat(path)
                    found[os.path.relpath(path, upper)] = (st.st_uid, st.st_gid, st.st_mode)
            return found

        before, moved = owners(), 0
        self.assertGreater(len(before), 1200)
        for number in range(8):
            process = self.img_.start("start", "c")
            deadline = time.monotonic() + 20
            while not (upper.parent / "shift").exists() and process.poll() is None and time.monotonic() < deadline:
                pass
            time.sleep(number * 0.001)
            while keepers := [pid for pid, line in harness.processes().items() if " start " in line + " "]:
                self.assertLess(time.monotonic(), deadline)
                for pid in keepers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            process.communicate(timeout=60)
            moved += owners() != before
            self.img_("export", "-o", "/dev/null", "c")
            # Not compared as a whole: the difference of two large tables takes a minute to print.
            self.assertEqual([n for n, o in owners().items() if before.get(n) != o][:5], [], number)
        self.assertGreater(moved, 0, "no kill came in the middle")
        self.assertFalse((upper.parent / "shift").exists())

    def test_nomap_and_maps(self):
        shown = self.run_("--rm", "--userns", "nomap", "-v", f"{self.person.home}:/mine", "busybox", "sh", "-c",
                          "id -u; stat -c %u / /mine; cat /proc/self/uid_map").out.split()
        self.assertEqual(shown[:5], ["0", "0", "65534", "0", "1"])
        shown = self.run_("--rm", "--uidmap", "0:1:5000", "busybox", "sh", "-c", "cat /proc/self/uid_map; stat -c %u / /home/dev").out.split()
        self.assertEqual(shown, ["0", "1", "5000", "0", "1000"])
        shown = self.run_("--rm", "--uidmap", "0:1:10", "busybox", "true", check=False)
        self.assertEqual(shown.code, 125)
        self.assertRegex(shown.err, "the id 100[01]")
        shown = self.run_("--rm", "--userns", "auto", "busybox", "true", check=False)
        self.assertIn("needs root", shown.err)

    def test_the_hosts_processes(self):
        shown = self.run_("--rm", "--pid", "host", "busybox", "sh", "-c", "readlink /proc/self/ns/pid; test -d /proc/1 && echo seen").out.split()
        self.assertEqual(shown, [link("self", "pid"), "seen"])
