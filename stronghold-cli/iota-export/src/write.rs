//! Writes what was read, as one JSON object.

use std::io::{self, Write};

use zeroize::Zeroizing;

use crate::{
    names::hex,
    snapshot::{Contents, Entry},
};

/// Writes the contents as one JSON object on one line: `iota_export`, the version of this form, and
/// `entries`, each with `client`, `vault` (none in a store), `name` and `value_hex`; and the numbers
/// of `revoked` and `expired` ones.
///
/// # Errors
/// [`io::Error`] when the output fails.
pub fn write(contents: &Contents, out: &mut impl Write) -> io::Result<()> {
    write!(
        out,
        "{{\"iota_export\":1,\"revoked\":{},\"expired\":{},\"entries\":[",
        contents.revoked, contents.expired
    )?;
    for (index, Entry { client, vault, name, value }) in contents.entries.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let vault = vault.as_deref().map_or_else(|| "null".to_owned(), text);
        let digits = Zeroizing::new(hex(value));
        write!(
            out,
            "{comma}{{\"client\":{},\"vault\":{vault},\"name\":{},\"value_hex\":\"",
            text(client),
            text(name)
        )?;
        out.write_all(digits.as_bytes())?;
        out.write_all(b"\"}")?;
    }
    out.write_all(b"]}\n")?;
    out.flush()
}
