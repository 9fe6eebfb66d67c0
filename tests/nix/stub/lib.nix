# The functions of nixpkgs' `lib` that this project uses, with the same meaning.
rec {
  attrValues = builtins.attrValues;
  concatLists = builtins.concatLists;
  genAttrs =
    names: function:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = function name;
      }) names
    );
  makeBinPath = packages: builtins.concatStringsSep ":" (map (package: "${package}/bin") packages);

  # Sources are sets with `origSrc` and `filter`, so that filters can be put on top of each other.
  cleanSourceWith =
    { src, filter }:
    let
      nested = src ? _isLibCleanSourceWith;
      origSrc = if nested then src.origSrc else src;
      both = path: type: filter path type && (!nested || src.filter path type);
    in
    {
      _isLibCleanSourceWith = true;
      inherit origSrc;
      filter = both;
      outPath = builtins.path {
        path = origSrc;
        name = "source";
        filter = both;
      };
    };
  sourceByRegex =
    src: expressions:
    cleanSourceWith {
      inherit src;
      filter =
        path: _:
        let
          start = builtins.stringLength (toString src) + 1;
          relative = builtins.substring start (-1) (toString path);
        in
        builtins.any (expression: builtins.match expression relative != null) expressions;
    };

  fix = function: let result = function result; in result;
  extends =
    overlay: function: final:
    let previous = function final; in previous // overlay final previous;

  licenses.asl20.spdxId = "Apache-2.0";
  platforms.linux = [ "x86_64-linux" "aarch64-linux" ];
}
