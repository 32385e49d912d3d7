//! `qr`: shows a value as a QR code, for a phone's camera.

use clap::Args;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::json;
use stronghold_snapshot::Access;
use stronghold_sync::escape_untrusted;
use zeroize::Zeroizing;

use super::get;
use crate::context::{Context, location};
use crate::error::{Failure, Kind};

#[derive(Debug, Args)]
pub(crate) struct QrArgs {
    /// Record to show, as CLIENT/VAULT/RECORD.
    location: String,
}

pub(super) fn qr(context: &Context, args: &QrArgs) -> Result<(), Failure> {
    let at = location(&args.location)?;
    let home = context.open_at(std::slice::from_ref(&at), Access::Read)?;
    let value = get::value(context, &home, &args.location)?;
    let code = code(&value).ok_or_else(|| {
        let message = format!(
            "{} has {} bytes, more than a QR code holds",
            escape_untrusted(&args.location),
            value.len()
        );
        Failure::new(Kind::TooLarge, message).hint("write it into a file: stronghold get --output FILE")
    })?;
    let rows: Vec<&str> = code.lines().collect();
    let object = json!({ "location": at.to_string(), "rows": rows });
    context.output.result(&object, || vec![code.to_string()])
}

/// Renders a QR code of half blocks, light on dark. Returns `None` if the value is too long.
pub(super) fn code(value: &[u8]) -> Option<Zeroizing<String>> {
    let code = QrCode::with_error_correction_level(value, EcLevel::L).ok()?;
    let drawn = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    Some(Zeroizing::new(drawn))
}
