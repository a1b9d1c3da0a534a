#!/usr/bin/env python3
"""Measures whole commands, from before the fork to after the last wait, and prints medians.

    run.py --bin DIR [--quick] [--peers] [--rows a,b] [--runs N] [--json FILE]

Every round runs each tool on each row once, in an order that rotates from round to round, so that a slow minute of
the machine hits all of them alike. Compare ratios within one run; milliseconds of two runs are not comparable.
`limit` is a small C program (limits/) that does only the unavoidable work of the row: no store, no cache, no parser.
Cold: no cache and no image but the unpacked base; the page cache is warm. Unchanged: the identical command again.

It runs in mount and network namespaces of its own: bridges, rules, the ordinary user and mounts go away with it.
"""
import argparse
import contextlib
import ctypes
import functools
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/e2e")]
import images  # noqa: E402
from lib import harness, peers, people  # noqa: E402  (the tests' way to start a docker daemon, to make a base image, ...)

FILES, BYTES = 13_700, 200_000_000
MANY_FILES = 200_000
STEPS, MANY_STEPS = 20, 100
STAGES, STAGE_SECONDS = 4, 2
AT_ONCE = 20
INSIDE = "IMG_BENCH_INSIDE"


class Command(list):
    """A command with another environment than ours, or other mounts (the file of a mount namespace)."""

    def __init__(self, argv, env=os.environ, mounts=None):
        super().__init__(argv)
        self.env, self.mounts = env, mounts


class Together(list):
    """Commands that start at once; the time is that of all."""


def start(argv, log):
    null_in = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    out = (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    command = argv if isinstance(argv, Command) else Command(argv)
    argv = [os.fspath(a) for a in argv]
    with mounts_of(command.mounts):
        return os.posix_spawn(argv[0], argv, command.env, file_actions=[null_in, out, (os.POSIX_SPAWN_DUP2, 1, 2)])


@contextlib.contextmanager
def mounts_of(file):
    """This process among other mounts for a moment, so that no helper program is measured (python 3.12 has os.setns)."""
    if file is None:
        yield
        return
    with open("/proc/self/ns/mnt") as here, open(file) as there:
        enter = lambda namespace: ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0x00020000)  # CLONE_NEWNS
        assert enter(there) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert enter(here) == 0


def spawn(what):
    """Runs it silently; (milliseconds, CPU milliseconds, peak KiB of its largest process). A function gives its own figure."""
    if callable(what):
        return what(), 0, 0
    commands = what if isinstance(what, Together) else [what]
    log = os.path.join(harness.scratch(), "command.log")
    pathlib.Path(log).unlink(missing_ok=True)
    began = time.perf_counter()
    pids = [start(command, log) for command in commands]
    ends = [os.wait4(pid, 0) for pid in pids]
    wall = time.perf_counter() - began
    for command, (_, status, _) in zip(commands, ends):
        if code := os.waitstatus_to_exitcode(status):
            text = pathlib.Path(log).read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(map(os.fspath, command))}: exit {code}\n{text}")
    cpu = sum(usage.ru_utime + usage.ru_stime for _, _, usage in ends)
    return wall * 1e3, cpu * 1e3, max(usage.ru_maxrss for _, _, usage in ends)


def capture(argv):
    env = getattr(argv, "env", os.environ)
    return subprocess.run([os.fspath(a) for a in argv], check=True, capture_output=True, text=True, env=env).stdout.strip()


def keeper_memory(pid):
    """KiB that only the parent of a container's process uses: whoever stays behind for it."""
    status = pathlib.Path("/proc", pid, "status").read_text()
    parent = next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:"))
    rows = pathlib.Path("/proc", parent, "smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith(("Private_Clean", "Private_Dirty")))


def has_journal(path):
    """False for ext4 without a journal (some virtual machines), which looks at every recently deleted inode on each
    create: after one large delete everything is up to 25 times slower, and a benchmark deletes a lot."""
    found = subprocess.run(["findmnt", "-n", "-o", "FSTYPE,SOURCE", "-T", path], capture_output=True, text=True).stdout.split()
    if len(found) < 2 or found[0] != "ext4":
        return True
    device = os.path.basename(os.path.realpath(found[1]))
    journals = pathlib.Path("/proc/fs/jbd2")
    return journals.is_dir() and any(j.name.startswith(device + "-") for j in journals.iterdir())


class Disk:
    """The folder of all measurements: on an ext4 with a journal, in a loop device where there is none otherwise."""

    def __init__(self):
        tempfile.tempdir = "/var/tmp"  # on the disk: /tmp may be memory
        self.image = None
        where = harness.scratch()
        if has_journal(where):
            return
        self.image = where + ".ext4"
        with open(self.image, "wb") as file:
            file.truncate(32 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard", self.image], check=True)
        subprocess.run(["mount", "-o", "loop", self.image, where], check=True)

    def remove(self):
        if self.image:
            subprocess.run(["umount", harness.scratch()], check=False)
            os.unlink(self.image)
        shutil.rmtree(harness.scratch(), ignore_errors=True)


class Work:
    """The fixtures of all rows, made once."""

    def __init__(self):
        self.dir = pathlib.Path(harness.scratch())
        self.bin = self.dir / "bin"
        self.bin.mkdir()
        self.compile()
        self.busybox = harness.busybox_tar()
        self.rootfs = self.dir / "rootfs"
        self.rootfs.mkdir()
        with tarfile.open(self.busybox) as tar:
            tar.extractall(self.rootfs)
        for name in ("proc", "dev", "sys"):
            (self.rootfs / name).mkdir()
        self.steps = self.context("steps", "FROM busybox\n" + "".join(f"RUN echo {i} > /f{i}\n" for i in range(STEPS)))
        self.many_steps = self.context("many_steps", "FROM busybox\n" + "".join(f"RUN echo {i} > /f{i}\n" for i in range(MANY_STEPS)))
        self.copy = self.tree("copy", FILES, BYTES)
        self.images = images.Images(self)

    def context(self, name, dockerfile):
        folder = self.dir / name
        folder.mkdir()
        (folder / "Dockerfile").write_text(dockerfile)
        return folder

    def tree(self, name, files, size):
        folder = self.context(name, "FROM busybox\nCOPY tree /tree\n")
        subprocess.run([self.bin / "gentree", folder / "tree", str(files), str(size), "1", "mix"], check=True)
        return folder

    @functools.cached_property
    def many_files(self):
        return self.tree("many_files", MANY_FILES, 4096 * MANY_FILES)

    @functools.cached_property
    def touched(self):
        """The tree of `copy` once more; before every round all its files get new times."""
        return self.tree("touched", FILES, BYTES)

    @functools.cached_property
    def edited(self):
        """And once more: before every round one file gets new content."""
        return self.tree("edited", FILES, BYTES)

    @functools.cached_property
    def stages(self):
        """STAGES stages that compute for STAGE_SECONDS each, and one that collects their files."""
        loop = "BEGIN { for (i = 0; i < %d; i++) x += i; print x }"
        count, seconds = 1_000_000, 0
        while seconds < 0.5:
            count *= 2
            began = time.perf_counter()
            subprocess.run([harness.BUSYBOX, "awk", loop % count], check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - began
        count = int(count * STAGE_SECONDS / seconds)
        text = "".join(f"FROM busybox AS s{i}\nRUN awk '{loop % (count + i)}' > /s{i}\n" for i in range(STAGES))
        return self.context("stages", text + "FROM scratch\n" + "".join(f"COPY --from=s{i} /s{i} /\n" for i in range(STAGES)))

    def compile(self):
        libraries = {"minirun": ["-static", "-lcrypto", "-lpthread"], "tarhash": ["-static", "-lcrypto", "-lpthread"],
                     "walk": ["-static", "-lpthread"], "gentree": ["-lm"], "true": ["-static", "-nostdlib"],
                     "transfer": ["-static", "-ldeflate", "-lzstd", "-lz", "-lcrypto", "-lpthread"]}
        for name, flags in libraries.items():
            subprocess.run(["gcc", "-O2", "-w", "-o", self.bin / name, HERE / f"limits/{name}.c", *flags], check=True,
                           stderr=subprocess.DEVNULL)

    def fresh(self, name):
        """A path that was never used: removing the old one would be measured with what follows."""
        self.count = getattr(self, "count", 0) + 1
        return self.dir / f"{name}-{self.count}"


# A tool has one method per row; the name of the row is the method's. Each prepares (untimed) and returns the command.

class Limit(images.Limit):
    name = "limit"

    def __init__(self, work):
        self.work = work

    def version(self):
        return [self.work.bin / "true"]

    def run_none(self):
        upper, work = self.work.fresh("limit-u"), self.work.fresh("limit-w")
        return [self.work.bin / "minirun", "-q", "-V", "-i", "-N", "-l", self.work.rootfs, "-u", upper, "-w", work, "--", "/bin/true"]

    def parallel_starts(self):
        return Together(self.run_none() for _ in range(AT_ONCE))

    def steps_cold(self):
        return [self.work.bin / "minirun", "-C", str(STEPS), "-b", self.work.rootfs, "-d", self.work.fresh("limit-chain")]

    def copy_cold(self):
        return [self.work.bin / "tarhash", "-t", "2", "-b", self.work.fresh("limit-blob"), "-c", self.work.fresh("limit-copy"), self.work.copy]

    def copy_unchanged(self):
        return [self.work.bin / "walk", "-q", "-t", "2", self.work.copy]

    def many_files_unchanged(self):
        return [self.work.bin / "walk", "-q", "-t", "2", self.work.many_files]

    def stages(self):
        """The commands of the stages alone, as many at a time as there are CPUs."""
        commands = "".join(f"{line.split(' > ')[0][4:]}\0" for line in (self.work.stages / "Dockerfile").read_text().splitlines()
                           if line.startswith("RUN "))
        (self.work.stages / "commands").write_text(commands)
        return ["/bin/sh", "-c", f"xargs -0 -P {os.cpu_count()} -n 1 {harness.BUSYBOX} sh -c < {self.work.stages}/commands"]


class Ours(images.Ours):
    name = "img"

    def __init__(self, work, bin_dir):
        self.work, self.bin, self.stores = work, pathlib.Path(bin_dir).resolve(), {}
        self.main = self.store("main")

    def img(self, store, link, *args):
        return [self.bin / link, "--root", store, *args]

    def store(self, name):
        """A store that holds the base image, unpacked, and nothing else."""
        path = self.work.fresh("store-" + name)
        spawn(self.img(path, "imgimport", self.work.busybox, "busybox"))
        spawn(self.img(path, "imgrun", "--rm", "--net", "none", "busybox", "true"))
        return path

    def version(self):
        return [self.bin / "img", "--version"]

    def run_none(self, network="none"):
        return self.img(self.main, "imgrun", "--rm", "--net", network, "busybox", "true")

    def run_bridge(self):
        return self.run_none("bridge")

    def parallel_starts(self):
        return Together(self.run_none() for _ in range(AT_ONCE))

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
            subprocess.run(list(map(os.fspath, command("import", "-", "busybox"))), stdin=tar, env=env, check=True,
                           stdout=subprocess.DEVNULL)
        return command

    def rootless_run(self):
        return self.ordinary("run", "--rm", "--net", "none", "busybox", "true")

    def close(self):
        if "sleeper" in self.__dict__:
            capture(self.img(self.main, "imgrm", "-f", self.sleeper))

    def build(self, store, what, *options):
        return self.img(store, "imgbuild", "--network", "host", *options, "-t", what, getattr(self.work, what))

    def cold(self, what):
        return self.build(self.store("cold"), what)

    def unchanged(self, what):
        if what not in self.stores:
            self.stores[what] = self.store(what)
            # Twice: a file younger than the first record of it is read once more (racily clean).
            spawn(self.build(self.stores[what], what))
            time.sleep(1.1)
            spawn(self.build(self.stores[what], what))
        return self.build(self.stores[what], what)

    def steps_cold(self):
        return self.cold("steps")

    def steps_unchanged(self):
        return self.unchanged("steps")

    def copy_cold(self):
        return self.cold("copy")

    def copy_unchanged(self):
        return self.unchanged("copy")

    def many_steps_unchanged(self):
        return self.unchanged("many_steps")

    def many_files_unchanged(self):
        return self.unchanged("many_files")

    def copy_touched(self):
        command = self.unchanged("touched")
        subprocess.run(["find", self.work.touched / "tree", "-exec", "touch", "{}", "+"], check=True)
        time.sleep(0.1)
        return command

    def copy_edited(self):
        command = self.unchanged("edited")
        path = sorted(p for p in (self.work.edited / "tree").rglob("*") if p.is_file())[0]
        path.write_text(f"edited {time.time()}\n")
        return command

    def stages(self):
        return self.build(self.store("cold"), "stages")

    def stages_one_job(self):
        return self.build(self.store("cold"), "stages", "--jobs", "1")


class BuildKit(images.Docker):
    """dockerd with its BuildKit, from Debian's docker.io."""
    name = "docker"

    def __init__(self, work):
        self.work, self.warm = work, set()
        self.daemon = peers.Dockerd()
        self.daemon("import", work.busybox, "busybox:latest")
        self.env = {**os.environ, "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(self.daemon.dir)}

    def close(self):
        self.daemon.stop()

    def docker(self, *args):
        return Command([peers.DOCKER, "-H", self.daemon.host, *args], self.env)

    def run_none(self):
        return self.docker("run", "--rm", "--network", "none", "busybox", "true")

    def parallel_starts(self):
        return Together(self.run_none() for _ in range(AT_ONCE))

    @functools.cached_property
    def sleeper(self):
        return capture(self.docker("run", "-d", "--network", "none", "busybox", "sleep", "1000000"))

    def exec(self):
        return self.docker("exec", self.sleeper, "true")

    def monitor_memory(self):
        pid = capture(self.docker("inspect", "--format", "{{ .State.Pid }}", self.sleeper))
        return lambda: keeper_memory(pid)

    def build(self, what):
        return self.docker("build", "-q", "--network", "host", "-t", what, getattr(self.work, what))

    def cold(self, what):
        self.daemon("rmi", "-f", what, check=False)
        self.daemon("builder", "prune", "-af", check=False)
        self.warm.discard(what)
        return self.build(what)

    def unchanged(self, what):
        if what not in self.warm:
            spawn(self.build(what))
            self.warm.add(what)
        return self.build(what)

    steps_cold, copy_cold = (lambda self: self.cold("steps")), (lambda self: self.cold("copy"))
    steps_unchanged, copy_unchanged = (lambda self: self.unchanged("steps")), (lambda self: self.unchanged("copy"))


class Podman(images.Podman):
    """Without a daemon, as we are; its conmon stays behind for a container."""
    name = "podman"

    def __init__(self, work):
        self.work, self.podman = work, peers.Podman()
        self.podman("import", work.busybox, "busybox")

    def run_none(self, *options):
        return self.command("run", "--rm", "--network", "none", *options, "busybox", "true")

    def command(self, verb, *args):
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"] if verb == "run" else []
        return [shutil.which("podman"), *self.podman.options, verb, *limits, *args]

    def parallel_starts(self):
        return Together(self.run_none() for _ in range(AT_ONCE))

    @functools.cached_property
    def sleeper(self):
        return capture(self.command("run", "-d", "--network", "none", "busybox", "sleep", "1000000"))

    def exec(self):
        return self.command("exec", self.sleeper, "true")

    def monitor_memory(self):
        pid = capture(self.command("inspect", "--format", "{{ .State.Pid }}", self.sleeper))
        return lambda: keeper_memory(pid)

    def close(self):
        if "sleeper" in self.__dict__:
            capture(self.command("rm", "-f", "-t", "0", self.sleeper))


class Runtime:
    """runc and crun. Only a part of the work: the bundle lies ready, there is no image, no union, nothing to remove."""

    def __init__(self, work, name, *options, mounts=None):
        harness.require(name)
        self.name, self.work, self.count, self.mounts = name, work, 0, mounts
        self.options = [shutil.which(name), *options, "--root", work.dir / name]
        self.bundle = self.make_bundle("bundle", ["/bin/true"])

    def make_bundle(self, name, argv):
        bundle = self.work.dir / f"{self.name}-{name}"
        bundle.mkdir()
        subprocess.run([self.name, "spec"], cwd=bundle, check=True)
        config = json.loads((bundle / "config.json").read_text())
        config["process"].update(terminal=False, args=argv)
        config["root"]["path"] = str(self.work.rootfs)
        (bundle / "config.json").write_text(json.dumps(config))
        return bundle

    def run_none(self):
        self.count += 1
        return self.command("run", "-b", self.bundle, f"bench{os.getpid()}-{self.count}")

    def command(self, *args):
        return Command([*self.options, *args], mounts=self.mounts)

    def parallel_starts(self):
        return Together(self.run_none() for _ in range(AT_ONCE))

    @functools.cached_property
    def sleeper(self):
        spawn(self.command("run", "-d", "-b", self.make_bundle("sleeper", ["sleep", "1000000"]), "sleeper"))
        return "sleeper"

    def exec(self):
        return self.command("exec", self.sleeper, "/bin/true")

    def close(self):
        if "sleeper" in self.__dict__:
            spawn(self.command("delete", "-f", self.sleeper))


def crun(work):
    """Debian's refuses a version 2 hierarchy with controllers beside version 1: it gets a view without that."""
    mount = "/sys/fs/cgroup/unified"
    if not os.path.ismount(mount):
        return Runtime(work, "crun", "--cgroup-manager=disabled")
    holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", f"umount {mount} && echo ready && exec sleep infinity"],
                              stdout=subprocess.PIPE)
    holder.stdout.readline()
    runtime = Runtime(work, "crun", "--cgroup-manager=disabled", mounts=f"/proc/{holder.pid}/ns/mnt")
    runtime.close = lambda end=runtime.close: (end(), holder.kill(), holder.wait())
    return runtime


# row: (what a reader sees, goal, in milliseconds unless the text says KiB)
ROWS = {
    "version": ("img --version", 2),
    "run_none": ("imgrun --rm --net none busybox true", 6),
    "run_bridge": ("imgrun --rm --net bridge busybox true", 25),
    "rootless_run": ("imgrun --rm --net none busybox true, ordinary user", 25),
    "exec": ("imgexec CONTAINER true", 5),
    "parallel_starts": (f"{AT_ONCE} imgrun --rm --net none at once", 80),
    "monitor_memory": ("monitor of a running container, private KiB", 1024),
    "steps_cold": (f"{STEPS} RUN steps, cold", 300),
    "steps_unchanged": (f"{STEPS} RUN steps, unchanged", 15),
    "copy_cold": (f"COPY of {FILES:,} files / {BYTES // 1_000_000} MB, cold", 2000),
    "copy_unchanged": ("the same COPY, unchanged", 50),
    "many_steps_unchanged": (f"{MANY_STEPS} RUN steps, unchanged", 12),
    "many_files_unchanged": (f"COPY of {MANY_FILES:,} files, unchanged", 400),
    "copy_touched": (f"COPY of {FILES:,} files with new times, same content", 400),
    "copy_edited": (f"COPY of {FILES:,} files, one edited", 2000),
    "stages": (f"{STAGES} stages of {STAGE_SECONDS} s of computing", 0.55 * STAGES * STAGE_SECONDS * 1000),
    "stages_one_job": ("the same with --jobs 1", STAGES * STAGE_SECONDS * 1000),
    **images.ROWS,
}


def measure(tools, rows, runs, few):
    """samples[row][tool] = [(ms, cpu ms, KiB)]. Rows of seconds get fewer rounds."""
    samples = {row: {tool.name: [] for tool in tools if hasattr(tool, row)} for row in rows}
    for round_ in range(runs + 1):
        for row in rows:
            if row in ("copy_cold", "copy_edited", "stages", "stages_one_job", *images.SLOW) and round_ > few:
                continue
            able = [tool for tool in tools if hasattr(tool, row)]
            for tool in able[round_ % len(able):] + able[:round_ % len(able)]:
                command = getattr(tool, row)()
                sample = spawn(command)
                if round_ > 0:  # the first round warms caches
                    samples[row][tool.name].append(sample)
        print(f"round {round_ + 1} of {runs + 1}", end="\r", file=sys.stderr, flush=True)
    print(" " * 30, end="\r", file=sys.stderr)
    return samples


def summarize(samples):
    result = {}
    for row, tools in samples.items():
        result[row] = {tool: {"median": round(statistics.median(s[0] for s in values), 2),
                              "min": round(min(s[0] for s in values), 2),
                              "cpu_ms": round(statistics.median(s[1] for s in values), 2),
                              "peak_kib": max(s[2] for s in values), "runs": len(values)}
                       for tool, values in tools.items() if values}
    return result


def table(result, tools):
    names = [tool.name for tool in tools]
    lines = ["| median of whole commands, ms | goal | " + " | ".join(names) + " | img / limit |",
             "|---|---:|" + "---:|" * (len(names) + 1)]
    for row, cells in result.items():
        title, goal = ROWS[row]
        values = [f"{cells[name]['median']:,.1f}" if name in cells else "" for name in names]
        ratio = f"{cells['img']['median'] / cells['limit']['median']:.1f}" if "limit" in cells and "img" in cells else ""
        lines.append(f"| {title} | {goal:,.0f} | " + " | ".join(values) + f" | {ratio} |")
    return "\n".join(lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=str(HERE.parent / "build/bin"))
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 10")
    parser.add_argument("--peers", action="store_true", help="docker's BuildKit, podman, runc and crun too")
    parser.add_argument("--rows", default=",".join(ROWS), help="some of: " + ", ".join(ROWS))
    parser.add_argument("--runs", type=int)
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("error: the benchmark starts containers and needs root")
    if os.environ.get(INSIDE) is None:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", "--net", sys.executable, *sys.argv])
    people.private_network()
    harness.configure(bin_dir=os.path.abspath(options.bin), keep=False)
    rows = [row for row in options.rows.split(",") if row in ROWS]
    runs = options.runs or (3 if options.quick else 10)
    disk, tools, work = Disk(), [], None
    try:
        work = Work()
        tools = [Limit(work), Ours(work, options.bin)]
        if options.peers:
            tools += [crun(work), Runtime(work, "runc"), images.Skopeo(work), Podman(work), BuildKit(work)]
        result = summarize(measure(tools, rows, runs, min(runs, 5)))
    finally:
        for tool in tools:
            getattr(tool, "close", lambda: None)()
        if work:
            work.images.close()
        disk.remove()
    machine = f"{os.cpu_count()} CPUs, kernel {platform.release()}"
    print(f"{machine}, {runs} rounds\n\n{table(result, tools)}")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"machine": machine, "runs": runs, "rows": result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
