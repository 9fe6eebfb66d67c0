# Checks of this library that evaluate without network, nixpkgs and builds:
#
#   nix-instantiate --eval nix/lib/tests.nix
#
# The value is a sentence that counts them; if one fails, evaluation does, and names it.
# tests/nix/test_lib.py compares with what plxnix computes, and builds.
let
  lib = import ./.;
  inherit (builtins)
    attrNames
    concatStringsSep
    filter
    length
    tryEval
    ;

  refused = value: !(tryEval (builtins.deepSeq value value)).success;
  context = value: attrNames (builtins.getContext value);

  system = "x86_64-linux";
  hash = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
  dref = "dref:00000000000000000000000000000000-two";

  one = {
    inherit system;
    name = "one";
    builder = "/bin/sh";
    kind = "derivation";
    outputs = [
      "lib"
      "out"
    ];
  };
  two = {
    inherit dref system;
    name = "two";
    kind = "derivation";
    builder = "/bin/sh";
    args = [
      "-c"
      [
        "a\n"
        "b \${dollar} '' "
        {
          ref = "one";
          output = "out";
        }
      ]
    ];
    env = {
      first = [
        {
          ref = "one";
          output = "lib";
        }
      ];
      text = [
        {
          file = "text";
          contents = [
            "1\n"
            "2\n"
          ];
        }
      ];
      "odd.name" = "";
    };
  };
  three = {
    system = "builtin";
    name = "three";
    kind = "fixed-output";
    builder = "builtin:fetchurl";
    fixed = {
      inherit hash;
      mode = "flat";
    };
    env.url = "https://example.org/three";
  };

  lock = {
    version = 1;
    generated = { };
    toolchain = {
      name = "host";
      inherit system;
    };
    derivations = { inherit one two three; };
    targets.${dref} = {
      name = "two";
      variables = [ "two" ];
    };
  };
  read = changes: lib.fromLock { lock = lock // changes; };
  with' = changes: (read { derivations = lock.derivations // changes; });
  all = read { };

  oneByHand = derivation {
    inherit (one)
      name
      system
      builder
      outputs
      ;
  };
  twoByHand = derivation {
    inherit (two) name system builder;
    args = [
      "-c"
      "a\nb \${dollar} '' ${oneByHand.out}"
    ];
    first = "${oneByHand}";
    text = builtins.toFile "text" "1\n2\n";
    "odd.name" = "";
  };

  nameOf = url: (lib.fetch { inherit url hash; }).name;

  tests = {
    "a lock gives the derivations that are written by hand" =
      all.one.drvPath == oneByHand.drvPath && all.two.drvPath == twoByHand.drvPath;
    "outputs are attributes" = all.one.out.outPath == oneByHand.out.outPath;
    "a stage is described" =
      all.two.plxnix == {
        inherit dref;
        kind = "derivation";
        rref = null;
      };
    "a part of a stage has no reference" = all.one.plxnix.dref == null;
    "the target is the default" = all.default.drvPath == twoByHand.drvPath;
    "targets have the names of their stages" =
      map (found: found.drvPath) all.targets.two == [ twoByHand.drvPath ];
    "several targets have no default" =
      refused
        (read {
          targets = lock.targets // {
            again = {
              name = "one";
              variables = [ "one" ];
            };
          };
        }).default.drvPath;
    "an override is seen by what depends on it" =
      let
        found = lib.fromLock {
          inherit lock;
          overrides.one = oneByHand // {
            out = oneByHand.lib;
          };
        };
      in
      found.two.drvPath != all.two.drvPath;
    "an override may be a file" =
      let
        found = lib.fromLock {
          lock = lock // {
            derivations = {
              inherit three;
              two = three // {
                name = "two";
                env.three = [
                  {
                    ref = "three";
                    output = "out";
                  }
                ];
              };
            };
          };
          overrides.three = ./tests.nix;
        };
      in
      context found.two.three != [ ] && builtins.match ".*-tests.nix" found.two.three != null;
    "an override of nothing is refused" = refused (
      lib.fromLock {
        inherit lock;
        overrides.four = ./tests.nix;
      }
    );
    "another version is refused" = refused (read {
      version = 2;
    });
    "no version is refused" = refused (lib.fromLock { lock = removeAttrs lock [ "version" ]; });
    "a reference to nothing is refused" =
      refused
        (with' {
          one = one // {
            builder = [
              {
                ref = "nobody";
                output = "out";
              }
            ];
          };
        }).one.drvPath;
    "an output that is none is refused" =
      refused
        (with' {
          three = three // {
            env.x = [
              {
                ref = "one";
                output = "outPath";
              }
            ];
          };
        }).three.drvPath;
    "a set that looks like a path is refused" =
      refused (with' { one = one // { env.x.outPath = "/etc/passwd"; }; }).one.drvPath
      && refused (with' { one = one // { env.x = [ { outPath = "/etc/passwd"; } ]; }; }).one.drvPath
      && refused (with' { one = one // { name.outPath = "one"; }; }).one.drvPath;
    "what Nix takes for its own is refused" =
      refused (with' { one = one // { env.__structuredAttrs = "1"; }; }).one.drvPath
      && refused (with' { one = one // { env.outputHash = hash; }; }).one.drvPath;
    "text is not evaluated" =
      (with' { one = one // { env.x = "\${throw \"evaluated\"}"; }; }).one.x == "\${throw \"evaluated\"}";
    "packages need a package set" =
      refused
        (with' {
          one = one // {
            builder = [
              {
                package = "bash";
                output = "out";
              }
            ];
          };
        }).one.drvPath;
    "packages are those of the package set" =
      (lib.fromLock {
        lock = lock // {
          derivations.two = two // {
            args = [ ];
            env.x = [
              {
                package = "deep.one";
                output = "lib";
              }
            ];
          };
        };
        pkgs.deep.one = oneByHand;
      }).two.x == "${oneByHand}";

    "a fetch is that of the lock" =
      (lib.fetch {
        inherit hash;
        inherit (three.env) url;
      }).outPath == all.three.outPath;
    "a fetch may be told another name" =
      (lib.fetch {
        inherit hash;
        inherit (three.env) url;
        name = "other";
      }).name == "other";
    "forms of a hash are one path" =
      (lib.fetch {
        inherit (three.env) url;
        sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
      }).outPath == all.three.outPath;
    "names of files become legal" =
      map nameOf [
        "https://example.org/a/b.tar.gz?x=1#y"
        "https://example.org/a%20b%3fc%2B.txt"
        "https://example.org/%C3%A9t%c3%a9"
        "https://example.org/...hidden.drv"
        "file:///data/x(1)"
      ] == [
        "b.tar.gz"
        "a-b?c+.txt"
        "-t-"
        "hidden-drv"
        "x-1-"
      ];
    "a URL without a name needs one" =
      refused (nameOf "https://example.org/") && refused (nameOf "https://example.org");
    "a fetch needs one hash" =
      refused (lib.fetch { url = "https://example.org/x"; }).outPath
      && refused (lib.fetch {
        url = "https://example.org/x";
        inherit hash;
        sha1 = "";
      }).outPath;

    "sources of a lock are fetches" =
      let
        plain = {
          inherit (three.env) url;
          inherit hash;
        };
        source = changes: (read { sources.x = plain // changes; }).sources.x;
      in
      (source { }).outPath == all.three.outPath
      && (source { name = "other"; }).name == "other"
      && (source {
        url = "https://example.org/{version}/x-{version}.txt";
        version = "1.2";
      }).name == "x-1.2.txt"
      && refused (source { unpack = "yes"; }).outPath
      && refused (source { url.outPath = "/etc/passwd"; }).outPath
      && refused (source { hash = null; }).outPath;
    "a lock may have sources only" =
      let
        found = lib.fromLock {
          lock = {
            version = 1;
            sources.x = {
              inherit (three.env) url;
              inherit hash;
            };
          };
        };
      in
      found.sources.x.outPath == all.three.outPath && refused found.default;
    "a source can be overridden" =
      (lib.fromLock {
        lock = lock // {
          sources.x = { };
        };
        overrides.x = oneByHand;
      }).sources.x.outPath == oneByHand.outPath;

    "a pin is the path of its hash" =
      (lib.pin {
        name = "three";
        inherit hash system;
      }).outPath
      == (derivation {
        name = "three";
        inherit system;
        builder = "/other";
        outputHash = hash;
        outputHashMode = "recursive";
      }).outPath;
    "a pin says how to add it" =
      builtins.match ".*plxnix nix add rref:x" (lib.pin {
        name = "p";
        rref = "rref:x";
        inherit hash system;
      }).message != null;

    "a shell has its stages as variables" =
      let
        shell = lib.mkShell {
          stages = {
            a-b = oneByHand;
            PATH = oneByHand;
            file = ./tests.nix;
          };
          inherit system;
        };
      in
      shell.a_b == "${oneByHand}" && shell.PATH_ == "${oneByHand}" && context shell.file != [ ];
    "a shell of a lock has stages and not their parts" =
      let
        shell = lib.mkShell { inherit lock system; };
      in
      shell.two == "${twoByHand}" && !(shell ? one);
    "variables of a shell must not clash" =
      refused
        (lib.mkShell {
          stages = {
            a-b = oneByHand;
            a_b = oneByHand;
          };
          inherit system;
        }).drvPath;
    "a shell is for a lock or for stages" = refused (lib.mkShell { inherit system; }).drvPath;
    "with a package set its shell is used" =
      (lib.mkShell {
        inherit lock;
        pkgs.mkShell = arguments: arguments;
        packages = [ oneByHand ];
      }).packages == [ oneByHand ];
  };

  failed = filter (name: !tests.${name}) (attrNames tests);
in
if failed == [ ] then
  "${toString (length (attrNames tests))} checks of plxnix.lib passed"
else
  throw "checks of plxnix.lib failed: ${concatStringsSep "; " failed}"
