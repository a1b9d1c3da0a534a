"""What nobody needs goes, what somebody needs stays: image, builder and system prune, df, why, and removal next to living
commands."""
import hashlib
import json
import os
import subprocess
import time

from lib import harness, many_images
from lib.harness import run

DAY = 24 * 60 * 60


def disk_usage(store):
    return int(run(["du", "-s", "--block-size=1", store]).out.split()[0])


def lines_of(text, title):
    """The lines below a heading of a prune command."""
    lines = text.splitlines()
    return lines[lines.index(title) + 1:lines.index("", lines.index(title))] if title in lines else []


class Prune(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.img_ = self.img()
        self.context = self.write({"a.txt": "a"})

    def build(self, tag, dockerfile, *args, **kwargs):
        return self.img_.build(self.context, tag, *args, dockerfile=dockerfile, **kwargs)

    def prune(self, kind, *args, **kwargs):
        return run([self.img_.path(), "--root", self.img_.store, *kind.split(), "prune", *args], **kwargs)

    def system(self, *args, **kwargs):
        return run([self.img_.path(), "--root", self.img_.store, *args], **kwargs)

    def names(self):
        return sorted(self.img_("images", "--format", "{{.Repository}}:{{.Tag}}").out.split())

    def blobs(self):
        return {p.name for p in (self.img_.store / "blobs/sha256").iterdir()}

    # --- images ---

    def test_image_prune_takes_nameless_images_and_with_all_those_without_a_container(self):
        self.build("one", "FROM busybox\nRUN echo 1 > /1\n")
        self.build("used", "FROM busybox\nCMD [\"sleep\", \"1\"]\n")
        self.img_("create", "used")
        self.assertEqual(self.prune("image", "-f").out, "Total reclaimed space: 0B\n")
        shown = self.prune("image", "-a", "-f", "--dry-run").out
        gone = lines_of(shown, "Deleted Images:")
        self.assertIn("untagged: one:latest", gone)
        self.assertIn("untagged: busybox:latest", gone)
        self.assertNotIn("untagged: used:latest", gone)
        self.assertEqual(self.names(), ["busybox:latest", "one:latest", "used:latest"])
        self.assertEqual(lines_of(self.prune("image", "-a", "-f").out, "Deleted Images:"), gone)
        self.assertEqual(self.names(), ["used:latest"])
        self.img_("run", "--rm", "used", "true")

    def test_image_prune_removes_what_lost_its_name(self):
        self.build("one", "FROM scratch\nCOPY a.txt /\n", "--no-cache")
        lost = self.img_.image("one")
        index = json.loads((self.img_.store / "index.json").read_text())
        for entry in index["manifests"]:
            if entry["digest"] == lost.digest:
                del entry["annotations"]
        (self.img_.store / "index.json").write_text(json.dumps(index))
        before = disk_usage(self.img_.store)
        shown = self.prune("image", "-f").out
        self.assertEqual(lines_of(shown, "Deleted Images:"), ["deleted: " + lost.id])
        self.assertNotIn(lost.id.split(":")[1], self.blobs())
        self.assertLess(disk_usage(self.img_.store), before)

    def test_filters_of_image_prune(self):
        self.build("kept", "FROM busybox\nLABEL keep=yes\n")
        self.build("plain", "FROM busybox\nLABEL keep=no\n")
        self.prune("image", "-a", "-f", "--filter", "label=keep=no")
        self.assertEqual(self.names(), ["busybox:latest", "kept:latest"])
        self.prune("image", "-a", "-f", "--filter", "until=1h")
        self.assertIn("kept:latest", self.names())
        self.prune("image", "-a", "-f", "--filter", "label!=keep=yes")
        self.assertEqual(self.names(), ["kept:latest"])
        refused = self.prune("image", "-f", "--filter", "colour=red", check=False)
        self.assertEqual((refused.code, "unknown filter" in refused.err), (125, True), str(refused))

    def test_a_prune_asks_first(self):
        for kind in ("image", "builder", "system", "volume", "container"):
            with self.subTest(kind):
                silent = self.prune(kind, check=False)
                self.assertEqual((silent.code, "--force" in silent.err), (1, True), str(silent))
                self.assertEqual(self.prune(kind, stdin="n\n", check=False).code, 1)
                self.assertIn("[y/N]", self.prune(kind, stdin="y\n").err)

    # --- the build cache ---

    def test_builder_prune_keeps_what_images_have_and_with_all_nothing(self):
        self.build("one", "FROM busybox\nRUN echo 1 > /1\n")
        self.build("two", "FROM busybox\nRUN echo 2 > /2\nRUN --mount=type=cache,target=/c echo x > /c/x\n")
        self.img_("rmi", "two")
        steps = self.img_.store / "cache/steps"
        self.assertGreaterEqual(len(list(steps.iterdir())), 3)
        self.assertGreaterEqual(len(lines_of(self.prune("builder", "-f").out, "Deleted build cache objects:")), 1)
        again = self.build("one", "FROM busybox\nRUN echo 1 > /1\n")
        self.assertNotIn("reason: ", again.err)
        gone = lines_of(self.prune("builder", "-f", "-a").out, "Deleted build cache objects:")
        self.assertTrue(any(line.startswith("mount ") for line in gone), gone)
        self.assertEqual(list(steps.iterdir()), [])
        self.img_("run", "--rm", "one", "cat", "/1")
        fresh = self.build("one", "FROM busybox\nRUN echo 1 > /1\n")
        self.assertIn("reason: ", fresh.err)

    def test_builder_prune_leaves_the_mount_of_a_running_step_and_what_the_build_has_found(self):
        dockerfile = ("FROM busybox\nRUN echo found > /found\n"
                      f"RUN --mount=type=cache,target=/c touch /c/started; while [ ! -e /c/go ]; do sleep 0.05; done\n")
        self.build(None, "FROM busybox\nRUN echo found > /found\n")
        (self.context / "Dockerfile").write_text(dockerfile)
        building = self.img_.start("build", "--network", "host", "-t", "late", str(self.context))
        self.addCleanup(building.kill)
        deadline = time.monotonic() + 20
        mounts = self.img_.store / "cache/mounts"
        while not list(mounts.glob("*/0/started")):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        self.prune("system", "-f", "-a", "--build-cache", "--volumes")
        self.assertEqual(len(list(mounts.glob("*/0/started"))), 1)
        next(mounts.glob("*/0")).joinpath("go").touch()
        out, err = building.communicate(timeout=30)
        self.assertEqual(building.returncode, 0, err.decode())
        self.assertEqual(self.img_("run", "--rm", "late", "cat", "/found").out, "found\n")

    def test_builder_prune_by_id_age_and_size(self):
        self.build(None, "FROM busybox\nRUN echo 1 > /1\nRUN echo 2 > /2\n")
        steps = self.img_.store / "cache/steps"
        keys = sorted(p.name for p in steps.iterdir())
        self.assertEqual(self.prune("builder", "-f", "--filter", "until=1h").out, "Total reclaimed space: 0B\n")
        self.prune("builder", "-f", "--keep-storage", "1g")
        self.assertEqual(sorted(p.name for p in steps.iterdir()), keys)
        for key in keys[1:]:
            os.utime(steps / key, (time.time() - 2 * DAY,) * 2)
        self.assertEqual(sorted(lines_of(self.prune("builder", "-f", "-a", "--dry-run", "--filter", f"id={keys[1]}").out,
                                         "Deleted build cache objects:")), [keys[1]])
        self.prune("builder", "-f", "-a", "--filter", "until=24h")
        self.assertEqual([p.name for p in steps.iterdir()], keys[:1])

    # --- everything ---

    def test_system_prune_lists_per_kind_and_frees_what_it_says(self):
        self.build("one", "FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=3 2>/dev/null\n")
        container = self.img_("create", "-v", "/data", "busybox", "true").out.strip()
        self.img_("rmi", "one")
        volume = self.img_("volume", "create").out.strip()
        before = disk_usage(self.img_.store)
        shown = self.prune("system", "-f", "--volumes").out
        self.assertEqual(lines_of(shown, "Deleted Containers:"), [container])
        self.assertEqual(lines_of(shown, "Deleted Volumes:"), [volume])
        self.assertGreaterEqual(len(lines_of(shown, "Deleted build cache objects:")), 1)
        total = shown.splitlines()[-1]
        self.assertRegex(total, r"^Total reclaimed space: [67]\.\d+MB$")  # a blob and its unpacked layer
        freed = before - disk_usage(self.img_.store)
        self.assertAlmostEqual(float(total.split()[-1][:-2]) * 1e6, freed, delta=0.2e6)
        self.assertEqual(self.names(), ["busybox:latest"])

    def test_a_prune_of_containers_meets_containers_that_come_and_go(self):
        start = [self.img_.path(), "--root", self.img_.store, "run", "--rm", "--net", "none", "busybox", "true"]
        for _ in range(8):
            runs = [subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(3)]
            while any(process.poll() is None for process in runs):
                self.prune("container", "-f")
            self.assertEqual([(process.returncode, process.communicate()[0]) for process in runs], [(0, b"")] * 3)

    def test_unfinished_downloads_stay_for_a_day_or_until_a_prune(self):
        partial = self.img_.store / "ingest/partial"
        partial.mkdir(parents=True)
        for name, age in (("old", 2 * DAY), ("young", 60)):
            (partial / name).write_text("part")
            os.utime(partial / name, (time.time() - age,) * 2)
        self.img_("images")
        self.assertEqual([p.name for p in partial.iterdir()], ["young"])
        self.prune("system", "-f")
        self.assertEqual(list(partial.iterdir()), [])

    def test_leftovers_of_a_killed_command_go(self):
        tar = self.dir / "image.tar"
        self.img_("save", "-o", str(tar), "busybox")
        killed = subprocess.run(self.img_.argv("load", "-i", str(tar)), capture_output=True,
                                env={**os.environ, "IMG_FAILPOINT": "lease.pinned"})
        self.assertEqual(killed.returncode, -9)
        self.assertEqual(len(list((self.img_.store / "leases").iterdir())), 1)
        self.prune("system", "-f")
        for folder in ("leases", "ingest", "trash"):
            self.assertEqual(list((self.img_.store / folder).iterdir()), [], folder)

    # --- next to living commands ---

    def test_rmi_frees_while_a_build_runs(self):
        self.build("victim", "FROM scratch\nCOPY a.txt /victim\n", "--no-cache")
        victim = self.img_.image("victim")
        self.prune("builder", "-f", "-a")
        (self.context / "Dockerfile").write_text("FROM busybox\nRUN --mount=type=cache,target=/c touch /c/on; "
                                                 "while [ ! -e /c/go ]; do sleep 0.05; done\n")
        building = self.img_.start("build", "--network", "host", "-t", "late", str(self.context))
        self.addCleanup(building.kill)
        mounts = self.img_.store / "cache/mounts"
        deadline = time.monotonic() + 20
        while not list(mounts.glob("*/0/on")):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        removed = self.img_("rmi", "victim")
        self.assertIn("Deleted: " + victim.id, removed.out)
        self.assertIn("Deleted: " + victim.document["rootfs"]["diff_ids"][0], removed.out)
        self.assertNotIn(victim.layers[0]["digest"].split(":")[1], self.blobs())
        # The base of the running build loses its name; the build does not lose the base.
        self.img_("rmi", "-f", "busybox")
        next(mounts.glob("*/0")).joinpath("go").touch()
        out, err = building.communicate(timeout=30)
        self.assertEqual(building.returncode, 0, err.decode())
        self.img_("run", "--rm", "late", "true")

    # --- df ---

    def rows(self):
        shown = self.img_store_df("--format", "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.SizeBytes}}\t{{.Reclaimable}}")
        return {row.split("\t")[0]: row.split("\t")[1:] for row in shown.splitlines()}

    def img_store_df(self, *args):
        return self.system("system", "df", *args).out

    def assert_adds_up(self):
        rows = self.rows()
        self.assertEqual(sum(int(row[2]) for row in rows.values()), disk_usage(self.img_.store), rows)
        return rows

    def test_the_rows_of_df_add_up_to_du(self):
        self.assert_adds_up()
        self.build("one", "FROM busybox\nRUN echo 1 > /1; ln /1 /2; dd if=/dev/zero of=/sparse bs=1 count=1 seek=1M 2>/dev/null\n"
                          "RUN --mount=type=cache,target=/c echo x > /c/x\n")
        self.build("two", "FROM one\nCOPY a.txt /\n")
        failed = self.build(None, "FROM one\nRUN echo half > /half; false\n", check=False)
        self.assertNotEqual(failed.code, 0)
        self.img_("rmi", "two")
        self.img_("run", "--name", "box", "-v", "/data", "-v", "named:/n", "one", "sh", "-c", "echo x > /data/x; echo y > /y")
        self.img_("volume", "create", "lone")
        (self.img_.store / "ingest/partial").mkdir()
        (self.img_.store / "ingest/partial/x").write_bytes(b"x" * 10000)
        (self.img_.store / "blobs/sha256" / hashlib.sha256(b"garbage").hexdigest()).write_bytes(b"garbage")
        rows = self.assert_adds_up()
        self.assertEqual([rows["Images"][:2], rows["Containers"][:2], rows["Local Volumes"][:2], rows["Cache Mounts"][:2],
                          rows["Failed Steps"][:2]], [["2", "1"], ["1", "0"], ["3", "2"], ["1", "0"], ["1", "0"]], rows)
        self.assertIn("100%", rows["Failed Steps"][3])
        self.assertGreater(int(rows["Staging"][2]), 14000)

    def test_df_verbose_tells_what_images_share(self):
        self.build("one", "FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=2 2>/dev/null\n")
        self.img_("create", "--name", "box", "one", "true")
        shown = self.img_store_df("-v")
        row = next(line.split() for line in shown.splitlines() if line.startswith("one "))
        self.assertRegex(" ".join(row[-4:]), r"^\S+MB \S+MB [45]\.\d+MB 1$")  # blob and unpacked layer
        self.assertIn("box", shown)
        self.assertIn("RUN dd if=/dev/urandom", shown)

    # --- why ---

    def why(self, *objects):
        return self.system("why", *objects).out

    def test_why_names_every_chain(self):
        self.build("one", "FROM busybox\nRUN echo 1 > /1\n")
        image = self.img_.image("one")
        layer = image.layers[-1]["digest"]
        shown = self.why(layer)
        self.assertIn(f"image one:latest → document {image.digest[7:19]} → layer {layer[7:19]}", shown)
        self.assertIn("cached step", shown)
        self.assertIn("RUN echo 1 > /1", shown)
        self.assertIn("stays as long as", shown)
        self.img_("rmi", "one")
        self.assertIn("goes with 'img builder prune'", self.why(layer))
        garbage = hashlib.sha256(b"garbage").hexdigest()
        (self.img_.store / "blobs/sha256" / garbage).write_bytes(b"garbage")
        self.assertIn("nothing needs it", self.why(garbage[:12]))
        self.assertIn("image busybox:latest", self.why("busybox"))

    def test_why_of_volumes_and_of_nothing(self):
        self.img_("create", "--name", "box", "-v", "named:/data", "busybox", "true")
        self.assertIn("container box → /data", self.why("named"))
        self.img_("volume", "create", "lone")
        self.assertIn("'img volume prune -a'", self.why("lone"))
        missing = self.system("why", "nonsense", check=False)
        self.assertEqual((missing.code, "nothing in the store" in missing.err), (1, True), str(missing))


class ManyImages(harness.TestCase):
    def test_half_of_a_thousand_images_go_quickly(self):
        store = many_images.make(self.dir / "store", 1000, nameless=0.5)
        program = self.img(store, busybox=False)
        began = time.monotonic()
        shown = run([program.path(), "--root", store, "image", "prune", "-f"]).out
        taken = time.monotonic() - began
        self.assertEqual(len(lines_of(shown, "Deleted Images:")), 500)
        self.assertEqual(len(list((store / "blobs/sha256").iterdir())), 500 * 5)
        self.assertLess(taken, 10, "2 s on an idle machine with an optimised program")
        self.assertEqual(len(program("images", "-q").out.split()), 500)
