"""The interfaces that other programs drive (X1 to X8): output to the byte."""
import json
import os
import re

from lib import harness
from lib.harness import run

AST_FILE = """FROM debian:12 AS build
RUN apt-get update && \\
    apt-get install -y make
COPY --from=base --chown=1:1 a b /dst/
ENV A=1 B="two words"
CMD ["make","-j2"]
ONBUILD RUN echo hi
RUN <<EOT cat
hello $A
EOT
"""
AST = [
    '{"instruction":"FROM","line":1,"end_line":1,"flags":[],"args":["debian:12","AS","build"],"json":false,"heredocs":[],"original":"FROM debian:12 AS build"}',
    '{"instruction":"RUN","line":2,"end_line":3,"flags":[],"args":["apt-get update &&     apt-get install -y make"],"json":false,"heredocs":[],"original":"RUN apt-get update &&     apt-get install -y make"}',
    '{"instruction":"COPY","line":4,"end_line":4,"flags":["--from=base","--chown=1:1"],"args":["a","b","/dst/"],"json":false,"heredocs":[],"original":"COPY --from=base --chown=1:1 a b /dst/"}',
    '{"instruction":"ENV","line":5,"end_line":5,"flags":[],"args":["A","1","B","\\"two words\\""],"json":false,"heredocs":[],"original":"ENV A=1 B=\\"two words\\""}',
    '{"instruction":"CMD","line":6,"end_line":6,"flags":[],"args":["make","-j2"],"json":true,"heredocs":[],"original":"CMD [\\"make\\",\\"-j2\\"]"}',
    '{"instruction":"ONBUILD","line":7,"end_line":7,"flags":[],"args":[],"json":false,"heredocs":[],"original":"ONBUILD RUN echo hi","child":{"instruction":"RUN","line":7,"end_line":7,"flags":[],"args":["echo hi"],"json":false,"heredocs":[],"original":"RUN echo hi"}}',
    '{"instruction":"RUN","line":8,"end_line":10,"flags":[],"args":["<<EOT cat"],"json":false,"heredocs":[{"name":"EOT","content":"hello $A\\n","expand":true,"chomp":false}],"original":"RUN <<EOT cat"}',
]
# dockerfile.md 11.1: PWD=/home SHELL=bash NULL= ; None stands for an error.
WORDS = [
    ("he'll'o", "hello"), ("he\\'llo", "he'llo"), ("he'llo", None), ("he\\\\'llo", None), ("abc\\tdef", "abctdef"),
    ('"abc\\tdef"', "abc\\tdef"), ("'abc\\tdef'", "abc\\tdef"), ("hello\\", "hello"), ("hello\\\\", "hello\\"),
    ('"hello\\"', None), ("'hello\\'", "hello\\"), ("he$1x", "hex"), ("he$.x", "he$.x"), ("he\\$PWD", "he$PWD"),
    ("he\\\\$PWD", "he\\/home"), ("\\${}aaa", "${}aaa"), ("${}", None), ("he${XXX:-000}xx", "he000xx"),
    ("he${PWD:+000}xx", "he000xx"), ("he${XXX:-${YYY:-yyy}}xx", "heyyyxx"), ("he${XXX:YYY}", None), ("he${NULL?}", "he"),
    ("he${NULL:?}", None), ("he${XXX:-\\$PWD:}xx", "he$PWD:xx"), ("\"he'$PWD'\"", "he'/home'"), ("'he\\$PWD'", "he\\$PWD"),
    ("${aaa}}", "}"), ("${aaa:-bbb {foo}", "bbb {foo"), ("$999aaa", "aaa"), ("$@@@", "@@"), ("${@:-bbb}", "bbb"),
    ("he${PWD:=000}xx", None), ("", ""), ("two words", "two words"),
]


class Interfaces(harness.TestCase):
    def tool(self, *args, **kwargs):
        return run([self.program("imgbuild"), *args], **kwargs)

    def program(self, name):
        return harness.Img(self.dir / "unused").path(name)

    def test_x3_prints_the_syntax_tree(self):
        file = self.write({"Dockerfile": AST_FILE}) / "Dockerfile"
        shown = self.tool("--print=ast", "-f", file, ".")
        self.assertEqual(shown.out, "[" + ",".join(AST) + "]\n")

    def test_x3_reports_a_syntax_error_as_one_line(self):
        for text, line in (("FROM a\n\nFOO bar\n", 3), ("FROM a\nENV A\n", 2), ("# only a comment\n", 1),
                           ("FROM a\nRUN <<EOF\nx\n", 2), ('FROM a\nCMD ["a", 1]\n', 2), ("FROM a\nENV A=1 B\n", 2)):
            with self.subTest(text):
                file = self.write({"Dockerfile": text}) / "Dockerfile"
                shown = self.tool("--print=ast", "-f", file, ".", check=False)
                self.assertEqual((shown.code, shown.out), (1, ""))
                self.assertRegex(shown.err, rf"\A{re.escape(str(file))}:{line}: [^\n]+\n\Z")

    def test_x4_expands_words(self):
        lines = "".join(word + "\n" for word, _ in WORDS)
        shown = self.tool("--print=words", "--build-env", "PWD=/home", "--build-env", "SHELL=bash", "--build-env", "NULL=",
                          stdin=lines)
        results = [json.loads(line) for line in shown.out.splitlines()]
        self.assertEqual(len(results), len(WORDS))
        for (word, expected), result in zip(WORDS, results):
            with self.subTest(word):
                if expected is None:
                    self.assertEqual(list(result), ["error"])
                else:
                    self.assertEqual(result, expected)

    def test_x4_splits_words(self):
        shown = self.tool("--print=words", "--split", "--build-env", "A=x y", stdin='a $A "b $A" c\n\n')
        self.assertEqual(shown.out, '["a","x","y","b x y","c"]\n[]\n')

    def test_x4_other_escape(self):
        shown = self.tool("--print=words", "--escape", "`", stdin="a`b c:\\d\n")
        self.assertEqual(shown.out, '"ab c:\\\\d"\n')

    def test_x5_lists_the_context(self):
        context = self.write({".dockerignore": "*.md\n!README*.md\nnode_modules\n!node_modules/keep\n**/tmp?\n",
                              "a.md": "", "README.md": "", "node_modules/drop": "", "node_modules/keep/x": "",
                              "sub/tmp1": "", "sub/tmp12": "", "sub/b.md": "", "Dockerfile": "FROM x\n", "empty": None})
        os.symlink("nowhere", context / "link")
        shown = self.tool("--print=context", context)
        self.assertEqual(shown.out, ".dockerignore\nDockerfile\nREADME.md\nlink\nnode_modules/keep/x\nsub/b.md\nsub/tmp12\n")
        shown = self.tool("--print=context+dirs", context)
        self.assertIn("empty/\n", shown.out)
        self.assertIn("node_modules/keep/\n", shown.out)

    def test_x5_names_that_are_no_text(self):
        context = self.write({"Dockerfile": ""})
        (context / "new\nline").touch()
        open(os.fsencode(context) + b"/bad\xff", "w").close()
        shown = self.tool("--print=context", context).out.splitlines()
        self.assertEqual(len(shown), 3)
        self.assertIn('"new\\nline"', shown)

    def test_x5_prefers_the_ignore_file_of_the_dockerfile(self):
        context = self.write({"x.Dockerfile": "", "x.Dockerfile.dockerignore": "a\n", ".dockerignore": "b\n", "a": "", "b": ""})
        shown = self.tool("--print=context", "-f", context / "x.Dockerfile", context).out.splitlines()
        self.assertIn("b", shown)
        self.assertNotIn("a", shown)

    def test_x1_the_quiet_build_prints_the_id(self):
        img = self.img()
        context = self.write({"Dockerfile": "FROM busybox\nENV A=1\n"})
        quiet = img.build(context, "a", "-q")
        self.assertEqual(quiet.out, img.image("a").id + "\n")
        loud = img.build(context, "a", "--iidfile", self.dir / "id")
        self.assertEqual(loud.out, "")
        self.assertEqual((self.dir / "id").read_text(), img.image("a").id)

    def test_x1_history_matches_the_layers(self):
        img = self.img()
        img.build(self.write({"a": "a", "Dockerfile": "FROM busybox\nENV A=1\nCOPY a /a\nRUN true\nCMD [\"x\"]\n"}), "a")
        history = img.image("a").document["history"][-4:]
        self.assertEqual([h.get("empty_layer", False) for h in history], [True, False, False, True])
        self.assertEqual([h["created_by"] for h in history],
                         ["ENV A=1", "COPY a /a", "RUN /bin/sh -c true", 'CMD ["x"]'])

    def test_x8_ids_alone(self):
        img = self.img()
        run_id = img("run", "-d", "--net", "none", "--name", "c", "busybox", "true").out
        self.assertRegex(run_id, r"\A[0-9a-f]{64}\n\Z")
        img("wait", "c")
        self.assertRegex(img("commit", "c", "new").out, r"\Asha256:[0-9a-f]{64}\n\Z")
        self.assertRegex(img("ps", "-a", "-q").out, r"\A[0-9a-f]{12}\n\Z")
        self.assertRegex(img("images", "-q").out, r"\A([0-9a-f]{12}\n)+\Z")
        self.assertEqual(img("tag", "new", "newer").out, "")

    def test_one_program_under_all_names(self):
        version = run([self.program("img"), "--version"]).out
        self.assertRegex(version, r"\Aimg version \d+\.\d+\.\d+\n\Z")
        for name in ("imgbuild", "imgrun", "imgcommit"):
            self.assertTrue(os.path.exists(self.program(name)), name)
            self.assertEqual(run([self.program(name), "--help"]).code, 0)

    def test_global_options_stand_before_and_after_the_command(self):
        img = self.img()
        for argv in (["img", "--root", img.store, "images", "-q"], ["img", "images", "-q", "--root", img.store],
                     ["imgimages", "--root", img.store, "-q"], ["img", "--root", img.store, "volume", "create", "one"],
                     ["img", "volume", "create", "two", "--root", img.store], ["imgvolume", "--root", img.store, "ls", "-q"],
                     ["img", "image", "ls", "--root", img.store], ["img", "--root", img.store, "container", "ls", "-a"]):
            with self.subTest(" ".join(map(str, argv))):
                self.assertEqual(run([self.program(argv[0]), *argv[1:]]).code, 0)

    def test_unknown_flags_and_commands_are_usage_errors(self):
        for argv, expected in ((["imgrun", "--forse", "x"], "unknown flag: --forse"), (["imgbuild", "--no-cahe", "."], "--no-cache"),
                               (["img", "frobnicate"], "unknown command")):
            with self.subTest(argv):
                shown = run([self.program(argv[0]), *argv[1:]], check=False)
                self.assertEqual(shown.code, 125)
                self.assertRegex(shown.err, r"\Aerror: ")
                self.assertIn(expected, shown.err)

    def test_images_and_history_tables(self):
        img = self.img()
        img.build(self.write({"Dockerfile": "FROM busybox\nRUN echo x > /x\nCMD [\"/x\"]\n"}), "app", "-t", "app:v2")
        table = img("images").out.splitlines()
        self.assertRegex(table[0], r"^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE$")
        self.assertEqual(sorted(line.split()[0] + ":" + line.split()[1] for line in table[1:]),
                         ["app:latest", "app:v2", "busybox:latest"])
        rows = img("history", "app").out.splitlines()
        self.assertRegex(rows[0], r"^IMAGE +CREATED +CREATED BY +SIZE +COMMENT$")
        self.assertIn('CMD ["/x"]', rows[1])
        named = img("images", "--format", "{{.Repository}}:{{.Tag}}", "app:v2").out
        self.assertEqual(named, "app:v2\n")

    def test_rmi_untags_and_then_deletes(self):
        img = self.img()
        img.build(self.write({"Dockerfile": "FROM busybox\nRUN echo x > /x\n"}), "app", "-t", "app:v2")
        self.assertIn("Untagged: app:v2", img("rmi", "app:v2").out)
        self.assertIn("Deleted: sha256:", img("rmi", "app").out)
        self.assertEqual(img("run", "--rm", "--net", "none", "busybox", "echo", "still here").out, "still here\n")

    def test_plain_progress_has_a_header_output_and_an_end_per_step(self):
        img = self.img()
        context = self.write({"Dockerfile": "FROM busybox\nRUN echo spoken\n"})
        shown = img.build(context, "app", "--progress", "plain").err
        self.assertRegex(shown, r"(?m)^#\d+ \[[^\]]*\] RUN echo spoken \(.*Dockerfile:2\)$")
        self.assertRegex(shown, r"(?m)^#\d+ \d+\.\d{3} spoken$")
        self.assertRegex(shown, r"(?m)^#\d+ DONE \d+\.\d+s")
        self.assertRegex(shown, r"(?m)^built docker.io/library/app:latest +sha256:")
        again = img.build(context, "app", "--progress", "plain").err
        self.assertRegex(again, r"(?m)^#\d+ CACHED$")
