# A wheel of what has only sources: built without the network, in the build environment that the
# lock has for the package. `s` are the settings of default.nix; the result is a folder that holds it.
{
  tree,
  treeOf,
}:
s: one:
let
  version = if one.version == "" then "" else "${tree.storeName one.version}-";
  name = "${one.name}-${version}wheel";
  source =
    if one.kind == "sdist" then
      tree.fetch s.folder one
    else if s.pkgs != null || one.kind == "vcs" then
      tree.sources s one
    else
      # A fixed output, as they are in plxnix: what is built of a path of the store instead would be
      # at another path.
      tree.hostCommand {
        name = "${one.name}-source";
        inherit (s) shell system;
        script = ''cp -r "$src" "$out"'';
        environment = {
          src = "${tree.sources s one}";
          outputHash = one.sha256;
          outputHashAlgo = "";
          outputHashMode = "recursive";
        };
      };
  environment = {
    LC_ALL = "C.UTF-8";
    PYTHONHASHSEED = "0";
    SOURCE_DATE_EPOCH = "315532800";
    TZ = "UTC";
    PIP_NO_INDEX = "1";
    PYTHONNOUSERSITE = "1";
    PYTHONDONTWRITEBYTECODE = "1";
    buildenv = "${treeOf (s // { collisions = [ ]; }) "${one.name}-build-env" one.build}";
    program = "${program}/wheel-builder.py";
    inherit (one) filename;
    source = "${source}";
  }
  // (if one.subdirectory == "" then { } else { inherit (one) subdirectory; });
  # A file is a stage of its own: see plxnix.recipes.files.
  program = command "wheel-builder.py" "mkdir \"$out\"\ncat < \"$file0\" > \"$out/$to0\"" {
    file0 = builtins.toFile "wheel-builder.py" (builtins.readFile ../wheel_builder.py);
    to0 = "wheel-builder.py";
  };
  script = ''
    umask 022
    export PATH="$buildenv/bin:$PATH"
    "$buildenv/bin/python" -s -B "$program"
  '';
  command =
    name: script: environment:
    if s.pkgs != null then
      (s.pkgs.runCommandCC or s.pkgs.runCommand) name environment script
    else
      tree.hostCommand {
        inherit environment name script;
        inherit (s) shell system;
      };
in
command name script environment
