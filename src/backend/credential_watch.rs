//! Rereads a listener's credential: after a refusal, and when one of its files has changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use super::listener::{Listener, Reread};
use crate::config::WatchedFiles;
use crate::error::Result;

/// The time between two looks at the files of a credential in use.
const INTERVAL: Duration = Duration::from_secs(3600);

/// The first time until the next look at files that cannot be used. A program that renews a certificate may have written
/// only one of its files.
const RETRY: Duration = Duration::from_secs(60);

/// Rereads the configuration of a listener.
pub(crate) struct CredentialWatch<L> {
    reread: Option<Reread>,
    /// The time of the next look.
    at: Instant,
    /// The time until the look after one that fails.
    retry: Duration,
    looking: Option<JoinHandle<Look<L>>>,
}

/// The result of a look.
enum Look<L> {
    Unchanged,
    Changed(Arc<L>),
    Unusable,
}

impl<L: Listener> CredentialWatch<L> {
    /// Rereads with `reread`, if given.
    pub(crate) fn new(reread: Option<Reread>) -> Self {
        Self { reread, at: Instant::now() + INTERVAL, retry: RETRY, looking: None }
    }

    /// Waits, then rereads the configuration if the service has refused the credential, or one of its `files` has changed.
    /// Returns the listener whose credential is to be used, if it was reread.
    ///
    /// Cancel-safe: dropping the future drops what is read.
    pub(crate) async fn wait_and_reread(
        &self,
        wait: Duration,
        is_refused: bool,
        files: &WatchedFiles,
    ) -> Option<Arc<L>> {
        sleep(wait).await;
        if !is_refused {
            return self.look(files).await;
        }
        let reread = self.reread.clone()?;
        report(spawn_blocking(move || reread()).await.ok()?, log::Level::Error)
    }

    /// Rereads the configuration if one of the `files` has changed. Returns the listener whose credential is to be used then.
    ///
    /// Cancel-safe: dropping the future drops what is read.
    pub(crate) fn look(&self, files: &WatchedFiles) -> impl Future<Output = Option<Arc<L>>> + use<L> {
        let looking = look(self.reread.clone(), files.clone());
        async { looking.await.unwrap_or(Look::Unchanged).reread() }
    }

    /// Waits for the time of the next look, which comes at least once an hour, and looks at the `files`.
    ///
    /// Cancel-safe.
    pub(crate) async fn next(&mut self, files: &WatchedFiles) -> Option<Arc<L>> {
        if self.looking.is_none() {
            sleep_until(self.at).await;
        }
        let start = || look(self.reread.clone(), files.clone());
        let found = self.looking.get_or_insert_with(start).await.unwrap_or(Look::Unchanged);
        self.looking = None;
        if let Look::Unusable = found {
            self.at = Instant::now() + self.retry;
            self.retry = INTERVAL.min(self.retry * 2);
        } else {
            (self.at, self.retry) = (Instant::now() + INTERVAL, RETRY);
        }
        found.reread()
    }
}

impl<L> Look<L> {
    fn reread(self) -> Option<Arc<L>> {
        match self {
            Self::Changed(new) => Some(new),
            Self::Unchanged | Self::Unusable => None,
        }
    }
}

/// Looks at the files, and rereads the configuration if one has changed. It may name a command that takes long.
fn look<L: Listener>(reread: Option<Reread>, files: WatchedFiles) -> JoinHandle<Look<L>> {
    spawn_blocking(move || match reread {
        Some(reread) if files.have_changed() => {
            report(reread(), log::Level::Warn).map_or(Look::Unusable, Look::Changed)
        }
        _ => Look::Unchanged,
    })
}

/// The listener of a reread configuration; `None` if it has none for this backend. Logs which it is, a failure at `level`.
fn report<L: Listener>(read: Result<Arc<dyn Listener>>, level: log::Level) -> Option<Arc<L>> {
    match read.map(<dyn Listener>::downcast) {
        Ok(Some(new)) => {
            log::info!("the credential has been read again");
            Some(new)
        }
        Ok(None) => {
            log::error!("the configuration names another service: reload the agent to use it");
            None
        }
        Err(error) => {
            log::log!(level, "the credential stays as it was: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::sync::mpsc;

    use super::*;
    use crate::backend::stand_in::Memory;
    use crate::error::Error;

    /// Rereads a configuration that is usable if its file contains "good".
    fn watch(path: &Path) -> CredentialWatch<Memory> {
        let path = path.to_owned();
        CredentialWatch::new(Some(Arc::new(move || match fs::read_to_string(&path).unwrap().as_str() {
            "good" => Ok(Arc::new(Memory::default())),
            _ => Err(Error::file(&path, "it is half-written", "wait")),
        })))
    }

    #[tokio::test(start_paused = true)]
    async fn looks_hourly_and_sooner_at_files_that_cannot_be_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        let files = WatchedFiles::of(&path);
        let mut watch = watch(&path);
        for (content, minutes, is_changed) in [
            (None, 60, false),
            (Some("half"), 60, false),
            (None, 1, false),
            (None, 2, false),
            (Some("good"), 4, true),
            (Some("half"), 60, false),
            (None, 1, false),
            (None, 2, false),
            (None, 4, false),
            (None, 8, false),
            (None, 16, false),
            (None, 32, false),
            (None, 60, false),
            (None, 60, false),
        ] {
            if let Some(content) = content {
                fs::write(&path, content).unwrap();
            }
            let since = Instant::now();
            assert_eq!(watch.next(&files).await.is_some(), is_changed, "{content:?}");
            assert_eq!(since.elapsed().as_secs() / 60, minutes, "{content:?}");
        }
    }

    #[tokio::test]
    async fn rereads_after_a_refusal_or_a_change_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "good").unwrap();
        let files = WatchedFiles::of(&path);
        let watch = watch(&path);
        assert!(watch.wait_and_reread(Duration::ZERO, true, &files).await.is_some());
        assert!(watch.wait_and_reread(Duration::ZERO, false, &files).await.is_none());
        assert!(watch.look(&files).await.is_none());
        fs::write(directory.path().join("new"), "good").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        assert!(watch.wait_and_reread(Duration::ZERO, false, &files).await.is_some());
        assert!(watch.look(&files).await.is_some());
    }

    #[tokio::test]
    async fn a_dropped_wait_does_not_reread_twice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let files = WatchedFiles::of(&path);
        fs::write(&path, "").unwrap();
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let times = Arc::new(AtomicUsize::new(0));
        let count = times.clone();
        let mut watch = CredentialWatch::<Memory>::new(Some(Arc::new(move || {
            count.fetch_add(1, Relaxed);
            let _ = wait.lock().unwrap().recv();
            Ok(Arc::new(Memory::default()))
        })));
        watch.at = Instant::now();
        for _ in 0..3 {
            tokio::select! {
                biased;
                _ = watch.next(&files) => panic!("it is still reading"),
                () = tokio::task::yield_now() => {}
            }
        }
        drop(go_on);
        assert!(watch.next(&files).await.is_some());
        assert_eq!(times.load(Relaxed), 1);
    }
}
