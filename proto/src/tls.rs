//! TLS settings that both services share.
