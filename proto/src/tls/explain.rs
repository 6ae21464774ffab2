//! What a broken connection means, in words that say what is missing and which setting gives it: "transport error" doesn't.

use std::error::Error;

/// What stood in the way of a connection to `address`, and what to do; `None` where TLS has no part in it.
pub fn explain(error: &(dyn Error + 'static), address: &str) -> Option<String> {
    let mut texts = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        texts.push('\n');
        texts.push_str(&inner.to_string());
        source = inner.source();
    }
    of_text(&texts, address)
}

/// How a connection ends that was there and of which nobody says why.
const BROKEN: [&str; 6] = [
    "operation was canceled",
    "onnection reset",
    "roken pipe",
    "connection closed",
    "without sending TLS close_notify",
    "stream closed because of a broken pipe",
];

fn of_text(texts: &str, address: &str) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|word| texts.contains(word));
    let (with_tls, plainly) = (address.starts_with("https://"), address.starts_with("http://"));
    let what = if says(&["CertificateRequired", "certificate required"]) {
        "the controller asks for a client certificate, and none was shown: give --tls-cert and --tls-key (TWINLOG_TLS_CERT, TWINLOG_TLS_KEY)"
    } else if says(&["UnknownIssuer", "unknown issuer", "CaUsedAsEndEntity", "BadSignature"]) {
        "the controller's certificate is signed by nobody whom this machine trusts: name the authority with --tls-ca FILE (TWINLOG_TLS_CA)"
    } else if says(&["NotValidForName", "not valid for name"]) {
        "the controller's certificate is for another name: use that name in the address, or give it with --tls-domain NAME (TWINLOG_TLS_DOMAIN)"
    } else if says(&[
        "fatal alert: UnknownCA",
        "fatal alert: BadCertificate",
        "fatal alert: DecryptError",
        "fatal alert: CertificateUnknown",
        "fatal alert: CertificateExpired",
    ]) {
        "the controller refuses the client certificate: --tls-cert must be signed by an authority of its --tls-client-ca"
    } else if says(&[
        "certificate expired",
        "CertExpired",
        "certificate: Expired",
        "InvalidCertificate(Expired",
    ]) {
        "a certificate has expired: renew the controller's (--tls-cert of twinlog-controller), or this machine's clock is wrong"
    } else if says(&["fatal alert: HandshakeFailure"]) {
        "the controller refused the TLS handshake: it may ask for a client certificate (--tls-cert, --tls-key)"
    } else if says(&BROKEN) {
        // With TLS 1.3 a refused client learns why only after it believes to be connected, and the reason is lost on the way here:
        // dropped by the HTTP/2 client, or overtaken by the reset of a server that closed with requests unread.
        "it was closed before an answer came: where the controller asks for a client certificate, give --tls-cert and --tls-key, signed by an authority of its --tls-client-ca; otherwise try again"
    } else if says(&["grpc-status header missing"]) {
        "no Twinlog controller answers there but something else that speaks HTTP, such as a worker's port for metrics or a proxy: give the address that the controller listens on (--controller http://host:7420)"
    } else if with_tls && says(&["InvalidContentType", "corrupt message", "InvalidMessage"]) {
        return Some(format!("{address} speaks no TLS: write http:// instead of https://"));
    } else if plainly && says(&["speaks TLS", "FRAME_SIZE_ERROR", "frame with invalid size", "http2 error"]) {
        return Some(format!(
            "{address} does not speak plain HTTP/2: if it has TLS, write https:// instead of http://"
        ));
    } else {
        return None;
    };
    Some(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_the_flag_that_gives_it() {
        for (text, address, says) in [
            (
                "transport error\nreceived fatal alert: CertificateRequired",
                "https://c:1",
                "--tls-cert and --tls-key",
            ),
            ("invalid peer certificate: UnknownIssuer", "https://c:1", "--tls-ca"),
            ("invalid peer certificate: certificate not valid for name \"c\"", "https://c:1", "--tls-domain"),
            (
                "received corrupt message of type InvalidContentType",
                "https://c:1",
                "http:// instead of https://",
            ),
            (
                "grpc-status header missing, mapped from HTTP status code 404",
                "http://c:1",
                "no Twinlog controller answers there",
            ),
            (
                "connection error detected: frame with invalid size",
                "http://c:1",
                "https:// instead of http://",
            ),
        ] {
            assert!(of_text(text, address).unwrap().contains(says), "{text}");
        }
        for broken in [
            "connection error: Connection reset by peer (os error 104)",
            "transport error\nBroken pipe (os error 32)",
        ] {
            assert!(of_text(broken, "").unwrap().contains("--tls-cert and --tls-key"), "{broken}");
        }
        assert_eq!(of_text("connection refused", "https://c:1"), None);
        // A call's deadline is no certificate's.
        assert_eq!(of_text("Deadline expired, source: Some(TimeoutExpired(()))", "https://c:1"), None);
        let expired = of_text("invalid peer certificate: Expired", "https://c:1").unwrap();
        assert!(expired.contains("renew the controller's"), "{expired}");
    }
}
