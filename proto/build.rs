//! Generates the API from `twinlog/**.proto` with protox: no protoc is needed.

use std::path::PathBuf;

const FILES: &[&str] = &[
    "twinlog/v1/cause.proto",
    "twinlog/v1/status.proto",
    "twinlog/v1/cluster.proto",
    "twinlog/v1/mirror.proto",
    "twinlog/v1/offset.proto",
    "twinlog/v1/fleet.proto",
    "twinlog/internal/v1/worker.proto",
    "twinlog/storage/v1/storage.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=twinlog");
    println!("cargo:rerun-if-changed=google");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).open_files(FILES)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // As it was compiled: the generated types of descriptors have no place for annotations of fields.
    std::fs::write(out.join("twinlog.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
