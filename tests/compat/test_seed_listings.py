"""Scripts of the kind that Pylightnix's documents show, of 2020 and 2021, on plxnix.

Each is run as a script of its own, twice: the second run finds everything realized. The readme of
2024 is in `tests/e2e/test_seed_readme.py`. Which listing is tested where: see `README.md`.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from tests.conftest import needed
from tests.http_server import Answer, Server
from tests.scripts import run_twice

HELLO_OF_2020 = """
from plxnix import store_initialize
store_initialize()

from plxnix import DRef, instantiate_inplace, fetchurl
from plxnix import RRef, realize_inplace

hello_version = '2.10'

hello_src:DRef = \\
  instantiate_inplace(
    fetchurl,
    name='hello-src',
    url=f'{URL}/hello-{hello_version}.tar.gz',
    sha256=SHA256)

hello_rref:RRef = realize_inplace(hello_src)
print(hello_rref)

from typing import Any
from tempfile import TemporaryDirectory
from shutil import copytree
from os import getcwd, chdir, system
from os.path import join
from plxnix import Config, RefPath, mkconfig
from plxnix import Path, Build, build_cattrs, build_outpath, build_path
from plxnix import mkdrv, build_wrapper, match_latest, dirrw

def hello_config()->Config:
  name:str = 'hello-bin'
  src:RefPath = [hello_src, f'hello-{hello_version}']
  return mkconfig(locals())

def hello_realize(b:Build)->None:
  c:Any = build_cattrs(b)
  o:Path = build_outpath(b)
  with TemporaryDirectory() as tmp:
    copytree(build_path(b,c.src),join(tmp,'src'))
    dirrw(Path(join(tmp,'src')))
    cwd = getcwd()
    try:
      chdir(join(tmp,'src'))
      system('./configure --prefix=/usr >/dev/null')
      system('make >/dev/null')
      system(f'make install DESTDIR={o} >/dev/null')
    finally:
      chdir(cwd)

hello_dref:DRef = \\
    instantiate_inplace(mkdrv, hello_config(), match_latest(), build_wrapper(hello_realize))
hello_rref:RRef = realize_inplace(hello_dref)
print(hello_rref)
assert realize_inplace(hello_dref, force_rebuild=[hello_dref]) == hello_rref

from plxnix import rref2path
path=rref2path(hello_rref)
print(subprocess.check_output([join(path,'usr/bin/hello')], text=True), end='')

from plxnix import lsref, catref, shellref, rmref, du
assert 'usr' in lsref(hello_rref)
assert callable(catref) and callable(shellref)
assert du()
rmref(hello_rref)
assert realize_inplace(hello_dref) == hello_rref
"""

HELLO_OF_2021 = """
from tempfile import TemporaryDirectory
from shutil import copytree
from os import getcwd, chdir, system
from os.path import join
from plxnix import (Manager, DRef, RRef, Config, RefPath, mkconfig, Path, Build, build_outpath,
  mkdrv, build_wrapper, match_latest, dirrw, mklens, instantiate, realize, fetchurl, selfref)

version = '2.10'
url = f'{URL}/hello-{version}.tar.gz'
sha256 = SHA256

def stage_hello(m:Manager)->DRef:
  def _config()->Config:
    name:str = 'hello-bin'
    src:RefPath = fetchurl(m, name='hello-src', mode='unpack,remove', url=url, sha256=sha256)
    out_bin = [selfref, 'usr', 'bin', 'hello']
    return mkconfig(locals())
  def _make(b:Build)->None:
    o:Path = build_outpath(b)
    with TemporaryDirectory() as tmp:
      copytree(join(mklens(b).src.syspath, f'hello-{version}'), join(tmp,'src'))
      dirrw(Path(join(tmp,'src')))
      cwd = getcwd()
      try:
        chdir(join(tmp,'src'))
        system('./configure --prefix=/usr >/dev/null')
        system('make >/dev/null')
        system(f'make install DESTDIR={o} >/dev/null')
      finally:
        chdir(cwd)
  return mkdrv(m, _config(), match_latest(), build_wrapper(_make))

rref:RRef=realize(instantiate(stage_hello))
print(rref)
print(subprocess.check_output([mklens(rref).out_bin.syspath], text=True), end='')
"""

ANNEALING_OF_2021 = """
import numpy as np
import scipy.optimize as o
from plxnix import *

fsinit()

def f(z, *params):
  x, y = z
  a, b = params
  return a*x**2 + b*y**2 + np.cos(3*x)

def stage_params(m:Manager)->DRef:
  def _config():
    name = 'params'
    out = [selfref, "params.npy"]
    return locals()
  def _make(b:Build):
    np.save(mklens(b).out.syspath, np.array([2.0, 3.0]))
  return mkdrv(m, mkconfig(_config()), match_only(), build_wrapper(_make))

def stage_anneal(m:Manager, ref_params:DRef)->DRef:
  def _config():
    name = 'anneal'
    nonlocal ref_params
    trace_xs = [selfref, 'tracex.npy']
    trace_fs = [selfref, 'tracef.npy']
    out = [selfref, 'result.npy']
    return locals()
  def _make(b:Build):
    params = np.load(mklens(b).ref_params.out.syspath)
    xs = []; fs = []
    def _trace(x,f,ctx):
      nonlocal xs,fs
      xs.append(x.tolist())
      fs.append(f)
    res = o.dual_annealing(f, [[-10,10],[-10,10]], x0=[2.,2.], args=params, maxiter=20,
                           callback=_trace)
    np.save(mklens(b).trace_xs.syspath, np.array(xs))
    np.save(mklens(b).trace_fs.syspath, np.array(fs))
    np.save(mklens(b).out.syspath, res['x'])
  return mkdrv(m, mkconfig(_config()), match_only(), build_wrapper(_make))

def stage_plot(m:Manager, ref_anneal:DRef)->DRef:
  def _config():
    name = 'plot'
    nonlocal ref_anneal
    out = [selfref, 'plot.txt']
    return locals()
  def _make(b:Build):
    fs=np.load(mklens(b).ref_anneal.trace_fs.syspath)
    res=np.load(mklens(b).ref_anneal.out.syspath)
    with open(mklens(b).out.syspath, 'w') as file:
      print(f"Min {fs[-1]}, found at {res}", file=file)
  return mkdrv(m, mkconfig(_config()), match_latest(), build_wrapper(_make))

ds=instantiate_inplace(stage_params)
cl=instantiate_inplace(stage_anneal,ds)
vis=instantiate_inplace(stage_plot,cl)
rref=realize_inplace(vis)
print(rref)

def stage_all(m:Manager):
  ds=stage_params(m)
  cl=stage_anneal(m,ds)
  vis=stage_plot(m,cl)
  return vis

rref_all=realize(instantiate(stage_all))
assert rref_all==rref
print(rref_all)
print(mklens(rref).out.contents, end='')
"""


def hello_archive() -> bytes:
    """Return an archive laid out as that of GNU Hello, with a program that is quickly made."""
    files = {
        "configure": "#!/bin/sh\necho configured > config.status\n",
        "Makefile": "all:\n\tcp hello.sh hello\ninstall: config.status\n"
        "\tinstall -D -m 755 hello $(DESTDIR)/usr/bin/hello\n",
        "hello.sh": "#!/bin/sh\necho 'Hello, world!'\n",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"hello-2.10/{name}")
            member.size, member.mode = len(text), 0o755
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize("listing", [HELLO_OF_2020, HELLO_OF_2021], ids=["2020", "2021"])
def test_hello(listing: str, tmp_path: Path) -> None:
    """The toy package manager: fetch and unpack, build, run; the archive is served once."""
    data = hello_archive()
    with Server() as server:
        url = server.answer("/gnu/hello-2.10.tar.gz", Answer(data)).rpartition("/")[0]
        head = f"import subprocess\nURL = {url!r}\nSHA256 = {hashlib.sha256(data).hexdigest()!r}\n"
        lines = run_twice(head + listing, tmp_path)
        assert server.count("/gnu/hello-2.10.tar.gz") == 1
    assert lines[-1] == "Hello, world!"
    assert lines[-2].startswith("rref:")
    assert lines[-2].endswith("-hello-bin")


def test_annealing(tmp_path: Path) -> None:
    """Stages with a manager, run in place and as one nested stage: both are one realization."""
    needed("scipy")
    first, second, result = run_twice(ANNEALING_OF_2021, tmp_path)
    assert first == second
    assert first.endswith("-plot")
    assert result.startswith("Min ")
