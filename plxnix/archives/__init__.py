"""Archives of closures: realizations and all that they were made from, as one file.

A tar or zip archive, written as a stream and the same for the same closure:

```
plxnix-closure.json            the format's number, the realizations asked for, how many there are
<dhash>-<name>/config.json     of each derivation
<dhash>-<name>/<rhash>.json    for each realization, dependencies first: the record,
<dhash>-<name>/<rhash>.log.gz  what the realizer printed, if anything,
<dhash>-<name>/<rhash>.nar     and the artifacts as a NAR
```
"""

from plxnix.archives.packing import Packable, spack
from plxnix.archives.unpacking import LIMITS, sunpack

__all__ = ["LIMITS", "Packable", "spack", "sunpack"]
