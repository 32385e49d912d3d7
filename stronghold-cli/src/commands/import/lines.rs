//! Reads files of lines: `NAME=VALUE` as programs take their environment from, and `otpauth`
//! addresses.

use zeroize::Zeroizing;

use super::table::{Credential, LeftOut, LeftOutReason, Secret, Table, place, short};
use crate::one_time::Address;

/// Vault in which the variables of an environment land.
const ENVIRONMENT: &str = "env";
/// Vault in which one-time passwords land.
const ONE_TIME: &str = "otp";

/// A file that is not UTF-8 text.
#[derive(Debug, thiserror::Error)]
#[error("the file is not text")]
pub(crate) struct ReadLinesError;

/// Reads `NAME=VALUE` lines. Each becomes one record. Values may be quoted, and have several lines
/// then; variables in them are not replaced.
///
/// # Errors
/// [`ReadLinesError`] when the file is not text.
pub(crate) fn environment(bytes: &[u8], client: &str) -> Result<Table, ReadLinesError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ReadLinesError)?;
    let mut table = Table { has_lines: true, ..Table::default() };
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut line = 1;
    while !rest.is_empty() {
        let (end, next) = (rest.find('\n').unwrap_or(rest.len()), rest);
        let written = next[..end].trim();
        let mut taken = (end + 1).min(next.len());
        if !written.is_empty() && !written.starts_with('#') {
            match variable(next) {
                Some((name, value, len)) => {
                    taken = len;
                    let fields = vec![(String::new(), value)];
                    let place = format!("{ENVIRONMENT}/{name}");
                    table.add(client, Credential { line, place, fields, ..Credential::default() });
                }
                None => {
                    let name = short(written.split('=').next().unwrap_or_default());
                    let why = LeftOutReason::Unknown("it is no NAME=VALUE");
                    table.rows.push(LeftOut { line, name, why });
                }
            }
        }
        line += next[..taken].matches('\n').count() as u64;
        rest = &next[taken..];
    }
    Ok(table)
}

/// Parses a variable at the beginning of a text. Returns its name, its value and the length of what
/// it takes, with the rest of its last line.
fn variable(text: &str) -> Option<(&str, Secret, usize)> {
    let start = text.len() - text.trim_start().len();
    let rest = &text[start..];
    let rest = rest.strip_prefix("export ").map_or(rest, str::trim_start);
    let (name, value) = rest.split_once('=')?;
    let name = name.trim_end();
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if name.is_empty()
        || name.starts_with(|letter: char| letter.is_ascii_digit())
        || !name.chars().all(is_name)
    {
        return None;
    }
    let trimmed = value.trim_start_matches([' ', '\t']);
    let (value, after) = match trimmed.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&trimmed[1..], quote)?,
        _ => {
            let end = trimmed.find('\n').unwrap_or(trimmed.len());
            let comment = trimmed[..end].find(" #").unwrap_or(end);
            (Zeroizing::new(trimmed[..comment].trim().as_bytes().to_vec()), &trimmed[end..])
        }
    };
    // Only a comment may follow a closing quotation mark.
    let end = after.find('\n').unwrap_or(after.len());
    let follows = after[..end].trim();
    (follows.is_empty() || follows.starts_with('#')).then(|| {
        let left = after.len() - (end + 1).min(after.len());
        (name, value, text.len() - left)
    })
}

/// Parses a quoted value up to its closing mark. Escapes count only between double ones.
fn quoted(text: &str, quote: char) -> Option<(Secret, &str)> {
    let mut value = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            _ if letter == quote => return Some((value, &text[at + 1..])),
            '\\' if quote == '"' => {
                let escaped = match letters.next()?.1 {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                };
                value.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => value.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    None
}

/// Reads `otpauth://` addresses, one a line.
///
/// # Errors
/// [`ReadLinesError`] when the file is not text.
pub(crate) fn one_time(bytes: &[u8], client: &str) -> Result<Table, ReadLinesError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ReadLinesError)?;
    let mut table = Table { has_lines: true, ..Table::default() };
    for (line, address) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let address = address.trim();
        if address.is_empty() || address.starts_with('#') {
            continue;
        }
        let Some((issuer, account)) = Address::parse(address).and_then(|address| address.label()) else {
            let why = match address.starts_with("otpauth-migration://") {
                true => "it is one code for several: export each by itself",
                false => "it is no otpauth:// address with a secret",
            };
            // The line may be a secret, so it is not named.
            table.rows.push(LeftOut { line, name: "?".into(), why: LeftOutReason::Unknown(why) });
            continue;
        };
        let secret = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        let mut fields = vec![("totp".to_owned(), secret(address))];
        let title = if issuer.is_empty() { &account } else { &issuer };
        if !issuer.is_empty() && !account.is_empty() {
            fields.insert(0, ("username".to_owned(), secret(&account)));
        }
        table
            .add(client, Credential { line, place: place(ONE_TIME, title), fields, ..Credential::default() });
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn fields(table: &Table) -> Vec<String> {
        let all = table.credentials.iter().flat_map(|credential| {
            let text = |value: &Secret| String::from_utf8(value.to_vec()).unwrap();
            credential
                .fields
                .iter()
                .map(move |(name, value)| format!("{} {name}={}", credential.place, text(value)))
        });
        all.collect()
    }

    fn left_out(table: &Table) -> Vec<(u64, &str)> {
        table.rows.iter().map(|row| (row.line, row.name.as_str())).collect()
    }

    #[test]
    fn variables_are_read_as_shells_and_programs_write_them() {
        let text = "# comment\nPLAIN=one two # comment\nexport TOKEN='a #b\"c'\nKEY=\"two\\nlines \\\"x\\\" $HOME\"\n\n  \
                    LONG=\"first\nsecond\"  # comment\nEMPTY=\nnot one\n1X=2\nOPEN=\"never closed\nLAST = x=y\n\
                    TABS=\"a\\tb\\rc\\qd\"";
        let table = environment(text.as_bytes(), "c").unwrap();
        assert_eq!(
            fields(&table),
            [
                "env/PLAIN =one two",
                "env/TOKEN =a #b\"c",
                "env/KEY =two\nlines \"x\" $HOME",
                "env/LONG =first\nsecond",
                "env/LAST =x=y",
                "env/TABS =a\tb\rcqd",
            ]
        );
        assert_eq!(left_out(&table), [(8, "env/EMPTY"), (9, "not one"), (10, "1X"), (11, "OPEN")]);
        assert!(environment(b"\xff", "c").is_err());
    }

    #[test]
    fn one_time_addresses_are_named_by_issuer_and_account() {
        let text = "otpauth://totp/Shop:anna%40example.com?secret=JBSWY3DP&issuer=Other\n\n\
                    otpauth://totp/anna?issuer=Big+Bank&secret=JBSWY3DP\notpauth://hotp/alone?secret=JBSWY3DP&counter=1\n\
                    otpauth-migration://offline?data=x\nJBSWY3DP\notpauth://totp/none?issuer=x\n";
        let table = one_time(text.as_bytes(), "c").unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            fields(&table),
            [
                "otp/Shop username=anna@example.com".to_owned(),
                format!("otp/Shop totp={}", lines[0]),
                "otp/Big Bank username=anna".into(),
                format!("otp/Big Bank totp={}", lines[2]),
                format!("otp/alone totp={}", lines[3]),
            ]
        );
        assert_eq!(left_out(&table), [(5, "?"), (6, "?"), (7, "?")]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_text_is_read_or_left_out(
            parts in vec(prop_oneof![Just("A="), Just("\""), Just("'"), Just("\\"), Just("\n"), Just("é"), Just("#"), Just("%e"), Just("otpauth://totp/x?secret=")], 0..30)
        ) {
            let text = parts.concat();
            prop_assert!(environment(text.as_bytes(), "c").is_ok() && one_time(text.as_bytes(), "c").is_ok());
        }

        /// A quoted value of any characters is read as it was written.
        #[test]
        fn a_quoted_value_is_kept_to_the_letter(value in "[ -~é\n]{1,20}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let table = environment(format!("A=\"{escaped}\"\nB=x\n").as_bytes(), "c").unwrap();
            prop_assert_eq!(fields(&table), [format!("env/A ={value}"), "env/B =x".into()]);
        }
    }
}
