#!/usr/bin/env python3
"""Where the time of a path goes: the program beside its limit.

    account.py [--bin DIR] [--runs N] PATH...       paths: rows of run.py (default: the four main ones)

Three looks at the same command, each prepared anew for every run as run.py does it:
- whole commands, alternating with the limit: wall time, CPU time of all processes, peak memory;
- `perf record -e cpu-clock -g`: which part of the CPU time is which system call, page faults, starting and ending of processes,
  and which functions of the program's own. A sample belongs to the outermost system call in its stack;
- `strace -f -c -w`: how many system calls, and how long each kind took. strace makes every call slower by the same time,
  so the numbers say more than the times; waiting is in there too.
It needs root, perf and strace.
"""
import argparse
import collections
import os
import pathlib
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/e2e")]
import run as bench  # noqa: E402
import tools  # noqa: E402
import work as fixtures  # noqa: E402
from lib import harness, people  # noqa: E402
from process import Command, as_command, settle  # noqa: E402

MAIN = ("steps_cold", "steps_unchanged", "copy_unchanged", "copy_cold", "run_none")
LEAST = 0.015  # a smaller part has no line of its own
FREQUENCY = 19_997  # a prime: nothing in the program beats in step with it
KERNEL = "kernel:"
# Outside of any system call, in this order: a name in the stack, and what it means.
OTHER = (("asm_exc_page_fault", "page faults"), ("exc_page_fault", "page faults"), ("ret_from_fork", "start of a process or thread"),
         ("asm_sysvec", "interrupts"), ("asm_common_interrupt", "interrupts"))
FAMILIES = ((re.compile(r"sha256|SHA256"), "SHA-256"), (re.compile(r"^_?_?(mem|str)\w*"), "memory and strings of libc"),
            (re.compile(r"nlohmann"), "JSON"), (re.compile(r"\bstd::|_M_"), "the C++ library"),
            (re.compile(r"malloc|_int_free|cfree|^free$|operator new|operator delete|unlink_chunk"), "malloc"))


def part_of(stack):
    """The name of the part that a sample belongs to; the stack has the innermost frame first, those of the kernel marked."""
    in_kernel = bool(stack) and stack[0].startswith(KERNEL)
    stack = [frame.removeprefix(KERNEL) for frame in stack]
    for frame in reversed(stack):
        if frame.startswith(("__x64_sys_", "__do_sys_", "__se_sys_", "ksys_")):  # the compiler turns a last call into a jump
            return "kernel: " + frame.split("sys_", 1)[1]
    for frame in stack:
        for mark, meaning in OTHER:
            if frame.startswith(mark):
                return "kernel: " + meaning
    if in_kernel:
        return "kernel: the rest"
    leaf = stack[0] if stack else "?"
    for pattern, meaning in FAMILIES:
        if pattern.search(leaf):
            return "program: " + meaning
    return "program: " + (re.sub(r"\(.*", "", leaf.replace("(anonymous namespace)::", "").replace("[clone .", "("))[:60] or "?")


def parse_stacks(text):
    """The stacks of `perf script -F ip,sym`: frames one a line, an empty line between samples."""
    stack = []
    for line in text.splitlines():
        words = line.split(None, 1)
        if words:
            mark = KERNEL if len(words[0]) == 16 and words[0].startswith("ffff") else ""
            stack.append(mark + (words[1].strip() if len(words) > 1 else "?"))
        elif stack:
            yield stack
            stack = []
    if stack:
        yield stack


def parse_calls(text):
    """{system call: (calls, milliseconds)} of strace -c."""
    rows = [line.split() for line in text.splitlines()[2:]]
    return {row[-1]: (int(row[3]), float(row[1]) * 1e3) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"}


class Account:
    def __init__(self, work, runs):
        self.work, self.runs = work, runs

    def command(self, tool, row):
        self.work.clean()
        command = as_command(getattr(tool, row)())
        settle(self.work.dir)
        return command

    def whole(self, row, able):
        samples = {tool.name: [] for tool in able}
        for _ in range(self.runs):
            for tool in able:
                samples[tool.name].append(self.work.meter(self.command(tool, row)))
        print("| | wall ms | CPU ms | peak MiB |\n|---|---:|---:|---:|")
        for name, values in samples.items():
            wall, cpu = (statistics.median(value[i] for value in values) for i in (0, 1))
            print(f"| {name} | {wall:.1f} | {cpu:.1f} | {max(value[2] for value in values) / 1024:.1f} |")
        ours = samples.get("img")
        return statistics.median(value[1] for value in ours)

    def parts(self, row, tool, cpu):
        """The CPU time of all runs by parts, scaled to that of one."""
        data, parts = self.work.dir / "perf.data", collections.Counter()
        for _ in range(max(self.runs, min(30, int(300 / max(cpu, 1))))):  # a short command has few samples
            command = self.command(tool, row)
            self.quiet(Command(["/usr/bin/perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-g", "-o", data, "--", *command],
                               command.env))
            script = subprocess.run(["perf", "script", "-i", data, "-F", "ip,sym"], check=True, capture_output=True, text=True).stdout
            parts.update(part_of(stack) for stack in parse_stacks(script))
        total = sum(parts.values())
        print(f"\n| CPU time of {tool.name} | share | ms |\n|---|---:|---:|")
        small = 0
        for part, count in parts.most_common():
            if count < total * LEAST:
                small += count
            else:
                print(f"| {part} | {count / total:.0%} | {cpu * count / total:.2f} |")
        print(f"| all smaller parts | {small / total:.0%} | {cpu * small / total:.2f} |")

    def calls(self, row, tool):
        table, command = self.work.dir / "strace.txt", self.command(tool, row)
        self.quiet(Command(["/usr/bin/strace", "-f", "-c", "-w", "-o", table, *command], command.env))
        calls = parse_calls(table.read_text())
        print(f"\n| system calls of {tool.name} | calls | ms |\n|---|---:|---:|")
        for name, (count, taken) in sorted(calls.items(), key=lambda item: -item[1][1])[:12]:
            print(f"| {name} | {count:,} | {taken:.2f} |")
        print(f"| all {len(calls)} kinds | {sum(count for count, _ in calls.values()):,} | {sum(taken for _, taken in calls.values()):.2f} |")

    def quiet(self, command):
        done = subprocess.run(command, env=command.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")

    def show(self, row, able):
        print(f"\n### {bench.ROWS[row].title}: `{row}`\n")
        cpu = self.whole(row, able)
        for tool in able:
            if tool.name == "img":
                self.parts(row, tool, cpu)
            if tool.name in ("img", "limit"):
                self.calls(row, tool)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=str(HERE.parent / "build/bin"), help="folder with img and its links")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("paths", nargs="*", metavar="PATH", default=MAIN)
    options = parser.parse_args()
    if os.environ.get(bench.INSIDE) is None:
        bench.enter_namespaces(options.paths)
    bench.end_on_signal()
    people.private_network()
    harness.configure(bin_dir=os.path.abspath(options.bin), keep=False)
    disk, made, work = fixtures.Disk(), [], None
    try:
        work = fixtures.Work()
        made = [tools.Limit(work), tools.LimitFiles(work), tools.Ours(work, options.bin)]
        for row in options.paths:
            Account(work, options.runs).show(row, [tool for tool in made if bench.can(tool, row)])
    finally:
        bench.end(work, made, disk)


if __name__ == "__main__":
    main()
