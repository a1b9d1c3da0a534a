#!/usr/bin/env python3
"""Records which functions the main commands call, in the order of their first calls: cmake/order/text.order (README.md).

    python3 cmake/order/record.py build/release      as root, x86-64, with busybox-static and gcc
"""
import bisect
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests/e2e"))
from lib import harness  # noqa: E402

HEAD = """# Made by record.py, see README.md: functions of ours and of the C++ library by name, others by the object file that they come
# from, as the linker's script names it. What is not there (any more) does no harm.
"""
# What runs, and where its functions come in the list: people wait for the first ones most. None: not at all (what leaves
# processes behind would be waited for).
COMMANDS = [
    (9, "import {tar} busybox"), (9, "run --rm --net none busybox true"), (0, "--version"), (1, "run --rm --net none busybox true"),
    (5, "build -q -t steps {steps}"), (2, "build -q -t steps {steps}"), (6, "build -q -t copy {copy}"), (3, "build -q -t copy {copy}"),
    (None, "run -d --name sleeper --net none busybox sleep 1000"), (4, "exec sleeper true"), (4, "ps"), (4, "images"), (8, "logs sleeper"),
    (None, "rm -f sleeper"), (7, "run --name stays --net none busybox touch /file"), (7, "commit -q stays committed"), (8, "start -a stays"),
    (8, "inspect stays"), (8, "history committed"), (7, "rm stays"), (7, "save -o {archive} committed"), (7, "rmi committed"),
    (7, "load -i {archive}"), (8, "tag committed other"), (8, "image prune -af"),
]
STEPS = "FROM busybox\n" + "".join(f"RUN echo {n} > /{n}\n" for n in range(3))
COPY = "FROM busybox\nCOPY . /copy\n"


def lines_of(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout.splitlines()


def functions(program):
    """Where functions start. The start files' have none of a name."""
    number = next(m[1] for m in (re.match(r"\s*\[\s*(\d+)\] \.text\s", line) for line in lines_of("readelf", "-SW", program)) if m)
    fields = [line.split() for line in lines_of("readelf", "-sW", program)]
    return sorted({int(f[1], 16) for f in fields if len(f) > 7 and f[3] in ("FUNC", "IFUNC") and f[6] == number})


class Sections:
    """The input sections of .text by address, from the linker's map."""

    def __init__(self, path):
        found, name, inside = [], None, False
        for line in path.read_text().splitlines():
            if re.match(r"\.\w", line):
                inside = re.match(r"\.text\s", line) is not None
            begin = re.match(r" (\.text\S*)", line)
            name = begin[1] if begin else name
            place = re.search(r"\s0x([0-9a-f]{16})\s+0x([0-9a-f]+) (\S.*)$", line)
            if inside and name and place and int(place[2], 16):
                found.append((int(place[1], 16), int(place[2], 16), name, place[3]))
                name = None
        self.all = sorted(found)
        self.starts = [section[0] for section in self.all]

    def pattern(self, address):
        """The function there, or the input statement for its object file's; None for what the start files have."""
        index = bisect.bisect_right(self.starts, address) - 1
        if index < 0 or address >= sum(self.all[index][:2]):
            return None
        _, _, section, file = self.all[index]
        member = re.search(r"([^/]+\.a)[:(]([^)]+)\)?$", file)
        if member and not member[1].startswith(("libimg_", "libstdc++")):
            return f"*{member[1]}:{member[2]}({section})"
        function = re.match(r"\.text\.([A-Za-z0-9_]+)", section)  # without what the compiler says about a clone
        return function[1] if function else None


def record(build, folder):
    program, called = build / "bin/img", folder / "called"
    subprocess.run(["gcc", "-O2", "-o", called, HERE / "called.c"], check=True)
    addresses, sections = folder / "addresses", Sections(build / "img.map")
    addresses.write_text("".join(f"{a:x}\n" for a in functions(program)))
    names = {"tar": harness.busybox_tar(), "archive": folder / "archive.tar"}
    for name, text in (("steps", STEPS), ("copy", COPY)):
        names[name] = folder / name
        names[name].mkdir()
        (names[name] / "Dockerfile").write_text(text)
        for number in range(50):
            (names[name] / f"file{number}").write_text(f"{number}\n" * 200)
    calls = []
    for step, (rank, command) in enumerate(COMMANDS):
        words = [word.format(**names) for word in command.split()]
        output = folder / "output"
        with open(folder / "log", "w") as log:
            tracer = [called, output, addresses] if rank is not None else []
            result = subprocess.run([*tracer, program, *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                    env={"PATH": os.environ["PATH"], "HOME": str(folder), "IMG_ROOT": str(folder / "store")})
        if result.returncode:
            sys.exit(f"{command}: {(folder / 'log').read_text()}")
        if rank is None:
            continue
        calls += [(rank, step, n, int(line, 16)) for n, line in enumerate(output.read_text().splitlines())]
    return dict.fromkeys(filter(None, (sections.pattern(address) for *_, address in sorted(calls))))


def main():
    folder = pathlib.Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        patterns = record(pathlib.Path(sys.argv[1]).resolve(), folder)
    finally:
        shutil.rmtree(folder)
    (HERE / "text.order").write_text(HEAD + "".join(pattern + "\n" for pattern in patterns))
    print(f"{len(patterns)} sections")


main()
