"""The hash of code: a function's source with all that it uses of the user's own modules.

What is found is a graph of definitions. It is found by reading, never by running: names are looked
up in the source of the modules, and only what source does not tell (what a closure holds, what a
cell of a notebook sees) is looked up in the objects. Of Python, of installed packages and of plxnix
itself only the names count.

Not seen are names made at run time (`getattr(module, name)`, `globals()[name]`, `eval`), the type
of an object that a parameter receives unless it is annotated, and data files. `sourcedeps` of
`autostage` adds what is missing.
"""

from __future__ import annotations

from plxnix.codehash.hashes import STAGE_DECORATORS, codehash, explain

__all__ = ["STAGE_DECORATORS", "codehash", "explain"]
