# Functions for Nix expressions that use plxnix. Nothing in here needs nixpkgs.
{
  # The version of the plxnix that this folder belongs to.
  version = builtins.head (
    builtins.match ".*VERSION = \"([^\"]+)\".*" (builtins.readFile ../../plxnix/version.py)
  );
}
