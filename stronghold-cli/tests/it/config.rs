//! The configuration file: its settings, what goes before them, and what is wrong in one.

use serde_json::json;

use crate::common::{Device, NOT_FOUND, PEER, USAGE, one_line, paired, run, strings, stronghold};

/// Runs a command with a configuration file of this text, and nothing else that names a snapshot.
fn configured(device: &Device, text: &str, args: &[&str]) -> crate::common::Ended {
    let file = device.file("config.toml", text.as_bytes());
    let mut command = stronghold();
    command.args(args).env("STRONGHOLD_CONFIG", file).env("XDG_STATE_HOME", device.folder().join("state"));
    run(command.current_dir("/"), b"")
}

#[test]
fn settings_are_taken_from_the_file_unless_said_otherwise() {
    let device = Device::new("own");
    device.put("wallet/web/mail", "right");
    let key = device.key_file();
    let text = format!("snapshot = 'vault'\nkey-file = '{key}'\n");
    let done = configured(&device, &text, &["get", "wallet/web/mail"]);
    assert_eq!((done.exit, &*done.stdout), (0, b"right".as_slice()), "{}", done.stderr);
    let other = device.file("other", format!("{:064x}", 4711).as_bytes());
    let done = configured(&device, &text, &["get", "wallet/web/mail", "--key-file", &other]);
    assert_eq!(done.exit, crate::common::WRONG_KEY);
    let done = configured(&device, &text, &["list", "--snapshot", "/nowhere/vault"]);
    assert!(done.exit == NOT_FOUND && done.stderr.contains("/nowhere/vault"), "{}", done.stderr);
}

#[test]
fn config_shows_what_is_in_force_and_from_where() {
    let device = Device::new("own");
    let folder = device.folder().display().to_string();
    let text = "snapshot = 'vault'\nlock-timeout = 3\nlisten = '4748'\n[unlock]\nidle = '5m'\n";
    let done = configured(&device, text, &["config", "--lock-timeout", "4"]);
    let relays = match cfg!(feature = "iroh") {
        true => "relay                   -  (default)\nrelay-ca                -  (default)\n",
        false => "",
    };
    let expected = format!(
        "file: {folder}/config.toml\n\
         snapshot                {folder}/vault  (file)\n\
         passphrase-file         -  (default)\n\
         key-file                -  (default)\n\
         lock-timeout            4  (option)\n\
         require-rollback-notes  false  (default)\n\
         no-agent                false  (default)\n\
         quiet                   false  (default)\n\
         listen                  0.0.0.0:4748  (file)\n\
         {relays}\
         unlock.for              8h  (default)\n\
         unlock.idle             5m  (file)\n"
    );
    assert_eq!(String::from_utf8(done.stdout).unwrap(), expected, "{}", done.stderr);
    let done = configured(&device, text, &["config", "--json"]);
    let object = one_line(&String::from_utf8(done.stdout).unwrap());
    assert_eq!(object["settings"][3], json!({ "name": "lock-timeout", "value": "3", "origin": "file" }));
    let mut command = device.command(&["config", "--json"]);
    let done = run(command.env("STRONGHOLD_NO_AGENT", "1"), b"");
    let object = one_line(&String::from_utf8(done.stdout).unwrap());
    assert_eq!(
        object["settings"][5],
        json!({ "name": "no-agent", "value": "true", "origin": "environment" })
    );
}

#[test]
fn what_is_wrong_in_the_file_is_told_before_anything_is_done() {
    let device = Device::new("own");
    for (text, named) in [("snapshots = 'vault'", "snapshots"), ("lock-timeout = 'x'", "lock-timeout")] {
        let done = configured(&device, text, &["list"]);
        assert_eq!(done.exit, USAGE);
        assert!(done.stderr.contains("config.toml: ") && done.stderr.contains(named), "{}", done.stderr);
    }
    let mut command = device.command(&["list"]);
    let done = run(command.env("STRONGHOLD_CONFIG", "/nowhere/config.toml"), b"");
    assert!(done.exit != 0 && done.stderr.contains("/nowhere/config.toml"), "{}", done.stderr);
}

#[test]
fn every_paired_device_is_synchronised_whatever_becomes_of_the_others() {
    let (a, b) = paired();
    let c = Device::new("c");
    crate::common::pair(&b, &c);
    for (device, name) in [(&a, "b"), (&c, "b"), (&b, "a"), (&b, "c")] {
        device.ok(&["grant", name, "pull", "push", "--select", "**"]);
    }
    a.put("from/a/1", "x");
    c.put("from/c/1", "y");
    let ((serving_a, at_a), (_serving_c, at_c)) = (a.serve(), c.serve());
    for (name, address) in [("a", &at_a), ("c", &at_c)] {
        b.ok(&["sync", name, "--at", address, "--dry-run"]); // remembers where it is
    }
    let done = b.ok(&["sync", "--all"]);
    assert!(done.contains("a:\nreceived 1, ") && done.contains("c:\nreceived 1, "), "{done}");
    assert_eq!(b.locations(), ["from/a/1", "from/c/1"]);

    drop(serving_a);
    b.put("from/b/1", "z");
    let done = b.run(&["sync", "--all", "--json"], b"");
    assert_eq!(done.exit, PEER);
    let object = one_line(&String::from_utf8(done.stdout).unwrap());
    assert_eq!(strings(&object["records_there"], "location"), ["from/b/1"]);
    assert!(done.stderr.contains("1 of 2 syncs failed"), "{}", done.stderr);
    assert!(done.stderr.lines().next().unwrap().contains("a: "), "{}", done.stderr);
    b.fails(&["sync", "--all", "a"], USAGE);
    Device::new("alone").fails(&["sync", "--all"], NOT_FOUND);
}
