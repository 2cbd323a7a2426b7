use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What a program has written. A thread reads it, so that the program never waits for the test.
#[derive(Clone, Default)]
pub struct Output(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    pub fn of(mut from: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let shared = output.0.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                // A connection that is reset has ended, too.
                let count = from.read(&mut buffer).unwrap_or(0);
                let mut read = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                read.bytes.extend_from_slice(&buffer[..count]);
                read.ended = count == 0;
                shared.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        output
    }

    /// All so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().unwrap_or_else(PoisonError::into_inner).bytes).into_owned()
    }

    /// Waits for the end, and returns everything.
    #[track_caller]
    pub fn whole(&self, limit: Duration) -> Vec<u8> {
        self.wait("its end", limit, |bytes, ended| ended.then(|| bytes.to_owned()))
    }

    /// Waits for a whole line that contains `text`, and returns the first one.
    #[track_caller]
    pub fn says(&self, text: &str, limit: Duration) -> String {
        self.says_one_of(&[text], limit)
    }

    /// The same for one of several texts.
    #[track_caller]
    pub fn says_one_of(&self, texts: &[&str], limit: Duration) -> String {
        self.wait(&format!("{texts:?}"), limit, |bytes, ended| {
            let said = String::from_utf8_lossy(bytes);
            let whole = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let mut lines = whole.map(str::trim_end);
            let line = lines.find(|line| texts.iter().any(|text| line.contains(text))).map(str::to_owned);
            assert!(line.is_some() || !ended, "it ended and never said {texts:?}: {said}");
            line
        })
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, limit: Duration, find: impl Fn(&[u8], bool) -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        let (read, changed) = &*self.0;
        let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = find(&read.bytes, read.ended) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} within {limit:?}: {}", String::from_utf8_lossy(&read.bytes));
            read = changed.wait_timeout(read, left).unwrap().0;
        }
    }
}
