"""What a container of ours is allowed, seen from inside by a small static program (tests/e2e/probe), and the same in
podman and docker: ours is not weaker in any row. The table is docs/confinement.md; IMG_UPDATE_GOLDEN=1 writes it anew.
The system calls are those of security.md 3, each one made, through both entry points of the kernel.
"""
import json
import os
import pathlib
import re
import unittest

from lib import harness, peers, probing
from lib.harness import ROOT, Img, run

DOCUMENT = ROOT / "docs/confinement.md"

MASKED = ("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
          "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware", "/sys/fs/selinux",
          "/sys/devices/virtual/powercap")
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys", "/sys/fs/cgroup")
MOUNTS = ("/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
FLAGS = ("ro", "nosuid", "nodev", "noexec")
# From locked to open.
OPENNESS = {"absent": 0, "masked": 0, "read-only": 1, "open": 2}

# security.md 3: what the filter refuses without a capability, and never lets through.
REFUSED = """mount umount2 mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick unshare setns sethostname
    setdomainname quotactl quotactl_fd bpf perf_event_open fanotify_init lookup_dcookie syslog open_by_handle_at kcmp
    pidfd_getfd process_madvise init_module finit_module delete_module settimeofday clock_settime reboot iopl ioperm acct
    vhangup mbind get_mempolicy set_mempolicy set_mempolicy_home_node keyctl add_key request_key userfaultfd kexec_load
    kexec_file_load swapon swapoff pivot_root move_pages migrate_pages sysfs ustat uselib nfsservctl io_uring_setup
    io_uring_enter io_uring_register""".split()
# Of the others: those that need an argument to show what the filter does.
ARGUMENTS = {"af_inet": ("socket", 2, 1, 0), "af_unix": ("socket", 1, 1, 0), "clone_process": ("clone", 17, 0, 0),
             "netlink_route": ("socket", 16, 3, 0), "personality_read": ("personality", 0xffffffff, 0, 0),
             "personality_linux32": ("personality", 8, 0, 0)}
REFUSED_ARGUMENTS = {"af_alg": ("socket", 38, 5, 0), "af_vsock": ("socket", 40, 1, 0),
                     "netlink_audit": ("socket", 16, 3, 9), "personality_norandom": ("personality", 0x40000, 0, 0),
                     **{f"clone_{flag}": ("clone", bit | 17, 0, 0) for flag, bit in
                        (("newns", 0x20000), ("newcgroup", 0x2000000), ("newuts", 0x4000000), ("newipc", 0x8000000),
                         ("newuser", 0x10000000), ("newpid", 0x20000000), ("newnet", 0x40000000))}}
# Not made by the test: they end or rewire the process that makes them, or tell of the moment.
UNMADE = {"exit", "exit_group", "rt_sigreturn", "sigreturn", "vfork", "restart_syscall", "uretprobe", "clone3"}
NEWER = {"listmount": 458, "statmount": 457, "mseal": 462, "open_tree_attr": 467, "getxattrat": 464}


def requests(bits, names):
    numbers = probing.call_numbers(bits)
    lines = [f"{bits} {numbers[name]} 0 0 0 {name}" for name in names if name in numbers]
    lines += [f"{bits} {numbers[name]} {a} {b} {c} {label}" for label, (name, a, b, c) in
              (ARGUMENTS | REFUSED_ARGUMENTS).items() if name in numbers]
    return "\n".join(lines) + "\n"


def is_refused(result):
    return result in ("-1", "-38")


class SystemCalls(harness.TestCase):
    """security.md 3, call by call."""

    @classmethod
    def setUpClass(cls):
        cls.img_ = Img()
        cls.img_("import", probing.image_tar(), "probe")

    def calls(self, text, *options):
        shown = self.img_("run", "--rm", "-i", "--net", "none", *options, "probe", "/probe", "calls", stdin=text)
        return probing.calls(shown.out)

    def check_abi(self, bits):
        names = [name for name in probing.call_numbers(bits) if name not in UNMADE]
        text = requests(bits, names)
        ours, bare = self.calls(text), self.calls(text, "--security-opt", "seccomp=unconfined")
        self.assertGreater(len(ours), 250)
        refused = set(REFUSED) | set(REFUSED_ARGUMENTS)
        if bits == 32:  # i386 has calls of its own
            refused |= set("""umount stime vm86 vm86old clock_settime64 oldstat oldfstat oldlstat oldolduname olduname nice
                sgetmask ssetmask readdir""".split())
        for name, result in ours.items():
            with self.subTest(name):
                if name == "netlink_audit":
                    self.assertEqual(result, "-22", "EINVAL, so that PAM carries on")
                elif name in refused:
                    self.assertEqual(result, "-1")
                elif not is_refused(bare[name]):
                    self.assertFalse(is_refused(result), f"{result}, and {bare[name]} without the filter")

    def test_the_native_calls(self):
        self.check_abi(64)

    def test_the_32_bit_calls(self):
        self.check_abi(32)

    def test_calls_that_do_not_exist(self):
        text = "64 1000 0 0 0 a\n64 470 0 0 0 b\n64 -1 0 0 0 c\n32 1000 0 0 0 d\n64 435 0 0 0 clone3\n32 435 0 0 0 clone3_32\n"
        self.assertEqual(set(self.calls(text).values()), {"-38"}, "ENOSYS")

    def test_x32_is_refused(self):
        numbers = probing.call_numbers(64)
        text = "".join(f"64 {0x40000000 | numbers[name]} 0 0 0 {name}\n" for name in ("getpid", "read", "mount", "ptrace"))
        self.assertEqual(set(self.calls(text).values()), {"-38"})

    def test_newer_calls_have_their_numbers(self):
        text = "".join(f"64 {number} 0 0 0 {name}\n" for name, number in NEWER.items())
        found, bare = self.calls(text), self.calls(text, "--security-opt", "seccomp=unconfined")
        self.assertEqual(found.pop("open_tree_attr"), "-1", "needs SYS_ADMIN")
        bare.pop("open_tree_attr")
        self.assertEqual(found, bare)

    def test_capabilities_open_their_calls(self):
        names = "mount unshare setns bpf fsopen sethostname kcmp chroot keyctl io_uring_setup"
        found = self.calls(requests(64, names.split()), "--cap-add", "SYS_ADMIN", "--cap-drop", "SYS_CHROOT")
        for name in ("mount", "unshare", "setns", "bpf", "fsopen"):
            self.assertNotEqual(found[name], "-1", name)
        for name in ("kcmp", "chroot", "keyctl", "io_uring_setup"):
            self.assertEqual(found[name], "-1", name)

    def test_abi32_off_closes_the_other_entry(self):
        text = "32 20 0 0 0 getpid\n32 102 0 0 0 socketcall\n64 39 0 0 0 native\n"
        self.assertEqual(self.calls(text), {"getpid": "1", "socketcall": "-22", "native": "1"})
        self.assertEqual(self.calls(text, "--security-opt", "abi32=off"),
                         {"getpid": "-38", "socketcall": "-38", "native": "1"})

    def test_a_profile_of_dockers_form(self):
        profile = self.write({"p.json": """{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 17}]}"""}) / "p.json"
        text = requests(64, ["sethostname", "getppid", "getpid"])
        with_profile = ("--security-opt", f"seccomp={profile}")
        found = self.calls(text, *with_profile)
        self.assertEqual((found["sethostname"], found["getppid"], found["getpid"]), ("-28", "-17", "1"))
        found = self.calls(text, *with_profile, "--cap-add", "SYS_ADMIN")
        self.assertEqual((found["sethostname"], found["getppid"]), ("0", "-17"))
        # The record keeps the text: start and exec have the profile also when the file is gone.
        name = self.img_("run", "-d", "--net", "none", "--name", "kept", *with_profile, "probe", "sleep", "7100001").out
        try:
            profile.unlink()
            shown = self.img_("exec", "-i", "kept", "/probe", "calls", stdin=text)
            self.assertEqual(probing.calls(shown.out)["getppid"], "-17")
            self.img_("stop", "-t", "0", "kept")
            self.img_("start", "kept")
            shown = self.img_("exec", "-i", "kept", "/probe", "calls", stdin=text)
            self.assertEqual(probing.calls(shown.out)["getppid"], "-17")
            self.assertIn("getppid", self.img_("inspect", "--format", "{{json .HostConfig.SecurityOpt}}", "kept").out)
        finally:
            self.img_("rm", "-f", name.strip())

    def test_wrong_profiles(self):
        for text, message in (("{", "the seccomp profile"), ('{"defaultAction": "NO"}', 'unknown action "NO"'),
                              ('{"defaultAction": "SCMP_ACT_ALLOW", "sycalls": []}', "/sycalls: unknown member")):
            path = self.write({"p.json": text}) / "p.json"
            shown = self.img_("run", "--rm", "--security-opt", f"seccomp={path}", "probe", "true", check=False)
            self.assertEqual(shown.code, 125, str(shown))
            self.assertIn(message, shown.err)


class Ours:
    name = "img"

    def __init__(self):
        self.img = Img()
        self.img("import", probing.image_tar(), "probe")

    def facts(self, *options):
        argv = self.img.argv("run", "--rm", "--net", "none", *options, "probe", "/probe", "facts", *MASKED, *READ_ONLY)
        return probing.sections(run(argv, preexec_fn=probing.spoil, close_fds=False).out)


class Podman:
    name = "podman"

    def __init__(self):
        self.podman = peers.Podman()
        self.podman("import", probing.image_tar(), "probe")

    def facts(self, *options):
        argv = ["podman", *self.podman.options, "run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024",
                "--ulimit", "nproc=1024:1024", *options, "probe", "/probe", "facts", *MASKED, *READ_ONLY]
        return probing.sections(run(argv, preexec_fn=probing.spoil, close_fds=False, timeout=120).out)


class Docker:
    name = "docker"

    def __init__(self):
        self.docker = peers.Dockerd()
        self.docker("import", probing.image_tar(), "probe")

    def facts(self, *options):
        argv = [peers.DOCKER, "-H", self.docker.host, "run", "--rm", "--network", "none", *options, "probe", "/probe",
                "facts", *MASKED, *READ_ONLY]
        return probing.sections(run(argv, preexec_fn=probing.spoil, close_fds=False, timeout=120,
                                    env={"DOCKER_CONFIG": str(self.docker.dir)}).out)


def subset(ours, theirs):
    return set(ours.split()) <= set(theirs.split())


def superset(ours, theirs):
    return set(theirs.split()) <= set(ours.split())


def fewer_bits(ours, theirs):
    return int(ours, 16) & ~int(theirs, 16) == 0


def number_at_least(ours, theirs):
    return int(ours) >= int(theirs)


def as_closed(ours, theirs):
    return OPENNESS[ours] <= OPENNESS[theirs]


def equal(ours, theirs):
    return ours == theirs


def rows_of(root, user):
    """{row: (value, how ours is compared with a peer's)}; root and user: facts of the two kinds of process."""
    rows = {}
    for title, facts in (("root", root), ("uid 1000", user)):
        state = probing.status(facts)
        for name in CAPABILITY_SETS:
            rows[f"{name}, {title}"] = (state[name], fewer_bits)
    state = probing.status(root)
    rows["seccomp mode"] = (state["Seccomp"], number_at_least)
    rows["no_new_privs"] = (state["NoNewPrivs"], number_at_least)
    # Only groups that the image does not give count.
    strange = [g for g in state["Groups"].split() if int(g) in probing.CALLER_GROUPS]
    rows["groups of the caller"] = (" ".join(strange) or "-", lambda ours, theirs: ours == "-")
    rows["blocked signals"] = (state["SigBlk"], fewer_bits)
    rows["ignored signals"] = (state["SigIgn"], fewer_bits)
    process = dict(line.split(" ", 1) for line in root["process"])
    rows["umask"] = (process["umask"], lambda ours, theirs: int(ours, 8) & ~int(theirs, 8) == 0 and ours == "022")
    rows["core dumps"] = ("off" if process["core"] == "0" else "on", lambda ours, theirs: ours == "off")
    rows["key of the caller"] = ("found" if process["caller-key"] == "found" else "out of reach",
                                 lambda ours, theirs: ours == "out of reach")
    descriptors = [line.split()[0] for line in root["fds"]]
    rows["open descriptors"] = (" ".join(descriptors), lambda ours, theirs: ours == "0 1 2")
    host = {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns") if "_" not in name}
    own = [name for name, value in (line.split() for line in root["namespaces"]) if value != host.get(name)]
    rows["namespaces of its own"] = (" ".join(own), superset)
    for kind in ("uid_map", "gid_map"):
        rows[kind] = (" ".join(" ".join(root[kind]).split()), equal)
    found = probing.mounts(root)
    for point in MOUNTS:
        if point in found:
            rows[f"mount {point}"] = (" ".join(f for f in FLAGS if f in found[point][0]) or "-", lambda ours, theirs:
                                      superset(ours.replace("-", ""), theirs.replace("-", "")))
    hidden = re.compile(r"/(img-e2e-|var/lib/)")
    rows["paths of the host in mountinfo"] = ("yes" if any(hidden.search(line) for line in root["mountinfo"]) else "no",
                                              lambda ours, theirs: ours == "no")
    rows["shared mounts"] = ("yes" if any(" shared:" in line for line in root["mountinfo"]) else "no",
                             lambda ours, theirs: ours == "no")
    rows["device nodes"] = (" ".join(sorted(set(root["dev"]) - {"console"})), subset)
    paths = dict(line.split() for line in root["paths"])
    for path in (*MASKED, *READ_ONLY):
        rows[path] = (paths[path], as_closed)
    return rows


def table(columns):
    """Markdown; columns: {engine: {row: (value, how)}}."""
    names = list(columns)
    lines = [f"| what | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    for row in columns["img"]:
        lines.append(f"| {row} | " + " | ".join(columns[n].get(row, ("", None))[0] or "-" for n in names) + " |")
    return "\n".join(lines) + "\n"


INTRODUCTION = """# What a container is allowed, beside podman and docker

Seen from inside by one small program (`tests/e2e/probe/probe.c`), run as root and as uid 1000 without any option about
confinement, from a caller with blocked and ignored signals, umask 077, groups 4242 and 4243, a key in its session keyring
and open descriptors 3 to 20 and 100. `tests/e2e/run.py probe` fails when img is weaker in any row, or when the column img
below is not what it measures; `IMG_UPDATE_GOLDEN=1` makes it write this file.

- capabilities: masks of `/proc/self/status`; seccomp mode 2 is a filter, 0 none
- paths: `masked` (a null device or an empty read-only folder), `read-only`, `open`, or `absent` on this kernel
- mounts: which of ro, nosuid, nodev and noexec are set

"""


class SideBySide(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.columns = {}
        cls.engine = Ours()
        cls.columns["img"] = rows_of(cls.engine.facts(), cls.engine.facts("-u", "1000"))

    def add_peer(self, kind):
        peer = kind()
        try:
            self.columns[peer.name] = rows_of(peer.facts(), peer.facts("-u", "1000"))
        finally:
            if kind is Docker:
                peer.docker.stop()
        weaker = []
        for row, (value, holds) in self.columns["img"].items():
            theirs = self.columns[peer.name].get(row)
            if theirs is not None and not holds(value, theirs[0]):
                weaker.append(f"{row}: {value!r}, {peer.name} {theirs[0]!r}")
        self.assertEqual(weaker, [], "weaker than " + peer.name)

    def test_a_ours_is_not_weaker_than_podman(self):
        self.add_peer(Podman)

    def test_b_ours_is_not_weaker_than_docker(self):
        self.add_peer(Docker)

    def test_c_the_document_says_what_is_measured(self):
        text = INTRODUCTION + table(self.columns)
        if os.environ.get("IMG_UPDATE_GOLDEN"):
            self.assertEqual(list(self.columns), ["img", "podman", "docker"], "both peers must have run")
            DOCUMENT.write_text(text)
            self.skipTest(f"wrote {DOCUMENT}")
        written = dict(re.findall(r"^\| ([^|]+) \| ([^|]*) \|", DOCUMENT.read_text(), re.M))
        for row, (value, _) in self.columns["img"].items():
            with self.subTest(row):
                self.assertIn(row, written)
                # What the kernel does not have cannot be masked.
                if "absent" not in (value, written[row]):
                    self.assertEqual(written[row], value or "-")

    def test_rights_are_the_same_in_exec(self):
        name = self.engine.img("run", "-d", "--net", "none", "probe", "sleep", "7100002").out.strip()
        try:
            for user in ("0", "1000"):
                argv = self.engine.img.argv("exec", "-u", user, name, "/probe", "facts", *MASKED, *READ_ONLY)
                facts = probing.sections(run(argv, preexec_fn=probing.spoil, close_fds=False).out)
                state = probing.status(facts)
                title = "root" if user == "0" else "uid 1000"
                for kind in CAPABILITY_SETS:
                    self.assertEqual(state[kind], self.columns["img"][f"{kind}, {title}"][0], kind)
                self.assertEqual(state["Seccomp"], "2")
                self.assertEqual([line.split()[0] for line in facts["fds"]], ["0", "1", "2"])
                self.assertEqual((state["SigBlk"], state["SigIgn"]), ("0" * 16, "0" * 16))
                self.assertFalse(set(state["Groups"].split()) & {"4242", "4243"})
                self.assertIn("umask 022", facts["process"])
            shown = self.engine.img("exec", "--privileged", name, "/probe", "facts", "/proc/kcore")
            state = probing.status(probing.sections(shown.out))
            self.assertEqual(state["Seccomp"], "0")
            self.assertEqual(state["CapEff"], state["CapBnd"])
            self.assertTrue(int(state["CapEff"], 16) >> 21 & 1, "SYS_ADMIN")
        finally:
            self.engine.img("rm", "-f", name)

    def test_rights_are_the_same_in_run_of_a_build(self):
        folder = harness.temp_dir("ctx")
        shown = self.engine.img.build(folder, "t", "--progress", "plain",
                                      dockerfile="FROM probe\nRUN /probe facts /proc/kcore && date\n", env={})
        text = re.sub(r"(?m)^#\d+ [\d.]+ ", "", shown.err + shown.out)
        state = probing.status(probing.sections(text[text.index("== fds"):]))
        for kind in CAPABILITY_SETS:
            self.assertEqual(state[kind], self.columns["img"][f"{kind}, root"][0], kind)
        self.assertEqual(state["Seccomp"], "2")

    def test_strict_confinement(self):
        state = probing.status(self.engine.facts("--security-opt", "confinement=strict", "-u", "1000"))
        self.assertEqual((state["NoNewPrivs"], state["CapBnd"]), ("1", "00000000800405fb"))
        for program in ("/probe-suid", "/probe-cap"):
            shown = self.engine.img("run", "--rm", "--net", "none", "--security-opt", "confinement=strict", "-u", "1000",
                                    "probe", program, "facts", "/sys")
            state = probing.status(probing.sections(shown.out))
            self.assertEqual(state["Uid"].split(), ["1000"] * 4, program)
            self.assertEqual(state["CapEff"], "0" * 16, program)

    def test_privileged_has_everything_and_says_so_once(self):
        script = ("/probe facts /proc/kcore /proc/timer_list /proc/sys; touch /proc/sys/kernel/hostname; ls /dev | wc -l; "
                  "grep ' /sys ' /proc/mounts")
        shown = self.engine.img("run", "--rm", "--net", "none", "--privileged", "probe", "sh", "-c", script)
        facts = probing.sections(shown.out)
        state = probing.status(facts)
        mine = probing.status({"status": open("/proc/self/status").read().splitlines()})
        self.assertEqual((state["CapEff"], state["Seccomp"]), (mine["CapBnd"], "0"))
        paths = dict(line.split() for line in facts["paths"] if line.count(" ") == 1)
        self.assertEqual((paths["/proc/timer_list"], paths["/proc/sys"]), ("open", "open"))
        self.assertNotIn("ro", probing.mounts(facts)["/sys"][0])
        self.assertIn("kmsg", facts["dev"])
        self.assertEqual(shown.err.count("warning:"), 1, shown.err)
        self.assertIn("--privileged", shown.err)

    def test_masks_as_asked_and_as_inspect_tells_them(self):
        def paths(*options):
            given = [word for option in options for word in ("--security-opt", option)]
            name = self.engine.img("run", "-d", "--net", "none", *given, "probe", "sleep", "7100004").out.strip()
            try:
                shown = self.engine.img("exec", name, "/probe", "facts", "/proc/timer_list", "/proc/keys", "/etc/hosts",
                                        "/proc/sys")
                host = json.loads(self.engine.img("inspect", name).out)[0]["HostConfig"]
                return dict(line.split() for line in probing.sections(shown.out)["paths"]), host
            finally:
                self.engine.img("rm", "-f", name)

        found, host = paths()
        self.assertEqual(set(found.values()), {"masked", "open", "read-only"})
        self.assertIn("/proc/timer_list", host["MaskedPaths"])
        self.assertIn("/proc/sys", host["ReadonlyPaths"])
        found, host = paths("mask=/etc/hosts:/srv", "unmask=/proc/timer_list:/proc/sys")
        self.assertEqual(found, {"/proc/timer_list": "open", "/proc/keys": "masked", "/etc/hosts": "masked",
                                 "/proc/sys": "open"})
        self.assertIn("/etc/hosts", host["MaskedPaths"])
        self.assertNotIn("/proc/timer_list", host["MaskedPaths"])
        self.assertEqual(host["ReadonlyPaths"], [p for p in host["ReadonlyPaths"] if p != "/proc/sys"])
        found, host = paths("systempaths=unconfined")
        self.assertEqual((found["/proc/timer_list"], found["/proc/keys"], found["/proc/sys"]), ("open", "open", "open"))
        self.assertEqual((host["MaskedPaths"], host["ReadonlyPaths"]), ([], []))
        self.assertEqual(host["SecurityOpt"], ["systempaths=unconfined"])

    def test_apparmor_needs_a_kernel_with_it(self):
        enabled = pathlib.Path("/sys/module/apparmor/parameters/enabled")
        shown = self.engine.img("run", "--rm", "--net", "none", "--security-opt", "apparmor=img-no-such", "probe", "true",
                                check=False)
        self.assertEqual(shown.code, 125)
        self.assertIn("AppArmor profile", shown.err)
        if not enabled.exists():
            self.assertIn("hint: apparmor=unconfined", shown.err)
        self.engine.img("run", "--rm", "--net", "none", "--security-opt", "apparmor=unconfined", "--security-opt",
                        "label=disable", "probe", "true")

    def test_a_privileged_mount_of_devices_is_kept_closed(self):
        script = "mkdir /d; mount -t devtmpfs none /d; (head -c1 < /d/kmsg) 2>/dev/null && echo opened; : > /d/null && echo null"
        shown = self.engine.img("run", "--rm", "--net", "none", "--cap-add", "SYS_ADMIN", "probe", "sh", "-c", script)
        self.assertEqual(shown.out, "null\n")
        shown = self.engine.img("run", "--rm", "--net", "none", "--device", "/dev/kmsg:/dev/kmsg:w", "probe", "sh", "-c",
                                "(: > /dev/kmsg) && echo written; (head -c1 < /dev/kmsg) 2>/dev/null && echo read; true")
        self.assertEqual(shown.out, "written\n")

    def test_device_rules_hold_for_exec_without_version_2_too(self):
        """Where version 2 groups are mounted beside version 1, they are hidden: the rules are then those of version 1."""
        script = ("test ! -d /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; img=$1; "
                  "c=$($img run -d --net none --cap-add SYS_ADMIN --cap-add MKNOD probe sleep 100) || exit; "
                  "$img exec $c sh -c 'mkdir /d && mount -t tmpfs d /d && mknod /d/k c 1 11 && mknod /d/n c 1 3 && "
                  ": > /d/n && echo null && (: > /d/k) 2>/dev/null && echo opened'; $img rm -f $c")
        shown = run(["unshare", "-m", "sh", "-c", script, "sh", self.engine.img.path()],
                    env={"IMG_ROOT": str(self.engine.img.store)}, check=False)
        self.assertRegex(shown.out, r"^null\n[0-9a-f]{64}\n$", shown)

    def test_docker_confinement_cannot_make_devices_that_work(self):
        state = probing.status(self.engine.facts("--security-opt", "confinement=docker"))
        self.assertEqual(state["CapBnd"], "00000000a80425fb")
        # /dev/kmsg: a node of the host that the container did not get.
        script = "for d in /dev /tmp /dev/shm; do mknod $d/k c 1 11 && (head -c1 < $d/k) 2>/dev/null && echo opened; done; true"
        for options in (("--security-opt", "confinement=docker"), ("--cap-add", "MKNOD")):
            shown = self.engine.img("run", "--rm", "--net", "none", *options, "probe", "sh", "-c", script)
            self.assertNotIn("opened", shown.out)
