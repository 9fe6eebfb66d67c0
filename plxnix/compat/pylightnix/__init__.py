"""Pylightnix's interface, over plxnix: `from plxnix.compat.pylightnix import ...`.

Names, signatures and behaviour are those of the last Pylightnix; the store, the hashes and the
realizing are plxnix's. Errors are plxnix's too, and each is an `AssertionError` as well.
"""

from plxnix.compat.pylightnix.arch import *
from plxnix.compat.pylightnix.bashlike import *
from plxnix.compat.pylightnix.build import *
from plxnix.compat.pylightnix.core import *
from plxnix.compat.pylightnix.deco import *
from plxnix.compat.pylightnix.either import *
from plxnix.compat.pylightnix.garb import *
from plxnix.compat.pylightnix.imports import *
from plxnix.compat.pylightnix.lens import *
from plxnix.compat.pylightnix.repl import *
from plxnix.compat.pylightnix.stages import *
from plxnix.compat.pylightnix.types import *
from plxnix.compat.pylightnix.utils import *
from plxnix.version import VERSION as __version__
