"""Nix's own fetchers: the derivation that a fetch is in Nix, and fetching by it (`via="nix"`).

What is fetched is put by Nix at the path that the name and the hash say, and taken from there, so
who has fetched a file cannot be told by the result. What goes wrong is told by the same classes of
errors, with the same fields, as by the native downloader.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plxnix.builders.sources import hashed_mirrors_from, redact, sources
from plxnix.config import Config
from plxnix.errors import (
    ArchiveError,
    DownloadFailed,
    HashMismatch,
    InvalidSetting,
    InvalidValue,
    ToolFailed,
)
from plxnix.nix.graph import FixedOutput, Node, text
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import sanitise_name
from plxnix.recipes.shared import setting, take_file, take_tree
from plxnix.recipes.urls import expanded

if TYPE_CHECKING:
    from plxnix.recipes.recipe import Job

#: Variables that Nix passes on to its own downloader, as its `fetchurl.nix` names them.
PROXIES = "http_proxy https_proxy ftp_proxy all_proxy no_proxy"

#: The first Nix whose `builtin:fetchurl` looks at certificates (CVE-2024-47174).
VERIFIES: Final = (2, 24, 8)

_NO_ARCHIVE: Final = re.compile("[Ff]ailed to (?:open|extract) archive|number of top-level files")

_WAYS: Final = ("native", "nix")


def check_way(via: str | None) -> None:
    """Raise `InvalidValue` if `via` names no way to fetch."""
    if via is not None and via not in _WAYS:
        raise InvalidValue(f"via is {via!r}", "it is 'native' or 'nix'")


def by_nix(via: str | None) -> bool:
    """Tell whether Nix is to fetch: by the recipe's `via`, else by `$PLXNIX_FETCH`.

    Raises `InvalidSetting`, also if the Nix store was said not to be looked into.
    """
    way = via or os.environ.get("PLXNIX_FETCH") or "native"
    if way not in _WAYS:
        raise InvalidSetting(f"PLXNIX_FETCH is {way!r}", "set it to native or nix")
    if way == "nix" and setting() == "off":
        raise InvalidSetting(
            "Nix is to fetch, but PLXNIX_NIX_STORE is off, so nothing may be taken from its store",
            "unset PLXNIX_NIX_STORE, or fetch natively: PLXNIX_FETCH=native, via='native'",
        )
    return way == "nix"


def fetch_node(config: Config, digest: Hash | None = None, url: str | None = None) -> Node:
    """Return the derivation of Nix's `<nix/fetchurl.nix>`, attribute for attribute.

    The first URL is the one that Nix itself uses, a mirror's first place in its stead; the others
    are for our downloader and for the nixpkgs toolchain. `digest` is the file's if that is not the
    config's `hash`, and `url` is another place of it.
    """
    url = expanded(config["url"] if url is None else url)[0]
    return Node(
        name=sanitise_name(config["filename"]),
        system="builtin",
        builder=text("builtin:fetchurl"),
        args=(),
        env={
            "executable": text(""),
            "impureEnvVars": text(PROXIES),
            "preferLocalBuild": text("1"),
            "unpack": text(""),
            "url": text(url),
            "urls": text(url),
        },
        fixed=FixedOutput(digest or Hash.parse(config["hash"])),
        comment=str(config.dref),
    )


def fetch_file(job: Job, urls: Sequence[str], file: Path, digest: Hash) -> None:
    """Let Nix fetch a file from the first of its sources that has it, and take it from its store.

    Each source is a derivation of its own, all with the same output. Raises `DownloadFailed`,
    `HashMismatch`, `ToolMissing`; `ToolFailed` for what is no fault of the network.
    """
    name = sanitise_name(job.config["filename"])

    def fetch(url: str, root: Path) -> None:
        realise(job, fetch_node(job.config, digest, url), root, _options(job, url))

    candidates = sources(urls, digest, hashed_mirrors=hashed_mirrors_from())
    root = _first(name, candidates, fetch, job.folder() / "result")
    take(take_file(name, digest, file, job.said), root)


def fetch_tree(job: Job, urls: Sequence[str], tree: Path, digest: Hash) -> None:
    """Let Nix fetch and unpack an archive by `builtins.fetchTarball`, and take the tree.

    Raises what `fetch_file` raises, and `ArchiveError`.
    """
    from plxnix.nix import tools
    from plxnix.nix.text import string

    name = job.config.name

    def fetch(url: str, root: Path) -> None:
        call = (
            f"builtins.fetchTarball {{ url = {string(url)}; name = {string(name)}; "
            f'sha256 = "{digest.base32}"; }}'
        )
        # By standard input: arguments can be seen by everybody on this machine.
        options = ("--eval", "--read-write-mode", "--option", "tarball-ttl", "0")
        printed = tools.run(
            "nix-instantiate",
            *options,
            *_options(job, url, verifies=True),
            "-",
            input=call.encode(),
        )
        tools.add_root(printed.strip().strip('"'), root)

    root = _first(name, sources(urls, None), fetch, job.folder() / "result")
    take(take_tree(name, digest, tree, job.said), root)


def realise(job: Job, node: Node, root: Path, options: Sequence[str] = ()) -> str:
    """Register a fixed-output derivation without inputs, build it, and return its store path.

    `root` becomes a link to it that keeps it from Nix's collection. Raises `ToolFailed`.
    """
    from plxnix.nix import tools
    from plxnix.nix.stream import StoreFile, export_stream

    derivation = job.lowering.instantiation.derivation(node)
    tools.import_paths(export_stream([StoreFile(derivation.path, derivation.aterm())]))
    tools.run(
        *("nix-store", "--realise", derivation.path, "--add-root", root, "--indirect"),
        *options,
        timeout=tools.BUILD_TIMEOUT,
    )
    return derivation.outputs["out"].path


def failure(name: str, error: ToolFailed, url: str) -> Exception:
    """Return what a failure of Nix means, in the classes of the native downloader.

    `DownloadFailed` if a download failed, `HashMismatch`, `ArchiveError`; else the error as it is.
    Messages hold a line for each try, or else Nix's last lines, and no credentials.
    """
    from plxnix.nix import faults
    from plxnix.nix.tools import last_lines

    shown = redact(url)
    differing = faults.mismatch(error.stderr)
    if differing is not None:
        specified, got = differing
        return HashMismatch(
            f"'{name}' from '{shown}', fetched by Nix, has another hash than specified\n"
            f"  specified: {specified.sri}\n  got:       {got.sri}",
            f"if the new contents are right, set {got.algorithm} to '{got.sri}'",
            expected=specified.sri,
            found=got.sri,
        )
    tries = [f"{redact(one.url)}: {one.reason}" for one in faults.attempts(error.stderr)]
    if tries:
        return _not_downloaded(name, tries)
    if _NO_ARCHIVE.search(error.stderr):
        return ArchiveError(
            f"what Nix has downloaded from '{shown}' is no archive of one folder:"
            + last_lines(redact(error.stderr)),
            "fetch it as a file and unpack it by a stage: unpack(fetchurl(...))",
        )
    return ToolFailed(redact(error.message), error.hint, error.status, redact(error.stderr))


def _first(
    name: str, candidates: Sequence[str], fetch: Callable[[str, Path], None], root: Path
) -> Path:
    """Fetch from the first source that has what is wanted; else raise as the downloader does."""
    tries: list[str] = []
    mismatch: HashMismatch | None = None
    for url in candidates:
        try:
            fetch(url, root)
        except ToolFailed as error:
            found = failure(name, error, url)
        else:
            return root
        match found:
            case HashMismatch():
                mismatch = found
            case DownloadFailed():
                tries += found.attempts
            case _:
                raise found
    if mismatch is not None:
        raise mismatch
    raise _not_downloaded(name, tries)


def _not_downloaded(name: str, tries: Sequence[str]) -> DownloadFailed:
    # Not Nix's own words: a server's page may be among them.
    lines = "".join(f"\n  {line}" for line in dict.fromkeys(tries))
    return DownloadFailed(
        f"'{name}' could not be downloaded by Nix:{lines}",
        "check the URL and the network; PLXNIX_FETCH=native does it without Nix",
        tries,
    )


def take(done: bool, root: Path) -> None:
    """Check that what Nix has just made could be taken."""
    if not done:
        raise DownloadFailed(
            f"Nix has made {os.readlink(root)}, but it could not be taken from there",
            "`plxnix realize` says why; `nix-store --verify --check-contents` checks the store",
        )


def _options(job: Job, url: str, verifies: bool = False) -> list[str]:
    """Return the settings of Nix that stand for ours: patience, and credentials.

    Before `VERIFIES`, a file is fetched from whoever answers for the host, so it gets no
    credentials for https; `verifies` says that these certificates are looked at in any case.
    """
    from plxnix.builders.download_settings import DownloadSettings
    from plxnix.builders.surroundings import netrc_path
    from plxnix.nix import tools

    ours = DownloadSettings.from_environment()
    options: list[str] = []
    for variable, option, value in (
        ("PLXNIX_CONNECT_TIMEOUT", "connect-timeout", ours.connect_timeout),
        ("PLXNIX_STALL_TIMEOUT", "stalled-download-timeout", ours.stall_timeout),
        ("PLXNIX_DOWNLOAD_TRIES", "download-attempts", ours.tries),
    ):
        if os.environ.get(variable):
            options += ["--option", option, str(math.ceil(value))]
    netrc = netrc_path()
    if os.path.exists(netrc):
        if verifies or not url.lower().startswith("https:") or tools.version() >= VERIFIES:
            options += ["--option", "netrc-file", os.path.abspath(netrc)]
        else:
            job.said(f"credentials are kept from this Nix, which checks no certificates: {netrc}")
    return options


def host_paths() -> list[str]:
    """Return the settings by which Nix's sandbox shows the programs of this machine."""
    from plxnix.builders.namespaces import HOST_PATHS

    paths = [path for path in (*HOST_PATHS, "/etc/ssl") if os.path.exists(path)]
    return ["--option", "extra-sandbox-paths", " ".join(paths)]
