"""Build checks and the other questions about a Dockerfile: --check (X6), --call, findings in a build."""
import json

from lib import harness
from lib.harness import run

FINDINGS = """ARG VERSION=1
FROM scratch as Build
ENV A=$PAHT
MAINTAINER me
CMD a
CMD ["b"]
"""
EXPECTED = [
    {"rule": "FromAsCasing", "line": 2, "message": '"as" does not match the case of "FROM"'},
    {"rule": "StageNameCasing", "line": 2, "message": 'stage name "Build" should be lower case'},
    {"rule": "UndefinedVar", "line": 3, "message": 'variable "PAHT" is not set, did you mean "PATH"?'},
    {"rule": "MaintainerDeprecated", "line": 4,
     "message": "MAINTAINER is deprecated; use LABEL org.opencontainers.image.authors"},
    {"rule": "JSONArgsRecommended", "line": 5,
     "message": "use the JSON form for CMD so that signals reach the program"},
    {"rule": "MultipleInstructionsDisallowed", "line": 5, "message": "only the last CMD of a stage has an effect"},
]
TARGETS = """# VERSION is what to build
ARG VERSION=1.2
# base has the tools
FROM alpine:$VERSION AS base
ARG UNUSED
RUN --mount=type=secret,id=token,required=true --mount=type=secret,id=other true
FROM base AS app
# MODE is debug or release
ARG MODE=debug-$VERSION
FROM scratch
ARG ELSEWHERE
"""


class Checks(harness.TestCase):
    def check(self, text, *args, **kwargs):
        folder = self.write({"Dockerfile": text, **kwargs.pop("files", {})})
        img = harness.Img(self.dir / "store")
        return run([img.path("imgbuild"), "--root", self.dir / "store", *args, folder], check=False, **kwargs)

    def test_x6_prints_one_object_per_finding(self):
        shown = self.check(FINDINGS, "--check", "--format=json")
        self.assertEqual((shown.code, shown.err), (1, ""))
        lines = shown.out.splitlines()
        self.assertEqual([json.loads(line) for line in lines], EXPECTED)
        self.assertTrue(all(list(json.loads(line)) == ["rule", "line", "message"] for line in lines))

    def test_x6_is_silent_without_findings(self):
        shown = self.check("FROM scratch\nCOPY missing /\n", "--check", "--format=json")
        self.assertEqual((shown.code, shown.out, shown.err), (0, "", ""))

    def test_x6_tells_a_syntax_error_as_one_line(self):
        for text, line in (("FROM scratch\nFOO a\n", 2), ("FROM scratch\nCOPY --nope a /\n", 2), ("# check=bad\nFROM scratch\n", 1)):
            with self.subTest(text):
                shown = self.check(text, "--check", "--format=json")
                self.assertEqual((shown.code, shown.out), (1, ""))
                self.assertEqual(shown.err.count("\n"), 1)
                self.assertRegex(shown.err, rf"^Dockerfile:{line}: ")

    def test_the_text_form_has_the_excerpt_and_the_count(self):
        shown = self.check("FROM scratch\nENV A=$PAHT\n", "--check")
        self.assertEqual(shown.code, 1)
        self.assertEqual(shown.out.splitlines(), [
            'warning: UndefinedVar: variable "PAHT" is not set, did you mean "PATH"?', "  --> Dockerfile:2:7", "   |",
            " 1 | FROM scratch", " 2 | ENV A=$PAHT", "   |       ^^^^^", "1 finding in Dockerfile"])
        shown = self.check("FROM scratch\n", "--call=check")
        self.assertEqual((shown.code, shown.out), (0, "0 findings in Dockerfile\n"))

    def test_what_cannot_be_evaluated_is_an_error_beside_the_findings(self):
        shown = self.check("FROM $NAME\n", "--check", "--format=json")
        self.assertEqual(shown.code, 1)
        self.assertEqual([json.loads(l)["rule"] for l in shown.out.splitlines()],
                         ["InvalidDefaultArgInFrom", "UndefinedArgInFrom"])
        self.assertIn('error: FROM: image name "$NAME" expands to nothing', shown.err)

    def test_own_rules_only_when_extended(self):
        text = "FROM alpine\nCOPY a /\nRUN chown -R a /a\n"
        self.assertEqual(self.check(text, "--check", "--format=json").out, "")
        shown = self.check(text, "--check=extended", "--format=json")
        self.assertEqual([json.loads(l)["rule"] for l in shown.out.splitlines()], ["ImgLatestTag", "ImgCopyThenChown"])

    def test_configuration_by_directive_argument_and_comment(self):
        text = "# check=skip=StageNameCasing\nFROM scratch AS A\n# check=skip=all // theirs\nMAINTAINER x\n"
        self.assertEqual(self.check(text, "--check", "--format=json").code, 0)
        argument = ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=JSONArgsRecommended"]
        shown = self.check(text, "--check", "--format=json", *argument)
        self.assertEqual([json.loads(l)["rule"] for l in shown.out.splitlines()], ["StageNameCasing"])

    def test_ignored_sources(self):
        shown = self.check("FROM scratch\nCOPY a.log b /\n", "--check", "--format=json", files={".dockerignore": "*.log\n"})
        self.assertEqual([json.loads(l)["message"] for l in shown.out.splitlines()],
                         ['COPY source "a.log" is excluded by .dockerignore'])

    def test_usage_errors(self):
        for option in ("--check=most", "--call=dance", "--call=check,format=xml", "--call=check,color=red"):
            with self.subTest(option):
                self.assertEqual(self.check("FROM scratch\n", option).code, 125)
        self.assertEqual(self.check("FROM scratch\n", "--check", "--format=xml").code, 125)

    def test_a_build_warns_and_goes_on(self):
        shown = self.check("FROM scratch AS A\nCOPY f /\n", "-t", "x", files={"f": "1"})
        self.assertEqual(shown.code, 0, shown.err)
        warning = shown.err.index('warning: StageNameCasing: stage name "A" should be lower case')
        self.assertLess(warning, shown.err.index("COPY f /"))

    def test_error_true_ends_the_build_before_its_first_step(self):
        text = "# check=error=true\nFROM scratch AS A\nCOPY f /\nMAINTAINER x\n"
        shown = self.check(text, "-t", "x", "--progress=plain", files={"f": "1"})
        self.assertEqual(shown.code, 1)
        self.assertIn("error: checks failed: MaintainerDeprecated, StageNameCasing\n", shown.err)
        self.assertNotIn("#1 ", shown.err)

    def test_targets(self):
        shown = self.check(TARGETS, "--call=targets")
        self.assertEqual([line.split() for line in shown.out.splitlines()],
                         [["TARGET", "DESCRIPTION"], ["base", "has", "the", "tools"], ["app"], ["stage-2", "(default)"]])
        shown = self.check(TARGETS, "--call=targets,format=json")
        self.assertEqual(json.loads(shown.out), {"targets": [
            {"name": "base", "description": "has the tools", "base": "alpine:$VERSION"}, {"name": "app", "base": "base"},
            {"name": "stage-2", "default": True, "base": "scratch"}]})

    def test_outline(self):
        shown = self.check(TARGETS, "--call=outline", "--format=json", "--target=app")
        self.assertEqual(json.loads(shown.out), {
            "name": "app",
            "args": [{"name": "VERSION", "description": "is what to build", "value": "1.2", "line": 2},
                     {"name": "UNUSED", "line": 5},
                     {"name": "MODE", "description": "is debug or release", "value": "debug-$VERSION", "line": 9}],
            "secrets": [{"name": "token", "required": True, "line": 6}, {"name": "other", "required": False, "line": 6}]})
        shown = self.check(TARGETS, "--call=outline", "--target=app", "--build-arg", "MODE=release")
        self.assertEqual(shown.out.splitlines()[0], "TARGET: app")
        self.assertRegex(shown.out, r"(?m)^MODE +release +is debug or release$")
        self.assertRegex(shown.out, r"(?m)^token +true$")
        self.assertNotIn("ELSEWHERE", shown.out)
