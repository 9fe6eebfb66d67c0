# Functions for Nix expressions that use plxnix. Nothing in here needs nixpkgs; the language is that
# of Nix 2.8. See docs/nix-lib.md.
let
  fromLock = import ./from-lock.nix;
  python = import ./python;
in
{
  # The version of the plxnix that this folder belongs to.
  version = builtins.head (
    builtins.match ".*VERSION = \"([^\"]+)\".*" (builtins.readFile ../../plxnix/version.py)
  );

  # The derivations of a plxnix.lock.json: fromLock { lock = ./plxnix.lock.json; }
  inherit fromLock;

  # A file from the net, at the path that plxnix's fetchurl has: fetch { url = ...; hash = ...; }
  fetch = import ./fetch.nix;

  # A result that only plxnix can make, known by its hash: pin { name = ...; hash = ...; }
  pin = import ./pin.nix;

  # A shell in which stages are variables: mkShell { lock = ./plxnix.lock.json; }
  mkShell = import ./shell.nix { inherit fromLock; };

  # Python environments out of a pylock.toml: see docs/python.md.
  inherit python;
  inherit (python)
    buildPythonApplication
    buildPythonPackage
    mkDockerImage
    mkNixpkgs
    mkOverlay
    mkPython
    mkPythonOverrides
    mkPythonShell
    ;
}
