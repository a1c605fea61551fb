//! ARCHITECTURE.md and README.md must stay true: the files that they name exist, the types are declared in them or
//! elsewhere, and the arrows between crates point the way that they draw.
#![expect(clippy::disallowed_methods, reason = "reads the source tree")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::{fs, io};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there")
}

fn is_path(word: &str) -> bool {
    word.contains('/') && !word.contains([' ', '*', '<']) && !word.starts_with("crate/")
}

#[test]
fn the_files_that_it_names_exist() {
    let text = architecture();
    let named: Vec<&str> = quoted(&text).filter(|word| is_path(word)).collect();
    assert!(named.len() > 20, "only {} paths found", named.len());
    let missing: Vec<_> = named.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:?}");
}

#[test]
fn the_types_that_it_names_are_declared() {
    let text = architecture();
    let mut sources = String::new();
    for folder in ["sys", "sim", "config", "model", "remoting", "store", "raft", "broker", "namesrv", "client", "tools"]
    {
        read_sources(&root().join(folder).join("src"), &mut sources).expect("sources are readable");
    }
    let is_type = |word: &&str| {
        word.starts_with(|first: char| first.is_ascii_uppercase())
            && word.chars().all(|character| character.is_ascii_alphanumeric())
            && word.chars().any(|character| character.is_ascii_lowercase())
    };
    let declared = |word: &str| {
        ["struct", "enum", "trait", "type"].iter().any(|kind| sources.contains(&format!("{kind} {word}")))
            || sources.contains(&format!("    {word}("))
            || sources.contains(&format!("    {word} {{"))
    };
    let named: BTreeSet<&str> = quoted(&text).filter(is_type).collect();
    assert!(named.len() > 8, "only {named:?} found");
    let missing: Vec<_> = named.into_iter().filter(|word| !declared(word)).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names types that no crate declares: {missing:?}");
}

fn read_sources(folder: &Path, out: &mut String) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_sources(&path, out)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Dependencies between our own crates, tests' dependencies left out.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("metadata is JSON");
    let mut arrows = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        let shipped = dependencies.filter(|dependency| dependency["kind"] != "dev");
        let names = shipped.filter_map(|dependency| dependency["name"].as_str()).map(str::to_owned).collect();
        arrows.insert(package["name"].as_str().expect("a name").to_owned(), names);
    }
    arrows
}

#[test]
fn arrows_between_crates_point_down() {
    let layers: [&[&str]; 6] = [
        &["raftmq-model", "raftmq-sys", "raftmq-config"],
        &["raftmq-remoting", "raftmq-store", "raftmq-sim"],
        &["raftmq-raft", "raftmq-client"],
        &["raftmq-broker", "raftmq-namesrv", "raftmq-tools", "raftmq-testkit"],
        &["raftmq-jepsen"],
        &["raftmq"],
    ];
    let level = |name: &str| layers.iter().position(|layer| layer.contains(&name));
    for (package, dependencies) in arrows() {
        let from = level(&package).unwrap_or_else(|| panic!("{package} has no layer here"));
        for dependency in dependencies.iter().filter(|name| name.starts_with("raftmq-")) {
            let to = level(dependency).unwrap_or_else(|| panic!("{dependency} has no layer here"));
            assert!(to < from, "{package} must not depend on {dependency}");
        }
    }
}

#[test]
fn only_raft_names_openraft_and_nothing_shipped_depends_on_test_crates() {
    for (package, dependencies) in arrows() {
        assert!(package == "raftmq-raft" || !dependencies.contains("openraft"), "{package} names openraft");
        let ships = !["raftmq-jepsen", "raftmq-sim", "raftmq-testkit"].contains(&package.as_str());
        for tests_only in ["raftmq-sim", "raftmq-testkit", "raftmq-jepsen"] {
            assert!(!ships || !dependencies.contains(tests_only), "{package} ships {tests_only}");
        }
    }
    let arrows = arrows();
    assert!(!arrows["raftmq-broker"].contains("raftmq-client"));
    assert!(!arrows["raftmq-namesrv"].contains("raftmq-store"));
    assert!(!arrows["raftmq-store"].contains("tokio"), "the store must not know a runtime");
}
