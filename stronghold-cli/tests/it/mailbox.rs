//! Tests two devices that never run at the same time: they synchronise through a folder, and say what
//! went through, what did not, and why.

use std::fs;
use stronghold_sync::Timestamp;

use serde_json::json;
use stronghold_vault::Labels;
use tempfile::TempDir;

use crate::common::{
    DECISION, DENIED, Device, NOT_FOUND, PEER, Running, STORAGE, USAGE, counts, paired, strings,
    trust_each_other,
};

/// Two paired devices with a mailbox in one folder.
struct Two {
    a: Device,
    b: Device,
    place: TempDir,
}

impl Two {
    fn new() -> Self {
        let (a, b) = paired();
        trust_each_other((&a, "a"), (&b, "b"));
        let place = tempfile::tempdir().unwrap();
        let two = Self { a, b, place };
        two.a.ok(&["mailbox", "add", "b", two.place()]);
        two.b.ok(&["mailbox", "add", "a", two.place()]);
        two
    }

    fn place(&self) -> &str {
        self.place.path().to_str().unwrap()
    }

    /// Each device runs in turn, three times.
    fn settle(&self) {
        for _ in 0..3 {
            self.a.json(&["sync", "--mailbox", "b"]);
            self.b.json(&["sync", "--mailbox", "a"]);
        }
    }

    /// Returns the objects in the pair's folder.
    fn objects(&self) -> Vec<std::path::PathBuf> {
        let pair = fs::read_dir(self.place.path()).unwrap().next().unwrap().unwrap().path();
        fs::read_dir(pair).unwrap().map(|object| object.unwrap().path()).collect()
    }
}

fn write(device: &Device, names: impl IntoIterator<Item = String>, value: &str) {
    let mut vault = device.vault();
    vault
        .update(|stronghold| {
            for name in names {
                stronghold.write(
                    &name.parse().unwrap(),
                    value.as_bytes(),
                    Labels::new(),
                    Timestamp::from_millis(1),
                )?;
            }
            Ok(())
        })
        .unwrap();
}

#[track_caller]
fn says(device: &Device, args: &[&str], exit: i32, stdout: &str, stderr: &str) {
    let done = device.run(args, b"");
    let shown = String::from_utf8(done.stdout).unwrap();
    assert_eq!((shown.as_str(), done.stderr.as_str(), done.exit), (stdout, stderr, exit), "{args:?}");
}

/// Returns the beginning of a device's id as it is shown.
fn shown(id: &str) -> String {
    [&id[..4], &id[4..8], &id[8..12], &id[12..16]].join("-")
}

#[test]
fn two_devices_that_are_never_on_together_hold_the_same() {
    let two = Two::new();
    write(&two.a, (0..1_000).map(|at| format!("many/v/{at:04}")), "1");
    two.b.put("own/v/1", "of b");
    two.settle();
    assert_eq!(two.b.locations().len(), 1_001);
    assert_eq!(two.a.entries(), two.b.entries());

    two.a.put("many/v/0001", "edited on a");
    two.b.put("many/v/0002", "edited on b");
    two.a.put("many/v/0003", "one");
    two.b.put("many/v/0003", "two");
    two.b.ok(&["remove", "many/v/0004"]);
    two.settle();
    assert_eq!(two.a.entries(), two.b.entries());
    for device in [&two.a, &two.b] {
        assert_eq!(device.get("many/v/0001"), "edited on a");
        assert_eq!(device.get("many/v/0002"), "edited on b");
        assert_eq!(device.values("many/v/0003").len(), 2, "no value is lost");
        device.is_absent("many/v/0004");
    }
    two.a.ok(&["resolve", "many/v/0003", "--keep", "newest"]);
    two.settle();
    assert_eq!(two.b.values("many/v/0003").len(), 1);
    assert!(
        two.objects().iter().all(|object| fs::metadata(object).unwrap().len() == 2_048),
        "cards alone stay"
    );
    // What came is one step for each exchange, which can be undone.
    let steps = two.b.json(&["undo", "--list"]);
    assert!(strings(&steps["steps"], "command").contains(&"mailbox: a".to_owned()), "{steps}");
}

#[test]
fn each_way_says_what_went_through() {
    let two = Two::new();
    let nothing_yet = "by mailbox: received 0, sent 0, deleted 0, 0 in conflict; nothing waits for b\n";
    let first = "note: nothing of b is there yet, so nothing was sent: run `stronghold sync --mailbox` there, then here again\n";
    two.a.put("wallet/web/mail", "hunter2");
    says(&two.a, &["sync", "--mailbox", "b"], 0, nothing_yet, first);
    says(
        &two.b,
        &["sync", "--mailbox"],
        0,
        "by mailbox: received 0, sent 0, deleted 0, 0 in conflict; nothing waits for a\n",
        "",
    );
    let sent = "by mailbox: received 0, sent 1, deleted 0, 0 in conflict; 1 letter waits for b\n";
    says(&two.a, &["sync", "--mailbox"], 0, sent, "");
    let place = two.place();
    let listed = format!("b  {place}: last heard of today, 1 letter waiting for it\n");
    says(&two.a, &["mailbox", "list"], 0, &listed, "");
    let received =
        "by mailbox: received 1, sent 0, deleted 0, 0 in conflict; nothing waits for a\n+ wallet/web/mail\n";
    says(&two.b, &["sync", "--mailbox"], 0, received, "");
    let done = two.a.json(&["sync", "--mailbox"]);
    assert_eq!(counts(&done, ["received", "sent", "bytes_out"]), [0, 0, 0]);
    assert_eq!(done["mailbox"]["waiting"], json!(0));
    assert_eq!(done["mailbox"]["odd"], json!([]));
    let listed = format!("b  {place}: last heard of today, nothing waiting for it\n");
    says(&two.a, &["mailbox"], 0, &listed, "");
    let id = two.a.json(&["mailbox", "list"])["mailboxes"][0]["device"].as_str().unwrap().to_owned();
    assert_eq!(two.b.json(&["identity"])["device"].as_str(), Some(id.as_str()));
    let log = two.b.ok(&["log"]);
    assert!(log.contains("push") && log.contains("mailbox"), "{log}");
}

#[test]
fn what_is_refused_is_told_by_name_and_comes_once_it_is_allowed() {
    let two = Two::new();
    two.settle();
    two.b.ok(&["deny", "a", "push"]);
    two.a.put("wallet/web/mail", "hunter2");
    two.a.ok(&["sync", "--mailbox"]);
    let refused = two.b.run(&["sync", "--mailbox"], b"");
    let shown = String::from_utf8(refused.stdout).unwrap();
    assert!(shown.ends_with("not taken: a may not push here (1 record)\n  wallet/web/mail\n"), "{shown}");
    let error = "error: not taken: a may not push here (1 record); everything else is done\n\
                 hint: allow it, and it is asked for again: stronghold grant PEER push delete --select SELECTION\n";
    assert_eq!((refused.stderr.as_str(), refused.exit), (error, DENIED));
    two.b.is_absent("wallet/web/mail");
    two.b.ok(&["grant", "a", "push", "--select", "**"]);
    two.b.ok(&["sync", "--mailbox"]);
    two.settle();
    assert_eq!(two.b.get("wallet/web/mail"), "hunter2");

    two.a.ok(&["deny", "b", "pull"]);
    two.a.put("wallet/web/mail", "changed");
    let kept = two.a.run(&["sync", "--mailbox"], b"");
    let error = "error: not sent: b may not pull here (1 record); everything else is done\n\
                 hint: allow it here: stronghold grant PEER pull --select SELECTION\n";
    assert_eq!((kept.stderr.as_str(), kept.exit), (error, DENIED));
}

#[test]
fn many_deletions_wait_for_a_word() {
    let two = Two::new();
    write(&two.a, (0..30).map(|at| format!("many/v/{at}")), "1");
    two.settle();
    two.a.ok(&["remove", "many/v/1*", "many/v/2*", "--yes"]);
    two.a.ok(&["sync", "--mailbox"]);
    let error = "error: a letter would delete or empty 22 of 30 records here; it was not taken, and waits\n\
                 hint: if it is what you want, say --confirm-deletions\n";
    let waits = "by mailbox: received 0, sent 0, deleted 0, 0 in conflict; nothing waits for a\n";
    says(&two.b, &["sync", "--mailbox"], DECISION, waits, error);
    assert_eq!(two.b.locations().len(), 30);
    two.b.ok(&["sync", "--mailbox", "--confirm-deletions"]);
    assert_eq!(two.b.locations().len(), 8);
}

#[test]
fn a_revoked_device_gets_and_brings_nothing_more() {
    let two = Two::new();
    two.settle();
    two.a.put("wallet/web/mail", "hunter2");
    two.b.put("wallet/web/shop", "of b");
    two.b.ok(&["sync", "--mailbox"]);
    let before = two.objects().len();
    two.a.ok(&["revoke", "b"]);
    let error = two.a.fails(&["sync", "--mailbox"], NOT_FOUND);
    assert_eq!(error, "error: there are no mailboxes\nhint: add one: stronghold mailbox add PEER FOLDER\n");
    assert!(two.a.fails(&["sync", "--mailbox", "b"], NOT_FOUND).contains("b was revoked on"));
    assert!(two.objects().len() < before, "what it has not fetched yet is deleted");
    two.a.is_absent("wallet/web/shop");
    two.b.is_absent("wallet/web/mail");
}

#[test]
fn each_mistake_says_what_to_do() {
    let (a, _b) = paired();
    let no_peer = "error: no paired device matches \"phone\"\nhint: see `stronghold peers`\n";
    assert_eq!(a.fails(&["mailbox", "add", "phone", "/"], NOT_FOUND), no_peer);
    assert_eq!(a.fails(&["mailbox", "remove", "phone"], NOT_FOUND), no_peer);
    assert_eq!(a.fails(&["sync", "--mailbox", "phone"], NOT_FOUND), no_peer);
    let none = "error: there is no mailbox for it\nhint: see `stronghold mailbox list`\n";
    assert_eq!(a.fails(&["mailbox", "remove", "b"], NOT_FOUND), none);
    let none = "error: b: there is no mailbox for it\nhint: add one: stronghold mailbox add PEER FOLDER\n";
    assert_eq!(a.fails(&["sync", "--mailbox", "b"], NOT_FOUND), none);
    let folder = a.folder().join("stick");
    let place = folder.to_str().unwrap();
    let away = format!(
        "error: {place}: there is no such folder\nhint: nothing was changed; make it, or plug in the stick that has it\n"
    );
    assert_eq!(a.fails(&["mailbox", "add", "b", place], NOT_FOUND), away);
    let file = a.file("file", b"");
    let no_folder = format!("error: {file} is not a folder\nhint: nothing was changed; name a folder\n");
    assert_eq!(a.fails(&["mailbox", "add", "b", &file], USAGE), no_folder);
    says(&a, &["mailbox", "list"], 0, "", "no mailboxes: `stronghold mailbox add PEER FOLDER` adds one\n");

    fs::create_dir(&folder).unwrap();
    let id = a.json(&["peers"])["peers"][0]["device"].as_str().unwrap().to_owned();
    let added = a.json(&["mailbox", "add", "b", place]);
    assert_eq!(added, json!({ "device": id, "name": "b", "place": place, "was": null }));
    a.ok(&["sync", "--mailbox"]);
    fs::rename(&folder, a.folder().join("away")).unwrap();
    let failed = a.fails(&["sync", "--mailbox"], STORAGE);
    assert!(failed.starts_with("error: b: the mailbox can't be used: "), "{failed}");
    let hint = "hint: nothing is lost; is the folder there, and may this user write it? See `stronghold mailbox list`\n";
    assert!(failed.ends_with(hint), "{failed}");
    for other in ["--all", "--take", "--pull", "--push", "--dry-run", "--review"] {
        a.fails(&["sync", "--mailbox", other], USAGE);
    }
    let removed = a.run(&["mailbox", "remove", "b", "--json"], b"");
    let object: serde_json::Value = serde_json::from_slice(&removed.stdout).unwrap();
    assert_eq!(object, json!({ "device": id, "name": "b", "place": place }));
    let left =
        format!("note: letters that wait in {place} could not be deleted: the mailbox can't be used: ");
    assert!(removed.stderr.starts_with(&left), "{}", removed.stderr);
    let hint = "hint: delete them there, or the device can still take them\n";
    assert!(removed.exit == 0 && removed.stderr.ends_with(hint), "{}", removed.stderr);
    fs::rename(a.folder().join("away"), &folder).unwrap();
    a.ok(&["mailbox", "add", "b", place]);
    says(&a, &["mailbox", "remove", &id], 0, &format!("b ({}) has no mailbox any more\n", shown(&id)), "");
}

#[test]
fn a_device_that_is_not_reached_is_synchronised_by_its_mailbox() {
    let two = Two::new();
    two.settle();
    two.a.put("wallet/web/mail", "hunter2");
    // Nobody listens there.
    let (mut serving, address) = two.b.serve();
    two.a.json(&["sync", "b", "--at", &address]);
    serving.kill();
    two.a.put("wallet/web/mail", "changed");
    let done = two.a.run(&["sync", "b"], b"");
    assert_eq!(done.exit, 0, "{}", done.stderr);
    assert!(done.stderr.starts_with("note: b was not reached ("), "{}", done.stderr);
    assert!(done.stderr.ends_with("; its mailbox is used\n"), "{}", done.stderr);
    let shown = String::from_utf8(done.stdout).unwrap();
    assert!(shown.starts_with("by mailbox: received 0, sent 1"), "{shown}");
    // With an address the person means the direct way.
    two.a.fails(&["sync", "b", "--at", &address], PEER);
    two.b.ok(&["sync", "--mailbox"]);
    assert_eq!(two.b.get("wallet/web/mail"), "changed");
}

/// Checks that a server tells of a letter of one record that it took.
#[track_caller]
fn takes_a_letter(serving: &mut Running) {
    let event = serving.event();
    let expected =
        [("mailbox", json!("done")), ("name", json!("a")), ("received", json!(1)), ("sent", json!(0))];
    expected.iter().for_each(|(field, value)| assert_eq!(event[*field], *value, "{event}"));
}

/// So does an agent that serves, while the snapshot is unlocked.
#[test]
fn serve_looks_into_the_mailboxes() {
    let two = Two::new();
    two.settle();
    two.a.put("wallet/web/shop", "of a");
    two.a.ok(&["sync", "--mailbox"]);
    let args = ["agent", "--serve", "--listen", "127.0.0.1:0", "--no-announce", "--json"];
    let mut agent = Running::start(&mut two.b.keyless(&args), b"");
    assert!(agent.event()["listening"].as_str().unwrap().ends_with(".sock"));
    two.b.ok(&["unlock"]);
    assert!(agent.event()["listening"].as_str().unwrap().starts_with("127.0.0.1:"));
    takes_a_letter(&mut agent);
    two.b.ok(&["lock"]);
    assert_eq!(agent.end().exit, 0);
    assert_eq!(two.b.get("wallet/web/shop"), "of a");

    two.a.put("wallet/web/mail", "hunter2");
    two.a.ok(&["sync", "--mailbox"]);
    let (mut serving, _) = two.b.serve();
    takes_a_letter(&mut serving);
    serving.kill();
    assert_eq!(two.b.get("wallet/web/mail"), "hunter2");
    two.b.ok(&["deny", "a", "push"]);
    two.a.put("wallet/web/mail", "changed");
    two.a.ok(&["sync", "--mailbox"]);
    let (mut serving, _) = two.b.serve();
    let event = (0..2).map(|_| serving.event()).find(|event| event["mailbox"] == json!("refused")).unwrap();
    assert_eq!(event["not_taken_names"], json!(["wallet/web/mail"]));
}

/// A backup of a device is put back: it gets again what it forgot.
#[test]
fn a_restored_device_heals() {
    let two = Two::new();
    two.a.put("wallet/web/one", "1");
    two.settle();
    let backup = fs::read(two.b.snapshot()).unwrap();
    two.a.put("wallet/web/two", "2");
    two.settle();
    two.a.put("wallet/web/one", "changed");
    two.settle();
    fs::write(two.b.snapshot(), backup).unwrap();
    two.b.ok(&["list", "--accept-rollback"]);
    assert_eq!(two.b.locations().len(), 1);
    two.settle();
    assert_eq!(two.a.entries(), two.b.entries());
    assert_eq!(two.b.get("wallet/web/one"), "changed");
}
