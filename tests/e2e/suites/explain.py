"""Why a step runs: --explain, --dry-run and --print=plan on real builds (cli.md 9.1, 9.3)."""
import json
import os
import re

from lib import harness, servers

DOCKERFILE = """FROM busybox AS make
ARG VERSION=1
COPY src /src
RUN cat /src/* > /out
FROM busybox
COPY --from=make /out /out
"""


class Explain(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.program = self.img()
        self.context = self.write({"Dockerfile": DOCKERFILE, "src/handler.c": "one\n", "src/run.sh": "run\n",
                                   "src/old.c": "old\n"})
        self.build()

    def build(self, *args, **kwargs):
        return self.program("build", "--progress=plain", "-t", "x", *args, self.context, **kwargs)

    def change(self):
        (self.context / "src/handler.c").write_text("two!\n")
        os.chmod(self.context / "src/run.sh", 0o664)
        os.rename(self.context / "src/old.c", self.context / "src/new.c")

    def test_every_miss_is_explained_below_its_header(self):
        self.change()
        lines = self.build("--explain").err.splitlines()
        header = next(i for i, line in enumerate(lines) if "COPY src /src" in line)
        self.assertRegex(lines[header + 1], r"^   miss: 4 inputs changed since build [0-9a-f]{8} \((today|yesterday) ..:..\)$")
        self.assertRegex(lines[header + 2], r"^     ~ src/handler\.c +content [0-9a-f]{6}… → [0-9a-f]{6}…  \(4B → 5B\)$")
        self.assertEqual(lines[header + 3], "     + src/new.c")
        self.assertEqual(lines[header + 4], "     - src/old.c")
        self.assertRegex(lines[header + 5], r"^     m src/run\.sh +mode 0644 → 0664$")
        self.assertRegex(lines[header + 6], r"^   hint: .*--context-perms=git")
        run = next(i for i, line in enumerate(lines) if "RUN cat" in line)
        self.assertRegex(lines[run + 1], r"^   miss: parent #\d+$")
        copy = next(i for i, line in enumerate(lines) if "COPY --from=make" in line)
        self.assertRegex(lines[copy + 1], r"^   miss: stage make changed since build ")

    def test_hits_are_listed_with_the_build_that_made_them(self):
        shown = self.build("--explain=all").err
        self.assertEqual(len(re.findall(r"^   hit: made by build [0-9a-f]{8} ", shown, re.M)), 3)
        self.assertNotIn("hit:", self.build("--explain").err)

    def test_json_is_one_object_per_step_on_stdout(self):
        shown = self.build("--explain=json", "--build-arg", "VERSION=2")
        steps = [json.loads(line) for line in shown.out.splitlines()]
        self.assertEqual([step["result"] for step in steps], ["hit", "miss", "hit"])
        self.assertEqual(list(steps[1]), ["step", "line", "instruction", "result", "reason", "compared_with", "changes"])
        self.assertEqual((steps[1]["line"], steps[1]["reason"]), (4, "arg"))
        self.assertEqual(steps[1]["changes"], [{"kind": "arg", "name": "VERSION", "old": "1", "new": "2"}])

    def test_a_dry_run_says_what_would_run_and_builds_nothing(self):
        self.change()
        before = self.program("images", "--no-trunc", "-q").out
        shown = self.program("build", "--dry-run", "-t", "other", self.context)
        self.assertRegex(shown.out, r"#2 would run: 4 files changed, about \d+\.\ds\n")
        self.assertRegex(shown.out, r"#3 would run: parent #2")
        self.assertRegex(shown.out, r"#5 would run: stage make changed")
        self.assertRegex(shown.out, r"\n3 of 5 steps would run")
        self.assertEqual(shown.err, "")
        self.assertEqual(self.program("images", "--no-trunc", "-q").out, before)
        self.assertEqual(len(re.findall("CACHED", self.build("--target", "make").err)), 1)

    def test_the_plan_is_a_graph_with_the_keys_that_are_known(self):
        stages = json.loads(self.program("build", "--print=stages", self.context).out)
        self.assertEqual(stages, [{"name": "make", "base": "busybox", "line": 1, "depends": []},
                                  {"name": "stage-1", "base": "busybox", "line": 5, "depends": ["make"]}])
        plan = json.loads(self.program("build", "--print=plan", "--no-cache-filter", "make", self.context).out)
        steps = {step["instruction"]: step for step in plan["steps"]}
        self.assertRegex(steps["COPY src /src"]["key"], "^sha256:")
        self.assertEqual(steps["COPY src /src"]["reason"], "--no-cache-filter")
        self.assertIsNone(steps["RUN cat /src/* > /out"]["key"])
        self.assertEqual(steps["RUN cat /src/* > /out"]["depends"], [steps["COPY src /src"]["step"]])
        self.assertTrue(all(stage["needed"] for stage in plan["stages"]))

    def test_git_permissions_end_misses_by_the_umask(self):
        self.build("--context-perms=git")
        os.chmod(self.context / "src/run.sh", 0o640)
        shown = self.build("--context-perms=git")
        self.assertNotIn("DONE", shown.err)
        self.assertIn("mode of src/run.sh changed", self.build().err)

    def test_old_records_do_not_count(self):
        self.assertIn("5 of 5 cached", self.build("--cache-ttl", "1h").err)
        self.assertIn("reason: older than --cache-ttl", self.build("--cache-ttl", "0s").err)

    def test_a_url_whose_content_changed_is_named(self):
        server = servers.Http({"/f": b"one"})
        self.addCleanup(server.close)
        url = server.url + "/f"
        (self.context / "Dockerfile").write_text(f"FROM busybox\nADD {url} /f\n")
        self.build()
        server.files["/f"] = b"two"
        shown = self.build("--explain").err
        self.assertIn(f"   miss: url {url} changed since build ", shown)
        self.assertRegex(shown, rf"     ~ url {re.escape(url)}  sha256:[0-9a-f]{{12}} → sha256:[0-9a-f]{{12}}\n")

    def test_words_that_mean_nothing_are_refused(self):
        for option in ("--explain=yaml", "--context-perms=hg", "--cache-ttl=soon", "--print=graph"):
            with self.subTest(option):
                self.assertEqual(self.build(option, check=False).code, 125)
