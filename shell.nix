# nix-shell: everything to work on plxnix; `python` there imports this checkout.
{
  pkgs ? import (import ./nix/nixpkgs.nix) { },
}:

let
  inherit (pkgs) lib python3Packages;
  plxnix = python3Packages.callPackage ./nix/package.nix { };
in
pkgs.mkShell {
  inputsFrom = [ plxnix ];

  packages =
    (with python3Packages; [
      hypothesis
      matplotlib
      mypy
      numpy
      pytest
      pytest-randomly
      pytest-xdist
      scikit-learn
    ])
    ++ lib.concatLists (lib.attrValues plxnix.optional-dependencies)
    ++ (with pkgs; [
      bubblewrap
      git
      nix
      nixfmt-tree
      ruff
    ]);

  shellHook = ''
    export PYTHONPATH=$PWD''${PYTHONPATH:+:$PYTHONPATH}
  '';
}
