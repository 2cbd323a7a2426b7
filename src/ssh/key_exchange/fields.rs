//! The fields of a message (RFC 4251, section 5).

use crate::error::Problem;
use crate::ssh::packet::put_string;

/// The part of a message that has not been read yet.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// # Errors
    /// Returns an error if the message is shorter, as the other methods do.
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Problem> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or("it sent a message that is too short")?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Problem> {
        Ok(self.bytes(1)? != [0])
    }

    pub(super) fn uint32(&mut self) -> Result<u32, Problem> {
        Ok(self.bytes(4)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], Problem> {
        let length = self.uint32()?;
        self.bytes(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// A `name-list`. Names that are not text match no algorithm.
    pub(super) fn names(&mut self) -> Result<Vec<String>, Problem> {
        let list = String::from_utf8_lossy(self.string()?);
        Ok(list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// A positive `mpint`, big-endian, without zeros before it.
    pub(super) fn positive(&mut self) -> Result<&'a [u8], Problem> {
        let number = self.string()?;
        if is_negative(number) { Err("it sent a negative number".into()) } else { Ok(without_zeros(number)) }
    }

    /// # Errors
    /// Returns an error if the message is longer.
    pub(super) fn end(&self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err("it sent a message that is too long".into()) }
    }
}

/// An unsigned number as an `mpint`, with its length.
pub(super) fn mpint(number: &[u8]) -> Vec<u8> {
    let number = without_zeros(number);
    let mut content = vec![0; usize::from(is_negative(number))];
    content.extend_from_slice(number);
    let mut field = Vec::new();
    put_string(&mut field, &content);
    field
}

/// The highest bit of an `mpint` is the sign.
fn is_negative(number: &[u8]) -> bool {
    number.first().is_some_and(|first| *first >= 0x80)
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of RFC 4251, section 5.
    #[test]
    fn numbers_have_a_sign() {
        for (number, field) in [
            (&b""[..], &b"\0\0\0\0"[..]),
            (b"\0", b"\0\0\0\0"),
            (b"\x09\xa3\x78\xf9\xb2\xe3\x32\xa7", b"\0\0\0\x08\x09\xa3\x78\xf9\xb2\xe3\x32\xa7"),
            (b"\x80", b"\0\0\0\x02\0\x80"),
            (b"\0\0\x80", b"\0\0\0\x02\0\x80"),
            (b"\0\x7f", b"\0\0\0\x01\x7f"),
        ] {
            assert_eq!(mpint(number), field, "{number:?}");
            assert_eq!(Fields(field).positive().unwrap(), without_zeros(number));
        }
        // -1234
        assert!(Fields(b"\0\0\0\x02\xed\xcc").positive().is_err());
    }

    #[test]
    fn a_list_of_names() {
        let names = |field: &'static [u8]| Fields(field).names().unwrap();
        assert_eq!(names(b"\0\0\0\x09zlib,none"), ["zlib", "none"]);
        assert_eq!(names(b"\0\0\0\0"), [""; 0]);
    }

    proptest! {
        #[test]
        fn no_length_reads_beyond_the_end(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut fields = Fields(&bytes);
            let mut read = 0;
            while let Ok(string) = fields.string() {
                read += 4 + string.len();
            }
            prop_assert!(read <= bytes.len());
        }
    }
}
