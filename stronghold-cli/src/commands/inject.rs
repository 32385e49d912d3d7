//! `inject`: fills a template with secrets.

use std::path::Path;

use zeroize::Zeroizing;

use super::get;
use crate::context::Context;
use crate::error::Failure;
use crate::input;

/// Beginning of a reference, after its braces.
const PREFIX: &str = "stronghold:";

/// A part of a template.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Record(&'a str),
}

/// Prints a template (`-` is stdin) with each `{{ stronghold:LOCATION }}` replaced by the record's
/// value. Prints nothing unless all records were read.
pub(super) fn inject(context: &Context, template: &Path) -> Result<(), Failure> {
    let bytes = input::within(template, input::MAX_TABLE, "a template")?;
    let message = || format!("{} is no text; nothing was printed", crate::error::shown(template));
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Failure::usage(message(), "a template is in UTF-8"))?;
    let parts = parts(text)?;
    let home = context.open()?;
    let filled = |part: &Part<'_>| match part {
        Part::Text(text) => Ok(Zeroizing::new(text.as_bytes().to_vec())),
        Part::Record(at) => get::value(context, &home, at),
    };
    let filled = parts.iter().map(filled).collect::<Result<Vec<_>, _>>()?;
    let pieces: Vec<&[u8]> = filled.iter().map(|piece| piece.as_slice()).collect();
    context.output.value(&Zeroizing::new(pieces.concat()), false)
}

/// Splits a template. Double braces of other programs are left as they are.
fn parts(text: &str) -> Result<Vec<Part<'_>>, Failure> {
    let mut parts = Vec::new();
    let (mut rest, mut literal) = (text, 0);
    while let Some(start) = rest[literal..].find("{{").map(|start| start + literal) {
        let Some(reference) = rest[start + 2..].trim_start().strip_prefix(PREFIX) else {
            literal = start + 1;
            continue;
        };
        let line = text[..text.len() - rest.len() + start].matches('\n').count() + 1;
        let Some((at, after)) = reference.split_once("}}").filter(|(at, _)| !at.contains('\n')) else {
            let message = format!("line {line}: a reference does not end; nothing was printed");
            return Err(Failure::usage(message, "for example: {{ stronghold:work/ci/token }}"));
        };
        let at = at.trim();
        crate::context::location(at).map_err(|failure| {
            let message = format!("line {line}: {}", failure.message);
            Failure::usage(message, "for example: {{ stronghold:work/ci/token }}")
        })?;
        parts.extend([Part::Text(&rest[..start]), Part::Record(at)]);
        (rest, literal) = (after, 0);
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_and_other_braces_left() {
        let (text, record) = (Part::Text, Part::Record);
        for (template, expected) in [
            ("", vec![text("")]),
            ("no {{ other }} {{{", vec![text("no {{ other }} {{{")]),
            ("a{{stronghold:c/v/r}}b", vec![text("a"), record("c/v/r"), text("b")]),
            ("{{{ stronghold:c/v/a b }}}", vec![text("{"), record("c/v/a b"), text("}")]),
            (
                "{{ stronghold:c/v/r }}{{\tstronghold: c/v/s }}\n",
                vec![text(""), record("c/v/r"), text(""), record("c/v/s"), text("\n")],
            ),
        ] {
            assert_eq!(parts(template).unwrap(), expected, "{template}");
        }
        for (template, message) in [
            ("\n{{ stronghold:c/v/r", "line 2: a reference does not end; nothing was printed"),
            ("{{ stronghold:c/v/r\n}}", "line 1: a reference does not end; nothing was printed"),
            ("é\n\n{{stronghold:c}}", "line 3: c: a location is CLIENT/VAULT/RECORD"),
        ] {
            assert!(parts(template).unwrap_err().message.starts_with(message), "{template}");
        }
    }
}
