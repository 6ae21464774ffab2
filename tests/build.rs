//! See `worker/src/engine/librdkafka/ffi/fetch_version.rs`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // What is built for, for who asks Cargo about it.
    println!("cargo:rustc-env=TARGET={}", std::env::var("TARGET").expect("cargo says it"));
    println!("cargo:rustc-link-arg=-Wl,--wrap=rd_kafka_broker_ApiVersion_supported");
}
