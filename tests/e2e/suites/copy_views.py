"""COPY and ADD write a layer's tar without making its files where layers are indexes over their tars; everywhere else
they fill a folder that is sealed afterwards. Both must give the same layers, bit for bit, and fail in the same words:
every case of testdata/build that copies something is built both ways.
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import unittest

from lib import cases, harness
from lib.harness import Img

# Later times become this one, or every folder that a step makes and touches would differ. The files of the contexts
# have older ones, which stay.
EPOCH = {"SOURCE_DATE_EPOCH": str(harness.PAST + 1)}
WORKERS = 2
COPIES = re.compile(r"^\s*(ONBUILD\s+)?(COPY|ADD)\s", re.M | re.I)
PARTS = 4  # tests: a name per case would be as many tests as suites/differential.py has


def copying():
    """The cases whose Dockerfiles copy something and build the same image each time. What asks for times of its own,
    for a builder's cache from outside or for another store is of no interest here."""
    found = []
    for name in cases.names():
        texts = [path.read_text(errors="replace") for path in (cases.CASES / name).glob("*ockerfile*")]
        case = cases.Case(name)
        timed = any("SOURCE_DATE_EPOCH" in build.get("env", {}) or "--timestamp" in str(build) or
                    "--source-date-epoch" in str(build) for build in case.builds)
        if not timed and any(COPIES.search(text) for text in texts):
            found.append(name)
    return found


def texts_without_paths(text, work, store):
    text = text.replace(str(store), "STORE").replace(str(work), "WORK")
    return re.sub(r"\b[0-9a-f]{8,64}\b", "HEX", re.sub(r"127\.0\.0\.1:\d+", "SERVER", text))


class Pair:
    """One case, built in both ways."""

    def __init__(self, name):
        self.name, self.case = name, cases.Case(name)

    def check(self):
        work = pathlib.Path(harness.temp_dir(self.name))
        try:
            results = {view: self._build(view, work) for view in ("directory", "erofs")}
            if results["directory"] != results["erofs"]:
                raise AssertionError(f"{self.name}:\ndirectory {results['directory']}\nerofs     {results['erofs']}")
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _build(self, view, work):
        """The layers of the last build that must succeed, and the errors of those that must not."""
        img = Img(work / view, env={"IMG_LAYER_VIEW": view, **EPOCH}).with_busybox()
        context = self.case.copy(work / "context")
        outcome = []
        try:
            if "base" in self.case.settings:
                img.build(context, self.case.settings["base"], "-f", context / "base.Dockerfile")
            with self.case.server(context) as url:
                for number, build in enumerate(self.case.builds):
                    outcome.append(self._build_once(img, build, context, url, number, work))
        finally:
            shutil.rmtree(context)  # the same paths in both ways
        return outcome

    def _build_once(self, img, build, context, url, number, work):
        cases.change(build, context)
        words = cases.options(build, "ours", context, url)
        where = build.get("context", "CONTEXT").replace("CONTEXT", str(context))
        stdin = (context / build["stdin"]).read_bytes() if "stdin" in build else b""
        result = img.build(where, "result", *words, stdin=stdin, check=False, env=build.get("env", {}))
        if result.code != 0:
            lines = [line for line in result.err.splitlines() if re.match(r"(img|error|  |.*: error)", line)]
            return result.code, texts_without_paths("\n".join(lines), work, img.store)
        return [layer["digest"] for layer in img.image("result").layers]


class CopyViews(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        probe = Img(env={"IMG_LAYER_VIEW": "erofs"})
        folder = pathlib.Path(harness.temp_dir("probe"))
        (folder / "f").write_text("1")
        result = probe.build(folder, "probe", dockerfile="FROM scratch\nCOPY f /\n", check=False)
        if "layers cannot be EROFS here" in result.err:
            raise unittest.SkipTest("the kernel mounts no EROFS from files")

    def check_part(self, part):
        names = copying()[part::PARTS]
        self.assertGreater(len(names), 20)
        problems = []
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            for future in [pool.submit(Pair(name).check) for name in names]:
                try:
                    future.result()
                except AssertionError as error:
                    problems.append(str(error))
        self.assertEqual(problems, [], "\n" + "\n".join(problems[:20]))


for _part in range(PARTS):
    setattr(CopyViews, f"test_part_{_part + 1}_has_the_same_layers_both_ways",
            lambda self, part=_part: self.check_part(part))


class NoFiles(unittest.TestCase):
    """What shows that no file is made, and what is left when it goes wrong."""

    def setUp(self):
        CopyViews.setUpClass()
        self.img = Img(env={"IMG_LAYER_VIEW": "erofs"})
        self.context = pathlib.Path(harness.temp_dir("context"))

    def ingest(self):
        return sorted(path.name for path in (self.img.store / "ingest").iterdir())

    def blobs(self):
        folder = self.img.store / "blobs/sha256"
        return sorted(path.name for path in folder.iterdir())

    def views(self):
        return sorted(path.name for path in (self.img.store / "layers").iterdir())

    def test_the_next_step_and_another_stage_see_the_files_at_once(self):
        for number in range(60):
            (self.context / f"f{number}").write_text(str(number))
        self.img.with_busybox()
        self.img.build(self.context, "seen", dockerfile="FROM busybox AS one\nCOPY . /in/\nRUN cat /in/f7 > /out\n"
                       "FROM busybox\nCOPY --from=one /in /copied\nCOPY --from=one /out /\nRUN cat /copied/f9 >> /out\n")
        out = self.img("run", "--rm", "--net", "none", "seen", "cat", "/out").out
        self.assertEqual(out, "79")

    def test_a_layer_is_an_index_and_no_folder(self):
        for number in range(400):
            (self.context / f"f{number}").write_text("x" * 1000)
        self.img.build(self.context, "index", dockerfile="FROM scratch\nCOPY . /\n")
        digest = self.img.image("index").layers[0]["digest"].split(":")[1]
        self.assertEqual(sorted(path.name for path in (self.img.store / "layers" / digest).iterdir()), ["index", "meta"])
        self.assertEqual(self.ingest(), [])

    def test_the_root_of_a_stage_has_no_time(self):
        """It is a folder that a RUN has changed, or an index whose tar says nothing about it."""
        dockerfile = "FROM busybox AS s\nRUN mkdir -p /q && touch -d @100 /q\nFROM scratch\nCOPY --from=s --exclude=[!q]* . /x/\n"
        digests = set()
        for view in ("erofs", "directory"):
            img = Img(env={"IMG_LAYER_VIEW": view}).with_busybox()
            img.build(self.context, "root", dockerfile=dockerfile)
            digests.add(img.image("root").layers[-1]["digest"])
        self.assertEqual(len(digests), 1)

    def test_a_linked_layer_does_not_depend_on_what_lies_below(self):
        """Also when the first build had the very same file below."""
        (self.context / "f").write_text("1")
        harness.set_times(self.context)
        for view in ("erofs", "directory"):
            img = Img(env={"IMG_LAYER_VIEW": view}).with_busybox()
            img.build(self.context, "same", dockerfile="FROM scratch\nCOPY f /\n")
            img.build(self.context, "over", dockerfile="FROM same\nCOPY --link f /\n")
            self.assertEqual(img.image("over").layer_entries(1), ["f"], view)

    def test_a_file_that_cannot_be_read_leaves_nothing(self):
        self.img.with_busybox()
        before = self.blobs(), self.views()
        (self.context / "good").write_text("1")
        # A name that no layer can hold: found when the tar is written.
        (self.context / "d").mkdir()
        (self.context / "d/.wh.x").write_text("1")
        result = self.img.build(self.context, dockerfile="FROM busybox\nCOPY good d /x/\n", check=False)
        self.assertEqual(result.code, 1)
        self.assertIn('a layer cannot hold "x/.wh.x"', result.err)
        self.assertEqual((self.ingest(), (self.blobs(), self.views())), ([], before))

    def test_a_full_disk_leaves_nothing(self):
        harness.require("mkfs.ext4")
        mount = pathlib.Path(harness.temp_dir("small"))
        disk = mount.parent / (mount.name + ".disk")
        disk.touch()
        os.truncate(disk, 32 << 20)
        harness.run(["mkfs.ext4", "-q", "-F", disk])
        harness.run(["mount", "-o", "loop", disk, mount])
        self.addCleanup(harness.run, ["umount", "--lazy", mount], check=False)
        self.img = Img(mount / "store", env={"IMG_LAYER_VIEW": "erofs"}).with_busybox()
        before = self.blobs()
        (self.context / "big").write_bytes(os.urandom(1 << 20) * 64)
        result = self.img.build(self.context, dockerfile="FROM busybox\nCOPY big /\n", check=False)
        self.assertEqual(result.code, 1)
        self.assertIn("No space left on device", result.err)
        self.assertEqual((self.ingest(), self.blobs()), ([], before))

    def test_a_worker_that_is_killed_leaves_nothing_that_is_believed(self):
        for number in range(60):
            (self.context / f"f{number}").write_text(str(number))
        harness.set_times(self.context)
        dockerfile = "FROM busybox\nCOPY f* /in/\n"
        self.img.with_busybox()
        whole = Img(env={"IMG_LAYER_VIEW": "erofs", **EPOCH}).with_busybox()
        whole.build(self.context, "killed", dockerfile=dockerfile)
        for point in ("blobs.beforeFsync", "blobs.beforeRename", "blobs.afterRename", "layers.beforeMeta",
                      "layers.beforeRename", "layers.afterRename"):
            with self.subTest(point=point):
                env = {"IMG_FAILPOINT": point, "IMG_DURABILITY": None, **EPOCH}
                result = self.img.build(self.context, "killed", "--no-cache", check=False, env=env)
                self.assertNotEqual(result.code, 0, point)
                self.img.build(self.context, "killed", env=EPOCH)
                self.assertEqual(self.img.image("killed").layers, whole.image("killed").layers)
                self.assertEqual(self.ingest(), [])
                # The next time nothing is there again.
                self.img("rmi", "killed")
                self.img("prune", "-f", "--build-cache")
