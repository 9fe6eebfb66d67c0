"""A builder's program, run in a sandbox like that of Nix, without Nix.

Bubblewrap gives it namespaces of its own, in which `/nix/store` holds the inputs at the paths that
Nix would give them, and room for the output at its own. So a builder that writes its output's path
into its result gives the bytes that `nix-build` gives (Nix manual, "sandbox"; bwrap(1)).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from functools import cache
from hashlib import sha256
from pathlib import Path

from plxnix.builders.process import builder_environment, run_process
from plxnix.errors import BuildFailed, InvalidSetting
from plxnix.nix import base32
from plxnix.nix.derivation import Derivation, placeholder
from plxnix.nix.nar import dump
from plxnix.nix.paths import STORE
from plxnix.nix.quoting import encode

#: What the sandbox shows of this machine, read-only, where it exists: the toolchain `host`. Nix
#: sees the same with these as its setting `sandbox-paths`.
HOST_PATHS = (
    *("/bin", "/sbin", "/usr", "/lib", "/lib32", "/lib64", "/libx32"),
    *("/etc/alternatives", "/etc/ld.so.cache"),
)

#: Where the builder starts, and where it may leave what it likes.
FOLDER = "/build"

#: Starts a program under another name than its path; bubblewrap can do so since 0.9.
_PERL = (
    "/usr/bin/perl",
    "-e",
    'my $p = shift; exec {$p} @ARGV; die "cannot start $p: $!\\n"',
    "--",
)

#: What root may write to in a new `/proc`, also from the sandbox, and must not.
_SETTINGS_OF_THE_KERNEL = ("/proc/mtrr", "/proc/sys", "/proc/sysrq-trigger")

_ETC = {
    "passwd": "root:x:0:0:Nix build user:/build:/noshell\n"
    "nixbld:x:1000:100:Nix build user:/build:/noshell\n"
    "nobody:x:65534:65534:Nobody:/:/noshell\n",
    "group": "root:x:0:\nnixbld:!:100:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
}

#: Namespaces of its own, the user and group of Nix's sandbox; the builder is process 1, as in Nix,
#: so that the kernel ends all that it has started when it exits.
_APART = (
    *("--unshare-user", "--uid", "1000", "--gid", "100", "--unshare-ipc", "--unshare-pid"),
    *("--unshare-net", "--unshare-uts", "--hostname", "localhost", "--unshare-cgroup-try"),
    *("--new-session", "--die-with-parent", "--as-pid-1", "--clearenv"),
)


class Sandboxing(Enum):
    """Whether builders run in the sandbox: where it works, always, or never."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"

    @classmethod
    def parse(cls, text: str | None) -> Sandboxing:
        """Read a setting: `text`, else `$PLXNIX_SANDBOX`, else `auto`; raise `InvalidSetting`."""
        source = "sandbox" if text else "PLXNIX_SANDBOX"
        value = text or os.environ.get("PLXNIX_SANDBOX") or cls.AUTO.value
        try:
            return cls(value)
        except ValueError:
            raise InvalidSetting(f"{source} is {value!r}", "set it to auto, on or off") from None


def available() -> str | None:
    """Return the path of a bubblewrap that works here, or None; `why_not` says why.

    It is tried once a process and PATH; that costs some 10 ms.
    """
    return _probe(os.environ.get("PATH", os.defpath))[0]


def why_not() -> str:
    """Say why there is no sandbox; empty if there is."""
    return _probe(os.environ.get("PATH", os.defpath))[1]


@cache
def _probe(path: str) -> tuple[str | None, str]:
    import shutil
    import subprocess

    program = shutil.which("bwrap", path=path)
    if program is None:
        return None, "bubblewrap (bwrap) is not installed"
    command = [program, *_APART, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    try:
        trial = subprocess.run(
            [*command, "--", "/bin/sh", "-c", ":"],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{program} cannot be run: {error}"
    if trial.returncode != 0:
        said = trial.stderr.decode(errors="replace").strip()
        return None, f"{program} cannot make its namespaces: {said or trial.returncode}"
    return program, ""


def run_sandboxed(
    stage: str,
    bubblewrap: str,
    derivation: Derivation,
    inputs: Mapping[str, str],
    work: Path,
    write_log: Callable[[bytes], object],
) -> tuple[Path, list[str]]:
    """Run a derivation's builder; return where its output `out` is, and names of what is too much.

    `inputs` maps store paths to files or folders of this machine. `work` is an empty folder, in
    which everything is made that the builder may write to; the output is left in it, as the builder
    made it. What else was written to the store folder is named, and not to be used. Output goes to
    `write_log`. Raises `BuildFailed` if the builder cannot be started or does not exit with 0, or
    if there is no output, or one that Nix would refuse (see `check_output`).
    """
    _check_runnable(stage, derivation, inputs)
    store, build, temporary = work / "store", work / "build", work / "tmp"
    for folder, mode in ((store, 0o1775), (build, 0o700), (temporary, 0o1777)):
        folder.mkdir()
        folder.chmod(mode)
    variables = builder_environment(derivation.env, FOLDER)
    # As Nix does: in variables and arguments, not in the builder.
    own = {placeholder(name): one.path for name, one in derivation.outputs.items()}
    variables = {name: _rewritten(value, own) for name, value in variables.items()}
    _pass_as_files(variables, build)
    options = [*_APART, "--proc", "/proc", "--dev", "/dev"]
    for path in _SETTINGS_OF_THE_KERNEL:
        options += ["--ro-bind-try", path, path]
    for path in HOST_PATHS:
        options += ["--ro-bind-try", path, path]
    options += ["--bind", str(temporary), "/tmp", "--bind", str(build), FOLDER]
    for name, contents in _ETC.items():
        file = work / name
        file.write_text(contents)
        options += ["--ro-bind", str(file), f"/etc/{name}"]
    options += ["--bind", str(store), STORE]
    for path, place in inputs.items():
        options += ["--ro-bind", place, path]
    for name, value in variables.items():
        options += ["--setenv", name, value]
    options += ["--chdir", FOLDER]
    descriptor = os.memfd_create("bwrap")
    try:
        with open(descriptor, "wb", closefd=False) as file_of_options:
            file_of_options.write(b"".join(encode(option) + b"\0" for option in options))
        os.lseek(descriptor, 0, os.SEEK_SET)
        # Only options can be handed over in a file, and the variables must not reach bwrap itself.
        command = ["--args", str(descriptor), *_program(bubblewrap, derivation)]
        command += [_rewritten(argument, own) for argument in derivation.args]
        encoded = [os.fsdecode(encode(word)) for word in command]
        run_process(stage, bubblewrap, encoded, {}, str(build), write_log, (descriptor,))
    finally:
        os.close(descriptor)
    output = store / os.path.basename(derivation.outputs["out"].path)
    known = {output.name, *map(os.path.basename, inputs)}
    strays = sorted(name for name in os.listdir(store) if name not in known)
    check_output(stage, output)
    return output, strays


def is_exact(bubblewrap: str, derivation: Derivation) -> bool:
    """Tell whether the builder is called by its bare name, as Nix does; old bubblewraps cannot.

    Perl stands in for those where it is there, and where no variable has a meaning for it.
    """
    return len(_program(bubblewrap, derivation)) > 2


def _program(bubblewrap: str, derivation: Derivation) -> list[str]:
    """Return the words that start the builder, without its arguments."""
    builder = derivation.builder
    name = os.path.basename(builder)
    if _names_programs(bubblewrap):
        return ["--argv0", name, "--", builder]
    if os.access(_PERL[0], os.X_OK) and not any(key.startswith("PERL") for key in derivation.env):
        return ["--", *_PERL, builder, name]
    return ["--", builder]


@cache
def _names_programs(bubblewrap: str) -> bool:
    import subprocess

    shown = subprocess.run(
        [bubblewrap, "--help"], check=False, capture_output=True, stdin=subprocess.DEVNULL
    )
    return b"--argv0" in shown.stdout


def _rewritten(text: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text


def _check_runnable(stage: str, derivation: Derivation, inputs: Mapping[str, str]) -> None:
    if "__structuredAttrs" in derivation.env or "__json" in derivation.env:
        raise BuildFailed(
            f"{stage} has structured attributes, which are not supported outside of Nix",
            "leave __structuredAttrs out",
            stage,
        )
    builder = derivation.builder
    shown = [(path, path) for path in HOST_PATHS] + list(inputs.items())
    for path, place in shown:
        if builder == path or builder.startswith(path + "/"):
            if os.access(place + builder[len(path) :], os.X_OK):
                return
            raise BuildFailed(
                f"cannot start {builder!r}, the builder of {stage}",
                "is it an executable file?",
                stage,
            )
    raise BuildFailed(
        f"cannot start {builder!r}, the builder of {stage}: it is not in the sandbox",
        f"there are {', '.join(HOST_PATHS[:3])} and what the stage refers to; "
        "--sandbox off or PLXNIX_SANDBOX=off shows the whole machine",
        stage,
    )


def _pass_as_files(variables: dict[str, str], folder: Path) -> None:
    """Put variables named by `passAsFile` into files, as Nix does, with variables for the paths."""
    for name in variables.get("passAsFile", "").split():
        if name in variables:
            file = f".attr-{base32.encode(sha256(encode(name)).digest())}"
            (folder / file).write_bytes(encode(variables.pop(name)))
            variables[f"{name}Path"] = f"{FOLDER}/{file}"


def check_output(stage: str, output: Path) -> None:
    """Refuse an output that Nix would not make: none, a fifo or the like, setuid or setgid files.

    Folders are made readable and writable for their owner on the way. Nothing is followed. Raises
    `BuildFailed`.
    """
    if output.is_symlink() or not output.exists():
        raise BuildFailed(
            f"the builder of {stage} exited with 0 but made "
            f"{'a link' if output.is_symlink() else 'nothing'} at $out",
            'a builder makes a file or a folder at "$out"',
            stage,
        )
    waiting = [(os.fspath(output), os.lstat(output))]
    while waiting:
        path, found = waiting.pop()
        mode = found.st_mode
        if stat.S_ISDIR(mode):
            if mode & 0o700 != 0o700:
                os.chmod(path, stat.S_IMODE(mode) | 0o700)
            with os.scandir(path) as entries:
                waiting += [(one.path, one.stat(follow_symlinks=False)) for one in entries]
        elif stat.S_ISREG(mode):
            if mode & (stat.S_ISUID | stat.S_ISGID):
                raise _refused(stage, path, output, "a file with setuid or setgid permission")
            if not mode & 0o400:
                os.chmod(path, stat.S_IMODE(mode) | 0o400)
        elif not stat.S_ISLNK(mode):
            raise _refused(stage, path, output, "which is neither a file nor a folder nor a link")


def _refused(stage: str, path: str, output: Path, what: str) -> BuildFailed:
    place = "$out" + path[len(os.fspath(output)) :]
    return BuildFailed(
        f"the builder of {stage} left {place!r}, {what}", "Nix would not have it either", stage
    )


def find_references(output: Path, candidates: Collection[str]) -> set[str]:
    """Return those store paths of `candidates` that the output refers to, found as Nix finds them.

    That is by their 32 digits, in contents, names and targets of links. Cost: reads all of it once.
    Raises `NixFormatError` and `OSError` as `dump` does.
    """
    start = len(STORE) + 1
    missing = {encode(path[start : start + 32]): path for path in candidates}
    found: set[str] = set()
    before = b""
    for piece in dump(output) if missing else ():
        window = before + piece
        for digits in [one for one in missing if one in window]:
            found.add(missing.pop(digits))
        before = window[-31:]
    return found
