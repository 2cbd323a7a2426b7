//! Profile files, and the device of a host name in them.
#![no_main]

use iotstream::fuzzing::profile::{SECRET, profiles};
use iotstream_fuzz::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (before, host, typed, after) = (input.text(), input.text(), input.text(), input.text());
    let typed = Some(typed).filter(|typed| !typed.is_empty());
    profiles(before, host, typed);
    // A secret in its place is in no error, whatever is wrong around it.
    let is_whole = before.is_empty() || before.ends_with('\n');
    if is_whole && !before.contains(['\'', '"']) {
        for quote in ["\"", "", "'", "\"\"\""] {
            let text = format!(
                "{before}[profile.x]\nconnection-string = {quote}HostName=h;SharedAccessKey={SECRET}{quote}\n{after}"
            );
            let error = profiles(&text, host, typed).unwrap_or_default();
            assert!(!error.contains(SECRET), "{error}");
        }
    }
});
