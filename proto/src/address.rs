//! Addresses of services as settings give them. A user and a password in one mean nothing to those we call, and are shown nowhere.

/// Instead of a user and a password.
const HIDDEN: &str = "***";

/// An address as it may be shown. Whatever stands before an `@` is hidden, also where the address is not one.
pub fn shown(address: &str) -> String {
    let Some((before, host)) = address.rsplit_once('@') else { return address.to_owned() };
    let scheme = before.find("://").map_or("", |at| &before[..at + 3]);
    format!("{scheme}{HIDDEN}@{host}")
}

/// Why an address with a user or a password in it can't be used. The answer holds neither.
pub fn check(address: &str) -> Result<(), String> {
    match address.contains('@') {
        false => Ok(()),
        true => Err("a user or password in the address means nothing here: leave out what stands before the host, up to '@'".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_neither_taken_nor_shown() {
        for (address, safe) in [
            ("http://user:pw@host:7420", "http://***@host:7420"),
            ("https://pw@host", "https://***@host"),
            ("user:pw@host:1", "***@host:1"),
            ("http:/user:pw@host:1", "***@host:1"),
            ("http://user:p@w@host:1", "http://***@host:1"),
            ("http://user:p://w@host:1", "http://***@host:1"),
        ] {
            assert_eq!(shown(address), safe);
            assert!(!check(address).unwrap_err().contains("pw"), "{address}");
        }
        assert_eq!(shown("http://host:7420"), "http://host:7420");
        assert_eq!(check("http://host:7420"), Ok(()));
    }
}
