# Python environments out of a pylock.toml, in Nix: see docs/python.md. Nothing is resolved and
# nothing is built while this is evaluated. Without `pkgs` the machine's own Python is used.
let
  reader = import ./lock.nix;
  versions = import ./versions.nix;
  tree = import ./tree.nix;
  inherit (import ./arguments.nix) checked checkedSet;
  inherit (builtins)
    attrNames
    filter
    head
    isAttrs
    isString
    match
    replaceStrings
    ;

  fail = message: throw "plxnix python: ${message}";

  # What all functions take.
  settings =
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
          pkgs.stdenv.hostPlatform.system or pkgs.system
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
      # More Python packages of `pkgs`, or folders of sources.
      packagesExtra ? [ ],
      # Changes of packages: { NAME.buildInputs.add = [ ... ]; }
      _ ? { },
      overridesPre ? [ ],
      overridesPost ? [ ],
      # Run the tests of what is built from sources.
      tests ? false,
      # Let nixpkgs' autoPatchelfHook correct the programs and libraries in wheels.
      autoPatchelf ? pkgs != null,
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
    };

  ofNixpkgs =
    providers:
    builtins.any (one: match ".*nixpkgs.*" (if isString one then one else toString one) != null) (
      builtins.attrValues providers
    );

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
      given = s.python != null && (isAttrs s.python || s.isPath);
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
      known = [ "inNixShell" ] ++ attrNames (builtins.functionArgs settings);
      unknown = attrNames (removeAttrs arguments known);
    in
    if arguments ? lock && unknown != [ ] then
      fail "mkPython has no argument ${head unknown}: docs/python.md tells which there are"
    else if s.form == "packages" then packages.environment s else treeOf s s.name s.distributions;

  withPkgs =
    what: arguments: use:
    if arguments.pkgs or null == null then fail "${what} needs pkgs" else use (settings arguments);

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
  ofPackage = filter (
    key:
    !(builtins.elem key [
      "lock"
      "pkgs"
      "python"
      "providers"
      "extras"
      "groups"
      "packagesExtra"
      "_"
      "overridesPre"
      "overridesPost"
      "tests"
      "autoPatchelf"
      "platform"
      "pythonVersion"
      "collisions"
    ])
  );

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
      own = builtins.listToAttrs (
        map (key: {
          name = key;
          value = arguments.${key};
        }) (ofPackage (attrNames arguments))
      );
    in
    withPkgs what given (s: packages.package s function own);

  functions = rec {
    inherit mkPython;

    # The environment on the PATH of `nix-shell` and `nix develop`.
    mkPythonShell =
      arguments:
      let
        env = mkPython (removeAttrs arguments ofShell);
        s = settings arguments;
      in
      import ./shell.nix {
        inherit env;
        inherit (s)
          name
          pkgs
          shell
          system
          ;
        packages = arguments.packages or [ ];
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

    # An overlay in which a Python, and its packages, are those of the lock.
    mkOverlay =
      arguments: final: prev:
      packages.overlay (pkgs: settings (arguments // { inherit pkgs; })) final prev;

    # The package set with that overlay.
    mkNixpkgs =
      arguments: withPkgs "mkNixpkgs" arguments (s: s.pkgs.extend (mkOverlay (removeAttrs arguments [ "pkgs" ])));

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
