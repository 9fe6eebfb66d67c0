# What the functions of default.nix are given: checked, so that an error names the argument.
let
  inherit (builtins)
    attrNames
    concatStringsSep
    elem
    filter
    head
    isAttrs
    isList
    isString
    typeOf
    ;

  fail = message: throw "plxnix python: ${message}";

  lists = {
    types = [ "list" ];
    give = "a list";
  };
  sets = {
    types = [ "set" ];
    give = "a set";
  };
  texts = {
    types = [ "string" ];
    give = "a string";
  };
  orNull = kind: kind // { types = kind.types ++ [ "null" ]; };

  kinds = {
    _ = sets;
    collisions = lists;
    extras = lists;
    groups = orNull lists;
    libraries = orNull sets // {
      inherit (kinds.pkgs) give;
    };
    lock = {
      types = [
        "path"
        "set"
        "string"
      ];
      give = "the path of a pylock.toml, its text, or what is in it; `plxnix env lock -p NAME` writes one";
    };
    overridesPost = lists;
    overridesPre = lists;
    packagesExtra = lists;
    pkgs = orNull sets // {
      give = "a package set, such as import <nixpkgs> { }";
    };
    platform = texts;
    providers = sets // {
      give = "a set, such as { _default = \"wheel,sdist\"; }";
    };
    python = {
      types = [
        "null"
        "path"
        "set"
        "string"
      ];
      give = "a version, such as \"3.11\", or a package";
    };
    system = texts;
  };
in
{
  # `arguments` of the function `what`, if they can be its arguments.
  checked =
    what: arguments:
    let
      names = if isList arguments then filter isString arguments else [ ];
      asked = concatStringsSep " " (map (name: "-p ${name}") (if names == [ ] then [ "NAME" ] else names));
      bad = filter (name: kinds ? ${name} && !(elem (typeOf arguments.${name}) kinds.${name}.types)) (
        attrNames arguments
      );
    in
    if !(isAttrs arguments) then
      fail "${what} got a ${typeOf arguments}: give a set, such as { lock = ./pylock.toml; }, a lock that `plxnix env lock ${asked}` writes"
    else if bad != [ ] then
      fail "${what} got a ${typeOf arguments.${head bad}} as ${head bad}: give ${kinds.${head bad}.give}"
    else
      arguments;

  # A package set, for which functions are wanted.
  checkedSet =
    pkgs: if isAttrs pkgs then pkgs else fail "forPkgs got a ${typeOf pkgs}: give ${kinds.pkgs.give}";
}
