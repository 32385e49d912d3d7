//! Network addresses as people type them.

/// Address on which `serve` and `pair` listen, unless another is said.
pub(crate) const DEFAULT_LISTEN: &str = "0.0.0.0:4747";
/// Port of that address.
const PORT: u16 = 4747;

/// Parses an address to listen on: a port stands for all interfaces, a host for its port 4747.
pub(crate) fn to_listen(text: &str) -> Result<String, String> {
    parse(text, "0.0.0.0")
}

/// Parses an address to dial: a port stands for this machine, a host for its port 4747.
pub(crate) fn to_dial(text: &str) -> Result<String, String> {
    parse(text, "127.0.0.1")
}

fn parse(text: &str, host: &str) -> Result<String, String> {
    if text.parse::<u16>().is_ok() {
        return Ok(format!("{host}:{text}"));
    }
    // Several colons without brackets are an IPv6 address without a port.
    let is_ipv6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let address = match text.rsplit_once(':') {
        _ if is_ipv6 => format!("[{text}]:{PORT}"),
        Some((host, port)) if port.parse::<u16>().is_ok() && !host.is_empty() => text.to_owned(),
        None if !text.is_empty() => format!("{text}:{PORT}"),
        _ if text.starts_with('[') && text.ends_with(']') => format!("{text}:{PORT}"),
        _ => return Err("an address is HOST:PORT, HOST or PORT".into()),
    };
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_address_has_the_usual_port() {
        assert_eq!(to_listen(&PORT.to_string()).as_deref(), Ok(DEFAULT_LISTEN));
    }

    #[test]
    fn what_is_left_out_of_an_address_is_filled_in() {
        for (typed, dialed, listened) in [
            ("4748", "127.0.0.1:4748", "0.0.0.0:4748"),
            ("0", "127.0.0.1:0", "0.0.0.0:0"),
            ("laptop", "laptop:4747", "laptop:4747"),
            ("192.168.1.5", "192.168.1.5:4747", "192.168.1.5:4747"),
            ("laptop.local:99", "laptop.local:99", "laptop.local:99"),
            ("::1", "[::1]:4747", "[::1]:4747"),
            ("fe80::1", "[fe80::1]:4747", "[fe80::1]:4747"),
            ("[::1]", "[::1]:4747", "[::1]:4747"),
            ("[::1]:99", "[::1]:99", "[::1]:99"),
        ] {
            assert_eq!(to_dial(typed).as_deref(), Ok(dialed));
            assert_eq!(to_listen(typed).as_deref(), Ok(listened));
        }
        for typed in ["", ":", ":99", "laptop:", "laptop:port", "laptop:65536", "[::1]:port"] {
            assert!(to_dial(typed).is_err(), "{typed}");
        }
    }
}
