"""Tools that only move images: skopeo, skopeo with umoci, containerd."""
import functools
import os
import pathlib
import shutil
import subprocess
import time

from containers import FILL
from images import SKOPEO
from lib import harness
from process import Command, capture, quietly


class Skopeo:
    """Copies only: to an OCI layout, nothing is unpacked. What it remembers of registries (as root) would spare it work."""
    name, partial = "skopeo", True

    def __init__(self, work):
        harness.require("skopeo")
        self.work = work
        # Its memory of which registry has which blob, which would spare it work that others do.
        self.env = {**os.environ, "HOME": str(work.dir / "skopeo-home")}

    def copy(self, *args):
        shutil.rmtree(self.work.dir / "skopeo-home", ignore_errors=True)
        return Command([shutil.which("skopeo"), *SKOPEO, *args], self.env)

    def target(self):
        return f"oci:{self.work.fresh('skopeo')}:latest"

    def pulled(self, name, form):
        return self.copy("--src-tls-verify=false", f"docker://{self.work.images.published(name, form)}:latest", self.target())

    def pull_debian_gzip(self):
        return self.pulled("debian", "gzip")

    def pull_debian_zstd(self):
        return self.pulled("debian", "zstd")

    def pull_big(self):
        return self.pulled("big", "gzip")

    @functools.cached_property
    def source(self):
        return f"oci:{self.work.images.layout('pushed', [self.work.images.pushed], 'none')}:latest"

    def pushed(self, form):
        return self.copy("--dest-tls-verify=false", "--dest-compress-format", form, self.source,
                         f"docker://{self.work.images.fresh_registry()}/pushed")

    def push_gzip(self):
        return self.pushed("gzip")

    def push_zstd(self):
        return self.pushed("zstd")

    def load_debian(self):
        return self.copy(f"docker-archive:{self.work.images.saved}", self.target())


class Umoci(Skopeo):
    """skopeo into an OCI layout, then umoci from there into a folder: the whole of a pull without a daemon or a store."""
    name, partial = "skopeo+umoci", False
    pull_debian_zstd = push_gzip = push_zstd = None  # 0.4.7 reads no zstd

    def __init__(self, work):
        super().__init__(work)
        harness.require("umoci")

    def then_unpack(self, copy, layout):
        """One shell command of both."""
        script = f'"$@" && umoci unpack --image {layout}:latest {self.work.fresh("umoci")}'
        return Command(["/bin/sh", "-ec", script, "sh", *copy], copy.env)

    def pulled(self, name, form):
        layout = self.work.fresh("umoci-layout")
        source = f"docker://{self.work.images.published(name, form)}:latest"
        return self.then_unpack(self.copy("--src-tls-verify=false", source, f"oci:{layout}:latest"), layout)

    def load_debian(self):
        layout = self.work.fresh("umoci-layout")
        return self.then_unpack(self.copy(f"docker-archive:{self.work.images.saved}", f"oci:{layout}:latest"), layout)

    def commit(self):
        """What was written in the folder becomes a layer of the layout, which umoci compresses."""
        layout, bundle = self.work.fresh("umoci-layout"), self.work.fresh("umoci")
        shutil.copytree(self.work.images.layout_of_base("filled"), layout)
        quietly(["/usr/bin/umoci", "unpack", "--image", f"{layout}:latest", bundle])
        quietly(["/bin/cp", "-a", *(f"{bundle}/rootfs{path}" for path in FILL[2:])])
        return ["/usr/bin/umoci", "repack", "--image", f"{layout}:committed", bundle]


class Containerd:
    """containerd's own client: pull, and unpack into its snapshotter."""
    name = "containerd"

    def __init__(self, work):
        harness.require("containerd", "ctr")
        self.work, self.dir = work, pathlib.Path(harness.temp_dir("containerd"))
        (self.dir / "config.toml").write_text(
            f'version = 2\nroot = "{self.dir}/root"\nstate = "{self.dir}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{self.dir}/sock"\n')
        self.log = open(self.dir / "log", "wb")
        self.process = subprocess.Popen(["containerd", "-c", self.dir / "config.toml", "-l", "error"], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        while subprocess.run(self.ctr("version"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.close()
                raise AssertionError("containerd did not come up:\n" + (self.dir / "log").read_text()[-3000:])
            time.sleep(0.1)

    def ctr(self, *args):
        return Command([shutil.which("ctr"), "-a", f"{self.dir}/sock", *args])

    def pulled(self, name, form):
        for listed in capture(self.ctr("images", "ls", "-q")).split():
            quietly(self.ctr("images", "rm", "--sync", listed))
        return self.ctr("images", "pull", "--plain-http", f"{self.work.images.published(name, form)}:latest")

    def pull_debian_gzip(self):
        return self.pulled("debian", "gzip")

    def pull_debian_zstd(self):
        return self.pulled("debian", "zstd")

    def pull_big(self):
        return self.pulled("big", "gzip")

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
