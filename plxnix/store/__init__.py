"""The native store on disk: layout, publication, records, locks, queries."""

from plxnix.store.current import current_storage, current_store, fsinit
from plxnix.store.record import Record
from plxnix.store.settings import Fsync
from plxnix.store.store import Store

__all__ = ["Fsync", "Record", "Store", "current_storage", "current_store", "fsinit"]
