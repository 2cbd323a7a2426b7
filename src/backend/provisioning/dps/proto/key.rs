//! The keys that devices attest with.

use data_encoding::BASE64;
use hmac::Mac;

use super::RegistrationId;
use crate::backend::malformed::Malformed;
use crate::backend::signature::mac;
use crate::secret::Secret;

/// The key of one device of an enrolment group: HMAC-SHA256 of its registration id with the group's key \[D]\[S]. The id
/// enters as it is written: the device must register with the same case.
///
/// # Errors
/// Returns [`Malformed`] if `group_key` is not base64.
pub(crate) fn derive(group_key: &Secret, id: &RegistrationId) -> Result<Secret, Malformed> {
    let mut mac = mac(group_key)?;
    mac.update(id.as_str().as_bytes());
    Ok(Secret::new(BASE64.encode(&mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(group_key: &str, id: &str) -> String {
        derive(&Secret::new(group_key), &id.parse().unwrap()).unwrap().expose().to_owned()
    }

    /// The first is Microsoft's own example \[D].
    #[test]
    fn derives_the_documented_keys() {
        let group_key =
            "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
        let key = derived(group_key, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6");
        assert_eq!(key, "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=");
        let group_key = "MDEyMzQ1Njc4OWFiY2RlZg==";
        assert_eq!(derived(group_key, "gw-07"), "tSeBq0SyFsVX7Gda4p41mHaNFL64Va3/7Eb5U3lCIds=");
        assert_ne!(derived(group_key, "GW-07"), derived(group_key, "gw-07"));
    }

    #[test]
    fn a_key_is_base64() {
        for key in ["", "hunter2!", "MDEyMzQ1Njc4OWFiY2RlZg"] {
            let problem = derive(&Secret::new(key), &"gw-07".parse().unwrap()).unwrap_err();
            assert_eq!(problem.0, "the key is not base64");
        }
    }
}
