# Which wheels run where: the tags of CPython on a platform, best first, as packaging lists them. A
# target is what plxnix.pyenv.target has: { python = "3.11"; platform = "x86_64-linux"; }
let
  versions = import ./versions.nix;
  inherit (builtins)
    concatLists
    elemAt
    fromJSON
    genList
    head
    length
    listToAttrs
    match
    ;

  # From `high` down to `low`.
  down = high: low: if high < low then [ ] else genList (n: high - n) (high - low + 1);

  legacy = {
    "17" = "manylinux2014";
    "12" = "manylinux2010";
    "5" = "manylinux1";
  };

  glibc =
    machine: newest:
    let
      lowest = if machine == "x86_64" || machine == "i686" then 5 else 17;
      one =
        n:
        [ "manylinux_2_${toString n}_${machine}" ]
        ++ (if legacy ? ${toString n} then [ "${legacy.${toString n}}_${machine}" ] else [ ]);
    in
    concatLists (map one (down newest lowest)) ++ [ "linux_${machine}" ];

  musl =
    machine: newest:
    map (n: "musllinux_1_${toString n}_${machine}") (down newest 0) ++ [ "linux_${machine}" ];

  # macOS 13.
  darwin =
    machine:
    let
      formats =
        if machine == "x86_64" then
          [
            "x86_64"
            "intel"
            "fat64"
            "fat3"
            "universal2"
            "universal"
          ]
        else
          [
            "arm64"
            "universal2"
          ];
      tag = a: b: format: "macosx_${toString a}_${toString b}_${format}";
      old = n: if machine == "x86_64" then map (tag 10 n) formats else [ (tag 10 n "universal2") ];
    in
    concatLists (map (n: map (tag n 0) formats) (down 13 11)) ++ concatLists (map old (down 16 4));

  # What a platform is: `x86_64-linux`, `-linux-musl`, `-manylinux_2_35`, `-musllinux_1_1`, `-darwin`.
  platform =
    name:
    let
      parts = match "([a-z0-9_]+)-(linux|linux-musl|manylinux_2_([0-9]+)|musllinux_1_([0-9]+)|darwin)" name;
      machine = head parts;
      kind = elemAt parts 1;
      level = index: default: if elemAt parts index == null then default else fromJSON (elemAt parts index);
      isMac = kind == "darwin";
      isMusl = kind == "linux-musl" || elemAt parts 3 != null;
    in
    if parts == null then
      throw "plxnix python: no wheels are known for the platform ${name}"
    else
      {
        inherit isMac;
        machine = if isMac && machine == "aarch64" then "arm64" else machine;
        tags =
          if isMac then
            darwin machine
          else if isMusl then
            musl machine (level 3 2)
          else
            glibc machine (level 2 28);
      };

  interpreter =
    python:
    let
      parts = match "3\\.([0-9]+)(\\.([0-9]+))?(t?)" python;
    in
    if parts == null then
      throw "plxnix python: ${python} is no version of Python, such as 3.11"
    else
      {
        minor = fromJSON (head parts);
        patch = if elemAt parts 2 == null then "0" else elemAt parts 2;
        threads = elemAt parts 3;
      };

  # All tags of a target, best first.
  tags =
    target:
    let
      inherit (interpreter target.python) minor threads;
      all = (platform target.platform).tags;
      on = stem: map (one: "${stem}-${one}") all;
      cp = n: "cp3${toString n}";
      py = n: "py3${toString n}";
      stable = if threads == "t" then "abi3t" else "abi3";
      pys = [
        (py minor)
        "py3"
      ]
      ++ map py (down (minor - 1) 0);
    in
    on "${cp minor}-${cp minor}${threads}"
    ++ on "${cp minor}-${stable}"
    ++ on "${cp minor}-none"
    ++ concatLists (map (n: on "${cp n}-${stable}") (down (minor - 1) 2))
    ++ concatLists (map (name: on "${name}-none") pys)
    ++ [ "${cp minor}-none-any" ]
    ++ map (name: "${name}-none-any") pys;

  # What environment markers see of a target.
  markers =
    target:
    let
      inherit (interpreter target.python) minor patch;
      inherit (platform target.platform) isMac machine;
      version = "3.${toString minor}";
      full = "${version}.${patch}";
    in
    {
      implementation_name = "cpython";
      implementation_version = full;
      os_name = "posix";
      platform_machine = machine;
      platform_python_implementation = "CPython";
      platform_release = "";
      platform_system = if isMac then "Darwin" else "Linux";
      platform_version = "";
      python_full_version = full;
      python_version = version;
      sys_platform = if isMac then "darwin" else "linux";
    };

  # The tags that a wheel's file name stands for; null if it is no wheel's name.
  ofWheel =
    filename:
    let
      parts = match "[^-]+-[^-]+(-[0-9][^-]*)?-([^-]+)-([^-]+)-([^-]+)\\.whl" filename;
      set = index: versions.words "\\." (versions.lowercase (elemAt parts index));
    in
    if parts == null then
      null
    else
      concatLists (
        map (
          interpreter: concatLists (map (abi: map (p: "${interpreter}-${abi}-${p}") (set 3)) (set 2))
        ) (set 1)
      );
in
{
  inherit markers ofWheel tags;
  ranks =
    target:
    let
      all = tags target;
    in
    listToAttrs (
      genList (n: {
        name = elemAt all n;
        value = n;
      }) (length all)
    );
}
