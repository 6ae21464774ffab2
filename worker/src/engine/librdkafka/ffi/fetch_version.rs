//! Keeps librdkafka from fetching with the flexible encoding. It then takes messages in the formats of before Kafka 0.11 for
//! something else (2.5 to 2.15, its issues 5504 and 5549): records without key and value, nothing, or, where what it misreads has a
//! negative length, a failed assertion that ends the process. There is no setting for it, so the linker puts this function in
//! place of librdkafka's own (`--wrap` in the build scripts; without it, linking fails).
//!
//! What is given up: hints about new leaders in fetch answers (KIP-951).

use std::ffi::{c_int, c_void};

/// Fetch, in the protocol.
const FETCH: i16 = 1;
/// The last version before the flexible encoding; every broker has it.
const LAST_PLAIN: i16 = 11;

unsafe extern "C" {
    fn __real_rd_kafka_broker_ApiVersion_supported(
        broker: *mut c_void,
        api: i16,
        min: i16,
        max: i16,
        features: *mut c_int,
    ) -> i16;
}

/// librdkafka asks for the version of a request to use with a broker, from `min` to `max`; -1 is none.
///
/// # Safety
/// Called by librdkafka only, with what its own function takes.
#[allow(non_snake_case)]
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_rd_kafka_broker_ApiVersion_supported(
    broker: *mut c_void,
    api: i16,
    min: i16,
    max: i16,
    features: *mut c_int,
) -> i16 {
    let max = if api == FETCH { max.min(LAST_PLAIN) } else { max };
    // SAFETY: librdkafka's own function under the name that the linker gave it, with librdkafka's own arguments; both have the
    // signature of rdkafka_broker.h. It keeps nothing of them, and takes the broker's lock as it does for librdkafka.
    unsafe { __real_rd_kafka_broker_ApiVersion_supported(broker, api, min, max, features) }
}
