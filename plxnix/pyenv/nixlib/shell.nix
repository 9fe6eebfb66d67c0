# A shell for `nix-shell` and for `nix develop` in which programs of `packages` are in front of all
# others: by pkgs.mkShell or, without pkgs, with the programs of this machine.
{
  pkgs,
  name,
  system,
  shell,
  packages,
  variables,
  shellHook,
}:
if pkgs != null then
  pkgs.mkShell (variables // { inherit name packages shellHook; })
else
  derivation (
    variables
    // {
      inherit name system;
      # `nix develop` asks for a builder called bash, and for outputs that are named.
      builder = shell;
      outputs = [ "out" ];
      args = [
        "-c"
        "echo 'this is for nix-shell and nix develop only' >&2; exit 1"
      ];
      # `nix-shell` runs the hook through what is in here.
      stdenv = ./stdenv;
      shellHook = ''
        export PATH=${builtins.concatStringsSep "" (map (one: "${one}/bin:") packages)}$PATH
        ${shellHook}
      '';
    }
  )
