#!/usr/bin/env python3
"""Measures whole commands, from before the fork to after the last wait, and prints medians. README.md says what and how.

    run.py [--bin DIR] [--quick] [--peers] [--scale] [--rows a,b] [--runs N] [--peer-runs N] [--minutes N]
           [--json FILE] [--compare OLD.json]

Every round runs each tool on each row once, in an order that rotates from round to round, so that a slow minute of
the machine hits all of them alike. Compare ratios within one run; milliseconds of two runs are not comparable.

It runs in mount and network namespaces of its own: bridges, rules, the ordinary user and mounts go away with it.
"""
import argparse
import json
import os
import pathlib
import platform
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/e2e")]
import builds  # noqa: E402
import containers  # noqa: E402
import images  # noqa: E402
import report  # noqa: E402
import scale  # noqa: E402
import tools  # noqa: E402
import work as fixtures  # noqa: E402
from lib import harness, people  # noqa: E402  (the tests' way to start a docker daemon, to make a base image, ...)
from process import capture, settle  # noqa: E402

INSIDE = "IMG_BENCH_INSIDE"
ROWS = {**containers.ROWS, **builds.ROWS, **images.ROWS, **scale.ROWS}
QUICK_ROUNDS, QUICK_SECONDS = 3, 90
WARMED = 3  # rows with more rounds than this get one before, which does not count: it warms caches


def can(tool, row):
    return callable(getattr(tool, row, None)) and (ROWS[row].writes or not getattr(tool, "only_writes", False))


class Run:
    """The samples of all rounds, and what failed on the way: a rival that cannot do a row does not end the run.

    seconds: no round begins later, but the first, which is always whole. peer_rounds: rivals are in no more than these."""

    def __init__(self, work, able, rounds, seconds=None, peer_rounds=None):
        self.work, self.rounds, self.until = work, rounds, time.monotonic() + (seconds or 1e9)
        self.able, self.peer_rounds = able, peer_rounds or max(rounds.values(), default=0)
        self.samples = {row: {tool.name: [] for tool in tools_} for row, tools_ in able.items()}
        self.errors = {}

    def tell(self, text):
        if sys.stderr.isatty():
            print(f"\r{text:60}\r", end="", file=sys.stderr, flush=True)

    def all_rounds(self, after_each):
        """after_each() is called when a row of a round is complete."""
        for number in range(max(self.rounds.values(), default=0) + 1):
            for row, rounds in self.rounds.items():
                counts = number > 0
                if number > rounds or (not counts and rounds <= WARMED) or (number > 1 and time.monotonic() > self.until):
                    continue
                self.tell(f"round {number} of {max(self.rounds.values())}: {row}")
                self.one(row, number, counts)
                self.work.clean()
                after_each()
        self.tell("")

    def one(self, row, number, counts):
        first = 0 if self.peer_rounds > WARMED else 1
        able = [tool for tool in self.able[row] if first <= number <= self.peer_rounds or isinstance(tool, tools.NO_RIVALS)]
        for tool in able[number % len(able):] + able[:number % len(able)]:
            if (row, tool.name) in self.errors:
                continue
            try:
                command = getattr(tool, row)()
                settle(self.work.dir)
                sample = self.work.meter(command)
            except Exception as error:  # whatever it is: hours of the other rows are not lost for it
                self.errors[row, tool.name] = f"{type(error).__name__}: {error}"
                continue
            if counts:
                self.samples[row][tool.name].append(sample)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=str(HERE.parent / "build/bin"), help="folder with img and its links")
    parser.add_argument("--quick", action="store_true", help=f"the main rows, {QUICK_ROUNDS} rounds, under 3 minutes")
    parser.add_argument("--peers", action="store_true", help="the rivals too: " + " ".join(tools.PEERS))
    parser.add_argument("--tools", help="of the rivals only these (implies --peers)")
    parser.add_argument("--scale", action="store_true", help="rows of growth too (long, 25 GiB)")
    parser.add_argument("--rows", help="some of: " + ", ".join(ROWS))
    parser.add_argument("--runs", type=int, help="at most so many rounds")
    parser.add_argument("--peer-runs", type=int, help="at most so many rounds of the rivals, which are slow")
    parser.add_argument("--minutes", type=float, help="no round but the first begins later")
    parser.add_argument("--json", metavar="FILE", help="write everything there, anew after each row")
    parser.add_argument("--compare", metavar="OLD.json", help="say what got slower or faster since; exit status 1 when something got slower")
    options = parser.parse_args()
    unknown = [row for row in (options.rows or "").split(",") if row and row not in ROWS]
    if unknown:
        parser.error(f"no such row: {' '.join(unknown)}")
    return options


def chosen_rows(options):
    if options.rows:
        return [row for row in options.rows.split(",") if row]
    if options.quick:
        return [row for row in ROWS if ROWS[row].quick]
    return [row for row in ROWS if options.scale or not ROWS[row].family]


def make_tools(options, work):
    made = [tools.Limit(work), tools.LimitFiles(work), tools.Ours(work, options.bin), tools.Ours(work, options.bin, "fast")]
    if options.peers or options.tools:
        names = options.tools.split(",") if options.tools else tools.PEERS
        made += [tools.PEERS[name](work) for name in names]
    return made


def end(work, made, disk):
    for tool in made:
        try:
            getattr(tool, "close", lambda: None)()
        except Exception as error:
            print(f"warning: {tool.name} did not end: {error}", file=sys.stderr)
    if work:
        work.images.close()
    disk.remove()


def enter_namespaces(rows):
    """What is downloaded comes first: the namespace has no way outside."""
    if any(row in rows for row in ("install", "install_app_changed")):
        fixtures.debian_packages()
    if any("debian" in row or row == "run_just_pulled" for row in rows):
        harness.flask_tar()
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", "--net", sys.executable, *sys.argv])


def end_on_signal():
    """Daemons and the disk go first."""
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit("ended by a signal"))


def show(document, names, partial):
    result = document["rows"]
    print(f"{document['machine']}, {document['version']}, {document['seconds']} s\n")
    for text in (report.table(result, ROWS, names, partial), report.growth(result, ROWS), report.memory(result, ROWS)):
        if text:
            print(text + "\n")
    for name, error in document["errors"].items():
        print(f"FAILED {name}: {error}", file=sys.stderr)


def compare(document, file):
    old = json.loads(pathlib.Path(file).read_text())["rows"]
    found = report.compare(document["rows"], old, ROWS)
    print(report.compared(found, report.machine_factor(document["rows"], old)))
    return any(word == "slower" for word, _, _ in found)


def document_of(options, run, seconds):
    return {"machine": f"{os.cpu_count()} CPUs, kernel {platform.release()}", "seconds": round(seconds),
            "runs": max(len(samples) for by_tool in run.samples.values() for samples in by_tool.values()),
            "version": capture([os.path.join(options.bin, "img"), "--version"]).splitlines()[0],
            "rows": report.summarize(run.samples), "errors": {" ".join(key): text for key, text in run.errors.items()}}


def measure(options, rows):
    """The document of all rounds, and the tools. A run that is ended leaves what it has in the file."""
    most = options.runs or (QUICK_ROUNDS if options.quick else max(row.rounds for row in ROWS.values()))
    seconds = options.minutes * 60 if options.minutes else QUICK_SECONDS if options.quick else None
    began = time.monotonic()
    disk, made, work = fixtures.Disk(), [], None
    try:
        work = fixtures.Work()
        made = make_tools(options, work)
        able = {row: [tool for tool in made if can(tool, row)] for row in rows}
        run = Run(work, able, {row: min(most, ROWS[row].rounds) for row in rows}, seconds, options.peer_runs)

        def write():
            if options.json:
                document = document_of(options, run, time.monotonic() - began)
                pathlib.Path(options.json).write_text(json.dumps(document, indent=2) + "\n")

        run.all_rounds(after_each=write)
    finally:
        end(work, made, disk)
    return document_of(options, run, time.monotonic() - began), made


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("error: the benchmark starts containers and needs root")
    rows = chosen_rows(options)
    if os.environ.get(INSIDE) is None:
        enter_namespaces(rows)
    end_on_signal()
    people.private_network()
    harness.configure(bin_dir=os.path.abspath(options.bin), keep=False)
    document, made = measure(options, rows)
    show(document, [tool.name for tool in made], [tool.name for tool in made if getattr(tool, "partial", False)])
    slower = compare(document, options.compare) if options.compare else False
    sys.exit(1 if slower or document["errors"] else 0)


if __name__ == "__main__":
    main()
