//! Kafka's jars as a class path.

use std::path::Path;

use anyhow::{Context, Result};

/// All jars of a folder in a fixed order. Kafka 3.9 and 2.8 bring two log bindings; ours is log4j2.
pub(crate) fn classpath(jars: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(jars).with_context(|| format!("cannot read {}", jars.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if name.ends_with(".jar") && !name.starts_with("slf4j-reload4j") && !name.starts_with("slf4j-log4j12")
        {
            names.push(path.display().to_string());
        }
    }
    names.sort();
    Ok(names.join(":"))
}
