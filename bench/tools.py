"""The tools that are measured: what they need once, and their mixins. A tool has one method per row that it can do, of the
row's name, which prepares (untimed) and returns the command. `partial`: it does only a part of a row's work."""
import json
import os
import pathlib
import shutil
import subprocess

import builds
import containers
import copiers
import images
import scale
from lib import harness, peers
from process import Command, quietly


class Limit(containers.Limit, builds.Limit, images.Limit, images.LimitAlone, scale.Limit):
    name = "limit"

    def __init__(self, work):
        self.work = work


class LimitFiles(builds.LimitFiles, images.LimitFiles):
    name = "limit files"

    def __init__(self, work):
        self.work = work


class Ours(containers.Ours, builds.Ours, images.Ours, scale.Ours):
    def __init__(self, work, bin_dir, durability=None):
        self.name = f"img {durability}" if durability else "img"
        self.only_writes = durability is not None
        self.work, self.bin, self.stores = work, pathlib.Path(bin_dir).resolve(), {}
        self.env = {key: value for key, value in os.environ.items() if key not in ("IMG_DURABILITY", "IMG_LAYER_VIEW")}
        self.env.update({"IMG_DURABILITY": durability} if durability else {})

    def img(self, store, link, *args):
        return Command([self.bin / link, "--root", store, *args], self.env)

    def store(self, name, image="busybox", kept=True):
        """A store that holds that base image, unpacked, and nothing else."""
        path = (self.work.path if kept else self.work.fresh)("store-" + name)
        quietly(self.img(path, "imgimport", self.work.base(image), image))
        quietly(self.img(path, "imgrun", "--rm", "--net", "none", image, "true"))
        return path

    def in_directories(self, make):
        """The command with layers as folders where the program would have chosen an index."""
        self.env["IMG_LAYER_VIEW"] = "directory"
        try:
            command = make()
            return Command(command, dict(self.env))
        finally:
            del self.env["IMG_LAYER_VIEW"]

    @property
    def main(self):
        if "main" not in self.stores:
            self.stores["main"] = self.store("main")
        return self.stores["main"]


class Bases:
    """Base images of work.py, imported when first asked for."""

    def has(self, name):
        if name not in self.bases:
            self.import_base(name)
            self.bases.add(name)


class Docker(Bases, containers.Engine, builds.Peer, images.Docker):
    """dockerd with its BuildKit, from Debian's docker.io."""
    name = "docker"

    def __init__(self, work):
        self.work, self.warm, self.bases = work, set(), set()
        self.daemon = peers.Dockerd()
        self.env = {**os.environ, "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(self.daemon.dir)}
        self.has("busybox")

    def import_base(self, name):
        self.daemon("import", self.work.base(name), f"{name}:latest")

    def close(self):
        super().close()
        self.daemon.stop()

    def engine(self, *args):
        return Command([peers.DOCKER, "-H", self.daemon.host, *args], self.env)

    def build(self, what):
        return self.engine("build", "-q", "--network", "host", "-t", what, getattr(self.work, what))

    def forget_build(self, what):
        self.daemon("rmi", "-f", what, check=False)
        self.daemon("builder", "prune", "-af", check=False)
        self.warm.clear()


class Podman(Bases, containers.Engine, images.Podman):
    """Without a daemon, as we are; its conmon stays behind for a container."""
    name = "podman"
    run_options = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]  # it would raise them, which may be refused

    def __init__(self, work):
        self.work, self.podman, self.bases = work, peers.Podman(), set()
        self.has("busybox")

    def import_base(self, name):
        self.podman("import", self.work.base(name), name)

    def engine(self, *args):
        return Command([shutil.which("podman"), *self.podman.options, *args])

    def close(self):
        if "sleeper" in self.__dict__:
            quietly(self.engine("rm", "-f", "-t", "0", self.sleeper))


class Buildah(Bases, builds.Peer):
    """With its cache of layers, on storage of its own; runc, because Debian's crun refuses a mixed cgroup hierarchy."""
    name = "buildah"

    def __init__(self, work):
        harness.require("buildah", "runc")
        self.work, self.warm, self.bases = work, set(), set()
        self.dir = work.dir / "buildah"
        configuration = work.dir / "buildah.conf"
        configuration.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
        self.env = {**os.environ, "CONTAINERS_CONF": str(configuration), "TMPDIR": str(work.dir)}

    def buildah(self, *args):
        where = ["--root", self.dir / "root", "--runroot", self.dir / "run", "--storage-driver", "overlay"]
        return Command([shutil.which("buildah"), *where, *args], self.env)

    def import_base(self, name):
        context = self.work.dir / f"buildah-base-{name}"
        context.mkdir()
        shutil.copyfile(self.work.base(name), context / "base.tar")
        (context / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        quietly(self.buildah("build", "-q", "--layers=false", "-t", f"localhost/{name}", context))
        shutil.rmtree(context)

    def build(self, what):
        jobs = ["--jobs", str(os.cpu_count())] if what == "stages" else []
        return self.buildah("build", "-q", "--layers", "--runtime", "runc", "--pull-never", "--network", "host", *jobs, "-t", what, getattr(self.work, what))

    def forget_build(self, what):
        """It has no command for its cache alone: images without a name go until there are none."""
        quietly(self.buildah("rmi", "-f", what), check=False)
        quietly(self.buildah("rmi", "--prune", "-f"), check=False)
        self.warm.clear()

    def commit(self):
        self.has("filled")
        quietly(self.buildah("rm", "committed"), check=False)
        quietly(self.buildah("rmi", "-f", "committed"), check=False)
        quietly(self.buildah("from", "--pull-never", "--name", "committed", "localhost/filled"))
        quietly(self.buildah("run", "--runtime", "runc", "--network", "host", "committed", "--", *containers.FILL))
        return self.buildah("commit", "-q", "committed", "committed")


class Runtime(containers.Runtime):
    partial = True

    def __init__(self, work, name, *options, mounts=None):
        harness.require(name)
        self.name, self.work, self.count, self.mounts = name, work, 0, mounts
        self.options = [shutil.which(name), *options, "--root", work.dir / name]
        self.bundle = self.make_bundle("bundle", ["/bin/true"])

    def make_bundle(self, name, argv):
        bundle = self.work.dir / f"{self.name}-{name}"
        bundle.mkdir()
        subprocess.run([self.name, "spec"], cwd=bundle, check=True)
        config = json.loads((bundle / "config.json").read_text())
        config["process"].update(terminal=False, args=argv)
        config["root"]["path"] = str(self.work.rootfs("busybox"))
        (bundle / "config.json").write_text(json.dumps(config))
        return bundle

    def command(self, *args):
        return Command([*self.options, *args], mounts=self.mounts)


def crun(work):
    """Debian's refuses a version 2 hierarchy with controllers beside version 1: it gets a view without that."""
    mount = "/sys/fs/cgroup/unified"
    if not os.path.ismount(mount):
        return Runtime(work, "crun", "--cgroup-manager=disabled")
    holder = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", f"umount {mount} && echo ready && exec sleep infinity"],
                              stdout=subprocess.PIPE)
    holder.stdout.readline()
    runtime = Runtime(work, "crun", "--cgroup-manager=disabled", mounts=f"/proc/{holder.pid}/ns/mnt")
    runtime.close = lambda end=runtime.close: (end(), holder.kill(), holder.wait())
    return runtime


NO_RIVALS = (Limit, LimitFiles, Ours)
PEERS = {"crun": crun, "runc": lambda work: Runtime(work, "runc"), "skopeo": copiers.Skopeo, "skopeo+umoci": copiers.Umoci,
         "containerd": copiers.Containerd, "podman": Podman, "buildah": Buildah, "docker": Docker}
