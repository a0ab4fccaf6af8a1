//! `repository status`, `repository connect from-config`

use std::io::Write;
use std::process::Stdio;

use super::client::{Client, data, sample};
use super::shape::assert_shape;

#[test]
fn status() {
    let client = Client::of_fixture("defaults");
    let status = client.json(&["repository", "status", "--json"]);
    assert_shape(&status, &sample("repository-status.json"), &[]);
    let expected = client.expected();
    for (key, value) in expected["repository_status"].as_object().unwrap() {
        if key != "clientOptions" {
            assert_eq!(status[key], *value, "{key}");
        }
    }
    assert_eq!(status["configFile"], client.path("config").to_str().unwrap());

    // The sample is of another repository at another place; all else is the same.
    let text = client.ok(&["repository", "status"]);
    let sample = String::from_utf8(data("samples/repository-status.txt")).unwrap();
    let varies = ["Config file:", "Description:", "Hostname:", "Username:", "Storage capacity:", "Storage available:"];
    let varies = |line: &str| {
        varies.iter().any(|label| line.starts_with(label))
            || line.starts_with("Unique ID:")
            || line.contains("\"path\"")
    };
    let label = |line: &str| line.get(..21).unwrap_or_default().to_owned();
    assert_eq!(text.lines().count(), sample.lines().count(), "{text}");
    for (line, expected) in text.lines().zip(sample.lines()) {
        if varies(expected) {
            assert_eq!(label(line), label(expected));
        } else {
            assert_eq!(line, expected);
        }
    }
    assert!(text.contains("\nUnique ID:           2540137bd3a379dafda0b941e0320fdb216948fb8bd4455ba909a1c097a67f82\n"));
}

#[test]
fn status_of_version_1() {
    let client = Client::of_fixture("format-v1");
    let text = client.ok(&["repository", "status"]);
    for line in [
        "Format version:      1",
        "Content compression: false",
        "Password changes:    false",
        "Index Format:        v1",
        "Epoch Manager:       disabled",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let status = client.json(&["repository", "status", "--json"]);
    assert_eq!(status["contentFormat"], client.expected()["repository_status"]["contentFormat"]);
}

#[test]
fn status_errors() {
    let client = Client::of_fixture("indirect2");
    let error = client.fails(&["repository", "status", "--password=wrong"]);
    assert!(error.starts_with("failed to open repository: invalid repository password\n"), "{error}");
    let mut command = client.command(&["repository", "status"]);
    let output = command.arg("--config-file").arg("x").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "a flag is given twice");
    std::fs::remove_file(client.path("config")).unwrap();
    let done = client.run(&["repository", "status"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.starts_with("open repository: repository is not connected."), "{}", done.stderr);
}

#[test]
fn secrets_of_a_storage_are_not_shown() {
    let client = Client::of_fixture("indirect2");
    let config = std::fs::read_to_string(client.path("config")).unwrap();
    let with_secret = config.replace("\"fileMode\"", "\"sessionToken\":\"open sesame\",\"fileMode\"");
    std::fs::write(client.path("config"), with_secret).unwrap();
    for arguments in [&["repository", "status"][..], &["repository", "status", "--json"]] {
        let text = client.ok(arguments);
        assert!(!text.contains("sesame") && text.contains("***********"), "{text}");
    }
}

#[test]
fn tokens_connect() {
    let client = Client::of_fixture("indirect2");
    assert_eq!(client.ok(&["repository", "status"]).find("token"), None);
    let token = |flag| {
        let text = client.ok(&["repository", "status", flag]);
        let line = text.lines().find(|line| line.starts_with("$ larder ")).unwrap().to_owned();
        line.strip_prefix("$ larder repository connect from-config --token ").unwrap().to_owned()
    };
    let (without_password, with_password) = (token("-t"), token("-s"));
    assert!(without_password.len() < with_password.len());

    let status = client.json(&["repository", "status", "--json"]);
    let (old, new) = (client.path("config"), client.path("new.config"));
    std::fs::write(client.path("token"), format!("{with_password}\n")).unwrap();
    let connect = |arguments: &[&str], password: Option<&str>, stdin: &str| {
        let mut command = client.bare_command();
        command.env("KOPIA_CONFIG_PATH", &new).args(["repository", "connect", "from-config"]).args(arguments);
        if let Some(password) = password {
            command.env("KOPIA_PASSWORD", password);
        }
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let file = old.to_str().unwrap();
    for (arguments, password, stdin) in [
        (vec!["--token", &with_password], None, ""),
        (vec!["--token", &without_password], Some("indirect2-password"), ""),
        (vec!["--token-file", client.path("token").to_str().unwrap()], None, ""),
        (vec!["--token-stdin"], None, &*with_password),
        (vec!["--file", file], Some("indirect2-password"), ""),
    ] {
        let (done, stderr) = connect(&arguments, password, stdin);
        assert!(done, "{arguments:?}: {stderr}");
        let config: serde_json::Value = serde_json::from_slice(&std::fs::read(&new).unwrap()).unwrap();
        assert_eq!(config["storage"]["config"], status["storage"]["config"]);
        let description = config["description"].as_str().unwrap();
        assert!(description.starts_with("Repository in Filesystem: /"), "{description}");
        std::fs::remove_file(&new).unwrap();
    }
    for (arguments, password, expected) in [
        (vec!["--token", &without_password], Some("wrong"), "invalid repository password"),
        (vec!["--token", &without_password], None, "no password given"),
        (vec!["--token", "x"], None, "the connection token cannot be used"),
        (vec!["--file", "/nosuch"], None, "there is no configuration file /nosuch"),
        (vec![], None, "required arguments were not provided"),
        (vec!["--token", "x", "--token-stdin"], None, "cannot be used with"),
    ] {
        let (done, stderr) = connect(&arguments, password, "");
        assert!(!done && stderr.contains(expected), "{arguments:?}: {stderr}");
        assert!(!new.exists());
    }
}

#[test]
fn the_key_is_kept_beside_a_remembered_password_only() {
    let client = Client::new();
    let key = client.path("config.larder-key");
    let with_password = |password: &str| {
        let status = client.command(&["snapshot", "list"]).env("KOPIA_PASSWORD", password).output().unwrap();
        (status.status.success(), String::from_utf8(status.stderr).unwrap())
    };
    assert!(key.exists());
    let (opened, error) = with_password("wrong");
    assert!(!opened && error.contains("password"), "{error}");

    // A key that is damaged, or of another repository, is replaced.
    let kept = std::fs::read(&key).unwrap();
    for damaged in [&kept[..20], b"", &[b'A'; 88]] {
        std::fs::write(&key, damaged).unwrap();
        assert!(with_password("pässwörd").0);
        assert_eq!(std::fs::read(&key).unwrap(), kept);
    }
    std::fs::copy(Client::new().path("config.larder-key"), &key).unwrap();
    assert!(with_password("pässwörd").0);
    assert_eq!(std::fs::read(&key).unwrap(), kept);

    client.ok(&["repository", "disconnect"]);
    assert!(!key.exists());
    let path = client.path("repo");
    let connect = ["repository", "connect", "filesystem", "--path", path.to_str().unwrap(), "--no-persist-credentials"];
    client.ok(&connect);
    client.ok(&["snapshot", "list"]);
    assert!(!key.exists());
}
