# A result that only plxnix can make: a path known by the hash of what is there (`rref` says which
# result). Evaluating needs nothing, also in pure mode and in flakes. Building finds it in the store
# or in a binary cache; if it is in neither, the build fails and prints the command that adds it.
#
#   pin { name = "model"; hash = "sha256-..."; rref = "rref:...-model"; }
#
# It is the derivation that `plxnix export` writes for the toolchain `host`, if that has this bash.
{
  name,
  # Of the archive (NAR) of the file or folder, in SRI form: `nix hash path PATH`.
  hash,
  # The realization in plxnix's store.
  rref ? null,
  # What to run where it is missing.
  command ? (
    if rref == null then
      "nix-store --add-fixed --recursive sha256 ${name}"
    else
      "plxnix nix add ${rref}"
  ),
  # The machine that prints the message; not known in pure mode.
  system ? (
    builtins.currentSystem
      or (throw "plxnix pin: give a system, such as \"x86_64-linux\": this is pure evaluation")
  ),
  # What runs there.
  shell ? "/bin/bash",
}:
derivation {
  inherit name system;
  builder = shell;
  args = [
    "-c"
    "printf \"%s\\n\" \"$message\" >&2; exit 1"
  ];
  message = "${name} is a result that Nix cannot build. Add it with: ${command}";
  outputHash = hash;
  outputHashAlgo = "";
  outputHashMode = "recursive";
}
