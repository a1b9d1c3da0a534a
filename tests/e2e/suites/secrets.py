"""Secrets and agents given to RUN leave no bytes behind: not in the store, not in arguments, not in logs (cli.md 9.7)."""
import base64
import os
import pathlib
import threading
import time

from lib import harness


def blocks_of(folder):
    paths = (os.path.join(parent, name) for parent, folders, names in os.walk(folder) for name in folders + names)
    return sum(os.lstat(path).st_blocks * 512 for path in paths)


SECRET = b"correct-horse-battery-staple-4711"


def forms(secret):
    """The bytes, and what is the same in every base64 text that holds them."""
    found = [secret]
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + secret)
        found.append(text[4 if offset else 0:][:len(secret)])
    return found


def holders(root, wanted):
    """Files below `root` whose content or name holds one of the texts."""
    for folder, folders, names in os.walk(root):
        for name in names + folders:
            if any(text in name.encode() for text in wanted):
                yield os.path.join(folder, name)
        for name in names:
            path = pathlib.Path(folder, name)
            if path.is_file() and not path.is_symlink() and any(text in path.read_bytes() for text in wanted):
                yield str(path)


class Secrets(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.store = self.img()
        self.secret = self.dir / "token"
        self.secret.write_bytes(SECRET + b"\n")

    def build(self, dockerfile, *args, files=None, **kwargs):
        context = self.write({"Dockerfile": dockerfile, **(files or {})})
        return self.store.build(context, "x", *args, **kwargs)

    def assert_clean(self, root=None):
        self.assertEqual(list(holders(root or self.store.store, forms(SECRET))), [])

    def test_nothing_in_the_store_holds_the_bytes(self):
        shown = self.build(
            "FROM busybox\n"
            "RUN --mount=type=secret,id=token wc -c < /run/secrets/token > /size; cat /run/secrets/token\n"
            "RUN --mount=type=secret,id=token,env=TOKEN echo ${#TOKEN} > /length; echo $TOKEN\n"
            "RUN --mount=type=cache,target=/c --mount=type=secret,id=token md5sum /run/secrets/token > /c/sum\n",
            "--secret", f"id=token,src={self.secret}", "--progress=plain")
        self.assert_clean()
        self.assertNotIn(SECRET.decode(), shown.err + shown.out)
        self.assertEqual(shown.err.count("***"), 2, str(shown))

    def test_a_refused_layer_leaves_nothing_either(self):
        for command in ("cp /run/secrets/token /leak", "base64 /run/secrets/token > /leak",
                        "(printf x; cat /run/secrets/token) | base64 > /leak", "mkdir /$(cat /run/secrets/token)",
                        "cp /run/secrets/token /leak; exit 3"):
            with self.subTest(command):
                shown = self.build(f"FROM busybox\nRUN --mount=type=secret,id=token {command}\n",
                                   "--secret", f"id=token,src={self.secret}", check=False)
                self.assertNotEqual(shown.code, 0)
                self.assertNotIn(SECRET.decode(), shown.err + shown.out)
                self.assert_clean()

    def test_records_hide_what_the_dockerfile_or_an_argument_gives_away(self):
        for dockerfile, args in (("ARG A\nRUN true\n", ("--build-arg", "A=" + SECRET.decode())),
                                 ("RUN : " + SECRET.decode() + "\n", ()),
                                 ("ARG A\nRUN false\n", ("--build-arg", "A=" + SECRET.decode())),
                                 ("RUN false " + SECRET.decode() + "\n", ())):
            shown = self.build("FROM busybox\n" + dockerfile, *args, "--secret", f"id=token,src={self.secret}",
                               f"--trace={self.dir / 'trace'}", check=False)
            self.assertEqual(shown.code, 1, str(shown))
            self.assert_clean()
            self.assertNotIn(SECRET, (self.dir / "trace").read_bytes(), str(shown))

    def test_no_process_has_it_in_its_arguments(self):
        seen = []
        done = threading.Event()

        def watch():
            while not done.is_set():
                for pid in filter(str.isdigit, os.listdir("/proc")):
                    try:
                        line = pathlib.Path("/proc", pid, "cmdline").read_bytes()
                    except OSError:
                        continue
                    if SECRET in line:
                        seen.append(line)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            self.build("FROM busybox\nRUN --mount=type=secret,id=token sleep 0.3\n", "--secret", "id=token,env=THE_TOKEN",
                       env={"THE_TOKEN": SECRET.decode()})
        finally:
            done.set()
            watcher.join()
        self.assertEqual(seen, [])
        self.assert_clean()

    def test_missing_ones_are_told_before_the_build(self):
        for option in ("id=a,src=/no/such/file", "id=a,env=NO_SUCH_VARIABLE", "src=x", "id=a,sorce=x"):
            shown = self.build("FROM busybox\nRUN echo ran\n", "--secret", option, check=False)
            self.assertNotEqual(shown.code, 0, option)
            self.assertNotIn("ran", shown.err)

    def test_ssh_agent(self):
        harness.require("ssh-agent", "ssh-add", "ssh-keygen")
        folder = self.secret.parent
        key = folder / "key"
        harness.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the comment", "-f", key])
        # What passes the relay is tested in tests/builder/ssh_agent_test.cc: busybox has no client.
        dockerfile = "FROM busybox\nRUN --mount=type=ssh,uid=7,mode=0666 test -S $SSH_AUTH_SOCK && stat -c '%a %u' $SSH_AUTH_SOCK\n"
        shown = self.build(dockerfile, "--ssh", f"default={key}", "--progress=plain")
        self.assertIn("666 7", shown.err, str(shown))
        leftovers = [line for line in harness.processes().values() if "ssh-agent" in line]
        self.assertEqual(leftovers, [])

    def test_a_key_with_a_passphrase_is_refused(self):
        harness.require("ssh-agent", "ssh-keygen")
        key = self.secret.parent / "locked"
        harness.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "pass", "-f", key])
        shown = self.build("FROM busybox\nRUN --mount=type=ssh true\n", "--ssh", f"default={key}", check=False)
        self.assertEqual(shown.code, 1)
        self.assertIn("cannot use the key", shown.err)
        self.assertIn("passphrase", shown.err)


class CacheMounts(harness.TestCase):
    def test_a_locked_cache_is_used_by_one_build_at_a_time(self):
        store = self.img()
        step = ("FROM busybox\nRUN --mount=type=cache,id=one,target=/c,sharing=locked "
                "echo {0} in >> /c/log && sleep 0.3 && echo {0} out >> /c/log\n")
        builds = [store.start("build", "-t", name, self.write({"Dockerfile": step.format(name)}, under=name))
                  for name in ("a", "b", "c")]
        for build in builds:
            self.assertEqual(build.wait(), 0)
        shown = store.build(self.write({"Dockerfile": "FROM busybox\nRUN --mount=type=cache,id=one,target=/c cat /c/log\n"},
                                       under="show"), "show", "--progress=plain")
        log = [line.split()[-2:] for line in shown.err.splitlines() if line.endswith((" in", " out"))]
        self.assertEqual(len(log), 6, str(shown))
        for first, second in zip(log[::2], log[1::2]):
            self.assertEqual((first[0], first[1], second[1]), (second[0], "in", "out"))

    def test_waiting_for_a_cache_ends_with_a_signal(self):
        store = self.img()
        holder = store.start("build", self.write({"Dockerfile":
            "FROM busybox\nRUN --mount=type=cache,id=one,target=/c,sharing=locked touch /c/held; sleep 20\n"}, under="h"))
        folder = pathlib.Path(store.store, "cache/mounts")
        end = time.monotonic() + 10
        while not list(folder.glob("*/0/held")) and time.monotonic() < end:
            time.sleep(0.01)
        waiter = store.start("build", self.write({"Dockerfile":
            "FROM busybox\nRUN --mount=type=cache,id=one,target=/c,sharing=locked true\n"}, under="w"))
        time.sleep(0.2)
        began = time.monotonic()
        waiter.terminate()
        self.assertEqual(waiter.wait(), 143)
        self.assertLess(time.monotonic() - began, 3)
        holder.terminate()
        holder.wait()

    def test_a_bind_of_the_context_copies_nothing(self):
        store = self.img()
        context = pathlib.Path(self.write({"Dockerfile": "FROM busybox\nRUN --mount=target=/c ls /c/big > /size\n",
                                           ".dockerignore": "ignored\n", "ignored": "x", "big": ""}))
        with open(context / "big", "r+b") as big:
            big.truncate(1 << 30)  # a hole, so that reading it for the key costs little
        store.build(context, "x", timeout=120)
        # Of the store alone: other suites write to the same disk meanwhile.
        self.assertLess(blocks_of(store.store), 64 << 20)

    def test_a_store_in_the_context_is_no_part_of_a_bind(self):
        context = self.write({"Dockerfile": "FROM busybox\nRUN --mount=target=/c ls -A /c > /list\n"
                                            "RUN --mount=target=/c,rw echo changed > /c/f\n", "f": "as it was"})
        store = self.img(store=context / "store")
        store.build(context, "x")
        shown = store("run", "--rm", "--net", "none", "x", "cat", "/list")
        self.assertEqual(shown.out.split(), ["Dockerfile", "f"])
        self.assertEqual((context / "f").read_text(), "as it was")
