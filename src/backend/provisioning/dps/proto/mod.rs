//! The protocol of the Device Provisioning Service as pure functions, without sockets, clock or environment. Marks in
//! comments name the source of a fact: \[S] SDK source, \[D] Microsoft's documentation, \[R] its REST specification,
//! \[I] an issue, \[C] observed with the C# client, \[~] inferred.

pub(crate) mod key;
mod registration_id;
pub(crate) mod token;

pub(crate) use registration_id::RegistrationId;
