# A stand-in for nixpkgs, in place of the real one that the tests cannot download. It has what this
# project's Nix files use and nothing else, builds with the machine's own programs, and refuses
# arguments that the real functions would refuse. tests/README.md says what it cannot show.
{
  system ? builtins.currentSystem,
  overlays ? [ ],
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

  base = self: builtins.listToAttrs (
    map (name: {
      inherit name;
      value = programs name;
    }) [ "bash" "bzip2" "coreutils" "diffutils" "findutils" "gawk" "gcc" "gnugrep" "gnumake" "gnused" "gnutar" "gzip" "unzip" "xz" "zstd" ]
  ) // {
    inherit lib system;
    pythonPackagesExtensions = [ ];
    python3Packages = import ./python.nix {
      inherit lib host run;
      pkgs = self;
      extensions = self.pythonPackagesExtensions;
    };

    python3 = programs "python3" // {
      withPackages =
        select: run "python3-env" { packages = select self.python3Packages; } "mkdir -p $out/bin";
    };

    bubblewrap = empty "bubblewrap";
    git = empty "git";
    nix = empty "nix";
    nixfmt-tree = empty "nixfmt-tree";
    ruff = empty "ruff";

    runCommand = run;
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
