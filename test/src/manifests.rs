//! What `linkerd-mcp install` prints, as objects, for each set of values in `test/helm/values`.

use crate::{fixtures::yaml_files, ours};
use serde::Deserialize as _;
use serde_json::Value;
use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// The objects that `linkerd-mcp install` prints with these flags, asked without a cluster.
///
/// # Errors
///
/// When the program is not built, refuses the flags, or prints something else than objects.
pub fn install(flags: &[&str]) -> io::Result<Vec<Value>> {
    let program = ours::program("linkerd-mcp").map_err(io::Error::other)?;
    let mut command = Command::new(program);
    // Nothing of this machine's: it has to do without a cluster and without a home.
    command.env_clear().args(["install", "--ignore-cluster", "-o", "json"]).args(flags);
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("install {flags:?}: {said}")));
    }
    let text = String::from_utf8(output.stdout).map_err(io::Error::other)?;
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::other)).collect()
}

/// Every set of values, by its name, and the file that it is in.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn sets() -> io::Result<Vec<(String, PathBuf)>> {
    let named = |path: PathBuf| (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path);
    Ok(yaml_files(&helm().join("values"))?.into_iter().map(named).collect())
}

/// The objects of every set of values, alone and over those for high availability, by the name of the set.
///
/// # Errors
///
/// When one is not rendered.
pub fn installed() -> io::Result<Vec<(String, Vec<Value>)>> {
    let mut all = Vec::new();
    for (name, path) in sets()? {
        let path = path.to_string_lossy();
        all.push((name.clone(), install(&["-f", &path])?));
        all.push((format!("{name} --ha"), install(&["-f", &path, "--ha"])?));
    }
    Ok(all)
}

/// `test/helm`.
pub fn helm() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("helm")
}

/// Objects as a YAML text.
pub fn yaml<'a>(objects: impl IntoIterator<Item = &'a Value>) -> String {
    // JSON is YAML.
    objects.into_iter().map(|object| format!("---\n{object}\n")).collect()
}

/// What Helm renders beside that, and `install` does not: the Job that labels the namespace, and its rights. As recorded
/// by `test/helm/run --write`.
///
/// # Errors
///
/// When the recording cannot be read.
pub fn namespace_metadata() -> io::Result<Vec<Value>> {
    let text = std::fs::read_to_string(helm().join("namespace-metadata.yaml"))?;
    let documents = serde_yaml::Deserializer::from_str(&text);
    let values = documents.map(|document| Value::deserialize(document).map_err(io::Error::other));
    values.filter(|value| !matches!(value, Ok(Value::Null))).collect()
}
