//! Runs `demo`: two Strongholds pair, check permissions and synchronise, each step in a
//! `stronghold` process of its own.
//!
//! Each step prints its result and checks it; any difference ends the demo with an error.

use std::time::Instant;

use serde_json::Value;

use crate::{
    Result,
    cargo::{build_stronghold, build_stronghold_for_tests, root},
    lab::Device,
};

/// Locations of imported credentials to change or remove, and of new records.
const CHANGED_ON_LAPTOP: &str = "imported/Email/Site 0209/password";
const CHANGED_ON_PHONE: &str = "imported/Banking/Site 0220/password";
const REMOVED_ON_LAPTOP: &str = "imported/Internet/Shops/Site 0214/password";
const REMOVED_ON_PHONE: &str = "imported/Work/Databases/Site 0207/password";
const NEW_ON_LAPTOP: &str = "imported/Work/New server/password";
const NEW_ON_PHONE: &str = "notes/private/Locker";
const IN_CONFLICT: &str = "imported/Internet/Site 0193/password";

/// Number of non-empty fields of the 1,000 credentials.
const FIELDS: usize = 2968;

/// Runs the demo; `--dev` uses the command that the tests have built.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let program = match options {
        [] => build_stronghold()?,
        ["--dev"] => build_stronghold_for_tests()?,
        _ => return Err("demo takes nothing, or --dev".into()),
    };
    let folder = tempfile::tempdir()?;
    let laptop = Device::new(&program, folder.path().join("laptop"), "correct horse battery staple")?;
    let phone = Device::new(&program, folder.path().join("phone"), "another passphrase for the phone")?;

    import(&laptop)?;
    clone(&laptop, &phone)?;
    edit(&laptop, &phone)?;
    let serving = laptop.serve()?;
    print_step("laptop", "serve", &format!("answers at {}", serving.address));
    refused(&laptop, &phone, &serving.address)?;
    grant(&laptop, &phone)?;
    sync(&laptop, &phone, &serving.address)?;
    drop(serving);

    compare(&laptop, &phone)?;
    println!("\nBoth devices hold the same entries, both values of the conflict, and no deleted one.");
    Ok(())
}

fn import(laptop: &Device) -> Result<()> {
    heading("A password manager's table becomes a vault");
    timed("laptop", "init", || {
        laptop.run(&["init", "--name", "laptop"], "")?;
        Ok("a new snapshot, under a passphrase".into())
    })?;
    timed("laptop", "import", || {
        let table = root().join("xtask/testdata/keepassxc-1000.csv");
        let table = table.to_str().ok_or("the repository's path is not UTF-8")?;
        laptop.json(&["import", "--format", "csv", table], "")?;
        Ok("1,000 credentials from KeePassXC".into())
    })?;
    expect("imported entries", &laptop.entries()?.len(), &FIELDS)
}

fn clone(laptop: &Device, phone: &Device) -> Result<()> {
    heading("A second device: paired by a code, then a full import over TCP");
    let pairing = laptop.pair("phone")?;
    print_step("laptop", "pair", &format!("shows {} and waits at {}", pairing.code, pairing.address));
    timed("phone", "clone", || {
        let args = ["clone", "--join", &pairing.address, "--name", "laptop"];
        let done = phone.json(&args, &format!("{}\n", pairing.code))?;
        expect("cloned entries", &done["received"], &FIELDS.into())?;
        Ok(account(&done))
    })?;
    let ended = pairing.process.end()?;
    if ended.exit != 0 {
        return Err(format!("`stronghold pair` ended with {}: {}", ended.exit, ended.stderr).into());
    }
    expect("entries on both devices", &entries(laptop)?, &entries(phone)?)
}

fn edit(laptop: &Device, phone: &Device) -> Result<()> {
    heading("Both edit while apart");
    for (name, device, new, changed, removed) in [
        ("laptop", laptop, NEW_ON_LAPTOP, CHANGED_ON_LAPTOP, REMOVED_ON_LAPTOP),
        ("phone", phone, NEW_ON_PHONE, CHANGED_ON_PHONE, REMOVED_ON_PHONE),
    ] {
        device.run(&["put", new], &format!("new on the {name}"))?;
        print_step(name, "put", &format!("{new} (new)"));
        device.run(&["put", changed], &format!("changed on the {name}"))?;
        print_step(name, "put", &format!("{changed} (changed)"));
        device.run(&["remove", removed], "")?;
        print_step(name, "remove", removed);
        device.run(&["put", IN_CONFLICT], &format!("the {name}'s value"))?;
        print_step(name, "put", &format!("{IN_CONFLICT} (on both: a conflict to come)"));
    }
    Ok(())
}

fn refused(laptop: &Device, phone: &Device, address: &str) -> Result<()> {
    heading("Without permission nothing leaves");
    let before = entries(phone)?;
    timed("phone", "sync", || {
        let ended = phone.try_run(&["sync", "laptop", "--at", address], "")?;
        expect("the exit code of a sync without permission", &ended.exit, &7)?;
        Ok(format!("exit 7, {}", ended.stderr.lines().next().unwrap_or_default()))
    })?;
    expect("entries after the refusal", &entries(phone)?, &before)?;
    let log = laptop.text(&["log"])?;
    print_step("laptop", "log", log.lines().last().unwrap_or_default().trim());
    Ok(())
}

fn grant(laptop: &Device, phone: &Device) -> Result<()> {
    heading("Each lets the other pull, push and delete");
    for (name, device, other) in [("laptop", laptop, "phone"), ("phone", phone, "laptop")] {
        device.run(&["grant", other, "pull", "push", "delete", "--select", "**"], "")?;
        print_step(name, "grant", &format!("{other} pull push delete --select '**'"));
    }
    Ok(())
}

fn sync(laptop: &Device, phone: &Device, address: &str) -> Result<()> {
    heading("Synchronise: shapes are compared, the complement travels");
    let held = (laptop.entries()?.len(), phone.entries()?.len());
    print_step("both", "list", &format!("{} entries on the laptop, {} on the phone", held.0, held.1));
    for expected in [(4, 4, 1), (0, 0, 0)] {
        timed("phone", "sync", || {
            let done = phone.json(&["sync", "laptop", "--at", address], "")?;
            let (received, sent) = (&done["received"], &done["sent"]);
            expect("what travelled", &(received, sent), &(&expected.0.into(), &expected.1.into()))?;
            expect("conflicts", &done["conflicts"], &expected.2.into())?;
            Ok(account(&done))
        })?;
    }
    Ok(())
}

/// Checks that both devices hold the same entries, and the expected ones.
fn compare(laptop: &Device, phone: &Device) -> Result<()> {
    heading("Is it right?");
    timed("both", "list", || {
        expect("entries on both devices", &entries(laptop)?, &entries(phone)?)?;
        Ok(format!("the same {} entries, by name and hash", laptop.entries()?.len()))
    })?;
    for (name, device) in [("laptop", laptop), ("phone", phone)] {
        timed(name, "get", || values(device))?;
        timed(name, "conflicts", || conflict(device))?;
        timed(name, "verify", || device.run(&["verify"], "").map(|_| "all of it can be read".into()))?;
    }
    Ok(())
}

fn values(device: &Device) -> Result<String> {
    for (location, value) in [
        (NEW_ON_LAPTOP, "new on the laptop"),
        (NEW_ON_PHONE, "new on the phone"),
        (CHANGED_ON_LAPTOP, "changed on the laptop"),
        (CHANGED_ON_PHONE, "changed on the phone"),
    ] {
        expect(location, &device.text(&["get", location])?.as_str(), &value)?;
    }
    for location in [REMOVED_ON_LAPTOP, REMOVED_ON_PHONE] {
        expect(location, &device.try_run(&["get", location], "")?.exit, &3)?;
    }
    Ok("what was new and changed is there, what was removed is gone".into())
}

fn conflict(device: &Device) -> Result<String> {
    let found = device.json(&["conflicts"], "")?;
    let found = found["conflicts"].as_array().ok_or("`conflicts` gave none")?;
    expect("records in conflict", &found.len(), &1)?;
    expect("the record in conflict", &found[0]["location"], &IN_CONFLICT.into())?;
    let heads = found[0]["heads"].as_array().ok_or("a conflict without heads")?;
    let mut values = Vec::new();
    for revision in heads.iter().filter_map(|head| head["revision"].as_str()) {
        values.push(device.text(&["get", IN_CONFLICT, "--revision", revision])?);
    }
    values.sort();
    expect(
        "the values in conflict",
        &values,
        &["the laptop's value".into(), "the phone's value".into()].into(),
    )?;
    Ok(format!("{IN_CONFLICT}: {}", values.join(" / ")))
}

/// Returns what two devices must have in common: locations, revisions and conflicts.
fn entries(device: &Device) -> Result<Vec<[Value; 3]>> {
    let shown = |entry: &Value| ["location", "revision", "conflict"].map(|field| entry[field].clone());
    Ok(device.entries()?.iter().map(shown).collect())
}

fn account(done: &Value) -> String {
    format!(
        "{} received, {} sent, {} deleted, {} in conflict, {} unchanged; {} bytes in, {} out, {} round trips",
        done["received"],
        done["sent"],
        done["deleted"],
        done["conflicts"],
        done["unchanged"],
        done["bytes_in"],
        done["bytes_out"],
        done["round_trips"],
    )
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    // Only the beginning of long lists is shown: the difference is easier to find by running the
    // step by hand.
    let [found, expected] =
        [found, expected].map(|shown| format!("{shown:?}").chars().take(400).collect::<String>());
    Err(format!("{what}: found {found}, expected {expected}").into())
}

fn heading(text: &str) {
    println!("\n{text}");
}

fn print_step(device: &str, command: &str, text: &str) {
    println!("  {device:<7} {command:<10} {text}");
}

fn timed(device: &str, command: &str, step: impl FnOnce() -> Result<String>) -> Result<()> {
    let start = Instant::now();
    let text = step()?;
    print_step(device, command, &format!("{text} ({:.2} s)", start.elapsed().as_secs_f64()));
    Ok(())
}
