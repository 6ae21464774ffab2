//! Who calls, as the connection says; every request carries it.

use std::net::{IpAddr, Ipv6Addr};

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    AsItShould,
    /// Plainly, to a port with TLS.
    Plainly,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) speaks: Speaks,
    /// `None`: it was gone before it could be asked.
    pub(crate) address: Option<IpAddr>,
}

impl Caller {
    /// What limits count by: the address or, as whoever has one IPv6 address has as many as he likes, its network.
    pub(crate) fn origin(&self) -> Option<IpAddr> {
        match self.address?.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                Some(IpAddr::V6(Ipv6Addr::from(network)))
            }
            address => Some(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_an_address_or_a_network_of_ipv6() {
        let origin = |address: &str| {
            let caller = Caller { speaks: Speaks::AsItShould, address: address.parse().ok() };
            caller.origin().map(|origin| origin.to_string())
        };
        for (address, expected) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::")),
            ("", None),
        ] {
            assert_eq!(origin(address).as_deref(), expected, "{address}");
        }
    }
}
