"""The Python and the machine that an environment is for, which need not be those that run here."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from plxnix.errors import InvalidValue, MissingExtra

if TYPE_CHECKING:
    from packaging.markers import Environment
    from packaging.tags import Tag

__all__ = ["Target", "extra"]

#: What is taken of a platform that is named as Nix does: uv takes the same.
GLIBC: Final = (2, 28)
MUSL: Final = (1, 2)
MACOS: Final = (13, 0)

#: The oldest glibc of a manylinux tag by machine: `manylinux1` is older than other machines are.
_OLDEST_GLIBC: Final = {"x86_64": 5, "i686": 5}
_LEGACY: Final = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}

_PYTHON: Final = re.compile(r"3\.(\d{1,2})(?:\.(\d{1,3}))?(t?)")
_LINUX: Final = re.compile(r"(\w+?)-(linux|linux-musl|manylinux_2_(\d+)|musllinux_1_(\d+))")
_MACHINES: Final = ("x86_64", "aarch64", "i686", "armv7l", "ppc64le", "s390x", "riscv64")


def extra(name: str) -> Any:
    """Import a module of the extra `env`; raise `MissingExtra` if it is not installed."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingExtra(name.partition(".")[0], "env") from None


@dataclass(frozen=True)
class Target:
    """A CPython (`"3.11"`, `"3.11.4"`, `"3.13t"`) on a platform, named as Nix names it.

    Platforms: `x86_64-linux`, `aarch64-linux`, ..., with musl `x86_64-linux-musl`, with another
    glibc than 2.28 `x86_64-manylinux_2_35`, and `x86_64-darwin`, `aarch64-darwin`. Raises
    `InvalidValue` for others.
    """

    python: str = "3.11"
    platform: str = "x86_64-linux"

    def __post_init__(self) -> None:
        if not isinstance(self.python, str) or not _PYTHON.fullmatch(self.python):
            raise InvalidValue(f"not a version of Python: {self.python!r:.80}", "such as 3.11")
        self._parts()

    @classmethod
    def here(cls) -> Target:
        """The interpreter that runs this, on this kind of machine."""
        import platform

        machine = platform.machine()
        if sys.platform == "darwin":
            name = f"{'aarch64' if machine == 'arm64' else machine}-darwin"
        else:
            name = f"{machine}-linux"
            if not platform.libc_ver()[0]:
                name += "-musl"
        threads = "t" if "t" in getattr(sys, "abiflags", "") else ""
        return cls(f"{sys.version_info[0]}.{sys.version_info[1]}{threads}", name)

    @property
    def version(self) -> tuple[int, int]:
        """The two numbers of Python's version that tags have."""
        return (3, int(self._python()[1]))

    @property
    def series(self) -> str:
        """The version without its patch: `"3.11"`, `"3.13t"`."""
        return f"3.{self.version[1]}{self._python()[3]}"

    @property
    def machine(self) -> str:
        """The machine, as `uname -m` says it on Linux."""
        return self._parts()[0]

    def platforms(self) -> list[str]:
        """Return the platforms of wheels that run here, best first: the whole ladder."""
        machine, system, level = self._parts()
        if system == "darwin":
            tags = extra("packaging.tags")
            arch = "arm64" if machine == "aarch64" else machine
            return list(tags.mac_platforms(MACOS, arch))
        found = []
        if system == "musl":
            found += [f"musllinux_1_{minor}_{machine}" for minor in range(level, -1, -1)]
        else:
            for minor in range(level, _OLDEST_GLIBC.get(machine, 17) - 1, -1):
                found.append(f"manylinux_2_{minor}_{machine}")
                if minor in _LEGACY:
                    found.append(f"{_LEGACY[minor]}_{machine}")
        return [*found, f"linux_{machine}"]

    def tags(self) -> list[Tag]:
        """Return the tags of wheels that can be installed, best first (PEP 425)."""
        tags = extra("packaging.tags")
        major, minor = self.version
        interpreter = f"cp{major}{minor}"
        abi = interpreter + ("t" if self._python()[3] else "")
        platforms = self.platforms()
        return [
            *tags.cpython_tags((major, minor), abis=[abi], platforms=platforms),
            *tags.compatible_tags((major, minor), interpreter=interpreter, platforms=platforms),
        ]

    def markers(self) -> Environment:
        """Return what environment markers see; of Python's version the first patch, as for uv."""
        major, minor = self.version
        full = f"{major}.{minor}.{self._python()[2] or 0}"
        machine, system, _ = self._parts()
        mac = system == "darwin"
        return {
            "implementation_name": "cpython",
            "implementation_version": full,
            "os_name": "posix",
            "platform_machine": "arm64" if mac and machine == "aarch64" else machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Darwin" if mac else "Linux",
            "platform_version": "",
            "python_full_version": full,
            "python_version": f"{major}.{minor}",
            "sys_platform": "darwin" if mac else "linux",
        }

    def uv_platform(self) -> str:
        """Return the platform in the words of uv's `--python-platform`."""
        machine, system, level = self._parts()
        if system == "darwin":
            return f"{machine}-apple-darwin"
        if system == "musl":
            return f"{machine}-unknown-linux-musl"
        if machine in ("x86_64", "aarch64"):
            return f"{machine}-manylinux_2_{level}"
        return "riscv64-unknown-linux" if machine == "riscv64" else f"{machine}-unknown-linux-gnu"

    def __str__(self) -> str:
        return f"Python {self.python} on {self.platform}"

    def _python(self) -> re.Match[str]:
        found = _PYTHON.fullmatch(self.python)
        if found is None:
            raise InvalidValue(f"not a version of Python: {self.python!r}")
        return found

    def _parts(self) -> tuple[str, str, int]:
        if self.platform in ("x86_64-darwin", "aarch64-darwin"):
            return self.platform.partition("-")[0], "darwin", 0
        found = _LINUX.fullmatch(self.platform) if isinstance(self.platform, str) else None
        if found is None or found[1] not in _MACHINES:
            raise InvalidValue(
                f"not a platform that is known here: {self.platform!r:.80}",
                "such as x86_64-linux, aarch64-linux, x86_64-manylinux_2_35, x86_64-linux-musl, "
                "x86_64-darwin, aarch64-darwin",
            )
        if found[4] or found[2] == "linux-musl":
            return found[1], "musl", int(found[4] or MUSL[1])
        return found[1], "glibc", min(int(found[3] or GLIBC[1]), 99)
