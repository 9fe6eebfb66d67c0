"""Images as files: an OCI image layout in a tar archive, written without a daemon.

The format is that of the OCI image specification 1.0 ("Image Layout"), with the `manifest.json`
that `docker load` reads. Layers are not compressed, so that their digests depend on no compressor.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from tarfile import DIRTYPE, PAX_FORMAT, TarInfo
from tarfile import open as open_tar
from typing import Any

from plxnix.pyenv.layer import TIME, Layer

_CREATED = "1970-01-01T00:00:01Z"
_OCI = "application/vnd.oci.image"


class ImageWriter:
    """The blobs of an image, in a folder, named by number until they are archived."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.blobs: dict[str, str] = {}
        self.layers: list[dict[str, Any]] = []
        self.history: list[dict[str, str]] = []
        self.small: dict[str, bytes] = {}

    @property
    def digests(self) -> list[str]:
        """The digests of the layers."""
        return [str(layer["digest"]) for layer in self.layers]

    def new(self) -> str:
        """Return a path for another blob."""
        return f"{self.folder}/{len(self.layers)}"

    def layer(self, layer: Layer, said: str) -> None:
        """Write a layer."""
        path = self.new()
        with open(path, "wb") as file:
            layer.write(file)
        self.add(path, said)

    def add(self, path: str, said: str) -> None:
        """Take the tar archive at `path` as the next layer."""
        digest = f"sha256:{_file_digest(path)}"
        self.blobs[digest] = path
        size = os.path.getsize(path)
        kind = f"{_OCI}.layer.v1.tar"
        self.layers.append({"mediaType": kind, "digest": digest, "size": size})
        self.history.append({"created": _CREATED, "created_by": f"plxnix env docker: {said}"})

    def finish(self, name: str, architecture: str, config: Mapping[str, Any]) -> str:
        """Write what describes the layers; return the digest of the manifest."""
        described = self._json(
            {
                "architecture": architecture,
                "config": config,
                "created": _CREATED,
                "history": self.history,
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": self.digests},
            },
            "config",
        )
        manifest = self._json(
            {
                "schemaVersion": 2,
                "mediaType": f"{_OCI}.manifest.v1+json",
                "config": described,
                "layers": self.layers,
            },
            "manifest",
        )
        tagged = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        annotations = {
            "io.containerd.image.name": tagged,
            "org.opencontainers.image.ref.name": tagged.rpartition(":")[2],
        }
        platform = {"architecture": architecture, "os": "linux"}
        entry = {**manifest, "annotations": annotations, "platform": platform}
        self.small["index.json"] = _canonical(
            {
                "schemaVersion": 2,
                "mediaType": f"{_OCI}.index.v1+json",
                "manifests": [entry],
            }
        )
        self.small["manifest.json"] = _canonical(
            [
                {
                    "Config": _place(described["digest"]),
                    "Layers": [_place(digest) for digest in self.digests],
                    "RepoTags": [tagged],
                }
            ]
        )
        self.small["oci-layout"] = _canonical({"imageLayoutVersion": "1.0.0"})
        return str(manifest["digest"])

    def _json(self, value: Any, kind: str) -> dict[str, Any]:
        data = _canonical(value)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.small[_place(digest)] = data
        return {"mediaType": f"{_OCI}.{kind}.v1+json", "digest": digest, "size": len(data)}

    def archive(self, path: str) -> None:
        """Write the image."""
        large = {_place(digest): blob for digest, blob in self.blobs.items()}
        with open_tar(path, "w", format=PAX_FORMAT) as archive:
            for name in sorted({"blobs", "blobs/sha256", *large, *self.small}):
                member = TarInfo(name)
                member.mtime = TIME
                if name in large:
                    member.size = os.path.getsize(large[name])
                    with open(large[name], "rb") as file:
                        archive.addfile(member, file)
                    os.unlink(large[name])
                elif name in self.small:
                    member.size = len(self.small[name])
                    archive.addfile(member, io.BytesIO(self.small[name]))
                else:
                    member.type, member.mode = DIRTYPE, 0o755
                    archive.addfile(member)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _file_digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
