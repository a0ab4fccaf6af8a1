use super::*;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    r#in: String,
    source: Option<SourceInfo>,
    string: Option<String>,
    error: Option<String>,
}

fn source(user_name: &str, host: &str, path: &str) -> SourceInfo {
    SourceInfo { host: host.into(), user_name: user_name.into(), path: path.into() }
}

fn parents(source: &SourceInfo) -> Vec<String> {
    source.parents().iter().map(ToString::to_string).collect()
}

#[test]
fn parses_as_kopia_does() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/samples/source-parse-vectors.json"));
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    assert_eq!(vectors.cases.len(), 16);
    for case in vectors.cases {
        match SourceInfo::parse(&case.r#in, "defhost", "defuser", "/current/dir") {
            Ok(parsed) => {
                assert_eq!(Some(parsed.to_string()), case.string, "{}", case.r#in);
                assert_eq!(Some(parsed), case.source, "{}", case.r#in);
            }
            Err(error) => assert_eq!(Some(error.to_string()), case.error, "{}", case.r#in),
        }
    }
}

#[test]
fn local_path_is_cleaned() {
    let path = |text| SourceInfo::parse(text, "h", "u", "/cwd").unwrap().path;
    assert_eq!(path("/"), "/");
    assert_eq!(path("/.."), "/");
    assert_eq!(path("//a/./b//"), "/a/b");
    assert_eq!(path(".."), "/");
    assert_eq!(path("x/../y"), "/cwd/y");
    assert_eq!(path("@h:/x"), "/cwd/@h:/x");
}

#[test]
fn host_may_be_empty_before_a_path() {
    assert_eq!(SourceInfo::parse("u@:/p", "h", "u", "/").unwrap(), source("u", "", "/p"));
}

#[test]
fn fields_are_written_in_kopias_order() {
    let text = serde_json::to_string(&source("u", "h", "/p")).unwrap();
    assert_eq!(text, r#"{"host":"h","userName":"u","path":"/p"}"#);
}

#[test]
fn sorted_by_text() {
    let mut sources = [source("u", "h", "/b"), source("u", "h", ""), source("", "h", ""), SourceInfo::global()];
    sources.sort();
    let texts: Vec<_> = sources.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["(global)", "@h", "u@h", "u@h:/b"]);
    assert_ne!(source("a@b", "c", "").cmp(&source("a", "b@c", "")), std::cmp::Ordering::Equal);
}

#[test]
fn parents_of_each_level() {
    assert_eq!(parents(&source("u", "h", "/a/b/c")), ["u@h:/a/b", "u@h:/a", "u@h:/", "u@h", "@h", "(global)"]);
    assert_eq!(parents(&source("u", "h", "/")), ["u@h", "@h", "(global)"]);
    assert_eq!(parents(&source("u", "h", "")), ["@h", "(global)"]);
    assert_eq!(parents(&source("", "h", "")), ["(global)"]);
    assert!(parents(&SourceInfo::global()).is_empty());
}

#[test]
fn parents_of_windows_paths_keep_the_volume() {
    assert_eq!(parents(&source("u", "h", "C:\\a\\b")), ["u@h:C:\\a", "u@h:C:\\", "u@h", "@h", "(global)"]);
    assert_eq!(parents(&source("u", "h", "\\a")), ["u@h:\\", "u@h", "@h", "(global)"]);
    assert_eq!(parents(&source("u", "h", "rel/x")), ["u@h:rel", "u@h", "@h", "(global)"]);
    assert_eq!(parents(&source("u", "h", "//a")), ["u@h:/", "u@h", "@h", "(global)"]);
}

#[test]
fn labels_name_the_target() {
    let pairs = |target: &SourceInfo| -> Vec<String> {
        target.policy_labels().unwrap().iter().map(|(label, value)| format!("{label}={value}")).collect()
    };
    assert_eq!(pairs(&SourceInfo::global()), ["policyType=global", "type=policy"]);
    assert_eq!(pairs(&source("", "h", "")), ["hostname=h", "policyType=host", "type=policy"]);
    assert_eq!(pairs(&source("u", "h", "")), ["hostname=h", "policyType=user", "type=policy", "username=u"]);
    assert_eq!(
        pairs(&source("u", "h", "/p")),
        ["hostname=h", "path=/p", "policyType=path", "type=policy", "username=u"]
    );
}

#[test]
fn labels_read_back() {
    for target in [SourceInfo::global(), source("", "h", ""), source("u", "h", ""), source("u", "h", "/p")] {
        assert_eq!(SourceInfo::from_policy_labels(&target.policy_labels().unwrap()), Ok(target));
    }
}

#[test]
fn labels_of_something_else_are_refused() {
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let message = |pairs: &[(&str, &str)]| SourceInfo::from_policy_labels(&labels(pairs)).unwrap_err().to_string();
    assert_eq!(message(&[]), "label \"type\" of the policy manifest is missing");
    assert_eq!(message(&[("type", "snapshot")]), "label \"type\" of the policy manifest is \"snapshot\"");
    assert_eq!(
        message(&[("type", "policy"), ("policyType", "host")]),
        "label \"hostname\" of the policy manifest is missing"
    );
    assert_eq!(
        message(&[("type", "policy"), ("policyType", "odd")]),
        "label \"policyType\" of the policy manifest is \"odd\""
    );
}

#[test]
fn only_a_root_may_end_in_a_separator() {
    for path in ["/", "\\", "C:\\", "C:/"] {
        assert!(source("u", "h", path).policy_labels().is_ok(), "{path}");
    }
    for path in ["/a/", "C:\\a\\", "//"] {
        assert_eq!(source("u", "h", path).policy_labels(), Err(PolicyError::TrailingSeparator(path.into())));
    }
}

#[test]
fn components_below_a_directory() {
    assert_eq!(components_below("/a", "/a/b/c"), Some(vec!["b", "c"]));
    assert_eq!(components_below("/", "/b"), Some(vec!["b"]));
    assert_eq!(components_below("/a", "/a"), None);
    assert_eq!(components_below("/a", "/ab"), None);
    assert_eq!(components_below("/a", "/a\\b"), None);
    assert_eq!(components_below("C:\\a", "C:\\a\\b"), Some(vec!["b"]));
}
