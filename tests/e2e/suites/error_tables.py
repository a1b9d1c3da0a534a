"""Every row of the error tables of dockerfile.md: sentence, place, code of the error and exit code, as the program tells them.

A row is (section and name, Dockerfile, sentence, LINE:COLUMN or None, what else). The context of all is the same.
"""
import json

from lib import harness

PARSE = "parse"
FILES = {"a": "a\n", "b": "b\n", "dir/x": "x\n", "dir2/x/y": "y\n", "file": "f\n"}
LONG = 1 << 21

# Sentences are exact. What else: args, code, hints, exit, files.
ROWS = [
    # 1.10 lines, directives, JSON, heredocs, flags, arity
    ("1.10 empty", "", "the Dockerfile is empty", "1:1", {}),
    ("1.10 only blanks and comments", "\n# nothing\n", "no instructions found", "2:1", {}),
    ("1.10 directive repeated", "# syntax=a\n# syntax=b\nFROM busybox\n", 'parser directive "syntax" may appear only once', "2:1", {}),
    ("1.10 escape value", "# escape=x\nFROM busybox\n", 'escape directive must be \\ or a backtick, got "x"', "1:1", {}),
    ("1.10 check directive", "# check=a;b\nFROM busybox\n", 'check directive: "a" has no "="', "1:1", {}),
    ("1.10 exec form", 'FROM busybox\nSHELL ["a", 1]\n', "SHELL: exec form must be an array of strings (element 2 is a number)", "2:1", {}),
    ("1.10 ENV without value", "FROM busybox\nENV A\n", "ENV: needs a name and a value", "2:1", {}),
    ("1.10 LABEL without value", "FROM busybox\nLABEL A\n", "LABEL: needs a name and a value", "2:1", {}),
    ("1.10 word without =", "FROM busybox\nENV A=1 B\n", 'ENV: "B" has no "="; use name=value', "2:9", {}),
    ("1.10 empty name", "FROM busybox\nENV =1\n", "ENV: empty name", "2:1", {}),
    ("1.10 empty ARG name", "FROM busybox\nARG =1\n", "ARG: empty name", "2:5", {}),
    ("1.10 heredoc", "FROM busybox\nRUN <<END\necho\n", 'RUN: heredoc "END" is not terminated', "2:7", {}),
    ("1.10 unknown instruction", "FROM busybox\nRUNN true\n", 'unknown instruction "RUNN"', "2:1", {"hints": ['did you mean "RUN"?']}),
    ("1.10 before FROM", "RUN true\nFROM busybox\n", "RUN before the first FROM; only ARG is allowed there", "1:1", {}),
    ("1.10 unknown flag", "FROM busybox\nCOPY --form=x a b\n", 'COPY: unknown flag "--form"', "2:6", {"hints": ['did you mean "--from"?']}),
    ("1.10 flag repeated", "FROM busybox\nCOPY --chown=1 --chown=2 a b\n", 'COPY: flag "--chown" given twice', "2:6", {}),
    ("1.10 flag value missing", "FROM busybox\nCOPY --chown a b\n", 'COPY: flag "--chown" needs a value', "2:6", {}),
    ("1.10 flag not boolean", "FROM busybox\nCOPY --link=x a b\n", 'COPY: flag "--link" must be true or false, got "x"', "2:6", {}),
    ("1.10 exactly one", "FROM busybox\nWORKDIR\n", "WORKDIR: needs exactly one argument", "2:1", {}),
    ("1.10 exactly one, several", "FROM busybox\nUSER\n", "USER: needs exactly one argument", "2:1", {}),
    ("1.10 at least one", "FROM busybox\nEXPOSE\n", "EXPOSE: needs at least one argument", "2:1", {}),
    ("1.10 one word", "FROM busybox\nCOPY a\n", "COPY: needs at least one source and a destination", "2:1", {}),
    ("1.10 heredoc as destination", "FROM busybox\nCOPY a <<END\nx\nEND\n", "COPY: the destination cannot be a heredoc", "2:8", {}),

    # 2.10 words
    ("2.10 quote", "FROM busybox\nENV A=\"x\n", 'ENV: missing closing " in ""x"', "2:1", {}),
    ("2.10 brace", "FROM busybox\nWORKDIR /${A\n", 'WORKDIR: missing "}" in "/${A"', "2:1", {}),
    ("2.10 slash", "FROM busybox\nENV A=1\nWORKDIR /${A/x}\n", 'WORKDIR: missing "/" in "/${A/x}"', "3:1", {}),
    ("2.10 bad form", "FROM busybox\nWORKDIR /${}\n", 'WORKDIR: bad substitution "/${}"', "2:1", {}),
    ("2.10 operator", "FROM busybox\nWORKDIR /${A^x}\n", 'WORKDIR: unsupported modifier "^" in "/${A^x}"', "2:1", {}),
    ("2.10 question mark", "FROM busybox\nWORKDIR /${A:?say it}\n", "WORKDIR: A: say it", "2:1", {}),
    ("2.10 pattern escape", "FROM busybox\nENV A=1\nWORKDIR /${A#\\q}\n", 'WORKDIR: bad pattern "\\q": unknown escape "\\q"', "3:1", {}),
    ("2.10 from with a variable", "FROM busybox\nCOPY --from=$X a b\n",
     'COPY: --from does not take variables; add "FROM $X AS name" and use --from=name', "2:6", {}),
    ("2.10 mount from with a variable", "FROM busybox\nRUN --mount=from=$X,target=/x true\n",
     "RUN: mount option from does not take variables; use a stage alias", "2:5", {}),

    # 3.2 FROM
    ("3.2 words", "FROM busybox AS\n", "FROM: needs one or three arguments (NAME [AS STAGE])", "1:1", {}),
    ("3.2 stage name", "FROM busybox AS 1a\n", 'FROM: bad stage name "1a": use a letter followed by letters, digits, - _ .', "1:17", {}),
    ("3.2 empty", "ARG BSE=busybox\nFROM $BASE\n", 'FROM: image name "$BASE" expands to nothing', "2:6", {"code": "arg-unset-in-from"}),
    ("3.2 empty platform", "FROM --platform=$P busybox\n", 'FROM: --platform "$P" expands to nothing', "1:17", {"code": "arg-unset-in-from"}),
    ("3.2 platform", "FROM --platform=a/b/c/d busybox\n", 'FROM: bad platform "a/b/c/d"', "1:17", {}),
    ("3.2 reference", "FROM Busy@box\n", 'FROM: bad image reference "Busy@box"', "1:6", {"code": None}),
    ("3.2 not found", "FROM busybex\n", "FROM: busybex: not found", "1:6", {"code": "base-not-found"}),

    # 3.6 mounts
    ("3.6 bare word", "FROM busybox\nRUN --mount=target true\n", 'RUN: mount option "target" needs a value', "2:5", {}),
    ("3.6 key", "FROM busybox\nRUN --mount=tarrget=/x true\n", 'RUN: unknown mount option "tarrget"', "2:5", {"hints": ['did you mean "target"?']}),
    ("3.6 type", "FROM busybox\nRUN --mount=type=cashe,target=/x true\n", 'RUN: unknown mount type "cashe"', "2:5", {"hints": ['did you mean "cache"?']}),
    ("3.6 sharing", "FROM busybox\nRUN --mount=type=cache,sharing=lockd,target=/x true\n", 'RUN: unknown sharing mode "lockd"', "2:5",
     {"hints": ['did you mean "locked"?']}),
    ("3.6 option of another type", "FROM busybox\nRUN --mount=type=tmpfs,id=x,target=/x true\n", 'RUN: mount option "id" is not valid for type "tmpfs"', "2:5", {}),
    ("3.6 number", "FROM busybox\nRUN --mount=type=tmpfs,size=x,target=/x true\n", 'RUN: mount option "size": bad value "x"', "2:5", {}),
    ("3.6 mode", "FROM busybox\nRUN --mount=type=cache,mode=9,target=/x true\n", 'RUN: mount option "mode": bad value "9"', "2:5", {}),
    ("3.6 no target", "FROM busybox\nRUN --mount=type=cache true\n", 'RUN: mount of type "cache" needs a target', "2:5", {}),
    ("3.6 root", "FROM busybox\nRUN --mount=type=tmpfs,target=/ true\n", "RUN: cannot mount over /", "2:5", {}),
    ("3.6 sharing of another type", "FROM busybox\nRUN --mount=type=tmpfs,sharing=shared,target=/x true\n", "RUN: sharing is only valid for cache mounts", "2:5", {}),
    ("3.6 secret without a name", "FROM busybox\nRUN --mount=type=secret true\n", "RUN: secret mount needs id or target", "2:5", {}),
    ("3.6 later stage", "FROM busybox\nRUN --mount=from=two,target=/x true\nFROM busybox AS two\n",
     'RUN: stage "two" must be defined before it is mounted', "2:18", {"code": None, "args": ("--target", "0")}),
    ("3.6 source", "FROM busybox\nRUN --mount=source=nothing,target=/x true\n", 'RUN: mount source "nothing" not found in the build context', "2:1",
     {"code": "copy-source-missing"}),

    # 3.7 network, security, device
    ("3.7 network", "FROM busybox\nRUN --network=some true\n", "RUN: --network must be default, none or host", "2:5", {}),
    ("3.7 security", "FROM busybox\nRUN --security=some true\n", "RUN: --security must be sandbox or insecure", "2:5", {}),
    ("3.7 network right", "FROM busybox\nRUN false\nRUN --network=host true\n", "RUN: --network=host is not allowed; pass --allow network.host", "3:5", {"code": None}),
    ("3.7 security right", "FROM busybox\nRUN false\nRUN --security=insecure true\n", "RUN: --security=insecure is not allowed; pass --allow security.insecure", "3:5",
     {"code": None}),
    ("3.7 device right", "FROM busybox\nRUN false\nRUN --device=a.b/c=d true\n", "RUN: --device is not allowed; pass --allow device", "3:5", {"code": None}),

    # 3.8 COPY
    ("3.8 chmod", "FROM busybox\nCOPY --chmod=8 a b\n", 'COPY: --chmod "8": use octal 0-7777 or a symbolic mode such as u=rwX,go=rX', "2:6", {}),
    ("3.8 user", "FROM busybox\nCOPY --chown=nobodyy a /b\n", 'COPY: --chown: user "nobodyy" not in /etc/passwd of the stage', "2:1", {"code": None}),
    ("3.8 group", "FROM busybox\nCOPY --chown=0:nobodyy a /b\n", 'COPY: --chown: group "nobodyy" not in /etc/group of the stage', "2:1", {"code": None}),
    ("3.8 name on scratch", "FROM scratch\nCOPY --chown=me a /b\n",
     "COPY: --chown with a name needs /etc/passwd from the stage; use numeric ids here", "2:1", {"code": None}),
    ("3.8 name with link", "FROM busybox\nCOPY --link --chown=me a /b\n",
     "COPY: --chown with a name needs /etc/passwd from the stage; use numeric ids here", "2:1", {"code": None}),
    ("3.8 folder onto a file", "FROM busybox\nCOPY a /d/x/\nCOPY file /q/x\nCOPY dir2 /q\n", "COPY: /q/x exists and is not a directory (it is a file)", "4:1",
     {"code": None}),
    ("3.8 file onto a folder", "FROM busybox\nCOPY dir2 /q\nCOPY dir /q\n", "COPY: /q/x exists and is a directory", "3:1", {"code": None}),
    ("3.8 remote", "FROM busybox\nRUN false\nCOPY https://example.org/x /x\n", 'COPY: "https://example.org/x" is a remote source; use ADD', "3:6", {"code": None}),
    ("3.8 later stage", "FROM busybox\nCOPY --from=two a b\nFROM busybox AS two\n", 'COPY: stage "two" is defined later', "2:13",
     {"code": None, "args": ("--target", "0")}),
    ("3.8 itself", "FROM busybox AS one\nCOPY --from=one a b\n", "COPY: stages depend on each other: one -> one", "2:13", {"code": None}),
    ("3.8 number", "FROM busybox\nCOPY --from=7 a b\n", "COPY: there is no stage 7 (0..0)", "2:13", {"code": "stage-unknown"}),
    ("3.8 pattern", "FROM busybox\nCOPY [a b\n", 'COPY: bad pattern "[a": [ without ]', "2:1", {}),
    ("3.8 several into one", "FROM busybox\nCOPY a b /dest\n", 'COPY: 2 files would be written to /dest; end it with "/"', "2:1", {"code": None}),
    ("3.8 several of a pattern", "FROM busybox\nWORKDIR /w\nCOPY [ab] dest\n", 'COPY: 2 files would be written to /w/dest; end it with "/"', "3:1", {"code": None}),

    # 3.10 ADD
    ("3.10 several checksums", "FROM busybox\nADD --checksum=sha256:00 a b /x/\n", "ADD: --checksum needs a single HTTP or git source", "2:5", {"code": None}),
    ("3.10 checksum of a local file", "FROM busybox\nRUN false\nADD --checksum=sha256:00 a /x\n", "ADD: --checksum needs a single HTTP or git source", "3:5", {"code": None}),
    ("3.10 checksum form", "FROM busybox\nRUN false\nADD --checksum=sha256:00 http://127.0.0.1:9/x /x\n",
     "ADD: --checksum must be sha256:<64 hex digits>", "3:5", {"code": None}),

    ("3.8 source of a named folder", "FROM busybox\nRUN false\nCOPY --from=named none /x\n", 'COPY: source "none" not found in the context "named"',
     "3:1", {"code": "copy-source-missing", "args": ("--build-context", "named=" + str(harness.TESTDATA))}),

    # 3.11 WORKDIR
    ("3.11 file", "FROM busybox\nCOPY a /a\nWORKDIR /a\n", "WORKDIR: /a exists and is not a directory", "3:1", {"code": None}),
    ("3.11 file on the way", "FROM busybox\nCOPY a /a\nWORKDIR /a/b/c\n", "WORKDIR: /a exists and is not a directory", "3:1", {"code": None}),

    # 3.13 EXPOSE
    ("3.13 port", "FROM busybox\nEXPOSE 70000\n", 'EXPOSE: bad port "70000"', "2:1", {}),
    ("3.13 protocol", "FROM busybox\nEXPOSE 80/icmp\n", 'EXPOSE: bad protocol "icmp"', "2:1", {}),
    ("3.13 range", "FROM busybox\nEXPOSE 90-80\n", 'EXPOSE: range "90-80" ends before it starts', "2:1", {}),

    # 3.14 USER
    ("3.14 name", "FROM busybox\nUSER nobodyy\nRUN true\n", 'RUN: unable to find user "nobodyy": no matching entries in passwd file', "3:1", {"code": None}),

    # 3.17 HEALTHCHECK
    ("3.17 type", "FROM busybox\nHEALTHCHECK SOME x\n", 'HEALTHCHECK: unknown type "SOME"; use CMD or NONE', "2:13", {}),
    ("3.17 command", "FROM busybox\nHEALTHCHECK CMD\n", "HEALTHCHECK: CMD needs a command", "2:1", {}),
    ("3.17 none", "FROM busybox\nHEALTHCHECK NONE x\n", "HEALTHCHECK: NONE takes no arguments", "2:1", {}),
    ("3.17 interval", "FROM busybox\nHEALTHCHECK --interval=1x CMD x\n", 'HEALTHCHECK: --interval "1x": not a duration; write it like 30s, 1m30s or 500ms', "2:13", {}),

    # 3.19, 3.20
    ("3.19 signal", "FROM busybox\nSTOPSIGNAL SIGNOT\n", 'STOPSIGNAL: unknown signal "SIGNOT"', "2:1", {}),
    ("3.19 zero", "FROM busybox\nSTOPSIGNAL 0\n", 'STOPSIGNAL: unknown signal "0"', "2:1", {}),
    ("3.20 from", "FROM busybox\nONBUILD FROM x\n", 'ONBUILD: "FROM" is not allowed as a trigger', "2:9", {}),
    ("3.20 nested", "FROM busybox\nONBUILD COPY --form=x a b\n", 'COPY: unknown flag "--form"', "2:14", {"hints": ['did you mean "--from"?']}),

    # 4.2 .dockerignore
    ("4.2 !", "FROM busybox\nCOPY a /\n", '"!" needs a pattern', ".dockerignore:2:1", {"files": {".dockerignore": "x\n!\n"}}),
    ("4.2 class", "FROM busybox\nCOPY a /\n", 'bad pattern "[a": [ without ]', ".dockerignore:1:1", {"files": {".dockerignore": "[a\n"}}),

    # 5.1, 5.3
    ("5.1 cycle", "FROM busybox AS one\nCOPY --from=two a b\nFROM one AS two\nCOPY a b\n", "COPY: stage \"two\" is defined later", "2:13", {"code": None}),
    ("5.3 target", "FROM busybox AS one\n", 'no stage named "on"', None,
     {"code": "stage-unknown", "args": ("--target", "on"), "hints": ['did you mean "one"?', "the stages are: one"]}),

    # 7.6, 8.1
    ("7.6", "FROM busybox\n", 'SOURCE_DATE_EPOCH: "x" is not a number of seconds', None,
     {"code": None, "args": ("--build-arg", "SOURCE_DATE_EPOCH=x")}),
    ("8.1 error", "# check=error=true\nFROM busybox AS Up\n", "checks failed: StageNameCasing", None, {"code": None}),
    ("8.1 option", "# check=skipp=A\nFROM busybox\n", 'check directive: unknown option "skipp"', "1:1", {}),
]


class ErrorTables(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.store = self.img()

    def told(self, dockerfile, more):
        context = self.write({**FILES, **more.get("files", {}), "Dockerfile": dockerfile})
        shown = self.store("build", "--error-format", "json", "--progress", "quiet", "-f", context / "Dockerfile", *more.get("args", ()),
                           context, check=False)
        objects = [json.loads(line) for line in shown.err.splitlines() if line.startswith("{") and '"error"' in line]
        self.assertTrue(objects, str(shown))
        (context / ".dockerignore").unlink(missing_ok=True)
        return objects[0], shown.code

    def check(self, section):
        for name, dockerfile, sentence, place, more in ROWS:
            if name.split()[0] != section:
                continue
            with self.subTest(name):
                error, code = self.told(dockerfile, more)
                self.assertEqual(error["error"], sentence)
                found = f"{error['line']}:{error.get('column', 1)}" if "line" in error else None
                if found and not error["file"].endswith("Dockerfile"):
                    found = f"{error['file'].rsplit('/')[-1]}:{found}"
                self.assertEqual(found, place, error)
                self.assertEqual(error.get("code"), more.get("code", PARSE), error)
                self.assertEqual(error.get("hint", []), more["hints"] if "hints" in more else error.get("hint", []))
                self.assertEqual((code, error["exit_code"]), (more.get("exit", 1),) * 2)

    def test_a_line_that_is_too_long(self):
        error, code = self.told("FROM busybox\nRUN true " + "x" * LONG + "\n", {})
        self.assertRegex(error["error"], r"^line exceeds \d+ bytes$")
        self.assertEqual((error["line"], error["code"], code), (2, PARSE, 1))


def add_tests():
    for section in dict.fromkeys(name.split()[0] for name, *_ in ROWS):
        def test(self, section=section):
            self.check(section)
        setattr(ErrorTables, "test_rows_of_section_" + section.replace(".", "_"), test)


add_tests()
