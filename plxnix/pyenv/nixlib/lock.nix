# Read a pylock.toml (PEP 751) and select what to install on a target, as plxnix.pyenv.lock does.
# Nothing is resolved and nothing is built; locks of uv and pip, without the table of plxnix, will do
# where nothing has to be built from sources.
let
  versions = import ./versions.nix;
  markers = import ./markers.nix;
  tags = import ./tags.nix;
  inherit (builtins)
    any
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    groupBy
    head
    isAttrs
    isPath
    isString
    length
    match
    split
    ;

  fail = message: throw "plxnix python: ${message}";

  # Nix reads no dates.
  undated =
    text:
    concatStringsSep "" (filter isString (split "upload-time = [0-9][0-9TtZz:.+ -]*(, )?" text));

  read =
    lock:
    let
      content =
        if isAttrs lock then
          lock
        else if isString lock && match ".*\n.*" lock != null then
          builtins.fromTOML (undated lock)
        else if isString lock && match "/.*" lock == null then
          fail "lock is ${builtins.toJSON lock}, which is neither a path nor the text of a pylock.toml: give ./pylock.toml"
        else
          builtins.fromTOML (undated (builtins.readFile lock));
    in
    if match "1(\\.[0-9]+)?" (content.lock-version or "") == null then
      fail "this is no pylock.toml of version 1: lock-version is ${
        builtins.toJSON (content.lock-version or null)
      }"
    else if (content.tool.plxnix.version or 1) > 1 then
      fail "the lock is of a newer plxnix: use the library of that one"
    else
      content;

  # The folder that paths in a lock are relative to.
  folderOf =
    lock:
    if isPath lock || isString lock && match ".*\n.*" lock == null then
      dirOf lock
    else
      fail "the lock has paths in it: give it as a file";

  last = list: elemAt list (length list - 1);
  baseName = url: last (versions.words "/" (head (match "([^?#]*).*" url)));
  unquote = builtins.replaceStrings [ "%2B" "%2b" "%21" ] [ "+" "+" "!" ];
  filenameOf = file: file.name or (unquote (baseName (file.url or file.path)));

  # "wheel,sdist" or [ "wheel" "sdist" ]
  orderOf =
    name: given:
    let
      list =
        if isString given then
          filter (word: word != "") (versions.words "[ ,]+" given)
        else
          given;
      unknown = filter (word: !elem word [ "wheel" "sdist" "nixpkgs" ]) list;
    in
    if unknown != [ ] || list == [ ] then
      fail "${name} has ${builtins.toJSON unknown} as a provider; there are wheel, sdist, nixpkgs"
    else
      list;
in
rec {
  inherit folderOf read;

  # The distributions to be installed, sorted by name.
  select =
    {
      # What `read` gives, and { python; platform; }.
      content,
      target,
      extras ? [ ],
      groups ? null,
      # By name of a package, and for `_default`: in what order wheel, sdist and nixpkgs are tried.
      providers ? { },
      # Does the package set of Nix have a package?
      inNixpkgs ? (_: false),
    }:
    let
      ours = content.tool.plxnix or { };
      ranks = tags.ranks target;
      environment = tags.markers target;
      full = environment.python_full_version;
      seen = environment // {
        inherit extras;
        dependency_groups = if groups == null then content.default-groups or [ ] else groups;
      };
      described = "Python ${target.python} on ${target.platform}";

      unknown =
        what: asked: known:
        let
          bad = filter (one: !elem one known) asked;
        in
        if bad == [ ] then
          [ ]
        else
          fail "the lock has no ${what} ${head bad}; it has ${concatStringsSep ", " known}";

      orders = builtins.listToAttrs (
        map (name: {
          name = if name == "_default" then name else versions.normalize name;
          value = orderOf name providers.${name};
        }) (builtins.attrNames providers)
      );

      wanted = filter (
        package: !(package ? marker) || markers.evaluate seen package.marker
      ) content.packages;
      byName = groupBy (package: package.name) wanted;
      twice = filter (name: length byName.${name} > 1) (builtins.attrNames byName);

      fits =
        requirement: versions.satisfies full requirement;

      one =
        package:
        let
          inherit (package) name;
          order = orders.${name} or orders._default or null;
          wheels = package.wheels or [ ];
          ranked = filter (wheel: wheel.rank != null) (
            map (file: {
              inherit file;
              rank = best (tags.ofWheel (filenameOf file));
            }) wheels
          );
          best =
            list:
            let
              known = map (tag: ranks.${tag}) (filter (tag: ranks ? ${tag}) (if list == null then [ ] else list));
            in
            if known == [ ] then null else foldl' (a: b: if b < a then b else a) (head known) known;
          wheel = foldl' (a: b: if b.rank < a.rank then b else a) (head ranked) ranked;
          names = concatStringsSep ", " (map filenameOf wheels);

          offers = {
            wheel = ranked != [ ];
            sdist = package ? sdist;
            nixpkgs = inNixpkgs name;
          };
          # Sources are built where there is nothing else, or where that was asked for.
          default = if wheels == [ ] then [ "sdist" ] else [ "wheel" ];
          possible = filter (provider: offers.${provider}) (if order == null then default else order);
          provider = head possible;
          none = fail (
            "${name} ${package.version or ""} has no ${
              concatStringsSep " or " (if order == null then default else order)
            } for ${described}"
            + (if wheels == [ ] then "" else "; its wheels are: ${names}")
            + (
              if order == null && offers.sdist then
                "; its sdist is built if you say so: providers.${name} = \"sdist\""
              else
                ""
            )
          );

          common = {
            inherit name;
            version = package.version or "";
            requested = elem name (ours.requested or [ ]);
            direct = false;
            build = buildOf name;
          };
          ofFile =
            file: extra:
            let
              filename = filenameOf file;
              sha256 = file.hashes.sha256 or (fail "${name} has no sha256: only that is taken");
              isWheel = match ".*\\.whl" filename != null;
            in
            if match "[0-9a-fA-F]{64}" sha256 == null then
              fail "${name} has ${sha256} as a sha256: it has 64 hex digits"
            else if match "[A-Za-z0-9][A-Za-z0-9._+!-]{0,199}" filename == null then
              fail "${name} has ${builtins.toJSON filename} as the name of a file"
            else if !(file ? path) && match "https?://.*" (file.url or "") == null then
              fail "${name} cannot be fetched from ${file.url or "nowhere"}"
            else
              common
              // {
                inherit filename;
                kind = if isWheel then "wheel" else "sdist";
                sha256 = versions.lowercase sha256;
                url = file.url or "";
                path = if file ? url then "" else file.path;
                subdirectory = file.subdirectory or "";
              }
              // extra;
          ofTree =
            kind: source:
            if
              kind == "vcs"
              && (
                source.type != "git"
                || match "[0-9a-f]{40}|[0-9a-f]{64}" source.commit-id == null
                || match "(https?|ssh|git)://.*" (source.url or "") == null
              )
            then
              fail "${name} is at ${source.type} ${source.commit-id} of ${source.url or "no URL"}: only commits of git are taken"
            else
              common
              // {
                inherit kind;
                filename = name;
                sha256 =
                  ours.sources.${name}
                    or (fail "${name} is a ${kind} without a hash in [tool.plxnix.sources]: it cannot be pinned");
                url = source.url or "";
                path = source.path or "";
                subdirectory = source.subdirectory or "";
                commit = source.commit-id or "";
                submodules = elem name (ours.submodules or [ ]);
                direct = true;
              };
          archive = ofFile package.archive {
            direct = true;
            version = package.version or (elemAt (versions.words "-" (filenameOf package.archive)) 1);
          };
        in
        if package ? requires-python && !fits package.requires-python then
          fail "${name} ${package.version or ""} needs Python ${package.requires-python}, but this is for ${described}"
        else if package ? vcs then
          ofTree "vcs" package.vcs
        else if package ? directory then
          ofTree "directory" package.directory
        else if package ? archive then
          archive
        else if possible == [ ] then
          none
        else if provider == "nixpkgs" then
          common // { kind = "nixpkgs"; }
        else if provider == "sdist" then
          ofFile package.sdist { }
        else
          ofFile wheel.file { };

      # What a package is built with.
      buildOf =
        name:
        select {
          inherit target;
          content = {
            packages =
              ours.build.${name}
                or (fail "${name} is built from sources, but what it is built with is not locked: plxnix env lock");
            tool.plxnix.build = removeAttrs (ours.build or { }) [ name ];
          };
        };

      suits =
        !(content ? environments)
        || content.environments == [ ]
        || any (marker: markers.evaluate environment marker) content.environments;
    in
    if content ? requires-python && !fits content.requires-python then
      fail "the lock is for Python ${content.requires-python}, but this is for ${described}"
    else if !suits then
      fail "the lock is not for ${described}, but where ${concatStringsSep " or " content.environments}"
    else if twice != [ ] then
      fail "${head twice} is in the lock twice for ${described}: markers must exclude each other"
    else
      builtins.seq
        (
          unknown "extra" extras (content.extras or [ ])
          ++ unknown "group" (if groups == null then [ ] else groups) (content.dependency-groups or [ ])
          ++ unknown "package" (filter (name: name != "_default") (builtins.attrNames orders)) (
            map (package: package.name) content.packages
          )
        )
        # Names of attributes are sorted.
        (map (name: one (head byName.${name})) (builtins.attrNames byName));

  # The wheel of PyPA's installer that environments are built with.
  installer =
    content: target:
    let
      table = content.tool.plxnix.installer;
    in
    if content ? tool.plxnix.installer then
      head (select {
        inherit target;
        content.packages = [
          {
            inherit (table) name version;
            wheels = [
              (
                removeAttrs table [ "name" ]
                // {
                  hashes = { inherit (table) sha256; };
                }
              )
            ];
          }
        ];
      })
    else
      null;
}
