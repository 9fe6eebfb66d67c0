# nix-build, nix-env -f . -i, or (import ./. { inherit pkgs; }): plxnix as a package.
{
  pkgs ? import (import ./nix/nixpkgs.nix) { },
}:

pkgs.python3Packages.toPythonApplication (pkgs.python3Packages.callPackage ./nix/package.nix { })
