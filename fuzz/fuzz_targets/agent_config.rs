//! The agent's configuration file.
#![no_main]

use iotstream::fuzzing::agent::config;
use iotstream::fuzzing::profile::SECRET;
use iotstream_fuzz::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let before = input.text();
    let after = input.text();
    config(before);
    // A secret in its place is in no error, whatever is wrong around it.
    if config(&format!("{before}\n")).is_none() && !before.contains('[') {
        for quote in ["\"", "", "'", "\"\"\""] {
            let text = format!(
                "{before}\nconnection-string = {quote}HostName=h;SharedAccessKey={SECRET}{quote}\n{after}"
            );
            let error = config(&text).unwrap_or_default();
            assert!(!error.contains(SECRET), "{error}");
        }
    }
});
