# Environments out of the packages of nixpkgs: each distribution of a lock becomes a package of a
# Python by `buildPythonPackage`, which `_` and overrides can change. `s` are the settings of
# default.nix.
{ tree, versions }:
let
  inherit (builtins)
    attrNames
    foldl'
    head
    isAttrs
    isFunction
    isList
    isPath
    isString
    listToAttrs
    mapAttrs
    match
    ;

  fail = message: throw "plxnix python: ${message}";

  # { NAME = function of NAME; ... }
  each =
    names: function:
    listToAttrs (
      map (name: {
        inherit name;
        value = function name;
      }) names
    );

  compose =
    list: final: prev:
    foldl' (found: one: found // one final (prev // found)) { } list;

  isNative = one: match ".*-any\\.whl" (one.filename or "") == null;

  isFile = one: one.kind == "wheel" || one.kind == "sdist";

  # What manylinux wheels may take for granted, for autoPatchelfHook to find.
  patching = s: {
    nativeBuildInputs = [ s.libraries.autoPatchelfHook ];
    buildInputs = s.libraries.pythonManylinuxPackages.manylinux2014 or [ ];
    autoPatchelfIgnoreMissingDeps = [ "*" ];
  };

  # A distribution as a package; its dependencies are in the environment anyway.
  define =
    s: final: one:
    final.buildPythonPackage (
      {
        pname = one.name;
        inherit (one) version;
        src = if isFile one then tree.fetch s.folder one else tree.sources s one;
        dependencies = [ ];
        # Those are versions of the lock.
        dontCheckRuntimeDeps = true;
      }
      // (
        if one.kind == "wheel" then
          {
            format = "wheel";
            doCheck = false;
            dontStrip = true;
          }
          // (if s.autoPatchelf && isNative one then patching s else { })
        else
          {
            pyproject = true;
            build-system = map (define s final) one.build;
            doCheck = s.tests;
          }
          // (
            if isFile one || one.subdirectory == "" then
              { }
            else
              { sourceRoot = "source/${one.subdirectory}"; }
          )
      )
    );

  # NAME.ATTRIBUTE = value, or .add = value, or .mod = old: value.
  change =
    old: attribute: value:
    let
      before = old.${attribute} or null;
      known = isAttrs value && attrNames value != [ ];
    in
    if known && attrNames value == [ "add" ] then
      (
        if before == null then
          value.add
        else if isList before then
          before ++ value.add
        else if isAttrs before then
          before // value.add
        else
          before + value.add
      )
    else if known && attrNames value == [ "mod" ] then
      value.mod before
    else
      value;

  changed =
    s: _: prev:
    mapAttrs (
      given: attributes:
      let
        name = versions.normalize given;
        package = prev.${name} or (fail "_ names ${given}, which is no package");
      in
      package.overridePythonAttrs (old: mapAttrs (change old) attributes)
    ) s.changes;

  # Of nixpkgs (right), and of the lock (wrong).
  parts = s: builtins.partition (one: one.kind == "nixpkgs") s.distributions;
  named = packages: map (one: packages.${one.name});

  # In nixpkgs a package brings its dependencies along. A lock does not say who needs whom, and there
  # may be circles: so what others see of each of its packages is one folder of links to all.
  joined =
    s: final: prev:
    let
      inherit (parts s) right wrong;
      paths = named prev wrong;
      all = s.pkgs.buildEnv {
        name = "${s.name}-packages";
        inherit paths;
        postBuild = ''
          mkdir -p "$out/nix-support"
          for one in ${toString paths}; do
            inputs=$one/nix-support/propagated-build-inputs
            if [ -e "$inputs" ]; then tr ' ' '\n' < "$inputs"; echo; fi
          done | sort -u > "$out/nix-support/propagated-build-inputs"
        '';
      };
    in
    each (map (one: one.name) wrong) (
      name:
      prev.${name}
      // {
        inherit (all) drvPath out outPath;
        requiredPythonModules = named final right;
      }
    );

  # All packages: one of those of the lock stands for the others.
  packagesOf =
    s: ps:
    let
      inherit (parts s) right wrong;
    in
    named ps (right ++ (if wrong == [ ] then [ ] else [ (head wrong) ]));

  # The interpreter with more overrides than it has, by which `self` knows itself.
  overridden =
    s: more: self:
    s.interpreter.override (old: {
      packageOverrides = compose ([ old.packageOverrides or (_: _: { }) ] ++ more);
      inherit self;
    });

  # In nixpkgs, what builds packages (installer, flit-core, packaging, wheel, ...) is of the same
  # package set, from sources. A lock has wheels of these, so it must not be built by them: packages
  # are built by those of a Python of its own, in whose set our overrides change nothing.
  builders =
    s:
    let
      plain = overridden s [ (_: _: { unchanged = true; }) ] plain;
    in
    {
      inherit (plain.pkgs) buildPythonPackage buildPythonApplication;
    };
in
rec {
  # The tree, by the builder of plxnix with the Python of the package set.
  runTree =
    s: name: variables:
    let
      patch = s.autoPatchelf && builtins.any isNative s.distributions;
    in
    s.pkgs.runCommand name (
      variables
      // {
        python = s.interpreter.interpreter;
      }
      // (if patch then patching s else { })
    ) (tree.run + (if patch then "\nautoPatchelf \"$out\"\n" else ""));

  overrides =
    s: final: prev:
    let
      ours =
        final: _:
        listToAttrs (
          map (one: {
            inherit (one) name;
            value = define s final one;
          }) (parts s).wrong
        );
      all = compose (
        [ (_: _: builders s) ]
        ++ s.overridesPre
        ++ [
          ours
          (changed s)
        ]
        ++ s.overridesPost
        ++ [ (joined s) ]
      ) final prev;
    in
    mapAttrs (name: value: if final.unchanged or false then prev.${name} or null else value) all;

  # The Python whose packages are those of the lock.
  python =
    s:
    let
      self = overridden s [ (overrides s) ] self;
    in
    self;

  environment =
    s:
    let
      extra =
        ps: one:
        if isFunction one then
          one ps
        else if isPath one || isString one then
          [ (package s "buildPythonPackage" { src = one; }) ]
        else
          [ one ];
    in
    (python s).withPackages (
      ps: packagesOf s ps ++ builtins.concatMap (extra ps) s.packagesExtra
    );

  # The one attribute that is changed: `python3` and `python311Packages` of nixpkgs follow it.
  overlay =
    settings: final: prev:
    let
      s = settings prev;
    in
    {
      ${s.attribute} = overridden s [ (overrides s) ] final.${s.attribute};
    };

  # A package of sources, with the packages of the lock.
  package =
    s: function: own:
    let
      ps = (python s).pkgs;
      project = builtins.fromTOML (builtins.readFile (own.src + "/pyproject.toml"));
      said =
        what:
        project.project.${what}
          or (fail "pyproject.toml of ${toString own.src} has no ${what}: give it as an argument");
      required =
        requirement:
        let
          name = versions.normalize (head (match "([A-Za-z0-9._-]+).*" requirement));
        in
        ps.${name} or (fail "${said "name"} is built with ${name}, which the package set does not have");
    in
    ps.${function} (
      {
        pname = said "name";
        version = said "version";
        pyproject = true;
        build-system = map required (project.build-system.requires or [ "setuptools" ]);
        dependencies = packagesOf s ps;
        doCheck = s.tests;
      }
      // own
    );
}
