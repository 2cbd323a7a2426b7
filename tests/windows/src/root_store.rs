//! The certificates that Windows trusts for this user.

use std::io;
use std::ptr;

use windows_sys::Win32::Security::Cryptography::{
    CERT_CONTEXT, CERT_STORE_ADD_ALWAYS, CERT_STORE_CTRL_COMMIT, CRYPT_STRING_BASE64HEADER,
    CertAddEncodedCertificateToStore, CertCloseStore, CertControlStore, CertDeleteCertificateFromStore,
    CertOpenSystemStoreW, CryptStringToBinaryW, X509_ASN_ENCODING,
};

use crate::pipe::{succeeded, wide};

/// A certificate in the store `Root`, while this value lives.
#[derive(Debug)]
pub struct Trusted(*mut CERT_CONTEXT);

impl Trusted {
    /// Adds a certificate in PEM.
    ///
    /// # Errors
    /// It is no certificate, or the store refuses it.
    pub fn add(pem: &str) -> io::Result<Self> {
        let pem = wide(pem);
        let mut der = vec![0; pem.len()];
        let mut length = u32::try_from(der.len()).map_err(io::Error::other)?;
        let mut added = ptr::null_mut();
        // SAFETY: the strings end in zeros, and `length` says how much fits; the context keeps the store open.
        unsafe {
            succeeded(CryptStringToBinaryW(
                pem.as_ptr(),
                0,
                CRYPT_STRING_BASE64HEADER,
                der.as_mut_ptr(),
                &mut length,
                ptr::null_mut(),
                ptr::null_mut(),
            ))?;
            let store = CertOpenSystemStoreW(0, wide("Root").as_ptr());
            let done = succeeded(CertAddEncodedCertificateToStore(
                store,
                X509_ASN_ENCODING,
                der.as_ptr(),
                length,
                CERT_STORE_ADD_ALWAYS,
                &mut added,
            ));
            // The context would keep the change in memory.
            let done = done
                .and_then(|()| succeeded(CertControlStore(store, 0, CERT_STORE_CTRL_COMMIT, ptr::null())));
            CertCloseStore(store, 0);
            done?;
        }
        Ok(Self(added))
    }
}

impl Drop for Trusted {
    fn drop(&mut self) {
        // SAFETY: the context is open, and this frees it. It fails only if the certificate is gone.
        unsafe { CertDeleteCertificateFromStore(self.0) };
    }
}
