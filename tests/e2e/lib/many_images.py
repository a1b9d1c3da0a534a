"""A store with many small images, written as an OCI layout, which the program takes for its own.

    python3 tests/e2e/lib/many_images.py ROOT [IMAGES [LAYERS]]
"""
import hashlib
import io
import json
import pathlib
import sys
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PER_IMAGE = 3


def _layer(number):
    """One file of a few bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo(f"file{number}")
        info.size = 200
        tar.addfile(info, io.BytesIO((f"{number:08}" * 25).encode()))
    return file.getvalue()


def make(root, images, layers=0, nameless=0.0, architecture="amd64"):
    """`layers` distinct ones (3 of its own for each image unless given), `nameless`: that share has no name."""
    root = pathlib.Path(root)
    blobs = root / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": "sha256:" + digest, "size": len(data)}

    stored = [put(_layer(n), "layer.v1.tar") for n in range(layers or images * PER_IMAGE)]
    entries = []
    for n in range(images):
        own = [stored[(n * PER_IMAGE + k) % len(stored)] for k in range(PER_IMAGE)]
        config = {"architecture": architecture, "os": "linux", "created": f"2026-01-01T00:{n // 60 % 60:02}:{n % 60:02}Z",
                  "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"],
                             "Labels": {"number": str(n)}},
                  "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in own]},
                  "history": [{"created": "2026-01-01T00:00:00Z", "created_by": f"step {k}"} for k in range(PER_IMAGE)]}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                    "config": put(json.dumps(config, separators=(",", ":")).encode(), "config.v1+json"), "layers": own}
        entry = put(json.dumps(manifest, separators=(",", ":")).encode(), "manifest.v1+json")
        if n >= nameless * images:
            entry["annotations"] = {"org.opencontainers.image.ref.name": f"docker.io/library/many{n}:latest"}
        entries.append(entry)
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return root


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:]]
    make(sys.argv[1], *(numbers or [1000]))
