"""cp, diff, export, attach and their family: the same commands in img and in docker, and what a hostile container may try."""
import fcntl
import gzip
import io
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import tarfile
import termios
import time
import unittest

from lib import harness, peers
from lib.harness import run

FORMS = 40  # folders /t0, /t1, ... with the same content: one for each copy


def fixture(number):
    """What every copy finds at its destination: {path: kind, data or link}."""
    top = f"t{number}"
    return {top: None, f"{top}/file": b"old\n", f"{top}/dir": None, f"{top}/dir/inner": b"inner\n",
            f"{top}/empty": None, f"{top}/link": "file", f"{top}/dlink": "dir", f"{top}/absolute": f"/{top}/dir",
            f"{top}/dangling": "nowhere", f"{top}/clash": None, f"{top}/clash/d": b"a file\n",
            f"{top}/clash/f": None, f"{top}/clash/f/x": b"x\n"}


def source_tree():
    return {"f": b"content\n", "d": None, "d/a": b"a\n", "d/sub": None, "d/sub/b": b"b\n", "l": "f", "dl": "d",
            "broken": "nowhere"}


def write_tree(folder, tree):
    os.makedirs(folder, exist_ok=True)
    for name, content in tree.items():
        path = pathlib.Path(folder, name)
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.symlink_to(content)
    harness.set_times(folder)


def tar_tree(into, tree):
    for name, content in tree.items():
        info = tarfile.TarInfo(name)
        info.mtime, info.mode = harness.PAST, 0o644
        if content is None:
            info.type, info.mode = tarfile.DIRTYPE, 0o755
        elif isinstance(content, bytes):
            info.size = len(content)
        else:
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, content, 0o777
        into.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)


def listing(archive, prefix=""):
    """{path: what it is} of a tar."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            name = member.name.removeprefix("./").rstrip("/")
            if not name.startswith(prefix):
                continue
            data = tar.extractfile(member).read() if member.isreg() else b""
            found[name] = (member.type, oct(member.mode & 0o7777), member.uid, member.gid, member.linkname, data)
    return found


def walk(folder):
    found = {}
    for base, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(base, name)
            st = os.lstat(path)
            data = os.readlink(path) if os.path.islink(path) else open(path, "rb").read() if os.path.isfile(path) else ""
            found[os.path.relpath(path, folder)] = (oct(st.st_mode), st.st_uid, st.st_gid, data)
    return found


# SRC and DST of a copy into a container; {t} is a fixture of its own.
INTO = ("f {t}/new", "f {t}/dir", "f {t}/dir/", "f {t}/file", "f {t}/link", "f {t}/dlink", "f {t}/dlink/", "f {t}/dangling",
        "f {t}/new/", "f {t}/no/such", "f {t}/file/", "f {t}/absolute", "d {t}/new", "d {t}/new/", "d {t}/dir", "d {t}/file",
        "d {t}/link", "d {t}/dlink", "d/. {t}/dir", "d/. {t}/new", "d/ {t}/dir", "l {t}/new", "-L l {t}/new", "dl {t}/dir",
        "dl/ {t}/dir", "dl/. {t}/dir", "-L dl {t}/dir", "broken {t}/dir", "nope {t}/dir", "d {t}/clash", "f {t}/clash",
        "d/. {t}/empty/", "f {t}/./dir/../dir/x", "d {t}/no/such")
# The other way round: the container has the fixture and the host too.
OUT = ("{t}/file o/new", "{t}/file o/dir", "{t}/file o/file", "{t}/file o/link", "{t}/file o/dlink", "{t}/file o/new/",
       "{t}/file o/no/such", "{t}/dir o/new", "{t}/dir o/dir", "{t}/dir o/file", "{t}/dir/. o/dir", "{t}/dir/. o/new",
       "{t}/link o/new", "-L {t}/link o/new", "{t}/dlink o/dir", "{t}/dlink/ o/dir", "{t}/dlink/. o/dir", "-L {t}/dlink o/dir",
       "{t}/dangling o/new", "{t}/nope o/new", "{t}/absolute/ o/dir", "{t}/absolute/inner o/new", "{t}/empty o/new", "{t} o/new")


class LikeDocker(unittest.TestCase):
    """One image with all fixtures, a running and a created container of it on both sides."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(harness.temp_dir("commands"))
        cls.docker = peers.Dockerd()
        cls.addClassCleanup(cls.docker.stop)
        image = cls.dir / "image.tar"
        image.write_bytes(pathlib.Path(harness.busybox_tar()).read_bytes())
        with tarfile.open(image, "a", format=tarfile.PAX_FORMAT) as tar:
            for number in range(FORMS):
                tar_tree(tar, fixture(number))
        cls.docker("import", image, "forms:latest")
        cls.img = harness.Img()
        cls.addClassCleanup(cls.img.remove_containers)
        cls.img("import", image, "forms")
        for program in (cls.docker, cls.img):
            program("run", "-d", "--net", "none", "--name", "running", "forms", "sleep", "7200000")
            program("create", "--net", "none", "--name", "created", "forms", "sleep", "1")
        write_tree(cls.dir / "src", source_tree())

    def both(self, *args, **kwargs):
        return [program(*args, check=False, **kwargs) for program in (self.docker, self.img)]

    def copy_into(self, container):
        ends = {}
        for number, form in enumerate(INTO):
            words = form.format(t=f"{container}:/t{number}").split()
            theirs, ours = self.both("cp", *words, cwd=self.dir / "src")
            ends[form] = (theirs.code == 0, ours.code == 0, ours.err)
        theirs, ours = (listing(program("export", container).raw, "t") for program in (self.docker, self.img))
        for number, form in enumerate(INTO):
            with self.subTest(form):
                self.assertEqual(ends[form][0], ends[form][1], ends[form][2])
                self.assertEqual(self.part(ours, number), self.part(theirs, number))

    @staticmethod
    def part(found, number):
        return {name: entry for name, entry in found.items() if name.split("/")[0] == f"t{number}"}

    def test_copies_into_a_running_container(self):
        self.copy_into("running")

    def test_copies_into_a_container_that_does_not_run(self):
        self.copy_into("created")

    def test_copies_out_of_a_container(self):
        last = FORMS - 1  # nothing is copied into it
        for container in ("running", "created"):
            for number, form in enumerate(OUT):
                trees = []
                for name, program in (("theirs", self.docker), ("ours", self.img)):
                    folder = self.dir / f"{container}{number}{name}"
                    write_tree(folder, {path.replace("t0", "o", 1): content for path, content in fixture(0).items()})
                    shown = program("cp", *form.format(t=f"{container}:/t{last}").split(), check=False, cwd=folder)
                    trees.append((shown.code == 0, walk(folder)))
                with self.subTest(form, container=container):
                    self.assertEqual(trees[1], trees[0])

    def test_archives_on_the_standard_streams(self):
        last = FORMS - 1
        for path in (f"/t{last}/file", f"/t{last}/dir", f"/t{last}/dir/.", f"/t{last}/dlink", f"t{last}/link"):
            with self.subTest(path):
                theirs, ours = (listing(program("cp", f"running:{path}", "-").raw) for program in (self.docker, self.img))
                theirs = {name: entry for name, entry in theirs.items() if name not in ("", ".")}
                self.assertEqual({n: e[:1] + e[4:] for n, e in ours.items()}, {n: e[:1] + e[4:] for n, e in theirs.items()})
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            tar_tree(tar, source_tree())
        for archive in (data.getvalue(), gzip.compress(data.getvalue())):
            theirs, ours = self.both("cp", "-", f"running:/t{FORMS - 2}/empty", stdin=archive)
            self.assertEqual((theirs.code, ours.code), (0, 0), ours.err)
        for target in (f"/t{FORMS - 2}/file", f"/t{FORMS - 2}/nope"):
            theirs, ours = self.both("cp", "-", f"running:{target}", stdin=data.getvalue())
            self.assertEqual((theirs.code != 0, ours.code != 0), (True, True))
        theirs, ours = (listing(program("export", "running").raw, f"t{FORMS - 2}/") for program in (self.docker, self.img))
        self.assertEqual(ours, theirs)

    def test_diff_of_what_commands_did(self):
        script = ("echo x > /etc/new; echo y >> /etc/passwd; rm /etc/group; mkdir -p /a/b; echo z > /a/b/c; rm -r /home;"
                  "mkdir /home; chmod 700 /root; ln -s x /tmp/link; mv /t39/dir /t39/moved; touch /bin/added; rm -r /t38/dir")
        for program in (self.docker, self.img):
            program("run", "--net", "none", "--name", "changed", "forms", "sh", "-c", script)
        theirs, ours = (program("diff", "changed").out.splitlines() for program in (self.docker, self.img))
        self.assertEqual(ours, sorted(theirs, key=lambda line: line[2:]))

    def test_top_of_a_running_container(self):
        for options in ([], ["-o", "pid,comm,args"], ["aux"]):
            theirs, ours = (program("top", "running", *options).out.splitlines() for program in (self.docker, self.img))
            self.assertEqual(re.split(r"\s+", ours[0].strip()), re.split(r"\s+", theirs[0].strip()), options)
            self.assertEqual(len(ours), len(theirs))

    def test_wait_kill_stop_and_logs(self):
        # Two streams have no order but that in which their lines were read: each waits until the one before is in the log.
        script = "echo one; until [ -e /1 ]; do sleep 0.02; done; echo two >&2; until [ -e /2 ]; do sleep 0.02; done; printf tail; exit 7"
        for program in (self.docker, self.img):
            program("run", "-d", "--net", "none", "--name", "spoke", "forms", "sh", "-c", script)
            for said, go in ("one", "/1"), ("two", "/2"):
                harness.wait_until(lambda: said in "{0.out}{0.err}".format(program("logs", "spoke")), f"{said} in the log")
                program("exec", "spoke", "touch", go)
            program("wait", "spoke")
        for command in (["wait", "spoke"], ["logs", "spoke"], ["logs", "--tail", "1", "spoke"], ["logs", "-n", "2", "spoke"],
                        ["logs", "--until", "2001-01-01T00:00:00Z", "spoke"], ["logs", "--since", "2001-01-01T00:00:00Z", "spoke"],
                        ["kill", "spoke"], ["rm", "nope"], ["logs", "nope"], ["port", "spoke"], ["cp", "nope:/x", "."]):
            theirs, ours = self.both(*command)
            with self.subTest(command):
                self.assertEqual((ours.out, ours.code), (theirs.out, theirs.code), ours.err)
                if command[0] == "logs" and ours.code == 0:
                    self.assertEqual(ours.err, theirs.err)

    # What the two cannot agree on: names, places and ids of their own, defaults of this project (the specification of the
    # command line), and the order of a set.
    OWN = re.compile(r"\.(Id|Created|Image|GraphDriver\..*|Config\.(StopSignal|StopTimeout|StdinOnce)|LogPath|Name|Source"
                     r"|(Hostname|Hosts|ResolvConf)Path|AppArmorProfile|State\.(Pid|StartedAt|FinishedAt)"
                     r"|HostConfig\.(Annotations|CgroupnsMode|IDMappings|Init|IpcMode|LogConfig\.Type|MaskedPaths|ReadonlyPaths"
                     r"|Runtime|SecurityOpt|Sysctls|Tmpfs)|Mounts\[.*\]\.(Source|Name|Mode)|NetworkSettings\.(Sandbox.*|Networks\..*ID))$")
    # Only one of the two tells these.
    EXTRA = {".Config.StopSignal", ".Config.StopTimeout", ".HostConfig.Annotations", ".HostConfig.IDMappings", ".HostConfig.Init",
             ".HostConfig.Sysctls", ".HostConfig.Tmpfs"}

    def flat(self, value, prefix=""):
        """{".HostConfig.Memory": 0, ".Mounts[/data].Type": "volume", ...}"""
        found = {}
        if isinstance(value, dict) and value:
            for key, item in value.items():
                found.update(self.flat(item, f"{prefix}.{key}"))
        elif isinstance(value, list) and value and prefix.endswith("Mounts"):
            for item in value:
                found.update(self.flat(item, f"{prefix}[{item.get('Destination', item.get('Target'))}]"))
        else:
            found[prefix] = sorted(value) if prefix.endswith(".Binds") and value else value  # docker's order changes
        return found

    def test_inspect_and_ps_show_what_docker_shows(self):
        host = self.dir / "bound"
        host.mkdir()
        (self.dir / "labels").write_text("from=file\n")
        runs = {
            "bare": ["--network", "none", "--hostname", "h", "forms", "sleep", "1"],
            "full": ["--network", "none", "--hostname", "hh", "--domainname", "dd.example", "-it", "-e", "A=1", "-w", "/tmp",
                     "-u", "1000:1000", "-v", f"{host}:/h:ro", "-v", f"{host}:/h2", "-v", "vol:/vol", "-v", "/anon",
                     "--mount", f"type=bind,src={host},dst=/m,bind-propagation=rslave",
                     "--mount", "type=volume,src=vol2,dst=/vol2,readonly", "--mount", "type=tmpfs,dst=/mt,tmpfs-size=1m",
                     "--tmpfs", "/t:size=1m,mode=755", "--dns", "192.0.2.4", "--dns-search", "example.org",
                     "--dns-option", "ndots:2", "--add-host", "x:192.0.2.5", "--group-add", "10", "-m", "32m",
                     "--memory-reservation", "16m", "--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0",
                     "--pids-limit", "50", "--ulimit", "nofile=100:200", "--shm-size", "8m", "--read-only", "--cap-add",
                     "net_admin", "--cap-drop", "MKNOD", "--device", "/dev/null:/dev/nn:rw", "--sysctl",
                     "net.ipv4.ip_forward=1", "--pid", "host", "--ipc", "private", "--init", "--stop-signal", "USR1",
                     "--stop-timeout", "3", "--health-cmd", "true", "--health-interval", "5s", "--health-retries", "2",
                     "--restart", "on-failure:3", "-l", "a=b", "--label-file", self.dir / "labels", "--log-opt",
                     "max-size=1m", "--log-opt", "max-file=3", "--expose", "99", "--oom-score-adj", "100",
                     "--entrypoint", "sleep", "forms", "5"],
            "ports": ["--hostname", "p", "-p", "4000:80", "-p", "127.0.0.1::81/udp", "-P", "--expose", "90", "forms", "sleep", "5"],
            "open": ["--network", "host", "--privileged", "--uts", "host", "--userns", "host", "forms", "sleep", "5"]}
        for name, args in runs.items():
            for program in (self.docker, self.img):
                program("create", "--name", name, *args)
            theirs, ours = (self.flat(json.loads(program("inspect", name).out)[0]) for program in (self.docker, self.img))
            with self.subTest(name):
                self.assertEqual(set(theirs) - set(ours) - self.EXTRA, set())
                self.assertEqual(set(ours) - set(theirs) - self.EXTRA, set())
                agreed = {key for key in theirs if not self.OWN.search(key)}
                self.assertEqual({key: ours.get(key) for key in agreed}, {key: theirs[key] for key in agreed})
        self.placeholders(list(runs))
        self.templates()
        for program in (self.docker, self.img):
            program("rm", "-v", *runs)

    def placeholders(self, names):
        # Other placeholders speak of time, or are not docker's.
        shared = ("Image", "Command", "Status", "State", "Ports", "Names", "Networks", "LocalVolumes")
        form = "\t".join("{{." + field + "}}" for field in shared)
        for more in ([], ["--no-trunc"]):
            theirs, ours = (program("ps", "-a", *more, "--format", form).out.splitlines() for program in (self.docker, self.img))
            theirs, ours = ({line.split("\t")[5]: line.split("\t") for line in lines} for lines in (theirs, ours))
            for name in names:
                self.assertEqual(ours[name], theirs[name], name)
        theirs, ours = (program("ps", "-a", "--format", "{{json .}}").out.splitlines()[0] for program in (self.docker, self.img))
        self.assertEqual(set(json.loads(theirs)) - set(json.loads(ours)), set())

    def templates(self):
        for form in ("{{.Name}} {{.State.Status}} {{.HostConfig.Memory}} {{.Config.Hostname}}",
                     "{{range $k, $v := .Config.ExposedPorts}}{{$k}} {{end}}",
                     "{{range $k, $v := .HostConfig.PortBindings}}{{$k}}={{range $v}}{{.HostIp}}:{{.HostPort}}{{end}} {{end}}",
                     "{{json .Config.Labels}}{{json .HostConfig.LogConfig.Config}}{{json .HostConfig.Dns}}",
                     "{{index .Config.Env 0}}{{len .Config.Env}}{{with .Config.Healthcheck}}{{.Test}}{{.Retries}}{{end}}",
                     "{{range .HostConfig.Ulimits}}{{.Name}}={{.Soft}}:{{.Hard}}{{end}}",
                     "{{with .State.Health}}{{.Status}}{{else}}none{{end}}", "{{.HostConfig.NetworkMode | printf \"%q\"}}",
                     "{{if .HostConfig.Privileged}}p{{end}}{{join .Config.Cmd \",\"}}{{upper .HostConfig.RestartPolicy.Name}}",
                     "{{range .Config.Env}}{{println .}}{{end}}", "{{.NetworkSettings.IPAddress}}|{{.NetworkSettings.Bridge}}"):
            theirs, ours = self.both("inspect", "-f", form, "full", "ports", "open")
            self.assertEqual((ours.out, ours.code), (theirs.out, theirs.code), f"{form}: {ours.err} {theirs.err}")
        form = "{{range .Mounts}}{{.Type}}:{{.Destination}}:{{.RW}}:{{.Propagation}}\n{{end}}"
        theirs, ours = (sorted(program("inspect", "-f", form, "full").out.splitlines()) for program in (self.docker, self.img))
        self.assertEqual(ours, theirs)


class Copies(harness.TestCase):
    """cp beyond docker's rules: owners, volumes, hostile containers."""

    def setUp(self):
        super().setUp()
        self.img_ = self.img()

    def start(self, *options, script="sleep 7200001", name="c"):
        self.img_("run", "-d", "--net", "none", "--name", name, *options, "busybox", "sh", "-c", script)
        return name

    def test_owners_are_root_inside_and_the_caller_outside_unless_kept(self):
        (self.dir / "f").write_text("x")
        os.chown(self.dir / "f", 1234, 1234)
        self.start()
        self.img_("cp", self.dir / "f", "c:/tmp/root")
        self.img_("cp", "-a", self.dir / "f", "c:/tmp/kept")
        self.assertEqual(self.img_("exec", "c", "stat", "-c", "%u:%g", "/tmp/root", "/tmp/kept").out.split(), ["0:0", "1234:1234"])
        self.img_("cp", "c:/tmp/kept", self.dir / "mine")
        self.img_("cp", "-a", "c:/tmp/kept", self.dir / "theirs")
        self.assertEqual([os.stat(self.dir / n).st_uid for n in ("mine", "theirs")], [0, 1234])

    def test_volumes_are_seen_whether_it_runs_or_not(self):
        host = self.write({"old": "old\n"}, "host")
        (self.dir / "f").write_text("new\n")
        self.start("-v", "vol:/vol", "-v", f"{host}:/host", "-v", f"{host}:/ro:ro")
        for step in ("running", "stopped"):
            with self.subTest(step):
                self.img_("cp", self.dir / "f", f"c:/vol/{step}")
                self.img_("cp", self.dir / "f", f"c:/host/{step}")
                self.assertEqual((host / step).read_text(), "new\n")
                self.assertIn(step, listing(self.img_("cp", "c:/vol/.", "-").raw))
                self.img_("cp", "c:/host/old", self.dir / "out")
                refused = self.img_("cp", self.dir / "f", "c:/ro/x", check=False)
                self.assertEqual(refused.code, 1)
                self.assertIn("read-only", refused.err.lower())
            self.img_("stop", "-t", "0", "c")

    def test_a_read_only_container_stays_as_it_is(self):
        (self.dir / "f").write_text("x")
        for name in ("run", "create"):
            self.img_(name, *(["-d"] if name == "run" else []), "--read-only", "--net", "none", "--name", name, "busybox", "sleep", "7200002")
            refused = self.img_("cp", self.dir / "f", f"{name}:/tmp/f", check=False)
            self.assertEqual(refused.code, 1, refused.err)

    def test_a_failed_build_step_can_be_looked_at(self):
        context = self.write({"Dockerfile": "FROM busybox\nRUN echo made > /left && false\n"})
        self.img_.build(context, "x", check=False)
        step = self.img_("debug", "--list").out.splitlines()[1].split()[0]
        self.img_("cp", f"{step}:/left", self.dir / "left")
        self.assertEqual((self.dir / "left").read_text(), "made\n")

    def test_the_kernels_file_systems_are_no_content(self):
        self.start()
        names = listing(self.img_("cp", "c:/", "-").raw)
        self.assertIn("proc", names)
        self.assertFalse([name for name in names if name.startswith(("proc/", "sys/", "dev/pts/"))])
        self.img_("cp", "c:/", self.dir / "all")
        self.assertEqual(os.listdir(self.dir / "all/proc"), [])
        self.assertTrue((self.dir / "all/bin/busybox").exists())
        (self.dir / "f").write_text("0")
        for path in ("/proc/sys/kernel/hostname", "/proc/new", "/sys/new"):
            self.assertEqual(self.img_("cp", self.dir / "f", f"c:{path}", check=False).code, 1, path)

    def test_setuid_and_devices_get_no_rights_on_the_host(self):
        self.start("--cap-add", "MKNOD", script="mkdir /x; cp /bin/busybox /x/su; chmod 4755 /x/su; mknod /x/disk b 7 0; touch /ready; sleep 7200003")
        self.wait_for("c", "/ready")
        shown = self.img_("cp", "c:/x", self.dir / "x")
        self.assertEqual(os.stat(self.dir / "x/su").st_mode & 0o7777, 0o755)
        self.assertEqual(os.listdir(self.dir / "x"), ["su"])
        self.assertIn("disk", shown.err)

    def wait_for(self, name, path):
        deadline = time.monotonic() + 20
        while self.img_("cp", f"{name}:{path}", "-", check=False).code != 0:
            self.assertLess(time.monotonic(), deadline)

    # CVE-2018-15664, CVE-2026-42306: the destination becomes a link to the host while we look at it.
    def test_a_path_swapped_for_a_link_never_leaves_the_container(self):
        victim = self.write({"secret": "host only\n"}, "victim")
        (self.dir / "f").write_text("intruder\n")
        swap = (f"mkdir /x /x/d; touch /x/d/secret; touch /ready; while :; do mv /x/d /x/o; ln -s {victim} /x/d; rm /x/d; mv /x/o /x/d; done")
        self.start(script=swap)
        self.wait_for("c", "/ready")
        for turn in range(60):
            self.img_("cp", self.dir / "f", f"c:/x/d/f{turn}", check=False)
            self.img_("cp", self.dir / "f", "c:/x/d", check=False)
            got = self.img_("cp", "c:/x/d/secret", "-", check=False)
            self.assertNotIn(b"host only", got.raw)
            got = self.img_("cp", "c:/x", "-", check=False)
            self.assertNotIn(b"host only", got.raw)
        self.assertEqual(sorted(os.listdir(victim)), ["secret"])
        self.assertEqual((victim / "secret").read_text(), "host only\n")

    def test_links_in_the_container_are_the_containers(self):
        victim = self.write({"secret": "host only\n"}, "victim")
        (self.dir / "f").write_text("intruder\n")
        for name, options in (("c", ["run", "-d"]), ("s", ["create"])):
            self.img_(*options, "--net", "none", "--name", name, "busybox", "sleep", "7200004")
            links = io.BytesIO()
            with tarfile.open(fileobj=links, mode="w") as tar:
                tar_tree(tar, {"abs": str(victim), "rel": "../../../../../../../../.." + str(victim), "proc": "/proc/self/cwd"})
            self.img_("cp", "-", f"{name}:/tmp", stdin=links.getvalue())
            for link in ("abs", "rel", "proc"):
                with self.subTest(link, container=name):
                    self.assertEqual(self.img_("cp", self.dir / "f", f"{name}:/tmp/{link}/f", check=False).code, 1)
                    self.assertEqual(self.img_("cp", f"{name}:/tmp/{link}/secret", "-", check=False).code, 1)
        self.assertEqual(os.listdir(victim), ["secret"])

    def test_a_link_in_an_archive_does_not_lead_out(self):
        victim = self.write({}, "victim")
        self.start()
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            tar_tree(tar, {"out": str(victim), "out/f": b"intruder\n"})
        self.img_("cp", "-", "c:/tmp", stdin=data.getvalue(), check=False)
        self.assertEqual(os.listdir(victim), [])

    # CVE-2019-14271, CVE-2026-41567: nothing of the container is loaded, asked or run for a copy.
    def test_nothing_of_the_container_is_used_for_the_copy(self):
        evil = "#!/bin/sh\ntouch /owned\n"
        image = self.write({"Dockerfile": "FROM busybox\nCOPY evil /usr/bin/unpigz\nCOPY evil /usr/bin/xz\nCOPY evil /usr/bin/gzip\n"
                            "RUN chmod 755 /usr/bin/unpigz /usr/bin/xz /usr/bin/gzip; mkdir -p /lib; echo x > /lib/libnss_files.so.2\n",
                            "evil": evil})
        self.img_.build(image, "evil")
        self.img_("run", "-d", "--net", "none", "-u", "0", "--name", "c", "evil", "sh", "-c",
                  "rm /etc/passwd /etc/group; mkfifo /etc/passwd /etc/group; touch /ready; sleep 7200005")
        self.wait_for("c", "/ready")
        self.img_("create", "--net", "none", "-u", "0", "--name", "s", "evil", "sleep", "1")
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            tar_tree(tar, source_tree())
        for name in ("c", "s"):
            self.img_("cp", "-", f"{name}:/tmp", stdin=gzip.compress(data.getvalue()))
            self.img_("cp", f"{name}:/tmp/d", self.dir / name)
            names = listing(self.img_("export", name).raw)
            self.assertIn("tmp/d/sub/b", names)
            self.assertNotIn("owned", names)

    def test_usage(self):
        self.start()
        for args in (["f", "g"], ["c:/x", "c:/y"], ["c:", "x"], ["-", "-"]):
            shown = self.img_("cp", *args, check=False)
            self.assertEqual(shown.code, 1, str(shown))


class Exports(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.img_ = self.img()

    def test_export_is_deterministic_and_without_volumes(self):
        script = "echo v > /vol/in; rm /etc/group; echo x > /new; sleep 7200006"
        self.img_("run", "-d", "--net", "none", "--name", "c", "-v", "vol:/vol", "busybox", "sh", "-c", script)
        while "new" not in listing(self.img_("export", "c").raw):
            time.sleep(0.02)
        first = self.img_("export", "c").raw
        self.img_("export", "-o", self.dir / "file.tar", "c")
        self.assertEqual((self.dir / "file.tar").read_bytes(), first)
        names = listing(first)
        self.assertEqual(list(names), sorted(names, key=os.fsencode))
        self.assertIn("vol", names)
        self.assertNotIn("vol/in", names)
        self.assertNotIn("etc/group", names)
        self.img_("kill", "c")
        self.assertEqual(self.img_("export", "c").raw, first)
        self.img_("import", self.dir / "file.tar", "again")
        self.assertEqual(self.img_("run", "--rm", "--net", "none", "again", "cat", "/new").out, "x\n")

    def test_export_goes_on_while_files_change(self):
        script = "touch /ready; while :; do head -c 300000 /dev/zero > /grow; : > /grow; touch /t1; rm /t1; mkdir /d; rmdir /d; done"
        self.img_("run", "-d", "--net", "none", "--name", "c", "busybox", "sh", "-c", script)
        for _ in range(20):
            self.assertIn("bin/busybox", listing(self.img_("export", "c").raw))
            self.img_("diff", "c")

    def test_diff_of_two_images(self):
        first = self.write({"Dockerfile": "FROM busybox\nENV A=1 B=2\nCMD [\"sh\"]\nRUN echo one > /one; echo same > /same\n"}, "a")
        second = self.write({"Dockerfile": "FROM busybox\nENV A=1 B=3\nLABEL k=v\nRUN echo more > /two; echo same > /same; rm /etc/group\n"}, "b")
        self.img_.build(first, "first", env={"SOURCE_DATE_EPOCH": "1600000000"})
        self.img_.build(second, "second", env={"SOURCE_DATE_EPOCH": "1600000000"})
        shown = self.img_("diff", "first", "second").out.splitlines()
        for line in ("D /one", "A /two", "D /etc/group", "C /etc", "env B: 2 → 3", "label k:  → v"):
            self.assertIn(line, shown)
        self.assertFalse([line for line in shown if "env A" in line or "busybox" in line])
        objects = [json.loads(line) for line in self.img_("diff", "--stat", "--format", "json", "first", "second").out.splitlines()]
        self.assertIn({"kind": "A", "path": "/two", "bytesBefore": 0, "bytesAfter": 5}, objects)
        self.assertIn({"config": "env B", "before": "2", "after": "3"}, objects)
        self.assertIn("A /two +5B", self.img_("diff", "--stat", "first", "second").out.splitlines())
        self.assertEqual(self.img_("diff", "nope", check=False).code, 1)


class Mounts(harness.TestCase):
    """The options of run that say what is mounted, and those about time and logs."""

    def setUp(self):
        super().setUp()
        self.img_ = self.img()

    def run_(self, *args, **kwargs):
        return self.img_("run", "--rm", "--net", "none", *args, **kwargs)

    def test_images_as_mounts(self):
        self.img_.build(self.write({"Dockerfile": "FROM busybox\nRUN mkdir /data && echo d > /data/f\n"}), "data")
        self.assertEqual(self.run_("--mount", "type=image,src=data,dst=/im", "busybox", "cat", "/im/data/f").out, "d\n")
        self.assertEqual(self.run_("--mount", "type=image,src=data,dst=/im,subpath=data", "busybox", "ls", "/im").out, "f\n")
        self.assertNotEqual(self.run_("--mount", "type=image,src=data,dst=/im", "busybox", "touch", "/im/x", check=False).code, 0)
        shown = self.run_("--mount", "type=image,src=data,dst=/im,rw=true", "busybox", "sh", "-c", "touch /im/x; ls /im").out.split()
        self.assertIn("x", shown)
        self.assertEqual(self.run_("--mount", "type=image,src=nope,dst=/im", "busybox", "true", check=False).code, 125)

    def test_throw_away_layers_and_owners(self):
        host = self.write({"h": "h"}, "host")
        self.assertEqual(self.run_("-v", f"{host}:/h:O", "busybox", "sh", "-c", "rm /h/h; touch /h/x; ls /h").out, "x\n")
        self.assertEqual(os.listdir(host), ["h"])
        self.assertEqual(self.run_("-u", "dev", "-v", f"{host}:/h:U", "busybox", "stat", "-c", "%u:%g", "/h", "/h/h").out.split(), ["1000:1001"] * 2)

    def test_folders_of_the_host_are_not_given_away(self):
        refused = self.run_("-u", "dev", "-v", "/anonymous", "-v", "/etc:/e:U", "busybox", "true", check=False)
        self.assertEqual(refused.code, 125)
        self.assertIn("/etc", refused.err)
        self.assertEqual(os.stat("/etc/passwd").st_uid, 0)
        self.assertEqual(self.img_("volume", "ls", "-q").out, "", "a volume of the failed start is left")

    def test_subpaths_stay_in_their_volume(self):
        self.run_("-v", "vol:/v", "busybox", "sh", "-c", "mkdir /v/sub; echo s > /v/sub/f; ln -s / /v/out; ln -s ../../.. /v/up")
        self.assertEqual(self.run_("--mount", "type=volume,src=vol,dst=/s,volume-subpath=sub", "busybox", "cat", "/s/f").out, "s\n")
        for path in ("out", "up"):  # resolved inside the volume: the volume itself
            shown = self.run_("--mount", f"type=volume,src=vol,dst=/s,volume-subpath={path}", "busybox", "ls", "/s").out.split()
            self.assertEqual(sorted(shown), ["out", "sub", "up"])
        self.assertEqual(self.run_("--mount", "type=volume,src=vol,dst=/s,volume-subpath=nope", "busybox", "true", check=False).code, 125)

    def test_volumes_from(self):
        host = self.write({"h": "h"}, "host")
        self.img_("create", "--net", "none", "--name", "a", "-v", "vol:/vol", "-v", f"{host}:/h", "-v", "/anon", "busybox", "true")
        self.assertEqual(self.run_("--volumes-from", "a", "busybox", "sh", "-c", "echo x > /vol/x; ls /h").out, "h\n")
        self.assertNotEqual(self.run_("--volumes-from", "a:ro", "busybox", "touch", "/vol/y", check=False).code, 0)
        self.assertEqual(self.run_("--volumes-from", "a", "-v", "other:/vol", "busybox", "ls", "/vol").out, "")
        self.assertEqual(self.run_("--volumes-from", "nope", "busybox", "true", check=False).code, 125)

    def test_volume_options_and_prune(self):
        host = self.write({"h": "h"}, "host")
        self.img_("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", f"device={host}", "dev")
        self.assertEqual(self.run_("-v", "dev:/d", "busybox", "ls", "/d").out, "h\n")
        self.img_("volume", "create", "-o", "type=tmpfs", "-o", "o=size=1m", "mem")
        self.assertIn("1024", self.run_("-v", "mem:/m", "busybox", "df", "/m").out)
        self.assertEqual(self.img_("volume", "create", "-o", "type=nfs", "net", check=False).code, 1)
        self.img_("create", "--net", "none", "--name", "a", "-v", "/used", "busybox", "true")
        lone = self.img_("volume", "create").out.strip()
        self.assertEqual(self.img_("volume", "prune", check=False).code, 1)
        self.assertEqual(self.img_("volume", "prune", "-f").out.split(), [lone])
        self.assertEqual(sorted(self.img_("volume", "prune", "-f", "-a").out.split()), ["dev", "mem"])
        self.assertEqual(os.listdir(host), ["h"])

    def test_timeout(self):
        self.assertEqual(self.run_("--init", "--timeout", "300ms", "busybox", "sleep", "7200008", check=False).code, 124)
        self.assertEqual(self.run_("--timeout", "1m", "busybox", "sh", "-c", "exit 3", check=False).code, 3)
        stubborn = self.run_("--timeout", "200ms", "--stop-timeout", "0", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done", check=False)
        self.assertEqual(stubborn.code, 124)

    def test_logs_rotate_and_may_be_left_out(self):
        script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; done; sleep 0.2; echo last"
        self.img_("run", "--net", "none", "--name", "a", "--log-opt", "max-size=2k", "--log-opt", "max-file=4", "busybox", "sh", "-c", script)
        self.assertEqual(self.img_("logs", "-n", "1", "a").out, "last\n")
        self.img_("run", "--net", "none", "--name", "b", "--log-driver", "none", "busybox", "echo", "shown")
        self.assertEqual(self.img_("logs", "b").out, "")
        self.assertEqual(self.run_("--log-opt", "max-file=0", "busybox", "true", check=False).code, 125)


class Selections(harness.TestCase):
    """Options of the lists and of what waits, removes, commits and looks."""

    def setUp(self):
        super().setUp()
        self.img_ = self.img()

    def create(self, name, *options, command=("true",)):
        self.img_("create", "--net", "none", "--name", name, *options, "busybox", *command)

    def test_rm_and_prune_with_filters(self):
        for name, label in (("a1", "x=1"), ("a2", "x=2"), ("b1", "y=1")):
            self.create(name, "-l", label)
        names = lambda: sorted(self.img_("ps", "-a", "--format", "{{.Names}}").out.split())
        self.assertEqual(self.img_("rm", "--filter", "name=a1", "b1", check=False).code, 125)
        self.img_("rm", "--filter", "label=x=1")
        self.assertEqual(names(), ["a2", "b1"])
        self.assertEqual(self.img_("rm", "--filter", "name=nobody").out, "")
        prune = lambda *args: run([self.img_.path(), "--root", self.img_.store, "container", "prune", *args], check=False)
        self.assertEqual(prune("-f", "--filter", "until=1h").out, "")
        self.assertEqual(prune("--dry-run", "--filter", "label!=x").out.count("\n"), 1)
        self.assertEqual(prune("-f", "--filter", "label!=x").code, 0)
        self.assertEqual(names(), ["a2"])
        self.assertEqual(prune("-f", "--filter", "color=red").code, 125)

    def test_ps_sorts_and_watches(self):
        for name, command in (("b", "z"), ("c", "y"), ("a", "x")):
            self.create(name, command=(command,))
        order = lambda *args: self.img_("ps", "-a", "--format", "{{.Names}}", *args).out.split()
        self.assertEqual(order(), ["a", "c", "b"])
        self.assertEqual(order("--sort", "names"), ["a", "b", "c"])
        self.assertEqual(order("--sort", "command"), ["a", "c", "b"])
        self.assertEqual(order("--sort", "created"), ["b", "c", "a"])
        self.assertEqual(order("-n", "2"), ["a", "c"])
        self.assertEqual(order("-l"), ["a"])
        self.assertEqual(self.img_("ps", "--sort", "color", check=False).code, 125)
        watching = self.img_.start("ps", "-a", "-w", "1", "--noheading", "--format", "{{.Names}}")
        seen = [watching.stdout.readline().decode().strip() for _ in range(6)]
        watching.terminate()
        watching.communicate()
        self.assertEqual(seen, ["a", "c", "b"] * 2)

    def test_wait_for_a_condition(self):
        self.create("c", command=("sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; exit 7"))
        waiting = self.img_.start("wait", "--condition", "running", "c")
        harness.wait_until_asleep(waiting)
        self.img_("start", "c")
        self.assertEqual((waiting.communicate(timeout=20)[0], waiting.returncode), (b"0\n", 0))
        ends = [self.img_.start("wait", *options, "c") for options in ([], ["--condition", "exited"], ["--condition", "next-exit"],
                                                                       ["--condition", "removed"])]
        for waiting in ends:
            harness.wait_until_asleep(waiting, "poll")
        self.img_("exec", "c", "touch", "/go")
        for waiting in ends[:3]:
            self.assertEqual(waiting.communicate(timeout=20)[0], b"7\n")
        self.assertIsNone(ends[3].poll())
        self.img_("rm", "c")
        self.assertEqual(ends[3].communicate(timeout=20)[0], b"7\n")
        self.assertEqual(self.img_("wait", "--condition", "tired", "c", check=False).code, 125)

    def test_commit_squash_and_iidfile(self):
        self.img_("run", "--net", "none", "--name", "c", "busybox", "sh", "-c", "echo new > /new; rm /etc/group")
        printed = self.img_("commit", "--squash", "--iidfile", self.dir / "id", "-f", "docker", "-c", "ENV A=b", "c", "flat").out.strip()
        self.assertEqual((self.dir / "id").read_text(), printed)
        image = self.img_.image("flat")
        self.assertEqual((image.id, len(image.layers), len(image.document["history"])), (printed, 1, 1))
        shown = self.img_("run", "--rm", "--net", "none", "flat", "sh", "-c", "cat /new; echo $A; ls /etc").out.split()
        self.assertEqual(shown[:2], ["new", "b"])
        self.assertNotIn("group", shown)
        self.assertEqual(self.img_("commit", "-f", "tar", "c", check=False).code, 125)

    def test_top_with_the_containers_own_pids(self):
        self.img_("run", "-d", "--net", "none", "--name", "c", "busybox", "sh", "-c", "sleep 7200009 & wait")
        deadline = time.monotonic() + 10
        while True:
            rows = [line.split(None, 2) for line in self.img_("top", "--container-pids", "c", "-o", "pid,ppid,args").out.splitlines()[1:]]
            if len(rows) == 2 and rows[1][2].startswith("sleep"):  # forked, and become another program
                break
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(rows[0][:2], ["1", "0"])
        self.assertEqual(rows[1][1:], ["1", "sleep 7200009"])
        host = [line.split() for line in self.img_("top", "c", "-o", "pid").out.splitlines()[1:]]
        self.assertNotIn(["1"], host)

    def test_logs_with_names_through_a_rotation(self):
        # The last line of each comes when all before it are in the log: two streams have no common order.
        script = "for i in $(seq 1 999); do echo out $i; echo err $i >&2; done; read go; echo out 1000; echo err 1000 >&2"
        process = subprocess.Popen(self.img_.argv("run", "-i", "--net", "none", "--name", "web", "--log-opt", "max-size=1k", "--log-opt",
                                                  "max-file=3", "busybox", "sh", "-c", script),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for stream, last in (process.stdout, b"out 999\n"), (process.stderr, b"err 999\n"):
            self.assertIn(last, iter(stream.readline, b""))
        process.communicate(b"\n", timeout=20)
        shown = self.img_("logs", "--names", "web")
        lines = shown.out.splitlines()
        self.assertEqual(lines[-1], "web out 1000")
        self.assertLess(len(lines), 1000)
        self.assertEqual(lines, [f"web out {i}" for i in range(1001 - len(lines), 1001)])
        self.assertEqual(shown.err.splitlines()[-1], "web err 1000")
        last = self.img_("logs", "-t", "-n", "1", "web")
        self.assertEqual(self.img_("logs", "--until", "1h", "web").out, "")
        self.assertEqual(self.img_("logs", "--since", "1h", "web").out.splitlines()[-1], "out 1000")
        self.assertRegex(last.out + last.err, r"^20\d\d-.*Z (out|err) 1000\n$")

    def test_umask(self):
        shown = self.img_("run", "--rm", "--net", "none", "--umask", "0077", "busybox", "sh", "-c", "umask; touch /f; stat -c %a /f")
        self.assertEqual(shown.out.split(), ["0077", "600"])
        self.assertEqual(self.img_("run", "--rm", "--net", "none", "busybox", "sh", "-c", "umask").out, "0022\n")
        self.assertEqual(self.img_("run", "--umask", "9", "busybox", "true", check=False).code, 125)


class Terminal:
    """A command on a pseudo terminal of its own."""

    def __init__(self, argv, rows=24, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execv(argv[0], argv)
            finally:
                os._exit(127)  # never back into the tests
        self.resize(rows, columns)
        self.seen = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, pattern, seconds=20):
        deadline = time.monotonic() + seconds
        while not re.search(pattern.encode(), self.seen):
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"{pattern} did not come: {self.seen!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"{pattern} did not come before the end: {self.seen!r}")
            self.seen += data
        self.seen = re.split(pattern.encode(), self.seen, maxsplit=1)[-1]

    def end(self, seconds=20):
        """Reads on until the command ends; its exit code."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self.fd], [], [], 0.02)
            try:
                if ready:
                    self.seen += os.read(self.fd, 65536)
            except OSError:
                pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"still there: {self.seen!r}")


LEAVE = "\x10\x11"  # ctrl-p ctrl-q


class Terminals(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.img_ = self.img()

    def terminal(self, command, *args):
        return Terminal(self.img_.argv(command, *args))

    def state(self, name):
        return self.img_("inspect", "-f", "{{.State.Status}}", name, check=False).out.strip()

    def test_detach_keys_leave_the_container_running(self):
        term = self.terminal("run", "-it", "--net", "none", "--name", "c", "busybox", "sh")
        term.until("# ")
        term.type("x=kept\n")
        term.until("# ")
        term.type(LEAVE)
        self.assertEqual(term.end(), 0)
        self.assertEqual(self.state("c"), "running")
        term = self.terminal("attach", "c")
        term.type("echo $x-$((20+3))\n")
        term.until("kept-23")
        term.type("exit 9\n")
        self.assertEqual(term.end(), 9)
        self.assertEqual(self.state("c"), "exited")
        self.assertIn("kept-23", self.img_("logs", "c").out)

    def test_other_keys_and_start(self):
        self.img_("create", "-it", "--net", "none", "--name", "c", "busybox", "sh")
        term = self.terminal("start", "-ai", "--detach-keys", "ctrl-x,y", "c")
        term.until("# ")
        term.type("echo a\x18b\n")  # ctrl-x that no y follows goes on
        term.until("# ")
        term.type("\x18y")
        self.assertEqual(term.end(), 0)
        self.assertEqual(self.state("c"), "running")
        self.assertEqual(self.img_("run", "--detach-keys", "no-key", "--net", "none", "busybox", "true", check=False).code, 125)

    def test_exec_can_be_left(self):
        self.img_("run", "-d", "--net", "none", "--name", "c", "busybox", "sleep", "7200007")
        term = self.terminal("exec", "-it", "c", "sh")
        term.until("# ")
        term.type("while :; do sleep 0.05; echo >> /beat; done\n")
        term.type(LEAVE)
        self.assertEqual(term.end(), 0)
        size = lambda: int(self.img_("exec", "c", "sh", "-c", "cat /beat 2>/dev/null | wc -c").out)
        before, deadline = size(), time.monotonic() + 10
        while size() == before:
            self.assertLess(time.monotonic(), deadline, "the command ended with its terminal")
        term = self.terminal("exec", "-it", "c", "sh", "-c", "exit 6")
        self.assertEqual(term.end(), 6)

    def test_the_window_follows(self):
        self.img_("run", "-dit", "--net", "none", "--name", "c", "busybox", "sh")
        term = self.terminal("attach", "c")
        term.resize(33, 101)
        deadline = time.monotonic() + 10
        while True:
            term.type("stty size\n")
            try:
                term.until("33 101", 1)
                break
            except AssertionError:
                self.assertLess(time.monotonic(), deadline, "the size did not come")
        term.type(LEAVE)
        self.assertEqual(term.end(), 0)

    def test_attach_without_a_terminal(self):
        self.img_("run", "-di", "--net", "none", "--name", "c", "busybox", "sh", "-c", "while :; do echo tick; sleep 0.05; done & cat")
        process = self.img_.start("attach", "--no-stdin", "c")
        writer = subprocess.Popen(self.img_.argv("attach", "c"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for end in writer, process:
            self.assertEqual(end.stdout.readline(), b"tick\n")  # from here on both see everything
        writer.stdin.write(b"typed\n")
        writer.stdin.flush()
        for end in writer, process:
            self.assertIn(b"typed\n", iter(end.stdout.readline, b""))
        self.img_("stop", "-t", "0", "c")
        ends = [end.communicate(timeout=15)[1] for end in (writer, process)]
        self.assertEqual([writer.returncode, process.returncode], [137, 137], ends)
        self.assertNotEqual(self.img_("attach", "c", check=False).code, 0)

    def test_one_too_many_is_told(self):
        self.img_("run", "-di", "--net", "none", "--name", "c", "busybox", "cat")
        others = [self.img_.start("attach", "--no-stdin", "c") for _ in range(16)]
        writer = subprocess.Popen(self.img_.argv("attach", "c"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 20
        while all(process.poll() is None for process in others + [writer]):  # whoever came last
            self.assertLess(time.monotonic(), deadline, "everybody is attached")
            time.sleep(0.05)
        ended = [process for process in others + [writer] if process.poll() is not None]
        self.assertEqual([process.returncode for process in ended], [1])
        self.assertIn(b"not attached", ended[0].communicate()[1])
        self.img_("kill", "c")
        for process in others + [writer]:
            process.communicate(timeout=20)

    def test_attach_to_a_container_that_removes_itself(self):
        script = "until [ -e /go ]; do echo tick; sleep 0.05; done; echo end; exit 5"
        self.img_("run", "-d", "--rm", "--net", "none", "--name", "c", "busybox", "sh", "-c", script)
        process = self.img_.start("attach", "c")
        self.assertEqual(process.stdout.readline(), b"tick\n")
        self.img_("exec", "c", "touch", "/go")
        out, err = process.communicate(timeout=20)
        self.assertEqual((process.returncode, out.splitlines()[-1]), (5, b"end"), err)

    def test_a_signal_that_comes_after_the_end_is_no_failure(self):
        self.img_("run", "-d", "--net", "none", "--name", "c", "busybox", "sh", "-c", "while :; do echo tick; sleep 0.05; done")
        process = self.img_.start("attach", "c")
        self.assertEqual(process.stdout.readline(), b"tick\n")
        process.send_signal(signal.SIGSTOP)
        self.img_("kill", "c")
        self.img_("wait", "c")
        process.send_signal(signal.SIGCONT)  # passed on like any other
        self.assertEqual((process.communicate(timeout=20)[1], process.returncode), (b"", 137))

    def test_only_the_streams_that_were_asked_for(self):
        script = "echo out; echo err >&2"
        for streams, expected in ((["stdout"], ("out\n", "")), (["stderr"], ("", "err\n")), (["stdout", "stderr"], ("out\n", "err\n"))):
            options = [word for stream in streams for word in ("-a", stream)]
            shown = self.img_("run", *options, "--net", "none", "busybox", "sh", "-c", script)
            self.assertEqual((shown.out, shown.err), expected, streams)
        self.assertEqual(self.img_("run", "-d", "-a", "stdout", "--net", "none", "busybox", "true", check=False).code, 125)

    def test_killed_callers(self):
        term = self.terminal("run", "-it", "--rm", "--net", "none", "--name", "c", "busybox", "sh")
        term.until("# ")
        os.kill(term.pid, signal.SIGKILL)
        os.waitpid(term.pid, 0)
        deadline = time.monotonic() + 10
        while self.img_("ps", "-aq").out:
            self.assertLess(time.monotonic(), deadline, "the container outlived its killed caller")
        os.close(term.fd)
        term = self.terminal("run", "-it", "--net", "none", "busybox", "sh", "-c", "trap 'exit 3' TERM; echo go; while :; do sleep 0.05; done")
        term.until("go")
        os.kill(term.pid, signal.SIGTERM)
        self.assertEqual(term.end(), 3)
