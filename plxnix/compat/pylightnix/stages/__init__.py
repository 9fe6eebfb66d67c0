"""The stages that come with Pylightnix."""

from plxnix.compat.pylightnix.stages.fetch import *  # noqa: F403
from plxnix.compat.pylightnix.stages.fetch2 import *  # noqa: F403
from plxnix.compat.pylightnix.stages.trivial import *  # noqa: F403
