"""Every error of a build that has a code of its own (cli.md 4), to the letter: sentence, place, excerpt, notes, exit code.

A case is a Dockerfile, a context and the whole text that follows `error: `; {ctx} stands for the context's folder.
"""
import hashlib
import json
import os
import re
import shutil

from lib import harness


class BuildErrors(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.store = self.img()

    def fails(self, dockerfile, text, code, files=None, args=(), exit_code=1):
        context = self.write({**(files or {}), "Dockerfile": dockerfile})
        self.compare(context, text, code, args, exit_code)

    def compare(self, context, text, code, args=(), exit_code=1):
        shown = self.store("build", "-t", "bad", "-f", context / "Dockerfile", "--progress", "quiet", *args, context,
                           check=False)
        self.assertEqual(shown.code, exit_code, str(shown))
        self.assertEqual(shown.out, "", str(shown))
        start = shown.err.find("error: ")
        self.assertGreaterEqual(start, 0, str(shown))
        place = str(context / "Dockerfile")
        told = shown.err[start:].replace(place, "Dockerfile").replace(str(context), "{ctx}")
        self.assertEqual(re.sub(r"(?m)(img debug )[0-9a-f]+$", r"\1ID", told), text)
        shown = self.store("build", "--error-format", "json", "-t", "bad", "-f", context / "Dockerfile", "--progress", "quiet",
                           *args, context, check=False)
        objects = [json.loads(line) for line in shown.err.splitlines() if line.startswith('{"') and '"error"' in line]
        self.assertTrue(objects, str(shown))
        self.assertEqual([o.get("code") for o in objects], code if isinstance(code, list) else [code], str(shown))
        self.assertEqual(objects[0]["exit_code"], exit_code)

    # --- copy-source-missing, copy-source-ignored, copy-outside ---

    def test_a_source_that_is_not_there(self):
        self.fails("FROM busybox\nRUN true\nCOPY conf/setting.yml /etc/\n", """\
error: COPY: source "conf/setting.yml" not found in the build context
  --> Dockerfile:3:1   step 3/3
   |
 2 | RUN true
 3 | COPY conf/setting.yml /etc/
   | ^^^^
   |
   = why: tried {ctx}/conf/setting.yml
   = hint: did you mean "settings.yml"?
""", "copy-source-missing", {"conf/settings.yml": "x"})

    def test_a_source_in_other_letters(self):
        self.fails("FROM busybox\nADD license /\n", """\
error: ADD: source "license" not found in the build context
  --> Dockerfile:2:1   step 2/2
   |
 1 | FROM busybox
 2 | ADD license /
   | ^^^
   |
   = why: tried {ctx}/license
   = hint: did you mean "LICENSE"?
""", "copy-source-missing", {"LICENSE": "x"})

    def test_a_source_that_a_stage_does_not_have(self):
        self.fails("FROM busybox AS build\nFROM busybox\nCOPY --from=build /bin/bussybox /x\n", """\
error: COPY: source "bin/bussybox" not found in stage "build"
  --> Dockerfile:3:1   step 2/2
   |
 2 | FROM busybox
 3 | COPY --from=build /bin/bussybox /x
   | ^^^^
   |
   = hint: did you mean "busybox"?
""", "copy-source-missing")

    def test_a_source_that_is_ignored(self):
        self.fails("FROM busybox AS app\nCOPY ok \\\n  certs/tls.key /\n", """\
error: COPY: source "certs/tls.key" not found in the build context
  --> Dockerfile:2:1   stage "app", step 2/2
   |
 1 | FROM busybox AS app
 2 | COPY ok \\
   | ^^^^
 3 |   certs/tls.key /
   |
   = hint: "certs/tls.key" is excluded by .dockerignore line 3 ("**/*.key")
""", "copy-source-ignored", {"ok": "", "certs/tls.key": "x", ".dockerignore": "# private\n*.tmp\n**/*.key\n"})

    def test_a_source_that_leads_out(self):
        context = self.write({"Dockerfile": "FROM busybox\nCOPY link /stolen\n"})
        os.symlink("/etc/nothing-here", context / "link")
        self.compare(context, """\
error: COPY: source "link" not found in the build context
  --> Dockerfile:2:1   step 2/2
   |
 1 | FROM busybox
 2 | COPY link /stolen
   | ^^^^
   |
   = why: it is a link to "/etc/nothing-here", which does not exist in the build context; nothing outside is followed
""", "copy-outside")

    # --- parse ---

    def test_an_unknown_instruction(self):
        self.fails("FROM busybox\nCPOY a b\n", """\
error: unknown instruction "CPOY"
  --> Dockerfile:2:1
   |
 1 | FROM busybox
 2 | CPOY a b
   | ^^^^
   |
   = hint: did you mean "COPY"?
""", "parse")

    def test_a_flag_that_does_not_exist(self):
        self.fails("FROM busybox\nCOPY --chmodd=1 a b\n", """\
error: COPY: unknown flag "--chmodd"
  --> Dockerfile:2:6
   |
 1 | FROM busybox
 2 | COPY --chmodd=1 a b
   |      ^^^^^^^^
   |
   = hint: did you mean "--chmod"?
""", "parse")

    def test_a_variable_that_must_be_set(self):
        self.fails("FROM busybox\nENV A=1 \\\n  B=${VERSION:?pass-a-version}\n", """\
error: ENV: VERSION: pass-a-version
  --> Dockerfile:2:1
   |
 1 | FROM busybox
 2 | ENV A=1 \\
   | ^^^
 3 |   B=${VERSION:?pass-a-version}
""", "parse")

    # --- stage-unknown, arg-unset-in-from, base-not-found ---

    def test_a_target_that_does_not_exist(self):
        self.fails("FROM busybox AS builder\nFROM busybox AS run\n", """\
error: no stage named "bilder"
   = hint: did you mean "builder"?
   = hint: the stages are: builder, run
""", "stage-unknown", args=("--target", "bilder"))

    def test_an_argument_without_a_value_in_from(self):
        self.fails("FROM busybox AS a\nARG BASE=busybox\nFROM $BASE\n", """\
error: FROM: image name "$BASE" expands to nothing
  --> Dockerfile:3:6
   |
 2 | ARG BASE=busybox
 3 | FROM $BASE
   |      ^^^^^
   |
   = hint: give the variable a value with --build-arg or with an ARG before the first FROM
""", "arg-unset-in-from")

    def test_a_base_that_is_nowhere(self):
        self.fails("FROM busybox AS tools\nFROM tolls\n", """\
error: FROM: tolls: not found
  --> Dockerfile:2:6
   |
 1 | FROM busybox AS tools
 2 | FROM tolls
   |      ^^^^^
   |
   = why: the store has no docker.io/library/tolls:latest, and it could not be pulled: registry docker.io is blocked: REGISTRIES says blocked = true
   = hint: did you mean "tools"?
   = hint: `img images` lists what is there; `img load -i FILE` or `img import FILE NAME` brings an image in
""".replace("REGISTRIES", harness.no_registry() + ":1"), "base-not-found")

    # --- secret-missing, secret-leak, oom ---

    def test_a_required_secret_that_was_not_passed(self):
        self.fails("FROM busybox\nRUN true\nRUN --mount=type=secret,id=tok,required true\n", """\
error: RUN: secret "tok" was not passed (--secret id=tok,...)
  --> Dockerfile:3:1   step 3/3
   |
 2 | RUN true
 3 | RUN --mount=type=secret,id=tok,required true
   | ^^^
   |
   = hint: pass it with --secret id=tok,src=FILE
""", "secret-missing")

    def test_a_layer_that_holds_a_secret(self):
        secret = self.dir / "token"
        secret.write_text("hunter2-hunter2-hunter2")
        context = self.write({"Dockerfile": "FROM busybox\nRUN --mount=type=secret,id=tok cp /run/secrets/tok /leak\n"})
        shown = self.store("build", "--error-format", "json", "--progress", "quiet", "--secret", f"id=tok,src={secret}", context,
                           check=False)
        self.assertEqual(shown.code, 1, str(shown))
        told = json.loads(shown.err.splitlines()[-1])
        self.assertEqual(told["error"], 'the new image would hold the secret "tok": found in /leak')
        self.assertEqual((told["code"], told["line"]), ("secret-leak", 2))
        self.assertNotIn("hunter2", shown.err)

    def test_a_layer_that_holds_a_secret_has_a_place(self):
        secret = self.dir / "token"
        secret.write_text("hunter2-hunter2-hunter2")
        self.fails("FROM busybox AS tools\nFROM busybox\nRUN --mount=type=secret,id=tok \\\n  cp /run/secrets/tok /leak\nRUN true\n", """\
error: the new image would hold the secret "tok": found in /leak
  --> Dockerfile:3:1   step 2/3
   |
 2 | FROM busybox
 3 | RUN --mount=type=secret,id=tok \\
   | ^^^
 4 |   cp /run/secrets/tok /leak
   |
   = hint: use the secret where it is mounted and do not copy it; --secret-guard=warn or off builds anyway
""", "secret-leak", args=("--secret", f"id=tok,src={secret}"))

    def test_a_step_out_of_memory(self):
        context = self.write({"Dockerfile": "FROM busybox\nRUN head -c 200000000 /dev/zero | tail -c 190000000 > /dev/null\n"})
        shown = self.store("build", "--memory", "32m", "--progress", "quiet", context, check=False)
        self.assertIn("   = why: killed by the kernel for memory: limit 32m, peak use ", shown.err)
        peak = float(re.search(r"peak use ([0-9.]+)m\n", shown.err).group(1))
        self.assertTrue(24 < peak <= 32, str(shown))
        self.assertIn("   = hint: give the steps more memory with --memory\n", shown.err)
        self.assertIn("--> Dockerfile:2:1   step 2/2\n", shown.err.replace(str(context) + "/", ""))
        told = self.store("build", "--memory", "32m", "--error-format", "json", "--progress", "quiet", context, check=False)
        self.assertEqual(json.loads(told.err.splitlines()[-1])["code"], "oom")

    # --- digest-mismatch ---

    def damage(self, name, number):
        """Flips a byte of a layer and takes its unpacked view away; returns the file."""
        layer = self.store.image(name).layers[number]["digest"]
        path = self.store.image(name).blob_path(layer)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)
        shutil.rmtree(self.store.store / "layers" / layer.removeprefix("sha256:"))
        return path, layer, "sha256:" + hashlib.sha256(data).hexdigest(), len(data)

    def damaged(self, excerpt, path, layer, actual, size):
        return f"""\
error: blob {layer} is damaged
{excerpt}
   |
   = why: the {size} bytes of the file {path} have the digest {actual}
   = hint: `img verify --repair` removes what it belongs to; then load, import or build that again
"""

    def test_a_base_whose_layer_is_damaged(self):
        found = self.damage("busybox", 0)
        self.fails("FROM busybox AS app\nRUN true\n", self.damaged("""\
  --> Dockerfile:2:1   stage "app", step 2/2
   |
 1 | FROM busybox AS app
 2 | RUN true
   | ^^^^""".replace("^^^^", "^^^"), *found), "digest-mismatch")
        os.remove(found[0])
        self.store.with_busybox().build(self.write({"Dockerfile": "FROM busybox\nRUN true\n"}), "x")

    def test_a_cached_step_whose_layer_is_damaged(self):
        context = self.write({"Dockerfile": "FROM busybox\nRUN echo one > /one\n"})
        self.store("build", "-t", "x", context)
        found = self.damage("x", -1)
        self.fails("FROM busybox\nRUN echo one > /one\nRUN cat /one\n", self.damaged("""\
  --> Dockerfile:3:1   step 3/3
   |
 2 | RUN echo one > /one
 3 | RUN cat /one
   | ^^^""", *found), "digest-mismatch")
        os.remove(found[0])
        self.store.build(self.write({"Dockerfile": "FROM busybox\nRUN echo one > /one\nRUN cat /one\n"}), "x")

    # --- several at once ---

    def test_everything_that_is_wrong_is_told_at_once(self):
        self.fails("FROM busybox AS one\nCOPY none /\nSTOPSIGNAL SIGNOPE\nFROM busybox\nCOPY --from=one / /\nRUN --mount=type=chace,"
                   "target=/x true\n", """\
error: COPY: source "none" not found in the build context
  --> Dockerfile:2:1   stage "one", step 2/2
   |
 1 | FROM busybox AS one
 2 | COPY none /
   | ^^^^
   |
   = why: tried {ctx}/none

error: STOPSIGNAL: unknown signal "SIGNOPE"
  --> Dockerfile:3:1
   |
 2 | COPY none /
 3 | STOPSIGNAL SIGNOPE
   | ^^^^^^^^^^

error: RUN: unknown mount type "chace"
  --> Dockerfile:6:5   step 3/3
   |
 5 | COPY --from=one / /
 6 | RUN --mount=type=chace,target=/x true
   |     ^^^^^^^
   |
   = hint: did you mean "cache"?
""", ["copy-source-missing", "parse", "parse"])

    def test_nothing_runs_when_a_later_step_cannot(self):
        context = self.write({"Dockerfile": "FROM busybox\nRUN echo it-ran\nCOPY none /\n"})
        shown = self.store("build", "--progress", "plain", "--no-cache", context, check=False)
        self.assertEqual(shown.code, 1)
        self.assertNotIn("it-ran\n", shown.err.replace("RUN echo it-ran", ""))

    # --- shell-missing ---

    def test_a_stage_without_a_shell(self):
        self.fails("FROM scratch\nCOPY Dockerfile /\nRUN echo hi\n", """\
error: RUN: "/bin/sh" not found in the image
  --> Dockerfile:3:1   step 2/2
   |
 2 | COPY Dockerfile /
 3 | RUN echo hi
   | ^^^
   |
   = hint: the stage has no shell /bin/sh; use the JSON form, RUN ["program", "argument"], or SHELL
""", "shell-missing", exit_code=127)

    # --- arch ---

    # s390x: a header is enough, the kernel looks no further.
    FOREIGN = bytes([0x7f, 0x45, 0x4c, 0x46, 2, 2, 1, *[0] * 9, 0, 2, 0, 22, *[0] * 44])
    MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)

    def foreign(self, dockerfile, text, exit_code=126):
        if os.path.exists("/proc/sys/fs/binfmt_misc/qemu-s390x"):
            self.skipTest("this machine runs programs of s390x")
        context = self.write({"Dockerfile": dockerfile})
        (context / "foreign").write_bytes(self.FOREIGN)
        (context / "script").write_text("#! /bin/foreign\n")
        for name in ("foreign", "script"):
            (context / name).chmod(0o755)
        self.compare(context, text.replace("MACHINE", self.MACHINE), "arch", exit_code=exit_code)
        self.assertEqual(self.store("debug", "--list").out.splitlines()[1:], [])

    def test_a_program_of_another_architecture(self):
        self.foreign("FROM busybox\nCOPY foreign /bin/\nRUN [\"foreign\"]\n", """\
error: RUN: "/bin/foreign" is a program for linux/s390x, this machine is linux/MACHINE
  --> Dockerfile:3:1   step 3/3
   |
 2 | COPY foreign /bin/
 3 | RUN ["foreign"]
   | ^^^
   |
   = why: binfmt_misc has no handler for s390x
   = hint: install a handler (on Debian the packages qemu-user-static and binfmt-support)
""")

    def test_an_interpreter_of_another_architecture(self):
        self.foreign("FROM busybox\nCOPY foreign script /bin/\nSHELL [\"/bin/script\"]\nRUN echo\n", """\
error: RUN: "/bin/foreign" is a program for linux/s390x, this machine is linux/MACHINE
  --> Dockerfile:4:1   step 3/3
   |
 3 | SHELL ["/bin/script"]
 4 | RUN echo
   | ^^^
   |
   = why: binfmt_misc has no handler for s390x
   = hint: install a handler (on Debian the packages qemu-user-static and binfmt-support)
""")

    def test_an_image_of_another_architecture(self):
        context = self.write({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
        self.store("build", "-t", "other", "--platform", "linux/s390x", context)
        context = self.write({"Dockerfile": "FROM --platform=linux/s390x other\nRUN true\n"})
        if os.path.exists("/proc/sys/fs/binfmt_misc/qemu-s390x"):
            self.skipTest("this machine runs programs of s390x")
        self.compare(context, f"""\
error: the image is linux/s390x, this machine is linux/{self.MACHINE}
  --> Dockerfile:2:1   step 2/2
   |
 1 | FROM --platform=linux/s390x other
 2 | RUN true
   | ^^^
   |
   = why: binfmt_misc has no handler for s390x
   = hint: install a handler (on Debian the packages qemu-user-static and binfmt-support)
   = hint: or run the step in a stage FROM --platform=$BUILDPLATFORM
""", "arch")

    def test_a_script_without_a_first_line(self):
        context = self.write({"Dockerfile": "FROM busybox\nCOPY text /bin/\nRUN [\"text\"]\n", "text": "echo hi\n"})
        (context / "text").chmod(0o755)
        self.compare(context, """\
error: RUN: execute "text": Exec format error (ENOEXEC)
  --> Dockerfile:3:1   step 3/3
   |
 2 | COPY text /bin/
 3 | RUN ["text"]
   | ^^^
   |
   = why: the file is neither a program of this architecture nor a script with a #! line
""", None, exit_code=126)


class FullDisk(harness.TestCase):
    """no-space: what is told, and that the store is as before, usable and as empty, when the build is over."""

    def small_disk(self, options):
        where = self.dir / "small"
        where.mkdir()
        harness.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", where])
        self.addCleanup(harness.run, ["umount", where])
        self.store = harness.Img(where / "store").with_busybox()
        self.store.build(self.write({"Dockerfile": "FROM busybox\nRUN true\n"}), "small")

    def free(self):
        info = os.statvfs(self.store.store)
        return info.f_bavail * info.f_bsize, info.f_ffree

    def fails(self, dockerfile, sentence, position, exit_code=1, files=None):
        context = self.write({**(files or {}), "Dockerfile": dockerfile})
        before = self.free()
        shown = self.store("build", "-t", "bad", "--progress", "quiet", context, check=False)
        self.assertEqual(shown.code, exit_code, str(shown))
        text = shown.err.replace(str(context) + "/", "")
        lines = text[text.index("error: "):].splitlines()  # before it: the log of the step is not kept
        self.assertRegex(lines[0], sentence)
        self.assertEqual(lines[1], f"  --> {position}", str(shown))
        why = [line for line in lines if line.startswith("   = why: ")]
        self.assertEqual(len(why), 1, str(shown))
        self.assertRegex(why[0], rf"^   = why: the file system of {self.store.store} \(tmpfs\) has \d+ (bytes|MiB) and \d+ inodes free$")
        self.assertEqual([line for line in lines if "= hint: " in line],
                         ["   = hint: free some space, or put the store elsewhere with --root DIR"], str(shown))
        told = self.store("build", "--error-format", "json", "--progress", "quiet", context, check=False)
        self.assertEqual(json.loads(told.err.splitlines()[-1])["code"], "no-space", str(told))
        after = self.free()
        self.assertLess(before[0] - after[0], 1 << 20, "the space is back")
        self.assertLess(before[1] - after[1], 20, "the inodes are back")
        self.store.build(self.write({"Dockerfile": "FROM busybox\nRUN echo usable > /x\n"}), "small")
        return why[0]

    def test_in_a_run_step(self):
        self.small_disk("size=24m")
        self.fails("FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=40\n", "^error: RUN failed with exit code 1$",
                   "Dockerfile:2:1   step 2/2")

    def test_in_a_copy(self):
        self.small_disk("size=24m")
        self.fails("FROM busybox AS all\nCOPY big /big\n", r"^error: COPY: .*No space left on device \(ENOSPC\)$",
                   'Dockerfile:2:1   stage "all", step 2/2', files={"big": os.urandom(1 << 20) * 40})

    def test_while_a_layer_is_sealed(self):
        self.small_disk("size=24m")
        self.fails("FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=12\n",
                   r"^error: .*No space left on device \(ENOSPC\)$", "Dockerfile:2:1   step 2/2")

    def test_without_inodes(self):
        self.small_disk("size=64m,nr_inodes=1k")
        self.fails("FROM busybox\nRUN for i in $(seq 2000); do : > /tmp/$i || exit 9; done\n",
                   "^error: RUN failed with exit code 1$", "Dockerfile:2:1   step 2/2")

    def test_of_another_file_system_is_not_the_stores(self):
        self.store = self.img()
        context = self.write({"Dockerfile": "FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=1m dd if=/dev/zero of=/t/big bs=1M "
                                            "count=2\n"})
        told = self.store("build", "--error-format", "json", "--progress", "quiet", context, check=False)
        self.assertNotIn("code", json.loads(told.err.splitlines()[-1]), str(told))
