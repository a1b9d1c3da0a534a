"""The rivals as test partners: each started by the test itself, in folders of the test, ended by its pid."""
import json
import os
import pathlib
import subprocess
import time

from . import harness
from .harness import run

DOCKER = "/usr/bin/docker"  # the client of Debian's docker.io; another one may come first on PATH


class Dockerd:
    """A docker daemon (with its BuildKit) of our own: own data, own socket, no bridge, no firewall rules."""

    def __init__(self):
        harness.require("dockerd", "containerd", "runc", DOCKER)
        self.dir = pathlib.Path(harness.temp_dir("dockerd"))
        self.host = f"unix://{self.dir}/sock"
        self.log = open(self.dir / "log", "wb")
        argv = ["dockerd", "--data-root", self.dir / "data", "--exec-root", self.dir / "exec", "--pidfile",
                self.dir / "pid", "-H", self.host, "--bridge=none", "--iptables=false"]
        self.process = subprocess.Popen([os.fspath(a) for a in argv], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if self("version", check=False).code == 0:
                return
            time.sleep(0.1)
        raise AssertionError("dockerd did not come up:\n" + (self.dir / "log").read_text()[-3000:])

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def __call__(self, *args, **kwargs):
        kwargs.setdefault("timeout", 180)
        # An own configuration folder: the caller's may name proxies, plugins or a build driver.
        kwargs["env"] = {"DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(self.dir), "DOCKER_HOST": None,
                         "DOCKER_CONTEXT": None, **kwargs.get("env", {})}
        return run([DOCKER, "-H", self.host, *args], **kwargs)

    def build(self, context, tag, *args, **kwargs):
        return self("build", "--progress", "plain", "--network", "host", "-t", tag, *args, context, **kwargs)

    def inspect(self, tag):
        return json.loads(self("image", "inspect", tag).out)[0]

    def history(self, tag):
        """Oldest first, with the names that the image config has for the fields."""
        lines = self("history", "--no-trunc", "--format", "{{json .}}", tag).out.splitlines()
        entries = [json.loads(line) for line in reversed(lines)]
        return [{"created_by": entry["CreatedBy"], "comment": entry["Comment"]} for entry in entries]

    def mount(self, inspected, where):
        """Mounts the image's layers read-only at `where`, without the init layer that a container would add."""
        data = inspected["GraphDriver"]["Data"] or {}
        layers = [data["UpperDir"]] if data.get("UpperDir") else []
        layers += [layer for layer in data.get("LowerDir", "").split(":") if layer]
        os.makedirs(where, exist_ok=True)
        if not layers:
            return
        empty = harness.temp_dir("empty")  # one lower directory alone is refused
        # The short links keep 40 layers within one page of mount options.
        links = []
        for number, layer in enumerate(layers):
            link = os.path.join(empty + ".d", str(number))
            os.makedirs(empty + ".d", exist_ok=True)
            os.symlink(os.path.realpath(layer), link)
            links.append(str(number))
        run(["mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={':'.join(links + [empty])}", where],
            cwd=empty + ".d")


class Podman:
    """podman on storage of our own. It insists on raising limits that the machine may refuse, hence the options."""

    def __init__(self):
        harness.require("podman", "runc")
        self.dir = pathlib.Path(harness.temp_dir("podman"))
        self.options = ["--root", self.dir / "root", "--runroot", self.dir / "run", "--tmpdir", self.dir / "tmp",
                        "--storage-driver", "overlay", "--runtime", "runc", "--cgroup-manager", "cgroupfs",
                        "--events-backend", "none"]

    def __call__(self, *args, **kwargs):
        kwargs.setdefault("timeout", 180)
        return run(["podman", *self.options, *args], **kwargs)

    def run(self, image, *command):
        return self("run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024",
                    "--ulimit", "nproc=1024:1024", image, *command)


def unpack(store, name, where):
    """The image's root file system, made by umoci from nothing but the OCI layout."""
    harness.require("umoci")
    run(["umoci", "unpack", "--image", f"{store}:{harness.full_name(name)}", where], timeout=120)
    return pathlib.Path(where) / "rootfs"
