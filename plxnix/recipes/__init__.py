"""Recipes: realizers that are data, one module a kind of stage."""

from plxnix.recipes.execute import execute
from plxnix.recipes.fetch import fetchlocal, fetchurl
from plxnix.recipes.files import mkfile, mknode
from plxnix.recipes.git import fetchgit
from plxnix.recipes.pypi import fetchpypi
from plxnix.recipes.tree import fetchtree
from plxnix.recipes.unpack import unpack

__all__ = [
    "execute",
    "fetchgit",
    "fetchlocal",
    "fetchpypi",
    "fetchtree",
    "fetchurl",
    "mkfile",
    "mknode",
    "unpack",
]
