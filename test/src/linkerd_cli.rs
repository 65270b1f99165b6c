//! The `linkerd` command, as far as it deals with extensions: `linkerd mcp …` and `linkerd check`.
//!
//! Its Go module cannot be had from every module proxy, so unless [`VARIABLE`] names a real one this is a stand-in that
//! follows the contract of Linkerd's EXTENSIONS.md: what it looks for on PATH, which flags it hands on and in which
//! form, what it accepts as an answer, and how it prints that. It has none of Linkerd's own checks.

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{process::Command, time::timeout};

/// Names a real `linkerd` to run in place of the stand-in.
pub const VARIABLE: &str = "LINKERD_MCP_LINKERD";

const LABEL: &str = "linkerd.io/extension";
const HINT: &str = "https://linkerd.io/2/checks/#extensions";
/// Whatever is run ends within this time.
const DEADLINE: Duration = Duration::from_secs(120);
/// The flags that `linkerd check` hands on, with their values where nobody sets them. Those without are left out.
const FORWARDED: [(&str, &str); 10] = [
    ("api-addr", ""),
    ("as", ""),
    ("as-group", "[]"),
    ("context", ""),
    ("kubeconfig", ""),
    ("linkerd-namespace", "linkerd"),
    ("namespace", ""),
    ("proxy", "false"),
    ("verbose", "false"),
    ("wait", "5m0s"),
];

/// A `linkerd` with a PATH of its own.
#[derive(Debug)]
pub struct Linkerd {
    path: Vec<PathBuf>,
    kubeconfig: PathBuf,
    real: Option<PathBuf>,
}

/// What a command printed, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
}

/// What an extension answers to `_extension-metadata`. Fields that are not known are ignored, here and below.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    checks: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    categories: Option<Vec<Category>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Category {
    #[serde(rename = "categoryName")]
    name: String,
    checks: Option<Vec<Outcome>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outcome {
    description: String,
    hint: String,
    error: String,
    result: String,
}

// === impl Linkerd ===

impl Linkerd {
    /// One that finds extensions in these folders, and uses this kubeconfig.
    ///
    /// # Errors
    ///
    /// When [`VARIABLE`] names something that is no file.
    pub fn new(path: &[&Path], kubeconfig: &Path) -> io::Result<Self> {
        let real = std::env::var_os(VARIABLE).map(PathBuf::from);
        if let Some(real) = real.as_deref().filter(|real| !is_executable(real)) {
            let text = format!("{VARIABLE} names {}, which is no program", real.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let path = path.iter().map(|folder| folder.to_path_buf()).collect();
        Ok(Self { path, kubeconfig: kubeconfig.to_owned(), real })
    }

    /// Runs it. The stand-in knows `check` with flags in the form `--name=value`, and extensions.
    ///
    /// # Errors
    ///
    /// When something cannot be run, or does not end.
    pub async fn run(&self, args: &[&str]) -> io::Result<Said> {
        if let Some(real) = &self.real {
            return self.execute(real, args).await;
        }
        match args {
            ["check", flags @ ..] => self.check(flags).await,
            [name, args @ ..] if !name.starts_with('-') => self.dispatch(name, args).await,
            _ => Ok(Said::refusal("Cannot accept flags before Linkerd extension name")),
        }
    }

    /// `linkerd NAME …` runs `linkerd-NAME …`, and says nothing of its exit code but whether it is zero.
    async fn dispatch(&self, name: &str, args: &[&str]) -> io::Result<Said> {
        let file = format!("linkerd-{name}");
        let found = self.path.iter().map(|folder| folder.join(&file)).find(|path| is_executable(path));
        let Some(program) = found else {
            return Ok(Said::refusal(&format!("unknown command \"{name}\" for \"linkerd\"")));
        };
        let said = self.execute(&program, args).await?;
        Ok(Said { code: Some(i32::from(said.code != Some(0))), ..said })
    }

    async fn check(&self, flags: &[&str]) -> io::Result<Said> {
        let mut labels = self.labels().await?;
        let (mut always, mut labelled) = (Vec::new(), Vec::new());
        let programs = self.programs();
        for program in &programs {
            let said = self.execute(program, &["_extension-metadata"]).await?;
            let metadata = serde_json::from_str::<Metadata>(&said.stdout).unwrap_or_default();
            let named = metadata.name.eq_ignore_ascii_case(&file_name(program));
            if said.code == Some(0) && named && metadata.checks == "always" {
                labels.remove(suffix(&file_name(program)));
                always.push(program.clone());
            }
        }
        for program in programs {
            if labels.remove(suffix(&file_name(&program))) {
                labelled.push(program);
            }
        }
        let mut found = [always, labelled].concat();
        found.sort_by_key(|program| file_name(program));

        let (mut stdout, mut success) = (String::new(), true);
        for program in found {
            let (printed, passed) = self.check_one(&program, flags).await?;
            stdout.push_str(&printed);
            success &= passed;
        }
        for missing in labels {
            let outcome = Outcome {
                description: format!("Linkerd extension command linkerd-{missing} exists"),
                error: format!("exec: \"linkerd-{missing}\": executable file not found in $PATH"),
                hint: HINT.to_owned(),
                result: "warning".to_owned(),
            };
            print(&mut stdout, &format!("linkerd-{missing}"), &[outcome]);
        }
        let _ = writeln!(stdout, "Status check results are {}", if success { '\u{221a}' } else { '\u{d7}' });
        Ok(Said { stdout, stderr: String::new(), code: Some(i32::from(!success)) })
    }

    /// What is printed of one extension's checks, and whether all passed. Its exit code does not count.
    async fn check_one(&self, program: &Path, flags: &[&str]) -> io::Result<(String, bool)> {
        let args = forwarded(flags);
        let said = self.execute(program, &args.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let categories = match serde_json::from_str::<Answer>(&said.stdout) {
            Ok(answer) => answer.categories.unwrap_or_default(),
            Err(error) => {
                let error = match said.stderr.as_str() {
                    "" => format!("a JSON object was expected: {error}\n{}", said.stdout),
                    stderr => stderr.to_owned(),
                };
                let outcome = Outcome {
                    description: format!("Running: {} {}", program.display(), args.join(" ")),
                    error,
                    hint: HINT.to_owned(),
                    result: "error".to_owned(),
                };
                vec![Category { name: file_name(program), checks: Some(vec![outcome]) }]
            }
        };
        let (mut printed, mut passed) = (String::new(), true);
        for category in categories {
            let outcomes = category.checks.unwrap_or_default();
            passed &= outcomes.iter().all(|it| it.error.is_empty() || it.result == "warning");
            print(&mut printed, &category.name, &outcomes);
        }
        Ok((printed, passed))
    }

    /// Every `linkerd-*` on PATH that can be run; the first of each name.
    fn programs(&self) -> Vec<PathBuf> {
        let (mut seen, mut programs) = (BTreeSet::new(), Vec::new());
        for folder in &self.path {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut names: Vec<String> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            for name in names.into_iter().filter(|name| name.starts_with("linkerd-")) {
                let program = folder.join(&name);
                if is_executable(&program) && seen.insert(name) {
                    programs.push(program);
                }
            }
        }
        programs
    }

    /// The values of the label on namespaces.
    async fn labels(&self) -> io::Result<BTreeSet<String>> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).map_err(io::Error::other)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.map_err(io::Error::other)?).map_err(io::Error::other)?;
        let labelled = ListParams::default().labels(LABEL);
        let namespaces = Api::<Namespace>::all(client).list(&labelled).await.map_err(io::Error::other)?;
        Ok(namespaces.iter().filter_map(|namespace| namespace.labels().get(LABEL).cloned()).collect())
    }

    async fn execute(&self, program: &Path, args: &[&str]) -> io::Result<Said> {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        // Scripts need a shell; whoever looks for `linkerd-*` there finds none.
        let system = ["/usr/bin", "/bin"].map(PathBuf::from);
        let path = std::env::join_paths(self.path.iter().chain(&system)).map_err(io::Error::other)?;
        command.env("PATH", path).kill_on_drop(true);
        let output = timeout(DEADLINE, command.output()).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("{} {args:?} does not end", program.display()))
        })??;
        Ok(Said {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: ExitStatus::code(&output.status),
        })
    }
}

// === impl Said ===

impl Said {
    fn refusal(text: &str) -> Self {
        Self { stdout: String::new(), stderr: format!("{text}\n"), code: Some(1) }
    }
}

/// `check`, the flags in the order of their names with the given values, and at last the format.
fn forwarded(flags: &[&str]) -> Vec<String> {
    let given = |name: &str| {
        let of = |flag: &&&str| {
            flag.strip_prefix("--").and_then(|it| it.split_once('=')).map(|it| it.0) == Some(name)
        };
        flags.iter().find(of).and_then(|flag| flag.split_once('=')).map(|it| it.1)
    };
    let flags = FORWARDED.iter().filter_map(|(name, default)| {
        let value = given(name).unwrap_or(default);
        (!value.is_empty()).then(|| format!("--{name}={value}"))
    });
    ["check".to_owned()].into_iter().chain(flags).chain(["--output=json".to_owned()]).collect()
}

fn print(out: &mut String, category: &str, outcomes: &[Outcome]) {
    let _ = writeln!(out, "{category}\n{}", "-".repeat(category.len()));
    for outcome in outcomes {
        let mark = match (outcome.error.is_empty(), outcome.result.as_str()) {
            (true, _) => '\u{221a}',
            (false, "warning") => '\u{203c}',
            (false, _) => '\u{d7}',
        };
        let _ = writeln!(out, "{mark} {}", outcome.description);
        if !outcome.error.is_empty() {
            let _ = writeln!(out, "    {}\n    see {} for hints", outcome.error.trim_end(), outcome.hint);
        }
    }
    out.push('\n');
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn suffix(name: &str) -> &str {
    name.strip_prefix("linkerd-").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_handed_on_in_the_form_that_go_prints_them_in() {
        let usual = [
            "check",
            "--as-group=[]",
            "--linkerd-namespace=linkerd",
            "--proxy=false",
            "--verbose=false",
            "--wait=5m0s",
        ];
        assert_eq!(forwarded(&[]), [&usual[..], &["--output=json"]].concat());
        assert_eq!(
            forwarded(&["--namespace=shop", "--proxy=true", "--output=short", "--as-group=[a,b]"]),
            [
                "check",
                "--as-group=[a,b]",
                "--linkerd-namespace=linkerd",
                "--namespace=shop",
                "--proxy=true",
                "--verbose=false",
                "--wait=5m0s",
                "--output=json"
            ]
        );
    }
}
