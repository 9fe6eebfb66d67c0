# Adds `plxnix`, the command, and `python3Packages.plxnix`, the library, for every Python; and
# `plxnixLib`, the functions of nix/lib.
final: prev: {
  pythonPackagesExtensions = prev.pythonPackagesExtensions ++ [
    (pythonFinal: _: { plxnix = pythonFinal.callPackage ./package.nix { }; })
  ];

  plxnix = final.python3Packages.toPythonApplication final.python3Packages.plxnix;

  plxnixLib = import ./lib;
}
