# The settings that all functions of default.nix take, and what follows from them.
let
  reader = import ./lock.nix;
  inherit (builtins)
    head
    isAttrs
    isString
    match
    replaceStrings
    ;

  fail = message: throw "plxnix python: ${message}";

  ofNixpkgs =
    providers:
    builtins.any (one: match ".*nixpkgs.*" (if isString one then one else toString one) != null) (
      builtins.attrValues providers
    );
in
{
  # A pylock.toml: its path, its text, or what is in it.
  lock ? fail "give a lock = ./pylock.toml: `plxnix env lock -r requirements.txt` writes it",
  # A package set; without, programs of this machine are run.
  pkgs ? null,
  # "3.11" or, with pkgs, a Python of it; without pkgs also the path of an interpreter.
  python ? null,
  # The version of an interpreter that is given by path.
  pythonVersion ? null,
  system ? (
    if pkgs != null then
      pkgs.stdenv.hostPlatform.system
    else
      builtins.currentSystem
        or (fail "give a system, such as \"x86_64-linux\": this is pure evaluation")
  ),
  # For wheels: such as "x86_64-manylinux_2_35", if it is not the system.
  platform ? system,
  # { _default = "wheel,sdist"; NAME = "nixpkgs"; }
  providers ? content.tool.plxnix.inputs.providers or { },
  extras ? [ ],
  groups ? null,
  # The package set of autoPatchelf and of the libraries: in an overlay not the one that is changed.
  libraries ? pkgs,
  # More Python packages of `pkgs`, or folders of sources.
  packagesExtra ? [ ],
  # Changes of packages: { NAME.buildInputs.add = [ ... ]; }
  _ ? { },
  overridesPre ? [ ],
  overridesPost ? [ ],
  # Run the tests of what is built from sources.
  tests ? false,
  # Let nixpkgs' autoPatchelfHook correct the programs and libraries in wheels.
  autoPatchelf ? pkgs != null && match ".*-linux" system != null,
  # Patterns of paths that several packages may own.
  collisions ? content.tool.plxnix.inputs.collisions or [ ],
  name ? "python-env",
  # "tree": one folder by plxnix's builder. "packages": each package by buildPythonPackage.
  form ? null,
  # Without pkgs: the bash that Nix starts.
  shell ? "/bin/bash",
  content ? reader.read lock,
  ...
}:
let
  locked = content.tool.plxnix.python or null;
  # "3.11.4" is a Python 3.11.
  series =
    said:
    let
      found = match "([0-9]+\\.[0-9]+)\\.[0-9]+(t?)" said;
    in
    if found == null then said else head found + builtins.elemAt found 1;
  nodot = replaceStrings [ "." ] [ "" ];
  # With pkgs: the interpreter, and what it is called.
  attribute =
    let
      said = if python == null then locked else python;
    in
    if !(isString said) then
      fail "say which Python: python = \"python311\""
    else if match "[0-9.]+t?" said != null then
      "python${nodot (series said)}"
    else
      said;
  interpreter =
    if isAttrs python then
      python
    else if python == null && locked == null then
      pkgs.python3
    else
      pkgs.${attribute} or (fail "the package set has no ${attribute}");
  isPath = isString python && match ".*/.*" python != null;
  version =
    if pkgs != null then
      interpreter.pythonVersion
    else if pythonVersion != null then
      series pythonVersion
    else if isAttrs python || isPath then
      fail "say the version of this Python: pythonVersion = \"3.11\""
    else if python != null then
      series python
    else if locked != null then
      series locked
    else
      fail "say which Python: python = \"3.11\"";
  changed = _ != { } || overridesPre != [ ] || overridesPost != [ ] || packagesExtra != [ ] || tests;
  target = {
    inherit platform;
    python =
      if pkgs != null then
        interpreter.version or version
      else if locked != null && series locked == version then
        locked
      else
        version;
  };
in
{
  inherit
    attribute
    autoPatchelf
    collisions
    content
    interpreter
    isPath
    libraries
    name
    overridesPost
    overridesPre
    packagesExtra
    pkgs
    python
    shell
    system
    target
    tests
    version
    ;
  changes = _;
  # Where a lock has paths, they are relative to its own folder.
  folder = reader.folderOf lock;
  distributions = reader.select {
    inherit
      content
      extras
      groups
      providers
      target
      ;
    inNixpkgs = one: pkgs != null && interpreter.pkgs ? ${one};
  };
  installer = reader.installer content target;
  form =
    if form != null then
      form
    else if pkgs != null && (changed || ofNixpkgs providers) then
      "packages"
    else if changed then
      fail "_, overridesPre, overridesPost, packagesExtra and tests need pkgs"
    else
      "tree";
}
