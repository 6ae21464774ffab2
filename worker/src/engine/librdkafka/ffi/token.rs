//! Tokens for OAUTHBEARER, where librdkafka wants one.

use std::ffi::{CString, c_char, c_void};
use std::sync::PoisonError;

use rdkafka_sys as sys;

use super::Shared;
use super::error::{ERROR_TEXT, bounded, copied};
use crate::kafka::ClientProperties;

/// A token, or why there is none. A panic must not reach C: it would end the process.
fn token_of(properties: &ClientProperties) -> Result<(CString, CString, i64), String> {
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| properties.oauth_token()));
    let token = asked.map_err(|_| "the source of tokens failed".to_owned())?.map_err(|e| e.to_string())?;
    let text = |text: &str| CString::new(text).map_err(|_| "the token holds a zero byte".to_owned());
    Ok((text(&token.token)?, text(&token.principal_name)?, token.lifetime_ms))
}

/// Called by librdkafka's background thread: a token is wanted.
pub(super) unsafe extern "C" fn on_token(raw: *mut sys::rd_kafka_t, _: *const c_char, opaque: *mut c_void) {
    // SAFETY: the opaque is the handle's `Shared`, which outlives the client that calls.
    let shared = unsafe { &*opaque.cast::<Shared>() };
    let token = token_of(&shared.properties);
    let mut failure = [0 as c_char; ERROR_TEXT];
    let refused = match token {
        Ok((token, principal, lifetime)) => {
            // SAFETY: the client that calls lives. Both texts end with 0 and live during the call, which copies them; null with
            // 0 is no extensions; the buffer is as long as is said.
            let code = unsafe {
                sys::rd_kafka_oauthbearer_set_token(
                    raw,
                    token.as_ptr(),
                    lifetime,
                    principal.as_ptr(),
                    std::ptr::null_mut(),
                    0,
                    failure.as_mut_ptr(),
                    failure.len(),
                )
            };
            // SAFETY: the buffer was zero, and the call ends its text with 0.
            (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
                .then(|| unsafe { copied(failure.as_ptr()) })
        }
        Err(text) => Some(text),
    };
    *shared.no_token.lock().unwrap_or_else(PoisonError::into_inner) = refused.as_deref().map(bounded);
    if let Some(text) = refused {
        let text = CString::new(bounded(&text)).unwrap_or_default();
        // SAFETY: the client that calls lives; the text ends with 0 and is copied.
        unsafe { sys::rd_kafka_oauthbearer_set_token_failure(raw, text.as_ptr()) };
    }
}
