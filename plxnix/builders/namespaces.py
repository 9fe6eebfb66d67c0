"""What a builder sees in the sandbox: namespaces of its own, and of this machine what is shown.

All of it are options of bubblewrap (bwrap(1)), chosen so that a builder sees what Nix shows it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from plxnix.errors import InvalidSetting
from plxnix.nix.paths import STORE

#: What the sandbox shows of this machine, read-only, where it exists: the toolchain `host`. Nix
#: sees the same with these as its setting `sandbox-paths`.
HOST_PATHS = (
    *("/bin", "/sbin", "/usr", "/lib", "/lib32", "/lib64", "/libx32"),
    *("/etc/alternatives", "/etc/ld.so.cache"),
)

#: Where the builder starts, and where it may leave what it likes.
FOLDER = "/build"

#: What root may write to in a new `/proc`, also from the sandbox, and must not.
_SETTINGS_OF_THE_KERNEL = ("/proc/mtrr", "/proc/sys", "/proc/sysrq-trigger")

#: Paths of the sandbox that are its own, and that nothing can take the place of.
_OWN = (STORE, FOLDER, "/proc", "/dev", "/etc/passwd", "/etc/group")

_ETC = {
    "passwd": "root:x:0:0:Nix build user:/build:/noshell\n"
    "nixbld:x:1000:100:Nix build user:/build:/noshell\n"
    "nobody:x:65534:65534:Nobody:/:/noshell\n",
    "group": "root:x:0:\nnixbld:!:100:\nnogroup:x:65534:\n",
}
_WITHOUT_NETWORK = {"hosts": "127.0.0.1 localhost\n::1 localhost\n"}
_WITH_NETWORK = {"nsswitch.conf": "hosts: files dns\nservices: files\n"}

#: What a builder with the network is shown of this machine beside, as by Nix.
_NETWORK_PATHS = ("/etc/resolv.conf", "/etc/services", "/etc/hosts")

#: Where the certificates of the machine's authorities are, and where the sandbox has them.
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
)

#: Namespaces of its own, the user and group of Nix's sandbox; the builder is process 1, as in Nix,
#: so that the kernel ends all that it has started when it exits.
_APART = (
    *("--unshare-user", "--uid", "1000", "--gid", "100", "--unshare-ipc", "--unshare-pid"),
    *("--unshare-uts", "--hostname", "localhost", "--unshare-cgroup-try"),
    *("--new-session", "--die-with-parent", "--as-pid-1", "--clearenv"),
)

#: Folders that hold others are root's where Nix has users who build: `mkdir "$HOME"` fails, as it
#: does there. These options come last, as nothing can be put there after them.
SEALED = ("--tmpfs", "/dev/shm", "--remount-ro", "/dev", "--remount-ro", "/")


def apart(network: bool = False) -> list[str]:
    """Return the options that part a builder from this machine; from its `network` if not said."""
    return [*_APART] if network else [*_APART, "--unshare-net"]


def machine(work: Path, network: bool, shown: Mapping[str, str]) -> list[str]:
    """Return the options that show a builder what it may see of this machine.

    `work` is a folder, in which files and the folders `build` and `tmp` are made. `shown` are
    further paths in the sandbox, with what is there.
    """
    options = ["--proc", "/proc", "--dev", "/dev"]
    for path in _SETTINGS_OF_THE_KERNEL:
        options += ["--ro-bind-try", path, path]
    for path in HOST_PATHS:
        options += ["--ro-bind-try", path, path]
    for folder, mode, place in (("tmp", 0o1777, "/tmp"), ("build", 0o700, FOLDER)):
        (work / folder).mkdir()
        (work / folder).chmod(mode)
        options += ["--bind", str(work / folder), place]
    for name, contents in {**_ETC, **(_WITH_NETWORK if network else _WITHOUT_NETWORK)}.items():
        file = work / name
        file.write_text(contents)
        options += ["--ro-bind", str(file), f"/etc/{name}"]
    if network:
        for path in _NETWORK_PATHS:
            options += ["--ro-bind-try", path, path]
        authorities = [os.environ.get("NIX_SSL_CERT_FILE", ""), *_CERTIFICATES]
        for path in [one for one in authorities if os.path.exists(one)][:1]:
            options += ["--ro-bind", os.path.realpath(path), _CERTIFICATES[0]]
    for inside, outside in shown.items():
        options += ["--ro-bind", outside, inside]
    return options


def shown_paths(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what `$PLXNIX_SANDBOX_PATHS` adds to the sandbox: paths here by paths there.

    They stand between colons, `/path` or `/inside=/outside`, as in Nix's `sandbox-paths`; with `?`
    at the end, one that is not there is left out. Raises `InvalidSetting`.
    """
    found: dict[str, str] = {}
    for word in environment.get("PLXNIX_SANDBOX_PATHS", "").split(":"):
        name, equals, outside = word.strip().removesuffix("?").partition("=")
        outside = outside if equals else name
        if not word.strip():
            continue
        inside = os.path.normpath(name)
        if not (name.startswith("/") and outside.startswith("/")) or name.startswith("//"):
            raise _unusable(word, "paths are absolute: /path or /inside=/outside")
        if any(f"{inside}/".startswith(f"{own}/") for own in _OWN):
            raise _unusable(word, f"it would take the place of what the sandbox has at {inside}")
        if any(f"{own}/".startswith(f"{inside.rstrip('/')}/") for own in (*_OWN, "/tmp")):
            raise _unusable(word, f"it would hide what the sandbox has below {inside}")
        if os.path.exists(outside):
            found[inside] = outside
        elif not word.strip().endswith("?"):
            raise _unusable(word, f"there is no {outside}; `{word.strip()}?` leaves it out then")
    return found


def _unusable(word: str, why: str) -> InvalidSetting:
    return InvalidSetting(f"PLXNIX_SANDBOX_PATHS holds {word!r}", why)
