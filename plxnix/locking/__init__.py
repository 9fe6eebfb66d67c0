"""Named fetches that people maintain in a lock: the section `sources` of `plxnix.lock.json`."""
