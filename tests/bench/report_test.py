#!/usr/bin/env python3
"""The parts of bench/ that measure nothing: rounds, waiting, tables and verdicts, the parsers of account.py."""
import os
import pathlib
import signal
import sys
import tempfile
import time
import unittest
from unittest import mock

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests/e2e")]
import account  # noqa: E402
import process  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
from rows import Row  # noqa: E402

ROWS = {"a": Row("row a", factor=1.2), "b": Row("row b", goal=5), "c": Row("row c", factor=1.3, against="limit files"),
        "small": Row("10 things", family="things", size=10), "large": Row("100 things", family="things", size=100)}


def cell(median, peak=1024, spread=0.0):
    return {"median": median, "min": median, "spread": spread, "cpu_ms": 0, "peak_kib": peak, "runs": 3, "samples": [median]}


class Summary(unittest.TestCase):
    def test_median_minimum_and_peak(self):
        cells = report.summarize({"a": {"img": [(3, 1, 10), (1, 2, 30), (2, 3, 20)]}})["a"]["img"]
        self.assertEqual((cells["median"], cells["min"], cells["cpu_ms"], cells["peak_kib"], cells["runs"]), (2, 1, 2, 30, 3))

    def test_what_has_no_samples_is_left_out(self):
        self.assertEqual(report.summarize({"a": {"img": []}, "b": {"img": [(1, 1, 1)], "limit": []}}).keys(), {"b"})

    def test_spread_ignores_one_outlier(self):
        self.assertAlmostEqual(report.spread([10, 10, 11, 9, 1000]), 0.1)


class Goals(unittest.TestCase):
    def test_met_by_factor_of_the_limit(self):
        self.assertTrue(report.is_met(ROWS["a"], {"img": cell(12), "limit": cell(10)}))
        self.assertFalse(report.is_met(ROWS["a"], {"img": cell(12.1), "limit": cell(10)}))

    def test_met_against_the_named_limit(self):
        self.assertTrue(report.is_met(ROWS["c"], {"img": cell(13), "limit": cell(1), "limit files": cell(10)}))

    def test_met_by_milliseconds(self):
        self.assertTrue(report.is_met(ROWS["b"], {"img": cell(5)}))
        self.assertFalse(report.is_met(ROWS["b"], {"img": cell(5.1)}))

    def test_nothing_to_say_without_the_limit_or_without_us(self):
        self.assertIsNone(report.is_met(ROWS["a"], {"img": cell(12)}))
        self.assertIsNone(report.is_met(ROWS["a"], {"limit": cell(12)}))

    def test_best_rival_does_the_whole_work(self):
        cells = {"img": cell(1), "img fast": cell(1), "limit": cell(1), "limit files": cell(1), "crun": cell(2), "podman": cell(30), "docker": cell(40)}
        self.assertEqual(report.best_rival(cells, ["crun"]), ("podman", 30))
        self.assertIsNone(report.best_rival({"img": cell(1), "crun": cell(2)}, ["crun"]))


class Table(unittest.TestCase):
    def test_ratios_brackets_and_absent_columns(self):
        text = report.table({"a": {"img": cell(12), "limit": cell(10), "crun": cell(3), "docker": cell(2400)}}, ROWS,
                            ["limit", "limit files", "img", "crun", "docker"], ["crun"])
        head, _, line = text.splitlines()
        self.assertEqual(head, "| median of whole commands, ms | goal | limit | img | crun | docker | img / limit | img / limit files "
                               "| best rival / img | met |")
        self.assertEqual(line, "| row a | 1.2 x limit | 10.0 | 12.0 | (3.0) | 2,400 | 1.20 |  | 200.0 (docker) | yes |")

    def test_memory_in_mebibytes(self):
        self.assertIn("| row a | 2.0 |", report.memory({"a": {"img": cell(1, peak=2048)}}, ROWS))


class Growth(unittest.TestCase):
    def growth(self, times, peaks):
        text = report.growth({"small": {"img": cell(times[0], peaks[0])}, "large": {"img": cell(times[1], peaks[1])}}, ROWS)
        return text.splitlines()[-1].split(" | ")

    def test_linear(self):
        self.assertEqual(self.growth((10, 100), (10, 100))[-4:], ["1.00", "", "1.00", "yes |"])

    def test_quadratic_time(self):
        self.assertEqual(self.growth((10, 1000), (10, 10))[-4:], ["10.00", "", "0.10", "no |"])

    def test_memory_that_explodes(self):
        self.assertEqual(self.growth((10, 10), (10, 200))[-1], "no |")

    def test_the_limit_may_grow_too(self):
        text = report.growth({"small": {"img": cell(10), "limit": cell(1)}, "large": {"img": cell(120), "limit": cell(12)}}, ROWS)
        self.assertEqual(text.splitlines()[-1].split(" | ")[-4:], ["1.20", "1.20", "0.10", "no |"])

    def test_one_size_says_nothing(self):
        self.assertEqual(report.growth({"small": {"img": cell(1)}}, ROWS), "")


class Compare(unittest.TestCase):
    def words(self, new, old):
        return {key: word for word, key, _ in report.compare(new, old, ROWS)}

    def test_ratio_to_the_limit_counts_and_not_the_milliseconds(self):
        old = {"a": {"img": cell(20), "limit": cell(10)}}
        self.assertEqual(self.words({"a": {"img": cell(40), "limit": cell(20)}}, old), {"a": "same"})
        self.assertEqual(self.words({"a": {"img": cell(24), "limit": cell(10)}}, old), {"a": "slower"})
        self.assertEqual(self.words({"a": {"img": cell(15), "limit": cell(10)}}, old), {"a": "faster"})

    def test_without_a_limit_the_machine_is_levelled_out(self):
        old = {"a": {"img": cell(20), "limit": cell(10)}, "b": {"img": cell(4)}}
        twice = {"a": {"img": cell(40), "limit": cell(20)}, "b": {"img": cell(8)}}
        self.assertEqual(report.machine_factor(twice, old), 2)
        self.assertEqual(self.words(twice, old)["b"], "same")
        twice["b"] = {"img": cell(12)}
        self.assertEqual(self.words(twice, old)["b"], "slower")

    def test_noise_hides_a_small_change(self):
        old = {"a": {"img": cell(20, spread=0.1), "limit": cell(10)}}
        self.assertEqual(self.words({"a": {"img": cell(25), "limit": cell(10)}}, old), {"a": "same"})
        self.assertEqual(self.words({"a": {"img": cell(27), "limit": cell(10)}}, old), {"a": "slower"})

    def test_new_and_gone_rows(self):
        self.assertEqual(self.words({"a": {"img": cell(1)}}, {"b": {"img": cell(1)}}), {"a": "new", "b": "gone"})

    def test_slower_rows_come_first(self):
        old = {"a": {"img": cell(20), "limit": cell(10)}, "c": {"img": cell(20), "limit files": cell(10)}}
        new = {"a": {"img": cell(20), "limit": cell(10)}, "c": {"img": cell(40), "limit files": cell(10)}}
        found = report.compare(new, old, ROWS)
        self.assertEqual([entry[0] for entry in found], ["slower", "same"])
        self.assertTrue(report.compared(found, 1.0).startswith("1 slower, 0 faster, 1 the same"))


class Rounds(unittest.TestCase):
    """Which tool is measured in which round, with commands that do nothing."""

    class Work:
        dir = "/"

        def meter(self, command):
            return 1.0, 1.0, 1

        def clean(self):
            pass

    class Rival:
        name = "rival"

        def run_none(self):
            return ["true"]

    class Limit(run.tools.Limit):
        name = "limit"

        def __init__(self):
            pass

        def run_none(self):
            return ["true"]

    def rounds(self, **options):
        written = []
        measured = run.Run(self.Work(), {"run_none": [self.Limit(), self.Rival()]}, {"run_none": 5}, **options)
        measured.all_rounds(lambda: written.append({tool: len(found) for tool, found in measured.samples["run_none"].items()}))
        return written

    def test_each_round_is_written_and_the_first_warms(self):
        self.assertEqual(self.rounds(), [{"limit": number, "rival": number} for number in range(6)])

    def test_rivals_are_in_the_first_rounds_only(self):
        self.assertEqual(self.rounds(peer_rounds=2)[-1], {"limit": 5, "rival": 2})

    def test_no_round_but_the_first_begins_late(self):
        self.assertEqual(self.rounds(seconds=1e-9)[-1], {"limit": 1, "rival": 1})


class Preparing(unittest.TestCase):
    def test_what_stays_behind_is_not_waited_for(self):
        with tempfile.NamedTemporaryFile("r") as file:
            process.quietly(["sh", "-c", f"sleep 60 & echo $! > {file.name}"])
            os.kill(int(file.read()), signal.SIGKILL)  # ProcessLookupError when it has been waited for

    def test_the_error_is_told(self):
        with self.assertRaisesRegex(RuntimeError, "exit 3\nno such thing"):
            process.quietly(["sh", "-c", "echo no such thing >&2; exit 3"])


class Waiting(unittest.TestCase):
    def start(self, *argv):
        return os.posix_spawnp(argv[0], argv, os.environ, setpgroup=0)

    def test_the_status_of_what_ends(self):
        self.assertEqual(os.waitstatus_to_exitcode(process.wait(self.start("false"))), 1)

    def test_what_hangs_is_killed_with_its_children(self):
        with mock.patch.object(process, "LONGEST_SECONDS", 0.2):
            leader = self.start("sh", "-c", "sleep 60 & wait")
            self.assertEqual(os.waitstatus_to_exitcode(process.wait(leader)), -signal.SIGKILL)
        with self.assertRaises(ProcessLookupError):
            for _ in range(1000):
                os.killpg(leader, 0)  # until init has reaped the last of them
                time.sleep(0.01)


class Rows(unittest.TestCase):
    def test_every_row_can_be_measured(self):
        ours, limits = run.tools.Ours, (run.tools.Limit, run.tools.LimitFiles)
        for name, row in run.ROWS.items():
            self.assertTrue(callable(getattr(ours, name, None)), name)
            if row.factor is not None:
                column = limits[row.against == "limit files"]
                self.assertTrue(callable(getattr(column, name, None)), f"{name} has a goal by {row.against}, which cannot do it")

    def test_every_family_has_two_sizes(self):
        sizes = {}
        for row in run.ROWS.values():
            sizes.setdefault(row.family, []).append(row.size)
        self.assertTrue(all(len(found) == 2 for family, found in sizes.items() if family))


class Parsers(unittest.TestCase):
    def test_stacks(self):
        text = "  ffffffff81000000 clear_page\n  4f1234 main\n\n  1234\n\n"
        self.assertEqual(list(account.parse_stacks(text)), [["kernel:clear_page", "main"], ["?"]])

    def test_parts(self):
        self.assertEqual(account.part_of(["kernel:copy", "kernel:ksys_read", "kernel:do_syscall_64"]), "kernel: read")
        self.assertEqual(account.part_of(["kernel:lock", "main"]), "kernel: the rest")
        self.assertEqual(account.part_of(["nlohmann::basic_json<std::map>::dump()"]), "program: JSON")
        self.assertEqual(account.part_of(["kernel:copy_page", "kernel:__x64_sys_clone3", "do_syscall_64"]), "kernel: clone3")
        self.assertEqual(account.part_of(["clear_page", "asm_exc_page_fault", "main"]), "kernel: page faults")
        self.assertEqual(account.part_of(["sha256_block_data_order_shaext"]), "program: SHA-256")
        self.assertEqual(account.part_of(["img::store::(anonymous namespace)::walk(int)"]), "program: img::store::walk")

    def test_system_calls(self):
        text = ("% time     seconds  usecs/call     calls    errors syscall\n------ ----------- ----------- --------- --------- ------\n"
                " 50.00    0.002000          20       100         2 openat\n 50.00    0.002000          20       100           read\n"
                "------ ----------- ----------- --------- --------- ------\n100.00    0.004000                   200         2 total\n")
        self.assertEqual(account.parse_calls(text), {"openat": (100, 2.0), "read": (100, 2.0)})


if __name__ == "__main__":
    unittest.main()
