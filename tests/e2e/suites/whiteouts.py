"""What was changed, deleted and replaced arrives unchanged after build -> tar -> another store -> run.

Three views of every image must agree: a container in the store that built it (its layers are the directories the
steps wrote), a container in a fresh store that only got the saved archive (its layers were unpacked from tars), and
what umoci makes of the archive's layers.
"""
import os
import shutil

from lib import harness, peers, tree
from lib.harness import TESTDATA, Running, run

# {case of testdata/build: (paths that exist, paths that do not)}
CASES = {
    "whiteout-file": (["/d/one"], ["/d/link", "/d/two", "/bin/vi", "/etc/group"]),
    "whiteout-directory": (["/d/two"], ["/d/sub", "/home", "/e"]),
    "whiteout-opaque": (["/d/sub/two", "/home/only"], ["/d/one", "/d/new", "/home/dev"]),
    "whiteout-change-type": (["/dir/inner/y", "/link", "/dir2", "/file"], ["/dir/inner/x"]),
    "rename-across-layers": (["/elsewhere/two", "/new/uno", "/etc/passwd", "/etc/passwd.old"], ["/old", "/new/one", "/new/sub"]),
    "metadata-only-changes": (["/file", "/dir/y"], []),
    "hard-links": (["/b", "/d/c", "/e", "/s", "/t"], ["/a"]),
    "special-files": (["/pipe", "/becomes-a-file", "/devices/null", "/devices/kept", "/devices/loop"], []),
    "sparse-files": (["/holes", "/seek", "/only-a-hole"], []),
    "long-names": (["/link"], []),
    "odd-names": (["/odd/a b", "/odd/tab\ttab", "/odd/.wh"], []),
    "xattrs": (["/ctx/file", "/ctx/capable"], []),
    "copy-modes": (["/files/file-4755", "/files/file-0000"], []),
    "copy-hard-links": (["/all/one", "/all/sub/four"], []),
    "user-run": (["/home/dev/mine"], []),
    "empty-layers": ([], ["/tmp/x"]),
}


class Whiteouts(harness.TestCase):
    def build_case(self, name):
        img = self.img()
        context = self.dir / "context"
        shutil.copytree(TESTDATA / "build" / name, context, symlinks=True)
        setup = context / "setup.sh"
        if setup.exists():
            script = setup.read_text()
            setup.unlink()
            run(["sh", "-eu", "-c", script], cwd=context)
        harness.set_times(context)
        img.build(context, "case")
        return img

    def move(self, img, name="case", *options):
        """To a store that has never seen the image."""
        archive = self.dir / "archive.tar"
        img("save", *options, "-o", archive, name)
        other = self.img(self.dir / "other", busybox=False)
        other("load", "-i", archive)
        return other

    def tree_of(self, img, name="case"):
        with Running(img, name, "--entrypoint", "") as container:
            return tree.scan(container.root, one_filesystem=True)

    def agree(self, one, other, one_name, other_name, **kwargs):
        lines = tree.differences(one, other, one_name, other_name, ignore=harness.RUNTIME_PATHS, **kwargs)
        self.assertFalse(lines, "\n" + "\n".join(lines[:40]))

    def round_trip(self, name):
        exists, absent = CASES[name]
        img = self.build_case(name)
        built = self.tree_of(img)
        for path in exists:
            self.assertIn(os.fsencode(path), built)
        for path in absent:
            self.assertNotIn(os.fsencode(path), built)
        other = self.move(img)
        self.assertEqual(img.image("case").id, other.image("case").id)
        moved = self.tree_of(other)
        # Time of every file too: a layer directory that was renamed into place and one that was unpacked are the same.
        # Only the root's own time is the container's, whose upper directory lies over it.
        self.agree(moved, built, "loaded", "built", fields=tree.FIELDS + ("mtime",), skip={"/": ("mtime",)})
        unpacked = tree.scan(peers.unpack(other.store, "case", self.dir / "umoci"))
        skip = {"/*": ("same_file",)} if name == "hard-links" else None
        self.agree(moved, unpacked, "loaded", "umoci", skip=skip)
        return img, other, moved

    def test_sparse_files_stay_sparse(self):
        _, other, moved = self.round_trip("sparse-files")
        self.assertEqual(moved[b"/holes"]["size"], 64 * 1024 * 1024 + 3)
        self.assertLess(moved[b"/holes"]["data"], 1024 * 1024, "the hole was filled on the way")
        store_size = int(run(["du", "-s", "-B1", other.store]).out.split()[0])
        self.assertLess(store_size, 60 * 1024 * 1024, "the store holds the hole's zeros")

    def test_file_capabilities_and_xattrs_arrive(self):
        _, _, moved = self.round_trip("xattrs")
        self.assertEqual(bytes.fromhex(moved[b"/ctx/file"]["xattrs"]["user.note"]), b"hello")
        self.assertIn("security.capability", moved[b"/ctx/capable"]["xattrs"])
        self.assertNotIn("security.capability", moved[b"/ctx/copy"]["xattrs"])

    def test_hard_links_of_one_layer_share_one_file(self):
        _, _, moved = self.round_trip("copy-hard-links")
        self.assertEqual(moved[b"/all/two"]["same_file"], (b"/all/sub/four", b"/all/two"))
        # A later layer linked this one again: copied up, it left the others.
        self.assertEqual(moved[b"/all/one"]["same_file"], (b"/all/one", b"/all/three"))

    def test_setuid_and_owner_survive(self):
        _, _, moved = self.round_trip("copy-modes")
        self.assertEqual(moved[b"/files/file-4755"]["mode"], "4755")
        self.assertEqual(moved[b"/files/file-6711"]["mode"], "6711")
        self.assertEqual((moved[b"/files/file-0644"]["uid"], moved[b"/files/file-0644"]["gid"]), (0, 0))

    def test_paths_over_255_bytes(self):
        _, _, moved = self.round_trip("long-names")
        self.assertTrue(any(len(path) > 500 for path in moved))

    def test_names_that_are_no_text(self):
        _, _, moved = self.round_trip("odd-names")
        self.assertIn(b"/odd/bad\xffbyte", moved)
        self.assertIn(b"/odd/new\nline", moved)

    def test_the_layer_tars_hold_oci_whiteouts(self):
        img = self.build_case("whiteout-directory")
        image = img.image("case")
        base = 1
        deleted = image.layer_entries(base + 1)
        self.assertIn("d/.wh.sub", deleted)
        self.assertIn(".wh.home", deleted)
        self.assertFalse([name for name in deleted if name.startswith("home/")])

    def test_a_recreated_directory_is_opaque_in_the_tar(self):
        img = self.build_case("whiteout-opaque")
        entries = img.image("case").layer_entries(2)
        hidden = "d/.wh..wh..opq" in entries or {"d/.wh.one", "d/.wh.sub"} <= set(entries)
        self.assertTrue(hidden, entries)
        self.assertIn("d/new", entries)

    def test_a_commit_of_deletions_behaves_like_a_build_of_them(self):
        img = self.img()
        img("run", "--name", "c", "--net", "none", "busybox", "sh", "-c",
            "rm -r /home && mkdir /home && echo x > /home/new && rm /etc/group && mv /usr /usr2 && mkfifo /p")
        img("commit", "c", "committed")
        moved = self.tree_of(self.move(img, "committed"), "committed")
        self.assertNotIn(b"/home/dev", moved)
        self.assertNotIn(b"/etc/group", moved)
        self.assertNotIn(b"/usr", moved)
        for path in (b"/home/new", b"/usr2/bin", b"/p"):
            self.assertIn(path, moved)
        self.agree(moved, self.tree_of(img, "committed"), "loaded", "committed")

    def test_the_same_layer_twice_is_no_loop(self):
        # overlayfs refuses one folder as two lowers (ELOOP), and steps that change nothing are equal layers.
        img = self.img()
        dockerfile = "FROM busybox\nRUN true\nRUN true\nRUN echo x > /x\nRUN rm /x\nRUN echo x > /x\n"
        img.build(self.dir / "twice", "twice", dockerfile=dockerfile)
        self.assertEqual(img("run", "--rm", "--net", "none", "twice", "cat", "/x").out, "x\n")
        img.build(self.dir / "twice", "twice", dockerfile=dockerfile + "RUN cat /x > /y\n")
        img.build(self.dir / "on-top", "on-top", dockerfile="FROM twice\nRUN cat /x /y > /z\nCOPY --from=twice /x /w\n")
        self.assertEqual(img("run", "--rm", "--net", "none", "on-top", "cat", "/z", "/w").out, "x\nx\nx\n")

    def test_all_archive_forms_carry_the_same_image(self):
        img = self.build_case("whiteout-opaque")
        for form in ("docker-archive", "oci-archive"):
            with self.subTest(form):
                shutil.rmtree(self.dir / "other", ignore_errors=True)
                other = self.move(img, "case", "--format", form)
                self.assertEqual(img.image("case").id, other.image("case").id)


for _name in CASES:
    if _name not in ("sparse-files", "xattrs", "copy-hard-links", "copy-modes", "long-names", "odd-names"):
        setattr(Whiteouts, "test_round_trip_of_" + _name.replace("-", "_"), lambda self, name=_name: self.round_trip(name))
