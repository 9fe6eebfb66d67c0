# `python3Packages`: a builder that really installs and tries a package of pure Python, by the
# machine's interpreter, and empty packages where plxnix only needs the name.
{ lib, pkgs, host, run, extensions }:

let
  names = [
    "click" "cloudpickle" "distributed" "fsspec" "hatchling" "hypothesis" "installer" "jinja2"
    "matplotlib" "mypy" "numpy" "packaging" "pytest" "pytest-randomly" "pytest-xdist" "pyyaml"
    "rich" "scikit-learn" "types-pyyaml" "urllib3" "uv"
  ];

  buildPythonPackage =
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
      inherit buildPythonPackage;
      toPythonApplication = package: package;
      callPackage = callPackageWith (pkgs // self);
    };
in
lib.fix (builtins.foldl' (function: extension: lib.extends extension function) base extensions)
