# Python environments out of a pylock.toml, in Nix: see docs/python.md. Nothing is resolved and
# nothing is built while this is evaluated. Without `pkgs` the machine's own Python is used.
let
  versions = import ./versions.nix;
  tree = import ./tree.nix;
  inherit (import ./arguments.nix) checked checkedSet;
  inherit (builtins)
    attrNames
    head
    isAttrs
    match
    ;

  fail = message: throw "plxnix python: ${message}";

  settings = import ./settings.nix;

  packages = import ./packages.nix { inherit tree versions; };

  # Wheels as the builder's spec has them.
  wheelsOf =
    s: distributions:
    map (
      one:
      {
        inherit (one) filename;
        file = if one.kind == "wheel" then tree.fetch s.folder one else built s one;
      }
      // (
        if one.direct then
          {
            direct_url = {
              url = if one.url != "" then one.url else "file:///${one.filename}";
            }
            // (
              if one.kind == "directory" then
                { dir_info = { }; }
              else if one.kind == "vcs" then
                {
                  vcs_info = {
                    commit_id = one.commit;
                    vcs = "git";
                  };
                }
              else
                { archive_info.hashes.sha256 = one.sha256; }
            )
            // (if one.subdirectory == "" then { } else { inherit (one) subdirectory; });
          }
        else
          { }
      )
    ) distributions;

  built = s: one: import ./sdist.nix { inherit tree treeOf; } s one;

  installerOf =
    s:
    if s.installer == null then
      fail "the lock does not say which `installer` installs its wheels: plxnix env lock adds it"
    else
      tree.fetch s.folder s.installer;

  # A tree of distributions.
  treeOf =
    s: name: distributions:
    let
      variables = tree.variables {
        inherit name;
        inherit (s) version collisions;
        wheels = wheelsOf s distributions;
        installer = installerOf s;
      };
      find = ''
        python="$(command -v python${s.version})" || { echo "there is no python${s.version} on $PATH" >&2; exit 1; }
        export python
      '';
      given = isAttrs s.python || s.isPath;
    in
    if s.pkgs != null then
      packages.runTree s name variables
    else
      tree.hostCommand {
        inherit name;
        inherit (s) shell system;
        script = (if given then "" else find) + tree.run;
        environment =
          variables
          // (
            if isAttrs s.python then
              { python = "${s.python}/bin/python3"; }
            else if given then
              { inherit (s) python; }
            else
              { }
          );
      };

  # The environment: a folder with bin/python.
  mkPython =
    arguments:
    let
      s = settings arguments;
      # nix-shell gives each file inNixShell.
      known = [ "inNixShell" ] ++ attrNames ofSettings;
      unknown = attrNames (removeAttrs arguments known);
    in
    if arguments ? lock && unknown != [ ] then
      fail "mkPython has no argument ${head unknown}: docs/python.md tells which there are"
    else if s.form == "packages" then packages.environment s else treeOf s s.name s.distributions;

  withPkgs =
    what: arguments: use:
    if arguments.pkgs or null == null then fail "${what} needs pkgs" else use (settings arguments);

  ofSettings = builtins.functionArgs settings;
  ofShell = [
    "packages"
    "shellHook"
  ];
  ofImage = [
    "image"
    "tag"
    "config"
    "contents"
  ];
  # A package, or an application, of sources whose dependencies are those of a lock.
  package =
    what: function: arguments:
    let
      source = arguments.src or (fail "${what} got neither a lock nor a src: give src = ./.");
      given =
        if arguments ? lock then
          arguments
        else
          arguments // { lock = source + "/pylock.toml"; };
      own = removeAttrs arguments (attrNames (removeAttrs ofSettings [ "name" ]));
    in
    withPkgs what given (s: packages.package s function own);

  functions = rec {
    inherit mkPython;

    # The environment on the PATH of `nix-shell` and `nix develop`.
    mkPythonShell =
      arguments:
      let
        s = settings arguments;
      in
      import ./shell.nix {
        inherit (s) pkgs shell system;
        name = "${s.name}-shell";
        packages = [ (mkPython (removeAttrs arguments ofShell)) ] ++ arguments.packages or [ ];
        variables.PYTHONDONTWRITEBYTECODE = "1";
        shellHook = arguments.shellHook or "";
      };

    # An image of layers for `docker load`, by dockerTools.
    mkDockerImage =
      arguments:
      withPkgs "mkDockerImage" arguments (
        s:
        let
          env = mkPython (removeAttrs arguments ofImage);
          config = arguments.config or { };
          variables = config.Env or [ ];
          hasPath = builtins.any (one: match "PATH=.*" one != null) variables;
        in
        s.pkgs.dockerTools.buildLayeredImage {
          name = arguments.image or s.name;
          tag = arguments.tag or "latest";
          contents = [ env ] ++ arguments.contents or [ ];
          # Python asks for a folder of temporary files.
          extraCommands = "mkdir -m 1777 tmp";
          config = {
            Entrypoint = [ "${env}/bin/python" ];
          }
          // config
          // {
            Env = (if hasPath then [ ] else [ "PATH=${env}/bin:/bin" ]) ++ variables;
          };
        }
      );

    # pythonFinal: pythonPrev: { ... }, for `packageOverrides` and `pythonPackagesExtensions`.
    mkPythonOverrides =
      arguments: withPkgs "mkPythonOverrides" arguments (s: packages.overrides s);

    # An overlay in which a Python, and its packages, are those of the lock. What it changes builds
    # most libraries, so wheels are patched with those of `pkgs`, or of the set without overlays.
    mkOverlay =
      arguments:
      packages.overlay (
        pkgs:
        settings (
          {
            libraries =
              arguments.pkgs or (import pkgs.path {
                inherit (pkgs.stdenv.hostPlatform) system;
                overlays = [ ]; # else those of the user, of which this may be one
              });
          }
          // arguments
          // {
            inherit pkgs;
          }
        )
      );

    # The package set with that overlay.
    mkNixpkgs = arguments: withPkgs "mkNixpkgs" arguments (s: s.pkgs.extend (mkOverlay arguments));

    buildPythonPackage = package "buildPythonPackage" "buildPythonPackage";
    buildPythonApplication = package "buildPythonApplication" "buildPythonApplication";
  };

  checkedFunctions = builtins.mapAttrs (
    name: function: arguments:
    function (checked name arguments)
  ) functions;
in
checkedFunctions
// {
  # These functions with `pkgs` given.
  forPkgs =
    pkgs:
    builtins.mapAttrs (
      name: function: arguments:
      function ({ pkgs = checkedSet pkgs; } // checked name arguments)
    ) (removeAttrs checkedFunctions [ "mkOverlay" ])
    // {
      inherit (checkedFunctions) mkOverlay;
    };
}
