//! Tests tables as programs write them, and broken ones.

use proptest::{collection::vec, prelude::*, sample::Index};

use stronghold_sync::ParseLocationError;

use super::super::table::LeftOutReason;
use super::*;

fn read(table: &str) -> Result<Table, ReadCsvError> {
    super::read(table.as_bytes(), "c", &[])
}

/// Returns `place field=value` for every field.
fn fields(table: &str) -> Vec<String> {
    let credentials = read(table).unwrap().credentials;
    let all = credentials.iter().flat_map(|credential| {
        let place = &credential.place;
        credential
            .fields
            .iter()
            .map(move |(field, value)| format!("{place} {field}={}", String::from_utf8_lossy(value)))
    });
    all.collect()
}

const HEADER: &str = "\"Group\",\"Title\",\"Username\",\"Password\",\"URL\",\"Notes\",\"TOTP\",\"Icon\"\n";

#[test]
fn an_entry_lands_at_group_title_field_and_empty_fields_are_left_out() {
    let table = format!("{HEADER}Root/Web,Mail,me,pw,,\"two\nlines\",,0\nRoot,Bank,,x,,,,0\n");
    assert_eq!(
        fields(&table),
        [
            "Web/Mail username=me",
            "Web/Mail password=pw",
            "Web/Mail notes=two\nlines",
            "default/Bank password=x"
        ]
    );
    let credentials = read(&table).unwrap().credentials;
    assert_eq!(credentials[1].line, 4);
    assert_eq!(credentials[1].empty, ["username", "url", "notes", "totp"]);
}

#[test]
fn every_value_of_a_rightly_quoted_table_is_kept_to_the_letter() {
    for value in [
        "a,b",
        "\"",
        "\"\"",
        ",\",",
        "\n",
        "\r",
        "\r\n",
        "\na\n",
        " a ",
        "a\"b,c\nd",
        "\u{feff}",
        "\0",
        "sep=;",
    ] {
        for end in ["\n", "\r\n", "\r", ""] {
            let quoted = value.replace('"', "\"\"");
            let table = format!(
                "Group,Title,Password,Notes{0}g,t,\"{quoted}\",x{end}",
                if end.is_empty() { "\n" } else { end }
            );
            assert_eq!(fields(&table), [format!("g/t password={value}"), "g/t notes=x".into()], "{table:?}");
        }
    }
}

#[test]
fn a_broken_table_is_refused_with_its_line() {
    let head = "Group,Title,Username,Password\n";
    for (rows, says) in [
        ("g,t,u,p\ng,t,u\n", "line 3 of the table has 3 cells, its first line 4"),
        ("g,t,u,p,q\n", "line 2 of the table has 5 cells, its first line 4"),
        ("g,t,u,\"p\"x\n", "line 2 of the table: there is text after a closing quotation mark"),
        ("g,t,u,p\"x\n", "line 2 of the table: there is a quotation mark inside a cell without"),
        ("g,t,u, \"p\"\n", "line 2 of the table: there is a quotation mark inside"),
        ("g,t,\"u\n\",p\ng,t,u,\"p,\ng,t,u,p\n", "line 4 of the table: a quotation mark is never closed"),
        ("g,t,u,\"p", "line 2 of the table: a quotation mark is never closed"),
    ] {
        let said = read(&format!("{head}{rows}")).unwrap_err().to_string();
        assert!(said.starts_with(says), "{rows:?}: {said}");
    }
    let said = super::read(b"Group,Title\nx,\xff\n", "c", &[]).unwrap_err().to_string();
    assert_eq!(said, "the table can't be read at line 2");
}

#[test]
fn each_error_has_its_hint() {
    for (error, hint) in [
        (ReadCsvError::Columns("no columns".into()), "KeePassXC"),
        (ReadCsvError::Twice("PIN".into()), "rename"),
        (ReadCsvError::Cells { line: 2, cells: 3, columns: 4 }, "comma"),
        (ReadCsvError::Unreadable { line: None }, "UTF-8"),
    ] {
        assert!(error.hint().contains(hint), "{error}");
    }
}

#[test]
fn columns_are_told() {
    let said = |table: &str| read(table).unwrap_err().to_string();
    assert_eq!(said("Group,Title,Password,Password\n"), "the table has two columns \"Password\"");
    assert_eq!(said("Group,Title,PIN, PIN\n"), "the table has two columns \"PIN\"");
    assert!(said("name,url,username,pass\n").ends_with("it has name, url, username, pass"));
    assert!(
        said("folder,favorite,type,login_username,login_password\n")
            .contains("it has folder, favorite, type")
    );
    assert!(said("hunter2,secret\n1,2\n").ends_with("does not look like names of columns"));
    assert!(said("Group;Title;Password\ng;t;p\n").contains("separated by semicolons"));
    assert!(said("\"Group\";\"Title\"\n").contains("separated by semicolons"));
    assert!(said("Group\tTitle\n").contains("separated by tabs"));
    assert!(said("sep=,\nGroup,Title\n").contains("\"sep=\""));
    let table = read("Group,Title,Password,PIN,Empty,Icon,\ng,t,p,1234,,0,\ng,u,p,,,0,unnamed\n").unwrap();
    assert_eq!(table.columns, [("PIN".to_owned(), 1), (String::new(), 1)]);
}

#[test]
fn a_row_that_can_have_no_name_is_left_out_by_itself() {
    let long = "l".repeat(1100);
    let table = format!(
        "Group,Title,Password\ng,A\0B,x\ng,\u{1b}[2J,x\n{long},t,x\ng,{long},x\ng,only,\n,,\ng,good,x\n"
    );
    let table = read(&table).unwrap();
    let places: Vec<&str> = table.credentials.iter().map(|credential| credential.place.as_str()).collect();
    assert_eq!(places, ["g/A B", "g/ [2J", "g/good"]);
    let renamed = |line, from: &str, to: &str| (line, from.to_owned(), to.to_owned());
    assert_eq!(table.renamed, [renamed(2, "g/A\\u{0}B", "g/A B"), renamed(3, "g/\\u{1b}[2J", "g/ [2J")]);
    let why: Vec<(u64, LeftOutReason)> = table.rows.iter().map(|row| (row.line, row.why.clone())).collect();
    let too_long = LeftOutReason::Place(ParseLocationError::TooLong);
    assert_eq!(why, [(4, too_long.clone()), (5, too_long), (6, LeftOutReason::NoFields)]);
    assert!(table.rows.iter().all(|row| row.name.len() < 80 && !row.name.contains(char::is_control)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Cells are quoted, or some are left bare if nothing in them needs quotation marks.
    #[test]
    fn a_table_is_read_as_it_was_written(
        rows in vec([cell(), cell(), cell()], 0..12),
        bare in any::<u64>(),
        end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
    ) {
        let needs_quotes = |text: &str| text.is_empty() || text.contains([',', '"', '\r', '\n', '\u{feff}']);
        let written = |(index, text): (usize, &String)| match needs_quotes(text) || bare >> (index % 64) & 1 == 0 {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.clone(),
        };
        let mut table = format!("Group,Title,Username,Password,Notes{end}");
        for (number, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().enumerate().map(written).collect();
            table += &format!("g,t{number},{}{end}", cells.join(","));
        }
        let mut expected = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let said = ["username", "password", "notes"].iter().zip(row).filter(|(_, text)| !text.is_empty());
            expected.extend(said.map(|(field, text)| format!("g/t{number} {field}={text}")));
        }
        prop_assert_eq!(fields(&table), expected);
    }

    /// A table cut off anywhere is refused, or every credential in it is one that was written. Cuts
    /// between two quotation marks are left out, since a single one ends a cell.
    #[test]
    fn a_cut_table_makes_up_no_secret(rows in vec([cell(), cell()], 1..6),  cut in any::<Index>()) {
        let quoted = |text: &String| format!("\"{}\"", text.replace('"', ";"));
        let mut table = String::from("Group,Title,Username,Password\n");
        for (number, [user, password]) in rows.iter().enumerate() {
            table += &format!("\"g\",\"t{number}\",{},{}\n", quoted(user), quoted(password));
        }
        let whole = fields(&table);
        let ends: Vec<usize> = table.char_indices().map(|(at, _)| at).collect();
        if let Ok(read) = read(&table[..ends[cut.index(ends.len())]]) {
            prop_assert!(read.credentials.len() <= rows.len());
            for credential in &read.credentials {
                for (field, value) in &credential.fields {
                    let text = format!("{} {field}={}", credential.place, String::from_utf8_lossy(value));
                    prop_assert!(whole.contains(&text), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_that_is_no_table_does_harm(bytes in vec(any::<u8>(), 0..300)) {
        let _ = super::read(&bytes, "c", &[]);
        let _ = super::read(&[b"Group,Title,Password\n", bytes.as_slice()].concat(), "c", &[]);
    }
}

fn cell() -> impl Strategy<Value = String> {
    vec(
        prop_oneof![Just(','), Just('"'), Just('\n'), Just('\r'), Just(';'), Just('x'), Just('é'), Just(' ')],
        0..8,
    )
    .prop_map(|letters| letters.into_iter().collect())
}

#[test]
fn what_fuzzing_starts_from_is_read_or_refused() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/csv");
    let names = std::fs::read_dir(seeds).unwrap().map(|seed| seed.unwrap());
    let read =
        names.filter(|seed| super::read(&std::fs::read(seed.path()).unwrap(), "c", &[]).is_ok()).count();
    assert!(read >= 5, "{read} are read");
}

#[test]
fn an_empty_table_is_one_of_no_rows() {
    assert!(read("Group,Title,Password\n").unwrap().credentials.is_empty());
    assert!(read("Group,Title,Password\n\n\r\n\n").unwrap().credentials.is_empty());
    for nothing in ["", "\n\n", "\u{feff}"] {
        assert!(matches!(read(nothing), Err(ReadCsvError::Unreadable { .. })), "{nothing:?}");
    }
}

/// A table without a header may begin with secrets: its columns are named only if at least two of
/// them are usual names.
#[test]
fn columns_are_told_where_they_look_like_names() {
    let missing = "the table has no columns for titles and passwords: ";
    let hidden = format!("{missing}its first line does not look like names of columns");
    assert_eq!(no_columns(&["hunter2", "Password"]), hidden);
    assert_eq!(no_columns(&[]), hidden);
    assert_eq!(no_columns(&["Login name", "E-mail", "pin"]), hidden, "one of them");
    assert_eq!(no_columns(&["name", "Login URL", "pin"]), format!("{missing}it has name, Login URL, pin"));
}

#[test]
fn tables_of_browsers_and_other_programs_are_read() {
    let chrome = "name,url,username,password,note\nShop,https://shop.example/login,anna,pw,hi\n,https://x.example/a?b,bo,pw2,\n";
    assert_eq!(
        fields(chrome),
        [
            "default/Shop url=https://shop.example/login",
            "default/Shop username=anna",
            "default/Shop password=pw",
            "default/Shop notes=hi",
            "default/x.example url=https://x.example/a?b",
            "default/x.example username=bo",
            "default/x.example password=pw2",
        ]
    );
    let firefox = "\"url\",\"username\",\"password\",\"httpRealm\",\"guid\"\n\"https://a.example\",\"anna\",\"pw\",,\"{1}\"\n";
    let table = read(firefox).unwrap();
    assert_eq!(
        (table.credentials[0].place.as_str(), table.columns),
        ("default/a.example", vec![("guid".into(), 1)])
    );
    let safari = "Title,URL,Username,Password,Notes,OTPAuth\na,https://a,u,p,n,otpauth://totp/x?secret=y\n";
    assert_eq!(fields(safari)[4], "default/a totp=otpauth://totp/x?secret=y");
    let bitwarden = "folder,favorite,type,name,notes,login_uri,login_username,login_password,login_totp\nWeb,1,login,Shop,,u,anna,pw,t\n";
    let table = read(bitwarden).unwrap();
    assert_eq!(table.credentials[0].place, "Web/Shop");
    assert_eq!(table.columns, [("favorite".to_owned(), 1), ("type".to_owned(), 1)]);
}

#[test]
fn columns_are_chosen_by_name() {
    let chosen = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(field, column)| ((*field).into(), (*column).into())).collect();
        super::read(b"Site,Key,Where\nshop,pw,x\n", "c", &pairs)
    };
    let table = chosen(&[("title", "Site"), ("secret", "Key"), ("group", "Where")]).unwrap();
    let credential = &table.credentials[0];
    assert_eq!((credential.place.as_str(), credential.fields[0].0.as_str()), ("x/shop", "secret"));
    assert_eq!(table.columns.len(), 0);
    let said = chosen(&[("title", "Name")]).unwrap_err().to_string();
    assert_eq!(said, "the table has no column called Name");
}
