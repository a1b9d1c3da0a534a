"""Who runs the program: root, or an ordinary user made for the suite. And the suite's own small network."""
import grp
import os
import pathlib
import pwd
import shutil
import stat

from . import harness
from .harness import run

NAME = "imgstory"
ADDRESS = "192.0.2.10"  # of the suite's outside interface (RFC 5737: never anybody else's)


def private_network():
    """Loopback, and an interface with a default route that leads nowhere, for suites with a network of their own."""
    run(["ip", "link", "set", "lo", "up"])
    if "out0" not in run(["ip", "-o", "link"]).out:
        run(["ip", "link", "add", "out0", "type", "veth", "peer", "name", "out1"])
        run(["ip", "address", "add", ADDRESS + "/24", "dev", "out0"])
        for name in ("out0", "out1"):
            run(["ip", "link", "set", name, "up"])
        run(["ip", "route", "add", "default", "via", "192.0.2.1"])


class Root:
    """As the tests run; what outlives no boot lies in a folder of the suite."""
    name, uid, is_root = "root", 0, True

    def __init__(self):
        self.home = pathlib.Path(harness.temp_dir("root"))
        self.env = {"IMG_RUNROOT": str(self.home / "run")}
        self.options = {}

    def img(self, store="store"):
        return Program(self, self.home / store)


class Ordinary:
    """Made by useradd in an /etc that only this suite sees, so that nothing is left on the machine, whatever happens."""
    is_root = False

    def __init__(self, name=NAME, has_range=True):
        """has_range: with subordinate ids in /etc/subuid and /etc/subgid, as useradd gives them."""
        harness.require("useradd", "newuidmap", "newgidmap")
        _own_etc()
        _open_tun()
        # Debian gives root's folders under /tmp to nobody else, but the scratch folder is open to all.
        self.home = pathlib.Path(harness.temp_dir("home")) / name
        os.chmod(self.home.parent, 0o755)
        run(["useradd", "--create-home", "--home-dir", self.home, "--shell", "/bin/sh", name])
        entry = pwd.getpwnam(name)
        self.name, self.uid, self.gid = name, entry.pw_uid, entry.pw_gid
        if not has_range:
            for file in map(pathlib.Path, ("/etc/subuid", "/etc/subgid")):
                file.write_text("".join(l for l in file.read_text().splitlines(True) if not l.startswith(name + ":")))
        runtime = self.home / "runtime"
        for folder, mode in ((runtime, 0o700), (self.home / "bin", 0o755)):
            folder.mkdir(mode=mode)
            os.chown(folder, self.uid, self.gid)
        # The build folder may be one that only root can enter.
        for name in ("img", "img-remote"):
            if os.path.exists(harness.program(name)):
                shutil.copy2(harness.program(name), self.home / "bin" / name)
        self.env = {"HOME": str(self.home), "USER": name, "LOGNAME": name, "XDG_RUNTIME_DIR": str(runtime),
                    "IMG_ROOT": None, "IMG_RUNROOT": None}
        groups = [g.gr_gid for g in grp.getgrall() if name in g.gr_mem]
        self.options = {"user": self.uid, "group": self.gid, "extra_groups": groups, "cwd": self.home}

    def img(self, store="store"):
        return Program(self, self.home / store)


_etc = []


def _open_tun():
    """What udev does elsewhere: pasta opens it as the user. In this suite's view only."""
    device = "/dev/net/tun"
    if not os.path.exists(device) or os.stat(device).st_mode & 0o006 == 0o006:
        return
    node = pathlib.Path(harness.temp_dir("tun")) / "tun"
    os.mknod(node, 0o600 | stat.S_IFCHR, os.stat(device).st_rdev)
    os.chmod(node, 0o666)
    run(["mount", "--bind", node, device])


def _own_etc():
    if _etc:
        return
    _etc.append(True)
    folder = pathlib.Path(harness.temp_dir("etc"))
    for name in ("upper", "work"):
        (folder / name).mkdir(mode=0o755)
    run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/etc,upperdir={folder}/upper,workdir={folder}/work", "/etc"])


def _open_tun():
    """pasta and slirp4netns need it, and udev gives it to everybody; a machine without udev does not."""
    tun = "/dev/net/tun"
    if not os.path.exists(tun) or os.stat(tun).st_mode & 0o006 == 0o006:
        return
    node = os.path.join(harness.temp_dir("dev"), "tun")
    os.mknod(node, 0o020666, os.stat(tun).st_rdev)
    os.chmod(node, 0o666)
    run(["mount", "--bind", node, tun])


class Program(harness.Img):
    """The program under test as that person starts it."""

    def __init__(self, person, store):
        super().__init__(store, person.env)
        self.person = person

    def path(self, name="img"):
        return super().path(name) if self.person.is_root else str(self.person.home / "bin/img")

    def argv(self, command, *args):
        return [self.path(), command, "--root", str(self.store), *map(os.fspath, args)]

    def __call__(self, command, *args, **kwargs):
        return super().__call__(command, *args, **{**self.person.options, **kwargs})

    def start(self, command, *args, **kwargs):
        env = {k: v for k, v in {**os.environ, **self.env}.items() if v is not None}
        return super().start(command, *args, **{**self.person.options, "env": env, **kwargs})

    def field(self, container, template):
        return self("inspect", "--format", "{{ " + template + " }}", container).out.strip()
