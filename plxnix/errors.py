"""The one tree of errors that plxnix raises.

Every message says what was wrong, shows the value, and says what to do. Classes carry what a
program would want to read back (`dref`, `path`, `expected`, `found`, ...) as attributes, and
derive from the built-in error that fits as well, so that `except ValueError` and `except KeyError`
work as usual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class PlxnixError(Exception):
    """Base of all errors that plxnix raises on purpose.

    `message` says what was wrong, with the value; `hint` (may be empty) says what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Subclasses have constructors of their own, so an error that crosses a process boundary is
        # rebuilt without calling them.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(
    kind: type[PlxnixError], args: tuple[object, ...], fields: dict[str, object]
) -> object:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


# -- values ------------------------------------------------------------------------------------


class InvalidValue(PlxnixError, ValueError):
    """A value that a user or a file gave is not of the form it must have."""


class InvalidName(InvalidValue):
    """A stage's name breaks Nix's rule for store names."""


class InvalidReference(InvalidValue):
    """A string is not a derivation or realization reference."""


class InvalidRefpath(InvalidValue):
    """A refpath is malformed or leads outside its realization."""


class InvalidConfig(InvalidValue):
    """A config holds something that is not plain JSON; `where` is the path to it."""

    def __init__(self, message: str, hint: str = "", where: str = "") -> None:
        super().__init__(message, hint)
        self.where = where


class InvalidHash(InvalidValue):
    """A hash is not of any form that Nix reads."""


class InvalidSetting(InvalidValue):
    """A setting (an environment variable or an argument) has an unusable value."""


class LensError(InvalidValue):
    """A lens was led to a field that is not there, or asked for what the value is not."""


class CodeHashError(PlxnixError):
    """The source of a function cannot be found or read, so it cannot be hashed."""


class UnknownStage(PlxnixError, KeyError):
    """A file or module has no stage of that name."""


class TargetError(PlxnixError):
    """A file or module of stages raised; `frames` are the places in it, innermost last."""

    def __init__(self, message: str, hint: str = "", frames: Sequence[str] = ()) -> None:
        super().__init__(message, hint)
        self.frames = tuple(frames)


# -- formats of Nix ----------------------------------------------------------------------------


class NixFormatError(InvalidValue):
    """Bytes or text are not in the Nix format (NAR, ATerm, narinfo) that they should be in."""


# -- store -------------------------------------------------------------------------------------


class StoreError(PlxnixError):
    """The native store cannot do what was asked."""


class StoreNotFound(StoreError, FileNotFoundError):
    """There is no store at this place."""


class StoreVersionError(StoreError):
    """The store has a newer format than this plxnix knows, or one that has to be migrated."""


class NotInStore(StoreError, KeyError):
    """A reference is well formed, but the store does not have it; `reference` is it."""

    def __init__(self, message: str, hint: str = "", reference: str = "") -> None:
        super().__init__(message, hint)
        self.reference = reference


class StoreUnreadable(StoreError, OSError):
    """The system cannot read something in the store; the cause is its own error."""


class CorruptEntry(StoreError):
    """Something in the store is not what was put there; `path` is the place."""

    def __init__(self, message: str, hint: str = "", path: str = "") -> None:
        super().__init__(message, hint)
        self.path = path


# -- realizing ---------------------------------------------------------------------------------


class NoRegistry(PlxnixError):
    """A stage was called where no registry is current."""


class RecursiveInstantiate(PlxnixError):
    """`instantiate` was called by a stage that is being instantiated in the same registry."""


class RealizeError(PlxnixError):
    """A stage could not be realized; `dref` names it."""

    def __init__(self, message: str, hint: str = "", dref: str = "") -> None:
        super().__init__(message, hint)
        self.dref = dref


class MissingRealizer(RealizeError):
    """A dependency is known by reference only: the registry has no realizer for it."""


class BuildFailed(RealizeError):
    """A realizer raised, or a builder's process failed; `log` is where its output is, if kept."""

    def __init__(self, message: str, hint: str = "", dref: str = "", log: str = "") -> None:
        super().__init__(message, hint, dref)
        self.log = log


class PromiseMissing(RealizeError):
    """A realizer did not produce what its config promised; `missing` lists the relative paths."""

    def __init__(
        self, message: str, hint: str = "", dref: str = "", missing: Sequence[str] = ()
    ) -> None:
        super().__init__(message, hint, dref)
        self.missing = tuple(missing)


class MatcherUnsatisfied(RealizeError):
    """The matcher asked for more even after the realizer had run."""


class AmbiguousMatch(RealizeError):
    """`match_only` found more than one realization; `candidates` lists them."""

    def __init__(
        self, message: str, hint: str = "", dref: str = "", candidates: Sequence[str] = ()
    ) -> None:
        super().__init__(message, hint, dref)
        self.candidates = tuple(candidates)


class NotRealized(RealizeError):
    """A stage that was said to be realized is not."""


class StagesFailed(RealizeError):
    """Stages could not be realized while others went on; `failures` has the error of each.

    `skipped` are the derivations that were not tried, as they depend on those.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        dref: str = "",
        failures: Mapping[str, Exception] | None = None,
        skipped: Sequence[str] = (),
    ) -> None:
        super().__init__(message, hint, dref)
        self.failures = dict(failures or {})
        self.skipped = tuple(skipped)


# -- fetching and unpacking --------------------------------------------------------------------


class FetchError(PlxnixError):
    """Something could not be fetched."""


class DownloadFailed(FetchError):
    """Every source of a file failed; `attempts` holds a line for each try."""

    def __init__(self, message: str, hint: str = "", attempts: Sequence[str] = ()) -> None:
        super().__init__(message, hint)
        self.attempts = tuple(attempts)


class HashMismatch(FetchError, ValueError):
    """Contents have another hash than was specified; both are given in SRI form."""

    def __init__(self, message: str, hint: str = "", expected: str = "", found: str = "") -> None:
        super().__init__(message, hint)
        self.expected = expected
        self.found = found


class ArchiveError(PlxnixError):
    """An archive cannot be read: damaged, or of a kind that is not known."""


class HostileArchive(ArchiveError):
    """An archive holds a member that would leave its folder or overwhelm the machine."""


# -- locks -------------------------------------------------------------------------------------


class UnknownSource(PlxnixError, KeyError):
    """A lock has no source of that name."""


class LockChanged(PlxnixError):
    """A lock was changed by somebody else meanwhile, in the very place that was to be changed."""


class InvalidLock(InvalidValue):
    """The lock of a Python environment cannot be used; `package` is what is wrong in it, if one."""

    def __init__(self, message: str, hint: str = "", package: str = "") -> None:
        super().__init__(message, hint)
        self.package = package


class NoDistribution(PlxnixError):
    """A lock has nothing of `package` that the target can install."""

    def __init__(self, message: str, hint: str = "", package: str = "") -> None:
        super().__init__(message, hint)
        self.package = package


class ResolutionFailed(PlxnixError):
    """Requirements cannot be resolved; the message has the resolver's own explanation."""


# -- export and Nix programs -------------------------------------------------------------------


class ExportError(PlxnixError):
    """A graph cannot be written as Nix."""


class Unexportable(ExportError):
    """One stage cannot be exported; `dref` names it."""

    def __init__(self, message: str, hint: str = "", dref: str = "") -> None:
        super().__init__(message, hint)
        self.dref = dref


class ToolMissing(PlxnixError, FileNotFoundError):
    """A program that is needed is not installed."""


class ToolFailed(PlxnixError):
    """A program that plxnix ran exited with an error; `status` and `stderr` are its own."""

    def __init__(self, message: str, hint: str = "", status: int = 1, stderr: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.stderr = stderr


class MissingExtra(PlxnixError, ImportError):
    """An optional dependency is not installed; `extra` names the extra that brings it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package '{package}', which is not installed",
            f"pip install 'plxnix[{extra}]'",
        )
        self.extra = extra
