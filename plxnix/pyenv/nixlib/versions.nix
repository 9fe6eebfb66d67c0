# Versions and their specifiers, as in the specification that packaging implements (PEP 440).
let
  inherit (builtins)
    all
    concatStringsSep
    elemAt
    filter
    genList
    head
    isString
    length
    match
    replaceStrings
    split
    stringLength
    substring
    ;

  upper = genList (n: substring n 1 "ABCDEFGHIJKLMNOPQRSTUVWXYZ") 26;
  lowercase = replaceStrings upper (genList (n: substring n 1 "abcdefghijklmnopqrstuvwxyz") 26);
  trim =
    text:
    let
      found = head (match "[ \t\r\n]*(.*[^ \t\r\n])?[ \t\r\n]*" text);
    in
    if found == null then "" else found;
  words = expression: text: filter isString (split expression text);
  take = count: list: genList (elemAt list) count;

  release = "v?(([0-9]+)!)?([0-9]+(\\.[0-9]+)*)";
  pre = "([-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?([0-9]*))?";
  post = "(-([0-9]+)|[-_.]?(post|rev|r)[-_.]?([0-9]*))?";
  dev = "([-_.]?dev[-_.]?([0-9]*))?";
  local = "(\\+([a-z0-9]+([-_.][a-z0-9]+)*))?";

  # A number of any size as a text that sorts like the number.
  number =
    text:
    let
      digits = head (match "0*([0-9]*)" text);
      size = toString (stringLength digits);
    in
    substring (stringLength size) 4 "0000" + size + digits;

  trimmed =
    list:
    let
      count = length list;
    in
    if count > 0 && elemAt list (count - 1) == "0000" then trimmed (take (count - 1) list) else list;

  letters = {
    alpha = "a";
    beta = "b";
    preview = "rc";
    pre = "rc";
    c = "rc";
  };

  # A version taken apart, or null. Its `key` sorts as versions do: texts and lists of texts, where
  # `-` stands before all numbers and `~` behind them.
  parse =
    text:
    let
      found = match (release + pre + post + dev + local) (lowercase (trim text));
      at = elemAt found;
      or' = index: if at index == null then "" else at index;
      segments = map number (words "\\." (at 2));
      hasPre = at 4 != null;
      isPost = at 7 != null;
      hasDev = at 11 != null;
      localKey =
        if at 14 == null then
          [ ]
        else
          map (part: if match "[0-9]+" part != null then "1" + number part else "0" + part) (
            words "[-_.]" (at 14)
          );
      publicIf = isDev: devNumber: [
        [ (number (or' 1)) ]
        (trimmed segments)
        [
          (
            if hasPre then
              (letters.${at 5} or (at 5)) + number (or' 6)
            else if !isPost && isDev then
              "-"
            else
              "~"
          )
        ]
        [ (if isPost then number (if at 8 != null then at 8 else or' 10) else "-") ]
        [ (if isDev then number devNumber else "~") ]
      ];
      public = publicIf hasDev (or' 12);
    in
    if found == null then
      null
    else
      {
        inherit public segments;
        key = public ++ [ localKey ];
        hasLocal = at 14 != null;
        # What `<` and `>` compare with: pre-releases of a version are not before it in their sense,
        # and its post-releases not behind it.
        before = if hasPre || hasDev then public else publicIf true "0";
        family = if hasDev || isPost then public else take 3 public;
        isPlain = !(hasPre || isPost || hasDev || at 14 != null);
      };

  # Does the version's release start with these segments? Missing ones are zeros.
  startsWith =
    version: epoch: segments:
    let
      have = version.segments;
      at = index: if index < length have then elemAt have index else "0000";
    in
    head version.public == epoch && genList at (length segments) == segments;

  # `version` (a text) OPERATOR `other`; null where the two are no specifier at all.
  compare =
    version: operator: other:
    let
      mine = parse version;
      spec = parse other;
      prefix = match "(.*[^ \t])\\.\\*[ \t]*" other;
      stem = parse (head prefix);
      known = answer: if mine == null then false else answer;
      equal =
        if prefix != null then
          (
            if stem == null || !stem.isPlain then
              null
            else
              known (startsWith mine (head stem.public) stem.segments)
          )
        else if spec == null then
          null
        else
          known (if spec.hasLocal then mine.key == spec.key else mine.public == spec.public);
      ordered = answer: if spec == null || spec.hasLocal then null else known answer;
    in
    if operator == "===" then
      (if match "[^,; \t)]+" (trim other) == null then null else lowercase version == lowercase (trim other))
    else if operator == "==" then
      equal
    else if operator == "!=" then
      (if equal == null then null else mine != null && !equal)
    else if operator == "<=" then
      ordered (mine.public <= spec.public)
    else if operator == ">=" then
      ordered (mine.public >= spec.public)
    else if operator == "<" then
      ordered (mine.public < spec.before)
    else if operator == ">" then
      ordered (take (length spec.family) mine.public > spec.family)
    else if operator == "~=" then
      (
        if spec == null || spec.hasLocal || length spec.segments < 2 then
          null
        else
          known (
            mine.public >= spec.public
            && startsWith mine (head spec.public) (take (length spec.segments - 1) spec.segments)
          )
      )
    else
      null;

  # Is a version among those that a set of specifiers, such as ">=3.8,<4", allows?
  satisfies =
    version: specifiers:
    let
      one =
        text:
        let
          parts = match "[ \t]*(===|==|~=|!=|<=|>=|<|>)[ \t]*(.*)" text;
          answer = compare version (head parts) (elemAt parts 1);
        in
        if parts == null || answer == null then
          throw "plxnix python: ${text} is no specifier of versions"
        else
          answer;
    in
    all one (filter (text: trim text != "") (words "," specifiers));

  # The name of a distribution as it is compared: PEP 503.
  normalize = name: concatStringsSep "-" (words "[-_.]+" (lowercase name));
in
{
  inherit
    compare
    lowercase
    normalize
    parse
    satisfies
    words
    ;
}
