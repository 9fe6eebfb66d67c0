"""The names that Pylightnix's module `core` has."""

from plxnix.compat.pylightnix.contexts import *
from plxnix.compat.pylightnix.derivations import *
from plxnix.compat.pylightnix.functions import PYLIGHTNIX_RESERVED as PYLIGHTNIX_RESERVED
from plxnix.compat.pylightnix.matching import *
from plxnix.compat.pylightnix.names import *
from plxnix.compat.pylightnix.questions import *
from plxnix.compat.pylightnix.realizing import *
from plxnix.compat.pylightnix.storage import *
from plxnix.compat.pylightnix.types import *
from plxnix.compat.pylightnix.utils import *
