"""Rows of growth: each at two sizes, of which report.growth says how time and memory of the larger compare to the smaller.
They are measured with --scale, or when they are named: ten GiB in a layer take minutes and 25 GiB of the disk."""
from process import Together
from rows import Row

# family: (title with a place for the size, the two sizes)
FAMILIES = {
    "files": ("COPY of {:,} files, cold", (50_000, 200_000)),
    "files_unchanged": ("COPY of {:,} files, unchanged", (50_000, 200_000)),
    "steps": ("{} RUN steps, cold", (30, 120)),
    "layers": ("run on {} layers", (30, 120)),
    "list": ("list {:,} images", (250, 1_000)),
    "prune": ("prune {:,} images", (250, 1_000)),
    "builds": ("{} builds at once in one store", (16, 64)),
    "bytes": ("RUN writes a layer of {:,} MiB", (2_560, 10_240)),
}
ROWS = {f"scale_{family}_{size}": Row(title.format(size), rounds=1 if family == "bytes" else 3, family=family, size=size)
        for family, (title, sizes) in FAMILIES.items() for size in sizes}


def write_command(mebibytes):
    """Half of it cannot be compressed, a quarter are zeros, a quarter is a hole: what databases and disk images look like."""
    copies = mebibytes // 128  # /random has 64 MiB
    return (f"mkdir /d; for i in $(seq {copies}); do cat /random > /d/f$i; done; "
            f"dd if=/dev/zero of=/d/zeros bs=1M count={mebibytes // 4} 2>/dev/null; truncate -s {mebibytes // 4}M /d/hole")


def context_of(work, family, size):
    """The name of that attribute of `work`, made now if it is not there."""
    name = f"scale_{family.removesuffix('_unchanged')}_{size}"
    if not hasattr(work, name):
        if family.startswith("files"):
            folder = work.tree(name, size, 1_500 * size)
        elif family == "steps":
            folder = work.run_steps(name, size)
        else:
            folder = work.context(name, f"FROM random\nRUN {write_command(size)}\n")
        setattr(work, name, folder)
    return name


def small_context(work, number):
    """One of the builds that run at once: none has anything in common with another but the base."""
    folder = work.dir / f"scale-build-{number}"
    if not folder.exists():
        work.context(folder.name, f"FROM busybox\nCOPY data /data\nRUN echo {number} > /number && cat /data >> /number\n")
        (folder / "data").write_bytes((f"{number}:".encode() * 65536)[:262144])
    return folder


class Limit:
    def scale_files(self, size):
        return self.tar(getattr(self.work, context_of(self.work, "files", size))).split()

    def scale_files_unchanged(self, size):
        return self.walk(getattr(self.work, context_of(self.work, "files", size)))

    def scale_steps(self, size):
        return [self.work.bin / "minirun", "-C", str(size), "-b", self.work.rootfs("busybox"), "-d", self.work.fresh("limit-chain")]

    def scale_layers(self, size):
        return self.run_many_layers(size)

    def scale_list(self, size):
        return self.list_images(size)

    def scale_prune(self, size):
        return self.prune_images(size)

    def scale_builds(self, size):
        """A container, its changes sealed, and the copied file hashed, for each of them."""
        for number in range(size):
            small_context(self.work, number)
        minirun, tarhash = self.work.bin / "minirun", self.work.bin / "tarhash"
        return Together(self.shell(f"{tarhash} {self.work.dir}/scale-build-{number}; "
                                   f"exec {minirun} -C 1 -b {self.work.rootfs('busybox')} -d {self.work.fresh('limit-chain')}")
                        for number in range(size))

    def scale_bytes(self, size):
        """Its devices are the container's, so with all that belongs to one (-i)."""
        return self.shell(self.run_and_seal(write_command(size), [self.work.rootfs("random")], "-i"))


class Ours:
    def scale_files(self, size):
        return self.cold(context_of(self.work, "files", size))

    def scale_files_unchanged(self, size):
        return self.unchanged(context_of(self.work, "files", size))

    def scale_steps(self, size):
        return self.cold(context_of(self.work, "steps", size))

    def scale_layers(self, size):
        store = self.loaded(f"layers-{size}", self.work.images.archive_of_layers(size))
        return self.img(store, "imgrun", "--rm", "--net", "none", "layers", "true")

    def scale_list(self, size):
        return self.list_images(size)

    def scale_prune(self, size):
        return self.prune_images(size)

    def scale_builds(self, size):
        store = self.store("builds", kept=False)
        return Together(self.img(store, "imgbuild", "--network", "host", "-t", f"build{number}", small_context(self.work, number))
                        for number in range(size))

    def scale_bytes(self, size):
        return self.build(self.store("bytes", "random", kept=False), context_of(self.work, "bytes", size))


def of_size(family, size):
    return lambda self: getattr(self, f"scale_{family}")(size)


for mixin in (Limit, Ours):
    for name, row in ROWS.items():
        setattr(mixin, name, of_size(row.family, row.size))
