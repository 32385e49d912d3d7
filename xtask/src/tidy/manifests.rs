//! Checks the manifests: the order of the crates, declared versions, and one lint table for all.

use std::fs;

use serde_json::Value;

use super::{CRATES, Findings};
use crate::{Result, cargo::root};

pub(super) fn check(packages: &[Value]) -> Result<Findings> {
    let mut findings: Findings = packages.iter().flat_map(layers).collect();
    for name in CRATES {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml"))?;
        findings
            .extend(undeclared(&manifest).map(|line| format!("{name}: `{line}` should be workspace = true")));
    }
    findings.extend(lint_tables()?);
    Ok(findings)
}

/// Checks that a crate depends only on those below it, in tests as well.
fn layers(package: &Value) -> Findings {
    let height = |name: &Value| CRATES.iter().position(|layer| *name == *layer);
    let name = &package["name"];
    let Some(own) = height(name) else { return vec![format!("{name}: is no crate of the design")] };
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    let above =
        dependencies.iter().map(|dependency| &dependency["name"]).filter(|below| height(below) >= Some(own));
    above.map(|below| format!("{name}: depends on {below}, which is not below it")).collect()
}

/// Returns the dependencies that are not declared in the root manifest.
fn undeclared(manifest: &str) -> impl Iterator<Item = &str> {
    let dependencies = sections(manifest).filter(|(section, _)| section.contains("dependencies"));
    dependencies.map(|(_, line)| line).filter(|line| !line.replace(' ', "").contains("workspace=true"))
}

/// Checks that the one crate with a lint table of its own repeats the workspace's, except for the
/// lint that it relaxes.
fn lint_tables() -> Result<Findings> {
    let table = |manifest: &str, prefix: &str| -> Result<Vec<String>> {
        let text = fs::read_to_string(root().join(manifest))?;
        let lints = sections(&text).filter_map(|(section, line)| Some((section.strip_prefix(prefix)?, line)));
        let lints = lints.filter(|(_, line)| !line.starts_with("unsafe_code"));
        Ok(lints.map(|(group, line)| format!("{group}: {line}")).collect())
    };
    let workspace = table("Cargo.toml", "workspace.lints.")?;
    let own = table("stronghold-vault/Cargo.toml", "lints.")?;
    if workspace.is_empty() || workspace != own {
        return Ok(vec![
            "stronghold-vault: its lint table differs from the workspace's by more than unsafe_code".into(),
        ]);
    }
    let repeats = CRATES.iter().filter(|name| **name != "stronghold-vault");
    let mut findings = Findings::new();
    for name in repeats {
        let text = fs::read_to_string(root().join(name).join("Cargo.toml"))?;
        if !sections(&text).any(|(section, line)| section == "lints" && line == "workspace = true") {
            findings.push(format!("{name}: does not use the workspace's lints"));
        }
    }
    Ok(findings)
}

/// Returns the non-empty lines of a manifest, each with its section's name and without comments.
fn sections(manifest: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut section = "";
    manifest.lines().filter_map(move |line| {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim_matches(['[', ']']);
            return None;
        }
        (!line.is_empty() && !line.starts_with('#')).then_some((section, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_with_a_version_of_its_own_is_found() {
        let manifest = "[dependencies]\na.workspace = true # why\nb = { workspace = true, features = [\"c\"] }\n\
                        d = \"1\"\n[dev-dependencies]\ne = { version = \"2\" }\n[package]\nname = \"f\"\n";
        assert_eq!(undeclared(manifest).collect::<Vec<_>>(), ["d = \"1\"", "e = { version = \"2\" }"]);
    }

    #[test]
    fn a_crate_may_not_use_one_above_it() {
        let package =
            |name: &str, uses: &str| serde_json::json!({"name": name, "dependencies": [{"name": uses}]});
        assert!(layers(&package("stronghold-vault", "stronghold-sync")).is_empty());
        assert!(layers(&package("stronghold-vault", "serde")).is_empty());
        assert_eq!(layers(&package("stronghold-sync", "stronghold-vault")).len(), 1);
        assert_eq!(layers(&package("stronghold-vault", "stronghold-vault")).len(), 1);
    }
}
