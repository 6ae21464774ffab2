//! See `worker/src/engine/librdkafka/ffi/fetch_version.rs`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg=-Wl,--wrap=rd_kafka_broker_ApiVersion_supported");
}
