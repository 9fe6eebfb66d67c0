# plxnix as a Python package with its command: python3Packages.callPackage ./package.nix { }
{
  lib,
  buildPythonPackage,
  hatchling,
  click,
  jinja2,
  rich,
  urllib3,
  cloudpickle,
  distributed,
  fsspec,
  installer,
  packaging,
  uv,
  bubblewrap,
}:

buildPythonPackage {
  pname = "plxnix";
  inherit (import ./lib) version;
  pyproject = true;

  # Only what the wheel is made of, so that other changes cause no rebuild. (lib.fileset would say
  # it more plainly, but needs Nix 2.18.)
  src = lib.cleanSourceWith {
    src = lib.sourceByRegex ../. [
      "LICENSE"
      "README\\.md"
      "plxnix(/.*)?"
      "pyproject\\.toml"
    ];
    filter = path: _: baseNameOf path != "__pycache__";
  };

  build-system = [ hatchling ];

  dependencies = [
    click
    jinja2
    rich
    urllib3
  ];

  optional-dependencies = {
    dask = [
      cloudpickle
      distributed
    ];
    env = [
      installer
      packaging
      uv
    ];
    remote = [ fsspec ];
  };

  # A suffix: where the user has a bubblewrap of the system (it may be setuid), that one is used.
  makeWrapperArgs = [
    "--suffix"
    "PATH"
    ":"
    (lib.makeBinPath [ bubblewrap ])
  ];

  # The tests need a Nix store to write to; `make test` runs them.
  doCheck = false;
  pythonImportsCheck = [ "plxnix" ];

  meta = {
    description = "Python stages in an immutable store, exported as real Nix derivations";
    license = lib.licenses.asl20;
    mainProgram = "plxnix";
    platforms = lib.platforms.linux;
  };
}
