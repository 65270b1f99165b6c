//! The settings as they are now: read at the start, and again whenever the file has other content.
//!
//! The content is compared, not times or inode numbers: Kubernetes swaps a symbolic link when a ConfigMap changes, and
//! some editors write a new file.

use super::{Error, MAX_BYTES, Settings};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::AsyncReadExt as _,
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// The settings as they are now. Cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Live(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    now: ArcSwap<Settings>,
    /// What flags say.
    defaults: Settings,
    file: Option<Watched>,
    metrics: ReloadMetrics,
    /// Counts the times that tools were switched on or off.
    switched: watch::Sender<u64>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// What was found at the last look: the content, or why there was none.
    seen: Mutex<Result<Vec<u8>, String>>,
}

/// What is counted of the file. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReloadMetrics {
    reloads: Family<ReloadLabels, Counter>,
    failed: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

// === impl Live ===

impl Live {
    /// Reads the file, where there is one.
    ///
    /// # Errors
    ///
    /// When it is not there or wrong: whoever starts this is there to mend it.
    pub(crate) async fn open(
        defaults: Settings,
        path: Option<PathBuf>,
        metrics: ReloadMetrics,
    ) -> Result<Self, Error> {
        let (now, file) = match path {
            None => (defaults.clone(), None),
            Some(path) => {
                let text = read(&path).await?;
                let settings = defaults.read(&text)?;
                (settings, Some(Watched { path, seen: Mutex::new(Ok(text)) }))
            }
        };
        let (now, switched) = (ArcSwap::from_pointee(now), watch::Sender::default());
        Ok(Self(Arc::new(Inner { now, defaults, file, metrics, switched })))
    }

    /// The settings of this moment.
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.0.now.load()
    }

    /// True when there is a file that may say something else one day.
    pub(crate) fn may_change(&self) -> bool {
        self.0.file.is_some()
    }

    /// Changes whenever tools are switched on or off, once the new settings are there.
    pub(crate) fn switched(&self) -> watch::Receiver<u64> {
        self.0.switched.subscribe()
    }

    /// Looks at the file again and again. Never ends.
    pub(crate) async fn follow(&self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    /// Takes what the file says now; keeps what it said before when that is wrong.
    pub(crate) async fn look(&self) {
        let Inner { now, defaults, file, metrics, switched } = &*self.0;
        let Some(Watched { path, seen }) = file else { return };
        let found = read(path).await;
        let content = found.as_ref().map(Vec::clone).map_err(|error| crate::chain::chain(error));
        if *seen.lock() == content {
            return;
        }
        let settings = found.and_then(|text| defaults.read(&text));
        *seen.lock() = content;
        match settings {
            Ok(settings) => {
                tracing::info!(
                    path = %path.display(),
                    off = settings.off().join(","),
                    calls_per_second = settings.calls_per_second,
                    "took new settings of the MCP endpoint"
                );
                let other_tools = settings.off() != now.load().off();
                now.store(Arc::new(settings));
                if other_tools {
                    switched.send_modify(|count| *count += 1);
                }
                metrics.count("ok", 0);
            }
            Err(error) => {
                tracing::error!(
                    path = %path.display(),
                    error = crate::chain::chain(&error),
                    "the settings of the MCP endpoint are wrong, so those from before stay"
                );
                metrics.count("failed", 1);
            }
        }
    }
}

/// The content, as far as it may matter.
async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.display().to_string(), source };
    let mut text = Vec::new();
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    // One byte more than allowed shows that there are too many.
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text).await.map_err(failed)?;
    Ok(text)
}

// === impl ReloadMetrics ===

impl ReloadMetrics {
    /// Registers in what has the prefix `mcp`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let reloads = "Times that the settings file had other content, by whether it was taken";
        registry.register("settings_reloads", reloads, metrics.reloads.clone());
        let failed = "1 while the settings file is wrong and those from before stand";
        registry.register("settings_last_reload_failed", failed, metrics.failed.clone());
        metrics
    }

    fn count(&self, result: &'static str, failed: i64) {
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
        self.failed.set(failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Settings {
        Settings::new(7, &[]).unwrap()
    }

    struct Rig {
        path: PathBuf,
        live: Live,
        // Removes the folder at the end.
        _folder: tempfile::TempDir,
    }

    /// A folder as the kubelet makes it for a ConfigMap: the file is a link into a folder that is a link itself.
    async fn rig(text: &str) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mcp.yaml");
        std::os::unix::fs::symlink("..data/mcp.yaml", &path).unwrap();
        swap(folder.path(), text);
        let live = Live::open(flags(), Some(path.clone()), ReloadMetrics::default()).await.unwrap();
        Rig { path, live, _folder: folder }
    }

    fn swap(folder: &Path, text: &str) {
        let version = tempfile::tempdir_in(folder).unwrap().keep();
        std::fs::write(version.join("mcp.yaml"), text).unwrap();
        let next = folder.join("..data_tmp");
        std::os::unix::fs::symlink(&version, &next).unwrap();
        std::fs::rename(next, folder.join("..data")).unwrap();
    }

    impl Rig {
        async fn swapped(&self, text: &str) {
            swap(self.path.parent().unwrap(), text);
            self.live.look().await;
        }

        /// Calls a second, reloads that were taken, reloads that were not, whether the last was not.
        fn state(&self) -> (u32, u64, u64, i64) {
            let metrics = &self.live.0.metrics;
            let count = |result| metrics.reloads.get_or_create(&ReloadLabels { result }).get();
            (self.live.load().calls_per_second, count("ok"), count("failed"), metrics.failed.get())
        }
    }

    #[tokio::test]
    async fn a_changed_file_is_taken_and_one_that_is_the_same_is_not_counted() {
        let rig = rig("callsPerSecond: 1").await;
        assert_eq!(rig.state(), (1, 0, 0, 0));
        rig.swapped("callsPerSecond: 2").await;
        assert_eq!(rig.state(), (2, 1, 0, 0));
        rig.swapped("callsPerSecond: 2").await;
        assert_eq!(rig.state(), (2, 1, 0, 0));
        rig.swapped("{}").await;
        assert_eq!(rig.state(), (7, 2, 0, 0), "what the file no longer says is as the flags have it");
    }

    #[tokio::test]
    async fn a_bad_file_leaves_what_was_good_and_is_counted_once() {
        let rig = rig("callsPerSecond: 1").await;
        rig.swapped("callsPerSecond: many").await;
        rig.live.look().await;
        assert_eq!(rig.state(), (1, 0, 1, 1));
        rig.swapped("callsPerSecond: 1").await;
        assert_eq!(rig.state(), (1, 1, 1, 0), "mended");
    }

    #[tokio::test]
    async fn a_file_that_goes_away_leaves_what_was_good() {
        let rig = rig("callsPerSecond: 1").await;
        std::fs::remove_file(&rig.path).unwrap();
        rig.live.look().await;
        rig.live.look().await;
        assert_eq!(rig.state(), (1, 0, 1, 1));
        std::fs::write(&rig.path, "callsPerSecond: 1").unwrap();
        rig.live.look().await;
        assert_eq!(rig.state(), (1, 1, 1, 0));
    }

    #[tokio::test]
    async fn nothing_starts_on_a_bad_file_or_on_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mcp.yaml");
        let open = || Live::open(flags(), Some(path.clone()), ReloadMetrics::default());
        let missing = crate::chain::chain(&open().await.unwrap_err());
        assert!(missing.contains("mcp.yaml: No such file"), "{missing}");
        std::fs::write(&path, "tools: {nothing: off}").unwrap();
        assert!(matches!(open().await, Err(Error::Tool { .. })));
        std::fs::write(&path, "{}").unwrap();
        assert!(open().await.is_ok());
    }
}
