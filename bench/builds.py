"""Rows about builds. `Builds` belongs to every builder that has cold(what), unchanged(what); `what` is a context of work.py."""
import os
import subprocess
import time

from lib import harness
from process import quietly
from rows import Row
from work import BYTES, COMMANDS, FILES, MANY_FILES, MANY_STEPS, STAGES, STAGE_SECONDS, STEPS

BASES = {"write_big": "random", "delete": "many", "install": "debian"}  # of a context; the others stand on busybox
COPY = f"COPY of {FILES:,} files / {BYTES // 1_000_000} MB"

ROWS = {
    "steps_cold": Row(f"W1 {STEPS} RUN steps, cold", factor=2, writes=True, quick=True),
    "steps_unchanged": Row("W1 the same, unchanged", goal=5, quick=True),
    "copy_cold": Row(f"W2 {COPY}, cold", factor=1.4, rounds=5, writes=True, quick=True),
    "copy_cold_directory": Row("W2 the same with the directory view", factor=1.3, against="limit files", rounds=5, writes=True),
    "copy_unchanged": Row("W2 the same, unchanged", factor=1.5, quick=True),
    "copy_touched": Row(f"COPY of {FILES:,} files with new times, same content", goal=400, rounds=5),
    "copy_edited": Row(f"COPY of {FILES:,} files, one edited", goal=2000, rounds=5, writes=True),
    "many_steps_unchanged": Row(f"{MANY_STEPS} RUN steps, unchanged", goal=12),
    "many_files_unchanged": Row(f"COPY of {MANY_FILES:,} files, unchanged", goal=400),
    "write_big": Row("W3 RUN writes 1 GiB", factor=1.2, rounds=3, writes=True),
    "write_many": Row("W3b RUN writes 100,000 files", factor=1.2, rounds=2, writes=True),
    "install": Row("W4 Debian and dpkg -i python3", factor=1.15, rounds=3, writes=True),
    "install_app_changed": Row("W4 application file changed", factor=2, rounds=7, writes=True),
    "stages": Row(f"W5 {STAGES} stages of {STAGE_SECONDS} s of computing", factor=1.05, rounds=3),
    "stages_one_job": Row("the same with --jobs 1", goal=STAGES * STAGE_SECONDS * 1000, rounds=1),
    "delete": Row("W6 11,000 deletions in a layer", factor=1.2, rounds=5, writes=True),
}


class Limit:
    """The least work known to give the same result, without files in a folder for a layer that only adds (one pass: read,
    hash the tar on a second thread, write it)."""

    def shell(self, script):
        return ["/bin/sh", "-ec", script]

    def tar(self, folder):
        return f"{self.work.bin}/tarhash -t 2 -b {self.work.fresh('limit-blob')} {folder}"

    def walk(self, folder):
        return [self.work.bin / "walk", "-q", "-t", "2", folder]

    def steps_cold(self):
        return [self.work.bin / "minirun", "-C", str(STEPS), "-b", self.work.rootfs("busybox"), "-d", self.work.fresh("limit-chain")]

    def steps_unchanged(self):
        return self.walk(self.work.steps)

    def many_steps_unchanged(self):
        return self.walk(self.work.many_steps)

    def copy_cold(self):
        return self.tar(self.work.copy).split()

    def copy_cold_directory(self):
        return self.copy_cold()

    def copy_unchanged(self):
        return self.walk(self.work.copy)

    def many_files_unchanged(self):
        return self.walk(self.work.many_files)

    def copy_touched(self):
        """The contents have to be looked at."""
        return [self.work.bin / "tarhash", "-t", "2", self.work.touched]

    def copy_edited(self):
        return self.tar(self.work.edited).split()

    def run_and_seal(self, command, lowers, *options):
        """The command in a volatile union, then its changes as a tar and their hash."""
        upper, work = self.work.fresh("limit-u"), self.work.fresh("limit-w")
        words = " ".join(f"-l {lower}" for lower in lowers)
        run = f"{self.work.bin}/minirun -q -k -V {' '.join(options)} {words} -u {upper} -w {work}"
        return f"{run} -- /bin/sh -ec \"$COMMAND\"; {self.work.bin}/tarhash -t 2 {upper}".replace('"$COMMAND"', quoted(command))

    def write_big(self):
        return self.shell(self.run_and_seal(COMMANDS["write_big"], [self.work.rootfs("random")]))

    def write_many(self):
        return self.shell(self.run_and_seal(COMMANDS["write_many"], [self.work.rootfs("busybox")]))

    def delete(self):
        return self.shell(self.run_and_seal(COMMANDS["delete"], [self.work.rootfs("many")]))

    def install(self):
        lower, application = self.work.fresh("limit-debs"), self.work.fresh("limit-app")
        lower.mkdir()
        tarhash, context = self.work.bin / "tarhash", self.work.install
        run = self.run_and_seal(COMMANDS["install"], [lower, self.work.rootfs("debian")], "-i")
        return self.shell(f"{tarhash} -t 2 -c {lower}/debs {context}/debs; {run}; {tarhash} -c {application} {context}/app")

    def install_app_changed(self):
        return self.shell(f"{self.work.bin}/walk -q {self.work.install}; {self.work.bin}/tarhash -c {self.work.fresh('limit-app')} "
                          f"{self.work.install}/app")

    def stages(self):
        """The commands of the stages alone, as many at a time as there are CPUs."""
        commands = "".join(f"{line.split(' > ')[0][4:]}\0" for line in (self.work.stages / "Dockerfile").read_text().splitlines()
                           if line.startswith("RUN "))
        (self.work.stages / "commands").write_text(commands)
        return self.shell(f"xargs -0 -P {os.cpu_count()} -n 1 {harness.BUSYBOX} sh -c < {self.work.stages}/commands")


class LimitFiles:
    """The same where the layer ends as files in a folder, which is what every rival makes."""

    def copy_cold(self):
        return [self.work.bin / "tarhash", "-t", "2", "-c", self.work.fresh("limit-copy"), self.work.copy]

    def copy_cold_directory(self):
        return self.copy_cold()

    def copy_edited(self):
        return [self.work.bin / "tarhash", "-t", "2", "-r", self.work.fresh("limit-links"), self.work.edited]


def quoted(command):
    return "'" + command.replace("'", "'\\''") + "'"


class Builds:
    def steps_cold(self):
        return self.cold("steps")

    def steps_unchanged(self):
        return self.unchanged("steps")

    def many_steps_unchanged(self):
        return self.unchanged("many_steps")

    def copy_cold(self):
        return self.cold("copy")

    def copy_unchanged(self):
        return self.unchanged("copy")

    def many_files_unchanged(self):
        return self.unchanged("many_files")

    def copy_touched(self):
        command = self.unchanged("touched")
        subprocess.run(["find", self.work.touched / "tree", "-exec", "touch", "{}", "+"], check=True)
        time.sleep(0.1)
        return command

    def copy_edited(self):
        command = self.unchanged("edited")
        path = sorted(p for p in (self.work.edited / "tree").rglob("*") if p.is_file())[0]
        path.write_text(f"edited {time.time()}\n")
        return command

    def write_big(self):
        return self.cold("write_big")

    def write_many(self):
        return self.cold("write_many")

    def delete(self):
        return self.cold("delete")

    def change_application(self):
        (self.work.install / "app/main.py").write_text(f"print({time.time_ns()})\n")

    def install(self):
        self.change_application()
        return self.cold("install")

    def install_app_changed(self):
        self.change_application()
        command = self.unchanged("install")
        self.change_application()
        return command

    def stages(self):
        return self.cold("stages")


class Ours(Builds):
    def build(self, store, what, *options):
        return self.img(store, "imgbuild", "--network", "host", *options, "-t", what, getattr(self.work, what))

    def base_of(self, what):
        return BASES.get(what, "busybox")

    def cold(self, what, *options):
        return self.build(self.store("cold", self.base_of(what), kept=False), what, *options)

    def unchanged(self, what):
        if what not in self.stores:
            self.stores[what] = self.store(what, self.base_of(what))
            # Twice: a file younger than the first record of it is read once more (racily clean).
            quietly(self.build(self.stores[what], what))
            time.sleep(1.1)
            quietly(self.build(self.stores[what], what))
        return self.build(self.stores[what], what)

    def copy_cold_directory(self):
        return self.in_directories(lambda: self.cold("copy"))

    def stages_one_job(self):
        return self.cold("stages", "--jobs", "1")


class Peer(Builds):
    """docker and buildah: build(what) gives the command, forget_build(what) leaves neither image nor cache but the base."""

    def cold(self, what):
        self.has(BASES.get(what, "busybox"))
        self.forget_build(what)
        self.warm.discard(what)
        return self.build(what)

    def unchanged(self, what):
        self.has(BASES.get(what, "busybox"))
        if what not in self.warm:
            quietly(self.build(what))
            self.warm.add(what)
        return self.build(what)
