# Environment markers, such as `python_version < "3.12" and extra == "test"`, as packaging evaluates
# them: `evaluate environment text`. `extras` and `dependency_groups` of the environment are lists.
let
  versions = import ./versions.nix;
  inherit (builtins)
    any
    concatStringsSep
    elem
    elemAt
    head
    isList
    isString
    length
    match
    split
    stringLength
    substring
    ;

  tokensOf =
    text:
    let
      pieces = split "(\"[^\"]*\"|'[^']*'|\\(|\\)|===|==|~=|!=|<=|>=|<|>|[A-Za-z_.]+)" text;
      blank = piece: match "[ \t]*" piece != null;
    in
    if any (piece: isString piece && !blank piece) pieces then
      null
    else
      map head (builtins.filter isList pieces);

  aliases = {
    "os.name" = "os_name";
    "sys.platform" = "sys_platform";
    "platform.version" = "platform_version";
    "platform.machine" = "platform_machine";
    "platform.python_implementation" = "platform_python_implementation";
    python_implementation = "platform_python_implementation";
  };
  ofVersions = [
    "implementation_version"
    "platform_release"
    "python_full_version"
    "python_version"
  ];
  operators = [
    "==="
    "=="
    "~="
    "!="
    "<="
    ">="
    "<"
    ">"
    "in"
  ];
in
{
  evaluate =
    environment: text:
    let
      fail = why: throw "plxnix python: the marker ${builtins.toJSON text} ${why}";
      tokens =
        let
          found = tokensOf text;
        in
        if found == null then fail "has characters that no marker has" else found;
      at = index: if index < length tokens then elemAt tokens index else "";

      # Each gives the value, and the place of the token behind it.
      disjunction =
        start:
        let
          first = conjunction start;
          rest = disjunction (first.next + 1);
        in
        if at first.next == "or" then
          {
            value = first.value || rest.value;
            inherit (rest) next;
          }
        else
          first;
      conjunction =
        start:
        let
          first = atom start;
          rest = conjunction (first.next + 1);
        in
        if at first.next == "and" then
          {
            value = first.value && rest.value;
            inherit (rest) next;
          }
        else
          first;
      atom =
        start:
        let
          inner = disjunction (start + 1);
          negated = at (start + 1) == "not" && at (start + 2) == "in";
          operator = if negated then "not in" else at (start + 1);
          right = start + (if negated then 3 else 2);
        in
        if at start == "(" then
          if at inner.next == ")" then inner // { next = inner.next + 1; } else fail "lacks a )"
        else if !negated && !elem operator operators then
          fail "lacks an operator behind ${builtins.toJSON (at start)}"
        else if right >= length tokens then
          fail "ends where a value is due"
        else
          {
            value = apply (operand start) operator (operand right);
            next = right + 1;
          };

      operand =
        index:
        let
          token = at index;
          name = aliases.${token} or token;
          quote = substring 0 1 token;
        in
        if quote == "\"" || quote == "'" then
          {
            key = null;
            value = substring 1 (stringLength token - 2) token;
          }
        else if environment ? ${name} then
          {
            key = name;
            value = environment.${name};
          }
        else
          fail "asks for ${builtins.toJSON token}, which is not known";

      apply =
        left: operator: right:
        let
          key = if left.key != null then left.key else right.key;
          plain = if key == "extra" then versions.normalize else value: value;
          a = plain left.value;
          b = plain right.value;
          compared = versions.compare a operator b;
          contains =
            if isList b then
              elem (versions.normalize a) (map versions.normalize b)
            else
              a == "" || length (splitAt a b) > 1;
        in
        if key == null then
          fail "compares two texts"
        else if isList a || isList b && operator != "in" && operator != "not in" then
          fail "compares a set; only \"NAME\" in SET can be asked"
        else if elem key ofVersions && operator != "in" && operator != "not in" && compared != null then
          compared
        else if operator == "in" then
          contains
        else if operator == "not in" then
          !contains
        else if operator == "==" || operator == "<=" || operator == ">=" then
          a == b
        else if operator == "!=" then
          a != b
        else if operator == "<" || operator == ">" then
          false
        else
          fail "compares by ${operator} what are no versions";

      # The text `b` cut at each `a`, literally.
      splitAt = a: b: versions.words (escape a) b;
      escape =
        builtins.replaceStrings
          [ "\\" "." "*" "+" "?" "(" ")" "[" "]" "{" "}" "^" "$" "|" ]
          [ "\\\\" "\\." "\\*" "\\+" "\\?" "\\(" "\\)" "\\[" "\\]" "\\{" "\\}" "\\^" "\\$" "\\|" ];

      whole = disjunction 0;
    in
    if whole.next == length tokens then
      whole.value
    else
      fail "goes on where it should end: ${concatStringsSep " " (map at [ whole.next ])}";
}
