"""Images of environments: by the specification, and by running what is in them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from plxnix.errors import InvalidValue
from plxnix.pyenv.elf import MACHINES
from plxnix.pyenv.image import DATA, Image, write_image
from tests.environment_trees import PYTHON, SITE, install, make_tree

SCRIPT = """#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
import sys, alpha, ssl, sqlite3, ctypes
print("alpha", alpha.value, sys.prefix, sys.argv[1:])
"""


def environment(folder: Path) -> Path:
    """Make an environment with a module and a program."""
    tree = make_tree(folder)
    install(tree, "alpha", {"alpha.py": "value = 7\n"})
    (tree / "bin/alpha").write_text(SCRIPT)
    (tree / "bin/alpha").chmod(0o755)
    return tree


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Image]:
    """An image of that environment."""
    folder = tmp_path_factory.mktemp("image")
    path = folder / "image.tar"
    return path, write_image(environment(folder / "env"), path, "demo/alpha:1", None, ["alpha"])


def blobs(path: Path) -> dict[str, bytes]:
    """Return all files of an image."""
    with tarfile.open(path) as archive:
        return {
            member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
            if member.isfile()
        }


def config_of(path: Path) -> Any:
    """Return the config of an image."""
    files = blobs(path)
    return json.loads(files[json.loads(files["manifest.json"])[0]["Config"]])


def unpack(path: Path, root: Path) -> None:
    """Unpack the layers of an image in their order."""
    files = blobs(path)
    for name in json.loads(files["manifest.json"])[0]["Layers"]:
        with tarfile.open(fileobj=io.BytesIO(files[name])) as layer:
            layer.extractall(root, filter="fully_trusted")


def run(bubblewrap: str, root: Path, *command: str) -> str:
    """Run a command in an unpacked image, with nothing of this machine."""
    options = ["--unshare-all", "--bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
    variables = ["--clearenv", "--setenv", "PATH", "/env/bin:/usr/bin:/bin", "--chdir", "/"]
    done = subprocess.run(
        [bubblewrap, *options, *variables, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_layout_is_that_of_the_specification(written: tuple[Path, Image]) -> None:
    """Every descriptor has the digest and the size of its blob, and the right media type."""
    path, image = written
    files = blobs(path)
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])
    assert (index["schemaVersion"], index["mediaType"]) == (
        2,
        "application/vnd.oci.image.index.v1+json",
    )
    (entry,) = index["manifests"]
    assert entry["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert entry["digest"] == image.digest
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "1"

    def blob(descriptor: dict[str, Any]) -> bytes:
        data = files["blobs/" + descriptor["digest"].replace(":", "/")]
        assert descriptor["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
        assert descriptor["size"] == len(data)
        return data

    manifest = json.loads(blob(entry))
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    config = json.loads(blob(manifest["config"]))
    for layer in manifest["layers"]:
        assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
        blob(layer)
    digests = [layer["digest"] for layer in manifest["layers"]]
    assert digests == list(image.layers) == config["rootfs"]["diff_ids"]
    assert len(config["history"]) == len(digests) == 2
    assert config["os"] == "linux"
    assert config["architecture"] in {name for _, name in MACHINES.values()}
    assert config["config"]["Entrypoint"] == ["/env/bin/alpha"]
    assert config["config"]["Env"][1] == "PATH=/env/bin:/usr/local/bin:/usr/bin:/bin"
    (loaded,) = json.loads(files["manifest.json"])
    assert loaded["RepoTags"] == ["demo/alpha:1"]
    assert len(files) == 3 + 2 + 2
    assert image.size == path.stat().st_size


def test_image_runs_by_itself(written: tuple[Path, Image], bubblewrap: str, tmp_path: Path) -> None:
    """Python, extension modules that need libraries, and scripts run in a root made of layers."""
    path, _ = written
    unpack(path, tmp_path)
    said = run(bubblewrap, tmp_path, "/env/bin/alpha", "x")
    assert said == "alpha 7 /env ['x']\n"
    code = "import alpha, sys; print(alpha.__file__, sys.version_info[0])"
    assert run(bubblewrap, tmp_path, "/env/bin/python", "-c", code) == f"/env/{SITE}/alpha.py 3\n"
    assert (tmp_path / "tmp").stat().st_mode & 0o7777 == 0o1777


def test_same_files_give_the_same_bytes(written: tuple[Path, Image], tmp_path: Path) -> None:
    """Neither the folder, nor the time, nor permissions of others change the digest."""
    tree = environment(tmp_path / "elsewhere")
    (tree / "pyvenv.cfg").chmod(0o400)
    again = write_image(tree, tmp_path / "again.tar", "demo/alpha:1", None, ["alpha"])
    assert again == written[1]
    assert (tmp_path / "again.tar").read_bytes() == written[0].read_bytes()
    assert not list(tmp_path.glob(".image*"))


def test_base_with_the_interpreter(tmp_path: Path) -> None:
    """A base that has the interpreter is used as it is, be it a folder or an archive."""
    root = tmp_path / "root"
    place = root / PYTHON[1:]
    place.parent.mkdir(parents=True)
    place.write_text("an interpreter")
    (root / "etc").mkdir()
    (root / "etc/os-release").write_text("NAME=base\n")
    (root / "etc/os-release").chmod(0o640)
    tree = environment(tmp_path / "env")
    write_image(tree, tmp_path / "a.tar", base=root)
    unpack(tmp_path / "a.tar", tmp_path / "unpacked")
    assert (tmp_path / "unpacked/etc/os-release").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / f"unpacked/{PYTHON[1:]}").read_text() == "an interpreter"
    assert (tmp_path / f"unpacked/env/{SITE}/alpha.py").exists()
    assert not (tmp_path / "unpacked/etc/passwd").exists()
    with tarfile.open(tmp_path / "root.tar.gz", "w:gz") as archive:
        archive.add(root, ".")
    image = write_image(tree, tmp_path / "b.tar", base=tmp_path / "root.tar.gz")
    plain = hashlib.sha256(gzip.decompress((tmp_path / "root.tar.gz").read_bytes())).hexdigest()
    assert image.layers[0] == f"sha256:{plain}"
    assert len(image.layers) == 2


def test_bases_that_do_not_fit(tmp_path: Path) -> None:
    """A folder where this machine has a link, an image, and no archive at all are refused."""
    tree = environment(tmp_path / "env")
    output = tmp_path / "image.tar"
    for place in Path(PYTHON).parents:
        if place.is_symlink():  # pragma: no cover
            pytest.skip("the interpreter is behind a link")
    root = tmp_path / "root"
    top = Path(PYTHON).parts[1]
    (root / "elsewhere").mkdir(parents=True)
    (root / top).symlink_to("elsewhere")
    with pytest.raises(InvalidValue, match=f"the base has a link at /{top}"):
        write_image(tree, output, base=root)
    with tarfile.open(tmp_path / "image-of-it.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("oci-layout"))
    with pytest.raises(InvalidValue, match="is an image"):
        write_image(tree, output, base=tmp_path / "image-of-it.tar")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(InvalidValue, match="is no tar archive"):
        write_image(tree, output, base=tmp_path / "text")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(bytes(4096))[:20])
    with pytest.raises(InvalidValue, match="is damaged"):
        write_image(tree, output, base=tmp_path / "cut.gz")
    assert not output.exists()


def test_data_of_this_machine(bubblewrap: str, tmp_path: Path) -> None:
    """An interpreter finds as many certificates and time zones as on this machine, if asked for."""
    tree, path, root = environment(tmp_path / "env"), tmp_path / "image.tar", tmp_path / "root"
    there = set()
    for kind, program in DATA.items():
        places = json.loads(subprocess.check_output([PYTHON, "-I", "-S", "-c", program]))
        if any(map(os.path.exists, places)):
            there.add(kind)
        else:
            with pytest.raises(InvalidValue, match=f"has no {kind} in"):
                write_image(tree, path, data=[kind])
    write_image(tree, path, data=there)
    unpack(path, root)
    program = "import ssl, zoneinfo; print(len(zoneinfo.available_timezones()), "
    program += "ssl.create_default_context().cert_store_stats())"
    found = run(bubblewrap, root, "/env/bin/python", "-I", "-S", "-c", program)
    here = subprocess.run(
        [PYTHON, "-I", "-S", "-c", program], capture_output=True, text=True, check=True, env={}
    )
    assert found == here.stdout


def test_bad_wishes(tmp_path: Path) -> None:
    """Names that no registry takes, absent programs and files that mean deletion are refused."""
    tree = environment(tmp_path / "env")
    output = tmp_path / "image.tar"
    with pytest.raises(InvalidValue, match="is no name of an image"):
        write_image(tree, output, name="Upper Case")
    with pytest.raises(InvalidValue, match="no program 'jupyter'"):
        write_image(tree, output, entrypoint=["jupyter", "lab"])
    (tree / SITE / ".wh.alpha.py").write_text("")
    with pytest.raises(InvalidValue, match="deleted"):
        write_image(tree, output)
    assert not [*tmp_path.glob(".image*"), *tmp_path.glob("*.tar")]
