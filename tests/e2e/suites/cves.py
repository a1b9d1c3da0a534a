"""One test for each class of holes that other engines had (security.md 14): hostile images, contexts and callers.

TESTS says where each CVE is tested: by a method of this file, or by a test of another file that is named there.
"""
import ctypes
import hashlib
import io
import os
import pathlib
import re
import shutil
import tarfile
import threading
import time

from lib import harness, probing
from lib.harness import ROOT, run

HERE = "tests/e2e/suites/cves.py"
TAR = "tests/store/hostile_tar_test.cc"
PROBE = "tests/e2e/suites/probe.py"
REMOTE = "tests/e2e/suites/remote.py"

TESTS = {
    "2014-6407 2018-15664 2025-47290": (TAR, "AnAbsoluteParentLinkStaysInside"),
    "2014-9357 2019-14271 2026-41567": (HERE, "test_no_program_of_an_image_runs_outside_it"),
    "2014-9358 2024-3727": ("tests/store/archive_hostile_test.cc", "TraversalMember"),
    "2016-9962 2024-21626": (HERE, "test_descriptors_of_the_caller_stay_outside"),
    "2016-0728 2026-31431": (PROBE, "test_the_native_calls"),
    "2019-5736": (HERE, "test_our_own_program_cannot_be_overwritten"),
    "2019-16884 2019-19921 2023-27561 2023-28642 2026-41579 2026-47766": (HERE, "test_links_where_kernel_trees_go"),
    "2020-1702 2023-25153": (TAR, "AHugeSparseFileMeetsTheLimit"),
    "2020-14386": (PROBE, "test_b_ours_is_not_weaker_than_docker"),
    "2020-15157": (REMOTE, "test_credentials_stay_at_their_host_and_port"),
    "2020-15257": (HERE, "test_nothing_listens_on_an_abstract_socket"),
    "2021-29136": (TAR, "TheRootMayOnlyBeAFolder"),
    "2021-30465 2026-42306 2023-0778": (HERE, "test_a_volume_target_that_is_swapped_while_we_mount"),
    "2021-32760": (TAR, "ModesAndOwnersOfLinksStayOnTheLink"),
    "2021-41190": ("tests/store/archive_hostile_test.cc", "ManifestThatIsAnIndexToo"),
    "2022-0492": (HERE, "test_no_cgroup_file_can_be_written"),
    "2022-2989 2022-2990 2022-2995 2022-36109 2023-25173": (HERE, "test_groups_that_deny_are_never_lost"),
    "2022-23648 2026-53488": (HERE, "test_paths_in_a_config_stay_inside"),
    "2022-24769 2022-27649 2022-27650 2022-27651 2022-29162": (PROBE, "test_rights_are_the_same_in_exec"),
    "2022-39253 2018-17456 2026-33748": (REMOTE, "test_links_in_the_repository_lead_nowhere_else"),
    "2023-25809": (HERE, "test_no_cgroup_file_can_be_written"),
    "2024-1753 2024-9675 2024-9407 2024-11218": (HERE, "test_mounts_of_run_stay_in_their_source"),
    "2024-9676 2026-47262": (HERE, "test_account_files_that_would_hang_us"),
    "2024-23651": (HERE, "test_a_source_of_copy_that_is_swapped_meanwhile"),
    "2024-23652": (HERE, "test_a_mount_point_whose_parent_was_swapped"),
    "2024-23653 2026-33747": (HERE, "test_no_frontend_is_fetched_or_run"),
    "2024-24557": (HERE, "test_a_loaded_image_is_no_cache"),
    "2024-40635 2026-46680 2026-30892": (HERE, "test_numbers_of_users_are_numbers"),
    "2024-45310": ("tests/runtime/rootfs_test.cc", "RefusesDanglingLinksAndFiles"),
    "2025-31133 2025-52565 2025-52881": (HERE, "test_masks_and_consoles_are_our_own"),
    "2025-62518 2026-53655": ("tests/store/tar_test.cc", "PaxBeatsGnuAndUstar"),
    "2026-55686": (HERE, "test_working_folders_through_links"),
}

RENAMEAT2, RENAME_EXCHANGE = 316, 2  # x86-64


class Swapper(threading.Thread):
    """Exchanges two names again and again, in one step each time."""

    def __init__(self, first, second):
        super().__init__(daemon=True)
        self.names = [os.fsencode(first), os.fsencode(second)]
        self.libc, self.ends = ctypes.CDLL(None), threading.Event()

    def run(self):
        while not self.ends.is_set():
            self.libc.syscall(RENAMEAT2, -100, self.names[0], -100, self.names[1], RENAME_EXCHANGE)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *unused):
        self.ends.set()
        self.join()


class Cves(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.img_ = self.img()
        # What must stay as it is.
        self.host = self.dir / "host"
        self.host.mkdir()
        (self.host / "secret").write_text("of the host")
        self.before = self.state()

    def tearDown(self):
        self.assertEqual(self.state(), self.before, "something of the host changed")

    def state(self):
        found = {}
        for path in [self.host, *sorted(self.host.rglob("*"))]:
            info = path.lstat()
            found[str(path)] = (info.st_ino, info.st_mode, info.st_uid, info.st_size, info.st_nlink, info.st_ctime_ns)
        return found

    def image(self, name, entries):
        """busybox with {path: text, bytes, ("link", target), ("fifo",) or ("folder",)} on top."""
        path = self.dir / f"{name}.tar"
        shutil.copy(harness.busybox_tar(), path)
        with tarfile.open(path, "a", format=tarfile.PAX_FORMAT) as tar:
            for where, what in entries.items():
                info = tarfile.TarInfo(where)
                info.mode, data = 0o755, b""
                if isinstance(what, tuple):
                    info.type = {"link": tarfile.SYMTYPE, "fifo": tarfile.FIFOTYPE, "folder": tarfile.DIRTYPE}[what[0]]
                    info.linkname = what[1] if len(what) > 1 else ""
                else:
                    data = what if isinstance(what, bytes) else what.encode()
                    info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        self.img_("import", path, name)
        return name

    def run_(self, *args, check=True, **kwargs):
        return self.img_("run", "--rm", "--net", "none", *args, check=check, timeout=30, **kwargs)

    # --- the process ---

    def test_descriptors_of_the_caller_stay_outside(self):
        self.img_("import", probing.image_tar(), "probe")
        with harness.Running(self.img_, "probe") as container:
            for words in (("run", "--rm", "--net", "none", "probe"), ("exec", container.id)):
                shown = run(self.img_.argv(*words, "/probe", "fds"), preexec_fn=probing.spoil, close_fds=False)
                self.assertEqual([line.split()[0] for line in shown.out.splitlines()[1:]], ["0", "1", "2"], words)
            for number in (*range(3, 21), 100, "../cwd"):
                for words in (("run", "--rm", "--net", "none", "-w", f"/proc/self/fd/{number}", "probe"),
                              ("exec", "-w", f"/proc/self/fd/{number}", container.id)):
                    shown = run(self.img_.argv(*words, "sh", "-c", "ls -d ../../../..; cat ../../../etc/hostname"),
                                preexec_fn=probing.spoil, close_fds=False, check=False)
                    self.assertIn(shown.code, (125, 126), str(shown))
                    self.assertEqual(shown.out, "")

    def test_our_own_program_cannot_be_overwritten(self):
        program = pathlib.Path(os.path.realpath(self.img_.path()))
        before = hashlib.sha256(program.read_bytes()).hexdigest()
        self.image("evil", {"bin/again": "#!/proc/self/exe\n", "bin/writer":
                            "#!/bin/sh\nwhile :; do for f in /proc/[0-9]*/exe /proc/self/exe; do "
                            "(echo broken > $f) 2>/dev/null && echo WRITTEN $f; done; done\n"})
        self.img_("run", "-d", "--net", "none", "--name", "w", "--cap-add", "SYS_PTRACE", "evil", "/bin/writer")
        for _ in range(8):
            self.img_("exec", "w", "/bin/again", check=False)
            self.img_("exec", "w", "true")
            self.run_("evil", "/bin/again", check=False)
        self.assertNotIn("WRITTEN", self.img_("logs", "w").out)
        self.assertEqual(hashlib.sha256(program.read_bytes()).hexdigest(), before)

    def test_groups_that_deny_are_never_lost(self):
        self.image("groups", {"etc/group": "root:x:0:\ndevs:x:1001:\nwheel:x:10:dev\ndeny:x:77:dev\n"})
        for user, groups in (("dev", "10 77 1001"), ("1000", "10 77 1001"), ("dev:77", "77"), ("4242", "0"), ("0", "0")):
            shown = self.run_("-u", user, "groups", "sh", "-c", "grep Groups: /proc/self/status; id -g; id -G")
            self.assertEqual(sorted(shown.out.splitlines()[0].split()[1:]), sorted(groups.split()), user)
            primary = shown.out.splitlines()[1]
            self.assertIn(primary, shown.out.splitlines()[0].split(), "the primary group is a member")
        shown = self.run_("-u", "dev:77", "--group-add", "10", "groups", "id", "-G")
        self.assertEqual(sorted(shown.out.split()), ["10", "77"])

    def test_numbers_of_users_are_numbers(self):
        self.image("users", {"etc/passwd": "4294967296:x:0:0:::\n-1:x:0:0:::\n+5:x:0:0:::\nbig:x:4294967296:0:::\n"
                                           "neg:x:-1:0:::\n1000:x:0:0:::\ndev:x:1000:1000:::\n"})
        with harness.Running(self.img_, "users") as container:
            for user in ("4294967296", "2147483648", "-1", "99999999999999999999", "big", "neg", "dev:4294967296", "dev:-1",
                         " 0", "0 ", "dev:", ":0", "a:b:c", "0\n", "\t0"):
                for words in (("run", "--rm", "--net", "none", "-u", user, "users"), ("exec", "-u", user, container.id)):
                    shown = self.img_(*words, "id", "-u", check=False)
                    self.assertNotEqual(shown.code, 0, f"{user!r}\n{shown}")
                    self.assertEqual(shown.out, "", f"{user!r}\n{shown}")
            self.assertEqual(self.run_("-u", "1000", "users", "id", "-u").out, "1000\n")
            self.assertEqual(self.run_("-u", "+5", "users", "id", "-u").out, "5\n")
            self.assertEqual(self.img_("exec", "-u", "1000", container.id, "id", "-u").out, "1000\n")

    def test_account_files_that_would_hang_us(self):
        for name, entries in (("fifo", {"etc/passwd": ("fifo",)}), ("group", {"etc/group": ("fifo",)}),
                              ("link", {"etc/passwd": ("link", "/dev/zero")}),
                              ("huge", {"etc/group": b"x:x:1:\n" * (2 << 20)})):
            self.image(name, entries)
            began = time.monotonic()
            shown = self.run_("-u", "dev", name, "true", check=False)
            self.assertEqual(shown.code, 125, f"{name}\n{shown}")
            shown = self.img_.build(self.write({"Dockerfile": f"FROM {name}\nUSER dev\nRUN true\n"}), "x", check=False)
            self.assertNotEqual(shown.code, 0, f"{name}\n{shown}")
            self.assertLess(time.monotonic() - began, 20, name)

    def test_fifos_and_devices_where_we_read(self):
        for name, content in (("Dockerfile", None), (".dockerignore", "FROM busybox\n")):
            for kind in ("fifo", "zero"):
                context = self.write({"x": "y"}, f"{kind}{name}")
                if content:
                    (context / "Dockerfile").write_text(content)
                if kind == "fifo":
                    os.mkfifo(context / name)
                else:
                    (context / name).symlink_to("/dev/zero")
                began = time.monotonic()
                shown = self.img_.build(context, "x", check=False)
                self.assertEqual(shown.code, 1, f"{kind} {name}\n{shown}")
                self.assertLess(time.monotonic() - began, 10)

    # --- paths ---

    def test_links_where_kernel_trees_go(self):
        for folder in ("dev", "proc", "sys"):
            for target in (str(self.host), "../../../.." + str(self.host), "/etc"):
                name = self.image(f"{folder}-link", {folder: ("link", target)})
                for options in ((), ("--privileged",), ("-i",)):
                    shown = self.run_(*options, name, "true", check=False)
                    self.assertEqual(shown.code, 125, str(shown))
                    self.assertRegex(shown.err, f"/{folder}`? in the image is a symbolic link")
                shown = self.img_.build(self.write({"Dockerfile": f"FROM {name}\nRUN true\n"}), "x", check=False)
                self.assertNotEqual(shown.code, 0)
                self.assertIn("is a symbolic link", shown.err)

    def test_masks_and_consoles_are_our_own(self):
        self.image("mask", {"dev": ("folder",), "dev/null": ("link", str(self.host / "secret")),
                            "dev/console": ("link", str(self.host / "secret")), "dev/pts": ("link", str(self.host)),
                            "dev/ptmx": ("link", str(self.host / "secret"))})
        shown = self.run_("mask", "sh", "-c", "cat /proc/timer_list /proc/keys | wc -c; ls -l /dev/null /proc/timer_list")
        self.assertEqual(shown.out.splitlines()[0], "0")
        self.assertEqual(shown.out.count("1,   3"), 2, shown.out)
        command = " ".join(self.img_.argv("run", "--rm", "-it", "--net", "none", "mask", "sh", "-c",
                                          "'echo x > /dev/console; ls -l /dev/console'"))
        self.assertRegex(run(["script", "-qec", command, "/dev/null"]).out, r"crw\S+ .* /dev/console")

    def test_volume_targets_through_links(self):
        self.image("targets", {"data": ("link", str(self.host)), "up": ("link", "../../../../.." + str(self.host)),
                               "etc/x": ("link", "/proc/1/root" + str(self.host))})
        for target in ("/data/new", "/up/new", "/etc/x/new", "/data", "/up", "/data/../data/secret/a"):
            self.run_("-v", f"vol:{target}", "targets", "true", check=False)
            self.run_("-v", f"{self.dir}:{target}:ro", "targets", "true", check=False)
        for target in ("/", "/proc", "/proc/self", "/sys", "/sys/kernel", "/tmp/../proc"):
            self.assertEqual(self.run_("-v", f"vol:{target}", "targets", "true", check=False).code, 125, target)

    def test_a_volume_target_that_is_swapped_while_we_mount(self):
        self.img_("volume", "create", "shared")
        data = self.dir / "store/volumes/shared"
        found = [p for p in (data / "_data", data / "data", data) if p.is_dir()]
        folder = found[0]
        (folder / "d").mkdir()
        (folder / "l").symlink_to(self.host)
        started = 0
        with Swapper(folder / "d", folder / "l"):
            for number in range(25):
                shown = self.run_("-v", "shared:/v", "-v", f"other:/v/d/n{number}", "busybox", "true", check=False)
                started += shown.code == 0
                self.assertIn(shown.code, (0, 125), str(shown))
        self.assertGreater(started, 0)

    def test_working_folders_through_links(self):
        self.image("cwd", {"to-host": ("link", str(self.host)), "up": ("link", "../../../../.." + str(self.host)),
                           "to-proc": ("link", "/proc/self/cwd")})
        for folder in ("/to-host/made", "/up/made", "/to-host"):
            shown = self.run_("-w", folder, "cwd", "sh", "-c", "pwd; ls; touch here", check=False)
            self.assertNotIn("secret", shown.out)
            self.img_.build(self.write({"Dockerfile": f"FROM cwd\nWORKDIR {folder}\nRUN touch x; chown 1:1 . x\n"}), "x",
                            check=False)
        for folder in ("/to-proc", "/proc/self/cwd", "/proc/1/root/tmp", "../../..", "proc/self"):
            self.assertNotEqual(self.run_("-w", folder, "cwd", "true", check=False).code, 0, folder)

    def test_paths_in_a_config_stay_inside(self):
        context = self.write({"Dockerfile": f'FROM busybox\nVOLUME ["/../../../..{self.host}"]\nLABEL a=/etc/shadow\n'
                                            f'ENV LD_PRELOAD=/evil.so PATH=/bin IMG_ROOT=/evil\n'})
        self.img_.build(context, "config")
        shown = self.run_("config", "sh", "-c", f"ls -A {self.host}; echo $LD_PRELOAD")
        self.assertEqual(shown.out, "/evil.so\n")

    def test_no_cgroup_file_can_be_written(self):
        script = ("find /sys/fs/cgroup ! -type l -type f -print | while read f; do (: >> $f) 2>/dev/null && echo $f; done; "
                  "mkdir /tmp/c; for t in cgroup cgroup2; do mount -t $t none /tmp/c 2>/dev/null && echo mounted $t; done; "
                  "unshare -U -r -m -C true 2>/dev/null && echo unshared; cat /proc/self/cgroup")
        shown = self.run_("--memory", "64m", "busybox", "sh", "-c", script)
        paths = {line.split(":", 2)[2] for line in shown.out.splitlines() if re.match(r"\d+:", line)}
        self.assertEqual([l for l in shown.out.splitlines() if not re.match(r"\d+:", l)], [])
        self.assertTrue(all("img" not in path for path in paths), paths)

    def test_nothing_listens_on_an_abstract_socket(self):
        names = lambda: {line.split()[-1] for line in open("/proc/net/unix") if "@" in line}
        before = names()
        self.img_("run", "-d", "--net", "host", "--name", "h", "busybox", "sleep", "7100003")
        self.assertEqual(names() - before, set())
        for path in self.img_.store.rglob("*"):
            if path.is_socket():
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_climbing_out_of_a_chroot(self):
        self.img_("import", probing.image_tar(), "probe")
        for environment in ({}, {"IMG_NO_PIVOT_ROOT": "1"}):
            shown = self.run_("probe", "/probe", "escape", str(self.host / "secret"), env=environment)
            self.assertEqual(shown.out, "kept in\n", environment)
            shown = self.run_("probe", "sh", "-c", "ls /; grep -c ' - proc ' /proc/self/mountinfo; cut -d' ' -f5 /proc/mounts",
                              env=environment)
            self.assertNotIn(str(self.dir), shown.out)

    # --- builds ---

    def test_no_program_of_an_image_runs_outside_it(self):
        harness.require("strace", "xz")
        evil = f"#!/bin/sh\ntouch {self.host}/ran\n"
        names = ("xz", "unxz", "unpigz", "gzip", "tar", "zstd", "bzip2", "git", "getent", "newuidmap", "nft")
        self.image("tools", {**{f"usr/local/bin/{name}": evil for name in names}, "etc/nsswitch.conf": "passwd: evil\n",
                             "lib/x86_64-linux-gnu/libnss_evil.so.2": evil, "etc/ld.so.preload": "/evil.so\n"})
        context = self.write({"Dockerfile": "FROM tools\nADD a.tar.xz /x/\nCOPY --chown=dev a.tar.xz /y\nUSER dev\n"})
        (self.dir / "in").write_text("content")
        run(["tar", "-cJf", context / "a.tar.xz", "-C", self.dir, "in"])
        log = self.dir / "strace"
        run(["strace", "-f", "-qq", "-e", "trace=execve,execveat", "-o", log,
             *self.img_.argv("build", "-t", "x", context)])
        with harness.Running(self.img_, "x") as container:
            run(["strace", "-f", "-qq", "-A", "-e", "trace=execve,execveat", "-o", log,
                 *self.img_.argv("cp", f"{container.id}:/x/in", self.dir / "out")])
        self.assertEqual((self.dir / "out").read_text(), "content")
        started = re.findall(r"execve(?:at)?\((?:AT_FDCWD, |\d+, )?\"([^\"]*)\"", log.read_text())
        ours = os.path.dirname(self.img_.path())
        self.assertEqual([p for p in started if not p.startswith(ours)], [])

    def test_mounts_of_run_stay_in_their_source(self):
        self.image("evil", {"link": ("link", "/"), "abs": ("link", str(self.host)),
                            "up": ("link", "../../../../.." + str(self.host))})
        script = f"(ls /m; cat /m/secret /m{self.host}/secret; touch /m/new) 2>&1; true"
        for mount in ("type=bind,from=evil,source=/link,target=/m,rw", "type=bind,from=evil,source=/abs,target=/m,rw",
                      "type=bind,from=evil,source=/up,target=/m,rw", "type=bind,source=../host,target=/m",
                      "type=cache,id=../../../host,target=/m", "type=cache,from=evil,source=/abs,target=/m",
                      "type=cache,from=evil,source=../../../host,target=/m", f"type=bind,source={self.host},target=/m"):
            context = self.write({"Dockerfile": f"FROM busybox\nRUN --mount={mount} {script}\n"})
            shown = self.img_.build(context, "x", "--no-cache", "--progress", "plain", check=False)
            self.assertNotIn("of the host", shown.out + shown.err, mount)
        for mount in ("type=bind,bind-propagation=shared,target=/m", "type=bind,target=/proc", "type=tmpfs,target=/",
                      "type=bind,target=/sys/kernel", "type=bind,target=/m,frobnicate=1"):
            context = self.write({"Dockerfile": f"FROM busybox\nRUN --mount={mount} true\n"})
            self.assertNotEqual(self.img_.build(context, "x", check=False).code, 0, mount)

    def test_a_mount_point_whose_parent_was_swapped(self):
        (self.host / "c").mkdir()
        (self.host / "f").write_text("")
        self.before = self.state()
        context = self.write({"Dockerfile": "FROM busybox\n"
                              "RUN --mount=type=cache,target=/a/b/c --mount=type=bind,target=/a/b/f,source=Dockerfile "
                              f"mv /a/b /a/old; mv /a /old; rm -rf /a/b; mkdir -p /a; ln -s {self.host} /a/b; "
                              f"ln -s {self.host} /a/new; true\n"})
        self.img_.build(context, "x")
        shown = self.run_("x", "sh", "-c", "find /a /old -type f -o -type d")
        # What mv itself copied to /old stays, and what we made for the mounts goes.
        self.assertNotRegex(shown.out, r"(?m)^/a/(b/)?[cf]$")

    def test_a_source_of_copy_that_is_swapped_meanwhile(self):
        context = self.write({"Dockerfile": "FROM busybox\nCOPY . /c/\n", "folder/secret": "of the context",
                              "file": "of the context"})
        (context / "link").symlink_to(self.host)
        (context / "flink").symlink_to(self.host / "secret")
        built = 0
        with Swapper(context / "folder", context / "link"), Swapper(context / "file", context / "flink"):
            for _ in range(6):
                shown = self.img_.build(context, "x", "--no-cache", check=False)
                if shown.code != 0:
                    continue
                built += 1
                shown = self.run_("x", "sh", "-c", "find /c -type f | xargs cat")
                self.assertNotIn("of the host", shown.out)
        for _ in range(20 if built == 0 else 0):  # refusals alone prove nothing: some must get through
            built += self.img_.build(context, "x", "--no-cache", check=False).code == 0
        self.assertGreater(built, 0)

    def test_no_frontend_is_fetched_or_run(self):
        for name in ("127.0.0.1:9/evil/frontend:1", "docker/dockerfile:1"):
            context = self.write({"Dockerfile": f"# syntax={name}\nFROM busybox\nRUN echo mine > /f\n"})
            began = time.monotonic()
            self.img_.build(context, "x", "--no-cache")
            self.assertLess(time.monotonic() - began, 10)
            self.assertEqual(self.run_("x", "cat", "/f").out, "mine\n")

    def test_a_loaded_image_is_no_cache(self):
        other = self.img(self.dir / "other")
        other.build(self.write({"Dockerfile": "FROM busybox\nRUN echo good > /f\n"}), "victim")
        archive = self.dir / "a.tar"
        # The same base and the same history, and another layer.
        other.build(self.write({"Dockerfile": "FROM busybox\nRUN echo evil > /f\n"}), "evil")
        image = other.image("evil")
        self.assertIn("evil", image.document["history"][-1]["created_by"])
        other("save", "-o", archive, "evil")
        folder = self.dir / "unpacked"
        run(["tar", "-xf", archive, "-C", folder.mkdir() or folder])
        self.forge(folder, image, b"echo evil", b"echo good")
        run(["tar", "-cf", archive, "-C", folder, "."])
        self.img_("load", "-i", archive)
        self.assertIn("good", self.img_("history", "--no-trunc", "evil").out)
        self.img_.build(self.write({"Dockerfile": "FROM busybox\nRUN echo good > /f\n"}), "mine")
        self.assertEqual(self.run_("mine", "cat", "/f").out, "good\n")

    def forge(self, folder, image, old, new):
        """Changes bytes of the config of an image in an unpacked archive, and every name that follows from it."""
        changes = {old: new}
        for digest in (image.id, image.digest):
            path = folder / "blobs/sha256" / digest.split(":")[1]
            data = path.read_bytes()
            for before, after in changes.items():
                data = data.replace(before, after)
            path.unlink()
            name = hashlib.sha256(data).hexdigest()
            (folder / "blobs/sha256" / name).write_bytes(data)
            changes[digest.split(":")[1].encode()] = name.encode()
        for name in ("index.json", "manifest.json"):
            path = folder / name
            if path.exists():
                data = path.read_bytes()
                for before, after in changes.items():
                    data = data.replace(before, after)
                path.write_bytes(data)

    def test_every_row_names_a_test_that_is_there(self):
        for cves, (name, test) in TESTS.items():
            with self.subTest(cves):
                self.assertIn(test, (ROOT / name).read_text())
                if name == HERE:
                    self.assertTrue(hasattr(self, test))
