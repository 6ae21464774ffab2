//! The source files of a crate.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

/// Texts by path, from the crate's `src`.
#[derive(Debug, Default)]
pub struct Sources(BTreeMap<String, String>);

impl Sources {
    /// # Errors
    /// The folder, or a file in it, can't be read.
    pub fn read(src: &Path) -> Result<Self> {
        let mut found = Self::default();
        found.add(src, "")?;
        Ok(found)
    }

    fn add(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                self.add(&path, &format!("{prefix}{name}/"))?;
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                self.0.insert(format!("{prefix}{name}"), text);
            }
        }
        Ok(())
    }

    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn text(&self, file: &str) -> Option<&str> {
        self.0.get(file).map(String::as_str)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Sources {
    fn from(files: [(&str, &str); N]) -> Self {
        Self(files.into_iter().map(|(file, text)| (file.to_owned(), text.to_owned())).collect())
    }
}
