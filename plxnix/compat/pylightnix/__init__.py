"""Pylightnix's interface, over plxnix: `from plxnix.compat.pylightnix import ...`.

Names, signatures and behaviour are those of the last Pylightnix; the store, the hashes and the
realizing are plxnix's. Errors are plxnix's too, and each is an `AssertionError` as well.
"""

from plxnix.compat.pylightnix.build import *  # noqa: F403
from plxnix.compat.pylightnix.core import *  # noqa: F403
from plxnix.compat.pylightnix.imports import *  # noqa: F403
from plxnix.compat.pylightnix.types import *  # noqa: F403
from plxnix.compat.pylightnix.utils import *  # noqa: F403
