#!/usr/bin/env python3
"""text_order_test.py PROGRAM: the list of cmake/order/ is about this program, and not about one of long ago."""
import pathlib
import re
import subprocess
import sys
import unittest

LIST = pathlib.Path(__file__).resolve().parent.parent.parent / "cmake/order/text.order"
ENOUGH = 0.8


class TextOrder(unittest.TestCase):
    def setUp(self):
        self.lines = [line for line in LIST.read_text().splitlines() if not line.startswith("#")]

    def test_every_line_is_a_function_or_an_input_statement_and_stands_there_once(self):
        for line in self.lines:
            self.assertRegex(line, r"^([A-Za-z0-9_]+|\*[\w.+-]+\.a:[\w.+-]+\([\w.]+\))$")
        self.assertEqual(len(set(self.lines)), len(self.lines))

    def test_most_functions_of_ours_are_still_there(self):
        symbols = subprocess.run(["nm", "--defined-only", PROGRAM], capture_output=True, text=True, check=True).stdout.splitlines()
        known = {line.split()[-1].split(".")[0] for line in symbols if line}
        ours = [line for line in self.lines if re.match(r"_ZN?[A-Z0-9]*3img", line)]
        self.assertGreater(len(ours), 500)
        gone = [name for name in ours if name not in known]
        self.assertLess(len(gone), len(ours) * (1 - ENOUGH), f"record anew (cmake/order/README.md): {gone[:20]} ...")


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
