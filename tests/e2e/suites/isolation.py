"""Building where nothing may be mounted: --isolation chroot, and a container without privileges around the build."""
import json
import os
import pathlib
import signal
import time

from lib import harness, peers
from lib.harness import PAST

DAY = "@%d" % PAST
# What one step leaves behind, over a base that has a little of everything.
BASE = """FROM busybox AS base
COPY --chown=1000:1001 d /d/
RUN mkdir -p /old/sub /gone /kept /swap && echo 1 > /old/sub/f && echo 1 > /gone/f && echo 1 > /kept/f && \\
    ln /kept/f /kept/second && ln -s f /kept/link && mkfifo /kept/pipe && chmod 4755 /kept/f && \\
    find /old /gone /kept /swap /d -exec touch -h -d {day} {{}} + && touch -d {day} /
"""
STEPS = {
    "new files": "mkdir /n && echo a > /n/a && ln /n/a /n/b && ln -s a /n/l && mkfifo /n/p",
    "a changed file": "echo more >> /old/sub/f",
    "a file written anew as it was": "cp -p /old/sub/f /x && mv /x /old/sub/f",
    "a deleted file": "rm /kept/link",
    "a deleted folder": "rm -r /gone",
    "a folder removed and made again": "rm -r /old && mkdir /old && echo 2 > /old/g",
    "a folder removed and made again as it was": "rm -r /swap && mkdir /swap",
    "an inner folder replaced by a file": "rm -r /old/sub && echo f > /old/sub",
    "a file replaced by a folder": "rm /kept/link && mkdir /kept/link && echo f > /kept/link/f",
    "a write through one of two names": "echo w >> /kept/second",
    "a third name": "ln /kept/f /kept/third",
    "other owners and modes": "chown -R 5:6 /kept && chmod 711 /old/sub && chgrp -h 9 /kept/link",
    "a moved folder": "mv /old/sub /moved",
    "nothing": "true",
    "something that is undone": "echo x > /y && rm /y && mkdir /z && rmdir /z",
    "places of the runtime": "echo mine >> /dev/mine; echo 1 > /etc/new; rm /etc/new",
}


def diff_ids(program, tag):
    return program.image(tag).document["rootfs"]["diff_ids"]


class SameLayers(harness.TestCase):
    """What is built in a chroot has the diff IDs that root's containers give."""

    def setUp(self):
        super().setUp()
        self.here = self.img(self.dir / "chroot")
        self.there = self.img(self.dir / "root")
        self.context = self.write({"d/a": "a", "d/sub/b": "b"})
        harness.set_times(self.context)

    def check(self, text, *options):
        self.there.build(self.context, "t", "--isolation", "root", "--timestamp", str(PAST), *options, dockerfile=text)
        told = self.here.build(self.context, "t", "--isolation", "chroot", "--timestamp", str(PAST), *options,
                               dockerfile=text)
        self.assertEqual(diff_ids(self.here, "t"), diff_ids(self.there, "t"), str(told))
        return told

    def test_each_kind_of_change(self):
        for name, script in STEPS.items():
            with self.subTest(name):
                self.check(BASE.format(day=DAY) + f"RUN {script}\n")

    def test_without_a_fixed_time(self):
        text = BASE.format(day=DAY) + f"RUN echo 1 >> /old/sub/f; touch -d {DAY} /old/sub/f\nRUN rm -r /gone\n"
        for program, isolation in ((self.there, "root"), (self.here, "chroot")):
            program.build(self.context, "t", "--isolation", isolation, dockerfile=text)
        self.assertEqual(diff_ids(self.here, "t")[2:], diff_ids(self.there, "t")[2:])

    def test_several_steps_and_stages(self):
        self.check("""FROM busybox AS first
WORKDIR /w
COPY d ./
RUN echo 1 > one && ln one two && mkdir -p deep/er && echo x > deep/er/x
RUN echo 2 >> one && rm -r deep
COPY d/a /w/one
RUN --mount=type=bind,source=d,target=/in cp /in/sub/b three
USER dev
RUN id > /tmp/id && touch /tmp/mine
FROM first AS second
USER root
RUN rm /w/two && mkdir /w/two && echo n > /w/two/n
FROM busybox
COPY --from=first /w /w1/
COPY --from=second --chown=3:4 /w /w2/
RUN --mount=type=bind,from=second,source=/w,target=/m cp -r /m /w3
ADD --chown=dev d/a /added/
RUN cat /w1/one /w3/three > /all && rm /w2/three
""")

    def test_links_of_an_earlier_stage_stay_links(self):
        self.check("""FROM busybox AS a
RUN mkdir /l && echo 1 > /l/a && ln /l/a /l/b
FROM a AS b
RUN echo 2 > /other
FROM busybox
COPY --from=b /l /l/
COPY --from=a /l /m/
""")

    def test_extended_attributes(self):
        harness.require("setfattr")
        source = self.dir / "ctx/d/a"
        harness.run(["setfattr", "-n", "user.told", "-v", "yes", source])
        harness.set_times(self.context)
        self.check("FROM busybox\nCOPY d /d/\nRUN cp /d/a /b; echo more >> /d/a; rm /d/sub/b\n")

    def test_mount_points_that_the_image_lacks_are_in_no_layer(self):
        self.check("""FROM busybox
RUN --mount=type=tmpfs,target=/a/b/c --mount=type=cache,target=/var/c --mount=type=secret,id=s,target=/run/s/t \\
    echo x > /a/b/c/x && echo y > /var/c/y && cat /run/s/t > /seen
""", "--secret", f"id=s,src={self.dir}/ctx/d/a")
        names = self.here.image("t").layer_entries(-1)
        self.assertEqual(names, ["seen"])


class Steps(harness.TestCase):
    """What a step in a chroot has, and what it has not."""

    def setUp(self):
        super().setUp()
        self.img_ = self.img()

    def build(self, text, *options, **kwargs):
        return self.img_.build(self.write({"f": "x"}), "t", "--no-cache", "--progress", "plain", "--isolation",
                               "chroot", *options, dockerfile="FROM busybox\n" + text, **kwargs)

    def test_one_notice_says_what_is_shared(self):
        shown = self.build("RUN true\nRUN true\n").err
        self.assertEqual(shown.count("steps run in a chroot"), 1, shown)

    def test_the_step_is_confined_in_its_root(self):
        shown = self.build("RUN grep -c . /etc/passwd; ls -a / /dev /proc; cd ..; pwd; chroot . true || echo kept\n"
                           "RUN mknod /dev/sda b 8 0 || echo no nodes\n").err
        self.assertIn("kept", shown)
        self.assertIn("no nodes", shown)
        self.assertNotIn(str(self.img_.store), shown)

    def test_null_swallows_and_random_gives(self):
        shown = self.build("RUN echo x > /dev/null; wc -c < /dev/null; head -c 8 /dev/urandom | wc -c\n").err
        self.assertRegex(shown, r"(?m)\b0$")
        self.assertRegex(shown, r"(?m)\b8$")

    def test_the_last_process_is_gone_before_the_layer_is_made(self):
        mark = "7123401"
        self.build(f"RUN (trap '' TERM HUP; sleep {mark}) & setsid sleep {mark} & "
                   f"setsid sh -c 'setsid sleep {mark} & sleep {mark}' & echo started\n")
        self.assertEqual([line for line in harness.processes().values() if mark in line], [])

    def test_nothing_is_left_of_a_killed_build(self):
        mark = "7123402"
        context = self.write({"Dockerfile": f"FROM busybox\nRUN setsid sleep {mark} & sleep {mark}\n"})
        build = self.img_.start("build", "--isolation", "chroot", "--no-cache", context)
        self.wait(lambda: sum(mark in line for line in harness.processes().values()) >= 2)
        build.send_signal(signal.SIGKILL)
        build.communicate(timeout=10)
        self.wait(lambda: not any(mark in line for line in harness.processes().values()))
        self.build("RUN true\n")  # a later command clears the store
        self.assertEqual(os.listdir(self.img_.store / "ingest"), [])

    def test_an_interrupted_step_may_finish(self):
        context = self.write({"Dockerfile": "FROM busybox\nRUN trap 'echo ended; exit 3' TERM; echo ready; "
                                            "while :; do sleep 0.05; done\n"})
        build = self.img_.start("build", "--isolation", "chroot", "--progress", "plain", "--no-cache", context)
        seen = b""
        while b"ready" not in seen.split(b"echo ready")[-1]:
            chunk = os.read(build.stderr.fileno(), 4096)
            self.assertTrue(chunk, seen)
            seen += chunk
        build.send_signal(signal.SIGINT)
        _, err = build.communicate(timeout=20)
        self.assertEqual(build.returncode, 130, err)
        self.assertEqual([line for line in harness.processes().values() if "sleep 0.05" in line], [])

    def test_a_failing_step_says_so(self):
        shown = self.build("RUN exit 7\n", check=False)
        self.assertEqual(shown.code, 7, str(shown))
        shown = self.build("RUN kill -9 $$\n", check=False)
        self.assertEqual(shown.code, 137, str(shown))
        shown = self.build('RUN ["/nowhere"]\n', check=False)
        self.assertEqual(shown.code, 127, str(shown))

    def test_what_a_failed_step_did_is_kept_with_it(self):
        shown = self.build("RUN echo part > /partial; exit 3\n", check=False)
        build = shown.err.rsplit("img debug ", 1)[1].split()[0]
        self.assertEqual(self.img_("debug", build, "cat", "/partial").out, "part\n")

    def test_a_cache_outlives_the_step_that_fails(self):
        cache = "RUN --mount=type=cache,target=/c,id=%s " % self.id()
        self.build(cache + "echo 1 >> /c/n; mkdir -p /c/deep/er\n")
        self.build(cache + "echo 2 >> /c/n; exit 1\n", check=False)
        shown = self.build(cache + "cat /c/n; test -d /c/deep/er\n").err
        self.assertRegex(shown, r"(?s)\b1\n.*\b2\n")

    def test_what_needs_a_mount_or_a_namespace_is_refused_by_name(self):
        for text, options, named in (
                ("RUN --network=none true\n", [], "network none"),
                ("RUN --security=insecure true\n", ["--allow", "security.insecure"], "--security=insecure"),
                ("RUN true\n", ["-v", f"{self.dir}:/v"], "--volume"),
                ("RUN true\n", ["--device", "/dev/null"], "a device")):
            shown = self.build(text, *options, check=False)
            self.assertEqual(shown.code, 1, str(shown))
            self.assertIn(f"RUN: {named} is not possible with isolation chroot", shown.err)

    def wait(self, condition):
        end = time.monotonic() + 15
        while not condition():
            self.assertLess(time.monotonic(), end, harness.processes())
            time.sleep(0.02)


class InsideContainer(harness.TestCase):
    """In a container of our own with default rights: no CAP_SYS_ADMIN, unshare(2) and mount(2) refused by seccomp."""

    def setUp(self):
        super().setUp()
        self.outer = self.img()
        self.volume = self.dir / "volume"
        self.volume.mkdir()
        self.context = self.write({"d/a": "a", "d/sub/b": "b"})
        harness.set_times(self.context)

    def inside(self, *words, options=(), **kwargs):
        mounts = [word for source, target in ((os.path.realpath(harness.program()), "/img"), (self.volume, "/store"),
                                              (self.dir, "/case"), (harness.busybox_tar(), "/busybox.tar"))
                  for word in ("-v", f"{source}:{target}")]
        return self.outer("run", "--rm", "--net", "none", *options, *mounts, "busybox", "/img", "--root", "/store",
                          *words, **kwargs)

    def build(self, text, *options, **kwargs):
        pathlib.Path(self.context, "Dockerfile").write_text(text)
        return self.inside("build", "-t", "t", "--timestamp", str(PAST), *options, "/case/ctx", **kwargs)

    def test_auto_takes_the_chroot_and_the_layers_are_the_same(self):
        text = BASE.format(day=DAY) + "RUN rm -r /old /gone && mkdir /old && echo n > /old/n && echo w >> /kept/f\n" \
            "FROM busybox\nCOPY --from=base / /all/\nRUN rm -r /all/old\n"
        self.inside("import", "/busybox.tar", "busybox")
        told = self.build(text)
        self.assertEqual(told.err.count("steps run in a chroot"), 1, str(told))
        self.outer.build(self.context, "t", "--isolation", "root", "--timestamp", str(PAST))
        ours = harness.Image(self.volume, "t").document["rootfs"]["diff_ids"]
        self.assertEqual(ours, diff_ids(self.outer, "t"))

    def test_a_store_of_such_a_container_is_read_right_by_root(self):
        """Its folders are marked otherwise than root's unions want it: they are unpacked again."""
        self.inside("import", "/busybox.tar", "busybox")
        self.build("FROM busybox\nRUN mkdir /o && echo 1 > /o/a\nRUN rm -r /o && mkdir /o && echo 2 > /o/b\n")
        program = self.img(self.volume, busybox=False)
        self.assertEqual(program("run", "--rm", "--net", "none", "t", "ls", "/o").out, "b\n")

    def test_containers_are_refused_with_the_reason(self):
        self.inside("import", "/busybox.tar", "busybox")
        shown = self.inside("run", "--rm", "busybox", "true", check=False)
        self.assertEqual(shown.code, 125, str(shown))
        self.assertIn("isolation chroot", shown.err)

    def test_without_the_rights_for_a_chroot_the_first_refusal_is_told(self):
        shown = self.inside("images", options=("--cap-drop", "SYS_CHROOT"), check=False)
        self.assertNotEqual(shown.code, 0)
        self.assertIn("user namespace", shown.err)
        shown = self.build("FROM busybox\n", "--isolation", "chroot", options=("--cap-drop", "SYS_CHROOT"), check=False)
        self.assertIn("CAP_SYS_CHROOT is missing", shown.err)

    def test_doctor_says_what_works(self):
        shown = self.inside("doctor", check=False)
        self.assertIn("uses a chroot for the steps of builds", shown.out)

    def test_info_names_the_way(self):
        shown = self.inside("info", "--format", "json")
        self.assertIn("chroot", json.dumps(json.loads(shown.out)))


class InsidePodman(harness.TestCase):
    """The same in a container of podman with its own defaults; some versions allow user namespaces in there."""

    def test_the_layers_are_the_same(self):
        podman = peers.Podman()
        podman("import", harness.busybox_tar(), "outer")
        store = self.dir / "inner"
        store.mkdir()
        context = self.write({"Dockerfile": "FROM busybox\nRUN mkdir /o && echo 1 > /o/a && chown -R 5:6 /o\n"
                                            "USER dev\nRUN echo x > /tmp/x; echo y > /dev/null\nUSER root\n"
                                            "RUN rm -r /o && mkdir /o && ln /etc/group /o/second\n"})
        mounts = [word for source, target in ((os.path.realpath(harness.program()), "/img"), (store, "/store"),
                                              (self.dir, "/case"), (harness.busybox_tar(), "/busybox.tar"))
                  for word in ("-v", f"{source}:{target}")]
        script = "/img --root /store import /busybox.tar busybox && exec /img --root /store build --isolation chroot -t t " \
            f"--timestamp {PAST} /case/ctx"
        told = podman("run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit",
                      "nproc=1024:1024", *mounts, "outer", "/bin/sh", "-c", script)
        self.assertEqual(told.err.count("steps run in a chroot"), 1, str(told))
        root = self.img()
        root.build(context, "t", "--isolation", "root", "--timestamp", str(PAST))
        self.assertEqual(harness.Image(store, "t").document["rootfs"]["diff_ids"], diff_ids(root, "t"))
