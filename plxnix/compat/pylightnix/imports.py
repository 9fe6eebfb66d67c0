"""What Pylightnix imports from Python's library and hands on: `from pylightnix import join`."""

# mypy: implicit-reexport

from ast import dump as ast_dump
from ast import parse
from calendar import timegm
from collections import OrderedDict, defaultdict
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from errno import EEXIST, ENOTEMPTY
from fnmatch import fnmatch
from functools import partial
from hashlib import sha1, sha256
from inspect import Parameter as InspectParameter
from inspect import getsourcelines, signature
from itertools import chain
from json import dump as json_dump
from json import dumps as json_dumps
from json import load as json_load
from json import loads as json_loads
from logging import getLogger
from os import (
    chmod,
    environ,
    listdir,
    lstat,
    makedirs,
    mkdir,
    readlink,
    remove,
    rename,
    replace,
    rmdir,
    scandir,
    stat,
    symlink,
    walk,
)
from os.path import (
    abspath,
    basename,
    dirname,
    getsize,
    isabs,
    isdir,
    isfile,
    islink,
    join,
    normpath,
    realpath,
    relpath,
    split,
    splitext,
)
from queue import PriorityQueue
from re import match as re_match
from re import sub as re_sub
from shutil import copy as shutil_copy
from shutil import copyfile, copytree, rmtree
from shutil import which as find_executable
from stat import (
    S_IREAD,
    S_IRGRP,
    S_IROTH,
    S_IWGRP,
    S_IWOTH,
    S_IWRITE,
    S_IXGRP,
    S_IXOTH,
    S_IXUSR,
    ST_MODE,
)
from subprocess import Popen
from sys import maxsize
from tempfile import mkdtemp
from textwrap import dedent
from threading import get_ident
from threading import local as threading_local
from time import gmtime, strftime, strptime
from traceback import format_exc
from unicodedata import normalize
from urllib.parse import urlparse
