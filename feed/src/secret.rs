//! Text that nobody may see.

use crate::RedisFault;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::io::AsyncReadExt as _;

/// Text that `Debug` does not show: a password, or a URL with one in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(String);

/// Where a password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// Here.
    Given(Redacted),
    /// In this file, read at every connection so that it can be rotated. Line ends after it do not belong to it.
    File(PathBuf),
}

/// The largest file of passwords, certificates or keys that is read, in bytes.
const LARGEST: u64 = 1 << 20;

// === impl Redacted ===

impl Redacted {
    /// The text itself; do not print it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Redacted {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Redacted {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

// === impl Secret ===

impl Secret {
    /// The password as it is now.
    pub(crate) async fn read(&self) -> Result<Redacted, RedisFault> {
        let path = match self {
            Self::Given(text) => return Ok(text.clone()),
            Self::File(path) => path,
        };
        let unusable = |reason: &'static str| RedisFault::Contents { path: path.clone(), reason };
        let text = String::from_utf8(read_file(path).await?).map_err(|_| unusable("it is not UTF-8"))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(unusable("it is empty")),
            password => Ok(password.into()),
        }
    }
}

/// What is in the file, at most a mebibyte of it.
pub(crate) async fn read_file(path: &Path) -> Result<Vec<u8>, RedisFault> {
    let reading = async {
        let mut bytes = Vec::new();
        tokio::fs::File::open(path).await?.take(LARGEST + 1).read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes =
        reading.await.map_err(|error| RedisFault::File { path: path.to_owned(), source: Arc::new(error) })?;
    if u64::try_from(bytes.len()).is_ok_and(|bytes| bytes <= LARGEST) {
        Ok(bytes)
    } else {
        Err(RedisFault::Contents { path: path.to_owned(), reason: "it has more than 1 MiB" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_file_is_read_anew_and_its_line_end_is_not_part_of_the_password() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let secret = Secret::File(file.path().to_owned());
        std::fs::write(file.path(), "hunter2\r\n").unwrap();
        assert_eq!(secret.read().await.unwrap().expose(), "hunter2");
        std::fs::write(file.path(), " new one ").unwrap();
        assert_eq!(secret.read().await.unwrap().expose(), " new one ");
        std::fs::write(file.path(), "\n").unwrap();
        let error = secret.read().await.unwrap_err().to_string();
        assert_eq!(error, format!("the file {} cannot be used: it is empty", file.path().display()));
        std::fs::write(file.path(), vec![b'x'; (1 << 20) + 1]).unwrap();
        let error = secret.read().await.unwrap_err().to_string();
        assert!(error.ends_with("it has more than 1 MiB"), "{error}");
    }

    #[test]
    fn nothing_that_is_printed_shows_it() {
        let secret = Secret::Given("hunter2".into());
        assert_eq!(format!("{secret:?}"), "Given(<redacted>)");
    }
}
