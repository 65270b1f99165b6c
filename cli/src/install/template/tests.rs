use super::{Error, Templates, Value};
use serde_json::json;

fn render(text: &str, root: serde_json::Value) -> Result<String, Error> {
    let mut templates = Templates::default();
    templates.add("t", text)?;
    templates.render("t", &Value::from(&root))
}

fn shows(text: &str, root: serde_json::Value) -> String {
    render(text, root).unwrap()
}

#[test]
fn white_space_goes_where_an_action_says_so() {
    assert_eq!(shows("a \n{{- 1 -}}\n b {{ 2 }} c", json!({})), "a1b 2 c");
    assert_eq!(shows("a {{- /* a }} comment */ -}} b", json!({})), "ab");
    assert_eq!(shows("{ {{- `x` -}} }{y,{{ `z` }}}", json!({})), "{x}{y,z}");
}

#[test]
fn conditions_know_else_if_and_what_is_empty() {
    let text = "{{ if .a }}a{{ else if eq .b \"x\" }}b{{ else }}c{{ end }}";
    assert_eq!(shows(text, json!({"a": [], "b": "x"})), "b");
    assert_eq!(shows(text, json!({"a": {}, "b": "y"})), "c");
    assert_eq!(shows(text, json!({"a": 1})), "a");
    // The second would be an error if it were looked at.
    assert_eq!(shows("{{ if and .a .a.b.c }}x{{ else }}y{{ end }}", json!({})), "y");
    assert_eq!(shows("{{ if or .a .a.b.c }}x{{ end }}", json!({"a": true})), "x");
}

#[test]
fn ranges_have_variables_that_end_with_them() {
    let root = json!({"l": ["x", "y"], "m": {"b": 1, "a": 2}});
    assert_eq!(shows("{{ range $i, $v := .l }}{{ $i }}{{ $v }}{{ . }}{{ end }}", root.clone()), "0xx1yy");
    assert_eq!(shows("{{ range $v := .m }}{{ $v }}{{ end }}", root.clone()), "21");
    assert_eq!(shows("{{ range .none }}x{{ else }}nothing{{ end }}", root.clone()), "nothing");
    assert!(render("{{ range $v := .l }}{{ end }}{{ $v }}", root.clone()).is_err());
    let outer = "{{ $x := 1 }}{{ range .l }}{{ $x = . }}{{ end }}{{ $x }}";
    assert_eq!(shows(outer, root), "y");
}

#[test]
fn a_named_template_has_its_own_dollar() {
    let text =
        "{{ define \"n\" }}{{ $.a }}{{ .a }}{{ end }}{{ with .in }}{{ include \"n\" . }}{{ $.a }}{{ end }}";
    assert_eq!(shows(text, json!({"a": 1, "in": {"a": 2}})), "221");
    assert_eq!(shows("{{ (dict \"k\" \"v\").k }}", json!({})), "v");
    let endless = render("{{ define \"n\" }}{{ include \"n\" . }}{{ end }}{{ include \"n\" . }}", json!({}));
    assert_eq!(endless.unwrap_err().to_string(), "n:1: templates include each other without end");
}

#[test]
fn maps_are_shared_and_merge_keeps_what_is_set() {
    assert_eq!(shows("{{ $m := dict }}{{ $_ := set $m \"a\" 1 }}{{ $m.a }}", json!({})), "1");
    let merged = "{{ toYaml (merge (dict) .a .none .b) }}";
    let root = json!({"a": {"x": "1", "z": "", "in": {"p": 1}}, "b": {"x": "2", "z": "2", "in": {"q": 2}}});
    assert_eq!(shows(merged, root), "in:\n  p: 1\n  q: 2\nx: \"1\"\nz: \"2\"");
}

#[test]
fn text_that_yaml_takes_for_something_else_is_quoted() {
    for text in
        ["yes", "No", "y", "null", "~", "1", "0x1f", "1_000", "a: b", "a #b", "", " a", "-", "é", "a\nb"]
    {
        let shown = shows("{{ toYaml . }}", json!(text));
        assert!(shown.starts_with('"'), "{shown}");
        assert_eq!(serde_yaml::from_str::<String>(&shown).unwrap(), text);
    }
    let value = json!({"l": [{"a": [1, {"b": null}], "c": {}}, [], [[true], 1.5]], "/p.q-r": "s_t"});
    let back: serde_json::Value = serde_yaml::from_str(&shows("{{ toYaml . }}", value.clone())).unwrap();
    assert_eq!(back, value);
}

#[test]
fn faults_say_where_they_are() {
    let say = |text| render(text, json!({"a": 1})).unwrap_err().to_string();
    assert_eq!(say("\n{{ .a.b }}"), "t:2: a number has no field b");
    assert_eq!(say("{{ .x.b }}"), "t:1: b is asked of a value that is not set; was it null?");
    assert_eq!(say("\n\n{{ nosuch .a }}"), "t:3: nosuch: there is no such function of (a number)");
    assert_eq!(say("{{ include \"x\" . }}"), "t:1: there is no template \"x\"");
    assert_eq!(say("{{ fail \"no\" }}"), "no");
    assert_eq!(say("{{ if .a }}"), "t:1: `if` does not end");
    assert_eq!(say("{{ end }}"), "t:1: `end` or `else` without a beginning");
    assert_eq!(say("{{ .a "), "t:1: an action does not close");
    assert_eq!(say("{{ printf \"%d\" \"x\" }}"), "t:1: printf: %d does not print text");
}

#[test]
fn functions_do_as_in_helm() {
    let root = json!({"l": ["a", 1], "t": "a\"b"});
    assert_eq!(
        shows("{{ join \",\" .l }}|{{ .t | quote }}|{{ .none | quote }}|", root.clone()),
        "a,1|\"a\\\"b\"||"
    );
    assert_eq!(shows("{{ \"a\\nb\" | nindent 2 }}", root.clone()), "\n  a\n  b");
    assert_eq!(shows("{{ printf \"%s-%d-%q%%\" .t (int \"3\") \"x\" }}", root.clone()), "a\"b-3-\"x\"%");
    assert_eq!(
        shows("{{ default \"x\" .none }}{{ .l | default 1 }}{{ trim \" a \" }}", root.clone()),
        "x[a 1]a"
    );
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(shows("{{ sha256sum \"abc\" }}", root), abc);
}
