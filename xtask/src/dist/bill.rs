//! Writes the bill of materials: what is compiled into the command, from where and under which
//! licence, in CycloneDX 1.6.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::Result;
use crate::cargo::cargo_output;

/// Name of the package whose parts are listed.
const PACKAGE: &str = "stronghold-cli";

/// Returns the bill as JSON. It has no time and no random number, so that the same sources give the
/// same bill.
pub(super) fn write(commit: &str) -> Result<String> {
    let host = cargo_output(&["-vV"])?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("cargo names no host")?;
    let args = ["metadata", "--format-version=1", "--locked", "--filter-platform", host];
    let metadata: Value = serde_json::from_str(&cargo_output(&args)?)?;
    let packages = list(&metadata["packages"]).map(|package| (text(&package["id"]), package));
    let packages: BTreeMap<&str, &Value> = packages.collect();
    let nodes = list(&metadata["resolve"]["nodes"]).map(|node| (text(&node["id"]), built_with(node)));
    let nodes: BTreeMap<&str, Vec<&str>> = nodes.collect();
    let root = packages.iter().find(|(_, package)| package["name"] == PACKAGE);
    let (root, _) = root.ok_or("cargo metadata lists no command")?;
    let parts = below(root, &nodes);
    let component_of = |id: &&str| packages.get(*id).map(|package| component(package));
    let depends = parts.iter().map(|id| {
        let on: Vec<String> =
            nodes.get(id).into_iter().flatten().filter_map(|id| packages.get(id)).map(|on| url(on)).collect();
        json!({ "ref": packages.get(id).map(|package| url(package)), "dependsOn": on })
    });
    let mut whole = packages.get(root).map(|package| component(package)).unwrap_or_default();
    whole["type"] = "application".into();
    whole["properties"] = json!([{ "name": "commit", "value": commit }]);
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": whole },
        "components": parts.iter().filter(|id| *id != root).filter_map(component_of).collect::<Vec<_>>(),
        "dependencies": depends.collect::<Vec<_>>(),
    });
    Ok(format!("{bill:#}\n"))
}

/// Describes a package.
fn component(package: &Value) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": url(package),
        "name": package["name"],
        "version": package["version"],
        "purl": url(package),
    });
    if let Some(licence) = package["license"].as_str() {
        component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
    }
    if let Some(address) = package["repository"].as_str() {
        component["externalReferences"] = json!([{ "type": "vcs", "url": address }]);
    }
    component
}

/// Returns the package's URL, as the specification of `purl` writes that of a crate.
fn url(package: &Value) -> String {
    format!("pkg:cargo/{}@{}", text(&package["name"]), text(&package["version"]))
}

/// Returns the packages that a package is built with, without those of its tests.
fn built_with(node: &Value) -> Vec<&str> {
    let is_built = |kinds: &Value| list(kinds).any(|kind| kind["kind"] != "dev");
    list(&node["deps"]).filter(|on| is_built(&on["dep_kinds"])).map(|on| text(&on["pkg"])).collect()
}

/// Returns a package and all that it is built with.
fn below<'a>(root: &&'a str, nodes: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let (mut found, mut left) = (BTreeSet::new(), vec![*root]);
    while let Some(id) = left.pop() {
        if found.insert(id) {
            left.extend(nodes.get(id).into_iter().flatten());
        }
    }
    found
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_tests_alone_is_not_listed() {
        let on = |id: &str, kind: Option<&str>| json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] });
        let nodes = [
            ("a", json!({ "deps": [on("b", None), on("t", Some("dev"))] })),
            ("b", json!({ "deps": [on("c", Some("build")), on("a", None)] })),
            ("t", json!({ "deps": [on("u", None)] })),
        ];
        let nodes: BTreeMap<&str, Vec<&str>> =
            nodes.iter().map(|(id, node)| (*id, built_with(node))).collect();
        assert_eq!(below(&"a", &nodes), BTreeSet::from(["a", "b", "c"]));
    }

    #[test]
    fn a_package_is_described_by_its_name_licence_and_source() {
        let package = json!({ "name": "x", "version": "1.0.0", "license": "MIT/Apache-2.0", "repository": "https://x" });
        let described = component(&package);
        assert_eq!(described["purl"], "pkg:cargo/x@1.0.0");
        assert_eq!(described["licenses"], json!([{ "expression": "MIT OR Apache-2.0" }]));
        assert_eq!(described["externalReferences"][0]["url"], "https://x");
    }
}
