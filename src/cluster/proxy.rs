//! Which proxy leads to a server. The client library tests `NO_PROXY` against the proxy's own address, so we decide
//! ourselves, as Go's clients do.

use std::net::IpAddr;

/// The proxy for a server: the cluster's own `proxy-url`, else `HTTPS_PROXY` where `NO_PROXY` does not exempt the host.
pub fn proxy_for(server_host: &str, own: Option<&str>, env: impl Fn(&str) -> Option<String>) -> Option<String> {
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        return Some(own.to_owned());
    }
    let get = |upper: &str, lower: &str| env(upper).or_else(|| env(lower)).filter(|value| !value.is_empty());
    let proxy = get("HTTPS_PROXY", "https_proxy")?;
    let exempt = get("NO_PROXY", "no_proxy").unwrap_or_default();
    (!is_exempt(server_host, &exempt)).then_some(proxy)
}

fn is_exempt(host: &str, exempt: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    exempt.split(',').map(|entry| entry.trim().to_ascii_lowercase()).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" || entry == host {
            return true;
        }
        if let (Some(address), Some((network, bits))) = (address, entry.split_once('/')) {
            return matches!((network.parse(), bits.parse()), (Ok(network), Ok(bits)) if within(address, network, bits));
        }
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        address.is_none() && (host == domain && !entry.starts_with('.') || host.ends_with(&format!(".{domain}")))
    })
}

fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V4(_) | IpAddr::V6(_), IpAddr::V4(_) | IpAddr::V6(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(exempt: &'static str, host: &str) -> Option<String> {
        proxy_for(host, None, |name| match name {
            "HTTPS_PROXY" => Some("http://proxy:3128".to_owned()),
            "no_proxy" => Some(exempt.to_owned()),
            _ => None,
        })
    }

    #[test]
    fn no_proxy_is_about_the_server() {
        for (exempt, host) in [
            ("10.0.0.0/8,.corp", "10.1.2.3"),
            ("corp.example", "api.corp.example"),
            (".corp.example", "api.corp.example"),
            ("corp.example", "corp.example"),
            ("*", "anything"),
            ("fd00::/8", "[fd12::1]"),
            ("", "127.0.0.1"),
            ("", "localhost"),
        ] {
            assert_eq!(with(exempt, host), None, "{exempt} {host}");
        }
        for (exempt, host) in [("10.0.0.0/8", "11.0.0.1"), ("corp.example", "notcorp.example"), ("proxy", "api")] {
            assert!(with(exempt, host).is_some(), "{exempt} {host}");
        }
    }

    #[test]
    fn the_clusters_own_proxy_wins() {
        let own = Some("socks5://bastion:1080");
        assert_eq!(proxy_for("127.0.0.1", own, |_| None).as_deref(), own);
        assert_eq!(proxy_for("api.example", None, |_| None), None);
    }
}
