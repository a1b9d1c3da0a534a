"""What every suite needs: temporary folders, bounded commands, the program under test, a base image."""
import fcntl
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
TESTDATA = ROOT / "testdata"
PAST = 1_600_000_000  # the time of every file that a test hands to a builder: 2020-09-13
BUSYBOX = "/bin/busybox"

_settings = {"bin": None, "keep": False, "scratch": None}


def configure(bin_dir, keep):
    _settings.update(bin=bin_dir, keep=keep)


def program(name="img"):
    return os.path.join(_settings["bin"], name)


def scratch():
    if _settings["scratch"] is None:
        _settings["scratch"] = tempfile.mkdtemp(prefix="img-e2e-")
        os.chmod(_settings["scratch"], 0o755)
    return _settings["scratch"]


def remove_scratch():
    """Peers leave mounts in their folders (podman on its storage): first those, innermost first, then the files."""
    points = [line.split()[4] for line in open("/proc/self/mountinfo")]
    for point in reversed([p for p in points if p.startswith(scratch() + "/")]):
        subprocess.run(["umount", "--lazy", point], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(scratch(), ignore_errors=True)


def temp_dir(name="t"):
    return tempfile.mkdtemp(prefix=name + "-", dir=scratch())


class CommandFailed(AssertionError):
    pass


class Output:
    """The result of a command: code, out and err (text; undecodable bytes become surrogates)."""

    def __init__(self, argv, code, out, err):
        self.argv, self.code, self.raw, self.raw_err = argv, code, out, err
        self.out = out.decode("utf-8", "surrogateescape")
        self.err = err.decode("utf-8", "surrogateescape")

    def __str__(self):
        text = f"$ {' '.join(map(str, self.argv))}\nexit {self.code}"
        for name, value in (("stdout", self.out), ("stderr", self.err)):
            if value:
                text += f"\n--- {name}\n{value[-4000:].rstrip()}"
        return text.encode("utf-8", "backslashreplace").decode()


def run(argv, check=True, stdin=b"", timeout=60, env=None, cwd=None, **kwargs):
    """Runs a program to its end, at most `timeout` seconds; a failure shows the command and its output."""
    argv = [os.fspath(a) for a in argv]
    if isinstance(stdin, str):
        stdin = stdin.encode()
    environment = {**os.environ, **(env or {})}
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={k: v for k, v in environment.items() if v is not None}, cwd=cwd, **kwargs)
    try:
        out, err = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise CommandFailed(f"still running after {timeout} s\n{Output(argv, '?', out, err)}") from None
    result = Output(argv, process.returncode, out, err)
    if check and result.code != 0:
        raise CommandFailed(str(result))
    return result


def require(*programs):
    """Skips the test when a peer is missing; with IMG_TEST_REQUIRE_PEERS (./dev test) that is a failure."""
    missing = [p for p in programs if shutil.which(p) is None and not os.path.exists(p)]
    if not missing:
        return
    reason = "not installed: " + " ".join(missing)
    if os.environ.get("IMG_TEST_REQUIRE_PEERS"):
        raise AssertionError(reason)
    raise unittest.SkipTest(reason)


class Image:
    """An image as it lies in an OCI layout, read without any help of the program under test."""

    def __init__(self, store, name):
        self.store, self.name = pathlib.Path(store), full_name(name)
        index = json.loads((self.store / "index.json").read_text())
        found = [d for d in index["manifests"]
                 if d.get("annotations", {}).get("org.opencontainers.image.ref.name") == self.name]
        if len(found) != 1:
            names = [d.get("annotations", {}) for d in index["manifests"]]
            raise AssertionError(f"{self.name}: {len(found)} descriptors in index.json, expected one; it has {names}")
        self.descriptor = found[0]
        self.digest = found[0]["digest"]
        self.manifest = json.loads(self.blob(self.digest))
        self.id = self.manifest["config"]["digest"]
        self.document = json.loads(self.blob(self.id))
        self.config = self.document.get("config", {})
        self.layers = self.manifest["layers"]

    def blob_path(self, digest):
        algorithm, value = digest.split(":")
        return self.store / "blobs" / algorithm / value

    def blob(self, digest):
        return self.blob_path(digest).read_bytes()

    def layer_entries(self, number):
        with tarfile.open(self.blob_path(self.layers[number]["digest"]), encoding="utf-8",
                          errors="surrogateescape") as tar:
            return [member.name for member in tar]


def full_name(name):
    tail = name.rsplit("/", 1)[-1]
    if ":" not in tail:
        name += ":latest"
    first = name.split("/", 1)[0]
    if "/" not in name:
        return "docker.io/library/" + name
    return name if "." in first or ":" in first or first == "localhost" else "docker.io/" + name


def no_registry():
    """A registries.conf without the registry of names that name none: no test asks the world for a missing image."""
    path = os.path.join(scratch(), "registries.conf")
    if not os.path.exists(path):
        pathlib.Path(path + ".new").write_text('[[registry]]\nprefix = "docker.io"\nblocked = true\n')
        os.rename(path + ".new", path)
    return path


class Img:
    """The program under test on one store."""

    def __init__(self, store=None, env=None):
        self.store = pathlib.Path(store or os.path.join(temp_dir("store"), "store"))
        self.env = {"CONTAINERS_REGISTRIES_CONF": no_registry(), **(env or {})}

    def path(self, name="img"):
        return program(name)

    def argv(self, command, *args):
        """command: `build`, `run`, ...: the link imgbuild, with the store."""
        return [self.path("img" + command), "--root", str(self.store), *map(os.fspath, args)]

    def __call__(self, command, *args, **kwargs):
        kwargs["env"] = {**self.env, **kwargs.get("env", {})}
        return run(self.argv(command, *args), **kwargs)

    def start(self, command, *args, **kwargs):
        """The same in the background, in a process group of its own."""
        return subprocess.Popen(self.argv(command, *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                stdin=subprocess.DEVNULL, start_new_session=True, **kwargs)

    def build(self, context, tag=None, *args, dockerfile=None, **kwargs):
        """dockerfile: text, written into the context first."""
        if dockerfile is not None:
            pathlib.Path(context).mkdir(parents=True, exist_ok=True)
            pathlib.Path(context, "Dockerfile").write_text(dockerfile)
        tags = ["-t", tag] if tag else []
        return self("build", "--network", "host", *tags, *args, context, **kwargs)

    def image(self, name):
        return Image(self.store, name)

    def with_busybox(self):
        """Gives the store the base image `busybox`."""
        self("import", busybox_tar(), "busybox")
        return self

    def remove_containers(self):
        """Ends everything that runs in the store; for cleanups, so it does not fail."""
        listed = self("ps", "-a", "-q", "--no-trunc", check=False)
        if listed.code == 0 and listed.out.split():
            self("rm", "-f", *listed.out.split(), check=False)


_busybox_lock = threading.Lock()


def busybox_tar():
    """A small root file system: the static busybox, its links, two users. Same bytes every time."""
    path = os.path.join(scratch(), "busybox.tar")
    with _busybox_lock:
        if not os.path.exists(path):
            require(BUSYBOX)
            _write_busybox(path + ".tmp")
            os.rename(path + ".tmp", path)
    return path


def flask_tar():
    """Debian with python3 and Flask, the base of testdata/flask: the demo's, made once and kept in build/cache."""
    cache = ROOT / "build/cache"
    path = cache / "debian-flask.tar"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            require("mmdebstrap")
            run(["mmdebstrap", "--quiet", "--format=tar", "--variant=minbase", "--include=python3-flask", "bookworm",
                 f"{path}.new"], timeout=600)
            os.rename(f"{path}.new", path)
    return path


def _write_busybox(path):
    applets = run([BUSYBOX, "--list"]).out.split()
    files = {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\ndev:x:1000:1001:Dev:/home/dev:/bin/sh\n"
                      b"nobody:x:65534:65534:nobody:/:/bin/false\n",
        "etc/group": b"root:x:0:\ndevs:x:1001:\nwheel:x:10:root,dev\nnogroup:x:65534:\n",
    }
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        def add(name, kind, mode=0o755, data=b"", link="", uid=0, gid=0):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime, info.linkname = kind, mode, PAST, link
            info.size, info.uid, info.gid = len(data), uid, gid
            tar.addfile(info, io.BytesIO(data))

        for folder in (".", "bin", "etc", "home", "root", "tmp", "usr", "usr/bin", "var"):
            add(folder, tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755)
        add("home/dev", tarfile.DIRTYPE, 0o750, uid=1000, gid=1001)
        add("bin/busybox", tarfile.REGTYPE, data=pathlib.Path(BUSYBOX).read_bytes())
        for applet in applets:
            if applet != "busybox":
                add("bin/" + applet, tarfile.SYMTYPE, 0o777, link="busybox")
        for name, data in files.items():
            add(name, tarfile.REGTYPE, 0o644, data)


def set_times(folder, when=PAST):
    """Gives every file of a tree the same old time, so that a copied time can be told from a new one."""
    for base, folders, files in os.walk(os.fsencode(folder), topdown=False):
        for name in folders + files:
            os.utime(os.path.join(base, name), (when, when), follow_symlinks=False)
    os.utime(folder, (when, when))


def processes():
    """The living processes of the suite's pid namespace but this one and its pid 1: {pid: command line}."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in (1, os.getpid()):
            continue
        try:
            state = pathlib.Path("/proc", name, "stat").read_text().rsplit(")", 1)[1].split()[0]
            if state not in "ZX":
                found[int(name)] = pathlib.Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ").decode(
                    "utf-8", "replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def process_name(pid):
    """Empty for a process that has ended meanwhile: a list of processes is old as soon as it is made."""
    try:
        return pathlib.Path("/proc", str(pid), "comm").read_text().rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until(condition, what, seconds=20):
    """The first true answer of condition()."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s: {what}")
        time.sleep(0.002)
    return answer


def wait_until_asleep(process, call="nanosleep"):
    """Until a started command sleeps in that call: it has looked at what there is and waits for a change."""
    where = pathlib.Path("/proc", str(process.pid), "wchan")
    wait_until(lambda: call in where.read_text(), f"{process.args} waits in {call}")


def mounts():
    return sorted(line.split(" - ")[0].split(" ", 4)[4] for line in open("/proc/self/mountinfo"))


class TestCase(unittest.TestCase):
    """A test with its own folder and, on demand, its own store."""

    maxDiff = None
    longMessage = True

    def setUp(self):
        self.dir = pathlib.Path(temp_dir("case"))
        # Cleanups run last first: what a test left running ends before its store goes.
        if not _settings["keep"]:
            self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def img(self, store=None, busybox=True, **kwargs):
        program = Img(store or self.dir / "store", **kwargs)
        self.addCleanup(program.remove_containers)
        return program.with_busybox() if busybox else program

    def write(self, files, under="ctx"):
        """Makes a context from {path: text, bytes, or None for a folder}."""
        folder = self.dir / under
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = folder / name
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder


class Running:
    """A detached container of an image that only sleeps, and its root file system as the host sees it."""

    _number = 7_000_000

    def __init__(self, program, image, *options):
        Running._number += 1
        self.program, self.mark = program, str(Running._number)
        started = program("run", "-d", "--net", "none", *options, image, "/bin/busybox", "sleep", self.mark)
        self.id = started.out.strip()
        self.pid = int(program("inspect", "--format", "{{ .State.Pid }}", self.id).out)
        self.root = f"/proc/{self.pid}/root"

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.program("rm", "-f", self.id, check=False)


# What the runtime itself puts over the image (architecture.md 4): no part of the image's tree.
RUNTIME_PATHS = ("/dev", "/dev/*", "/proc", "/proc/*", "/sys", "/sys/*", "/etc/hosts", "/etc/hostname",
                 "/etc/resolv.conf", "/.dockerenv", "/run/.containerenv")
