"""The base images of a build, pulled side by side from a registry on loopback."""
import os
import pathlib
import signal
import threading

from lib import faulty_registry as faulty
from lib import harness
from suites.pull import ENV, PullCase, put_image


class Together(PullCase):
    def setUp(self):
        super().setUp()
        self.server = self.proxy()
        self.is_over = threading.Event()
        self.addCleanup(self.is_over.set)

    def put_both(self):
        """Two images that share their base; the digests of the layers of their own."""
        self.images = {name: put_image(self.registry, f"{self.repository}/{name}", "v1",
                                       [{name: f"{name}\n".encode() + os.urandom(300000)}])
                       for name in ("one", "two")}
        return [self.layers(name)[1]["digest"] for name in ("one", "two")]

    def layers(self, name):
        return self.registry.get_manifest(f"{self.repository}/{name}", "v1")["layers"]

    def image_of(self, name):
        return f"{self.server.host}/{self.repository}/{name}:v1"

    def context(self, *names):
        stages = [f"FROM {self.image_of(name)} AS {name}\n" for name in names]
        copies = [f"COPY --from={name} /{name} /of-{name}\n" for name in names[:-1]]
        return self.write({"Dockerfile": "".join(stages + copies)})

    def stall(self, digest):
        """Sends the first part of a blob, and no more before the test is over."""
        def action(handler, answer):
            handler.send(answer, answer.body[:100000])
            self.is_over.wait(30)
            handler.hang_up()

        self.server.fault(digest, action)

    def started(self, *args):
        return self.store.start(*args, env={k: v for k, v in {**os.environ, **ENV}.items() if v is not None})

    def stored(self, digest):
        partial = self.store.store / "ingest/partial" / digest[7:]
        return partial.stat().st_size if partial.exists() else 0

    def children_of(self, pid):
        """Of that process, and of those."""
        found = []
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
            for child in (task / "children").read_text().split():
                found += [int(child), *self.children_of(int(child))]
        return found

    def test_each_layer_is_asked_for_once(self):
        self.put_both()
        self.store.build(self.context("one", "two"), "app")
        for name in ("one", "two"):
            for layer in self.layers(name):
                self.assertEqual(self.server.count(layer["digest"]), 1, name)
        self.assertEqual(self.store("run", "--rm", "--net", "none", "app", "head", "-n1", "-q", "/of-one", "/two").out, "one\ntwo\n")
        self.assertEqual(self.ingest(), ([], []))
        self.store("verify")

    def test_one_image_by_two_names_is_downloaded_once(self):
        one, _ = self.put_both()
        name = self.image_of("one")
        by_digest = f"{name.rsplit(':', 1)[0]}@{self.images['one']['digest']}"
        context = self.write({"Dockerfile": f"FROM {name} AS a\nFROM {by_digest}\nCOPY --from=a /one /again\n"})
        self.store.build(context, "app")
        self.assertEqual(self.server.count(one), 1)
        self.assertEqual(self.ingest(), ([], []))

    def test_an_interrupt_ends_all_and_keeps_the_downloads(self):
        digests = self.put_both()
        for digest in digests:
            self.stall(digest)
        process = self.started("build", "-q", self.context("one", "two"))
        harness.wait_until(lambda: all(self.stored(digest) > 0 for digest in digests), "both downloads")
        children = self.children_of(process.pid)
        self.assertGreater(len(children), 4)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=20)
        self.assertEqual((process.returncode, err.decode()), (130, "error: interrupted\n"))
        harness.wait_until(lambda: not any(os.path.exists(f"/proc/{child}") for child in children), "the end of the children")
        partial, others = self.ingest()
        self.assertEqual(others, [])
        self.assertLessEqual({digest[7:] for digest in digests}, set(partial))
        self.is_over.set()
        self.store.build(self.context("one", "two"), "app")
        self.assertEqual(self.ingest(), ([], []))

    def test_one_that_fails_leaves_the_other_alone(self):
        one, two = self.put_both()
        self.registry.delete(f"{self.repository}/one", "blobs", one)
        output = self.store("build", "-q", self.context("one", "two"), check=False)
        self.assertEqual(output.code, 1)
        self.assertIn(one, output.err)
        self.assertNotIn(two, output.err)
        self.assertEqual((self.server.count(one), self.server.count(two)), (1, 1))
        self.assertEqual(self.ingest(), ([], []))
        # As it is told of one alone.
        alone = self.store("build", "-q", self.context("one"), check=False)
        self.assertEqual(output.err, alone.err)
        self.store("run", "--rm", "--net", "none", "--pull", "never", self.image_of("two"), "true")

    def test_a_registry_that_is_gone_is_told_of_as_for_one_image(self):
        self.put_both()
        context = self.context("one", "two")
        self.store.build(context, "before")
        self.server.stop()
        for mode in ("missing", "newer", "never"):
            self.store("build", "-q", f"--pull={mode}", "--retry", "0", context)
        output = self.store("build", "-q", "--pull=always", "--retry", "0", context, check=False)
        self.assertEqual(output.code, 1)
        for line, name in enumerate(("one", "two"), 1):
            self.assertIn(f"error: {self.image_of(name).rsplit(':', 1)[0]}: cannot get manifest v1", output.err)
            self.assertIn(f"Dockerfile:{line}:6", output.err)
        self.store("rmi", "--force", self.image_of("one"), self.image_of("two"))
        output = self.store("build", "-q", "--pull=never", context, check=False)
        self.assertEqual((output.code, output.err.count("and it is not to be pulled")), (1, 2))
