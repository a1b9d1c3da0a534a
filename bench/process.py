"""Starting what is measured: a command, several at once, with which environment and among which mounts."""
import contextlib
import ctypes
import os
import pathlib
import select
import signal
import subprocess
import tempfile


CLONE_NEWNS = 0x00020000
SEPARATOR = "--meter-next--"
LONGEST_SECONDS = 900  # one command, a rival's 1,000 builds included


class Command(list):
    """A command with another environment than ours, or other mounts (the file of a mount namespace)."""

    def __init__(self, argv, env=None, mounts=None):
        super().__init__(os.fspath(word) for word in argv)
        self.env, self.mounts = env, mounts


class Together(list):
    """Commands of one tool that start at once; the time is that of all."""


def as_command(argv):
    return argv if isinstance(argv, Command) else Command(argv)


@contextlib.contextmanager
def mounts_of(file):
    """This process among other mounts for a moment, so that no helper program is measured (python 3.12 has os.setns)."""
    if file is None:
        yield
        return
    with open("/proc/self/ns/mnt") as here, open(file) as there:
        enter = lambda namespace: ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNS)
        folder = os.open(".", os.O_PATH)  # setns(2) takes us to the root
        assert enter(there) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert enter(here) == 0
            os.fchdir(folder)
            os.close(folder)


def settle(path):
    """What others have written goes to the disk now: a sync of the command that is measured next would wait for it."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        ctypes.CDLL(None).syncfs(folder)
    finally:
        os.close(folder)


def wait(leader):
    """The status of the leader of a process group, which is killed when it takes too long: another tool's turn."""
    with os.fdopen(os.pidfd_open(leader)) as end:
        if not select.select([end], [], [], LONGEST_SECONDS)[0]:
            os.killpg(leader, signal.SIGKILL)
    return os.waitpid(leader, 0)[1]


class Meter:
    """Measures by the program `meter` (limits/meter.c), which takes the times itself."""

    def __init__(self, program, folder):
        self.program, self.log, self.figures = os.fspath(program), os.path.join(folder, "command.log"), os.path.join(folder, "figures")

    def __call__(self, what):
        """(milliseconds, CPU milliseconds, peak KiB of its largest process). A function gives its own figure."""
        if callable(what):
            return what(), 0, 0
        commands = [as_command(argv) for argv in (what if isinstance(what, Together) else [what])]
        argv = [self.program, "9"]
        for command in commands:
            argv += [SEPARATOR, *command]
        for file in (self.log, self.figures):
            pathlib.Path(file).unlink(missing_ok=True)
        create = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, self.log, create, 0o600),
                   (os.POSIX_SPAWN_DUP2, 1, 2), (os.POSIX_SPAWN_OPEN, 9, self.figures, create, 0o600)]
        with mounts_of(commands[0].mounts):
            pid = os.posix_spawn(self.program, argv, commands[0].env or os.environ, file_actions=actions, setpgroup=0)
        if code := os.waitstatus_to_exitcode(wait(pid)):
            text = pathlib.Path(self.log).read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(commands[0])}: exit {code}\n{text}")
        wall, cpu, peak = pathlib.Path(self.figures).read_text().split()
        return float(wall), float(cpu), int(peak)


def quietly(argv, check=True):
    """Runs what prepares a measurement. Its errors go to a file: a container that it starts keeps a pipe open."""
    command = as_command(argv)
    with tempfile.TemporaryFile() as errors, mounts_of(command.mounts):
        code = subprocess.run(command, env=command.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                              check=False).returncode
        errors.seek(0)
        text = errors.read().decode(errors="replace")[-2000:]
    if check and code:
        raise RuntimeError(f"{' '.join(command)}: exit {code}\n{text}")


def capture(argv):
    command = as_command(argv)
    return subprocess.run(command, check=True, capture_output=True, text=True, env=command.env).stdout.strip()


def keeper_memory(pid):
    """KiB that only the parent of a container's process uses: whoever stays behind for it."""
    status = pathlib.Path("/proc", pid, "status").read_text()
    parent = next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:"))
    rows = pathlib.Path("/proc", parent, "smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith(("Private_Clean", "Private_Dirty")))


