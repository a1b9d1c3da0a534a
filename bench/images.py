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
import tarfile

from lib import harness, many_images, registries
from process import capture, quietly
from rows import Row

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

    @functools.lru_cache(None)
    def layout_of_base(self, name):
        return self.layout(f"base-{name}", [self.work.base(name)], "none")

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

    @functools.lru_cache(None)
    def archive_of_layers(self, count):
        """A docker archive of busybox and count - 1 layers of one small file."""
        layers = [pathlib.Path(self.work.busybox)]
        for number in range(count - 1):
            path = self.dir / f"layer{number}.tar"
            path.write_bytes(many_images._layer(number))
            layers.append(path)
        path = self.dir / f"layers{count}.tar"
        subprocess.run(["skopeo", *SKOPEO, f"oci:{self.layout(f'layers{count}', layers, 'none')}:latest",
                        f"docker-archive:{path}:layers:latest"], check=True)
        return path

    @property
    def many_layers(self):
        return self.archive_of_layers(LAYERS)

    @functools.cached_property
    def many(self):
        """A docker archive of IMAGES images, which differ in their configs only."""
        store, path = self.dir / "many", self.dir / "many.tar"
        many_images.make(store, IMAGES, layers=many_images.PER_IMAGE)
        entries = json.loads((store / "index.json").read_text())["manifests"]
        blob = lambda digest: store / "blobs" / digest.replace(":", "/")
        listed, files = [], {}
        for entry in entries:
            manifest = json.loads(blob(entry["digest"]).read_text())
            name = lambda descriptor: descriptor["digest"].removeprefix("sha256:")
            files.update({name(d) + end: blob(d["digest"]) for d, end in
                          [(manifest["config"], ".json"), *((layer, ".tar") for layer in manifest["layers"])]})
            listed.append({"Config": name(manifest["config"]) + ".json", "Layers": [name(layer) + ".tar" for layer in manifest["layers"]],
                           "RepoTags": [entry["annotations"]["org.opencontainers.image.ref.name"].removeprefix("docker.io/library/")]})
        (self.dir / "manifest.json").write_text(json.dumps(listed))
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, file in sorted(files.items()):
                tar.add(file, name)
            tar.add(self.dir / "manifest.json", "manifest.json")
        return path

    def close(self):
        for registry in (self.__dict__.get("registry"), getattr(self, "last", None)):
            if registry:
                registry.stop()


class Limit:
    """transfer (limits/transfer.c) beside: no store, no network, a layer ends as one file."""
    unpacks = False

    def transfer(self, what, *args):
        out = self.work.fresh("limit-out")
        last = [] if what == "push" else ["-x", out] if self.unpacks else [out]
        return [self.work.bin / "transfer", what, *args, *last]

    def limit_pull(self, tar, form):
        return self.transfer("pull", "-z", form, self.work.images.packed(tar, form))

    def pull_debian_gzip(self):
        return self.limit_pull(self.work.images.debian, "gzip")

    def pull_debian_directory(self):
        return self.pull_debian_gzip()

    def pull_debian_zstd(self):
        return self.limit_pull(self.work.images.debian, "zstd")

    def pull_big(self):
        return self.limit_pull(self.work.images.big, "gzip")

    def load_debian(self):
        return self.transfer("load", self.work.images.debian)


class LimitFiles(Limit):
    """The layer is unpacked while it is hashed; nothing else is written."""
    unpacks = True


class LimitAlone:
    """What ends in no layer."""

    def push_gzip(self):
        return self.transfer("push", "-z", "gzip", "-t", str(os.cpu_count()), self.work.images.pushed)

    def push_zstd(self):
        return self.transfer("push", "-z", "zstd", "-t", str(os.cpu_count()), self.work.images.pushed)

    def save_debian(self):
        return self.transfer("save", self.work.images.debian)

    def run_many_layers(self, layers=LAYERS):
        lowers = [self.work.dir / f"limit-lowers/{n:03}" for n in range(layers - 1)]
        for lower in lowers:
            lower.mkdir(parents=True, exist_ok=True)
        return self.container([*reversed(lowers), self.work.rootfs("busybox")], ["/bin/true"], "-i", "-N")

    def documents(self, images):
        """As many small documents as there are images."""
        folder = self.work.fresh("limit-documents")
        folder.mkdir()
        for number in range(images):
            (folder / f"{number}.json").write_text("{}" * 500)
        return folder

    def list_images(self, images=IMAGES):
        return ["/bin/sh", "-c", f"cat {self.documents(images)}/* > /dev/null"]

    def prune_images(self, images=IMAGES):
        return ["/bin/rm", "-r", self.documents(images)]


class Ours:
    insecure = ["--tls-verify=false"]

    def pulled(self, store, name, form):
        return self.img(store, "imgpull", "-q", *self.insecure, self.work.images.published(name, form))

    def pull_debian_gzip(self):
        return self.pulled(self.work.fresh("store-pull"), "debian", "gzip")

    def pull_debian_zstd(self):
        return self.pulled(self.work.fresh("store-pull"), "debian", "zstd")

    def pull_debian_directory(self):
        return self.in_directories(self.pull_debian_gzip)

    def pull_big(self):
        return self.pulled(self.work.fresh("store-pull"), "big", "gzip")

    def run_just_pulled(self):
        store = self.work.fresh("store-pull")
        quietly(self.pulled(store, "debian", "gzip"))
        return self.img(store, "imgrun", "--rm", "--net", "none", self.work.images.published("debian", "gzip"), "/bin/true")

    def pushed(self, form):
        if "push" not in self.stores:
            self.stores["push"] = self.work.path("store-push")
            quietly(self.img(self.stores["push"], "imgimport", self.work.images.pushed, "pushed"))
        # What one store has packed for a registry it keeps: each time a copy that has packed nothing yet.
        store = self.work.fresh("store-push")
        quietly(["/bin/cp", "-a", self.stores["push"], store])
        target = f"{self.work.images.fresh_registry()}/pushed"
        return self.img(store, "imgpush", "-q", *self.insecure, "--compression", form, "pushed", target)

    def push_gzip(self):
        return self.pushed("gzip")

    def push_zstd(self):
        return self.pushed("zstd")

    def loaded(self, name, archive):
        """A store with the images of that archive."""
        if name not in self.stores:
            self.stores[name] = self.work.path("store-" + name)
            quietly(self.img(self.stores[name], "imgload", "-i", archive))
        return self.stores[name]

    def save_debian(self):
        return self.img(self.loaded("save", self.work.images.saved), "imgsave", "-o", self.work.fresh("saved"), "debian")

    def load_debian(self):
        return self.img(self.work.fresh("store-load"), "imgload", "-i", self.work.images.saved)

    def run_many_layers(self):
        return self.img(self.loaded("layers", self.work.images.many_layers), "imgrun", "--rm", "--net", "none", "layers", "true")

    def list_images(self, images=IMAGES):
        key = f"many-{images}"
        if key not in self.stores:
            self.stores[key] = many_images.make(self.work.path("store-many"), images, layers=many_images.PER_IMAGE)
        return self.img(self.stores[key], "imgimages")

    def prune_images(self, images=IMAGES):
        store = many_images.make(self.work.fresh("store-many"), images, layers=many_images.PER_IMAGE)
        return self.img(store, "img", "image", "prune", "-af")

    def prune_half(self):
        store = many_images.make(self.work.fresh("store-half"), IMAGES, nameless=0.5)
        return self.img(store, "img", "image", "prune", "-f")


class Engine:
    """docker and podman: `engine(*args)` gives the command line of one of theirs."""
    insecure = []

    def forget(self):
        """Without this the layers of an image of another row would be found there, and nothing would be pulled or loaded."""
        ids = sorted({line.split()[0] for line in self.listed() if line.split()[1].removeprefix("localhost/") not in self.bases})
        for start in range(0, len(ids), 200):
            quietly(self.engine("rmi", "-f", *ids[start:start + 200]), check=False)
        self.has_pushed = self.has_layers = self.has_many = False

    def listed(self):
        return capture(self.engine("images", "--format", "{{.ID}} {{.Repository}}")).splitlines()

    def pulled(self, name, form):
        target = self.work.images.published(name, form)
        self.forget()
        return self.engine("pull", "-q", *self.insecure, target)

    def pull_debian_gzip(self):
        return self.pulled("debian", "gzip")

    def pull_big(self):
        return self.pulled("big", "gzip")

    def run_just_pulled(self):
        quietly(self.pulled("debian", "gzip"))
        return self.engine("run", "--rm", "--network", "none", *self.run_options, self.work.images.published("debian", "gzip"), "/bin/true")

    def push_target(self):
        """Imported once; each time another registry."""
        if not getattr(self, "has_pushed", False):
            quietly(self.engine("import", self.work.images.pushed, "pushed"))
            self.has_pushed = True
        target = f"{self.work.images.fresh_registry()}/pushed"
        quietly(self.engine("tag", "pushed", target))
        return target

    def push_gzip(self):
        return self.engine("push", "-q", *self.insecure, self.push_target())

    def save_debian(self):
        quietly(self.engine("load", "-i", self.work.images.saved))
        return self.engine("save", "-o", self.work.fresh("saved"), "debian")

    def load_debian(self):
        self.forget()
        return self.engine("load", "-i", self.work.images.saved)

    def run_many_layers(self):
        if not getattr(self, "has_layers", False):
            quietly(self.engine("load", "-i", self.work.images.many_layers))
            self.has_layers = True
        return self.engine("run", "--rm", "--network", "none", *self.run_options, "layers", "true")


class Docker(Engine):
    """20.10 reads no zstd layers."""

    def with_many(self):
        if not getattr(self, "has_many", False):
            quietly(self.engine("load", "-i", self.work.images.many))
            self.has_many = True

    def list_images(self):
        self.with_many()
        return self.engine("images")

    def prune_images(self):
        """Everything goes that no container uses: the bases of other rows too, which come back when they are asked for."""
        self.with_many()
        self.has_pushed = self.has_layers = self.has_many = False
        self.bases.clear()
        self.warm.clear()
        return self.engine("image", "prune", "-af")


class Podman(Engine):
    """A thousand images take it many minutes to load and to prune, so it has no such rows."""
    insecure = ["--tls-verify=false"]

    def pull_debian_zstd(self):
        return self.pulled("debian", "zstd")

    def push_zstd(self):
        return self.engine("push", "-q", *self.insecure, "--compression-format", "zstd", self.push_target())


ROWS = {
    "pull_debian_gzip": Row("W9 pull of Debian, gzip", factor=1.2, against="limit files", rounds=5, writes=True),
    "pull_debian_zstd": Row("W9 pull of Debian, zstd", factor=1.2, against="limit files", rounds=5, writes=True),
    "pull_debian_directory": Row("W9 pull of Debian, gzip, directory view", factor=1.2, against="limit files", rounds=5, writes=True),
    "pull_big": Row("pull of 1 GiB, gzip", goal=6000, rounds=2, writes=True),
    "run_just_pulled": Row("run of a just pulled image", goal=15, rounds=5),
    "push_gzip": Row(f"W10 push of {PUSHED // 1_000_000} MB, gzip", factor=1.1, rounds=5, writes=True),
    "push_zstd": Row(f"W10 push of {PUSHED // 1_000_000} MB, zstd", factor=1.1, rounds=5, writes=True),
    "save_debian": Row("W11 save of Debian", factor=1.3, writes=True),
    "load_debian": Row("W11 load of Debian", factor=1.3, rounds=5, writes=True),
    "run_many_layers": Row(f"W12 run on {LAYERS} layers", factor=1.3, quick=True),
    "list_images": Row(f"W12 list {IMAGES:,} images", factor=1),
    "prune_images": Row(f"W12 prune {IMAGES:,} images", factor=3, rounds=5, writes=True),
    "prune_half": Row(f"prune half of {IMAGES:,} images of three layers each", goal=2000, rounds=5, writes=True),
}
