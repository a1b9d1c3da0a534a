"""Rows about containers: start, exec, many at once, what stays behind for one, commit. A mixin for each kind of tool."""
import functools
import os
import subprocess

from lib import people
from process import Command, Together, capture, keeper_memory, quietly
from rows import Row

AT_ONCE = 20
FILL = ["cp", "-a", "/tree", "/copy"]  # what a container has written before it is committed: 10,000 files, 200 MB

ROWS = {
    "version": Row("img --version", goal=2, quick=True),
    "run_none": Row("W7 run true, no network", factor=1.2, quick=True),
    "run_bridge": Row("run true on a bridge", goal=25),
    "rootless_run": Row("run true, no network, ordinary user", goal=25),
    "exec": Row("exec true", goal=5),
    "parallel_starts": Row(f"W7 {AT_ONCE} of them at once", factor=1.3, quick=True),
    "monitor_memory": Row("what stays behind for a container, private KiB", goal=1024),
    "commit": Row("W8 commit of 10,000 files / 200 MB", factor=1.3, rounds=5, writes=True, quick=True),
}


class Limit:
    def version(self):
        return [self.work.bin / "true"]

    def container(self, lowers, argv, *options):
        """A container over these folders, the topmost first."""
        upper, work = self.work.fresh("limit-u"), self.work.fresh("limit-w")
        words = [word for lower in lowers for word in ("-l", lower)]
        return [self.work.bin / "minirun", "-q", "-V", *options, *words, "-u", upper, "-w", work, "--", *argv]

    def run_none(self):
        return self.container([self.work.rootfs("busybox")], ["/bin/true"], "-i", "-N")

    def parallel_starts(self):
        return Together(self.run_none() for _ in range(AT_ONCE))

    def commit(self):
        return [self.work.bin / "tarhash", "-t", "2", self.work.rootfs("filled") / "tree"]


class Ours:
    def run_none(self, network="none"):
        return self.img(self.main, "imgrun", "--rm", "--net", network, "busybox", "true")

    def run_bridge(self):
        return self.run_none("bridge")

    def parallel_starts(self):
        return Together(self.run_none() for _ in range(AT_ONCE))

    def version(self):
        return [self.bin / "img", "--version"]

    @functools.cached_property
    def sleeper(self):
        return capture(self.img(self.main, "imgrun", "-d", "--net", "none", "busybox", "sleep", "1000000"))

    def exec(self):
        return self.img(self.main, "imgexec", self.sleeper, "true")

    def monitor_memory(self):
        pid = capture(self.img(self.main, "imginspect", "--format", "{{ .State.Pid }}", self.sleeper))
        return lambda: keeper_memory(pid)

    @functools.cached_property
    def ordinary(self):
        """An ordinary user's way to start the program, with the image in a store of theirs."""
        user = people.Ordinary()
        env = {k: v for k, v in {**os.environ, **user.env}.items() if v is not None}
        prefix = ["/usr/bin/setpriv", "--reuid", str(user.uid), "--regid", str(user.gid), "--init-groups"]
        command = lambda *args: Command([*prefix, user.home / "bin/img", args[0], "--root", user.home / "store", *args[1:]], env)
        with open(self.work.busybox, "rb") as tar:
            subprocess.run(command("import", "-", "busybox"), stdin=tar, env=env, check=True, stdout=subprocess.DEVNULL)
        return command

    def rootless_run(self):
        return self.ordinary("run", "--rm", "--net", "none", "busybox", "true")

    def commit(self):
        if "filled" not in self.stores:
            self.stores["filled"] = self.store("filled", "filled")
        store = self.stores["filled"]
        quietly(self.img(store, "imgrm", "-f", "committed"), check=False)
        quietly(self.img(store, "imgrmi", "-f", "committed"), check=False)
        quietly(self.img(store, "imgrun", "--name", "committed", "--net", "none", "filled", *FILL))
        return self.img(store, "imgcommit", "-q", "committed", "committed")

    def close(self):
        if "sleeper" in self.__dict__:
            capture(self.img(self.main, "imgrm", "-f", self.sleeper))


class Engine:
    """docker and podman: `engine(*args)` gives the command line of one of theirs."""
    run_options = []

    def run_none(self):
        return self.engine("run", "--rm", "--network", "none", *self.run_options, "busybox", "true")

    def parallel_starts(self):
        return Together(self.run_none() for _ in range(AT_ONCE))

    @functools.cached_property
    def sleeper(self):
        return capture(self.engine("run", "-d", "--network", "none", *self.run_options, "busybox", "sleep", "1000000"))

    def exec(self):
        return self.engine("exec", self.sleeper, "true")

    def monitor_memory(self):
        pid = capture(self.engine("inspect", "--format", "{{ .State.Pid }}", self.sleeper))
        return lambda: keeper_memory(pid)

    def commit(self):
        self.has("filled")
        quietly(self.engine("rm", "-f", "committed"), check=False)
        quietly(self.engine("rmi", "-f", "committed"), check=False)
        quietly(self.engine("run", "--name", "committed", "--network", "none", *self.run_options, "filled", *FILL))
        return self.engine("commit", "-q", "committed", "committed") if self.name == "podman" else self.engine("commit", "committed", "committed")

    def close(self):
        if "sleeper" in self.__dict__:
            capture(self.engine("rm", "-f", self.sleeper))


class Runtime:
    """runc and crun. Only a part of the work: the bundle lies ready, there is no image, no union, nothing to remove."""

    def run_none(self):
        self.count += 1
        return self.command("run", "-b", self.bundle, f"bench{os.getpid()}-{self.count}")

    def parallel_starts(self):
        return Together(self.run_none() for _ in range(AT_ONCE))

    @functools.cached_property
    def sleeper(self):
        quietly(self.command("run", "-d", "-b", self.make_bundle("sleeper", ["sleep", "1000000"]), "sleeper"))
        return "sleeper"

    def exec(self):
        return self.command("exec", self.sleeper, "/bin/true")

    def close(self):
        if "sleeper" in self.__dict__:
            quietly(self.command("delete", "-f", self.sleeper))
