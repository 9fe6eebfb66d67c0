# A stand-in for nixpkgs, in place of the real one that the tests cannot download. It has what this
# project's Nix files use and nothing else, builds with the machine's own programs, and refuses
# arguments that the real functions would refuse. tests/README.md says what it cannot show.
{
  system ? builtins.currentSystem,
  overlays ? (
    let
      ofUser = builtins.getEnv "HOME" + "/.config/nixpkgs/overlays.nix";
    in
    if builtins.pathExists ofUser then import ofUser else [ ]
  ),
  config ? { },
}:

let
  lib = import ./lib.nix;
  host = import ./host.nix;

  # Run a script of bash as a build. It ends in a builtin: see `builders` in the documentation.
  run =
    name: attributes: script:
    derivation (
      {
        inherit name system script;
        builder = host.bash;
        args = [ "-euc" "PATH=${host.path}; eval \"$script\"; :" ];
        outputs = [ "out" ];
      }
      // attributes
    );
  empty = name: run name { } "mkdir -p $out/bin";

  # The machine's own programs, under the name of a package that has some of them.
  programs =
    name:
    run name { } ''
      mkdir -p $out/bin
      for program in /usr/bin/* /bin/*; do ln -sf $program $out/bin/; done
    '';

  # A Python, as nixpkgs has them: with packages that overrides can change.
  nodot = builtins.replaceStrings [ "." ] [ "" ] host.version;
  pythonOf =
    set: packageOverrides:
    programs "python3"
    // rec {
      inherit (host) interpreter;
      pythonVersion = host.version;
      version = "${host.version}.1";
      pkgs = import ./python.nix {
        inherit lib host run;
        pkgs = set;
        extensions = set.pythonPackagesExtensions ++ [ packageOverrides ];
      };
      # The real one makes its packages with `self`, the Python that comes out.
      override =
        arguments:
        let
          given = if builtins.isFunction arguments then arguments old else arguments;
          old = { inherit packageOverrides; };
        in
        pythonOf set (old // given).packageOverrides;
      withPackages = select: pkgs.environment (select pkgs);
    };

  base = self: builtins.listToAttrs (
    map (name: {
      inherit name;
      value = programs name;
    }) [ "bash" "bzip2" "coreutils" "diffutils" "findutils" "gawk" "gcc" "gnugrep" "gnumake" "gnused" "gnutar" "gzip" "unzip" "xz" "zstd" ]
  ) // {
    inherit lib;
    path = ./.;
    stdenv.hostPlatform = { inherit system; };
    pythonPackagesExtensions = [ ];
    python3Packages = self.python3.pkgs;
    # As in nixpkgs, other names follow this one.
    ${"python" + nodot} = pythonOf self (_: _: { });
    ${"python${nodot}Packages"} = self.${"python" + nodot}.pkgs;
    python3 = self.${"python" + nodot};

    # Notes what it was called for; the real one is a setup hook that defines a function.
    autoPatchelfHook = run "auto-patchelf" { } ''
      mkdir -p $out/bin
      printf '#!%s\nmkdir -p "$1/nix-support"; echo "$buildInputs" > "$1/nix-support/patched"\n' \
        ${host.bash} > $out/bin/autoPatchelf
      chmod +x $out/bin/autoPatchelf
    '';
    # As many libraries there, it is built by what needs packages of Python.
    pythonManylinuxPackages.manylinux2014 = [
      (run "zlib" { tool = self.python3.pkgs.packaging; } "mkdir -p $out/bin")
    ];

    # No image, but what would be in it.
    dockerTools.buildLayeredImage =
      {
        name,
        tag ? null,
        contents ? [ ],
        config ? { },
        extraCommands ? "",
      }:
      run "${name}.tar.gz" {
        inherit contents;
        image = builtins.toJSON { inherit name tag config extraCommands; };
      } "echo \"$image\" > $out";

    bubblewrap = empty "bubblewrap";
    git = empty "git";
    nix = empty "nix";
    nixfmt-tree = empty "nixfmt-tree";
    ruff = empty "ruff";

    runCommand =
      name: attributes: script:
      run name attributes (
        "for input in \${nativeBuildInputs:-}; do PATH=\"$input/bin:$PATH\"; done\n" + script
      );
    # Copies, where the real one links; what is in nix-support it leaves out.
    buildEnv =
      {
        name,
        paths,
        postBuild,
      }:
      run name { inherit paths; } ''
        mkdir "$out"
        for one in $paths; do cp -RT --no-preserve=mode "$one" "$out"; done
        rm -rf "$out/nix-support"
        ${postBuild}
      '';
    fetchgit =
      {
        name,
        url,
        rev,
        sha256,
        # Unlike here, that is the default.
        fetchSubmodules,
      }:
      run name
        {
          inherit url rev;
          outputHash = sha256;
          outputHashAlgo = "";
          outputHashMode = "recursive";
        }
        ''
          git init -q tree && cd tree && git fetch -q "$url" "+refs/heads/*:refs/all/*"
          git checkout -q "$rev" && rm -rf .git && cd .. && mv tree "$out"
        '';
    fetchurl =
      {
        name,
        urls,
        hash,
      }:
      import <nix/fetchurl.nix> {
        inherit name hash;
        url = builtins.head urls;
      };

    mkShell =
      arguments@{
        inputsFrom ? [ ],
        packages ? [ ],
        shellHook ? "",
        ...
      }:
      run "nix-shell" (builtins.removeAttrs arguments [ "inputsFrom" "packages" ] // {
        inherit shellHook;
        stdenv = ./stdenv;
        buildInputs =
          packages
          ++ lib.concatLists (map (input: input.propagatedBuildInputs ++ input.nativeBuildInputs) inputsFrom);
      }) "export > $out";

    extend = overlay: import ./default.nix { inherit system config; overlays = overlays ++ [ overlay ]; };
  };
in
lib.fix (builtins.foldl' (function: overlay: lib.extends overlay function) base overlays)
