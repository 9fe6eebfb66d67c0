# The derivations of a plxnix.lock.json.
#
#   fromLock { lock = ./plxnix.lock.json; }
#   => { data = «derivation»; train = «derivation»; ...; targets = { train = [ «derivation» ]; };
#        default = «derivation»; sources = { iris = «derivation»; ... }; }
#
# A lock is data and may come from a stranger: it is read, but no text in it is ever evaluated, and
# only what has the right type gets into a derivation. What its derivations run when they are built
# is another matter, as with any package.
{
  # The file, or what is in it as a set.
  lock,
  # The package set for locks of the toolchains `nixpkgs` and `locked`.
  pkgs ? null,
  # What to use in place of derivations, by variable: { data = ./my.csv; }. Those that depend on
  # them see it.
  overrides ? { },
}:

let
  inherit (builtins)
    attrNames
    concatStringsSep
    elem
    filter
    head
    intersectAttrs
    isAttrs
    isList
    isString
    mapAttrs
    replaceStrings
    toJSON
    ;

  fail = message: throw "plxnix lock: ${message}";

  # -- reading -----------------------------------------------------------------------------------

  # Nix 2.8 cuts strings off at a NUL. So nothing with one is read; `\\u0000` is not one.
  read =
    path:
    let
      text = builtins.readFile path;
      plain = replaceStrings [ "\\\\" ] [ "" ] text;
    in
    if replaceStrings [ "\\u0000" ] [ "" ] plain == plain then
      builtins.fromJSON text
    else
      fail "it holds a NUL character";

  data =
    let
      found = if isAttrs lock then lock else read lock;
    in
    if !isAttrs found then
      fail "it is no object"
    else if (found.version or null) != 1 then
      fail "its version is ${toJSON (found.version or null)}, and this library reads 1: use the plxnix.lib of the plxnix that wrote it"
    else
      found;

  string =
    where: value: if isString value then value else fail "${where} is no string: ${shown value}";
  list = where: value: if isList value then value else fail "${where} is no list: ${shown value}";
  set = where: value: if isAttrs value then value else fail "${where} is no object: ${shown value}";
  shown = value: builtins.substring 0 200 (toJSON value);

  # -- texts -------------------------------------------------------------------------------------

  # A text is a string or a list of parts.
  text =
    where: value:
    if isString value then value else concatStringsSep "" (map (part where) (list where value));

  part =
    where: value:
    if isString value then
      value
    else if (set where value) ? file then
      builtins.toFile (string where value.file) (lines where value.contents)
    else if value ? package then
      "${output (package where value.package) (string where value.output)}"
    else
      reference where (string where (value.ref or null)) (string where (value.output or null));

  lines =
    where: value:
    if isString value then value else concatStringsSep "" (map (string where) (list where value));

  # The first output of a derivation is the derivation itself; so a file can override it.
  reference =
    where: variable: name:
    let
      above = entries.${variable} or (fail "${where} refers to ${toJSON variable}, which is not in it");
      names = outputsOf variable above;
      found = derivations.${variable};
    in
    if name == head names then
      "${found}"
    else if elem name names then
      "${found.${name}}"
    else
      fail "${where} refers to the output ${toJSON name} of ${variable}, which has none";

  # -- packages ----------------------------------------------------------------------------------

  package =
    where: path:
    let
      words = filter isString (builtins.split "\\." (string where path));
      step =
        found: word: found.${word} or (fail "${where} needs the package ${path}, which pkgs has not");
    in
    if pkgs == null then
      fail "${where} needs the package ${path}: give fromLock the package set as pkgs"
    else
      builtins.foldl' step pkgs words;

  output = found: name: if name == (found.outputName or "out") then found else found.${name};

  # -- derivations -------------------------------------------------------------------------------

  # A lock that `plxnix lock add` has made has sources only.
  section = name: set name (data.${name} or (if data ? sources then { } else null));

  entries = section "derivations";

  outputsOf =
    variable: entry:
    if entry ? outputs then
      map (string "${variable}.outputs") (list "${variable}.outputs" entry.outputs)
    else
      [ "out" ];

  # Variables that would not be variables, but change what the derivation is.
  reserved = {
    __contentAddressed = null;
    __ignoreNulls = null;
    __impure = null;
    __json = null;
    __structuredAttrs = null;
    __toString = null;
    args = null;
    builder = null;
    name = null;
    outputHash = null;
    outputHashAlgo = null;
    outputHashMode = null;
    outputs = null;
    system = null;
  };

  environment =
    variable: entry:
    let
      found = set "${variable}.env" (entry.env or { });
      refused = attrNames (intersectAttrs reserved found);
    in
    if refused == [ ] then
      mapAttrs (name: text "${variable}.env.${name}") found
    else
      fail "${variable}.env must not set ${head refused}";

  fixed =
    variable: entry:
    if !(entry ? fixed) then
      { }
    else if elem (entry.fixed.mode or null) [ "flat" "recursive" ] then
      {
        outputHash = string "${variable}.fixed.hash" (entry.fixed.hash or null);
        outputHashAlgo = "";
        outputHashMode = entry.fixed.mode;
      }
    else
      fail "${variable}.fixed.mode is neither flat nor recursive";

  make =
    variable: entry:
    let
      name = string "${variable}.name" (entry.name or null);
      arguments = map (text "${variable}.args") (list "${variable}.args" (entry.args or [ ]));
    in
    if entry ? tools then
      # A command of the toolchain `nixpkgs`.
      (need variable).runCommand name (
        environment variable entry
        // fixed variable entry
        // (if entry ? outputs then { outputs = outputsOf variable entry; } else { })
        // (
          if entry.tools == [ ] then
            { }
          else
            {
              nativeBuildInputs = map (package variable) (list "${variable}.tools" entry.tools);
            }
        )
      ) (builtins.elemAt arguments (builtins.length arguments - 1))
    else if entry ? urls then
      # A fetch of the toolchain `nixpkgs`, whose fetcher knows mirrors.
      (need variable).fetchurl {
        inherit name;
        urls = map (string "${variable}.urls") (list "${variable}.urls" entry.urls);
        hash = (fixed variable entry).outputHash;
      }
    else
      derivation (
        environment variable entry
        // fixed variable entry
        // {
          inherit name;
          system = string "${variable}.system" (entry.system or null);
          builder = text "${variable}.builder" (entry.builder or null);
        }
        // (if entry ? args then { args = arguments; } else { })
        // (if entry ? outputs then { outputs = outputsOf variable entry; } else { })
      );

  need =
    variable:
    if pkgs == null then
      fail "${variable} is made by nixpkgs: give fromLock the package set as pkgs"
    else
      pkgs;

  # What stage it is, beside the derivation: that is the same as without.
  described =
    entry: found:
    found
    // {
      plxnix = {
        dref = entry.dref or null;
        rref = entry.rref or null;
        kind = entry.kind or null;
      };
    };

  unknown = filter (name: !(entries ? ${name} || sources ? ${name})) (attrNames overrides);

  derivations = mapAttrs (
    variable: entry:
    overrides.${variable} or (described entry (make variable (set "derivations.${variable}" entry)))
  ) entries;

  # -- depth -------------------------------------------------------------------------------------

  # Nix evaluates by recursion, and thousands of derivations in a row are too many for its stack. A
  # lock that is that deep has their order: they are evaluated from the bottom, by the hundreds, as
  # soon as one of them is asked for. What fails then fails again where it is asked for.
  order = filter (variable: entries ? ${variable}) (
    map (string "order") (list "order" (data.order or [ ]))
  );

  batch = 500;

  batchOf = builtins.listToAttrs (
    builtins.genList (number: {
      name = builtins.elemAt order number;
      value = number / batch;
    }) (builtins.length order)
  );

  # Item n: all that is in the batches before n is evaluated.
  ready = builtins.genList (
    number:
    if number == 0 then
      null
    else
      builtins.seq (builtins.elemAt ready (number - 1)) (
        builtins.foldl' (
          _: place: builtins.tryEval (derivations.${builtins.elemAt order place}.drvPath or null)
        ) null (builtins.genList (n: (number - 1) * batch + n) batch)
      )
  ) (builtins.length order / batch + 1);

  found = mapAttrs (
    variable: one:
    if batchOf ? ${variable} then
      builtins.seq (builtins.elemAt ready batchOf.${variable}) one
    else
      one
  ) derivations;

  # -- sources -----------------------------------------------------------------------------------

  # Named fetches, which `plxnix lock` maintains: a file as `fetch` gives it, or a tree.
  sources = mapAttrs (
    name: entry: overrides.${name} or (source "sources.${name}" (set "sources.${name}" entry))
  ) (set "sources" (data.sources or { }));

  source =
    where: entry:
    let
      filled =
        value:
        if entry ? version then
          replaceStrings [ "{version}" ] [ (string "${where}.version" entry.version) ] value
        else
          value;
      url = filled (string "${where}.url" (entry.url or null));
      hash = string "${where}.hash" (entry.hash or null);
      name = if entry ? name then filled (string "${where}.name" entry.name) else null;
      unpack = entry.unpack or false;
    in
    if unpack == true then
      builtins.fetchTarball {
        inherit url;
        name = if name == null then "source" else name;
        sha256 = hash;
      }
    else if unpack == false then
      import ./fetch.nix { inherit url name hash; }
    else
      fail "${where}.unpack is neither true nor false";

  # -- targets -----------------------------------------------------------------------------------

  wanted = map (
    target:
    target
    // {
      several = map (
        variable:
        found.${string "targets" variable}
          or (fail "a target is ${toJSON variable}, which is not in it")
      ) (list "targets" (target.variables or null));
    }
  ) (builtins.attrValues (section "targets"));

  # Each target by the name of its stage; a list, as a matcher may have selected several results.
  targets = mapAttrs (_: several: builtins.concatMap (target: target.several) several) (
    builtins.groupBy (target: string "the name of a target" (target.name or null)) wanted
  );

  all = builtins.concatMap (target: target.several) wanted;
in
if unknown != [ ] then
  fail "overrides has ${head unknown}, which is not in it: it has ${concatStringsSep ", " (attrNames (sources // entries))}"
else
  found
  // {
    inherit targets;

    # The target; a lock may have several, which have no common default.
    default =
      if builtins.length all == 1 then
        head all
      else
        fail "it has ${toString (builtins.length all)} targets: choose from ${concatStringsSep ", " (attrNames targets)}";
  }
  // (if data ? sources then { inherit sources; } else { })
