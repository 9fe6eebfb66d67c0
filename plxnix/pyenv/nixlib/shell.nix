# A shell in which programs of an environment are in front of all others: for `nix-shell` and for
# `nix develop`, with pkgs.mkShell or, without pkgs, with the programs of this machine.
{
  env,
  pkgs,
  name,
  system,
  shell,
  packages,
  shellHook,
}:
if pkgs != null then
  pkgs.mkShell {
    name = "${name}-shell";
    packages = [ env ] ++ packages;
    inherit shellHook;
  }
else
  derivation {
    name = "${name}-shell";
    inherit system;
    # `nix develop` asks for a builder called bash, and for outputs that are named.
    builder = shell;
    outputs = [ "out" ];
    args = [
      "-c"
      "echo 'this is for nix-shell and nix develop only' >&2; exit 1"
    ];
    # `nix-shell` runs the hook through what is in here.
    stdenv = ./stdenv;
    env = "${env}";
    shellHook = ''
      export PATH=${builtins.concatStringsSep "" (map (one: "${one}/bin:") ([ env ] ++ packages))}$PATH
      export PYTHONDONTWRITEBYTECODE=1
      ${shellHook}
    '';
  }
