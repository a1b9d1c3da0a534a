"""As an ordinary user: with subordinate ids, with one id only, two users side by side."""
import json
import os
import pathlib
import stat
import tarfile
import time

from lib import harness, people
from lib.harness import PAST, run

DOCKERFILE = """FROM busybox AS base
COPY --chown=1000:1001 d /d/
ADD owned.tar /
RUN echo more >> /etc/group; rm /d/sub/b; rm -r /usr; mkdir /usr; touch -d @%d /usr /etc /etc/group /d/sub
FROM busybox
COPY --from=base /d /owned /copied/
COPY --chown=7:8 d/a /x/a
RUN echo more >> /copied/a; rm -r /copied/sub; mkdir /copied/sub; touch -d @%d /copied /copied/a /copied/sub
""" % (PAST, PAST)


def owned_tar(path):
    """A file, a link to it, a second name, a FIFO and their folder, none of them root's."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        def add(name, kind, mode, **more):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime, info.uid, info.gid = kind, mode, PAST, 33, 44
            for key, value in more.items():
                setattr(info, key, value)
            tar.addfile(info)

        add("owned", tarfile.DIRTYPE, 0o755, uid=5, gid=6)
        add("owned/x", tarfile.REGTYPE, 0o4755)
        add("owned/link", tarfile.SYMTYPE, 0o777, linkname="x")
        add("owned/second", tarfile.LNKTYPE, 0o4755, linkname="owned/x")
        add("owned/fifo", tarfile.FIFOTYPE, 0o600)


class People:
    """Made once: useradd costs more than a test."""
    made = {}

    @classmethod
    def get(cls, name, has_range):
        if name not in cls.made:
            cls.made[name] = people.Ordinary(name, has_range)
        return cls.made[name]


class OrdinaryUser:
    """What works for everybody."""
    number = 0

    def setUp(self):
        super().setUp()
        self.person = People.get(*self.kind)
        OrdinaryUser.number += 1
        self.img_ = self.person.img(f"store{OrdinaryUser.number}")
        self.addCleanup(self.check_nothing_is_left)
        self.addCleanup(self.img_.remove_containers)
        os.chmod(self.dir, 0o777)
        self.mounts = harness.mounts()
        self.img_("import", self.shared(harness.busybox_tar()), "busybox")

    def shared(self, path):
        os.chmod(path, 0o644)
        return path

    def context(self, dockerfile=DOCKERFILE):
        folder = self.write({"Dockerfile": dockerfile, "d/a": "a\n", "d/sub/b": "b\n"})
        owned_tar(folder / "owned.tar")
        os.chmod(folder / "d/sub/b", 0o4755)
        if not (folder / "d/link").is_symlink():
            os.symlink("a", folder / "d/link")
        harness.set_times(folder)
        return folder

    def check_nothing_is_left(self):
        deadline = time.monotonic() + 10
        while True:
            left = [pid for pid in harness.processes() if self.belongs(pid)]
            if not left:
                break
            self.assertLess(time.monotonic(), deadline, harness.processes())
            time.sleep(0.02)
        self.assertEqual(harness.mounts(), self.mounts)

    def belongs(self, pid):
        """A process of the person, under a subordinate id too: in a user namespace of his, or under his id."""
        try:
            ids = pathlib.Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()
            inside = pathlib.Path(f"/proc/{pid}/uid_map").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return int(ids[0]) == self.person.uid or inside[1:2] == [str(self.person.uid)]

    def run_(self, *args, **kwargs):
        return self.img_("run", "--rm", "--net", "none", *args, **kwargs)

    def started(self, *args, name="c"):
        return self.img_("run", "-d", "--net", "none", "--name", name, *args).out.strip()

    # --- builds ---

    def test_layers_are_those_that_root_builds(self):
        options = ("--source-date-epoch", str(PAST), "--rewrite-timestamp")
        theirs = self.img(self.dir / "root-store")
        theirs("save", "-o", self.dir / "base.tar", "busybox")  # an import has its own time
        self.img_("load", "-i", self.shared(self.dir / "base.tar"))
        theirs.build(self.context(), "t", *options)
        self.img_.build(self.context(), "t", *options)
        expected, got = theirs.image("t"), self.img_.image("t")
        self.assertEqual([l["digest"] for l in got.layers], [l["digest"] for l in expected.layers])
        self.assertEqual(got.id, expected.id)
        # And they hold what was asked for.
        owners = {}
        for layer in got.layers[1:]:
            with tarfile.open(got.blob_path(layer["digest"])) as tar:
                owners.update({m.name: (m.uid, m.gid) for m in tar})
        self.assertEqual({n: owners[n] for n in ("copied/a", "copied/link", "copied/x", "copied/fifo", "x/a")},
                         {"copied/a": (1000, 1001), "copied/link": (33, 44), "copied/x": (33, 44), "copied/fifo": (33, 44),
                          "x/a": (7, 8)})

    def test_a_second_build_is_cached(self):
        self.img_.build(self.context(), "t")
        self.assertRegex(self.img_.build(self.context(), "t").err, r"(\d+) of \1 cached")

    def test_whiteouts_and_opaque_folders_hide(self):
        context = self.context("FROM busybox\nRUN mkdir -p /deep/a && touch /deep/a/old /deep/gone\n"
                               "RUN rm -r /deep && mkdir -p /deep/a && touch /deep/new\nRUN ls -R /deep > /list\n")
        self.img_.build(context, "t")
        self.assertEqual(self.run_("t", "cat", "/list").out, "/deep:\na\nnew\n\n/deep/a:\n")
        # The same from the blobs: as another store unpacks them.
        other = self.person.img(f"other{OrdinaryUser.number}")
        self.img_("save", "-o", self.person.home / "t.tar", "t")
        other("load", "-i", self.person.home / "t.tar")
        shown = other("run", "--rm", "--net", "none", "t", "find", "/deep").out
        self.assertEqual(sorted(shown.split()), ["/deep", "/deep/a", "/deep/new"])

    def test_device_nodes_of_a_layer_become_empty_files_with_one_warning(self):
        path = self.dir / "nodes.tar"
        with tarfile.open(path, "w") as tar:
            for name in ("one", "two"):
                info = tarfile.TarInfo(name)
                info.type, info.mode, info.devmajor, info.devminor = tarfile.CHRTYPE, 0o666, 1, 3
                tar.addfile(info)
        self.img_("import", path, "nodes")
        context = self.context("FROM nodes\nCOPY --from=busybox /bin/busybox /bin/busybox\n")
        self.img_.build(context, "t")
        shown = self.img_("run", "--rm", "--net", "none", "t", "/bin/busybox", "stat", "-c", "%F %a", "/one", "/two")
        self.assertEqual(shown.out, "regular empty file 0\n" * 2)

    # --- containers ---

    def test_run_create_start_stop_kill_rm_ps_logs_top(self):
        self.img_("create", "--net", "none", "--name", "made", "busybox", "sh", "-c", "echo said; exec sleep 7700001")
        self.img_("start", "made")
        self.started("busybox", "sleep", "7700002", name="second")
        self.assertEqual(sorted(self.img_("ps", "--format", "{{.Names}}").out.split()), ["made", "second"])
        self.assertIn("sleep 7700002", self.img_("top", "second").out)
        self.img_("kill", "second")
        self.img_("stop", "-t", "0", "made")
        self.assertEqual(self.img_("logs", "made").out, "said\n")
        self.assertEqual(self.img_("ps", "-q").out, "")
        self.img_("rm", "made", "second")
        self.assertEqual(self.img_("ps", "-a", "-q").out, "")

    def test_exec_commit_diff_cp_volumes(self):
        self.img_("volume", "create", "v")
        self.started("-v", "v:/v", "busybox", "sleep", "7700003")
        self.img_("exec", "c", "sh", "-c", "echo kept > /made; echo data > /v/file; rm /etc/group")
        self.assertLessEqual({"C /etc", "D /etc/group", "A /made"}, set(self.img_("diff", "c").out.splitlines()))
        self.img_("cp", "c:/made", self.person.home / "copied")
        self.assertEqual((self.person.home / "copied").stat().st_uid, self.person.uid)
        self.img_("commit", "c", "changed")
        self.assertEqual(self.run_("changed", "sh", "-c", "cat /made; ls /etc/group /v", check=False).out, "kept\n/v:\n")
        self.assertEqual(self.run_("-v", "v:/w", "busybox", "cat", "/w/file").out, "data\n")

    def test_images_save_load_rmi(self):
        archive = self.person.home / "busybox.tar"
        self.img_("save", "-o", archive, "busybox")
        before = self.img_.image("busybox").id
        self.img_("rmi", "busybox")
        self.assertEqual(self.img_("images", "-q").out, "")
        self.img_("load", "-i", archive)
        self.assertEqual(self.img_.image("busybox").id, before)

    def test_a_terminal_works(self):
        shown = run(["script", "-qec", " ".join(map(str, self.img_.argv("run", "--rm", "-it", "--net", "none", "busybox", "tty"))),
                     "/dev/null"], env=self.person.env, **self.person.options)
        self.assertIn("/dev/pts/0", shown.out)

    def test_the_standard_devices_are_the_hosts(self):
        code = "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T' /dev/$d; done; echo x > /dev/null"
        self.assertEqual(self.run_("busybox", "sh", "-c", code).out,
                         "".join(f"/dev/{n} character special file {m}\n" for n, m in
                                 (("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"), ("urandom", "1:9"),
                                  ("tty", "5:0"))))

    def test_the_hosts_sys_is_read_only_below_too(self):
        shown = self.img_("run", "--rm", "--net", "host", "busybox", "sh", "-c",
                          "grep ' /sys' /proc/self/mounts; mkdir /sys/fs/cgroup/x", check=False)
        self.assertNotEqual(shown.code, 0)
        for line in shown.out.splitlines():
            self.assertRegex(line.split()[3], r"^ro,", line)

    def test_files_in_a_bound_folder_are_the_callers(self):
        folder = self.person.home / f"bound{OrdinaryUser.number}"
        folder.mkdir()
        os.chown(folder, self.person.uid, self.person.gid)
        self.run_("-v", f"{folder}:/b", "busybox", "touch", "/b/new")
        self.assertEqual((folder / "new").stat().st_uid, self.person.uid)

    def test_two_commands_at_once_share_a_namespace(self):
        started = [self.img_.start("run", "--rm", "--net", "none", "--name", f"p{i}", "busybox", "sh", "-c",
                                   "readlink /proc/1/ns/user; sleep 1") for i in range(4)]
        spaces = {p.communicate(timeout=60)[0] for p in started}
        self.assertEqual([p.returncode for p in started], [0] * 4)
        self.assertEqual(len(spaces), 1, spaces)

    def test_a_killed_keeper_takes_its_container_along(self):
        self.started("busybox", "sleep", "7700004")
        [keeper] = [pid for pid, line in harness.processes().items() if "run -d" in line or " run " in line]
        os.kill(keeper, 9)
        deadline = time.monotonic() + 10
        while any("7700004" in line for line in harness.processes().values()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.assertEqual(self.img_("ps", "-q").out, "")
        self.assertEqual(self.run_("busybox", "echo", "alive").out, "alive\n")

    # --- limits, stores ---

    def test_a_limit_without_a_cgroup_is_an_error(self):
        shown = self.run_("--memory", "64m", "busybox", "true", check=False)
        self.assertEqual(shown.code, 125, str(shown))
        self.assertRegex(shown.err, r"cannot set the limit")

    def test_the_store_is_closed_to_others(self):
        self.assertEqual(stat.S_IMODE(self.img_.store.stat().st_mode), 0o700)
        stranger = People.get("imgother", True)
        shown = run([stranger.home / "bin/img", "--root", self.img_.store, "images"], check=False, env=stranger.env,
                    **stranger.options)
        self.assertEqual(shown.code, 1, str(shown))
        self.assertIn("Permission denied", shown.err)

    def test_doctor_says_that_it_works(self):
        shown = run([self.img_.path(), "doctor", "--format", "json"], env=self.person.env, **self.person.options)
        states = {f["name"]: f["state"] for f in json.loads(shown.out)}
        self.assertEqual({n: states[n] for n in ("rights", "overlay", "namespaces", "proc", "seccomp")},
                         dict.fromkeys(("rights", "overlay", "namespaces", "proc", "seccomp"), "ok"))
        self.assertEqual(states["user ids"], self.ids_state)


class WithSubordinateIds(OrdinaryUser, harness.TestCase):
    kind = ("imgrange", True)
    ids_state = "ok"

    def test_users_and_owners_are_real(self):
        self.assertEqual(self.run_("-u", "dev", "busybox", "id", "-u").out, "1000\n")
        shown = self.run_("busybox", "sh", "-c", "stat -c %u:%g /home/dev; touch /f; chown 12:34 /f; stat -c %u:%g /f").out
        self.assertEqual(shown, "1000:1001\n12:34\n")

    def test_a_container_under_a_subordinate_id_is_entered_and_stopped(self):
        self.started("-u", "dev", "busybox", "sleep", "7700005")
        pid = int(self.img_.field("c", ".State.Pid"))
        outside = int(pathlib.Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0])
        self.assertGreater(outside, 65535)
        self.assertEqual(self.img_("exec", "c", "id", "-u").out, "1000\n")
        self.assertEqual(self.img_("exec", "-u", "0", "c", "id", "-u").out, "0\n")
        self.img_("kill", "-s", "TERM", "c")
        self.img_("stop", "-t", "1", "c")
        self.assertEqual(self.img_.field("c", ".State.Status"), "exited")

    def test_info_tells_the_method(self):
        self.assertEqual(self.img_("info", "--format", "{{.Privileges}} {{.UserIDs}}").out, "userns 65537\n")

    def with_one_id(self, dockerfile, tag=None, **kwargs):
        context = self.write({"Dockerfile": dockerfile})
        os.link(harness.busybox_tar(), context / "busybox.tar")
        return self.one.build(context, tag, "--isolation", "userns1", **kwargs)

    def make_store_with_one_id(self):
        self.one = self.person.img(f"one{OrdinaryUser.number}")
        self.with_one_id("FROM scratch\nADD busybox.tar /\n", "busybox")

    def test_one_id_can_be_asked_for(self):
        self.make_store_with_one_id()
        self.one.build(self.context(), "t", "--isolation", "userns1")
        shown = self.one.build(self.context("FROM busybox\nRUN cat /proc/self/uid_map\n"), None, "--isolation", "userns1")
        self.assertRegex(shown.err, rf"0 +{self.person.uid} +1\b")

    def test_owners_recorded_with_one_id_become_real_with_more(self):
        self.make_store_with_one_id()
        shown = self.one("run", "--rm", "--net", "none", "busybox", "stat", "-c", "%u:%g", "/home/dev")
        self.assertEqual(shown.out, "1000:1001\n")

    def test_layers_of_many_ids_are_not_taken_from_those_who_use_them(self):
        self.started("busybox", "sleep", "7700006")
        shown = self.img_.build(self.context("FROM busybox\nRUN touch /home/dev/x\n"), None, "--isolation", "userns1", check=False)
        self.assertNotEqual(shown.code, 0)
        self.assertRegex(shown.err, r"(?m)^error: .*user ids that are not there now")
        self.assertIn("another store: --root", shown.err)
        self.assertEqual(self.img_("exec", "c", "stat", "-c", "%u:%g", "/home/dev").out, "1000:1001\n")


class WithOneId(OrdinaryUser, harness.TestCase):
    kind = ("imgone", False)
    ids_state = "degraded"

    def test_another_user_is_an_error_that_names_the_cure(self):
        shown = self.run_("-u", "dev", "busybox", "true", check=False)
        self.assertEqual(shown.code, 125, str(shown))
        self.assertIn("no such id", shown.err)
        self.assertIn("/etc/subuid", shown.err)

    def test_the_notice_comes_once_and_names_the_line(self):
        env = {**self.person.env, "XDG_RUNTIME_DIR": None}
        argv = [self.img_.path(), "--root", self.person.home / f"fresh{OrdinaryUser.number}", "images"]
        first = run(argv, env=env, **self.person.options)
        self.assertIn("add the line imgone:100000:65536", first.err)
        self.assertEqual(run(argv, env=env, **self.person.options).err, "")

    def test_a_step_that_needs_more_ids_gets_a_hint(self):
        for command in ("touch /f && chown 42:42 /f", "su dev -c id"):
            shown = self.img_.build(self.context(f"FROM busybox\nRUN {command}\n"), check=False)
            self.assertEqual(shown.code, 1, str(shown))
            self.assertRegex(shown.err, "(?m)^   = hint: this user has one id, .*/etc/subuid and /etc/subgid")

    def test_ranges_can_be_required(self):
        shown = self.img_.build(self.context(), None, "--isolation", "userns", check=False)
        self.assertNotEqual(shown.code, 0)
        self.assertIn("no subordinate ids", shown.err)

    def test_info_tells_the_method(self):
        self.assertEqual(self.img_("info", "--format", "{{.Privileges}}").out, "userns1\n")


class WithoutTheRight(harness.TestCase):
    """Root of a container that may not administer anything: played by root of a user namespace without CAP_SYS_ADMIN."""

    def setUp(self):
        super().setUp()
        self.person = People.get("imgrange", True)
        OrdinaryUser.number += 1
        self.store = self.person.home / f"inner{OrdinaryUser.number}"

    def inside(self, *command, before="true", without="-sys_admin"):
        script = f'{before}; exec setpriv --bounding-set {without} "$@"'
        img = [self.person.home / "bin/img", command[0], "--root", self.store, "--runroot", f"{self.store}-run", *command[1:]]
        return run(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *img], check=False,
                   env=self.person.env, **self.person.options)

    def test_it_enters_a_user_namespace_of_its_own(self):
        tar = harness.busybox_tar()
        os.chmod(tar, 0o644)
        self.assertEqual(self.inside("import", tar, "busybox").code, 0)
        shown = self.inside("run", "--rm", "--net", "none", "busybox", "id", "-u")
        self.assertEqual((shown.code, shown.out), (0, "0\n"), str(shown))
        self.assertEqual(self.inside("info", "--format", "{{.Privileges}}").out, "userns1\n")

    def test_a_limit_of_zero_is_named(self):
        shown = self.inside("images", before="echo 0 > /proc/sys/user/max_user_namespaces",
                            without="-sys_admin,-sys_chroot")
        self.assertNotEqual(shown.code, 0)
        self.assertRegex(shown.err, r"^error: make a user namespace: ")
        self.assertIn("user.max_user_namespaces is 0", shown.err)
        self.assertIn("sysctl user.max_user_namespaces=", shown.err)

    def test_doctor_fails_where_nothing_works(self):
        shown = self.inside("doctor", before="echo 0 > /proc/sys/user/max_user_namespaces",
                            without="-sys_admin,-sys_chroot")
        self.assertEqual(shown.code, 1, str(shown))
        self.assertRegex(shown.out, r"(?m)^rights: missing: as root: sysctl user\.max_user_namespaces=")

    def test_a_covered_proc_is_explained(self):
        tar = harness.busybox_tar()
        self.inside("import", tar, "busybox")
        shown = self.inside("run", "--rm", "--net", "none", "busybox", "true",
                            before="mount -t tmpfs tmpfs /proc/irq")
        self.assertEqual(shown.code, 125, str(shown))
        self.assertIn("parts of /proc are covered", shown.err)
