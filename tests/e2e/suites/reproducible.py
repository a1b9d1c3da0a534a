"""Same inputs and SOURCE_DATE_EPOCH: the same image digest, whoever builds it, where, and when."""
import os
import shutil
import tarfile
import time

from lib import harness
from lib.harness import Img, run

EPOCH = "1700000000"
DOCKERFILE = """FROM busybox AS build
WORKDIR /src
COPY . .
RUN sort words > sorted && mkdir -p out/b out/a && cp sorted out/b && ln out/b/sorted out/a/hard && ln -s b out/c
ADD archive.tar /unpacked
FROM busybox
ARG SOURCE_DATE_EPOCH
ENV A=1
WORKDIR /app
COPY --from=build /src/out ./
COPY --chown=dev tree tree
RUN date > /dev/null; echo "$SOURCE_DATE_EPOCH" > epoch; rm /etc/group; mkfifo pipe
RUN for i in 9 3 5 1 7; do mkdir -p d$i; echo $i > d$i/file$i; done
LABEL z=1 a=2
EXPOSE 80 22
VOLUME /b /a
USER dev
CMD ["/bin/sh"]
"""
NAMES = ["words", "tree/z", "tree/a", "tree/sub/m", "tree/sub/b", "tree/\u00fc", "x/y/z/deep"]


class Reproducible(harness.TestCase):
    def context(self, under, names, when):
        folder = self.dir / under
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"content of {name}\nb\na\n")
        (folder / "Dockerfile").write_text(DOCKERFILE)
        (folder / "archive.tar").write_bytes(self.archive())
        run(["chmod", "-R", "u=rwX,go=rX", folder])
        harness.set_times(folder, when)
        return folder

    def archive(self):
        path = self.dir / "archive.tar"
        if not path.exists():
            (self.dir / "packed").mkdir()
            (self.dir / "packed/file").write_text("packed\n")
            harness.set_times(self.dir / "packed")
            run(["tar", "-C", self.dir / "packed", "--sort=name", "--owner=0", "--group=0", "-cf", path, "."])
        return path.read_bytes()

    def store(self, name):
        """A store with the same base image: an import records when it happened, so it happens once."""
        img = self.img(self.dir / name, busybox=False)
        base = self.dir / "base.tar"
        if not base.exists():
            Img(self.dir / "base").with_busybox()("save", "-o", base, "busybox")
        if not img.store.exists():
            img("load", "-i", base)
        return img

    def setUp(self):
        super().setUp()
        self.first = self.digest("first", self.context("one", NAMES, harness.PAST))

    def digest(self, store, context, env=None, **kwargs):
        img = self.store(store)
        img.build(context, "app", env={"SOURCE_DATE_EPOCH": EPOCH, **(env or {})}, **kwargs)
        return img.image("app").digest

    def same(self, digest, store):
        if digest == self.first:
            return
        one, two = (harness.Image(self.dir / s, "app") for s in ("first", store))
        lines = []
        for number, (a, b) in enumerate(zip(one.layers, two.layers)):
            if a["digest"] != b["digest"]:
                listing = [run(["tar", "-tv", "--full-time", "-f", i.blob_path(l["digest"])]).out.splitlines()
                           for i, l in ((one, a), (two, b))]
                lines += [f"layer {number}: {line}" for line in sorted(set(listing[0]) ^ set(listing[1]))] or [
                    f"layer {number}: same listing, other bytes"]
        lines += [f"config {key}: {one.document.get(key)!r} != {two.document.get(key)!r}" for key in one.document
                  if one.document.get(key) != two.document.get(key)]
        self.fail("other digest\n" + "\n".join(lines[:40]))

    def test_a_second_store(self):
        self.same(self.digest("second", self.dir / "one"), "second")

    def test_another_time_another_place_another_order(self):
        time.sleep(1.1)  # the times of files that RUN writes must differ in whole seconds
        context = self.context("elsewhere/deep/two", list(reversed(NAMES)), harness.PAST)
        self.same(self.digest("second", context), "second")

    def test_another_umask_locale_user_name_and_time_zone(self):
        env = {"LC_ALL": "C", "LANG": "tr_TR.UTF-8", "LOGNAME": "somebody", "USER": "somebody", "HOME": "/nonexistent",
               "TZ": "Pacific/Auckland", "HOSTNAME": "elsewhere", "COLUMNS": "40"}
        self.same(self.digest("second", self.dir / "one", env, preexec_fn=lambda: os.umask(0o077)), "second")

    def test_another_owner_of_the_context(self):
        shutil.copytree(self.dir / "one", self.dir / "owned", copy_function=shutil.copy2)
        run(["chown", "-R", "1234:5678", self.dir / "owned"])
        self.same(self.digest("second", self.dir / "owned"), "second")

    def test_without_the_cache_and_with_it(self):
        img = self.store("first")
        for options in ((), ("--no-cache",)):
            img.build(self.dir / "one", "app", *options, env={"SOURCE_DATE_EPOCH": EPOCH})
            self.same(img.image("app").digest, "first")

    def test_a_step_sees_the_same_file_times_on_a_fresh_layer_and_on_an_unpacked_one(self):
        img = self.store("times")
        context = self.dir / "times-context"
        script = "FROM busybox\nCOPY Dockerfile /copied\nRUN touch /made\nRUN stat -c %Y /copied /made > /seen\n"
        img.build(context, "app", dockerfile=script, env={"SOURCE_DATE_EPOCH": EPOCH})
        img.build(context, None, "-o", self.dir / "times-out", dockerfile="FROM scratch\nCOPY --from=app /seen /\n")
        self.assertEqual((self.dir / "times-out/seen").read_text().split(), [EPOCH, EPOCH])

    def test_no_file_of_the_new_layers_is_younger_than_the_epoch(self):
        image = harness.Image(self.dir / "first", "app")
        self.assertEqual(image.document["created"], "2023-11-14T22:13:20Z")
        for layer in image.layers[1:]:
            with tarfile.open(image.blob_path(layer["digest"])) as tar:
                late = [m.name for m in tar if m.mtime > int(EPOCH)]
            self.assertEqual(late, [])

    def test_a_cached_rebuild_keeps_the_digest_without_an_epoch(self):
        img = self.store("noepoch")
        digests = set()
        for _ in range(2):
            img.build(self.dir / "one", "app", env={"SOURCE_DATE_EPOCH": None})
            digests.add(img.image("app").digest)
        self.assertEqual(len(digests), 1)

    def test_saved_archives_are_the_same_bytes(self):
        archives = []
        for store in ("first", "second"):
            img = self.store(store)
            if store == "second":
                self.digest(store, self.dir / "one")
            img("save", "-o", self.dir / f"{store}.tar", "app")
            archives.append((self.dir / f"{store}.tar").read_bytes())
        self.assertEqual(archives[0], archives[1])
