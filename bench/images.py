"""Rows about whole images: pull, push, save, load, many layers, many images. A class for each tool, which run.py mixes in.

The registry is Debian's docker-registry on loopback, the same for all tools; what is pushed goes to a fresh one each time,
because everybody remembers what a registry has. Debian is the base of the demo (python3 and Flask in it), one layer; the
large image is one layer of BIG bytes. Their gzip is gzip(1)'s, one stream, as most of what lies in registries.
"""
import functools
import hashlib
import json
import os
import pathlib
import shutil
import subprocess

from lib import harness, many_images, registries

BIG = 1 << 30
BIG_FILES = 4_000
PUSHED = 200_000_000
LAYERS, IMAGES = 120, 1_000
PLAIN = "application/vnd.oci.image.layer.v1.tar"
TYPES = {"gzip": PLAIN + "+gzip", "zstd": PLAIN + "+zstd", "none": PLAIN}
SKOPEO = ["--insecure-policy", "copy", "--quiet"]


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Images:
    """The fixtures, made when a row first asks for them."""

    def __init__(self, work):
        self.work, self.dir = work, work.dir / "images"
        self.dir.mkdir()

    @functools.cached_property
    def debian(self):
        return pathlib.Path(harness.flask_tar())

    @functools.cached_property
    def big(self):
        return self.tar_of("big", BIG_FILES, BIG)

    @functools.cached_property
    def pushed(self):
        return self.tar_of("pushed", 2_000, PUSHED)

    def tar_of(self, name, files, size):
        tree, tar = self.dir / f"{name}.d", self.dir / f"{name}.tar"
        subprocess.run([self.work.bin / "gentree", tree, str(files), str(size), "1", "mix"], check=True)
        subprocess.run(["tar", "-C", tree, "--sort=name", "-cf", tar, "."], check=True)
        shutil.rmtree(tree)
        return tar

    @functools.lru_cache(None)
    def packed(self, tar, form):
        """The layer in that compression, beside it."""
        if form == "none":
            return tar
        path = self.dir / f"{tar.stem}.{form}"
        fast = ["-1"] if tar.stat().st_size > 500_000_000 else []
        with open(path, "wb") as out:
            subprocess.run([form, "-c", *([] if form == "zstd" else ["-n"]), *fast, tar], check=True, stdout=out,
                           stderr=subprocess.DEVNULL)
        return path

    def layout(self, name, layers, form):
        """An OCI layout with one image of these tars."""
        root = self.dir / f"{name}-{form}"
        blobs = root / "blobs/sha256"
        blobs.mkdir(parents=True)

        def put(data, kind):
            digest = hashlib.sha256(data).hexdigest()
            (blobs / digest).write_bytes(data)
            return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

        descriptors = []
        for layer in layers:
            blob = self.packed(layer, form)
            digest = sha256(blob)
            if not (blobs / digest).exists():
                os.link(blob, blobs / digest) if blob.parent == self.dir else shutil.copyfile(blob, blobs / digest)
            descriptors.append({"mediaType": TYPES[form], "digest": f"sha256:{digest}", "size": blob.stat().st_size})
        config = {"architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z", "config": {"Cmd": ["/bin/true"]},
                  "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}" for layer in layers]}}
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": put(json.dumps(config).encode(), "config.v1+json"), "layers": descriptors}
        entry = put(json.dumps(manifest).encode(), "manifest.v1+json")
        entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
        (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        return root

    @functools.cached_property
    def registry(self):
        return registries.Registry()

    @functools.lru_cache(None)
    def published(self, name, form):
        """The name of an image in the registry: HOST/NAME-FORM."""
        target = f"{self.registry.host}/{name}-{form}"
        layout = self.layout(name, [getattr(self, name)], form)
        subprocess.run(["skopeo", *SKOPEO, "--dest-tls-verify=false", f"oci:{layout}:latest", f"docker://{target}:latest"], check=True)
        return target

    def fresh_registry(self):
        """Empty, on a port that nobody remembers."""
        if hasattr(self, "last"):
            self.last.stop()
        self.last = registries.Registry()
        return self.last.host

    @functools.cached_property
    def saved(self):
        """A docker archive of Debian, plain, by skopeo."""
        path = self.dir / "debian-archive.tar"
        subprocess.run(["skopeo", *SKOPEO, f"oci:{self.layout('saved', [self.debian], 'none')}:latest",
                        f"docker-archive:{path}:debian:latest"], check=True)
        return path

    @functools.cached_property
    def many_layers(self):
        """busybox and LAYERS - 1 layers of one small file."""
        layers = [pathlib.Path(self.work.busybox)]
        for number in range(LAYERS - 1):
            path = self.dir / f"layer{number}.tar"
            path.write_bytes(many_images._layer(number))
            layers.append(path)
        path = self.dir / "layers.tar"
        subprocess.run(["skopeo", *SKOPEO, f"oci:{self.layout('layers', layers, 'none')}:latest",
                        f"docker-archive:{path}:layers:latest"], check=True)
        return path

    def close(self):
        for registry in (self.__dict__.get("registry"), getattr(self, "last", None)):
            if registry:
                registry.stop()


class Limit:
    """transfer (limits/transfer.c) beside: no store, no network."""

    def transfer(self, what, *args):
        for old in self.work.dir.glob("limit-out-*"):
            old.unlink()
        return [self.work.bin / "transfer", what, *args, *([] if what == "push" else [self.work.fresh("limit-out")])]

    def limit_pull(self, tar, form):
        return self.transfer("pull", "-z", form, self.work.images.packed(tar, form))

    def pull_debian_gzip(self):
        return self.limit_pull(self.work.images.debian, "gzip")

    def pull_debian_zstd(self):
        return self.limit_pull(self.work.images.debian, "zstd")

    def pull_big(self):
        return self.limit_pull(self.work.images.big, "gzip")

    def push_gzip(self):
        return self.transfer("push", "-z", "gzip", "-t", str(os.cpu_count()), self.work.images.pushed)

    def push_zstd(self):
        return self.transfer("push", "-z", "zstd", "-t", str(os.cpu_count()), self.work.images.pushed)

    def save_debian(self):
        return self.transfer("save", self.work.images.debian)

    def load_debian(self):
        return self.transfer("load", self.work.images.debian)

    def run_many_layers(self):
        lowers = [self.work.dir / f"limit-lowers/{n:03}" for n in range(LAYERS - 1)]
        for lower in lowers:
            lower.mkdir(parents=True, exist_ok=True)
        layers = [word for lower in reversed([self.work.rootfs, *lowers]) for word in ("-l", lower)]
        upper, work = self.work.fresh("limit-u"), self.work.fresh("limit-w")
        return [self.work.bin / "minirun", "-q", "-V", "-i", "-N", *layers, "-u", upper, "-w", work, "--", "/bin/true"]


class Ours:
    @property
    def insecure(self):
        return ["--tls-verify=false"]

    def empty(self, name):
        """A new store; the last one of that name goes, which is not measured."""
        last = self.stores.pop(f"empty-{name}", None)
        if last:
            shutil.rmtree(last, ignore_errors=True)
        self.stores[f"empty-{name}"] = path = self.work.fresh(f"store-{name}")
        return path

    def pulled(self, name, form):
        return self.img(self.empty("pull"), "imgpull", "-q", *self.insecure, self.work.images.published(name, form))

    def pull_debian_gzip(self):
        return self.pulled("debian", "gzip")

    def pull_debian_zstd(self):
        return self.pulled("debian", "zstd")

    def pull_big(self):
        return self.pulled("big", "gzip")

    def run_just_pulled(self):
        command = self.pulled("debian", "gzip")
        subprocess.run(list(map(os.fspath, command)), check=True, stdout=subprocess.DEVNULL)
        return self.img(self.stores["empty-pull"], "imgrun", "--rm", "--net", "none", self.work.images.published("debian", "gzip"),
                        "/bin/true")

    def pushed(self, form):
        store = self.empty("push")
        subprocess.run(list(map(os.fspath, self.img(store, "imgimport", self.work.images.pushed, "pushed"))), check=True,
                       stdout=subprocess.DEVNULL)
        target = f"{self.work.images.fresh_registry()}/pushed"
        return self.img(store, "imgpush", "-q", *self.insecure, "--compression", form, "pushed", target)

    def push_gzip(self):
        return self.pushed("gzip")

    def push_zstd(self):
        return self.pushed("zstd")

    def save_debian(self):
        if "save" not in self.stores:
            self.stores["save"] = self.work.fresh("store-save")
            subprocess.run(list(map(os.fspath, self.img(self.stores["save"], "imgload", "-i", self.work.images.saved))), check=True,
                           stdout=subprocess.DEVNULL)
        for old in self.work.dir.glob("saved-*"):
            old.unlink()
        return self.img(self.stores["save"], "imgsave", "-o", self.work.fresh("saved"), "debian")

    def load_debian(self):
        return self.img(self.empty("load"), "imgload", "-i", self.work.images.saved)

    def run_many_layers(self):
        if "layers" not in self.stores:
            self.stores["layers"] = self.work.fresh("store-layers")
            subprocess.run(list(map(os.fspath, self.img(self.stores["layers"], "imgload", "-i", self.work.images.many_layers))),
                           check=True, stdout=subprocess.DEVNULL)
        return self.img(self.stores["layers"], "imgrun", "--rm", "--net", "none", "layers", "true")

    def list_images(self):
        if "many" not in self.stores:
            self.stores["many"] = many_images.make(self.work.fresh("store-many"), IMAGES)
        return self.img(self.stores["many"], "imgimages")

    def prune_images(self):
        store = self.empty("prune")
        many_images.make(store, IMAGES, nameless=0.5)
        return [self.bin / "img", "--root", store, "image", "prune", "-f"]


class Engine:
    """docker and podman: `engine(*args)` gives the command line of one of theirs."""
    insecure = []
    can_zstd = False

    def quietly(self, *args):
        command = self.engine(*args)
        subprocess.run(list(map(os.fspath, command)), env=getattr(command, "env", None), stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)

    def forget(self):
        """Without this the layers of an image of another row would be found there, and nothing would be pulled or loaded."""
        command = self.engine("images", "--format", "{{.ID}} {{.Repository}}")
        lines = subprocess.run(list(map(os.fspath, command)), env=getattr(command, "env", None), stdout=subprocess.PIPE, text=True,
                               check=True).stdout.splitlines()
        ids = {line.split()[0] for line in lines if not line.endswith("busybox")}  # which other rows run
        if ids:
            self.quietly("rmi", "-f", *sorted(ids))
        self.has_pushed = self.has_layers = False

    def pulled(self, name, form):
        target = self.work.images.published(name, form)
        self.forget()
        return self.engine("pull", "-q", *self.insecure, target)

    def pull_debian_gzip(self):
        return self.pulled("debian", "gzip")

    def pull_big(self):
        return self.pulled("big", "gzip")

    def run_just_pulled(self):
        command = self.pulled("debian", "gzip")
        subprocess.run(list(map(os.fspath, command)), env=getattr(command, "env", None), stdout=subprocess.DEVNULL, check=True)
        return self.engine("run", "--rm", "--network", "none", self.work.images.published("debian", "gzip"), "/bin/true")

    def push_target(self):
        """Imported once; each time another registry."""
        if not getattr(self, "has_pushed", False):
            self.quietly("import", self.work.images.pushed, "pushed")
            self.has_pushed = True
        target = f"{self.work.images.fresh_registry()}/pushed"
        self.quietly("tag", "pushed", target)
        return target

    def push_gzip(self):
        return self.engine("push", "-q", *self.insecure, self.push_target())

    def save_debian(self):
        self.quietly("load", "-i", self.work.images.saved)
        for old in self.work.dir.glob("saved-*"):
            old.unlink()
        return self.engine("save", "-o", self.work.fresh("saved"), "debian")

    def load_debian(self):
        self.forget()
        return self.engine("load", "-i", self.work.images.saved)

    def run_many_layers(self):
        if not getattr(self, "has_layers", False):
            self.quietly("load", "-i", self.work.images.many_layers)
            self.has_layers = True
        return self.engine("run", "--rm", "--network", "none", "layers", "true")


class Docker(Engine):
    """20.10 reads no zstd layers."""

    def engine(self, *args):
        return self.docker(*args)


class Podman(Engine):
    insecure = ["--tls-verify=false"]

    def engine(self, *args):
        return self.command(*args)

    def pull_debian_zstd(self):
        return self.pulled("debian", "zstd")

    def push_zstd(self):
        return self.engine("push", "-q", *self.insecure, "--compression-format", "zstd", self.push_target())


class Skopeo:
    """Copies only: to an OCI layout, nothing is unpacked."""
    name = "skopeo"

    def __init__(self, work):
        harness.require("skopeo")
        self.work = work

    def copy(self, *args):
        return [shutil.which("skopeo"), *SKOPEO, *args]

    def target(self):
        for old in self.work.dir.glob("skopeo-*"):
            shutil.rmtree(old)
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


# As ROWS of run.py.
ROWS = {
    "pull_debian_gzip": ("pull of Debian, gzip", 1120),
    "pull_debian_zstd": ("pull of Debian, zstd", 940),
    "pull_big": ("pull of 1 GiB, gzip", 6000),
    "run_just_pulled": ("run of a just pulled image", 15),
    "push_gzip": (f"push of {PUSHED // 1_000_000} MB, gzip", 3430),
    "push_zstd": (f"push of {PUSHED // 1_000_000} MB, zstd", 2110),
    "save_debian": ("save of Debian", 115),
    "load_debian": ("load of Debian", 450),
    "run_many_layers": (f"run on {LAYERS} layers", 12),
    "list_images": (f"images, {IMAGES:,} of them", 15),
    "prune_images": (f"image prune, half of {IMAGES:,}", 2000),
}
SLOW = ("pull_debian_gzip", "pull_debian_zstd", "pull_big", "run_just_pulled", "push_gzip", "push_zstd", "load_debian", "prune_images")
