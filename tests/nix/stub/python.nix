# `python3Packages`: a builder that really installs and tries a package of pure Python, by the
# machine's interpreter, and empty packages where plxnix only needs the name.
{ lib, pkgs, host, run, extensions }:

let
  names = [
    "click" "cloudpickle" "distributed" "fsspec" "hatchling" "hypothesis" "installer" "jinja2"
    "matplotlib" "mypy" "numpy" "packaging" "pytest" "pytest-randomly" "pytest-xdist"
    "rich" "scikit-learn" "urllib3" "uv"
  ];

  # As the real one: what it was called with can be overridden.
  overridable =
    function: arguments:
    function arguments
    // {
      overridePythonAttrs = change: overridable function (arguments // change arguments);
    };

  library = "lib/python${host.version}/site-packages";

  # A wheel, or an archive of sources that are not built but copied.
  unpacked =
    {
      pname,
      version,
      src,
      format ? null,
      pyproject ? null,
      build-system ? [ ],
      nativeBuildInputs ? [ ],
      buildInputs ? [ ],
      dependencies ? [ ],
      dontCheckRuntimeDeps ? false,
      dontStrip ? false,
      autoPatchelfIgnoreMissingDeps ? false,
      doCheck ? true,
      postInstall ? "",
      patches ? [ ],
    }:
    assert (format == "wheel") != (pyproject == true);
    run "python3-${pname}-${version}" {
      inherit src nativeBuildInputs buildInputs patches;
      buildSystem = build-system;
      check = doCheck;
      propagatedBuildInputs = dependencies;
    } (
      "mkdir -p $out/${library}\n"
      + (
        if format == "wheel" then
          "${host.python} -I -m zipfile -e $src $out/${library}\n"
        else
          "tar -C $out/${library} --strip-components=1 -xf $src\n"
      )
      + postInstall
    )
    // { inherit pname version dependencies; requiredPythonModules = dependencies; };

  isArchive = src: builtins.match ".*\\.(whl|gz|zip)" (src.name or "") != null;

  # Packages on the path of an interpreter.
  environment =
    packages:
    let
      all = builtins.concatMap (one: [ one ] ++ one.requiredPythonModules or [ ]) packages;
    in
    run "python3-env" { packages = map (one: one.outPath) all; } ''
      mkdir -p $out/bin $out/${library}
      for one in $packages; do [ ! -d $one/lib ] || cp -RT --no-preserve=mode $one/lib $out/lib; done
      printf '#!%s\nPYTHONPATH=%s exec %s "$@"\n' ${host.bash} $out/${library} \
        ${host.interpreter} > $out/bin/python
      chmod +x $out/bin/python
    '';

  # As in the real one, what builds packages is one of them.
  buildPythonPackage =
    self:
    overridable (
      arguments:
      builtins.seq self.installer.outPath (
        (if isArchive arguments.src then unpacked else copied) arguments
      )
    );

  copied =
    {
      pname,
      version,
      src,
      pyproject,
      build-system,
      dependencies ? [ ],
      optional-dependencies ? { },
      makeWrapperArgs ? [ ],
      doCheck ? true,
      pythonImportsCheck ? [ ],
      meta ? { },
    }:
    assert pyproject;
    let
      package = run "python3-${pname}-${version}" {
        inherit src;
        nativeBuildInputs = build-system;
        propagatedBuildInputs = dependencies;
        imports = pythonImportsCheck;
      } ''
        mkdir -p $out/bin $out/lib
        cp -R $src/${pname} $out/lib/
        for module in $imports; do
          ${host.python} -I -B -c "import sys; sys.path.insert(0, '$out/lib'); import $module"
        done
        echo "#!${host.python} -IB
        import sys
        sys.path.insert(0, '$out/lib')
        from ${pname}.cli import main
        sys.exit(main())" > $out/bin/${pname}
        chmod +x $out/bin/${pname}
      '';
    in
    package // { inherit pname version dependencies optional-dependencies meta; };

  callPackageWith =
    scope: file: arguments:
    let function = import file; in
    function (builtins.intersectAttrs (builtins.functionArgs function) scope // arguments);

  base = self:
    lib.genAttrs names (name: run "python3-${name}" { pname = name; } "mkdir -p $out/bin" // { pname = name; })
    // {
      inherit environment;
      buildPythonPackage = buildPythonPackage self;
      buildPythonApplication = buildPythonPackage self;
      toPythonApplication = package: package;
      callPackage = callPackageWith (pkgs // self);
    };
in
lib.fix (builtins.foldl' (function: extension: lib.extends extension function) base extensions)
