//! Takes a decrypted entry apart: the password in its first line, then fields and notes.

use zeroize::Zeroizing;

use super::super::table::Secret;

/// Maximum length of a field's name, in bytes. What is longer before a colon is a sentence.
const MAX_NAME: usize = 64;
/// First line of what gopass wrote for a while: all fields are `Name: value` then.
const GOPASS: &str = "GOPASS-SECRET-1.0";

/// Returns the fields of an entry. Each line is in one of them, except for blank ones around the
/// notes and the `---` between the parts of an entry of gopass.
pub(super) fn fields(text: &str) -> Vec<(String, Secret)> {
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let mut fields = Vec::new();
    let first = lines.next().unwrap_or_default();
    let has_password = first != GOPASS;
    if has_password {
        fields.push(("password".to_owned(), secret(first)));
    }
    let mut notes = Vec::new();
    for line in lines {
        match field(line) {
            Some((name, value)) => fields.push((name, secret(value))),
            None if line == "---" => {}
            None => notes.push(line),
        }
    }
    let is_blank = |line: &&str| line.trim().is_empty();
    let start = notes.iter().take_while(|line| is_blank(line)).count();
    let end = notes.len() - notes.iter().rev().take_while(|line| is_blank(line)).count();
    if start < end {
        let mut text = Zeroizing::new(Vec::with_capacity(text.len()));
        for line in &notes[start..end] {
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
        text.pop();
        fields.push(("notes".into(), text));
    }
    fields
}

/// Returns the name and value of a line that is a field.
fn field(line: &str) -> Option<(String, &str)> {
    if line.starts_with("otpauth://") {
        return Some(("totp".into(), line.trim_end()));
    }
    let (name, value) = line.split_once(':')?;
    let known = match name.to_lowercase().as_str() {
        "login" | "user" | "username" => Some("username"),
        "url" => Some("url"),
        "password" => Some("password"),
        "otp" | "totp" => Some("totp"),
        _ => None,
    };
    let is_name = !name.starts_with([' ', '\t', '-', '#']) && !name.is_empty() && name.len() <= MAX_NAME;
    match known {
        Some(known) if !value.trim().is_empty() => Some((known.to_owned(), value.trim())),
        // Without a blank after the colon it may be an address, or a part of a key.
        None if is_name && value.starts_with([' ', '\t']) && !value.trim().is_empty() => {
            Some((name.trim_end().to_owned(), value.trim()))
        }
        _ => None,
    }
}

fn secret(text: &str) -> Secret {
    Zeroizing::new(text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn of(text: &str) -> Vec<String> {
        let text_of = |(name, value): &(String, Secret)| format!("{name}={}", String::from_utf8_lossy(value));
        fields(text).iter().map(text_of).collect()
    }

    #[test]
    fn an_entry_is_a_password_fields_and_notes() {
        for (text, expected) in [
            ("pw", &["password=pw"][..]),
            ("pw\r\nuser: anna\r\n", &["password=pw", "username=anna"]),
            ("", &["password="]),
            ("\nLogin:anna", &["password=", "username=anna"]),
            (
                " a b \nURL: https://x\n\none: two: three\nhttps://y\nkey:value\n\n",
                &[" password", "url=https://x", "one=two: three", "notes=https://y\nkey:value"],
            ),
            (
                "pw\notpauth://totp/x?secret=y\notp: z\n---\nlist:\n  - a: b\n- c: d\npassword: old",
                &[
                    "password=pw",
                    "totp=otpauth://totp/x?secret=y",
                    "totp=z",
                    "password=old",
                    "notes=list:\n  - a: b\n- c: d",
                ],
            ),
            (
                "GOPASS-SECRET-1.0\nPassword: pw\nUser: a\n\nbody",
                &["password=pw", "username=a", "notes=body"],
            ),
            ("pw\n# heading: x\n: y\nlogin:", &["password=pw", "notes=# heading: x\n: y\nlogin:"]),
        ] {
            let expected: Vec<String> =
                expected.iter().map(|field| field.replace(" password", "password= a b ")).collect();
            assert_eq!(of(text), expected, "{text:?}");
        }
        let sentence = format!("{}: x", "y".repeat(MAX_NAME + 1));
        assert_eq!(of(&format!("pw\n{sentence}")), ["password=pw".to_owned(), format!("notes={sentence}")]);
        assert_eq!(of(&format!("pw\n{}", &sentence[1..]))[1], format!("{}=x", "y".repeat(MAX_NAME)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        /// Each line is found again in a field, as are all of its words.
        #[test]
        fn nothing_of_an_entry_is_dropped(
            lines in vec("(url: |login:|one two: |otpauth://|- |  |:)?[a-zé:/ ]{0,12}", 1..12)
        ) {
            let found = of(&lines.join("\n")).join("\n").to_lowercase();
            for line in &lines {
                let value = line.split_once(':').map_or(line.as_str(), |(_, value)| value);
                prop_assert!(found.contains(value.trim()), "{:?} of {:?}", value, lines);
            }
        }
    }
}
