//! Reads the settings of time-based one-time passwords: `otpauth` addresses (Google's key URI
//! format), those of KeeOTP and Steam, and bare secrets.

use totp_rs::{Algorithm, Builder, Secret, Totp};
use zeroize::Zeroizing;

/// Longest time for which one code is valid, in seconds.
const MAX_PERIOD: u64 = 24 * 60 * 60;

/// Settings from which no code can be made. Never holds a part of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OneTimeError {
    #[error("it is neither an otpauth:// address nor a base32 secret")]
    Unknown,
    #[error("it is one code for several logins (otpauth-migration)")]
    Several,
    #[error("its passwords follow a counter (hotp), not the time")]
    Counter,
    #[error("its secret is not base32")]
    Secret,
    #[error("its algorithm is none of SHA1, SHA256, SHA512")]
    Algorithm,
    #[error("it has not 6, 7 or 8 digits")]
    Digits,
    #[error("its period is not between one second and one day")]
    Period,
}

/// An address whose parameters can be asked for.
pub(crate) struct Address<'a> {
    path: &'a str,
    query: &'a str,
}

impl<'a> Address<'a> {
    /// Parses an `otpauth` address. Returns `None` if it is another one or has no secret.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let scheme = text.get(.."otpauth://".len())?;
        let rest = scheme.eq_ignore_ascii_case("otpauth://").then(|| &text[scheme.len()..])?;
        let (path, query) = rest.split_once('?')?;
        let address = Self { path, query };
        address.parameter("secret").is_some_and(|secret| !secret.is_empty()).then_some(address)
    }

    /// Returns issuer and account.
    pub(crate) fn label(&self) -> Option<(String, String)> {
        let label = decoded(self.path.split_once('/')?.1);
        let (issuer, account) = label.split_once(':').unwrap_or(("", &label));
        let issuer = match issuer {
            "" => self.parameter("issuer").map(|issuer| issuer.to_string()).unwrap_or_default(),
            issuer => issuer.to_owned(),
        };
        Some((issuer.trim().to_owned(), account.trim().to_owned()))
    }

    fn parameter(&self, name: &str) -> Option<Zeroizing<String>> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(Zeroizing::new(decoded(&Zeroizing::new(value.replace('+', " ")))))
    }
}

/// Parses a record's value.
///
/// # Errors
/// [`OneTimeError`] with the setting that makes no code possible.
pub(crate) fn parse(value: &str) -> Result<Totp, OneTimeError> {
    let value = value.trim();
    if let Some(secret) = value.strip_prefix("steam://") {
        return build(secret, Some("steam"), None, None);
    }
    if value.starts_with("otpauth-migration://") {
        return Err(OneTimeError::Several);
    }
    if let Some(address) = Address::parse(value) {
        if !address.path.to_lowercase().starts_with("totp/") {
            return Err(OneTimeError::Counter);
        }
        // KeePassXC names Steam's alphabet as the encoder.
        return address.totp("secret", "digits", "period", &["encoder", "algorithm"]);
    }
    let keeotp = Address { path: "", query: value };
    if keeotp.parameter("key").is_some() {
        return keeotp.totp("key", "size", "step", &["otpHashMode"]);
    }
    build(value, None, None, None).map_err(|_| OneTimeError::Unknown)
}

impl Address<'_> {
    fn totp(
        &self,
        secret: &str,
        digits: &str,
        period: &str,
        algorithms: &[&str],
    ) -> Result<Totp, OneTimeError> {
        let secret = self.parameter(secret).ok_or(OneTimeError::Secret)?;
        let algorithm = algorithms.iter().find_map(|name| self.parameter(name));
        let number = |name: &str, error| {
            self.parameter(name).map(|text| text.parse::<u64>().map_err(|_| error)).transpose()
        };
        build(
            &secret,
            algorithm.as_ref().map(|algorithm| algorithm.as_str()),
            number(digits, OneTimeError::Digits)?,
            number(period, OneTimeError::Period)?,
        )
    }
}

/// Builds the passwords of a base32 secret. Blanks, hyphens and padding in it do not count, as many
/// sites print it in groups.
fn build(
    secret: &str,
    algorithm: Option<&str>,
    digits: Option<u64>,
    period: Option<u64>,
) -> Result<Totp, OneTimeError> {
    let letters = secret.chars().filter(|letter| !letter.is_whitespace() && !"-=".contains(*letter));
    let letters = Zeroizing::new(letters.collect::<String>().to_uppercase());
    let secret = Secret::try_from_base32(letters.as_str()).map_err(|_| OneTimeError::Secret)?;
    if secret.as_bytes().is_empty() {
        return Err(OneTimeError::Secret);
    }
    let name = algorithm.unwrap_or("SHA1").to_uppercase().replace(['-', '_'], "");
    let algorithm = match name.trim_start_matches("HMAC") {
        "SHA1" => Algorithm::SHA1,
        "SHA256" => Algorithm::SHA256,
        "SHA512" => Algorithm::SHA512,
        "STEAM" => Algorithm::Steam,
        _ => return Err(OneTimeError::Algorithm),
    };
    let digits = match (algorithm, digits) {
        (Algorithm::Steam, _) => 5,
        (_, None) => 6,
        (_, Some(digits @ 6..=8)) => digits as u8,
        _ => return Err(OneTimeError::Digits),
    };
    let period = period.unwrap_or(30);
    if !(1..=MAX_PERIOD).contains(&period) {
        return Err(OneTimeError::Period);
    }
    let builder = Builder::new().with_algorithm(algorithm).with_digits(digits);
    // Many sites still give secrets of 80 bits, fewer than the standard asks for.
    Ok(builder.with_step_duration(period).with_secret(secret).build_noncompliant())
}

/// Decodes `%XX`. A broken one stays as it is.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Zeroizing::new(Vec::with_capacity(bytes.len())), 0);
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
        match code.filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(value: &str, time: u64) -> String {
        parse(value).unwrap().generate(time).to_string()
    }

    /// RFC 6238, appendix B. Its secrets are `1234567890` repeated up to the length of the hash.
    #[test]
    fn the_codes_are_those_of_the_standard() {
        let of = |len: usize| "1234567890".bytes().cycle().take(len).collect::<Vec<u8>>();
        for (algorithm, len, codes) in [
            ("SHA1", 20, ["94287082", "07081804", "14050471", "89005924", "69279037", "65353130"]),
            ("SHA256", 32, ["46119246", "68084774", "67062674", "91819424", "90698825", "77737706"]),
            ("SHA512", 64, ["90693936", "25091201", "99943326", "93441116", "38618901", "47863826"]),
        ] {
            let secret = Secret::from(of(len)).to_base32();
            let address =
                format!("otpauth://totp/x?secret={secret}&digits=8&period=30&algorithm={algorithm}");
            let times = [59, 1_111_111_109, 1_111_111_111, 1_234_567_890, 2_000_000_000, 20_000_000_000];
            assert_eq!(times.map(|time| code(&address, time)), codes, "{algorithm}");
        }
    }

    /// One secret as sites and programs write it gives one code.
    #[test]
    fn settings_of_all_forms_are_read() {
        let expected = "287082";
        for value in [
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            " gezd gnbv-gy3t qojq gezd gnbv gy3t qojq=\n",
            "otpauth://totp/Shop:anna?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "OTPAUTH://TOTP/Shop?SECRET=gezdgnbvgy3tqojqgezdgnbvgy3tqojq&Period=30&Digits=6&Algorithm=sha-1",
            "otpauth://totp/x?algorithm=HmacSHA1&secret=GEZDGNBV+GY3TQOJQ%20GEZDGNBVGY3TQOJQ",
            "key=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&step=30&size=6&otpHashMode=Sha1",
        ] {
            assert_eq!(code(value, 59), expected, "{value}");
        }
        let steam = code("steam://GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 59);
        assert_eq!((steam.len(), steam.bytes().any(|letter| letter.is_ascii_alphabetic())), (5, true));
        let named = "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&encoder=steam&digits=5";
        assert_eq!(code(named, 59), steam);
        let slow = parse("otpauth://totp/x?secret=GEZDGNBV&period=60").unwrap();
        assert_eq!((slow.step(), slow.generate(0), slow.next_step(59)), (60, slow.generate(59), 60));
    }

    #[test]
    fn settings_that_give_no_code_say_which_is_wrong() {
        for (value, error) in [
            ("", OneTimeError::Unknown),
            ("hunter2!", OneTimeError::Unknown),
            ("otpauth://totp/x?issuer=y", OneTimeError::Unknown),
            ("otpauth-migration://offline?data=x", OneTimeError::Several),
            ("otpauth://hotp/x?secret=GEZDGNBV&counter=1", OneTimeError::Counter),
            ("otpauth://totp/x?secret=1", OneTimeError::Secret),
            ("steam://", OneTimeError::Secret),
            ("otpauth://totp/x?secret=GEZDGNBV&algorithm=MD5", OneTimeError::Algorithm),
            ("otpauth://totp/x?secret=GEZDGNBV&digits=5", OneTimeError::Digits),
            ("otpauth://totp/x?secret=GEZDGNBV&digits=9", OneTimeError::Digits),
            ("otpauth://totp/x?secret=GEZDGNBV&digits=262", OneTimeError::Digits),
            ("otpauth://totp/x?secret=GEZDGNBV&period=0", OneTimeError::Period),
            ("otpauth://totp/x?secret=GEZDGNBV&period=86401", OneTimeError::Period),
            ("otpauth://totp/x?secret=GEZDGNBV&period=-1", OneTimeError::Period),
        ] {
            assert_eq!(parse(value).err(), Some(error), "{value}");
        }
        for digits in [6, 7, 8] {
            assert_eq!(code(&format!("otpauth://totp/x?secret=GEZDGNBV&digits={digits}"), 1).len(), digits);
        }
        assert!(parse("otpauth://totp/x?secret=GEZDGNBV&period=86400").is_ok());
    }

    proptest! {
        #[test]
        fn no_value_panics(value in "(otpauth://totp/.{0,8}\\?|steam://|key=)?.{0,60}", time: u32) {
            if let Ok(totp) = parse(&value) {
                prop_assert!(!totp.generate(time.into()).to_string().is_empty());
            }
        }
    }
}
