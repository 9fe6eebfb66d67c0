"""The names that Pylightnix's module `utils` has."""

from plxnix.compat.pylightnix.files import *
from plxnix.compat.pylightnix.graphs import *
from plxnix.compat.pylightnix.hashing import *
from plxnix.compat.pylightnix.timing import *
from plxnix.compat.pylightnix.values import *
