"""The stages that come with Pylightnix."""

from plxnix.compat.pylightnix.stages.fetch import *
from plxnix.compat.pylightnix.stages.fetch2 import *
from plxnix.compat.pylightnix.stages.trivial import *
