//! The packages of the tree and all that they depend on, as Cargo knows them, and what is wrong with these: a licence that we can't take, a
//! version that only we are behind with, a dependency that nothing uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::licences;
use super::mentions::Mentions;

#[derive(Debug, Deserialize)]
pub struct Packages {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

/// As a Cargo.toml names it.
#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    rename: Option<String>,
    kind: Option<Kind>,
}

/// None for what is linked into the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Dev,
    Build,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Debug, Deserialize)]
struct EdgeKind {
    kind: Option<Kind>,
}

impl Packages {
    /// Asks Cargo, without the network: what was built is there.
    ///
    /// # Errors
    /// Cargo can't say.
    pub fn of(root: &Path, target: &str) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let arguments =
            ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", target];
        let output =
            Command::new(cargo).args(arguments).current_dir(root).output().context("cannot start cargo")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("cargo metadata says something else")
    }

    pub fn len(&self) -> usize {
        self.packages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// Packages under a licence that we can't take, or under none.
    pub fn licences(&self) -> Vec<String> {
        let wrong = self.packages.iter().filter(|p| !p.license.as_deref().is_some_and(licences::is_taken));
        wrong
            .map(|p| format!("{} {}: {}", p.name, p.version, p.license.as_deref().unwrap_or("no licence")))
            .collect()
    }

    /// Versions of which there is a second one, and that only we ask for: without us there would be one.
    pub fn needless_versions(&self) -> Vec<String> {
        let mut versions: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
        for package in &self.packages {
            versions.entry(&package.name).or_default().push(package);
        }
        let several = versions.into_values().filter(|versions| versions.len() > 1).flatten();
        let ours = |package: &&Package| {
            let mut users = self
                .resolve
                .nodes
                .iter()
                .filter(|node| node.deps.iter().any(|edge| edge.is_linked(&package.id)));
            let any = users.clone().next().is_some();
            any && users.all(|node| self.workspace_members.contains(&node.id))
        };
        several.filter(ours).map(|package| format!("{} {}", package.name, package.version)).collect()
    }

    /// Dependencies that no file of their package names.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn unused(&self) -> Result<Vec<String>> {
        let mut unused = Vec::new();
        for package in self.packages.iter().filter(|package| self.workspace_members.contains(&package.id)) {
            let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
            let mentions = Mentions::of(folder)?;
            for dependency in &package.dependencies {
                let name = dependency.rename.as_ref().unwrap_or(&dependency.name).replace('-', "_");
                let used = match dependency.kind {
                    None => mentions.product.contains(&name),
                    Some(Kind::Dev) => mentions.tests.contains(&name),
                    Some(Kind::Build) => mentions.build.contains(&name),
                };
                if !used {
                    unused.push(format!("{}: {}", package.name, dependency.name));
                }
            }
        }
        Ok(unused)
    }

    /// Names that some package of the tree depends on.
    pub fn named(&self) -> BTreeSet<&str> {
        let ours = self.packages.iter().filter(|package| self.workspace_members.contains(&package.id));
        ours.flat_map(|package| package.dependencies.iter().map(|dependency| dependency.name.as_str()))
            .collect()
    }
}

impl Edge {
    fn is_linked(&self, package: &str) -> bool {
        self.pkg == package && self.dep_kinds.iter().any(|kind| kind.kind.is_none())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, version: &str, license: &str) -> serde_json::Value {
        json!({"id": format!("{name}-{version}"), "name": name, "version": version, "license": license, "manifest_path": "/x/Cargo.toml", "dependencies": []})
    }

    fn node(id: &str, on: &[&str]) -> serde_json::Value {
        let edge = |on: &&str| json!({"pkg": on, "dep_kinds": [{"kind": null}]});
        json!({"id": id, "deps": on.iter().map(edge).collect::<Vec<_>>()})
    }

    #[test]
    fn a_version_that_only_we_hold_on_to_is_named_and_a_licence_that_binds_us() {
        let packages: Packages = serde_json::from_value(json!({
            "packages": [
                package("ours", "1.0.0", "Apache-2.0"), package("theirs", "1.0.0", "GPL-3.0-only"),
                package("sha", "1.0.0", "MIT"), package("sha", "2.0.0", "MIT"),
                package("rand", "1.0.0", "MIT"), package("rand", "2.0.0", "MIT"),
            ],
            "workspace_members": ["ours-1.0.0"],
            "resolve": {"nodes": [
                node("ours-1.0.0", &["theirs-1.0.0", "sha-1.0.0", "rand-1.0.0"]),
                node("theirs-1.0.0", &["sha-2.0.0", "rand-1.0.0", "rand-2.0.0"]),
            ]},
        }))
        .unwrap();
        assert_eq!(packages.needless_versions(), ["sha 1.0.0"]);
        assert_eq!(packages.licences(), ["theirs 1.0.0: GPL-3.0-only"]);
    }
}
