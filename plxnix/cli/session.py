"""The session: what all commands share, that is the global options, the console and the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from plxnix.cli.console import Console
from plxnix.errors import DownloadFailed, PlxnixError, StoreError, TargetError

if TYPE_CHECKING:
    from plxnix.model import DRef
    from plxnix.store import Store

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One run of the command line."""

    def __init__(self) -> None:
        self.console = Console()
        self.place: str | None = None
        self.debug = False

    def store(self, create: bool = False) -> Store:
        """Open the store that is meant.

        That is the one of `--store`, else of `PLXNIX_ROOT`, else the default one. With `create` it
        is made if it does not exist, except that of `--store`: there it is taken for a typing
        error. Raises what `Store` raises.
        """
        from plxnix.store import Store
        from plxnix.store.settings import default_root
        from plxnix.store.sharing import intruders

        if self.place is not None:
            store = Store(self.place)
        else:
            store = Store.init(default_root()) if create else Store(default_root())
        if intruders(store.root) == "everybody":
            self.console.warn(f"everybody may write into the store {store.root}: chmod o-w it")
        return store

    def keep(self, store: Store, drefs: Iterable[DRef]) -> None:
        """Keep derivations from garbage collection until the command ends (`Store.keeping`)."""
        click.get_current_context().with_resource(store.keeping(drefs, self.console.say))

    def confirm(self, question: str) -> None:
        """Ask before something is deleted; raise `StoreError` if the answer is no."""
        if not self.console.confirm(question):
            raise StoreError("nothing was deleted", "answer y, or say --yes")

    def report(self, error: BaseException, hint: str = "", details: Sequence[str] = ()) -> None:
        """Print an error, with its traceback if `--debug` asks for it."""
        if self.debug:
            import traceback

            self.console.talk("".join(traceback.format_exception(error)).rstrip())
        if isinstance(error, PlxnixError):
            if isinstance(error, DownloadFailed):
                more = [line for line in error.attempts if line not in error.message]
                details = [*more, *details]
            elif isinstance(error, TargetError):
                details = [*error.frames, *details]
            self.console.error(error.message, hint or error.hint, details)
        elif isinstance(error, OSError):
            place = f"{error.filename!r}: " if error.filename else ""
            self.console.error(f"{place}{error.strerror or error}", hint, details)
        else:
            self.console.error(f"{type(error).__name__}: {error}", hint, details)


pass_session = click.make_pass_decorator(Session)


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        session = context.find_object(Session)
        source = context.get_parameter_source(parameter.name or "")
        if session is None or source is click.core.ParameterSource.DEFAULT:
            return
        if name in ("place", "debug"):
            setattr(session, name, value)
        else:
            setattr(session.console, name, value)

    return callback


def global_options(hidden: bool = False) -> list[click.Parameter]:
    """Return the options that may be given before a command's name and after it."""

    def option(*names: str, to: str, **attributes: Any) -> click.Option:
        return click.Option(
            list(names), expose_value=False, hidden=hidden, callback=_set(to), **attributes
        )

    return [
        option(
            "--store",
            to="place",
            metavar="FOLDER",
            help="The store; else that of PLXNIX_ROOT, else ~/.local/share/plxnix.",
        ),
        option("-q", "--quiet", to="quiet", is_flag=True, help="Print results and errors only."),
        option("-v", "--verbose", to="verbose", is_flag=True, help="Print more of what is done."),
        option(
            "--color",
            to="color",
            type=click.Choice(["auto", "always", "never"]),
            help="When to draw in colours; auto honours NO_COLOR.",
        ),
        option("--debug", to="debug", is_flag=True, help="Show the traceback of an error."),
    ]


class Command(click.Command):
    """A command that takes the global options too, and has examples in its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = examples

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters, and the global ones, which its help leaves out."""
        *own, help_option = super().get_params(ctx)
        return [*own, *global_options(hidden=True), help_option]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the pieces behind the name, which may itself stand for an argument (`FOLDER`)."""
        return [piece for piece in super().collect_usage_pieces(ctx) if piece != self.name]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, line by line."""
        del ctx
        with formatter.section("Examples"):
            for line in self.examples:
                formatter.write(f"  {line}\n")


def command(name: str, *examples: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command of plxnix, which the table of commands has to have."""
    return click.command(name, cls=Command, examples=examples)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: sizes in bytes, times in seconds (epoch)."
)
latest_option = click.option(
    "--latest", is_flag=True, help="Of several realizations, take the one that was started last."
)


def _references(context: click.Context, parameter: click.Parameter, begun: str) -> list[Any]:
    """Complete the names of derivations; nothing goes wrong where there is no store."""
    del parameter
    session = context.find_object(Session) or Session()
    try:
        names = {str(dref.name) for dref in session.store().derivations()}
    except (PlxnixError, OSError):
        return []
    return sorted(name for name in names if name.startswith(begun))


def reference_argument(
    name: str = "reference", metavar: str = "REF", required: bool = True, many: bool = False
) -> Callable[[F], F]:
    """Make an argument that is a reference, or several."""
    return click.argument(
        name,
        metavar=metavar,
        required=required,
        nargs=-1 if many else 1,
        shell_complete=_references,
    )
