"""The folder of all measurements, and the fixtures that every row may ask for: trees, contexts, base images."""
import functools
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import time

import images
import process
from lib import harness

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parent / "build/cache"
FILES, BYTES = 13_700, 200_000_000
MANY_FILES = 200_000
STEPS, MANY_STEPS = 20, 100
STAGES, STAGE_SECONDS = 4, 2
RANDOM_BYTES = 64 << 20
LIBRARIES = {"minirun": ["-static", "-lcrypto", "-lpthread"], "tarhash": ["-static", "-lcrypto", "-lpthread"],
             "walk": ["-static", "-lpthread"], "gentree": ["-lm"], "true": ["-static", "-nostdlib"], "meter": ["-static"],
             "transfer": ["-l:libdeflate.a", "-l:libzstd.a", "-l:libcrypto.a", "-lisal", "-lpthread"]}  # there is no static libisal
# The RUN commands, which nobody can leave out: the limit programs run them too.
COMMANDS = {
    "write_big": "mkdir /d; for i in $(seq 16); do cat /random > /d/f$i; done",
    "write_many": "mkdir /s; cd /s; for d in $(seq 100); do mkdir d$d; for f in $(seq 1000); do echo $d.$f > d$d/f$f; done; done",
    "install": "dpkg --force-depends -i /debs/*.deb",
    "delete": "rm -rf /many/drop; mkdir -p /many/drop/d1; for f in $(seq 1000); do echo $f > /many/drop/d1/f$f; done; "
              "find /many/keep -name 'f*5' -exec rm {} +",
}


def has_journal(path):
    """False for ext4 without a journal (some virtual machines), which looks at every recently deleted inode on each
    create: after one large delete everything is up to 25 times slower, and a benchmark deletes a lot."""
    found = subprocess.run(["findmnt", "-n", "-o", "FSTYPE,SOURCE", "-T", path], capture_output=True, text=True).stdout.split()
    if len(found) < 2 or found[0] != "ext4":
        return True
    device = os.path.basename(os.path.realpath(found[1]))
    journals = pathlib.Path("/proc/fs/jbd2")
    return journals.is_dir() and any(j.name.startswith(device + "-") for j in journals.iterdir())


class Disk:
    """The folder of all measurements: on an ext4 with a journal, in a loop device where there is none otherwise."""

    def __init__(self):
        tempfile.tempdir = "/var/tmp"  # on the disk: /tmp may be memory
        self.image = None
        where = harness.scratch()
        if has_journal(where):
            return
        self.image = where + ".ext4"
        with open(self.image, "wb") as file:
            file.truncate(48 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard", self.image], check=True)
        # Else every byte is cached twice, and a flush writes all of them to the file at once: no disk does that.
        device = process.capture(["losetup", "--direct-io=on", "--show", "--find", self.image])
        try:
            subprocess.run(["mount", device, where], check=True)
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)  # it goes with its last user: the mount

    def remove(self):
        """Rivals leave mounts behind (podman and buildah of their storage): those first, innermost first."""
        points = [line.split()[4] for line in open("/proc/self/mountinfo")]
        for point in reversed([point for point in points if point.startswith(harness.scratch() + "/")]):
            subprocess.run(["umount", "--lazy", point], check=False)
        if self.image:
            subprocess.run(["umount", harness.scratch()], check=False)
            os.unlink(self.image)
        shutil.rmtree(harness.scratch(), ignore_errors=True)


def debian_base():
    """Debian without python, made once from Debian's packages."""
    path = CACHE / "debian-base.tar"
    CACHE.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        harness.require("mmdebstrap")
        harness.run(["mmdebstrap", "--quiet", "--format=tar", "--variant=minbase", "bookworm", f"{path}.new"], timeout=600)
        os.rename(f"{path}.new", path)
    return path


def debian_packages():
    """python3 and what it needs beyond that base, downloaded once by apt."""
    folder = CACHE / "debs"
    if not folder.exists():
        new = CACHE / "debs.new"
        shutil.rmtree(new, ignore_errors=True)
        (new / "partial").mkdir(parents=True)
        with tarfile.open(debian_base()) as tar:
            (new / "status").write_bytes(tar.extractfile("./var/lib/dpkg/status").read())
        options = {"Dir::State::status": new / "status", "Dir::Cache::archives": new, "Debug::NoLocking": 1, "APT::Sandbox::User": "root"}
        harness.run(["apt-get", "-y", "-q", "--download-only", "--no-install-recommends",
                     *(word for key, value in options.items() for word in ("-o", f"{key}={value}")), "install", "python3"], timeout=600)
        for name in ("status", "lock"):
            (new / name).unlink(missing_ok=True)
        shutil.rmtree(new / "partial")
        new.rename(folder)
    return folder


class Work:
    """The fixtures, made when a row first asks for them."""

    def __init__(self):
        self.dir = pathlib.Path(harness.scratch())
        self.bin = self.dir / "bin"
        self.bin.mkdir()
        self.count, self.disposable = 0, []
        for name, flags in LIBRARIES.items():
            subprocess.run(["gcc", "-O2", "-w", "-o", self.bin / name, HERE / f"limits/{name}.c", *flags], check=True,
                           stderr=subprocess.DEVNULL)
        self.meter = process.Meter(self.bin / "meter", self.dir)
        self.busybox = harness.busybox_tar()
        self.images = images.Images(self)

    def path(self, name):
        """One that was never used: removing an old one would be measured with what follows."""
        self.count += 1
        return self.dir / f"{name}-{self.count}"

    def fresh(self, name):
        """The same for what clean() removes after the measurement."""
        self.disposable.append(self.path(name))
        return self.disposable[-1]

    def clean(self):
        for path in self.disposable:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        self.disposable.clear()

    # --- base images: a folder for the limit programs and, but for Debian, a tar of it for the tools
    @functools.lru_cache(None)
    def rootfs(self, name):
        folder = self.dir / f"rootfs-{name}"
        folder.mkdir()
        with tarfile.open(debian_base() if name == "debian" else self.busybox) as tar:
            tar.extractall(folder)
        for mount in ("proc", "dev", "sys"):
            (folder / mount).mkdir(exist_ok=True)
        make = {"random": self.random_file, "many": self.many_small, "filled": self.filled}.get(name)
        if make:
            make(folder)
        return folder

    @functools.lru_cache(None)
    def base(self, name):
        """The tar of a base image: busybox; random: with RANDOM_BYTES that cannot be compressed; many: with 20,000 files;
        filled: with /tree of 10,000 files; debian."""
        if name in ("busybox", "debian"):
            return pathlib.Path(self.busybox) if name == "busybox" else debian_base()
        tar = self.dir / f"{name}.tar"
        subprocess.run(["tar", "-C", self.rootfs(name), "--sort=name", "-cf", tar, "."], check=True)
        return tar

    def random_file(self, folder):
        subprocess.run([self.bin / "gentree", folder / "g", "1", str(RANDOM_BYTES), "99", "rand"], check=True)
        next(path for path in (folder / "g").rglob("*") if path.is_file()).rename(folder / "random")
        shutil.rmtree(folder / "g")

    def many_small(self, folder):
        for top in ("keep", "drop"):
            for number in range(100):
                where = folder / "many" / top / f"d{number}"
                where.mkdir(parents=True)
                for file in range(100):
                    (where / f"f{file}").write_text(f"{top} {number} {file}\n" * 8)

    def filled(self, folder):
        subprocess.run([self.bin / "gentree", folder / "tree", "10000", str(BYTES), "5", "text"], check=True)

    # --- contexts
    def context(self, name, dockerfile):
        folder = self.dir / name
        folder.mkdir()
        (folder / "Dockerfile").write_text(dockerfile)
        return folder

    def tree(self, name, files, size):
        folder = self.context(name, "FROM busybox\nCOPY tree /tree\n")
        subprocess.run([self.bin / "gentree", folder / "tree", str(files), str(size), "1", "mix"], check=True)
        return folder

    def run_steps(self, name, steps):
        return self.context(name, "FROM busybox\n" + "".join(f"RUN echo {i} > /f{i}\n" for i in range(steps)))

    @functools.cached_property
    def steps(self):
        return self.run_steps("steps", STEPS)

    @functools.cached_property
    def many_steps(self):
        return self.run_steps("many_steps", MANY_STEPS)

    @functools.cached_property
    def copy(self):
        return self.tree("copy", FILES, BYTES)

    @functools.cached_property
    def many_files(self):
        return self.tree("many_files", MANY_FILES, 4096 * MANY_FILES)

    @functools.cached_property
    def touched(self):
        """The tree of `copy` once more; before every measurement all its files get new times."""
        return self.tree("touched", FILES, BYTES)

    @functools.cached_property
    def edited(self):
        """And once more: before every measurement one file gets new content."""
        return self.tree("edited", FILES, BYTES)

    @functools.cached_property
    def write_big(self):
        return self.context("write_big", f"FROM random\nRUN {COMMANDS['write_big']}\n")

    @functools.cached_property
    def write_many(self):
        return self.context("write_many", f"FROM busybox\nRUN {COMMANDS['write_many']}\n")

    @functools.cached_property
    def delete(self):
        return self.context("delete", f"FROM many\nRUN {COMMANDS['delete']}\n")

    @functools.cached_property
    def install(self):
        """Debian's python3 from packages in the context, and an application of 20 small files."""
        folder = self.context("install", f"FROM debian\nCOPY debs /debs\nRUN {COMMANDS['install']}\nCOPY app /app\n"
                                         'CMD ["python3", "/app/main.py"]\n')
        shutil.copytree(debian_packages(), folder / "debs")
        (folder / "app").mkdir()
        for number in range(20):
            (folder / f"app/module{number}.py").write_text(f"x = {number}\n" * 50)
        return folder

    @functools.cached_property
    def stages(self):
        """STAGES stages that compute for STAGE_SECONDS each, and one that collects their files."""
        loop = "BEGIN { for (i = 0; i < %d; i++) x += i; print x }"
        count, seconds = 1_000_000, 0
        while seconds < 0.5:
            count *= 2
            began = time.perf_counter()
            subprocess.run([harness.BUSYBOX, "awk", loop % count], check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - began
        count = int(count * STAGE_SECONDS / seconds)
        text = "".join(f"FROM busybox AS s{i}\nRUN awk '{loop % (count + i)}' > /s{i}\n" for i in range(STAGES))
        return self.context("stages", text + "FROM scratch\n" + "".join(f"COPY --from=s{i} /s{i} /\n" for i in range(STAGES)))
