"""The probe of tests/e2e/probe: compiled, put into an image, its answers read; and a caller with bad habits."""
import ctypes
import os
import pathlib
import re
import resource
import shutil
import signal
import tarfile

from . import harness
from .harness import ROOT, run

SOURCE = ROOT / "tests/e2e/probe/probe.c"
CALLER_GROUPS = (4242, 4243)
KEYCTL, ADD_KEY, SESSION_KEYRING = 250, 248, -3  # x86-64


def binary():
    """The static probe."""
    path = pathlib.Path(harness.scratch()) / "probe"
    if not path.exists():
        harness.require("gcc")
        run(["gcc", "-O1", "-Wall", "-Wextra", "-static", "-o", f"{path}.part", SOURCE], timeout=120)
        os.rename(f"{path}.part", path)
    return path


def image_tar():
    """busybox with the probe as /probe, and two of it that raise a plain user: set-user-id, file capability."""
    path = pathlib.Path(harness.scratch()) / "probe.tar"
    if path.exists():
        return path
    shutil.copy(harness.busybox_tar(), f"{path}.part")
    data = binary().read_bytes()
    with tarfile.open(f"{path}.part", "a", format=tarfile.PAX_FORMAT) as tar:
        for name, mode, attributes in (("probe", 0o755, {}), ("probe-suid", 0o4755, {}), ("probe-cap", 0o755, {
                # struct vfs_cap_data, version 2 with the effective bit: cap_chown, cap_net_raw
                "SCHILY.xattr.security.capability": bytes([1, 0, 0, 2, 1, 0x20, 0, 0] + [0] * 12).decode("latin-1")})):
            info = tarfile.TarInfo(name)
            info.mode, info.mtime, info.size, info.pax_headers = mode, harness.PAST, len(data), attributes
            with open(binary(), "rb") as content:
                tar.addfile(info, content)
    os.rename(f"{path}.part", path)
    return path


def sections(text):
    """{title: [line]} of `probe facts`."""
    found, current = {}, []
    for line in text.splitlines():
        if line.startswith("== "):
            current = found.setdefault(line[3:], [])
        elif line:
            current.append(line)
    return found


def status(facts):
    return {key: value.strip() for key, value in (line.split(":", 1) for line in facts["status"] if ":" in line)}


def mounts(facts):
    """{mount point: (set of its options, type, source)}, the uppermost one of each point."""
    found = {}
    for line in facts["mountinfo"]:
        left, right = line.split(" - ")
        words = left.split()
        found[words[4]] = (set(words[5].split(",")), right.split()[0], right.split()[1])
    return found


def spoil():
    """For preexec_fn: everything of a caller that must not reach a container (security.md P6, F1)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(KEYCTL, 1, None)  # KEYCTL_JOIN_SESSION_KEYRING
    libc.syscall(ADD_KEY, b"user", b"img-probe", b"secret", 6, SESSION_KEYRING)
    os.setgroups([0, *CALLER_GROUPS])
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN if number != signal.SIGCHLD else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    reader, _ = os.pipe()
    for number in (*range(3, 21), 100):
        if number not in (root, reader):
            os.dup2(reader if number % 3 == 0 else root, number, inheritable=True)


def call_numbers(bits):
    """{name: number} of the kernel's own headers."""
    text = pathlib.Path(f"/usr/include/x86_64-linux-gnu/asm/unistd_{bits}.h").read_text()
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)}


def calls(output):
    """{name: result} of `probe calls`."""
    return dict(line.split(" ", 1) for line in output.splitlines())
