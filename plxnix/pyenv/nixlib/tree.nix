# The environment as one folder, made by builder.py out of wheels; the derivation is the one that
# plxnix's `python_env` is in Nix, so both have one path.
let
  inherit (builtins)
    attrNames
    concatStringsSep
    elemAt
    genList
    isAttrs
    isList
    length
    listToAttrs
    toJSON
    ;

  # JSON as Python's json.dumps(indent=1, sort_keys=True) has it.
  pretty =
    indent: value:
    let
      deeper = indent + " ";
      lines =
        open: close: items:
        if items == [ ] then
          open + close
        else
          "${open}\n${concatStringsSep ",\n" (map (item: deeper + item) items)}\n${indent}${close}";
    in
    if isAttrs value then
      lines "{" "}" (map (key: "${toJSON key}: ${pretty deeper value.${key}}") (attrNames value))
    else if isList value then
      lines "[" "]" (map (pretty deeper) value)
    else
      toJSON value;

  # Characters that names of store paths cannot have: an epoch's `!`.
  storeName = builtins.replaceStrings [ "!" ] [ "-" ];
in
rec {
  inherit storeName;

  # A file of a distribution, at the path at which plxnix, and fetchurl of nixpkgs, have it.
  fetch =
    folder: one:
    if one.url != "" then
      import <nix/fetchurl.nix> {
        inherit (one) url sha256;
        name = storeName one.filename;
      }
    else
      builtins.path {
        path =
          let
            copy = folder + "/plxnix/sources/${one.filename}";
          in
          if builtins.pathExists copy then copy else folder + "/${one.path}";
        name = storeName one.filename;
        recursive = false;
        inherit (one) sha256;
      };

  # The sources of a local project (what `plxnix env` copied beside the lock), or of a commit of git,
  # checked against the lock's hash.
  sources =
    s: one:
    let
      place = s.folder + "/plxnix/sources/${one.name}";
    in
    if one.kind == "vcs" then
      commit s one
    else if !builtins.pathExists place then
      throw "plxnix python: ${one.name} is a folder, of which ${toString place} would be a copy: `plxnix env FOLDER` writes it beside the lock"
    else
      builtins.path {
        path = place;
        name = "source";
        inherit (one) sha256;
      };

  # A commit of git, as `fetchgit` of plxnix has it: by its script, or by `fetchgit` of nixpkgs.
  commit =
    s: one:
    if s.pkgs != null then
      s.pkgs.fetchgit {
        name = "source";
        inherit (one) url;
        rev = one.commit;
        # By this name older ones know it, too.
        inherit (one) sha256;
        fetchSubmodules = one.submodules;
      }
    else
      hostCommand {
        name = "source";
        inherit (s) shell system;
        script = builtins.readFile (
          # In a folder of `plxnix env` it is above these functions.
          if builtins.pathExists ../git.sh then ../git.sh else ../../recipes/git.sh
        );
        environment = {
          inherit (one) url;
          rev = one.commit;
          wanted = one.commit;
          protocols = "https:http:ssh:git";
          lfs = "";
          submodules = if one.submodules then "1" else "";
          impureEnvVars = "http_proxy https_proxy ftp_proxy all_proxy no_proxy GIT_PROXY_COMMAND SOCKS_SERVER GIT_SSL_CAINFO";
          outputHash = one.sha256;
          outputHashAlgo = "";
          outputHashMode = "recursive";
        };
      };

  # What the builder is told of the wheels, as the text of its spec.
  specOf =
    {
      version,
      collisions,
      wheels,
    }:
    pretty "" {
      inherit version collisions;
      wheels = map (
        one:
        { inherit (one) filename; } // (if one ? direct_url then { inherit (one) direct_url; } else { })
      ) wheels;
    };

  # The derivation's variables: `wheels` have a `file` beside what the spec has.
  variables =
    {
      name,
      version,
      collisions ? [ ],
      wheels,
      installer,
    }:
    {
      program = builtins.toFile "python-env-builder.py" (builtins.readFile ../builder.py);
      spec = builtins.toFile "${name}.json" (specOf {
        inherit version collisions wheels;
      });
      installer = "${installer}";
    }
    // listToAttrs (
      genList (number: {
        name = "wheel${toString number}";
        value = "${(elemAt wheels number).file}";
      }) (length wheels)
    );

  run = ''"$python" -I -B "$program" "$spec"'';

  # A command of the host toolchain.
  hostCommand =
    {
      name,
      system,
      shell ? "/bin/bash",
      script,
      environment,
    }:
    derivation (
      {
        inherit name system;
        builder = shell;
        args = [
          "-c"
          "set -e\n${script}\n:\n"
        ];
        PATH = "/usr/local/bin:/usr/bin:/bin";
      }
      // environment
    );
}
