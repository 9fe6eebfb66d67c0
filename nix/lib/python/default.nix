# Python environments out of a pylock.toml. The functions are in the package, since `plxnix env` puts
# a copy of them beside each lock that it writes.
import ../../../plxnix/pyenv/nixlib
