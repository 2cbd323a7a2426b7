//! The credentials of an Arc machine's relay, as `az ssh` writes them.
#![no_main]

use iotstream::fuzzing::arc::info;
use iotstream_fuzz::text;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "c4n4ryS3cret";

fuzz_target!(|data: &[u8]| {
    let text = text(data);
    info(text);
    let json = format!(r#"{{"accessKey":"{SECRET}","serviceConfigurationToken":"{SECRET}",{text}}}"#);
    if let Some(problem) = info(&json) {
        assert!(!problem.contains(SECRET), "{problem}");
    }
});
