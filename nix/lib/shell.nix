# A shell for `nix-shell` and `nix develop` in which each stage's path is a variable, and the
# programs of stages are on PATH:
#
#   # shell.nix
#   plxnix.mkShell { lock = ./plxnix.lock.json; }
#
#   $ nix-shell --run 'ls $data'
#
# Stages are built, or found in the store, as the shell is entered. In names of variables `-` and `'`
# become `_`, and names that mean something to the shell or to Nix get a `_` at their end.
{ fromLock }:
{
  # A lock, for all of its stages; or a set of derivations and files.
  lock ? null,
  stages ? null,
  # What else is on PATH: derivations with bin/.
  packages ? [ ],
  # Commands of bash to run on entering.
  shellHook ? "",
  # With a package set, the shell is that of pkgs.mkShell; without, it has the programs of the
  # machine.
  pkgs ? null,
  name ? "plxnix-shell",
  # Without pkgs: what it is for, and the bash that Nix starts. The system is known but in pure mode.
  system ? (
    builtins.currentSystem
      or (throw "plxnix mkShell: give a system, such as \"x86_64-linux\": this is pure evaluation")
  ),
  shell ? "/bin/bash",
}:

let
  inherit (builtins)
    attrNames
    concatStringsSep
    elem
    filter
    groupBy
    head
    length
    ;

  fail = message: throw "plxnix mkShell: ${message}";

  found =
    if (lock == null) == (stages == null) then
      fail "give one of lock and stages"
    else if stages != null then
      stages
    else
      ofLock;

  # Not the parts of stages, such as the archive below an unpacked one.
  ofLock =
    let
      all = removeAttrs (fromLock { inherit lock pkgs; }) [
        "default"
        "sources"
        "targets"
      ];
      isStage = variable: all.${variable}.plxnix.dref or null != null;
    in
    builtins.listToAttrs (
      map (variable: {
        name = variable;
        value = all.${variable};
      }) (filter isStage (attrNames all))
    );

  # Variables that Nix, bash or the programs in the shell need for themselves.
  taken = [
    "BASH"
    "CDPATH"
    "DISPLAY"
    "ENV"
    "HOME"
    "IFS"
    "IN_NIX_SHELL"
    "LANG"
    "LOGNAME"
    "NIX_STORE"
    "OLDPWD"
    "PATH"
    "PS1"
    "PWD"
    "PYTHONPATH"
    "SHELL"
    "SHLVL"
    "SSL_CERT_FILE"
    "TEMP"
    "TEMPDIR"
    "TERM"
    "TMP"
    "TMPDIR"
    "UID"
    "USER"
    "_"
    "args"
    "buildInputs"
    "buildPhase"
    "builder"
    "depsBuildBuild"
    "initialPath"
    "inputsFrom"
    "meta"
    "name"
    "nativeBuildInputs"
    "out"
    "outputHash"
    "outputHashAlgo"
    "outputHashMode"
    "outputs"
    "packages"
    "passAsFile"
    "passthru"
    "phases"
    "plxnixStages"
    "preferLocalBuild"
    "shell"
    "shellHook"
    "stdenv"
    "system"
  ];

  variableOf =
    stage:
    let
      plain = builtins.replaceStrings [ "-" "'" "." ] [ "_" "_" "_" ] stage;
    in
    if builtins.match "[A-Za-z_][A-Za-z0-9_]*" plain == null then
      fail "the stage ${builtins.toJSON stage} cannot be a variable: give stages with other names"
    else if elem plain taken then
      "${plain}_"
    else
      plain;

  groups = groupBy variableOf (attrNames found);
  clashes = filter (variable: length groups.${variable} > 1) (attrNames groups);
  variables =
    if clashes == [ ] then
      builtins.mapAttrs (_: names: "${found.${head names}}") groups
    else
      fail "${concatStringsSep " and " groups.${head clashes}} would both be the variable ${head clashes}: give stages with other names";

  # Programs of stages and packages, in front of those of the machine.
  hook = ''
    for one in $plxnixStages; do
      if [ -d "$one/bin" ]; then PATH="$one/bin:$PATH"; fi
    done
    export PATH
    unset one
    ${shellHook}
  '';

  # Later ones win a place further in front; so packages go last.
  plxnixStages = concatStringsSep " " (
    builtins.attrValues variables ++ (if pkgs == null then map (one: "${one}") packages else [ ])
  );
in
import ../../plxnix/pyenv/nixlib/shell.nix {
  inherit
    pkgs
    name
    system
    shell
    ;
  packages = if pkgs == null then [ ] else packages;
  variables = variables // {
    inherit plxnixStages;
  };
  shellHook = hook;
}
