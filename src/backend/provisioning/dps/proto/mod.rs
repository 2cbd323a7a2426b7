//! The protocol of the Device Provisioning Service as pure functions, without sockets, clock or environment. Marks in
//! comments name the source of a fact: \[S] SDK source, \[D] Microsoft's documentation, \[R] its REST specification,
//! \[I] an issue, \[C] observed with the C# client, \[~] inferred.

mod failure;
pub(crate) mod key;
mod registration;
mod registration_id;
pub(crate) mod token;

pub(crate) use failure::{Explanation, Failure};
pub(crate) use registration::{
    Answer, Assigned, is_tpm_challenge, operation_path, register_body, register_path,
};
pub(crate) use registration_id::RegistrationId;
