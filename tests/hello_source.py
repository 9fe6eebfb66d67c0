"""The tarball of GNU Hello 2.10, which Debian's source package `hello` carries unchanged.

It is fetched once and kept in the folder that `PLXNIX_TEST_CACHE` names, or else in one below the
folder for temporary files. Its hash is checked each time, so it does not matter who serves it: a
file `hello-2.10.tar.gz` that was put there by hand will do.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import missing

SHA256 = "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b"

#: Looked up when this is imported: within tests, no such variable is set.
CACHE = Path(
    os.environ.get("PLXNIX_TEST_CACHE")
    or Path(tempfile.gettempdir()) / f"plxnix-test-cache-{os.getuid()}"
)


def hello_tarball() -> Path:
    """Return the path of the tarball; without it, the test is skipped, or fails with `CI=true`."""
    CACHE.mkdir(parents=True, exist_ok=True)
    kept = CACHE / "hello-2.10.tar.gz"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            fetched = _fetch(Path(folder))
            # In one step, since other workers may be doing the same.
            os.replace(fetched, kept)
    found = hashlib.sha256(kept.read_bytes()).hexdigest()
    if found != SHA256:
        missing(f"{kept} is not the tarball of GNU Hello 2.10: its sha256 is {found}; remove it")
    return kept


def _fetch(folder: Path) -> Path:
    """Fetch Debian's source package with apt, from where this machine gets its packages."""
    if shutil.which("apt-get") is None:
        missing(f"put hello-2.10.tar.gz, of GNU Hello, into {CACHE}: there is no apt-get here")
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    sources = folder / "sources.list"
    sources.write_text("".join(f"deb-src [trusted=yes] {line}\n" for line in _archives()))
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    for command in (("update",), ("source", "--download-only", "hello")):
        result = subprocess.run(
            ["apt-get", "-q", *options, *command],
            check=False,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if result.returncode != 0:
            missing(f"apt-get {command[0]} cannot fetch the source of hello: {result.stderr}")
    found = list(folder.glob("hello_2.10*.orig.tar.gz"))
    if not found:
        missing(f"Debian's hello is not 2.10 here; put hello-2.10.tar.gz into {CACHE}")
    return found[0]


def _archives() -> list[str]:
    """Return where this machine gets its packages, without saying so in this repository."""
    printed = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Identifier: Packages",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [line for line in dict.fromkeys(printed.splitlines()) if line.endswith(" main")]
